//! The static tables that the entry function returns.

use std::{ffi::c_void, panic::catch_unwind, sync::OnceLock};

use super::{borrow, boundary, host};
use crate::{
    abi,
    manager::{Capabilities, ManagerType},
};

/// The table of one manager type, made when the host asks for it.
pub struct ManagerTable {
    name: &'static str,
    make: fn(&'static str) -> abi::Manager,
}

/// The table of a plugin; [`export_plugin!`](crate::export_plugin) puts one into a static.
pub struct PluginTable {
    id: &'static str,
    version: &'static str,
    vendor: &'static str,
    managers: &'static [ManagerTable],
    made: OnceLock<Made>,
}

struct Made(&'static abi::Plugin);

// SAFETY: the table is never written to after it was made, and all it points to is static and immutable.
unsafe impl Send for Made {}
// SAFETY: as above.
unsafe impl Sync for Made {}

impl ManagerTable {
    /// The table of type `T`, which is offered under `name`: the class in `module.Class`.
    pub const fn of<T: ManagerType>(name: &'static str) -> Self {
        ManagerTable { name, make: manager::<T> }
    }
}

impl PluginTable {
    /// A table that is made on the first call of [`PluginTable::entry`].
    pub const fn new(
        id: &'static str,
        version: &'static str,
        vendor: &'static str,
        managers: &'static [ManagerTable],
    ) -> Self {
        PluginTable { id, version, vendor, managers, made: OnceLock::new() }
    }

    /// What `keyway_plugin_entry_v1` does: connects to the host and returns the table, or NULL when they do not fit.
    ///
    /// # Safety
    /// `host` is NULL or the host's table, which lives as long as the process.
    pub unsafe fn entry(&'static self, host: *const abi::Host) -> *const abi::Plugin {
        catch_unwind(|| {
            // SAFETY: passed on to the caller.
            let connected = unsafe { host::connect(host) };
            if connected {
                std::ptr::from_ref(self.made.get_or_init(|| self.make()).0)
            } else {
                std::ptr::null()
            }
        })
        .unwrap_or(std::ptr::null())
    }

    /// The tables live as long as the process, so they are leaked, once.
    fn make(&self) -> Made {
        let managers: Vec<*const abi::Manager> = self
            .managers
            .iter()
            .map(|table| std::ptr::from_ref(Box::leak(Box::new((table.make)(table.name)))))
            .collect();
        let managers = Vec::leak(managers);
        Made(Box::leak(Box::new(abi::Plugin {
            struct_size: size_of::<abi::Plugin>() as u32,
            abi_major: abi::ABI_MAJOR,
            abi_minor: abi::ABI_MINOR,
            reserved: 0,
            id: text(self.id),
            version: text(self.version),
            vendor: text(self.vendor),
            managers: managers.as_ptr(),
            managers_len: managers.len(),
        })))
    }
}

fn text(text: &'static str) -> abi::Str {
    abi::Str { ptr: text.as_ptr(), len: text.len() }
}

fn manager<T: ManagerType>(name: &'static str) -> abi::Manager {
    const {
        assert!(
            T::CAPABILITIES.contains(Capabilities::READ) || T::CAPABILITIES.contains(Capabilities::SYNC_READ),
            "ManagerType::CAPABILITIES must hold READ or SYNC_READ: a secret manager that cannot read is none"
        );
    }
    let can = |capability| T::CAPABILITIES.contains(capability);
    let schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T::Config>();
    abi::Manager {
        struct_size: size_of::<abi::Manager>() as u32,
        reserved: 0,
        capabilities: T::CAPABILITIES.bits(),
        name: text(name),
        description: text(T::DESCRIPTION),
        config_schema: text(schema.as_value().to_string().leak()),
        create: Some(boundary::create::<T>),
        async_read_secret: can(Capabilities::READ).then_some(boundary::async_read_secret::<T> as _),
        sync_read_secret: can(Capabilities::SYNC_READ).then_some(boundary::sync_read_secret::<T> as _),
        async_write_secret: can(Capabilities::WRITE).then_some(boundary::async_write_secret::<T> as _),
        async_delete_secret: can(Capabilities::DELETE).then_some(boundary::async_delete_secret::<T> as _),
        async_rotate_secret: can(Capabilities::ROTATE).then_some(boundary::async_rotate_secret::<T> as _),
        health_check: can(Capabilities::HEALTH).then_some(boundary::health_check::<T> as _),
        cancel: Some(boundary::cancel::<T>),
        shutdown: Some(boundary::shutdown::<T>),
        destroy: Some(boundary::destroy::<T>),
        get_extension: Some(get_extension::<T>),
    }
}

/// # Safety
/// As `get_extension` in the header.
unsafe extern "C" fn get_extension<T: ManagerType>(
    _instance: *mut abi::Instance,
    id: abi::Str,
) -> *const c_void {
    struct Extensions<T>(T);
    impl<T: ManagerType> Extensions<T> {
        const LIST: &'static abi::List = &abi::List {
            struct_size: size_of::<abi::List>() as u32,
            reserved: 0,
            async_list_secrets: Some(boundary::async_list_secrets::<T>),
        };
    }
    // SAFETY: the host's text, inside the call.
    match unsafe { borrow::text(id) } {
        Ok(abi::EXT_LIST) if T::CAPABILITIES.contains(Capabilities::LIST) => {
            std::ptr::from_ref(Extensions::<T>::LIST).cast()
        }
        _ => std::ptr::null(),
    }
}
