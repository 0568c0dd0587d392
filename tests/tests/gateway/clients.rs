//! What works, as an application sees it.

use async_openai::types::{
    chat::CreateChatCompletionRequest, completions::CreateCompletionRequest,
    embeddings::CreateEmbeddingRequest,
};
use futures_util::StreamExt;
use keyway::gateway::{DeploymentSpec, ModelAlias, Param, RouterSettings, Settings};
use mock_openai::Options;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{PROVIDER_KEY, key, settings, spec, start, start_with, streamed_chat, upstream};

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn a_chat_completion_reaches_the_upstream_with_the_providers_key_and_model() {
    let (gateway, upstream) =
        start_with(Options { keys: vec![PROVIDER_KEY.into()], ..Options::default() }).await;
    let request: CreateChatCompletionRequest = typed(crate::support::chat());
    let answer = gateway.openai().chat().create(request).await.unwrap();
    assert!(answer.choices[0].message.content.as_deref().unwrap().contains("mock upstream"));
    let seen = &upstream.requests()[0];
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.authorization(), Some(format!("Bearer {PROVIDER_KEY}").as_str()));
    assert!(seen.text().contains(r#""model":"gpt-4-upstream""#));
}

#[tokio::test]
async fn a_streamed_chat_completion_arrives_whole() {
    let (gateway, _upstream) = start_with(Options { frames: 5, ..Options::default() }).await;
    let request: CreateChatCompletionRequest = typed(streamed_chat());
    let mut stream = gateway.openai().chat().create_stream(request).await.unwrap();
    let mut text = String::new();
    while let Some(part) = stream.next().await {
        text.extend(part.unwrap().choices[0].delta.content.take());
    }
    assert_eq!(text, "part 0 part 1 part 2 part 3 part 4 ");
}

#[tokio::test]
async fn completions_embeddings_and_models_are_served() {
    let (gateway, upstream) = start_with(Options::default()).await;
    let client = gateway.openai();
    let request: CreateCompletionRequest = typed(json!({"model": "gpt-4", "prompt": "hi"}));
    let answer = client.completions().create(request).await.unwrap();
    assert!(answer.choices[0].text.contains("mock upstream"));
    let request: CreateEmbeddingRequest = typed(json!({"model": "gpt-4", "input": ["a", "b"]}));
    assert_eq!(client.embeddings().create(request).await.unwrap().data.len(), 2);
    let models = client.models().list().await.unwrap();
    assert_eq!(models.data[0].id, "gpt-4");
    assert_eq!(client.models().retrieve("gpt-4").await.unwrap().id, "gpt-4");
    let paths: Vec<_> = upstream.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v1/completions", "/v1/embeddings"]);
}

#[tokio::test]
async fn every_route_exists_without_the_version_too() {
    let (gateway, upstream) = start_with(Options::default()).await;
    for (path, field) in
        [("/chat/completions", "messages"), ("/completions", "prompt"), ("/embeddings", "input")]
    {
        let body = json!({"model": "gpt-4", field: []}).to_string();
        assert_eq!(gateway.post(path, body).await.status(), 200, "{path}");
    }
    assert_eq!(upstream.requests().len(), 3);
    let models = gateway.http.get(gateway.url("/models")).bearer_auth(crate::support::MASTER);
    assert_eq!(models.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn unknown_fields_their_order_and_the_text_of_numbers_survive() {
    let (gateway, upstream) = start_with(Options::default()).await;
    let body = r#"{"zeta":1.10,"messages":[],"model":"gpt-4","seed":12345678901234567890123,"a":{"b":[ ]}}"#;
    assert_eq!(gateway.post("/v1/chat/completions", body).await.status(), 200);
    assert_eq!(upstream.requests()[0].text(), body.replace("gpt-4", "gpt-4-upstream"));
}

#[tokio::test]
async fn a_deployments_parameters_are_defaults_that_a_caller_overrides() {
    let upstream = upstream(Options::default()).await;
    let params = vec![
        ("temperature".into(), Param::Json(json!(0.25))),
        ("user".into(), Param::Secret(key("from-a-secret"))),
    ];
    let gateway = start(settings(vec![DeploymentSpec { params, ..spec("gpt-4", &upstream.base()) }])).await;
    gateway.chat().await;
    gateway.post("/v1/chat/completions", r#"{"model":"gpt-4","messages":[],"temperature":1}"#).await;
    let bodies: Vec<Value> =
        upstream.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!((&bodies[0]["temperature"], &bodies[0]["user"]), (&json!(0.25), &json!("from-a-secret")));
    assert_eq!(bodies[1]["temperature"], json!(1));
}

#[tokio::test]
async fn a_rotated_key_is_used_by_the_next_request() {
    let upstream = upstream(Options::default()).await;
    let handle = key("sk-test-old");
    let spec = DeploymentSpec { api_key: Some(handle.clone()), ..spec("gpt-4", &upstream.base()) };
    let gateway = start(settings(vec![spec])).await;
    gateway.chat().await;
    handle.publish(std::sync::Arc::new("sk-test-new".into()), std::time::Duration::ZERO);
    gateway.chat().await;
    let seen: Vec<_> = upstream.requests().iter().map(|r| r.authorization().unwrap().to_owned()).collect();
    assert_eq!(seen, ["Bearer sk-test-old", "Bearer sk-test-new"]);
}

#[tokio::test]
async fn aliases_and_wildcards_lead_to_their_models() {
    let upstream = upstream(Options::default()).await;
    let wildcard = DeploymentSpec { model: "openai/*".into(), ..spec("openai/*", &upstream.base()) };
    let router = RouterSettings {
        model_group_alias: vec![(
            "gpt-4".into(),
            ModelAlias {
                model: "openai/gpt-4o".into(),
                setting: "router_settings.model_group_alias.gpt-4".into(),
                hidden: false,
            },
        )],
        ..RouterSettings::default()
    };
    let gateway = start(Settings { router, ..settings(vec![wildcard]) }).await;
    gateway.chat().await;
    gateway.post("/v1/embeddings", r#"{"model":"openai/text-embedding-3-small","input":"a"}"#).await;
    let models: Vec<Value> = upstream
        .requests()
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["model"].take())
        .collect();
    assert_eq!(models, ["gpt-4o", "text-embedding-3-small"]);
}

#[tokio::test]
async fn http_2_in_the_clear_is_served_on_the_same_port() {
    let (gateway, _upstream) = start_with(Options::default()).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = client
        .post(gateway.url("/v1/chat/completions"))
        .bearer_auth(crate::support::MASTER)
        .body(crate::support::chat().to_string())
        .send()
        .await
        .unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}
