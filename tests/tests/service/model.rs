//! The cache against a model that is too simple to be wrong: random changes, outages and steps of time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use keyway::service::Cache;
use keyway_plugin_api::{
    DeleteRequest, ErrorKind, ReadRequest, SecretManager as _, SecretMetadata, SecretName, WriteRequest,
};
use keyway_tests::scripted::Scripted;
use proptest::{collection::vec, prelude::*, test_runner::FileFailurePersistence};

use crate::support::{cache_of, pass, request, seconds, settings, settle};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Each name is read in its newest version, to which changes apply, and in a version of its own.
const VERSIONS: [Option<&str>; 2] = [None, Some("1")];

#[derive(Clone, Debug)]
enum Step {
    /// So many reads at once.
    Read(Entry, usize),
    Refresh(Entry),
    Invalidate(usize),
    /// A write, whose answer may be lost.
    Write(usize, bool),
    /// A delete, whose answer may be lost.
    Delete(usize, bool),
    /// The store changes behind the cache's back.
    Set(usize),
    Remove(usize),
    /// How long the store says from now on that its values may be kept, in seconds.
    Hint(Option<u64>),
    Fail(Option<ErrorKind>),
    Pass(u64),
}

/// A name and a version, by number.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: usize,
    version: usize,
}

/// What the manager does: its secrets by name, the class of every failure, and the hint with every value.
#[derive(Clone, Debug, Default)]
struct Store {
    values: [Option<String>; NAMES.len()],
    failing: Option<ErrorKind>,
    hint: Option<Duration>,
}

/// What the cache must know of one entry.
#[derive(Clone, Debug, Default)]
struct Model {
    told: Told,
    /// The value before the last change, and until when it may stand in.
    previous: Option<(String, Duration)>,
    /// The moment of the last call, when that call met an outage.
    outage: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
enum Told {
    #[default]
    Nothing,
    /// The value, when it was told, and how long it is fresh.
    Value(String, Duration, Duration),
    Absent(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let entry = (name.clone(), 0..VERSIONS.len()).prop_map(|(name, version)| Entry { name, version });
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
    let hints = vec![None, Some(20), Some(3000)];
    prop_oneof![
        8 => (entry.clone(), 1..4_usize).prop_map(|(entry, readers)| Step::Read(entry, readers)),
        1 => entry.prop_map(Step::Refresh),
        1 => name.clone().prop_map(Step::Invalidate),
        2 => (name.clone(), any::<bool>()).prop_map(|(name, lost)| Step::Write(name, lost)),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, lost)| Step::Delete(name, lost)),
        2 => name.clone().prop_map(Step::Set),
        1 => name.prop_map(Step::Remove),
        1 => proptest::sample::select(hints).prop_map(Step::Hint),
        2 => proptest::sample::select(kinds).prop_map(Step::Fail),
        4 => prop_oneof![Just(1), Just(9), Just(30), Just(80), Just(101), Just(950)].prop_map(Step::Pass),
    ]
}

impl Store {
    /// What a call answers.
    fn fetch(&self, entry: Entry) -> Result<String, ErrorKind> {
        match self.failing {
            Some(kind) => Err(kind),
            None => self.values[entry.name].clone().ok_or(ErrorKind::NotFound),
        }
    }
}

impl Model {
    /// What a read must answer now, with what a call would be answered.
    fn answer(&self, fetched: Result<String, ErrorKind>, now: Duration) -> Result<String, ErrorKind> {
        match &self.told {
            Told::Absent(when) if now < *when + settings().negative_ttl => Err(ErrorKind::NotFound),
            Told::Value(value, when, ttl) if now < *when + *ttl => Ok(value.clone()),
            // The manager met an outage in this very moment and is not asked again; or it meets one now.
            _ if self.outage == Some(now) || fetched.as_ref().is_err_and(|kind| is_outage(*kind)) => {
                self.usable(now).map(str::to_owned).map_or(fetched, Ok)
            }
            _ => fetched,
        }
    }

    /// The value that may be served, in an outage at least.
    fn usable(&self, now: Duration) -> Option<&str> {
        match &self.told {
            Told::Value(value, when, ttl) if now < *when + settings().stale_ttl.max(*ttl) => Some(value),
            _ => None,
        }
    }

    /// The cache called, and learnt something.
    fn called(&mut self, fetched: Result<String, ErrorKind>, hint: Option<Duration>, now: Duration) {
        self.outage = fetched.as_ref().err().is_some_and(|kind| is_outage(*kind)).then_some(now);
        match fetched {
            Ok(value) => self.learn(value, hint, now),
            Err(ErrorKind::NotFound) => self.forget(Told::Absent(now)),
            Err(ErrorKind::Denied) => self.forget(Told::Nothing),
            Err(_) => {}
        }
    }

    fn learn(&mut self, value: String, hint: Option<Duration>, now: Duration) {
        match self.usable(now).map(str::to_owned) {
            Some(old) if old != value => self.previous = Some((old, now + settings().previous_overlap)),
            // What was uncertain turns out to be still so.
            None if self.previous(now) == Some(&value) => self.previous = None,
            _ => {}
        }
        self.told = Told::Value(value, now, settings().ttl.min(hint.unwrap_or(Duration::MAX)));
    }

    fn forget(&mut self, told: Told) {
        (self.told, self.previous) = (told, None);
    }

    /// What is known may be wrong now.
    fn doubt(&mut self, now: Duration) {
        if let Some(old) = self.usable(now).map(str::to_owned) {
            self.previous = Some((old, now + settings().previous_overlap));
        }
        (self.told, self.outage) = (Told::Nothing, None);
    }

