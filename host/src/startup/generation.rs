//! One configuration, loaded, resolved and ready: what is swapped as a whole.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use keyway_plugin_api::ErrorKind;
use tokio::runtime::Handle;

use super::{
    StartError,
    assemble::{self, Handles, is_empty},
    missing::{Patience, healthy, resolve},
};
use crate::{
    config::Config,
    gateway::{GatewayState, Settings},
    loader::{LoadError, LoadReport, OpenError},
    local_api::{Access, Grants},
    registry::{self, Managers, RegistryError},
    service::{Caller, Freshness, Keeper, Metrics, Outcome, Policy, Resolver, SecretHandle, with_caller},
};

/// Everything that belongs to one configuration. When the last request that was accepted under it is done, its manager is
/// shut down.
pub struct Generation {
    /// Counts the configurations that this process has used, from 1.
    pub number: u64,
    /// What was loaded; nothing without a secret manager.
    pub reports: Vec<LoadReport>,
    /// The name of the manager that is asked; `None` without one.
    pub manager: Option<String>,
    /// Keeps the values up to date.
    pub keeper: Arc<Keeper>,
    /// When it became ready.
    pub since: Instant,
    local: Option<Access>,
    managers: Mutex<Option<Arc<Managers>>>,
    runtime: Handle,
}

impl Generation {
    /// Loads the plugin, resolves every reference, asks for the manager's health and assembles the gateway; must be called
    /// inside a tokio runtime. `running` is what this one would replace.
    ///
    /// # Errors
    /// The first step that fails; nothing is left running then.
    pub(super) async fn start(
        number: u64,
        config: &Config,
        metrics: &Metrics,
        running: Option<&Generation>,
    ) -> Result<(Arc<Self>, Arc<GatewayState>), StartError> {
        if config.master_key.as_ref().is_none_or(is_empty) {
            return Err(StartError::no_master_key(config));
        }
        let mut patience = Patience::new(config);
        let managers = load(config, metrics, &mut patience).await?.map(Arc::new);
        let named = managers.as_ref().map(|managers| (managers.name.clone(), managers.stack.fresh()));
        let resolver = Resolver::new(named, Policy::new(config), config.env.clone());
        let resolved = async {
            let keeper = running.map(|running| &*running.keeper);
            let outcomes = resolve(config, &resolver, &mut patience, keeper).await?;
            if let Some(managers) = &managers {
                healthy(managers, &mut patience, running).await?;
            }
            Ok(outcomes)
        };
        let assembled = match with_caller(Caller::Startup, resolved).await {
            Ok(outcomes) => Self::assemble(number, config, metrics, managers.clone(), resolver, outcomes),
            Err(error) => Err(error),
        };
        match assembled {
            Ok(ready) => Ok(ready),
            Err(error) => {
                if let Some(managers) = managers {
                    managers.shutdown().await;
                }
                Err(error)
            }
        }
    }

    fn assemble(
        number: u64,
        config: &Config,
        metrics: &Metrics,
        managers: Option<Arc<Managers>>,
        resolver: Resolver,
        outcomes: Vec<Outcome>,
    ) -> Result<(Arc<Self>, Arc<GatewayState>), StartError> {
        let named = managers.as_ref().map(|managers| (managers.name.clone(), managers.stack.manager()));
        let local = Access::new(config, named);
        let mut handles = Handles::default();
        let kept: Vec<(Arc<SecretHandle>, Outcome)> = outcomes
            .into_iter()
            .filter(|outcome| outcome.reference.is_required())
            .map(|outcome| (handles.add(&outcome.reference), outcome))
            .collect();
        let keeper = Keeper::new(resolver, freshness(config), kept);
        let health = managers.as_ref().map(|managers| managers.stack.manager());
        let settings = assemble::settings(config, &handles, health)?;
        let generation = Arc::new(Generation {
            number,
            reports: managers.as_ref().map(|managers| managers.reports.clone()).unwrap_or_default(),
            manager: managers.as_ref().map(|managers| managers.name.clone()),
            keeper,
            since: Instant::now(),
            local,
            managers: Mutex::new(managers),
            runtime: Handle::current(),
        });
        let held = Some(generation.clone() as Arc<dyn Send + Sync>);
        let state = GatewayState::new(Settings { held, metrics: metrics.gateway(), ..settings })?;
        tokio::spawn(with_caller(Caller::Refresh, Keeper::run(Arc::downgrade(&generation.keeper))));
        Ok((generation, state))
    }

    /// The managers, as long as they were not shut down.
    pub(super) fn managers(&self) -> Option<Arc<Managers>> {
        self.managers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shuts the managers down now.
    pub(super) async fn end(&self) {
        let managers = self.managers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(managers) = managers {
            managers.shutdown().await;
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
        let managers = self.managers.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(managers) = managers {
            self.runtime.spawn(async move { managers.shutdown().await });
        }
    }
}

fn freshness(config: &Config) -> Freshness {
    let cache = &config.keyway.service.cache;
    Freshness {
        ttl: cache.ttl,
        refresh_ahead: cache.refresh_ahead,
        stale_ttl: cache.stale_ttl,
        previous_overlap: cache.previous_overlap,
    }
}

/// Loads the manager; a start that may wait tries again while the store cannot be reached.
async fn load(
    config: &Config,
    metrics: &Metrics,
    patience: &mut Patience,
) -> Result<Option<Managers>, StartError> {
    loop {
        let error = match registry::load(config, metrics).await {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        if !is_outage(&error) {
            return Err(error.into());
        }
        patience.wait(error.to_string(), error.into()).await?;
    }
}

fn is_outage(error: &RegistryError) -> bool {
    let RegistryError::Load(LoadError::Open { source, .. }) = error else { return false };
    let OpenError::Create { source, .. } = &**source else { return false };
    matches!(source.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Throttled)
}
