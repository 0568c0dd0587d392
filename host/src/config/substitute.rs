//! What is resolved from the environment at load: settings that no manager may be asked for.

use keyway_plugin_api::Secret;

use super::{
    de::kind,
    env::Env,
    error::{Fault, Problem},
    groups,
    location::{join_index, join_key},
    models::PLAIN_PARAMS,
    node::{Node, Yaml},
    reference::PREFIX,
};
use crate::redact;

/// LiteLLM sets these variables where the environment does not have them; here they are what it falls back to.
pub(super) fn environment_variables(root: &Node, env: Env) -> Result<Env, Fault> {
    let Some(node) = root.get("environment_variables") else { return Ok(env) };
    let Yaml::Map(entries) = &node.value else {
        let problem = Problem::WrongType { expected: "a mapping".into(), found: kind(node).into() };
        return Err(Fault::new("environment_variables", node.location, problem));
    };
    let mut defaults: Vec<(String, Secret)> = Vec::new();
    for entry in entries {
        let value = match &entry.value.value {
            Yaml::Text(text) => match text.strip_prefix(PREFIX).map(|name| env.get(name)) {
                Some(Ok(value)) => value,
                Some(Err(_)) => continue,
                None => text.as_str().into(),
            },
            Yaml::Bool(value) => value.to_string().into(),
            Yaml::Signed(value) => value.to_string().into(),
            Yaml::Unsigned(value) => value.to_string().into(),
            Yaml::Float(value) => value.to_string().into(),
            Yaml::Null => continue,
            Yaml::List(_) | Yaml::Map(_) => {
                let problem =
                    Problem::WrongType { expected: "text".into(), found: kind(&entry.value).into() };
                let setting = join_key("environment_variables", &entry.key);
                return Err(Fault::new(setting, entry.location, problem));
            }
        };
        defaults.push((entry.key.clone(), value));
    }
    Ok(env.with_defaults(defaults))
}

/// Replaces references that no manager may be asked for: the manager's own settings, and plain numbers.
pub(super) fn from_environment(root: &mut Node, env: &Env) -> Result<(), Fault> {
    if let Some(general) = root.get_mut("general_settings") {
        for key in ["key_management_system", "key_management_settings"] {
            if let Some(node) = general.get_mut(key) {
                substitute_in_settings(node, &join_key("general_settings", key), env)?;
            }
        }
    }
    let named = ["general_settings", "key_management_settings", "custom_secret_manager"];
    if let Some(name) = root.at(&named).and_then(Node::text).map(|name| name.trim().to_owned()) {
        for name in groups::used(root, name) {
            let managers = root.get_mut("keyway").and_then(|own| own.get_mut("managers"));
            let manager = managers.and_then(|managers| managers.get_mut(&name));
            // With `secrets_from` another manager answers, when it is running.
            let manager = manager.filter(|manager| manager.get("secrets_from").is_none());
            if let Some(config) = manager.and_then(|manager| manager.get_mut("config")) {
                let setting = join_key(&join_key("keyway.managers", &name), "config");
                substitute(config, &setting, env)?;
            }
        }
    }
    let Some(Node { value: Yaml::List(models), .. }) = root.get_mut("model_list") else { return Ok(()) };
    for (index, model) in models.iter_mut().enumerate() {
        let setting = join_key(&join_index("model_list", index), "litellm_params");
        let Some(params) = model.get_mut("litellm_params") else { continue };
        for key in PLAIN_PARAMS {
            if let Some(param) = params.get_mut(key) {
                substitute(param, &join_key(&setting, key), env)?;
            }
        }
    }
    Ok(())
}

/// `hosted_keys` holds names, which may be written as references and stay as they are.
fn substitute_in_settings(node: &mut Node, setting: &str, env: &Env) -> Result<(), Fault> {
    let Yaml::Map(entries) = &mut node.value else { return substitute(node, setting, env) };
    let resolved = entries
        .iter_mut()
        .filter(|entry| !matches!(entry.key.as_str(), "hosted_keys" | "primary_secret_name"));
    for entry in resolved {
        substitute(&mut entry.value, &join_key(setting, &entry.key), env)?;
    }
    Ok(())
}

/// Replaces each `os.environ/NAME` below a node by what the environment has under NAME.
fn substitute(node: &mut Node, setting: &str, env: &Env) -> Result<(), Fault> {
    match &mut node.value {
        Yaml::List(items) => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, item)| substitute(item, &join_index(setting, index), env)),
        Yaml::Map(entries) => entries
            .iter_mut()
            .try_for_each(|entry| substitute(&mut entry.value, &join_key(setting, &entry.key), env)),
        Yaml::Text(text) => match text.strip_prefix(PREFIX) {
            None => Ok(()),
            Some(name) => {
                let value = look_up(name, env).map_err(|why| {
                    Fault::refused(setting, node.location, format!("{text} cannot be resolved: {why}"))
                })?;
                *text = value;
                Ok(())
            }
        },
        _ => Ok(()),
    }
}

fn look_up(name: &str, env: &Env) -> Result<String, String> {
    let value = env.get(name).map_err(|absent| {
        format!("environment variable {name} {absent}; this setting is resolved from the environment only, so set it there")
    })?;
    let text = value.expose_str().map_err(|_| format!("environment variable {name} is not UTF-8 text"))?;
    redact::learn_for_good(&value);
    Ok(text.to_owned())
}
