//! What every secret manager must keep, whatever it is made of.
//!
//! [`run`] checks a manager against all claims that its capabilities allow. It needs to know nothing else about it, so
//! that a vendor can run the same claims on a plugin of another's.

mod lifecycle;
mod names;
mod reads;
mod rotation;
mod values;
mod writes;

use std::{future::Future, pin::Pin, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ReadRequest, Secret, SecretManager, WriteRequest,
};

/// A manager and what is known about it beforehand.
#[derive(Clone)]
pub struct Subject {
    /// The manager; the claims write, delete and finally shut it down.
    pub manager: Arc<dyn SecretManager>,
    /// Whether calls go through the table of a plugin, whose limits then hold as well.
    pub through_table: bool,
    /// A secret that it holds from the start.
    pub known: Option<(&'static str, &'static str)>,
}

/// One thing that holds for every manager that can do what it needs.
struct Claim {
    name: &'static str,
    needs: Capabilities,
    only: fn(&Subject) -> bool,
    check: fn(Subject) -> Checking,
}

type Checking = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A claim by the name of its function.
macro_rules! claim {
    ($module:ident :: $check:ident, $needs:expr) => {
        claim!($module::$check, $needs, |_| true)
    };
    ($module:ident :: $check:ident, $needs:expr, $only:expr) => {
        $crate::contract::Claim {
            name: stringify!($check),
            needs: $needs,
            only: $only,
            check: |subject| Box::pin($module::$check(subject)),
        }
    };
}

/// In this order: the last ones end the manager.
fn claims() -> Vec<Claim> {
    const NOTHING: Capabilities = Capabilities::empty();
    const WRITE: Capabilities = Capabilities::WRITE;
    const DELETE: Capabilities = WRITE.union(Capabilities::DELETE);
    vec![
        claim!(reads::a_known_secret_is_read, NOTHING, |subject| subject.known.is_some()),
        claim!(reads::what_is_absent_is_not_found, NOTHING),
        claim!(reads::a_blocking_read_equals_an_asynchronous_one, NOTHING, |subject| subject.known.is_some()),
        claim!(reads::absent_operations_are_unsupported, NOTHING),
        claim!(writes::what_was_written_is_read, WRITE),
        claim!(writes::a_second_write_replaces_the_first, WRITE),
        claim!(writes::a_version_that_was_told_can_be_asked_for, WRITE),
        claim!(writes::what_was_deleted_is_not_found, DELETE),
        claim!(writes::deleting_what_is_absent_is_not_found, DELETE),
        claim!(writes::a_list_holds_the_names_of_its_prefix_only, WRITE.union(Capabilities::LIST)),
        claim!(rotation::a_rotation_in_place_never_deletes, WRITE),
        claim!(rotation::a_rotation_to_another_name_moves, DELETE),
        claim!(rotation::a_rotation_of_what_is_absent_writes, DELETE),
        claim!(names::long_and_foreign_names_are_kept_apart, WRITE),
        claim!(names::names_that_cannot_be_are_refused, NOTHING),
        claim!(values::any_bytes_come_back_intact, WRITE),
        claim!(values::the_largest_value_comes_back_intact, WRITE),
        claim!(values::a_larger_value_is_refused, WRITE, |subject| subject.through_table),
        claim!(lifecycle::concurrent_operations_do_not_disturb_each_other, DELETE),
        claim!(lifecycle::concurrent_reads_agree, NOTHING, |subject| subject.known.is_some()),
        claim!(lifecycle::a_working_manager_is_healthy, NOTHING),
        claim!(lifecycle::after_the_end_nothing_is_begun, NOTHING, |subject| subject.through_table),
    ]
}

/// Checks a manager against every claim that applies to it; returns the names of these claims.
///
/// # Errors
/// Every claim that does not hold, and why.
pub async fn run(subject: &Subject) -> Result<Vec<&'static str>> {
    let capabilities = subject.manager.capabilities();
    let mut kept = Vec::new();
    let mut broken = String::new();
    for claim in claims() {
        if !capabilities.contains(claim.needs) || !(claim.only)(subject) {
            continue;
        }
        match (claim.check)(subject.clone()).await {
            Ok(()) => kept.push(claim.name),
            Err(error) => broken.push_str(&format!("\n{}: {error:#}", claim.name)),
        }
    }
    ensure!(broken.is_empty(), "the contract is broken:{broken}");
    Ok(kept)
}

impl Subject {
    async fn write(&self, name: &str, value: impl Into<Secret>) -> Result<Option<String>> {
        let request = WriteRequest::new(name, value)?;
        let receipt = self.manager.async_write_secret(&request).await;
        Ok(receipt.with_context(|| format!("cannot write {name:?}"))?.version)
    }

    async fn read(&self, name: &str) -> Result<Secret> {
        let read = self.manager.async_read_secret(&ReadRequest::new(name)?).await;
        read.with_context(|| format!("cannot read {name:?}"))
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.manager.async_delete_secret(&DeleteRequest::new(name)?).await
    }

    async fn ensure_value(&self, name: &str, expected: &[u8]) -> Result<()> {
        let secret = self.read(name).await?;
        ensure!(
            secret.expose_bytes() == expected,
            "{name:?} has {} bytes that differ from the {} expected",
            secret.len(),
            expected.len()
        );
        Ok(())
    }

    async fn ensure_absent(&self, name: &str) -> Result<()> {
        let read = self.manager.async_read_secret(&ReadRequest::new(name)?).await;
        ensure_kind(read, ErrorKind::NotFound).with_context(|| format!("reading {name:?}"))
    }
}

fn ensure_kind<T>(result: Result<T, Error>, kind: ErrorKind) -> Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => bail!("expected {kind}, got {error}"),
        Ok(_) => bail!("expected {kind}, got success"),
    }
}
