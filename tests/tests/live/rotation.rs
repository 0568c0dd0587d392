//! Values that change, go and come while requests are served.

use keyway_tests::cli::MASTER_KEY;
use mock_openai::Options;

use crate::support::{
    NEW, OLD, Settings, Store, chat, client, reference, refusal, request, until, until_state, upstream,
};

const SHORT: Settings =
    Settings { name: "a", ttl_ms: 1000, startup: "{}", models: &[("gpt-4", "OPENAI_API_KEY")] };

async fn until_value_number(serving: &keyway_tests::cli::Serving, name: &str, generation: u64) {
    until("the value has changed", async || reference(serving, name).await["generation"] == generation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_value_is_used_by_the_next_request_and_requests_in_flight_finish() {
    let upstream = upstream(Options { held: true, ..Options::default() }).await;
    let store = Store::new(&upstream, SHORT);
    let serving = store.serve();
    let in_flight = tokio::spawn(request(&serving, "gpt-4", false).send());
    upstream.arrived(1).await;
    store.set("OPENAI_API_KEY", NEW);
    until_value_number(&serving, "OPENAI_API_KEY", 2).await;
    let next = tokio::spawn(request(&serving, "gpt-4", false).send());
    upstream.arrived(2).await;
    upstream.release(2);
    assert_eq!(in_flight.await.unwrap().unwrap().status(), 200);
    assert_eq!(next.await.unwrap().unwrap().status(), 200);
    let sent: Vec<_> =
        upstream.requests().iter().map(|request| request.authorization().unwrap().to_owned()).collect();
    assert_eq!(sent, [format!("Bearer {OLD}"), format!("Bearer {NEW}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_is_not_used_any_more_and_comes_back_by_itself() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, SHORT);
    let serving = store.serve();
    assert_eq!(chat(&serving).await.status(), 200);
    store.delete("OPENAI_API_KEY");
    until_state(&serving, "OPENAI_API_KEY", "missing").await;
    let (status, kind, message) = refusal(chat(&serving).await).await;
    assert_eq!((status, kind.as_str()), (503, "secret_unavailable"));
    assert!(message.contains("os.environ/OPENAI_API_KEY"), "{message}");
    assert_eq!(upstream.requests().len(), 1);
    store.set("OPENAI_API_KEY", NEW);
    until_state(&serving, "OPENAI_API_KEY", "fresh").await;
    assert_eq!(chat(&serving).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_seen_in_the_status_and_by_no_caller() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, SHORT);
    let serving = store.serve();
    store.fail("OPENAI_API_KEY", "UNAVAILABLE");
    until_state(&serving, "OPENAI_API_KEY", "stale").await;
    assert_eq!(reference(&serving, "OPENAI_API_KEY").await["last_error"], "UNAVAILABLE");
    assert_eq!(chat(&serving).await.status(), 200);
    store.work_again("OPENAI_API_KEY");
    until_state(&serving, "OPENAI_API_KEY", "fresh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_rotated_by_reference() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, SHORT);
    store.set("LITELLM_MASTER_KEY", MASTER_KEY);
    let serving = store.serve();
    assert_eq!(reference(&serving, "LITELLM_MASTER_KEY").await["source"], "manager folder");
    store.set("LITELLM_MASTER_KEY", "sk-test-next-master-not-a-key");
    let models = |key: &'static str| client().get(serving.url("/v1/models")).bearer_auth(key).send();
    until("the next master key is accepted", async || {
        models("sk-test-next-master-not-a-key").await.unwrap().status() == 200
    })
    .await;
    assert_eq!(models(MASTER_KEY).await.unwrap().status(), 401, "the one before is not accepted any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_no_outage_to_the_log() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, SHORT);
    let serving = store.serve();
    store.fail("OPENAI_API_KEY", "HANG");
    let reads = store.happened("read OPENAI_API_KEY a");
    until("a refresh is under way", async || store.happened("read OPENAI_API_KEY a") > reads).await;
    serving.terminate().unwrap();
    let ran = serving.wait().unwrap();
    ran.expect(0, &["stopped"]).unwrap();
    assert!(!ran.all().contains("cannot be read"), "{}", ran.all());
    assert_eq!(store.happened("shutdown a"), 1);
}
