//! Keeps the values behind the configuration's references up to date while the host runs.
//!
//! Each reference is asked for again before its value is too old. What an answer means is decided by its class: a new value
//! is published, a secret that was deleted or revoked is withdrawn at once, and an outage leaves the last value in use for a
//! bounded time, counted from the last success.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use keyway_plugin_api::{ErrorKind, Secret, async_trait};
use serde::Serialize;
use tokio::time::Instant;

use super::{Outcome, Refresh, ResolveError, Resolved, Resolver, SecretHandle, Source, resolver::Answer};
use crate::config::Reference;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// How long values are used.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// How long a value is used before it is asked for again, unless its manager says less.
    pub ttl: Duration,
    /// The part of that time after which it is asked for again.
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
    resolver: Resolver,
    freshness: Freshness,
    kept: Vec<Kept>,
}

struct Kept {
    reference: Reference,
    handle: Arc<SecretHandle>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    due: Instant,
    success: Option<Success>,
    failures: u32,
    last_error: Option<ErrorKind>,
}

#[derive(Debug)]
struct Success {
    at: Instant,
    /// The value's own end, if it has one.
    expires: Option<Instant>,
    source: Source,
}

/// What is known about one reference; never its value.
#[derive(Clone, Debug, Serialize)]
pub struct ReferenceStatus {
    /// The reference as the configuration writes it.
    pub reference: String,
    /// `fresh`, `stale` (the manager fails, the last value is in use) or `missing`.
    pub state: &'static str,
    /// Where the value came from.
    pub source: Option<String>,
    /// Seconds since the value was last confirmed.
    pub age_seconds: Option<u64>,
    /// Grows with every other value.
    pub generation: u64,
    /// The class of the last failure, until the next success.
    pub last_error: Option<&'static str>,
}

impl Keeper {
    /// Takes the references over with what the start has resolved; `resolver` must ask the manager and not a cache.
    pub fn new(
        resolver: Resolver,
        freshness: Freshness,
        outcomes: impl IntoIterator<Item = (Arc<SecretHandle>, Outcome)>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let kept = outcomes.into_iter().map(|(handle, outcome)| {
            let state = State { due: now, success: None, failures: 0, last_error: None };
            let kept = Kept { reference: outcome.reference, handle, state: Mutex::new(state) };
            kept.apply(outcome.result, &freshness);
            kept
        });
        let kept = kept.collect();
        let keeper = Arc::new(Keeper { resolver, freshness, kept });
        for kept in &keeper.kept {
            let source: Arc<dyn Refresh> = Arc::clone(&keeper) as _;
            let source: Weak<dyn Refresh> = Arc::downgrade(&source);
            kept.handle.comes_from(source);
        }
        keeper
    }

