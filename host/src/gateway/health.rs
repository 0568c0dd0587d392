//! `/health/readiness`: whether the secret manager can be used now.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keyway_plugin_api::{ErrorKind, SecretManager};
use serde::Serialize;
use tokio::{sync::Mutex, time::timeout};

/// A probe gives up after a few seconds, so the manager has less.
const DEADLINE: Duration = Duration::from_secs(2);

/// Asks a manager for its health. Callers that come while it is being asked share the next answer, so that
/// an endpoint which needs no key cannot be used to flood the store.
pub(super) struct Health {
    manager: Option<Arc<dyn SecretManager>>,
    last: Mutex<Option<Checked>>,
}

#[derive(Clone, Copy)]
struct Checked {
    started: Instant,
    fault: Option<ErrorKind>,
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
        Health { manager, last: Mutex::new(None) }
    }

    pub(super) async fn readiness(&self) -> Readiness {
        let Some(manager) = &self.manager else {
            return Readiness { status: "connected", secret_manager: None };
        };
        match self.check(&**manager).await {
            None => Readiness { status: "connected", secret_manager: Some("connected") },
            Some(kind) => Readiness { status: "disconnected", secret_manager: Some(kind.as_str()) },
        }
    }

    async fn check(&self, manager: &dyn SecretManager) -> Option<ErrorKind> {
        let arrived = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(checked) = last.filter(|checked| checked.started > arrived) {
            return checked.fault;
        }
        let started = Instant::now();
        let fault = match timeout(DEADLINE, manager.health_check()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.kind()),
            Err(_) => Some(ErrorKind::Timeout),
        };
        if let Some(kind) = fault {
            tracing::warn!(class = kind.as_str(), "the secret manager is not healthy");
        }
        *last = Some(Checked { started, fault });
        fault
    }
}

#[cfg(test)]
mod tests {
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
}
