//! Why a plugin's file is not loaded.

use std::{io, path::PathBuf};

use super::{FileHash, ownership::Faults};
use crate::loader::inspect::InspectError;

/// Why a plugin's file is not loaded; every text names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is not there, or this user may not read it.
    #[error("cannot open plugin file {}: failed at {}", path.display(), at.display())]
    Open {
        /// The plugin file.
        path: PathBuf,
        /// The file or folder on the way to it that could not be opened.
        at: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder, FIFO, device or socket.
    #[error("plugin file {} is {kind}, not a regular file: name the library itself", path.display())]
    NotAFile {
        /// The plugin file.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// Larger than the policy allows.
    #[error("plugin file {} has {len} bytes, more than the limit of {limit}: strip its debug information", path.display())]
    TooLarge {
        /// The plugin file.
        path: PathBuf,
        /// Its length.
        len: u64,
        /// The largest length.
        limit: u64,
    },
    /// It could not be read to its end.
    #[error("cannot read plugin file {}", path.display())]
    Read {
        /// The plugin file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its length changed while it was read.
    #[error(
        "plugin file {} changed while it was read: wait until the copy is complete, or replace the file by \
         renaming a complete one", path.display()
    )]
    Changed {
        /// The plugin file.
        path: PathBuf,
    },
    /// Somebody else could have changed it.
    #[error(
        "plugin file {} is not trusted: {faults}; or, when the file is right as it is, pin it with this line in \
         the entry \"{manager}\" of keyway.managers: {line}", path.display()
    )]
    Ownership {
        /// The plugin file.
        path: PathBuf,
        /// Who, and how to change that.
        faults: Faults,
        /// The manager's name in the configuration.
        manager: String,
        /// The YAML line that pins the file.
        line: String,
    },
    /// Pins are required and there is none.
    #[error(
        "plugin file {} is not pinned, and keyway.trust.require is pin: when the file is right, add this line to \
         the entry \"{manager}\" of keyway.managers: {line}", path.display()
    )]
    NotPinned {
        /// The plugin file.
        path: PathBuf,
        /// Its hash.
        sha256: FileHash,
        /// The manager's name in the configuration.
        manager: String,
        /// The YAML line that pins the file.
        line: String,
    },
    /// None of the pins fits.
    #[error(
        "plugin file {} has the sha256 {sha256}, which is not among the pins: restore the pinned file, or, when \
         the new one is right, change the entry \"{manager}\" of keyway.managers to: {line}", path.display()
    )]
    WrongHash {
        /// The plugin file.
        path: PathBuf,
        /// Its hash.
        sha256: FileHash,
        /// The manager's name in the configuration.
        manager: String,
        /// The YAML line that accepts the file beside those pinned before.
        line: String,
    },
    /// No private copy could be made.
    #[error("cannot make the private copy of plugin file {} that is loaded: failed at {step}", path.display())]
    Copy {
        /// The plugin file.
        path: PathBuf,
        /// What was tried.
        step: String,
        /// What the system says.
        source: io::Error,
    },
    /// The folder for private copies can be changed by others.
    #[error("the folder for private copies is not safe: {faults}")]
    PrivateFolder {
        /// Who can change it, and how to change that.
        faults: Faults,
    },
    /// The file is no plugin that this host can load.
    #[error("plugin file {} {fault}", path.display())]
    Refused {
        /// The plugin file.
        path: PathBuf,
        /// Why not.
        fault: Box<InspectError>,
    },
}
