//! The provider's side of a rotation: which keys of an account are accepted, and since when which one is in use.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// What every key begins with.
pub(crate) const KEY_PREFIX: &str = "sk-test-not-a-key-";

/// How the change from one key to the next goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The old key is accepted until the new one was seen in use.
    Overlapping,
    /// The old key is refused from that moment on.
    AtOnce,
    /// The new key is refused when it is seen for the first time, since the provider was not ready; the old one is accepted
    /// until the key after it is in use.
    Early,
}

/// A few accounts, each with keys that are numbered from 0.
pub(crate) struct Provider {
    accounts: Mutex<Vec<Account>>,
    /// The newest accepted key that was seen, of each account.
    in_use: watch::Sender<Vec<u32>>,
}

#[derive(Clone, Default)]
struct Account {
    newest: u32,
    accepted: BTreeSet<u32>,
    early: Option<Early>,
    refusals: u32,
}

#[derive(Clone, Copy)]
struct Early {
    number: u32,
    was_refused: bool,
}

impl Provider {
    pub(crate) fn new(accounts: usize) -> Arc<Self> {
        let account = Account { accepted: BTreeSet::from([0]), ..Account::default() };
        Arc::new(Provider {
            accounts: Mutex::new(vec![account; accounts]),
            in_use: watch::Sender::new(vec![0; accounts]),
        })
    }

    /// Changes to the next key; `hand_over` puts it into the secret manager in the same moment.
    pub(crate) fn rotate(&self, account: usize, manner: Manner, hand_over: impl FnOnce(&str)) {
        let mut accounts = self.lock();
        let state = &mut accounts[account];
        state.newest += 1;
        if manner == Manner::AtOnce {
            state.accepted.clear();
        }
        state.accepted.insert(state.newest);
        state.early = (manner == Manner::Early).then_some(Early { number: state.newest, was_refused: false });
        hand_over(&key(account, state.newest));
    }

    /// Whether a request with this key is accepted.
    pub(crate) fn judge(&self, presented: &str) -> bool {
        let (account, number) = parse(presented);
        let mut accounts = self.lock();
        let state = &mut accounts[account];
        let early = state.early.filter(|early| early.number == number);
        if early.is_some_and(|early| !early.was_refused) || !state.accepted.contains(&number) {
            state.refusals += 1;
            state.early = early.map(|early| Early { was_refused: true, ..early }).or(state.early);
            return false;
        }
        if early.is_none() {
            state.accepted.retain(|accepted| *accepted >= number);
        }
        self.in_use.send_if_modified(|in_use| {
            let is_newer = in_use[account] < number;
            in_use[account] = in_use[account].max(number);
            is_newer
        });
        true
    }

    /// Waits until the newest key of an account is in use.
    pub(crate) async fn newest_in_use(&self, account: usize) {
        let newest = self.lock()[account].newest;
        let mut in_use = self.in_use.subscribe();
        // It cannot fail, since the sender is here.
        let _ = in_use.wait_for(|in_use| in_use[account] >= newest).await;
    }

    /// How many rotations there were.
    pub(crate) fn rotations(&self) -> u32 {
        self.lock().iter().map(|account| account.newest).sum()
    }

    /// How many requests were refused.
    pub(crate) fn refusals(&self) -> u32 {
        self.lock().iter().map(|account| account.refusals).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of an account with this number.
pub(crate) fn key(account: usize, number: u32) -> String {
    format!("{KEY_PREFIX}{account}-{number}")
}

fn parse(key: &str) -> (usize, u32) {
    let numbers = key.strip_prefix(KEY_PREFIX).and_then(|numbers| numbers.split_once('-'));
    let (account, number) = numbers.unwrap_or_else(|| panic!("{key} is none of our keys"));
    (account.parse().unwrap(), number.parse().unwrap())
}
