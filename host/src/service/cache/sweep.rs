//! Drops values whose time is over although nobody asks for them: a read would, but it may never come.
//!
//! `moka`'s own expiry is of no help: it would not see that an entry's value has changed in place, and would look at a
//! second clock in each read.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::Shared;

/// A value stays in memory for so long past its time at most.
const INTERVAL: Duration = Duration::from_secs(30);
/// After so many entries other tasks have their turn.
const BATCH: usize = 1000;

/// Sweeps now and then for as long as the cache lives.
pub(super) async fn run(cache: Weak<Shared>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(cache) = cache.upgrade() else { return };
        sweep(&cache).await;
    }
}

async fn sweep(cache: &Arc<Shared>) {
    let now = cache.clock.now();
    for (index, (_, slot)) in cache.slots.iter().enumerate() {
        slot.expire(now);
        if index % BATCH == BATCH - 1 {
            tokio::task::yield_now().await;
        }
    }
    // What was evicted is wiped when the map sees to it, which it does by itself only while it is used.
    cache.slots.run_pending_tasks();
}
