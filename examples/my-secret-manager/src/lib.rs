//! The Quick Start's secret manager as a compiled plugin.
//!
//! This is what `my_secret_manager.py` with its class `InMemorySecretManager` becomes. Build it, put
//! `libmy_secret_manager.so` beside `config.yaml`, and the line that is there already selects it:
//!
//! ```yaml
//! custom_secret_manager: my_secret_manager.InMemorySecretManager
//! ```
//!
//! `my_secret_manager` is the library's name (`[lib] name` in Cargo.toml), `InMemorySecretManager` the type below.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use keyway_plugin_api::{
    Capabilities, Error, ManagerType, NoConfig, ReadRequest, Result, Secret, SecretManager, async_trait,
    export_plugin,
};

/// Keeps its secrets in memory.
pub struct InMemorySecretManager {
    secrets: HashMap<&'static str, &'static str>,
}

// How an instance is made: the `__init__` of the Python class. A real one opens its connection here, with settings
// from `keyway.managers.<name>.config`, for which `Config` would be a struct that derives Deserialize and JsonSchema.
impl ManagerType for InMemorySecretManager {
    type Config = NoConfig;

    // What the host may call. A client that can only block says `SYNC_READ` here and implements `sync_read_secret` instead
    // of `async_read_secret`: the host then calls it on threads of its own.
    const CAPABILITIES: Capabilities = Capabilities::READ;

    fn create(NoConfig {}: NoConfig) -> Result<Self> {
        Ok(Self {
            secrets: HashMap::from([
                ("OPENAI_API_KEY", "example-openai-key-from-the-plugin"),
                ("ANTHROPIC_API_KEY", "example-anthropic-key-from-the-plugin"),
            ]),
        })
    }
}

// What an instance can do. `async_read_secret` is enough; writing, deleting, rotating, listing and a health check are
// further methods of the same trait, announced in `ManagerType::CAPABILITIES`.
#[async_trait]
impl SecretManager for InMemorySecretManager {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        match self.secrets.get(request.name.as_str()) {
            Some(value) => Ok(Secret::from(*value)),
            // Only "there is no such secret" may be NOT_FOUND: the host then looks into the environment. When the
            // store cannot be reached, answer with `Error::unavailable(...)`.
            None => Err(Error::not_found(&request.name)),
        }
    }
}

export_plugin!(InMemorySecretManager);
