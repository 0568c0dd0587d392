//! The gateway: authenticates a caller, picks a deployment, puts the right credential on the request and
//! forwards it untranslated.
//!
//! It knows secrets as [`SecretHandle`](crate::service::SecretHandle)s only, which it reads for each request,
//! and it fails closed: a request whose credential is missing is not sent anywhere.
//!
//! | concept | file |
//! |---|---|
//! | what the caller of this module provides | `state.rs`, `deployment.rs`, `table.rs` |
//! | serving, stopping, spans | `server.rs` |
//! | paths and methods | `routes.rs` |
//! | who may call | `auth.rs` |
//! | status and reload; asking for it from outside | `admin.rs`, `ask.rs` |
//! | the body, read and rewritten | `body.rs` |
//! | which deployment, how often | `forward.rs`, `table.rs`, `group.rs`, `retry.rs` |
//! | providers and addresses | `providers.rs`, `target.rs` |
//! | the request that goes out, the answer that comes back | `outbound.rs`, `params.rs`, `headers.rs`, `stream.rs` |
//! | which secrets went out, for the audit log | `used.rs` |
//! | every status and error body | `error.rs` |

mod admin;
mod ask;
mod auth;
mod body;
mod deployment;
mod endpoint;
mod error;
mod forward;
mod group;
mod headers;
mod health;
mod models;
mod outbound;
mod params;
mod providers;
mod retry;
mod routes;
mod server;
mod state;
mod stream;
mod table;
mod target;
mod upstream;
mod used;

pub use self::{
    admin::Admin,
    ask::{AskError, get_json},
    deployment::{Deployment, DeploymentError, DeploymentSpec, Param, Text},
    server::serve,
    state::{DEFAULT_DRAIN, DEFAULT_MAX_BODY, Gateway, GatewayState, GatewayStateError, Settings},
    table::{Fallback, ModelAlias, RouteError, RouterSettings},
    target::UrlFault,
};
