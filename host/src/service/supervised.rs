//! A manager whose instance is made again when it was lost, or could not be made at first.

use std::{
    error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, WriteReceipt, WriteRequest, abi,
};
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use super::verdict::not_sent;

/// The pause before the second try of several in a row; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause; an instance that has lived for so long is replaced at once when it is lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Makes the instances of one manager.
#[async_trait]
pub trait Factory: Send + Sync + 'static {
    /// An instance; when the last reference to it goes, it ends.
    type Instance: SecretManager + 'static;
    /// Why there is none.
    type Error: error::Error + Send;

    /// Makes an instance.
    async fn make(&self) -> Result<Arc<Self::Instance>, Self::Error>;

    /// What an instance will be able to do.
    fn capabilities(&self) -> Capabilities;
}

/// Passes everything on to its instance, and has another one made when that one says [`abi::INSTANCE_LOST`].
///
/// One is made at a time, in the background, the first at once and each further one after a pause that grows from a second
/// to a minute. Until it is there the old one answers, and without one the manager is UNAVAILABLE. What is under way in the
/// old one may finish; after that it ends.
pub struct Supervised<F: Factory> {
    shared: Arc<Shared<F>>,
    runtime: Handle,
}

struct Shared<F: Factory> {
    name: String,
    factory: F,
    current: ArcSwapOption<F::Instance>,
    state: Mutex<State>,
}

struct State {
    /// Makes the next instance, unless it is finished.
    making: Option<JoinHandle<()>>,
    /// Why there is no instance.
    missing: String,
    /// How many were made or tried in a row, and when the last one was.
    tries: u32,
    tried: Instant,
    ended: bool,
}

impl<F: Factory> Supervised<F> {
    /// Takes over the instance that `factory` made first; must be called inside the tokio runtime that is to run its calls.
    pub fn new(name: impl Into<String>, factory: F, first: Arc<F::Instance>) -> Self {
        Self::with(name.into(), factory, Some(first), String::new())
    }

    /// Begins without an instance, because `failure` kept `factory` from making one; otherwise as [`Supervised::new`].
    pub fn without(name: impl Into<String>, factory: F, failure: &F::Error) -> Self {
        let supervised = Self::with(name.into(), factory, None, chain(failure));
        let shared = &supervised.shared;
        let pause = shared.failed(failure);
        shared.lock().making = Some(supervised.runtime.spawn(Arc::clone(shared).make(pause)));
        supervised
    }

    fn with(name: String, factory: F, first: Option<Arc<F::Instance>>, missing: String) -> Self {
        let state = State { making: None, missing, tries: 0, tried: Instant::now(), ended: false };
        let current = ArcSwapOption::new(first);
        let shared = Arc::new(Shared { name, factory, current, state: Mutex::new(state) });
        Self { shared, runtime: Handle::current() }
    }

    /// The instance that is called now, if there is one.
    pub fn current(&self) -> Option<Arc<F::Instance>> {
        self.shared.current.load_full()
    }

    fn instance(&self) -> Result<Arc<F::Instance>> {
        self.current().ok_or_else(|| {
            let Shared { name, state, .. } = &*self.shared;
            let reason = state.lock().unwrap_or_else(PoisonError::into_inner).missing.clone();
            let message = format!("{name} is not running, and is started again in the background: {reason}");
            not_sent(Error::unavailable(message))
        })
    }

    /// Passes an answer on, and sees to another instance when it says that this one is lost.
    fn heed<T>(&self, instance: &Arc<F::Instance>, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer
            && error.kind() == ErrorKind::Internal
            && error.vendor_code() == Some(abi::INSTANCE_LOST)
        {
            self.replace(instance, error);
        }
        answer
    }

    #[cold]
    fn replace(&self, lost: &Arc<F::Instance>, why: &Error) {
        let shared = &self.shared;
        let mut state = shared.lock();
        let is_current = shared.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, lost));
        let is_being_made = state.making.as_ref().is_some_and(|making| !making.is_finished());
        if !is_current || is_being_made || state.ended {
            return;
        }
        if state.tried.elapsed() >= LONGEST_PAUSE {
            state.tries = 0;
        }
        let pause = pause(state.tries).saturating_sub(state.tried.elapsed());
        tracing::warn!(
            manager = shared.name,
            reason = why.message(),
            seconds = pause.as_secs_f64(),
            "an instance of the manager is lost; another one is made"
        );
        state.making = Some(self.runtime.spawn(Arc::clone(shared).make(pause)));
    }
}

impl<F: Factory> Shared<F> {
    /// Makes an instance, however many tries that takes.
    async fn make(self: Arc<Self>, mut pause: Duration) {
        loop {
            tokio::time::sleep(pause).await;
            match self.factory.make().await {
                Ok(instance) => return self.install(instance),
                Err(error) => pause = self.failed(&error),
            }
        }
    }

    fn install(&self, instance: Arc<F::Instance>) {
        let before = {
            let mut state = self.lock();
            (state.tries, state.tried) = (state.tries.saturating_add(1), Instant::now());
            if state.ended {
                return; // and with it the instance, which nobody has seen
            }
            tracing::info!(manager = self.name, "the manager has a new instance");
            self.current.swap(Some(instance))
        };
        // Not under the lock; whoever is inside it keeps it until they have their answer.
        drop(before);
    }

    /// Takes note of a failure; how long to wait before the next try.
    fn failed(&self, error: &F::Error) -> Duration {
        let mut state = self.lock();
        (state.tries, state.tried) = (state.tries.saturating_add(1), Instant::now());
        state.missing = chain(error);
        let pause = pause(state.tries);
        tracing::warn!(
            manager = self.name,
            reason = state.missing,
            seconds = pause.as_secs_f64(),
            "no instance of the manager could be made; it is tried again"
        );
        pause
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time between a try and the next one, after so many in a row.
fn pause(tries: u32) -> Duration {
    let Some(doublings) = tries.checked_sub(1) else { return Duration::ZERO };
    let full = FIRST_PAUSE.saturating_mul(1 << doublings.min(6)).min(LONGEST_PAUSE);
    full.mul_f64(0.75 + 0.25 * fastrand::f64())
}

/// An error with all that caused it.
fn chain(error: &dyn error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[async_trait]
impl<F: Factory> SecretManager for Supervised<F> {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let instance = self.instance()?;
        self.heed(&instance, instance.async_read_secret(request).await)
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let instance = self.instance()?;
        self.heed(&instance, instance.sync_read_secret(request))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        let instance = self.instance()?;
        self.heed(&instance, instance.async_write_secret(request).await)
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        let instance = self.instance()?;
        self.heed(&instance, instance.async_delete_secret(request).await)
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        let instance = self.instance()?;
        self.heed(&instance, instance.async_rotate_secret(request).await)
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        let instance = self.instance()?;
        self.heed(&instance, instance.async_list_secrets(request).await)
    }

    async fn health_check(&self) -> Result<()> {
        let instance = self.instance()?;
        self.heed(&instance, instance.health_check().await)
    }

    async fn shutdown(&self) {
        let making = {
            let mut state = self.shared.lock();
            state.ended = true;
            state.making.take()
        };
        if let Some(making) = making {
            making.abort();
            // It may have made one just now, which is the current one then.
            let _ = making.await;
        }
        if let Some(instance) = self.current() {
            instance.shutdown().await;
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.current().map_or_else(|| self.shared.factory.capabilities(), |instance| instance.capabilities())
    }
}

impl<F: Factory> Drop for Supervised<F> {
    fn drop(&mut self) {
        if let Some(making) = self.shared.lock().making.take() {
            making.abort();
        }
    }
}
