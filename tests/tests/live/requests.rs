//! Requests that are under way while the configuration is replaced.

use futures_util::future::join_all;
use mock_openai::Options;

use crate::support::{Settings, Store, post_reload, request, until, upstream};

const REQUESTS: usize = 200;
/// More events than are released before all streams have begun.
const EVENTS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_streams_finish_under_the_configuration_that_they_began_with() {
    let upstream = upstream(Options { held: true, frames: EVENTS, ..Options::default() }).await;
    let store = Store::new(&upstream, Settings::default());
    let serving = store.serve();
    let calls: Vec<_> =
        (0..REQUESTS).map(|_| tokio::spawn(request(&serving, "gpt-4", true).send())).collect();
    upstream.arrived(REQUESTS).await;
    // The heads go out, the streams are held. A stream that is quick may take the turn of one that has not begun yet.
    until("all streams have begun", async || {
        upstream.release(REQUESTS);
        calls.iter().all(tokio::task::JoinHandle::is_finished)
    })
    .await;
    let answers: Vec<_> = join_all(calls).await.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.status() == 200));

    store.configure(Settings { name: "b", ..Settings::default() });
    assert_eq!(post_reload(&serving).await.0, 200);
    let next = tokio::spawn(request(&serving, "gpt-4", false).send());
    upstream.arrived(REQUESTS + 1).await;
    assert_eq!((store.happened("create b"), store.happened("shutdown a")), (1, 0), "it is still needed");

    upstream.release(REQUESTS * (EVENTS + 10));
    let texts = join_all(answers.into_iter().map(|answer| answer.text())).await;
    assert!(texts.into_iter().all(|text| text.unwrap().ends_with("data: [DONE]\n\n")));
    assert_eq!(next.await.unwrap().unwrap().status(), 200);
    until("the old instance is shut down", async || store.happened("shutdown a") == 1).await;
    assert_eq!(store.happened("shutdown b"), 0);
}
