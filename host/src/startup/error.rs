//! Why a host does not start, and whether its configuration is at fault.

use std::time::Duration;

use crate::{
    config::{Config, ConfigError},
    gateway::{DeploymentError, GatewayStateError},
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
    /// References without a value.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// What is missing did not come.
    #[error(
        "waited {} s for what is missing, as keyway.startup.deadline says; provide it, allow more time, or start without it with \
         `on_missing: degraded`",
        .waited.as_secs_f64()
    )]
    OutOfTime {
        /// How long was waited.
        waited: Duration,
        /// What is missing.
        source: Box<StartError>,
    },
    /// An entry of `model_list` that cannot be used.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
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
        source: keyway_plugin_api::Error,
    },
    /// The parts do not fit together.
    #[error(transparent)]
    Gateway(#[from] GatewayStateError),
}

impl StartError {
    pub(crate) fn no_master_key(config: &Config) -> Self {
        StartError::NoMasterKey { path: config.path.display().to_string() }
    }

    /// Whether the configuration is at fault, and not the world that it describes.
    pub fn is_configuration(&self) -> bool {
        match self {
            StartError::NoMasterKey { .. } | StartError::Config(_) | StartError::Deployment(_) => true,
            StartError::Managers(error) => error.is_configuration(),
            StartError::Gateway(error) => matches!(error, GatewayStateError::Route(_)),
            StartError::OutOfTime { source, .. } => source.is_configuration(),
            StartError::Unresolved(_) | StartError::Unhealthy { .. } => false,
        }
    }
}
