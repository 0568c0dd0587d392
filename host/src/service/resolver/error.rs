//! Why a reference has no value: what was asked, and what each answered.

use std::{fmt, sync::Arc};

use keyway_plugin_api::{Error, ErrorKind};

use super::super::oidc::OidcError;
use crate::config::{Absent, Reference};

/// A reference that resolves nowhere.
///
/// The message holds the reference, each place where it stands, what every source answered and what to do;
/// never a value. The error of a manager is the [`std::error::Error::source`].
#[derive(Clone, Debug)]
pub struct ResolveError {
    /// The reference.
    pub reference: Reference,
    /// What was asked, in that order.
    pub asked: Vec<Answer>,
}

/// A source and what it answered, or why it was not asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The manager has no secret of this name.
    NotFound {
        /// The manager.
        manager: String,
        /// What it was asked for: the name, or the primary secret.
        secret: String,
    },
    /// The manager has an empty value, which counts as missing.
    Empty {
        /// The manager.
        manager: String,
        /// What it was asked for: the name, or the primary secret.
        secret: String,
    },
    /// The manager failed.
    Failed {
        /// The manager.
        manager: String,
        /// What it was asked for: the name, or the primary secret.
        secret: String,
        /// What it said.
        error: Arc<Error>,
    },
    /// The primary secret has no field of this name.
    NoField {
        /// The manager.
        manager: String,
        /// The primary secret.
        secret: String,
    },
    /// The primary secret, or the field, cannot be used.
    BadPrimary {
        /// The manager.
        manager: String,
        /// The primary secret.
        secret: String,
        /// What is wrong.
        fault: PrimaryFault,
    },
    /// The manager was not asked.
    NotAsked(NotAsked),
    /// The environment has no value.
    Environment {
        /// The variable.
        name: String,
        /// Why it has none.
        absent: Absent,
    },
    /// The platform has no token.
    Oidc {
        /// Why not.
        error: Arc<dyn std::error::Error + Send + Sync>,
        /// What to do about it.
        advice: &'static str,
    },
}

/// Why a manager was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// None is configured.
    NoManager,
    /// `access_mode` is `write_only`.
    WriteOnly,
    /// The name is not in `hosted_keys`.
    NotHosted,
}

/// What can be wrong with a primary secret; nothing of its content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimaryFault {
    /// It is not a JSON object.
    NotAnObject,
    /// The field is a list or an object.
    FieldNotScalar,
}

/// Every required reference that resolves nowhere.
#[derive(Debug)]
pub struct Unresolved {
    /// What failed, in the order of the file.
    pub errors: Vec<ResolveError>,
    /// The number of references that were resolved, or tried to be.
    pub total: usize,
}

impl ResolveError {
    /// The error of the manager, when it failed: what callers branch on.
    pub fn manager_error(&self) -> Option<&Error> {
        self.asked.iter().find_map(|answer| match answer {
            Answer::Failed { error, .. } => Some(&**error),
            _ => None,
        })
    }

    fn advice(&self) -> String {
        let name = self.reference.name();
        if let Some(error) = self.manager_error() {
            let first = match error.kind() {
                ErrorKind::Denied | ErrorKind::Unauthenticated => "give the manager's identity access to it",
                ErrorKind::InvalidName => "choose a name that the manager can hold",
                _ => "see that the manager works, then try again",
            };
            let environment = self.asked.iter().any(|answer| matches!(answer, Answer::Environment { .. }));
            let second = if environment {
                ", or set the environment variable"
            } else {
                "; with `keyway.on_error: environment` the environment would answer instead"
            };
            return format!("{first}{second}");
        }
        match self.asked.iter().find(|answer| !matches!(answer, Answer::Environment { .. })) {
            Some(Answer::BadPrimary { secret, .. }) => {
                format!(
                    "make {secret} a JSON object whose field {name} is text, or remove `primary_secret_name`"
                )
            }
            Some(Answer::NoField { secret, .. }) => {
                format!("add the field {name} to {secret}, or set the environment variable {name}")
            }
            Some(Answer::Oidc { advice, .. }) => (*advice).to_owned(),
            Some(Answer::NotAsked(NotAsked::NotHosted)) => {
                format!("add {name} to `hosted_keys`, or set the environment variable {name}")
            }
            Some(Answer::NotFound { secret, .. } | Answer::Empty { secret, .. }) if secret == name => {
                format!("write {name} to the manager, or set the environment variable {name}")
            }
            Some(Answer::NotFound { secret, .. } | Answer::Empty { secret, .. }) => format!(
                "write {secret} to the manager as a JSON object with a field {name}, or set the environment variable {name}"
            ),
            _ => format!("set the environment variable {name}"),
        }
    }
}

impl std::error::Error for ResolveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.asked.iter().find_map(|answer| match answer {
            Answer::Failed { error, .. } => Some(&**error as &(dyn std::error::Error + 'static)),
            Answer::Oidc { error, .. } => error.source(),
            _ => None,
        })
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reference.text() {
            // White space at an end would not be seen.
            text if text.trim() != text => write!(f, "cannot resolve {text:?}")?,
            text => write!(f, "cannot resolve {text}")?,
        }
        for (index, place) in self.reference.places().iter().enumerate() {
            write!(f, "{}{place}", if index == 0 { ", which stands at " } else { " and at " })?;
        }
        for (index, answer) in self.asked.iter().enumerate() {
            write!(f, "{}{answer}", if index == 0 { ": " } else { "; " })?;
        }
        write!(f, "; {}", self.advice())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::NotFound { manager, secret } => {
                write!(f, "manager {manager} answered NOT_FOUND for {secret}")
            }
            Answer::Empty { manager, secret } => {
                write!(
                    f,
                    "manager {manager} answered with an empty value for {secret}, which counts as missing"
                )
            }
            Answer::Failed { manager, secret, error } => {
                write!(f, "manager {manager} failed with {} for {secret}", error.kind())
            }
            Answer::NoField { manager, secret } => {
                write!(f, "the primary secret {secret} of manager {manager} has no such field with a value")
            }
            Answer::BadPrimary { manager, secret, fault } => {
                write!(f, "the primary secret {secret} of manager {manager} {fault}")
            }
            Answer::NotAsked(why) => write!(f, "no manager was asked, because {why}"),
            Answer::Environment { name, absent } => write!(f, "environment variable {name} {absent}"),
            Answer::Oidc { error, .. } => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for NotAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAsked::NoManager => "none is configured",
            NotAsked::WriteOnly => "`access_mode` is `write_only`",
            NotAsked::NotHosted => "the name is not in `hosted_keys`",
        })
    }
}

impl fmt::Display for PrimaryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrimaryFault::NotAnObject => "is not a JSON object",
            PrimaryFault::FieldNotScalar => "has a list or an object in this field",
        })
    }
}

impl std::error::Error for Unresolved {}

impl Unresolved {
    /// The message without what managers said of their failures but its class.
    pub fn without_causes(&self) -> String {
        let mut text = self.headline();
        for error in &self.errors {
            text.push_str(&format!("\n  - {error}"));
        }
        text
    }

    fn headline(&self) -> String {
        format!("{} of {} references cannot be resolved", self.errors.len(), self.total)
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        for error in &self.errors {
            write!(f, "\n  - {error}")?;
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                // A manager's words go to a terminal: nothing in them may move its cursor.
                write!(f, ": {}", error.to_string().replace(char::is_control, " "))?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl From<OidcError> for Answer {
    fn from(error: OidcError) -> Self {
        Answer::Oidc { advice: error.advice(), error: Arc::new(error) }
    }
}
