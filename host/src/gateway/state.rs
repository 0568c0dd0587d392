//! What the gateway is made of, proven and ready to serve.

use std::{
    io,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use keyway_plugin_api::SecretManager;

use crate::{
    gateway::{
        admin::Admin,
        deployment::Deployment,
        health::Health,
        models,
        table::{RouteError, RouteTable, RouterSettings},
        upstream::{self, Upstream},
    },
    service::{AuditLog, SecretHandle, metrics::GatewayMetrics},
};

/// The largest request body that is accepted when the configuration says nothing: 50 MiB.
pub const DEFAULT_MAX_BODY: usize = 50 << 20;

/// How long requests in flight may take to finish after the stop signal.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// What a gateway is made from.
pub struct Settings {
    /// The key that callers present. It is read for each request; while it has no value nobody gets in.
    pub master_key: Arc<SecretHandle>,
    /// The entries of `model_list`, in order.
    pub deployments: Vec<Deployment>,
    /// `router_settings`.
    pub router: RouterSettings,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// Whose health `/health/readiness` reports.
    pub health: Option<Arc<dyn SecretManager>>,
    /// How long requests in flight may take to finish after the stop signal.
    pub drain: Duration,
    /// Where requests are counted.
    pub metrics: GatewayMetrics,
    /// Where it is written which secret was put on which request.
    pub audit: Option<AuditLog>,
    /// What must live as long as any request that was accepted under this state.
    pub held: Option<Arc<dyn Send + Sync>>,
}

impl Settings {
    /// A gateway with defaults for all but the key and the models.
    pub fn new(master_key: Arc<SecretHandle>, deployments: Vec<Deployment>) -> Self {
        Settings {
            master_key,
            deployments,
            router: RouterSettings::default(),
            max_body: DEFAULT_MAX_BODY,
            health: None,
            drain: DEFAULT_DRAIN,
            metrics: GatewayMetrics::default(),
            audit: None,
            held: None,
        }
    }
}

/// Why a gateway cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GatewayStateError {
    /// The router's settings do not fit the models.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Upstreams are reached over TLS and there is nothing to verify them with.
    #[error(
        "cannot load the system's CA certificates, which https upstreams need; install the \
         `ca-certificates` package or set SSL_CERT_FILE to a bundle"
    )]
    CaCertificates(#[source] io::Error),
}

/// What is served now. A state can be replaced while requests are under way: each finishes under the one it began with.
#[derive(Clone)]
pub struct Gateway(Arc<Serving>);

struct Serving {
    state: ArcSwap<GatewayState>,
    admin: OnceLock<Weak<dyn Admin>>,
}

impl Gateway {
    /// Serves `state` from the next request on.
    pub fn replace(&self, state: Arc<GatewayState>) {
        self.0.state.store(state);
    }

    /// Answers the admin routes with `admin`, as long as it lives; only the first call counts.
    pub fn administer(&self, admin: Weak<dyn Admin>) {
        // A second one would belong to another host, which has a gateway of its own.
        let _ = self.0.admin.set(admin);
    }

    pub(super) fn state(&self) -> Arc<GatewayState> {
        self.0.state.load_full()
    }

    pub(super) fn admin(&self) -> Option<Arc<dyn Admin>> {
        self.0.admin.get().and_then(Weak::upgrade)
    }
}

impl From<Arc<GatewayState>> for Gateway {
    fn from(state: Arc<GatewayState>) -> Self {
        Gateway(Arc::new(Serving { state: ArcSwap::new(state), admin: OnceLock::new() }))
    }
}

/// A gateway that is ready to serve, on one listener or on several.
pub struct GatewayState {
    pub(super) master_key: Arc<SecretHandle>,
    pub(super) table: RouteTable,
    pub(super) router: RouterSettings,
    pub(super) upstream: Upstream,
    pub(super) models: Bytes,
    pub(super) max_body: usize,
    pub(super) health: Health,
    pub(super) drain: Duration,
    pub(super) metrics: GatewayMetrics,
    pub(super) audit: Option<AuditLog>,
    _held: Option<Arc<dyn Send + Sync>>,
}

impl GatewayState {
    /// Makes a gateway; no upstream is contacted yet.
    ///
    /// # Errors
    /// When aliases or fallbacks lead nowhere, or when TLS is needed and has no roots.
    pub fn new(settings: Settings) -> Result<Arc<Self>, GatewayStateError> {
        let Settings { master_key, deployments, router, max_body, health, drain, metrics, audit, held } =
            settings;
        let table = RouteTable::new(deployments, &router)?;
        let needs_tls = table.deployments().any(|deployment| deployment.target.is_tls());
        let upstream = upstream::client(needs_tls).map_err(GatewayStateError::CaCertificates)?;
        Ok(Arc::new(GatewayState {
            models: models::list(&table),
            health: Health::new(health),
            master_key,
            table,
            router,
            upstream,
            max_body,
            drain,
            metrics,
            audit,
            _held: held,
        }))
    }
}

impl std::fmt::Debug for GatewayState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayState").field("table", &self.table).finish_non_exhaustive()
    }
}
