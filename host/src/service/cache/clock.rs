//! The cache's clock: monotonic, and eight bytes a moment.

use std::time::Duration;

use tokio::time::Instant;

/// Counts from the making of the cache, on the runtime's monotonic clock.
pub(super) struct Clock(Instant);

/// A moment: nanoseconds since the clock was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl Clock {
    pub(super) fn start() -> Self {
        Clock(Instant::now())
    }

    pub(super) fn now(&self) -> Tick {
        Tick(nanos(self.0.elapsed()))
    }
}

impl Tick {
    /// The moment that is `later`; the end of time when that is too far.
    pub(super) fn after(self, later: Duration) -> Tick {
        Tick(self.0.saturating_add(nanos(later)))
    }

    /// How long before `self` the other moment was.
    pub(super) fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
