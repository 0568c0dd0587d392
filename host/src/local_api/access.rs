//! Who may read what, and what the manager's answers mean for a reader.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keyway_plugin_api::{ErrorKind, Secret, SecretManager, SecretName};

use crate::{
    config::{Config, Env, LocalApiSettings, OIDC_PREFIX, OnError, PREFIX, Reference},
    service::{
        AuditLog, Caller, Policy, Resolver,
        audit::{Event, Happening},
        resolver::{Answer, ResolveError},
    },
};

/// What the readers of one configuration may have.
pub struct Access {
    settings: LocalApiSettings,
    resolver: Resolver,
    timeout: Duration,
    /// The name of what is asked.
    manager: String,
    audit: Option<AuditLog>,
}

/// Why a reader gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The reader may not have this name, whether there is such a secret or not.
    NotAllowed,
    /// No secret can have this name.
    InvalidName,
    /// The manager says that there is none.
    NotFound,
    /// The manager fails.
    Unavailable {
        /// How.
        kind: ErrorKind,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl Access {
    /// The access that a configuration gives to its manager; `None` when it gives none.
    ///
    /// `manager` is asked as a reference of the configuration would ask it, so that `hosted_keys`, `access_mode` and
    /// `primary_secret_name` hold; the environment never answers. It logs itself what it is asked; what is refused
    /// without asking it goes to `audit`.
    pub fn new(
        config: &Config,
        manager: Option<(String, Arc<dyn SecretManager>)>,
        audit: Option<AuditLog>,
    ) -> Option<Self> {
        let settings = config.keyway.local_api.clone()?;
        let policy = Policy { on_error: OnError::Fail, ..Policy::new(config) };
        let timeout = policy.timeout;
        let nothing = Env::from_vars::<String, Secret>([]);
        let name = manager.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        let resolver = Resolver::new(manager, policy, nothing);
        Some(Access { settings, resolver, timeout, manager: name, audit })
    }

    /// Says so when a reload changed what only a start can change: the socket itself.
    pub fn tell_of_change(before: Option<&Access>, now: Option<&Access>) {
        let path = |access: Option<&Access>| access.map(|access| access.settings.path.clone());
        if path(before) != path(now) {
            tracing::warn!("keyway.local_api.path has changed, which takes effect at the next start");
        }
    }

    /// The time that a read may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The value of a secret for a user of this machine.
    pub(super) async fn read(&self, uid: u32, name: &str) -> Result<Arc<Secret>, Refusal> {
        let started = Instant::now();
        let reference = match self.allowed(uid, name) {
            Ok(reference) => reference,
            Err(refusal) => return Err(self.logged(uid, name, refusal, started).await),
        };
        let outcome = self.resolver.resolve_all(&[reference]).await.into_iter().next();
        match outcome.map(|outcome| outcome.result) {
            Some(Ok(resolved)) => Ok(resolved.value),
            Some(Err(error)) => match Refusal::from(&error) {
                // Of all answers, only this one is given without the manager.
                Refusal::NotAllowed => Err(self.logged(uid, name, Refusal::NotAllowed, started).await),
                refusal => Err(refusal),
            },
            None => Err(Refusal::Unavailable { kind: ErrorKind::Internal, retry_after: None }),
        }
    }

    /// What a name refers to, when the user may have it.
    fn allowed(&self, uid: u32, name: &str) -> Result<Reference, Refusal> {
        let name = SecretName::new(name).map_err(|_| Refusal::InvalidName)?;
        // A store that takes names for paths would find another name behind them than the one that is allowed.
        if name.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(Refusal::InvalidName);
        }
        // A token of the host itself is no secret of its manager.
        if name.starts_with(OIDC_PREFIX) || !self.allows(uid, &name) {
            return Err(Refusal::NotAllowed);
        }
        Reference::new(format!("{PREFIX}{name}"), Vec::new()).ok_or(Refusal::InvalidName)
    }

    /// Writes a refusal to the audit log.
    async fn logged(&self, uid: u32, name: &str, refusal: Refusal, started: Instant) -> Refusal {
        let Some(audit) = &self.audit else { return refusal };
        let event = Event {
            event: Happening::HandedOut,
            caller: Caller::Named(format!("uid:{uid}").into()),
            operation: "read",
            manager: &self.manager,
            name: refusal.shown(name),
            outcome: refusal.class(),
            latency: started.elapsed(),
            cache: None,
            generation: None,
        };
        // Where it cannot be written, which the log itself tells, nothing is handed out either.
        let _ = audit.record(&event).await;
        refusal
    }

    fn allows(&self, uid: u32, name: &str) -> bool {
        let mut grants = self.settings.allow.iter().filter(|grant| grant.uid == uid);
        grants.any(|grant| grant.names.iter().any(|names| names.contain(name)))
    }
}

impl From<&ResolveError> for Refusal {
    fn from(error: &ResolveError) -> Self {
        let unavailable = |kind, retry_after| Refusal::Unavailable { kind, retry_after };
        match error.asked.first() {
            Some(Answer::NotFound { .. } | Answer::Empty { .. } | Answer::NoField { .. }) => {
                Refusal::NotFound
            }
            Some(Answer::NotAsked(_)) => Refusal::NotAllowed,
            Some(Answer::Failed { error, .. }) if error.kind() == ErrorKind::InvalidName => {
                Refusal::InvalidName
            }
            Some(Answer::Failed { error, .. }) => unavailable(error.kind(), error.retry_after()),
            Some(Answer::BadPrimary { .. }) => unavailable(ErrorKind::InvalidConfig, None),
            _ => unavailable(ErrorKind::Internal, None),
        }
    }
}

