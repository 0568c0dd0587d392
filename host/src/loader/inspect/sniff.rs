//! What kind of file it is, by its first bytes.

/// How many bytes are looked at to tell text from other files.
const LOOKED_AT: usize = 4096;

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ELF, of any machine.
    Elf,
    /// A Windows program or library.
    Pe,
    /// Mach-O for one machine.
    MachO,
    /// Mach-O for several machines.
    FatMachO,
    /// No bytes.
    Empty,
    /// An ar archive.
    Archive,
    /// Python source.
    Python,
    /// A linker script.
    LinkerScript,
    /// Other text.
    Text,
    /// Something else, in words.
    Other(&'static str),
}

/// Tells kinds of files apart; the first 4 KiB of the file suffice.
pub fn sniff(bytes: &[u8]) -> Kind {
    const MAGICS: &[(&[u8], Kind)] = &[
        (b"\x7fELF", Kind::Elf),
        (b"MZ", Kind::Pe),
        (b"\xfe\xed\xfa\xce", Kind::MachO),
        (b"\xfe\xed\xfa\xcf", Kind::MachO),
        (b"\xce\xfa\xed\xfe", Kind::MachO),
        (b"\xcf\xfa\xed\xfe", Kind::MachO),
        (b"\xca\xfe\xba\xbe", Kind::FatMachO),
        (b"\xca\xfe\xba\xbf", Kind::FatMachO),
        (b"!<arch>\n", Kind::Archive),
        (b"!<thin>\n", Kind::Archive),
        (b"\0asm", Kind::Other("a WebAssembly module")),
        (b"PK\x03\x04", Kind::Other("a zip archive; unpack it first")),
        (b"\x1f\x8b", Kind::Other("a gzip archive; unpack it first")),
        (b"\x28\xb5\x2f\xfd", Kind::Other("a zstd archive; unpack it first")),
        (b"\xfd7zXZ\0", Kind::Other("an xz archive; unpack it first")),
    ];
    if bytes.is_empty() {
        return Kind::Empty;
    }
    match MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        // Java chose the same magic; what follows is a large version there and a small count here.
        Some((_, Kind::FatMachO)) if bytes.get(4..8).is_none_or(|count| count > [0, 0, 0, 32].as_slice()) => {
            Kind::Other("a Java class")
        }
        Some((_, kind)) => *kind,
        None => text_or_other(&bytes[..bytes.len().min(LOOKED_AT)]),
    }
}

fn text_or_other(start: &[u8]) -> Kind {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character that the limit cut in two.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Kind::Other("of an unknown format"),
    };
    if text.chars().any(|character| character.is_control() && !character.is_ascii_whitespace()) {
        return Kind::Other("of an unknown format");
    }
    let python =
        ["import ", "from ", "class ", "def ", "async def ", "#!/usr/bin/env python", "#!/usr/bin/python"];
    if text.lines().any(|line| python.iter().any(|word| line.starts_with(word))) {
        Kind::Python
    } else if ["INPUT(", "INPUT (", "GROUP(", "GROUP (", "OUTPUT_FORMAT("]
        .iter()
        .any(|word| text.contains(word))
    {
        Kind::LinkerScript
    } else {
        Kind::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let cases: &[(&[u8], Kind)] = &[
            (b"", Kind::Empty),
            (b"\x7fELF\x02", Kind::Elf),
            (b"MZ\x90", Kind::Pe),
            (b"!<arch>\nlib", Kind::Archive),
            (b"import os\n\nclass A(CustomSecretManager):\n", Kind::Python),
            (b"/* GNU ld script */\nGROUP ( libc.so.6 )\n", Kind::LinkerScript),
            ("secrets: \u{e4}\n".as_bytes(), Kind::Text),
            (b"\xca\xfe\xba\xbe\0\0\0\x02", Kind::FatMachO),
            (b"\xca\xfe\xba\xbe\0\0\0\x41", Kind::Other("a Java class")),
            (b"\x01\x02\x03", Kind::Other("of an unknown format")),
        ];
        for (bytes, kind) in cases {
            assert_eq!(sniff(bytes), *kind, "{bytes:?}");
        }
    }

    #[test]
    fn a_character_on_the_limit_does_not_hide_that_it_is_text() {
        let text = format!("{}\u{e4}", "x".repeat(LOOKED_AT - 1));
        assert_eq!(sniff(text.as_bytes()), Kind::Text);
    }
}
