//! Symbol versions: the newest glibc that a library needs, and the one that this process has.

use std::iter;

use object::elf;

use super::{Dynamic, Image};
use crate::loader::inspect::glibc::parse_glibc;

/// The most records that are read of one table, and of each record's own; libraries have about five.
const MAX_RECORDS: usize = 512;

/// The longest name of a version that is looked at.
const MAX_NAME: usize = 32;

/// A need that the linker does not insist on.
const WEAK: u16 = 2;

/// The newest glibc among the versions that a library needs.
pub(super) fn needed_glibc(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Option<(u32, u32)> {
    let table = image.from(dynamic.value(elf::DT_VERNEED)?)?;
    let needs = chain(image, table, 0, 12).map(|need| {
        let versions = need.saturating_add(image.u32(table, need + 8).unwrap_or_default() as usize);
        let count = image.u16(table, need + 2).unwrap_or_default();
        chain(image, table, versions, 12)
            .take(count.into())
            .filter(|version| image.u16(table, version + 4).is_some_and(|flags| flags & WEAK == 0))
            .filter_map(|version| parse_glibc(name(dynamic, image.u32(table, version + 8)?)))
    });
    needs.flatten().max()
}

/// The glibc of this process, by the file that it was loaded from; `None` where there is no glibc or it
/// cannot be told.
pub fn loaded_glibc() -> Option<(u32, u32)> {
    #[cfg(target_os = "linux")]
    {
        use std::{fs, sync::OnceLock};

        static LOADED: OnceLock<Option<(u32, u32)>> = OnceLock::new();
        *LOADED.get_or_init(|| {
            let maps = fs::read_to_string("/proc/self/maps").ok()?;
            defined_glibc(&fs::read(crate::loader::inspect::glibc::libc_path(&maps)?).ok()?)
        })
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The newest glibc that a C library says to be.
#[cfg(target_os = "linux")]
fn defined_glibc(bytes: &[u8]) -> Option<(u32, u32)> {
    use object::{
        Endianness,
        elf::{FileHeader32, FileHeader64},
    };

    if bytes.get(4) == Some(&2) {
        let file = super::File::<FileHeader64<Endianness>>::open(bytes).ok()?;
        newest_definition(&file.image, &file.dynamic)
    } else {
        let file = super::File::<FileHeader32<Endianness>>::open(bytes).ok()?;
        newest_definition(&file.image, &file.dynamic)
    }
}

#[cfg(target_os = "linux")]
fn newest_definition(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Option<(u32, u32)> {
    let table = image.from(dynamic.value(elf::DT_VERDEF)?)?;
    let names = chain(image, table, 0, 16).filter_map(|definition| {
        let record = definition.saturating_add(image.u32(table, definition + 12)? as usize);
        parse_glibc(name(dynamic, image.u32(table, record)?))
    });
    names.max()
}

fn name<'a>(dynamic: &Dynamic<'a>, offset: u32) -> &'a [u8] {
    let rest = dynamic.strings_from(offset.into());
    rest[..rest.len().min(MAX_NAME)].split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The offsets of records that each say, in the word at `next`, how far it is to the one behind them.
fn chain(image: &Image<'_>, table: &[u8], first: usize, next: usize) -> impl Iterator<Item = usize> {
    let follow = move |at: &usize| {
        let distance = image.u32(table, at.checked_add(next)?)? as usize;
        (distance != 0).then(|| at.checked_add(distance))?
    };
    iter::successors(Some(first), follow).take_while(|at| *at < table.len()).take(MAX_RECORDS)
}
