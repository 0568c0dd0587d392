//! An upstream's body on its way to the caller: frame by frame, with a limit on the wait for each.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::gateway::state::GatewayState;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a body may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// Complete by then.
    Until(Instant),
    /// Never silent for longer.
    Silence(Duration),
}

/// Passes a body on unbuffered, and holds until its end what the request was accepted under. It ends the caller's connection when the limit is reached, since a part of the
/// answer has gone out already.
pub(super) fn relay(upstream: Incoming, limit: Limit, state: Arc<GatewayState>) -> Body {
    if upstream.is_end_stream() {
        return Body::empty();
    }
    Body::new(Relay { upstream, limit, alarm: None, waiting: false, _state: state })
}

struct Relay {
    upstream: Incoming,
    limit: Limit,
    /// Made only when the upstream lets us wait.
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    _state: Arc<GatewayState>,
}

#[derive(Debug, thiserror::Error)]
#[error("the upstream did not go on with its answer in time")]
struct Stalled;

impl Relay {
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            let deadline = match self.limit {
                Limit::Until(deadline) => deadline,
                Limit::Silence(longest) => Instant::now() + longest,
            };
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(deadline),
                None => self.alarm = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        self.alarm.as_mut().map_or(Poll::Pending, |alarm| alarm.as_mut().poll(cx))
    }
}

impl HttpBody for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.upstream).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.waiting = false;
                Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
            }
            Poll::Pending => {
                ready!(self.poll_alarm(cx));
                tracing::warn!("the upstream stalled in the middle of an answer");
                Poll::Ready(Some(Err(Stalled.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upstream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}
