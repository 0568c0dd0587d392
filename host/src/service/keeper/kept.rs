//! One reference that is kept: what each answer means for its value.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use keyway_plugin_api::{ErrorKind, Secret};
use tokio::time::Instant;

use super::{Freshness, ReferenceStatus};
use crate::{
    config::Reference,
    service::{
        ResolveError, Resolved, SecretHandle, Source,
        resolver::{Answer, EnvironmentReason},
    },
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A value is never asked for again before that, whatever its manager says of it.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// How long a value is used whose end had passed when it came: until its manager has answered again.
const DOUBTED_LIFE: Duration = Duration::from_secs(10);
/// The longest time that a manager may ask to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// A reference, its handle and what is known about its value.
pub(super) struct Kept {
    pub(super) reference: Reference,
    pub(super) handle: Arc<SecretHandle>,
    state: Mutex<State>,
    asking: Arc<AtomicUsize>,
}

/// Ends with the question that it stands for.
pub(super) struct Asked(Arc<AtomicUsize>);

#[derive(Debug)]
struct State {
    /// The number of the question whose answer was applied last.
    applied: u64,
    due: Instant,
    success: Option<Success>,
    failures: u32,
    last_error: Option<ErrorKind>,
}

#[derive(Clone, Debug)]
struct Success {
    at: Instant,
    /// When the value is too old to be used.
    until: Instant,
    source: Source,
}

/// What a failure means for the value that is in use.
struct Verdict {
    kind: ErrorKind,
    /// The secret is gone or revoked, and not merely out of reach.
    is_final: bool,
    retry_after: Option<Duration>,
}

impl Kept {
    pub(super) fn new(reference: Reference, handle: Arc<SecretHandle>) -> Self {
        let state = State { applied: 0, due: Instant::now(), success: None, failures: 0, last_error: None };
        Kept { reference, handle, state: Mutex::new(state), asking: Arc::default() }
    }

    /// Takes over what another keeper knows about the same secret, so that the next answer means what it would mean there.
    pub(super) fn take_over(&self, before: &Kept) {
        let before_state = before.state();
        self.handle.take_over(&before.handle);
        let mut state = self.state();
        state.success.clone_from(&before_state.success);
        (state.failures, state.last_error) = (before_state.failures, before_state.last_error);
    }

    /// Says that it is being asked for, until the result is dropped.
    pub(super) fn asked(&self) -> Asked {
        self.asking.fetch_add(1, Ordering::Relaxed);
        Asked(Arc::clone(&self.asking))
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.asking.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.state().due <= now
    }

    /// Puts the next question off, for the case that the one that is under way never gets an answer.
    pub(super) fn postpone(&self, now: Instant) {
        self.state().due = now + LONGEST_PAUSE;
    }

    /// When to look at it again: when it is due, or when a value is too old to be used.
    pub(super) fn next(&self) -> Instant {
        let state = self.state();
        let until = state.success.as_ref().map(|success| success.until);
        until.into_iter().chain(self.handle.previous_until()).fold(state.due, Instant::min)
    }

    /// Takes the value out of use that is too old now, and the one before it.
    pub(super) fn tidy(&self, now: Instant) {
        let mut state = self.state();
        if state.success.as_ref().is_some_and(|success| success.until <= now) {
            self.withdraw(&mut state);
        }
        if self.handle.previous_until().is_some_and(|until| until <= now) {
            self.handle.forget_previous(now);
        }
    }

    /// Applies the answer to a question, unless that to a later one was.
    pub(super) fn apply(&self, question: u64, result: Result<Resolved, ResolveError>, freshness: &Freshness) {
        let mut state = self.state();
        if question < state.applied {
            return;
        }
        state.applied = question;
        let now = Instant::now();
        match result {
            Ok(resolved) => match fell_back(&resolved.source) {
                Some(kind) if state.outlives(kind, now) => {
                    self.fail(&mut state, now, &Verdict { kind, is_final: false, retry_after: None });
                }
                other => self.succeed(&mut state, now, resolved, other, freshness),
            },
            Err(error) => self.fail(&mut state, now, &Verdict::of(&error)),
        }
    }

    pub(super) fn status(&self) -> ReferenceStatus {
        let state = self.state();
        let version = self.handle.version();
        let has_fallen_back =
            state.success.as_ref().is_some_and(|success| fell_back(&success.source).is_some());
        ReferenceStatus {
            reference: self.reference.text().to_owned(),
            state: match (&version, state.last_error) {
                (None, _) => "missing",
                (Some(_), Some(_)) if has_fallen_back => "fallback",
                (Some(_), Some(_)) => "stale",
                (Some(_), None) if self.is_asked_for() => "refreshing",
                (Some(_), None) => "fresh",
            },
            source: state.success.as_ref().map(|success| success.source.to_string()),
            age_seconds: state.success.as_ref().map(|success| success.at.elapsed().as_secs()),
            generation: version.map_or(0, |version| version.generation),
            last_error: state.last_error.map(ErrorKind::as_str),
        }
    }

    /// Publishes a value; `failure` is why the environment had to stand in for the manager.
    fn succeed(
        &self,
        state: &mut State,
        now: Instant,
        resolved: Resolved,
        failure: Option<ErrorKind>,
        freshness: &Freshness,
    ) {
        let Resolved { value, source } = resolved;
        let reference = self.reference.text();
        let life = lifetime(&value, freshness.ttl).max(SHORTEST_LIFE);
        let stale = now + life.max(freshness.stale_ttl);
        let until = end(&value, now).map_or(stale, |end| end.min(stale));
        let origin = Arc::from(source.name());
        let before = state.success.replace(Success { at: now, until, source });
        match failure {
            Some(kind) => self.pause(state, now, &Verdict { kind, is_final: false, retry_after: None }),
            None => {
                if state.last_error.is_some() && before.is_some() {
                    tracing::info!(reference, "a secret can be read again");
                }
                let jitter = 0.9 + 0.2 * fastrand::f64();
                let part = (freshness.refresh_ahead * jitter).clamp(0.0, 1.0);
                state.due = now + life.mul_f64(part).max(SHORTEST_LIFE);
                state.failures = 0;
                state.last_error = None;
            }
        }
        // A value that the manager has no more, or must not give any more, does not stand in for the environment's.
        let is_replaced = |success: &Success| matches!(success.source, Source::Manager { .. });
        let is_gone = before.as_ref().is_some_and(is_replaced)
            && state.success.as_ref().is_some_and(|success| !is_replaced(success));
        let overlap = if is_gone { Duration::ZERO } else { freshness.previous_overlap };
        if self.handle.publish_from(value, Some(origin), overlap) && before.is_some() {
            tracing::info!(reference, "a secret has changed; requests use the new value from now on");
        }
    }

    fn fail(&self, state: &mut State, now: Instant, verdict: &Verdict) {
        self.pause(state, now, verdict);
        let (reference, class) = (self.reference.text(), verdict.kind);
        if verdict.is_final || state.success.as_ref().is_some_and(|success| success.until <= now) {
            self.withdraw(state);
        } else if state.success.is_some() && state.failures == 1 {
            tracing::warn!(reference, %class, "a secret cannot be read; its last value is used");
        } else {
            tracing::debug!(reference, %class, "a secret still cannot be read");
        }
    }

    /// Remembers a failure, and when to ask again.
    fn pause(&self, state: &mut State, now: Instant, verdict: &Verdict) {
        let full = FIRST_PAUSE.saturating_mul(1 << state.failures.min(5)).min(LONGEST_PAUSE);
        let asked = verdict.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        state.due = now + full.mul_f64(0.75 + 0.25 * fastrand::f64()).max(asked);
        state.failures = state.failures.saturating_add(1);
        state.last_error = Some(verdict.kind);
    }

    fn withdraw(&self, state: &mut State) {
        if self.handle.current().is_some() {
            let (reference, class) = (self.reference.text(), state.last_error.map(ErrorKind::as_str));
            tracing::error!(reference, class, "a secret has no value any more");
        }
        state.success = None;
        self.handle.withdraw();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a manager's last value is better than the environment's while the manager fails in this way.
    fn outlives(&self, kind: ErrorKind, now: Instant) -> bool {
        kind != ErrorKind::Denied
            && self.success.as_ref().is_some_and(|success| {
                matches!(success.source, Source::Manager { .. }) && now < success.until
            })
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Verdict {
    fn of(error: &ResolveError) -> Self {
        let failure = error.manager_error();
        let kind = failure.map_or(ErrorKind::NotFound, keyway_plugin_api::Error::kind);
        let unreadable = error
            .asked
            .iter()
            .any(|answer| matches!(answer, Answer::BadPrimary { .. } | Answer::Oidc { .. }));
        Verdict {
            kind: if unreadable { ErrorKind::Internal } else { kind },
            is_final: matches!(kind, ErrorKind::NotFound | ErrorKind::Denied) && !unreadable,
            retry_after: failure.and_then(keyway_plugin_api::Error::retry_after),
        }
    }
}

/// The failure of the manager that led to the environment, if one did.
fn fell_back(source: &Source) -> Option<ErrorKind> {
    match source {
        Source::Environment { why: EnvironmentReason::FellBack(kind) } => Some(*kind),
        _ => None,
    }
}

/// How long a value is used: `ttl`, or what its manager says when that is less.
fn lifetime(value: &Secret, ttl: Duration) -> Duration {
    let metadata = value.metadata();
    let left = metadata.expires_at.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
    [metadata.ttl, left].into_iter().flatten().fold(ttl, Duration::min)
}

/// The value's own end, if it has one. When that has passed already, which of the two clocks is wrong cannot be told, and a
/// wrong one must not take every value away: the value is used as long as its manager goes on giving it, and in an outage
/// it goes after a moment instead of after `stale_ttl`.
fn end(value: &Secret, now: Instant) -> Option<Instant> {
    let left = value.metadata().expires_at?.duration_since(SystemTime::now());
    now.checked_add(left.map_or(DOUBTED_LIFE, |left| left.max(SHORTEST_LIFE)))
}
