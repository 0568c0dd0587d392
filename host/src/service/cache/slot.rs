//! One entry of the cache: what is known about a secret, and the one call that is finding out more.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use keyway_plugin_api::{Error, ErrorKind, Result, Secret};
use tokio::sync::watch;

use super::clock::Tick;
use crate::{
    config::CacheSettings,
    service::verdict::{Verdict, verdict},
};

/// How far the moment of a refresh in the background is moved at random, so that entries do not refresh together.
const JITTER: f64 = 0.1;
/// After a failed refresh the manager is left alone for so long, while an older value can be served.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a manager may ask for with `retry_after`.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest time to live: a hundred years, with which arithmetic is safe.
pub(super) const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// An entry. Readers of a fresh value touch `known` alone, which takes no lock.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) known: ArcSwapOption<Known>,
    inner: Mutex<Inner>,
}

/// What is known about a secret, and until when that counts.
pub(super) struct Known {
    pub(super) value: Option<Arc<Secret>>,
    pub(super) generation: u64,
    pub(super) learnt: Tick,
    pub(super) refresh_at: Tick,
    pub(super) fresh_until: Tick,
    pub(super) stale_until: Tick,
}

/// What a call came to, for everybody who waits for it.
#[derive(Clone)]
pub(super) enum Landing {
    /// The call has a value.
    Value(Arc<Secret>, u64),
    /// The call failed.
    Failed(Arc<Error>),
    /// The secret was changed meanwhile, so that the call's answer may be that of before.
    Superseded,
}

/// A call under way; the sender goes with the call.
pub(super) type Flight = watch::Receiver<Option<Landing>>;

/// The parts that are touched under the lock.
#[derive(Default)]
pub(super) struct Inner {
    pub(super) flight: Option<Flight>,
    /// Increases with each change, so that the answer of an older call is recognised.
    pub(super) epoch: u64,
    pub(super) generation: u64,
    pub(super) previous: Option<Previous>,
    pub(super) failure: Option<Failure>,
    /// Changes under way, and the number of those that ever began.
    pub(super) changing: u32,
    pub(super) changes: u64,
    evicted: bool,
}

/// The value before the last change.
pub(super) struct Previous {
    value: Arc<Secret>,
    until: Tick,
}

/// Why the last call failed, and until when the manager is left alone.
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) pause_until: Tick,
}

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call's answer in; `epoch` is that of when the call began.
    pub(super) fn land(&self, epoch: u64, answer: Result<Secret>, rules: &Rules, now: Tick) -> Landing {
        let mut inner = self.lock();
        if inner.epoch != epoch {
            return Landing::Superseded;
        }
        inner.flight = None;
        match answer {
            Ok(value) => {
                let value = Arc::new(value);
                let generation = self.store(&mut inner, Arc::clone(&value), rules, now);
                Landing::Value(value, generation)
            }
            Err(error) => {
                match verdict(error.kind()) {
                    Verdict::Absent => self.store_absence(&mut inner, rules, now),
                    Verdict::Revoked => self.forget(&mut inner),
                    Verdict::Keep | Verdict::ServeStale => {}
                }
                let pause = error.retry_after().unwrap_or(FAILURE_PAUSE).clamp(FAILURE_PAUSE, LONGEST_PAUSE);
                inner.failure = Some(Failure { kind: error.kind(), pause_until: now.after(pause) });
                Landing::Failed(Arc::new(error))
            }
        }
    }

    /// Makes a value the known one; returns its generation, which is a new one only when the bytes are others.
    pub(super) fn store(&self, inner: &mut Inner, value: Arc<Secret>, rules: &Rules, now: Tick) -> u64 {
        inner.failure = None;
        inner.previous.take_if(|previous| now >= previous.until);
        let same = |old: &Secret| old.expose_bytes() == value.expose_bytes();
        let known = self.known.load_full().and_then(|known| known.usable(now));
        match known {
            Some(old) if same(&old) => {}
            Some(old) => {
                inner.keep_previous(old, rules, now);
                inner.generation = rules.next_generation();
            }
            // After an uncertain change the value of before waits here; often it is still the right one.
            None if inner.previous.as_ref().is_some_and(|previous| same(&previous.value)) => {
                inner.previous = None;
            }
            None => inner.generation = rules.next_generation(),
        }
        if !inner.evicted {
            self.known.store(Some(Arc::new(rules.value(value, inner.generation, now))));
        }
        inner.generation
    }

    /// Remembers that there is no such secret; nothing of it is ever served again.
    pub(super) fn store_absence(&self, inner: &mut Inner, rules: &Rules, now: Tick) {
        self.forget(inner);
        if !inner.evicted {
            self.known.store(Some(Arc::new(rules.absence(inner.generation, now))));
        }
    }

    /// Drops the value and the one before it.
    pub(super) fn forget(&self, inner: &mut Inner) {
        self.known.store(None);
        inner.previous = None;
    }

    /// Drops what is known because it may be wrong now; the value stays available as the previous one.
    pub(super) fn invalidate(&self, inner: &mut Inner, rules: &Rules, now: Tick) {
        inner.supersede();
        inner.failure = None;
        if let Some(value) = self.known.swap(None).and_then(|known| known.usable(now)) {
            inner.keep_previous(value, rules, now);
        }
    }

    /// The entry has left the cache: nothing is stored in it any more, and what it held is dropped.
    pub(super) fn evict(&self) {
        let mut inner = self.lock();
        inner.evicted = true;
        self.forget(&mut inner);
    }

    /// Drops what may not be served any more.
    pub(super) fn expire(&self, now: Tick) {
        let mut inner = self.lock();
        inner.previous.take_if(|previous| now >= previous.until);
        if self.known.load().as_ref().is_some_and(|known| now >= known.stale_until) {
            self.known.store(None);
        }
    }

    /// The value before the last change, inside its overlap.
    pub(super) fn previous(&self, now: Tick) -> Option<Arc<Secret>> {
        let mut inner = self.lock();
        inner.previous.take_if(|previous| now >= previous.until);
        inner.previous.as_ref().map(|previous| Arc::clone(&previous.value))
    }
}

