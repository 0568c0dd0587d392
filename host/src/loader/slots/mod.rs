//! Where operations wait for their completion.
//!
//! A plugin never gets a pointer to anything of the host's: an operation is known to it by a number made of a slot's
//! index and the slot's generation. A completion whose number is not that of a waiting operation, because it is late,
//! double or invented, finds nothing to do and is counted.

mod end;
mod ledger;
mod store;

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Poll, Waker},
};

use keyway_plugin_api::{Error, ErrorKind, Result, Secret};
use tokio::time::Instant;

use self::{
    ledger::Zombie,
    store::{Locked, Phase, SLOTS, Waiting, full},
};

pub(crate) use self::{
    end::{revoke, sweep},
    ledger::Ledger,
    store::Permit,
};

const MAX_LISTED_BYTES: usize = 64 << 20;

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

impl Operation {
    /// Takes a slot for an operation that `owner` is about to begin.
    ///
    /// # Errors
    /// [`ErrorKind::Throttled`] when a million operations are waiting.
    pub(crate) fn open(owner: &Arc<Ledger>, permit: Permit) -> Result<Self> {
        Self::open_in(owner, permit, true)
    }

    /// The same for an operation that a thread of the pool will begin, when it comes to it: see [`begin`].
    ///
    /// # Errors
    /// As [`Operation::open`].
    pub(crate) fn open_for_pool(owner: &Arc<Ledger>, permit: Permit) -> Result<Self> {
        Self::open_in(owner, permit, false)
    }

    fn open_in(owner: &Arc<Ledger>, permit: Permit, begun: bool) -> Result<Self> {
        let index = SLOTS.free_index()?;
        let mut state = SLOTS.state(index).ok_or_else(full)?;
        state.generation += 1;
        if !state.is_of(owner) {
            state.owner = Some(Arc::clone(owner));
        }
        state.phase = Phase::Waiting(Waiting {
            waker: None,
            names: Vec::new(),
            listed: 0,
            fault: None,
            abandoned: false,
            begun,
            blocking: !begun,
            _permit: permit,
        });
        Ok(Operation { id: state.id(index), taken: false })
    }

