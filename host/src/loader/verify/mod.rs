//! The checks between a file that was found and a library that may be opened.
//!
//! [`verify`] opens the file once, checks who could have changed it, hashes it, holds the hash against the
//! operator's pins, and makes a private copy. Only that copy is inspected and only that copy is loaded, so the
//! bytes that run are the bytes that were checked, whatever happens to the file meanwhile.

mod digest;
mod error;
mod file;
mod ownership;
#[cfg(unix)]
mod private_group;
mod sealed;
#[cfg(unix)]
mod walk;

use std::path::{Path, PathBuf};

use tracing::info;

use self::file::ReadFile;
pub use self::{
    digest::{FileHash, ParseHashError},
    error::VerifyError,
    ownership::OwnershipFault,
    sealed::SealedCopy,
};
use super::inspect::{self, InspectError, Inspection};

/// The largest plugin file unless the policy says otherwise, in bytes (256 MiB).
pub const DEFAULT_MAX_LEN: u64 = 256 << 20;

/// What makes a file trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// Nobody but root and the host's own user can have changed it, or its hash is pinned.
    #[default]
    Ownership,
    /// Its hash is pinned.
    Pin,
}

/// Where the copy that is loaded lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadFrom {
    /// In sealed memory where the system has it, otherwise in a private folder.
    #[default]
    Memory,
    /// In a private folder.
    PrivateCopy,
}

/// What is asked of a plugin's file.
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    /// The name under `keyway.managers` that a pin belongs to; it only occurs in texts.
    pub manager: String,
    /// What makes the file trusted.
    pub require: Require,
    /// The pins: when there are any, the file's hash must be one of them.
    pub sha256: Vec<FileHash>,
    /// The largest file, in bytes.
    pub max_len: u64,
    /// Where the copy that is loaded lives.
    pub load_from: LoadFrom,
    /// The folder in which private copies get a folder each; the system's temporary folder by default.
    pub private_dir: Option<PathBuf>,
}

impl TrustPolicy {
    /// The default policy for a manager: ownership, no pins.
    pub fn new(manager: impl Into<String>) -> Self {
        Self {
            manager: manager.into(),
            require: Require::default(),
            sha256: Vec::new(),
            max_len: DEFAULT_MAX_LEN,
            load_from: LoadFrom::default(),
            private_dir: None,
        }
    }

    /// The line that goes into the manager's entry so that `hash` is accepted beside the present pins.
    pub fn pin_line(&self, hash: &FileHash) -> String {
        let all: Vec<String> = self.sha256.iter().chain([hash]).map(|hash| format!("\"{hash}\"")).collect();
        format!("sha256: [{}]", all.join(", "))
    }
}

/// A file that passed every check, and the copy of it to load.
#[derive(Debug)]
pub struct VerifiedFile {
    /// Where it was found.
    pub path: PathBuf,
    /// The hash of its bytes.
    pub sha256: FileHash,
    /// The copy to load; it must live as long as the library is loaded, which is for ever.
    pub sealed: SealedCopy,
    /// What is known about it.
    pub inspection: Inspection,
    /// What the operator should know although it does not stop the file.
    pub warnings: Vec<String>,
}

/// Checks a plugin's file and makes the copy that is loaded.
///
/// # Errors
/// [`VerifyError`] names the file, what is wrong with it and what to do about it.
pub fn verify(path: &Path, policy: &TrustPolicy) -> Result<VerifiedFile, VerifyError> {
    let file = file::read(path, policy.max_len)?;
    let mut warnings = check_trust(path, &file, policy)?;
    let sealed = SealedCopy::of(path, &file, policy)?;
    let refuse = |fault| VerifyError::Refused { path: path.to_owned(), fault: Box::new(fault) };
    // The copy was read back and found equal to these bytes after it was sealed.
    let inspection = inspect::examine(&file.bytes).map_err(refuse)?;
    inspection.check_loadable().map_err(refuse)?;
    if let Some(fault) = &inspection.manifest_fault {
        warnings.push(format!("plugin file {} is used without its manifest: {fault}", path.display()));
    }
    if policy.sha256.is_empty() {
        info!(
            path = %path.display(),
            sha256 = %file.sha256,
            manager = policy.manager,
            "plugin file is not pinned; its sha256 in the manager's entry would pin it"
        );
    }
    Ok(VerifiedFile { path: path.to_owned(), sha256: file.sha256, sealed, inspection, warnings })
}

/// What is known about a file that is only looked at.
#[derive(Debug)]
pub struct InspectedFile {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// The hash of its bytes.
    pub sha256: FileHash,
    /// What is known about it, or why that is nothing.
    pub inspection: Result<Inspection, InspectError>,
    /// Why this host would not load it, its ownership apart.
    pub refusal: Option<InspectError>,
    /// Who else could change it.
    pub ownership: Vec<OwnershipFault>,
}

/// Looks at a file without loading it; libraries of other systems are fine.
///
/// # Errors
/// [`VerifyError`] when the file cannot be read, is no regular file, or is larger than [`DEFAULT_MAX_LEN`].
pub fn inspect_file(path: &Path) -> Result<InspectedFile, VerifyError> {
    let file = file::read(path, DEFAULT_MAX_LEN)?;
    let inspection = inspect::examine(&file.bytes);
    let refusal = match &inspection {
        Ok(found) => found.check_loadable().err(),
        Err(fault) => Some(fault.clone()),
    };
    Ok(InspectedFile {
        path: path.to_owned(),
        len: file.bytes.len() as u64,
        sha256: file.sha256,
        inspection,
        refusal,
        ownership: file.ownership,
    })
}

/// Who other than root and this process's user could change a file, or put another in its place. Nothing is known about what
/// is no regular file, or cannot be opened.
pub fn who_could_change(path: &Path) -> Vec<OwnershipFault> {
    file::open(path).map(|(_, faults)| faults).unwrap_or_default()
}

/// Pins and ownership; gives back what is only worth a warning.
fn check_trust(path: &Path, file: &ReadFile, policy: &TrustPolicy) -> Result<Vec<String>, VerifyError> {
    let path = path.to_owned();
    let line = policy.pin_line(&file.sha256);
    let manager = policy.manager.clone();
    if policy.sha256.contains(&file.sha256) {
        let warn = |fault: &OwnershipFault| {
            format!("plugin file {} is pinned and therefore loaded, although {fault}", path.display())
        };
        return Ok(file.ownership.iter().map(warn).collect());
    }
    if !policy.sha256.is_empty() {
        return Err(VerifyError::WrongHash { path, sha256: file.sha256, manager, line });
    }
    if policy.require == Require::Pin {
        return Err(VerifyError::NotPinned { path, sha256: file.sha256, manager, line });
    }
    if !file.ownership.is_empty() {
        let faults = ownership::Faults(file.ownership.clone());
        return Err(VerifyError::Ownership { path, faults, manager, line });
    }
    Ok(Vec::new())
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
