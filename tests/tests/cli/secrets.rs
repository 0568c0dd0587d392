//! `keyway secret`.

use keyway_plugin_api::request::MAX_VALUE_LEN;
use keyway_tests::cli::Folder;

use crate::support::{memory, memory_config};

const WRITE: &str = "    access_mode: read_and_write";

#[test]
fn get_prints_the_bare_value_byte_for_byte() {
    let folder = memory("");
    let ran = folder.run(&["secret", "get", "OPENAI_API_KEY", "--config", "config.yaml"]).unwrap();
    assert_eq!(
        (ran.code, ran.stdout.as_slice(), ran.stderr.as_str()),
        (Some(0), &b"example-key-of-the-store"[..], "")
    );
    let ran = folder.run(&["secret", "get", "TWO_LINES", "-c", "config.yaml"]).unwrap();
    assert_eq!(ran.stdout, b"first\nsecond\n");
    let config = memory_config("").replace("first\\nsecond\\n", "\\0\\x01\\u00e9\\r\\n");
    folder.write("config.yaml", config).unwrap();
    let ran = folder.run(&["secret", "get", "TWO_LINES", "-c", "config.yaml"]).unwrap();
    assert_eq!(ran.stdout, [0, 1, 0xc3, 0xa9, b'\r', b'\n']);
}

#[test]
fn get_of_what_is_not_there_names_manager_and_secret() {
    let ran = memory("").run(&["secret", "get", "NOBODY", "-c", "config.yaml"]).unwrap();
    ran.expect(1, &["manager memory cannot read NOBODY", "because: ", "NOT_FOUND"]).unwrap();
    assert!(ran.stdout.is_empty());
}

#[test]
fn set_reads_standard_input_says_what_it_did_and_never_the_value() {
    let folder = memory(WRITE);
    let keyway = folder.keyway(&["secret", "set", "NEW", "-c", "config.yaml"]).unwrap();
    let ran = keyway.input("example-canary\n").run().unwrap();
    ran.expect(0, &["wrote NEW (version 1)"]).unwrap();
    assert!(!ran.all().contains("example-canary"), "{}", ran.all());
}

#[test]
fn set_takes_binary_values() {
    let folder = memory(WRITE);
    let keyway = folder.keyway(&["secret", "set", "NEW", "-c", "config.yaml"]).unwrap();
    keyway.input([0u8, 0xff, 0xfe, 10, 0]).run().unwrap().expect(0, &["wrote NEW"]).unwrap();
}

#[test]
fn a_value_on_the_command_line_is_wrong_usage() {
    let folder = memory(WRITE);
    for command in ["set", "rotate"] {
        let ran = folder.run(&["secret", command, "NEW", "example-value", "-c", "config.yaml"]).unwrap();
        ran.expect(2, &["unexpected argument", "Usage: keyway secret"]).unwrap();
    }
}

#[test]
fn no_value_and_one_that_is_too_large_are_refused() {
    let folder = memory(WRITE);
    let set = || folder.keyway(&["secret", "set", "NEW", "-c", "config.yaml"]).unwrap();
    set().run().unwrap().expect(2, &["standard input held no value"]).unwrap();
    set().input("\n").run().unwrap().expect(2, &["standard input held no value"]).unwrap();
    let large = vec![b'x'; MAX_VALUE_LEN + 1];
    set().input(large).run().unwrap().expect(2, &["larger than 16 MiB"]).unwrap();
}

#[test]
fn delete_and_rotate_say_what_they_did() {
    let folder = memory(WRITE);
    let ran = folder.run(&["secret", "delete", "TWO_LINES", "-c", "config.yaml"]).unwrap();
    ran.expect(0, &["deleted TWO_LINES"]).unwrap();
    let ran = folder.run(&["secret", "delete", "NOBODY", "-c", "config.yaml"]).unwrap();
    ran.expect(1, &["manager memory cannot delete NOBODY", "NOT_FOUND"]).unwrap();
    let rotate = |more: &[&str]| {
        let keyway = folder.keyway(&["secret", "rotate", "TWO_LINES", "-c", "config.yaml"]).unwrap();
        keyway.args(more).input("example-canary").run().unwrap()
    };
    rotate(&[]).expect(0, &["rotated TWO_LINES (version 2)"]).unwrap();
    rotate(&["--to", "THIRD"]).expect(0, &["rotated TWO_LINES, which is now THIRD (version 1)"]).unwrap();
    rotate(&["--to", "a\nb"]).expect(2, &["cannot be the name of a secret"]).unwrap();
}

