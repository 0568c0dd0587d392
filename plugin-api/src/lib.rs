//! Everything the author of a Keyway secret manager plugin sees.
//!
//! A plugin is a shared library that the Keyway host loads while it starts. It offers one or more *manager types* by
//! name, the `Class` of `custom_secret_manager: module.Class`; the host makes *instances* of them and asks those for
//! secrets. Between the two stands a C interface, `include/keyway_plugin.h`, which is the specification, so that a plugin
//! may as well be written in C, C++, Zig or Go and needs no rebuild for a new host. In Rust it is a type, two traits and
//! one macro line, without unsafe code:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use keyway_plugin_api::{
//!     Capabilities, Error, ManagerType, ReadRequest, Result, Secret, SecretManager, async_trait, export_plugin,
//!     schemars::{self, JsonSchema},
//!     serde::{self, Deserialize},
//! };
//!
//! /// What stands under `keyway.managers.<name>.config`; its JSON Schema goes into the plugin's table.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
//! #[schemars(crate = "keyway_plugin_api::schemars")]
//! pub struct Config {
//!     /// Name and value of each secret.
//!     secrets: BTreeMap<String, String>,
//! }
//!
//! pub struct Fixed(BTreeMap<String, Secret>);
//!
//! impl ManagerType for Fixed {
//!     type Config = Config;
//!     const CAPABILITIES: Capabilities = Capabilities::READ;
//!
//!     fn create(config: Config) -> Result<Self> {
//!         if config.secrets.is_empty() {
//!             return Err(Error::invalid_config("config.secrets: is empty"));
//!         }
//!         Ok(Fixed(config.secrets.into_iter().map(|(name, value)| (name, value.into())).collect()))
//!     }
//! }
//!
//! #[async_trait]
//! impl SecretManager for Fixed {
//!     async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
//!         let value = self.0.get(request.name.as_str()).ok_or_else(|| Error::not_found(&request.name))?;
//!         Ok(Secret::copy_from(value.expose_bytes()))
//!     }
//! }
//!
//! export_plugin!(Fixed);
//! # fn main() {}
//! ```
//!
//! # Where to find what
//!
//! | name | module |
//! |---|---|
//! | [`SecretManager`], [`ManagerType`], [`Capabilities`]: what an author implements | [`manager`] |
//! | [`ReadRequest`], [`WriteRequest`] and the others, [`SecretName`], [`OptionalParams`] | [`request`] |
//! | [`Secret`]: bytes that do not print and are wiped, with [`SecretMetadata`] | [`secret`] |
//! | [`Error`], [`ErrorKind`] and their numbers in the header | [`error`] |
//! | [`export_plugin!`]: the line that makes a library a plugin | [`export`] |
//! | [`runtime::handle`]: the plugin's own tokio runtime | [`runtime`] |
//! | [`manifest::Manifest`]: what is read of a plugin without loading it | [`manifest`] |
//! | the header's structs in Rust, [`abi::LAYOUTS`] and [`abi::FINGERPRINT`] | [`abi`] |
//! | the unsafe code between the structs and the traits; authors need nothing of it | [`ffi`] |
//!
//! # Threads and runtimes
//!
//! - The host calls [`ManagerType::create`] on a thread that may block, until the `timeout` of the manager's entry.
//! - Operations come from any thread and concurrently, unless the type says [`Capabilities::SERIAL`]. An asynchronous one is
//!   polled once on the host's thread, where it must not block, and goes on in the plugin's own runtime of two threads when it is not
//!   ready then; both happen inside that runtime's context, so that `tokio::spawn`, timers and sockets work. A plugin has
//!   its own copy of tokio, and the host's runtime is none of its business.
//! - [`SecretManager::sync_read_secret`] may block: the host calls it on a pool of at most eight threads for each instance.
//! - The deadline is the host's. It answers its caller when `timeout` has passed and drops the operation's future, so that what
//!   must not be left half done belongs into a task of its own.
//! - A panic stays inside the plugin: the operation ends with [`ErrorKind::Internal`], and so does every later one of that
//!   instance. The host makes another instance and drops this one; [`abi::INSTANCE_LOST`] is how it learns of it.
//! - [`SecretManager::shutdown`] comes last, before the instance is dropped. The library stays loaded until the process ends.
//! - What the plugin traces with `tracing` goes into the host's log; so does the place of a panic, but not its message.
//!
//! # Who owns what
//!
//! Nothing that one side allocated is freed by the other. The SDK copies a request before the author's code sees it, and
//! the host copies a [`Secret`] that it is answered with once, during the completion; then the plugin's own is wiped and freed. A
//! value is at most [`request::MAX_VALUE_LEN`] bytes long, and a name at most [`request::MAX_NAME_LEN`].
//!
//! # Features
//!
//! `abi_stable` (on): lets the host verify the layout of the interface with the `abi_stable` crate, beside the table of
//! offsets that every plugin exports.

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
