//! The one seam: what a secret manager can do.

use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    error::{Error, ErrorKind, Result},
    request::{DeleteRequest, ListRequest, ReadRequest, RotateRequest, WriteRequest},
    secret::Secret,
};

bitflags::bitflags! {
    /// What a manager type can do, and how it wants to be called.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capabilities: u64 {
        /// Has `async_read_secret`.
        const READ = 1 << 0;
        /// Has `sync_read_secret`. Without [`Capabilities::READ`] the host calls it on a pool of blocking threads.
        const SYNC_READ = 1 << 1;
        /// Has `async_write_secret`.
        const WRITE = 1 << 2;
        /// Has `async_delete_secret`.
        const DELETE = 1 << 3;
        /// Has an `async_rotate_secret` of its own; otherwise it is made of read, write and delete.
        const ROTATE = 1 << 4;
        /// Has `async_list_secrets`.
        const LIST = 1 << 5;
        /// Has a `health_check`.
        const HEALTH = 1 << 6;
        /// Wants one call at a time for each instance.
        const SERIAL = 1 << 32;
    }
}

impl Capabilities {
    /// Reads, writes and deletes.
    pub const READ_WRITE: Capabilities = Self::READ.union(Self::WRITE).union(Self::DELETE);
}

/// What a store answers to a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReceipt {
    /// The store's name of the version that was written.
    pub version: Option<String>,
}

/// A place that keeps secrets.
///
/// A plugin author implements this; so do the host's view of a loaded plugin and each layer of its secret
/// service. Every method has a default, and at least one of the two reads must be given.
///
/// Methods are called from any thread and concurrently, unless the type says [`Capabilities::SERIAL`].
/// An outage must never be reported as [`ErrorKind::NotFound`]: only that kind lets the host look elsewhere.
#[async_trait]
pub trait SecretManager: Send + Sync {
    /// Reads a secret.
    ///
    /// The default calls [`SecretManager::sync_read_secret`], and so blocks where that one blocks. In a plugin it must not
    /// block: see [`ManagerType::CAPABILITIES`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] only when the store said that there is no such secret.
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.sync_read_secret(request)
    }

    /// Reads a secret and blocks until it is there.
    ///
    /// # Errors
    /// As [`SecretManager::async_read_secret`]; [`ErrorKind::Unsupported`] by default.
    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        Err(Error::not_implemented("this manager", "read", format_args!("read {}", request.name)))
    }

    /// Creates a secret or replaces its value.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default.
    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        Err(Error::not_implemented("this manager", "write", format_args!("write {}", request.name)))
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none; [`ErrorKind::Unsupported`] by default.
    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        Err(Error::not_implemented("this manager", "delete", format_args!("delete {}", request.name)))
    }

    /// Replaces a secret, under its own name or a new one.
    /// A host asks for a new name only where the manager can delete, or says that it rotates by itself.
    ///
    /// # Errors
    /// As [`rotate_by_writing`], which is the default.
    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        rotate_by_writing(self, request).await
    }

    /// Lists the names of the secrets that start with a prefix.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default.
    async fn async_list_secrets(&self, _request: &ListRequest) -> Result<Vec<String>> {
        Err(Error::not_implemented("this manager", "list", "list its secrets"))
    }

    /// Says whether the store can be used now.
    ///
    /// # Errors
    /// Why it cannot. A manager without a check is taken to be healthy.
    async fn health_check(&self) -> Result<()> {
        Ok(())
    }

    /// Ends the manager: what is under way may finish, nothing new is begun.
    async fn shutdown(&self) {}

    /// What this manager can do.
    ///
    /// For a type that is exported from a plugin, say it in [`ManagerType::CAPABILITIES`] instead.
    fn capabilities(&self) -> Capabilities {
        Capabilities::READ
    }
}

/// A type of secret manager that a plugin offers by name: the class in `module.Class`.
pub trait ManagerType: SecretManager + Sized + 'static {
    /// The type's configuration: the YAML under `keyway.managers.<name>.config`, given as JSON.
    type Config: DeserializeOwned + JsonSchema;

    /// One line for `keyway plugin list`.
    const DESCRIPTION: &'static str = "";

    /// Which operations the type implements, and how it wants to be called.
    ///
    /// There is no default: a type that only blocks must say [`Capabilities::SYNC_READ`] and not [`Capabilities::READ`], or
    /// its reads would hold up the threads on which the host serves everybody.
    const CAPABILITIES: Capabilities;

    /// Makes an instance; may block.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the configuration is wrong; any other kind when the store refuses.
    fn create(config: Self::Config) -> Result<Self>;
}

/// The configuration of a manager that has none: only an empty object fits it.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Replaces a secret with reads, writes and deletes only.
///
/// Under one name it is a write in place, and never a delete. Under a new name the value is written, read back
/// and compared, and only then is the old name deleted; an old name that does not exist is no error.
///
/// # Errors
/// Whatever the write, the read or the delete answers; [`ErrorKind::Internal`] when the value that was read back is another
/// one. The message says what was done. The old secret is untouched in every case but a failed delete.
pub async fn rotate_by_writing<M: SecretManager + ?Sized>(
    manager: &M,
    request: RotateRequest,
) -> Result<WriteReceipt> {
    let RotateRequest { current_name, new_name, value, description, tags, optional_params, timeout } =
        request;
    let same_name = current_name == new_name;
    let write = crate::request::WriteRequest {
        name: new_name,
        value,
        description,
        tags,
        optional_params: optional_params.clone(),
        timeout,
    };
    let receipt = manager.async_write_secret(&write).await?;
    if same_name {
        return Ok(receipt);
    }
    let read =
        ReadRequest { name: write.name, version: None, optional_params: optional_params.clone(), timeout };
    let name = &read.name;
    let stored = manager.async_read_secret(&read).await.map_err(|error| {
        // What is absent is another one than the caller asked for.
        let kind = Some(error.kind()).filter(|kind| *kind != ErrorKind::NotFound);
        let message = format!("{name} was written, but could not be read back; {current_name} is untouched");
        Error::new(kind.unwrap_or(ErrorKind::Internal), message).with_source(error)
    })?;
    if stored.expose_bytes() != write.value.expose_bytes() {
        return Err(Error::internal(format!(
            "{name} was written, but another value was read back; {current_name} is untouched"
        )));
    }
    let delete = DeleteRequest {
        name: current_name,
        recovery_window_in_days: DeleteRequest::DEFAULT_RECOVERY_WINDOW_IN_DAYS,
        optional_params,
        timeout,
    };
    match manager.async_delete_secret(&delete).await {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let old = &delete.name;
            let message =
                format!("{name} holds the new value, but {old} could not be deleted; delete it by itself");
            Err(Error::new(error.kind(), message).with_source(error))
        }
        _ => Ok(receipt),
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, _)) in self.iter_names().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(&name.to_lowercase().replace('_', "-"))?;
        }
        Ok(())
    }
}
