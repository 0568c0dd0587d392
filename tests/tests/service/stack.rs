//! All layers together: their order, what they show, and that no value shows.

use std::{fs, sync::Arc};

use keyway::{
    config::{AccessMode, AuditSettings, Env, OnError, Reference, RetrySettings, ServiceSettings},
    service::{
        AccessPolicy, AuditLog, Caller, Freshness, Keeper, Metrics, Policy, Resolver, SecretHandle, Stack,
        StackSettings, breaker::BreakerState, metrics::Counter, with_caller,
    },
};
use keyway_plugin_api::{DeleteRequest, ErrorKind, OptionalParams, Secret, WriteRequest};
use keyway_tests::scripted::Scripted;

use crate::support::{pass, request, seconds, settings, settle};

const CANARY: &str = "canary-4f1d";

fn stack(manager: &Arc<Scripted>, metrics: &Metrics, audit: Option<AuditLog>) -> Stack {
    let retry = RetrySettings { max_retries: 1, breaker_failures: 4, breaker_cooldown: seconds(5) };
    let settings = StackSettings {
        name: "vault".to_owned(),
        timeout: seconds(5),
        max_in_flight: 8,
        access: AccessPolicy { access_mode: AccessMode::ReadAndWrite, ..AccessPolicy::default() },
        service: ServiceSettings { cache: settings(), retry, ..ServiceSettings::default() },
    };
    Stack::new(manager.clone(), settings, metrics, audit)
}

/// The value as text, or the class of the error.
async fn value(stack: &Stack, name: &str) -> Result<String, ErrorKind> {
    let answer = stack.manager().async_read_secret(&request(name)).await;
    answer.map(|value| value.expose_str().unwrap().to_owned()).map_err(|error| error.kind())
}

/// A keeper of one reference, as the gateway has it, with the handle that upstream requests take their key from.
async fn kept(stack: &Stack) -> (Arc<Keeper>, Arc<SecretHandle>) {
    let policy = Policy {
        access_mode: AccessMode::ReadAndWrite,
        hosted_keys: None,
        primary_secret_name: None,
        on_error: OnError::Fail,
        optional_params: OptionalParams::NONE,
        timeout: seconds(5),
        max_in_flight: 8,
    };
    let env = Env::from_vars::<String, Secret>([]);
    let resolver = Resolver::new(Some((stack.name().to_owned(), stack.fresh())), policy, env);
    let references = [Reference::new("os.environ/a", Vec::new()).unwrap()];
    let handle = SecretHandle::unresolved("os.environ/a");
    let outcomes = resolver.resolve_all(&references).await.into_iter();
    let kept = outcomes.map(|outcome| (Arc::clone(&handle), outcome)).collect::<Vec<_>>();
    let keeper = Keeper::new(resolver, Freshness::default(), kept, None);
    tokio::spawn(Arc::clone(&keeper).run());
    (keeper, handle)
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_half_an_hour_is_noticed_by_nobody() {
    let (manager, metrics) = (Scripted::with("a", "one"), Metrics::new());
    let settings = StackSettings {
        name: "vault".to_owned(),
        timeout: seconds(5),
        max_in_flight: 8,
        access: AccessPolicy::default(),
        service: ServiceSettings::default(),
    };
    let stack = Stack::new(manager.clone(), settings, &metrics, None);
    let (keeper, handle) = kept(&stack).await;
    let in_use = || handle.current().map(|value| value.expose_str().unwrap().to_owned());
    manager.fail(ErrorKind::Unavailable);
    let before = manager.calls();
    for second in 0..30 * 60 {
        pass(seconds(1)).await;
        assert_eq!(value(&stack, "a").await.as_deref(), Ok("one"), "after {second} s");
        assert_eq!(in_use().as_deref(), Some("one"), "after {second} s");
    }
    assert_ne!(stack.breaker(), BreakerState::Closed);
    assert_eq!(keeper.status()[0].state, "stale");
    let calls = manager.calls() - before;
    assert!((30..400).contains(&calls), "{calls} calls of a manager that is down");
    manager.fail(None);
    manager.set("a", "two");
    for _ in 0..60 {
        pass(seconds(1)).await;
        settle().await;
    }
    assert_eq!((value(&stack, "a").await.as_deref(), in_use().as_deref()), (Ok("two"), Some("two")));
    assert_eq!(stack.breaker(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_breaker_refused_leaves_the_value_in_place() {
    let (manager, metrics) = (Scripted::with("a", "one"), Metrics::new());
    let stack = stack(&manager, &metrics, None);
    value(&stack, "a").await.unwrap();
    manager.fail(ErrorKind::Unavailable);
    for _ in 0..2 {
        value(&stack, "other").await.unwrap_err();
    }
    assert_eq!(stack.breaker(), BreakerState::Open);
    let write = WriteRequest::new("a", "two").unwrap();
    assert_eq!(stack.manager().async_write_secret(&write).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(value(&stack, "a").await.as_deref(), Ok("one"));
}

#[tokio::test]
async fn no_value_shows_in_audit_log_metrics_status_or_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let log =
        AuditLog::open(&AuditSettings { path: path.clone(), required: false }, Counter::default()).unwrap();
    let (manager, metrics) = (Scripted::with("a", CANARY), Metrics::new());
    let stack = stack(&manager, &metrics, Some(log.clone()));
    let all = stack.manager();
    let mut shown = String::new();
    for kind in std::iter::once(None).chain(ErrorKind::ALL.map(Some)) {
        manager.fail(kind);
        let write = WriteRequest::new("a", CANARY).unwrap();
        with_caller(Caller::Startup, async {
            shown += &format!("{:?}", all.async_read_secret(&request("a")).await);
            shown += &format!("{:?}", stack.cache().refresh(&request("a")).await);
            shown += &format!("{:?}", all.async_read_secret(&request("b")).await);
            shown += &format!("{:?}", all.async_write_secret(&write).await);
            shown += &format!("{:?}", all.async_delete_secret(&DeleteRequest::new("b").unwrap()).await);
            shown += &format!("{:?}", stack.cache().status());
        })
        .await;
    }
    log.flush().await;
    let audit = fs::read_to_string(&path).unwrap();
    shown += &audit;
    shown += &metrics.render();
    assert!(!shown.contains(CANARY));
    assert!(audit.contains("\"event\":\"manager_call\"") && audit.contains("\"event\":\"handed_out\""));
    for shown in [
        "keyway_manager_calls_total{manager=\"vault\",operation=\"read\",class=\"OK\"}",
        "keyway_manager_breaker_state{manager=\"vault\"}",
        "keyway_cache_values{manager=\"vault\"}",
        "keyway_manager_calls_in_flight{manager=\"vault\"} 0",
    ] {
        assert!(metrics.render().contains(shown), "{shown} is missing in\n{}", metrics.render());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_forbids_is_not_served_from_the_cache() {
    let (manager, metrics) = (Scripted::with("a", "one"), Metrics::new());
    let settings = StackSettings {
        name: "vault".to_owned(),
        timeout: seconds(5),
        max_in_flight: 8,
        access: AccessPolicy { access_mode: AccessMode::WriteOnly, ..AccessPolicy::default() },
        service: ServiceSettings::default(),
    };
    let stack = Stack::new(manager.clone(), settings, &metrics, None);
    let write = WriteRequest::new("a", "two").unwrap();
    stack.manager().async_write_secret(&write).await.unwrap();
    assert_eq!(value(&stack, "a").await, Err(ErrorKind::Denied));
}
