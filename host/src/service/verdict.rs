//! Errors decide everything: what a failure means for a retry, for a cached value and for the breaker.

use std::{error, fmt, sync::Arc};

use keyway_plugin_api::{Error, ErrorKind};

/// The vendor code of errors that a layer gave by itself: the call never reached the manager.
const NOT_SENT: &str = "KEYWAY_NOT_SENT";
/// The vendor code of errors of a group of which a member has made the change.
const PARTLY_APPLIED: &str = "KEYWAY_PARTLY_APPLIED";

/// What a failed read means for the value that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is no such secret: the value goes, and its absence is remembered.
    Absent,
    /// Access was revoked: the value goes.
    Revoked,
    /// The value stays as it is, and the caller gets the error.
    Keep,
    /// The store cannot answer: the value is served although it is stale.
    ServeStale,
}

/// What a failed read means for the value that is known.
pub(super) fn verdict(kind: ErrorKind) -> Verdict {
    match kind {
        ErrorKind::NotFound => Verdict::Absent,
        ErrorKind::Denied => Verdict::Revoked,
        ErrorKind::Unauthenticated
        | ErrorKind::InvalidName
        | ErrorKind::InvalidConfig
        | ErrorKind::TooLarge
        | ErrorKind::Conflict
        | ErrorKind::Unsupported => Verdict::Keep,
        // An unknown kind of a later version is no word of the store about the secret.
        _ => Verdict::ServeStale,
    }
}

/// Whether the manager or its way to the store is at fault, and not the request.
pub(super) fn is_outage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Internal)
}

/// Whether a change that failed so may have been applied all the same.
pub(super) fn may_be_applied(error: &Error) -> bool {
    match error.vendor_code() {
        Some(NOT_SENT) => false,
        Some(PARTLY_APPLIED) => true,
        _ => is_outage(error.kind()) || error.kind() == ErrorKind::Cancelled,
    }
}

/// Marks an error of a layer: the call never reached the manager.
pub(super) fn not_sent(error: Error) -> Error {
    error.with_vendor_code(NOT_SENT)
}

/// Marks an error of a group: a member has made the change, another one has not.
pub(super) fn partly_applied(error: Error) -> Error {
    error.with_vendor_code(PARTLY_APPLIED)
}

/// Whether a layer refused the call, so that the manager never saw it.
pub(super) fn is_not_sent(error: &Error) -> bool {
    error.vendor_code() == Some(NOT_SENT)
}

/// The same failure once more, for another of the callers who waited for one call.
pub(super) fn again(error: &Arc<Error>) -> Error {
    let mut copy = Error::new(error.kind(), error.message());
    if let Some(wait) = error.retry_after() {
        copy = copy.with_retry_after(wait);
    }
    if let Some(code) = error.vendor_code() {
        copy = copy.with_vendor_code(code);
    }
    if error::Error::source(&**error).is_some() {
        copy = copy.with_source(Cause(Arc::clone(error)));
    }
    copy
}

/// The cause of a shared error, in that error's words.
#[derive(Debug)]
struct Cause(Arc<Error>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match error::Error::source(&*self.0) {
            Some(cause) => fmt::Display::fmt(cause, f),
            None => Ok(()),
        }
    }
}

impl error::Error for Cause {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        error::Error::source(&*self.0)?.source()
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, time::Duration};

    use super::*;

    #[test]
    fn only_what_says_nothing_about_the_secret_serves_stale() {
        let stale = ErrorKind::ALL.into_iter().filter(|kind| verdict(*kind) == Verdict::ServeStale);
        let expected = [
            ErrorKind::Throttled,
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::Cancelled,
            ErrorKind::Internal,
        ];
        assert!(stale.eq(expected));
        let absent = ErrorKind::ALL.into_iter().filter(|kind| verdict(*kind) == Verdict::Absent);
        assert!(absent.eq([ErrorKind::NotFound]));
    }

    #[test]
    fn a_refused_call_was_not_applied_and_a_lost_one_may_have_been() {
        assert!(may_be_applied(&Error::unavailable("the connection was reset")));
        assert!(!may_be_applied(&not_sent(Error::unavailable("the breaker is open"))));
        assert!(!may_be_applied(&Error::new(ErrorKind::Throttled, "too many calls")));
        assert!(may_be_applied(&partly_applied(Error::new(ErrorKind::Denied, "one member refused"))));
    }

    #[test]
    fn a_repeated_error_has_everything_of_the_first_and_prints_its_cause_once() {
        let first = Error::unavailable("cannot reach the vault")
            .with_retry_after(Duration::from_secs(2))
            .with_vendor_code("503")
            .with_source(std::io::Error::other("refused"));
        let copy = again(&Arc::new(first));
        assert_eq!(copy.to_string(), "cannot reach the vault (UNAVAILABLE)");
        assert_eq!(copy.retry_after(), Some(Duration::from_secs(2)));
        assert_eq!(copy.vendor_code(), Some("503"));
        assert_eq!(copy.source().map(ToString::to_string).as_deref(), Some("refused"));
        assert!(copy.source().and_then(error::Error::source).is_none());
    }
}
