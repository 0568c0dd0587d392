//! The cache for those who keep values themselves: each read fetches, and what it fetches is cached for all others.

use async_trait::async_trait;
use keyway_plugin_api::{Capabilities, ReadRequest, Result, Secret, SecretManager};

use super::Cache;
use crate::service::{
    blocking::block_on,
    caller::{Seen, note},
};

/// Reads past the cache and into it; changes nothing else.
pub struct FreshReads(pub(in crate::service) Cache);

#[async_trait]
impl SecretManager for FreshReads {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let cached = self.0.refresh(request).await?;
        note(Seen { state: cached.state, generation: cached.generation });
        let value = &cached.value;
        Ok(Secret::copy_from(value.expose_bytes()).with_metadata(value.metadata().clone()))
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let _runtime = self.0.shared.runtime.enter();
        block_on(self.async_read_secret(request))
    }

    async fn health_check(&self) -> Result<()> {
        self.0.health_check().await
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities() & (Capabilities::READ | Capabilities::SYNC_READ | Capabilities::HEALTH)
    }
}
