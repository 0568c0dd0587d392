//! The configuration file: LiteLLM's sections and our own, proven before anything uses them.
//!
//! [`load`] reads a file and tells what is wrong with it by file, line, column and setting. What it returns
//! needs no further checks. References to secrets are listed, not resolved: that is the resolver's work.

pub mod env;
pub mod error;
pub mod location;

mod de;
mod file;
mod groups;
mod key_management;
mod local_api;
mod managers;
mod models;
mod nearest;
mod node;
mod places;
mod reference;
mod router;
mod service;
mod setting;
mod startup;
mod substitute;
mod units;
mod warning;

#[cfg(test)]
mod published;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{
    de::{kind, read},
    error::{Fault, Problem},
    location::join_key,
    nearest::nearest,
    node::{Node, Unparsed, Yaml},
    warning::Warnings,
};
pub use self::{
    env::{Absent, Env},
    error::ConfigError,
    file::{AccessMode, OnError, OnMemberError},
    key_management::KeyManagement,
    local_api::{Grant, LocalApiSettings, Names},
    location::{Location, Place},
    managers::{
        DEFAULT_MAX_BODY, DEFAULT_MAX_IN_FLIGHT, KeywaySettings, ManagerSettings, ManagerSource,
        PluginSettings, TrustRequirement,
    },
    models::{Model, Param},
    places::Places,
    reference::{OIDC_PREFIX, PREFIX, Reference, is_reference},
    router::{Fallback, ModelAlias, RouterSettings},
    service::{AuditSettings, CacheSettings, RetrySettings, ServiceSettings},
    setting::Setting,
    startup::{OnMissing, StartupSettings},
    warning::Warning,
};

/// A configuration that holds together.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The folder of the file, as an absolute path: plugins and relative paths begin here.
    pub dir: PathBuf,
    /// The environment that references fall back to: the process's, then `environment_variables`.
    pub env: Env,
    /// The key that opens the gateway.
    pub master_key: Option<Setting>,
    /// The secret manager, when one is configured.
    pub key_management: Option<KeyManagement>,
    /// The deployments.
    pub models: Vec<Model>,
    /// How requests are spread and retried.
    pub router: RouterSettings,
    /// Our own settings.
    pub keyway: KeywaySettings,
    /// Each reference of the file once.
    pub references: Vec<Reference>,
    /// What its author will want to know.
    pub warnings: Vec<Warning>,
    /// Where each setting stands.
    pub places: Places,
}

/// The sections that are read; others are LiteLLM's own affair.
const SECTIONS: [&str; 6] = [
    "environment_variables",
    "general_settings",
    "keyway",
    "litellm_settings",
    "model_list",
    "router_settings",
];

/// Keys of `general_settings` that are read.
const GENERAL_KEYS: [&str; 3] = ["key_management_settings", "key_management_system", "master_key"];

/// Keys of `router_settings` that are read.
const ROUTER_KEYS: [&str; 8] = [
    "cooldown_time",
    "default_fallbacks",
    "fallbacks",
    "model_group_alias",
    "num_retries",
    "request_timeout",
    "stream_timeout",
    "timeout",
];

/// Reads and proves a file, with the environment of this process.
///
/// # Errors
/// When the file cannot be read, is not YAML or holds a wrong setting.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let bytes = fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        ConfigError::NotUtf8 {
            path: path.into(),
            line: 1 + good.iter().filter(|byte| **byte == b'\n').count(),
        }
    })?;
    parse(&text, path, Env::from_process())
}

/// Proves the text of a file that is named `path`.
///
/// # Errors
/// When the text is not YAML or holds a wrong setting.
pub fn parse(text: &str, path: &Path, env: Env) -> Result<Config, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---") {
        return Err(ConfigError::Empty { path: path.into() });
    }
    let in_file = |fault| ConfigError::Setting { path: path.into(), fault: Box::new(fault) };
    let root = Node::parse(text).map_err(|unparsed| match unparsed {
        Unparsed::Syntax { location, message } => {
            ConfigError::Syntax { path: path.into(), location, message }
        }
        Unparsed::Fault(fault) => in_file(fault),
    })?;
    prove(root, path, env).map_err(in_file)
}

