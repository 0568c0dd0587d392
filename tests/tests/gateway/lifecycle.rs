//! Health, and an orderly stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keyway::gateway::Settings;
use keyway_plugin_api::{Error, Result, SecretManager};
use mock_openai::Options;
use serde_json::{Value, json};

use crate::support::{MASTER, chat, settings, spec, start, start_with, upstream};

struct Switchable(AtomicBool);

#[async_trait]
impl SecretManager for Switchable {
    async fn health_check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(Error::unavailable("canary: vault.internal refuses"))
        }
    }
}

#[tokio::test]
async fn liveness_needs_no_key_in_either_spelling() {
    let (gateway, _upstream) = start_with(Options::default()).await;
    for path in ["/health/liveliness", "/health/liveness"] {
        let response = gateway.http.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await.unwrap(), "\"I'm alive!\"");
    }
}

#[tokio::test]
async fn readiness_follows_the_managers_health_and_repeats_none_of_its_words() {
    let manager = Arc::new(Switchable(AtomicBool::new(true)));
    let health: Arc<dyn SecretManager> = manager.clone();
    let gateway = start(Settings { health: Some(health), ..settings(Vec::new()) }).await;
    let readiness = || async {
        let response = gateway.http.get(gateway.url("/health/readiness")).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let ready = json!({"status": "connected", "secret_manager": "connected"});
    assert_eq!(readiness().await, (200, ready.clone()));
    manager.0.store(false, Ordering::SeqCst);
    let away = json!({"status": "disconnected", "secret_manager": "UNAVAILABLE"});
    assert_eq!(readiness().await, (503, away));
    manager.0.store(true, Ordering::SeqCst);
    assert_eq!(readiness().await, (200, ready));
}

#[tokio::test]
async fn a_gateway_without_a_manager_is_ready() {
    let (gateway, _upstream) = start_with(Options::default()).await;
    let response = gateway.http.get(gateway.url("/health/readiness")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body, json!({"status": "connected", "secret_manager": null}));
}

#[tokio::test]
async fn a_request_in_flight_is_finished_after_the_stop_signal_and_no_new_one_is_accepted() {
    let (gateway, upstream) = start_with(Options { held: true, ..Options::default() }).await;
    let (address, url) = (gateway.address, gateway.url("/v1/chat/completions"));
    let request = gateway.http.post(url).bearer_auth(MASTER).body(chat().to_string());
    let call = tokio::spawn(request.send());
    upstream.arrived(1).await;
    let serving = gateway.stop();
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!serving.is_finished(), "the gateway waits for the request");
    upstream.release(1);
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut_off() {
    let upstream = upstream(Options { held: true, ..Options::default() }).await;
    let drain = Duration::from_millis(50);
    let gateway = start(Settings { drain, ..settings(vec![spec("gpt-4", &upstream.base())]) }).await;
    let request = gateway.http.post(gateway.url("/v1/chat/completions")).bearer_auth(MASTER);
    let call = tokio::spawn(request.body(chat().to_string()).send());
    upstream.arrived(1).await;
    gateway.stop().await.unwrap().unwrap();
    assert!(call.await.unwrap().is_err());
    upstream.abandoned(1).await;
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_stop() {
    let (gateway, _upstream) = start_with(Options::default()).await;
    let idle = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    assert_eq!(gateway.chat().await.status(), 200);
    gateway.stop().await.unwrap().unwrap();
    drop(idle);
}
