//! From the name a caller asks for to the group that answers: aliases, exact names, wildcards, fallbacks.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::gateway::{deployment::Deployment, group::Group};

/// `router_settings`, as far as the gateway follows them.
#[derive(Clone, Debug)]
pub struct RouterSettings {
    /// How often a failed request is tried again, within one group.
    pub num_retries: u32,
    /// The time to a complete answer, where the deployment names none.
    pub timeout: Duration,
    /// The time to the beginning of a stream and between its parts; `timeout` when absent.
    pub stream_timeout: Option<Duration>,
    /// How long a deployment that failed is passed over.
    pub cooldown: Duration,
    /// Other names for models.
    pub model_group_alias: Vec<(String, ModelAlias)>,
    /// What is asked after a model has failed.
    pub fallbacks: Vec<Fallback>,
}

impl Default for RouterSettings {
    fn default() -> Self {
        RouterSettings {
            num_retries: 2,
            timeout: Duration::from_secs(600),
            stream_timeout: None,
            cooldown: Duration::from_secs(5),
            model_group_alias: Vec::new(),
            fallbacks: Vec::new(),
        }
    }
}

/// The models that are asked, in order, after one has failed.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The model that has failed; `*` stands for every other model.
    pub model: String,
    /// The models that are asked.
    pub then: Vec<String>,
    /// The setting that says so; error messages begin with it.
    pub setting: String,
}

/// What another name for a model stands for.
#[derive(Clone, Debug)]
pub struct ModelAlias {
    /// The model.
    pub model: String,
    /// The setting that says so; error messages begin with it.
    pub setting: String,
    /// Whether `/v1/models` leaves the name out.
    pub hidden: bool,
}

/// Why the router's settings do not fit the models.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// An alias stands for a model that does not exist.
    #[error(
        "{setting} stands for `{model}`, which is in no entry of model_list; correct the name or add the model"
    )]
    Alias {
        /// Where the alias stands.
        setting: String,
        /// What it stands for.
        model: String,
    },
    /// A fallback names a model that does not exist.
    #[error(
        "{setting} names `{fallback}`, which is in no entry of model_list; correct the name or add the model"
    )]
    Fallback {
        /// Where the fallbacks stand.
        setting: String,
        /// The name that does not exist.
        fallback: String,
    },
}

impl RouteError {
    /// The setting that is wrong.
    pub fn setting(&self) -> &str {
        match self {
            RouteError::Alias { setting, .. } | RouteError::Fallback { setting, .. } => setting,
        }
    }
}

/// All models of the gateway.
#[derive(Debug)]
pub(super) struct RouteTable {
    exact: HashMap<String, Group>,
    /// Longest first.
    wildcards: Vec<Group>,
    aliases: HashMap<String, ModelAlias>,
    fallbacks: HashMap<String, Vec<String>>,
    /// The exact names, in the order of the configuration.
    names: Vec<String>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    pub(super) group: &'a Group,
    /// What the `*` of the group's name stands for.
    pub(super) wildcard: Option<&'a str>,
}

impl RouteTable {
    /// Builds the table.
    ///
    /// # Errors
    /// [`RouteError`] when an alias or a fallback leads nowhere.
    pub(super) fn new(deployments: Vec<Deployment>, router: &RouterSettings) -> Result<Self, RouteError> {
        let mut names: Vec<String> = Vec::new();
        let mut members: HashMap<String, Vec<Arc<Deployment>>> = HashMap::new();
        for deployment in deployments {
            let name = deployment.model_name().to_owned();
            let group = members.entry(name.clone()).or_default();
            if group.is_empty() {
                names.push(name);
            }
            group.push(Arc::new(deployment));
        }
        let (mut exact, mut wildcards) = (HashMap::new(), Vec::new());
        for (name, deployments) in members {
            let group = Group::new(name.clone(), deployments);
            if name.contains('*') {
                wildcards.push(group);
            } else {
                exact.insert(name, group);
            }
        }
        wildcards.sort_by(|a, b| b.name().len().cmp(&a.name().len()).then_with(|| a.name().cmp(b.name())));
        names.retain(|name| !name.contains('*'));
        let aliases = router.model_group_alias.iter().cloned().collect();
        let fallbacks = router.fallbacks.iter().map(|one| (one.model.clone(), one.then.clone())).collect();
        let table = RouteTable { exact, wildcards, aliases, fallbacks, names };
        table.check(router)?;
        Ok(table)
    }

    /// The group for the name a caller asks for.
    pub(super) fn resolve<'a>(&'a self, model: &'a str) -> Option<Route<'a>> {
        let model = match self.aliases.get(model) {
            Some(alias) => &alias.model,
            None => model,
        };
        if let Some(group) = self.exact.get(model) {
            return Some(Route { group, wildcard: None });
        }
        self.wildcards.iter().find_map(|group| {
            let (before, after) = group.name().split_once('*')?;
            let wildcard = model.strip_prefix(before)?.strip_suffix(after)?;
            (!wildcard.is_empty()).then_some(Route { group, wildcard: Some(wildcard) })
        })
    }

