//! Which failures are tried again, where, and which are passed on.

use std::time::{Duration, Instant};

use keyway::gateway::{DeploymentSpec, Fallback, RouterSettings, Settings};
use mock_openai::{Options, Reply};

use crate::support::{chat, key, nobody, refusal, settings, spec, start, start_with, upstream};

fn quick(status: u16) -> Reply {
    Reply::new(status, r#"{"error":{"message":"busy"}}"#).with_header("retry-after-ms", "1")
}

#[tokio::test]
async fn overload_and_faults_of_the_upstream_are_tried_again_until_it_answers() {
    for status in [408, 429, 500, 502, 503, 529] {
        let (gateway, upstream) = start_with(Options::default()).await;
        upstream.reply_next(quick(status));
        upstream.reply_next(quick(status));
        assert_eq!(gateway.chat().await.status(), 200, "{status}");
        assert_eq!(upstream.requests().len(), 3, "{status}");
    }
}

#[tokio::test]
async fn after_the_last_retry_the_upstreams_own_error_is_passed_on() {
    let (gateway, upstream) = start_with(Options::default()).await;
    upstream.reply_always(Some(quick(429).with_header("x-request-id", "req-7")));
    let response = gateway.chat().await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["x-request-id"], "req-7");
    assert_eq!(response.text().await.unwrap(), r#"{"error":{"message":"busy"}}"#);
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let (gateway, upstream) = start_with(Options::default()).await;
    upstream.reply_next(Reply::new(429, "{}").with_header("retry-after", "1"));
    let started = Instant::now();
    assert_eq!(gateway.chat().await.status(), 200);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_error_that_is_the_callers_is_passed_on_at_once_with_its_body() {
    for status in [400, 404, 422] {
        let (gateway, upstream) = start_with(Options::default()).await;
        upstream.reply_next(Reply::new(status, r#"{"error":{"message":"too long","code":"x"}}"#));
        let response = gateway.chat().await;
        assert_eq!(response.status(), status);
        assert_eq!(response.text().await.unwrap(), r#"{"error":{"message":"too long","code":"x"}}"#);
        assert_eq!(upstream.requests().len(), 1);
    }
}

#[tokio::test]
async fn another_deployment_takes_over_at_once_and_the_failed_one_is_passed_over() {
    let (bad, good) = (upstream(Options::default()).await, upstream(Options::default()).await);
    bad.reply_always(Some(Reply::new(500, "{}")));
    let specs = vec![
        DeploymentSpec { weight: Some(1.0), ..spec("gpt-4", &bad.base()) },
        // Never drawn while the other one is fit.
        DeploymentSpec { weight: Some(0.0), ..spec("gpt-4", &good.base()) },
    ];
    let router = RouterSettings { cooldown: Duration::from_secs(600), ..RouterSettings::default() };
    let gateway = start(Settings { router, ..settings(specs) }).await;
    for _ in 0..5 {
        assert_eq!(gateway.chat().await.status(), 200);
    }
    assert_eq!((bad.requests().len(), good.requests().len()), (1, 5));
}

#[tokio::test]
async fn each_deployment_gets_its_own_key_only() {
    let (one, two) = (upstream(Options::default()).await, upstream(Options::default()).await);
    one.reply_always(Some(Reply::new(500, "{}")));
    let specs = vec![
        DeploymentSpec { api_key: Some(key("sk-test-one")), ..spec("gpt-4", &one.base()) },
        DeploymentSpec { api_key: Some(key("sk-test-two")), ..spec("gpt-4", &two.base()) },
    ];
    let gateway = start(settings(specs)).await;
    for _ in 0..20 {
        assert_eq!(gateway.chat().await.status(), 200);
    }
    assert!(one.requests().iter().all(|request| request.authorization() == Some("Bearer sk-test-one")));
    assert!(two.requests().iter().all(|request| request.authorization() == Some("Bearer sk-test-two")));
}

#[tokio::test]
async fn a_fallback_answers_when_the_model_cannot() {
    let backup = upstream(Options::default()).await;
    let specs = vec![spec("gpt-4", &nobody().await), spec("backup", &backup.base())];
    let router = RouterSettings {
        num_retries: 0,
        fallbacks: vec![Fallback {
            model: "gpt-4".into(),
            then: vec!["backup".into()],
            setting: "router_settings.fallbacks[0].gpt-4".into(),
        }],
        ..RouterSettings::default()
    };
    let gateway = start(Settings { router, ..settings(specs) }).await;
    assert_eq!(gateway.chat().await.status(), 200);
    assert_eq!(backup.requests().len(), 1);
}

#[tokio::test]
async fn a_deployment_without_its_secret_is_passed_over_without_using_up_a_retry() {
    let (locked, open) = (upstream(Options::default()).await, upstream(Options::default()).await);
    let unresolved = keyway::service::SecretHandle::unresolved("os.environ/LOCKED");
    let specs = vec![
        DeploymentSpec {
            api_key: Some(unresolved),
            weight: Some(1.0),
            num_retries: Some(0),
            ..spec("gpt-4", &locked.base())
        },
        DeploymentSpec { weight: Some(0.0), ..spec("gpt-4", &open.base()) },
    ];
    let gateway = start(settings(specs)).await;
    assert_eq!(gateway.chat().await.status(), 200);
    assert_eq!((locked.requests().len(), open.requests().len()), (0, 1));
}

#[tokio::test]
async fn without_retries_a_failure_is_final() {
    let upstream = upstream(Options::default()).await;
    upstream.reply_next(Reply::new(503, "{}"));
    let router = RouterSettings { num_retries: 0, ..RouterSettings::default() };
    let gateway = start(Settings { router, ..settings(vec![spec("gpt-4", &upstream.base())]) }).await;
    let response = gateway.post("/v1/chat/completions", chat().to_string()).await;
    assert_eq!(response.status(), 503);
    let next = gateway.post("/v1/chat/completions", r#"{"model":"x","messages":[]}"#).await;
    assert_eq!(refusal(next).await.status, 400);
    assert_eq!(upstream.requests().len(), 1);
}
