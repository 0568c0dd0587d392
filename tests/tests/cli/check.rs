//! `keyway config check`.

use keyway_tests::cli::MASTER_KEY;

use crate::support::{memory, memory_config};

const CHECK: [&str; 3] = ["config", "check", "config.yaml"];
const STORED: &str = "example-key-of-the-store";

#[test]
fn a_sound_configuration_lists_each_reference_with_its_source_and_place_and_no_value() {
    let folder = memory("");
    let ran = folder.run(&CHECK).unwrap();
    ran.expect(0, &["config.yaml is sound", "libkeyway_memory.so", "layout verified"]).unwrap();
    let text = ran.text();
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[0].starts_with("REFERENCE "), "{text}");
    assert!(
        rows[1].starts_with("os.environ/LITELLM_MASTER_KEY  environment, since the manager does not have it")
    );
    assert!(rows[1].ends_with("general_settings.master_key (line 2)"), "{text}");
    assert!(rows[2].starts_with("os.environ/OPENAI_API_KEY      manager memory "), "{text}");
    assert!(!ran.all().contains(STORED) && !ran.all().contains(MASTER_KEY), "{}", ran.all());
}

#[test]
fn a_reference_that_resolves_nowhere_is_told_with_its_place_and_every_answer() {
    let folder = memory("");
    folder
        .write("config.yaml", memory_config("").replace("os.environ/OPENAI_API_KEY", "os.environ/NOBODY"))
        .unwrap();
    let said = [
        "1 of 2 references cannot be resolved",
        "cannot resolve os.environ/NOBODY, which stands at config.yaml:19:16 (model_list[0].litellm_params.api_key)",
        "manager memory answered NOT_FOUND for NOBODY",
        "environment variable NOBODY is not set",
        "write NOBODY to the manager, or set the environment variable NOBODY",
    ];
    let ran = folder.run(&CHECK).unwrap();
    ran.expect(1, &said).unwrap();
    assert!(ran.text().contains("MISSING"), "{}", ran.text());
    let ran = folder.run(&["--config", "config.yaml", "--port", "0"]).unwrap();
    ran.expect(1, &said).unwrap();
    assert!(!ran.stderr.contains("serving address"), "{}", ran.stderr);
}

#[test]
fn names_that_are_not_hosted_come_from_the_environment_only() {
    let folder = memory("    hosted_keys: [OTHER]");
    let ran = folder.run(&CHECK).unwrap();
    ran.expect(1, &["the name is not in `hosted_keys`", "add OPENAI_API_KEY to `hosted_keys`"]).unwrap();
    let keyway = folder.keyway(&CHECK).unwrap();
    let ran = keyway.env("OPENAI_API_KEY", "example-of-the-environment").run().unwrap();
    ran.expect(0, &["is sound"]).unwrap();
    assert!(ran.text().contains("environment, since the name is not in `hosted_keys`"), "{}", ran.text());
}

#[test]
fn a_missing_master_key_makes_a_configuration_unsound() {
    let folder = memory("");
    let config = memory_config("").replace("  master_key: os.environ/LITELLM_MASTER_KEY\n", "");
    folder.write("config.yaml", config).unwrap();
    folder.run(&CHECK).unwrap().expect(2, &["has no general_settings.master_key"]).unwrap();
}

#[test]
fn a_master_key_that_resolves_nowhere_is_a_failure() {
    let keyway = memory("");
    let ran = keyway.keyway(&CHECK).unwrap().without("LITELLM_MASTER_KEY").run().unwrap();
    ran.expect(1, &["cannot resolve os.environ/LITELLM_MASTER_KEY"]).unwrap();
}
