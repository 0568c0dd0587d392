//! The slots themselves: made in chunks, never freed, handed out again.

use std::{
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use keyway_plugin_api::{Error, ErrorKind, Result};
use tokio::sync::OwnedSemaphorePermit;

use super::{Ledger, Outcome};

const INDEX_BITS: u32 = 20;
const CHUNK: usize = 256;
const CHUNKS: usize = (1 << INDEX_BITS) / CHUNK;

/// What an operation holds while it is under way.
#[derive(Debug)]
pub(crate) enum Permit {
    /// Nothing: it does not count.
    None,
    /// One of several, until the completion.
    Own(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit),
    /// The only one, until the completion has come and the call has returned, whichever is later.
    Shared(#[expect(dead_code, reason = "it is held, not read")] Arc<OwnedSemaphorePermit>),
}

pub(super) type Locked = MutexGuard<'static, State>;

pub(super) struct State {
    pub(super) generation: u64,
    pub(super) owner: Option<Arc<Ledger>>,
    pub(super) phase: Phase,
}

pub(super) enum Phase {
    Free,
    Waiting(Waiting),
    Done(Result<Outcome>),
}

pub(super) struct Waiting {
    pub(super) waker: Option<Waker>,
    pub(super) names: Vec<String>,
    pub(super) listed: usize,
    /// The first name of a list that was none.
    pub(super) fault: Option<Error>,
    /// Nobody wants the outcome any more.
    pub(super) abandoned: bool,
    /// The plugin has been told of the operation, or is about to be.
    pub(super) begun: bool,
    /// The call keeps a thread of the pool.
    pub(super) blocking: bool,
    /// What the operation holds until its completion, whatever its caller does.
    pub(super) _permit: Permit,
}

pub(super) struct Slots {
    chunks: Vec<OnceLock<Box<[Slot]>>>,
    free: Mutex<Vec<u32>>,
    /// Completions that belong to no instance known: invented ones, and those whose slot has gone to another operation.
    pub(super) unowned: AtomicU64,
    made: AtomicUsize,
}

struct Slot(Mutex<State>);

pub(super) static SLOTS: LazyLock<Slots> = LazyLock::new(|| Slots {
    chunks: std::iter::repeat_with(OnceLock::new).take(CHUNKS).collect(),
    free: Mutex::default(),
    unowned: AtomicU64::new(0),
    made: AtomicUsize::new(0),
});

impl State {
    /// The number of the slot's operation.
    pub(super) fn id(&self, index: usize) -> u64 {
        self.generation << INDEX_BITS | index as u64
    }

    /// Whether the slot's operation is the one of this number.
    pub(super) fn is(&self, id: u64) -> bool {
        self.generation == id >> INDEX_BITS
    }

    pub(super) fn is_of(&self, owner: &Arc<Ledger>) -> bool {
        self.owner.as_ref().is_some_and(|last| Arc::ptr_eq(last, owner))
    }
}

impl Slots {
    pub(super) fn free_index(&self) -> Result<usize> {
        if let Some(index) = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(index as usize);
        }
        let index = self.made.fetch_add(1, Ordering::Relaxed);
        let chunk = self.chunks.get(index / CHUNK).ok_or_else(|| {
            self.made.fetch_sub(1, Ordering::Relaxed);
            full()
        })?;
        chunk.get_or_init(|| std::iter::repeat_with(Slot::free).take(CHUNK).collect());
        Ok(index)
    }

    pub(super) fn release(&self, id: u64) {
        let index = (id & ((1 << INDEX_BITS) - 1)) as u32;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(index);
    }

    /// The indices of all slots that were ever used.
    pub(super) fn indices(&self) -> std::ops::Range<usize> {
        0..self.made.load(Ordering::Relaxed)
    }

    pub(super) fn state(&'static self, index: usize) -> Option<Locked> {
        let slot = self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)?;
        Some(slot.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn at(&'static self, id: u64) -> Option<Locked> {
        self.state((id & ((1 << INDEX_BITS) - 1)) as usize)
    }

    pub(super) fn current(&'static self, id: u64) -> Option<Locked> {
        self.at(id).filter(|state| state.is(id))
    }
}

impl Slot {
    fn free() -> Self {
        Slot(Mutex::new(State { generation: 0, owner: None, phase: Phase::Free }))
    }
}

pub(super) fn full() -> Error {
    Error::new(ErrorKind::Throttled, "a million operations are waiting for plugins; no other one can begin")
}
