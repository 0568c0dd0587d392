//! The dynamic section: where the linker's tables are, and what the library asks for.

use object::elf::{self, DynamicTag};

use super::{Image, InspectError, Load};

/// The most entries that are read; libraries have about thirty.
const MAX_ENTRIES: usize = 4096;

/// The longest string that is taken out of the string table.
const MAX_STRING: usize = 4096;

/// Tables whose size stands in another entry.
const SIZED: [(DynamicTag, DynamicTag); 7] = [
    (elf::DT_STRTAB, elf::DT_STRSZ),
    (elf::DT_RELA, elf::DT_RELASZ),
    (elf::DT_REL, elf::DT_RELSZ),
    (elf::DT_RELR, elf::DT_RELRSZ),
    (elf::DT_JMPREL, elf::DT_PLTRELSZ),
    (elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ),
    (elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ),
];

/// Tables of which only the beginning is known.
const UNSIZED: [DynamicTag; 6] =
    [elf::DT_SYMTAB, elf::DT_HASH, elf::DT_GNU_HASH, elf::DT_VERSYM, elf::DT_VERNEED, elf::DT_VERDEF];

/// The entries, with all tables proven to begin, and where their size is known to end, inside the file.
pub(super) struct Dynamic<'a> {
    entries: Vec<(i64, u64)>,
    strings: &'a [u8],
}

impl<'a> Dynamic<'a> {
    pub(super) fn read(image: &Image<'a>, segment: &Load) -> Result<Self, InspectError> {
        let damaged = |what| InspectError::Damaged { what };
        let table = image
            .range(segment.address, segment.len)
            .ok_or(damaged("its dynamic section is outside its segments"))?;
        let mut dynamic = Self { entries: entries(image, table)?, strings: &[] };
        for (start, size) in SIZED {
            let Some(start) = dynamic.value(start) else { continue };
            let size = dynamic.value(size).unwrap_or_default();
            image.range(start, size).ok_or(damaged("a table of its dynamic section is outside the file"))?;
        }
        for start in UNSIZED.into_iter().filter_map(|tag| dynamic.value(tag)) {
            image.from(start).ok_or(damaged("a table of its dynamic section is outside the file"))?;
        }
        let (Some(start), Some(size)) = (dynamic.value(elf::DT_STRTAB), dynamic.value(elf::DT_STRSZ)) else {
            return Err(damaged("its dynamic section names no string table"));
        };
        dynamic.strings = image.range(start, size).unwrap_or_default();
        Ok(dynamic)
    }

    /// The value of an entry; of several the last, as the linker does it.
    pub(super) fn value(&self, tag: DynamicTag) -> Option<u64> {
        self.all(tag).last()
    }

    pub(super) fn has_flag(&self, tag: DynamicTag, flag: u64) -> bool {
        self.all(tag).any(|flags| flags & flag != 0)
    }

    /// The strings that the entries of a tag stand for.
    pub(super) fn strings(&self, tag: DynamicTag) -> impl Iterator<Item = &'a [u8]> {
        self.all(tag).map(|offset| self.string(offset))
    }

    /// The string at an offset, empty when there is none.
    pub(super) fn string(&self, offset: u64) -> &'a [u8] {
        let rest = self.strings_from(offset);
        let rest = &rest[..rest.len().min(MAX_STRING)];
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The string table from an offset on.
    pub(super) fn strings_from(&self, offset: u64) -> &'a [u8] {
        usize::try_from(offset).ok().and_then(|offset| self.strings.get(offset..)).unwrap_or_default()
    }

    fn all(&self, tag: DynamicTag) -> impl Iterator<Item = u64> {
        self.entries.iter().filter(move |(entry, _)| *entry == tag.0).map(|(_, value)| *value)
    }
}

fn entries(image: &Image<'_>, table: &[u8]) -> Result<Vec<(i64, u64)>, InspectError> {
    let width = if image.is_wide() { 8 } else { 4 };
    let mut entries = Vec::new();
    for entry in table.chunks_exact(2 * width) {
        let (Some(tag), Some(value)) = (image.word(entry, 0), image.word(entry, width)) else { break };
        let tag = if image.is_wide() { tag.cast_signed() } else { i64::from((tag as u32).cast_signed()) };
        if tag == elf::DT_NULL.0 {
            return Ok(entries);
        }
        if entries.len() == MAX_ENTRIES {
            break;
        }
        entries.push((tag, value));
    }
    Err(InspectError::Damaged { what: "its dynamic section does not end" })
}
