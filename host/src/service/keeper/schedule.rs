//! When each unit is to be looked at.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

/// The moments at which units are to be looked at, the next one first; each change costs the logarithm of their number.
#[derive(Default)]
pub(super) struct Schedule {
    moments: Mutex<Moments>,
    earlier: Notify,
}

#[derive(Default)]
struct Moments {
    queue: BTreeSet<(Instant, usize)>,
    of_unit: HashMap<usize, Instant>,
}

impl Schedule {
    /// Sets when a unit is to be looked at; `when` is asked under the lock, so that of two answers the later one counts.
    pub(super) fn set(&self, unit: usize, when: impl FnOnce() -> Instant) {
        let mut moments = self.moments();
        let next = when();
        if let Some(before) = moments.of_unit.insert(unit, next) {
            moments.queue.remove(&(before, unit));
        }
        let is_first = moments.queue.first().is_none_or(|(first, _)| next < *first);
        moments.queue.insert((next, unit));
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Takes the units out that are to be looked at now.
    pub(super) fn take(&self, now: Instant) -> Vec<usize> {
        let mut moments = self.moments();
        let mut taken = Vec::new();
        while let Some((_, unit)) = moments.queue.first().copied().filter(|(moment, _)| *moment <= now) {
            moments.queue.pop_first();
            moments.of_unit.remove(&unit);
            taken.push(unit);
        }
        taken
    }

    /// Returns when a unit is to be looked at, however often that is changed meanwhile.
    pub(super) async fn wait(&self) {
        loop {
            let next = self.moments().queue.first().map(|(moment, _)| *moment);
            let sleep = async {
                match next {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => return,
                () = self.earlier.notified() => {}
            }
        }
    }

    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn units_are_taken_when_their_last_moment_has_come() {
        let (schedule, start) = (Schedule::default(), Instant::now());
        for (unit, seconds) in [(1, 5), (2, 1), (3, 2), (3, 9)] {
            schedule.set(unit, || start + SECOND * seconds);
        }
        schedule.wait().await;
        assert_eq!((start.elapsed(), schedule.take(Instant::now())), (SECOND, vec![2]));
        schedule.wait().await;
        assert_eq!((start.elapsed(), schedule.take(Instant::now())), (SECOND * 5, vec![1]));
        schedule.wait().await;
        assert_eq!((start.elapsed(), schedule.take(Instant::now())), (SECOND * 9, vec![3]));
        assert!(schedule.take(Instant::now()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_when_a_moment_comes_earlier() {
        let (schedule, start) = (Schedule::default(), Instant::now());
        schedule.set(1, || start + SECOND * 30);
        let sooner = async {
            tokio::time::sleep(SECOND).await;
            schedule.set(1, || start + SECOND * 2);
        };
        tokio::join!(schedule.wait(), sooner);
        assert_eq!(start.elapsed(), SECOND * 2);
    }
}
