//! `model_list`, as far as the gateway uses it.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    de::read,
    error::Fault,
    file,
    location::{Location, Place, join_index},
    node::{Node, Yaml},
    reference::is_reference,
    setting::Setting,
    units::Number,
};

/// Settings of a deployment that are no secrets: a reference in one is resolved from the environment, at load.
pub(super) const PLAIN_PARAMS: [&str; 9] = [
    "max_parallel_requests",
    "max_retries",
    "model",
    "num_retries",
    "rpm",
    "stream_timeout",
    "timeout",
    "tpm",
    "weight",
];

/// The parameters that are fields of [`Model`], and so not among its `params`.
const FIELDS: [&str; 8] =
    ["api_base", "api_key", "model", "num_retries", "rpm", "stream_timeout", "timeout", "weight"];

/// A deployment: one entry of `model_list`.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name that callers use; entries with one name form a group.
    pub model_name: String,
    /// The upstream's model with its provider, `openai/gpt-4` for example.
    pub model: String,
    /// The credential for the upstream.
    pub api_key: Option<Setting>,
    /// The base of the upstream's URLs.
    pub api_base: Option<Setting>,
    /// The share of a group's requests.
    pub weight: Option<f64>,
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// The time a request may take.
    pub timeout: Option<Duration>,
    /// The time a streamed request may take.
    pub stream_timeout: Option<Duration>,
    /// How often a request is tried again.
    pub num_retries: Option<u32>,
    /// The other `litellm_params`, in the order of the file.
    pub params: Vec<(String, Param)>,
    /// Where the entry stands: its setting is `model_list[0]`, for example.
    pub place: Place,
}

/// A further parameter of a deployment.
#[derive(Clone, PartialEq)]
pub enum Param {
    /// A reference to a secret.
    Reference(String),
    /// Anything else. Text deeper in it may be a reference, too: `extra_headers` is a mapping of texts.
    Json(Value),
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Param::Reference(text) => f.write_str(text),
            Param::Json(_) => f.write_str("Json(redacted)"),
        }
    }
}

/// Proves `model_list`.
pub(super) fn models(root: &Node, file: &Arc<Path>) -> Result<Vec<Model>, Fault> {
    let Some(list) = root.get("model_list") else { return Ok(Vec::new()) };
    let Yaml::List(items) = &list.value else {
        return Err(read::<Vec<file::ModelEntry>>(list)
            .err()
            .unwrap_or_default()
            .inside_key("model_list", None));
    };
    let entries = items.iter().enumerate();
    entries
        .map(|(index, item)| {
            model(item, join_index("model_list", index), file).map_err(|fault| {
                fault.inside_index(index, item.location).inside_key("model_list", item.location)
            })
        })
        .collect()
}

fn model(node: &Node, setting: String, file: &Arc<Path>) -> Result<Model, Fault> {
    let entry: file::ModelEntry = read(node)?;
    let raw = entry.litellm_params;
    let path = |key: &str| ["litellm_params", key].map(str::to_owned);
    let place = |key: &str| Place {
        file: file.clone(),
        setting: format!("{setting}.litellm_params.{key}"),
        location: node.location_at(&["litellm_params", key]),
    };
    let count = |key: &str, number: Option<Number>| whole(node, &path(key), number);
    if is_reference(&entry.model_name) {
        let why = "is the name that callers ask for, so no reference is resolved here; write the name itself, such as `gpt-4`";
        return Err(at(node, &["model_name"], why));
    }
    let api_key = raw.api_key.map(|text| Setting::key(&text, place("api_key"))).transpose();
    Ok(Model {
        api_key: api_key.map_err(|why| at(node, &["litellm_params", "api_key"], why))?.flatten(),
        api_base: raw.api_base.and_then(|text| Setting::new(&text, place("api_base"))),
        weight: raw.weight.map(|weight| weight.0),
        rpm: count("rpm", raw.rpm)?,
        timeout: raw.timeout.map(|span| span.0),
        stream_timeout: raw.stream_timeout.map(|span| span.0),
        num_retries: count("num_retries", raw.num_retries)?.map(small),
        params: params(node)?,
        place: Place { file: file.clone(), setting: setting.clone(), location: node.location },
        model_name: not_empty(node, &["model_name"], entry.model_name)?,
        model: not_empty(node, &["litellm_params", "model"], raw.model)?,
    })
}

fn params(node: &Node) -> Result<Vec<(String, Param)>, Fault> {
    let entries = node.get("litellm_params").map(Node::entries).unwrap_or_default();
    let further = entries.iter().filter(|entry| !FIELDS.contains(&entry.key.as_str()));
    further
        .map(|entry| {
            let param = match entry.value.text() {
                Some(text) if is_reference(text) => Param::Reference(text.to_owned()),
                _ => Param::Json(read(&entry.value)?),
            };
            Ok((entry.key.clone(), param))
        })
        .collect()
}

pub(super) fn whole(node: &Node, path: &[String], number: Option<Number>) -> Result<Option<u64>, Fault> {
    let Some(number) = number else { return Ok(None) };
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    number.whole().map(Some).ok_or_else(|| at(node, &keys, "expected a whole number"))
}

fn not_empty(node: &Node, path: &[&str], text: String) -> Result<String, Fault> {
    if text.trim().is_empty() { Err(at(node, path, "is empty; give it a name")) } else { Ok(text) }
}

fn at(node: &Node, path: &[&str], why: &str) -> Fault {
    let location: Option<Location> = node.location_at(path);
    path.iter().rev().fold(Fault::refused("", location, why), |fault, key| fault.inside_key(key, None))
}

pub(super) fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
