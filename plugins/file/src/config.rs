//! What an operator may set under `keyway.managers.<name>.config`.

use std::path::PathBuf;

use keyway_plugin_api::{schemars::JsonSchema, serde::Deserialize};

/// The configuration of the file secret manager: exactly one of `directory` and `dotenv`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub struct Config {
    /// A folder in which each file is a secret; an absolute path.
    pub directory: Option<PathBuf>,
    /// A dotenv file, which is only read; an absolute path.
    pub dotenv: Option<PathBuf>,
    /// Whether changes on disk are to be seen within two seconds. Otherwise the host keeps a value for as long as
    /// it keeps any.
    #[serde(default = "yes")]
    pub watch: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { directory: None, dotenv: None, watch: yes() }
    }
}

fn yes() -> bool {
    true
}