fn prove(mut root: Node, path: &Path, env: Env) -> Result<Config, Fault> {
    let file: Arc<Path> = path.into();
    let places = Places::new(&root, &file);
    let mut warnings = Warnings::about(&file);
    sections(&root, &mut warnings)?;
    let env = substitute::environment_variables(&root, env)?;
    substitute::from_environment(&mut root, &env)?;

    let dir = std::path::absolute(path).ok().and_then(|path| Some(path.parent()?.to_owned()));
    let dir = dir.unwrap_or_else(|| PathBuf::from("."));
    let mut own: file::Keyway = section(&root, "keyway")?;
    let managers = managers::managers(&mut own, &root)?;
    let keyway = managers::settings(&own, &root, &dir)?;
    let mut general: file::General = section(&root, "general_settings")?;
    let master_key =
        general.master_key.take().map(|text| master_key(&text, &root, &file)).transpose()?.flatten();
    if keyway.local_api.is_some() {
        local_api::fits(general.key_management_settings.as_ref(), &root)?;
    }
    let idle = !managers.is_empty() && general.key_management_system.is_none();
    let key_management =
        key_management::key_management(general, managers, keyway.strict_config, &root, &mut warnings)?;
    if idle {
        let message = "no manager is used; set `general_settings.key_management_system: custom` and name one in `key_management_settings.custom_secret_manager`";
        warnings.push("keyway.managers", root.location_at(&["keyway", "managers"]), message);
    }
    Ok(Config {
        path: path.into(),
        dir,
        env,
        master_key,
        key_management,
        models: models::models(&root, &file)?,
        router: router::router(&root)?,
        keyway,
        references: reference::collect(&root, &file, &mut warnings)?,
        warnings: warnings.into_all(),
        places,
    })
}

fn section<'a, T: Default + serde::Deserialize<'a>>(root: &'a Node, key: &str) -> Result<T, Fault> {
    let Some(node) = root.get(key) else { return Ok(T::default()) };
    read(node).map_err(|fault| fault.inside_key(key, node.location))
}

/// Looks at the names of the sections, and at those in `general_settings` and `router_settings`, for slips.
fn sections(root: &Node, warnings: &mut Warnings) -> Result<(), Fault> {
    if !matches!(root.value, Yaml::Map(_)) {
        let problem =
            Problem::WrongType { expected: "a mapping of sections".into(), found: kind(root).into() };
        return Err(Fault::new("", root.location, problem));
    }
    let mut look = |parent: &str, entries: &[node::Entry], known: &[&str]| {
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let setting = join_key(parent, &entry.key);
            match nearest(&entry.key, known.iter().copied()) {
                Some(near) => {
                    let message = format!("unknown key, which is ignored; did you mean `{near}`?");
                    warnings.push(setting, entry.location, message);
                }
                None => tracing::debug!(setting, "a setting of LiteLLM's is not used here"),
            }
        }
    };
    look("", root.entries(), &SECTIONS);
    let general = root.get("general_settings").map(Node::entries).unwrap_or_default();
    look("general_settings", general, &GENERAL_KEYS);
    let router = root.get("router_settings").map(Node::entries).unwrap_or_default();
    look("router_settings", router, &ROUTER_KEYS);
    match root.entry("include") {
        Some(include) => {
            let why = "`include` is not supported; put the content of those files into this one";
            Err(Fault::refused("include", include.location, why))
        }
        None => Ok(()),
    }
}

fn master_key(text: &str, root: &Node, file: &Arc<Path>) -> Result<Option<Setting>, Fault> {
    let path = ["general_settings", "master_key"];
    let place = Place { file: file.clone(), setting: path.join("."), location: root.location_at(&path) };
    Setting::key(text, place).map_err(|why| managers::refused(root, &path, why))
}
