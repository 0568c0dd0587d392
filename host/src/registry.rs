//! The managers of a configuration, by name: where a configuration's words become loaded plugins.

use std::sync::Arc;

use keyway_plugin_api::SecretManager;

use crate::{
    config::{Config, TrustRequirement},
    loader::{
        self, LoadError, LoadReport, PluginSpec,
        verify::{FileHash, Require, TrustPolicy},
    },
};

/// A manager that is running.
#[derive(Clone)]
pub struct Manager {
    /// The manager itself.
    pub manager: Arc<dyn SecretManager>,
    /// What was loaded, and how it was verified.
    pub report: LoadReport,
}

/// Loads the manager that the configuration uses; `None` when it uses none.
///
/// # Errors
/// [`LoadError`]; nothing is left running then.
pub async fn load(config: &Config) -> Result<Option<Manager>, LoadError> {
    let Some(settings) = config.key_management.as_ref().map(|settings| &settings.manager) else {
        return Ok(None);
    };
    let trust = TrustPolicy {
        require: match config.keyway.trust {
            TrustRequirement::Ownership => Require::Ownership,
            TrustRequirement::Pin => Require::Pin,
        },
        sha256: settings.sha256.iter().copied().map(FileHash).collect(),
        ..TrustPolicy::new(&settings.name)
    };
    let (manager, report) = loader::load(PluginSpec {
        name: settings.name.clone(),
        reference: settings.plugin_reference.clone(),
        setting: settings.setting.clone(),
        config_dir: config.dir.clone(),
        plugin_dirs: config.keyway.plugin_dirs.clone(),
        config: settings.config.clone(),
        trust,
        timeout: settings.timeout,
        max_in_flight: usize::try_from(settings.max_in_flight).unwrap_or(usize::MAX),
    })
    .await?;
    for warning in &report.warnings {
        tracing::warn!(manager = report.name, "{warning}");
    }
    Ok(Some(Manager { manager, report }))
}
