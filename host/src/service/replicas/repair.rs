//! One member of a replica set: how healthy it is, and what it missed.
//!
//! While a name waits for its repair, every further change of it goes through the queue as well and takes the place of
//! the one that waits: so one writer at a time, and the newest change wins.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyway_plugin_api::{DeleteRequest, Error, ErrorKind, Result, SecretName, WriteReceipt, WriteRequest};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::service::member::{Member, is_outage};

/// The first wait after a failure; each further one doubles it, up to [`LONGEST_WAIT`], with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How a member of a replica set is; never a value.
#[derive(Clone, Debug)]
pub struct LaneStatus {
    /// The member's name.
    pub name: String,
    /// Whether its last answer was none of an outage, or that is long enough ago to ask it first again.
    pub healthy: bool,
    /// What it answered last, when that was an outage.
    pub last_outage: Option<ErrorKind>,
    /// What it missed, by name.
    pub repairs: Vec<Repair>,
}

/// A change that a member missed.
#[derive(Clone, Debug)]
pub struct Repair {
    /// The secret.
    pub name: SecretName,
    /// `write` or `delete`.
    pub operation: &'static str,
    /// How often the repair failed.
    pub failures: u32,
    /// Why the member missed it, or why the last repair failed.
    pub last_error: ErrorKind,
    /// For how long the member has lagged behind in this name.
    pub age: Duration,
}

/// A change that is to reach all members.
pub(super) enum Operation {
    /// A value under a name.
    Write(WriteRequest),
    /// A name without a value.
    Delete(DeleteRequest),
}

impl Operation {
    pub(super) fn name(&self) -> &SecretName {
        match self {
            Operation::Write(request) => &request.name,
            Operation::Delete(request) => &request.name,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Operation::Write(_) => "write",
            Operation::Delete(_) => "delete",
        }
    }

    /// Whether an answer means that the member has what it should: to delete what is not there is to have deleted it.
    pub(super) fn holds<T>(&self, answer: &Result<T>) -> bool {
        match answer {
            Ok(_) => true,
            Err(error) => matches!(self, Operation::Delete(_)) && error.kind() == ErrorKind::NotFound,
        }
    }

    async fn run(&self, member: &Member, limit: Duration) -> Result<WriteReceipt> {
        match self {
            Operation::Write(request) => member.write(request, limit).await,
            Operation::Delete(request) => {
                member.delete(request, limit).await.map(|()| WriteReceipt::default())
            }
        }
    }
}

/// A member, its health and its queue.
pub(super) struct Lane {
    member: Member,
    room: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    outage: Option<Outage>,
    queue: HashMap<SecretName, Waiting>,
    ended: bool,
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

impl Lane {
    pub(super) fn new(member: Member, room: usize) -> Self {
        Lane { member, room, state: Mutex::default(), changed: Notify::new() }
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
        let waits = self.state().queue.get(operation.name()).map(|waiting| waiting.last_error);
        if let Some(kind) = waits {
            let message = format!("the replica {} waits for earlier repairs of this name", self.name());
            return Err(Error::new(kind, message));
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

    /// Remembers a change that the member missed, instead of an older one; false when there is no room.
    pub(super) fn queue(&self, operation: &Arc<Operation>, why: ErrorKind) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let full = state.queue.len() >= self.room;
        match state.queue.get_mut(operation.name()) {
            Some(waiting) => waiting.operation = Arc::clone(operation),
            None if full => return false,
            None => {
                let waiting = Waiting {
                    operation: Arc::clone(operation),
                    since: now,
                    due: now + wait(1),
                    failures: 0,
                    last_error: why,
                };
                state.queue.insert(operation.name().clone(), waiting);
            }
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    pub(super) fn status(&self) -> LaneStatus {
        let now = Instant::now();
        let healthy = self.is_healthy();
        let state = self.state();
        let mut repairs: Vec<Repair> = state
            .queue
            .iter()
            .map(|(name, waiting)| Repair {
                name: name.clone(),
                operation: waiting.operation.word(),
                failures: waiting.failures,
                last_error: waiting.last_error,
                age: now.saturating_duration_since(waiting.since),
            })
            .collect();
        repairs.sort_by(|a, b| a.name.cmp(&b.name));
        let last_outage = state.outage.as_ref().map(|outage| outage.kind);
        LaneStatus { name: self.member.name.clone(), healthy, last_outage, repairs }
    }

    /// Gives up what waits, and says so: the queue does not outlive the process.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        let names: Vec<String> = state.queue.drain().map(|(name, _)| name.to_string()).collect();
        drop(state);
        self.changed.notify_one();
        if !names.is_empty() {
            let (manager, secrets) = (self.name(), names.join(", "));
            tracing::error!(
                manager,
                secrets,
                "the host ends while this replica lacks changes; write these secrets again"
            );
        }
    }

    async fn repair(&self) {
        loop {
            let changed = self.changed.notified();
            match self.next() {
                Next::End => return,
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
                    self.settle(&operation, failure.map(|error| error.kind()));
                }
            }
        }
    }

    fn next(&self) -> Next {
        let state = self.state();
        if state.ended {
            return Next::End;
        }
        let Some(first) = state.queue.values().min_by_key(|waiting| waiting.due) else {
            return Next::Nothing;
        };
        // A member that is down is not tried once for each name.
        let due = state.outage.as_ref().map_or(first.due, |outage| outage.until.max(first.due));
        match due <= Instant::now() {
            true => Next::Now(Arc::clone(&first.operation)),
            false => Next::Later(due),
        }
    }

    fn settle(&self, tried: &Arc<Operation>, failure: Option<ErrorKind>) {
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
            Some(kind) => {
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
            tokio::spawn(async move { lane.repair().await })
        };
        Lanes(lanes.iter().map(start).collect())
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
