//! One place a model can be had from: an entry of `model_list`, proven.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::{
    gateway::{
        providers::{self, Provider},
        target::{Target, UrlFault},
    },
    service::SecretHandle,
};

/// A text of the configuration: written there, or behind a reference.
#[derive(Clone, Debug)]
pub enum Text {
    /// The text itself.
    Literal(String),
    /// Read from the handle for each request.
    Secret(Arc<SecretHandle>),
}

/// A further `litellm_params` entry.
#[derive(Clone, Debug)]
pub enum Param {
    /// The value itself.
    Json(Value),
    /// A text that is read from the handle for each request.
    Secret(Arc<SecretHandle>),
    /// A list with references somewhere in it.
    List(Vec<Param>),
    /// A mapping with references somewhere in it.
    Map(Vec<(String, Param)>),
}

/// An entry of `model_list` as it was written; [`Deployment::new`] proves it.
#[derive(Clone, Debug, Default)]
pub struct DeploymentSpec {
    /// Where the entry stands, `model_list[0]` for example; error messages begin with it.
    pub setting: String,
    /// The name that callers ask for; one `*` matches any text.
    pub model_name: String,
    /// `litellm_params.model`, such as `openai/gpt-4`.
    pub model: String,
    /// `litellm_params.custom_llm_provider`: the provider, when `model` has no prefix that says it.
    pub provider: Option<String>,
    /// `litellm_params.api_key`.
    pub api_key: Option<Arc<SecretHandle>>,
    /// `litellm_params.api_base`.
    pub api_base: Option<Text>,
    /// `litellm_params.api_version`, for azure.
    pub api_version: Option<Text>,
    /// All other `litellm_params`, in order: defaults of the request body. Those that steer LiteLLM itself
    /// are left out, and `organization` and `extra_headers` become headers.
    pub params: Vec<(String, Param)>,
    /// Headers to add, for `extra_headers` with references in them.
    pub headers: Vec<(String, Text)>,
    /// The share of the group's requests, relative to the other weights.
    pub weight: Option<f64>,
    /// Requests a minute: the share where no `weight` is given.
    pub rpm: Option<u64>,
    /// The time to a complete answer.
    pub timeout: Option<Duration>,
    /// The time to the beginning of a stream, and between its parts.
    pub stream_timeout: Option<Duration>,
    /// How often a failed request is tried again.
    pub num_retries: Option<u32>,
}

/// Why an entry of `model_list` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The name that callers ask for is missing or has several wildcards.
    #[error("{setting}.model_name is `{model_name}`; give a name that is not empty and has at most one `*`")]
    ModelName {
        /// The entry.
        setting: String,
        /// What stands there.
        model_name: String,
    },
    /// The prefix of the model is no provider of the table.
    #[error(
        "{setting}.litellm_params.model is `{model}`, which names no known provider; write `provider/model` \
         with one of: {known}; any other OpenAI-compatible server is `openai_like/...` with an api_base"
    )]
    UnknownProvider {
        /// The entry.
        setting: String,
        /// What stands there.
        model: String,
        /// The prefixes that exist.
        known: String,
    },
    /// The model has a wildcard that nothing fills.
    #[error(
        "{setting}.litellm_params.model is `{model}`, but its `*` can only be filled by one in model_name; \
         write the model's name, or `*` in {setting}.model_name too"
    )]
    Wildcard {
        /// The entry.
        setting: String,
        /// What stands there.
        model: String,
    },
    /// The provider has no address of its own.
    #[error(
        "{setting}.litellm_params.api_base is missing, and provider `{provider}` has no default; \
         add `api_base: https://...`"
    )]
    MissingApiBase {
        /// The entry.
        setting: String,
        /// The provider.
        provider: &'static str,
    },
    /// The provider's own address refuses requests without a key.
    #[error(
        "{setting}.litellm_params.api_key is missing, and provider `{provider}` refuses requests without; \
         add `api_key: os.environ/{key_name}`"
    )]
    MissingApiKey {
        /// The entry.
        setting: String,
        /// The provider.
        provider: &'static str,
        /// The customary name of its key.
        key_name: &'static str,
    },
    /// The address is not one that can be used; it is not repeated, because it may hold a password.
    #[error("{setting}.litellm_params.api_base {fault}; write it as `https://host/path`")]
    ApiBase {
        /// The entry.
        setting: String,
        /// What is wrong with it.
        fault: UrlFault,
    },
    /// A header cannot be sent as it stands.
    #[error("{setting}.litellm_params: the header `{name}` {fault}")]
    Header {
        /// The entry.
        setting: String,
        /// The header.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The weight is not a share.
    #[error("{setting}.litellm_params.weight is {weight}; write a number that is 0 or larger")]
    Weight {
        /// The entry.
        setting: String,
        /// What stands there.
        weight: f64,
    },
}

