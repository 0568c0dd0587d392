//! What a plugin is given: its config, with the references in it answered by another manager.

use std::collections::HashMap;

use keyway_plugin_api::{Error, ErrorKind, ReadRequest};
use serde_json::Value;

use super::RegistryError;
use crate::{
    config::{Config, ManagerSettings, PREFIX, PluginSettings},
    service::{Caller, Member, with_caller},
};

/// The plugin's config, with references answered by the manager of `secrets_from`, which is one of `members`.
///
/// # Errors
/// When that manager fails, or nobody has a reference.
pub(super) async fn config(
    config: &Config,
    settings: &ManagerSettings,
    plugin: &PluginSettings,
    members: &HashMap<String, Member>,
) -> Result<Value, RegistryError> {
    let mut given = plugin.config.clone();
    let Some(from) = plugin.secrets_from.as_ref().and_then(|name| members.get(name)) else {
        return Ok(given);
    };
    let mut values = HashMap::new();
    references(&given, &mut values);
    for (reference, value) in &mut values {
        *value = answer(config, settings, from, reference).await?;
    }
    replace(&mut given, &values);
    Ok(given)
}

/// Collects the references in a config.
fn references(value: &Value, found: &mut HashMap<String, String>) {
    match value {
        Value::String(text) if text.starts_with(PREFIX) => {
            found.insert(text.clone(), String::new());
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(entries) => entries.values().for_each(|entry| references(entry, found)),
        _ => {}
    }
}

/// Puts the answers where the references are.
fn replace(value: &mut Value, values: &HashMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(answer) = values.get(text.as_str()) {
                text.clone_from(answer);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, values)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| replace(entry, values)),
        _ => {}
    }
}

/// What a reference in a config stands for: what the other manager has, then what the environment has.
async fn answer(
    config: &Config,
    settings: &ManagerSettings,
    from: &Member,
    reference: &str,
) -> Result<String, RegistryError> {
    let failed = |source: Error| RegistryError::Settings {
        manager: settings.name.clone(),
        reference: reference.to_owned(),
        from: from.name.clone(),
        source: Box::new(source),
    };
    let name = reference.strip_prefix(PREFIX).unwrap_or(reference);
    let request = ReadRequest { timeout: from.timeout, ..ReadRequest::new(name).map_err(failed)? };
    let read = with_caller(Caller::Startup, from.manager.async_read_secret(&request));
    let value = match read.await {
        Ok(value) if !value.is_empty() => value,
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => config.env.get(name).map_err(|absent| RegistryError::NoSettings {
            manager: settings.name.clone(),
            reference: reference.to_owned(),
            from: from.name.clone(),
            absent,
        })?,
    };
    value.expose_str().map(str::to_owned).map_err(failed)
}
