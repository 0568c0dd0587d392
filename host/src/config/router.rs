//! `router_settings` and `litellm_settings`, as far as the gateway uses them.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    de::read,
    error::Fault,
    file,
    location::{join_index, join_key},
    models::{small, whole},
    node::Node,
};

/// What `router_settings` says, and where it is silent `litellm_settings`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouterSettings {
    /// How often a request is tried again.
    pub num_retries: Option<u32>,
    /// The time a request may take.
    pub timeout: Option<Duration>,
    /// The time a streamed request may take.
    pub stream_timeout: Option<Duration>,
    /// How long a failing deployment is left alone.
    pub cooldown_time: Option<Duration>,
    /// What is tried after a group has failed.
    pub fallbacks: Vec<Fallback>,
    /// Other names of groups.
    pub model_group_alias: Vec<ModelAlias>,
}

/// The groups to try after another one, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// The group that has failed; `*` stands for every group.
    pub model: String,
    /// The groups to try.
    pub then: Vec<String>,
    /// The setting that says so.
    pub setting: String,
}

/// Another name of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelAlias {
    /// The other name.
    pub alias: String,
    /// The group.
    pub model: String,
    /// Whether lists of models leave the name out.
    pub hidden: bool,
    /// The setting that says so.
    pub setting: String,
}

/// Proves `router_settings` over `litellm_settings`.
pub(super) fn router(root: &Node) -> Result<RouterSettings, Fault> {
    let litellm = routing(root, "litellm_settings")?;
    let router = routing(root, "router_settings")?;
    Ok(RouterSettings {
        num_retries: router.num_retries.or(litellm.num_retries),
        timeout: router.timeout.or(litellm.timeout),
        stream_timeout: router.stream_timeout.or(litellm.stream_timeout),
        cooldown_time: router.cooldown_time.or(litellm.cooldown_time),
        fallbacks: if router.fallbacks.is_empty() { litellm.fallbacks } else { router.fallbacks },
        model_group_alias: if router.model_group_alias.is_empty() {
            litellm.model_group_alias
        } else {
            router.model_group_alias
        },
    })
}

fn routing(root: &Node, section: &str) -> Result<RouterSettings, Fault> {
    let Some(node) = root.get(section) else { return Ok(RouterSettings::default()) };
    let prove = || {
        let raw: file::Routing = read(node)?;
        let mut fallbacks = Vec::new();
        let list = join_key(section, "fallbacks");
        for (index, entry) in raw.fallbacks.into_iter().flatten().enumerate() {
            let within = join_index(&list, index);
            fallbacks.extend(entry.into_iter().map(|(model, then)| {
                let setting = join_key(&within, &model);
                Fallback { model, then: then.0, setting }
            }));
        }
        fallbacks.extend(raw.default_fallbacks.map(|then| Fallback {
            model: "*".to_owned(),
            then,
            setting: join_key(section, "default_fallbacks"),
        }));
        Ok(RouterSettings {
            num_retries: whole(node, &["num_retries".to_owned()], raw.num_retries)?.map(small),
            timeout: raw.timeout.or(raw.request_timeout).map(|span| span.0),
            stream_timeout: raw.stream_timeout.map(|span| span.0),
            cooldown_time: raw.cooldown_time.map(|span| span.0),
            fallbacks,
            model_group_alias: aliases(node, section, raw.model_group_alias.unwrap_or_default())?,
        })
    };
    prove().map_err(|fault: Fault| fault.inside_key(section, node.location))
}

/// An alias is a group's name, or a mapping that holds it under `model`, with `hidden` beside it.
fn aliases(node: &Node, section: &str, raw: BTreeMap<String, Value>) -> Result<Vec<ModelAlias>, Fault> {
    let parent = join_key(section, "model_group_alias");
    raw.into_iter()
        .map(|(alias, target)| {
            let model = target.as_str().or_else(|| target.get("model")?.as_str());
            let model = model.map(str::to_owned).ok_or_else(|| {
                let location = node.location_at(&["model_group_alias", &alias]);
                let why = "expected the name of a model group, or a mapping with it under `model`";
                Fault::refused("", location, why)
                    .inside_key(&alias, None)
                    .inside_key("model_group_alias", None)
            })?;
            let hidden = target.get("hidden").and_then(Value::as_bool).unwrap_or_default();
            Ok(ModelAlias { setting: join_key(&parent, &alias), alias, model, hidden })
        })
        .collect()
}
