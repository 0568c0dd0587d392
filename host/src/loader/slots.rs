//! Where operations wait for their completion.
//!
//! A plugin never gets a pointer to anything of the host's: an operation is known to it by a number made of a slot's
//! index and the slot's generation. A completion whose number is not that of a waiting operation, because it is late,
//! double or invented, finds nothing to do and is counted.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use keyway_plugin_api::{Error, ErrorKind, Result, Secret};
use tokio::sync::{Notify, OwnedSemaphorePermit};

const INDEX_BITS: u32 = 20;
const CHUNK: usize = 256;
const CHUNKS: usize = (1 << INDEX_BITS) / CHUNK;
const MAX_LISTED_BYTES: usize = 64 << 20;

/// What one instance did with its completions.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Notified when a zombie is gone or a call has left the plugin.
    pub(crate) quieter: Notify,
    /// Operations whose caller has gone and whose completion has not come.
    pub(crate) zombies: AtomicUsize,
    /// Completions that came after their operation was complete, or long gone.
    pub(crate) stray: AtomicU64,
    /// Completions that came after the caller had gone.
    pub(crate) late: AtomicU64,
    /// Blocking calls that returned without a completion.
    pub(crate) missing: AtomicU64,
}

/// What an operation ended with.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The value of a read, or the version of a write in its metadata.
    pub(crate) secret: Option<Secret>,
    /// The names that a list operation handed out.
    pub(crate) names: Vec<String>,
}

/// An operation of the caller's: waits in its slot until it is taken or given up.
#[derive(Debug)]
pub(crate) struct Operation {
    id: u64,
    taken: bool,
}

struct Slot(Mutex<State>);

struct State {
    generation: u64,
    owner: Option<Arc<Ledger>>,
    phase: Phase,
}

enum Phase {
    Free,
    Waiting {
        waker: Option<Waker>,
        names: Vec<String>,
        listed: usize,
        abandoned: bool,
        /// What the operation holds until its completion, whatever its caller does.
        _permit: Option<OwnedSemaphorePermit>,
    },
    Done(Result<Outcome>),
}

struct Slots {
    chunks: Vec<OnceLock<Box<[Slot]>>>,
    free: Mutex<Vec<u32>>,
    /// Completions that belong to no instance known: invented ones, and those whose slot has gone to another operation.
    unowned: AtomicU64,
    made: AtomicUsize,
}

static SLOTS: std::sync::LazyLock<Slots> = std::sync::LazyLock::new(|| Slots {
    chunks: std::iter::repeat_with(OnceLock::new).take(CHUNKS).collect(),
    free: Mutex::default(),
    unowned: AtomicU64::new(0),
    made: AtomicUsize::new(0),
});

impl Operation {
    /// Takes a slot for an operation that `owner` is about to begin.
    ///
    /// # Errors
    /// [`ErrorKind::Throttled`] when a million operations are waiting.
    pub(crate) fn open(owner: &Arc<Ledger>, permit: Option<OwnedSemaphorePermit>) -> Result<Self> {
        let index = SLOTS.free_index()?;
        let mut state = SLOTS.state(index as usize).ok_or_else(full)?;
        state.generation += 1;
        if !state.owner.as_ref().is_some_and(|last| Arc::ptr_eq(last, owner)) {
            state.owner = Some(Arc::clone(owner));
        }
        state.phase =
            Phase::Waiting { waker: None, names: Vec::new(), listed: 0, abandoned: false, _permit: permit };
        Ok(Operation { id: state.generation << INDEX_BITS | u64::from(index), taken: false })
    }

    /// The number by which the plugin knows the operation; never used again while the process lives.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The outcome, if it is there; otherwise `waker` is called when it is.
    pub(crate) fn poll(&mut self, waker: Option<&Waker>) -> Poll<Result<Outcome>> {
        let over = || Poll::Ready(Err(Error::internal("the operation is over")));
        let Some(mut state) = SLOTS.current(self.id).filter(|_| !self.taken) else { return over() };
        match &mut state.phase {
            Phase::Waiting { waker: kept, .. } => {
                if let Some(waker) = waker {
                    match kept {
                        Some(kept) => kept.clone_from(waker),
                        None => *kept = Some(waker.clone()),
                    }
                }
                Poll::Pending
            }
            phase => {
                let outcome = std::mem::replace(phase, Phase::Free);
                drop(state);
                SLOTS.release(self.id);
                self.taken = true;
                match outcome {
                    Phase::Done(result) => Poll::Ready(result),
                    _ => over(),
                }
            }
        }
    }

