//! A loaded plugin as a secret manager: callers cannot tell it from a native one.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use keyway_plugin_api::{Capabilities, Error, ErrorKind, ReadRequest, Result, abi};
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    error::OpenError,
    handshake::{ManagerType, Plugin},
    instance::Instance,
    manager::read,
    slots::{self, Operation, Outcome},
};

/// How many blocking reads of one instance run at once.
const BLOCKING_THREADS: usize = 8;
/// More operations than this are never under way in one instance: there are no more slots.
const MAX_IN_FLIGHT: usize = 1 << 20;
/// How long a shutdown waits for what is under way.
const DRAIN: Duration = Duration::from_secs(5);

/// An instance of a manager type of a loaded plugin.
///
/// Its asynchronous methods need a tokio runtime with a timer. A caller that gives up, and a deadline that passes, cancel
/// the operation; the plugin may complete it later, to no effect. An instance that collects too many operations that never
/// complete is quarantined until some of them do.
pub struct LoadedPlugin {
    name: String,
    pub(super) capabilities: Capabilities,
    instance: Arc<Instance>,
    /// Each operation holds a permit until its completion, whatever its caller does.
    operations: Arc<Semaphore>,
    /// Each blocking read holds a permit until the plugin's function returns.
    blocking: Arc<Semaphore>,
    /// With so many operations that never completed, the instance gets no others.
    quarantine: usize,
    closing: Arc<Closing>,
    /// How many permits `operations` has, and `blocking` when it is not the same.
    permits: (u32, u32),
    pub(super) runtime: Handle,
}

#[derive(Default)]
struct Closing {
    begun: AtomicBool,
    notify: Notify,
}

/// How long and how often at once an instance is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long making the instance may take.
    pub timeout: Duration,
    /// How many operations may be under way at once; further ones wait, inside their deadline.
    pub max_in_flight: usize,
}

/// Completions of one instance that did not come as they should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Operations whose caller has gone and whose completion has not come.
    pub zombies: usize,
    /// Second completions, and those of operations that were long gone.
    pub stray: u64,
    /// First completions that came after the caller had gone.
    pub late: u64,
    /// Blocking calls that returned without a completion.
    pub missing: u64,
}

impl LoadedPlugin {
    /// Makes an instance; must be called inside a tokio runtime.
    pub(super) async fn create(
        plugin: &Plugin,
        manager_type: &ManagerType,
        name: &str,
        config: String,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let Limits { timeout, max_in_flight } = limits;
        let functions = manager_type.functions;
        let failed = |source| OpenError::Create { plugin: plugin.id.clone(), name: name.to_owned(), source };
        let owned_name = name.to_owned();
        // When the time is up the thread goes on alone, and what it makes in the end is destroyed again.
        let create = tokio::task::spawn_blocking(move || {
            Instance::create(functions, &owned_name, &config, millis(timeout))
        });
        let instance = match tokio::time::timeout(timeout, create).await {
            Ok(Ok(instance)) => instance.map_err(failed)?,
            Ok(Err(_)) => return Err(failed(Error::internal("the thread that made the instance ended"))),
            Err(_) => {
                let message = format!("it was not ready within {timeout:?}; `timeout` allows for more");
                return Err(failed(Error::new(ErrorKind::Timeout, message)));
            }
        };
        let mut capabilities = manager_type.capabilities();
        capabilities.set(Capabilities::LIST, instance.has_list());
        let serial = capabilities.contains(Capabilities::SERIAL);
        let max_in_flight = if serial { 1 } else { max_in_flight.clamp(1, MAX_IN_FLIGHT) };
        let operations = Arc::new(Semaphore::new(max_in_flight));
        let threads = BLOCKING_THREADS.min(max_in_flight);
        let blocking = match serial {
            true => Arc::clone(&operations),
            false => Arc::new(Semaphore::new(threads)),
        };
        Ok(LoadedPlugin {
            name: name.to_owned(),
            capabilities,
            instance: Arc::new(instance),
            operations,
            blocking,
            quarantine: max_in_flight.div_ceil(2),
            closing: Arc::default(),
            permits: (max_in_flight as u32, if serial { 0 } else { threads as u32 }),
            runtime: Handle::current(),
        })
    }

