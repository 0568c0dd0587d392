//! Who could have changed a plugin's file, and which bytes it must have.

#![cfg(unix)]

use std::{fs, os::unix::fs::PermissionsExt as _};

use keyway_tests::cli::Folder;

use crate::support::{memory, memory_config};

const CHECK: [&str; 3] = ["config", "check", "config.yaml"];

/// Adds the line that an error gave, exactly as it was given, to the manager's entry.
fn add_line(folder: &Folder, stderr: &str) -> String {
    let start = stderr.find("sha256: [").unwrap_or_else(|| panic!("no line to add in {stderr}"));
    let line = stderr[start..].split_inclusive(']').next().unwrap();
    let config = fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    let unpinned = config.split_inclusive('\n').filter(|line| !line.trim().starts_with("sha256:"));
    let config =
        unpinned.collect::<String>().replace("    memory:\n", &format!("    memory:\n      {line}\n"));
    folder.write("config.yaml", config).unwrap();
    line.to_owned()
}

#[test]
fn a_file_that_others_can_change_is_refused_until_it_is_pinned_with_the_line_that_is_shown() {
    let folder = memory("");
    let library = folder.path().join("libkeyway_memory.so");
    fs::set_permissions(&library, fs::Permissions::from_mode(0o777)).unwrap();
    let ran = folder.run(&CHECK).unwrap();
    ran.expect(1, &["is not trusted", "\"memory\" of keyway.managers", "chmod"]).unwrap();
    add_line(&folder, &ran.stderr);
    folder.run(&CHECK).unwrap().expect(0, &["config.yaml is sound"]).unwrap();
}

#[test]
fn a_file_with_another_hash_is_refused_and_the_line_that_is_shown_accepts_both() {
    let folder = memory("");
    let wrong = format!("sha256: [\"{}\"]", "0".repeat(64));
    add_line(&folder, &wrong);
    let ran = folder.run(&CHECK).unwrap();
    ran.expect(1, &["which is not among the pins", "change the entry \"memory\""]).unwrap();
    let line = add_line(&folder, &ran.stderr[ran.stderr.find("change the entry").unwrap()..]);
    assert!(line.contains(&"0".repeat(64)), "{line}");
    folder.run(&CHECK).unwrap().expect(0, &["config.yaml is sound"]).unwrap();
}

#[test]
fn requiring_pins_refuses_a_file_without_one() {
    let folder = memory("");
    let config = memory_config("").replace("keyway:\n", "keyway:\n  trust: {require: pin}\n");
    folder.write("config.yaml", config).unwrap();
    let ran = folder.run(&CHECK).unwrap();
    ran.expect(1, &["is not pinned", "keyway.trust.require is pin"]).unwrap();
    add_line(&folder, &ran.stderr);
    folder.run(&CHECK).unwrap().expect(0, &["config.yaml is sound"]).unwrap();
}

#[test]
fn a_configuration_that_others_can_change_is_used_with_the_command_that_mends_it() {
    let folder = memory("");
    let config = folder.path().join("config.yaml");
    let ran = folder.run(&CHECK).unwrap();
    assert!(!ran.stderr.contains("could change"), "{}", ran.stderr);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let fix = format!("chmod go-w {}", config.display());
    let said = ["config.yaml: somebody else could change this file", "every user (mode 0666)", &fix];
    folder.run(&CHECK).unwrap().expect(0, &said).unwrap();
    let keyway = folder.keyway(&["--config", "config.yaml", "--port", "0"]).unwrap();
    keyway.serve().unwrap().said(&fix, 1).unwrap();
}

#[test]
fn what_keyway_writes_beside_a_plugin_is_warned_of_with_both_files() {
    let folder = memory("");
    let audited =
        |path: &str| memory_config("").replace("keyway:\n", &format!("keyway:\n  audit: {{path: {path}}}\n"));
    folder.write("config.yaml", audited("audit.log")).unwrap();
    let (log, library) = (folder.path().join("audit.log"), folder.path().join("libkeyway_memory.so"));
    let said = [
        "config.yaml:8:17: keyway.audit.path: the audit log",
        &format!("{} is in the folder of the plugin {}", log.display(), library.display()),
        "write `audit/audit.log`",
    ];
    folder.run(&CHECK).unwrap().expect(0, &said).unwrap();
    let keyway = folder.keyway(&["--config", "config.yaml", "--port", "0"]).unwrap();
    keyway.serve().unwrap().said(said[0], 1).unwrap();
    fs::create_dir(folder.path().join("audit")).unwrap();
    folder.write("config.yaml", audited("audit/audit.log")).unwrap();
    let ran = folder.run(&CHECK).unwrap();
    ran.expect(0, &["is sound"]).unwrap();
    assert!(!ran.stderr.contains("in the folder of the plugin"), "{}", ran.stderr);
}
