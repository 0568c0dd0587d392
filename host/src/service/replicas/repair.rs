//! One member of a replica set: how healthy it is, and what it missed.
//!
//! While a name waits for its repair, every further change of it goes through the queue as well and takes the place of
//! the one that waits: so one writer at a time, and the newest change wins.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyway_plugin_api::{Error, ErrorKind, Result, SecretName, WriteReceipt};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    operation::{Operation, is_refusal},
    status::{LaneStatus, Repair},
};
use crate::service::{
    caller::{Caller, with_caller},
    member::{Member, is_outage},
};

/// The first wait after a failure; each further one doubles it, up to [`LONGEST_WAIT`], with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A member, its health and its queue.
pub(super) struct Lane {
    member: Member,
    room: usize,
    state: Mutex<State>,
    /// Wakes the repairs.
    changed: Notify,
    /// Wakes those who wait for them.
    moved: Notify,
}

#[derive(Default)]
struct State {
    outage: Option<Outage>,
    queue: HashMap<SecretName, Waiting>,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Running,
    /// What waits is tried once more.
    Ending,
    Ended,
}

struct Outage {
    kind: ErrorKind,
    failures: u32,
    until: Instant,
}

struct Waiting {
    operation: Arc<Operation>,
    since: Instant,
    due: Instant,
    failures: u32,
    last_error: ErrorKind,
}

impl Waiting {
    fn shown(&self) -> Repair {
        Repair {
            name: self.operation.name().clone(),
            operation: self.operation.word(),
            failures: self.failures,
            last_error: self.last_error,
            age: self.since.elapsed(),
        }
    }
}

impl Lane {
    pub(super) fn new(member: Member, room: usize) -> Self {
        Lane { member, room, state: Mutex::default(), changed: Notify::new(), moved: Notify::new() }
    }

    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    pub(super) fn name(&self) -> &str {
        &self.member.name
    }

    /// Whether it is to be asked before others.
    pub(super) fn is_healthy(&self) -> bool {
        self.state().outage.as_ref().is_none_or(|outage| outage.until <= Instant::now())
    }

    /// Whether it missed a change of this name.
    pub(super) fn lags(&self, name: &SecretName) -> bool {
        self.state().queue.contains_key(name)
    }

    /// Whether it missed a change of any name.
    pub(super) fn lags_at_all(&self) -> bool {
        !self.state().queue.is_empty()
    }

    /// Learns from an answer how the member is.
    pub(super) fn saw<T>(&self, answer: &Result<T>) {
        let mut state = self.state();
        match answer {
            Err(error) if is_outage(error.kind()) => {
                let failures = state.outage.as_ref().map_or(1, |outage| outage.failures.saturating_add(1));
                let wait = error.retry_after().unwrap_or(Duration::ZERO).max(wait(failures));
                let until = Instant::now() + wait.min(LONGEST_WAIT);
                state.outage = Some(Outage { kind: error.kind(), failures, until });
            }
            _ => {
                if state.outage.take().is_some() {
                    self.changed.notify_one();
                }
            }
        }
    }

    /// Makes a change, unless earlier ones of that name wait: then this one is to wait in their place.
    pub(super) async fn attempt(&self, operation: &Arc<Operation>, limit: Duration) -> Result<WriteReceipt> {
        if self.lags(operation.name()) {
            // Whatever the reason of the earlier ones, this one was not refused.
            let message = format!("the replica {} waits for earlier repairs of this name", self.name());
            return Err(Error::unavailable(message));
        }
        let answer = operation.run(&self.member, limit).await;
        self.saw(&answer);
        answer
    }

    /// Why it was not asked at all.
    pub(super) fn down(&self) -> Error {
        let kind = self.state().outage.as_ref().map_or(ErrorKind::Unavailable, |outage| outage.kind);
        Error::new(kind, format!("the replica {} was down a moment ago", self.name()))
    }

