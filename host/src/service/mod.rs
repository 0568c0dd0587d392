//! What stands between a manager and those who need a secret.

pub mod handle;
pub mod keeper;
pub mod resolver;

mod oidc;

pub use self::{
    handle::{Refresh, SecretHandle, Version},
    keeper::{Freshness, Keeper, ReferenceStatus},
    resolver::{Outcome, Policy, ResolveError, Resolved, Resolver, Source, Unresolved},
};
