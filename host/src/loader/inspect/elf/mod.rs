//! ELF: what the dynamic linker will see, read as the dynamic linker reads it.
//!
//! What decides about loading comes from the program headers and the dynamic section, since the linker looks
//! at nothing else; sections only tell about the manifest and the Go runtime.
//!
//! What a library needs is found by the linker's own rules: its name in the folders of the system and, before them, in those
//! of `LD_LIBRARY_PATH`. Whoever sets that variable for the host decides with it which libraries plugins get.

mod dynamic;
mod image;
mod symbols;
mod versions;

use object::{
    Endianness, elf,
    read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _},
};

use self::{
    dynamic::Dynamic,
    image::{Image, Load},
};
use super::{Format, InspectError, Inspection, error::shown, facts::is_name};
use keyway_plugin_api::manifest::ELF_SECTION;

pub use self::versions::loaded_glibc;

/// The most program headers and sections that are looked at; libraries have about ten and forty.
const MAX_HEADERS: usize = 1024;

/// Reads what can be known from an ELF file.
pub(super) fn examine(bytes: &[u8]) -> Result<Inspection, InspectError> {
    match bytes.get(4) {
        Some(1) => read::<elf::FileHeader32<Endianness>>(bytes),
        Some(2) => read::<elf::FileHeader64<Endianness>>(bytes),
        Some(_) => Err(InspectError::Damaged { what: "its header gives no known word size" }),
        None => Err(truncated("its header", 64, bytes)),
    }
}

/// A parsed header and what everything else hangs on.
struct File<'a, Elf: FileHeader<Endian = Endianness>> {
    bytes: &'a [u8],
    endian: Endianness,
    header: &'a Elf,
    segments: &'a [Elf::ProgramHeader],
    image: Image<'a>,
    dynamic: Dynamic<'a>,
}

fn read<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Inspection, InspectError> {
    let file = File::<Elf>::open(bytes)?;
    let mut found = Inspection::new(Format::Elf, architecture(file.header, file.endian));
    file.note_dynamic(&mut found);
    file.note_stack(&mut found);
    file.note_sections(&mut found);
    found.is_go |= file.has_go_note();
    found.glibc = versions::needed_glibc(&file.image, &file.dynamic);
    symbols::note_exports::<Elf>(&file.image, &file.dynamic, &mut found);
    Ok(found)
}

impl<'a, Elf: FileHeader<Endian = Endianness>> File<'a, Elf> {
    fn open(bytes: &'a [u8]) -> Result<Self, InspectError> {
        check_end("its header", 0, size_of::<Elf>() as u64, bytes)?;
        let damaged = |what| move |_| InspectError::Damaged { what };
        let header = Elf::parse(bytes).map_err(damaged("its header is not valid"))?;
        let endian = header.endian().map_err(damaged("its header gives no known byte order"))?;
        check_kind(header.e_type(endian))?;
        check_tables(header, endian, bytes)?;
        let segments =
            header.program_headers(endian, bytes).map_err(damaged("its program headers cannot be read"))?;
        if segments.len() > MAX_HEADERS {
            return Err(InspectError::Damaged { what: "it has too many program headers" });
        }
        let loads = segments
            .iter()
            .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
            .map(|segment| load::<Elf>(segment, endian));
        let image = Image::new(bytes, endian == Endianness::Little, header.is_class_64(), loads)?;
        // Of two, this and the linker could each read another one.
        let several = |kind| segments.iter().filter(|segment| segment.p_type(endian) == kind).count() > 1;
        if several(elf::PT_DYNAMIC) || several(elf::PT_GNU_STACK) {
            return Err(InspectError::Damaged { what: "it has a program header twice" });
        }
        let dynamic = segments
            .iter()
            .find(|segment| segment.p_type(endian) == elf::PT_DYNAMIC)
            .ok_or(InspectError::Damaged { what: "it has no dynamic section" })?;
        let dynamic = Dynamic::read(&image, &load::<Elf>(dynamic, endian))?;
        if dynamic.has_flag(elf::DT_FLAGS_1, elf::DF_1_PIE.0) {
            return Err(InspectError::Executable);
        }
        symbols::check_relocations(&image, &dynamic, symbols::count::<Elf>(&image, &dynamic))?;
        Ok(Self { bytes, endian, header, segments, image, dynamic })
    }

    fn note_dynamic(&self, found: &mut Inspection) {
        let dynamic = &self.dynamic;
        found.text_relocations =
            dynamic.value(elf::DT_TEXTREL).is_some() || dynamic.has_flag(elf::DT_FLAGS, elf::DF_TEXTREL.0);
        found.audit = dynamic.value(elf::DT_AUDIT).is_some() || dynamic.value(elf::DT_DEPAUDIT).is_some();
        for (tag, name) in [(elf::DT_RPATH, "RPATH"), (elf::DT_RUNPATH, "RUNPATH")] {
            found.search_paths.extend(dynamic.strings(tag).map(|path| (name, shown(path))));
        }
        for (tag, name) in [(elf::DT_FILTER, "FILTER"), (elf::DT_AUXILIARY, "AUXILIARY")] {
            found.filters.extend(dynamic.strings(tag).map(|library| (name, shown(library))));
        }
        for library in dynamic.strings(elf::DT_NEEDED) {
            if library.starts_with(b"libc.musl-") || library == b"libc.so" {
                found.musl = Some(shown(library));
            }
            found.is_go |= library.starts_with(b"libgo.so");
            if library.contains(&b'/') {
                found.needed_path = Some(shown(library));
            }
            found.needed.push(shown(library));
        }
    }

