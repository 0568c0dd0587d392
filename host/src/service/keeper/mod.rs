//! Keeps the values behind the configuration's references up to date while the host runs.
//!
//! Each reference is asked for again before its value is too old, and none waits for another. What an answer means is
//! decided by its class: a new value is published, a secret that was deleted or revoked is withdrawn at once, and an outage
//! leaves the last value in use for a bounded time, counted from the last success.

mod kept;
mod schedule;
#[cfg(test)]
mod tests;
mod unit;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};

use self::{
    kept::Kept,
    unit::{Common, Unit},
};
use super::{Outcome, Refresh, Resolver, SecretHandle};

/// The states of a reference, see [`ReferenceStatus::state`].
const STATES: [&str; 5] = ["fresh", "refreshing", "stale", "fallback", "missing"];

/// How long values are used.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// How long a value is used before it is asked for again, unless its manager says less.
    pub ttl: Duration,
    /// The part of that time after which it is asked for again, give or take a tenth.
    pub refresh_ahead: f64,
    /// How long a value is used on when the manager fails, counted from the last success.
    pub stale_ttl: Duration,
    /// How long the value before a change may stand in for one that is refused.
    pub previous_overlap: Duration,
}

impl Default for Freshness {
    fn default() -> Self {
        Freshness {
            ttl: Duration::from_secs(300),
            refresh_ahead: 0.8,
            stale_ttl: Duration::from_secs(3600),
            previous_overlap: Duration::from_secs(600),
        }
    }
}

/// Keeps the handles of a configuration.
pub struct Keeper {
    common: Arc<Common>,
    /// In the order of the configuration.
    kept: Vec<Arc<Kept>>,
    /// Which of them are asked for together: the fields of the primary secret, and each other one alone.
    units: Vec<Arc<Unit>>,
    places: HashMap<String, Place>,
}

/// Where a reference is found.
struct Place {
    kept: Arc<Kept>,
    unit: Arc<Unit>,
}

/// What is known about one reference; never its value.
#[derive(Clone, Debug, Serialize)]
pub struct ReferenceStatus {
    /// The reference as the configuration writes it.
    pub reference: String,
    /// `fresh`, `refreshing` (in use and asked for again now), `stale` (the manager fails, the last value is in use),
    /// `fallback` (the manager fails, the environment's value is in use) or `missing`.
    pub state: &'static str,
    /// Where the value came from.
    pub source: Option<String>,
    /// Seconds since the value was last confirmed.
    pub age_seconds: Option<u64>,
    /// Grows with every other value; 0 while there is none.
    pub generation: u64,
    /// The class of the last failure, until the next success.
    pub last_error: Option<&'static str>,
}

impl Keeper {
    /// Takes the references over with what the start has resolved, and with what the keeper `before` it knows about them, if
    /// that asked the same manager; `resolver` must ask the manager and not a cache.
    pub fn new(
        resolver: Resolver,
        freshness: Freshness,
        outcomes: impl IntoIterator<Item = (Arc<SecretHandle>, Outcome)>,
        before: Option<&Keeper>,
    ) -> Arc<Self> {
        let known = |reference: &str| before.and_then(|keeper| keeper.places.get(reference));
        let common = Common::new(resolver, freshness);
        let (mut all, mut units, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        for (handle, Outcome { reference, result }) in outcomes {
            let is_field = common.resolver.is_field(&reference);
            let kept = Arc::new(Kept::new(reference, handle));
            if let Some(place) = known(kept.reference.text()) {
                kept.take_over(&place.kept);
            }
            kept.apply(0, result, &freshness);
            match is_field {
                true => fields.push(Arc::clone(&kept)),
                false => units.push(vec![Arc::clone(&kept)]),
            }
            all.push(kept);
        }
        if !fields.is_empty() {
            units.push(fields);
        }
        let forced = |kept: &Arc<Kept>| known(kept.reference.text())?.unit.forced();
        let units = units.into_iter().enumerate().map(|(number, members)| {
            let forced = members.iter().filter_map(forced).max();
            Unit::new(&common, number, members, forced)
        });
        let units: Vec<_> = units.collect();
        let mut places = HashMap::new();
        for unit in &units {
            let source: Arc<dyn Refresh> = Arc::clone(unit) as _;
            for kept in &unit.kept {
                kept.handle.comes_from(Arc::downgrade(&source));
                let place = Place { kept: Arc::clone(kept), unit: Arc::clone(unit) };
                places.insert(kept.reference.text().to_owned(), place);
            }
        }
        Arc::new(Keeper { common, kept: all, units, places })
    }

    /// Asks again for what is due, for ever; what is being asked for when this is dropped is given up.
    pub async fn run(self: Arc<Self>) {
        let mut asking = JoinSet::new();
        loop {
            let now = Instant::now();
            for unit in self.common.schedule.take(now) {
                if let Some(unit) = self.units.get(unit) {
                    unit.look(now, &mut asking);
                }
            }
            tokio::select! {
                () = self.common.schedule.wait() => {}
                Some(_) = asking.join_next() => {}
            }
        }
    }

    /// Whether a reference has a value now.
    pub fn has_value(&self, reference: &str) -> bool {
        self.places.get(reference).is_some_and(|place| place.kept.handle.current().is_some())
    }

    /// What is known about each reference, in the order of the configuration.
    pub fn status(&self) -> Vec<ReferenceStatus> {
        self.kept.iter().map(|kept| kept.status()).collect()
    }

    /// How many references are in each state; all states are there.
    pub fn states(&self) -> [(&'static str, usize); STATES.len()] {
        let status = self.status();
        STATES.map(|state| (state, status.iter().filter(|reference| reference.state == state).count()))
    }
}