#[test]
fn a_rotation_does_not_overwrite_another_secret_unless_it_is_told_to() {
    let folder = memory(WRITE);
    let rotate = |more: &[&str]| {
        let arguments = ["secret", "rotate", "TWO_LINES", "--to", "OPENAI_API_KEY", "-c", "config.yaml"];
        folder.keyway(&arguments).unwrap().args(more).input("example-canary").run().unwrap()
    };
    let said = [
        "TWO_LINES is not rotated to OPENAI_API_KEY, because manager memory has a secret of that name already",
        "--replace",
    ];
    rotate(&[]).expect(1, &said).unwrap();
    rotate(&["--replace"])
        .expect(0, &["rotated TWO_LINES, which is now OPENAI_API_KEY (version 2)"])
        .unwrap();
    // Whom values are given to is another matter than what a rotation looks at.
    for settings in
        ["    access_mode: write_only", "    access_mode: read_and_write\n    hosted_keys: [OTHER]"]
    {
        folder.write("config.yaml", memory_config(settings)).unwrap();
        rotate(&[]).expect(1, &said).unwrap();
    }
}

#[test]
fn a_rotation_that_stops_half_done_says_what_was_done() {
    let folder = memory(WRITE);
    folder.plugin("keyway-plugin-file").unwrap();
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    std::fs::write(store.join("real"), "old").unwrap();
    // A link is somebody else's to delete.
    std::os::unix::fs::symlink("real", store.join("OLD")).unwrap();
    let managers = format!(
        "  managers:\n    files: {{plugin: keyway_file.FileSecretManager, config: {{directory: {}}}}}\n",
        store.display()
    );
    let config = memory_config(WRITE)
        .replace("custom_secret_manager: memory", "custom_secret_manager: files")
        .replace("  managers:\n", &managers);
    folder.write("config.yaml", config).unwrap();
    let arguments = ["secret", "rotate", "OLD", "--to", "NEW", "-c", "config.yaml"];
    let ran = folder.keyway(&arguments).unwrap().input("example-canary").run().unwrap();
    let said = ["manager files cannot rotate OLD", "NEW holds the new value, but OLD could not be deleted"];
    ran.expect(1, &said).unwrap();
    assert_eq!(std::fs::read(store.join("NEW")).unwrap(), b"example-canary");
    let ran = folder.run(&["secret", "get", "NEW", "-c", "config.yaml"]).unwrap();
    assert_eq!(ran.text(), "example-canary");
}

#[test]
fn the_access_mode_is_kept_and_nothing_is_loaded_for_what_it_forbids() {
    let read_only = memory("");
    std::fs::remove_file(read_only.path().join("libkeyway_memory.so")).unwrap();
    for command in ["set", "delete", "rotate"] {
        let ran = read_only.run(&["secret", command, "NEW", "-c", "config.yaml"]).unwrap();
        ran.expect(2, &["access_mode", "because it is `read_only`", "`write_only` or `read_and_write`"])
            .unwrap();
    }
    let write_only = memory("    access_mode: write_only");
    let ran = write_only.run(&["secret", "get", "OPENAI_API_KEY", "-c", "config.yaml"]).unwrap();
    ran.expect(2, &["access_mode", "because it is `write_only`"]).unwrap();
    let keyway = write_only.keyway(&["secret", "set", "NEW", "-c", "config.yaml"]).unwrap();
    keyway.input("v").run().unwrap().expect(0, &["wrote NEW"]).unwrap();
}

#[test]
fn a_plugin_that_only_reads_says_so_when_it_is_written_to() {
    let folder = memory(WRITE);
    folder.plugin("my-secret-manager").unwrap();
    let config = memory_config(WRITE).replace(
        "custom_secret_manager: memory",
        "custom_secret_manager: my_secret_manager.InMemorySecretManager",
    );
    folder.write("config.yaml", config).unwrap();
    let keyway = folder.keyway(&["secret", "set", "NEW", "-c", "config.yaml"]).unwrap();
    let ran = keyway.input("example-canary").run().unwrap();
    let manager = "my_secret_manager.InMemorySecretManager";
    let why = format!("because: write operations are not implemented by {manager}, so it did not write NEW");
    ran.expect(1, &[&format!("manager {manager} cannot write NEW"), &why]).unwrap();
}

