//! A manager that repeats what it was told, in its errors and in its log.

use keyway_plugin_api::{
    Capabilities, Error, ErrorKind, ManagerType, ReadRequest, Result, Secret, SecretManager, WriteReceipt,
    WriteRequest, async_trait, schemars::JsonSchema, serde::Deserialize,
};

/// The settings of an instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub(crate) struct Config {
    /// What it repeats.
    pub token: String,
    /// Whether it refuses to start.
    #[serde(default)]
    pub refuse: bool,
}

/// Fails with everything, and says with what.
pub(crate) struct Echo(String);

impl ManagerType for Echo {
    type Config = Config;

    const DESCRIPTION: &'static str = "Repeats what it was told";
    const CAPABILITIES: Capabilities = Capabilities::READ_WRITE;

    fn create(config: Config) -> Result<Self> {
        tracing::info!("logging in with {}", config.token);
        match config.refuse {
            true => Err(Error::invalid_config(format!("the server said: bad token {}", config.token))),
            false => Ok(Self(config.token)),
        }
    }
}

#[async_trait]
impl SecretManager for Echo {
    /// There is one secret, and one that nobody may read.
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        match request.name.as_str() {
            "A" => Ok(Secret::from("example-value-of-echo")),
            "FAIL" => {
                let message = format!("the server said: {} may not read this", self.0);
                Err(Error::new(ErrorKind::Denied, message))
            }
            _ => Err(Error::not_found(&request.name)),
        }
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        let body = format!("{{\"value\": {:?}}}", request.value.expose_str()?);
        tracing::info!("sending {body}");
        Err(Error::new(ErrorKind::Denied, format!("the server said: cannot store {body} for {}", self.0)))
    }
}
