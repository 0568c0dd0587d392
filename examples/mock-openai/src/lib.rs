//! An OpenAI-compatible upstream that answers from memory and records what it was asked.
//!
//! Tests and demonstrations start it on a listener of their own and keep the [`MockOpenAi`] handle: it shows
//! which requests arrived with which credential, and scripts what is answered. Streams and answers can be held
//! back and let go one frame at a time, so that a test needs no sleeps.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let upstream = mock_openai::serve(listener, mock_openai::Options::default())?;
//! assert!(upstream.requests().is_empty());
//! println!("point api_base at {}", upstream.base());
//! # Ok(())
//! # }
//! ```

mod answer;
mod handle;

use std::{io, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Request, StatusCode},
    response::Response,
    serve::ListenerExt,
};
use tokio::net::TcpListener;

use crate::{
    answer::{Answer, error_answer},
    handle::Shared,
};

pub use crate::handle::{MockOpenAi, RecordedRequest, Reply};

/// How the upstream behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The keys that are accepted, from whichever header; with none every request is.
    pub keys: Vec<String>,
    /// How many parts of content a stream has, before the part that ends it.
    pub frames: usize,
    /// The names that `/v1/models` lists.
    pub models: Vec<String>,
    /// Hold every answer, and each event of a stream, until [`MockOpenAi::release`] lets it go.
    pub held: bool,
    /// How many requests are remembered; older ones are forgotten first.
    pub remember: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { keys: Vec::new(), frames: 3, models: vec!["gpt-4".to_owned()], held: false, remember: 1000 }
    }
}

/// Serves on a listener until the handle, and every clone of it, is dropped.
///
/// # Errors
/// When the listener has no address.
pub fn serve(listener: TcpListener, options: Options) -> io::Result<MockOpenAi> {
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared::new(options));
    let router = Router::new().fallback(respond).with_state(Arc::clone(&shared));
    let listener = listener.tap_io(|stream| {
        // Without it each event of a stream waits for the ACK of the previous one.
        let _ = stream.set_nodelay(true);
    });
    let server = tokio::spawn(async move {
        // It serves until it is aborted.
        let _ = axum::serve(listener, router).await;
    });
    Ok(MockOpenAi::new(address, shared, server.abort_handle()))
}

async fn respond(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let watch = shared.watch();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return error_answer(StatusCode::BAD_REQUEST, "the body could not be read", "invalid_request_error");
    };
    let reply = shared.record(&parts, body.clone());
    shared.turn().await;
    if let Some(reply) = reply {
        watch.done();
        return reply.into_response();
    }
    if !shared.accepts(&parts.headers) {
        watch.done();
        return error_answer(
            StatusCode::UNAUTHORIZED,
            "Incorrect API key provided.",
            "invalid_request_error",
        );
    }
    match Answer::to(&parts, &body, shared.options()) {
        Answer::Whole(response) => {
            watch.done();
            response
        }
        Answer::Events(events) => answer::stream(events, shared, watch),
    }
}

/// The content of a request, however it is encoded.
fn json(body: &Bytes) -> serde_json::Value {
    serde_json::from_slice(body).unwrap_or_default()
}
