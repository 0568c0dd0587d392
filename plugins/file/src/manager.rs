//! The manager: one of the two kinds of store, on threads that may block.

use std::{path::PathBuf, sync::Arc, time::Duration};

use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ListRequest, ManagerType, ReadRequest, Result, Secret, SecretManager,
    WriteReceipt, WriteRequest, async_trait,
};

use crate::{config::Config, dotenv::Dotenv, folder::Folder};

/// How long the host may keep a value when changes on disk are to be seen.
const WATCHED: Duration = Duration::from_secs(2);

/// Secrets as files of a folder, or as lines of a dotenv file.
pub struct FileSecretManager(Arc<Inner>);

struct Inner {
    store: Store,
    ttl: Option<Duration>,
}

enum Store {
    Folder(Folder),
    Dotenv(Dotenv),
}

impl ManagerType for FileSecretManager {
    type Config = Config;

    const DESCRIPTION: &'static str = "Secrets as files of a folder, or as lines of a dotenv file";
    const CAPABILITIES: Capabilities = Capabilities::READ_WRITE
        .union(Capabilities::SYNC_READ)
        .union(Capabilities::LIST)
        .union(Capabilities::HEALTH);

    fn create(config: Config) -> Result<Self> {
        let store = match (config.directory, config.dotenv) {
            (Some(path), None) => Store::Folder(Folder { path: absolute("directory", path)? }),
            (None, Some(path)) => Store::Dotenv(Dotenv { path: absolute("dotenv", path)? }),
            (Some(_), Some(_)) => {
                return Err(Error::invalid_config(
                    "config has both `directory` and `dotenv`; remove one of them",
                ));
            }
            (None, None) => {
                let message = "config has neither `directory` nor `dotenv`; give the folder of the secret files, or the dotenv file";
                return Err(Error::invalid_config(message));
            }
        };
        Ok(Self(Arc::new(Inner { store, ttl: config.watch.then_some(WATCHED) })))
    }
}

#[async_trait]
impl SecretManager for FileSecretManager {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let request = request.clone();
        self.blocking(move |inner| inner.read(&request)).await
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.0.read(request)
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        let (name, value) = (request.name.clone(), Secret::copy_from(request.value.expose_bytes()));
        self.blocking(move |inner| {
            let version = Some(inner.folder("write", &name)?.write(&name, &value)?);
            Ok(WriteReceipt { version })
        })
        .await
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        let name = request.name.clone();
        self.blocking(move |inner| inner.folder("delete", &name)?.delete(&name)).await
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        let prefix = request.prefix.clone();
        self.blocking(move |inner| match &inner.store {
            Store::Folder(folder) => folder.list(&prefix),
            Store::Dotenv(file) => file.list(&prefix),
        })
        .await
    }

    async fn health_check(&self) -> Result<()> {
        self.blocking(|inner| match &inner.store {
            Store::Folder(folder) => folder.check(),
            Store::Dotenv(file) => file.check(),
        })
        .await
    }

    fn capabilities(&self) -> Capabilities {
        match self.0.store {
            Store::Folder(_) => Self::CAPABILITIES,
            Store::Dotenv(_) => Self::CAPABILITIES.difference(Capabilities::WRITE | Capabilities::DELETE),
        }
    }
}

impl FileSecretManager {
    async fn blocking<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || operation(&inner)).await;
        done.unwrap_or_else(|_| Err(Error::internal("the thread that works on the files ended early")))
    }
}

impl Inner {
    fn read(&self, request: &ReadRequest) -> Result<Secret> {
        let secret = match &self.store {
            Store::Folder(folder) => folder.read(&request.name),
            Store::Dotenv(file) => file.read(&request.name),
        }?;
        if request.version.is_some() && request.version != secret.metadata().version {
            let name = &request.name;
            return Err(Error::not_found(format_args!("{name}, of the version that was asked for")));
        }
        Ok(match self.ttl {
            Some(ttl) => secret.with_ttl(ttl),
            None => secret,
        })
    }

    fn folder(&self, operation: &str, name: &str) -> Result<&Folder> {
        match &self.store {
            Store::Folder(folder) => Ok(folder),
            Store::Dotenv(_) => {
                let undone = format_args!("{operation} {name}");
                Err(Error::not_implemented("a dotenv file", operation, undone))
            }
        }
    }
}

/// The plugin does not know where the configuration is, so a relative path would begin anywhere.
fn absolute(setting: &str, path: PathBuf) -> Result<PathBuf> {
    match path.is_absolute() {
        true => Ok(path),
        false => Err(Error::invalid_config(format!(
            "config.{setting}: {} is a relative path; write the whole path, from / on",
            path.display()
        ))),
    }
}
