//! The dynamic symbols that matter, and relocations that would write outside the library.

use object::{
    Endianness, elf,
    pod::slice_from_bytes,
    read::elf::{FileHeader, GnuHashTable, Sym as _},
};

use super::{Dynamic, Image, InspectError, Inspection};
use crate::loader::inspect::{FINGERPRINT_SYMBOL, facts::is_name};

/// Symbols that the C side of every Go runtime has.
const GO_SYMBOLS: [&str; 3] = ["_cgo_topofstack", "crosscall2", "_cgo_panic"];

/// How many dynamic symbols there are, by the hash table through which the linker finds them.
pub(super) fn count<Elf: FileHeader<Endian = Endianness>>(
    image: &Image<'_>,
    dynamic: &Dynamic<'_>,
) -> Option<usize> {
    let endian = if image.is_little_endian() { Endianness::Little } else { Endianness::Big };
    let by_gnu_hash = || {
        let table = image.from(dynamic.value(elf::DT_GNU_HASH)?)?;
        GnuHashTable::<Elf>::parse(endian, table).ok()?.symbol_table_length(endian)
    };
    let by_hash = || image.u32(image.from(dynamic.value(elf::DT_HASH)?)?, 4);
    by_gnu_hash().or_else(by_hash).map(|count| count as usize)
}

/// Takes note of the entries, the fingerprint table and the Go runtime.
pub(super) fn note_exports<Elf: FileHeader<Endian = Endianness>>(
    image: &Image<'_>,
    dynamic: &Dynamic<'_>,
    found: &mut Inspection,
) {
    let endian = if image.is_little_endian() { Endianness::Little } else { Endianness::Big };
    let Some(table) = dynamic.value(elf::DT_SYMTAB).and_then(|address| image.from(address)) else { return };
    let count = count::<Elf>(image, dynamic).unwrap_or_default().min(table.len() / size_of::<Elf::Sym>());
    let Ok((symbols, _)) = slice_from_bytes::<Elf::Sym>(table, count) else { return };
    for symbol in symbols {
        let name = dynamic.strings_from(symbol.st_name(endian).into());
        if !is_exported::<Elf>(symbol, endian) {
            continue;
        }
        let address: u64 = symbol.st_value(endian).into();
        let is_code = matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_NOTYPE) && image.is_code(address);
        found.note_entry(name, is_code);
        found.is_go |= GO_SYMBOLS.iter().any(|go| is_name(name, go));
        if is_name(name, FINGERPRINT_SYMBOL) {
            found.note_fingerprint(image.from(address), image.is_little_endian());
        }
    }
}

fn is_exported<Elf: FileHeader<Endian = Endianness>>(symbol: &Elf::Sym, endian: Endianness) -> bool {
    !symbol.is_undefined(endian)
        && !symbol.is_local()
        && matches!(symbol.st_visibility(), elf::STV_DEFAULT | elf::STV_PROTECTED)
}

/// Every relocation writes inside the library and names a symbol that exists: the linker does not look.
pub(super) fn check_relocations(
    image: &Image<'_>,
    dynamic: &Dynamic<'_>,
    symbols: Option<usize>,
) -> Result<(), InspectError> {
    let jumps_have_addends = dynamic.value(elf::DT_PLTREL) == Some(elf::DT_RELA.0.cast_unsigned());
    let tables = [
        (elf::DT_RELA, elf::DT_RELASZ, true),
        (elf::DT_REL, elf::DT_RELSZ, false),
        (elf::DT_JMPREL, elf::DT_PLTRELSZ, jumps_have_addends),
    ];
    for (start, size, addends) in tables {
        let (Some(start), Some(size)) = (dynamic.value(start), dynamic.value(size)) else { continue };
        let table = image.range(start, size).unwrap_or_default();
        let width = if image.is_wide() { 8 } else { 4 };
        for entry in table.chunks_exact(width * if addends { 3 } else { 2 }) {
            check_relocation(image, entry, width, symbols)?;
        }
    }
    Ok(())
}

fn check_relocation(
    image: &Image<'_>,
    entry: &[u8],
    width: usize,
    symbols: Option<usize>,
) -> Result<(), InspectError> {
    let offset = image.word(entry, 0).unwrap_or_default();
    let info = image.word(entry, width).unwrap_or_default();
    let (symbol, kind) =
        if image.is_wide() { (info >> 32, info & 0xffff_ffff) } else { (info >> 8, info & 0xff) };
    // Kind 0 is "nothing to do" on every machine.
    if kind != 0 && !image.is_mapped(offset, 1) {
        return Err(InspectError::Damaged { what: "a relocation is outside its segments" });
    }
    if symbols.is_some_and(|count| symbol >= count as u64) && symbol != 0 {
        return Err(InspectError::Damaged { what: "a relocation names a symbol that does not exist" });
    }
    Ok(())
}
