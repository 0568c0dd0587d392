//! Libraries whose table is not what the header asks for, or whose structs are laid out differently.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{fs, path::PathBuf};

use keyway_plugin_api::{
    SecretManager,
    abi::{FINGERPRINT_MAGIC, FINGERPRINT_WORDS},
};
use keyway_tests::{
    build,
    misbehaving::{VALUE, read},
    plugin,
};

/// What is written for a file that is refused, which must never be a plugin's fault to the host's harm.
async fn refused(name: &str, macros: &[&str]) -> String {
    let library = build::faulty_table(name, macros).unwrap();
    plugin::refusal(plugin::spec(name, &library)).await.unwrap()
}

#[tokio::test]
async fn a_right_table_is_taken_and_a_newer_minor_as_well() {
    for (name, macros) in [
        ("right", &[][..]),
        ("newer_minor", &["-DMINOR=7"]),
        ("larger", &["-DPLUGIN_SIZE=999", "-DMANAGER_SIZE=999"]),
    ] {
        let library = build::faulty_table(name, macros).unwrap();
        let (manager, report) = plugin::load(plugin::spec(name, &library)).await.unwrap();
        assert_eq!(read(&*manager, "any").await.unwrap().expose_bytes(), VALUE);
        assert_eq!(report.abi, (1, if name == "newer_minor" { 7 } else { 0 }));
        assert_eq!(report.layout.to_string(), "verified (fingerprint)");
        assert_eq!(report.description, "not UTF-8: \u{fffd}");
    }
}

#[tokio::test]
async fn a_faulty_table_is_refused_with_what_is_wrong() {
    let cases: [(&str, &[&str], &str); 14] = [
        ("no_table", &["-DRETURNED=NULL"], "its entry function returned no table"),
        ("another_major", &["-DMAJOR=2"], "speaks version 2 of the plugin interface, this host speaks 1"),
        ("short_plugin", &["-DPLUGIN_SIZE=24"], "keyway_plugin_v1 has 24 bytes; version 1.0 has 80"),
        ("short_manager", &["-DMANAGER_SIZE=72"], "keyway_manager_v1 has 72 bytes; version 1.0 has 152"),
        ("no_managers", &["-DMANAGERS_LEN=0"], "it offers 0 manager types"),
        ("too_many_managers", &["-DMANAGERS_LEN=100000"], "it offers 100000 manager types"),
        ("null_managers", &["-DMANAGERS=NULL"], "its list of manager types is NULL"),
        ("null_manager", &["-DSECOND=NULL", "-DMANAGERS_LEN=2"], "manager type 1: it is NULL"),
        ("twice_the_same", &["-DMANAGERS_LEN=2"], "it offers the manager type Vault twice"),
        ("no_create", &["-DCREATE=NULL"], "Vault has no create"),
        ("no_destroy", &["-DDESTROY=NULL"], "Vault has no destroy"),
        ("no_read", &["-DREAD=NULL"], "Vault has no async_read_secret and sync_read_secret"),
        ("empty_name", &["-DNAME=\"\""], "its name \"\" is not made of letters"),
        ("bad_name", &["-DNAME=\"A.B\""], "its name \"A.B\" is not made of letters"),
    ];
    for (name, macros, expected) in cases {
        let text = refused(name, macros).await;
        assert!(text.contains(expected), "{name}: {text}");
        assert!(text.contains("keyway.managers.test.plugin") && text.contains(name), "{name}: {text}");
    }
}

/// The linker knows a copy by its descriptor's number, and the next copy could get the same one.
#[tokio::test]
async fn the_library_after_a_refused_one_is_not_taken_for_it() {
    for round in 0..3 {
        let (bad, good) = (format!("refused_{round}"), format!("after_{round}"));
        let bad = build::faulty_table(&bad, &["-DRETURNED=NULL", &format!("-DMINOR={round}")]).unwrap();
        let good = build::faulty_table(&good, &[&format!("-DMINOR=10{round}")]).unwrap();
        let first = plugin::refusal(plugin::spec("refused", &bad)).await.unwrap();
        assert_eq!(plugin::refusal(plugin::spec("refused", &bad)).await.unwrap(), first);
        let (_, report) = plugin::load(plugin::spec("after", &good)).await.unwrap();
        assert_eq!(report.abi, (1, 100 + round));
    }
}

