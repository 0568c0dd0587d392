//! Forwarding: which deployment, how often, and what becomes of its answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request, Response, StatusCode},
};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    gateway::{
        body::RequestBody,
        deployment::Deployment,
        endpoint::Endpoint,
        error::GatewayError,
        group::Tried,
        headers,
        retry::{Failure, Last, pause},
        state::GatewayState,
        stream::{self, Limit},
        table::Route,
        used,
    },
    telemetry::pass_trace_on,
};

/// Sends a caller's request to a deployment of the model it names, and further ones as far as failures allow.
/// Nothing is tried again once an answer's head was passed on.
///
/// # Errors
/// What is wrong with the request, or why no deployment could answer it.
pub(super) async fn forward(
    state: &Arc<GatewayState>,
    endpoint: Endpoint,
    mut headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response<Body>, GatewayError> {
    let body = RequestBody::parse(&bytes, endpoint)?;
    let route = state.table.resolve(body.model()).ok_or_else(|| GatewayError::UnknownModel {
        model: body.model().to_owned(),
        available: state.table.some_names(),
    })?;
    Span::current().record("model", body.model());
    headers::retain_for_upstream(&mut headers);
    let call = Call { state, endpoint, headers: &headers, body: &body };
    let mut last = match call.through_group(route).await {
        Ok(answer) => return Ok(answer),
        Err(last) => last,
    };
    for fallback in state.table.fallbacks(body.model(), route.group) {
        tracing::info!(
            from = route.group.name(),
            to = fallback.group.name(),
            "falling back to another model"
        );
        last = match call.through_group(fallback).await {
            Ok(answer) => return Ok(answer),
            Err(last) => last,
        };
    }
    match last {
        Last::Answer(answer) => Ok(*answer),
        Last::Error(error) => Err(error),
    }
}

/// How long the upstream took to the head of the answer that is passed on; an extension of the answer.
#[derive(Clone, Copy)]
pub(super) struct UpstreamLatency(pub(super) Duration);

/// One caller's request.
struct Call<'a> {
    state: &'a Arc<GatewayState>,
    endpoint: Endpoint,
    headers: &'a HeaderMap,
    body: &'a RequestBody<'a>,
}

