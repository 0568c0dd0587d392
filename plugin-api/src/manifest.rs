//! The manifest: what a plugin says about itself, readable from the file without loading it.
//!
//! It is plain text in a section of its own, so that a C macro can build it by joining string literals:
//!
//! ```text
//! keyway-manifest 1
//! id=keyway-plugin-memory
//! version=0.1.0
//! vendor=Acme
//! abi=1.0
//! managers=InMemorySecretManager,Other
//! ```
//!
//! `vendor` may be absent, unknown keys are ignored, and NUL bytes at the end do not count. The text is shown
//! in terminals before anybody has decided to trust the file, so control characters and characters that
//! change the direction of text are refused.

use std::{error, fmt, str};

/// The section that holds the manifest in an ELF file.
pub const ELF_SECTION: &str = ".keyway.manifest";

/// The section that holds the manifest in a Windows library.
pub const PE_SECTION: &str = ".keyway";

/// The segment of [`MACHO_SECTION`].
pub const MACHO_SEGMENT: &str = "__DATA";

/// The section that holds the manifest in a macOS library.
pub const MACHO_SECTION: &str = "__keyway";

/// The first line, up to the number of the format.
pub const HEADER: &str = "keyway-manifest";

/// The number of the format that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The largest manifest, in bytes (64 KiB).
pub const MAX_LEN: usize = 64 << 10;

/// The longest value of a key, in bytes; that of `managers` may be longer, each of its names not.
pub const MAX_VALUE_LEN: usize = 256;

/// The largest number of manager types.
pub const MAX_MANAGERS: usize = 256;

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The plugin's name, such as `keyway-plugin-memory`.
    pub id: String,
    /// The plugin's own version.
    pub version: String,
    /// Who made it; empty when the manifest does not say.
    pub vendor: String,
    /// Major and minor of the interface it was built for.
    pub abi: (u32, u32),
    /// The manager types it offers, in its own order.
    pub managers: Vec<String>,
}

impl Manifest {
    /// Reads the bytes of the section.
    ///
    /// # Errors
    /// [`ManifestError`] when the bytes are not a manifest that this crate understands. It never panics.
    pub fn parse(section: &[u8]) -> Result<Self, ManifestError> {
        let end = section.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let section = &section[..end];
        if section.len() > MAX_LEN {
            return Err(ManifestError::TooLong { len: section.len() });
        }
        let text = str::from_utf8(section).map_err(|_| ManifestError::NotText)?;
        let mut lines = text.lines();
        check_header(lines.next().unwrap_or_default())?;
        let mut fields = Fields::default();
        for (index, line) in lines.enumerate() {
            fields.take(index + 2, line)?;
        }
        fields.finish()
    }
}

/// Why the bytes are not a manifest.
///
/// The texts hold nothing of the manifest but names of known keys and numbers of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// More than [`MAX_LEN`] bytes.
    TooLong {
        /// How many bytes there are.
        len: usize,
    },
    /// Not UTF-8.
    NotText,
    /// The first line is not `keyway-manifest 1`.
    NotAManifest,
    /// A format of a later time.
    UnknownFormat {
        /// The number it gives.
        format: u32,
    },
    /// A line that is not `key=value`.
    NotAKey {
        /// Counted from 1.
        line: usize,
    },
    /// A control character, or one that changes the direction of text.
    Unprintable {
        /// Counted from 1.
        line: usize,
    },
    /// A key that stands there twice.
    Repeated {
        /// Which key.
        key: &'static str,
    },
    /// A key that must be there and is not, or has no value.
    Missing {
        /// Which key.
        key: &'static str,
    },
    /// A value that cannot be read.
    Invalid {
        /// Which key.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => {
                write!(f, "the manifest is {len} bytes long; at most {MAX_LEN} are possible")
            }
            Self::NotText => f.write_str("the manifest is not UTF-8 text"),
            Self::NotAManifest => {
                write!(f, "the manifest does not begin with the line \"{HEADER} {FORMAT}\"")
            }
            Self::UnknownFormat { format } => {
                write!(f, "the manifest has format {format}, this host reads format {FORMAT}")
            }
            Self::NotAKey { line } => write!(f, "line {line} of the manifest is not key=value"),
            Self::Unprintable { line } => {
                write!(f, "line {line} of the manifest holds a control character")
            }
            Self::Repeated { key } => write!(f, "the manifest gives \"{key}\" twice"),
            Self::Missing { key } => write!(f, "the manifest does not give \"{key}\""),
            Self::Invalid { key, expected } => {
                write!(f, "the manifest's \"{key}\" is not {expected}")
            }
        }
    }
}

impl error::Error for ManifestError {}

/// Whether a character may be shown in a terminal and in a log as it is.
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

fn check_header(line: &str) -> Result<(), ManifestError> {
    let format = line.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix(' '));
    match format.and_then(|digits| digits.parse().ok()) {
        Some(FORMAT) => Ok(()),
        Some(format) => Err(ManifestError::UnknownFormat { format }),
        None => Err(ManifestError::NotAManifest),
    }
}

