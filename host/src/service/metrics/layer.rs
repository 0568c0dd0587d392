//! The layer that counts and traces the calls of a manager.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, WriteReceipt, WriteRequest,
};
use tracing::Instrument as _;

use super::{InGauge, Labels, ManagerMetrics};

/// Counts every call that goes on to the manager, and runs it in a span.
pub struct Metered {
    inner: Arc<dyn SecretManager>,
    metrics: ManagerMetrics,
}

/// A call under way; one that is dropped was given up by its caller.
struct Call<'a> {
    metrics: &'a ManagerMetrics,
    operation: &'static str,
    start: Instant,
    class: &'static str,
    _in_flight: InGauge,
}

impl Metered {
    /// Counts the calls of `inner`.
    pub fn new(inner: Arc<dyn SecretManager>, metrics: ManagerMetrics) -> Self {
        Self { inner, metrics }
    }

    async fn count<T>(
        &self,
        operation: &'static str,
        name: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let span = tracing::debug_span!("manager_call", manager = self.metrics.manager, operation, name);
        let mut counted = self.metrics.begin(operation);
        let answer = call.instrument(span).await;
        counted.class = class(answer.as_ref().err());
        answer
    }
}

impl ManagerMetrics {
    fn begin(&self, operation: &'static str) -> Call<'_> {
        Call {
            metrics: self,
            operation,
            start: Instant::now(),
            class: ErrorKind::Cancelled.as_str(),
            _in_flight: self.in_flight.enter(),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let manager = self.metrics.manager.clone();
        let mut labels: Labels = vec![("manager", manager), ("operation", self.operation.to_owned())];
        self.metrics.durations.get_or_create(&labels).observe(self.start.elapsed());
        labels.push(("class", self.class.to_owned()));
        self.metrics.calls.get_or_create(&labels).inc();
    }
}

/// The class of an outcome: `OK`, or the error's kind.
fn class(error: Option<&Error>) -> &'static str {
    error.map_or("OK", |error| error.kind().as_str())
}

#[async_trait]
impl SecretManager for Metered {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.count("read", &request.name, self.inner.async_read_secret(request)).await
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let mut counted = self.metrics.begin("read");
        let answer = self.inner.sync_read_secret(request);
        counted.class = class(answer.as_ref().err());
        answer
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.count("write", &request.name, self.inner.async_write_secret(request)).await
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.count("delete", &request.name, self.inner.async_delete_secret(request)).await
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        let name = request.new_name.clone();
        self.count("rotate", &name, self.inner.async_rotate_secret(request)).await
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.count("list", &request.prefix, self.inner.async_list_secrets(request)).await
    }

    async fn health_check(&self) -> Result<()> {
        self.count("health", "", self.inner.health_check()).await
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
