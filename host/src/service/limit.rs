//! Bounds what a manager is asked: for how long, how often at once, and how often a minute.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, WriteReceipt, WriteRequest, request::DEFAULT_TIMEOUT,
};
use tokio::{runtime::Handle, sync::Semaphore, time::Instant};

use super::{blocking::block_on, verdict::not_sent};
use crate::duration::Rounded;

/// The deadline, the number of calls under way and the budget of one manager.
pub struct Limit {
    manager: String,
    inner: Arc<dyn SecretManager>,
    timeout: Duration,
    permits: Semaphore,
    budget: Option<Budget>,
    runtime: Handle,
}

/// A token bucket: holds one minute's calls, is full at first and fills steadily.
struct Budget {
    calls_per_minute: f64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    calls: f64,
    filled: Instant,
}

impl Limit {
    /// Answers within `timeout` whatever `inner` does, with at most `max_in_flight` calls under way and, when there is
    /// a budget, so many calls a minute; must be made inside a tokio runtime with a timer.
    pub fn new(
        manager: impl Into<String>,
        inner: Arc<dyn SecretManager>,
        timeout: Duration,
        max_in_flight: usize,
        calls_per_minute: Option<u32>,
    ) -> Self {
        Self {
            manager: manager.into(),
            inner,
            timeout,
            permits: Semaphore::new(max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            budget: calls_per_minute.map(Budget::new),
            runtime: Handle::current(),
        }
    }

    async fn bound<T>(
        &self,
        operation: &str,
        timeout: Duration,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let timeout = timeout.min(self.timeout);
        let mut begun = false;
        let bounded = tokio::time::timeout(timeout, async {
            // Never closed, so that there always is a permit in the end.
            let _permit = self.permits.acquire().await;
            self.spend(operation)?;
            begun = true;
            call.await
        });
        match bounded.await {
            Ok(answer) => answer,
            Err(_) if begun => {
                let message =
                    format!("{} did not answer a {operation} within {}", self.manager, Rounded(timeout));
                Err(Error::new(ErrorKind::Timeout, message))
            }
            Err(_) => {
                let manager = &self.manager;
                let message = format!(
                    "{manager} had `max_in_flight` other calls under way for {}, so that no {operation} began",
                    Rounded(timeout)
                );
                Err(not_sent(Error::new(ErrorKind::Timeout, message)))
            }
        }
    }

    fn spend(&self, operation: &str) -> Result<()> {
        let Some(budget) = &self.budget else { return Ok(()) };
        budget.spend().map_err(|wait| {
            let (manager, calls) = (&self.manager, budget.calls_per_minute);
            let message = format!(
                "{manager} has had its {calls} calls a minute (`calls_per_minute`): no {operation} began"
            );
            not_sent(Error::new(ErrorKind::Throttled, message).with_retry_after(wait))
        })
    }
}

impl Budget {
    fn new(calls_per_minute: u32) -> Self {
        let calls = f64::from(calls_per_minute.max(1));
        Self { calls_per_minute: calls, bucket: Mutex::new(Bucket { calls, filled: Instant::now() }) }
    }

    /// Takes one call out, or says when there will be one.
    fn spend(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let a_second = self.calls_per_minute / 60.0;
        let more = now.duration_since(bucket.filled).as_secs_f64() * a_second;
        bucket.calls = (bucket.calls + more).min(self.calls_per_minute);
        bucket.filled = now;
        if bucket.calls < 1.0 {
            // A millisecond more, so that rounding never brings the caller back too early.
            let wait = Duration::from_secs_f64((1.0 - bucket.calls) / a_second);
            return Err(wait + Duration::from_millis(1));
        }
        bucket.calls -= 1.0;
        Ok(())
    }
}

#[async_trait]
impl SecretManager for Limit {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.bound("read", request.timeout, self.inner.async_read_secret(request)).await
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let _runtime = self.runtime.enter();
        block_on(self.async_read_secret(request))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.bound("write", request.timeout, self.inner.async_write_secret(request)).await
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.bound("delete", request.timeout, self.inner.async_delete_secret(request)).await
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        let timeout = request.timeout;
        self.bound("rotate", timeout, self.inner.async_rotate_secret(request)).await
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.bound("list", request.timeout, self.inner.async_list_secrets(request)).await
    }

    /// Has a deadline, but takes no permit and is not counted: it must answer when the manager is busy as well.
    async fn health_check(&self) -> Result<()> {
        let timeout = self.timeout.min(DEFAULT_TIMEOUT);
        tokio::time::timeout(timeout, self.inner.health_check()).await.unwrap_or_else(|_| {
            let message =
                format!("{} did not answer a health check within {}", self.manager, Rounded(timeout));
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
