//! Several managers that hold the same secrets, one a region for example.
//!
//! A read is answered by the first healthy member, by every other one only when that cannot answer. A write or delete
//! goes to all; it holds when one took it, and those that missed it are repaired in the background. Until then a
//! member that lags behind is not asked for that name, so that no old value and no deleted secret is ever read. What a
//! member refuses is not repaired, since it would be refused again: whoever makes the change is told.

mod operation;
mod repair;
mod status;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, SecretName, WriteReceipt, WriteRequest, async_trait, manager::rotate_by_writing,
};
use tokio::sync::{Mutex, MutexGuard};

pub use self::status::{LaneStatus, Missed, Repair};
use self::{
    operation::{Operation, is_refusal},
    repair::{Lane, Lanes},
};
use super::{
    caller::{current_caller, with_caller},
    member::{Deadline, Member, copy_of, is_outage},
    verdict::partly_applied,
};

/// How many names may wait for the repair of one member.
pub const MAX_REPAIRS: usize = 1000;

/// How many writes to different names may be under way at once.
const STRIPES: usize = 64;

/// A manager that keeps its members alike.
pub struct Replicas {
    inner: Arc<Inner>,
    /// Ends the repairs with the set.
    _repairs: Lanes,
}

struct Inner {
    lanes: Vec<Arc<Lane>>,
    /// Writes to one name follow each other, so that all members see them in one order.
    stripes: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Replicas {
    /// A set whose first member is preferred; must be made inside a tokio runtime.
    pub fn new(members: Vec<Member>) -> Self {
        let lanes: Vec<Arc<Lane>> =
            members.into_iter().map(|member| Arc::new(Lane::new(member, MAX_REPAIRS))).collect();
        let repairs = Lanes::start(&lanes);
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Replicas { inner: Arc::new(Inner { lanes, stripes, hasher: RandomState::new() }), _repairs: repairs }
    }

    /// How each member is, in their order; never a value.
    pub fn status(&self) -> Vec<LaneStatus> {
        self.inner.lanes.iter().map(|lane| lane.status()).collect()
    }

    /// Ends the repairs: waits for them as long as `patience`, tries what is left once more, and tells what remains.
    pub async fn finish(&self, patience: Duration) -> Vec<Missed> {
        let lanes = &self.inner.lanes;
        let repaired = join_all(lanes.iter().map(|lane| lane.repaired()));
        // What is not repaired by then is tried once more now.
        let _ = tokio::time::timeout(patience, repaired).await;
        let left = join_all(lanes.iter().map(|lane| lane.end())).await;
        let of = |(lane, repairs): (&Arc<Lane>, Vec<Repair>)| {
            let member = lane.name().to_owned();
            repairs.into_iter().map(move |repair| Missed { member: member.clone(), repair })
        };
        lanes.iter().zip(left).flat_map(of).collect()
    }

    /// Refuses before anything is done what one of the members does not implement.
    fn need(&self, capability: Capabilities, operation: &str, undone: impl FnOnce() -> String) -> Result<()> {
        let can = |lane: &&Arc<Lane>| lane.member().manager.capabilities().contains(capability);
        match self.inner.lanes.iter().find(|lane| !can(lane)) {
            None => Ok(()),
            Some(lane) => {
                let manager = format_args!("the replica {}", lane.name());
                Err(Error::not_implemented(manager, operation, undone()))
            }
        }
    }

    /// Does it on a task of its own: a caller that gives up must not leave the members different.
    async fn everywhere(&self, operation: Operation, timeout: Duration) -> Result<WriteReceipt> {
        let inner = Arc::clone(&self.inner);
        let change = async move { inner.everywhere(operation, Deadline::after(timeout)).await };
        let task = tokio::spawn(with_caller(current_caller(), change));
        task.await
            .unwrap_or_else(|_| Err(Error::internal("the task that writes to the replicas ended early")))
    }
}

impl Inner {
    async fn everywhere(&self, operation: Operation, deadline: Deadline) -> Result<WriteReceipt> {
        let operation = Arc::new(operation);
        let _turn = self.turn(operation.name(), deadline).await?;
        // A member that is down gets the change by repair, so that it does not slow down every write; unless no other
        // takes it.
        let down: Vec<bool> = self.lanes.iter().map(|lane| !lane.is_healthy()).collect();
        let mut answers = self.attempt(&operation, &down, false, deadline).await;
        if !answers.iter().flatten().any(|answer| operation.holds(answer)) {
            let late = self.attempt(&operation, &down, true, deadline).await;
            answers = answers.into_iter().zip(late).map(|(early, late)| early.or(late)).collect();
        }
        let answers: Vec<Result<WriteReceipt>> = answers
            .into_iter()
            .zip(&self.lanes)
            .map(|(answer, lane)| answer.unwrap_or_else(|| Err(lane.down())))
            .collect();
        if !answers.iter().any(|answer| operation.holds(answer)) {
            // Nobody is known to have it: the caller hears of it, and the members are as far behind as before.
            let first = answers.into_iter().find_map(Result::err);
            return Err(first.unwrap_or_else(|| Error::unavailable("the replica set has no members")));
        }
        let (mut took, mut refused, mut lost) = (None, None, None);
        for (lane, answer) in self.lanes.iter().zip(answers) {
            match answer {
                answer if operation.holds(&answer) => took = took.or(answer.ok()),
                Ok(_) => {}
                Err(error) if is_refusal(&error) => refused = refused.or(Some((lane, error))),
                Err(error) => lost = lane.missed(&operation, error.kind()).err().or(lost),
            }
        }
        if let Some(error) = lost {
            return Err(error);
        }
        if let Some((lane, error)) = refused {
            return Err(refusal(&operation, lane.name(), error));
        }
        took.ok_or_else(|| Error::not_found(operation.name()))
    }

