//! What a caller is told when an upstream or a secret fails.

use std::{sync::Arc, time::Duration};

use keyway::{
    gateway::{DeploymentSpec, RouterSettings, Settings, Text},
    service::SecretHandle,
};
use mock_openai::{Options, Reply};

use crate::support::{Running, chat, key, nobody, refusal, settings, spec, start, start_with, upstream};

async fn start_without_retries(spec: DeploymentSpec) -> Running {
    let router = RouterSettings { num_retries: 0, ..RouterSettings::default() };
    start(Settings { router, ..settings(vec![spec]) }).await
}

#[tokio::test]
async fn an_upstream_that_is_away_is_502() {
    let gateway = start_without_retries(spec("gpt-4", &nobody().await)).await;
    let refused = refusal(gateway.chat().await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (502, "upstream_unavailable"));
    assert!(refused.message.contains("`gpt-4`"));
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_is_504_and_its_call_is_given_up() {
    let upstream = upstream(Options { held: true, ..Options::default() }).await;
    let timeout = Some(Duration::from_millis(50));
    let gateway = start_without_retries(DeploymentSpec { timeout, ..spec("gpt-4", &upstream.base()) }).await;
    let refused = refusal(gateway.chat().await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (504, "upstream_timeout"));
    assert!(refused.message.contains("0.05 s"), "{}", refused.message);
    upstream.abandoned(1).await;
}

#[tokio::test]
async fn a_refused_provider_key_is_told_apart_from_the_callers_own() {
    let upstream = upstream(Options { keys: vec!["sk-test-another".into()], ..Options::default() }).await;
    let gateway = start(settings(vec![spec("gpt-4", &upstream.base())])).await;
    let refused = refusal(gateway.chat().await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (502, "upstream_auth_error"));
    assert!(refused.message.contains("os.environ/OPENAI_API_KEY"), "{}", refused.message);
    upstream.reply_next(Reply::new(403, "{}"));
    assert_eq!(refusal(gateway.chat().await).await.kind, "upstream_auth_error");
    assert_eq!(upstream.requests().len(), 2, "a key that was refused is not tried again");
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let elsewhere = upstream(Options::default()).await;
    let (gateway, upstream) = start_with(Options::default()).await;
    upstream.reply_next(Reply::new(307, "").with_header("location", &elsewhere.base()));
    assert_eq!(refusal(gateway.chat().await).await.kind, "upstream_unavailable");
    assert!(elsewhere.requests().is_empty());
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn an_unresolved_key_fails_closed_and_names_its_reference_until_it_is_published() {
    let upstream = upstream(Options::default()).await;
    let handle = SecretHandle::unresolved("os.environ/OPENAI_API_KEY");
    let gateway = start(settings(vec![DeploymentSpec {
        api_key: Some(Arc::clone(&handle)),
        ..spec("gpt-4", &upstream.base())
    }]))
    .await;
    let refused = refusal(gateway.chat().await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (503, "secret_unavailable"));
    assert!(refused.message.contains("os.environ/OPENAI_API_KEY"));
    assert!(upstream.requests().is_empty());
    handle.publish(Arc::new("sk-test-late".into()), std::time::Duration::ZERO);
    assert_eq!(gateway.chat().await.status(), 200);
}

#[tokio::test]
async fn a_key_that_cannot_be_a_header_is_refused_as_such_and_not_shown() {
    let upstream = upstream(Options::default()).await;
    let spec = DeploymentSpec { api_key: Some(key("sk-canary\nx: y")), ..spec("gpt-4", &upstream.base()) };
    let gateway = start(settings(vec![spec])).await;
    let refused = refusal(gateway.chat().await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (503, "secret_unavailable"));
    assert!(refused.message.contains("os.environ/OPENAI_API_KEY") && refused.message.contains("line break"));
    assert!(!refused.message.contains("canary"));
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn an_unresolved_address_fails_closed() {
    let spec = DeploymentSpec {
        api_base: Some(Text::Secret(SecretHandle::unresolved("os.environ/BASE"))),
        ..spec("gpt-4", "http://unused")
    };
    let refused = refusal(start(settings(vec![spec])).await.chat().await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (503, "secret_unavailable"));
    assert!(refused.message.contains("os.environ/BASE"));
}

#[tokio::test]
async fn an_unresolved_master_key_lets_nobody_in() {
    let upstream = upstream(Options::default()).await;
    let master_key = SecretHandle::unresolved("os.environ/LITELLM_MASTER_KEY");
    let gateway = start(Settings { master_key, ..settings(vec![spec("gpt-4", &upstream.base())]) }).await;
    let refused = refusal(gateway.post("/v1/chat/completions", chat().to_string()).await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (503, "secret_unavailable"));
    assert!(upstream.requests().is_empty());
}