    /// The linker gives a file that says nothing about its stack an executable one, so absence counts.
    fn note_stack(&self, found: &mut Inspection) {
        let stack = self.segments.iter().find(|segment| segment.p_type(self.endian) == elf::PT_GNU_STACK);
        found.executable_stack =
            stack.is_none_or(|segment| segment.p_flags(self.endian).0 & elf::PF_X.0 != 0);
    }

    fn has_go_note(&self) -> bool {
        const GO_BUILD_ID: u32 = 4;
        let notes = self.segments.iter().filter_map(|s| s.notes(self.endian, self.bytes).ok().flatten());
        notes
            .flat_map(|notes| notes.take(MAX_HEADERS).map_while(Result::ok))
            .any(|note| note.name() == b"Go" && note.n_type(self.endian).0 == GO_BUILD_ID)
    }

    fn note_sections(&self, found: &mut Inspection) {
        let (endian, bytes) = (self.endian, self.bytes);
        let Ok(sections) = self.header.section_headers(endian, bytes) else { return };
        let names = self.header.shstrndx(endian, bytes).ok().and_then(|index| sections.get(index as usize));
        let Some(Ok(names)) = names.map(|section| section.data(endian, bytes)) else { return };
        for section in sections.iter().take(MAX_HEADERS) {
            let Some(name) = names.get(section.sh_name(endian) as usize..) else { continue };
            if is_name(name, ELF_SECTION)
                && let Ok(data) = section.data(endian, bytes)
            {
                found.note_manifest(data);
            }
            found.is_go |= is_name(name, ".go.buildinfo") || is_name(name, ".note.go.buildid");
        }
    }
}

fn check_kind(kind: elf::FileType) -> Result<(), InspectError> {
    match kind {
        elf::ET_DYN => Ok(()),
        elf::ET_EXEC => Err(InspectError::Executable),
        elf::ET_REL => Err(InspectError::ObjectFile),
        elf::ET_CORE => Err(InspectError::NotALibrary { what: "a core dump" }),
        _ => Err(InspectError::Damaged { what: "its header gives no known kind of file" }),
    }
}

/// Both tables are inside the file. Linkers put that of the sections at the end, so that it betrays a cut.
fn check_tables<Elf: FileHeader<Endian = Endianness>>(
    header: &Elf,
    endian: Endianness,
    bytes: &[u8],
) -> Result<(), InspectError> {
    let table = |count: u16, size: u16| u64::from(count) * u64::from(size);
    let segments = table(header.e_phnum(endian), header.e_phentsize(endian));
    check_end("its program header table", header.e_phoff(endian).into(), segments, bytes)?;
    let sections = table(header.e_shnum(endian), header.e_shentsize(endian));
    check_end("its section header table", header.e_shoff(endian).into(), sections, bytes)
}

fn check_end(part: &'static str, start: u64, size: u64, bytes: &[u8]) -> Result<(), InspectError> {
    let end = start.saturating_add(size);
    if end > bytes.len() as u64 { Err(truncated(part, end, bytes)) } else { Ok(()) }
}

fn truncated(part: &'static str, needed: u64, bytes: &[u8]) -> InspectError {
    InspectError::Truncated { part, needed, len: bytes.len() as u64 }
}

fn load<Elf: FileHeader<Endian = Endianness>>(segment: &Elf::ProgramHeader, endian: Endianness) -> Load {
    Load {
        address: segment.p_vaddr(endian).into(),
        memory: segment.p_memsz(endian).into(),
        offset: segment.p_offset(endian).into(),
        len: segment.p_filesz(endian).into(),
        executable: segment.p_flags(endian).0 & elf::PF_X.0 != 0,
    }
}

fn architecture<Elf: FileHeader<Endian = Endianness>>(header: &Elf, endian: Endianness) -> String {
    let (wide, little) = (header.is_class_64(), endian == Endianness::Little);
    let name = match (header.e_machine(endian), wide, little) {
        (elf::EM_X86_64, true, true) => "x86_64",
        (elf::EM_X86_64, false, true) => "x32",
        (elf::EM_386, false, true) => "x86",
        (elf::EM_AARCH64, true, true) => "aarch64",
        (elf::EM_AARCH64, true, false) => "aarch64_be",
        (elf::EM_ARM, false, true) => "arm",
        (elf::EM_RISCV, true, true) => "riscv64",
        (elf::EM_RISCV, false, true) => "riscv32",
        (elf::EM_PPC64, true, true) => "powerpc64le",
        (elf::EM_PPC64, true, false) => "powerpc64",
        (elf::EM_PPC, false, false) => "powerpc",
        (elf::EM_S390, true, false) => "s390x",
        (elf::EM_LOONGARCH, true, true) => "loongarch64",
        (elf::EM_MIPS, false, false) => "mips",
        (elf::EM_SPARCV9, true, false) => "sparc64",
        (machine, ..) => {
            let order = if little { "little" } else { "big" };
            return format!("machine {} ({} bit, {order}-endian)", machine.0, if wide { 64 } else { 32 });
        }
    };
    name.to_owned()
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
