//! An instance of a manager type: raw calls, and the order in which an instance ends.

use std::{
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyway_plugin_api::{Capabilities, Error, ErrorKind, Result, abi};

use super::{
    callbacks,
    functions::Functions,
    slots::{Ledger, Operation},
};

/// Set in `Instance::inside` when no further call may begin.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// Set in `Instance::inside` when somebody waits for the calls to end; before that, nobody is told.
const WATCHED: usize = 1 << (usize::BITS - 2);

/// The plugin's instance: every call into it goes through here.
pub(super) struct Instance {
    raw: NonNull<abi::Instance>,
    functions: Functions,
    list: Option<&'static abi::List>,
    pub(super) ledger: Arc<Ledger>,
    /// Held during each operation's call when the type is SERIAL: the permit of an operation ends with its completion, which
    /// may come before the call has returned.
    one_call: Option<Mutex<()>>,
    /// How many calls are inside the plugin at this moment, and whether it is closed.
    inside: AtomicUsize,
}

// SAFETY: the header lets the host call the functions of an instance from any thread, concurrently; destruction is
// ordered after all of them by `inside`.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

/// One call that is inside the plugin.
struct Inside<'a>(&'a Instance, Option<MutexGuard<'a, ()>>);

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
        let mut failed = Operation::open(&ledger, None)?;
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
        let Some(raw) = NonNull::new(raw) else {
            return Err(match reason {
                std::task::Poll::Ready(Err(error)) => error,
                _ => Error::internal("the plugin made no instance and gave no reason"),
            });
        };
        // SAFETY: the instance was just made by this table.
        let list = unsafe { list_extension(functions, raw) };
        let one_call = functions.capabilities.contains(Capabilities::SERIAL).then(Mutex::default);
        Ok(Instance { raw, functions, list, ledger, one_call, inside: AtomicUsize::new(0) })
    }

    pub(super) fn has_list(&self) -> bool {
        self.list.is_some()
    }

    fn enter(&self) -> Result<Inside<'_>> {
        let before = self.inside.fetch_add(1, Ordering::Acquire);
        let mut inside = Inside(self, None);
        if before & CLOSED != 0 {
            return Err(Error::new(ErrorKind::Unavailable, "the secret manager is shutting down"));
        }
        inside.1 = self.one_call.as_ref().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(inside)
    }

    /// Begins a read without blocking.
    pub(super) fn async_read(&self, request: &abi::ReadRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter()?;
        // SAFETY: a function of a checked table, on an instance of it that `_inside` keeps from being destroyed; the request
        // is valid during the call. The same holds for each call below.
        unsafe { (self.functions.async_read)(self.raw.as_ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    /// Reads and blocks.
    pub(super) fn sync_read(&self, request: &abi::ReadRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter()?;
        // SAFETY: as in `async_read`.
        unsafe { (self.functions.sync_read)(self.raw.as_ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn write(&self, request: &abi::WriteRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter()?;
        // SAFETY: as in `async_read`.
        unsafe { (self.functions.write)(self.raw.as_ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn delete(&self, request: &abi::DeleteRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter()?;
        // SAFETY: as in `async_read`.
        unsafe { (self.functions.delete)(self.raw.as_ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn rotate(&self, request: &abi::RotateRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter()?;
        // SAFETY: as in `async_read`.
        unsafe { (self.functions.rotate)(self.raw.as_ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn health(&self, request: &abi::ControlRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter()?;
        // SAFETY: as in `async_read`.
        unsafe { (self.functions.health)(self.raw.as_ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    pub(super) fn list(&self, request: &abi::ListRequest, op_id: u64) -> Result<()> {
        let _inside = self.enter()?;
        let list = self.list.and_then(|list| list.async_list_secrets);
        let list = list.ok_or_else(|| Error::unsupported("list"))?;
        // SAFETY: as in `async_read`; the extension belongs to this instance.
        unsafe { list(self.raw.as_ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    /// Tells the plugin that nobody waits for an operation any more.
    pub(super) fn cancel(&self, op_id: u64) {
        let before = self.inside.fetch_add(1, Ordering::Acquire);
        let _inside = Inside(self, None); // a cancel may come while the operation's own call is inside
        if before & CLOSED == 0 {
            // SAFETY: as in `async_read`.
            unsafe { (self.functions.cancel)(self.raw.as_ptr(), op_id) };
        }
    }

    /// Lets the plugin end its background work: the last call but `destroy`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the type takes one call at a time and one has not returned: waiting for it could
    /// last for ever.
    pub(super) fn shutdown(&self, request: &abi::ControlRequest, op_id: u64) -> Result<()> {
        let _one_call = match self.one_call.as_ref().map(Mutex::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => {
                return Err(Error::unavailable("a call of the plugin has not returned"));
            }
            Some(Ok(guard)) => Some(guard),
            Some(Err(TryLockError::Poisoned(guard))) => Some(guard.into_inner()),
            None => None,
        };
        self.inside.fetch_add(1, Ordering::Acquire);
        let _inside = Inside(self, None);
        // SAFETY: as in `async_read`; `LoadedPlugin` calls it once, after it stopped admission.
        unsafe { (self.functions.shutdown)(self.raw.as_ptr(), request, callbacks::completion(op_id)) };
        Ok(())
    }

    /// Lets no further call begin.
    pub(super) fn close(&self) {
        self.inside.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// How many calls are inside the plugin now; from now on `quieter` is notified when one of them ends.
    pub(super) fn watch_inside(&self) -> usize {
        self.inside.fetch_or(WATCHED, Ordering::AcqRel) & !(CLOSED | WATCHED)
    }
}

impl Drop for Instance {
    /// Nobody refers to the instance any more, so no call is inside and none can begin.
    fn drop(&mut self) {
        // SAFETY: a function of a checked table, on the instance that it made, once and as the last call.
        unsafe { (self.functions.destroy)(self.raw.as_ptr()) };
    }
}

/// # Safety
/// `raw` is an instance that the table of `functions` made.
unsafe fn list_extension(functions: Functions, raw: NonNull<abi::Instance>) -> Option<&'static abi::List> {
    // SAFETY: passed on to the caller; the id is static.
    let list = unsafe { (functions.get_extension)(raw.as_ptr(), str(abi::EXT_LIST)) }.cast::<abi::List>();
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

/// A text that the callee borrows.
pub(super) fn str(text: &str) -> abi::Str {
    abi::Str { ptr: text.as_ptr(), len: text.len() }
}
