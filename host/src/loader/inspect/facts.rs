//! The facts about a plugin's file, and the rules that this host has for them.

use std::{env, fmt};

use keyway_plugin_api::manifest::{Manifest, ManifestError};

use super::{
    ENTRY_PREFIX, FINGERPRINT_MAGIC, HOST_MAJOR, InspectError, MAX_FINGERPRINT_WORDS, glibc::check_glibc,
    loaded_glibc,
};

/// The most majors that are remembered; a plugin has one or two.
const MAX_MAJORS: usize = 8;

/// The format of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Linux and most other Unix systems.
    Elf,
    /// Windows.
    Pe,
    /// macOS.
    MachO,
}

impl Format {
    /// The format that this host loads.
    pub const HOST: Format = if cfg!(windows) {
        Format::Pe
    } else if cfg!(target_vendor = "apple") {
        Format::MachO
    } else {
        Format::Elf
    };

    /// The word for it in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Elf => "elf",
            Format::Pe => "pe",
            Format::MachO => "mach-o",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Elf => "a Linux library (ELF)",
            Format::Pe => "a Windows library (PE)",
            Format::MachO => "a macOS library (Mach-O)",
        })
    }
}

/// What is known about a library that was not loaded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The system it is for.
    pub format: Format,
    /// The machine it is for, in the words of Rust's targets (`x86_64`, `aarch64`).
    pub architecture: String,
    /// The majors of the interface that it exports an entry for, ascending.
    pub entry_majors: Vec<u32>,
    /// Whether the entry for this host's major is a function in executable memory.
    pub entry_is_function: bool,
    /// What it says about itself.
    pub manifest: Option<Manifest>,
    /// Why the manifest that it has cannot be used.
    pub manifest_fault: Option<ManifestError>,
    /// The words of the fingerprint table, its head included.
    pub fingerprint: Option<Vec<u32>>,
    /// Why the fingerprint table that it has cannot be used.
    pub fingerprint_fault: Option<&'static str>,
    /// The newest glibc that it needs.
    pub glibc: Option<(u32, u32)>,
    /// The C library it needs when that is musl.
    pub musl: Option<String>,
    /// Whether a Go runtime is inside.
    pub is_go: bool,
    /// Whether it wants an executable stack; a file that does not say counts as one that does, as the
    /// dynamic linker sees it.
    pub executable_stack: bool,
    /// Whether its code has to be made writable while it is loaded.
    pub text_relocations: bool,
    /// The search paths for libraries that it brings, tag and path.
    pub search_paths: Vec<(&'static str, String)>,
    /// Whether it asks for an auditing library.
    pub audit: bool,
    /// The libraries that it names to stand in for it, tag and library.
    pub filters: Vec<(&'static str, String)>,
    /// The libraries it needs.
    pub needed: Vec<String>,
    /// One of them that it needs by a path and not by its name, where names are the rule (ELF).
    pub needed_path: Option<String>,
}

impl Inspection {
    pub(super) fn new(format: Format, architecture: String) -> Self {
        Self {
            format,
            architecture,
            entry_majors: Vec::new(),
            entry_is_function: false,
            manifest: None,
            manifest_fault: None,
            fingerprint: None,
            fingerprint_fault: None,
            glibc: None,
            musl: None,
            is_go: false,
            executable_stack: false,
            text_relocations: false,
            search_paths: Vec::new(),
            audit: false,
            filters: Vec::new(),
            needed: Vec::new(),
            needed_path: None,
        }
    }

    /// Says whether this host may load the library.
    ///
    /// A Go runtime is no reason against it here: how many of those a process can bear is for the loader to
    /// say, see [`Inspection::is_go`].
    ///
    /// # Errors
    /// The first [`InspectError`] that speaks against it.
    pub fn check_loadable(&self) -> Result<(), InspectError> {
        self.check_system()?;
        self.check_entry()?;
        if let Some((tag, path)) = self.search_paths.first() {
            return Err(InspectError::SearchPath { tag, path: path.clone() });
        }
        if let Some((tag, library)) = self.filters.first() {
            return Err(InspectError::Filter { tag, library: library.clone() });
        }
        if let Some(library) = &self.needed_path {
            return Err(InspectError::NeededPath { library: library.clone() });
        }
        let faults = [
            (self.executable_stack, InspectError::ExecutableStack),
            (self.text_relocations, InspectError::TextRelocations),
            (self.audit, InspectError::Audit),
        ];
        if let Some((_, fault)) = faults.into_iter().find(|(present, _)| *present) {
            return Err(fault);
        }
        self.fingerprint_fault.map_or(Ok(()), |what| Err(InspectError::Fingerprint { what }))
    }

    fn check_system(&self) -> Result<(), InspectError> {
        if self.format != Format::HOST {
            return Err(InspectError::OtherFormat { found: self.format, needed: Format::HOST });
        }
        let host = host_architecture();
        if self.architecture != host {
            return Err(InspectError::OtherArchitecture { found: self.architecture.clone(), host });
        }
        match &self.musl {
            Some(library) if cfg!(target_env = "gnu") => Err(InspectError::Musl { library: library.clone() }),
            _ => check_glibc(self.glibc, loaded_glibc()),
        }
    }

    fn check_entry(&self) -> Result<(), InspectError> {
        if self.entry_majors.is_empty() {
            Err(InspectError::NoEntry)
        } else if !self.entry_majors.contains(&HOST_MAJOR) {
            Err(InspectError::OtherMajor { majors: self.entry_majors.clone() })
        } else if !self.entry_is_function {
            Err(InspectError::EntryNotAFunction)
        } else {
            Ok(())
        }
    }

    /// Takes note of an entry, when the string table at `name` holds the name of one.
    pub(super) fn note_entry(&mut self, name: &[u8], is_function: bool) {
        let Some(major) = entry_major(name) else { return };
        if major == HOST_MAJOR {
            self.entry_is_function |= is_function;
        }
        if !self.entry_majors.contains(&major) && self.entry_majors.len() < MAX_MAJORS {
            self.entry_majors.push(major);
            self.entry_majors.sort_unstable();
        }
    }

    /// Takes note of the bytes of a manifest section; only the first one counts.
    pub(super) fn note_manifest(&mut self, section: &[u8]) {
        if self.manifest.is_some() || self.manifest_fault.is_some() {
            return;
        }
        match Manifest::parse(section) {
            Ok(manifest) => self.manifest = Some(manifest),
            Err(fault) => self.manifest_fault = Some(fault),
        }
    }

    /// Takes note of a fingerprint table that begins at `bytes`; only the first one counts.
    pub(super) fn note_fingerprint(&mut self, bytes: Option<&[u8]>, little_endian: bool) {
        if self.fingerprint.is_some() || self.fingerprint_fault.is_some() {
            return;
        }
        match read_fingerprint(bytes.unwrap_or_default(), little_endian) {
            Ok(words) => self.fingerprint = Some(words),
            Err(what) => self.fingerprint_fault = Some(what),
        }
    }
}

/// The machine this host was built for, in the words that [`Inspection::architecture`] uses.
pub(super) fn host_architecture() -> String {
    let name = env::consts::ARCH;
    let suffix = if name == "powerpc64" && cfg!(target_endian = "little") { "le" } else { "" };
    format!("{name}{suffix}")
}

/// Whether a string table holds exactly `name` at this place; it looks at no more than the name's length.
pub(super) fn is_name(table: &[u8], name: &str) -> bool {
    table.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == 0))
}

