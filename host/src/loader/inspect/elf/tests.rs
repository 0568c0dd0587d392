use std::{fs, time::Instant};

use super::super::{InspectError, Inspection, examine, glibc::libc_path, loaded_glibc};
use crate::loader::testing::{PLUGIN, compile, plugin};

fn refusal(bytes: &[u8]) -> InspectError {
    examine(bytes).and_then(|found| found.check_loadable()).unwrap_err()
}

fn found(bytes: &[u8]) -> Inspection {
    examine(bytes).unwrap()
}

fn replaced(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = plugin().to_vec();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn a_good_plugin_is_loadable_and_all_it_says_is_read() {
    let found = found(plugin());
    found.check_loadable().unwrap();
    assert_eq!(found.architecture, std::env::consts::ARCH);
    assert_eq!(found.entry_majors, [1]);
    assert_eq!(found.fingerprint.as_deref(), Some([0x4B57_5946, 4, 11, 12].as_slice()));
    let manifest = found.manifest.unwrap();
    assert_eq!((manifest.id.as_str(), manifest.abi), ("test-plugin", (1, 0)));
    assert_eq!(manifest.managers, ["A", "B"]);
    assert!(!found.is_go && !found.executable_stack && found.musl.is_none());
}

#[test]
fn without_section_headers_the_entry_is_still_found() {
    let mut bytes = plugin().to_vec();
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    let found = found(&bytes);
    found.check_loadable().unwrap();
    assert_eq!(found.manifest, None);
}

#[test]
fn every_cut_is_called_a_truncation_or_damage() {
    let bytes = plugin();
    for len in (4..bytes.len()).step_by(7) {
        let fault = refusal(&bytes[..len]);
        assert!(matches!(fault, InspectError::Truncated { .. }), "{len}: {fault}");
    }
    let fault = refusal(&bytes[..bytes.len() - 1]).to_string();
    assert!(fault.starts_with("is truncated: its section header table ends at byte"), "{fault}");
    assert_eq!(refusal(&bytes[..0]), InspectError::Empty);
}

#[test]
fn no_bit_flip_panics_or_takes_long() {
    let start = Instant::now();
    let mut bytes = plugin().to_vec();
    for bit in 0..bytes.len() * 8 {
        // All of the headers and tables in front, a sample of the rest.
        if bit > 0x1000 * 8 && bit % 13 != 0 {
            continue;
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(found) = examine(&bytes) {
            let _ = found.check_loadable();
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    found(&bytes).check_loadable().unwrap();
}

#[test]
fn the_c_library_itself_survives_cuts_and_flips_and_is_no_plugin() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let Some(path) = libc_path(&maps) else {
        eprintln!("skipped: this process has no glibc");
        return;
    };
    let mut bytes = fs::read(path).unwrap();
    assert_eq!(refusal(&bytes), InspectError::NoEntry);
    for len in (1..bytes.len()).step_by(bytes.len() / 97) {
        assert!(examine(&bytes[..len]).is_err(), "{len}");
    }
    let (mut state, len) = (0x9E37_79B9_7F4A_7C15_u64, bytes.len());
    for round in 0..400 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let area = if round % 2 == 0 { 0x2000 } else { len };
        let at = (state >> 20) as usize % area;
        let old = std::mem::replace(&mut bytes[at], (state >> 56) as u8);
        let _ = examine(&bytes);
        bytes[at] = old;
    }
}

#[test]
fn another_machine_is_named() {
    let mut bytes = plugin().to_vec();
    let other: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    bytes[0x12..0x14].copy_from_slice(&other.to_le_bytes());
    let name = if other == 62 { "x86_64" } else { "aarch64" };
    let expected = format!("is built for {name}, this host is {}", std::env::consts::ARCH);
    assert_eq!(refusal(&bytes).to_string(), expected);
}

#[test]
fn an_executable_stack_is_refused_and_so_is_silence_about_it() {
    assert_eq!(refusal(&compile(PLUGIN, &["-z", "execstack"])), InspectError::ExecutableStack);
    let silent = replaced(&0x6474_e551_u32.to_le_bytes(), &0x6fff_fff0_u32.to_le_bytes());
    assert_eq!(refusal(&silent), InspectError::ExecutableStack);
}

#[test]
fn a_search_path_is_refused_and_shown() {
    let expected = |tag| InspectError::SearchPath { tag, path: "$ORIGIN/\\u{1b}[2J".to_owned() };
    let flag = "-Wl,-rpath,$ORIGIN/\u{1b}[2J";
    assert_eq!(refusal(&compile(PLUGIN, &[flag, "-Wl,--enable-new-dtags"])), expected("RUNPATH"));
    assert_eq!(refusal(&compile(PLUGIN, &[flag, "-Wl,--disable-new-dtags"])), expected("RPATH"));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn relocations_in_code_are_refused() {
    let source =
        format!("{PLUGIN}\n__asm__(\".text\\n.globl in_code\\nin_code: .quad keyway_plugin_entry_v1\\n\");");
    assert_eq!(refusal(&compile(&source, &["-Wl,-z,notext"])), InspectError::TextRelocations);
}

#[test]
fn an_auditing_library_is_refused() {
    assert_eq!(refusal(&compile(PLUGIN, &["-Wl,--audit,libspy.so"])), InspectError::Audit);
}

#[test]
fn a_library_that_stands_for_another_is_refused() {
    let expected = |tag| InspectError::Filter { tag, library: "libspy.so".to_owned() };
    assert_eq!(refusal(&compile(PLUGIN, &["-Wl,--filter,libspy.so"])), expected("FILTER"));
    assert_eq!(refusal(&compile(PLUGIN, &["-Wl,--auxiliary,libspy.so"])), expected("AUXILIARY"));
}

#[test]
fn a_library_that_is_needed_by_a_path_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let needed = dir.path().join("libneeded.so");
    fs::write(&needed, compile("int needed(void) { return 0; }", &["-Wl,-soname,./libneeded.so"])).unwrap();
    let source = format!("{PLUGIN}\nint needed(void); int use(void) {{ return needed(); }}");
    let refused = refusal(&compile(&source, &[needed.to_str().unwrap()]));
    assert_eq!(refused, InspectError::NeededPath { library: "./libneeded.so".to_owned() });
}

#[test]
fn program_headers_that_must_be_alone_are_refused_when_they_are_not() {
    for single in [2_u32, 0x6474_e551] {
        // That of the unwinding table, which does not matter here, becomes a second one.
        let doubled = replaced(&0x6474_e550_u32.to_le_bytes(), &single.to_le_bytes());
        assert_eq!(refusal(&doubled), InspectError::Damaged { what: "it has a program header twice" });
    }
}

#[test]
fn the_entry_must_be_an_exported_function_of_this_major() {
    assert_eq!(refusal(&compile("int other(void) { return 1; }", &[])), InspectError::NoEntry);
    let hidden =
        PLUGIN.replace("const void *keyway", "__attribute__((visibility(\"hidden\"))) const void *keyway");
    assert_eq!(refusal(&compile(&hidden, &[])), InspectError::NoEntry);
    let fault = refusal(&compile(&PLUGIN.replace("entry_v1", "entry_v2"), &[]));
    assert!(fault.to_string().starts_with("speaks ABI major 2, this host speaks 1"), "{fault}");
    assert_eq!(refusal(&compile("int keyway_plugin_entry_v1 = 3;", &[])), InspectError::EntryNotAFunction);
    let both = format!("{PLUGIN}\nvoid keyway_plugin_entry_v2(void) {{}}");
    let found = found(&compile(&both, &[]));
    assert_eq!(found.entry_majors, [1, 2]);
    found.check_loadable().unwrap();
}

#[test]
fn a_newer_c_library_is_asked_for_by_its_version() {
    let available = loaded_glibc().unwrap();
    let source = format!("{PLUGIN}\n#include <stdlib.h>\nchar *use(const char *a) {{ return getenv(a); }}");
    let mut bytes = compile(&source, &[]);
    let whole = found(&bytes);
    assert_eq!(whole.needed, ["libc.so.6"]);
    let old = whole.glibc.unwrap();
    assert!(old <= available);
    let name = b"\0GLIBC_2.2.5\0";
    let Some(at) = bytes.windows(name.len()).position(|window| window == name) else {
        eprintln!("skipped: this machine's oldest version is not GLIBC_2.2.5");
        return;
    };
    bytes[at..at + name.len()].copy_from_slice(b"\0GLIBC_2.999\0");
    assert_eq!(refusal(&bytes), InspectError::Glibc { needed: (2, 999), available });
}

#[test]
fn a_library_for_musl_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let soname = "-Wl,-soname,libc.musl-x86_64.so.1";
    let fake = dir.path().join("libfake.so");
    fs::write(&fake, compile("int musl(void) { return 0; }", &[soname])).unwrap();
    let source = format!("{PLUGIN}\nint musl(void); int use(void) {{ return musl(); }}");
    let bytes = compile(&source, &[fake.to_str().unwrap()]);
    assert_eq!(found(&bytes).musl.as_deref(), Some("libc.musl-x86_64.so.1"));
    if cfg!(target_env = "gnu") {
        assert!(matches!(refusal(&bytes), InspectError::Musl { .. }));
    }
}

#[test]
fn a_go_runtime_is_recognised_by_its_section_its_note_and_its_symbols() {
    let marks = [
        "__attribute__((section(\".go.buildinfo\"), used)) static char info[] = \"x\";",
        "__asm__(\".section .note.go.buildid,\\\"a\\\",@note\\n.long 4,4,4\\n.ascii \\\"Go\\\\0\\\\0idid\\\"\\n.text\");",
        "void _cgo_topofstack(void) {}",
    ];
    assert!(!found(plugin()).is_go);
    for mark in marks {
        let found = found(&compile(&format!("{PLUGIN}\n{mark}"), &[]));
        assert!(found.is_go, "{mark}");
        found.check_loadable().unwrap();
    }
}

#[test]
fn programs_and_object_files_are_called_what_they_are() {
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(refusal(&program), InspectError::Executable);
    assert_eq!(refusal(&compile(PLUGIN, &["-c", "-r"])), InspectError::ObjectFile);
    let mut fixed = plugin().to_vec();
    fixed[0x10] = 2;
    assert_eq!(refusal(&fixed), InspectError::Executable);
}

#[test]
fn a_broken_fingerprint_or_manifest_is_told() {
    let broken = PLUGIN.replace("0x4B575946u, 4u", "0x4B575946u, 4097u");
    assert!(matches!(refusal(&compile(&broken, &[])), InspectError::Fingerprint { .. }));
    let found = found(&compile(&PLUGIN.replace("abi=1.0", "abi=one"), &[]));
    assert!(found.manifest.is_none() && found.manifest_fault.is_some());
    found.check_loadable().unwrap();
}
