//! Gives each reference of the configuration its value: from the manager, the environment or the platform.

mod error;
mod primary;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use keyway_plugin_api::{
    ErrorKind, OptionalParams, ReadRequest, Secret, SecretManager, SecretName, request::DEFAULT_TIMEOUT,
};

pub use self::error::{Answer, NotAsked, PrimaryFault, ResolveError, Unresolved};
use super::oidc::{DEFAULT_DIRECTORIES, OidcReference};
use crate::config::{AccessMode, Config, DEFAULT_MAX_IN_FLIGHT, Env, OnError, Reference};
use crate::redact;

/// What a manager may be asked for, and what its answers mean.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which operations the manager may be asked for.
    pub access_mode: AccessMode,
    /// The only names that it may be asked for; `None` for all names.
    pub hosted_keys: Option<HashSet<String>>,
    /// The one JSON secret whose fields are the secrets.
    pub primary_secret_name: Option<String>,
    /// What an error of the manager means.
    pub on_error: OnError,
    /// What every request carries for the plugin.
    pub optional_params: OptionalParams,
    /// The time that one read may take.
    pub timeout: Duration,
    /// How many reads may be under way at once.
    pub max_in_flight: usize,
}

/// Resolves references.
pub struct Resolver {
    manager: Option<(String, Arc<dyn SecretManager>)>,
    policy: Policy,
    env: Env,
    oidc_directories: Arc<[PathBuf]>,
}

/// A reference and what became of it.
#[derive(Debug)]
pub struct Outcome {
    /// The reference.
    pub reference: Reference,
    /// Its value, or why it has none.
    pub result: Result<Resolved, ResolveError>,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The value, byte by byte as it was found.
    pub value: Arc<Secret>,
    /// Where it was found.
    pub source: Source,
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The manager of this name has it as a secret, or as a field of its primary secret.
    Manager {
        /// The manager.
        name: String,
    },
    /// The environment has it.
    Environment {
        /// Why the manager does not.
        why: EnvironmentReason,
    },
    /// The platform provides it as a file or a variable.
    Oidc,
}

/// Why the environment was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentReason {
    /// The manager has no such secret, or an empty one.
    NotFound,
    /// The manager was not asked.
    NotAsked(NotAsked),
    /// The manager failed, and `keyway.on_error` is `environment`.
    FellBack(ErrorKind),
}

/// What the primary secret was when it was fetched, for all references of one round.
type Primary = Option<Result<Secret, Answer>>;

impl Policy {
    /// The policy that a configuration describes.
    pub fn new(config: &Config) -> Self {
        let settings = config.key_management.as_ref();
        let manager = settings.map(|settings| &settings.manager);
        let max_in_flight = manager.map_or(DEFAULT_MAX_IN_FLIGHT, |manager| manager.max_in_flight);
        Self {
            access_mode: settings.map(|settings| settings.access_mode).unwrap_or_default(),
            hosted_keys: settings
                .and_then(|settings| Some(settings.hosted_keys.clone()?.into_iter().collect())),
            primary_secret_name: settings.and_then(|settings| settings.primary_secret_name.clone()),
            on_error: config.keyway.on_error,
            optional_params: settings.map(|settings| settings.optional_params.clone()).unwrap_or_default(),
            timeout: manager.map_or(DEFAULT_TIMEOUT, |manager| manager.timeout),
            max_in_flight: usize::try_from(max_in_flight).unwrap_or(usize::MAX),
        }
    }
}

impl Resolver {
    /// A resolver that asks a manager, when there is one, and `env`.
    pub fn new(manager: Option<(String, Arc<dyn SecretManager>)>, policy: Policy, env: Env) -> Self {
        let oidc_directories = DEFAULT_DIRECTORIES.map(PathBuf::from).into();
        Self { manager, policy, env, oidc_directories }
    }

    /// The resolver with other folders for `oidc/file/`.
    pub fn with_oidc_directories(mut self, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        self.oidc_directories = directories.into_iter().collect();
        self
    }

