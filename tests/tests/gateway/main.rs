//! The gateway from outside: over real sockets, with a real client library and a recording upstream.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod callers;
mod clients;
mod failures;
mod lifecycle;
mod refusals;
mod retries;
mod streaming;
mod support;
