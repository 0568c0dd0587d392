//! The cache: values are kept, refreshed ahead, served through an outage and dropped when they are revoked.
//!
//! - Within its time to live a value is answered without a call, and near the end refreshed in the background.
//! - Concurrent readers of one name cause one call. It belongs to none of them: who gives up does not end it.
//! - A call that fails decides by its class: the value goes (not found, denied), stays while the caller gets the
//!   error, or is served stale, for `stale_ttl` from the last success.
//! - Changes go to the manager first, then through; an uncertain one drops what is known.
//!
//! `moka` finds the entries and bounds their number, with its `sync` form because nothing is awaited in it: the
//! time to live and the single call are the slot's, since they depend on how a call failed, which no
//! cache's own expiry knows.

mod change;
mod clock;
mod fresh;
mod key;
mod manager;
mod read;
mod slot;
mod sweep;

use std::{
    hash::RandomState,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keyway_plugin_api::{ErrorKind, OptionalParams, ReadRequest, Result, Secret, SecretManager, SecretName};
use moka::policy::EvictionPolicy;
use tokio::runtime::Handle;

pub use self::fresh::FreshReads;
use self::{
    clock::{Clock, Tick},
    key::{Key, Lookup, same_params},
    slot::{Known, Rules, Slot},
};
use crate::{config::CacheSettings, service::metrics::CacheMetrics};

/// A cache before one instance of a manager.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

/// A value as the cache handed it out.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The value.
    pub value: Arc<Secret>,
    /// Increases when the value changes, and only then, as long as the entry is kept.
    pub generation: u64,
    /// How good the value is.
    pub state: CacheState,
    /// The time since the manager gave it.
    pub age: Duration,
}

/// How good a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheState {
    /// Within its time to live.
    Fresh,
    /// Within its time to live, and being fetched anew.
    Refreshing,
    /// Past its time to live, while the manager cannot answer.
    Stale,
    /// Known not to exist.
    Negative,
    /// Nothing that could be served is known.
    Empty,
}

/// What is known about one secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryStatus {
    /// The secret's name.
    pub name: String,
    /// The version that was asked for; `None` for the newest.
    pub version: Option<String>,
    /// How good the value is.
    pub state: CacheState,
    /// The time since the manager last gave the value, or said that there is none.
    pub age: Option<Duration>,
    /// The number of the value.
    pub generation: u64,
    /// Why the last call failed; `None` when it did not.
    pub last_error: Option<ErrorKind>,
}

struct Shared {
    inner: Arc<dyn SecretManager>,
    slots: moka::sync::Cache<Key, Arc<Slot>, RandomState>,
    rules: Rules,
    clock: Clock,
    /// The time that a call may take, whoever waits for it.
    timeout: Duration,
    runtime: Handle,
    metrics: CacheMetrics,
    /// The parameters of the first request: those of the configuration, which all others have as well.
    usual_params: OnceLock<OptionalParams>,
    /// Whether there ever was an entry with a version or other parameters, so that a name may have several entries.
    several_per_name: AtomicBool,
}

impl CacheState {
    /// The word that logs and answers use, such as `fresh`.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheState::Fresh => "fresh",
            CacheState::Refreshing => "refreshing",
            CacheState::Stale => "stale",
            CacheState::Negative => "negative",
            CacheState::Empty => "empty",
        }
    }
}

