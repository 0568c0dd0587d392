//! Claims about the names of secrets.

use anyhow::{Result, ensure};
use keyway_plugin_api::{ErrorKind, ReadRequest, WriteRequest, request::MAX_NAME_LEN};

use super::{Subject, ensure_kind};

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
    for (index, name) in names.iter().enumerate() {
        subject.write(name, format!("value {index}")).await?;
    }
    for (index, name) in names.iter().enumerate() {
        subject.ensure_value(name, format!("value {index}").as_bytes()).await?;
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
