//! `keyway.local_api`: which users of this machine may read which secrets on a Unix socket.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    error::Fault,
    file::{AccessMode, KeyManagementSettings},
    location::join_key,
    managers::refused,
    node::Node,
    reference::PREFIX,
    units::OneOrMany,
};

/// Where the system lists its users.
const USERS: &str = "/etc/passwd";

/// The longest path that the address of a Unix socket holds, on every system.
const MAX_PATH_LEN: usize = 103;

/// A Unix socket on which other programs may read secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalApiSettings {
    /// The socket.
    pub path: PathBuf,
    /// Who may read what; nobody else may read anything.
    pub allow: Vec<Grant>,
}

/// What one user may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The user as the file names it.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// The secrets.
    pub names: Vec<Names>,
}

/// One or many names of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// This name.
    Exact(String),
    /// Every name that begins so.
    Prefix(String),
}

impl Names {
    /// Whether a name is among these.
    pub fn contain(&self, name: &str) -> bool {
        match self {
            Names::Exact(exact) => exact == name,
            Names::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct LocalApi {
    path: PathBuf,
    allow: BTreeMap<String, OneOrMany<String>>,
}

/// Proves the section; a relative path begins at `dir`.
pub(super) fn settings(raw: &LocalApi, root: &Node, dir: &Path) -> Result<LocalApiSettings, Fault> {
    let at = |key, why: String| refused(root, &["keyway", "local_api", key], why);
    if !cfg!(unix) {
        return Err(at(
            "path",
            "this system has no sockets that tell who connects; remove `local_api`".to_owned(),
        ));
    }
    let path = dir.join(&raw.path);
    if raw.path.file_name().is_none() {
        return Err(at(
            "path",
            "names no file; give the path of the socket, in a folder of its own".to_owned(),
        ));
    }
    if path.as_os_str().len() > MAX_PATH_LEN {
        let why = format!(
            "{} is longer than {MAX_PATH_LEN} bytes, the most that the address of a socket holds; choose a shorter one",
            path.display()
        );
        return Err(at("path", why));
    }
    if raw.allow.is_empty() {
        let why = "nobody could read anything; give users with the names that each may read";
        return Err(at("allow", why.to_owned()));
    }
    let allow = raw.allow.iter().map(|(user, names)| {
        let here = |why: String| {
            let path = ["keyway", "local_api", "allow", user];
            let setting = join_key("keyway.local_api.allow", user);
            Fault { setting, ..refused(root, &path, why) }
        };
        let uid = uid(user).map_err(here)?;
        let names = names.0.iter().map(|text| pattern(text)).collect::<Result<_, _>>().map_err(here)?;
        Ok(Grant { user: user.clone(), uid, names })
    });
    Ok(LocalApiSettings { path, allow: allow.collect::<Result<_, _>>()? })
}

/// Whether the manager's settings have anything that could be read.
pub(super) fn fits(manager: Option<&KeyManagementSettings>, root: &Node) -> Result<(), Fault> {
    let why = match manager.map(|manager| manager.access_mode.unwrap_or_default()) {
        None => {
            "there is no secret manager to read from; configure one in `general_settings`, or remove `local_api`"
        }
        Some(AccessMode::WriteOnly) => {
            "`access_mode` is `write_only`, so that nothing could be read; set it to `read_and_write`, or remove `local_api`"
        }
        Some(AccessMode::ReadOnly | AccessMode::ReadAndWrite) => return Ok(()),
    };
    Err(refused(root, &["keyway", "local_api"], why))
}

fn pattern(text: &str) -> Result<Names, String> {
    let bare = text.strip_prefix(PREFIX).unwrap_or(text);
    let (stem, is_prefix) = bare.strip_suffix('*').map_or((bare, false), |stem| (stem, true));
    match (stem.contains('*'), is_prefix) {
        (true, _) => {
            Err(format!("`{text}` has a `*` that is not at its end; only `prefix*` stands for many names"))
        }
        (false, true) => Ok(Names::Prefix(stem.to_owned())),
        (false, false) if stem.is_empty() => Err("a name is empty; write the name of a secret".to_owned()),
        (false, false) => Ok(Names::Exact(stem.to_owned())),
    }
}

fn uid(user: &str) -> Result<u32, String> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    let users = fs::read_to_string(USERS)
        .map_err(|error| format!("cannot look the user up in {USERS}: {error}; write the user's number"))?;
    uid_in(&users, user)
        .ok_or_else(|| format!("there is no such user in {USERS}; write a user's name, or its number"))
}

fn uid_in(users: &str, user: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, Env, parse};

    fn config(local_api: &str, settings: &str) -> Result<Config, ConfigError> {
        let text = format!(
            "general_settings:\n  key_management_system: custom\n  key_management_settings:\n    \
             custom_secret_manager: a.B\n{settings}keyway:\n  local_api:\n{local_api}"
        );
        parse(&text, Path::new("/etc/keyway/config.yaml"), Env::from_vars::<String, String>([]))
    }

    fn error(local_api: &str) -> String {
        config(local_api, "").unwrap_err().to_string()
    }

    #[test]
    fn users_are_numbers_or_names_and_many_names_are_a_prefix() {
        let allow =
            "    path: run/s.sock\n    allow:\n      1000: [A, os.environ/B, team/*]\n      root: '*'\n";
        let settings = config(allow, "").unwrap().keyway.local_api.unwrap();
        assert_eq!(settings.path, Path::new("/etc/keyway/run/s.sock"));
        assert_eq!(settings.allow[0].uid, 1000);
        let exact = |name: &str| Names::Exact(name.to_owned());
        assert_eq!(settings.allow[0].names, [exact("A"), exact("B"), Names::Prefix("team/".to_owned())]);
        assert_eq!((settings.allow[1].user.as_str(), settings.allow[1].uid), ("root", 0));
        assert_eq!(settings.allow[1].names, [Names::Prefix(String::new())]);
    }

    #[test]
    fn an_exact_name_is_no_prefix_and_a_prefix_no_part() {
        assert!(Names::Exact("A".to_owned()).contain("A") && !Names::Exact("A".to_owned()).contain("AB"));
        let team = Names::Prefix("team/".to_owned());
        assert!(team.contain("team/x") && !team.contain("team") && !team.contain("my/team/x"));
    }

    #[test]
    fn what_is_wrong_stands_at_its_line() {
        for (wrong, says) in [
            (
                "    path: /run/k/s\n    allow: {}\n",
                "config.yaml:8:5: keyway.local_api.allow: nobody could read",
            ),
            ("    path: /run/k/s\n", "the key `allow` is missing"),
            (
                "    path: /run/k/s\n    allow: {0: [a*b]}\n",
                "config.yaml:8:17: keyway.local_api.allow.0: `a*b` has a `*`",
            ),
            ("    path: /run/k/s\n    allow: {0: ['']}\n", "a name is empty"),
            (
                "    path: /run/k/s\n    allow: {no-such-user: [A]}\n",
                "allow.no-such-user: there is no such user",
            ),
            ("    path: /\n    allow: {0: [A]}\n", "keyway.local_api.path: names no file"),
        ] {
            let error = error(wrong);
            assert!(error.contains(says), "{error}");
        }
        let long = format!("    path: /run/{}\n    allow: {{0: [A]}}\n", "x".repeat(100));
        assert!(error(&long).contains("is longer than 103 bytes"));
    }

    #[test]
    fn it_needs_a_manager_that_may_be_read() {
        let allow = "    path: /run/k/s\n    allow: {0: [A]}\n";
        let error = config(allow, "    access_mode: write_only\n").unwrap_err().to_string();
        assert!(error.contains("keyway.local_api: `access_mode` is `write_only`"), "{error}");
        let alone = format!("keyway:\n  local_api:\n{allow}");
        let error =
            parse(&alone, Path::new("c"), Env::from_vars::<String, String>([])).unwrap_err().to_string();
        assert!(error.contains("there is no secret manager to read from"), "{error}");
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nappy:x:7:7::/:\napp:x:1000:1000::/home/app:\n";
        assert_eq!(uid_in(users, "app"), Some(1000));
        assert_eq!(uid_in(users, "ap"), None);
    }
}
