//! Requests that are refused before any upstream is asked.

use futures_util::stream;
use keyway::gateway::Settings;
use mock_openai::Options;

use crate::support::{MASTER, chat, refusal, settings, spec, start, start_with, upstream};

#[tokio::test]
async fn each_fault_of_a_body_is_a_400_that_names_it() {
    let (gateway, upstream) = start_with(Options::default()).await;
    let chat = "/v1/chat/completions";
    for (path, body, param, says) in [
        (chat, "{\n  \"model\": nope}", None, "line 2, column"),
        (chat, "", None, "not valid JSON"),
        (chat, "[]", None, "an array"),
        (chat, r#"{"messages":[]}"#, Some("model"), "`model`"),
        (chat, r#"{"model":"gpt-4"}"#, Some("messages"), "`messages`"),
        ("/v1/completions", r#"{"model":"gpt-4"}"#, Some("prompt"), "`prompt`"),
        ("/v1/embeddings", r#"{"model":"gpt-4"}"#, Some("input"), "`input`"),
        (chat, r#"{"model":"gpt-4","messages":[],"api_base":"http://x"}"#, Some("api_base"), "remove it"),
        (chat, r#"{"model":"gpt-4","messages":[],"api_key":"x"}"#, Some("api_key"), "remove it"),
        (chat, r#"{"model":"gpt-5","messages":[]}"#, Some("model"), "available: gpt-4"),
    ] {
        let refused = refusal(gateway.post(path, body).await).await;
        assert_eq!((refused.status, refused.kind.as_str()), (400, "invalid_request_error"), "{body}");
        assert_eq!(refused.param.as_deref(), param, "{body}");
        assert!(refused.message.contains(says), "{body}: {}", refused.message);
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_or_not_it_says_its_length() {
    let upstream = upstream(Options::default()).await;
    let settings = Settings { max_body: 100_000, ..settings(vec![spec("gpt-4", &upstream.base())]) };
    let gateway = start(settings).await;
    let refused = refusal(gateway.post("/v1/chat/completions", vec![b' '; 150_000]).await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (413, "invalid_request_error"));
    assert!(refused.message.contains("100000 bytes"), "{}", refused.message);
    let chunks = stream::iter((0..15).map(|_| Ok::<_, std::io::Error>(vec![b' '; 10_000])));
    let refused =
        refusal(gateway.post("/v1/chat/completions", reqwest::Body::wrap_stream(chunks)).await).await;
    assert_eq!(refused.status, 413);
    let body = chat().to_string();
    let padded = format!("{body}{}", " ".repeat(100_000 - body.len()));
    assert_eq!(gateway.post("/v1/chat/completions", padded).await.status(), 200);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_compressed_body_is_refused_as_such() {
    let (gateway, _upstream) = start_with(Options::default()).await;
    let request = gateway.http.post(gateway.url("/v1/chat/completions")).bearer_auth(MASTER);
    let response = request.header("content-encoding", "gzip").body("x").send().await.unwrap();
    let refused = refusal(response).await;
    assert_eq!(refused.status, 400);
    assert!(refused.message.contains("uncompressed"));
}

#[tokio::test]
async fn an_unknown_route_and_a_wrong_method_are_errors_of_the_same_shape() {
    let (gateway, _upstream) = start_with(Options::default()).await;
    let refused = refusal(gateway.post("/v1/chat/completion", "{}").await).await;
    assert_eq!((refused.status, refused.kind.as_str()), (404, "invalid_request_error"));
    assert!(refused.message.contains("POST /v1/chat/completion "), "{}", refused.message);
    let response = gateway.http.get(gateway.url("/v1/chat/completions")).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    let refused = refusal(response).await;
    assert_eq!((refused.status, refused.kind.as_str()), (405, "invalid_request_error"));
}
