//! macOS libraries: machine, exports, manifest and fingerprint.

use keyway_plugin_api::manifest::{MACHO_SECTION, MACHO_SEGMENT};
use object::{
    Endianness, macho,
    pod::slice_from_bytes,
    read::macho::{FatArch, LoadCommandVariant, MachHeader, MachOFatFile, Nlist, Section, Segment},
};

use super::{FINGERPRINT_SYMBOL, Format, InspectError, Inspection, facts::is_name};

/// The most load commands and sections that are looked at.
const MAX_COMMANDS: usize = 4096;

/// Reads what can be known from a Mach-O file for one machine.
pub(super) fn examine(bytes: &[u8]) -> Result<Inspection, InspectError> {
    // The magic of the 64-bit form is one higher, at the end that is the low one.
    let wide = bytes.first() == Some(&0xcf) || bytes.get(3) == Some(&0xcf);
    if wide {
        read::<macho::MachHeader64<Endianness>>(bytes)
    } else {
        read::<macho::MachHeader32<Endianness>>(bytes)
    }
}

/// The refusal of a file for several machines, which names them.
pub(super) fn universal(bytes: &[u8]) -> InspectError {
    let names = if bytes.get(3) == Some(&0xbf) {
        architectures::<macho::FatArch64>(bytes)
    } else {
        architectures::<macho::FatArch32>(bytes)
    };
    names.map_or(damaged("its header is cut or not valid"), |names| InspectError::Universal {
        architectures: names.join(", "),
    })
}

fn architectures<Fat: FatArch>(bytes: &[u8]) -> Option<Vec<String>> {
    let file = MachOFatFile::<Fat>::parse(bytes).ok()?;
    Some(file.arches().iter().map(|part| architecture(part.cputype())).collect())
}

/// A segment's place in the file and in memory, and whether it holds code.
struct Place {
    address: u64,
    offset: u64,
    len: u64,
    executable: bool,
}

fn read<Mach: MachHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Inspection, InspectError> {
    let header = Mach::parse(bytes, 0).map_err(|_| damaged("its header is cut or not valid"))?;
    let endian = header.endian().map_err(|_| damaged("its header is not valid"))?;
    match header.filetype(endian) {
        macho::MH_DYLIB | macho::MH_BUNDLE => {}
        macho::MH_EXECUTE => return Err(InspectError::Executable),
        macho::MH_OBJECT => return Err(InspectError::ObjectFile),
        _ => return Err(InspectError::NotALibrary { what: "another kind of Mach-O file" }),
    }
    let mut found = Inspection::new(Format::MachO, architecture(header.cputype(endian)));
    let mut commands = header
        .load_commands(endian, bytes, 0)
        .map_err(|_| damaged("its load commands are outside the file"))?;
    let (mut places, mut symbols) = (Vec::new(), None);
    for _ in 0..MAX_COMMANDS {
        let command = commands.next().map_err(|_| damaged("its load commands cannot be read"))?;
        let Some(command) = command else { break };
        match command.variant().map_err(|_| damaged("a load command is too short"))? {
            LoadCommandVariant::Segment32(segment, data) => {
                note_segment(segment, data, endian, bytes, &mut places, &mut found)?;
            }
            LoadCommandVariant::Segment64(segment, data) => {
                note_segment(segment, data, endian, bytes, &mut places, &mut found)?;
            }
            LoadCommandVariant::Symtab(table) => symbols = Some(table),
            _ => {}
        }
    }
    if let Some(table) = symbols {
        note_exports::<Mach>(table, endian, bytes, &places, &mut found)?;
    }
    Ok(found)
}

fn note_segment<S: Segment<Endian = Endianness>>(
    segment: &S,
    data: &[u8],
    endian: Endianness,
    bytes: &[u8],
    places: &mut Vec<Place>,
    found: &mut Inspection,
) -> Result<(), InspectError> {
    let (offset, len) = segment.file_range(endian);
    let needed = offset.saturating_add(len);
    if needed > bytes.len() as u64 {
        return Err(InspectError::Truncated { part: "a segment", needed, len: bytes.len() as u64 });
    }
    let executable = segment.initprot(endian).0 & macho::VM_PROT_EXECUTE.0 != 0;
    places.push(Place { address: segment.vmaddr(endian).into(), offset, len, executable });
    let sections = segment.sections(endian, data).map_err(|_| damaged("its sections cannot be read"))?;
    for section in sections.iter().take(MAX_COMMANDS) {
        found.is_go |= is_name(section.sectname(), "__go_buildinfo");
        if is_name(section.segname(), MACHO_SEGMENT)
            && is_name(section.sectname(), MACHO_SECTION)
            && let Ok(data) = section.data(endian, bytes, section.offset(endian).into())
        {
            found.note_manifest(data);
        }
    }
    Ok(())
}

fn note_exports<Mach: MachHeader<Endian = Endianness>>(
    table: &macho::SymtabCommand<Endianness>,
    endian: Endianness,
    bytes: &[u8],
    places: &[Place],
    found: &mut Inspection,
) -> Result<(), InspectError> {
    let outside = || damaged("its symbol table is outside the file");
    let start = bytes.get(table.symoff.get(endian) as usize..).ok_or_else(outside)?;
    let (symbols, _) =
        slice_from_bytes::<Mach::Nlist>(start, table.nsyms.get(endian) as usize).map_err(|()| outside())?;
    let names = bytes.get(table.stroff.get(endian) as usize..).ok_or_else(outside)?;
    let names = names.get(..table.strsize.get(endian) as usize).ok_or_else(outside)?;
    for symbol in symbols {
        // C names begin with an underscore there.
        let name = names.get(symbol.n_strx(endian) as usize..).and_then(|name| name.strip_prefix(b"_"));
        let Some(name) = name.filter(|_| is_exported(symbol.n_type().0)) else { continue };
        let wanted = is_name(name, FINGERPRINT_SYMBOL);
        if !wanted && !name.starts_with(b"keyway_plugin_entry_v") {
            continue;
        }
        let address: u64 = symbol.n_value(endian).into();
        let place = places.iter().find(|p| address >= p.address && address - p.address < p.len);
        found.note_entry(name, place.is_some_and(|place| place.executable));
        if wanted {
            let data = place.and_then(|p| {
                let start = p.offset + (address - p.address);
                bytes.get(usize::try_from(start).ok()?..usize::try_from(p.offset + p.len).ok()?)
            });
            found.note_fingerprint(data, endian == Endianness::Little);
        }
    }
    Ok(())
}

/// Defined in a section, external, and not private to the library or meant for a debugger.
fn is_exported(kind: u8) -> bool {
    const STAB: u8 = 0xe0;
    const PRIVATE_EXTERNAL: u8 = 0x10;
    const TYPE: u8 = 0x0e;
    const IN_SECTION: u8 = 0x0e;
    const EXTERNAL: u8 = 0x01;
    kind & STAB == 0 && kind & PRIVATE_EXTERNAL == 0 && kind & TYPE == IN_SECTION && kind & EXTERNAL != 0
}

fn architecture(cpu: macho::CpuType) -> String {
    match cpu {
        macho::CPU_TYPE_X86_64 => "x86_64".to_owned(),
        macho::CPU_TYPE_ARM64 => "aarch64".to_owned(),
        macho::CPU_TYPE_X86 => "x86".to_owned(),
        macho::CPU_TYPE_ARM => "arm".to_owned(),
        other => format!("machine {}", other.0),
    }
}

fn damaged(what: &'static str) -> InspectError {
    InspectError::Damaged { what }
}

#[cfg(test)]
mod tests;
