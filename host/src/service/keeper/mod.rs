//! Keeps the values behind the configuration's references up to date while the host runs.
//!
//! Each reference is asked for again before its value is too old, and none waits for another. What an answer means is
//! decided by its class: a new value is published, a secret that was deleted or revoked is withdrawn at once, and an outage
//! leaves the last value in use for a bounded time, counted from the last success.

mod kept;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyway_plugin_api::async_trait;
use serde::Serialize;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::Instant,
};

use self::kept::{Asked, Kept};
use super::{Outcome, Refresh, Resolver, SecretHandle};
use crate::config::Reference;

/// The shortest time between two looks at what is due, unless an answer comes.
const SHORTEST_SLEEP: Duration = Duration::from_millis(250);

/// The longest time between two looks at what is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

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
    round: Arc<Round>,
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

/// All references, and who asks for them.
struct Round {
    resolver: Resolver,
    freshness: Freshness,
    /// In the order of the configuration.
    kept: Vec<Kept>,
    /// Which of them are asked for together: the fields of the primary secret, and each other one alone.
    units: Vec<Vec<usize>>,
    /// Counts the questions, so that of two answers the one to the later question wins.
    questions: AtomicU64,
    /// How many units may be asked for at once because they are due.
    turns: Semaphore,
    ended: Notify,
}

impl Keeper {
    /// Takes the references over with what the start has resolved; `resolver` must ask the manager and not a cache.
    pub fn new(
        resolver: Resolver,
        freshness: Freshness,
        outcomes: impl IntoIterator<Item = (Arc<SecretHandle>, Outcome)>,
    ) -> Arc<Self> {
        let (mut kept, mut units, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (handle, Outcome { reference, result })) in outcomes.into_iter().enumerate() {
            match resolver.is_field(&reference) {
                true => fields.push(index),
                false => units.push(vec![index]),
            }
            let taken_over = Kept::new(reference, handle);
            taken_over.apply(0, result, &freshness);
            kept.push(taken_over);
        }
        if !fields.is_empty() {
            units.push(fields);
        }
        let round = Arc::new(Round {
            turns: Semaphore::new(resolver.max_in_flight().min(Semaphore::MAX_PERMITS)),
            resolver,
            freshness,
            kept,
            units,
            questions: AtomicU64::new(1),
            ended: Notify::new(),
        });
        for kept in &round.kept {
            let source: Arc<dyn Refresh> = Arc::clone(&round) as _;
            kept.handle.comes_from(Arc::downgrade(&source));
        }
        Arc::new(Keeper { round })
    }

    /// Asks again for what is due, as long as anybody holds the keeper; what is being asked for then is given up.
    pub async fn run(keeper: Weak<Self>) {
        // Not the keeper itself: a configuration that was replaced must be able to go.
        let Some(round) = keeper.upgrade().map(|keeper| Arc::clone(&keeper.round)) else { return };
        let mut asking = JoinSet::new();
        while keeper.strong_count() > 0 {
            let next = round.begin_what_is_due(&mut asking);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                Some(_) = asking.join_next() => {}
                () = round.ended.notified() => break,
            }
        }
        asking.shutdown().await;
    }

    /// Asks for every value now; the number of references that have none afterwards.
    pub async fn refresh_all(&self) -> usize {
        let round = &self.round;
        futures_util::future::join_all((0..round.units.len()).map(|unit| round.ask(unit))).await;
        self.missing().count()
    }

    /// The references that have no value.
    pub fn missing(&self) -> impl Iterator<Item = &Reference> {
        let missing = self.round.kept.iter().filter(|kept| kept.handle.current().is_none());
        missing.map(|kept| &kept.reference)
    }

    /// Whether a reference has a value now.
    pub fn has_value(&self, reference: &str) -> bool {
        let kept = self.round.kept.iter().find(|kept| kept.reference.text() == reference);
        kept.is_some_and(|kept| kept.handle.current().is_some())
    }

    /// What is known about each reference, in the order of the configuration.
    pub fn status(&self) -> Vec<ReferenceStatus> {
        self.round.kept.iter().map(Kept::status).collect()
    }

    /// How many references are in each state; all states are there.
    pub fn states(&self) -> [(&'static str, usize); STATES.len()] {
        let status = self.status();
        STATES.map(|state| (state, status.iter().filter(|reference| reference.state == state).count()))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.round.ended.notify_one();
    }
}

impl Round {
    /// Takes values out of use that are too old, begins to ask for what is due, and says when to look again.
    fn begin_what_is_due(self: &Arc<Self>, asking: &mut JoinSet<()>) -> Instant {
        let now = Instant::now();
        let mut next = now + LONGEST_SLEEP;
        for unit in 0..self.units.len() {
            let ends = self.members(unit).filter_map(|kept| kept.end_of_use(now)).min();
            let due = match self.members(unit).any(Kept::is_asked_for) {
                true => now + SHORTEST_SLEEP,
                false => self.members(unit).map(Kept::due).min().unwrap_or(next),
            };
            if due <= now {
                // Marked here, so that it is not begun twice while it waits for its turn.
                let (round, asked) = (Arc::clone(self), self.asked(unit));
                self.members(unit).for_each(|kept| kept.postpone(now));
                asking.spawn(async move {
                    let _turn = round.turns.acquire().await;
                    round.answer(unit, asked).await;
                });
            }
            next = [ends, Some(due.max(now + SHORTEST_SLEEP))].into_iter().flatten().fold(next, Instant::min);
        }
        next
    }

    /// Asks for the members of a unit now, whatever else is being asked for.
    async fn ask(&self, unit: usize) {
        self.answer(unit, self.asked(unit)).await;
    }

    /// Marks the members of a unit as asked for.
    fn asked(&self, unit: usize) -> Vec<Asked> {
        self.members(unit).map(Kept::asked).collect()
    }

    async fn answer(&self, unit: usize, asked: Vec<Asked>) {
        let question = self.questions.fetch_add(1, Ordering::Relaxed);
        let references: Vec<Reference> = self.members(unit).map(|kept| kept.reference.clone()).collect();
        let outcomes = self.resolver.resolve_all(&references).await;
        for (kept, outcome) in self.members(unit).zip(outcomes) {
            kept.apply(question, outcome.result, &self.freshness);
        }
        drop(asked);
    }

    fn members(&self, unit: usize) -> impl Iterator<Item = &Kept> {
        self.units.get(unit).into_iter().flatten().filter_map(|index| self.kept.get(*index))
    }
}

#[async_trait]
impl Refresh for Round {
    async fn refresh(&self, reference: &str) {
        let asked =
            |index: &usize| self.kept.get(*index).is_some_and(|kept| kept.reference.text() == reference);
        if let Some(unit) = self.units.iter().position(|members| members.iter().any(asked)) {
            self.ask(unit).await;
        }
    }
}
