//! References that are asked for together: the fields of the primary secret, or one alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyway_plugin_api::async_trait;
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::Instant,
};

use super::{
    Freshness,
    kept::{Asked, Kept},
    schedule::Schedule,
};
use crate::{
    config::Reference,
    service::{Caller, Refresh, Resolver, with_caller},
};

/// How long a value that was refused by its user is not asked for again.
const FORCED_REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// Who is asked, and when: what all units have in common.
pub(super) struct Common {
    pub(super) resolver: Resolver,
    pub(super) freshness: Freshness,
    pub(super) schedule: Schedule,
    /// Counts the questions, so that of two answers the one to the later question wins.
    questions: AtomicU64,
    /// How many units may be asked for at once because they are due.
    turns: Semaphore,
}

/// References that one fetch answers.
pub(super) struct Unit {
    common: Arc<Common>,
    number: usize,
    pub(super) kept: Vec<Arc<Kept>>,
    /// When the values were last asked for because one was refused; locked while they are.
    forced: Arc<Mutex<Option<Instant>>>,
}

/// A unit that is being asked for, until this is dropped.
struct Question {
    unit: Arc<Unit>,
    /// On whose behalf.
    caller: Caller,
    asked: Vec<Asked>,
}

impl Common {
    pub(super) fn new(resolver: Resolver, freshness: Freshness) -> Arc<Self> {
        Arc::new(Common {
            turns: Semaphore::new(resolver.max_in_flight().min(Semaphore::MAX_PERMITS)),
            resolver,
            freshness,
            schedule: Schedule::default(),
            questions: AtomicU64::new(1),
        })
    }
}

impl Unit {
    /// A unit that is looked at when it is due; `forced` is when it was last asked for because a value was refused.
    pub(super) fn new(
        common: &Arc<Common>,
        number: usize,
        kept: Vec<Arc<Kept>>,
        forced: Option<Instant>,
    ) -> Arc<Self> {
        let forced = Arc::new(Mutex::new(forced));
        let unit = Arc::new(Unit { common: Arc::clone(common), number, kept, forced });
        unit.plan();
        unit
    }

    /// When it was last asked for because a value was refused.
    pub(super) fn forced(&self) -> Option<Instant> {
        self.forced.try_lock().map_or_else(|_| Some(Instant::now()), |forced| *forced)
    }

    /// Takes values out of use that are too old, and begins to ask when it is due and nobody asks yet.
    pub(super) fn look(self: &Arc<Self>, now: Instant, asking: &mut JoinSet<()>) {
        self.kept.iter().for_each(|kept| kept.tidy(now));
        if self.kept.iter().any(|kept| kept.is_due(now)) {
            let is_asked_for = self.kept.iter().any(|kept| kept.is_asked_for());
            self.kept.iter().for_each(|kept| kept.postpone(now));
            if !is_asked_for {
                // Marked here, so that it is not begun twice while it waits for its turn.
                let question = Question::new(Arc::clone(self), Caller::Refresh);
                asking.spawn(async move {
                    let common = Arc::clone(&question.unit.common);
                    let _turn = common.turns.acquire().await;
                    question.ask().await;
                });
            }
        }
        self.plan();
    }

    fn plan(&self) {
        let next = || self.kept.iter().map(|kept| kept.next()).min();
        self.common.schedule.set(self.number, || next().unwrap_or_else(Instant::now));
    }
}

impl Question {
    fn new(unit: Arc<Unit>, caller: Caller) -> Self {
        let asked = unit.kept.iter().map(|kept| kept.asked()).collect();
        Question { unit, caller, asked }
    }

    /// Asks for the members of the unit now, whatever else is being asked for.
    async fn ask(self) {
        let Unit { common, kept, .. } = &*self.unit;
        let question = common.questions.fetch_add(1, Ordering::Relaxed);
        let references: Vec<Reference> = kept.iter().map(|kept| kept.reference.clone()).collect();
        let outcomes = with_caller(self.caller.clone(), common.resolver.resolve_all(&references)).await;
        for (kept, outcome) in kept.iter().zip(outcomes) {
            kept.apply(question, outcome.result, &common.freshness);
        }
    }
}

impl Drop for Question {
    /// The answer says when to ask again.
    fn drop(&mut self) {
        self.asked.clear();
        self.unit.plan();
    }
}

#[async_trait]
impl Refresh for Unit {
    async fn refresh(self: Arc<Self>) {
        let mut forced = Arc::clone(&self.forced).lock_owned().await;
        if forced.is_some_and(|last| last.elapsed() < FORCED_REFRESH_PAUSE) {
            return;
        }
        *forced = Some(Instant::now());
        let asking = tokio::spawn(async move {
            Question::new(self, Caller::Gateway).ask().await;
            // Again, so that this answer also counts for those who waited long for it.
            *forced = Some(Instant::now());
        });
        // It fails when the manager panics, and then there is no other value.
        let _ = asking.await;
    }
}
