//! The functions of the table, each for any manager type.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::{
    borrow,
    complete::{Completer, Gate, Reply},
    pending::Pending,
};
use crate::{
    abi,
    error::{Error, Result},
    manager::ManagerType,
    runtime,
};

/// What the host's opaque pointer points to.
struct Instance<T> {
    manager: Arc<T>,
    health: Arc<Health>,
}

/// What outlives the instance with the operations that were begun on it.
#[derive(Default)]
struct Health {
    poisoned: AtomicBool,
    gate: Arc<Gate>,
    pending: Arc<Pending>,
}

impl Health {
    fn poison(&self, panic: Panic) -> Error {
        discard(panic);
        self.poisoned.store(true, Ordering::Relaxed);
        lost("the plugin panicked; this instance of it is not used any more")
    }

    fn check(&self) -> Result<()> {
        match self.poisoned.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(lost("the plugin panicked earlier; this instance of it is not used any more")),
        }
    }
}

/// Tells the host that it should make another instance.
fn lost(message: &str) -> Error {
    Error::internal(message).with_vendor_code(abi::INSTANCE_LOST)
}

type Panic = Box<dyn Any + Send>;

/// Drops what was panicked with, which may panic again.
fn discard(panic: Panic) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        Box::leak(another); // this one stays
    }
}

type Operation = Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

/// # Safety
/// `instance` is NULL or came from [`create`] of the same `T` and is not destroyed during `'a`.
unsafe fn instance<'a, T>(instance: *mut abi::Instance) -> Result<&'a Instance<T>> {
    // SAFETY: the caller vouches for the type and the lifetime; only shared references are ever made of it.
    unsafe { instance.cast::<Instance<T>>().as_ref() }
        .ok_or_else(|| Error::internal("the host passed no instance"))
}

/// Begins an operation: polls it once on the caller's thread, and leaves what is not ready to the plugin's runtime.
///
/// # Safety
/// `raw` as in [`instance`]; `done` as in [`Completer::new`].
unsafe fn begin<T: ManagerType>(
    raw: *mut abi::Instance,
    done: abi::Completion,
    start: impl FnOnce(Arc<T>) -> Result<Operation>,
) {
    // SAFETY: passed on to the caller.
    let completer = unsafe { Completer::new(done) };
    // SAFETY: passed on to the caller.
    let instance = match unsafe { instance::<T>(raw) } {
        Ok(instance) => instance,
        Err(error) => return completer.complete(Err(error)),
    };
    let health = &instance.health;
    let first = catch_unwind(AssertUnwindSafe(|| -> Result<_> {
        health.check()?;
        let runtime = runtime::handle()?;
        let _inside = runtime.enter();
        let mut operation = start(Arc::clone(&instance.manager))?;
        Ok(match operation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => (Some(result?), None),
            Poll::Pending => (None, Some((operation, runtime))),
        })
    }));
    match first {
        Err(panic) => completer.complete(Err(health.poison(panic))),
        Ok(Err(error)) => completer.complete(Err(error)),
        Ok(Ok((Some(reply), _))) => completer.complete(Ok(reply)),
        Ok(Ok((None, None))) => {}
        Ok(Ok((None, Some((operation, runtime))))) => {
            spawn(operation, runtime, completer, Arc::clone(health))
        }
    }
}

fn spawn(
    operation: Operation,
    runtime: &tokio::runtime::Handle,
    mut completer: Completer,
    health: Arc<Health>,
) {
    completer.outlive_call(Arc::clone(&health.gate));
    let pending = Arc::clone(&health.pending);
    pending.add(completer.op_id(), runtime, async move {
        let result = CatchUnwind(Some(operation)).await.unwrap_or_else(|panic| Err(health.poison(panic)));
        completer.complete(result);
    });
}

/// An operation whose panics are results; it is gone when it is ready.
struct CatchUnwind(Option<Operation>);