impl DeploymentError {
    /// The setting that is wrong.
    pub fn setting(&self) -> String {
        let (entry, below) =
            match self {
                DeploymentError::ModelName { setting, .. } => (setting, "model_name"),
                DeploymentError::UnknownProvider { setting, .. }
                | DeploymentError::Wildcard { setting, .. } => (setting, "litellm_params.model"),
                DeploymentError::MissingApiBase { setting, .. }
                | DeploymentError::ApiBase { setting, .. } => (setting, "litellm_params.api_base"),
                DeploymentError::MissingApiKey { setting, .. } => (setting, "litellm_params.api_key"),
                DeploymentError::Header { setting, .. } => (setting, "litellm_params.extra_headers"),
                DeploymentError::Weight { setting, .. } => (setting, "litellm_params.weight"),
            };
        format!("{entry}.{below}")
    }
}

/// One place a model can be had from. Its identity is what the configuration says, never a resolved value.
#[derive(Debug)]
pub struct Deployment {
    pub(super) model_name: String,
    pub(super) provider: &'static Provider,
    pub(super) model: String,
    pub(super) model_json: String,
    pub(super) api_key: Option<Arc<SecretHandle>>,
    pub(super) target: Target,
    pub(super) defaults: Vec<BodyDefault>,
    pub(super) headers: Vec<(HeaderName, HeaderText)>,
    pub(super) weight: Option<f64>,
    pub(super) rpm: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) stream_timeout: Option<Duration>,
    pub(super) num_retries: Option<u32>,
    cooling_until: AtomicU64,
}

/// A field that is added to bodies that lack it.
#[derive(Debug)]
pub(super) struct BodyDefault {
    pub(super) name: String,
    pub(super) value: BodyValue,
}

/// The value of such a field, or a part of it.
#[derive(Debug)]
pub(super) enum BodyValue {
    /// JSON text.
    Json(String),
    Secret(Arc<SecretHandle>),
    List(Vec<BodyValue>),
    Map(Vec<BodyDefault>),
}

/// The value of a header that is added.
#[derive(Debug)]
pub(super) enum HeaderText {
    Literal(HeaderValue),
    Secret(Arc<SecretHandle>),
}

impl Deployment {
    /// Proves an entry of `model_list`.
    ///
    /// # Errors
    /// What is wrong, on which setting, and what to write instead.
    pub fn new(spec: DeploymentSpec) -> Result<Self, DeploymentError> {
        let DeploymentSpec { setting, model_name, model, provider, api_key, api_base, .. } = spec;
        if model_name.trim().is_empty() || model_name.matches('*').count() > 1 {
            return Err(DeploymentError::ModelName { setting, model_name });
        }
        let Some((provider, bare_model)) = find_provider(provider.as_deref(), &model) else {
            return Err(DeploymentError::UnknownProvider { setting, model, known: providers::known() });
        };
        if bare_model.matches('*').count() > model_name.matches('*').count() {
            return Err(DeploymentError::Wildcard { setting, model });
        }
        if let (None, None, Some(key_name)) = (&api_key, &api_base, provider.key_name)
            && provider.base.is_some()
        {
            return Err(DeploymentError::MissingApiKey { setting, provider: provider.prefix, key_name });
        }
        let base = match (api_base, provider.base) {
            (Some(base), _) => base,
            (None, Some(base)) => Text::Literal(base.to_owned()),
            (None, None) => {
                return Err(DeploymentError::MissingApiBase { setting, provider: provider.prefix });
            }
        };
        let target = Target::new(provider.path, base, spec.api_version, bare_model)
            .map_err(|fault| DeploymentError::ApiBase { setting: setting.clone(), fault })?;
        if let Some(weight) = spec.weight.filter(|weight| !weight.is_finite() || *weight < 0.0) {
            return Err(DeploymentError::Weight { setting, weight });
        }
        let extras = super::params::sort_out(&setting, spec.params, spec.headers)?;
        Ok(Deployment {
            model_name,
            provider,
            model_json: Value::from(bare_model).to_string(),
            model: bare_model.to_owned(),
            api_key,
            target,
            defaults: extras.defaults,
            headers: extras.headers,
            weight: spec.weight,
            rpm: spec.rpm,
            timeout: spec.timeout,
            stream_timeout: spec.stream_timeout,
            num_retries: spec.num_retries,
            cooling_until: AtomicU64::new(0),
        })
    }

