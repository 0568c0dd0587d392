//! Managers that are made of other managers, and managers that get their own secrets from another one.

use std::time::Duration;

use super::{
    error::{Fault, did_you_mean},
    file::{self, OnMemberError},
    managers::{ManagerSettings, ManagerSource, refused},
    node::{Node, Yaml},
};

const MANAGERS: [&str; 2] = ["keyway", "managers"];

/// The group that an entry describes and the key that says so; `None` when it is a plugin.
pub(super) fn source(
    raw: &mut file::Manager,
    name: &str,
    root: &Node,
) -> Result<Option<(ManagerSource, &'static str)>, Fault> {
    let at = |key, why: String| refused(root, &[MANAGERS[0], MANAGERS[1], name, key], why);
    let (key, source) = match (raw.chain.take(), raw.replicas.take()) {
        (Some(_), Some(_)) => {
            let why = "a manager is a chain or a replica set, not both; give one of them a name of its own and name it in the other";
            return Err(at("replicas", why.to_owned()));
        }
        (Some(members), None) => {
            ("chain", ManagerSource::Chain { members, on_error: raw.on_error.take().unwrap_or_default() })
        }
        (None, Some(members)) => ("replicas", ManagerSource::Replicas { members }),
        (None, None) => {
            return match raw.on_error {
                None => Ok(None),
                Some(OnMemberError::Fail | OnMemberError::Next) => {
                    Err(at("on_error", "is a setting of a `chain`, and this is none; remove it".to_owned()))
                }
            };
        }
    };
    if raw.on_error.is_some() {
        let why = "a replica set always goes on to the next healthy member; remove this key, which is for a `chain`";
        return Err(at("on_error", why.to_owned()));
    }
    let misplaced = [
        ("plugin", raw.plugin.is_some()),
        ("config", raw.config.is_some()),
        ("secrets_from", raw.secrets_from.is_some()),
        ("sha256", raw.sha256.is_some()),
        ("isolation", raw.isolation.is_some()),
        ("max_in_flight", raw.max_in_flight.is_some()),
        ("budget", raw.budget.is_some()),
    ];
    match misplaced.into_iter().find(|(_, present)| *present) {
        Some((misplaced, _)) => {
            let why = format!(
                "is a setting of a plugin, and a manager with `{key}` has none; give it to the members"
            );
            Err(at(misplaced, why))
        }
        None => Ok(Some((source, key))),
    }
}

/// Refuses names that no manager has, members that stand twice, and circles.
pub(super) fn check(managers: &[ManagerSettings], root: &Node) -> Result<(), Fault> {
    let known: Vec<&str> = managers.iter().map(|manager| manager.name.as_str()).collect();
    for manager in managers {
        let key = key(manager);
        let at = |why: String| refused(root, &[MANAGERS[0], MANAGERS[1], &manager.name, key], why);
        if manager.plugin().is_none() && manager.members().is_empty() {
            return Err(at("is empty; name at least one entry of `keyway.managers`".to_owned()));
        }
        for (index, name) in manager.members().iter().enumerate() {
            if manager.members()[..index].contains(name) {
                return Err(at(format!("`{name}` stands twice; remove one of them")));
            }
        }
        for name in needs(manager) {
            if !known.contains(&name) {
                let hint = did_you_mean(name, &known);
                return Err(at(format!("`{name}` is not a name under `keyway.managers`{hint}")));
            }
        }
    }
    for manager in managers {
        if let Some(circle) = circle(&mut vec![&manager.name], manager, managers) {
            let path = circle.join(" -> ");
            let why = format!("the managers need each other in a circle, {path}; take one of them out");
            return Err(refused(root, &[MANAGERS[0], MANAGERS[1], circle[0], key(manager)], why));
        }
    }
    Ok(())
}

/// Gives each group what follows from its members. There must be no circles.
pub(super) fn settle(managers: &mut [ManagerSettings], root: &Node) {
    let settled: Vec<(Duration, u32)> =
        managers.iter().map(|manager| follows(manager, managers, root)).collect();
    for (manager, (timeout, max_in_flight)) in managers.iter_mut().zip(settled) {
        (manager.timeout, manager.max_in_flight) = (timeout, max_in_flight);
    }
}

