//! One configuration, loaded, resolved and ready: what is swapped as a whole.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use keyway_plugin_api::{ErrorKind, SecretManager};
use tokio::runtime::Handle;

use super::{
    StartError,
    assemble::{self, Handles, is_empty},
    missing::{Patience, resolve},
};
use crate::{
    config::Config,
    gateway::{GatewayState, Settings},
    loader::{LoadError, LoadReport, OpenError},
    registry::{self, Manager},
    service::{Freshness, Keeper, Outcome, Policy, Resolver, SecretHandle},
};

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
    manager: Mutex<Option<Arc<dyn SecretManager>>>,
    runtime: Handle,
}

impl Generation {
    /// Loads the plugin, resolves every reference and assembles the gateway; must be called inside a tokio runtime.
    /// `running` is the keeper of the configuration that this one would replace.
    ///
    /// # Errors
    /// The first step that fails; nothing is left running then.
    pub(super) async fn start(
        number: u64,
        config: &Config,
        running: Option<&Keeper>,
    ) -> Result<(Arc<Self>, Arc<GatewayState>), StartError> {
        if config.master_key.as_ref().is_none_or(is_empty) {
            return Err(StartError::no_master_key(config));
        }
        let mut patience = Patience::new(config);
        let loaded = load(config, &mut patience).await?;
        let (manager, report) = loaded.map(|loaded| (loaded.manager, loaded.report)).unzip();
        let resolver = resolver(config, manager.clone(), report.as_ref());
        let assembled = match resolve(config, &resolver, &mut patience, running).await {
            Ok(outcomes) => Self::assemble(number, config, manager.clone(), report, resolver, outcomes),
            Err(error) => Err(error),
        };
        match assembled {
            Ok(ready) => Ok(ready),
            Err(error) => {
                if let Some(manager) = manager {
                    manager.shutdown().await;
                }
                Err(error)
            }
        }
    }

    fn assemble(
        number: u64,
        config: &Config,
        manager: Option<Arc<dyn SecretManager>>,
        report: Option<LoadReport>,
        resolver: Resolver,
        outcomes: Vec<Outcome>,
    ) -> Result<(Arc<Self>, Arc<GatewayState>), StartError> {
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

impl Drop for Generation {
    fn drop(&mut self) {
        let manager = self.manager.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(manager) = manager {
            self.runtime.spawn(async move { manager.shutdown().await });
        }
    }
}

fn resolver(
    config: &Config,
    manager: Option<Arc<dyn SecretManager>>,
    report: Option<&LoadReport>,
) -> Resolver {
    let named = manager.zip(report).map(|(manager, report)| (report.name.clone(), manager));
    Resolver::new(named, Policy::new(config), config.env.clone())
}

/// Loads the manager; a start that may wait tries again while the store cannot be reached.
async fn load(config: &Config, patience: &mut Patience) -> Result<Option<Manager>, StartError> {
    loop {
        let error = match registry::load(config).await {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        if !is_outage(&error) {
            return Err(error.into());
        }
        patience.wait(error.to_string(), error.into()).await?;
    }
}

fn is_outage(error: &LoadError) -> bool {
    let LoadError::Open { source, .. } = error else { return false };
    let OpenError::Create { source, .. } = &**source else { return false };
    matches!(source.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Throttled)
}