    /// The manager's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What went wrong with completions so far.
    pub fn faults(&self) -> Faults {
        let ledger = &self.instance.ledger;
        Faults {
            zombies: ledger.zombies.load(Ordering::Relaxed),
            stray: ledger.stray.load(Ordering::Relaxed),
            late: ledger.late.load(Ordering::Relaxed),
            missing: ledger.missing.load(Ordering::Relaxed),
        }
    }

    fn admit(&self) -> Result<()> {
        if self.closing.begun.load(Ordering::Acquire) {
            return Err(self.shutting_down());
        }
        let zombies = self.instance.ledger.zombies.load(Ordering::Relaxed);
        if zombies >= self.quarantine {
            let message = format!("{} is quarantined: it has not completed {zombies} operations", self.name);
            return Err(Error::unavailable(message));
        }
        Ok(())
    }

    /// Runs one operation: `begin` calls the plugin, with the time that is left, and the completion is waited for.
    pub(super) async fn operate(
        &self,
        timeout: Duration,
        begin: impl FnOnce(&Instance, u64, u64) -> Result<()>,
    ) -> Result<Outcome> {
        self.admit()?;
        let (permit, left) = match Arc::clone(&self.operations).try_acquire_owned() {
            Ok(permit) => (permit, timeout),
            Err(_) => self.acquire(&self.operations, timeout).await?,
        };
        self.begin(left, Some(permit), begin)?.outcome(left).await
    }

    /// Waits for a permit; returns it with the time that is left.
    async fn acquire(
        &self,
        permits: &Arc<Semaphore>,
        timeout: Duration,
    ) -> Result<(OwnedSemaphorePermit, Duration)> {
        let start = Instant::now();
        let permit = tokio::time::timeout(timeout, Arc::clone(permits).acquire_owned()).await;
        let permit = permit.map_err(|_| {
            let message = format!("{} had other operations under way for {timeout:?}", self.name);
            Error::new(ErrorKind::Timeout, message)
        })?;
        let permit = permit.map_err(|_| self.shutting_down())?;
        self.admit()?;
        Ok((permit, timeout.saturating_sub(start.elapsed())))
    }

    fn begin(
        &self,
        timeout: Duration,
        permit: Option<OwnedSemaphorePermit>,
        begin: impl FnOnce(&Instance, u64, u64) -> Result<()>,
    ) -> Result<Waiting<'_>> {
        let operation = Operation::open(&self.instance.ledger, permit)?;
        match begin(&self.instance, operation.id(), millis(timeout)) {
            Ok(()) => Ok(Waiting { plugin: self, operation }),
            Err(error) => {
                operation.withdraw();
                Err(error)
            }
        }
    }

    /// A read of a type that can only block: on a thread of the runtime's pool, a bounded number of them at once.
    pub(super) async fn read_on_pool(&self, request: &ReadRequest) -> Result<Outcome> {
        self.admit()?;
        let (permit, left) = self.acquire(&self.blocking, request.timeout).await?;
        let operation = Operation::open(&self.instance.ledger, None)?;
        let (id, instance, request) = (operation.id(), Arc::clone(&self.instance), request.clone());
        self.runtime.spawn_blocking(move || {
            let begun = read(&request, millis(left), |raw| instance.sync_read(raw, id));
            match begun {
                Ok(()) => slots::complete_missing(id),
                Err(error) => slots::complete(id, || Err(error)),
            }
            drop(permit); // the plugin's thread is busy until here, whoever waits
        });
        Waiting { plugin: self, operation }.outcome(left).await
    }

    pub(super) fn timed_out(&self, timeout: Duration) -> Error {
        Error::new(ErrorKind::Timeout, format!("{} did not answer within {timeout:?}", self.name))
    }

    fn shutting_down(&self) -> Error {
        Error::unavailable(format!("{} is shutting down", self.name))
    }
}

