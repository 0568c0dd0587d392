//! Windows libraries: machine, exports, manifest and fingerprint.

use keyway_plugin_api::manifest::PE_SECTION;
use object::{
    LittleEndian as LE, pe,
    read::{
        coff::SectionTable,
        pe::{DataDirectories, ExportTarget, ImageNtHeaders, optional_header_magic},
    },
};

use super::{FINGERPRINT_SYMBOL, Format, InspectError, Inspection, error::shown, facts::is_name};

/// The most exported names that are looked at.
const MAX_EXPORTS: usize = 1 << 16;

/// The most sections of a file; Windows itself allows no more.
const MAX_SECTIONS: usize = 96;

/// Reads what can be known from a PE file.
pub(super) fn examine(bytes: &[u8]) -> Result<Inspection, InspectError> {
    match optional_header_magic(bytes) {
        Ok(pe::IMAGE_NT_OPTIONAL_HDR32_MAGIC) => read::<pe::ImageNtHeaders32>(bytes),
        Ok(pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC) => read::<pe::ImageNtHeaders64>(bytes),
        Ok(_) => Err(damaged("its header gives no known word size")),
        Err(_) => Err(damaged("its header is cut or not valid")),
    }
}

fn read<Pe: ImageNtHeaders>(bytes: &[u8]) -> Result<Inspection, InspectError> {
    let dos = pe::ImageDosHeader::parse(bytes).map_err(|_| damaged("its header is cut or not valid"))?;
    let mut offset = dos.nt_headers_offset().into();
    let (headers, directories) =
        Pe::parse(bytes, &mut offset).map_err(|_| damaged("its header is cut or not valid"))?;
    if headers.file_header().characteristics.get(LE).0 & pe::IMAGE_FILE_DLL.0 == 0 {
        return Err(InspectError::Executable);
    }
    let sections = headers.sections(bytes, offset).map_err(|_| damaged("its section table is cut"))?;
    if sections.len() > MAX_SECTIONS {
        return Err(damaged("it has too many sections"));
    }
    let mut found = Inspection::new(Format::Pe, architecture(headers.file_header().machine.get(LE)));
    note_sections(bytes, &sections, &mut found)?;
    note_exports(bytes, &sections, &directories, &mut found)?;
    Ok(found)
}

fn note_sections(
    bytes: &[u8],
    sections: &SectionTable<'_>,
    found: &mut Inspection,
) -> Result<(), InspectError> {
    for section in sections.iter() {
        let (start, size) = section.pe_file_range();
        let needed = u64::from(start) + u64::from(size);
        let len = bytes.len() as u64;
        if size != 0 && needed > len {
            return Err(InspectError::Truncated { part: "a section", needed, len });
        }
        if is_name(&section.name, PE_SECTION)
            && let Ok(data) = section.pe_data(bytes)
        {
            found.note_manifest(data);
        }
    }
    Ok(())
}

fn note_exports(
    bytes: &[u8],
    sections: &SectionTable<'_>,
    directories: &DataDirectories<'_>,
    found: &mut Inspection,
) -> Result<(), InspectError> {
    let exports = directories
        .export_table(bytes, sections)
        .map_err(|_| damaged("its export table is outside the file"))?;
    let Some(exports) = exports else { return Ok(()) };
    for (pointer, index) in exports.name_iter().take(MAX_EXPORTS) {
        let Some(name) = sections.pe_data_at(bytes, pointer) else { continue };
        let Ok(ExportTarget::Address(address)) = exports.target_by_index(index) else { continue };
        let section = sections.section_containing(address);
        let is_code = section.is_some_and(|s| s.characteristics.get(LE).0 & pe::IMAGE_SCN_MEM_EXECUTE.0 != 0);
        found.note_entry(name, is_code);
        if is_name(name, FINGERPRINT_SYMBOL) {
            found.note_fingerprint(sections.pe_data_at(bytes, address), true);
        }
    }
    found.is_go = sections.iter().any(|section| is_name(&section.name, ".symtab"));
    Ok(())
}

fn architecture(machine: pe::Machine) -> String {
    let name = match machine {
        pe::IMAGE_FILE_MACHINE_AMD64 => "x86_64",
        pe::IMAGE_FILE_MACHINE_I386 => "x86",
        pe::IMAGE_FILE_MACHINE_ARM64 => "aarch64",
        pe::IMAGE_FILE_MACHINE_ARMNT => "arm",
        other => return shown(format!("machine {}", other.0).as_bytes()),
    };
    name.to_owned()
}

fn damaged(what: &'static str) -> InspectError {
    InspectError::Damaged { what }
}

#[cfg(test)]
mod tests;
