//! The managers of a configuration, by name: where a configuration's words become loaded plugins.

mod instances;
mod layers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use keyway_plugin_api::{Error, ErrorKind, SecretManager};
use serde_json::Value;

use self::instances::Instances;
use crate::{
    config::{
        Absent, Config, KeyManagement, ManagerSettings, ManagerSource, PluginSettings, ServiceSettings,
        TrustRequirement,
    },
    loader::{
        self, LoadError, LoadReport, OpenError, PluginSpec,
        verify::{FileHash, Require, TrustPolicy},
    },
    service::{
        AccessPolicy, AuditLog, Chain, Factory as _, Member, Metrics, Missed, Replicas, Stack, StackSettings,
        Supervised, audit::AuditError, metrics::Reading,
    },
};

/// The managers of a configuration, each of them running once.
pub struct Managers {
    /// The name of the one that the configuration selects.
    pub name: String,
    /// What stands before the one that the configuration selects; all use goes through it.
    pub stack: Stack,
    /// The selected one without those layers, for whoever looks at the manager itself.
    pub bare: Arc<dyn SecretManager>,
    /// What was loaded, and how it was verified: a plugin each, those of a group included.
    pub reports: Vec<LoadReport>,
    /// Each replica set and its name, to see what waits for repair.
    pub replica_sets: Vec<(String, Arc<Replicas>)>,
    audit: Option<AuditLog>,
    /// All of them, each after those that it needs.
    all: Vec<Arc<dyn SecretManager>>,
}

/// Why the managers of a configuration cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A plugin cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The manager that has another one's settings failed.
    #[error(
        "cannot resolve {reference} in the config of the manager {manager}: the manager {from} (secrets_from) failed"
    )]
    Settings {
        /// The manager that is to be loaded.
        manager: String,
        /// The reference in its config.
        reference: String,
        /// The manager that was asked.
        from: String,
        /// What it answered.
        source: Box<Error>,
    },
    /// Nobody has another manager's settings.
    #[error(
        "cannot resolve {reference} in the config of the manager {manager}: the manager {from} (secrets_from) does not \
         have it, and the environment variable of that name {absent}; add it to one of them"
    )]
    NoSettings {
        /// The manager that is to be loaded.
        manager: String,
        /// The reference in its config.
        reference: String,
        /// The manager that was asked.
        from: String,
        /// What the environment answered.
        absent: Absent,
    },
}

impl RegistryError {
    /// Whether the configuration is at fault, and not the world that it describes.
    pub fn is_configuration(&self) -> bool {
        let RegistryError::Load(error) = self else { return false };
        match error {
            LoadError::Reference { .. } | LoadError::Locate(_) => true,
            LoadError::Verify { .. } => false,
            LoadError::Open { source, .. } => match &**source {
                OpenError::NoSuchType { .. } | OpenError::Ambiguous { .. } => true,
                OpenError::Create { source, .. } => source.kind() == ErrorKind::InvalidConfig,
                _ => false,
            },
        }
    }

    /// Whether a store cannot answer now, so that the same may succeed later.
    pub fn is_outage(&self) -> bool {
        let source = match self {
            RegistryError::Settings { source, .. } => source,
            RegistryError::Load(LoadError::Open { source, .. }) => match &**source {
                OpenError::Create { source, .. } => source,
                _ => return false,
            },
            _ => return false,
        };
        matches!(source.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Throttled)
    }
}

impl Managers {
    /// Ends all of them, each before those that it needs.
    pub async fn shutdown(&self) {
        end(&self.all).await;
        if let Some(audit) = &self.audit {
            audit.flush().await;
        }
    }

    /// The audit log, when there is one.
    pub fn audit(&self) -> Option<AuditLog> {
        self.audit.clone()
    }

