//! Claims about reading, and about what a manager does not have.

use anyhow::{Context, Result, ensure};
use keyway_plugin_api::{
    Capabilities, DeleteRequest, ErrorKind, ListRequest, ReadRequest, RotateRequest, WriteRequest,
};

use super::{Subject, ensure_kind};

pub(super) async fn a_known_secret_is_read(subject: Subject) -> Result<()> {
    let (name, value) = subject.known.context("nothing is known")?;
    subject.ensure_value(name, value.as_bytes()).await
}

pub(super) async fn what_is_absent_is_not_found(subject: Subject) -> Result<()> {
    subject.ensure_absent("contract/absent").await?;
    if let Some((name, _)) = subject.known {
        // A name that only begins like one, or goes on where it ends, is another name.
        subject.ensure_absent(&name[..name.len() - 1]).await?;
        subject.ensure_absent(&format!("{name}_")).await?;
        subject.ensure_absent(&name.to_lowercase()).await?;
    }
    Ok(())
}

pub(super) async fn a_blocking_read_equals_an_asynchronous_one(subject: Subject) -> Result<()> {
    let (name, _) = subject.known.context("nothing is known")?;
    let expected = subject.read(name).await?;
    let manager = subject.manager.clone();
    let blocking = tokio::task::spawn_blocking(move || {
        let absent = manager.sync_read_secret(&ReadRequest::new("contract/absent")?);
        manager.sync_read_secret(&ReadRequest::new(name)?).map(|found| (found, absent))
    });
    let answers = blocking.await.context("the blocking thread ended")?;
    // Natively a type without a blocking read of its own has none; a host derives it for a plugin.
    let native = !subject.through_table && !subject.manager.capabilities().contains(Capabilities::SYNC_READ);
    if native {
        return ensure_kind(answers, ErrorKind::Unsupported);
    }
    let (found, absent) = answers?;
    ensure!(found.expose_bytes() == expected.expose_bytes(), "the values differ");
    ensure!(found.metadata() == expected.metadata(), "what is said about the values differs");
    ensure_kind(absent, ErrorKind::NotFound)
}

pub(super) async fn absent_operations_are_unsupported(subject: Subject) -> Result<()> {
    let manager = &subject.manager;
    let can = |capability| manager.capabilities().contains(capability);
    let name = "contract/unsupported";
    if !can(Capabilities::WRITE) {
        let written = manager.async_write_secret(&WriteRequest::new(name, "value")?).await;
        ensure_kind(written, ErrorKind::Unsupported).context("writing")?;
        if !can(Capabilities::ROTATE) {
            let rotated = manager.async_rotate_secret(RotateRequest::in_place(name, "value")?).await;
            ensure_kind(rotated, ErrorKind::Unsupported).context("rotating")?;
        }
    }
    if !can(Capabilities::DELETE) {
        let deleted = manager.async_delete_secret(&DeleteRequest::new(name)?).await;
        ensure_kind(deleted, ErrorKind::Unsupported).context("deleting")?;
    }
    if !can(Capabilities::LIST) {
        let listed = manager.async_list_secrets(&ListRequest::default()).await;
        ensure_kind(listed, ErrorKind::Unsupported).context("listing")?;
    }
    Ok(())
}
