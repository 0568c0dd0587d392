//! An instance of a manager type: raw calls, and what keeps them apart from its end.

use std::{
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use keyway_plugin_api::{Capabilities, Error, Result, abi};

use super::{
    callbacks,
    client::control,
    ending,
    functions::Functions,
    slots::{self, Ledger, Operation, Permit},
};

/// Set in `Instance::inside` when no further operation may begin.
const ENDING: usize = 1 << (usize::BITS - 1);
/// Set in `Instance::inside` when no further call of any kind may begin.
const CLOSED: usize = 1 << (usize::BITS - 2);
/// Set in `Instance::inside` when somebody waits for the calls to end; before that, nobody is told.
const WATCHED: usize = 1 << (usize::BITS - 3);
const COUNT: usize = WATCHED - 1;

/// The plugin's instance: every call into it goes through here.
///
/// Whoever makes a call counts himself in `inside` first and sees in the same step whether he may. `destroy` is called when
/// `CLOSED` was set and the count was seen at zero after that, or when nobody refers to the instance any more: in both cases
/// no call is inside and none can begin.
pub(super) struct Instance {
    raw: Raw,
    list: Option<&'static abi::List>,
    pub(super) ledger: Arc<Ledger>,
    /// How many calls are inside the plugin at this moment, and which of them may still begin.
    inside: AtomicUsize,
    /// Whether `shutdown` was called.
    told: AtomicBool,
    /// Whether `destroy` was called.
    destroyed: AtomicBool,
}

/// The instance as the plugin knows it, and the functions that take it.
#[derive(Clone, Copy)]
struct Raw {
    instance: NonNull<abi::Instance>,
    functions: Functions,
}

// SAFETY: the header lets the host call the functions of an instance from any thread; that `destroy` comes after all of
// them is seen to by `Instance`.
unsafe impl Send for Raw {}
// SAFETY: as above; the header lets them be called concurrently, too.
unsafe impl Sync for Raw {}

/// One call that is inside the plugin.
struct Inside<'a>(&'a Instance);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let before = self.0.inside.fetch_sub(1, Ordering::Release);
        if before & WATCHED != 0 {
            self.0.ledger.quieter.notify_waiters();
        }
    }
}

