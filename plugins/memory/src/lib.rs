//! A secret manager that keeps its secrets in memory: for tests, demonstrations and as an example.
#![forbid(unsafe_code)]

mod config;
mod manager;

pub use self::{config::Config, manager::InMemorySecretManager};

keyway_plugin_api::export_plugin!(InMemorySecretManager);
