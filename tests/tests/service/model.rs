//! The cache against a model that is too simple to be wrong: random changes, outages and steps of time.

use std::{sync::Arc, time::Duration};

use keyway_plugin_api::{DeleteRequest, ErrorKind, SecretManager as _, WriteRequest};
use keyway_tests::scripted::Scripted;
use proptest::{collection::vec, prelude::*};

use crate::support::{cache_of, pass, request, seconds, settings, settle, value};

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Refresh(usize),
    /// A write, whose answer may be lost.
    Write(usize, bool),
    /// A delete, whose answer may be lost.
    Delete(usize, bool),
    /// The store changes behind the cache's back.
    Set(usize),
    Remove(usize),
    Fail(Option<ErrorKind>),
    Pass(u64),
}

/// One secret: what the store holds, and what the cache was told about it last.
#[derive(Clone, Debug, Default)]
struct Model {
    stored: Option<String>,
    told: Told,
    /// The moment of the last call, when that call met an outage.
    outage: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
enum Told {
    #[default]
    Nothing,
    Value(String, Duration),
    Absent(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let kinds = vec![
        None,
        None,
        Some(ErrorKind::Unavailable),
        Some(ErrorKind::Timeout),
        Some(ErrorKind::Throttled),
        Some(ErrorKind::Internal),
        Some(ErrorKind::Denied),
        Some(ErrorKind::Unauthenticated),
    ];
    prop_oneof![
        6 => name.clone().prop_map(Step::Read),
        1 => name.clone().prop_map(Step::Refresh),
        2 => (name.clone(), any::<bool>()).prop_map(|(name, lost)| Step::Write(name, lost)),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, lost)| Step::Delete(name, lost)),
        2 => name.clone().prop_map(Step::Set),
        1 => name.prop_map(Step::Remove),
        2 => proptest::sample::select(kinds).prop_map(Step::Fail),
        4 => prop_oneof![Just(1), Just(9), Just(30), Just(80), Just(101), Just(950)].prop_map(Step::Pass),
    ]
}

impl Model {
    /// What a read must answer now, with the failure that a call would meet.
    fn answer(&self, failing: Option<ErrorKind>, now: Duration) -> Result<String, ErrorKind> {
        let settings = settings();
        match &self.told {
            Told::Absent(when) if now < *when + settings.negative_ttl => return Err(ErrorKind::NotFound),
            Told::Value(value, when) if now < *when + settings.ttl => return Ok(value.clone()),
            // The manager met an outage in this very moment and is not asked again; or it meets one now.
            Told::Value(value, when)
                if now < *when + settings.stale_ttl
                    && (self.outage == Some(now) || failing.is_some_and(is_outage)) =>
            {
                return Ok(value.clone());
            }
            _ => {}
        }
        self.fetch(failing)
    }

    /// What a call answers.
    fn fetch(&self, failing: Option<ErrorKind>) -> Result<String, ErrorKind> {
        match failing {
            Some(kind) => Err(kind),
            None => self.stored.clone().ok_or(ErrorKind::NotFound),
        }
    }

    /// The cache called, and learnt something.
    fn called(&mut self, failing: Option<ErrorKind>, now: Duration) {
        let answer = self.fetch(failing);
        self.outage = answer.as_ref().err().is_some_and(|kind| is_outage(*kind)).then_some(now);
        match answer {
            Ok(value) => self.told = Told::Value(value, now),
            Err(ErrorKind::NotFound) => self.told = Told::Absent(now),
            Err(ErrorKind::Denied) => self.told = Told::Nothing,
            Err(_) => {}
        }
    }

    /// A change ended; `applied` is what the cache was told, if anything certain.
    fn changed(&mut self, failing: Option<ErrorKind>, lost: bool, applied: Told) {
        match failing {
            None if !lost => self.told = applied,
            // Nobody knows whether it was applied.
            None | Some(ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Internal) => {
                self.told = Told::Nothing;
            }
            Some(_) => {}
        }
    }
}

fn is_outage(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Unauthenticated)
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let manager = Arc::new(Scripted::default());
    let cache = cache_of(&manager);
    let start = tokio::time::Instant::now();
    let mut models: [Model; NAMES.len()] = Default::default();
    let mut failing = None;
    for (index, step) in steps.into_iter().enumerate() {
        let now = start.elapsed();
        match step {
            Step::Read(name) => {
                let (model, calls) = (&mut models[name], manager.calls());
                prop_assert_eq!(
                    value(&cache, NAMES[name]).await,
                    model.answer(failing, now),
                    "{:?} at {:?}",
                    model,
                    now
                );
                settle().await;
                // A refresh ahead comes at a random time: the model is told of it.
                if manager.calls() > calls {
                    model.called(failing, now);
                }
            }
            Step::Refresh(name) => {
                let model = &mut models[name];
                let answer = match cache.refresh(&request(NAMES[name])).await {
                    Ok(cached) => Ok(cached.value.expose_str().unwrap().to_owned()),
                    Err(error) => Err(error.kind()),
                };
                prop_assert_eq!(answer, model.fetch(failing));
                model.called(failing, now);
            }
            Step::Write(name, lost) => {
                let written = format!("{}-{index}", NAMES[name]);
                manager.lose_answers(lost);
                let request = WriteRequest::new(NAMES[name], written.as_str()).unwrap();
                let answer = cache.async_write_secret(&request).await;
                manager.lose_answers(false);
                prop_assert_eq!(answer.is_ok(), failing.is_none() && !lost);
                let model = &mut models[name];
                if failing.is_none() {
                    model.stored = Some(written.clone());
                }
                model.changed(failing, lost, Told::Value(written, now));
            }
            Step::Delete(name, lost) => {
                manager.lose_answers(lost);
                let answer = cache.async_delete_secret(&DeleteRequest::new(NAMES[name]).unwrap()).await;
                manager.lose_answers(false);
                let model = &mut models[name];
                let existed = failing.is_none() && model.stored.take().is_some();
                prop_assert_eq!(answer.is_ok(), existed && !lost);
                model.changed(failing, lost, Told::Absent(now));
            }
            Step::Set(name) => {
                let value = format!("{}-{index}", NAMES[name]);
                manager.set(NAMES[name], &value);
                models[name].stored = Some(value);
            }
            Step::Remove(name) => {
                manager.remove(NAMES[name]);
                models[name].stored = None;
            }
            Step::Fail(kind) => {
                failing = kind;
                manager.fail(kind);
            }
            Step::Pass(time) => pass(seconds(time)).await,
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_answers_as_the_model_does(steps in vec(step(), 1..80)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps))?;
    }
}
