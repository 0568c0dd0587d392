//! Claims about the names of secrets.

use anyhow::{Context, Result, ensure};
use keyway_plugin_api::{ErrorKind, ReadRequest, WriteRequest, request::MAX_NAME_LEN};

use super::{Subject, ensure_kind};

/// A manager may refuse a name that its store has no place for, but then it never has it: neither takes it for another.
pub(super) async fn long_and_foreign_names_are_kept_apart(subject: Subject) -> Result<()> {
    let longest = "l".repeat(MAX_NAME_LEN);
    let one_less = "l".repeat(MAX_NAME_LEN - 1);
    let names = [
        "contract/Schlüssel 1",
        "contract/schlüssel 1",
        "contract/ключ/鍵/🔑",
        "contract//double",
        "contract/ leading",
        "contract/../up",
        "contract\\back",
        "contract/%2F\"quoted\"'$HOME;",
        &longest,
        &one_less,
    ];
    let mut taken = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let value = format!("value {index}");
        let written = subject.manager.async_write_secret(&WriteRequest::new(*name, value.as_str())?).await;
        match written {
            Err(error) if error.kind() == ErrorKind::InvalidName => {
                let read = subject.manager.async_read_secret(&ReadRequest::new(*name)?).await;
                ensure_kind(read, ErrorKind::InvalidName)
                    .with_context(|| format!("reading {name:?}, which cannot be written"))?;
            }
            written => {
                written.with_context(|| format!("cannot write {name:?}"))?;
                taken.push((name, value));
            }
        }
    }
    ensure!(!taken.is_empty(), "every name is refused");
    for (name, value) in taken {
        subject.ensure_value(name, value.as_bytes()).await?;
    }
    Ok(())
}

/// The types refuse such a name, so that none ever reaches a manager.
pub(super) async fn names_that_cannot_be_are_refused(_subject: Subject) -> Result<()> {
    for name in ["", "nul\0", "new\nline", "tab\t", "\x7f", &"l".repeat(MAX_NAME_LEN + 1)] {
        ensure_kind(ReadRequest::new(name), ErrorKind::InvalidName)?;
        let written = WriteRequest::new(name, "value-that-no-error-repeats");
        ensure!(
            written.is_err_and(|error| !error.to_string().contains("repeats")),
            "the name {name:?} was taken, or its error repeats the value"
        );
    }
    Ok(())
}
