//! The host: loads secret managers as compiled plugins, resolves a configuration through them and serves an
//! OpenAI-compatible gateway with what they hold.

pub mod gateway;
pub mod service;
