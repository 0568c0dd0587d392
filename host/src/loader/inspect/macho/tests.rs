use crate::loader::inspect::{InspectError, examine};

const MANIFEST: &[u8] = b"keyway-manifest 1\nid=m\nversion=1\nabi=1.0\nmanagers=A\n";
const FINGERPRINT: [u32; 3] = [0x4B57_5946, 3, 7];

/// A library with one segment, one section and two symbols, by hand.
fn library() -> Vec<u8> {
    let mut bytes = Vec::new();
    let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_le_bytes());
    for value in [0xfeed_facf, 0x0100_000c, 0, 6, 2, 152 + 24, 0, 0] {
        word(&mut bytes, value);
    }
    for value in [0x19, 152] {
        word(&mut bytes, value);
    }
    bytes.extend(b"__DATA\0\0\0\0\0\0\0\0\0\0");
    for value in [0_u64, 0x400, 0, 0x400] {
        bytes.extend(value.to_le_bytes());
    }
    for value in [7, 5, 1, 0] {
        word(&mut bytes, value);
    }
    bytes.extend(b"__keyway\0\0\0\0\0\0\0\0__DATA\0\0\0\0\0\0\0\0\0\0");
    for value in [0x200_u64, MANIFEST.len() as u64] {
        bytes.extend(value.to_le_bytes());
    }
    for value in [0x200, 0, 0, 0, 0, 0, 0, 0, 2, 24, 0x300, 2, 0x340, 0x80] {
        word(&mut bytes, value);
    }
    bytes.resize(0x400, 0);
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    put(0x200, MANIFEST);
    for (at, word) in FINGERPRINT.into_iter().enumerate() {
        put(0x280 + at * 4, &word.to_le_bytes());
    }
    put(0x300, &[1, 0, 0, 0, 0x0f, 1, 0, 0, 0x10, 1]);
    put(0x310, &[0x20, 0, 0, 0, 0x0f, 1, 0, 0, 0x80, 2]);
    put(0x341, b"_keyway_plugin_entry_v1\0");
    put(0x360, b"_keyway_abi_fingerprint_v1\0");
    bytes
}

#[test]
fn a_macos_library_is_read_on_every_system() {
    let found = examine(&library()).unwrap();
    assert_eq!((found.architecture.as_str(), found.entry_majors.as_slice()), ("aarch64", [1].as_slice()));
    assert_eq!(found.fingerprint.as_deref(), Some(FINGERPRINT.as_slice()));
    assert_eq!(found.manifest.as_ref().unwrap().id, "m");
    if cfg!(target_os = "linux") {
        let fault = found.check_loadable().unwrap_err().to_string();
        assert_eq!(fault, "is a macOS library (Mach-O), this host needs a Linux library (ELF)");
    }
}

#[test]
fn no_cut_and_no_flip_panics() {
    let mut bytes = library();
    for len in 4..bytes.len() {
        assert!(examine(&bytes[..len]).is_err(), "{len}");
    }
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = examine(&bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_universal_library_is_refused_with_its_machines() {
    let mut bytes = vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 2];
    for cpu in [0x0100_0007_u32, 0x0100_000c] {
        bytes.extend(cpu.to_be_bytes());
        bytes.extend([0; 16]);
    }
    let expected = InspectError::Universal { architectures: "x86_64, aarch64".to_owned() };
    assert_eq!(examine(&bytes).unwrap_err(), expected);
}
