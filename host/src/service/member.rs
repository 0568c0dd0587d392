//! One manager of a group: asked with a deadline of its own, whatever the manager itself makes of deadlines.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use keyway_plugin_api::{
    DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, Secret, SecretManager, WriteReceipt,
    WriteRequest,
};
use tokio::time::Instant;

use crate::duration::Rounded;

/// A manager as a member of a chain or of a replica set.
#[derive(Clone)]
pub struct Member {
    /// Its name in the configuration.
    pub name: String,
    /// The manager.
    pub manager: Arc<dyn SecretManager>,
    /// The time that one operation of it may take.
    pub timeout: Duration,
}

impl Member {
    pub(super) async fn read(&self, request: &ReadRequest, limit: Duration) -> Result<Secret> {
        let request = ReadRequest { timeout: limit.min(self.timeout), ..request.clone() };
        self.within(request.timeout, self.manager.async_read_secret(&request)).await
    }

    pub(super) async fn write(&self, request: &WriteRequest, limit: Duration) -> Result<WriteReceipt> {
        let request = WriteRequest { timeout: limit.min(self.timeout), ..copy_of(request) };
        self.within(request.timeout, self.manager.async_write_secret(&request)).await
    }

    pub(super) async fn delete(&self, request: &DeleteRequest, limit: Duration) -> Result<()> {
        let request = DeleteRequest { timeout: limit.min(self.timeout), ..request.clone() };
        self.within(request.timeout, self.manager.async_delete_secret(&request)).await
    }

    pub(super) async fn list(&self, request: &ListRequest, limit: Duration) -> Result<Vec<String>> {
        let request = ListRequest { timeout: limit.min(self.timeout), ..request.clone() };
        self.within(request.timeout, self.manager.async_list_secrets(&request)).await
    }

    pub(super) async fn health(&self) -> Result<()> {
        self.within(self.timeout, self.manager.health_check()).await
    }

    async fn within<T>(&self, limit: Duration, operation: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(limit, operation).await.unwrap_or_else(|_elapsed| {
            let message = format!("the manager {} did not answer within {}", self.name, Rounded(limit));
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.name)
    }
}

/// The time that an operation on a group may take, and how much of it is left.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        // A time that the clock cannot hold is no limit; a day is none either.
        let now = Instant::now();
        Deadline(now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400)))
    }

    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The part of one of `many` that are still to be asked, so that the first cannot use up the time of the others.
    pub(super) fn share(self, many: usize) -> Duration {
        self.left() / u32::try_from(many.max(1)).unwrap_or(u32::MAX)
    }
}

/// A request of its own, with its own copy of the value.
pub(super) fn copy_of(request: &WriteRequest) -> WriteRequest {
    WriteRequest {
        name: request.name.clone(),
        value: Secret::copy_from(request.value.expose_bytes())
            .with_metadata(request.value.metadata().clone()),
        description: request.description.clone(),
        tags: request.tags.clone(),
        optional_params: request.optional_params.clone(),
        timeout: request.timeout,
    }
}

/// Whether an error says nothing about the secret: the member was not reached, or was not able to answer.
pub(super) fn is_outage(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unauthenticated
            | ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Cancelled
            | ErrorKind::Internal
    )
}
