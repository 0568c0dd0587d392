//! Claims about the values of secrets: bytes, of any length up to the limit.

use anyhow::Result;
use keyway_plugin_api::{ErrorKind, Secret, WriteRequest, request::MAX_VALUE_LEN};

use super::{Subject, ensure_kind};

pub(super) async fn any_bytes_come_back_intact(subject: Subject) -> Result<()> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 7] =
        [b"", b"\0", b"a\0b", b"\xff\xfe", b"line\nline\r\n", "schlüssel".as_bytes(), &every_byte];
    for value in values {
        subject.write("contract/bytes", Secret::copy_from(value)).await?;
        subject.ensure_value("contract/bytes", value).await?;
    }
    Ok(())
}

pub(super) async fn the_largest_value_comes_back_intact(subject: Subject) -> Result<()> {
    let largest: Vec<u8> = (0..MAX_VALUE_LEN).map(|index| (index % 251) as u8).collect();
    subject.write("contract/largest", Secret::copy_from(&largest)).await?;
    subject.ensure_value("contract/largest", &largest).await?;
    subject.write("contract/largest", "small again").await?;
    subject.ensure_value("contract/largest", b"small again").await
}

pub(super) async fn a_larger_value_is_refused(subject: Subject) -> Result<()> {
    subject.write("contract/too large", "before").await?;
    let request = WriteRequest::new("contract/too large", Secret::new(vec![0; MAX_VALUE_LEN + 1]))?;
    ensure_kind(subject.manager.async_write_secret(&request).await, ErrorKind::TooLarge)?;
    subject.ensure_value("contract/too large", b"before").await
}
