//! Reading: a hit, a value that is refreshed behind its reader, or a wait for the one call.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use keyway_plugin_api::{Error, ErrorKind, ReadRequest, Result};
use tokio::{sync::watch, time::Instant};

use super::{
    CacheState, Cached, Shared,
    key::Lookup,
    slot::{Failure, Flight, Inner, Landing, Slot},
};
use crate::{
    duration::Rounded,
    service::{
        caller::{Caller, current_caller, with_caller},
        verdict::{Verdict, again, verdict},
    },
};

/// How long a reader waits for a manager that is known to fail before an older value is served.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a reader does next.
enum Step {
    Serve(Cached),
    Absent,
    /// Wait for the call, for so long at most.
    Wait(Flight, Duration),
}

impl Shared {
    /// The fast path: a value that needs neither call nor lock.
    pub(super) fn hit(&self, request: &ReadRequest) -> Option<Cached> {
        let slot = self.slots.get(&Lookup::of(request))?;
        let known = slot.known.load();
        let known = known.as_ref()?;
        let value = known.value.as_ref()?;
        let now = self.clock.now();
        if now >= known.refresh_at {
            return None;
        }
        self.metrics.hits.inc();
        Some(known.cached(value, CacheState::Fresh, now))
    }

    /// The slow path; begins again when a change overtakes the call that it waited for.
    pub(super) async fn read(self: &Arc<Self>, request: &ReadRequest) -> Result<Cached> {
        let start = Instant::now();
        loop {
            let slot = self.slot(Lookup::of(request));
            let (flight, patience) = match self.step(&slot, request) {
                Step::Serve(cached) => return Ok(cached),
                Step::Absent => return Err(remembered(request)),
                Step::Wait(flight, patience) => (flight, patience),
            };
            let left = request.timeout.saturating_sub(start.elapsed());
            match landing(flight, left.min(patience), request).await {
                Ok(Landing::Value(value, generation)) => {
                    self.metrics.misses.inc();
                    let (state, age) = (CacheState::Fresh, Duration::ZERO);
                    return Ok(Cached { value, generation, state, age });
                }
                Ok(Landing::Superseded) => {}
                Ok(Landing::Failed(error)) => return self.stale_or(&slot, again(&error)),
                Err(error) => return self.stale_or(&slot, error),
            }
        }
    }

    /// One call now, whatever is known; never the answer of a call that began before this one was asked for, which may be
    /// older than the reason to ask.
    pub(super) async fn refresh(self: &Arc<Self>, request: &ReadRequest) -> Result<Cached> {
        let start = Instant::now();
        let earlier = self.slot(Lookup::of(request)).lock().flying();
        if let Some(flight) = earlier {
            // Whatever it comes to is for those who began it.
            let _ = landing(flight, request.timeout, request).await;
        }
        loop {
            let slot = self.slot(Lookup::of(request));
            let flight = self.fly(&slot, &mut slot.lock(), request, current_caller());
            let left = request.timeout.saturating_sub(start.elapsed());
            match landing(flight, left, request).await? {
                Landing::Value(value, generation) => {
                    let (state, age) = (CacheState::Fresh, Duration::ZERO);
                    return Ok(Cached { value, generation, state, age });
                }
                Landing::Superseded => {}
                Landing::Failed(error) => return Err(again(&error)),
            }
        }
    }

    fn step(self: &Arc<Self>, slot: &Arc<Slot>, request: &ReadRequest) -> Step {
        let mut inner = slot.lock();
        let now = self.clock.now();
        let mut patience = Duration::MAX;
        if let Some(known) = slot.known.load_full() {
            match (known.state(now), &known.value) {
                (CacheState::Negative, _) => {
                    self.metrics.negative.inc();
                    return Step::Absent;
                }
                (CacheState::Fresh, Some(value)) => {
                    let due = now >= known.refresh_at;
                    if due && inner.failure.as_ref().is_none_or(|failure| now >= failure.pause_until) {
                        self.fly(slot, &mut inner, request, Caller::Refresh);
                    }
                    let refreshing = inner.flight.is_some();
                    let state = if refreshing { CacheState::Refreshing } else { CacheState::Fresh };
                    self.metrics.hits.inc();
                    return Step::Serve(known.cached(value, state, now));
                }
                (CacheState::Stale, Some(value)) => match &inner.failure {
                    Some(failure) if failure.is_outage() && now < failure.pause_until => {
                        self.metrics.stale.inc();
                        return Step::Serve(known.cached(value, CacheState::Stale, now));
                    }
                    Some(failure) if failure.is_outage() => patience = PATIENCE,
                    _ => {}
                },
                // Nothing of it may be served any more, so nothing of it is kept.
                _ => slot.known.store(None),
            }
        }
        Step::Wait(self.fly(slot, &mut inner, request, current_caller()), patience)
    }

    /// Joins the call under way, or begins one in a task of its own.
    fn fly(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        inner: &mut Inner,
        request: &ReadRequest,
        who: Caller,
    ) -> Flight {
        if let Some(flight) = inner.flying() {
            return flight;
        }
        let (landed, flight) = watch::channel(None);
        inner.flight = Some(flight.clone());
        let epoch = inner.epoch;
        let (shared, slot) = (Arc::clone(self), Arc::clone(slot));
        let request = ReadRequest { timeout: self.timeout, ..request.clone() };
        self.runtime.spawn(async move {
            let call = with_caller(who, shared.inner.async_read_secret(&request));
            let answer = AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
                Err(Error::internal(format!("the manager panicked while it read {}", request.name)))
            });
            landed.send_replace(Some(slot.land(epoch, answer, &shared.rules, shared.clock.now())));
        });
        flight
    }

    /// An older value where the failure allows it, else the failure.
    fn stale_or(&self, slot: &Slot, error: Error) -> Result<Cached> {
        let now = self.clock.now();
        if verdict(error.kind()) == Verdict::ServeStale
            && let Some(known) = slot.known.load().as_ref()
            && let Some(value) = &known.value
            && now < known.stale_until
        {
            self.metrics.stale.inc();
            return Ok(known.cached(value, known.state(now), now));
        }
        self.metrics.errors.inc();
        Err(error)
    }
}

impl Failure {
    fn is_outage(&self) -> bool {
        verdict(self.kind) == Verdict::ServeStale
    }
}

async fn landing(mut flight: Flight, patience: Duration, request: &ReadRequest) -> Result<Landing> {
    match tokio::time::timeout(patience, flight.wait_for(Option::is_some)).await {
        Ok(Ok(landing)) => landing.clone().ok_or_else(|| abandoned(request)),
        Ok(Err(_)) => Err(abandoned(request)),
        Err(_) => {
            let message =
                format!("{} was not read within {}; the call goes on", request.name, Rounded(patience));
            Err(Error::new(ErrorKind::Timeout, message))
        }
    }
}

fn abandoned(request: &ReadRequest) -> Error {
    Error::unavailable(format!("the runtime ended while {} was read", request.name))
}

fn remembered(request: &ReadRequest) -> Error {
    let message = format!("no secret named {}; the manager said so a moment ago", request.name);
    Error::new(ErrorKind::NotFound, message)
}
