//! Streams: unbuffered, cancelled with their caller, never begun twice.

use std::time::Duration;

use keyway::gateway::{DeploymentSpec, RouterSettings, Settings};
use mock_openai::Options;
use reqwest::Response;

use crate::support::{Running, settings, spec, start, start_with, streamed_chat, upstream};

async fn begin(gateway: &Running) -> Response {
    gateway.post("/v1/chat/completions", streamed_chat().to_string()).await
}

async fn next(response: &mut Response) -> String {
    String::from_utf8(response.chunk().await.unwrap().unwrap().to_vec()).unwrap()
}

fn held(frames: usize) -> Options {
    Options { held: true, frames, ..Options::default() }
}

#[tokio::test]
async fn streamed_frames_arrive_before_the_upstream_ends() {
    let (gateway, upstream) = start_with(held(3)).await;
    // One for the head of the answer, one for its first event; the rest is held back.
    upstream.release(2);
    let mut response = begin(&gateway).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(next(&mut response).await.contains("part 0"));
    for expected in ["part 1", "part 2", r#""finish_reason":"stop""#, "[DONE]"] {
        upstream.release(1);
        let event = next(&mut response).await;
        assert!(event.contains(expected), "{event}");
    }
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn caller_who_leaves_cancels_the_upstream_call() {
    let (gateway, upstream) = start_with(held(1000)).await;
    upstream.release(2);
    let mut response = begin(&gateway).await;
    next(&mut response).await;
    drop(response);
    upstream.abandoned(1).await;
}

#[tokio::test]
async fn caller_who_leaves_before_the_answer_cancels_the_upstream_call() {
    let (gateway, upstream) = start_with(held(1)).await;
    let url = gateway.url("/v1/chat/completions");
    let request = gateway.http.post(url).bearer_auth(crate::support::MASTER);
    let call = tokio::spawn(request.body(crate::support::chat().to_string()).send());
    upstream.arrived(1).await;
    call.abort();
    upstream.abandoned(1).await;
    assert_eq!(upstream.requests().len(), 1, "nothing is tried again for a caller who left");
}

#[tokio::test]
async fn a_stream_that_stalls_is_cut_off_and_not_begun_again() {
    let upstream = upstream(held(3)).await;
    let router =
        RouterSettings { stream_timeout: Some(Duration::from_millis(200)), ..RouterSettings::default() };
    let gateway = start(Settings { router, ..settings(vec![spec("gpt-4", &upstream.base())]) }).await;
    upstream.release(2);
    let mut response = begin(&gateway).await;
    assert!(next(&mut response).await.contains("part 0"));
    assert!(response.chunk().await.is_err(), "a broken stream must not look complete");
    upstream.abandoned(1).await;
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_stream_follows_its_own_timeout_and_not_that_of_whole_answers() {
    let upstream = upstream(Options { frames: 400, ..Options::default() }).await;
    let stream_timeout = Some(Duration::from_secs(30));
    let timeout = Some(Duration::from_millis(1));
    let spec = DeploymentSpec { timeout, stream_timeout, ..spec("gpt-4", &upstream.base()) };
    let gateway = start(settings(vec![spec])).await;
    let text = begin(&gateway).await.text().await.unwrap();
    assert!(text.contains("part 399") && text.ends_with("[DONE]\n\n"));
}
