//! A plugin's file, opened once and read once.

use std::{fs::File, io::Read, path::Path};

use super::{FileHash, OwnershipFault, VerifyError};

/// All of a file, and what was seen while it was opened.
pub(super) struct ReadFile {
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: FileHash,
    pub(super) ownership: Vec<OwnershipFault>,
}

/// Opens a regular file of at most `limit` bytes and reads it; a FIFO or a device is refused without being
/// read. An empty file is left to the inspection.
pub(super) fn read(path: &Path, limit: u64) -> Result<ReadFile, VerifyError> {
    let (file, ownership) = open(path)?;
    let read_error = |source| VerifyError::Read { path: path.to_owned(), source };
    let len = file.metadata().map_err(read_error)?.len();
    if len > limit {
        return Err(VerifyError::TooLarge { path: path.to_owned(), len, limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default() + 1);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 != len {
        return Err(VerifyError::Changed { path: path.to_owned() });
    }
    Ok(ReadFile { sha256: FileHash::of(&bytes), bytes, ownership })
}

#[cfg(unix)]
pub(super) fn open(path: &Path) -> Result<(File, Vec<OwnershipFault>), VerifyError> {
    super::walk::open(path)
}

/// Without Unix owners and modes the file is only opened; its access list is the operator's affair.
#[cfg(not(unix))]
pub(super) fn open(path: &Path) -> Result<(File, Vec<OwnershipFault>), VerifyError> {
    let open_error = |source| VerifyError::Open { path: path.to_owned(), at: path.to_owned(), source };
    let kind = std::fs::metadata(path).map_err(open_error)?.file_type();
    if !kind.is_file() {
        let kind = if kind.is_dir() { "a folder" } else { "a special file" };
        return Err(VerifyError::NotAFile { path: path.to_owned(), kind });
    }
    Ok((File::open(path).map_err(open_error)?, Vec::new()))
}
