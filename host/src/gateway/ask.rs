//! Asking a gateway from outside, with the client that upstreams are called with.

use axum::{
    body::Bytes,
    http::{HeaderValue, Request, Uri, header, uri::Scheme},
};
use http_body_util::{BodyExt as _, Full, Limited};
use keyway_plugin_api::Secret;
use serde_json::Value;

use crate::gateway::upstream;

/// The largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;

/// Why a gateway could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The address is none.
    #[error("the address is not an http or https URL")]
    Url,
    /// The key cannot be sent.
    #[error("the key holds a character that cannot be sent in a header")]
    Key,
    /// There is nothing to verify an https gateway with.
    #[error("cannot load the system's CA certificates")]
    CaCertificates(#[source] std::io::Error),
    /// There is no gateway there, or it broke off.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Gets JSON with a key; what is not JSON is `null`.
///
/// # Errors
/// [`AskError`] when there is no answer; any status is one.
pub async fn get_json(url: &str, key: &Secret) -> Result<(u16, Value), AskError> {
    let uri: Uri = url.parse().map_err(|_| AskError::Url)?;
    let is_tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => return Err(AskError::Url),
    };
    let mut bearer = zeroize::Zeroizing::new(b"Bearer ".to_vec());
    bearer.extend_from_slice(key.expose_bytes());
    let mut bearer = HeaderValue::from_bytes(&bearer).map_err(|_| AskError::Key)?;
    bearer.set_sensitive(true);
    let mut request = Request::new(Full::<Bytes>::default());
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let client = upstream::client(is_tls).map_err(AskError::CaCertificates)?;
    let answer = client.request(request).await.map_err(|error| AskError::Connection(error.into()))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(AskError::Connection)?;
    Ok((status, serde_json::from_slice(&body.to_bytes()).unwrap_or_default()))
}
