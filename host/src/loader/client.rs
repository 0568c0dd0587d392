//! A loaded plugin as a secret manager: callers cannot tell it from a native one.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use keyway_plugin_api::{Capabilities, Error, ErrorKind, Result, abi};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout_at},
};
use zeroize::Zeroizing;

use super::{
    clock::Moment,
    error::OpenError,
    handshake::{ManagerType, Plugin},
    instance::Instance,
    slots::{Operation, Outcome, Permit},
};
use crate::duration::Rounded;

/// How many blocking reads of one instance run at once.
const BLOCKING_THREADS: usize = 8;
/// More operations than this are never under way in one instance: there are no more slots.
const MAX_IN_FLIGHT: usize = 1 << 20;
/// Longer than this no operation may take.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An instance of a manager type of a loaded plugin.
///
/// Its asynchronous methods need a tokio runtime with a timer. A caller that gives up, and a deadline that passes, cancel
/// the operation; the plugin may complete it later, to no effect. An instance that collects too many operations that passed
/// their deadline and never complete is quarantined until some of them do.
pub struct LoadedPlugin {
    pub(super) capabilities: Capabilities,
    pub(super) shared: Arc<Shared>,
    pub(super) runtime: Handle,
}

/// What the end of an instance, and its calls on threads of their own, need as well.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) instance: Instance,
    /// Each operation holds a permit until its completion, whatever its caller does.
    pub(super) operations: Arc<Semaphore>,
    /// Each blocking read holds a permit until the plugin's function returns.
    pub(super) blocking: Arc<Semaphore>,
    /// How many permits `operations` and `blocking` have.
    pub(super) permits: (u32, u32),
    /// One operation at a time, which is over when it is complete and its call has returned.
    pub(super) serial: bool,
    quarantine: Quarantine,
    /// Whether anybody asked for the end.
    pub(super) asked: AtomicBool,
    /// Whether it has come.
    pub(super) ended: watch::Sender<bool>,
}

/// With so many overdue operations the instance gets no others: half of what it may have at once.
struct Quarantine {
    operations: usize,
    blocking: usize,
}

impl Quarantine {
    /// Where only one operation is possible, the next one waits for it inside its own deadline, and that is enough.
    fn of(limit: usize) -> usize {
        if limit > 1 { limit.div_ceil(2) } else { usize::MAX }
    }
}

/// How long and how often at once an instance is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long making the instance may take.
    pub timeout: Duration,
    /// How many operations may be under way at once; further ones wait, inside their deadline.
    pub max_in_flight: usize,
}

/// What one instance did that it should not have done.
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
    /// Calls that must return at once and returned after the deadline of their operation; they held up a thread of the host.
    pub overstayed: u64,
}

impl LoadedPlugin {
    /// Makes an instance; must be called inside a tokio runtime.
    pub(super) async fn create(
        plugin: &Plugin,
        manager_type: &ManagerType,
        name: &str,
        config: Zeroizing<String>,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let Limits { timeout, max_in_flight } = limits;
        let functions = manager_type.functions;
        let failed = |source| OpenError::Create { plugin: plugin.id.clone(), name: name.to_owned(), source };
        let owned_name = name.to_owned();
        // When the time is up the thread goes on alone, and what it makes in the end is shut down and destroyed again.
        let create = tokio::task::spawn_blocking(move || {
            Instance::create(functions, &owned_name, &config, millis(timeout))
        });
        let instance = match tokio::time::timeout(timeout, create).await {
            Ok(Ok(instance)) => instance.map_err(failed)?,
            Ok(Err(_)) => return Err(failed(Error::internal("the thread that made the instance ended"))),
            Err(_) => {
                let message =
                    format!("it was not ready within {}; `timeout` allows for more", Rounded(timeout));
                return Err(failed(Error::new(ErrorKind::Timeout, message)));
            }
        };
        let mut capabilities = manager_type.capabilities();
        capabilities.set(Capabilities::LIST, instance.has_list());
        let serial = capabilities.contains(Capabilities::SERIAL);
        let max_in_flight = if serial { 1 } else { max_in_flight.clamp(1, MAX_IN_FLIGHT) };
        let threads = BLOCKING_THREADS.min(max_in_flight);
        let shared = Shared {
            name: name.to_owned(),
            instance,
            operations: Arc::new(Semaphore::new(max_in_flight)),
            blocking: Arc::new(Semaphore::new(threads)),
            permits: (max_in_flight as u32, threads as u32),
            serial,
            quarantine: Quarantine {
                operations: Quarantine::of(max_in_flight),
                blocking: Quarantine::of(threads),
            },
            asked: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        };
        Ok(LoadedPlugin { capabilities, shared: Arc::new(shared), runtime: Handle::current() })
    }

    /// The manager's name in the configuration.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What went wrong with calls and completions so far.
    pub fn faults(&self) -> Faults {
        let ledger = &self.shared.instance.ledger;
        Faults {
            zombies: ledger.zombies(),
            stray: ledger.stray.load(Ordering::Relaxed),
            late: ledger.late.load(Ordering::Relaxed),
            missing: ledger.missing.load(Ordering::Relaxed),
            overstayed: ledger.overstayed.load(Ordering::Relaxed),
        }
    }