    /// The number by which the plugin knows the operation; never used again while the process lives.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The outcome, if it is there; otherwise `waker` is called when it is.
    pub(crate) fn poll(&mut self, waker: Option<&Waker>) -> Poll<Result<Outcome>> {
        let over = || Poll::Ready(Err(Error::internal("the operation is over")));
        if self.taken {
            return over();
        }
        // The slot of another operation by now: its instance was destroyed, and what was left of it swept away.
        let Some(mut state) = SLOTS.current(self.id) else { return Poll::Ready(Err(ended())) };
        match &mut state.phase {
            Phase::Waiting(Waiting { abandoned: true, .. }) | Phase::Free => {
                self.taken = true;
                Poll::Ready(Err(ended()))
            }
            Phase::Waiting(waiting) => {
                if let Some(waker) = waker {
                    match &mut waiting.waker {
                        Some(kept) => kept.clone_from(waker),
                        None => waiting.waker = Some(waker.clone()),
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
        if !std::mem::replace(&mut self.taken, true) {
            free(self.id, |_| true);
        }
    }

    /// Says that nobody waits any more; whether the plugin should be told. The slot of an operation that was begun stays
    /// taken until the completion comes, and from `deadline` on it counts as overdue.
    pub(crate) fn abandon(&mut self, deadline: Option<Instant>) -> bool {
        if std::mem::replace(&mut self.taken, true) {
            return false;
        }
        let Some(mut state) = SLOTS.current(self.id) else { return false };
        let owner = state.owner.clone();
        match &mut state.phase {
            Phase::Waiting(Waiting { abandoned: true, .. }) | Phase::Free => false,
            Phase::Waiting(waiting) if waiting.begun => {
                waiting.abandoned = true;
                waiting.waker = None;
                if let Some(owner) = owner {
                    owner.bury(self.id, Zombie { deadline, blocking: waiting.blocking });
                }
                true
            }
            phase => {
                let over = std::mem::replace(phase, Phase::Free);
                drop(state);
                drop(over);
                SLOTS.release(self.id);
                false
            }
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.abandon(None);
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
    if !state.is(id) {
        // The slot has gone to another operation, perhaps of another instance, which is not to blame.
        SLOTS.unowned.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let Phase::Waiting(waiting) = &mut state.phase else {
        let strays = state.owner.as_ref().map_or(&SLOTS.unowned, |owner| &owner.stray);
        strays.fetch_add(1, Ordering::Relaxed);
        return;
    };
    if waiting.abandoned {
        if let Some(owner) = &state.owner {
            owner.late.fetch_add(1, Ordering::Relaxed);
        }
        drop(slot);
        free(id, |waiting| waiting.abandoned);
        return;
    }
    let names = std::mem::take(&mut waiting.names);
    let fault = waiting.fault.take();
    let result = match (result(), fault) {
        (Ok(_), Some(fault)) => Err(fault),
        (Ok(outcome), None) => Ok(Outcome { names, ..outcome }),
        (Err(error), _) => Err(error),
    };
    settle(slot, result);
}

/// Says that a thread of the pool begins the operation `id` now; `false` when nobody wants it any more.
pub(crate) fn begin(id: u64) -> bool {
    let Some(mut state) = SLOTS.current(id) else { return false };
    match &mut state.phase {
        Phase::Waiting(waiting) if !waiting.abandoned => {
            waiting.begun = true;
            true
        }
        _ => false,
    }
}

/// Fails the operation `id` on the host's own account, if it is still waiting; nobody is blamed.
pub(crate) fn fail(id: u64, error: Error) {
    let Some(state) = SLOTS.current(id) else { return };
    match &state.phase {
        Phase::Waiting(Waiting { abandoned: false, .. }) => settle(state, Err(error)),
        Phase::Waiting(_) => {
            drop(state);
            free(id, |waiting| waiting.abandoned);
        }
        _ => {}
    }
}

/// Fails the operation `id`, if it is still waiting although the blocking call that should complete it has returned.
pub(crate) fn complete_missing(id: u64) {
    let waiting = SLOTS.current(id).and_then(|state| match state.phase {
        Phase::Waiting(_) => state.owner.clone(),
        _ => None,
    });
    if let Some(owner) = waiting {
        owner.missing.fetch_add(1, Ordering::Relaxed);
        fail(id, Error::internal("the plugin returned from a blocking read without completing it"));
    }
}

/// Adds a name to the list operation `id`, if it is waiting; otherwise does nothing. A name that is none fails the
/// whole operation when it completes: a list that lacks names is worse than no list.
pub(crate) fn list_entry(id: u64, name: impl FnOnce() -> Result<String>) {
    let Some(mut state) = SLOTS.current(id) else { return };
    let Phase::Waiting(waiting) = &mut state.phase else { return };
    if waiting.abandoned || waiting.fault.is_some() {
        return;
    }
    match name() {
        Err(fault) => waiting.fault = Some(fault),
        Ok(name) => {
            waiting.listed += name.len() + size_of::<String>();
            waiting.names.push(name);
            if waiting.listed > MAX_LISTED_BYTES {
                let message = "the list of names is longer than 64 MiB";
                waiting.fault = Some(Error::new(ErrorKind::TooLarge, message));
            }
        }
    }
}

/// Gives a waiting operation its outcome and wakes its caller.
fn settle(mut state: Locked, result: Result<Outcome>) {
    let over = std::mem::replace(&mut state.phase, Phase::Done(result));
    drop(state);
    // What it held may let another operation in, which must not find this slot locked.
    if let Phase::Waiting(Waiting { waker: Some(waker), .. }) = over {
        waker.wake();
    }
}

/// Frees the slot of `id` if it is complete, or waiting in a way that `may` allows.
fn free(id: u64, may: impl FnOnce(&Waiting) -> bool) {
    let Some(mut state) = SLOTS.current(id) else { return };
    match &state.phase {
        Phase::Free => return,
        Phase::Waiting(waiting) if !may(waiting) => return,
        Phase::Waiting(waiting) if waiting.abandoned => {
            if let Some(owner) = &state.owner {
                owner.exhume(id);
            }
        }
        _ => {}
    }
    let over = std::mem::replace(&mut state.phase, Phase::Free);
    drop(state);
    drop(over); // as in `settle`
    SLOTS.release(id);
}

/// How many completions belonged to no instance known, in this process.
pub fn unowned_completions() -> u64 {
    SLOTS.unowned.load(Ordering::Relaxed)
}

fn ended() -> Error {
    Error::unavailable("the secret manager is shutting down")
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
        let mut operation = Operation::open(&ledger, Permit::None).unwrap();
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
        let mut operation = Operation::open(&ledger, Permit::None).unwrap();
        let id = operation.id();
        assert!(operation.abandon(None));
        assert_eq!(ledger.zombies(), 1);
        complete(id, || unreachable!("nobody wants the value"));
        assert_eq!(ledger.zombies(), 0);
        assert_eq!(ledger.late.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_number_that_was_used_before_does_not_reach_the_next_operation() {
        let ledger = Arc::new(Ledger::default());
        let mut first = Operation::open(&ledger, Permit::None).unwrap();
        let old = first.id();
        complete(old, || value("first"));
        assert_eq!(text(first.poll(None)), "first");
        let mut second = Operation::open(&ledger, Permit::None).unwrap();
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
        let mut operation = Operation::open(&ledger, Permit::None).unwrap();
        list_entry(operation.id(), || Ok("a".to_owned()));
        list_entry(operation.id(), || Ok("b".to_owned()));
        complete(operation.id(), || Ok(Outcome::default()));
        list_entry(operation.id(), || Ok("late".to_owned()));
        match operation.poll(None) {
            Poll::Ready(Ok(outcome)) => assert_eq!(outcome.names, ["a", "b"]),
            other => panic!("{other:?}"),
        }
    }
}
