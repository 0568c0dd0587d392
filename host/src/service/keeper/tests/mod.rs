mod ends;
mod refusals;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use keyway_plugin_api::{
    Error, ErrorKind, OptionalParams, ReadRequest, Result, Secret, SecretManager, async_trait,
    request::DEFAULT_TIMEOUT,
};

use super::*;
use crate::{
    config::{AccessMode, Env, OnError, Reference},
    service::Policy,
};

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(300);

/// What the scripted manager answers to the reads of a name.
#[derive(Clone)]
enum Script {
    Value(&'static str),
    WithTtl(&'static str, Duration),
    Expiring(&'static str, Duration),
    Slow(&'static str, Duration),
    Fail(ErrorKind),
    Throttled(Duration),
    Hang,
}
use Script::*;

#[derive(Default)]
struct Scripted {
    answers: Mutex<HashMap<String, Script>>,
    reads: Mutex<BTreeMap<String, usize>>,
}

#[async_trait]
impl SecretManager for Scripted {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let name = request.name.as_str();
        *self.reads.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        let answer = self.answers.lock().unwrap().get(name).cloned();
        match answer {
            None => Err(Error::not_found(name)),
            Some(Value(value)) => Ok(value.into()),
            Some(WithTtl(value, ttl)) => Ok(Secret::from(value).with_ttl(ttl)),
            Some(Expiring(value, left)) => {
                let mut metadata = Secret::from(value).metadata().clone();
                metadata.expires_at = Some(SystemTime::now() + left);
                Ok(Secret::from(value).with_metadata(metadata))
            }
            Some(Slow(value, time)) => {
                tokio::time::sleep(time).await;
                Ok(value.into())
            }
            Some(Fail(kind)) => Err(Error::new(kind, "as scripted")),
            Some(Throttled(wait)) => {
                Err(Error::new(ErrorKind::Throttled, "slow down").with_retry_after(wait))
            }
            Some(Hang) => std::future::pending().await,
        }
    }
}

/// A running keeper of some references.
struct World {
    manager: Arc<Scripted>,
    keeper: Arc<Keeper>,
    handles: BTreeMap<String, Arc<SecretHandle>>,
    task: tokio::task::JoinHandle<()>,
}

struct Setup {
    env: Vec<(&'static str, &'static str)>,
    on_error: OnError,
    primary: Option<&'static str>,
    freshness: Freshness,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { env: Vec::new(), on_error: OnError::Fail, primary: None, freshness: Freshness::default() }
    }
}

impl Setup {
    async fn start<const N: usize>(self, names: [(&str, Script); N]) -> World {
        let manager = Arc::new(Scripted::default());
        for (name, script) in &names {
            manager.answers.lock().unwrap().insert((*name).to_owned(), script.clone());
        }
        let policy = Policy {
            access_mode: AccessMode::ReadOnly,
            hosted_keys: None,
            primary_secret_name: self.primary.map(str::to_owned),
            on_error: self.on_error,
            optional_params: OptionalParams::default(),
            timeout: DEFAULT_TIMEOUT,
            max_in_flight: 64,
        };
        let named: (String, Arc<dyn SecretManager>) = ("vault".to_owned(), manager.clone());
        let resolver = Resolver::new(Some(named), policy, Env::from_vars(self.env));
        let names = names.iter().map(|(name, _)| *name).filter(|name| self.primary != Some(*name));
        let names: Vec<&str> =
            if self.primary.is_some() { vec!["USER", "PASSWORD"] } else { names.collect() };
        let references: Vec<Reference> = names
            .iter()
            .map(|name| Reference::new(format!("os.environ/{name}"), Vec::new()).unwrap())
            .collect();
        let outcomes = resolver.resolve_all(&references).await;
        let handles: Vec<_> =
            names.iter().map(|name| SecretHandle::unresolved(format!("os.environ/{name}"))).collect();
        let keeper = Keeper::new(resolver, self.freshness, handles.iter().cloned().zip(outcomes), None);
        let task = tokio::spawn(Arc::clone(&keeper).run());
        let handles = names.iter().map(|name| (*name).to_owned()).zip(handles).collect();
        World { manager, keeper, handles, task }
    }
}

impl World {
    fn script(&self, name: &str, script: Script) {
        self.manager.answers.lock().unwrap().insert(name.to_owned(), script);
    }

    fn gone(&self, name: &str) {
        self.manager.answers.lock().unwrap().remove(name);
    }

    fn reads(&self, name: &str) -> usize {
        let reads = self.manager.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.get(name).copied().unwrap_or_default()
    }

    fn value(&self, name: &str) -> Option<String> {
        self.handles[name].current().map(|value| value.expose_str().unwrap().to_owned())
    }

    fn status(&self, name: &str) -> ReferenceStatus {
        let reference = format!("os.environ/{name}");
        self.keeper.status().into_iter().find(|status| status.reference == reference).unwrap()
    }
}

/// Lets time pass, with all that happens in it.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_is_asked_for_again_ahead_of_its_ttl_and_never_at_once_with_all_others() {
    let names = ["A", "B", "C", "D", "E", "F", "G", "H"].map(|name| (name, Value("one")));
    let world = Setup::default().start(names).await;
    pass(TTL.mul_f64(0.8 * 0.9) - SECOND).await;
    let reads = || world.handles.keys().map(|name| world.reads(name)).collect::<Vec<_>>();
    assert_eq!(reads(), [1; 8], "nothing is asked for before 72 % of the ttl");
    for name in world.handles.keys() {
        world.script(name, Value("two"));
    }
    let mut moments = std::collections::BTreeSet::new();
    for second in 0..=50 {
        pass(SECOND).await;
        if reads().contains(&2) {
            moments.insert((second, reads().iter().filter(|reads| **reads == 2).count()));
        }
    }
    assert_eq!(reads(), [2; 8], "everything was asked for once before 88 % of the ttl");
    assert!(moments.iter().map(|(_, count)| count).collect::<std::collections::BTreeSet<_>>().len() > 2);
    assert!(world.handles.keys().all(|name| world.value(name).as_deref() == Some("two")));
    assert_eq!((world.status("A").state, world.status("A").generation), ("fresh", 2));
}

#[tokio::test(start_paused = true)]
async fn a_managers_ttl_wins_when_it_is_shorter() {
    let short = WithTtl("one", Duration::from_secs(10));
    let long = WithTtl("one", Duration::from_secs(100_000));
    let world = Setup::default().start([("A", short), ("B", long)]).await;
    pass(Duration::from_secs(10)).await;
    assert_eq!((world.reads("A"), world.reads("B")), (2, 1));
    pass(TTL).await;
    assert_eq!(world.reads("B"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_or_revoked_is_withdrawn_at_the_first_answer_and_recovers_by_itself() {
    for kind in [ErrorKind::NotFound, ErrorKind::Denied] {
        let world = Setup::default().start([("A", Value("one"))]).await;
        world.script("A", Value("two"));
        pass(TTL).await;
        world.script("A", Fail(kind));
        pass(TTL).await;
        assert_eq!(world.value("A"), None, "{kind}");
        assert_eq!(world.status("A").last_error, Some(kind.as_str()));
        assert!(
            world.handles["A"].after_refusal(&[2]).await.is_none(),
            "nor does the one before it stand in"
        );
        world.script("A", Value("three"));
        pass(Duration::from_secs(31)).await;
        assert_eq!(world.value("A").as_deref(), Some("three"), "{kind}");
        assert_eq!(world.status("A").state, "fresh");
    }
}

#[tokio::test(start_paused = true)]
async fn any_other_failure_keeps_the_value() {
    use ErrorKind::{
        Conflict, Internal, InvalidName, Throttled, Timeout, TooLarge, Unauthenticated, Unavailable,
    };
    let kinds = [Unavailable, Timeout, Throttled, Unauthenticated, Internal, InvalidName, TooLarge, Conflict];
    for kind in kinds {
        let world = Setup::default().start([("A", Value("one"))]).await;
        world.script("A", Fail(kind));
        pass(TTL * 2).await;
        assert_eq!(world.value("A").as_deref(), Some("one"), "{kind}");
        assert_eq!(world.status("A").state, "stale", "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_manager_is_asked_less_and_less_often_and_left_alone_as_long_as_it_says() {
    let wait = Duration::from_secs(120);
    let names = [("A", Fail(ErrorKind::Unavailable)), ("B", Throttled(wait))];
    let world = Setup::default().start(names).await;
    pass(wait - SECOND).await;
    assert_eq!(world.reads("B"), 1);
    assert!((7..=12).contains(&world.reads("A")), "{}", world.reads("A"));
    pass(2 * SECOND).await;
    assert_eq!(world.reads("B"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_deleted_gives_way_to_the_environment_and_does_not_stand_in_for_it() {
    let setup = Setup { env: vec![("A", "from-env")], ..Setup::default() };
    let world = setup.start([("A", Value("one"))]).await;
    world.gone("A");
    pass(TTL).await;
    assert_eq!(world.value("A").as_deref(), Some("from-env"));
    let status = world.status("A");
    assert_eq!((status.state, status.generation, status.last_error), ("fresh", 2, None));
    assert_eq!(status.source.as_deref(), Some("environment, since the manager does not have it"));
    assert!(world.handles["A"].after_refusal(&[2]).await.is_none(), "the deleted value is never used again");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_the_last_value_goes_before_the_environment_as_long_as_it_may_be_used() {
    let setup = Setup { env: vec![("A", "from-env")], on_error: OnError::Environment, ..Setup::default() };
    let world = setup.start([("A", Value("one"))]).await;
    world.script("A", Fail(ErrorKind::Unavailable));
    pass(Duration::from_secs(3000)).await;
    assert_eq!((world.value("A").as_deref(), world.status("A").state), (Some("one"), "stale"));
    pass(Duration::from_secs(700)).await;
    assert_eq!((world.value("A").as_deref(), world.status("A").state), (Some("from-env"), "fallback"));
    world.script("A", Value("two"));
    pass(Duration::from_secs(31)).await;
    assert_eq!((world.value("A").as_deref(), world.status("A").state), (Some("two"), "fresh"));
    world.script("A", Fail(ErrorKind::Denied));
    pass(TTL).await;
    assert_eq!(world.value("A").as_deref(), Some("from-env"), "what was revoked is not used on");
}

#[tokio::test(start_paused = true)]
async fn a_reference_whose_refresh_hangs_holds_up_no_other() {
    let short = |value| WithTtl(value, Duration::from_secs(10));
    let world = Setup::default().start([("A", short("one")), ("B", short("one"))]).await;
    world.script("A", Hang);
    world.script("B", short("two"));
    pass(Duration::from_secs(10)).await;
    assert_eq!(world.value("B").as_deref(), Some("two"));
    world.script("B", short("three"));
    pass(Duration::from_secs(10)).await;
    assert_eq!(world.value("B").as_deref(), Some("three"));
    assert_eq!(world.reads("A"), 2, "it is not asked for again while it is being asked for");
    assert_eq!(world.value("A").as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_may_not_stand_in_any_more_is_let_go() {
    let setup = Setup { freshness: Freshness { ttl: 4 * TTL, ..Freshness::default() }, ..Setup::default() };
    let world = setup.start([("A", WithTtl("one", 10 * SECOND))]).await;
    let first = Arc::downgrade(&world.handles["A"].current().unwrap());
    world.script("A", Value("two"));
    pass(Duration::from_secs(10 + 580)).await;
    assert_eq!((world.value("A").as_deref(), world.reads("A")), (Some("two"), 2));
    assert!(first.upgrade().is_some());
    pass(Duration::from_secs(20)).await;
    assert_eq!(world.reads("A"), 2);
    assert!(first.upgrade().is_none(), "wiped without another change");
}

#[tokio::test(start_paused = true)]
async fn of_two_answers_the_one_to_the_later_question_wins() {
    let world = Setup::default().start([("A", Value("one"))]).await;
    let kept = &world.keeper.kept[0];
    let resolved = |value: &str| {
        let source = crate::service::Source::Manager { name: "vault".to_owned() };
        Ok(crate::service::Resolved { value: Arc::new(Secret::from(value)), source })
    };
    kept.apply(8, resolved("new"), &Freshness::default());
    kept.apply(7, resolved("old"), &Freshness::default());
    assert_eq!(world.value("A").as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn the_fields_of_one_secret_come_from_one_fetch_and_change_together() {
    let setup = Setup { primary: Some("DB"), ..Setup::default() };
    let world = setup.start([("DB", Value(r#"{"USER": "u1", "PASSWORD": "p1"}"#))]).await;
    assert_eq!(world.reads("DB"), 1);
    world.script("DB", Value(r#"{"USER": "u2", "PASSWORD": "p2"}"#));
    pass(TTL).await;
    assert_eq!(world.reads("DB"), 2);
    assert_eq!(
        (world.value("USER").as_deref(), world.value("PASSWORD").as_deref()),
        (Some("u2"), Some("p2"))
    );
    world.script("DB", Value(r#"{"USER": "u3", "PASSWORD": "p3"}"#));
    world.handles["PASSWORD"].after_refusal(&[2]).await.unwrap();
    assert_eq!(world.value("USER").as_deref(), Some("u3"), "a forced refresh fetches all fields, too");
    world.script("DB", Value(r#"{"USER": "u4"}"#));
    pass(TTL).await;
    assert_eq!((world.value("USER").as_deref(), world.value("PASSWORD")), (Some("u4"), None));
    world.script("DB", Value("no object"));
    pass(TTL).await;
    assert_eq!(world.value("USER").as_deref(), Some("u4"), "a fault is no deletion");
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_at_the_start_comes_by_itself() {
    let world = Setup::default().start([("A", Fail(ErrorKind::Unavailable)), ("B", Value("one"))]).await;
    assert_eq!(world.status("A").state, "missing");
    let states = [("fresh", 1), ("refreshing", 0), ("stale", 0), ("fallback", 0), ("missing", 1)];
    assert_eq!(world.keeper.states(), states);
    assert!(world.keeper.has_value("os.environ/B") && !world.keeper.has_value("os.environ/A"));
    world.script("A", Value("late"));
    pass(2 * SECOND).await;
    assert_eq!(world.value("A").as_deref(), Some("late"));
    assert!(world.keeper.has_value("os.environ/A"));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_ended_gives_up_what_it_asks() {
    let world = Setup::default().start([("A", WithTtl("one", Duration::from_secs(10)))]).await;
    world.script("A", Hang);
    pass(Duration::from_secs(10)).await;
    let World { manager, keeper, task, .. } = world;
    let (manager, held) = (Arc::downgrade(&manager), manager);
    drop(held);
    assert_eq!(keeper.status()[0].state, "refreshing");
    drop(keeper);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    pass(SECOND).await;
    assert!(manager.upgrade().is_none(), "nothing holds the manager any more");
}
