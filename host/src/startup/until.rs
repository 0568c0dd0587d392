//! A manager whose answers are waited for until a moment.

use std::sync::Arc;

use async_trait::async_trait;
use keyway_plugin_api::{Error, ErrorKind, ReadRequest, Result, Secret, SecretManager};
use tokio::time::{Instant, timeout_at};

/// Lets no read and no health check take longer than the start may wait.
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

    async fn health_check(&self) -> Result<()> {
        timeout_at(self.deadline, self.manager.health_check()).await.unwrap_or_else(|_elapsed| {
            Err(Error::new(ErrorKind::Timeout, "no answer to a health check came while the start could wait"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Hangs;

    #[async_trait]
    impl SecretManager for Hangs {
        async fn health_check(&self) -> Result<()> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_health_check_that_hangs_ends_with_the_time_that_the_start_may_wait() {
        let (began, allowed) = (Instant::now(), Duration::from_secs(1));
        let bounded = Until { manager: Arc::new(Hangs), deadline: began + allowed };
        assert_eq!(bounded.health_check().await.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(began.elapsed(), allowed);
    }
}
