//! The functions of the table, each for any manager type.

use std::{
    collections::HashMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::task::AbortHandle;

use super::{
    borrow,
    complete::{Completer, Gate, Reply},
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
    pending: Mutex<HashMap<u64, AbortHandle>>,
}

impl Health {
    fn pending(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poison(&self) -> Error {
        self.poisoned.store(true, Ordering::Relaxed);
        Error::internal("the plugin panicked; this instance of it is not used any more")
    }

    fn check(&self) -> Result<()> {
        match self.poisoned.load(Ordering::Relaxed) {
            false => Ok(()),
            true => {
                Err(Error::internal("the plugin panicked earlier; this instance of it is not used any more"))
            }
        }
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
        Err(_panic) => completer.complete(Err(health.poison())),
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
    let op_id = completer.op_id();
    let owner = Arc::clone(&health);
    // Held until the handle is in the map, so that the task cannot look for itself before it is there.
    let mut pending = owner.pending();
    let task = runtime.spawn(async move {
        let result = CatchUnwind(operation).await.unwrap_or_else(|_panic| Err(health.poison()));
        health.pending().remove(&op_id);
        completer.complete(result);
    });
    pending.insert(op_id, task.abort_handle());
}

struct CatchUnwind(Operation);

impl Future for CatchUnwind {
    type Output = std::thread::Result<Result<Reply>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
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
        T::create(crate::config::parse(json)?)
    });
    match made.unwrap_or_else(|_panic| Err(Error::internal("the plugin panicked while it made an instance")))
    {
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
        catch_unwind(read).unwrap_or_else(|_panic| Err(instance.health.poison()))
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
    let op_id = done.op_id;
    let start = |manager: Arc<T>| -> Result<Operation> {
        // SAFETY: the host's request, inside the call.
        let (request, entry) = unsafe { borrow::list(request) }?;
        Ok(Box::pin(async move {
            for name in manager.async_list_secrets(&request).await? {
                // SAFETY: the host's function for this operation, which is not complete yet; the name outlives the call.
                unsafe { entry(op_id, abi::Str { ptr: name.as_ptr(), len: name.len() }) };
            }
            Ok(Reply::Done)
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
        let task = instance.health.pending().remove(&op_id);
        if let Some(task) = task {
            task.abort();
        }
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
    for (_, task) in instance.health.pending().drain() {
        task.abort();
    }
    // A destructor of the author's that panics must not cross either; there is nobody left to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(instance)));
}
