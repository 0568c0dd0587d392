//! The layer that writes the audit log.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, WriteReceipt, WriteRequest,
};

use super::{AuditLog, Event, Happening};
use crate::service::{
    blocking::block_on,
    caller::{Seen, current_caller, watching},
    verdict::not_sent,
};

/// Logs every operation on its way out; a change also on its way in when the log is required.
pub struct Audited {
    manager: String,
    inner: Arc<dyn SecretManager>,
    log: AuditLog,
    event: Happening,
}

impl Audited {
    /// Logs the operations of `inner` as what they are at this place.
    pub fn new(
        manager: impl Into<String>,
        inner: Arc<dyn SecretManager>,
        log: AuditLog,
        event: Happening,
    ) -> Self {
        Self { manager: manager.into(), inner, log, event }
    }

    /// Logs what changes nothing: that it cannot be logged is not the manager's failure.
    async fn logged<T>(
        &self,
        operation: &'static str,
        name: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        let (answer, seen) = watching(call).await;
        self.record(operation, name, start, answer.as_ref().err(), seen).await.map_err(not_sent)?;
        answer
    }

    /// Logs a change; nothing is changed that could not be logged. One that was, and then could not be logged, may have
    /// been applied, as its error says.
    async fn logged_change<T>(
        &self,
        operation: &'static str,
        name: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.log.is_required() && self.event == Happening::HandedOut {
            let event = self.event(Happening::Begun, operation, name);
            self.log.record(&event).await.map_err(not_sent)?;
        }
        let start = Instant::now();
        let (answer, seen) = watching(call).await;
        self.record(operation, name, start, answer.as_ref().err(), seen).await?;
        answer
    }

    async fn record(
        &self,
        operation: &'static str,
        name: &str,
        start: Instant,
        error: Option<&Error>,
        seen: Option<Seen>,
    ) -> Result<()> {
        let event = Event {
            outcome: error.map_or("OK", |error| error.kind().as_str()),
            latency: start.elapsed(),
            cache: seen.map(|seen| seen.state.as_str()),
            generation: seen.map(|seen| seen.generation).filter(|generation| *generation > 0),
            ..self.event(self.event, operation, name)
        };
        self.log.record(&event).await
    }

    fn event<'a>(&'a self, event: Happening, operation: &'a str, name: &'a str) -> Event<'a> {
        Event {
            event,
            caller: current_caller(),
            operation,
            manager: &self.manager,
            name,
            outcome: "OK",
            latency: std::time::Duration::ZERO,
            cache: None,
            generation: None,
        }
    }
}

#[async_trait]
impl SecretManager for Audited {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.logged("read", &request.name, self.inner.async_read_secret(request)).await
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let read = async { self.inner.sync_read_secret(request) };
        block_on(self.logged("read", &request.name, read))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.logged_change("write", &request.name, self.inner.async_write_secret(request)).await
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.logged_change("delete", &request.name, self.inner.async_delete_secret(request)).await
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        let name = request.new_name.clone();
        self.logged_change("rotate", &name, self.inner.async_rotate_secret(request)).await
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.logged("list", &request.prefix, self.inner.async_list_secrets(request)).await
    }

    async fn health_check(&self) -> Result<()> {
        self.inner.health_check().await
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
        self.log.flush().await;
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
