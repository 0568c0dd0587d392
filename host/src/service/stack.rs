//! The layers before a manager, and why they stand in this order.
//!
//! ```text
//! caller
//!   audit (handed_out)   sees everything that is asked, refusals and hits included, as the caller sees it
//!   access policy        before the cache, so that a value that may not be read is not served from it either
//!   cache                before the retries: one caller's patience serves all who wait
//!   retry                outside the breaker: each try counts as a success or a failure
//!   breaker              inside the retries: while it is open, a try costs nothing and is not repeated
//!   audit, metrics       of the calls as they go out, those that a refresh makes in the background included
//!   limit                next to the manager: deadline, calls under way and budget are about real calls
//! manager
//! ```

use std::{sync::Arc, time::Duration};

use keyway_plugin_api::SecretManager;

use super::{
    audit::{AuditLog, Audited, Happening},
    breaker::{Breaker, BreakerState},
    cache::{Cache, FreshReads},
    limit::Limit,
    metrics::{Metered, Metrics, Reading},
    policy::{AccessPolicy, Guarded},
    retry::Retry,
};
use crate::config::ServiceSettings;

/// A manager with everything that stands before it.
pub struct Stack {
    manager: Arc<dyn SecretManager>,
    fresh: Arc<dyn SecretManager>,
    name: String,
    cache: Cache,
    breaker: Arc<Breaker>,
}

/// How a manager is wrapped.
#[derive(Clone, Debug)]
pub struct StackSettings {
    /// The manager's name in the configuration.
    pub name: String,
    /// The time that one operation may take, retries included.
    pub timeout: Duration,
    /// How many calls may be under way at once.
    pub max_in_flight: usize,
    /// What may be asked for.
    pub access: AccessPolicy,
    /// Cache, budget, retries.
    pub service: ServiceSettings,
}

impl Stack {
    /// Wraps a manager; must be called inside the tokio runtime that is to run its calls.
    pub fn new(
        inner: Arc<dyn SecretManager>,
        settings: StackSettings,
        metrics: &Metrics,
        audit: Option<AuditLog>,
    ) -> Self {
        let StackSettings { name, timeout, max_in_flight, access, service } = settings;
        let audited = |inner: Arc<dyn SecretManager>, event| match &audit {
            Some(log) => Arc::new(Audited::new(&name, inner, log.clone(), event)),
            None => inner,
        };
        let (policy, retry) = (Arc::new(access), service.retry);
        let limit = Limit::new(&name, inner, timeout, max_in_flight, service.calls_per_minute);
        let metered = Arc::new(Metered::new(Arc::new(limit), metrics.manager(&name)));
        let called = audited(metered, Happening::ManagerCall);
        let breaker = Arc::new(Breaker::new(&name, called, retry.breaker_failures, retry.breaker_cooldown));
        let retried = Arc::new(Retry::new(breaker.clone(), retry.max_retries));
        let cache = Cache::new(retried, service.cache, timeout, metrics.cache(&name));
        let guarded = Arc::new(Guarded::new(Arc::new(cache.clone()), Arc::clone(&policy)));
        let manager = audited(guarded, Happening::HandedOut);
        let guarded = Arc::new(Guarded::new(Arc::new(FreshReads(cache.clone())), policy));
        let fresh = audited(guarded, Happening::HandedOut);
        let stack = Self { manager, fresh, name, cache, breaker };
        stack.show(metrics);
        stack
    }

    /// All layers as a secret manager.
    pub fn manager(&self) -> Arc<dyn SecretManager> {
        Arc::clone(&self.manager)
    }

    /// The same for reads that must not be answered from the cache, by those who keep the values themselves.
    pub fn fresh(&self) -> Arc<dyn SecretManager> {
        Arc::clone(&self.fresh)
    }

    /// The cache, to refresh, invalidate or show.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether the manager is being left alone.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// The manager's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the metrics ask for the state of breaker and cache for as long as this stack lives.
    fn show(&self, metrics: &Metrics) {
        let breaker = Arc::downgrade(&self.breaker);
        metrics.watch(Reading::BreakerState, &self.name, move || {
            Some(match breaker.upgrade()?.state() {
                BreakerState::Closed => 0.0,
                BreakerState::Open => 1.0,
                BreakerState::Probing => 2.0,
            })
        });
        let values = self.cache.observer();
        metrics.watch(Reading::CacheValues, &self.name, move || Some(values()?.0 as f64));
        let ages = self.cache.observer();
        metrics.watch(Reading::CacheOldestAge, &self.name, move || Some(ages()?.1.as_secs_f64()));
    }
}
