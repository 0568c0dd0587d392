//! What a test holds: the record of requests, and the levers.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
};

use crate::Options;

/// A running upstream. The last clone to go stops it.
#[derive(Clone)]
pub struct MockOpenAi {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: Arc<StopOnDrop>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// `POST`, for example.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl RecordedRequest {
    /// The header of that name, when it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `authorization` header.
    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An answer that is given instead of the usual one.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    /// An answer with a status and a JSON text as body.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Reply { status, headers, body: body.into() }
    }

    /// Adds a header; one that cannot be sent is left out.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl MockOpenAi {
    pub(crate) fn new(address: SocketAddr, shared: Arc<Shared>, server: AbortHandle) -> Self {
        MockOpenAi { address, shared, _server: Arc::new(StopOnDrop(server)) }
    }

    /// What `api_base` is set to: `http://127.0.0.1:PORT/v1`.
    pub fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that arrived, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.lock().requests.iter().cloned().collect()
    }

    /// Answers the next request that nothing else was scripted for with `reply`.
    pub fn reply_next(&self, reply: Reply) {
        self.shared.lock().scripted.push_back(reply);
    }

    /// Answers every request with `reply`, once the scripted ones are used up; `None` ends it.
    pub fn reply_always(&self, reply: Option<Reply>) {
        self.shared.lock().standing = reply;
    }

    /// Lets `judge` say which keys are accepted, from now on and in place of [`Options::keys`].
    pub fn judge_keys(&self, judge: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.shared.lock().judge = Some(Arc::new(judge));
    }

    /// Lets `count` held answers or events go, now or when they come.
    pub fn release(&self, count: usize) {
        self.shared.turns.add_permits(count);
    }

    /// Waits until `count` requests have arrived since the start.
    pub async fn arrived(&self, count: usize) {
        reach(&self.shared.arrived, count).await;
    }

    /// Waits until `count` requests were given up by their callers before the answer was complete.
    pub async fn abandoned(&self, count: usize) {
        reach(&self.shared.abandoned, count).await;
    }
}

async fn reach(counter: &watch::Sender<usize>, count: usize) {
    // It cannot fail, since the sender is here.
    let _ = counter.subscribe().wait_for(|seen| *seen >= count).await;
}

struct StopOnDrop(AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the handle and the server share.
pub(crate) struct Shared {
    options: Options,
    log: Mutex<Log>,
    turns: Semaphore,
    arrived: watch::Sender<usize>,
    abandoned: watch::Sender<usize>,
}

type Judge = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Default)]
struct Log {
    requests: VecDeque<RecordedRequest>,
    scripted: VecDeque<Reply>,
    standing: Option<Reply>,
    judge: Option<Judge>,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        Shared {
            options,
            log: Mutex::default(),
            turns: Semaphore::new(0),
            arrived: watch::Sender::new(0),
            abandoned: watch::Sender::new(0),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Remembers a request, and says what was scripted for it.
    pub(crate) fn record(&self, parts: &Parts, body: Bytes) -> Option<Reply> {
        let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let request =
            RecordedRequest { method: parts.method.to_string(), path, headers: parts.headers.clone(), body };
        let mut log = self.lock();
        log.requests.push_back(request);
        if log.requests.len() > self.options.remember {
            log.requests.pop_front();
        }
        let reply = log.scripted.pop_front().or_else(|| log.standing.clone());
        drop(log);
        self.arrived.send_modify(|count| *count += 1);
        reply
    }

    pub(crate) fn accepts(&self, headers: &HeaderMap) -> bool {
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let others = ["x-api-key", "api-key", "x-goog-api-key"].into_iter().find_map(header);
        let key = bearer.or(others);
        let judge = self.lock().judge.clone();
        if let Some(judge) = judge {
            return key.is_some_and(|key| judge(key));
        }
        self.options.keys.is_empty()
            || key.is_some_and(|key| self.options.keys.iter().any(|good| good == key))
    }

    /// Waits to be released, if answers are held.
    pub(crate) async fn turn(&self) {
        if self.options.held
            && let Ok(permit) = self.turns.acquire().await
        {
            permit.forget();
        }
    }

    pub(crate) fn watch(self: &Arc<Self>) -> Watch {
        Watch { shared: Arc::clone(self), done: false }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notices when an answer is dropped before it is complete.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    done: bool,
}

impl Watch {
    pub(crate) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.done {
            self.shared.abandoned.send_modify(|count| *count += 1);
        }
    }
}
