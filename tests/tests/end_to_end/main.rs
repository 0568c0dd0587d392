//! The main job with the real program: the published configuration, a plugin beside it, an upstream behind it.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod canary;
mod encodings;
mod main_job;
mod quickstart;
mod stopping;
mod support;
mod unprivileged;
