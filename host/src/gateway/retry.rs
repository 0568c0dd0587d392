//! What a failed attempt means for the next one.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, Response, header},
};

use crate::gateway::error::GatewayError;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What the caller gets when no further attempt succeeds.
pub(super) enum Last {
    /// The upstream's own error, with its status and body.
    Answer(Box<Response<Body>>),
    /// The gateway's.
    Error(GatewayError),
}

/// A failed attempt.
pub(super) struct Failure {
    pub(super) last: Last,
    /// The same deployment would fail again in the same way.
    pub(super) hopeless: bool,
    /// Other requests should pass the deployment over for a while.
    pub(super) cools_down: bool,
    /// How long the upstream asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// Nothing was sent, because a secret is missing; it is looked for again by the next request.
    pub(super) fn without_secret(error: GatewayError) -> Self {
        Failure { last: Last::Error(error), hopeless: true, cools_down: false, retry_after: None }
    }

    /// The deployment is set up wrongly: its credential is refused, or its address redirects.
    pub(super) fn of_setup(error: GatewayError) -> Self {
        Failure { last: Last::Error(error), hopeless: true, cools_down: true, retry_after: None }
    }

    /// No connection, or no answer in time.
    pub(super) fn of_connection(error: GatewayError) -> Self {
        Failure { last: Last::Error(error), hopeless: false, cools_down: true, retry_after: None }
    }

    /// The upstream is overloaded or broken.
    pub(super) fn of_upstream(answer: Response<Body>) -> Self {
        let retry_after = retry_after(answer.headers());
        Failure { last: Last::Answer(Box::new(answer)), hopeless: false, cools_down: true, retry_after }
    }
}

/// The wait before the same deployment is tried again: what it asked for, else half a second that doubles,
/// less a random part so that callers do not return all at once.
pub(super) fn pause(retry_after: Option<Duration>, pauses_before: u32) -> Duration {
    retry_after.unwrap_or_else(|| {
        let full = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(pauses_before)).min(LONGEST_PAUSE);
        full.mul_f64(1.0 - 0.25 * fastrand::f64())
    })
}

/// `retry-after-ms` or `retry-after` in seconds, as providers send it; one that is too long is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms")
        .map(|milliseconds| milliseconds / 1000.0)
        .or_else(|| number(header::RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait <= LONGEST_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_up_to_a_bound() {
        for (before, full) in [(0, 0.5), (1, 1.0), (2, 2.0), (10, 8.0), (200, 8.0)] {
            let pause = pause(None, before).as_secs_f64();
            assert!((full * 0.75..=full).contains(&pause), "{before}: {pause}");
        }
        assert_eq!(pause(Some(Duration::from_secs(7)), 3), Duration::from_secs(7));
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_minute() {
        let wait = |name: &'static str, value: &'static str| {
            retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]))
        };
        assert_eq!(wait("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(wait("retry-after", "0"), Some(Duration::ZERO));
        assert_eq!(wait("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        for ignored in ["61", "-1", "NaN", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(wait("retry-after", ignored), None, "{ignored}");
        }
    }
}
