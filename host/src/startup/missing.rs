//! What a start does while secrets are missing or their manager is not healthy: it fails, waits, or goes on without.

use std::{sync::Arc, time::Duration};

use keyway_plugin_api::{Error, ErrorKind, SecretManager};
use tokio::time::Instant;

use super::{Generation, StartError, until::Until};
use crate::{
    config::{Config, OnMissing},
    registry::Managers,
    service::{Keeper, Outcome, ResolveError, Resolver, Unresolved},
};

/// How often a start that waits tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it says what it waits for, if that has not changed.
const WORD: Duration = Duration::from_secs(10);

/// How long a start may wait yet, and what it said last.
pub(super) struct Patience {
    on_missing: OnMissing,
    began: Instant,
    deadline: Instant,
    said: Option<(String, Instant)>,
}

impl Patience {
    pub(super) fn new(config: &Config) -> Self {
        let startup = config.keyway.startup;
        let began = Instant::now();
        let deadline = began + startup.deadline;
        Patience { on_missing: startup.on_missing, began, deadline, said: None }
    }

    /// When a try that is under way is cut off; only a start that waits has such a moment.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.on_missing == OnMissing::Wait).then_some(self.deadline)
    }

    /// The error of a start that waited in vain.
    pub(super) fn out_of_time(&self, failure: StartError) -> StartError {
        StartError::OutOfTime { waited: self.began.elapsed(), source: Box::new(failure) }
    }

    /// Says what is waited for and lets a moment pass.
    ///
    /// # Errors
    /// `failure` itself when nothing is waited for, and that it was waited for in vain after the deadline.
    pub(super) async fn wait(&mut self, what: String, failure: StartError) -> Result<(), StartError> {
        if self.on_missing != OnMissing::Wait {
            return Err(failure);
        }
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(self.out_of_time(failure));
        }
        let is_news = self.said.as_ref().is_none_or(|(said, at)| *said != what || now - *at >= WORD);
        if is_news {
            let seconds_left = left.as_secs();
            tracing::warn!(missing = what, seconds_left, "the start waits for what is missing");
            self.said = Some((what, now));
        }
        tokio::time::sleep(PAUSE.min(left)).await;
        Ok(())
    }
}

/// Asks the manager whether it can be used, as `keyway.startup.on_missing` says. A reload does not give up a manager that is
/// healthy for one that is not.
///
/// # Errors
/// Its failure, when nothing is waited for, and after the deadline.
pub(super) async fn healthy(
    managers: &Managers,
    patience: &mut Patience,
    running: Option<&Generation>,
) -> Result<(), StartError> {
    let manager = managers.stack.manager();
    let asked: Arc<dyn SecretManager> = match patience.deadline() {
        Some(deadline) => Arc::new(Until { manager, deadline }),
        None => manager,
    };
    loop {
        let Err(error) = asked.health_check().await else { return Ok(()) };
        let (manager, class) = (&managers.name, error.kind());
        if patience.on_missing == OnMissing::Degraded && !has_a_healthy_one(running).await {
            tracing::warn!(manager, %class, %error, "serving although the secret manager is not healthy");
            return Ok(());
        }
        let what = format!("the manager {manager} ({class})");
        patience.wait(what, StartError::Unhealthy { manager: manager.clone(), source: error }).await?;
    }
}

async fn has_a_healthy_one(running: Option<&Generation>) -> bool {
    match running.and_then(Generation::managers) {
        Some(managers) => managers.stack.manager().health_check().await.is_ok(),
        None => false,
    }
}

/// Resolves every reference, as `keyway.startup.on_missing` says. `running` is what a reload would replace: a secret that it
/// has and that is missing now is no reason to go on without it.
///
/// # Errors
/// Every failure of a reference that is needed, all together.
pub(super) async fn resolve(
    config: &Config,
    resolver: &Resolver,
    patience: &mut Patience,
    running: Option<&Keeper>,
) -> Result<Vec<Outcome>, StartError> {
    let mut outcomes = resolver.resolve_all(&config.references).await;
    for outcome in outcomes.iter().filter(|outcome| !outcome.reference.is_required()) {
        if let Err(error) = &outcome.result {
            tracing::warn!(%error, "a reference without use here is not resolved");
        }
    }
    loop {
        let errors: Vec<ResolveError> = failures(&outcomes).cloned().collect();
        if errors.is_empty() {
            return Ok(outcomes);
        }
        let missing = errors.iter().map(shown).collect::<Vec<_>>().join(", ");
        let would_be_lost =
            |error: &ResolveError| running.is_some_and(|keeper| keeper.has_value(error.reference.text()));
        if patience.on_missing == OnMissing::Degraded && !errors.iter().any(would_be_lost) {
            tracing::warn!(
                missing,
                "serving without some secrets; their deployments answer 503 until they are there"
            );
            return Ok(outcomes);
        }
        let total = outcomes.len();
        patience.wait(missing, Unresolved { errors, total }.into()).await?;
        let is_open = |outcome: &&mut Outcome| outcome.reference.is_required() && outcome.result.is_err();
        let open: Vec<_> = failures(&outcomes).map(|error| error.reference.clone()).collect();
        let again = resolver.resolve_all(&open).await;
        for (before, after) in outcomes.iter_mut().filter(is_open).zip(again) {
            *before = after;
        }
    }
}

fn failures(outcomes: &[Outcome]) -> impl Iterator<Item = &ResolveError> {
    let needed = outcomes.iter().filter(|outcome| outcome.reference.is_required());
    needed.filter_map(|outcome| outcome.result.as_ref().err())
}

/// The reference and the class of its failure.
fn shown(error: &ResolveError) -> String {
    let class = error.manager_error().map_or(ErrorKind::NotFound, Error::kind);
    format!("{} ({class})", error.reference.text())
}
