use crate::loader::inspect::{InspectError, examine};

/// A library of one section that holds an export table, a manifest and a fingerprint, by hand.
fn library() -> Vec<u8> {
    const SECTION: usize = 0x200;
    const ADDRESS: u32 = 0x1000;
    let mut bytes = vec![0; 0x600];
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &1_u16.to_le_bytes());
    put(0x54, &0xf0_u16.to_le_bytes());
    put(0x56, &0x2022_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    put(0x58 + 108, &16_u32.to_le_bytes());
    put(0x58 + 112, &ADDRESS.to_le_bytes());
    put(0x58 + 116, &0x100_u32.to_le_bytes());
    let header = 0x58 + 0xf0;
    put(header, b".keyway\0");
    put(header + 8, &0x400_u32.to_le_bytes());
    put(header + 12, &ADDRESS.to_le_bytes());
    put(header + 16, &0x400_u32.to_le_bytes());
    put(header + 20, &(SECTION as u32).to_le_bytes());
    put(header + 36, &0x6000_0020_u32.to_le_bytes());
    let export = |at: usize, value: u32| (SECTION + at, value.to_le_bytes());
    for (at, value) in [
        export(16, 1),
        export(20, 1),
        export(24, 1),
        export(28, ADDRESS + 0x28),
        export(32, ADDRESS + 0x2c),
        export(36, ADDRESS + 0x30),
        export(0x28, ADDRESS + 0x200),
        export(0x2c, ADDRESS + 0x40),
    ] {
        put(at, &value);
    }
    put(SECTION + 0x40, b"keyway_plugin_entry_v1\0");
    bytes
}

#[test]
fn a_windows_library_is_read_on_every_system() {
    let found = examine(&library()).unwrap();
    assert_eq!((found.architecture.as_str(), found.entry_majors.as_slice()), ("x86_64", [1].as_slice()));
    assert!(found.entry_is_function);
    assert!(found.manifest_fault.is_some(), "its section holds no manifest");
    if cfg!(target_os = "linux") {
        let fault = found.check_loadable().unwrap_err().to_string();
        assert_eq!(fault, "is a Windows library (PE), this host needs a Linux library (ELF)");
    }
}

#[test]
fn no_cut_and_no_flip_panics() {
    let mut bytes = library();
    for len in 2..bytes.len() {
        assert!(examine(&bytes[..len]).is_err(), "{len}");
    }
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = examine(&bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes[0x57] = 0;
    assert_eq!(examine(&bytes).unwrap_err(), InspectError::Executable);
}