    fn previous(&self, now: Duration) -> Option<&str> {
        self.previous.as_ref().filter(|(_, until)| now < *until).map(|(value, _)| value.as_str())
    }
}

/// A change of a name ended: what the models of its versions make of it. `applied` is the new value, or that there is none.
fn changed(
    models: &mut [Model; VERSIONS.len()],
    failing: Option<ErrorKind>,
    lost: bool,
    applied: Option<String>,
    now: Duration,
) {
    match (failing, applied) {
        (None, Some(value)) if !lost => {
            models[0].outage = None;
            models[0].learn(value, None, now);
        }
        (None, None) if !lost => models[0].forget(Told::Absent(now)),
        // Nobody knows whether it was applied.
        (None | Some(ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Internal), _) => {
            models[0].doubt(now);
        }
        (Some(_), _) => return,
    }
    for other in &mut models[1..] {
        other.outage = None;
        other.forget(Told::Nothing);
    }
}

fn is_outage(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Unauthenticated)
}

fn asked(entry: Entry) -> ReadRequest {
    ReadRequest { version: VERSIONS[entry.version].map(str::to_owned), ..request(NAMES[entry.name]) }
}

/// The value as text with its generation, or the class of the error.
async fn read(cache: &Cache, entry: Entry) -> Result<(String, u64), ErrorKind> {
    let cached = cache.read_cached(&asked(entry)).await.map_err(|error| error.kind())?;
    Ok((cached.value.expose_str().unwrap().to_owned(), cached.generation))
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let manager = Arc::new(Scripted::default());
    let cache = cache_of(&manager);
    let start = tokio::time::Instant::now();
    let mut models: [[Model; VERSIONS.len()]; NAMES.len()] = Default::default();
    let (mut store, mut generations) = (Store::default(), HashMap::new());
    for (index, step) in steps.into_iter().enumerate() {
        let now = start.elapsed();
        match step {
            Step::Read(entry, readers) => {
                let (model, calls) = (&mut models[entry.name][entry.version], manager.calls());
                let fetched = store.fetch(entry);
                for answer in join_all((0..readers).map(|_| read(&cache, entry))).await {
                    if let Ok((value, generation)) = &answer {
                        let first = generations.entry(*generation).or_insert_with(|| value.clone());
                        prop_assert_eq!(first, value, "two values of generation {}", generation);
                    }
                    let answer = answer.map(|(value, _)| value);
                    prop_assert_eq!(answer, model.answer(fetched.clone(), now), "{:?} at {:?}", model, now);
                }
                settle().await;
                prop_assert!(manager.calls() - calls <= 1, "{} calls at once", manager.calls() - calls);
                // A refresh ahead comes at a random time: the model is told of it.
                if manager.calls() > calls {
                    model.called(fetched, store.hint, now);
                }
            }
            Step::Refresh(entry) => {
                let answer = match cache.refresh(&asked(entry)).await {
                    Ok(cached) => Ok(cached.value.expose_str().unwrap().to_owned()),
                    Err(error) => Err(error.kind()),
                };
                prop_assert_eq!(&answer, &store.fetch(entry));
                models[entry.name][entry.version].called(answer, store.hint, now);
            }
            Step::Invalidate(name) => {
                cache.invalidate(&SecretName::new(NAMES[name]).unwrap());
                models[name].iter_mut().for_each(|model| model.doubt(now));
            }
            Step::Write(name, lost) => {
                let written = format!("{}-{index}", NAMES[name]);
                manager.lose_answers(lost);
                let request = WriteRequest::new(NAMES[name], written.as_str()).unwrap();
                let answer = cache.async_write_secret(&request).await;
                manager.lose_answers(false);
                prop_assert_eq!(answer.is_ok(), store.failing.is_none() && !lost);
                if store.failing.is_none() {
                    store.values[name] = Some(written.clone());
                }
                changed(&mut models[name], store.failing, lost, Some(written), now);
            }
            Step::Delete(name, lost) => {
                manager.lose_answers(lost);
                let answer = cache.async_delete_secret(&DeleteRequest::new(NAMES[name]).unwrap()).await;
                manager.lose_answers(false);
                let existed = store.failing.is_none() && store.values[name].take().is_some();
                prop_assert_eq!(answer.is_ok(), existed && !lost);
                changed(&mut models[name], store.failing, lost, None, now);
            }
            Step::Set(name) => {
                let value = format!("{}-{index}", NAMES[name]);
                manager.set(NAMES[name], &value);
                store.values[name] = Some(value);
            }
            Step::Remove(name) => {
                manager.remove(NAMES[name]);
                store.values[name] = None;
            }
            Step::Hint(hint) => {
                store.hint = hint.map(seconds);
                manager.describe(SecretMetadata { ttl: store.hint, ..SecretMetadata::default() });
            }
            Step::Fail(kind) => {
                store.failing = kind;
                manager.fail(kind);
            }
            Step::Pass(time) => pass(seconds(time)).await,
        }
        let now = start.elapsed();
        for (name, models) in models.iter().enumerate() {
            for (version, model) in models.iter().enumerate() {
                let previous = cache.previous(&asked(Entry { name, version }));
                let previous = previous.as_ref().map(|value| value.expose_str().unwrap());
                prop_assert_eq!(previous, model.previous(now), "{:?} at {:?}", model, now);
            }
        }
    }
    Ok(())
}

/// Where counterexamples are kept, to be tried first and to be committed with their mending.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/model.regressions");

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_cache_answers_as_the_model_does(steps in vec(step(), 1..80)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps))?;
    }
}
