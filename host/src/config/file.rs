//! The sections of the file as they are written: types, and nothing proven yet.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{
    local_api::LocalApi,
    service::{Audit, Budget, Cache, Retry},
    startup::Startup,
    units::{Number, OneOrMany, Size, Span},
};

/// What `key_management_settings` may hold, as LiteLLM knows it.
pub(super) const KEY_MANAGEMENT_KEYS: [&str; 17] = [
    "custom_secret_manager",
    "access_mode",
    "hosted_keys",
    "store_virtual_keys",
    "prefix_for_stored_virtual_keys",
    "description",
    "tags",
    "primary_secret_name",
    "aws_region_name",
    "aws_role_name",
    "aws_session_name",
    "aws_external_id",
    "aws_profile_name",
    "aws_web_identity_token",
    "aws_sts_endpoint",
    "kms_key_id",
    "replica_regions",
];

/// Which operations the manager may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    /// Reads only.
    #[default]
    ReadOnly,
    /// Writes and deletes only; references are resolved from the environment.
    WriteOnly,
    /// Everything.
    ReadAndWrite,
}

/// What an error of the manager means for a reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The reference is not resolved.
    #[default]
    Fail,
    /// The environment is asked, as LiteLLM does.
    Environment,
}

/// What an error of a chain's member means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMemberError {
    /// The chain has that error: only "not found" leads to the next member.
    #[default]
    Fail,
    /// The next member is asked; a secret that none of them has is then not absent, but unknown.
    Next,
}

#[derive(Default, Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct General {
    pub(super) master_key: Option<String>,
    pub(super) key_management_system: Option<String>,
    pub(super) key_management_settings: Option<KeyManagementSettings>,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct KeyManagementSettings {
    pub(super) custom_secret_manager: Option<String>,
    pub(super) access_mode: Option<AccessMode>,
    pub(super) hosted_keys: Option<Vec<String>>,
    pub(super) store_virtual_keys: Option<bool>,
    pub(super) prefix_for_stored_virtual_keys: Option<String>,
    pub(super) description: Option<String>,
    pub(super) tags: Option<Value>,
    pub(super) primary_secret_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct ModelEntry {
    pub(super) model_name: String,
    pub(super) litellm_params: Params,
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct Params {
    pub(super) model: String,
    pub(super) api_key: Option<String>,
    pub(super) api_base: Option<String>,
    pub(super) weight: Option<Number>,
    pub(super) rpm: Option<Number>,
    pub(super) timeout: Option<Span>,
    pub(super) stream_timeout: Option<Span>,
    pub(super) num_retries: Option<Number>,
}

/// `litellm_settings` and `router_settings`, which share most of what is used here.
#[derive(Default, Deserialize)]
#[serde(expecting = "a mapping")]
pub(super) struct Routing {
    pub(super) num_retries: Option<Number>,
    pub(super) timeout: Option<Span>,
    pub(super) request_timeout: Option<Span>,
    pub(super) stream_timeout: Option<Span>,
    pub(super) cooldown_time: Option<Span>,
    pub(super) fallbacks: Option<Vec<BTreeMap<String, OneOrMany<String>>>>,
    pub(super) default_fallbacks: Option<Vec<String>>,
    pub(super) model_group_alias: Option<BTreeMap<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Keyway {
    pub(super) managers: Option<BTreeMap<String, Option<Manager>>>,
    pub(super) plugin_dirs: Option<Vec<PathBuf>>,
    pub(super) on_error: Option<OnError>,
    pub(super) strict_config: Option<bool>,
    pub(super) trust: Option<Trust>,
    pub(super) max_body: Option<Size>,
    pub(super) startup: Option<Startup>,
    pub(super) cache: Option<Cache>,
    pub(super) budget: Option<Budget>,
    pub(super) retry: Option<Retry>,
    #[serde(default, deserialize_with = "present")]
    pub(super) audit: Option<Audit>,
    #[serde(default, deserialize_with = "present")]
    pub(super) local_api: Option<LocalApi>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Manager {
    pub(super) plugin: Option<String>,
    pub(super) config: Option<Map<String, Value>>,
    pub(super) secrets_from: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) chain: Option<Vec<String>>,
    pub(super) on_error: Option<OnMemberError>,
    #[serde(default, deserialize_with = "present")]
    pub(super) replicas: Option<Vec<String>>,
    pub(super) timeout: Option<Span>,
    #[serde(default, deserialize_with = "present")]
    pub(super) budget: Option<ManagerBudget>,
    #[serde(default, deserialize_with = "present")]
    pub(super) sha256: Option<OneOrMany<String>>,
    pub(super) isolation: Option<String>,
    pub(super) max_in_flight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ManagerBudget {
    pub(super) calls_per_minute: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Trust {
    pub(super) require: Option<String>,
}

/// A key that means something by being there: with nothing after it, it is refused rather than taken for absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