impl Known {
    /// The value, unless it may not even be served in an outage any more.
    fn usable(&self, now: Tick) -> Option<Arc<Secret>> {
        self.value.clone().filter(|_| now < self.stale_until)
    }
}

impl Inner {
    /// Makes the answer of a call that is under way worthless.
    pub(super) fn supersede(&mut self) {
        self.epoch += 1;
        self.flight = None;
    }

    /// The call under way, unless the task that made it has died.
    pub(super) fn flying(&self) -> Option<Flight> {
        self.flight.clone().filter(|flight| flight.has_changed().is_ok())
    }

    fn keep_previous(&mut self, value: Arc<Secret>, rules: &Rules, now: Tick) {
        let until = now.after(rules.settings.previous_overlap);
        self.previous = (until > now).then_some(Previous { value, until });
    }
}

/// The settings, and the numbers of generations.
pub(super) struct Rules {
    pub(super) settings: CacheSettings,
    generations: AtomicU64,
}

impl Rules {
    pub(super) fn new(mut settings: CacheSettings) -> Self {
        settings.ttl = settings.ttl.min(LONGEST_TTL);
        Self { settings, generations: AtomicU64::new(0) }
    }

    /// Generations are counted across the cache, so that an entry that comes back never repeats one.
    fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn value(&self, value: Arc<Secret>, generation: u64, now: Tick) -> Known {
        let metadata = value.metadata();
        let valid = metadata
            .expires_at
            .map_or(Duration::MAX, |end| end.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO));
        let ttl = self.settings.ttl.min(metadata.ttl.unwrap_or(Duration::MAX)).min(valid);
        let part = self.settings.refresh_ahead * (1.0 + JITTER * (2.0 * fastrand::f64() - 1.0));
        // A part of 1 asks for no refresh ahead; jitter must not bring one about.
        let part = if self.settings.refresh_ahead >= 1.0 { 1.0 } else { part.min(1.0) };
        Known {
            generation,
            learnt: now,
            refresh_at: now.after(ttl.mul_f64(part)),
            fresh_until: now.after(ttl),
            // A value that its store calls expired is of no use in an outage either.
            stale_until: now.after(self.settings.stale_ttl.min(valid).max(ttl)),
            value: Some(value),
        }
    }

    fn absence(&self, generation: u64, now: Tick) -> Known {
        let until = now.after(self.settings.negative_ttl);
        Known {
            value: None,
            generation,
            learnt: now,
            refresh_at: until,
            fresh_until: until,
            stale_until: until,
        }
    }
}
