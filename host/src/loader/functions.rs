//! The functions of one manager type, with stubs for those that a plugin leaves out.

use std::ffi::c_void;

use keyway_plugin_api::{Capabilities, ErrorKind, abi};

type Call<Request> = unsafe extern "C" fn(*mut abi::Instance, *const Request, abi::Completion);

/// Everything callable, so that no caller tests for NULL.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) create: unsafe extern "C" fn(*const abi::CreateRequest, abi::Completion) -> *mut abi::Instance,
    pub(super) async_read: Call<abi::ReadRequest>,
    pub(super) sync_read: Call<abi::ReadRequest>,
    pub(super) write: Call<abi::WriteRequest>,
    pub(super) delete: Call<abi::DeleteRequest>,
    pub(super) rotate: Call<abi::RotateRequest>,
    pub(super) health: Call<abi::ControlRequest>,
    pub(super) cancel: unsafe extern "C" fn(*mut abi::Instance, u64),
    pub(super) shutdown: Call<abi::ControlRequest>,
    pub(super) destroy: unsafe extern "C" fn(*mut abi::Instance),
    pub(super) get_extension: unsafe extern "C" fn(*mut abi::Instance, abi::Str) -> *const c_void,
    /// What the functions that are there, and the word of the plugin about calling, come to.
    pub(super) capabilities: Capabilities,
}

impl Functions {
    /// Takes the functions of a table.
    ///
    /// # Errors
    /// The name of a required function that is NULL.
    pub(super) fn of(raw: &abi::Manager) -> Result<Self, &'static str> {
        if raw.async_read_secret.is_none() && raw.sync_read_secret.is_none() {
            return Err("async_read_secret and sync_read_secret");
        }
        let has = |there: bool, capability| if there { capability } else { Capabilities::empty() };
        let declared = Capabilities::from_bits_truncate(raw.capabilities);
        let capabilities = declared & (Capabilities::SERIAL | Capabilities::LIST)
            | has(raw.async_read_secret.is_some(), Capabilities::READ)
            | has(raw.sync_read_secret.is_some(), Capabilities::SYNC_READ)
            | has(raw.async_write_secret.is_some(), Capabilities::WRITE)
            | has(raw.async_delete_secret.is_some(), Capabilities::DELETE)
            | has(raw.async_rotate_secret.is_some(), Capabilities::ROTATE)
            | has(raw.health_check.is_some(), Capabilities::HEALTH);
        Ok(Functions {
            create: raw.create.ok_or("create")?,
            async_read: raw.async_read_secret.unwrap_or(unsupported),
            sync_read: raw.sync_read_secret.unwrap_or(unsupported),
            write: raw.async_write_secret.unwrap_or(unsupported),
            delete: raw.async_delete_secret.unwrap_or(unsupported),
            rotate: raw.async_rotate_secret.unwrap_or(unsupported),
            health: raw.health_check.unwrap_or(done),
            cancel: raw.cancel.unwrap_or(ignore_cancel),
            shutdown: raw.shutdown.unwrap_or(done),
            destroy: raw.destroy.ok_or("destroy")?,
            get_extension: raw.get_extension.unwrap_or(no_extension),
            capabilities,
        })
    }
}

/// # Safety
/// None: it reads nothing but the completion, which is the host's own.
unsafe extern "C" fn unsupported<Request>(
    _: *mut abi::Instance,
    _: *const Request,
    completion: abi::Completion,
) {
    super::slots::complete(completion.op_id, || {
        Err(keyway_plugin_api::Error::new(
            ErrorKind::Unsupported,
            "the plugin does not implement this operation",
        ))
    });
}

/// # Safety
/// None, as [`unsupported`].
unsafe extern "C" fn done<Request>(_: *mut abi::Instance, _: *const Request, completion: abi::Completion) {
    super::slots::complete(completion.op_id, || Ok(super::slots::Outcome::default()));
}

/// # Safety
/// None.
unsafe extern "C" fn ignore_cancel(_: *mut abi::Instance, _: u64) {}

/// # Safety
/// None.
unsafe extern "C" fn no_extension(_: *mut abi::Instance, _: abi::Str) -> *const c_void {
    std::ptr::null()
}