/// An operation that was begun; dropping it gives it up.
struct Waiting<'a> {
    plugin: &'a LoadedPlugin,
    operation: Operation,
}

impl Waiting<'_> {
    async fn outcome(mut self, timeout: Duration) -> Result<Outcome> {
        // The fast path: it was completed inline, and neither a timer nor a waker is needed.
        if let Poll::Ready(outcome) = self.operation.poll(None) {
            return outcome;
        }
        let plugin = self.plugin;
        let mut closing = pin!(plugin.closing.notify.notified());
        closing.as_mut().enable();
        if plugin.closing.begun.load(Ordering::Acquire) {
            return Err(plugin.shutting_down());
        }
        let completed = poll_fn(|context| match self.operation.poll(Some(context.waker())) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => closing.as_mut().poll(context).map(|()| Err(plugin.shutting_down())),
        });
        match tokio::time::timeout(timeout, completed).await {
            Ok(outcome) => outcome,
            Err(_) => Err(plugin.timed_out(timeout)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let id = self.operation.id();
        if self.operation.abandon() {
            self.plugin.instance.cancel(id);
        }
    }
}

impl LoadedPlugin {
    /// Stops admission, gives up what is under way, lets the plugin end its work; the instance is destroyed with `self`.
    pub(super) async fn end(&self) {
        if self.closing.begun.swap(true, Ordering::AcqRel) {
            return;
        }
        self.closing.notify.notify_waiters();
        let quiet = tokio::time::timeout(DRAIN, async {
            // Every operation holds a permit until it completes. Those that are waited for are given up and cancelled by
            // their own callers' tasks, so that only the permits tell when all of that has happened.
            let _operations = self.operations.acquire_many(self.permits.0).await;
            let _blocking = self.blocking.acquire_many(self.permits.1).await;
            loop {
                let quieter = self.instance.ledger.quieter.notified();
                let mut quieter = pin!(quieter);
                quieter.as_mut().enable();
                if self.instance.watch_inside() == 0 {
                    break;
                }
                quieter.await;
            }
            // Closed before the permits go back, so that none is had by an operation that was admitted just before the end.
            self.operations.close();
            self.blocking.close();
        });
        if quiet.await.is_err() {
            self.operations.close();
            self.blocking.close();
            let zombies = self.faults().zombies;
            tracing::warn!(
                manager = self.name,
                zombies,
                "operations did not end before the shutdown of the plugin"
            );
        }
        let begin = |instance: &Instance, id, timeout_ms| instance.shutdown(&control(timeout_ms), id);
        let shutdown = self.begin(DRAIN, None, begin);
        let ended = match shutdown {
            Ok(mut waiting) => {
                let ended = poll_fn(|context| waiting.operation.poll(Some(context.waker())));
                tokio::time::timeout(DRAIN, ended).await.is_ok()
            }
            Err(_) => false,
        };
        if !ended {
            tracing::warn!(manager = self.name, "the plugin did not end its background work in time");
        }
        self.instance.close();
    }
}

impl Drop for LoadedPlugin {
    fn drop(&mut self) {
        if self.closing.begun.swap(true, Ordering::AcqRel) {
            return;
        }
        // Nobody asked for an orderly end: the plugin is told, and not waited for.
        if let Ok(mut operation) = Operation::open(&self.instance.ledger, None) {
            let _ = self.instance.shutdown(&control(0), operation.id());
            operation.abandon();
        }
        self.instance.close();
    }
}

pub(super) fn control(timeout_ms: u64) -> abi::ControlRequest {
    abi::ControlRequest {
        struct_size: size_of::<abi::ControlRequest>() as u32,
        flags_required: 0,
        flags_optional: 0,
        reserved: 0,
        timeout_ms,
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
