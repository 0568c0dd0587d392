//! From a configuration to a gateway that is ready to serve, and to the next one: all of it, or nothing.

pub mod advice;

mod assemble;
mod error;
mod generation;
mod identity;
mod missing;
mod until;
mod watch;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Instant,
};

use async_trait::async_trait;
use serde_json::{Value, json};

use self::watch::Fingerprint;
pub use self::{assemble::prove, error::StartError, generation::Generation};
use crate::{
    config::{self, Config, OnMissing},
    gateway::{Admin, Gateway},
    local_api::{Access, Grants as _},
    service::{Metrics, breaker::BreakerState, metrics::Reading},
};

/// A host whose configuration is proven, whose plugin is loaded and whose references are resolved.
pub struct Host {
    running: Arc<Running>,
}

struct Running {
    me: Weak<Running>,
    path: PathBuf,
    metrics: Metrics,
    gateway: Gateway,
    current: RwLock<Arc<Generation>>,
    /// Held while a configuration is built, so that two reloads do not overtake each other.
    building: tokio::sync::Mutex<u64>,
    last_reload: Mutex<Option<Reload>>,
    /// What the file contained when it was tried last, whatever came of it.
    tried: Mutex<Fingerprint>,
    since: Instant,
}

/// What became of the last reload.
struct Reload {
    at: Instant,
    trigger: &'static str,
    refusal: Option<String>,
}

impl Host {
    /// Loads the plugin, resolves every reference and assembles the gateway; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first step that fails; the plugin is shut down again then.
    pub async fn start(config: Config) -> Result<Host, StartError> {
        // Before the start, which may wait: what is written meanwhile is a change.
        let tried = watch::fingerprint(&config.path);
        let metrics = Metrics::new();
        let (generation, state) = Generation::start(1, &config, &metrics, None).await?;
        let running = Arc::new_cyclic(|me| Running {
            me: me.clone(),
            path: config.path,
            metrics,
            gateway: Gateway::from(state),
            current: RwLock::new(generation),
            building: tokio::sync::Mutex::new(1),
            last_reload: Mutex::new(None),
            tried: Mutex::new(tried),
            since: Instant::now(),
        });
        let admin: Arc<dyn Admin> = running.clone();
        running.gateway.administer(Arc::downgrade(&admin));
        running.show();
        Ok(Host { running })
    }

    /// The gateway, to be given to [`gateway::serve`](crate::gateway::serve).
    pub fn gateway(&self) -> Gateway {
        self.running.gateway.clone()
    }

    /// What is used now.
    pub fn generation(&self) -> Arc<Generation> {
        self.running.generation()
    }

    /// Builds the configuration anew and uses it from the next request on; requests under way finish as they began.
    ///
    /// # Errors
    /// Why the new configuration cannot be used; the one before it goes on.
    pub async fn reload(&self, trigger: &'static str) -> Result<(), StartError> {
        self.running.reload(trigger).await
    }

    /// Opens the audit log's file anew, which a log rotation has moved away.
    pub fn reopen_audit(&self) {
        if let Some(managers) = self.generation().managers() {
            managers.reopen_audit();
        }
    }

    /// Reloads whenever the configuration's file has changed; never ends.
    pub async fn watch(&self) {
        watch::changes(
            &self.running.path,
            || self.running.tried(),
            async || {
                // The refusal is in the log and in the status.
                let _ = self.running.reload("file").await;
            },
        )
        .await;
    }

    /// Ends the plugin; call it when the gateway has stopped.
    pub async fn shutdown(self) {
        self.running.generation().end().await;
    }
}

