//! Changing a secret: what is cached follows what the manager was told.

use std::sync::Arc;

use keyway_plugin_api::{Error, OptionalParams, Secret, SecretName};

use super::{Shared, key::Lookup, slot::Slot};
use crate::service::verdict::may_be_applied;

/// A change under way. When it is dropped without an outcome, nobody knows whether it was applied.
pub(super) struct Change<'a> {
    shared: &'a Shared,
    name: &'a SecretName,
    params: &'a OptionalParams,
    slot: Arc<Slot>,
    id: u64,
    overlapped: bool,
    outcome: Option<Outcome>,
}

/// What a change came to.
pub(super) enum Outcome {
    /// The secret has this value now.
    Stored(Secret),
    /// The secret does not exist now.
    Deleted,
    /// The manager refused.
    Unchanged,
}

impl<'a> Change<'a> {
    pub(super) fn begin(shared: &'a Shared, name: &'a SecretName, params: &'a OptionalParams) -> Self {
        let slot = shared.slot(Lookup::newest(name, params));
        let (id, overlapped) = {
            let mut inner = slot.lock();
            inner.changing += 1;
            inner.changes += 1;
            (inner.changes, inner.changing > 1)
        };
        Self { shared, name, params, slot, id, overlapped, outcome: None }
    }

    pub(super) fn settle(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Settles a failure: a change that was refused leaves everything as it is, one that was lost does not.
    pub(super) fn fail(self, error: &Error) {
        if !may_be_applied(error) {
            self.settle(Outcome::Unchanged);
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let (rules, now) = (&self.shared.rules, self.shared.clock.now());
        let mut inner = self.slot.lock();
        inner.changing -= 1;
        // Of changes that overlap nobody knows which the store applied last.
        let overlapped = self.overlapped || inner.changes != self.id;
        match self.outcome.take() {
            Some(Outcome::Unchanged) => return,
            Some(Outcome::Stored(value)) if !overlapped => {
                inner.supersede();
                self.slot.store(&mut inner, Arc::new(value), rules, now);
            }
            Some(Outcome::Deleted) if !overlapped => {
                inner.supersede();
                self.slot.store_absence(&mut inner, rules, now);
            }
            Some(Outcome::Deleted) => {
                self.slot.invalidate(&mut inner, rules, now);
                self.slot.forget(&mut inner);
            }
            Some(Outcome::Stored(_)) | None => self.slot.invalidate(&mut inner, rules, now),
        }
        drop(inner);
        self.invalidate_others();
    }
}

impl Change<'_> {
    /// Other versions of the secret, and an entry that took the place of an evicted one.
    fn invalidate_others(&self) {
        let others = |slot: &Slot, now| {
            if !std::ptr::eq(slot, &*self.slot) {
                slot.invalidate(&mut slot.lock(), &self.shared.rules, now);
                slot.forget(&mut slot.lock());
            }
        };
        self.shared.each_of(self.name, others);
        if let Some(slot) = self.shared.slots.get(&Lookup::newest(self.name, self.params)) {
            others(&slot, self.shared.clock.now());
        }
    }
}
