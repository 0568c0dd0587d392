//! What stands between a manager and those who need a secret.

pub mod audit;
pub mod breaker;
pub mod cache;
pub mod caller;
pub mod chain;
pub mod handle;
pub mod keeper;
pub mod limit;
pub mod member;
pub mod metrics;
pub mod policy;
pub mod replicas;
pub mod resolver;
pub mod retry;
pub mod stack;
pub mod supervised;

mod blocking;
#[cfg(test)]
mod fake;
mod oidc;
mod verdict;

pub use self::{
    audit::AuditLog,
    cache::{Cache, CacheState, Cached, EntryStatus},
    caller::{Caller, with_caller},
    chain::Chain,
    handle::{Refresh, SecretHandle, Version},
    keeper::{Freshness, Keeper, ReferenceStatus},
    member::Member,
    metrics::Metrics,
    policy::AccessPolicy,
    replicas::{Missed, Replicas},
    resolver::{Outcome, Policy, ResolveError, Resolved, Resolver, Source, Unresolved},
    stack::{Stack, StackSettings},
    supervised::{Factory, Supervised},
};
