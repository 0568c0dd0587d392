//! Answers in the shape of OpenAI's.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    Options,
    handle::{Shared, Watch},
};

const CREATED: u64 = 1_700_000_000;

/// What a request is answered with.
pub(crate) enum Answer {
    Whole(Response),
    Events(VecDeque<Bytes>),
}

impl Answer {
    pub(crate) fn to(parts: &Parts, body: &Bytes, options: &Options) -> Self {
        let request = crate::json(body);
        let path = parts.uri.path();
        let stream = request["stream"] == true;
        if path.ends_with("/models") {
            Answer::Whole(whole(StatusCode::OK, &models(&options.models)))
        } else if path.ends_with("/chat/completions") && stream {
            Answer::Events(events(&request, options.frames, "chat.completion.chunk", chat_choice))
        } else if path.ends_with("/chat/completions") {
            Answer::Whole(whole(StatusCode::OK, &chat(&request)))
        } else if path.ends_with("/completions") && stream {
            Answer::Events(events(&request, options.frames, "text_completion", text_choice))
        } else if path.ends_with("/completions") {
            Answer::Whole(whole(StatusCode::OK, &completion(&request)))
        } else if path.ends_with("/embeddings") {
            Answer::Whole(whole(StatusCode::OK, &embeddings(&request)))
        } else {
            Answer::Whole(error_answer(StatusCode::NOT_FOUND, "no such path", "invalid_request_error"))
        }
    }
}

/// Sends events one by one, each when its turn comes.
pub(crate) fn stream(events: VecDeque<Bytes>, shared: Arc<Shared>, watch: Watch) -> Response {
    let frames = futures_util::stream::unfold((events, watch), move |(mut events, watch)| {
        let shared = Arc::clone(&shared);
        async move {
            let Some(event) = events.pop_front() else {
                watch.done();
                return None;
            };
            shared.turn().await;
            Some((Ok::<_, Infallible>(event), (events, watch)))
        }
    });
    let mut response = Response::new(Body::from_stream(frames));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// An error in the shape of OpenAI's.
pub(crate) fn error_answer(status: StatusCode, message: &str, kind: &str) -> Response {
    whole(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": null}}))
}

fn whole(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn models(names: &[String]) -> Value {
    let data: Vec<Value> = names
        .iter()
        .map(|id| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "mock"}))
        .collect();
    json!({"object": "list", "data": data})
}

fn chat(request: &Value) -> Value {
    json!({
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": CREATED,
        "model": request["model"],
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "Hello from the mock upstream."},
            "finish_reason": "stop",
        }],
        "usage": usage(),
    })
}

fn completion(request: &Value) -> Value {
    json!({
        "id": "cmpl-mock",
        "object": "text_completion",
        "created": CREATED,
        "model": request["model"],
        "choices": [text_choice(Some("Hello from the mock upstream."))],
        "usage": usage(),
    })
}

fn embeddings(request: &Value) -> Value {
    let count = request["input"].as_array().map_or(1, Vec::len);
    let data: Vec<Value> = (0..count)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": [0.25, -0.5, 0.125]}))
        .collect();
    json!({
        "object": "list",
        "data": data,
        "model": request["model"],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    })
}

fn usage() -> Value {
    json!({"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15})
}

fn chat_choice(content: Option<&str>) -> Value {
    match content {
        Some(content) => json!({"index": 0, "delta": {"content": content}, "finish_reason": null}),
        None => json!({"index": 0, "delta": {}, "finish_reason": "stop"}),
    }
}

fn text_choice(text: Option<&str>) -> Value {
    let finish_reason = text.map_or(Value::from("stop"), |_| Value::Null);
    json!({"index": 0, "text": text.unwrap_or(""), "finish_reason": finish_reason, "logprobs": null})
}

/// `frames` parts, the one that ends the choice, and `[DONE]`.
fn events(
    request: &Value,
    frames: usize,
    object: &str,
    choice: fn(Option<&str>) -> Value,
) -> VecDeque<Bytes> {
    let parts = (0..frames).map(|index| choice(Some(&format!("part {index} "))));
    parts
        .chain([choice(None)])
        .map(|choice| {
            json!({
                "id": "chatcmpl-mock",
                "object": object,
                "created": CREATED,
                "model": request["model"],
                "choices": [choice],
            })
        })
        .map(|event| Bytes::from(format!("data: {event}\n\n")))
        .chain([Bytes::from_static(b"data: [DONE]\n\n")])
        .collect()
}
