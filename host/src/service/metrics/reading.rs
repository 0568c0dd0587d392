//! Numbers that are asked for when somebody looks.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType};

use super::Labels;

/// A number that is asked for when somebody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// Operations whose caller has gone and which the plugin has not completed.
    ZombieOperations,
    /// 0 closed, 1 open, 2 probing.
    BreakerState,
    /// Values in the cache.
    CacheValues,
    /// The age of the oldest value in the cache, in seconds.
    CacheOldestAge,
    /// The changes that a member of a replica set missed.
    RepairsWaiting,
    /// The references of the configuration that are in a state.
    References,
}

/// The latest numbers of a reading; `None` when there will be no more.
type Read = Box<dyn Fn() -> Option<Vec<(Labels, f64)>> + Send + Sync>;

/// All that is asked; a copy asks the same.
#[derive(Clone, Default)]
pub(super) struct Readings(Arc<Mutex<Vec<(Reading, Read)>>>);

impl Reading {
    const ALL: [Reading; 6] = [
        Reading::ZombieOperations,
        Reading::BreakerState,
        Reading::CacheValues,
        Reading::CacheOldestAge,
        Reading::RepairsWaiting,
        Reading::References,
    ];

    const fn name_and_help(self) -> (&'static str, &'static str) {
        match self {
            Reading::ZombieOperations => (
                "keyway_manager_zombie_operations",
                "Operations of a manager that were given up and have not been completed.",
            ),
            Reading::BreakerState => {
                ("keyway_manager_breaker_state", "Breaker of a manager: 0 closed, 1 open, 2 probing.")
            }
            Reading::CacheValues => ("keyway_cache_values", "Values in the cache before a manager."),
            Reading::CacheOldestAge => (
                "keyway_cache_oldest_value_age_seconds",
                "Age of the oldest value in the cache before a manager.",
            ),
            Reading::RepairsWaiting => (
                "keyway_replica_repairs_waiting",
                "Changes that a member of a replica set missed and has not been given yet.",
            ),
            Reading::References => (
                "keyway_references",
                "References of the configuration, by state: fresh, refreshing, stale, fallback or missing.",
            ),
        }
    }
}

impl Readings {
    pub(super) fn add(
        &self,
        reading: Reading,
        read: impl Fn() -> Option<Vec<(Labels, f64)>> + Send + Sync + 'static,
    ) {
        self.lock().push((reading, Box::new(read)));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Reading, Read)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // While a configuration is replaced both have the same labels, which may stand there once only: the newer counts.
        let mut now = BTreeMap::new();
        self.lock().retain(|(reading, read)| {
            let numbers = read();
            let is_alive = numbers.is_some();
            now.extend(numbers.into_iter().flatten().map(|(labels, number)| ((*reading, labels), number)));
            is_alive
        });
        for reading in Reading::ALL {
            let (name, help) = reading.name_and_help();
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for ((_, labels), number) in now.iter().filter(|((of, _), _)| *of == reading) {
                metric.encode_family(labels)?.encode_gauge(number)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readings({})", self.lock().len())
    }
}