    /// The name that callers ask for.
    pub fn model_name(&self) -> &str {
        &self.model_name
    }

    /// Keeps requests away from a deployment that just failed, as far as there are others.
    pub(super) fn cool_down(&self, period: Duration) {
        let until = uptime_ms().saturating_add(u64::try_from(period.as_millis()).unwrap_or(u64::MAX));
        self.cooling_until.store(until, Ordering::Relaxed);
    }

    pub(super) fn is_cooling(&self) -> bool {
        let until = self.cooling_until.load(Ordering::Relaxed);
        until != 0 && uptime_ms() < until
    }
}

/// Milliseconds on the monotonic clock, since it was first asked for.
fn uptime_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn find_provider<'a>(explicit: Option<&str>, model: &'a str) -> Option<(&'static Provider, &'a str)> {
    if let Some(prefix) = explicit {
        let bare = model.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
        return providers::find(prefix).map(|provider| (provider, bare));
    }
    match model.split_once('/') {
        Some((prefix, bare)) if !bare.is_empty() => providers::find(prefix).map(|found| (found, bare)),
        Some(_) => None,
        None => providers::guess(model).map(|provider| (provider, model)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(model: &str) -> DeploymentSpec {
        DeploymentSpec {
            setting: "model_list[0]".into(),
            model_name: "m".into(),
            model: model.into(),
            api_key: Some(SecretHandle::unresolved("os.environ/K")),
            ..DeploymentSpec::default()
        }
    }

    fn fault(spec: DeploymentSpec) -> String {
        Deployment::new(spec).unwrap_err().to_string()
    }

    #[test]
    fn each_fault_names_its_setting_and_the_fix() {
        assert!(fault(spec("nowhere/x")).contains("model_list[0].litellm_params.model is `nowhere/x`"));
        assert!(fault(spec("llama3")).contains("write `provider/model`"));
        assert!(fault(spec("azure/x")).contains("api_base is missing, and provider `azure`"));
        assert!(fault(spec("hosted_vllm/x")).contains("add `api_base: https://...`"));
        assert!(fault(spec("openai/*")).contains("`*`"));
        let keyless = DeploymentSpec { api_key: None, ..spec("groq/x") };
        assert!(fault(keyless).contains("add `api_key: os.environ/GROQ_API_KEY`"));
        let weight = DeploymentSpec { weight: Some(-1.0), ..spec("openai/x") };
        assert!(fault(weight).contains("weight is -1"));
        let nameless = DeploymentSpec { model_name: " ".into(), ..spec("openai/x") };
        assert!(fault(nameless).contains("model_name"));
    }

    #[test]
    fn a_password_in_a_bad_address_is_not_repeated() {
        let api_base = Some(Text::Literal("https://user:canary@host/v1".into()));
        let message = fault(DeploymentSpec { api_base, ..spec("openai/x") });
        assert!(message.contains("api_base") && !message.contains("canary"), "{message}");
    }

    #[test]
    fn the_provider_may_be_given_apart_from_the_model() {
        let explicit = DeploymentSpec { provider: Some("groq".into()), ..spec("llama3") };
        let deployment = Deployment::new(explicit).unwrap();
        assert_eq!((deployment.provider.prefix, deployment.model.as_str()), ("groq", "llama3"));
        let nested = Deployment::new(spec("openrouter/meta/llama")).unwrap();
        assert_eq!(nested.model, "meta/llama");
    }

    #[test]
    fn a_deployment_cools_down_and_comes_back() {
        let deployment = Deployment::new(spec("openai/x")).unwrap();
        assert!(!deployment.is_cooling());
        deployment.cool_down(Duration::from_secs(60));
        assert!(deployment.is_cooling());
        deployment.cool_down(Duration::ZERO);
        assert!(!deployment.is_cooling());
    }
}