impl Future for CatchUnwind {
    type Output = std::thread::Result<Result<Reply>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let operation = &mut self.0;
        let polled = catch_unwind(AssertUnwindSafe(|| match operation.as_mut() {
            Some(running) => running.as_mut().poll(context),
            None => Poll::Pending,
        }));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(drop_operation(operation).map(|()| result)),
            Err(panic) => {
                if let Err(another) = drop_operation(operation) {
                    discard(another);
                }
                Poll::Ready(Err(panic))
            }
        }
    }
}

impl Drop for CatchUnwind {
    /// Given up in between, which must complete the operation whatever its own destructors do.
    fn drop(&mut self) {
        if let Err(panic) = drop_operation(&mut self.0) {
            discard(panic);
        }
    }
}

fn drop_operation(operation: &mut Option<Operation>) -> std::thread::Result<()> {
    catch_unwind(AssertUnwindSafe(|| *operation = None))
}

/// # Safety
/// As `create` in the header.
pub(super) unsafe extern "C" fn create<T: ManagerType>(
    request: *const abi::CreateRequest,
    failed: abi::Completion,
) -> *mut abi::Instance {
    let made = catch_unwind(|| {
        // SAFETY: the host passes a valid request.
        let json = unsafe { borrow::config(request) }?;
        T::create(crate::config::parse("config", json)?)
    });
    let made = made.unwrap_or_else(|panic| {
        discard(panic);
        Err(Error::internal("the plugin panicked while it made an instance"))
    });
    match made {
        Ok(manager) => {
            let instance = Instance { manager: Arc::new(manager), health: Arc::default() };
            Box::into_raw(Box::new(instance)).cast()
        }
        Err(error) => {
            // SAFETY: the host passes a completion for this call, used here only.
            unsafe { Completer::new(failed) }.complete(Err(error));
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// As `async_read_secret` in the header.
pub(super) unsafe extern "C" fn async_read_secret<T: ManagerType>(
    raw: *mut abi::Instance,
    request: *const abi::ReadRequest,
    done: abi::Completion,
) {
    let start = |manager: Arc<T>| -> Result<Operation> {
        // SAFETY: the host's request, inside the call.
        let request = unsafe { borrow::read(request) }?;
        Ok(Box::pin(async move { manager.async_read_secret(&request).await.map(Reply::Secret) }))
    };
    // SAFETY: the host's instance and completion.
    unsafe { begin(raw, done, start) }
}

/// # Safety
/// As `sync_read_secret` in the header.
pub(super) unsafe extern "C" fn sync_read_secret<T: ManagerType>(
    raw: *mut abi::Instance,
    request: *const abi::ReadRequest,
    done: abi::Completion,
) {
    // SAFETY: the host's completion, used here only.
    let completer = unsafe { Completer::new(done) };
    // SAFETY: the host's instance.
    let result = unsafe { instance::<T>(raw) }.and_then(|instance| {
        instance.health.check()?;
        let read = AssertUnwindSafe(|| {
            // SAFETY: the host's request, inside the call.
            let request = unsafe { borrow::read(request) }?;
            instance.manager.sync_read_secret(&request).map(Reply::Secret)
        });
        catch_unwind(read).unwrap_or_else(|panic| Err(instance.health.poison(panic)))
    });
    completer.complete(result);
}

/// # Safety
/// As `async_write_secret` in the header.
pub(super) unsafe extern "C" fn async_write_secret<T: ManagerType>(
    raw: *mut abi::Instance,
    request: *const abi::WriteRequest,
    done: abi::Completion,
) {
    let start = |manager: Arc<T>| -> Result<Operation> {
        // SAFETY: the host's request, inside the call.
        let request = unsafe { borrow::write(request) }?;
        Ok(Box::pin(async move { manager.async_write_secret(&request).await.map(Reply::Receipt) }))
    };
    // SAFETY: the host's instance and completion.
    unsafe { begin(raw, done, start) }
}

/// # Safety
/// As `async_delete_secret` in the header.
pub(super) unsafe extern "C" fn async_delete_secret<T: ManagerType>(
    raw: *mut abi::Instance,
    request: *const abi::DeleteRequest,
    done: abi::Completion,
) {
    let start = |manager: Arc<T>| -> Result<Operation> {
        // SAFETY: the host's request, inside the call.
        let request = unsafe { borrow::delete(request) }?;
        Ok(Box::pin(async move { manager.async_delete_secret(&request).await.map(|()| Reply::Done) }))
    };
    // SAFETY: the host's instance and completion.
    unsafe { begin(raw, done, start) }
}

/// # Safety
/// As `async_rotate_secret` in the header.
pub(super) unsafe extern "C" fn async_rotate_secret<T: ManagerType>(
    raw: *mut abi::Instance,
    request: *const abi::RotateRequest,
    done: abi::Completion,
) {
    let start = |manager: Arc<T>| -> Result<Operation> {
        // SAFETY: the host's request, inside the call.
        let request = unsafe { borrow::rotate(request) }?;
        Ok(Box::pin(async move { manager.async_rotate_secret(request).await.map(Reply::Receipt) }))
    };
    // SAFETY: the host's instance and completion.
    unsafe { begin(raw, done, start) }
}

/// # Safety
/// As `async_list_secrets` in the header.
pub(super) unsafe extern "C" fn async_list_secrets<T: ManagerType>(
    raw: *mut abi::Instance,
    request: *const abi::ListRequest,
    done: abi::Completion,
) {
    let start = |manager: Arc<T>| -> Result<Operation> {
        // SAFETY: the host's request, inside the call; the function is called before the operation is complete only.
        let (request, entry) = unsafe { borrow::list(request) }?;
        Ok(Box::pin(async move {
            let names = manager.async_list_secrets(&request).await?;
            Ok(Reply::Names(names, entry))
        }))
    };
    // SAFETY: the host's instance and completion.
    unsafe { begin(raw, done, start) }
}

/// # Safety
/// As `health_check` in the header.
pub(super) unsafe extern "C" fn health_check<T: ManagerType>(
    raw: *mut abi::Instance,
    request: *const abi::ControlRequest,
    done: abi::Completion,
) {
    let start = |manager: Arc<T>| -> Result<Operation> {
        // SAFETY: the host's request, inside the call.
        unsafe { borrow::control(request) }?;
        Ok(Box::pin(async move { manager.health_check().await.map(|()| Reply::Done) }))
    };
    // SAFETY: the host's instance and completion.
    unsafe { begin(raw, done, start) }
}

/// # Safety
/// As `cancel` in the header.
pub(super) unsafe extern "C" fn cancel<T: ManagerType>(raw: *mut abi::Instance, op_id: u64) {
    // SAFETY: the host's instance.
    if let Ok(instance) = unsafe { instance::<T>(raw) } {
        instance.health.pending.cancel(op_id);
    }
}

/// # Safety
/// As `shutdown` in the header.
pub(super) unsafe extern "C" fn shutdown<T: ManagerType>(
    raw: *mut abi::Instance,
    request: *const abi::ControlRequest,
    done: abi::Completion,
) {
    let start = |manager: Arc<T>| -> Result<Operation> {
        // SAFETY: the host's request, inside the call.
        unsafe { borrow::control(request) }?;
        Ok(Box::pin(async move {
            manager.shutdown().await;
            Ok(Reply::Done)
        }))
    };
    // SAFETY: the host's instance and completion.
    unsafe { begin(raw, done, start) }
}

/// # Safety
/// As `destroy` in the header.
pub(super) unsafe extern "C" fn destroy<T: ManagerType>(raw: *mut abi::Instance) {
    if raw.is_null() {
        return;
    }
    // SAFETY: it came from `create` of the same type, and the host passes it here once, with no other call under way.
    let instance = unsafe { Box::from_raw(raw.cast::<Instance<T>>()) };
    instance.health.gate.close();
    instance.health.pending.end();
    // A destructor of the author's that panics must not cross either; there is nobody left to tell.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(instance))) {
        discard(panic);
    }
}
