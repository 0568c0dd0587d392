//! What an operator may set under `keyway.managers.<name>.config`.

use std::{collections::BTreeMap, fmt};

use keyway_plugin_api::{schemars::JsonSchema, serde::Deserialize};

/// The configuration of the in-memory secret manager.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub struct Config {
    /// Name and value of each secret that is there from the start.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("secrets", &self.secrets.keys()).finish()
    }
}