    /// Remembers a change that the member missed, instead of an older one.
    ///
    /// # Errors
    /// UNAVAILABLE when there is no room.
    pub(super) fn missed(&self, operation: &Arc<Operation>, why: ErrorKind) -> Result<()> {
        let (manager, name) = (self.name(), operation.name());
        let mut state = self.state();
        if state.queue.len() >= self.room && !state.queue.contains_key(name) {
            return Err(Error::unavailable(format!(
                "the change of {name} did not reach the replica {manager}, for which {} repairs wait already; repeat it when that is healthy again",
                self.room
            )));
        }
        let now = Instant::now();
        let new = || Waiting {
            operation: Arc::clone(operation),
            since: now,
            due: now + wait(1),
            failures: 0,
            last_error: why,
        };
        state.queue.entry(name.clone()).or_insert_with(new).operation = Arc::clone(operation);
        drop(state);
        tracing::warn!(manager, secret = %name, kind = %why, "a replica missed a change, which is to be repaired");
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn status(&self) -> LaneStatus {
        let healthy = self.is_healthy();
        let state = self.state();
        let mut repairs: Vec<Repair> = state.queue.values().map(Waiting::shown).collect();
        repairs.sort_by(|a, b| a.name.cmp(&b.name));
        let last_outage = state.outage.as_ref().map(|outage| outage.kind);
        LaneStatus { name: self.member.name.clone(), healthy, last_outage, repairs }
    }

    /// Waits until nothing waits for repair.
    pub(super) async fn repaired(&self) {
        self.until(|state| state.queue.is_empty()).await;
    }

    /// Ends the repairs: tries what waits once more, for as long as one operation may take, and gives up the rest.
    pub(super) async fn end(&self) -> Vec<Repair> {
        {
            let mut state = self.state();
            if state.phase == Phase::Running {
                state.phase = Phase::Ending;
            }
            // Once more, whatever happened before.
            state.outage = None;
            let now = Instant::now();
            state.queue.values_mut().for_each(|waiting| waiting.due = now);
        }
        self.changed.notify_one();
        // What is still being tried then counts as not done.
        let _ = timeout(self.member.timeout, self.until(|state| state.phase == Phase::Ended)).await;
        let mut state = self.state();
        state.phase = Phase::Ended;
        let mut left: Vec<Repair> = state.queue.drain().map(|(_, waiting)| waiting.shown()).collect();
        left.sort_by(|a, b| a.name.cmp(&b.name));
        left
    }

    async fn until(&self, met: impl Fn(&State) -> bool) {
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            if met(&self.state()) {
                return;
            }
            moved.await;
        }
    }

    async fn repair(&self) {
        loop {
            let changed = self.changed.notified();
            match self.next() {
                Next::End => {
                    self.state().phase = Phase::Ended;
                    self.moved.notify_waiters();
                    return;
                }
                Next::Nothing => changed.await,
                Next::Later(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(due) => {}
                    }
                }
                Next::Now(operation) => {
                    let answer = operation.run(&self.member, self.member.timeout).await;
                    self.saw(&answer);
                    let failure = answer.as_ref().err().filter(|_| !operation.holds(&answer));
                    self.settle(&operation, failure);
                    self.moved.notify_waiters();
                }
            }
        }
    }

    fn next(&self) -> Next {
        let state = self.state();
        let running = state.phase == Phase::Running;
        let Some(first) = state.queue.values().min_by_key(|waiting| waiting.due) else {
            return if running { Next::Nothing } else { Next::End };
        };
        // A member that is down is not tried once for each name.
        let due = state.outage.as_ref().map_or(first.due, |outage| outage.until.max(first.due));
        match due <= Instant::now() {
            true => Next::Now(Arc::clone(&first.operation)),
            false if running => Next::Later(due),
            false => Next::End,
        }
    }

    fn settle(&self, tried: &Arc<Operation>, failure: Option<&Error>) {
        let mut state = self.state();
        let Some(waiting) = state.queue.get_mut(tried.name()) else { return };
        match failure {
            None => {
                if Arc::ptr_eq(&waiting.operation, tried) {
                    state.queue.remove(tried.name());
                    tracing::info!(manager = self.member.name, secret = %tried.name(), "the replica was repaired");
                } else {
                    // A newer change came meanwhile.
                    waiting.due = Instant::now();
                }
            }
            Some(error) => {
                let kind = error.kind();
                if is_refusal(error) && waiting.last_error != kind {
                    // It stays, so that the member is not asked for what it lacks.
                    let (manager, secret) = (&self.member.name, tried.name());
                    tracing::error!(manager, %secret, %kind, "a replica refuses a change that others have; until it takes it, which is tried again, it is not asked for this secret");
                }
                waiting.failures = waiting.failures.saturating_add(1);
                waiting.last_error = kind;
                waiting.due = Instant::now() + wait(waiting.failures.saturating_add(1));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    End,
    Nothing,
    Later(Instant),
    Now(Arc<Operation>),
}

/// The wait after so many failures, from half of it to all of it.
fn wait(failures: u32) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_WAIT);
    doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The tasks that repair the members; they end when this goes.
pub(super) struct Lanes(Vec<JoinHandle<()>>);

impl Lanes {
    pub(super) fn start(lanes: &[Arc<Lane>]) -> Self {
        let start = |lane: &Arc<Lane>| {
            let lane = Arc::clone(lane);
            tokio::spawn(with_caller(Caller::Repair, async move { lane.repair().await }))
        };
        Lanes(lanes.iter().map(start).collect())
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
