//! Our own section, `keyway:`: the managers and how far they are trusted.

use std::{
    fmt,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    error::{Fault, Problem},
    file::{self, OnError, OnMemberError},
    groups,
    local_api::{self, LocalApiSettings},
    location::join_key,
    node::Node,
    service::{self, ServiceSettings},
    startup::StartupSettings,
};

/// The largest body of a gateway request when `keyway.max_body` says nothing (50 MiB).
pub const DEFAULT_MAX_BODY: u64 = 50 << 20;

/// The number of operations that may be under way in one manager when nothing is said.
pub const DEFAULT_MAX_IN_FLIGHT: u32 = 64;

/// What `keyway:` says beside its managers.
#[derive(Clone, Debug)]
pub struct KeywaySettings {
    /// Where plugins are looked for after the configuration's own folder, in order.
    pub plugin_dirs: Vec<PathBuf>,
    /// What an error of the manager means for a reference.
    pub on_error: OnError,
    /// An unknown key in `key_management_settings` is an error.
    pub strict_config: bool,
    /// What a plugin's file must show before it is loaded.
    pub trust: TrustRequirement,
    /// The largest body that the gateway takes, in bytes.
    pub max_body: u64,
    /// What a start does while secrets are missing.
    pub startup: StartupSettings,
    /// What stands before a manager: cache, budget, retries, audit log.
    pub service: ServiceSettings,
    /// The Unix socket on which other programs may read secrets.
    pub local_api: Option<LocalApiSettings>,
}

/// What a plugin's file must show before it is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustRequirement {
    /// Owner and mode of the file and of its folders are right.
    #[default]
    Ownership,
    /// Its hash is one of those that the configuration gives.
    Pin,
}

/// A manager and how it is run.
#[derive(Clone, Debug)]
pub struct ManagerSettings {
    /// The name that `custom_secret_manager` gives, and that logs and errors show.
    pub name: String,
    /// What it is made of.
    pub source: ManagerSource,
    /// The time that one operation may take; for a group, the times of its members together when nothing is said.
    pub timeout: Duration,
    /// How many operations may be under way at once; for a group, as many as its smallest member takes.
    pub max_in_flight: u32,
    /// How many calls it may be asked in a minute, when it has a budget of its own.
    pub calls_per_minute: Option<NonZeroU32>,
    /// The setting that says what it is made of, for errors.
    pub setting: String,
}

/// What a manager is made of.
#[derive(Clone, Debug)]
pub enum ManagerSource {
    /// A plugin.
    Plugin(PluginSettings),
    /// Other managers, asked one after another.
    Chain {
        /// Their names, the first one first.
        members: Vec<String>,
        /// What an error of one of them means.
        on_error: OnMemberError,
    },
    /// Other managers, which hold the same secrets.
    Replicas {
        /// Their names, the preferred one first.
        members: Vec<String>,
    },
}

/// A plugin and what it is given.
#[derive(Clone)]
pub struct PluginSettings {
    /// The plugin: `module.Type`, or a path with an optional `:Type`.
    pub reference: String,
    /// The settings that the plugin is given: always a JSON object. References are already replaced, unless
    /// `secrets_from` is there to answer them.
    pub config: Value,
    /// The manager that the references in `config` are asked of, before the environment.
    pub secrets_from: Option<String>,
    /// The hashes that the plugin's file may have; empty when it is not pinned.
    pub sha256: Vec<[u8; 32]>,
}

impl ManagerSettings {
    /// A manager of which the file says no more than the plugin.
    pub(super) fn named(reference: &str) -> Self {
        Self {
            name: reference.to_owned(),
            source: ManagerSource::Plugin(PluginSettings {
                reference: reference.to_owned(),
                config: Value::Object(serde_json::Map::new()),
                secrets_from: None,
                sha256: Vec::new(),
            }),
            timeout: keyway_plugin_api::request::DEFAULT_TIMEOUT,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            calls_per_minute: None,
            setting: "general_settings.key_management_settings.custom_secret_manager".to_owned(),
        }
    }

    /// The plugin, unless it is a group of other managers.
    pub fn plugin(&self) -> Option<&PluginSettings> {
        match &self.source {
            ManagerSource::Plugin(plugin) => Some(plugin),
            ManagerSource::Chain { .. } | ManagerSource::Replicas { .. } => None,
        }
    }

    /// The members of a group; none for a plugin.
    pub fn members(&self) -> &[String] {
        match &self.source {
            ManagerSource::Plugin(_) => &[],
            ManagerSource::Chain { members, .. } | ManagerSource::Replicas { members } => members,
        }
    }
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSettings")
            .field("reference", &self.reference)
            .field("secrets_from", &self.secrets_from)
            .field("pins", &self.sha256.len())
            .finish_non_exhaustive()
    }
}

/// Proves every manager of the section, used or not.
pub(super) fn managers(raw: &mut file::Keyway, root: &Node) -> Result<Vec<ManagerSettings>, Fault> {
    let entries = raw.managers.take().unwrap_or_default();
    let proven = entries.into_iter().map(|(name, entry)| manager(name, entry.unwrap_or_default(), root));
    let mut proven: Vec<ManagerSettings> = proven.collect::<Result<_, _>>()?;
    groups::check(&proven, root)?;
    groups::settle(&mut proven, root);
    Ok(proven)
}

