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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use keyway_plugin_api::Secret;

    use super::*;
    use crate::config::{Env, parse};

    fn startup(text: &str) -> Result<StartupSettings, String> {
        let text = format!("model_list: []\nkeyway: {{startup: {text}}}\n");
        let config = parse(&text, Path::new("config.yaml"), Env::from_vars::<String, Secret>([]));
        config.map(|config| config.keyway.startup).map_err(|error| error.to_string())
    }

    #[test]
    fn a_start_fails_at_once_by_default_and_waits_or_goes_on_when_told() {
        let settings =
            |on_missing, seconds| StartupSettings { on_missing, deadline: Duration::from_secs(seconds) };
        assert_eq!(startup("{}"), Ok(settings(OnMissing::Fail, 30)));
        assert_eq!(startup("{on_missing: wait, deadline: 2m}"), Ok(settings(OnMissing::Wait, 120)));
        assert_eq!(startup("{on_missing: degraded}"), Ok(settings(OnMissing::Degraded, 30)));
    }

    #[test]
    fn a_slip_is_named_with_its_place() {
        let refused = startup("{on_missing: never}").unwrap_err();
        assert!(
            refused.contains("config.yaml:2:") && refused.contains("`fail`, `wait`, `degraded`"),
            "{refused}"
        );
        assert!(startup("{on_mising: wait}").unwrap_err().contains("did you mean `on_missing`?"));
        assert!(startup("{deadline: soon}").unwrap_err().contains("keyway.startup.deadline"));
    }
}