    /// Runs one operation: `call` calls the plugin, with the time that is left, and the completion is waited for.
    pub(super) async fn operate(
        &self,
        timeout: Duration,
        call: impl FnOnce(&Instance, u64, u64) -> Result<()>,
    ) -> Result<Outcome> {
        let shared = &*self.shared;
        let timeout = timeout.min(LONGEST);
        shared.admit()?;
        let (permit, left) = match Arc::clone(&shared.operations).try_acquire_owned() {
            Ok(permit) => (permit, timeout),
            Err(_) => shared.acquire(&shared.operations, timeout).await?,
        };
        shared.begin(left, permit, call)?.outcome().await
    }
}

impl Shared {
    /// Refuses what an instance in quarantine is not given.
    pub(super) fn admit(&self) -> Result<()> {
        let ledger = &self.instance.ledger;
        let Quarantine { operations, blocking } = self.quarantine;
        if ledger.zombies() < operations.min(blocking) {
            return Ok(());
        }
        let overdue = ledger.overdue();
        if overdue.0 < operations && overdue.1 < blocking {
            return Ok(());
        }
        let count = overdue.0 + overdue.1;
        let message = format!(
            "{} is quarantined: it has not completed {count} operations whose time is up, and gets others when it does",
            self.name
        );
        Err(Error::unavailable(message))
    }

    /// Waits for a permit; returns it with the time that is left.
    pub(super) async fn acquire(
        &self,
        permits: &Arc<Semaphore>,
        timeout: Duration,
    ) -> Result<(OwnedSemaphorePermit, Duration)> {
        let start = Instant::now();
        let permit = tokio::time::timeout(timeout, Arc::clone(permits).acquire_owned()).await;
        let permit = permit.map_err(|_| {
            let message = format!("{} had other operations under way for {}", self.name, Rounded(timeout));
            Error::new(ErrorKind::Timeout, message)
        })?;
        let closed = |_| Error::unavailable(format!("{} is shutting down", self.name));
        let permit = permit.map_err(closed)?;
        self.admit()?;
        Ok((permit, timeout.saturating_sub(start.elapsed())))
    }

    fn begin(
        &self,
        timeout: Duration,
        permit: OwnedSemaphorePermit,
        call: impl FnOnce(&Instance, u64, u64) -> Result<()>,
    ) -> Result<Waiting<'_>> {
        let (permit, _until_it_returns) = self.hold(permit);
        let operation = Operation::open(&self.instance.ledger, permit)?;
        let start = Moment::now();
        if let Err(error) = call(&self.instance, operation.id(), millis(timeout)) {
            operation.withdraw();
            return Err(error);
        }
        let inside = start.elapsed();
        if inside > timeout {
            self.overstayed(inside);
        }
        Ok(Waiting::new(self, operation, timeout.saturating_sub(inside)))
    }

    /// The permit as the operation holds it, and for its call what that one must hold as well.
    pub(super) fn hold(&self, permit: OwnedSemaphorePermit) -> (Permit, Option<Arc<OwnedSemaphorePermit>>) {
        if !self.serial {
            return (Permit::Own(permit), None);
        }
        let permit = Arc::new(permit);
        (Permit::Shared(Arc::clone(&permit)), Some(permit))
    }

    /// The answer stands, if there is one: that a write succeeded is not made unknown because it took too long.
    #[cold]
    fn overstayed(&self, inside: Duration) {
        self.instance.ledger.overstayed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            manager = self.name,
            milliseconds = millis(inside),
            "a call that must return at once held up a thread of the host past its deadline; a read that blocks belongs into sync_read_secret"
        );
    }

    pub(super) fn timed_out(&self, timeout: Duration) -> Error {
        Error::new(ErrorKind::Timeout, format!("{} did not answer within {}", self.name, Rounded(timeout)))
    }
}

/// An operation that was begun; dropping it gives it up.
pub(super) struct Waiting<'a> {
    shared: &'a Shared,
    operation: Operation,
    left: Duration,
    /// Known when the operation did not complete at once.
    deadline: Option<Instant>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(shared: &'a Shared, operation: Operation, left: Duration) -> Self {
        Waiting { shared, operation, left, deadline: None }
    }

    pub(super) async fn outcome(mut self) -> Result<Outcome> {
        // The fast path: it was completed inline, and neither a timer nor a waker is needed.
        if let Poll::Ready(outcome) = self.operation.poll(None) {
            return outcome;
        }
        let deadline = Instant::now() + self.left;
        self.deadline = Some(deadline);
        let completed = poll_fn(|context| self.operation.poll(Some(context.waker())));
        match timeout_at(deadline, completed).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.shared.timed_out(self.left)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let id = self.operation.id();
        if self.operation.abandon(self.deadline) {
            self.shared.instance.cancel(id);
        }
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

/// The time that a plugin is told: whole milliseconds, at least one, since 0 says that no time is left; at most a day.
pub(super) fn millis(time: Duration) -> u64 {
    let time = time.min(LONGEST);
    let rounded = time.as_millis() + u128::from(!time.subsec_nanos().is_multiple_of(1_000_000));
    u64::try_from(rounded).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_never_told_that_no_time_is_left_nor_more_than_a_day() {
        let told = [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(1_000), Duration::MAX];
        assert_eq!(told.map(millis), [1, 1, 1, 86_400_000]);
        assert_eq!(millis(Duration::from_micros(1_001)), 2);
    }
}
