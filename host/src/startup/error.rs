//! Why a host does not start, and whether its configuration is at fault.

use std::time::Duration;

use keyway_plugin_api::Error;

use crate::{
    config::{Config, ConfigError, Place},
    gateway::{DeploymentError, GatewayStateError, RouteError},
    registry::RegistryError,
    service::Unresolved,
};

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no master key, so that everybody or nobody could use the gateway.
    #[error(
        "{path} has no general_settings.master_key, and a gateway without one would be open to everybody; \
         add `master_key: os.environ/LITELLM_MASTER_KEY` and set that variable to a key of your own that begins with `sk-`"
    )]
    NoMasterKey {
        /// The configuration's file.
        path: String,
    },
    /// The file is wrong; only a reload reads it by itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The managers cannot be loaded.
    #[error(transparent)]
    Managers(#[from] RegistryError),
    /// A manager was not loaded before the start had to end; only a start that waits ends then.
    #[error("the secret manager {manager} was still being loaded")]
    Unready {
        /// The manager.
        manager: String,
    },
    /// References without a value.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// What is missing did not come.
    #[error(
        "waited {} s for what is missing, as keyway.startup.deadline says; provide it, allow more time, or start without it with \
         `on_missing: degraded`",
        (.waited.as_secs_f64() * 10.0).round() / 10.0
    )]
    OutOfTime {
        /// How long was waited.
        waited: Duration,
        /// What is missing.
        source: Box<StartError>,
    },
    /// The file has changed while this configuration waited; only a reload looks.
    #[error(
        "{path} has changed while what it held before waited for what is missing; what it holds now is tried next"
    )]
    Superseded {
        /// The configuration's file.
        path: String,
    },
    /// An entry of `model_list` that cannot be used.
    #[error("{}: {fault}", place.position())]
    Deployment {
        /// Where what is wrong stands.
        place: Place,
        /// What is wrong.
        fault: Box<DeploymentError>,
    },
    /// The router's settings do not fit the models.
    #[error("{}: {fault}", place.position())]
    Route {
        /// Where what is wrong stands.
        place: Place,
        /// What is wrong.
        fault: RouteError,
    },
    /// The manager is there and not well.
    #[error(
        "the secret manager {manager} is loaded and says that it is not healthy; mend what it names, or let \
         `keyway.startup.on_missing` be `wait`, to wait for it, or `degraded`, to serve without"
    )]
    Unhealthy {
        /// The manager.
        manager: String,
        /// What it said.
        #[source]
        source: Error,
    },
    /// The gateway lacks something that the configuration does not give.
    #[error(transparent)]
    Gateway(GatewayStateError),
}

impl StartError {
    pub(crate) fn no_master_key(config: &Config) -> Self {
        StartError::NoMasterKey { path: config.path.display().to_string() }
    }

    /// What a client of the gateway may read: a plugin's own words are for the operator's log and terminal, and the class of
    /// its error stands here.
    pub(crate) fn for_clients(&self) -> String {
        let (mut text, mut next) = match self {
            StartError::Unresolved(unresolved) => (unresolved.without_causes(), None),
            StartError::OutOfTime { source, .. } => (format!("{self}: {}", source.for_clients()), None),
            other => (other.to_string(), std::error::Error::source(other)),
        };
        while let Some(cause) = next {
            let plugins =
                cause.downcast_ref::<Error>().or(cause.downcast_ref::<Box<Error>>().map(|error| &**error));
            if let Some(error) = plugins {
                return format!("{text}: it answered {}; the log has its words", error.kind());
            }
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    }

    pub(super) fn deployment(fault: DeploymentError, config: &Config) -> Self {
        StartError::Deployment { place: config.places.find(&fault.setting()), fault: Box::new(fault) }
    }

    pub(super) fn gateway(error: GatewayStateError, config: &Config) -> Self {
        match error {
            GatewayStateError::Route(fault) => {
                StartError::Route { place: config.places.find(fault.setting()), fault }
            }
            error => StartError::Gateway(error),
        }
    }

    /// Whether the configuration is at fault, and not the world that it describes.
    pub fn is_configuration(&self) -> bool {
        match self {
            StartError::NoMasterKey { .. }
            | StartError::Config(_)
            | StartError::Deployment { .. }
            | StartError::Route { .. } => true,
            StartError::Managers(error) => error.is_configuration(),
            StartError::OutOfTime { source, .. } => source.is_configuration(),
            StartError::Gateway(_)
            | StartError::Unready { .. }
            | StartError::Superseded { .. }
            | StartError::Unresolved(_)
            | StartError::Unhealthy { .. } => false,
        }
    }
}
