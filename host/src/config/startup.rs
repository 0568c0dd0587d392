//! `keyway.startup`: what a start does while secrets are missing.

use std::time::Duration;

use serde::Deserialize;

use super::units::Span;

/// What a start does while secrets are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartupSettings {
    /// What a missing secret means.
    pub on_missing: OnMissing,
    /// How long a start may wait.
    pub deadline: Duration,
}

/// What a secret means that is missing when the host starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// The host does not start.
    #[default]
    Fail,
    /// The start is tried again until the deadline.
    Wait,
    /// The host starts; deployments that lack a secret answer 503 until it is there.
    Degraded,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Startup {
    on_missing: Option<OnMissing>,
    deadline: Option<Span>,
}

impl Default for StartupSettings {
    fn default() -> Self {
        Self { on_missing: OnMissing::default(), deadline: Duration::from_secs(30) }
    }
}

impl From<&Startup> for StartupSettings {
    fn from(raw: &Startup) -> Self {
        let defaults = Self::default();
        Self {
            on_missing: raw.on_missing.unwrap_or_default(),
            deadline: raw.deadline.map_or(defaults.deadline, |span| span.0),
        }
    }
}
