//! A plugin whose answers and outages a test sets while it runs, by the files of a folder.
//!
//! A secret is the file of its name. A file called `outage` says how every call fails: `unavailable` answers so, `hangs`
//! never answers. A test replaces files by renaming others to their names, so that none is ever seen half written.
#![forbid(unsafe_code)]

mod echo;

use std::{fs, future::pending, io, path::PathBuf};

use echo::Echo;
use keyway_plugin_api::{
    Capabilities, Error, ManagerType, ReadRequest, Result, Secret, SecretManager, async_trait, export_plugin,
    schemars::JsonSchema, serde::Deserialize,
};

/// The settings of an instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub struct Config {
    /// The folder of the files.
    pub directory: PathBuf,
}

/// Does what the files of its folder say.
pub struct Scripted {
    directory: PathBuf,
}

impl Scripted {
    /// Fails as the script says, or goes on.
    async fn obey(&self) -> Result<()> {
        match fs::read_to_string(self.directory.join("outage")) {
            Ok(outage) if outage == "hangs" => pending().await,
            Ok(_) => Err(Error::unavailable("the script says so")),
            Err(_) => Ok(()),
        }
    }
}

impl ManagerType for Scripted {
    type Config = Config;

    const DESCRIPTION: &'static str = "Answers and fails as the files of a folder say";
    const CAPABILITIES: Capabilities = Capabilities::READ.union(Capabilities::HEALTH);

    fn create(config: Config) -> Result<Self> {
        Ok(Self { directory: config.directory })
    }
}

#[async_trait]
impl SecretManager for Scripted {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.obey().await?;
        match fs::read(self.directory.join(request.name.as_str())) {
            Ok(value) => Ok(Secret::new(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::not_found(&request.name)),
            Err(error) => Err(Error::unavailable("cannot read the file of a secret").with_source(error)),
        }
    }

    async fn health_check(&self) -> Result<()> {
        self.obey().await
    }
}

export_plugin!(Scripted, Echo);
