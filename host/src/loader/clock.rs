//! A clock that costs next to nothing, for what takes long or no time at all.

use std::time::Duration;

/// Less than this the clock cannot tell from nothing.
const PRECISION: Duration = Duration::from_millis(10);

/// A moment, to within [`PRECISION`].
#[derive(Clone, Copy)]
pub(super) struct Moment(Duration);

impl Moment {
    /// Now.
    #[cfg(target_os = "linux")]
    pub(super) fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};

        let time = clock_gettime(ClockId::MonotonicCoarse);
        Moment(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
    }

    /// Now.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn now() -> Self {
        use std::{sync::LazyLock, time::Instant};

        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Moment(START.elapsed())
    }

    /// How much time has gone since, zero if it was little.
    pub(super) fn elapsed(self) -> Duration {
        let elapsed = Moment::now().0.saturating_sub(self.0);
        if elapsed > PRECISION { elapsed } else { Duration::ZERO }
    }
}
