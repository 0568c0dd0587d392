//! The host: loads secret managers as compiled plugins, resolves a configuration through them and serves an
//! OpenAI-compatible gateway with what they hold.

pub mod cli;
pub mod config;
pub mod gateway;
pub mod loader;
pub mod local_api;
pub mod redact;
pub mod registry;
pub mod service;
pub mod startup;
pub mod telemetry;

mod duration;