fn entry_major(name: &[u8]) -> Option<u32> {
    const MOST_DIGITS: usize = 9;
    let rest = name.strip_prefix(ENTRY_PREFIX.as_bytes())?;
    let digits = rest.iter().take(MOST_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let ends = rest.get(digits).is_none_or(|byte| *byte == 0);
    let text = std::str::from_utf8(&rest[..digits]).ok()?;
    (ends && digits <= MOST_DIGITS).then(|| text.parse().ok())?
}

fn read_fingerprint(bytes: &[u8], little_endian: bool) -> Result<Vec<u32>, &'static str> {
    let mut words = bytes.chunks_exact(4).map(|word| {
        let word = [word[0], word[1], word[2], word[3]];
        if little_endian { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) }
    });
    let (Some(magic), Some(count)) = (words.next(), words.next()) else {
        return Err("it is not in the file");
    };
    if magic != FINGERPRINT_MAGIC {
        return Err("it does not begin with the right word");
    }
    if !(2..=MAX_FINGERPRINT_WORDS).contains(&count) {
        return Err("its length is impossible");
    }
    let whole: Vec<u32> = [magic, count].into_iter().chain(words.take(count as usize - 2)).collect();
    if whole.len() < count as usize {
        return Err("it ends before its last word");
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_name_is_taken_only_when_it_is_whole() {
        assert_eq!(entry_major(b"keyway_plugin_entry_v1\0next"), Some(1));
        assert_eq!(entry_major(b"keyway_plugin_entry_v12"), Some(12));
        for other in
            ["keyway_plugin_entry_v", "keyway_plugin_entry_v1x", "keyway_plugin_entry_v12345678901", "x"]
        {
            assert_eq!(entry_major(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_fingerprint_is_read_in_the_order_of_its_file_and_never_past_its_end() {
        let table = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let whole = table(&[FINGERPRINT_MAGIC, 4, 7, 8, 99]);
        assert_eq!(read_fingerprint(&whole, false), Ok(vec![FINGERPRINT_MAGIC, 4, 7, 8]));
        for broken in [
            vec![],
            vec![FINGERPRINT_MAGIC],
            vec![FINGERPRINT_MAGIC, 1],
            vec![FINGERPRINT_MAGIC, 4, 7],
            vec![FINGERPRINT_MAGIC, u32::MAX, 7],
            vec![1, 2, 3],
        ] {
            assert!(read_fingerprint(&table(&broken), false).is_err(), "{broken:?}");
        }
    }
}
