//! Everything the author of a Keyway secret manager plugin sees.

pub mod abi;
pub mod error;
pub mod export;
pub mod ffi;
pub mod manager;
pub mod manifest;
pub mod request;
pub mod runtime;
pub mod secret;

mod config;

pub use async_trait::async_trait;
pub use schemars;
pub use serde;

pub use self::{
    error::{Error, ErrorKind, Result},
    manager::{Capabilities, ManagerType, NoConfig, SecretManager, WriteReceipt},
    request::{
        DeleteRequest, ListRequest, OptionalParams, ReadRequest, RotateRequest, SecretName, WriteRequest,
    },
    secret::{Secret, SecretMetadata},
};
