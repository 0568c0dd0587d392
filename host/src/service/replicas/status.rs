//! What can be seen of a replica set: how its members are and what they lack.

use std::time::Duration;

use keyway_plugin_api::{ErrorKind, SecretName};

/// How a member of a replica set is; never a value.
#[derive(Clone, Debug)]
pub struct LaneStatus {
    /// The member's name.
    pub name: String,
    /// Whether its last answer was none of an outage, or that is long enough ago to ask it first again.
    pub healthy: bool,
    /// What it answered last, when that was an outage.
    pub last_outage: Option<ErrorKind>,
    /// What it missed, by name.
    pub repairs: Vec<Repair>,
}

/// A change that a member missed.
#[derive(Clone, Debug)]
pub struct Repair {
    /// The secret.
    pub name: SecretName,
    /// `write` or `delete`.
    pub operation: &'static str,
    /// How often the repair failed.
    pub failures: u32,
    /// Why the member missed it, or why the last repair failed.
    pub last_error: ErrorKind,
    /// For how long the member has lagged behind in this name.
    pub age: Duration,
}

/// A change that did not reach a member; never its value.
#[derive(Clone, Debug)]
pub struct Missed {
    /// The member's name.
    pub member: String,
    /// The change.
    pub repair: Repair,
}
