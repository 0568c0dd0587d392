//! From a configuration to a gateway that is ready to serve: load, resolve, assemble; all of it, or nothing.

use std::{collections::HashMap, sync::Arc};

use keyway_plugin_api::Secret;
use serde_json::Value;

use crate::{
    config::{self, Config, Model, Reference, Setting},
    gateway::{
        Deployment, DeploymentError, DeploymentSpec, GatewayState, GatewayStateError, ModelAlias, Param,
        RouterSettings, Settings, Text,
    },
    loader::LoadReport,
    registry::{self, Managers, RegistryError},
    service::{Policy, Resolver, SecretHandle, Source, Unresolved, resolver},
};

/// A host whose configuration is proven, whose plugin is loaded and whose references are resolved.
pub struct Host {
    /// What was loaded; nothing without a secret manager.
    pub reports: Vec<LoadReport>,
    /// Each resolved reference and where its value came from.
    pub resolved: Vec<(Reference, Source)>,
    /// The gateway, to be given to [`gateway::serve`](crate::gateway::serve).
    pub gateway: Arc<GatewayState>,
    managers: Option<Managers>,
}

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no master key, so that everybody or nobody could use the gateway.
    #[error(
        "{path} has no general_settings.master_key, and a gateway without one would be open to everybody; \
         add `master_key: os.environ/LITELLM_MASTER_KEY` and set that variable to a key of your own that begins with `sk-`"
    )]
    NoMasterKey {
        /// The configuration's file.
        path: String,
    },
    /// The managers cannot be loaded.
    #[error(transparent)]
    Managers(#[from] RegistryError),
    /// References without a value.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// An entry of `model_list` that cannot be used.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// The parts do not fit together.
    #[error(transparent)]
    Gateway(#[from] GatewayStateError),
}

impl StartError {
    pub(crate) fn no_master_key(config: &Config) -> Self {
        StartError::NoMasterKey { path: config.path.display().to_string() }
    }

    /// Whether the configuration is at fault, and not the world that it describes.
    pub fn is_configuration(&self) -> bool {
        match self {
            StartError::NoMasterKey { .. } | StartError::Deployment(_) => true,
            StartError::Managers(error) => error.is_configuration(),
            StartError::Gateway(error) => matches!(error, GatewayStateError::Route(_)),
            StartError::Unresolved(_) => false,
        }
    }
}

impl Host {
    /// Loads the plugin, resolves every reference and assembles the gateway; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first step that fails; the plugin is shut down again then.
    pub async fn start(config: Config) -> Result<Host, StartError> {
        if config.master_key.as_ref().is_none_or(is_empty) {
            return Err(StartError::no_master_key(&config));
        }
        let managers = registry::load(&config).await?;
        match assemble(&config, managers.as_ref()).await {
            Ok((gateway, resolved)) => {
                let reports = managers.as_ref().map(|managers| managers.reports.clone()).unwrap_or_default();
                Ok(Host { reports, resolved, gateway, managers })
            }
            Err(error) => {
                if let Some(managers) = managers {
                    managers.shutdown().await;
                }
                Err(error)
            }
        }
    }

    /// Ends the plugins; call it when the gateway has stopped.
    pub async fn shutdown(self) {
        if let Some(managers) = &self.managers {
            managers.shutdown().await;
        }
    }
}

async fn assemble(
    config: &Config,
    managers: Option<&Managers>,
) -> Result<(Arc<GatewayState>, Vec<(Reference, Source)>), StartError> {
    let named = managers.map(|managers| (managers.name.clone(), managers.manager.clone()));
    let resolver = Resolver::new(named, Policy::new(config), config.env.clone());
    let values = resolver::required(resolver.resolve_all(&config.references).await)?;
    let mut handles = Handles::default();
    let mut resolved = Vec::with_capacity(values.len());
    for (reference, value) in values {
        let handle = SecretHandle::unresolved(reference.text());
        handle.publish(value.value);
        handles.0.insert(reference.text().to_owned(), handle);
        resolved.push((reference, value.source));
    }
    let Some(master_key) = &config.master_key else {
        return Err(StartError::no_master_key(config));
    };
    let deployments = config.models.iter().map(|model| deployment(model, &handles));
    let gateway = GatewayState::new(Settings {
        router: router(&config.router),
        max_body: usize::try_from(config.keyway.max_body).unwrap_or(usize::MAX),
        health: managers.map(|managers| managers.manager.clone()),
        ..Settings::new(handles.setting(master_key), deployments.collect::<Result<_, _>>()?)
    })?;
    Ok((gateway, resolved))
}

/// One handle for each reference, shared by all who refer to it.
#[derive(Default)]
struct Handles(HashMap<String, Arc<SecretHandle>>);

impl Handles {
    fn reference(&self, text: &str) -> Arc<SecretHandle> {
        // Every reference of a used section is resolved by now; one that is not fails closed, without a value.
        self.0.get(text).cloned().unwrap_or_else(|| SecretHandle::unresolved(text))
    }

    fn setting(&self, setting: &Setting) -> Arc<SecretHandle> {
        match (setting.reference(), setting.literal()) {
            (Some(text), _) => self.reference(text),
            (None, Some(value)) => {
                let handle = SecretHandle::unresolved(&setting.place().setting);
                handle.publish(Arc::clone(value));
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

    /// The value with the references inside it replaced by what they stand for now.
    fn inside(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if config::is_reference(text) => {
                let current = self.reference(text).current();
                let text = current.as_deref().and_then(|value| value.expose_str().ok()).unwrap_or_default();
                Value::String(text.to_owned())
            }
            Value::Array(items) => items.iter().map(|item| self.inside(item)).collect(),
            Value::Object(entries) => {
                entries.iter().map(|(key, value)| (key.clone(), self.inside(value))).collect()
            }
            other => other.clone(),
        }
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
            ("extra_headers", config::Param::Json(Value::Object(headers))) => {
                let headers = headers
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), handles.text(value.as_str()?))));
                spec.headers.extend(headers);
            }
            (_, config::Param::Reference(text)) => {
                spec.params.push((name.clone(), Param::Secret(handles.reference(text))));
            }
            (_, config::Param::Json(value)) => {
                spec.params.push((name.clone(), Param::Json(handles.inside(value))))
            }
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
        model_group_alias: settings
            .model_group_alias
            .iter()
            .map(|(alias, model)| (alias.clone(), ModelAlias { model: model.clone(), hidden: false }))
            .collect(),
        fallbacks: settings.fallbacks.clone(),
    }
}

fn is_empty(setting: &Setting) -> bool {
    setting.reference().is_none() && setting.literal().is_none_or(|value| Secret::is_empty(value))
}
