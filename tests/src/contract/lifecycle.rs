//! Claims about many callers at once, about health and about the end.

use anyhow::{Context, Result, ensure};
use keyway_plugin_api::{DeleteRequest, ErrorKind, ReadRequest, WriteRequest};
use tokio::task::JoinSet;

use super::{Subject, ensure_kind};

pub(super) async fn concurrent_operations_do_not_disturb_each_other(subject: Subject) -> Result<()> {
    let mut tasks = JoinSet::new();
    for index in 0..200 {
        let subject = subject.clone();
        tasks.spawn(async move {
            let (name, value) = (format!("contract/many/{index}"), format!("value {index}"));
            subject.write(&name, value.as_str()).await?;
            subject.ensure_value(&name, value.as_bytes()).await?;
            match index % 3 {
                0 => {
                    subject.delete(&name).await?;
                    subject.ensure_absent(&name).await
                }
                1 => {
                    subject.write(&name, "replaced").await?;
                    subject.ensure_value(&name, b"replaced").await
                }
                _ => subject.ensure_value(&name, value.as_bytes()).await,
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task panicked")??;
    }
    Ok(())
}

pub(super) async fn concurrent_reads_agree(subject: Subject) -> Result<()> {
    let (name, value) = subject.known.context("nothing is known")?;
    let mut tasks = JoinSet::new();
    for index in 0..200 {
        let subject = subject.clone();
        tasks.spawn(async move {
            match index % 2 {
                0 => subject.ensure_value(name, value.as_bytes()).await,
                _ => subject.ensure_absent(&format!("contract/absent {index}")).await,
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task panicked")??;
    }
    Ok(())
}

pub(super) async fn a_working_manager_is_healthy(subject: Subject) -> Result<()> {
    Ok(subject.manager.health_check().await?)
}

/// Also those that the plugin does not have: the host answers for it.
pub(super) async fn after_the_end_nothing_is_begun(subject: Subject) -> Result<()> {
    let manager = &subject.manager;
    manager.shutdown().await;
    let name = "contract/after the end";
    let read = manager.async_read_secret(&ReadRequest::new(name)?).await;
    ensure_kind(read, ErrorKind::Unavailable).context("reading")?;
    let written = manager.async_write_secret(&WriteRequest::new(name, "value")?).await;
    ensure_kind(written, ErrorKind::Unavailable).context("writing")?;
    let deleted = manager.async_delete_secret(&DeleteRequest::new(name)?).await;
    ensure_kind(deleted, ErrorKind::Unavailable).context("deleting")?;
    let listed = manager.async_list_secrets(&Default::default()).await;
    ensure_kind(listed, ErrorKind::Unavailable).context("listing")?;
    ensure!(manager.health_check().await.is_err(), "an ended manager is healthy");
    manager.shutdown().await; // a second end is none
    Ok(())
}
