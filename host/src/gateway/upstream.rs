//! The pooled client that all upstream calls go through.

use std::{io, time::Duration};

use axum::body::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Calls upstreams over HTTP/1.1 or 2, in the clear or with TLS.
pub(super) type Upstream = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes the client.
///
/// # Errors
/// When the system has no CA certificates and `needs_tls`; without need, https upstreams will fail one by one.
pub(super) fn client(needs_tls: bool) -> io::Result<Upstream> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_keepalive(Some(KEEP_ALIVE));
    let builder = match HttpsConnectorBuilder::new().with_provider_and_native_roots(ring::default_provider())
    {
        Ok(builder) => builder,
        Err(error) if needs_tls => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "no CA certificates were found: https upstreams cannot be reached");
            HttpsConnectorBuilder::new().with_tls_config(without_roots()?)
        }
    };
    let connector = builder.https_or_http().enable_all_versions().wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http2_adaptive_window(true)
        .build(connector))
}

fn without_roots() -> io::Result<ClientConfig> {
    Ok(ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