/// A manager after all that it needs, each once; nothing when there is no such manager. There must be no circles.
pub(super) fn needed(name: &str, managers: &[ManagerSettings]) -> Vec<ManagerSettings> {
    fn visit(name: &str, managers: &[ManagerSettings], found: &mut Vec<ManagerSettings>) {
        let Some(manager) = find(name, managers) else { return };
        if found.iter().all(|known| known.name != name) {
            needs(manager).for_each(|name| visit(name, managers, found));
            found.push(manager.clone());
        }
    }
    let mut found = Vec::new();
    visit(name, managers, &mut found);
    found
}

/// The names of a manager and of all that it needs, in a tree of which nothing is proven yet.
pub(super) fn used(root: &Node, name: String) -> Vec<String> {
    let mut names = vec![name];
    let mut next = 0;
    while let Some(name) = names.get(next) {
        let entry = root.at(&[MANAGERS[0], MANAGERS[1], name]);
        let mut needed = Vec::new();
        for key in ["chain", "replicas", "secrets_from"] {
            match entry.and_then(|entry| entry.get(key)).map(|node| &node.value) {
                Some(Yaml::List(items)) => needed.extend(items.iter().filter_map(Node::text)),
                Some(Yaml::Text(text)) => needed.push(text),
                _ => {}
            }
        }
        let new: Vec<String> = needed
            .into_iter()
            .filter(|name| !names.iter().any(|known| known == name))
            .map(str::to_owned)
            .collect();
        names.extend(new);
        next += 1;
    }
    names
}

fn find<'a>(name: &str, managers: &'a [ManagerSettings]) -> Option<&'a ManagerSettings> {
    managers.iter().find(|manager| manager.name == name)
}

fn needs(manager: &ManagerSettings) -> impl Iterator<Item = &str> {
    let secrets = manager.plugin().and_then(|plugin| plugin.secrets_from.as_deref());
    manager.members().iter().map(String::as_str).chain(secrets)
}

fn key(manager: &ManagerSettings) -> &'static str {
    match manager.source {
        ManagerSource::Plugin(_) => "secrets_from",
        ManagerSource::Chain { .. } => "chain",
        ManagerSource::Replicas { .. } => "replicas",
    }
}

/// The way from the first name of `path` back to it, when there is one.
fn circle<'a>(
    path: &mut Vec<&'a str>,
    manager: &'a ManagerSettings,
    managers: &'a [ManagerSettings],
) -> Option<Vec<&'a str>> {
    for name in needs(manager) {
        if path.first() == Some(&name) {
            path.push(name);
            return Some(path.clone());
        }
        // A circle further on is found from one of its own members.
        if path.contains(&name) {
            continue;
        }
        path.push(name);
        let further = find(name, managers).and_then(|manager| circle(path, manager, managers));
        if further.is_some() {
            return further;
        }
        path.pop();
    }
    None
}

