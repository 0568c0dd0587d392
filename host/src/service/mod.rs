//! What stands between a manager and those who need a secret.

pub mod chain;
pub mod handle;
pub mod keeper;
pub mod member;
pub mod replicas;
pub mod resolver;

#[cfg(test)]
mod fake;
mod oidc;

pub use self::{
    chain::Chain,
    handle::{Refresh, SecretHandle, Version},
    keeper::{Freshness, Keeper, ReferenceStatus},
    member::Member,
    replicas::Replicas,
    resolver::{Outcome, Policy, ResolveError, Resolved, Resolver, Source, Unresolved},
};
