//! A secret that is held by reference, so that a changed value is used by the next request.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use keyway_plugin_api::Secret;

/// The current value behind one reference of the configuration, or of a value that stands in it literally.
///
/// Consumers hold the handle and ask for the value each time they need it; whoever resolves the reference
/// publishes values into it.
pub struct SecretHandle {
    reference: String,
    current: ArcSwapOption<Secret>,
}

impl SecretHandle {
    /// A handle without a value yet; `reference` is what the configuration says, `os.environ/NAME` for example.
    pub fn unresolved(reference: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { reference: reference.into(), current: ArcSwapOption::empty() })
    }

    /// A handle whose value stands literally in the configuration; `setting` names the place.
    pub fn literal(setting: impl Into<String>, value: Secret) -> Arc<Self> {
        Arc::new(Self { reference: setting.into(), current: ArcSwapOption::from_pointee(value) })
    }

    /// What people are told when the value is missing: the reference or the setting, never the value.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The value as it is now; `None` while the reference is not resolved.
    pub fn current(&self) -> Option<Arc<Secret>> {
        self.current.load_full()
    }

    /// Makes a value the current one; requests in flight keep the one they took.
    pub fn publish(&self, value: Arc<Secret>) {
        self.current.store(Some(value));
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

    #[test]
    fn a_published_value_is_seen_by_holders_and_the_old_one_survives_with_its_user() {
        let handle = SecretHandle::unresolved("os.environ/A");
        assert!(handle.current().is_none());
        handle.publish(Arc::new("one".into()));
        let in_flight = handle.current().unwrap();
        handle.publish(Arc::new("two".into()));
        assert_eq!(in_flight.expose_bytes(), b"one");
        assert_eq!(handle.current().unwrap().expose_bytes(), b"two");
    }
}