    /// The answers of the members that are down, or of those that are not; nothing from the others.
    async fn attempt(
        &self,
        operation: &Arc<Operation>,
        down: &[bool],
        which: bool,
        deadline: Deadline,
    ) -> Vec<Option<Result<WriteReceipt>>> {
        let answers = self.lanes.iter().zip(down).map(|(lane, down)| async move {
            match *down == which {
                true => Some(lane.attempt(operation, deadline.left()).await),
                false => None,
            }
        });
        join_all(answers).await
    }

    async fn turn(&self, name: &SecretName, deadline: Deadline) -> Result<MutexGuard<'_, ()>> {
        let stripe = self.hasher.hash_one(name) % (STRIPES as u64);
        let stripe = usize::try_from(stripe).ok().and_then(|stripe| self.stripes.get(stripe));
        let stripe = stripe.ok_or_else(|| Error::internal("there is no lock for this name"))?;
        tokio::time::timeout(deadline.left(), stripe.lock()).await.map_err(|_elapsed| {
            let message = format!("an earlier change of {name} did not end in time; nothing was changed");
            Error::new(ErrorKind::Timeout, message)
        })
    }

    /// The members in the order in which they are asked: the healthy ones first.
    fn order(&self) -> Vec<&Arc<Lane>> {
        let mut lanes: Vec<&Arc<Lane>> = self.lanes.iter().collect();
        lanes.sort_by_key(|lane| !lane.is_healthy());
        lanes
    }
}

/// The answer to a change that some members have and one will not have.
fn refusal(operation: &Operation, member: &str, error: Error) -> Error {
    let (name, word) = (operation.name(), operation.word());
    let message = format!(
        "the replica {member} refused the {word} of {name}, which another one took, so that they differ now; let {member} take it and \
         repeat the {word}, or remove {member} from `replicas`"
    );
    partly_applied(Error::new(error.kind(), message).with_source(error))
}

/// What a member's answer to a read is worth; `None` when the next one is to be asked, and an outage is held for the end.
fn heed(
    lane: &Lane,
    name: &SecretName,
    answer: Result<Secret>,
    held: &mut Option<Error>,
) -> Option<Result<Secret>> {
    lane.saw(&answer);
    match answer {
        Err(error) if is_outage(error.kind()) => {
            held.get_or_insert(error);
            None
        }
        // A change that went by while this was read may have missed this member.
        _ if lane.lags(name) => None,
        answer => Some(answer),
    }
}

