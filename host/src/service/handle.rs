//! A secret that is held by reference, so that a changed value is used by the next request.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use keyway_plugin_api::{Secret, async_trait};
use tokio::time::Instant;

use crate::redact;

/// The current value behind one reference of the configuration, or of a value that stands in it literally.
///
/// Consumers hold the handle and ask for the value each time they need it; whoever resolves the reference
/// publishes values into it.
pub struct SecretHandle {
    reference: String,
    state: ArcSwap<State>,
    source: OnceLock<Weak<dyn Refresh>>,
}

/// Where a handle's value comes from, for the case that it is refused.
#[async_trait]
pub trait Refresh: Send + Sync {
    /// Asks for the value now and publishes what is answered, at most once in 30 seconds; all who come meanwhile wait for
    /// the same answer, and it is waited for and published even if whoever began it goes away.
    async fn refresh(self: Arc<Self>);
}

/// A value, and how many there were before it.
#[derive(Clone, Debug)]
pub struct Version {
    /// The value.
    pub value: Arc<Secret>,
    /// Begins at 1 and grows with every other value.
    pub generation: u64,
    /// Who had it: a manager's name, or another source; `None` for what stands in the configuration itself.
    pub origin: Option<Arc<str>>,
}

#[derive(Clone, Default)]
struct State {
    current: Option<Version>,
    /// The value before the current one, and until when it may stand in.
    previous: Option<(Version, Instant)>,
    /// The generation of the last value, which may be gone.
    generation: u64,
}

impl SecretHandle {
    /// A handle without a value yet; `reference` is what the configuration says, `os.environ/NAME` for example.
    pub fn unresolved(reference: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { reference: reference.into(), state: ArcSwap::default(), source: OnceLock::new() })
    }

    /// A handle whose value stands literally in the configuration; `setting` names the place.
    pub fn literal(setting: impl Into<String>, value: Secret) -> Arc<Self> {
        let handle = Self::unresolved(setting);
        handle.publish(Arc::new(value), Duration::ZERO);
        handle
    }

    /// What people are told when the value is missing: the reference or the setting, never the value.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The value as it is now; `None` while the reference is not resolved.
    pub fn current(&self) -> Option<Arc<Secret>> {
        self.state.load().current.as_ref().map(|version| Arc::clone(&version.value))
    }

    /// The value as it is now, with its generation.
    pub fn version(&self) -> Option<Version> {
        self.state.load().current.clone()
    }

    /// Makes a value the current one; requests in flight keep the one they took. The value before it may stand in for
    /// `overlap`. Whether the value is another one.
    pub fn publish(&self, value: Arc<Secret>, overlap: Duration) -> bool {
        self.publish_from(value, None, overlap)
    }

    /// As [`SecretHandle::publish`], for a value that `origin` had.
    pub fn publish_from(&self, value: Arc<Secret>, origin: Option<Arc<str>>, overlap: Duration) -> bool {
        redact::learn(&value);
        let mut changed = false;
        self.state.rcu(|state| {
            let same = state.current.as_ref().filter(|now| now.value.expose_bytes() == value.expose_bytes());
            changed = same.is_none();
            if let Some(same) = same {
                if same.origin == origin {
                    return Arc::clone(state);
                }
                let current = Some(Version { origin: origin.clone(), ..same.clone() });
                return Arc::new(State { current, ..State::clone(state) });
            }
            let generation = state.generation + 1;
            let until = Instant::now() + overlap;
            let previous =
                state.current.clone().filter(|_| !overlap.is_zero()).map(|version| (version, until));
            Arc::new(State {
                current: Some(Version { value: Arc::clone(&value), generation, origin: origin.clone() }),
                previous,
                generation,
            })
        });
        changed
    }

    /// Takes the value away, and the one before it: it was deleted or revoked, or nobody knows it any more.
    pub fn withdraw(&self) {
        self.state.rcu(|state| State { generation: state.generation, ..State::default() });
    }

    /// Says who can be asked for the value when it is refused; only the first call counts.
    pub fn comes_from(&self, source: Weak<dyn Refresh>) {
        // A second source would belong to another configuration, and so to another handle.
        let _ = self.source.set(source);
    }

    /// Another value to try after those of the generations `tried` were refused: one that came in meanwhile, one that is
    /// asked for now (at most once in 30 seconds), or the one before while it may stand in.
    pub async fn after_refusal(&self, tried: &[u64]) -> Option<Version> {
        if let Some(version) = self.untried(tried, false) {
            return Some(version);
        }
        if let Some(source) = self.source.get().and_then(Weak::upgrade) {
            source.refresh().await;
        }
        self.untried(tried, true)
    }

    /// Takes over what another handle of the same secret has: the value, the one before it and the count of them.
    pub(super) fn take_over(&self, before: &SecretHandle) {
        self.state.store(before.state.load_full());
    }

    /// When the value before the current one may not stand in any more.
    pub(super) fn previous_until(&self) -> Option<Instant> {
        self.state.load().previous.as_ref().map(|(_, until)| *until)
    }

    /// Lets go of the value before the current one if it may not stand in any more, so that it is wiped.
    pub(super) fn forget_previous(&self, now: Instant) {
        self.state.rcu(|state| State {
            current: state.current.clone(),
            previous: state.previous.clone().filter(|(_, until)| now < *until),
            generation: state.generation,
        });
    }

    fn untried(&self, tried: &[u64], with_previous: bool) -> Option<Version> {
        let state = self.state.load();
        let previous = state.previous.as_ref().filter(|(_, until)| with_previous && Instant::now() < *until);
        let candidates = state.current.iter().chain(previous.map(|(version, _)| version));
        candidates.into_iter().find(|version| !tried.contains(&version.generation)).cloned()
    }
}

