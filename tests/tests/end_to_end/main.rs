//! The main job with the real program: the published configuration, a plugin beside it, an upstream behind it.

mod canary;
mod encodings;
mod main_job;
mod quickstart;
mod stopping;
mod support;
mod unprivileged;
