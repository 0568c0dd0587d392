//! What stands between a manager and those who need a secret.

pub mod handle;
pub mod resolver;

mod oidc;

pub use self::{
    handle::SecretHandle,
    resolver::{Outcome, Policy, ResolveError, Resolved, Resolver, Source, Unresolved},
};
