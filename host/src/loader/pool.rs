//! Reads of a type that can only block: on threads of the runtime's pool, a bounded number of them at once.

use std::sync::Arc;

use keyway_plugin_api::{Error, ReadRequest, Result};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    client::{LONGEST, LoadedPlugin, Shared, Waiting, millis},
    manager::read,
    slots::{self, Operation, Outcome},
};

impl LoadedPlugin {
    /// Reads with the plugin's blocking function.
    pub(super) async fn read_on_pool(&self, request: &ReadRequest) -> Result<Outcome> {
        let shared = &*self.shared;
        let timeout = request.timeout.min(LONGEST);
        let deadline = Instant::now() + timeout;
        shared.admit()?;
        let (permit, left) = shared.acquire(&shared.operations, timeout).await?;
        let (thread, left) = shared.acquire(&shared.blocking, left).await?;
        let (permit, serial) = shared.hold(permit);
        let operation = Operation::open_for_pool(&shared.instance.ledger, permit)?;
        let id = operation.id();
        let shared = Arc::clone(&self.shared);
        let read = PoolRead { shared, id, request: request.clone(), deadline, _held: (thread, serial) };
        self.runtime.spawn_blocking(move || read.run());
        Waiting::new(&self.shared, operation, left).outcome().await
    }
}

/// A read that waits for its thread or has it.
struct PoolRead {
    shared: Arc<Shared>,
    id: u64,
    request: ReadRequest,
    deadline: Instant,
    /// The plugin's thread is busy until the call has returned, whoever waits.
    _held: (OwnedSemaphorePermit, Option<Arc<OwnedSemaphorePermit>>),
}

impl PoolRead {
    fn run(self) {
        if !slots::begin(self.id) {
            return; // its caller went away before there was a thread
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let call = |raw: &_| self.shared.instance.sync_read(raw, self.id);
        match read(&self.request, millis(left), call) {
            Ok(()) => slots::complete_missing(self.id),
            Err(error) => slots::fail(self.id, error),
        }
    }
}

impl Drop for PoolRead {
    /// Does nothing for a read that ran: its operation is complete. A runtime that ends drops those that wait.
    fn drop(&mut self) {
        slots::fail(self.id, Error::unavailable("the threads of the host ended before the read began"));
    }
}
