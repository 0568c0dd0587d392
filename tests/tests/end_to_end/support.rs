//! The folder of an operator, and an upstream.

use std::fs;

use keyway_tests::{
    build::repository,
    cli::{Folder, Keyway, MASTER_KEY},
};
use mock_openai::{MockOpenAi, Options};
use reqwest::{RequestBuilder, Response};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

pub(crate) const SERVE: [&str; 6] = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"];

/// What `examples/my-secret-manager` holds.
pub(crate) const PLUGIN_KEY: &str = "example-openai-key-from-the-plugin";

pub(crate) async fn upstream(options: Options) -> MockOpenAi {
    mock_openai::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), options).unwrap()
}

/// The configuration of the quick start.
pub(crate) fn quickstart_config() -> String {
    fs::read_to_string(repository().join("examples/quickstart/config.yaml")).unwrap()
}

/// The configuration of the quick start and the example plugin, beside each other.
pub(crate) fn folder() -> Folder {
    let folder = Folder::new().unwrap();
    folder.plugin("my-secret-manager").unwrap();
    folder.write("config.yaml", quickstart_config()).unwrap();
    folder
}

/// The gateway's command line, with what the configuration refers to in the environment.
pub(crate) fn keyway(folder: &Folder, upstream: &MockOpenAi) -> Keyway {
    folder.keyway(&SERVE).unwrap().env("QUICKSTART_API_BASE", upstream.base())
}

pub(crate) fn request(url: &str, key: &str, stream: bool) -> RequestBuilder {
    let body = json!({"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}], "stream": stream});
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.post(url).bearer_auth(key).json(&body)
}

pub(crate) async fn chat(url: &str) -> Response {
    request(url, MASTER_KEY, false).send().await.unwrap()
}

/// Returns once nobody listens there any more.
pub(crate) async fn closed(address: std::net::SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