#[test]
fn a_configuration_without_a_manager_has_no_secrets_to_work_on() {
    let folder = memory("");
    folder.write("config.yaml", "general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}\n").unwrap();
    let ran = folder.run(&["secret", "get", "X", "-c", "config.yaml"]).unwrap();
    ran.expect(2, &["configures no secret manager", "key_management_system: custom"]).unwrap();
}

fn replicas() -> Folder {
    let folder = Folder::new().unwrap();
    folder.plugin("keyway-plugin-file").unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("us")).unwrap();
    std::fs::create_dir(at("eu")).unwrap();
    std::fs::write(at("keys.env"), "").unwrap();
    let (us, eu, env) = (at("us"), at("eu"), at("keys.env"));
    let config = format!(
        "\
general_settings:
  key_management_system: custom
  key_management_settings: {{custom_secret_manager: both, access_mode: read_and_write}}
keyway:
  managers:
    both: {{replicas: [us, eu], timeout: 2s}}
    mixed: {{replicas: [us, env]}}
    us: {{plugin: keyway_file.FileSecretManager, config: {{directory: {us:?}}}}}
    eu: {{plugin: keyway_file.FileSecretManager, config: {{directory: {eu:?}}}}}
    env: {{plugin: keyway_file.FileSecretManager, config: {{dotenv: {env:?}}}}}
"
    );
    folder.write("config.yaml", config).unwrap();
    folder
}

#[test]
fn a_change_that_a_replica_misses_fails_and_names_it() {
    let folder = replicas();
    let set = |value: &str| {
        folder.keyway(&["secret", "set", "KEY", "-c", "config.yaml"]).unwrap().input(value).run().unwrap()
    };
    set("example-old").expect(0, &["wrote KEY"]).unwrap();
    let (us, away) = (folder.path().join("us"), folder.path().join("away"));
    std::fs::rename(&us, &away).unwrap();
    let missed = ["wrote KEY", "the replica us of both missed the write of KEY (UNAVAILABLE)", "repeat it"];
    let ran = set("example-new");
    ran.expect(1, &missed).unwrap();
    assert!(!ran.all().contains("example-new"), "{}", ran.all());
    let delete = || folder.run(&["secret", "delete", "KEY", "-c", "config.yaml"]).unwrap();
    delete().expect(1, &["missed the delete of KEY"]).unwrap();

    std::fs::rename(&away, &us).unwrap();
    delete().expect(0, &["deleted KEY"]).unwrap();
    let ran = folder.run(&["secret", "get", "KEY", "-c", "config.yaml"]).unwrap();
    ran.expect(1, &["NOT_FOUND"]).unwrap();
}

#[test]
fn a_change_waits_for_a_replica_that_comes_back_in_time() {
    let folder = replicas();
    let (us, away) = (folder.path().join("us"), folder.path().join("away"));
    let config = std::fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    folder.write("config.yaml", config.replace("timeout: 2s", "timeout: 60s")).unwrap();
    std::fs::rename(&us, &away).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The other one has it, so this one has missed it.
            while !folder.path().join("eu/KEY").exists() {
                std::thread::yield_now();
            }
            std::fs::rename(&away, &us).unwrap();
        });
        let keyway = folder.keyway(&["secret", "set", "KEY", "-c", "config.yaml"]).unwrap();
        keyway.input("example").run().unwrap().expect(0, &["wrote KEY"]).unwrap();
    });
    assert_eq!(std::fs::read_to_string(us.join("KEY")).unwrap(), "example");
}

#[test]
fn a_replica_that_refuses_a_change_is_named_and_not_tried_again() {
    let folder = replicas();
    let config = std::fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    folder
        .write("config.yaml", config.replace("custom_secret_manager: both", "custom_secret_manager: mixed"))
        .unwrap();
    let keyway = folder.keyway(&["secret", "set", "KEY", "-c", "config.yaml"]).unwrap();
    let ran = keyway.input("example").run().unwrap();
    ran.expect(1, &["the replica env refused the write of KEY", "`replicas`", "UNSUPPORTED"]).unwrap();
    assert!(!ran.all().contains("missed"), "{}", ran.all());
    assert!(folder.path().join("us/KEY").exists());
}
