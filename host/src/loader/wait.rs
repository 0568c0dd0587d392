//! Waits for a future on a thread that may block.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls the future on this thread until it is ready; unlike a runtime's own way, also inside one. `None`: it was not
/// ready in time.
pub(super) fn block_on<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    let begun = Instant::now();
    // Inside a task whose share of time is used up, what belongs to tokio would be pending for ever otherwise.
    let mut future = pin!(tokio::task::unconstrained(future));
    // The first poll needs no waker where the plugin completes inline.
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return Some(output);
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return Some(output),
            Poll::Pending => thread::park_timeout(timeout.checked_sub(begun.elapsed())?),
        }
    }
}