    /// Frees the slot of an operation that the plugin was not asked for, or that cannot complete any more.
    pub(crate) fn withdraw(mut self) {
        if std::mem::replace(&mut self.taken, true) {
            return;
        }
        if let Some(mut state) = SLOTS.current(self.id) {
            let over = std::mem::replace(&mut state.phase, Phase::Free);
            drop(state);
            drop(over);
            SLOTS.release(self.id);
        }
    }

    /// Says that nobody waits any more; the slot stays taken until the completion comes. Whether it is still to come.
    pub(crate) fn abandon(&mut self) -> bool {
        if std::mem::replace(&mut self.taken, true) {
            return false;
        }
        let Some(mut state) = SLOTS.current(self.id) else { return false };
        let owner = state.owner.clone();
        match &mut state.phase {
            Phase::Waiting { abandoned, waker, .. } => {
                *abandoned = true;
                *waker = None;
                if let Some(owner) = owner {
                    owner.zombies.fetch_add(1, Ordering::Relaxed);
                }
                true
            }
            phase => {
                *phase = Phase::Free;
                drop(state);
                SLOTS.release(self.id);
                false
            }
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Completes the operation `id` with what `result` decodes, if it is waiting; otherwise counts and does nothing.
///
/// `result` is called at most once and not at all when nobody wants the outcome.
pub(crate) fn complete(id: u64, result: impl FnOnce() -> Result<Outcome>) {
    let Some(mut slot) = SLOTS.at(id) else {
        SLOTS.unowned.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let state = &mut *slot;
    if state.generation != id >> INDEX_BITS {
        // The slot has gone to another operation, perhaps of another instance, which is not to blame.
        SLOTS.unowned.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let Phase::Waiting { waker, names, abandoned, listed, .. } = &mut state.phase else {
        let strays = state.owner.as_ref().map_or(&SLOTS.unowned, |owner| &owner.stray);
        strays.fetch_add(1, Ordering::Relaxed);
        return;
    };
    if *abandoned {
        if let Some(owner) = &state.owner {
            owner.late.fetch_add(1, Ordering::Relaxed);
            owner.zombies.fetch_sub(1, Ordering::Relaxed);
            owner.quieter.notify_waiters();
        }
        let over = std::mem::replace(&mut state.phase, Phase::Free);
        drop(slot);
        drop(over);
        SLOTS.release(id);
        return;
    }
    let waker = waker.take();
    let names = std::mem::take(names);
    let too_many = *listed > MAX_LISTED_BYTES;
    let result = match result() {
        Ok(_) if too_many => Err(Error::new(ErrorKind::TooLarge, "the list of names is longer than 64 MiB")),
        Ok(outcome) => Ok(Outcome { names, ..outcome }),
        Err(error) => Err(error),
    };
    let over = std::mem::replace(&mut state.phase, Phase::Done(result));
    drop(slot);
    drop(over); // may let another operation in, which must not find this slot locked
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Fails the operation `id`, if it is still waiting although the blocking call that should complete it has returned.
pub(crate) fn complete_missing(id: u64) {
    let waiting = SLOTS.current(id).and_then(|state| match state.phase {
        Phase::Waiting { .. } => state.owner.clone(),
        _ => None,
    });
    if let Some(owner) = waiting {
        owner.missing.fetch_add(1, Ordering::Relaxed);
        complete(id, || {
            Err(Error::internal("the plugin returned from a blocking read without completing it"))
        });
    }
}

/// Adds a name to the list operation `id`, if it is waiting; otherwise does nothing.
pub(crate) fn list_entry(id: u64, name: impl FnOnce() -> Option<String>) {
    let Some(mut state) = SLOTS.current(id) else { return };
    if let Phase::Waiting { names, listed, abandoned: false, .. } = &mut state.phase
        && *listed <= MAX_LISTED_BYTES
        && let Some(name) = name()
    {
        *listed += name.len() + size_of::<String>();
        names.push(name);
    }
}

/// How many completions belonged to no instance known, in this process.
pub fn unowned_completions() -> u64 {
    SLOTS.unowned.load(Ordering::Relaxed)
}

impl Slots {
    fn free_index(&self) -> Result<u32> {
        if let Some(index) = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(index);
        }
        let index = self.made.fetch_add(1, Ordering::Relaxed);
        let chunk = self.chunks.get(index / CHUNK).ok_or_else(|| {
            self.made.fetch_sub(1, Ordering::Relaxed);
            full()
        })?;
        chunk.get_or_init(|| std::iter::repeat_with(Slot::free).take(CHUNK).collect());
        u32::try_from(index).map_err(|_| full())
    }

    fn release(&self, id: u64) {
        let index = (id & ((1 << INDEX_BITS) - 1)) as u32;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(index);
    }

    fn state(&self, index: usize) -> Option<MutexGuard<'_, State>> {
        let slot = self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)?;
        Some(slot.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn at(&self, id: u64) -> Option<MutexGuard<'_, State>> {
        self.state((id & ((1 << INDEX_BITS) - 1)) as usize)
    }

    fn current(&self, id: u64) -> Option<MutexGuard<'_, State>> {
        self.at(id).filter(|state| state.generation == id >> INDEX_BITS)
    }
}

impl Slot {
    fn free() -> Self {
        Slot(Mutex::new(State { generation: 0, owner: None, phase: Phase::Free }))
    }
}

fn full() -> Error {
    Error::new(ErrorKind::Throttled, "a million operations are waiting for plugins; no other one can begin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Outcome> {
        Ok(Outcome { secret: Some(text.into()), names: Vec::new() })
    }

    fn text(outcome: Poll<Result<Outcome>>) -> String {
        match outcome {
            Poll::Ready(Ok(outcome)) => outcome.secret.unwrap().expose_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_completion_wins_and_a_second_one_is_counted() {
        let ledger = Arc::new(Ledger::default());
        let mut operation = Operation::open(&ledger, None).unwrap();
        assert!(operation.poll(None).is_pending());
        complete(operation.id(), || value("first"));
        complete(operation.id(), || value("second"));
        assert_eq!(text(operation.poll(None)), "first");
        complete(operation.id(), || value("third"));
        assert_eq!(ledger.stray.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_late_completion_reaches_nobody_and_frees_the_slot() {
        let ledger = Arc::new(Ledger::default());
        let mut operation = Operation::open(&ledger, None).unwrap();
        let id = operation.id();
        assert!(operation.abandon());
        assert_eq!(ledger.zombies.load(Ordering::Relaxed), 1);
        complete(id, || unreachable!("nobody wants the value"));
        assert_eq!(ledger.zombies.load(Ordering::Relaxed), 0);
        assert_eq!(ledger.late.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_number_that_was_used_before_does_not_reach_the_next_operation() {
        let ledger = Arc::new(Ledger::default());
        let mut first = Operation::open(&ledger, None).unwrap();
        let old = first.id();
        complete(old, || value("first"));
        assert_eq!(text(first.poll(None)), "first");
        let mut second = Operation::open(&ledger, None).unwrap();
        assert_ne!(second.id(), old);
        complete(old, || value("forged"));
        complete(u64::MAX, || value("forged"));
        assert!(second.poll(None).is_pending());
        assert_eq!(ledger.stray.load(Ordering::Relaxed), 0);
        complete(second.id(), || value("second"));
        assert_eq!(text(second.poll(None)), "second");
    }

    #[test]
    fn names_are_gathered_until_the_completion() {
        let ledger = Arc::new(Ledger::default());
        let mut operation = Operation::open(&ledger, None).unwrap();
        list_entry(operation.id(), || Some("a".to_owned()));
        list_entry(operation.id(), || Some("b".to_owned()));
        complete(operation.id(), || Ok(Outcome::default()));
        list_entry(operation.id(), || Some("late".to_owned()));
        match operation.poll(None) {
            Poll::Ready(Ok(outcome)) => assert_eq!(outcome.names, ["a", "b"]),
            other => panic!("{other:?}"),
        }
    }
}
