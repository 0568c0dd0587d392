//! A plugin whose store is a folder that a test in another process changes: `NAME` holds a value, `NAME.fault` the class
//! with which reads fail instead (or `HANG`: they never end; or `PANIC`), `HEALTH.fault` and `CREATE.fault` the same for the
//! health check and the making, and
//! `journal` gets a line for all that happens.
#![forbid(unsafe_code)]

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use keyway_plugin_api::{
    Capabilities, Error, ErrorKind, ManagerType, ReadRequest, Result, Secret, SecretManager, async_trait,
    export_plugin, schemars::JsonSchema, serde::Deserialize,
};

/// The settings of an instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub struct Config {
    /// The folder.
    pub directory: PathBuf,
    /// What the journal calls the instance.
    #[serde(default)]
    pub name: String,
    /// How long values may be kept.
    #[serde(default)]
    pub ttl_ms: u64,
}

/// A store that is a folder.
pub struct FolderManager(Config);

impl FolderManager {
    fn note(&self, what: &str) {
        let journal = OpenOptions::new().append(true).create(true).open(self.0.directory.join("journal"));
        // A test that misses its line fails.
        let _ =
            journal.and_then(|mut journal| journal.write_all(format!("{what} {}\n", self.0.name).as_bytes()));
    }

    fn fault(&self, name: &str) -> Result<()> {
        let Ok(class) = fs::read_to_string(self.0.directory.join(format!("{name}.fault"))) else {
            return Ok(());
        };
        assert_ne!(class.trim(), "PANIC", "as the test's folder says");
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == class.trim());
        Err(Error::new(kind.unwrap_or(ErrorKind::Internal), "as the test's folder says"))
    }
}

impl ManagerType for FolderManager {
    type Config = Config;

    const CAPABILITIES: Capabilities = Capabilities::READ.union(Capabilities::HEALTH);

    fn create(config: Config) -> Result<Self> {
        let manager = Self(config);
        while fs::read(manager.0.directory.join("CREATE.fault")).is_ok_and(|class| class == b"HANG") {
            std::thread::sleep(Duration::from_millis(20));
        }
        manager.fault("CREATE")?;
        manager.note("create");
        Ok(manager)
    }
}

#[async_trait]
impl SecretManager for FolderManager {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let name = request.name.as_str();
        self.note(&format!("read {name}"));
        if fs::read(self.0.directory.join(format!("{name}.fault"))).is_ok_and(|class| class == b"HANG") {
            std::future::pending::<()>().await;
        }
        self.fault(name)?;
        match fs::read(self.0.directory.join(name)) {
            Ok(value) if self.0.ttl_ms > 0 => {
                Ok(Secret::copy_from(&value).with_ttl(Duration::from_millis(self.0.ttl_ms)))
            }
            Ok(value) => Ok(Secret::copy_from(&value)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::not_found(name)),
            Err(_) => Err(Error::unavailable("the folder cannot be read")),
        }
    }

    async fn health_check(&self) -> Result<()> {
        self.fault("HEALTH")
    }

    async fn shutdown(&self) {
        self.note("shutdown");
    }
}

export_plugin!(FolderManager);