fn all_lag(name: &str) -> Error {
    Error::unavailable(format!("no replica that can be asked has the last change of {name}"))
}

#[async_trait]
impl SecretManager for Replicas {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let deadline = Deadline::after(request.timeout);
        let lanes: Vec<_> = self.inner.order().into_iter().filter(|lane| !lane.lags(&request.name)).collect();
        let mut held = None;
        for (index, lane) in lanes.iter().enumerate() {
            let answer = lane.member().read(request, deadline.share(lanes.len() - index)).await;
            if let Some(answer) = heed(lane, &request.name, answer, &mut held) {
                return answer;
            }
        }
        Err(held.unwrap_or_else(|| all_lag(&request.name)))
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let mut held = None;
        for lane in self.inner.order().into_iter().filter(|lane| !lane.lags(&request.name)) {
            let answer = lane.member().manager.sync_read_secret(request);
            if let Some(answer) = heed(lane, &request.name, answer, &mut held) {
                return answer;
            }
        }
        Err(held.unwrap_or_else(|| all_lag(&request.name)))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.need(Capabilities::WRITE, "write", || format!("write {}", request.name))?;
        self.everywhere(Operation::Write(copy_of(request)), request.timeout).await
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.need(Capabilities::DELETE, "delete", || format!("delete {}", request.name))?;
        self.everywhere(Operation::Delete(request.clone()), request.timeout).await.map(drop)
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        let (current, new) = (&request.current_name, &request.new_name);
        self.need(Capabilities::WRITE, "write", || format!("rotate {current}"))?;
        if current != new {
            self.need(Capabilities::DELETE, "delete", || format!("rotate {current} to {new}"))?;
        }
        rotate_by_writing(self, request).await
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.need(Capabilities::LIST, "list", || "list its secrets".to_owned())?;
        let deadline = Deadline::after(request.timeout);
        // A member that lags behind in anything has a list that is not the last.
        let lanes: Vec<_> = self.inner.order().into_iter().filter(|lane| !lane.lags_at_all()).collect();
        let mut held = None;
        for (index, lane) in lanes.iter().enumerate() {
            let answer = lane.member().list(request, deadline.share(lanes.len() - index)).await;
            lane.saw(&answer);
            match answer {
                Err(error) if is_outage(error.kind()) => {
                    held.get_or_insert(error);
                }
                answer => return answer,
            }
        }
        Err(held.unwrap_or_else(|| {
            Error::unavailable("every replica waits for repairs, so that none has the whole list")
        }))
    }

    /// Whether one member is healthy.
    async fn health_check(&self) -> Result<()> {
        let mut held = None;
        for lane in self.inner.order() {
            let answer = lane.member().health().await;
            lane.saw(&answer);
            match answer {
                Ok(()) => return Ok(()),
                Err(error) => {
                    held.get_or_insert(error);
                }
            }
        }
        held.map_or(Ok(()), Err)
    }

    async fn shutdown(&self) {
        for Missed { member, repair } in self.finish(Duration::ZERO).await {
            let (secret, operation, class) = (&repair.name, repair.operation, repair.last_error);
            tracing::error!(
                manager = member, %secret, operation, %class,
                "the host ends while a replica lacks a change; make it again when that can be reached"
            );
        }
        for lane in &self.inner.lanes {
            lane.member().manager.shutdown().await;
        }
    }

    fn capabilities(&self) -> Capabilities {
        let all = self.inner.lanes.iter().map(|lane| lane.member().manager.capabilities());
        let all = all.fold(Capabilities::all(), Capabilities::intersection);
        let shared = Capabilities::READ_WRITE | Capabilities::LIST | Capabilities::SYNC_READ;
        Capabilities::READ | Capabilities::HEALTH | all & shared
    }
}

#[cfg(test)]
mod tests;