    /// How many reads may be under way at once.
    pub fn max_in_flight(&self) -> usize {
        self.policy.max_in_flight.max(1)
    }

    /// Whether a reference is a field of the primary secret, so that one fetch answers it together with the others.
    pub fn is_field(&self, reference: &Reference) -> bool {
        self.policy.primary_secret_name.is_some()
            && OidcReference::parse(reference.text()).is_none()
            && self.may_ask(reference.name()).is_ok()
    }

    /// Resolves references concurrently, each once; the outcomes stand in the order of the references.
    pub async fn resolve_all(&self, references: &[Reference]) -> Vec<Outcome> {
        let primary = &self.primary(references).await;
        let limit = self.max_in_flight();
        // By index: with borrowed items the future would not be Send for every lifetime.
        let outcomes: Vec<Outcome> = stream::iter(0..references.len())
            .map(|index| async move {
                let reference = &references[index];
                let result = self.resolve(reference, primary).await;
                Outcome { reference: reference.clone(), result }
            })
            .buffered(limit)
            .collect()
            .await;
        self.warn_of_fall_back(&outcomes);
        outcomes
    }

    async fn resolve(&self, reference: &Reference, primary: &Primary) -> Result<Resolved, ResolveError> {
        if let Some(oidc) = OidcReference::parse(reference.text()) {
            return self.token(oidc).await.map_err(|answer| unresolved(reference, vec![answer]));
        }
        let name = reference.name();
        let answer = match self.ask(name, primary).await {
            Ok(resolved) => return Ok(resolved),
            Err(answer) => answer,
        };
        let why = match &answer {
            Answer::NotAsked(why) => EnvironmentReason::NotAsked(*why),
            Answer::Failed { error, .. } if self.policy.on_error == OnError::Environment => {
                EnvironmentReason::FellBack(error.kind())
            }
            Answer::BadPrimary { .. } if self.policy.on_error == OnError::Environment => {
                EnvironmentReason::FellBack(ErrorKind::InvalidConfig)
            }
            Answer::Failed { .. } | Answer::BadPrimary { .. } => {
                return Err(unresolved(reference, vec![answer]));
            }
            _ => EnvironmentReason::NotFound,
        };
        match self.env.get(name) {
            Ok(value) => Ok(Resolved::new(value, Source::Environment { why })),
            Err(absent) => {
                let environment = Answer::Environment { name: name.to_owned(), absent };
                Err(unresolved(reference, vec![answer, environment]))
            }
        }
    }

    /// The manager's value, or its answer.
    async fn ask(&self, name: &str, primary: &Primary) -> Result<Resolved, Answer> {
        let (manager, client) = self.may_ask(name).map_err(Answer::NotAsked)?;
        let value = match (primary, &self.policy.primary_secret_name) {
            (Some(primary), Some(secret)) => {
                let fetched = primary.as_ref().map_err(Clone::clone)?;
                let (manager, secret) = (manager.to_owned(), secret.clone());
                match primary::field(fetched, name) {
                    Ok(Some(value)) => value,
                    Ok(None) => return Err(Answer::NoField { manager, secret }),
                    Err(fault) => return Err(Answer::BadPrimary { manager, secret, fault }),
                }
            }
            _ => self.read(manager, client, name).await?,
        };
        Ok(Resolved::new(value, Source::Manager { name: manager.to_owned() }))
    }

    fn may_ask(&self, name: &str) -> Result<(&str, &dyn SecretManager), NotAsked> {
        let (manager, client) = self.manager.as_ref().ok_or(NotAsked::NoManager)?;
        if self.policy.access_mode == AccessMode::WriteOnly {
            return Err(NotAsked::WriteOnly);
        }
        match &self.policy.hosted_keys {
            Some(hosted) if !hosted.contains(name) => Err(NotAsked::NotHosted),
            _ => Ok((manager, &**client)),
        }
    }

