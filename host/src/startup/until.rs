//! A manager whose answers are waited for until a moment.

use std::sync::Arc;

use async_trait::async_trait;
use keyway_plugin_api::{ReadRequest, Result, Secret, SecretManager};
use tokio::time::Instant;

/// Lets no read take longer than the start may wait.
pub(super) struct Until {
    pub(super) manager: Arc<dyn SecretManager>,
    pub(super) deadline: Instant,
}

#[async_trait]
impl SecretManager for Until {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let request = ReadRequest { timeout: request.timeout.min(left), ..request.clone() };
        self.manager.async_read_secret(&request).await
    }
}
