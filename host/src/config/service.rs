//! The settings of what stands before a manager: cache, budget, retries, audit log.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{
    error::Fault,
    managers::refused,
    node::Node,
    units::{Number, Span},
};

/// What stands before a manager.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceSettings {
    /// How long values are kept.
    pub cache: CacheSettings,
    /// How many calls a minute a manager may get; `None` for any number.
    pub calls_per_minute: Option<u32>,
    /// How often a call is tried, and when a manager is left alone.
    pub retry: RetrySettings,
    /// Where the audit log is written; `None` for no log.
    pub audit: Option<AuditSettings>,
}

/// How long values are kept: `keyway.cache`.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSettings {
    /// How long a value is used without asking again; a shorter hint of the plugin wins.
    pub ttl: Duration,
    /// The part of the time to live after which a value is fetched anew in the background; 0 to 1, where 1 is at its end.
    pub refresh_ahead: f64,
    /// How long after its last successful read a value may be used while the manager cannot answer.
    pub stale_ttl: Duration,
    /// How long the absence of a secret is believed.
    pub negative_ttl: Duration,
    /// How many secrets are kept.
    pub max_entries: u64,
    /// How long the value before the last change stays available.
    pub previous_overlap: Duration,
}

/// How often a call is tried, and when a manager is left alone: `keyway.retry`.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySettings {
    /// How many further tries a failed call gets, inside its deadline.
    pub max_retries: u32,
    /// After so many failures in a row that are the manager's own, it is left alone.
    pub breaker_failures: u32,
    /// For how long it is left alone before one call probes it.
    pub breaker_cooldown: Duration,
}

