//! Leaves a manager alone that keeps failing, and probes it with one call at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, WriteReceipt, WriteRequest,
};
use tokio::time::Instant;

use super::verdict::{is_not_sent, is_outage, not_sent};
use crate::duration::Rounded;

/// Answers UNAVAILABLE at once while a manager is left alone.
///
/// It opens after so many failures in a row that are the manager's own (UNAVAILABLE, TIMEOUT, INTERNAL). Any other
/// answer, such as NOT_FOUND, shows that the manager works.
pub struct Breaker {
    manager: String,
    inner: Arc<dyn SecretManager>,
    failures: u32,
    cooldown: Duration,
    watch: Mutex<Watch>,
}

/// Whether calls go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// One call goes through, to see whether the manager works again.
    Probing,
}

struct Watch {
    state: State,
    /// What the manager said when it failed last, for those who are refused because of it.
    last_failure: String,
}

#[derive(Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing,
}

/// A call that was let through.
struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Breaker {
    /// Leaves `inner` alone for `cooldown` after `failures` failures in a row.
    pub fn new(
        manager: impl Into<String>,
        inner: Arc<dyn SecretManager>,
        failures: u32,
        cooldown: Duration,
    ) -> Self {
        let watch = Watch { state: State::Closed { failures: 0 }, last_failure: String::new() };
        Self { manager: manager.into(), inner, failures: failures.max(1), cooldown, watch: Mutex::new(watch) }
    }

    /// Whether calls go through now.
    pub fn state(&self) -> BreakerState {
        match self.lock().state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing => BreakerState::Probing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn guard<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let pass = self.admit()?;
        let answer = call.await;
        pass.judge(answer.as_ref().err());
        answer
    }

    fn admit(&self) -> Result<Pass<'_>> {
        let mut watch = self.lock();
        let now = Instant::now();
        let left = match watch.state {
            State::Closed { .. } => return Ok(Pass { breaker: self, probe: false }),
            State::Open { until } if now >= until => {
                watch.state = State::Probing;
                return Ok(Pass { breaker: self, probe: true });
            }
            State::Open { until } => until - now,
            State::Probing => Duration::ZERO,
        };
        let last = &watch.last_failure;
        let manager = &self.manager;
        let message = match left {
            Duration::ZERO => {
                format!(
                    "{manager} kept failing, at last with: {last}; one call finds out whether it works again"
                )
            }
            left => {
                format!(
                    "{manager} kept failing, at last with: {last}; it is left alone for another {}",
                    Rounded(left)
                )
            }
        };
        Err(not_sent(Error::unavailable(message).with_retry_after(left)))
    }
}

impl Pass<'_> {
    fn judge(mut self, error: Option<&Error>) {
        if error.is_some_and(is_not_sent) {
            return; // a layer further in refused: that says nothing about the manager, and a probe is still due
        }
        let breaker = self.breaker;
        let failure = error.filter(|error| is_outage(error.kind()));
        let failed = failure.is_some();
        let mut watch = breaker.lock();
        if let Some(failure) = failure {
            watch.last_failure = failure.to_string();
        }
        let open = State::Open { until: Instant::now() + breaker.cooldown };
        let next = match watch.state {
            State::Probing if self.probe && failed => open,
            State::Closed { failures } if failed && failures + 1 >= breaker.failures => {
                let (manager, error) = (&breaker.manager, &watch.last_failure);
                tracing::warn!(manager, error, "the manager keeps failing and is left alone");
                open
            }
            State::Closed { failures } if failed => State::Closed { failures: failures + 1 },
            // A call of before that fails only now is no news.
            current if failed => current,
            State::Closed { .. } => State::Closed { failures: 0 },
            State::Open { .. } | State::Probing => {
                tracing::info!(manager = breaker.manager, "the manager works again");
                State::Closed { failures: 0 }
            }
        };
        watch.state = next;
        drop(watch);
        self.probe = false;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // A probe that was given up found nothing out: the next call is the probe.
        if !self.probe {
            return;
        }
        let mut watch = self.breaker.lock();
        if matches!(watch.state, State::Probing) {
            watch.state = State::Open { until: Instant::now() };
        }
    }
}

#[async_trait]
impl SecretManager for Breaker {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.guard(self.inner.async_read_secret(request)).await
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let pass = self.admit()?;
        let answer = self.inner.sync_read_secret(request);
        pass.judge(answer.as_ref().err());
        answer
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.guard(self.inner.async_write_secret(request)).await
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.guard(self.inner.async_delete_secret(request)).await
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        self.guard(self.inner.async_rotate_secret(request)).await
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.guard(self.inner.async_list_secrets(request)).await
    }

    /// Asks the manager even while it is left alone: whoever checks wants to know.
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