    /// Ends the repairs of the replica sets, after waiting for them as long as `patience`; what remains is told with the
    /// set's name.
    pub async fn finish_repairs(&self, patience: Duration) -> Vec<(&str, Missed)> {
        let finished = self.replica_sets.iter().map(|(name, set)| async move {
            let missed = set.finish(patience).await;
            missed.into_iter().map(move |missed| (name.as_str(), missed))
        });
        join_all(finished).await.into_iter().flatten().collect()
    }

    /// Opens the audit log's file anew, which somebody has moved away.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
    }
}

/// Loads the managers that the configuration uses, with the layers of the service before them; `None` when it uses none.
/// Must be called inside the tokio runtime that is to run their calls.
///
/// # Errors
/// [`RegistryError`]; nothing is left running then.
pub async fn load(config: &Config, metrics: &Metrics) -> Result<Option<Managers>, RegistryError> {
    load_with(config, metrics, Absence::Fails).await
}

/// The same, but a plugin that cannot be started because its store cannot answer now is started later, in the background;
/// until then it is UNAVAILABLE.
///
/// # Errors
/// As [`load`], but for outages.
pub async fn load_degraded(config: &Config, metrics: &Metrics) -> Result<Option<Managers>, RegistryError> {
    load_with(config, metrics, Absence::Waits).await
}

/// What it means that a plugin cannot be started because its store cannot answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// Nothing is loaded.
    Fails,
    /// It is started later.
    Waits,
}

async fn load_with(
    config: &Config,
    metrics: &Metrics,
    absence: Absence,
) -> Result<Option<Managers>, RegistryError> {
    let Some(settings) = &config.key_management else { return Ok(None) };
    let audit = config.keyway.service.audit.as_ref();
    let audit = audit.map(|settings| AuditLog::open(settings, metrics.audit_lost())).transpose()?;
    let mut loading = Loading::new(absence, settings, audit.clone());
    match loading.all(config, settings, metrics).await {
        Ok(manager) => Ok(Some(Managers {
            name: settings.manager.name.clone(),
            stack: stack(config, settings, Arc::clone(&manager), metrics, audit.clone()),
            bare: manager,
            audit,
            reports: loading.reports,
            replica_sets: loading.replica_sets,
            all: loading.running,
        })),
        Err(error) => {
            end(&loading.running).await;
            Err(error)
        }
    }
}

fn stack(
    config: &Config,
    settings: &KeyManagement,
    manager: Arc<dyn SecretManager>,
    metrics: &Metrics,
    audit: Option<AuditLog>,
) -> Stack {
    let access = AccessPolicy {
        access_mode: settings.access_mode,
        hosted_keys: settings.hosted_keys.as_ref().map(|names| names.iter().cloned().collect()),
        primary_secret_name: settings.primary_secret_name.clone(),
    };
    // The budget is each plugin's own, see `limited`; what is left here is the deadline.
    let service = ServiceSettings { calls_per_minute: None, ..config.keyway.service.clone() };
    let settings = StackSettings {
        name: settings.manager.name.clone(),
        timeout: settings.manager.timeout,
        max_in_flight: in_flight(&settings.manager),
        access,
        service,
    };
    Stack::new(manager, settings, metrics, audit)
}

fn in_flight(settings: &ManagerSettings) -> usize {
    usize::try_from(settings.max_in_flight).unwrap_or(usize::MAX)
}

async fn end(managers: &[Arc<dyn SecretManager>]) {
    for manager in managers.iter().rev() {
        manager.shutdown().await;
    }
}

struct Loading {
    absence: Absence,
    /// The manager that gets all its layers in the end.
    selected: String,
    audit: Option<AuditLog>,
    members: HashMap<String, Member>,
    running: Vec<Arc<dyn SecretManager>>,
    reports: Vec<LoadReport>,
    replica_sets: Vec<(String, Arc<Replicas>)>,
}

impl Loading {
    fn new(absence: Absence, settings: &KeyManagement, audit: Option<AuditLog>) -> Self {
        let (selected, members, running) = (settings.manager.name.clone(), HashMap::new(), Vec::new());
        Self { absence, selected, audit, members, running, reports: Vec::new(), replica_sets: Vec::new() }
    }

