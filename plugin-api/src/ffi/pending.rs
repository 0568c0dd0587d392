//! Operations that outlive their call: what `cancel` aborts and `destroy` waits for.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle};

/// So many cancels of operations that are not known are remembered.
const EARLY: usize = 64;

/// How long `destroy` waits for operations that were aborted: as long as one of them needs to its next await.
const ABORTED: Duration = Duration::from_secs(2);

/// The operations of one instance that are left to the plugin's runtime.
#[derive(Default)]
pub(super) struct Pending {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    tasks: HashMap<u64, AbortHandle>,
    /// Cancelled although not known: complete already, or not yet left to the runtime. Numbers are never used twice.
    early: VecDeque<u64>,
    running: usize,
}

/// An operation in the runtime; what it was made of is gone before it counts as gone.
struct Task(
    Pin<Box<dyn Future<Output = ()> + Send>>,
    #[expect(dead_code, reason = "it is held, not read")] Running,
);

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

struct Running(Arc<Pending>, u64);

impl Pending {
    /// Leaves an operation to the runtime, unless it was cancelled already.
    pub(super) fn add(
        self: &Arc<Self>,
        op_id: u64,
        runtime: &Handle,
        operation: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = Task(Box::pin(operation), Running(Arc::clone(self), op_id));
        // Held until the handle is in the map, so that the task cannot look for itself before it is there.
        let mut state = self.state();
        state.running += 1;
        let task = runtime.spawn(task).abort_handle();
        match state.early.iter().position(|early| *early == op_id) {
            Some(index) => {
                state.early.remove(index);
                drop(state);
                task.abort();
            }
            None => {
                state.tasks.insert(op_id, task);
            }
        }
    }

    /// Gives an operation up, also when it is about to be left to the runtime.
    pub(super) fn cancel(&self, op_id: u64) {
        let mut state = self.state();
        match state.tasks.remove(&op_id) {
            Some(task) => {
                drop(state);
                task.abort();
            }
            None => {
                state.early.push_back(op_id);
                if state.early.len() > EARLY {
                    state.early.pop_front();
                }
            }
        }
    }

    /// Gives all operations up and waits, not for ever, until nothing of them is there.
    pub(super) fn end(&self) {
        let tasks = std::mem::take(&mut self.state().tasks);
        for task in tasks.into_values() {
            task.abort();
        }
        let waited = self.ended.wait_timeout_while(self.state(), ABORTED, |state| state.running > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.tasks.remove(&self.1);
        state.running -= 1;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
    }

    #[test]
    fn an_operation_that_was_cancelled_before_it_was_left_to_the_runtime_is_aborted() {
        let (operations, runtime) = (Arc::<Pending>::default(), runtime());
        operations.cancel(7);
        operations.add(7, runtime.handle(), pending());
        let state =
            operations
                .ended
                .wait_timeout_while(operations.state(), Duration::from_secs(20), |state| state.running > 0);
        let (state, waited) = state.unwrap();
        assert!(!waited.timed_out() && state.early.is_empty());
    }

    #[test]
    fn the_end_aborts_what_is_left_and_waits_for_it() {
        let (operations, runtime) = (Arc::<Pending>::default(), runtime());
        (0..20).for_each(|op_id| operations.add(op_id, runtime.handle(), pending()));
        operations.end();
        assert_eq!(operations.state().running, 0);
    }

    #[test]
    fn cancels_of_what_is_complete_are_not_kept_for_ever() {
        let operations = Pending::default();
        (0..1000).for_each(|op_id| operations.cancel(op_id));
        assert_eq!(operations.state().early.len(), EARLY);
    }
}
