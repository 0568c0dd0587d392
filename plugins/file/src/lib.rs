//! Secrets as files: a folder of them, as Kubernetes and Docker mount them, or one dotenv file.
#![forbid(unsafe_code)]

mod beneath;
mod config;
mod content;
mod dotenv;
mod error;
mod folder;
mod list;
mod manager;
mod name;
#[cfg(test)]
mod tests;

pub use self::{config::Config, manager::FileSecretManager};

keyway_plugin_api::export_plugin!(FileSecretManager);
