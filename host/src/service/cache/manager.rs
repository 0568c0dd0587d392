//! The cache as a secret manager: reads by value, changes written through.

use async_trait::async_trait;
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, SecretMetadata, WriteReceipt, WriteRequest,
};

use super::{
    Cache, CacheState,
    change::{Change, Outcome},
};
use crate::service::{
    blocking::block_on,
    caller::{Seen, note},
};

#[async_trait]
impl SecretManager for Cache {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let read = self.read_cached(request).await;
        match read {
            Ok(cached) => {
                note(Seen { state: cached.state, generation: cached.generation });
                let value = &cached.value;
                Ok(Secret::copy_from(value.expose_bytes()).with_metadata(value.metadata().clone()))
            }
            Err(error) => {
                let absent = error.kind() == ErrorKind::NotFound;
                let state = if absent { CacheState::Negative } else { CacheState::Empty };
                note(Seen { state, generation: 0 });
                Err(error)
            }
        }
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let _runtime = self.shared.runtime.enter();
        block_on(self.async_read_secret(request))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        let change = Change::begin(&self.shared, &request.name, &request.optional_params);
        let written = self.shared.inner.async_write_secret(request).await;
        match &written {
            Ok(receipt) => change.settle(Outcome::Stored(copy(&request.value, receipt))),
            Err(error) => change.fail(error),
        }
        written
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        let change = Change::begin(&self.shared, &request.name, &request.optional_params);
        let deleted = self.shared.inner.async_delete_secret(request).await;
        match &deleted {
            Ok(()) => change.settle(Outcome::Deleted),
            Err(error) if error.kind() == ErrorKind::NotFound => change.settle(Outcome::Deleted),
            Err(error) => change.fail(error),
        }
        deleted
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        let (current, new) = (request.current_name.clone(), request.new_name.clone());
        let params = request.optional_params.clone();
        let value = Secret::copy_from(request.value.expose_bytes());
        let change = Change::begin(&self.shared, &new, &params);
        let renamed = (current != new).then(|| Change::begin(&self.shared, &current, &params));
        // It takes several steps, any of which may have failed: without success both changes stay uncertain.
        let receipt = self.shared.inner.async_rotate_secret(request).await?;
        change.settle(Outcome::Stored(copy(&value, &receipt)));
        if let Some(renamed) = renamed {
            renamed.settle(Outcome::Deleted);
        }
        Ok(receipt)
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.shared.inner.async_list_secrets(request).await
    }

    async fn health_check(&self) -> Result<(), Error> {
        self.shared.inner.health_check().await
    }

    async fn shutdown(&self) {
        self.shared.inner.shutdown().await;
        self.shared.slots.invalidate_all();
        self.shared.slots.run_pending_tasks();
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.inner.capabilities()
    }
}

/// What was written, as a read would give it.
fn copy(value: &Secret, receipt: &WriteReceipt) -> Secret {
    let metadata = SecretMetadata { version: receipt.version.clone(), ..SecretMetadata::default() };
    Secret::copy_from(value.expose_bytes()).with_metadata(metadata)
}
