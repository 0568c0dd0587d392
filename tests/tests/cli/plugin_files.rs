//! `keyway plugin list` and `keyway plugin inspect`.

use std::fs;

use keyway_tests::cli::{Folder, Ran};
use serde_json::Value;

/// A folder with a good library and with files that only look like one.
fn zoo() -> Folder {
    let folder = Folder::new().unwrap();
    let good = fs::read(folder.plugin("keyway-plugin-memory").unwrap()).unwrap();
    folder.write("libcut.so", &good[..good.len() / 2]).unwrap();
    folder.write("libtext.so", "hello\n").unwrap();
    folder.write("libempty.so", "").unwrap();
    let mut other = good;
    // The machine of an ELF header: AArch64, or x86-64 where that is what this host is.
    other[18] = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    folder.write("libother.so", other).unwrap();
    folder.write("readme.txt", "no library").unwrap();
    fs::create_dir(folder.path().join("libfolder.so")).unwrap();
    folder
}

fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error} in {}", ran.all()))
}

#[test]
fn a_listing_has_a_row_for_each_library_and_one_bad_file_hides_no_other() {
    let folder = zoo();
    let ran = folder.run(&["plugin", "list", "."]).unwrap();
    ran.expect(0, &[]).unwrap();
    let text = ran.text();
    let row = |file: &str| {
        text.lines().find(|line| line.starts_with(file)).unwrap_or_else(|| panic!("{file}:\n{text}"))
    };
    assert!(text.starts_with("FILE "), "{text}");
    assert!(row("./libkeyway_memory.so").contains("InMemorySecretManager"), "{text}");
    assert!(row("./libkeyway_memory.so").ends_with(" ok"), "{text}");
    for (file, why) in [
        ("./libcut.so", "is truncated"),
        ("./libtext.so", "is a text file"),
        ("./libempty.so", "is empty"),
        ("./libother.so", "is built for"),
        ("./libfolder.so", "is a folder, not a regular file"),
    ] {
        assert!(row(file).contains(why), "{why}: {text}");
    }
    assert_eq!(text.lines().count(), 7, "{text}");
}

#[test]
fn a_manifest_that_cannot_be_used_is_told_in_the_status() {
    let folder = Folder::new().unwrap();
    let path = folder.plugin("keyway-plugin-memory").unwrap();
    let mut library = fs::read(&path).unwrap();
    let magic = b"keyway-manifest 1\nid=";
    let at = library.windows(magic.len()).position(|window| window == magic).unwrap();
    library[at + magic.len() - 4] = b'?';
    fs::write(path, library).unwrap();
    let ran = folder.run(&["plugin", "list"]).unwrap();
    ran.expect(0, &[]).unwrap();
    assert!(ran.text().contains("ok, but its manifest is unusable: "), "{}", ran.text());
    let all = json(&folder.run(&["plugin", "list", "--json"]).unwrap());
    assert!(all[0]["loadable"] == true && all[0]["manifest_fault"].is_string(), "{all:#}");
}

#[test]
fn a_listing_in_json_is_complete() {
    let folder = zoo();
    let ran = folder.run(&["plugin", "list", ".", "--json"]).unwrap();
    ran.expect(0, &[]).unwrap();
    let all = json(&ran);
    let loadable: Vec<&Value> =
        all.as_array().unwrap().iter().filter(|file| file["loadable"] == true).collect();
    assert_eq!((all.as_array().unwrap().len(), loadable.len()), (6, 1), "{all:#}");
    assert_eq!(loadable[0]["manager_types"], serde_json::json!(["InMemorySecretManager"]));
    assert_eq!(loadable[0]["id"], "keyway-plugin-memory");
    assert!(
        all.as_array().unwrap().iter().all(|file| file["loadable"] == true || file["refusal"].is_string())
    );
}

#[test]
fn an_empty_folder_and_a_missing_one_are_told_apart() {
    let folder = Folder::new().unwrap();
    let ran = folder.run(&["plugin", "list"]).unwrap();
    ran.expect(0, &["no libraries in ."]).unwrap();
    assert!(ran.stdout.is_empty());
    assert_eq!(json(&folder.run(&["plugin", "list", "--json"]).unwrap()), serde_json::json!([]));
    folder
        .run(&["plugin", "list", "nowhere"])
        .unwrap()
        .expect(1, &["cannot list the folder nowhere"])
        .unwrap();
}

#[test]
fn inspecting_a_good_file_tells_who_made_it_and_how_to_pin_it() {
    let folder = zoo();
    let ran = folder.run(&["plugin", "inspect", "libkeyway_memory.so"]).unwrap();
    ran.expect(0, &[]).unwrap();
    let text = ran.text();
    for fact in [
        "keyway-plugin-memory",
        "manager types  InMemorySecretManager",
        "layout         verified",
        "sha256: [\"",
    ] {
        assert!(text.contains(fact), "{fact}:\n{text}");
    }
    let as_json = json(&folder.run(&["plugin", "inspect", "libkeyway_memory.so", "--json"]).unwrap());
    assert_eq!((&as_json["loadable"], &as_json["abi"]), (&Value::Bool(true), &Value::from("1.0")));
    assert!(text.contains(as_json["sha256"].as_str().unwrap()), "{text}");
}

#[test]
fn inspecting_a_bad_file_fails_with_the_reason_in_both_forms() {
    let folder = zoo();
    for file in ["libcut.so", "libtext.so", "libempty.so", "libother.so", "libfolder.so", "nobody.so"] {
        let ran = folder.run(&["plugin", "inspect", file]).unwrap();
        ran.expect(1, &["error: ", file]).unwrap();
        let ran = folder.run(&["plugin", "inspect", file, "--json"]).unwrap();
        ran.expect(1, &["error: ", file]).unwrap();
        assert_eq!(json(&ran)["loadable"], false);
    }
}