/// The audit log: `keyway.audit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The file, which is appended to.
    pub path: PathBuf,
    /// Nothing is handed out that cannot be logged.
    pub required: bool,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            refresh_ahead: 0.8,
            stale_ttl: Duration::from_secs(3600),
            negative_ttl: Duration::from_secs(10),
            max_entries: 10_000,
            previous_overlap: Duration::from_secs(600),
        }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { max_retries: 3, breaker_failures: 5, breaker_cooldown: Duration::from_secs(5) }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Cache {
    ttl: Option<Span>,
    refresh_ahead: Option<Number>,
    stale_ttl: Option<Span>,
    negative_ttl: Option<Span>,
    max_entries: Option<Number>,
    previous_overlap: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Budget {
    calls_per_minute: Option<Number>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Retry {
    max_retries: Option<Number>,
    breaker_failures: Option<Number>,
    breaker_cooldown: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Audit {
    path: Option<PathBuf>,
    required: Option<bool>,
}

/// Proves the four sections; a relative path of the audit log begins at `dir`.
pub(super) fn settings(
    cache: Option<&Cache>,
    budget: Option<&Budget>,
    retry: Option<&Retry>,
    audit: Option<&Audit>,
    root: &Node,
    dir: &Path,
) -> Result<ServiceSettings, Fault> {
    let calls = budget.and_then(|budget| budget.calls_per_minute);
    let calls_per_minute =
        calls.map(|calls| count(calls, 1, root, ["budget", "calls_per_minute"])).transpose()?;
    Ok(ServiceSettings {
        cache: cache.map_or_else(|| Ok(CacheSettings::default()), |raw| prove_cache(raw, root))?,
        calls_per_minute,
        retry: retry.map_or_else(|| Ok(RetrySettings::default()), |raw| prove_retry(raw, root))?,
        audit: audit.map(|raw| prove_audit(raw, root, dir)).transpose()?,
    })
}

fn prove_cache(raw: &Cache, root: &Node) -> Result<CacheSettings, Fault> {
    let defaults = CacheSettings::default();
    let span = |span: Option<Span>, default| span.map_or(default, |span| span.0);
    let refresh_ahead = raw.refresh_ahead.map_or(defaults.refresh_ahead, |part| part.0);
    if refresh_ahead > 1.0 {
        let why = "expected a part of `ttl` from 0 to 1, such as `0.8`; 1 refreshes a value only when its time is about to end";
        return Err(refused(root, &["keyway", "cache", "refresh_ahead"], why));
    }
    let max_entries = raw.max_entries.map(|number| count(number, 1, root, ["cache", "max_entries"]));
    Ok(CacheSettings {
        ttl: span(raw.ttl, defaults.ttl),
        refresh_ahead,
        stale_ttl: span(raw.stale_ttl, defaults.stale_ttl),
        negative_ttl: span(raw.negative_ttl, defaults.negative_ttl),
        max_entries: max_entries.transpose()?.map_or(defaults.max_entries, u64::from),
        previous_overlap: span(raw.previous_overlap, defaults.previous_overlap),
    })
}

fn prove_retry(raw: &Retry, root: &Node) -> Result<RetrySettings, Fault> {
    let defaults = RetrySettings::default();
    let max_retries = raw.max_retries.map(|number| count(number, 0, root, ["retry", "max_retries"]));
    let failures = raw.breaker_failures.map(|number| count(number, 1, root, ["retry", "breaker_failures"]));
    Ok(RetrySettings {
        max_retries: max_retries.transpose()?.unwrap_or(defaults.max_retries),
        breaker_failures: failures.transpose()?.unwrap_or(defaults.breaker_failures),
        breaker_cooldown: raw.breaker_cooldown.map_or(defaults.breaker_cooldown, |span| span.0),
    })
}

fn prove_audit(raw: &Audit, root: &Node, dir: &Path) -> Result<AuditSettings, Fault> {
    let Some(path) = raw.path.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
        let why = "the audit log needs a file; give `path`, or remove the section";
        return Err(refused(root, &["keyway", "audit"], why));
    };
    Ok(AuditSettings { path: dir.join(path), required: raw.required.unwrap_or_default() })
}

fn count(number: Number, least: u32, root: &Node, [section, key]: [&str; 2]) -> Result<u32, Fault> {
    let whole = number.whole().and_then(|whole| u32::try_from(whole).ok());
    whole.filter(|whole| *whole >= least).ok_or_else(|| {
        let why = format!("expected a whole number from {least} to {}", u32::MAX);
        refused(root, &["keyway", section, key], why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, parse};

    fn read(keyway: &str) -> Result<ServiceSettings, String> {
        let text = format!("keyway:\n{keyway}\n");
        let none: [(&str, &str); 0] = [];
        let config = parse(&text, Path::new("/etc/keyway/config.yaml"), Env::from_vars(none));
        config.map(|config| config.keyway.service).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_has_the_documented_default() {
        let settings = read("  strict_config: false").unwrap();
        assert_eq!(settings, ServiceSettings::default());
        assert_eq!(settings.cache.ttl, Duration::from_secs(300));
        assert_eq!(settings.cache.stale_ttl, Duration::from_secs(3600));
        assert_eq!((settings.calls_per_minute, settings.audit), (None, None));
    }

    #[test]
    fn every_setting_is_read() {
        let settings = read(
            "  cache: {ttl: 1m, refresh_ahead: 0.5, stale_ttl: 2h, negative_ttl: 500ms, max_entries: 7, previous_overlap: 0}\n  budget: {calls_per_minute: 600}\n  retry: {max_retries: 0, breaker_failures: 2, breaker_cooldown: 1s}\n  audit: {path: audit.log, required: true}",
        )
        .unwrap();
        let cache = CacheSettings {
            ttl: Duration::from_secs(60),
            refresh_ahead: 0.5,
            stale_ttl: Duration::from_secs(7200),
            negative_ttl: Duration::from_millis(500),
            max_entries: 7,
            previous_overlap: Duration::ZERO,
        };
        let retry =
            RetrySettings { max_retries: 0, breaker_failures: 2, breaker_cooldown: Duration::from_secs(1) };
        let audit = AuditSettings { path: "/etc/keyway/audit.log".into(), required: true };
        assert_eq!(
            settings,
            ServiceSettings { cache, calls_per_minute: Some(600), retry, audit: Some(audit) }
        );
    }

    #[test]
    fn a_value_out_of_range_and_an_unknown_key_name_their_setting() {
        for (text, setting) in [
            ("  cache: {refresh_ahead: 1.5}", "keyway.cache.refresh_ahead: "),
            ("  cache: {max_entries: 0}", "keyway.cache.max_entries: "),
            ("  cache: {time: 5s}", "keyway.cache: unknown key `time`"),
            ("  budget: {calls_per_minute: 0.5}", "keyway.budget.calls_per_minute: "),
            ("  retry: {breaker_failures: 0}", "keyway.retry.breaker_failures: "),
            ("  audit: {required: true}", "keyway.audit: the audit log needs a file"),
            ("  audit: {}", "config.yaml:2:3: keyway.audit: the audit log needs a file"),
            (
                "  audit:",
                "keyway.audit: expected a mapping, found nothing; give it a value or remove the key",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(setting), "{error}");
        }
    }
}
