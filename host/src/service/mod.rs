//! What stands between a manager and those who need a secret.

pub mod audit;
pub mod breaker;
pub mod cache;
pub mod caller;
pub mod handle;
pub mod limit;
pub mod metrics;
pub mod policy;
pub mod resolver;
pub mod retry;
pub mod stack;

mod blocking;
mod oidc;
mod verdict;

pub use self::{
    audit::AuditLog,
    cache::{Cache, CacheState, Cached, EntryStatus},
    caller::{Caller, with_caller},
    handle::SecretHandle,
    metrics::Metrics,
    policy::AccessPolicy,
    resolver::{Outcome, Policy, ResolveError, Resolved, Resolver, Source, Unresolved},
    stack::{Stack, StackSettings},
};
