//! Signals while a request is in flight.

use keyway_tests::cli::{Folder, MASTER_KEY, Serving};
use mock_openai::{MockOpenAi, Options};
use reqwest::Response;

use crate::support::{closed, folder, keyway, request, upstream};

/// More than a stream has frames.
const ALL: usize = 100;

/// A gateway with a stream of which the first event has arrived and the rest is held back.
async fn streaming() -> (Serving, MockOpenAi, Response, Folder) {
    let upstream = upstream(Options { held: true, ..Options::default() }).await;
    let folder = folder();
    let serving = keyway(&folder, &upstream).serve().unwrap();
    upstream.release(2);
    let mut answer = request(&serving.url("/v1/chat/completions"), MASTER_KEY, true).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.chunk().await.unwrap().unwrap().starts_with(b"data: "));
    (serving, upstream, answer, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_flight_is_completed_after_the_first_signal() {
    let (serving, upstream, answer, _folder) = streaming().await;
    serving.terminate().unwrap();
    closed(serving.address).await;
    upstream.release(ALL);
    assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    serving.wait().unwrap().expect(0, &["requests in flight may finish", "stopped"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_a_stream_off() {
    let (serving, upstream, answer, _folder) = streaming().await;
    serving.terminate().unwrap();
    closed(serving.address).await;
    serving.terminate().unwrap();
    serving.wait().unwrap().expect(1, &["stopped by a second signal"]).unwrap();
    assert!(answer.text().await.is_err());
    upstream.abandoned(1).await;
}