impl Call<'_> {
    async fn through_group(&self, route: Route<'_>) -> Result<Response<Body>, Last> {
        let router = &self.state.router;
        let mut tried = Tried::default();
        let (mut pauses, mut retry_after, mut retries) = (0, None, None);
        let mut last: Option<Last> = None;
        let mut was_sent = false;
        while let Some(choice) = route.group.pick(&tried) {
            let left = retries.get_or_insert(choice.deployment.num_retries.unwrap_or(router.num_retries));
            if was_sent {
                let Some(fewer) = left.checked_sub(1) else { break };
                *left = fewer;
            }
            if choice.repeated {
                tokio::time::sleep(pause(retry_after, pauses)).await;
                pauses += 1;
            }
            let failure = match self.attempt(choice.deployment, route).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // A deployment that lacks its secret got nothing, so passing it over is no retry.
            was_sent = failure.cools_down;
            if failure.cools_down {
                choice.deployment.cool_down(router.cooldown);
            }
            tried.failed(choice.index, failure.hopeless);
            retry_after = failure.retry_after;
            last = Some(failure.last);
        }
        // A group has a member, so something was tried.
        Err(last.unwrap_or_else(|| Last::Error(unavailable(route))))
    }

    /// Sends the request to a deployment, and again with another value of its credential as long as the upstream refuses the
    /// last one and there is another: a key that was rotated is not the caller's trouble.
    async fn attempt(&self, deployment: &Deployment, route: Route<'_>) -> Result<Response<Body>, Failure> {
        let unusable = |error: &GatewayError| tracing::error!(%error, "a deployment cannot be used");
        let mut credential =
            deployment.credential().inspect_err(unusable).map_err(Failure::without_secret)?;
        let mut tried = Vec::new();
        loop {
            let request = deployment
                .request(self.endpoint, self.body, route.wildcard, self.headers.clone(), credential.as_ref())
                .inspect_err(unusable)
                .map_err(Failure::without_secret)?;
            used::record(self.state, deployment, credential.as_ref())
                .await
                .inspect_err(unusable)
                .map_err(Failure::without_secret)?;
            let (answer, limit) = self.send(deployment, route, request).await?;
            let Some(refused) = credential.filter(|_| is_refusal(answer.status())) else {
                return self.judge(deployment, route, answer, limit);
            };
            tried.push(refused.generation);
            credential = deployment.credential_after_refusal(&tried).await;
            if credential.is_none() {
                return self.judge(deployment, route, answer, limit);
            }
            let (reference, generation) = (deployment.credential_name(), refused.generation);
            tracing::warn!(
                reference,
                generation,
                "an upstream refuses a credential; another value of it is tried"
            );
        }
    }

    async fn send(
        &self,
        deployment: &Deployment,
        route: Route<'_>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Limit), Failure> {
        let limit = self.limit(deployment);
        let span =
            tracing::debug_span!("upstream_call", upstream = deployment.target.shown(), status = Empty);
        pass_trace_on(&span, request.headers_mut());
        let started = Instant::now();
        let deadline = started + limit;
        let mut answer =
            match timeout_at(deadline, self.state.upstream.request(request).instrument(span.clone())).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    let cause = causes(&error);
                    let upstream = deployment.target.shown();
                    tracing::warn!(upstream, cause, "an upstream cannot be reached");
                    return Err(Failure::of_connection(unavailable(route)));
                }
                Err(_) => {
                    tracing::warn!(
                        upstream = deployment.target.shown(),
                        "an upstream did not answer in time"
                    );
                    let model = route.group.name().to_owned();
                    return Err(Failure::of_connection(GatewayError::UpstreamTimeout {
                        model,
                        after: limit,
                    }));
                }
            };
        span.record("status", answer.status().as_u16());
        answer.extensions_mut().insert(UpstreamLatency(started.elapsed()));
        let limit = if self.body.is_stream() { Limit::Silence(limit) } else { Limit::Until(deadline) };
        Ok((answer, limit))
    }

    /// Tells an answer from a failure.
    fn judge(
        &self,
        deployment: &Deployment,
        route: Route<'_>,
        answer: Response<Incoming>,
        limit: Limit,
    ) -> Result<Response<Body>, Failure> {
        let status = answer.status();
        let upstream = deployment.target.shown();
        if is_refusal(status) {
            let reference = deployment.credential_name().to_owned();
            tracing::error!(
                upstream,
                reference,
                status = status.as_u16(),
                "an upstream refuses our credential"
            );
            let model = route.group.name().to_owned();
            return Err(Failure::of_setup(GatewayError::UpstreamAuth { model, status, reference }));
        }
        if status.is_redirection() {
            // Followed, it would take the provider's key to a host that nobody configured.
            tracing::error!(
                upstream,
                status = status.as_u16(),
                "an upstream redirects: correct its api_base"
            );
            return Err(Failure::of_setup(unavailable(route)));
        }
        let (mut parts, incoming) = answer.into_parts();
        headers::retain_for_caller(&mut parts.headers);
        let answer = Response::from_parts(parts, stream::relay(incoming, limit, Arc::clone(self.state)));
        if is_retryable(status) {
            tracing::warn!(upstream, status = status.as_u16(), "an upstream answered with an error");
            return Err(Failure::of_upstream(answer));
        }
        Ok(answer)
    }

    fn limit(&self, deployment: &Deployment) -> Duration {
        let router = &self.state.router;
        let for_stream = || deployment.stream_timeout.or(deployment.timeout).or(router.stream_timeout);
        let chosen = if self.body.is_stream() { for_stream() } else { deployment.timeout };
        chosen.unwrap_or(router.timeout)
    }
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn is_retryable(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn unavailable(route: Route<'_>) -> GatewayError {
    GatewayError::UpstreamUnavailable { model: route.group.name().to_owned() }
}

/// An error with all that caused it, for the operator's log.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
