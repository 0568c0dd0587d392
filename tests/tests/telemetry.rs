//! Traces of the real program: they reach a collector, continue the caller's, and hold no secret.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::net::SocketAddr;

use keyway_tests::{
    canary::Canary,
    cli::{Folder, Keyway},
};
use mock_openai::{MockOpenAi, Options, RecordedRequest, Reply};
use reqwest::{Client, Response};
use serde_json::json;
use tokio::net::TcpListener;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLERS_SPAN: &str = "b7ad6b7169203331";

/// A gateway's folder, its upstream, and what nothing may tell.
struct Place {
    folder: Folder,
    upstream: MockOpenAi,
    provider_key: Canary,
    master_key: String,
}

impl Place {
    async fn new() -> Self {
        let upstream = server().await;
        let folder = Folder::new().unwrap();
        folder.plugin("keyway-plugin-memory").unwrap();
        let provider_key = Canary::random();
        let base = upstream.base();
        let config = format!(
            "\
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  key_management_system: custom
  key_management_settings: {{custom_secret_manager: memory}}
keyway:
  managers:
    memory: {{plugin: keyway_memory.InMemorySecretManager, config: {{secrets: {{OPENAI_API_KEY: '{}'}}}}}}
model_list:
  - model_name: gpt-4
    litellm_params: {{model: openai/gpt-4, api_key: os.environ/OPENAI_API_KEY, api_base: '{base}'}}
",
            provider_key.value()
        );
        folder.write("config.yaml", config).unwrap();
        Place { folder, upstream, provider_key, master_key: format!("sk-{}", random_word()) }
    }

    fn keyway(&self) -> Keyway {
        let arguments = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"];
        self.folder.keyway(&arguments).unwrap().env("LITELLM_MASTER_KEY", &self.master_key)
    }

    async fn chat(&self, url: &str, content: &str) -> Response {
        let body = json!({"model": "gpt-4", "messages": [{"role": "user", "content": content}]});
        let client = Client::builder().no_proxy().build().unwrap();
        let request = client.post(url).bearer_auth(&self.master_key).json(&body);
        request.header("traceparent", traceparent()).send().await.unwrap()
    }
}

async fn server() -> MockOpenAi {
    mock_openai::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), Options::default()).unwrap()
}

async fn collector() -> MockOpenAi {
    let collector = server().await;
    collector.reply_always(Some(Reply::new(200, "")));
    collector
}

fn endpoint(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLERS_SPAN}-01")
}

/// The random part of a canary: letters and digits alone.
fn random_word() -> String {
    Canary::random().value()[6..22].to_owned()
}

fn holds(export: &RecordedRequest, bytes: &[u8]) -> bool {
    export.body.windows(bytes.len()).any(|window| window == bytes)
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_continue_the_callers_trace_up_to_the_upstream_and_hold_no_secret() {
    let (place, collector) = (Place::new().await, collector().await);
    let keyway = place.keyway().env(ENDPOINT, endpoint(collector.address()));
    let keyway =
        keyway.env("OTEL_SERVICE_NAME", "gateway-under-test").env("KEYWAY_LOG", "trace,keyway=trace");
    let serving = keyway.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue").serve().unwrap();
    let (url, said) = (serving.url("/v1/chat/completions"), random_word());
    assert_eq!(place.chat(&url, &said).await.status(), 200);
    place.upstream.reply_next(Reply::new(401, "{}"));
    assert_eq!(place.chat(&url, &said).await.status(), 502);
    serving.terminate().unwrap();
    // What was not sent yet is sent when it stops.
    serving.wait().unwrap().expect(0, &["stopped"]).unwrap();

    for request in place.upstream.requests() {
        let passed_on = request.header("traceparent").unwrap();
        assert!(passed_on.starts_with(&format!("00-{TRACE}-")) && passed_on.ends_with("-01"), "{passed_on}");
        assert!(!passed_on.contains(CALLERS_SPAN), "the upstream continues our span: {passed_on}");
        let span = bytes(passed_on.split('-').nth(2).unwrap());
        assert!(collector.requests().iter().any(|export| holds(export, &span)), "{passed_on}");
    }
    let exports = collector.requests();
    for part in
        ["request", "upstream_call", "manager_call", "gateway-under-test", "chat_completions", "status"]
    {
        assert!(exports.iter().any(|export| holds(export, part.as_bytes())), "{part}");
    }
    for id in [TRACE, CALLERS_SPAN] {
        assert!(exports.iter().any(|export| holds(export, &bytes(id))), "{id}");
    }
    for export in &exports {
        assert_eq!((export.method.as_str(), export.path.as_str()), ("POST", "/v1/traces"));
        assert_eq!(export.header("x-tenant"), Some("blue"));
        let text = format!("{} {:?}", export.text(), export.headers);
        assert_eq!(place.provider_key.found_in(&text), None);
        for secret in [&place.master_key[3..], &said] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_one_warning_and_no_failed_request() {
    let place = Place::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // Every span is an export of its own, and so a failure of its own.
    let keyway = place.keyway().env(ENDPOINT, endpoint(nobody)).env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1");
    let serving = keyway.serve().unwrap();
    for _ in 0..5 {
        assert_eq!(place.chat(&serving.url("/v1/chat/completions"), "hi").await.status(), 200);
    }
    serving.terminate().unwrap();
    let ran = serving.wait().unwrap();
    ran.expect(0, &["traces cannot be sent"]).unwrap();
    assert_eq!(ran.stderr.matches("traces cannot be sent").count(), 1, "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_callers_traceparent_passes_as_it_is() {
    let place = Place::new().await;
    let serving = place.keyway().serve().unwrap();
    assert_eq!(place.chat(&serving.url("/v1/chat/completions"), "hi").await.status(), 200);
    assert_eq!(place.upstream.requests()[0].header("traceparent"), Some(traceparent().as_str()));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_takes_the_place_of_keyway_takes_no_spans_with_it() {
    let (place, collector) = (Place::new().await, collector().await);
    let arguments =
        ["exec", "--config", "config.yaml", "--secret", "A=OPENAI_API_KEY", "--", "/bin/sh", "-c", "exit 42"];
    let keyway = place.folder.keyway(&arguments).unwrap().env(ENDPOINT, endpoint(collector.address()));
    let ran = keyway.env("LITELLM_MASTER_KEY", &place.master_key).run().unwrap();
    ran.expect(42, &[]).unwrap();
    let exports = collector.requests();
    assert!(exports.iter().any(|export| holds(export, b"manager_call")), "{}", ran.stderr);
}
