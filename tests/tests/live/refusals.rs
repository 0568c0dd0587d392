//! A provider that refuses the gateway's credential.

use futures_util::future::join_all;
use mock_openai::Reply;

use crate::support::{NEW, OLD, Settings, Store, chat, reference, refusal, until, upstream_for};

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_sees_a_rotation_when_the_upstream_accepts_the_new_key_only() {
    let upstream = upstream_for(NEW).await;
    let store = Store::new(&upstream, Settings::default());
    let serving = store.serve();
    store.set("OPENAI_API_KEY", NEW);
    let answers = join_all((0..100).map(|_| chat(&serving))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(store.happened("read OPENAI_API_KEY a"), 2, "once at the start, once for all refusals");
    assert_eq!(reference(&serving, "OPENAI_API_KEY").await["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn right_after_a_rotation_the_value_before_it_stands_in() {
    let upstream = upstream_for(OLD).await;
    let store = Store::new(&upstream, Settings { ttl_ms: 1000, ..Settings::default() });
    let serving = store.serve();
    store.set("OPENAI_API_KEY", NEW);
    until("the value has changed", async || reference(&serving, "OPENAI_API_KEY").await["generation"] == 2)
        .await;
    assert_eq!(chat(&serving).await.status(), 200);
    let sent: Vec<_> =
        upstream.requests().iter().map(|request| request.authorization().unwrap().to_owned()).collect();
    assert_eq!(sent, [format!("Bearer {NEW}"), format!("Bearer {OLD}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_and_has_not_changed_is_told_apart_from_the_callers_own() {
    let upstream = upstream_for(NEW).await;
    let store = Store::new(&upstream, Settings::default());
    let serving = store.serve();
    for status in [401, 403] {
        upstream.reply_next(Reply::new(status, r#"{"error":{"message":"no"}}"#));
        let (status, kind, message) = refusal(chat(&serving).await).await;
        assert_eq!((status, kind.as_str()), (502, "upstream_auth_error"));
        assert!(message.contains("os.environ/OPENAI_API_KEY") && !message.contains("canary"), "{message}");
    }
    assert_eq!(upstream.requests().len(), 2, "a value that was refused is not sent again");
    assert_eq!(store.happened("read OPENAI_API_KEY a"), 2, "the manager is asked once in 30 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_that_the_manager_has_revoked_is_gone() {
    let upstream = upstream_for(NEW).await;
    let store = Store::new(&upstream, Settings::default());
    let serving = store.serve();
    store.fail("OPENAI_API_KEY", "DENIED");
    assert_eq!(refusal(chat(&serving).await).await.1, "upstream_auth_error");
    assert_eq!(refusal(chat(&serving).await).await.1, "secret_unavailable");
    assert_eq!(upstream.requests().len(), 1);
}
