//! One configuration, loaded, resolved and ready: what is swapped as a whole.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use keyway_plugin_api::SecretManager;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant as Deadline, timeout_at},
};

use super::{
    StartError, advice,
    assemble::{self, Handles},
    identity::Identity,
    missing::{Patience, healthy, resolve},
    until::Until,
};
use crate::{
    config::{Config, OnMissing},
    gateway::{GatewayState, Settings},
    loader::LoadReport,
    local_api::{Access, Grants},
    registry::{self, Managers},
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
    identity: Identity,
    local: Option<Access>,
    live: Mutex<Option<Live>>,
    runtime: Handle,
}

/// What has to be ended.
struct Live {
    keeping: JoinHandle<()>,
    managers: Option<Arc<Managers>>,
}

impl Generation {
    /// Loads the plugin, resolves every reference, asks for the manager's health and assembles the gateway; must be called
    /// inside a tokio runtime. `running` is the one that this one would replace, whose values it takes over when it asks the
    /// same manager.
    ///
    /// # Errors
    /// The first step that fails; nothing is left running then.
    pub(super) async fn start(
        number: u64,
        config: &Config,
        metrics: &Metrics,
        running: Option<&Generation>,
    ) -> Result<(Arc<Self>, Arc<GatewayState>), StartError> {
        // What is wrong in the file is found before a plugin runs and before anything is waited for.
        assemble::prove(config)?;
        let mut patience = Patience::new(config);
        let managers = load(config, metrics, &mut patience).await?.map(Arc::new);
        let reports = managers.as_ref().map(|managers| &*managers.reports);
        advice::on_serving(config, reports.unwrap_or_default());
        let resolver = |deadline: Option<Deadline>| {
            let named = managers.as_ref().map(|managers| {
                let manager: Arc<dyn SecretManager> = managers.stack.fresh();
                let bounded =
                    deadline.map(|deadline| Arc::new(Until { manager: Arc::clone(&manager), deadline }) as _);
                (managers.name.clone(), bounded.unwrap_or(manager))
            });
            Resolver::new(named, Policy::new(config), config.env.clone())
        };
        let first = resolver(patience.deadline());
        let resolved = async {
            let keeper = running.map(|running| &*running.keeper);
            let outcomes = resolve(config, &first, &mut patience, keeper).await?;
            if let Some(managers) = &managers {
                healthy(managers, &mut patience, running).await?;
            }
            Ok(outcomes)
        };
        let assembled = match with_caller(Caller::Startup, resolved).await {
            Ok(outcomes) => {
                Self::assemble(number, config, metrics, managers.clone(), resolver(None), outcomes, running)
            }
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
        running: Option<&Generation>,
    ) -> Result<(Arc<Self>, Arc<GatewayState>), StartError> {
        let named = managers.as_ref().map(|managers| (managers.name.clone(), managers.stack.manager()));
        let audit = managers.as_ref().and_then(|managers| managers.audit());
        let local = Access::new(config, named, audit.clone());
        let mut handles = Handles::default();
        let kept: Vec<(Arc<SecretHandle>, Outcome)> = outcomes
            .into_iter()
            .filter(|outcome| outcome.reference.is_required())
            .map(|outcome| (handles.add(&outcome.reference), outcome))
            .collect();
        let identity = Identity::of(config);
        let before = running.filter(|running| running.identity == identity).map(|running| &*running.keeper);
        let keeper = Keeper::new(resolver, freshness(config), kept, before);
        let health = managers.as_ref().map(|managers| managers.stack.manager());
        let settings = assemble::settings(config, &handles, health)?;
        let generation = Arc::new(Generation {
            number,
            reports: managers.as_ref().map(|managers| managers.reports.clone()).unwrap_or_default(),
            manager: managers.as_ref().map(|managers| managers.name.clone()),
            keeper,
            since: Instant::now(),
            identity,
            local,
            live: Mutex::new(None),
            runtime: Handle::current(),
        });
        let held = Some(generation.clone() as Arc<dyn Send + Sync>);
        let state = GatewayState::new(Settings { held, audit, metrics: metrics.gateway(), ..settings })
            .map_err(|error| StartError::gateway(error, config))?;
        let keeping = tokio::spawn(Arc::clone(&generation.keeper).run());
        *generation.live() = Some(Live { keeping, managers });
        Ok((generation, state))
    }

    /// The managers, as long as they were not shut down.
    pub(super) fn managers(&self) -> Option<Arc<Managers>> {
        self.live().as_ref()?.managers.clone()
    }

    /// Ends the keeper and shuts the managers down now.
    pub(super) async fn end(&self) {
        let live = self.live().take();
        if let Some(live) = live {
            live.end().await;
        }
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// The keeper first: what it asks of managers that have ended would look like an outage.
    async fn end(self) {
        self.keeping.abort();
        // It was aborted, as was said.
        let _ = self.keeping.await;
        if let Some(managers) = self.managers {
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
        if let Some(live) = self.live().take() {
            self.runtime.spawn(live.end());
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
        let starting = async {
            match config.keyway.startup.on_missing {
                OnMissing::Degraded => registry::load_degraded(config, metrics).await,
                OnMissing::Fail | OnMissing::Wait => registry::load(config, metrics).await,
            }
        };
        // What is cut off ends by itself: a plugin that is dropped, and one that comes to be later, are shut down.
        let loaded = match patience.deadline() {
            Some(deadline) => timeout_at(deadline, starting).await,
            None => Ok(starting.await),
        };
        let error = match loaded {
            Ok(Ok(loaded)) => return Ok(loaded),
            Ok(Err(error)) => error,
            Err(_) => {
                let manager = config.key_management.as_ref().map(|settings| settings.manager.name.clone());
                return Err(
                    patience.out_of_time(StartError::Unready { manager: manager.unwrap_or_default() })
                );
            }
        };
        if !error.is_outage() {
            return Err(error.into());
        }
        patience.wait(error.to_string(), error.into()).await?;
    }
}
