//! One configuration, loaded, resolved and ready: what is swapped as a whole.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyway_plugin_api::{ErrorKind, SecretManager};
use tokio::runtime::Handle;

use super::{
    StartError,
    assemble::{self, Handles, is_empty},
};
use crate::{
    config::{Config, OnMissing},
    gateway::{GatewayState, Settings},
    loader::{LoadError, LoadReport, OpenError},
    local_api::{Access, Grants},
    registry::{self, Manager},
    service::{Freshness, Keeper, Outcome, Policy, Resolver, SecretHandle, Unresolved},
};

/// How often a start that waits tries again.
const WAIT: Duration = Duration::from_secs(1);

/// Everything that belongs to one configuration. When the last request that was accepted under it is done, its manager is
/// shut down.
pub struct Generation {
    /// Counts the configurations that this process has used, from 1.
    pub number: u64,
    /// What was loaded; `None` without a secret manager.
    pub report: Option<LoadReport>,
    /// Keeps the values up to date.
    pub keeper: Arc<Keeper>,
    /// When it became ready.
    pub since: Instant,
    local: Option<Access>,
    manager: Mutex<Option<Arc<dyn SecretManager>>>,
    runtime: Handle,
}

impl Generation {
    /// Loads the plugin, resolves every reference and assembles the gateway; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first step that fails; nothing is left running then.
    pub(super) async fn start(
        number: u64,
        config: &Config,
    ) -> Result<(Arc<Self>, Arc<GatewayState>), StartError> {
        if config.master_key.as_ref().is_none_or(is_empty) {
            return Err(StartError::no_master_key(config));
        }
        let deadline = tokio::time::Instant::now() + config.keyway.startup.deadline;
        let loaded = load(config, deadline).await?;
        let (manager, report) = loaded.map(|loaded| (loaded.manager, loaded.report)).unzip();
        match Self::assemble(number, config, manager.clone(), report, deadline).await {
            Ok(ready) => Ok(ready),
            Err(error) => {
                if let Some(manager) = manager {
                    manager.shutdown().await;
                }
                Err(error)
            }
        }
    }

    async fn assemble(
        number: u64,
        config: &Config,
        manager: Option<Arc<dyn SecretManager>>,
        report: Option<LoadReport>,
        deadline: tokio::time::Instant,
    ) -> Result<(Arc<Self>, Arc<GatewayState>), StartError> {
        let named =
            manager.clone().zip(report.as_ref()).map(|(manager, report)| (report.name.clone(), manager));
        let local = Access::new(config, named.clone());
        let resolver = Resolver::new(named, Policy::new(config), config.env.clone());
        let outcomes = resolve(config, &resolver, deadline).await?;
        let mut handles = Handles::default();
        let kept: Vec<(Arc<SecretHandle>, Outcome)> = outcomes
            .into_iter()
            .filter(|outcome| outcome.reference.is_required())
            .map(|outcome| (handles.add(&outcome.reference), outcome))
            .collect();
        let keeper = Keeper::new(resolver, Freshness::default(), kept);
        let settings = assemble::settings(config, &handles, manager.clone())?;
        let generation = Arc::new(Generation {
            number,
            report,
            keeper,
            since: Instant::now(),
            local,
            manager: Mutex::new(manager),
            runtime: Handle::current(),
        });
        let state = GatewayState::new(Settings { held: Some(generation.clone()), ..settings })?;
        tokio::spawn(Keeper::run(Arc::downgrade(&generation.keeper)));
        Ok((generation, state))
    }

    /// The manager, as long as it was not shut down.
    pub(super) fn manager(&self) -> Option<Arc<dyn SecretManager>> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the manager whether it can be used.
    pub(super) async fn probe(&self) -> Result<(), StartError> {
        let (Some(manager), Some(report)) = (self.manager(), &self.report) else { return Ok(()) };
        let unhealthy = |source| StartError::Unhealthy { manager: report.name.clone(), source };
        manager.health_check().await.map_err(unhealthy)
    }

    /// Shuts the manager down now.
    pub(super) async fn end(&self) {
        let manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(manager) = manager {
            manager.shutdown().await;
        }
    }
}

impl Grants for Generation {
    fn access(&self) -> Option<&Access> {
        self.local.as_ref()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let manager = self.manager.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(manager) = manager {
            self.runtime.spawn(async move { manager.shutdown().await });
        }
    }
}

/// Loads the manager; a start that may wait tries again while the store cannot be reached.
async fn load(config: &Config, deadline: tokio::time::Instant) -> Result<Option<Manager>, StartError> {
    loop {
        let error = match registry::load(config).await {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        if config.keyway.startup.on_missing != OnMissing::Wait || !is_outage(&error) {
            return Err(error.into());
        }
        wait(deadline, &error.to_string()).await.map_err(|OutOfTime| error)?;
    }
}

fn is_outage(error: &LoadError) -> bool {
    let LoadError::Open { source, .. } = error else { return false };
    let OpenError::Create { source, .. } = &**source else { return false };
    matches!(source.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Throttled)
}

/// Resolves every reference, as `keyway.startup.on_missing` says.
async fn resolve(
    config: &Config,
    resolver: &Resolver,
    deadline: tokio::time::Instant,
) -> Result<Vec<Outcome>, StartError> {
    loop {
        let outcomes = resolver.resolve_all(&config.references).await;
        let failed = outcomes.iter().filter(|outcome| outcome.reference.is_required());
        let errors: Vec<_> = failed.filter_map(|outcome| outcome.result.as_ref().err().cloned()).collect();
        for outcome in outcomes.iter().filter(|outcome| !outcome.reference.is_required()) {
            if let Err(error) = &outcome.result {
                tracing::warn!(%error, "a reference without use here is not resolved");
            }
        }
        if errors.is_empty() {
            return Ok(outcomes);
        }
        let names: Vec<&str> = errors.iter().map(|error| error.reference.text()).collect();
        match config.keyway.startup.on_missing {
            OnMissing::Fail => return Err(Unresolved { errors, total: outcomes.len() }.into()),
            OnMissing::Degraded => {
                let missing = names.join(", ");
                tracing::warn!(
                    missing,
                    "serving without some secrets; their deployments answer 503 until they are there"
                );
                return Ok(outcomes);
            }
            OnMissing::Wait => {
                let waiting = wait(deadline, &names.join(", ")).await;
                waiting.map_err(|OutOfTime| Unresolved { errors, total: outcomes.len() })?;
            }
        }
    }
}

struct OutOfTime;

async fn wait(deadline: tokio::time::Instant, what: &str) -> Result<(), OutOfTime> {
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    if left.is_zero() {
        return Err(OutOfTime);
    }
    tracing::warn!(seconds_left = left.as_secs(), "waiting for {what}");
    tokio::time::sleep(WAIT.min(left)).await;
    Ok(())
}
