//! Starting a gateway in front of a recording upstream.

use std::{io, net::SocketAddr, sync::Arc};

use async_openai::{Client, config::OpenAIConfig};
use keyway::{
    gateway::{Deployment, DeploymentSpec, GatewayState, Settings, Text, serve},
    service::SecretHandle,
};
use mock_openai::{MockOpenAi, Options};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub(crate) const MASTER: &str = "sk-test-master-not-a-key";
pub(crate) const PROVIDER_KEY: &str = "sk-test-provider-not-a-key";

/// A gateway on a port of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

/// What a refusal looks like.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) param: Option<String>,
    pub(crate) message: String,
}

pub(crate) async fn start(settings: Settings) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = GatewayState::new(settings).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, state, async move {
        let _ = stopped.await;
    }));
    Running { address, http: reqwest::Client::new(), stop, task }
}

/// A gateway with one model, `gpt-4`, at one upstream.
pub(crate) async fn start_with(options: Options) -> (Running, MockOpenAi) {
    let upstream = upstream(options).await;
    let gateway = start(settings(vec![spec("gpt-4", &upstream.base())])).await;
    (gateway, upstream)
}

pub(crate) async fn upstream(options: Options) -> MockOpenAi {
    mock_openai::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), options).unwrap()
}

/// An address that nobody listens on.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}

pub(crate) fn settings(specs: Vec<DeploymentSpec>) -> Settings {
    let deployments = specs.into_iter().map(|spec| Deployment::new(spec).unwrap()).collect();
    Settings::new(SecretHandle::literal("general_settings.master_key", MASTER.into()), deployments)
}

pub(crate) fn spec(model_name: &str, base: &str) -> DeploymentSpec {
    DeploymentSpec {
        setting: "model_list[0]".into(),
        model_name: model_name.into(),
        model: "openai/gpt-4-upstream".into(),
        api_key: Some(key(PROVIDER_KEY)),
        api_base: Some(Text::Literal(base.into())),
        ..DeploymentSpec::default()
    }
}

/// A resolved reference.
pub(crate) fn key(value: &str) -> Arc<SecretHandle> {
    let handle = SecretHandle::unresolved("os.environ/OPENAI_API_KEY");
    handle.publish(Arc::new(value.into()), std::time::Duration::ZERO);
    handle
}

pub(crate) fn chat() -> Value {
    json!({"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]})
}

pub(crate) fn streamed_chat() -> Value {
    json!({"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}], "stream": true})
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client of the library that applications use.
    pub(crate) fn openai(&self) -> Client<OpenAIConfig> {
        Client::with_config(OpenAIConfig::new().with_api_base(self.url("/v1")).with_api_key(MASTER))
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        self.http.post(self.url(path)).bearer_auth(MASTER).body(body).send().await.unwrap()
    }

    pub(crate) async fn chat(&self) -> reqwest::Response {
        self.post("/v1/chat/completions", chat().to_string()).await
    }

    /// Gives the stop signal; the result says whether serving ended well.
    pub(crate) fn stop(self) -> JoinHandle<io::Result<()>> {
        let _ = self.stop.send(());
        self.task
    }
}

pub(crate) async fn refusal(response: reqwest::Response) -> Refusal {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = response.json().await.unwrap();
    let error = &body["error"];
    assert_eq!(error["code"], status.to_string(), "{body}");
    Refusal {
        status,
        kind: error["type"].as_str().unwrap().to_owned(),
        param: error["param"].as_str().map(str::to_owned),
        message: error["message"].as_str().unwrap().to_owned(),
    }
}
