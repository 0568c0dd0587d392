//! What makes the instances of one configured plugin: the library that was opened once, and settings that are read anew.

use std::{collections::HashMap, sync::Arc};

use keyway_plugin_api::{Capabilities, Error, ErrorKind, ReadRequest, async_trait};
use serde_json::Value;
use zeroize::Zeroizing;

use super::RegistryError;
use crate::{
    config::{Env, PREFIX, PluginSettings},
    loader::{LoadedPlugin, OpenPlugin},
    redact,
    service::{Caller, Factory, Member, with_caller},
};

/// Makes the instances of one configured plugin.
pub(super) struct Instances {
    plugin: OpenPlugin,
    settings: Settings,
}

/// What the plugin is given.
struct Settings {
    /// The manager's name in the configuration.
    manager: String,
    /// The plugin's config, which may hold secrets, as JSON.
    config: Zeroizing<String>,
    /// Who answers the references in it, and what does when that one has no answer.
    from: Option<(Member, Env)>,
}

impl Instances {
    /// `from` is the manager of `secrets_from`.
    pub(super) fn new(
        plugin: OpenPlugin,
        manager: &str,
        settings: &PluginSettings,
        from: Option<(Member, Env)>,
    ) -> Self {
        let (manager, config) = (manager.to_owned(), Zeroizing::new(settings.config.to_string()));
        Self { plugin, settings: Settings { manager, config, from } }
    }
}

#[async_trait]
impl Factory for Instances {
    type Instance = LoadedPlugin;
    type Error = RegistryError;

    async fn make(&self) -> Result<Arc<LoadedPlugin>, RegistryError> {
        let given = self.settings.given().await?;
        Ok(self.plugin.instance(given).await?)
    }

    fn capabilities(&self) -> Capabilities {
        self.plugin.capabilities()
    }
}

impl Settings {
    /// The plugin's config, with references answered by the manager of `secrets_from`.
    async fn given(&self) -> Result<Value, RegistryError> {
        // It was written by `to_string` and is what that wrote.
        let mut given = serde_json::from_str(&self.config).unwrap_or_default();
        let Some((from, env)) = &self.from else { return Ok(given) };
        let mut values = HashMap::new();
        references(&given, &mut values);
        for (reference, value) in &mut values {
            *value = self.answer(from, env, reference).await?;
        }
        replace(&mut given, &values);
        Ok(given)
    }

    /// What a reference stands for: what the other manager has, then what the environment has.
    async fn answer(
        &self,
        from: &Member,
        env: &Env,
        reference: &str,
    ) -> Result<Zeroizing<String>, RegistryError> {
        let failed = |source: Error| RegistryError::Settings {
            manager: self.manager.clone(),
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
            _ => env.get(name).map_err(|absent| RegistryError::NoSettings {
                manager: self.manager.clone(),
                reference: reference.to_owned(),
                from: from.name.clone(),
                absent,
            })?,
        };
        redact::learn_for_good(&value);
        value.expose_str().map(|value| Zeroizing::new(value.to_owned())).map_err(failed)
    }
}

/// Collects the references in a config.
fn references(value: &Value, found: &mut HashMap<String, Zeroizing<String>>) {
    match value {
        Value::String(text) if text.starts_with(PREFIX) => {
            found.insert(text.clone(), Zeroizing::default());
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(entries) => entries.values().for_each(|entry| references(entry, found)),
        _ => {}
    }
}

/// Puts the answers where the references are.
fn replace(value: &mut Value, values: &HashMap<String, Zeroizing<String>>) {
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