impl Refusal {
    /// What of a name is logged: what cannot be one could be anything.
    pub(super) fn shown(self, name: &str) -> &str {
        if self == Refusal::InvalidName { "" } else { name }
    }

    /// The class, as it stands in answers and in the audit.
    pub(super) fn class(self) -> &'static str {
        match self {
            Refusal::NotAllowed => "NOT_ALLOWED",
            Refusal::InvalidName => ErrorKind::InvalidName.as_str(),
            Refusal::NotFound => ErrorKind::NotFound.as_str(),
            Refusal::Unavailable { kind, .. } => kind.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Mutex};

    use keyway_plugin_api::{Error, ReadRequest, Result as ManagerResult, async_trait};

    use super::*;
    use crate::config;

    #[derive(Default)]
    struct Store {
        asked: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl SecretManager for Store {
        async fn async_read_secret(&self, request: &ReadRequest) -> ManagerResult<Secret> {
            self.asked.lock().unwrap().push(request.name.to_string());
            match request.name.as_str() {
                "A" | "team/x" => Ok("value".into()),
                "EMPTY" => Ok("".into()),
                "JSON" => Ok("{\"FIELD\": \"of the object\"}".into()),
                "AWAY" => {
                    Err(Error::new(ErrorKind::Throttled, "canary").with_retry_after(Duration::from_secs(7)))
                }
                "BAD" => Err(Error::new(ErrorKind::InvalidName, "canary")),
                name => Err(Error::not_found(name)),
            }
        }
    }

    fn access(settings: &str, own: &str) -> (Access, Arc<Store>) {
        let text = format!(
            "general_settings:\n  key_management_system: custom\n  key_management_settings: {{custom_secret_manager: a.B{settings}}}\n\
             keyway:\n  local_api: {{path: /run/k/s, allow: {{1: ['*'], 2: [A, FIELD, team/*], 3: [A]}}}}\n{own}"
        );
        let env = Env::from_vars([("GONE", "canary")]);
        let config = config::parse(&text, Path::new("config.yaml"), env).unwrap();
        let store = Arc::new(Store::default());
        let manager: Arc<dyn SecretManager> = store.clone();
        (Access::new(&config, Some(("a.B".to_owned(), manager)), None).unwrap(), store)
    }

    async fn read(access: &Access, uid: u32, name: &str) -> Result<String, Refusal> {
        access.read(uid, name).await.map(|value| value.expose_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn each_user_has_its_names_and_nobody_else_has_any() {
        let (access, store) = access("", "");
        for (uid, name) in [(1, "A"), (1, "team/x"), (2, "team/x"), (3, "A")] {
            assert_eq!(read(&access, uid, name).await.as_deref(), Ok("value"), "{uid} {name}");
        }
        let asked = store.asked.lock().unwrap().len();
        for (uid, name) in [(0, "A"), (4, "A"), (3, "team/x"), (3, "GONE"), (2, "team"), (2, "AB")] {
            assert_eq!(read(&access, uid, name).await, Err(Refusal::NotAllowed), "{uid} {name}");
        }
        assert_eq!(store.asked.lock().unwrap().len(), asked, "a name that is not allowed was asked for");
    }

    #[tokio::test]
    async fn what_the_manager_says_is_told_by_its_class() {
        let (access, _) = access("", "  on_error: environment\n");
        assert_eq!(read(&access, 1, "GONE").await, Err(Refusal::NotFound));
        assert_eq!(read(&access, 1, "EMPTY").await, Err(Refusal::NotFound));
        assert_eq!(read(&access, 1, "BAD").await, Err(Refusal::InvalidName));
        let retry_after = Some(Duration::from_secs(7));
        let away = Refusal::Unavailable { kind: ErrorKind::Throttled, retry_after };
        assert_eq!(read(&access, 1, "AWAY").await, Err(away));
    }

    #[tokio::test]
    async fn no_name_leads_past_the_manager() {
        let (access, store) = access("", "");
        for name in ["oidc/env/GONE", "oidc/file/etc/hostname"] {
            assert_eq!(read(&access, 1, name).await, Err(Refusal::NotAllowed), "{name}");
        }
        let dots = ["team/../A", "..", ".", "team/./x", "team/..", "../A", "team/x/.."];
        for name in ["", "a\nb", "a\0b", &"x".repeat(3000)].into_iter().chain(dots) {
            assert_eq!(read(&access, 1, name).await, Err(Refusal::InvalidName), "{name}");
            assert_eq!(read(&access, 2, name).await, Err(Refusal::InvalidName), "{name}");
        }
        assert!(store.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn hosted_keys_and_the_primary_secret_hold() {
        let (hosted, store) = access(", hosted_keys: [A]", "");
        assert_eq!(read(&hosted, 1, "A").await.as_deref(), Ok("value"));
        assert_eq!(read(&hosted, 1, "team/x").await, Err(Refusal::NotAllowed));
        assert_eq!(*store.asked.lock().unwrap(), ["A"]);
        let (primary, _) = access(", primary_secret_name: JSON", "");
        assert_eq!(read(&primary, 2, "FIELD").await.as_deref(), Ok("of the object"));
        assert_eq!(read(&primary, 2, "A").await, Err(Refusal::NotFound));
    }
}
