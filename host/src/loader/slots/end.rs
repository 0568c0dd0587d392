//! What becomes of an instance's operations when it ends.

use std::sync::Arc;

use super::{
    Ledger, ended, free,
    ledger::Zombie,
    settle,
    store::{Phase, SLOTS},
};

/// Takes every operation of `owner` from its caller, who is told that the manager ends; returns those of which the
/// plugin knows, or is about to.
pub(crate) fn revoke(owner: &Arc<Ledger>) -> Vec<u64> {
    let mut known = Vec::new();
    for index in SLOTS.indices() {
        let Some(mut state) = SLOTS.state(index).filter(|state| state.is_of(owner)) else { continue };
        let id = state.id(index);
        let Phase::Waiting(waiting) = &mut state.phase else { continue };
        if waiting.abandoned {
            continue;
        }
        if !waiting.begun {
            settle(state, Err(ended()));
            continue;
        }
        waiting.abandoned = true;
        let waker = waiting.waker.take();
        owner.bury(id, Zombie { deadline: None, blocking: waiting.blocking });
        drop(state);
        known.push(id);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
    known
}

/// Frees the slots of all operations of `owner` that lost their caller: its instance is destroyed, so that they cannot
/// be completed any more.
pub(crate) fn sweep(owner: &Ledger) {
    for id in owner.numbers() {
        free(id, |waiting| waiting.abandoned);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering, task::Poll};

    use keyway_plugin_api::ErrorKind;

    use super::{
        super::{Operation, Outcome, Permit, begin, complete},
        *,
    };

    fn unavailable(outcome: Poll<keyway_plugin_api::Result<Outcome>>) -> bool {
        matches!(outcome, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Unavailable)
    }

    #[test]
    fn revoked_operations_end_for_their_callers_and_wait_for_their_completion() {
        let (ledger, other) = (Arc::default(), Arc::default());
        let mut known = Operation::open(&ledger, Permit::None).unwrap();
        let mut queued = Operation::open_for_pool(&ledger, Permit::None).unwrap();
        let mut foreign = Operation::open(&other, Permit::None).unwrap();
        assert_eq!(revoke(&ledger), [known.id()]);
        assert!(unavailable(known.poll(None)) && unavailable(queued.poll(None)));
        assert!(foreign.poll(None).is_pending());
        assert!(!begin(queued.id()));
        assert_eq!(ledger.zombies(), 1);
        complete(known.id(), || Ok(Outcome::default()));
        assert_eq!((ledger.zombies(), ledger.late.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn after_the_sweep_nothing_of_an_instance_is_left_and_a_completion_is_a_stray_one() {
        let ledger: Arc<Ledger> = Arc::default();
        let mut operation = Operation::open(&ledger, Permit::None).unwrap();
        assert!(operation.abandon(None));
        sweep(&ledger);
        assert_eq!(ledger.zombies(), 0);
        // Nobody else can have taken the slot if the completion is counted as this instance's; otherwise it is no one's.
        let unowned = super::super::unowned_completions();
        complete(operation.id(), || Ok(Outcome::default()));
        let counted = ledger.stray.load(Ordering::Relaxed) == 1;
        assert!(counted || super::super::unowned_completions() > unowned);
    }

    #[test]
    fn an_operation_that_is_swept_before_its_caller_looks_is_over() {
        let ledger: Arc<Ledger> = Arc::default();
        let mut operation = Operation::open(&ledger, Permit::None).unwrap();
        revoke(&ledger);
        sweep(&ledger);
        assert!(matches!(operation.poll(None), Poll::Ready(Err(_))));
        assert!(!operation.abandon(None));
    }
}
