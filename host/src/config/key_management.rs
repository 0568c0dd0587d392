//! `key_management_system` and its settings.

use keyway_plugin_api::OptionalParams;
use serde_json::{Map, Value};

use super::{
    de::read,
    error::{Fault, Problem, did_you_mean},
    file::{self, AccessMode, KEY_MANAGEMENT_KEYS},
    groups,
    location::join_key,
    managers::{ManagerSettings, refused},
    nearest::nearest,
    node::Node,
    reference::PREFIX,
    warning::Warnings,
};

/// The secret manager and what LiteLLM's settings say about its use.
#[derive(Clone, Debug)]
pub struct KeyManagement {
    /// The manager that is asked.
    pub manager: ManagerSettings,
    /// The other managers that this one is made of or gets its own secrets from, each before those that need it.
    pub needed: Vec<ManagerSettings>,
    /// Which operations it may be asked for.
    pub access_mode: AccessMode,
    /// The only names that it may be asked for, without `os.environ/`; `None` for all names.
    pub hosted_keys: Option<Vec<String>>,
    /// Virtual keys are to be written to it.
    pub store_virtual_keys: bool,
    /// What the names of stored virtual keys begin with; ends with `/`.
    pub prefix_for_stored_virtual_keys: String,
    /// A text for people who look at the store.
    pub description: Option<String>,
    /// Labels: a JSON object or array.
    pub tags: Option<Value>,
    /// The one JSON secret whose fields are the secrets.
    pub primary_secret_name: Option<String>,
    /// Every setting as it is written, for the plugin.
    pub optional_params: OptionalParams,
}

/// LiteLLM's systems other than `custom`, and what they speak to.
const OTHER_SYSTEMS: [(&str, &str); 7] = [
    ("aws_secret_manager", "AWS Secrets Manager"),
    ("aws_kms", "AWS KMS"),
    ("azure_key_vault", "Azure Key Vault"),
    ("cyberark", "CyberArk Conjur"),
    ("google_kms", "Google Cloud KMS"),
    ("google_secret_manager", "Google Secret Manager"),
    ("hashicorp_vault", "HashiCorp Vault"),
];

const SYSTEM: [&str; 2] = ["general_settings", "key_management_system"];
const SETTINGS: [&str; 2] = ["general_settings", "key_management_settings"];
const MANAGER: [&str; 3] = ["general_settings", "key_management_settings", "custom_secret_manager"];

/// Proves the settings, or that there are none.
pub(super) fn key_management(
    general: file::General,
    managers: Vec<ManagerSettings>,
    strict: bool,
    root: &Node,
    warnings: &mut Warnings,
) -> Result<Option<KeyManagement>, Fault> {
    let raw = match (general.key_management_system.as_deref(), general.key_management_settings) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            let why = "the settings have no effect without `general_settings.key_management_system`; add `key_management_system: custom` beside them";
            return Err(refused(root, &SETTINGS, why));
        }
        (Some(system), raw) => {
            supported(system).map_err(|why| refused(root, &SYSTEM, why))?;
            raw.ok_or_else(|| refused(root, &SYSTEM, NO_MANAGER))?
        }
    };
    let node = root.at(&SETTINGS).ok_or_else(|| refused(root, &SYSTEM, NO_MANAGER))?;
    unknown_keys(node, strict, warnings)?;
    let name = raw.custom_secret_manager.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| refused(root, &SYSTEM, NO_MANAGER))?;
    let mut needed = groups::needed(name, &managers);
    let manager = match needed.pop() {
        Some(manager) => manager,
        None => unlisted(name, &managers).map_err(|why| refused(root, &MANAGER, why))?,
    };
    check(&raw, root, warnings)?;
    Ok(Some(KeyManagement {
        manager,
        needed,
        access_mode: raw.access_mode.unwrap_or_default(),
        hosted_keys: raw.hosted_keys.map(|names| names.iter().map(|name| bare(name)).collect()),
        store_virtual_keys: raw.store_virtual_keys.unwrap_or_default(),
        prefix_for_stored_virtual_keys: prefix(raw.prefix_for_stored_virtual_keys),
        description: raw.description,
        tags: raw.tags,
        primary_secret_name: raw.primary_secret_name.map(|name| bare(&name)).filter(|name| !name.is_empty()),
        optional_params: OptionalParams::from_json(&Value::Object(read::<Map<_, _>>(node)?).to_string()),
    }))
}