impl Cache {
    /// A cache before `inner`, each call of which may take `timeout`; must be made inside the tokio runtime that
    /// is to run the calls.
    pub fn new(
        inner: Arc<dyn SecretManager>,
        settings: CacheSettings,
        timeout: Duration,
        metrics: CacheMetrics,
    ) -> Self {
        let slots = moka::sync::Cache::builder()
            .max_capacity(settings.max_entries)
            .eviction_policy(EvictionPolicy::lru())
            // Wiped now, and not when the map gets round to freeing the entry.
            .eviction_listener(|_, slot: Arc<Slot>, _| slot.evict())
            .build_with_hasher(RandomState::new());
        let shared = Arc::new(Shared {
            inner,
            slots,
            rules: Rules::new(settings),
            clock: Clock::start(),
            timeout,
            runtime: Handle::current(),
            metrics,
            usual_params: OnceLock::new(),
            several_per_name: AtomicBool::new(false),
        });
        shared.runtime.spawn(sweep::run(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Reads a secret: from the cache where that may answer, else by one call for all who ask.
    ///
    /// # Errors
    /// The manager's, or NOT_FOUND from memory; TIMEOUT when the call takes longer than the request may. The call
    /// goes on then, for the next one who asks.
    pub async fn read_cached(&self, request: &ReadRequest) -> Result<Cached> {
        match self.shared.hit(request) {
            Some(cached) => Ok(cached),
            None => self.shared.read(request).await,
        }
    }

    /// The value that needs no call, if there is one: never blocks, never waits.
    pub fn peek(&self, request: &ReadRequest) -> Option<Cached> {
        self.shared.hit(request)
    }

    /// Fetches a secret now, whatever is known; a call that is under way counts.
    ///
    /// # Errors
    /// The manager's: an older value is not served in its place, but stays for readers where it may.
    pub async fn refresh(&self, request: &ReadRequest) -> Result<Cached> {
        self.shared.refresh(request).await
    }

    /// The value before the last change, inside `previous_overlap`.
    pub fn previous(&self, request: &ReadRequest) -> Option<Arc<Secret>> {
        self.shared.slots.get(&Lookup::of(request))?.previous(self.shared.clock.now())
    }

    /// Drops what is known about a secret, in every version; the next read asks the manager.
    pub fn invalidate(&self, name: &SecretName) {
        self.shared.each_of(name, |slot, now| slot.invalidate(&mut slot.lock(), &self.shared.rules, now));
    }

    /// Drops what is known about every secret.
    pub fn invalidate_all(&self) {
        let now = self.shared.clock.now();
        for (_, slot) in &self.shared.slots {
            slot.invalidate(&mut slot.lock(), &self.shared.rules, now);
        }
    }

    /// What is known, by name.
    pub fn status(&self) -> Vec<EntryStatus> {
        let now = self.shared.clock.now();
        let mut entries: Vec<_> =
            self.shared.slots.iter().map(|(key, slot)| slot.status(&key, now)).collect();
        entries.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
        entries
    }

    /// The number of entries, and the age of the oldest value among them.
    pub fn extent(&self) -> (u64, Duration) {
        let now = self.shared.clock.now();
        let ages = self.shared.slots.iter().filter_map(|(_, slot)| {
            slot.known
                .load()
                .as_ref()
                .filter(|known| known.value.is_some())
                .map(|known| now.since(known.learnt))
        });
        let (count, oldest) =
            ages.fold((0, Duration::ZERO), |(count, oldest), age| (count + 1, oldest.max(age)));
        (count, oldest)
    }

    /// [`Cache::extent`] for as long as the cache lives, without keeping it alive.
    pub(super) fn observer(&self) -> impl Fn() -> Option<(u64, Duration)> + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || Some(Cache { shared: shared.upgrade()? }.extent())
    }
}

impl Shared {
    /// The entry of a key, made when there is none.
    fn slot(&self, lookup: Lookup<'_>) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(&lookup) {
            return slot;
        }
        let usual = self.usual_params.get_or_init(|| lookup.params.clone());
        if lookup.version.is_some() || !same_params(usual, lookup.params) {
            self.several_per_name.store(true, Ordering::Release);
        }
        self.slots.get_with(lookup.to_key(), Arc::default)
    }

    /// Does something to every entry of a name.
    fn each_of(&self, name: &SecretName, act: impl Fn(&Slot, Tick)) {
        let now = self.clock.now();
        if self.several_per_name.load(Ordering::Acquire) {
            let entries = self.slots.iter().filter(|(key, _)| key.name == *name);
            entries.for_each(|(_, slot)| act(&slot, now));
        } else if let Some(params) = self.usual_params.get()
            && let Some(slot) = self.slots.get(&Lookup::newest(name, params))
        {
            act(&slot, now);
        }
    }
}

impl Slot {
    fn status(&self, key: &Key, now: Tick) -> EntryStatus {
        let inner = self.lock();
        let known = self.known.load();
        let state = known.as_ref().map_or(CacheState::Empty, |known| match known.state(now) {
            CacheState::Fresh if inner.flying().is_some() => CacheState::Refreshing,
            state => state,
        });
        EntryStatus {
            name: key.name.as_str().to_owned(),
            version: key.version.as_deref().map(str::to_owned),
            state,
            age: known.as_ref().map(|known| now.since(known.learnt)),
            generation: inner.generation,
            last_error: inner.failure.as_ref().map(|failure| failure.kind),
        }
    }
}

impl Known {
    fn state(&self, now: Tick) -> CacheState {
        match &self.value {
            None if now < self.fresh_until => CacheState::Negative,
            Some(_) if now < self.fresh_until => CacheState::Fresh,
            Some(_) if now < self.stale_until => CacheState::Stale,
            _ => CacheState::Empty,
        }
    }

    fn cached(&self, value: &Arc<Secret>, state: CacheState, now: Tick) -> Cached {
        Cached { value: Arc::clone(value), generation: self.generation, state, age: now.since(self.learnt) }
    }
}
