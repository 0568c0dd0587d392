//! Why a file is no plugin for this host; each text continues a sentence that begins with the file.

use super::{ENTRY_PREFIX, Format, HOST_MAJOR};

/// Why a file cannot be loaded as a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// No bytes at all.
    #[error("is empty: copy the plugin again")]
    Empty,
    /// Python source.
    #[error(
        "is Python source, not a compiled library: write the class as a plugin, as in \
         examples/my-secret-manager, and build it"
    )]
    Python,
    /// A text that tells a linker where the library is.
    #[error("is a linker script, not a library: name the library that it mentions")]
    LinkerScript,
    /// Any other text.
    #[error("is a text file, not a compiled library")]
    Text,
    /// An archive of object files.
    #[error("is a static library (ar archive): build the plugin as a shared library")]
    Archive,
    /// Bytes that are no library of any system.
    #[error("is not a shared library: it is {what}")]
    NotALibrary {
        /// What it is, with its article.
        what: &'static str,
    },
    /// A program.
    #[error(
        "is an executable, not a shared library: link the plugin with -shared (crate-type = [\"cdylib\"])"
    )]
    Executable,
    /// An object file before linking.
    #[error("is an object file, not a shared library: link it with -shared")]
    ObjectFile,
    /// A macOS file for several architectures.
    #[error("is a universal macOS library ({architectures}): extract one with lipo -thin")]
    Universal {
        /// The architectures inside.
        architectures: String,
    },
    /// Part of the file is missing.
    #[error("is truncated: {part} ends at byte {needed}, the file has {len}; copy the plugin again")]
    Truncated {
        /// What is cut off.
        part: &'static str,
        /// Where it would end.
        needed: u64,
        /// How long the file is.
        len: u64,
    },
    /// Contradictory headers.
    #[error("is damaged: {what}; copy or build the plugin again")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
    /// A library of another system.
    #[error("is {found}, this host needs {needed}")]
    OtherFormat {
        /// What the file is.
        found: Format,
        /// What this host loads.
        needed: Format,
    },
    /// A library for other machines.
    #[error("is built for {found}, this host is {host}")]
    OtherArchitecture {
        /// What the file is built for.
        found: String,
        /// What this host runs on.
        host: String,
    },
    /// Would make the stack of the whole process executable.
    #[error(
        "wants an executable stack: link it with -z noexecstack, and give assembler files a \
         .note.GNU-stack section"
    )]
    ExecutableStack,
    /// Would make its code writable while it is loaded.
    #[error("has relocations in its code (TEXTREL): compile all of it with -fPIC")]
    TextRelocations,
    /// Brings a search path for libraries.
    #[error(
        "brings a search path for libraries ({tag} {path}): link it without -rpath, and link its libraries statically"
    )]
    SearchPath {
        /// `RPATH` or `RUNPATH`.
        tag: &'static str,
        /// The path, fit to be printed.
        path: String,
    },
    /// Would have an auditor loaded into the process.
    #[error("asks for an auditing library (DT_AUDIT): link it without --audit and --depaudit")]
    Audit,
    /// Needs a library by its path.
    #[error(
        "needs the library {library} by a path, so that another file would be loaded from there unchecked: give that \
         library a plain name (-soname), or link it statically"
    )]
    NeededPath {
        /// The path, fit to be printed.
        library: String,
    },
    /// Stands in front of another library.
    #[error("names a library to stand in for it ({tag} {library}): link it without --filter and --auxiliary")]
    Filter {
        /// `FILTER` or `AUXILIARY`.
        tag: &'static str,
        /// The library, fit to be printed.
        library: String,
    },
    /// Built against musl.
    #[error("is built for musl (it needs {library}), this host uses glibc: build it for a -gnu target")]
    Musl {
        /// The C library that it needs.
        library: String,
    },
    /// Built against a newer glibc.
    #[error(
        "needs GLIBC_{}.{}, this machine has {}.{}: build it on an older system or upgrade this one",
        needed.0, needed.1, available.0, available.1
    )]
    Glibc {
        /// The newest version that the file needs.
        needed: (u32, u32),
        /// The version of this process.
        available: (u32, u32),
    },
    /// Not a plugin.
    #[error(
        "is not a Keyway plugin: it does not export the function {ENTRY_PREFIX}{HOST_MAJOR}; use the export \
         macro, and do not hide or strip the symbol"
    )]
    NoEntry,
    /// A plugin of another major.
    #[error(
        "speaks ABI major {}, this host speaks {HOST_MAJOR}: use a release of the plugin for it",
        list(majors)
    )]
    OtherMajor {
        /// The majors that it has entries for.
        majors: Vec<u32>,
    },
    /// The entry symbol is not code.
    #[error("exports {ENTRY_PREFIX}{HOST_MAJOR}, but not as a function")]
    EntryNotAFunction,
    /// The fingerprint table cannot be read.
    #[error(
        "has a broken table of struct layouts: {what}; build it with the keyway_plugin.h of this release"
    )]
    Fingerprint {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The text of bytes out of a file, cut and with everything escaped that a terminal could take for a command.
pub(super) fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    text.chars().fold(String::new(), |mut shown, character| {
        if keyway_plugin_api::manifest::is_printable(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_unicode());
        }
        shown
    })
}

fn list(majors: &[u32]) -> String {
    majors.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ")
}
