//! The host while it runs: secrets that come late, change and go, and configurations that are replaced.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod audit;
mod panics;
mod refusals;
mod reload;
mod requests;
mod rotation;
mod startup;
mod status;
mod support;