impl Running {
    /// What the file held when it was used last, or refused.
    fn tried(&self) -> watch::Fingerprint {
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self) -> Arc<Generation> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn reload(&self, trigger: &'static str) -> Result<(), StartError> {
        let mut number = self.building.lock().await;
        let result = self.build(*number + 1).await;
        match result.as_ref().err().map(chain) {
            None => {
                self.metrics.reloads().done.inc();
                *number += 1;
                tracing::info!(trigger, generation = *number, "the configuration was reloaded");
            }
            Some(reason) => {
                self.metrics.reloads().refused.inc();
                tracing::error!(
                    trigger,
                    reason,
                    "the configuration is not reloaded; the one before it goes on"
                );
            }
        }
        let refusal = result.as_ref().err().map(StartError::for_clients);
        let reload = Reload { at: Instant::now(), trigger, refusal };
        *self.last_reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload);
        result
    }

    /// Shows how many references are in each state.
    fn show(&self) {
        let running = self.me.clone();
        self.metrics.watch_all(Reading::References, move || {
            let states = running.upgrade()?.generation().keeper.states();
            let labelled = |(state, count): (&str, usize)| (vec![("state", state.to_owned())], count as f64);
            Some(states.into_iter().map(labelled).collect())
        });
    }

    async fn build(&self, number: u64) -> Result<(), StartError> {
        // Before the file is read: what is written meanwhile is a change.
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = watch::fingerprint(&self.path);
        let config = config::load(&self.path)?;
        advice::on_file(&config);
        let running = self.generation();
        let starting = Generation::start(number, &config, &self.metrics, Some(&running));
        let started = match config.keyway.startup.on_missing {
            // What is waited for may be a slip that has been corrected since.
            OnMissing::Wait => tokio::select! {
                started = starting => started,
                () = watch::change(&self.path, || self.tried()) => {
                    Err(StartError::Superseded { path: shown(&self.path) })
                }
            },
            OnMissing::Fail | OnMissing::Degraded => starting.await,
        };
        let (generation, state) = started?;
        Access::tell_of_change(running.access(), generation.access());
        self.gateway.replace(state);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = generation;
        Ok(())
    }
}

#[async_trait]
impl Admin for Running {
    fn status(&self) -> Value {
        let generation = self.generation();
        let managers = generation.managers();
        let last_reload = self.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "config": shown(&self.path),
            "uptime_seconds": self.since.elapsed().as_secs(),
            "generation": generation.number,
            "generation_age_seconds": generation.since.elapsed().as_secs(),
            "last_reload": last_reload.as_ref().map(|reload| json!({
                "seconds_ago": reload.at.elapsed().as_secs(),
                "trigger": reload.trigger,
                "ok": reload.refusal.is_none(),
                "reason": reload.refusal,
            })),
            "manager": generation.manager,
            "plugins": generation.reports.iter().map(|report| json!({
                "name": report.name,
                "file": shown(&report.path),
                "sha256": report.sha256.to_string(),
                "pinned": report.pinned,
                "plugin": report.plugin,
                "version": report.version,
                "type": report.type_name,
                "layout": report.layout.to_string(),
            })).collect::<Vec<_>>(),
            "breaker": managers.as_ref().map(|managers| match managers.stack.breaker() {
                BreakerState::Closed => "closed",
                BreakerState::Open => "open",
                BreakerState::Probing => "probing",
            }),
            "replicas": managers.iter().flat_map(|managers| &managers.replica_sets).map(|(name, set)| json!({
                "name": name,
                "members": set.status().iter().map(|lane| json!({
                    "name": lane.name,
                    "healthy": lane.healthy,
                    "waiting_for_repair": lane.repairs.len(),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "references": generation.keeper.status(),
        })
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }

    async fn reload(&self) -> Result<(), String> {
        let running = self.me.upgrade().ok_or("the host is stopping")?;
        // On its own: a caller who goes away must not leave half a configuration behind.
        let reloading = tokio::spawn(async move { Running::reload(&running, "admin").await });
        match reloading.await {
            Ok(result) => result.map_err(|error| error.for_clients()),
            Err(error) => Err(format!("the reload was broken off: {error}")),
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// An error with all that caused it.
fn chain(error: &StartError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