const NO_MANAGER: &str = "`custom` needs `general_settings.key_management_settings.custom_secret_manager`; set it to `module.Type`, to the path of a plugin, or to a name under `keyway.managers`";

fn supported(system: &str) -> Result<(), String> {
    if system == "custom" {
        return Ok(());
    }
    if let Some((_, store)) = OTHER_SYSTEMS.iter().find(|(name, _)| *name == system) {
        return Err(format!(
            "no plugin for {store} is bundled with this version, so `{system}` cannot be used; set `key_management_system: custom` and name a plugin that speaks to {store} in `key_management_settings.custom_secret_manager`"
        ));
    }
    let known: Vec<&str> = ["custom"].into_iter().chain(OTHER_SYSTEMS.map(|(name, _)| name)).collect();
    if let Some(name) = known.iter().find(|name| name.eq_ignore_ascii_case(system)) {
        return Err(format!("`{system}` is not known, because case matters; write `{name}`"));
    }
    let hint = did_you_mean(system, &known);
    Err(format!("`{system}` is not known{hint}; write `custom` to use a plugin"))
}

/// A manager of which `keyway.managers` says nothing.
fn unlisted(name: &str, managers: &[ManagerSettings]) -> Result<ManagerSettings, String> {
    if name.contains(['.', '/', '\\']) {
        return Ok(ManagerSettings::named(name));
    }
    let names: Vec<&str> = managers.iter().map(|manager| manager.name.as_str()).collect();
    let hint = did_you_mean(name, &names);
    Err(format!(
        "`{name}` is neither a name under `keyway.managers` nor `module.Type` nor the path of a plugin{hint}"
    ))
}

fn check(raw: &file::KeyManagementSettings, root: &Node, warnings: &mut Warnings) -> Result<(), Fault> {
    let key = |key| [SETTINGS[0], SETTINGS[1], key];
    if !matches!(raw.tags, None | Some(Value::Object(_) | Value::Array(_))) {
        let problem =
            Problem::WrongType { expected: "a mapping or a list".into(), found: "a single value".into() };
        return Err(Fault { problem, ..refused(root, &key("tags"), "") });
    }
    if raw.store_virtual_keys != Some(true) {
        return Ok(());
    }
    let path = key("store_virtual_keys");
    if raw.access_mode.unwrap_or_default() == AccessMode::ReadOnly {
        let why = "virtual keys cannot be stored while `access_mode` is `read_only`, which is also its default; set `access_mode: read_and_write` (or `write_only`), or remove `store_virtual_keys`";
        return Err(refused(root, &path, why));
    }
    let message = "this version has no key API yet, so no virtual key is made or stored";
    warnings.push(path.join("."), root.location_at(&path), message);
    Ok(())
}

fn unknown_keys(node: &Node, strict: bool, warnings: &mut Warnings) -> Result<(), Fault> {
    let parent = SETTINGS.join(".");
    for entry in node.entries() {
        let key = entry.key.as_str();
        if KEY_MANAGEMENT_KEYS.contains(&key) {
            continue;
        }
        if strict {
            let problem = Problem::UnknownKey { key: key.to_owned(), known: KEY_MANAGEMENT_KEYS.to_vec() };
            return Err(Fault::new(parent, entry.location, problem));
        }
        let hint = nearest(key, KEY_MANAGEMENT_KEYS).map(|near| format!("; did you mean `{near}`?"));
        let hint = hint.unwrap_or_default();
        let message = format!("unknown key, which only the plugin sees, in its optional_params{hint}");
        warnings.push(join_key(&parent, key), entry.location, message);
    }
    Ok(())
}

fn bare(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

fn prefix(written: Option<String>) -> String {
    let mut prefix = written.unwrap_or_else(|| "litellm/".to_owned());
    if !prefix.ends_with('/') {
        prefix.push('/');
    }
    prefix
}