    /// Asks again for what is due, as long as anybody holds the keeper.
    pub async fn run(keeper: Weak<Self>) {
        loop {
            let Some(strong) = keeper.upgrade() else { return };
            let now = Instant::now();
            let due: Vec<&Kept> = strong.kept.iter().filter(|kept| kept.state().due <= now).collect();
            strong.ask(&due).await;
            let next = strong.kept.iter().map(|kept| kept.state().due).min();
            // Held weakly while asleep: a configuration that was replaced must be able to go.
            drop(due);
            let pause =
                next.map_or(LONGEST_PAUSE, |next| next.saturating_duration_since(now)).min(LONGEST_PAUSE);
            drop(strong);
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks for every value now; the number of references that have none afterwards.
    pub async fn refresh_all(&self) -> usize {
        self.ask(&self.kept.iter().collect::<Vec<_>>()).await;
        self.missing().count()
    }

    /// The references that have no value.
    pub fn missing(&self) -> impl Iterator<Item = &Reference> {
        self.kept.iter().filter(|kept| kept.handle.current().is_none()).map(|kept| &kept.reference)
    }

    /// What is known about each reference, in the order of the configuration.
    pub fn status(&self) -> Vec<ReferenceStatus> {
        self.kept.iter().map(Kept::status).collect()
    }

    async fn ask(&self, kept: &[&Kept]) {
        let references: Vec<Reference> = kept.iter().map(|kept| kept.reference.clone()).collect();
        let outcomes = self.resolver.resolve_all(&references).await;
        for (kept, outcome) in kept.iter().zip(outcomes) {
            kept.apply(outcome.result, &self.freshness);
        }
    }
}

#[async_trait]
impl Refresh for Keeper {
    async fn refresh(&self, reference: &str) {
        let kept: Vec<&Kept> = self.kept.iter().filter(|kept| kept.reference.text() == reference).collect();
        self.ask(&kept).await;
    }
}

impl Kept {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, result: Result<Resolved, ResolveError>, freshness: &Freshness) {
        let mut state = self.state();
        let now = Instant::now();
        let reference = self.reference.text();
        match result {
            Ok(Resolved { value, source }) => {
                let life = lifetime(&value, freshness.ttl);
                let jitter = 0.9 + 0.2 * fastrand::f64();
                let had_value = state.success.is_some();
                state.due =
                    now + life.mul_f64((freshness.refresh_ahead * jitter).clamp(0.0, 1.0)).max(SHORTEST_LIFE);
                state.success = Some(Success { at: now, expires: end(&value, now), source });
                state.failures = 0;
                state.last_error = None;
                let changed = self.handle.publish(value, freshness.previous_overlap);
                if changed && had_value {
                    tracing::info!(reference, "a secret has changed; requests use the new value from now on");
                }
            }
            Err(error) => {
                let verdict = Verdict::of(&error);
                let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(5)).min(LONGEST_PAUSE);
                state.due = now + pause.mul_f64(0.75 + 0.25 * fastrand::f64());
                state.failures = state.failures.saturating_add(1);
                state.last_error = Some(verdict.kind);
                let too_old = state.success.as_ref().is_none_or(|success| {
                    now.duration_since(success.at) >= freshness.stale_ttl
                        || success.expires.is_some_and(|expires| expires <= now)
                });
                if verdict.is_final || too_old {
                    if self.handle.current().is_some() {
                        tracing::error!(reference, class = %verdict.kind, "a secret has no value any more");
                    }
                    state.success = None;
                    self.handle.withdraw();
                } else {
                    tracing::warn!(reference, class = %verdict.kind, "a secret cannot be read; its last value is used");
                }
            }
        }
    }

    fn status(&self) -> ReferenceStatus {
        let state = self.state();
        let version = self.handle.version();
        ReferenceStatus {
            reference: self.reference.text().to_owned(),
            state: match (&version, state.last_error) {
                (None, _) => "missing",
                (Some(_), Some(_)) => "stale",
                (Some(_), None) => "fresh",
            },
            source: state.success.as_ref().map(|success| success.source.to_string()),
            age_seconds: state.success.as_ref().map(|success| success.at.elapsed().as_secs()),
            generation: version.map_or(0, |version| version.generation),
            last_error: state.last_error.map(ErrorKind::as_str),
        }
    }
}

/// What a failure means for the value that is in use.
struct Verdict {
    kind: ErrorKind,
    /// The secret is gone or revoked, and not merely out of reach.
    is_final: bool,
}

impl Verdict {
    fn of(error: &ResolveError) -> Self {
        let kind = error.manager_error().map_or(ErrorKind::NotFound, keyway_plugin_api::Error::kind);
        let unreadable =
            error.asked.iter().any(|answer| matches!(answer, Answer::BadPrimary { .. } | Answer::Oidc(_)));
        let is_final = matches!(kind, ErrorKind::NotFound | ErrorKind::Denied) && !unreadable;
        Verdict { kind: if unreadable { ErrorKind::Internal } else { kind }, is_final }
    }
}

/// How long a value is used: `ttl`, or what its manager says when that is less.
fn lifetime(value: &Secret, ttl: Duration) -> Duration {
    let metadata = value.metadata();
    let left = metadata.expires_at.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
    [metadata.ttl, left].into_iter().flatten().fold(ttl, Duration::min)
}

fn end(value: &Secret, now: Instant) -> Option<Instant> {
    let end = value.metadata().expires_at?;
    now.checked_add(end.duration_since(SystemTime::now()).unwrap_or_default())
}