/// Proves the rest of the section; relative folders begin at `dir`.
pub(super) fn settings(raw: &file::Keyway, root: &Node, dir: &Path) -> Result<KeywaySettings, Fault> {
    let path = ["keyway", "trust", "require"];
    let trust = match raw.trust.as_ref().and_then(|trust| trust.require.as_deref()) {
        None | Some("ownership") => TrustRequirement::Ownership,
        Some("pin") => TrustRequirement::Pin,
        Some("signature") => {
            let why = "this version does not check signatures yet; use `pin` and give the `sha256` of each plugin, or `ownership`";
            return Err(refused(root, &path, why));
        }
        Some(other) => return Err(unknown(root, &path, other, &["ownership", "pin"])),
    };
    let max_body = raw.max_body.map_or(DEFAULT_MAX_BODY, |size| size.0);
    if max_body == 0 {
        let why = "a limit of 0 bytes would refuse every request; give a size such as `50MiB`";
        return Err(refused(root, &["keyway", "max_body"], why));
    }
    Ok(KeywaySettings {
        plugin_dirs: raw.plugin_dirs.iter().flatten().map(|folder| dir.join(folder)).collect(),
        on_error: raw.on_error.unwrap_or_default(),
        strict_config: raw.strict_config.unwrap_or_default(),
        trust,
        max_body,
        startup: raw.startup.as_ref().map(StartupSettings::from).unwrap_or_default(),
        service: service::settings(
            raw.cache.as_ref(),
            raw.budget.as_ref(),
            raw.retry.as_ref(),
            raw.audit.as_ref(),
            root,
            dir,
        )?,
        local_api: raw.local_api.as_ref().map(|raw| local_api::settings(raw, root, dir)).transpose()?,
    })
}

/// A refusal of the setting below a path of keys, with the place of its value.
pub(super) fn refused(root: &Node, path: &[&str], why: impl Into<String>) -> Fault {
    let setting = path.iter().fold(String::new(), |parent, key| join_key(&parent, key));
    Fault::refused(setting, root.location_at(path), why)
}

/// A refusal of a value that is none of those that work in this version, which are the only ones it advises.
fn unknown(root: &Node, path: &[&str], value: &str, known: &[&'static str]) -> Fault {
    let problem = Problem::UnknownValue { value: value.to_owned(), known: known.to_vec() };
    Fault { problem, ..refused(root, path, "") }
}

fn manager(name: String, mut raw: file::Manager, root: &Node) -> Result<ManagerSettings, Fault> {
    let at = |key, why: &str| refused(root, &["keyway", "managers", &name, key], why);
    let timeout = raw.timeout.map_or(keyway_plugin_api::request::DEFAULT_TIMEOUT, |span| span.0);
    if timeout < Duration::from_millis(1) {
        return Err(at("timeout", "no operation ends in less than 1ms; give a time such as `5s`"));
    }
    let calls = raw.budget.as_ref().map(|budget| {
        let whole = budget.calls_per_minute.whole().and_then(|calls| NonZeroU32::new(calls.try_into().ok()?));
        whole.ok_or_else(|| at("budget", "`calls_per_minute` must be a whole number from 1 to 4294967295"))
    });
    let calls_per_minute = calls.transpose()?;
    let max_in_flight = raw.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT);
    if max_in_flight == 0 {
        return Err(at("max_in_flight", "a limit of 0 lets no operation begin; give 1 or more"));
    }
    let parent = join_key("keyway.managers", &name);
    let (source, key) = match groups::source(&mut raw, &name, root)? {
        Some((source, key)) => (source, Some(key)),
        None => {
            let key = raw.plugin.is_some().then_some("plugin");
            (ManagerSource::Plugin(plugin(&name, raw, root)?), key)
        }
    };
    let setting = key.map_or_else(|| parent.clone(), |key| join_key(&parent, key));
    Ok(ManagerSettings { source, timeout, max_in_flight, calls_per_minute, setting, name })
}

fn plugin(name: &str, raw: file::Manager, root: &Node) -> Result<PluginSettings, Fault> {
    let at = |key, why: &str| refused(root, &["keyway", "managers", name, key], why);
    match raw.isolation.as_deref() {
        None | Some("in_process") => {}
        Some("process") => {
            let why = "running a plugin in a process of its own is not available in this version; use `in_process`, which is the default";
            return Err(at("isolation", why));
        }
        Some(other) => {
            return Err(unknown(root, &["keyway", "managers", name, "isolation"], other, &["in_process"]));
        }
    }
    let reference = raw.plugin.as_deref().map(str::trim);
    if reference == Some("") {
        let why = "is empty; name a plugin as `module.Type` or by its path, or remove the key";
        return Err(at("plugin", why));
    }
    let pins = raw.sha256.map(|many| many.0).unwrap_or_default();
    let entry = root.at(&["keyway", "managers", name]);
    if pins.is_empty() && entry.is_some_and(|entry| entry.entry("sha256").is_some()) {
        let why = "is empty, which would leave the plugin unpinned; give the hash that `keyway plugin inspect` shows, or remove the key";
        return Err(at("sha256", why));
    }
    let sha256 = pins.iter().map(|pin| hash(pin)).collect::<Option<_>>().ok_or_else(|| {
        at("sha256", "expected 64 hexadecimal digits for each hash, with or without `sha256:` before them")
    })?;
    Ok(PluginSettings {
        reference: reference.unwrap_or(name).to_owned(),
        config: Value::Object(raw.config.unwrap_or_default()),
        secrets_from: raw.secrets_from,
        sha256,
    })
}

fn hash(pin: &str) -> Option<[u8; 32]> {
    let digits = pin.trim().strip_prefix("sha256:").unwrap_or(pin.trim());
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_hexadecimal_digits_with_or_without_a_prefix() {
        let digits = "0f".repeat(32);
        assert_eq!(hash(&digits), Some([0x0f; 32]));
        assert_eq!(hash(&format!("sha256:{}", digits.to_uppercase())), Some([0x0f; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"+f".repeat(32), &"é".repeat(32)] {
            assert_eq!(hash(wrong), None, "{wrong}");
        }
    }
}