#[tokio::test]
async fn of_two_manager_types_one_must_be_named() {
    let library = build::faulty_table("two", &["-DSECOND=&OTHER", "-DMANAGERS_LEN=2"]).unwrap();
    let text = plugin::refusal(plugin::spec("two", &library)).await.unwrap();
    assert!(text.contains("several manager types") && text.contains("libtwo.so:OtherVault"), "{text}");
    let text = plugin::refusal(plugin::spec_of("two", &library, "NoVault")).await.unwrap();
    assert!(text.contains("no manager type NoVault; it has: Vault, OtherVault"), "{text}");
    for type_name in ["Vault", "OtherVault"] {
        let (manager, report) = plugin::load(plugin::spec_of("two", &library, type_name)).await.unwrap();
        assert_eq!(report.type_name, type_name);
        assert_eq!(read(&*manager, "any").await.unwrap().expose_bytes(), VALUE);
    }
}

#[tokio::test]
async fn a_library_without_the_entry_or_with_that_of_another_major_is_refused_unopened() {
    let text = refused("other_entry", &["-DENTRY=some_function"]).await;
    assert!(text.contains("does not export the function keyway_plugin_entry_v1"), "{text}");
    let text = refused("entry_v2", &["-DENTRY=keyway_plugin_entry_v2"]).await;
    assert!(text.contains("speaks ABI major 2, this host speaks 1"), "{text}");
}

#[tokio::test]
async fn an_undefined_symbol_is_found_when_the_library_is_loaded() {
    let text = refused("undefined", &["-DUNDEFINED_SYMBOL"]).await;
    assert!(text.contains("the dynamic linker cannot load"), "{text}");
    assert!(text.contains("keyway_tests_nobody_defines_this"), "{text}");
}

#[tokio::test]
async fn what_would_weaken_the_process_is_refused() {
    let text = refused("stack", &["-Wl,-z,execstack"]).await;
    assert!(text.contains("executable stack"), "{text}");
    let text = refused("rpath", &["-Wl,-rpath,/opt/vendor/lib"]).await;
    assert!(text.contains("search path") && text.contains("/opt/vendor/lib"), "{text}");
}

#[tokio::test]
async fn a_plugin_that_tells_no_layout_is_loaded_as_unverified() {
    let library = build::faulty_table("unverified", &["-DNO_FINGERPRINT"]).unwrap();
    let (manager, report) = plugin::load(plugin::spec("unverified", &library)).await.unwrap();
    assert_eq!(report.layout.to_string(), "unverified");
    assert_eq!(read(&*manager, "any").await.unwrap().expose_bytes(), VALUE);
}

/// A copy of a good library in which one word of the fingerprint is another one.
fn with_fingerprint_word(name: &str, index: usize, word: u32) -> PathBuf {
    let good = build::faulty_table(name, &[]).unwrap();
    let mut bytes = fs::read(&good).unwrap();
    let head: Vec<u8> =
        [FINGERPRINT_MAGIC, FINGERPRINT_WORDS as u32].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let start = bytes.windows(8).position(|window| window == head).unwrap() + index * 4;
    bytes[start..start + 4].copy_from_slice(&word.to_ne_bytes());
    let bad = good.with_file_name(format!("lib{name}_other.so"));
    fs::write(&bad, bytes).unwrap();
    bad
}

#[tokio::test]
async fn another_fingerprint_is_refused_with_the_first_difference() {
    let cases = [
        (3, 24, "the size of keyway_str_v1 is 24 in the plugin and 16 in this host"),
        (7, 12, "the offset of keyway_str_v1.len is 12 in the plugin and 8 in this host"),
        (1, 400, "table of struct layouts"),
    ];
    for (index, word, expected) in cases {
        let library = with_fingerprint_word(&format!("layout_{index}"), index, word);
        let text = plugin::refusal(plugin::spec("layout", &library)).await.unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn another_root_module_of_abi_stable_is_refused_with_the_first_difference() {
    let library = build::cargo_library("keyway-tests-other-layout").unwrap();
    let text = plugin::refusal(plugin::spec("other-layout", &library)).await.unwrap();
    assert!(text.contains("another layout of the plugin interface"), "{text}");
    assert!(!text.contains('\n') && text.len() < 1000, "{text}");
    assert!(text.contains("mismatched package: Expected:") && text.contains("Found:"), "{text}");
    assert!(text.contains("keyway-tests-other-layout"), "{text}");
}

#[tokio::test]
async fn something_else_under_the_symbol_of_abi_stable_is_refused() {
    let text = refused("foreign_root", &["-DFOREIGN_ROOT_MODULE"]).await;
    assert!(text.contains("another layout of the plugin interface"), "{text}");
}

#[tokio::test]
async fn each_instance_of_a_shared_library_has_its_own_life() {
    let library = build::faulty_table("shared", &["-DMINOR=55"]).unwrap();
    let (first, _) = plugin::load(plugin::spec("first", &library)).await.unwrap();
    let (second, _) = plugin::load(plugin::spec("second", &library)).await.unwrap();
    first.shutdown().await;
    drop(first);
    assert_eq!(read(&*second, "any").await.unwrap().expose_bytes(), VALUE);
}