impl Instance {
    /// Makes an instance; blocks as long as the plugin does.
    pub(super) fn create(functions: Functions, name: &str, config: &str, timeout_ms: u64) -> Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let mut failed = Operation::open(&ledger, Permit::None)?;
        let request = abi::CreateRequest {
            struct_size: size_of::<abi::CreateRequest>() as u32,
            flags_required: 0,
            flags_optional: 0,
            reserved: 0,
            timeout_ms,
            instance_name: str(name),
            config_json: str(config),
        };
        // SAFETY: a function of a checked table; the request is valid during the call.
        let raw = unsafe { (functions.create)(&raw const request, callbacks::completion(failed.id())) };
        let reason = failed.poll(None);
        failed.withdraw(); // a completion that comes after `create` returned is a stray one
        let Some(instance) = NonNull::new(raw) else {
            return Err(match reason {
                std::task::Poll::Ready(Err(error)) => error,
                _ => Error::internal("the plugin made no instance and gave no reason"),
            });
        };
        let raw = Raw { instance, functions };
        Ok(Instance {
            raw,
            // SAFETY: the instance was just made by this table.
            list: unsafe { raw.list_extension() },
            ledger,
            inside: AtomicUsize::new(0),
            told: AtomicBool::new(false),
            destroyed: AtomicBool::new(false),
        })
    }

    pub(super) fn has_list(&self) -> bool {
        self.list.is_some()
    }

    /// Counts a call that is about to be made, unless one of the bits stands against it.
    fn enter(&self, against: usize) -> Result<Inside<'_>> {
        let before = self.inside.fetch_add(1, Ordering::Acquire);
        let inside = Inside(self);
        match before & against {
            0 => Ok(inside),
            _ => Err(Error::unavailable("the secret manager is shutting down")),
        }
    }

    /// Refuses once the end has begun.
    pub(super) fn is_open(&self) -> Result<()> {
        self.enter(ENDING).map(drop)
    }

    /// Begins a read without blocking.
    pub(super) fn async_read(&self, request: &abi::ReadRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter(ENDING)?;
        // SAFETY: a function of a checked table, on an instance of it that `_inside` keeps from being destroyed; the request
        // is valid during the call. The same holds for each call below.
        unsafe { (self.raw.functions.async_read)(self.raw.ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    /// Reads and blocks.
    pub(super) fn sync_read(&self, request: &abi::ReadRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter(ENDING)?;
        // SAFETY: as in `async_read`.
        unsafe { (self.raw.functions.sync_read)(self.raw.ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn write(&self, request: &abi::WriteRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter(ENDING)?;
        // SAFETY: as in `async_read`.
        unsafe { (self.raw.functions.write)(self.raw.ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn delete(&self, request: &abi::DeleteRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter(ENDING)?;
        // SAFETY: as in `async_read`.
        unsafe { (self.raw.functions.delete)(self.raw.ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn rotate(&self, request: &abi::RotateRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter(ENDING)?;
        // SAFETY: as in `async_read`.
        unsafe { (self.raw.functions.rotate)(self.raw.ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn health(&self, request: &abi::ControlRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter(ENDING)?;
        // SAFETY: as in `async_read`.
        unsafe { (self.raw.functions.health)(self.raw.ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn list(&self, request: &abi::ListRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter(ENDING)?;
        let list = self.list.and_then(|list| list.async_list_secrets);
        let list = list.ok_or_else(|| Error::not_implemented("this plugin", "list", "list its secrets"))?;
        // SAFETY: as in `async_read`; the extension belongs to this instance.
        unsafe { list(self.raw.ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    /// Tells the plugin that nobody waits for an operation any more; possible until the instance is destroyed.
    pub(super) fn cancel(&self, op_id: u64) {
        if let Ok(_inside) = self.enter(CLOSED) {
            // SAFETY: as in `async_read`.
            unsafe { (self.raw.functions.cancel)(self.raw.ptr(), op_id) };
        }
    }

    /// Lets no further operation begin.
    pub(super) fn end_operations(&self) {
        self.inside.fetch_or(ENDING, Ordering::AcqRel);
    }

    /// Lets the plugin end its background work: the last call but `cancel` and `destroy`. Blocks as long as the plugin does.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](keyway_plugin_api::ErrorKind::Unavailable) when the type takes one call at a time and one
    /// has not returned: waiting for it could last for ever.
    pub(super) fn shutdown(&self, request: &abi::ControlRequest, op_id: u64) -> Result<()> {
        let serial = self.raw.functions.capabilities.contains(Capabilities::SERIAL);
        let before = self.inside.fetch_add(1, Ordering::Acquire);
        let _inside = Inside(self);
        if before & CLOSED != 0 || serial && before & COUNT != 0 {
            return Err(Error::unavailable("a call of the plugin has not returned"));
        }
        self.told.store(true, Ordering::Relaxed);
        // SAFETY: as in `async_read`; `ending` calls it once, after `end_operations`.
        unsafe { (self.raw.functions.shutdown)(self.raw.ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    /// How many calls are inside the plugin now; from now on `quieter` is notified when one of them ends.
    pub(super) fn watch_inside(&self) -> usize {
        self.inside.fetch_or(WATCHED, Ordering::AcqRel) & COUNT
    }

    /// Lets no further call begin.
    pub(super) fn close(&self) {
        self.inside.fetch_or(ENDING | CLOSED, Ordering::AcqRel);
    }

    /// Destroys the instance if it is closed and no call is inside; whether it did. Blocks as long as the plugin does.
    pub(super) fn destroy(&self) -> bool {
        let inside = self.inside.load(Ordering::Acquire);
        if inside & CLOSED == 0 || inside & COUNT != 0 || self.destroyed.swap(true, Ordering::AcqRel) {
            return false;
        }
        // SAFETY: a function of a checked table, on the instance that it made, once: the calls that were inside have left,
        // as the count says, and whoever enters after `CLOSED` was set makes no call.
        unsafe { (self.raw.functions.destroy)(self.raw.ptr()) };
        slots::sweep(&self.ledger);
        true
    }
}

impl Drop for Instance {
    /// An instance that did not end in order: nobody asked for it, or a call did not return in time.
    fn drop(&mut self) {
        if *self.destroyed.get_mut() {
            return;
        }
        let (raw, ledger, told) = (self.raw, Arc::clone(&self.ledger), *self.told.get_mut());
        let begun = ending::apart(move || {
            // SAFETY: nobody refers to the instance any more, so that no call is inside and none can begin but these.
            unsafe { raw.finish(&ledger, told) }
        });
        if !begun {
            tracing::warn!("no thread can be started to end an instance of a plugin; it is left as it is");
        }
    }
}

impl Raw {
    fn ptr(&self) -> *mut abi::Instance {
        self.instance.as_ptr()
    }

    /// Tells the plugin of the end, unless it was told, and destroys the instance without waiting for an answer.
    ///
    /// # Safety
    /// No call is inside the instance, none will be made, and it is not destroyed.
    unsafe fn finish(self, ledger: &Arc<Ledger>, told: bool) {
        if !told && let Ok(operation) = Operation::open(ledger, Permit::None) {
            let request = control(0);
            let completion = callbacks::completion(operation.id());
            // SAFETY: a function of a checked table, on the instance that it made; the request is valid during the call.
            unsafe { (self.functions.shutdown)(self.ptr(), &raw const request, completion) };
        }
        // SAFETY: as above, once and as the last call.
        unsafe { (self.functions.destroy)(self.ptr()) };
        slots::sweep(ledger);
    }

    /// # Safety
    /// The instance is not destroyed.
    unsafe fn list_extension(&self) -> Option<&'static abi::List> {
        // SAFETY: a function of a checked table, on the instance that it made; the id is static.
        let list = unsafe { (self.functions.get_extension)(self.ptr(), str(abi::EXT_LIST)) };
        let list = list.cast::<abi::List>();
        if list.is_null() || !list.is_aligned() {
            return None;
        }
        // SAFETY: not NULL and aligned; every version of the struct begins with its size.
        let size = unsafe { list.cast::<u32>().read() };
        if (size as usize) < size_of::<abi::List>() {
            return None;
        }
        // SAFETY: it has all bytes of this version, and the header makes an extension static.
        let list = unsafe { &*list };
        list.async_list_secrets.is_some().then_some(list)
    }
}

/// A text that the callee borrows.
pub(super) fn str(text: &str) -> abi::Str {
    abi::Str { ptr: text.as_ptr(), len: text.len() }
}