    /// Fetches the primary secret once, when there is one and any reference may be asked for.
    async fn primary(&self, references: &[Reference]) -> Primary {
        let secret = self.policy.primary_secret_name.as_deref()?;
        let names = references.iter().filter(|reference| OidcReference::parse(reference.text()).is_none());
        let (manager, client) = names.filter_map(|reference| self.may_ask(reference.name()).ok()).next()?;
        Some(self.read(manager, client, secret).await)
    }

    async fn read(&self, manager: &str, client: &dyn SecretManager, name: &str) -> Result<Secret, Answer> {
        let (manager, secret) = (manager.to_owned(), name.to_owned());
        let answer = match SecretName::new(name) {
            Ok(name) => {
                let request = ReadRequest {
                    optional_params: self.policy.optional_params.clone(),
                    timeout: self.policy.timeout,
                    ..ReadRequest::named(name)
                };
                client.async_read_secret(&request).await
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok(value) if value.is_empty() => Err(Answer::Empty { manager, secret }),
            Ok(value) => Ok(value),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Answer::NotFound { manager, secret }),
            Err(error) => Err(Answer::Failed { manager, secret, error: Arc::new(error) }),
        }
    }

    async fn token(&self, oidc: OidcReference) -> Result<Resolved, Answer> {
        let (env, directories) = (self.env.clone(), self.oidc_directories.clone());
        let read = tokio::task::spawn_blocking(move || oidc.read(&env, &directories)).await;
        let advice = "report it, since this is a fault of the host";
        let value = read.map_err(|error| Answer::Oidc { error: Arc::new(error), advice })??;
        Ok(Resolved::new(value, Source::Oidc))
    }

    /// Says once a round that the environment stood in for a failing manager, without the manager's words.
    fn warn_of_fall_back(&self, outcomes: &[Outcome]) {
        let mut fell_back = outcomes.iter().filter_map(|outcome| match &outcome.result {
            Ok(Resolved {
                source: Source::Environment { why: EnvironmentReason::FellBack(kind) }, ..
            }) => Some((outcome.reference.name(), *kind)),
            _ => None,
        });
        let Some((name, kind)) = fell_back.next() else { return };
        let others = fell_back.count();
        let manager = self.manager.as_ref().map(|(manager, _)| manager.as_str());
        tracing::warn!(manager, name, %kind, others, "the manager failed and the environment answered instead");
    }
}

/// Sorts the outcomes: the values, unless a reference that Keyway needs has none.
///
/// What fails in sections that Keyway has no use for is a warning in the log.
///
/// # Errors
/// Every failure of a required reference, all together.
pub fn required(outcomes: Vec<Outcome>) -> Result<Vec<(Reference, Resolved)>, Unresolved> {
    let total = outcomes.len();
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for Outcome { reference, result } in outcomes {
        match result {
            Ok(resolved) => values.push((reference, resolved)),
            Err(error) if reference.is_required() => errors.push(error),
            Err(error) => tracing::warn!(%error, "a reference without use here is not resolved"),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(Unresolved { errors, total }) }
}

fn unresolved(reference: &Reference, asked: Vec<Answer>) -> ResolveError {
    ResolveError { reference: reference.clone(), asked }
}

impl Resolved {
    fn new(value: Secret, source: Source) -> Self {
        let value = Arc::new(value);
        redact::learn(&value);
        Resolved { value, source }
    }
}

impl Source {
    /// In one word: the manager's name, `environment` or `oidc`.
    pub fn name(&self) -> &str {
        match self {
            Source::Manager { name } => name,
            Source::Environment { .. } => "environment",
            Source::Oidc => "oidc",
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Manager { name } => write!(f, "manager {name}"),
            Source::Environment { why } => match why {
                EnvironmentReason::NotFound => f.write_str("environment, since the manager does not have it"),
                EnvironmentReason::NotAsked(NotAsked::NoManager) => f.write_str("environment"),
                EnvironmentReason::NotAsked(why) => write!(f, "environment, since {why}"),
                EnvironmentReason::FellBack(kind) => {
                    write!(f, "environment, since the manager failed ({kind})")
                }
            },
            Source::Oidc => f.write_str("OIDC token of the platform"),
        }
    }
}
