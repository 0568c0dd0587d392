//! Plugins that are not there, or are not what the configuration says.

use crate::support::{memory, memory_config, refused};

const SERVE: [&str; 4] = ["--config", "config.yaml", "--port", "0"];

#[test]
fn a_missing_library_lists_every_place_and_is_exit_code_2_everywhere() {
    let folder = memory("");
    let library = folder.path().join("libkeyway_memory.so");
    std::fs::remove_file(&library).unwrap();
    let config = memory_config("").replace("keyway:\n", "keyway:\n  plugin_dirs: [plugins]\n");
    folder.write("config.yaml", config).unwrap();
    let elsewhere = folder.path().join("plugins/keyway_memory.so");
    let said = [
        "keyway.managers.memory.plugin",
        library.to_str().unwrap(),
        elsewhere.to_str().unwrap(),
        "(missing)",
    ];
    for arguments in
        [&SERVE[..], &["config", "check", "config.yaml"], &["secret", "get", "X", "-c", "config.yaml"]]
    {
        folder.run(arguments).unwrap().expect(2, &said).unwrap();
    }
}

#[test]
fn python_source_beside_the_configuration_is_explained() {
    let folder = memory("");
    std::fs::remove_file(folder.path().join("libkeyway_memory.so")).unwrap();
    folder.write("keyway_memory.py", "class InMemorySecretManager: ...\n").unwrap();
    let ran = folder.run(&SERVE).unwrap();
    ran.expect(2, &["keyway_memory.py is Python source", "write the class as a plugin"]).unwrap();
}

#[test]
fn a_type_that_the_plugin_lacks_is_answered_with_those_it_has() {
    let folder = memory("");
    let config = memory_config("").replace("keyway_memory.InMemorySecretManager", "keyway_memory.Vault");
    folder.write("config.yaml", config).unwrap();
    let ran = folder.run(&SERVE).unwrap();
    ran.expect(2, &["offers no manager type Vault; it has: InMemorySecretManager"]).unwrap();
}

#[test]
fn a_setting_that_does_not_fit_the_plugin_is_told_in_its_words_without_the_value() {
    let folder = memory("");
    let config = memory_config("").replace("secrets:\n", "secret: example-canary\n        secrets:\n");
    folder.write("config.yaml", config).unwrap();
    let ran = folder.run(&SERVE).unwrap();
    ran.expect(2, &["keyway.managers.memory.plugin", "unknown field `secret`", "because: "]).unwrap();
    assert!(!ran.all().contains("example-canary"), "{}", ran.all());
}

#[test]
fn a_damaged_library_is_a_failure_and_not_a_fault_of_the_configuration() {
    let folder = memory("");
    let library = folder.path().join("libkeyway_memory.so");
    let bytes = std::fs::read(&library).unwrap();
    std::fs::write(&library, &bytes[..bytes.len() / 2]).unwrap();
    folder.run(&SERVE).unwrap().expect(1, &["is refused", "is truncated", "copy the plugin again"]).unwrap();
}

#[test]
fn a_name_that_is_neither_a_manager_nor_a_plugin_is_refused_with_the_nearest() {
    let config = memory_config("").replace("custom_secret_manager: memory", "custom_secret_manager: memroy");
    refused(&config)
        .expect(2, &["config.yaml:5:28", "`memroy` is neither", "did you mean `memory`?"])
        .unwrap();
}
