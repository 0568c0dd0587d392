//! The file as it will lie in memory: addresses to bytes, nothing outside the file.

use super::InspectError;

/// The most loadable segments; libraries have four to eight.
const MAX_LOADS: usize = 64;

/// One segment.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) address: u64,
    pub(super) memory: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) executable: bool,
}

impl Load {
    fn holds(&self, address: u64, size: u64) -> bool {
        within(address, size, self.address, self.memory)
    }
}

/// All loadable segments, each of them proven to lie inside the file.
pub(super) struct Image<'a> {
    bytes: &'a [u8],
    little_endian: bool,
    wide: bool,
    loads: Vec<Load>,
}

impl<'a> Image<'a> {
    pub(super) fn new(
        bytes: &'a [u8],
        little_endian: bool,
        wide: bool,
        loads: impl Iterator<Item = Load>,
    ) -> Result<Self, InspectError> {
        let loads: Vec<Load> = loads.take(MAX_LOADS + 1).collect();
        let damaged = |what| Err(InspectError::Damaged { what });
        if loads.is_empty() || loads.len() > MAX_LOADS {
            return damaged("it has no segments to load, or too many");
        }
        let mut free_from = 0;
        for load in &loads {
            let needed = load.offset.saturating_add(load.len);
            if needed > bytes.len() as u64 {
                let len = bytes.len() as u64;
                return Err(InspectError::Truncated { part: "a segment", needed, len });
            }
            if load.len > load.memory {
                return damaged("a segment is larger in the file than in memory");
            }
            // The linker maps the segments into one reservation, from the first to the last.
            if load.address < free_from {
                return damaged("its segments overlap or are out of order");
            }
            match load.address.checked_add(load.memory) {
                Some(end) => free_from = end,
                None => return damaged("a segment ends outside the address space"),
            }
        }
        Ok(Self { bytes, little_endian, wide, loads })
    }

    pub(super) fn is_little_endian(&self) -> bool {
        self.little_endian
    }

    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// The bytes from an address to the end of what the file has of its segment.
    pub(super) fn from(&self, address: u64) -> Option<&'a [u8]> {
        let load = self.loads.iter().find(|load| within(address, 1, load.address, load.len))?;
        let start = usize::try_from(load.offset + (address - load.address)).ok()?;
        let end = usize::try_from(load.offset + load.len).ok()?;
        self.bytes.get(start..end)
    }

    /// Exactly `size` bytes at an address.
    pub(super) fn range(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        if size == 0 {
            return Some(&[]);
        }
        self.from(address)?.get(..usize::try_from(size).ok()?)
    }

    /// Whether all of a range of addresses will be memory of the library.
    pub(super) fn is_mapped(&self, address: u64, size: u64) -> bool {
        self.loads.iter().any(|load| load.holds(address, size))
    }

    pub(super) fn is_code(&self, address: u64) -> bool {
        self.loads.iter().any(|load| load.executable && load.holds(address, 1))
    }

    pub(super) fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(if self.little_endian { u16::from_le_bytes(*word) } else { u16::from_be_bytes(*word) })
    }

    pub(super) fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(if self.little_endian { u32::from_le_bytes(*word) } else { u32::from_be_bytes(*word) })
    }

    /// A word of the file's own size, 4 or 8 bytes.
    pub(super) fn word(&self, bytes: &[u8], at: usize) -> Option<u64> {
        if !self.wide {
            return self.u32(bytes, at).map(u64::from);
        }
        let word = bytes.get(at..)?.first_chunk()?;
        Some(if self.little_endian { u64::from_le_bytes(*word) } else { u64::from_be_bytes(*word) })
    }
}

fn within(address: u64, size: u64, start: u64, len: u64) -> bool {
    address >= start && address.checked_add(size).is_some_and(|end| end - start <= len)
}