fn follows(manager: &ManagerSettings, managers: &[ManagerSettings], root: &Node) -> (Duration, u32) {
    let members = manager.members().iter().filter_map(|name| find(name, managers));
    let members: Vec<(Duration, u32)> = members.map(|member| follows(member, managers, root)).collect();
    if members.is_empty() {
        return (manager.timeout, manager.max_in_flight);
    }
    let told = root.at(&[MANAGERS[0], MANAGERS[1], &manager.name, "timeout"]).is_some();
    let together = members.iter().fold(Duration::ZERO, |sum, (timeout, _)| sum.saturating_add(*timeout));
    let smallest = members.iter().map(|(_, max_in_flight)| *max_in_flight).min();
    (if told { manager.timeout } else { together }, smallest.unwrap_or(manager.max_in_flight))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Env, parse};
    use super::*;

    const CUSTOM: &str = "general_settings:\n  key_management_system: custom\n  key_management_settings:\n    custom_secret_manager: all\n";

    fn load(managers: &str) -> Result<Config, String> {
        let text = format!("{CUSTOM}keyway:\n  managers:\n{managers}");
        let env = Env::from_vars([("TOKEN", "sk-test-not-a-key")]);
        parse(&text, Path::new("config.yaml"), env).map_err(|error| error.to_string())
    }

    #[test]
    fn a_group_needs_each_member_once_and_before_itself() {
        let config = load(
            "    all: {chain: [both, old], on_error: next}\n    both: {replicas: [us, eu]}\n    us: {plugin: a.B, timeout: 2s, max_in_flight: 8, secrets_from: old}\n    eu: {plugin: a.B, timeout: 3s, budget: {calls_per_minute: 60}}\n    old: {plugin: c.D, timeout: 1s}\n    idle: {chain: [old]}\n",
        );
        let settings = config.unwrap().key_management.unwrap();
        let names: Vec<&str> = settings.needed.iter().map(|manager| manager.name.as_str()).collect();
        assert_eq!(names, ["old", "us", "eu", "both"]);
        let budgets: Vec<Option<u32>> =
            settings.needed.iter().map(|manager| manager.calls_per_minute.map(|calls| calls.get())).collect();
        assert_eq!(budgets, [None, None, Some(60), None]);
        assert_eq!(settings.manager.name, "all");
        assert_eq!((settings.manager.timeout, settings.manager.max_in_flight), (Duration::from_secs(6), 8));
        assert!(matches!(
            settings.manager.source,
            ManagerSource::Chain { on_error: OnMemberError::Next, .. }
        ));
    }

    #[test]
    fn a_member_that_nobody_knows_is_refused_with_the_nearest_name() {
        let error =
            load("    all: {chain: [primary, legacy]}\n    primary: {}\n    legacie: {}\n").unwrap_err();
        assert_eq!(
            error,
            "config.yaml:7:19: keyway.managers.all.chain: `legacy` is not a name under `keyway.managers`; did you mean `legacie`?"
        );
        let error = load("    all: {secrets_from: nobody}\n").unwrap_err();
        assert!(error.contains("keyway.managers.all.secrets_from: `nobody` is not a name"), "{error}");
    }

    #[test]
    fn a_circle_is_refused_with_its_path() {
        let error = load(
            "    all: {chain: [a]}\n    a: {replicas: [b]}\n    b: {secrets_from: c}\n    c: {chain: [a]}\n",
        );
        let error = error.unwrap_err();
        assert!(error.contains("keyway.managers.a.replicas: "), "{error}");
        assert!(error.contains("a -> b -> c -> a"), "{error}");
        let error = load("    all: {secrets_from: all}\n").unwrap_err();
        assert!(error.contains("all -> all"), "{error}");
    }

    #[test]
    fn half_set_groups_are_refused() {
        for (entry, expected) in [
            ("{chain: []}", "config.yaml:7:11: keyway.managers.all.chain: is empty"),
            ("{chain: }", "keyway.managers.all.chain: expected"),
            ("{plugin: a.B, sha256: }", "keyway.managers.all.sha256: expected"),
            (
                "{chain: [m], budget: {calls_per_minute: 1}}",
                "keyway.managers.all.budget: is a setting of a plugin",
            ),
            (
                "{replicas: [m], budget: {calls_per_minute: 1}}",
                "keyway.managers.all.budget: is a setting of a plugin",
            ),
            ("{chain: [m, m]}", "`m` stands twice"),
            ("{chain: [m], replicas: [m]}", "not both"),
            ("{replicas: [m], on_error: next}", "keyway.managers.all.on_error: a replica set"),
            ("{plugin: a.B, on_error: next}", "is a setting of a `chain`"),
            ("{chain: [m], plugin: a.B}", "keyway.managers.all.plugin: is a setting of a plugin"),
            ("{chain: [m], config: {}}", "keyway.managers.all.config: is a setting of a plugin"),
            ("{chain: [m], on_error: stop}", "`stop` is not one of"),
            ("{budget: {calls_per_minute: 0}}", "keyway.managers.all.budget: "),
        ] {
            let error = load(&format!("    all: {entry}\n    m: {{}}\n")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn references_of_every_used_manager_come_from_the_environment_unless_another_manager_has_them() {
        let managers = "    all: {chain: [a, b]}\n    a: {config: {t: os.environ/TOKEN}}\n    b: {config: {t: os.environ/ELSEWHERE}, secrets_from: a}\n    idle: {config: {t: os.environ/NOWHERE}}\n";
        let needed = load(managers).unwrap().key_management.unwrap().needed;
        let token = |index: usize| needed[index].plugin().unwrap().config["t"].clone();
        assert_eq!((token(0), token(1)), ("sk-test-not-a-key".into(), "os.environ/ELSEWHERE".into()));
        let error = load(&managers.replace("TOKEN", "NOWHERE")).unwrap_err();
        assert!(
            error.contains("keyway.managers.a.config.t: os.environ/NOWHERE cannot be resolved"),
            "{error}"
        );
    }
}
