//! The layers before a manager, each alone and all together, on a clock that the tests turn.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod audit;
mod breaker;
mod cache;
mod changes;
mod limit;
mod model;
mod outages;
mod policy;
mod retry;
mod stack;
mod supervised;
mod support;