    async fn all(
        &mut self,
        config: &Config,
        settings: &KeyManagement,
        metrics: &Metrics,
    ) -> Result<Arc<dyn SecretManager>, RegistryError> {
        for needed in &settings.needed {
            self.one(config, needed, metrics).await?;
        }
        self.one(config, &settings.manager, metrics).await
    }

    async fn one(
        &mut self,
        config: &Config,
        settings: &ManagerSettings,
        metrics: &Metrics,
    ) -> Result<Arc<dyn SecretManager>, RegistryError> {
        let members = || settings.members().iter().filter_map(|name| self.members.get(name).cloned());
        let manager: Arc<dyn SecretManager> = match &settings.source {
            ManagerSource::Plugin(plugin) => {
                let manager = Arc::new(self.plugin(config, settings, plugin).await?);
                let watched = Arc::downgrade(&manager);
                metrics.watch(Reading::ZombieOperations, &settings.name, move || {
                    let instance = watched.upgrade()?.current();
                    Some(instance.map_or(0.0, |instance| instance.faults().zombies as f64))
                });
                let limited = layers::limited(config, settings, manager);
                match settings.name == self.selected {
                    true => limited,
                    false => layers::observed(&settings.name, limited, metrics, self.audit.as_ref()),
                }
            }
            ManagerSource::Chain { on_error, .. } => Arc::new(Chain::new(members().collect(), *on_error)),
            ManagerSource::Replicas { .. } => {
                let set = Arc::new(Replicas::new(members().collect()));
                layers::watch_repairs(&settings.name, &set, metrics);
                self.replica_sets.push((settings.name.clone(), Arc::clone(&set)));
                set
            }
        };
        self.running.push(Arc::clone(&manager));
        let (name, timeout) = (settings.name.clone(), settings.timeout);
        self.members.insert(name.clone(), Member { name, manager: Arc::clone(&manager), timeout });
        Ok(manager)
    }

    async fn plugin(
        &mut self,
        config: &Config,
        settings: &ManagerSettings,
        plugin: &PluginSettings,
    ) -> Result<Supervised<Instances>, RegistryError> {
        let (name, from) = (&settings.name, plugin.secrets_from.as_ref());
        let (opened, mut report) = loader::open(spec(config, settings, plugin)).await?;
        for warning in &report.warnings {
            tracing::warn!(manager = report.name, "{warning}");
        }
        let from = from.and_then(|from| Some((self.members.get(from)?.clone(), config.env.clone())));
        let instances = Instances::new(opened, name, plugin, from);
        let supervised = match instances.make().await {
            Ok(first) => Supervised::new(name, instances, first),
            Err(error) if self.absence == Absence::Waits && error.is_outage() => {
                Supervised::without(name, instances, &error)
            }
            Err(error) => return Err(error),
        };
        report.capabilities = supervised.capabilities();
        self.reports.push(report);
        Ok(supervised)
    }
}

fn spec(config: &Config, settings: &ManagerSettings, plugin: &PluginSettings) -> PluginSpec {
    let trust = TrustPolicy {
        require: match config.keyway.trust {
            TrustRequirement::Ownership => Require::Ownership,
            TrustRequirement::Pin => Require::Pin,
        },
        sha256: plugin.sha256.iter().copied().map(FileHash).collect(),
        ..TrustPolicy::new(&settings.name)
    };
    PluginSpec {
        name: settings.name.clone(),
        reference: plugin.reference.clone(),
        setting: settings.setting.clone(),
        config_dir: config.dir.clone(),
        plugin_dirs: config.keyway.plugin_dirs.clone(),
        config: Value::Null, // each instance is given its own
        trust,
        timeout: settings.timeout,
        max_in_flight: in_flight(settings),
    }
}
