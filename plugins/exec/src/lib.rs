//! Secrets from a provider program: Summon's protocol, or that of Docker's credential helpers.
#![forbid(unsafe_code)]

mod config;
mod docker;
mod manager;
mod output;
mod program;
#[cfg(test)]
mod tests;
mod verdict;

pub use self::{
    config::{Config, NotFound, Protocol},
    manager::ExecSecretManager,
};

keyway_plugin_api::export_plugin!(ExecSecretManager);
