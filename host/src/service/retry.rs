//! Tries a failed call again, inside its deadline, where that can help and can do no harm.
//!
//! | class | read, list | write, delete |
//! |---|---|---|
//! | THROTTLED | after `retry_after` | after `retry_after`: it was refused, so it was not applied |
//! | UNAUTHENTICATED | once, for the plugin has a new token then | once, likewise |
//! | UNAVAILABLE, TIMEOUT, INTERNAL | with growing, jittered pauses | never: it may have been applied |
//! | any other | never: the answer would be the same | never |
//!
//! A rotation is never tried again, since it may be several changes of which some were applied.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, WriteReceipt, WriteRequest,
};
use tokio::{runtime::Handle, time::Instant};

use super::{
    blocking::block_on,
    verdict::{is_not_sent, is_outage},
};

/// The first pause, which doubles with each further try; jitter adds up to as much again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before jitter.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tries the calls of a manager again.
pub struct Retry {
    inner: Arc<dyn SecretManager>,
    max_retries: u32,
    runtime: Handle,
}

/// What may be done twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// Changes nothing.
    Read,
    /// Changes something.
    Change,
}

/// The tries of one call.
struct Tries {
    operation: Operation,
    pauses: ExponentialBackoff,
    authenticated_again: bool,
    start: Instant,
    timeout: Duration,
}

impl Retry {
    /// Tries the calls of `inner` up to `max_retries` times more; must be made inside a tokio runtime with a timer.
    pub fn new(inner: Arc<dyn SecretManager>, max_retries: u32) -> Self {
        Self { inner, max_retries, runtime: Handle::current() }
    }

    fn tries(&self, operation: Operation, timeout: Duration) -> Tries {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(usize::try_from(self.max_retries).unwrap_or(usize::MAX))
            .with_jitter()
            .build();
        Tries { operation, pauses, authenticated_again: false, start: Instant::now(), timeout }
    }
}

impl Tries {
    /// The time that is left for the next try.
    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.start.elapsed())
    }

    /// Waits until the next try may begin; the error comes back when there must be none, or none inside the deadline.
    async fn pause(&mut self, error: Error) -> Result<()> {
        match self.pause_after(&error) {
            Some(pause) if pause < self.left() => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// How long to wait before the next try; `None` when there must be none.
    fn pause_after(&mut self, error: &Error) -> Option<Duration> {
        let pause = self.pauses.next()?;
        match error.kind() {
            ErrorKind::Throttled => Some(error.retry_after().unwrap_or(pause)),
            ErrorKind::Unauthenticated if !self.authenticated_again => {
                self.authenticated_again = true;
                Some(Duration::ZERO)
            }
            // A layer that refuses to call knows better than this one when calling makes sense again.
            kind if is_outage(kind) && self.operation == Operation::Read && !is_not_sent(error) => {
                Some(pause)
            }
            _ => None,
        }
    }
}

#[async_trait]
impl SecretManager for Retry {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let mut tries = self.tries(Operation::Read, request.timeout);
        loop {
            let timeout = tries.left();
            let request = ReadRequest { timeout, ..request.clone() };
            match self.inner.async_read_secret(&request).await {
                Err(error) => tries.pause(error).await?,
                answer => return answer,
            }
        }
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let _runtime = self.runtime.enter();
        block_on(self.async_read_secret(request))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        let mut tries = self.tries(Operation::Change, request.timeout);
        loop {
            let timeout = tries.left();
            let request = WriteRequest {
                name: request.name.clone(),
                value: Secret::copy_from(request.value.expose_bytes())
                    .with_metadata(request.value.metadata().clone()),
                description: request.description.clone(),
                tags: request.tags.clone(),
                optional_params: request.optional_params.clone(),
                timeout,
            };
            match self.inner.async_write_secret(&request).await {
                Err(error) => tries.pause(error).await?,
                answer => return answer,
            }
        }
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        let mut tries = self.tries(Operation::Change, request.timeout);
        loop {
            let timeout = tries.left();
            let request = DeleteRequest { timeout, ..request.clone() };
            match self.inner.async_delete_secret(&request).await {
                Err(error) => tries.pause(error).await?,
                answer => return answer,
            }
        }
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        self.inner.async_rotate_secret(request).await
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        let mut tries = self.tries(Operation::Read, request.timeout);
        loop {
            let timeout = tries.left();
            let request = ListRequest { timeout, ..request.clone() };
            match self.inner.async_list_secrets(&request).await {
                Err(error) => tries.pause(error).await?,
                answer => return answer,
            }
        }
    }

    async fn health_check(&self) -> Result<()> {
        self.inner.health_check().await
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