impl fmt::Debug for SecretHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHandle({})", self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(600);

    struct Source {
        handle: Arc<SecretHandle>,
        value: &'static str,
    }

    #[async_trait]
    impl Refresh for Source {
        async fn refresh(self: Arc<Self>) {
            self.handle.publish(Arc::new(self.value.into()), OVERLAP);
        }
    }

    fn text(version: Option<Version>) -> Option<String> {
        version.map(|version| version.value.expose_str().unwrap().to_owned())
    }

    #[test]
    fn a_published_value_is_seen_by_holders_and_the_old_one_survives_with_its_user() {
        let handle = SecretHandle::unresolved("os.environ/A");
        assert!(handle.current().is_none());
        assert!(handle.publish(Arc::new("one".into()), OVERLAP));
        let in_flight = handle.current().unwrap();
        assert!(handle.publish(Arc::new("two".into()), OVERLAP));
        assert!(!handle.publish(Arc::new("two".into()), OVERLAP));
        assert_eq!(in_flight.expose_bytes(), b"one");
        assert_eq!(handle.version().unwrap().generation, 2);
        assert_eq!(handle.current().unwrap().expose_bytes(), b"two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_value_is_replaced_by_the_new_one_and_then_by_the_previous_one() {
        let handle = SecretHandle::unresolved("os.environ/A");
        let source: Arc<dyn Refresh> = Arc::new(Source { handle: Arc::clone(&handle), value: "two" });
        handle.comes_from(Arc::downgrade(&source));
        handle.publish(Arc::new("one".into()), OVERLAP);
        assert_eq!(text(handle.after_refusal(&[1]).await).as_deref(), Some("two"));
        assert_eq!(text(handle.after_refusal(&[2]).await).as_deref(), Some("one"));
        assert_eq!(text(handle.after_refusal(&[1, 2]).await), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_previous_value_stands_in_inside_its_overlap_only() {
        let handle = SecretHandle::unresolved("os.environ/A");
        handle.publish(Arc::new("one".into()), OVERLAP);
        handle.publish(Arc::new("two".into()), OVERLAP);
        assert_eq!(text(handle.after_refusal(&[2]).await).as_deref(), Some("one"));
        tokio::time::advance(OVERLAP).await;
        assert_eq!(text(handle.after_refusal(&[2]).await), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_withdrawn_value_is_gone_with_the_one_before_it() {
        let handle = SecretHandle::unresolved("os.environ/A");
        handle.publish(Arc::new("one".into()), OVERLAP);
        handle.publish(Arc::new("two".into()), OVERLAP);
        handle.withdraw();
        assert!(handle.current().is_none());
        assert!(handle.after_refusal(&[2]).await.is_none());
        handle.publish(Arc::new("one".into()), OVERLAP);
        assert_eq!(handle.version().unwrap().generation, 3);
    }
}
