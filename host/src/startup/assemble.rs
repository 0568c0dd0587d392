//! From a configuration's words to what the gateway is made from.

use std::{collections::HashMap, sync::Arc, time::Duration};

use keyway_plugin_api::{Secret, SecretManager};
use serde_json::Value;

use super::StartError;
use crate::{
    config::{self, Config, Model, Reference, Setting},
    gateway::{
        Deployment, DeploymentError, DeploymentSpec, Fallback, GatewayState, ModelAlias, Param,
        RouterSettings, Settings, Text,
    },
    service::SecretHandle,
};

/// What the gateway is made from; `handles` hold what is behind the configuration's references.
///
/// # Errors
/// When there is no master key, or an entry of `model_list` cannot be used.
pub(super) fn settings(
    config: &Config,
    handles: &Handles,
    health: Option<Arc<dyn SecretManager>>,
) -> Result<Settings, StartError> {
    let master_key = config.master_key.as_ref().filter(|setting| !is_empty(setting));
    let master_key = master_key.ok_or_else(|| StartError::no_master_key(config))?;
    let proven = |model| deployment(model, handles).map_err(|fault| StartError::deployment(fault, config));
    let deployments = config.models.iter().map(proven);
    Ok(Settings {
        router: router(&config.router),
        max_body: usize::try_from(config.keyway.max_body).unwrap_or(usize::MAX),
        health,
        ..Settings::new(handles.setting(master_key), deployments.collect::<Result<_, _>>()?)
    })
}

/// Proves that a gateway can be made of a configuration, whatever its secrets turn out to be: nothing is loaded or asked.
///
/// # Errors
/// What is wrong, with its place in the file.
pub fn prove(config: &Config) -> Result<(), StartError> {
    let settings = settings(config, &Handles::default(), None)?;
    GatewayState::new(settings).map_err(|error| StartError::gateway(error, config))?;
    Ok(())
}

/// One handle for each reference, shared by all who refer to it.
#[derive(Default)]
pub(super) struct Handles(HashMap<String, Arc<SecretHandle>>);

impl Handles {
    /// The handle of a reference, which is made when it is asked for first.
    pub(super) fn add(&mut self, reference: &Reference) -> Arc<SecretHandle> {
        let text = reference.text();
        Arc::clone(self.0.entry(text.to_owned()).or_insert_with(|| SecretHandle::unresolved(text)))
    }

    fn reference(&self, text: &str) -> Arc<SecretHandle> {
        // Every reference of a used section has one; one that has none fails closed, without a value.
        self.0.get(text).cloned().unwrap_or_else(|| SecretHandle::unresolved(text))
    }

    fn setting(&self, setting: &Setting) -> Arc<SecretHandle> {
        match (setting.reference(), setting.literal()) {
            (Some(text), _) => self.reference(text),
            (None, Some(value)) => {
                let handle = SecretHandle::unresolved(&setting.place().setting);
                handle.publish(Arc::clone(value), Duration::ZERO);
                handle
            }
            (None, None) => SecretHandle::unresolved(&setting.place().setting),
        }
    }

    fn text(&self, text: &str) -> Text {
        match config::is_reference(text) {
            true => Text::Secret(self.reference(text)),
            false => Text::Literal(text.to_owned()),
        }
    }

    /// A parameter that holds references as they stand, however deep: each is read for each request.
    fn param(&self, value: &Value) -> Param {
        match value {
            Value::String(text) if config::is_reference(text) => Param::Secret(self.reference(text)),
            Value::Array(items) if has_reference(value) => {
                Param::List(items.iter().map(|item| self.param(item)).collect())
            }
            Value::Object(entries) if has_reference(value) => {
                Param::Map(entries.iter().map(|(key, value)| (key.clone(), self.param(value))).collect())
            }
            other => Param::Json(other.clone()),
        }
    }
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => config::is_reference(text),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(entries) => entries.values().any(has_reference),
        _ => false,
    }
}

fn deployment(model: &Model, handles: &Handles) -> Result<Deployment, DeploymentError> {
    let mut spec = DeploymentSpec {
        setting: model.place.setting.clone(),
        model_name: model.model_name.clone(),
        model: model.model.clone(),
        api_key: model.api_key.as_ref().map(|setting| handles.setting(setting)),
        api_base: model.api_base.as_ref().and_then(|setting| {
            match (setting.reference(), setting.literal()) {
                (Some(text), _) => Some(Text::Secret(handles.reference(text))),
                (None, literal) => Some(Text::Literal(literal?.expose_str().ok()?.to_owned())),
            }
        }),
        weight: model.weight,
        rpm: model.rpm,
        timeout: model.timeout,
        stream_timeout: model.stream_timeout,
        num_retries: model.num_retries,
        ..DeploymentSpec::default()
    };
    for (name, param) in &model.params {
        match (name.as_str(), param) {
            ("custom_llm_provider", config::Param::Json(Value::String(text))) => {
                spec.provider = Some(text.clone())
            }
            ("api_version", config::Param::Json(Value::String(text))) => {
                spec.api_version = Some(handles.text(text))
            }
            ("api_version", config::Param::Reference(text)) => spec.api_version = Some(handles.text(text)),
            ("extra_headers", config::Param::Json(Value::Object(headers)))
                if headers.values().all(Value::is_string) =>
            {
                let headers = headers
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), handles.text(value.as_str()?))));
                spec.headers.extend(headers);
            }
            (_, config::Param::Reference(text)) => {
                spec.params.push((name.clone(), Param::Secret(handles.reference(text))));
            }
            (_, config::Param::Json(value)) => spec.params.push((name.clone(), handles.param(value))),
        }
    }
    Deployment::new(spec)
}

fn router(settings: &config::RouterSettings) -> RouterSettings {
    let defaults = RouterSettings::default();
    RouterSettings {
        num_retries: settings.num_retries.unwrap_or(defaults.num_retries),
        timeout: settings.timeout.unwrap_or(defaults.timeout),
        stream_timeout: settings.stream_timeout,
        cooldown: settings.cooldown_time.unwrap_or(defaults.cooldown),
        model_group_alias: settings.model_group_alias.iter().map(alias).collect(),
        fallbacks: settings.fallbacks.iter().map(fallback).collect(),
    }
}

fn alias(alias: &config::ModelAlias) -> (String, ModelAlias) {
    let config::ModelAlias { alias, model, hidden, setting } = alias.clone();
    (alias, ModelAlias { model, setting, hidden })
}

fn fallback(fallback: &config::Fallback) -> Fallback {
    let config::Fallback { model, then, setting } = fallback.clone();
    Fallback { model, then, setting }
}

/// Whether a setting stands in the file and says nothing.
fn is_empty(setting: &Setting) -> bool {
    setting.reference().is_none() && setting.literal().is_none_or(|value| Secret::is_empty(value))
}
