//! What an operator may set under `keyway.managers.<name>.config`.

use std::path::PathBuf;

use keyway_plugin_api::{schemars::JsonSchema, serde::Deserialize};

/// The configuration of the file secret manager: exactly one of `directory` and `dotenv`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub struct Config {
    /// A folder in which each file is a secret; an absolute path.
    pub directory: Option<PathBuf>,
    /// A dotenv file, which is only read; an absolute path.
    pub dotenv: Option<PathBuf>,
    /// Whether changes on disk are to be seen within two seconds: the host then reads every secret that often, and
    /// logs it when it has an audit log. Otherwise it keeps a value for as long as it keeps any.
    #[serde(default)]
    pub watch: bool,
}
