//! Who gets in, and which of their headers go on.

use mock_openai::Options;

use crate::support::{MASTER, PROVIDER_KEY, Refusal, chat, refusal, start_with};

async fn call(headers: &[(&str, &str)]) -> Result<(), Refusal> {
    let (gateway, upstream) = start_with(Options::default()).await;
    let mut request = gateway.http.post(gateway.url("/v1/chat/completions")).body(chat().to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    if response.status() == 200 {
        return Ok(());
    }
    assert!(upstream.requests().is_empty(), "a refused request was sent on");
    Err(refusal(response).await)
}

#[tokio::test]
async fn the_master_key_is_accepted_in_every_credential_header() {
    for name in ["x-litellm-api-key", "api-key", "x-api-key", "x-goog-api-key"] {
        call(&[(name, MASTER)]).await.unwrap();
    }
    call(&[("authorization", &format!("Bearer {MASTER}"))]).await.unwrap();
}

#[tokio::test]
async fn a_missing_a_malformed_and_an_unknown_key_are_told_apart_and_not_repeated() {
    let missing = call(&[]).await.unwrap_err();
    assert_eq!((missing.status, missing.kind.as_str()), (401, "auth_error"));
    let malformed = call(&[("authorization", "Bearer canary")]).await.unwrap_err();
    assert_eq!((malformed.status, malformed.kind.as_str()), (401, "auth_error"));
    assert!(!malformed.message.contains("canary"));
    let unknown = call(&[("authorization", "Bearer sk-test-canary")]).await.unwrap_err();
    assert_eq!((unknown.status, unknown.kind.as_str()), (401, "token_not_found_in_db"));
    assert!(!unknown.message.contains("canary"));
}

#[tokio::test]
async fn the_models_are_not_shown_without_a_key() {
    let (gateway, _upstream) = start_with(Options::default()).await;
    for path in ["/v1/models", "/models", "/v1/models/gpt-4"] {
        let refused = refusal(gateway.http.get(gateway.url(path)).send().await.unwrap()).await;
        assert_eq!(refused.status, 401, "{path}");
    }
}

#[tokio::test]
async fn no_credential_of_the_caller_reaches_the_upstream_and_tracing_headers_do() {
    let (gateway, upstream) = start_with(Options::default()).await;
    let response = gateway
        .http
        .post(gateway.url("/v1/chat/completions"))
        .header("x-litellm-api-key", MASTER)
        .header("authorization", format!("Bearer {MASTER}"))
        .header("api-key", MASTER)
        .header("x-api-key", MASTER)
        .header("x-goog-api-key", MASTER)
        .header("cookie", MASTER)
        .header("x-forwarded-for", "10.0.0.1")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("openai-organization", "org-test")
        .body(chat().to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let seen = &upstream.requests()[0];
    assert!(
        seen.headers
            .values()
            .all(|value| !value.as_bytes().windows(MASTER.len()).any(|w| w == MASTER.as_bytes()))
    );
    assert_eq!(seen.authorization(), Some(format!("Bearer {PROVIDER_KEY}").as_str()));
    assert_eq!(seen.header("openai-organization"), Some("org-test"));
    assert!(seen.header("traceparent").is_some());
    assert!(seen.header("x-forwarded-for").is_none());
    assert_eq!(seen.header("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(seen.header("content-type"), Some("application/json"));
}