#[derive(Default)]
struct Fields<'a> {
    id: Option<&'a str>,
    version: Option<&'a str>,
    vendor: Option<&'a str>,
    abi: Option<&'a str>,
    managers: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, number: usize, line: &'a str) -> Result<(), ManifestError> {
        if line.is_empty() {
            return Ok(());
        }
        if !line.chars().all(is_printable) {
            return Err(ManifestError::Unprintable { line: number });
        }
        let (key, value) = line.split_once('=').ok_or(ManifestError::NotAKey { line: number })?;
        let (key, slot) = match key {
            "id" => ("id", &mut self.id),
            "version" => ("version", &mut self.version),
            "vendor" => ("vendor", &mut self.vendor),
            "abi" => ("abi", &mut self.abi),
            "managers" => ("managers", &mut self.managers),
            _ => return Ok(()),
        };
        match slot.replace(value.trim()) {
            Some(_) => Err(ManifestError::Repeated { key }),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<Manifest, ManifestError> {
        Ok(Manifest {
            id: required("id", self.id)?.to_owned(),
            version: required("version", self.version)?.to_owned(),
            vendor: short("vendor", self.vendor.unwrap_or_default())?.to_owned(),
            abi: version_pair(required("abi", self.abi)?)?,
            managers: manager_names(self.managers)?,
        })
    }
}

fn required<'a>(key: &'static str, value: Option<&'a str>) -> Result<&'a str, ManifestError> {
    short(key, value.filter(|value| !value.is_empty()).ok_or(ManifestError::Missing { key })?)
}

fn short<'a>(key: &'static str, value: &'a str) -> Result<&'a str, ManifestError> {
    if value.len() > MAX_VALUE_LEN {
        return Err(ManifestError::Invalid { key, expected: "at most 256 bytes long" });
    }
    Ok(value)
}

fn version_pair(text: &str) -> Result<(u32, u32), ManifestError> {
    let pair = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    pair.ok_or(ManifestError::Invalid { key: "abi", expected: "major.minor, such as 1.0" })
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn manager_names(text: Option<&str>) -> Result<Vec<String>, ManifestError> {
    let key = "managers";
    let text = text.filter(|text| !text.is_empty()).ok_or(ManifestError::Missing { key })?;
    let names: Vec<&str> = text.split(',').map(str::trim).take(MAX_MANAGERS + 1).collect();
    if names.len() > MAX_MANAGERS {
        return Err(ManifestError::Invalid { key, expected: "a list of at most 256 names" });
    }
    if names.iter().any(|name| name.is_empty() || name.len() > MAX_VALUE_LEN) {
        return Err(ManifestError::Invalid { key, expected: "a list of names of 1 to 256 bytes" });
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "keyway-manifest 1\nid=acme-vault\nversion=2.1.0\nvendor=Acme\nabi=1.4\n\
                         future=thing\nmanagers=AcmeVault, Legacy\n";

    #[test]
    fn a_whole_manifest_is_read_and_trailing_nuls_and_unknown_keys_are_ignored() {
        let manifest = Manifest::parse(format!("{WHOLE}\0\0\0").as_bytes()).unwrap();
        let expected = Manifest {
            id: "acme-vault".into(),
            version: "2.1.0".into(),
            vendor: "Acme".into(),
            abi: (1, 4),
            managers: vec!["AcmeVault".into(), "Legacy".into()],
        };
        assert_eq!(manifest, expected);
    }

    #[test]
    fn the_vendor_may_be_absent_and_nothing_else() {
        let without = |key: &str| {
            let text: String =
                WHOLE.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
            Manifest::parse(text.as_bytes())
        };
        assert_eq!(without("vendor=").unwrap().vendor, "");
        for key in ["id", "version", "abi", "managers"] {
            assert_eq!(without(&format!("{key}=")), Err(ManifestError::Missing { key }));
        }
    }

    #[test]
    fn terminal_escapes_and_text_direction_changes_are_refused() {
        for hostile in ["\u{1b}[2J", "\r", "\u{9b}31m", "\u{202e}", "a\0b", "\u{7f}"] {
            let text = format!("keyway-manifest 1\nid={hostile}x\nversion=1\nabi=1.0\nmanagers=A\n");
            assert_eq!(
                Manifest::parse(text.as_bytes()),
                Err(ManifestError::Unprintable { line: 2 }),
                "{hostile:?}"
            );
        }
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let parse = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err();
        assert_eq!(parse(""), ManifestError::NotAManifest);
        assert_eq!(parse("keyway-manifest one\n"), ManifestError::NotAManifest);
        assert_eq!(parse("keyway-manifest 2\n"), ManifestError::UnknownFormat { format: 2 });
        assert_eq!(parse("keyway-manifest 1\nid\n"), ManifestError::NotAKey { line: 2 });
        assert_eq!(parse("keyway-manifest 1\nid=a\nid=b\n"), ManifestError::Repeated { key: "id" });
        assert_eq!(Manifest::parse(b"keyway-manifest 1\n\xff"), Err(ManifestError::NotText));
        assert_eq!(Manifest::parse(&[b'x'; MAX_LEN + 1]), Err(ManifestError::TooLong { len: MAX_LEN + 1 }));
        for abi in ["1", "1.", "+1.0", "1.0.0", "99999999999.0"] {
            let fault = parse(&WHOLE.replace("abi=1.4", &format!("abi={abi}")));
            assert!(matches!(fault, ManifestError::Invalid { key: "abi", .. }), "{abi}: {fault}");
        }
        let many = format!("managers={}", "A,".repeat(MAX_MANAGERS + 1));
        let fault = parse(&WHOLE.replace("managers=AcmeVault, Legacy", &many));
        assert!(matches!(fault, ManifestError::Invalid { key: "managers", .. }));
    }
}
