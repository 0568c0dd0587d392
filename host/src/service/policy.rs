//! What a manager may be asked for at all: `access_mode` and `hosted_keys`.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, SecretName, WriteReceipt, WriteRequest,
};

use crate::config::AccessMode;

/// Which operations are allowed, and on which names.
#[derive(Clone, Debug, Default)]
pub struct AccessPolicy {
    /// Which operations.
    pub access_mode: AccessMode,
    /// The only names that may be read; `None` for all. Writes and deletes, which are Keyway's own, have other names.
    pub hosted_keys: Option<HashSet<String>>,
    /// A name that may be read although it is not hosted: the secret whose fields are the hosted ones.
    pub primary_secret_name: Option<String>,
}

/// The layer that refuses what the policy does not allow, before anything is asked or cached.
pub struct Guarded {
    inner: Arc<dyn SecretManager>,
    policy: Arc<AccessPolicy>,
}

impl AccessPolicy {
    /// Checks a read.
    ///
    /// # Errors
    /// DENIED, with the setting that says so.
    pub fn check_read(&self, name: &SecretName) -> Result<()> {
        if self.access_mode == AccessMode::WriteOnly {
            return Err(refused("read", name, self.access_mode));
        }
        let is_primary = || self.primary_secret_name.as_deref() == Some(name);
        match &self.hosted_keys {
            Some(hosted) if !hosted.contains(name.as_str()) && !is_primary() => {
                let message = format!("may not read {name}: it is not one of the `hosted_keys`");
                Err(Error::new(ErrorKind::Denied, message))
            }
            _ => Ok(()),
        }
    }

    /// Checks a write, a delete or a rotation.
    ///
    /// # Errors
    /// DENIED, with the setting that says so.
    pub fn check_change(&self, operation: &str, name: &SecretName) -> Result<()> {
        match self.access_mode {
            AccessMode::ReadOnly => Err(refused(operation, name, self.access_mode)),
            AccessMode::WriteOnly | AccessMode::ReadAndWrite => Ok(()),
        }
    }
}

impl Guarded {
    /// Lets through to `inner` what the policy allows.
    pub fn new(inner: Arc<dyn SecretManager>, policy: Arc<AccessPolicy>) -> Self {
        Self { inner, policy }
    }
}

fn refused(operation: &str, name: &str, mode: AccessMode) -> Error {
    let mode = match mode {
        AccessMode::ReadOnly => "read_only",
        AccessMode::WriteOnly => "write_only",
        AccessMode::ReadAndWrite => "read_and_write",
    };
    let message = format!(
        "may not {operation} {name}: `key_management_settings.access_mode` is `{mode}`; `read_and_write` would allow it"
    );
    Error::new(ErrorKind::Denied, message)
}

#[async_trait]
impl SecretManager for Guarded {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.policy.check_read(&request.name)?;
        self.inner.async_read_secret(request).await
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.policy.check_read(&request.name)?;
        self.inner.sync_read_secret(request)
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.policy.check_change("write", &request.name)?;
        self.inner.async_write_secret(request).await
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.policy.check_change("delete", &request.name)?;
        self.inner.async_delete_secret(request).await
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        self.policy.check_change("rotate", &request.current_name)?;
        self.inner.async_rotate_secret(request).await
    }

    /// Lists what may be read.
    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        if self.policy.access_mode == AccessMode::WriteOnly {
            return Err(refused("list", "its secrets", self.policy.access_mode));
        }
        let mut names = self.inner.async_list_secrets(request).await?;
        if let Some(hosted) = &self.policy.hosted_keys {
            names.retain(|name| hosted.contains(name));
        }
        Ok(names)
    }

    async fn health_check(&self) -> Result<()> {
        self.inner.health_check().await
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        match self.policy.access_mode {
            AccessMode::ReadOnly => {
                capabilities - (Capabilities::WRITE | Capabilities::DELETE | Capabilities::ROTATE)
            }
            AccessMode::WriteOnly => {
                capabilities - (Capabilities::READ | Capabilities::SYNC_READ | Capabilities::LIST)
            }
            AccessMode::ReadAndWrite => capabilities,
        }
    }
}
