//! `/health/readiness`: whether the secret manager can be used now.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use keyway_plugin_api::{ErrorKind, SecretManager};
use serde::Serialize;
use tokio::time::timeout;

/// A probe gives up after a few seconds, so the manager has less.
const DEADLINE: Duration = Duration::from_secs(2);

/// A question for a manager's health, and what is wrong with it.
type Check = BoxFuture<'static, Option<ErrorKind>>;

/// Asks a manager for its health. Callers that come while it is being asked share the answer, so that
/// an endpoint which needs no key cannot be used to flood the store.
pub(super) struct Health {
    manager: Option<Arc<dyn SecretManager>>,
    under_way: Mutex<Option<WeakShared<Check>>>,
}

/// The body of the answer. It holds no text of the manager's, only the class of its error.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    status: &'static str,
    /// `connected`, the class of the error, or nothing without a manager.
    secret_manager: Option<&'static str>,
}

impl Readiness {
    pub(super) fn is_ready(&self) -> bool {
        self.status == "connected"
    }
}

impl Health {
    pub(super) fn new(manager: Option<Arc<dyn SecretManager>>) -> Self {
        Health { manager, under_way: Mutex::new(None) }
    }

    pub(super) async fn readiness(&self) -> Readiness {
        let Some(manager) = &self.manager else {
            return Readiness { status: "connected", secret_manager: None };
        };
        match self.check(manager).await {
            None => Readiness { status: "connected", secret_manager: Some("connected") },
            Some(kind) => Readiness { status: "disconnected", secret_manager: Some(kind.as_str()) },
        }
    }

    /// The check that is under way, or a new one; it ends with the last who waits for it.
    fn check(&self, manager: &Arc<dyn SecretManager>) -> Shared<Check> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let current = under_way.as_ref().and_then(WeakShared::upgrade);
        current.filter(|check| check.peek().is_none()).unwrap_or_else(|| {
            let check = ask(Arc::clone(manager)).boxed().shared();
            *under_way = check.downgrade();
            check
        })
    }
}

async fn ask(manager: Arc<dyn SecretManager>) -> Option<ErrorKind> {
    let fault = match timeout(DEADLINE, manager.health_check()).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.kind(),
        Err(_) => ErrorKind::Timeout,
    };
    tracing::warn!(class = fault.as_str(), "the secret manager is not healthy");
    Some(fault)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use keyway_plugin_api::{Error, Result};

    use super::*;

    struct Scripted(Option<Result<()>>);

    #[async_trait]
    impl SecretManager for Scripted {
        async fn health_check(&self) -> Result<()> {
            match &self.0 {
                Some(Ok(())) => Ok(()),
                Some(Err(_)) => Err(Error::unavailable("canary: vault.internal is down")),
                None => std::future::pending().await,
            }
        }
    }

    async fn readiness(script: Option<Result<()>>) -> String {
        let readiness = Health::new(Some(Arc::new(Scripted(script)))).readiness().await;
        serde_json::to_string(&readiness).unwrap()
    }

    #[tokio::test]
    async fn health_is_a_class_and_never_the_managers_words() {
        assert_eq!(readiness(Some(Ok(()))).await, r#"{"status":"connected","secret_manager":"connected"}"#);
        let failed = readiness(Some(Err(Error::unavailable("x")))).await;
        assert_eq!(failed, r#"{"status":"disconnected","secret_manager":"UNAVAILABLE"}"#);
        assert!(Health::new(None).readiness().await.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_never_answers_is_a_timeout() {
        assert_eq!(readiness(None).await, r#"{"status":"disconnected","secret_manager":"TIMEOUT"}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_during_a_check_has_its_answer_and_never_waits_longer_than_for_one() {
        struct Hanging(AtomicUsize);
        #[async_trait]
        impl SecretManager for Hanging {
            async fn health_check(&self) -> Result<()> {
                self.0.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        }
        let manager = Arc::new(Hanging(AtomicUsize::new(0)));
        let health = Health::new(Some(manager.clone()));
        let began = tokio::time::Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            health.readiness().await
        };
        // The one who began it goes away meanwhile.
        let (_given_up, first, late) =
            tokio::join!(timeout(Duration::from_millis(500), health.readiness()), health.readiness(), late);
        assert!(!first.is_ready() && !late.is_ready());
        assert_eq!((began.elapsed(), manager.0.load(Ordering::SeqCst)), (DEADLINE, 1));
        assert!(!health.readiness().await.is_ready());
        assert_eq!(manager.0.load(Ordering::SeqCst), 2, "an answer of before is no answer for now");
    }
}
