//! What the tests share: plugins that are built as a vendor would build them, and the contract that all must keep.

pub mod build;
pub mod canary;
pub mod cli;
pub mod contract;
pub mod misbehaving;
pub mod plugin;
pub mod scripted;
