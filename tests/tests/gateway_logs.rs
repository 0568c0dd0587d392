//! Nothing that is secret, and nothing that a caller wrote, gets into the log, not even at TRACE.
//!
//! It has a process of its own, because what is logged is decided once for each.

use std::{
    io,
    sync::{Arc, Mutex},
};

use keyway::{
    gateway::{Deployment, DeploymentSpec, GatewayState, Settings, Text, serve},
    service::SecretHandle,
};
use mock_openai::{Options, Reply};
use tokio::net::TcpListener;
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn no_key_and_no_body_is_ever_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(log.clone())
        .with_ansi(false);
    subscriber.init();

    let bind = || TcpListener::bind("127.0.0.1:0");
    let upstream = mock_openai::serve(bind().await.unwrap(), Options::default()).unwrap();
    let deployment = Deployment::new(DeploymentSpec {
        setting: "model_list[0]".into(),
        model_name: "gpt-4".into(),
        model: "openai/gpt-4".into(),
        api_key: Some(SecretHandle::literal("api_key", "canary-provider".into())),
        api_base: Some(Text::Literal(upstream.base())),
        ..DeploymentSpec::default()
    });
    let master = SecretHandle::literal("general_settings.master_key", "canary-master".into());
    let state = GatewayState::new(Settings::new(master, vec![deployment.unwrap()])).unwrap();
    let listener = bind().await.unwrap();
    let url = format!("http://{}/v1/chat/completions", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, state, std::future::pending()));

    let http1 = reqwest::Client::new();
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let body = r#"{"model":"gpt-4","messages":[{"role":"user","content":"canary-body"}]}"#;
    for client in [http1, http2] {
        for (key, status) in [("canary-master", 200), ("sk-canary-wrong", 401), ("canary-master", 502)] {
            if status == 502 {
                upstream.reply_next(Reply::new(401, r#"{"error":"canary-answer"}"#));
            }
            let request = client.post(&url).bearer_auth(key).header("x-note", "canary-header").body(body);
            assert_eq!(request.send().await.unwrap().status(), status);
        }
    }

    let bytes = log.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.contains("an upstream refuses our credential") && text.contains("route=\"chat_completions\"")
    );
    let leaks: Vec<&str> = text.lines().filter(|line| line.contains("canary")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}
