//! Our own section, `keyway:`: the managers and how far they are trusted.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    error::Fault,
    file::{self, Isolation, OnError, Require},
    local_api::{self, LocalApiSettings},
    location::join_key,
    node::Node,
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
#[derive(Clone)]
pub struct ManagerSettings {
    /// The name that `custom_secret_manager` gives, and that logs and errors show.
    pub name: String,
    /// The plugin: `module.Type`, or a path with an optional `:Type`.
    pub plugin_reference: String,
    /// The settings that the plugin is given: always a JSON object, with references already replaced.
    pub config: Value,
    /// The time that one operation may take.
    pub timeout: Duration,
    /// The hashes that the plugin's file may have; empty when it is not pinned.
    pub sha256: Vec<[u8; 32]>,
    /// How many operations may be under way at once.
    pub max_in_flight: u32,
    /// The setting that names the plugin, for errors.
    pub setting: String,
}

impl ManagerSettings {
    /// A manager of which the file says no more than the plugin.
    pub(super) fn named(reference: &str) -> Self {
        Self {
            name: reference.to_owned(),
            plugin_reference: reference.to_owned(),
            config: Value::Object(serde_json::Map::new()),
            timeout: keyway_plugin_api::request::DEFAULT_TIMEOUT,
            sha256: Vec::new(),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            setting: "general_settings.key_management_settings.custom_secret_manager".to_owned(),
        }
    }
}

impl fmt::Debug for ManagerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerSettings")
            .field("name", &self.name)
            .field("plugin_reference", &self.plugin_reference)
            .field("timeout", &self.timeout)
            .field("pins", &self.sha256.len())
            .finish_non_exhaustive()
    }
}

/// Proves every manager of the section, used or not.
pub(super) fn managers(raw: &mut file::Keyway, root: &Node) -> Result<Vec<ManagerSettings>, Fault> {
    let entries = raw.managers.take().unwrap_or_default();
    entries.into_iter().map(|(name, entry)| manager(name, entry.unwrap_or_default(), root)).collect()
}

/// Proves the rest of the section; relative folders begin at `dir`.
pub(super) fn settings(raw: &file::Keyway, root: &Node, dir: &Path) -> Result<KeywaySettings, Fault> {
    let trust = match raw.trust.as_ref().and_then(|trust| trust.require) {
        None | Some(Require::Ownership) => TrustRequirement::Ownership,
        Some(Require::Pin) => TrustRequirement::Pin,
        Some(Require::Signature) => {
            let why = "this version does not check signatures yet; use `pin` and give the `sha256` of each plugin, or `ownership`";
            return Err(refused(root, &["keyway", "trust", "require"], why));
        }
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
        local_api: raw.local_api.as_ref().map(|raw| local_api::settings(raw, root, dir)).transpose()?,
    })
}

/// A refusal of the setting below a path of keys, with the place of its value.
pub(super) fn refused(root: &Node, path: &[&str], why: impl Into<String>) -> Fault {
    let setting = path.iter().fold(String::new(), |parent, key| join_key(&parent, key));
    Fault::refused(setting, root.location_at(path), why)
}

fn manager(name: String, raw: file::Manager, root: &Node) -> Result<ManagerSettings, Fault> {
    let at = |key, why: String| refused(root, &["keyway", "managers", &name, key], why);
    if raw.isolation == Some(Isolation::Process) {
        let why = "running a plugin in a process of its own is not available in this version; use `in_process`, which is the default";
        return Err(at("isolation", why.to_owned()));
    }
    let timeout = raw.timeout.map_or(keyway_plugin_api::request::DEFAULT_TIMEOUT, |span| span.0);
    if timeout < Duration::from_millis(1) {
        return Err(at("timeout", "no operation ends in less than 1ms; give a time such as `5s`".to_owned()));
    }
    let max_in_flight = raw.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT);
    if max_in_flight == 0 {
        return Err(at("max_in_flight", "a limit of 0 lets no operation begin; give 1 or more".to_owned()));
    }
    let plugin = raw.plugin.as_deref().map(str::trim);
    if plugin == Some("") {
        let why = "is empty; name a plugin as `module.Type` or by its path, or remove the key";
        return Err(at("plugin", why.to_owned()));
    }
    let parent = join_key("keyway.managers", &name);
    let pins = raw.sha256.map(|many| many.0).unwrap_or_default();
    let sha256 = pins.iter().map(|pin| hash(pin)).collect::<Option<_>>().ok_or_else(|| {
        let why = "expected 64 hexadecimal digits for each hash, with or without `sha256:` before them";
        at("sha256", why.to_owned())
    })?;
    Ok(ManagerSettings {
        plugin_reference: plugin.unwrap_or(&name).to_owned(),
        config: Value::Object(raw.config.unwrap_or_default()),
        timeout,
        sha256,
        max_in_flight,
        setting: if plugin.is_some() { join_key(&parent, "plugin") } else { parent },
        name,
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
