//! What stands around a single plugin, whatever group it is in, and around a replica set.

use std::{num::NonZeroU32, sync::Arc};

use keyway_plugin_api::SecretManager;

use super::in_flight;
use crate::{
    config::{Config, ManagerSettings},
    service::{
        AuditLog, Metrics, Replicas,
        audit::{Audited, Happening},
        limit::Limit,
        metrics::{Metered, Reading},
        replicas::LaneStatus,
    },
};

/// Holds one plugin to its own limits, whatever group it is in.
pub(super) fn limited(
    config: &Config,
    settings: &ManagerSettings,
    plugin: Arc<dyn SecretManager>,
) -> Arc<dyn SecretManager> {
    let calls = settings.calls_per_minute.map(NonZeroU32::get).or(config.keyway.service.calls_per_minute);
    Arc::new(Limit::new(&settings.name, plugin, settings.timeout, in_flight(settings), calls))
}

/// Counts and logs the calls of a plugin that others use, each under its own name; the stack does so for the selected one.
pub(super) fn observed(
    name: &str,
    plugin: Arc<dyn SecretManager>,
    metrics: &Metrics,
    audit: Option<&AuditLog>,
) -> Arc<dyn SecretManager> {
    let metered = Arc::new(Metered::new(plugin, metrics.manager(name)));
    match audit {
        Some(log) => Arc::new(Audited::new(name, metered, log.clone(), Happening::ManagerCall)),
        None => metered,
    }
}

/// Shows what waits for the repair of each member for as long as the set lives.
pub(super) fn watch_repairs(name: &str, set: &Arc<Replicas>, metrics: &Metrics) {
    let (name, set) = (name.to_owned(), Arc::downgrade(set));
    metrics.watch_all(Reading::RepairsWaiting, move || {
        let status = set.upgrade()?.status();
        let waiting = |lane: LaneStatus| {
            let labels = vec![("manager", name.clone()), ("member", lane.name)];
            (labels, lane.repairs.len() as f64)
        };
        Some(status.into_iter().map(waiting).collect())
    });
}
