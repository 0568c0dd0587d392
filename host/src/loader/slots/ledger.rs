//! What one instance did with its completions.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{sync::Notify, time::Instant};

/// Counts what did not come as it should; one for each instance.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Notified when a call has left the plugin and somebody watches.
    pub(crate) quieter: Notify,
    /// Completions that came after their operation was complete, or long gone.
    pub(crate) stray: AtomicU64,
    /// Completions that came after the caller had gone.
    pub(crate) late: AtomicU64,
    /// Blocking calls that returned without a completion.
    pub(crate) missing: AtomicU64,
    /// Calls that should not have waited and returned after the deadline of their operation.
    pub(crate) overstayed: AtomicU64,
    /// How many are in `zombies`, for those who need not know which.
    count: AtomicUsize,
    /// Operations whose caller has gone and whose completion has not come, by their number.
    zombies: Mutex<HashMap<u64, Zombie>>,
}

/// An operation that nobody waits for and that the plugin has not completed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zombie {
    /// Until when its caller would have waited; without one it is never overdue.
    pub(crate) deadline: Option<Instant>,
    /// Whether it keeps a thread of the pool.
    pub(crate) blocking: bool,
}

impl Ledger {
    /// How many operations have lost their caller and were not completed.
    pub(crate) fn zombies(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many of those have passed their own deadline: the ones without a thread of the pool, and the ones with.
    pub(crate) fn overdue(&self) -> (usize, usize) {
        let now = Instant::now();
        let zombies = self.all();
        let overdue = zombies.values().filter(|zombie| zombie.deadline.is_some_and(|end| end <= now));
        overdue.fold((0, 0), |(others, blocking), zombie| match zombie.blocking {
            false => (others + 1, blocking),
            true => (others, blocking + 1),
        })
    }

    pub(super) fn bury(&self, id: u64, zombie: Zombie) {
        let mut zombies = self.all();
        zombies.insert(id, zombie);
        self.count.store(zombies.len(), Ordering::Relaxed);
    }

    pub(super) fn exhume(&self, id: u64) {
        let mut zombies = self.all();
        zombies.remove(&id);
        self.count.store(zombies.len(), Ordering::Relaxed);
    }

    /// The numbers of all zombies.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.all().keys().copied().collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Zombie>> {
        self.zombies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
