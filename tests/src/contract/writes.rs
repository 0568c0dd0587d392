//! Claims about writing, deleting and listing.

use anyhow::{Result, ensure};
use keyway_plugin_api::{ErrorKind, ListRequest, ReadRequest};

use super::{Subject, ensure_kind};

pub(super) async fn what_was_written_is_read(subject: Subject) -> Result<()> {
    subject.write("contract/written", "a value").await?;
    subject.ensure_value("contract/written", b"a value").await
}

pub(super) async fn a_second_write_replaces_the_first(subject: Subject) -> Result<()> {
    let first = subject.write("contract/replaced", "first").await?;
    let second = subject.write("contract/replaced", "2nd").await?;
    ensure!(first.is_none() || first != second, "two writes have the version {first:?}");
    subject.ensure_value("contract/replaced", b"2nd").await
}

pub(super) async fn a_version_that_was_told_can_be_asked_for(subject: Subject) -> Result<()> {
    let Some(version) = subject.write("contract/version", "value").await? else {
        return Ok(()); // a store without versions tells none
    };
    let read = subject.read("contract/version").await?;
    ensure!(
        read.metadata().version.as_ref() == Some(&version),
        "version {version} was written and {:?} was read",
        read.metadata().version
    );
    let mut request = ReadRequest::new("contract/version")?;
    request.version = Some(version);
    let read = subject.manager.async_read_secret(&request).await?;
    ensure!(read.expose_bytes() == b"value", "the version has another value");
    request.version = Some("contract-no-such-version".to_owned());
    ensure_kind(subject.manager.async_read_secret(&request).await, ErrorKind::NotFound)
}

pub(super) async fn what_was_deleted_is_not_found(subject: Subject) -> Result<()> {
    subject.write("contract/deleted", "value").await?;
    subject.write("contract/neighbour", "value").await?;
    subject.delete("contract/deleted").await?;
    subject.ensure_absent("contract/deleted").await?;
    ensure_kind(subject.delete("contract/deleted").await, ErrorKind::NotFound)?;
    subject.ensure_value("contract/neighbour", b"value").await?;
    subject.write("contract/deleted", "again").await?;
    subject.ensure_value("contract/deleted", b"again").await
}

pub(super) async fn deleting_what_is_absent_is_not_found(subject: Subject) -> Result<()> {
    ensure_kind(subject.delete("contract/never there").await, ErrorKind::NotFound)
}

pub(super) async fn a_list_holds_the_names_of_its_prefix_only(subject: Subject) -> Result<()> {
    for name in ["contract/list/b", "contract/list/a", "contract/list/ä b", "contract/lost"] {
        subject.write(name, "value").await?;
    }
    let request = ListRequest { prefix: "contract/list/".to_owned(), ..ListRequest::default() };
    let mut names = subject.manager.async_list_secrets(&request).await?;
    names.sort();
    ensure!(names == ["contract/list/a", "contract/list/b", "contract/list/ä b"], "listed {names:?}");
    let all = subject.manager.async_list_secrets(&ListRequest::default()).await?;
    ensure!(all.contains(&"contract/lost".to_owned()), "the list of all names lacks one");
    let none = ListRequest { prefix: "contract/no such prefix".to_owned(), ..ListRequest::default() };
    ensure!(subject.manager.async_list_secrets(&none).await?.is_empty(), "names without the prefix");
    Ok(())
}
