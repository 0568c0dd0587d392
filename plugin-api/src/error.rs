//! The one error type of a secret manager: a kind that callers branch on, and a text that people read.

use std::{fmt, time::Duration};

/// The result of an operation on a secret manager.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed, as far as a caller branches on it.
///
/// The numbers are those of `keyway_plugin.h`; a number that is not in this list is read as
/// [`ErrorKind::Internal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum ErrorKind {
    /// The secret does not exist: the only kind that lets a caller look elsewhere.
    NotFound = 1,
    /// The manager's identity may not do this.
    Denied = 2,
    /// The manager's own credentials were refused or ran out.
    Unauthenticated = 3,
    /// Too many calls; see [`Error::retry_after`].
    Throttled = 4,
    /// The store cannot be reached or cannot answer now.
    Unavailable = 5,
    /// The deadline passed.
    Timeout = 6,
    /// The caller gave the operation up.
    Cancelled = 7,
    /// The store cannot hold a secret of this name.
    InvalidName = 8,
    /// The manager's configuration is wrong; retrying cannot help.
    InvalidConfig = 9,
    /// The value is larger than the store or the host accepts.
    TooLarge = 10,
    /// The secret is in a state that forbids this, such as pending deletion.
    Conflict = 11,
    /// The manager does not have this operation.
    Unsupported = 12,
    /// A fault in the manager itself, a contained panic for example.
    Internal = 13,
}

impl ErrorKind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [ErrorKind; 13] = [
        ErrorKind::NotFound,
        ErrorKind::Denied,
        ErrorKind::Unauthenticated,
        ErrorKind::Throttled,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Cancelled,
        ErrorKind::InvalidName,
        ErrorKind::InvalidConfig,
        ErrorKind::TooLarge,
        ErrorKind::Conflict,
        ErrorKind::Unsupported,
        ErrorKind::Internal,
    ];

    /// The number that stands for this kind in the C interface.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The kind that a number of the C interface stands for; an unknown one is [`ErrorKind::Internal`].
    pub fn from_code(code: u32) -> Self {
        Self::ALL.into_iter().find(|kind| kind.code() == code).unwrap_or(ErrorKind::Internal)
    }

    /// The name that logs and machine-readable output use, such as `NOT_FOUND`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "NOT_FOUND",
            ErrorKind::Denied => "DENIED",
            ErrorKind::Unauthenticated => "UNAUTHENTICATED",
            ErrorKind::Throttled => "THROTTLED",
            ErrorKind::Unavailable => "UNAVAILABLE",
            ErrorKind::Timeout => "TIMEOUT",
            ErrorKind::Cancelled => "CANCELLED",
            ErrorKind::InvalidName => "INVALID_NAME",
            ErrorKind::InvalidConfig => "INVALID_CONFIG",
            ErrorKind::TooLarge => "TOO_LARGE",
            ErrorKind::Conflict => "CONFLICT",
            ErrorKind::Unsupported => "UNSUPPORTED",
            ErrorKind::Internal => "INTERNAL",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed operation of a secret manager.
///
/// Put no secret value into the message. The host shows the kind and its own words to its clients and keeps
/// the message for the operator's log.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    retry_after: Option<Duration>,
    vendor_code: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with a text in lower case that says what was tried on which name.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            retry_after: None,
            vendor_code: None,
            source: None,
        }))
    }

    /// The secret `name` does not exist.
    pub fn not_found(name: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("no secret named {name}"))
    }

    /// `manager` does not have `operation`, and so did not do what was asked: `undone` is `write NAME`, for example.
    pub fn not_implemented(
        manager: impl fmt::Display,
        operation: impl fmt::Display,
        undone: impl fmt::Display,
    ) -> Self {
        let message =
            format!("{operation} operations are not implemented by {manager}, so it did not {undone}");
        Self::new(ErrorKind::Unsupported, message)
    }

    /// The manager's configuration is wrong; `message` names the setting.
    pub fn invalid_config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidConfig, message)
    }

    /// The store cannot be reached or cannot answer now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A fault in the manager itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds how long to wait before the next try; whole milliseconds cross to the host.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds the vendor's own code, such as an HTTP status or the name of an exception.
    pub fn with_vendor_code(mut self, code: impl Into<String>) -> Self {
        self.0.vendor_code = Some(code.into());
        self
    }

    /// Adds the cause; its text must not be repeated in the message.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What a caller branches on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What a person reads, without the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How long the store asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The vendor's own code for this failure.
    pub fn vendor_code(&self) -> Option<&str> {
        self.0.vendor_code.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_code() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), kind);
        }
    }

    #[test]
    fn an_unknown_code_is_internal() {
        assert_eq!(ErrorKind::from_code(0), ErrorKind::Internal);
        assert_eq!(ErrorKind::from_code(999), ErrorKind::Internal);
    }

    #[test]
    fn the_cause_is_not_printed_twice() {
        let error =
            Error::unavailable("cannot reach the vault").with_source(std::io::Error::other("refused"));
        assert_eq!(error.to_string(), "cannot reach the vault (UNAVAILABLE)");
        assert_eq!(std::error::Error::source(&error).map(ToString::to_string).as_deref(), Some("refused"));
    }
}
