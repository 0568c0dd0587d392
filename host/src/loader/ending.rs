//! The end of an instance: in order, once, and never waiting without a limit for a plugin.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{
    client::{LoadedPlugin, Shared, control, millis},
    slots::{self, Operation, Permit},
};

/// How long each step of an end may take: what is under way, the plugin's `shutdown`, its `destroy`.
const STEP: Duration = Duration::from_secs(5);

impl LoadedPlugin {
    /// Stops admission, gives up what is under way, lets the plugin end its work and destroys the instance. Whoever calls
    /// this waits for the same end, which goes on when a caller gives up.
    pub(super) async fn end(&self) {
        self.begin_end();
        let mut ended = self.shared.ended.subscribe();
        // The sender is in `shared`, which this borrows.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    fn begin_end(&self) {
        if !self.shared.asked.swap(true, Ordering::AcqRel) {
            self.shared.instance.end_operations();
            // A runtime that is gone drops the task, and with the last reference the instance goes, too.
            self.runtime.spawn(Ending(Arc::clone(&self.shared)).run());
        }
    }
}

impl Drop for LoadedPlugin {
    /// Nobody waits, but the end is the same.
    fn drop(&mut self) {
        self.begin_end();
    }
}

/// Runs something on a thread of its own, which may never return; whether it could be begun.
pub(super) fn apart(work: impl FnOnce() + Send + 'static) -> bool {
    thread::Builder::new().name("keyway-end".to_owned()).spawn(work).is_ok()
}

/// The task that ends an instance; whatever becomes of it, those who wait go on.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

impl Ending {
    async fn run(self) {
        let quiet = self.drain().await;
        if !quiet {
            let zombies = self.0.instance.ledger.zombies();
            let manager = &self.0.name;
            tracing::warn!(manager, zombies, "operations did not end before the shutdown of the plugin");
        }
        let ended = self.shutdown().await;
        if !ended {
            tracing::warn!(manager = self.0.name, "the plugin did not end its background work in time");
        }
        self.0.instance.close();
        // A call that did not return until now is not waited for once more.
        let limit = if quiet && ended { STEP } else { Duration::ZERO };
        let left = timeout(limit, self.everybody_left()).await.is_ok();
        if !left || !self.call(|shared| shared.instance.destroy()).await.unwrap_or(false) {
            let manager = &self.0.name;
            tracing::warn!(
                manager,
                "the plugin's instance could not be destroyed in time and is left in memory"
            );
        }
    }

    /// Takes all operations from their callers and waits until the plugin has completed and left each of them.
    async fn drain(&self) -> bool {
        let shared = &self.0;
        let quiet = timeout(STEP, async {
            let operations = slots::revoke(&shared.instance.ledger);
            if !operations.is_empty() {
                self.call(move |shared| operations.into_iter().for_each(|id| shared.instance.cancel(id)))
                    .await;
            }
            // Each operation holds a permit until it completes, each blocking read another one until its call returns.
            let _operations = shared.operations.acquire_many(shared.permits.0).await;
            let _blocking = shared.blocking.acquire_many(shared.permits.1).await;
            self.everybody_left().await;
            // Closed before the permits go back, so that nobody gets one who was let in just before the end.
            shared.operations.close();
            shared.blocking.close();
        });
        let quiet = quiet.await.is_ok();
        shared.operations.close();
        shared.blocking.close();
        quiet
    }

    async fn everybody_left(&self) {
        let instance = &self.0.instance;
        loop {
            let mut quieter = pin!(instance.ledger.quieter.notified());
            quieter.as_mut().enable();
            if instance.watch_inside() == 0 {
                return;
            }
            quieter.await;
        }
    }

    /// Whether the plugin ended its work in time.
    async fn shutdown(&self) -> bool {
        let deadline = Instant::now() + STEP;
        let Ok(mut operation) = Operation::open(&self.0.instance.ledger, Permit::None) else { return false };
        let id = operation.id();
        let told = self.call(move |shared| shared.instance.shutdown(&control(millis(STEP)), id)).await;
        match told {
            Some(Ok(())) => {
                let ended = std::future::poll_fn(|context| operation.poll(Some(context.waker())));
                timeout_at(deadline, ended).await.is_ok()
            }
            Some(Err(_)) => {
                operation.withdraw();
                false
            }
            None => false,
        }
    }

    /// Calls the plugin on a thread of its own; `None` when it does not return in time. The thread keeps the instance then.
    async fn call<R: Send + 'static>(&self, call: impl FnOnce(&Shared) -> R + Send + 'static) -> Option<R> {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        let begun = apart(move || {
            let returned = call(&shared);
            // The reference goes first: whoever is told that the call has returned may be the last one to hold it.
            drop(shared);
            let _ = sender.send(returned);
        });
        if !begun {
            return None;
        }
        timeout(STEP, receiver).await.ok()?.ok()
    }
}
