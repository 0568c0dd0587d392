//! The manager: a map behind a lock.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ListRequest, ManagerType, ReadRequest, Result, Secret, SecretManager,
    SecretName, WriteReceipt, WriteRequest, async_trait,
};

use crate::config::Config;

/// Keeps secrets in memory, for as long as the process lives.
pub struct InMemorySecretManager {
    secrets: RwLock<BTreeMap<SecretName, Entry>>,
}

struct Entry {
    value: Secret,
    version: u64,
}

impl ManagerType for InMemorySecretManager {
    type Config = Config;

    const DESCRIPTION: &'static str = "Keeps secrets in memory, for as long as the process lives";
    const CAPABILITIES: Capabilities = Capabilities::READ_WRITE
        .union(Capabilities::SYNC_READ)
        .union(Capabilities::ROTATE)
        .union(Capabilities::LIST)
        .union(Capabilities::HEALTH);

    fn create(config: Config) -> Result<Self> {
        let mut secrets = BTreeMap::new();
        for (name, value) in config.secrets {
            let name = SecretName::new(name)
                .map_err(|error| Error::invalid_config(format!("config.secrets: {}", error.message())))?;
            secrets.insert(name, Entry { value: value.into(), version: 1 });
        }
        Ok(Self { secrets: RwLock::new(secrets) })
    }
}

#[async_trait]
impl SecretManager for InMemorySecretManager {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.sync_read_secret(request)
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let entry = secrets.get(&request.name).ok_or_else(|| Error::not_found(&request.name))?;
        let version = entry.version.to_string();
        if request.version.as_ref().is_some_and(|wanted| *wanted != version) {
            return Err(Error::not_found(format_args!(
                "{}, of the version that was asked for",
                request.name
            )));
        }
        Ok(Secret::copy_from(entry.value.expose_bytes()).with_version(version))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        let version = secrets.get(&request.name).map_or(1, |entry| entry.version + 1);
        let value = Secret::copy_from(request.value.expose_bytes());
        secrets.insert(request.name.clone(), Entry { value, version });
        Ok(WriteReceipt { version: Some(version.to_string()) })
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        secrets.remove(&request.name).map(drop).ok_or_else(|| Error::not_found(&request.name))
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let names = secrets.keys().map(|name| name.as_str());
        Ok(names.filter(|name| name.starts_with(&request.prefix)).map(str::to_owned).collect())
    }

    async fn health_check(&self) -> Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }
}
