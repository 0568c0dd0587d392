//! The way to the collector: one HTTP request an export, from the exporter's own thread.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use axum::{body::Bytes, http::Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_http::{HttpClient, HttpError, Response};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::runtime::{Builder, Runtime};

const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: usize = 1 << 20;

/// Sends exports, and says once when that fails.
///
/// It has a runtime of its own, which runs only while an export is sent: the last one is sent when the host's is gone.
#[derive(Debug)]
pub(super) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Runtime,
    fails: AtomicBool,
}

impl Collector {
    /// # Errors
    /// When the system has no means for a runtime. Without CA certificates a collector is reached in the clear only.
    pub(super) fn new() -> io::Result<Self> {
        let builder =
            match HttpsConnectorBuilder::new().with_provider_and_native_roots(ring::default_provider()) {
                Ok(builder) => builder,
                Err(_) => HttpsConnectorBuilder::new().with_tls_config(without_roots()?),
            };
        let connector = builder.https_or_http().enable_http1().build();
        // No idle connection is kept: nothing would notice that the collector has closed it.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Collector { client, runtime, fails: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.request(request.map(Full::new)).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    /// One warning when exports begin to fail, and a word when they are taken again.
    fn tell(&self, fault: Option<String>) {
        let before = self.fails.swap(fault.is_some(), Ordering::Relaxed);
        match fault {
            Some(reason) if !before => {
                tracing::warn!(
                    reason,
                    "traces cannot be sent; spans are lost until the collector takes them"
                );
            }
            None if before => tracing::info!("traces are sent again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.send(request)).await });
        let answer = sent.unwrap_or_else(|_| Err("no answer in time".into()));
        self.tell(match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the collector answered {}", answer.status())),
            Err(error) => Some(causes(&**error)),
        });
        answer
    }
}

fn without_roots() -> io::Result<ClientConfig> {
    Ok(ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// An error with all that caused it; of the address there is nothing in it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
