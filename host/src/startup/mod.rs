//! From a configuration to a gateway that is ready to serve, and to the next one: all of it, or nothing.

mod assemble;
mod error;
mod generation;
mod watch;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use async_trait::async_trait;
use serde_json::{Value, json};

pub(crate) use self::error::is_configuration;
pub use self::{error::StartError, generation::Generation};
use crate::{
    config::{self, Config},
    gateway::{Admin, Gateway},
    local_api::{Access, Grants as _},
};

/// A host whose configuration is proven, whose plugin is loaded and whose references are resolved.
pub struct Host {
    running: Arc<Running>,
}

struct Running {
    path: PathBuf,
    gateway: Gateway,
    current: RwLock<Arc<Generation>>,
    /// Held while a configuration is built, so that two reloads do not overtake each other.
    building: tokio::sync::Mutex<u64>,
    last_reload: Mutex<Option<Reload>>,
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
        let (generation, state) = Generation::start(1, &config).await?;
        let running = Arc::new(Running {
            path: config.path,
            gateway: Gateway::from(state),
            current: RwLock::new(generation),
            building: tokio::sync::Mutex::new(1),
            last_reload: Mutex::new(None),
            since: Instant::now(),
        });
        let admin: Arc<dyn Admin> = running.clone();
        running.gateway.administer(Arc::downgrade(&admin));
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

    /// Reloads whenever the configuration's file has changed; never ends.
    pub async fn watch(&self) {
        watch::changes(&self.running.path, async || {
            // The refusal is in the log and in the status.
            let _ = self.running.reload("file").await;
        })
        .await;
    }

    /// Ends the plugin; call it when the gateway has stopped.
    pub async fn shutdown(self) {
        self.running.generation().end().await;
    }
}

impl Running {
    fn generation(&self) -> Arc<Generation> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn reload(&self, trigger: &'static str) -> Result<(), StartError> {
        let mut number = self.building.lock().await;
        let result = self.build(*number + 1).await;
        let refusal = result.as_ref().err().map(chain);
        match &refusal {
            None => {
                *number += 1;
                tracing::info!(trigger, generation = *number, "the configuration was reloaded");
            }
            Some(reason) => {
                tracing::error!(
                    trigger,
                    reason,
                    "the configuration is not reloaded; the one before it goes on"
                );
            }
        }
        let reload = Reload { at: Instant::now(), trigger, refusal };
        *self.last_reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload);
        result
    }

    async fn build(&self, number: u64) -> Result<(), StartError> {
        let config = config::load(&self.path)?;
        for warning in &config.warnings {
            tracing::warn!("{}: {warning}", config.path.display());
        }
        let (generation, state) = Generation::start(number, &config).await?;
        generation.probe().await?;
        Access::tell_of_change(self.generation().access(), generation.access());
        self.gateway.replace(state);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = generation;
        Ok(())
    }
}

#[async_trait]
impl Admin for Running {
    fn status(&self) -> Value {
        let generation = self.generation();
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
            "manager": generation.report.as_ref().map(|report| json!({
                "name": report.name,
                "file": shown(&report.path),
                "sha256": report.sha256.to_string(),
                "pinned": report.pinned,
                "plugin": report.plugin,
                "version": report.version,
                "type": report.type_name,
                "layout": report.layout.to_string(),
            })),
            "references": generation.keeper.status(),
        })
    }

    async fn reload(&self) -> Result<(), String> {
        Running::reload(self, "admin").await.map_err(|error| chain(&error))
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
