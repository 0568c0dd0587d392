//! What can be wrong with a configuration, in sentences a person can act on.

use std::{fmt, io, path::PathBuf};

use super::{
    location::{Location, join_index, join_key},
    nearest::nearest,
};

/// Why a configuration cannot be used. No text of it holds the value of a setting that could be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("cannot read the configuration file {}{}", path.display(), hint(source))]
    Unreadable {
        /// The file, as it was named.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The file holds bytes that are not UTF-8.
    #[error("{}:{line}: the configuration file is not UTF-8 text; save it as UTF-8", path.display())]
    NotUtf8 {
        /// The file, as it was named.
        path: PathBuf,
        /// The line of the first bad byte.
        line: usize,
    },
    /// The file holds nothing but comments and white space.
    #[error("the configuration file {} is empty; it needs at least `model_list` and `general_settings`", path.display())]
    Empty {
        /// The file, as it was named.
        path: PathBuf,
    },
    /// The file is not YAML.
    #[error("{}{}: this is not valid YAML: {message}", path.display(), suffix(*location))]
    Syntax {
        /// The file, as it was named.
        path: PathBuf,
        /// Where the parser stopped.
        location: Option<Location>,
        /// What the parser said; it quotes nothing of the file.
        message: String,
    },
    /// A setting is wrong.
    #[error("{}{}: {fault}", path.display(), suffix(fault.location))]
    Setting {
        /// The file, as it was named.
        path: PathBuf,
        /// Which setting, where, and what is wrong with it.
        fault: Box<Fault>,
    },
}

/// A setting and what is wrong with it.
#[derive(Debug, Default)]
pub struct Fault {
    /// The path of the setting; empty for the whole file.
    pub setting: String,
    /// Where it stands, when that is known.
    pub location: Option<Location>,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The value is of another type.
    #[error("expected {expected}, found {found}{}", quote_hint(expected, found))]
    WrongType {
        /// What fits.
        expected: String,
        /// What is there, in kind and never in content.
        found: String,
    },
    /// The value is none of those that are possible.
    #[error("`{value}` is not one of {}{}", list(known), did_you_mean(value, known))]
    UnknownValue {
        /// What is there.
        value: String,
        /// What is possible.
        known: Vec<&'static str>,
    },
    /// The key is none of those that are known here.
    #[error("unknown key `{key}`{}; known here: {}", did_you_mean(key, known), list(known))]
    UnknownKey {
        /// What is there.
        key: String,
        /// What is known.
        known: Vec<&'static str>,
    },
    /// A key that is needed is not there.
    #[error("the key `{0}` is missing; add it")]
    MissingKey(&'static str),
    /// One key stands twice in a mapping.
    #[error("the key `{0}` stands twice in one mapping; remove one of them")]
    DuplicateKey(String),
    /// Whatever else: a sentence that says why and what to do.
    #[error("{0}")]
    Refused(String),
}

impl Fault {
    pub(super) fn new(setting: impl Into<String>, location: Option<Location>, problem: Problem) -> Self {
        Self { setting: setting.into(), location, problem }
    }

    pub(super) fn refused(
        setting: impl Into<String>,
        location: Option<Location>,
        why: impl Into<String>,
    ) -> Self {
        Self::new(setting, location, Problem::Refused(why.into()))
    }

    /// The fault as seen from the mapping that holds `key`.
    pub(super) fn inside_key(self, key: &str, location: Option<Location>) -> Self {
        self.inside(&join_key("", key), location)
    }

    /// The fault as seen from the list that holds the item.
    pub(super) fn inside_index(self, index: usize, location: Option<Location>) -> Self {
        self.inside(&join_index("", index), location)
    }

    /// The fault with a place, unless a nearer one is known.
    pub(super) fn or_at(mut self, location: Option<Location>) -> Self {
        self.location = self.location.or(location);
        self
    }

    fn inside(mut self, segment: &str, location: Option<Location>) -> Self {
        let joint = if self.setting.is_empty() || self.setting.starts_with('[') { "" } else { "." };
        self.setting = format!("{segment}{joint}{}", self.setting);
        self.or_at(location)
    }
}

impl Default for Problem {
    fn default() -> Self {
        Problem::Refused(String::new())
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.setting.is_empty() {
            write!(f, "{}: ", self.setting)?;
        }
        write!(f, "{}", self.problem)
    }
}

/// `; did you mean ...?` when something is near.
pub(super) fn did_you_mean(written: &str, known: &[&str]) -> String {
    nearest(written, known.iter().copied())
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default()
}

fn list(known: &[&str]) -> String {
    known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn suffix(location: Option<Location>) -> String {
    location.map(|location| format!(":{location}")).unwrap_or_default()
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "; check the path given with --config",
        io::ErrorKind::PermissionDenied => "; let the user that runs this process read it",
        io::ErrorKind::IsADirectory => "; name the file in it",
        _ => "",
    }
}

fn quote_hint(expected: &str, found: &str) -> &'static str {
    if found == "nothing" {
        return "; give it a value or remove the key";
    }
    let scalar = matches!(found, "a number" | "a boolean");
    if scalar && expected.contains("text") { "; put it in quotes" } else { "" }
}
