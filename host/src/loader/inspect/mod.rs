//! What a plugin's file says, read without loading it.
//!
//! [`examine`] collects facts and works for files of other systems as well; [`Inspection::check_loadable`]
//! holds them against this host. Whatever bytes they get, they neither panic nor take long: every read is
//! checked and every count has a limit.

mod elf;
mod error;
mod facts;
mod glibc;
mod macho;
mod pe;
mod sniff;

pub use self::{
    elf::loaded_glibc,
    error::InspectError,
    facts::{Format, Inspection},
    sniff::{Kind, sniff},
};

/// The major of the interface that this host speaks.
pub const HOST_MAJOR: u32 = 1;

/// The name of the entry function, up to the major.
pub const ENTRY_PREFIX: &str = "keyway_plugin_entry_v";

/// The name of the fingerprint table that C, C++, Zig and Go plugins export.
pub const FINGERPRINT_SYMBOL: &str = "keyway_abi_fingerprint_v1";

/// The first word of a fingerprint table, `KWYF`.
pub const FINGERPRINT_MAGIC: u32 = 0x4B57_5946;

/// The longest fingerprint table, in words, the two of its head included.
pub const MAX_FINGERPRINT_WORDS: u32 = 4096;

/// Reads what can be known about a plugin from its bytes.
///
/// # Errors
/// [`InspectError`] when the bytes are no shared library or are damaged. Whether this host can load the
/// library is another question, see [`Inspection::check_loadable`].
pub fn examine(bytes: &[u8]) -> Result<Inspection, InspectError> {
    match sniff(bytes) {
        Kind::Elf => elf::examine(bytes),
        Kind::Pe => pe::examine(bytes),
        Kind::MachO => macho::examine(bytes),
        Kind::FatMachO => Err(macho::universal(bytes)),
        Kind::Empty => Err(InspectError::Empty),
        Kind::Archive => Err(InspectError::Archive),
        Kind::Python => Err(InspectError::Python),
        Kind::LinkerScript => Err(InspectError::LinkerScript),
        Kind::Text => Err(InspectError::Text),
        Kind::Other(what) => Err(InspectError::NotALibrary { what }),
    }
}
