//! Loads plugins for tests, with the settings of an operator who said nothing special.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use keyway::loader::{self, LoadError, LoadReport, LoadedPlugin, PluginSpec, verify::TrustPolicy};

/// What is needed to load a file: no pins, five seconds, 64 operations at once, an empty configuration.
pub fn spec(name: &str, file: &Path) -> PluginSpec {
    PluginSpec {
        name: name.to_owned(),
        reference: file.display().to_string(),
        setting: "keyway.managers.test.plugin".to_owned(),
        config_dir: PathBuf::from("/"),
        plugin_dirs: Vec::new(),
        config: serde_json::json!({}),
        trust: TrustPolicy::new(name),
        timeout: Duration::from_secs(5),
        max_in_flight: 64,
    }
}

/// The same for one of several manager types.
pub fn spec_of(name: &str, file: &Path, type_name: &str) -> PluginSpec {
    PluginSpec { reference: format!("{}:{type_name}", file.display()), ..spec(name, file) }
}

/// Loads what must load.
///
/// # Errors
/// The whole chain of why it does not.
pub async fn load(spec: PluginSpec) -> Result<(Arc<LoadedPlugin>, LoadReport)> {
    let name = spec.name.clone();
    loader::load(spec).await.with_context(|| format!("cannot load {name}"))
}

/// Why a plugin is refused, as a person reads it: the whole chain in one line.
///
/// # Errors
/// When it is not.
pub async fn refusal(spec: PluginSpec) -> Result<String> {
    match loader::load(spec).await {
        Err(error) => Ok(chain(error)),
        Ok((_, report)) => anyhow::bail!("{} was loaded", report.path.display()),
    }
}

fn chain(error: LoadError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