    /// Where a request goes, in order, when the group for `model` has failed.
    pub(super) fn fallbacks(&self, model: &str, group: &Group) -> impl Iterator<Item = Route<'_>> {
        let named = self.fallbacks.get(model).or_else(|| self.fallbacks.get(group.name()));
        let listed = named.or_else(|| self.fallbacks.get("*")).map_or(&[][..], Vec::as_slice);
        let failed = group.name().to_owned();
        listed.iter().filter_map(|name| self.resolve(name)).filter(move |route| route.group.name() != failed)
    }

    /// The names that `/v1/models` shows, with the provider of each. Wildcards are patterns, not models.
    pub(super) fn listed(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let aliases = self.aliases.iter().filter(|(_, alias)| !alias.hidden).map(|(name, _)| name.as_str());
        let mut aliases: Vec<&str> = aliases.filter(|name| !self.exact.contains_key(*name)).collect();
        aliases.sort_unstable();
        self.names
            .iter()
            .map(String::as_str)
            .chain(aliases)
            .filter_map(|name| Some((name, self.resolve(name)?.group.provider())))
    }

    /// The first few names that exist, patterns included, for a message.
    pub(super) fn some_names(&self) -> Vec<String> {
        const SHOWN: usize = 20;
        let patterns = self.wildcards.iter().map(|group| group.name().to_owned());
        let all: Vec<String> = self.listed().map(|(name, _)| name.to_owned()).chain(patterns).collect();
        let more = all.len().saturating_sub(SHOWN);
        let mut shown: Vec<String> = all.into_iter().take(SHOWN).collect();
        if more > 0 {
            shown.push(format!("and {more} more, see /v1/models"));
        }
        shown
    }

    pub(super) fn deployments(&self) -> impl Iterator<Item = &Deployment> {
        self.exact.values().chain(&self.wildcards).flat_map(Group::deployments)
    }

    fn check(&self, router: &RouterSettings) -> Result<(), RouteError> {
        for (alias, target) in &router.model_group_alias {
            if self.resolve(alias).is_none() {
                let ModelAlias { setting, model, .. } = target.clone();
                return Err(RouteError::Alias { setting, model });
            }
        }
        for Fallback { then, setting, .. } in &router.fallbacks {
            if let Some(fallback) = then.iter().find(|fallback| self.resolve(fallback).is_none()) {
                let (setting, fallback) = (setting.clone(), fallback.clone());
                return Err(RouteError::Fallback { setting, fallback });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::deployment::{DeploymentSpec, Text};

    fn deployment(name: &str) -> Deployment {
        let model = if name.contains('*') { "openai_like/*" } else { "openai_like/m" };
        Deployment::new(DeploymentSpec {
            setting: "model_list[0]".into(),
            model_name: name.into(),
            model: model.into(),
            api_base: Some(Text::Literal("http://localhost:1".into())),
            ..DeploymentSpec::default()
        })
        .unwrap()
    }

    fn alias(model: &str, hidden: bool) -> ModelAlias {
        ModelAlias { model: model.into(), setting: "router_settings.model_group_alias.a".into(), hidden }
    }

    fn fallback(model: &str, then: &[&str]) -> Fallback {
        let then = then.iter().map(|&name| name.into()).collect();
        Fallback { model: model.into(), then, setting: format!("router_settings.fallbacks[0].{model}") }
    }

    fn table() -> RouteTable {
        let names = ["*", "openai/*", "openai/gpt-*", "openai/gpt-4", "backup"];
        let router = RouterSettings {
            model_group_alias: vec![
                ("gpt-4".into(), alias("openai/gpt-4", false)),
                ("secret".into(), alias("backup", true)),
            ],
            fallbacks: vec![
                fallback("openai/gpt-4", &["openai/gpt-4", "backup"]),
                fallback("*", &["openai/gpt-4"]),
            ],
            ..RouterSettings::default()
        };
        RouteTable::new(names.into_iter().map(deployment).collect(), &router).unwrap()
    }

    #[test]
    fn exact_names_come_first_and_the_longest_pattern_next() {
        let table = table();
        let found = |model| table.resolve(model).map(|route| (route.group.name(), route.wildcard)).unwrap();
        assert_eq!(found("openai/gpt-4"), ("openai/gpt-4", None));
        assert_eq!(found("openai/gpt-4o"), ("openai/gpt-*", Some("4o")));
        assert_eq!(found("openai/o3"), ("openai/*", Some("o3")));
        assert_eq!(found("claude"), ("*", Some("claude")));
        assert_eq!(found("gpt-4"), ("openai/gpt-4", None));
        assert!(table.resolve("").is_none());
    }

    #[test]
    fn a_model_never_falls_back_on_itself() {
        let table = table();
        let fallbacks = |model| {
            let group = table.resolve(model).unwrap().group;
            table.fallbacks(model, group).map(|route| route.group.name()).collect::<Vec<_>>()
        };
        assert_eq!(fallbacks("openai/gpt-4"), ["backup"]);
        assert_eq!(fallbacks("gpt-4"), ["backup"]);
        assert_eq!(fallbacks("backup"), ["openai/gpt-4"]);
    }

    #[test]
    fn patterns_and_hidden_aliases_are_not_listed_as_models() {
        let table = table();
        let names: Vec<_> = table.listed().map(|(name, _)| name).collect();
        assert_eq!(names, ["openai/gpt-4", "backup", "gpt-4"]);
        assert!(table.some_names().contains(&"openai/*".to_owned()));
    }

    #[test]
    fn an_alias_or_a_fallback_that_leads_nowhere_is_refused_by_name() {
        let build =
            |router: &RouterSettings| RouteTable::new(vec![deployment("m")], router).unwrap_err().to_string();
        let router = RouterSettings {
            model_group_alias: vec![("a".into(), alias("nowhere", false))],
            ..RouterSettings::default()
        };
        assert!(build(&router).contains("model_group_alias.a stands for `nowhere`"));
        let router =
            RouterSettings { fallbacks: vec![fallback("m", &["nowhere"])], ..RouterSettings::default() };
        assert!(build(&router).contains("fallbacks[0].m names `nowhere`"));
    }
}
