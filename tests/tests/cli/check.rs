//! `keyway config check`.

use keyway_tests::cli::{Folder, MASTER_KEY};

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

/// A gateway of one model, without a secret manager.
fn plain(params: &str, more: &str) -> String {
    format!(
        "\
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
model_list:
  - model_name: gpt-4
    litellm_params:
{params}{more}"
    )
}

#[test]
fn what_serving_would_refuse_is_refused_at_the_same_place_and_with_the_same_words() {
    let good = "      model: openai/gpt-4\n      api_key: example\n";
    for (config, said) in [
        (
            plain("      api_key: example\n      model: foo/gpt-4\n", ""),
            "config.yaml:7:14: model_list[0].litellm_params.model is `foo/gpt-4`, which names no known provider",
        ),
        (
            plain("      model: openai/gpt-4\n", ""),
            "config.yaml:6:7: model_list[0].litellm_params.api_key is missing",
        ),
        (
            plain("      model: azure/gpt-4\n      api_key: example\n", ""),
            "config.yaml:6:7: model_list[0].litellm_params.api_base is missing",
        ),
        (
            plain(&format!("{good}      api_base: notaurl\n"), ""),
            "config.yaml:8:17: model_list[0].litellm_params.api_base ",
        ),
        (
            plain(&format!("{good}      extra_headers: {{\"a b\": c}}\n"), ""),
            "config.yaml:8:23: model_list[0].litellm_params: the header `a b` is not a header name",
        ),
        (
            plain(good, "router_settings:\n  fallbacks:\n    - gpt-4: [gpt-5]\n"),
            "config.yaml:10:15: router_settings.fallbacks[0].gpt-4 names `gpt-5`",
        ),
        (
            plain(good, "litellm_settings:\n  default_fallbacks: [gpt-5]\n"),
            "config.yaml:9:23: litellm_settings.default_fallbacks names `gpt-5`",
        ),
        (
            plain(good, "router_settings:\n  model_group_alias: {gpt-3.5: gpt-5}\n"),
            "config.yaml:9:32: router_settings.model_group_alias.\"gpt-3.5\" stands for `gpt-5`",
        ),
        (
            plain("      model: openai/gpt-4\n      api_key: |\n        example-canary\n", ""),
            "config.yaml:7:16: model_list[0].litellm_params.api_key: holds a line break",
        ),
    ] {
        let folder = Folder::new().unwrap();
        folder.write("config.yaml", config).unwrap();
        for arguments in [&CHECK[..], &["--config", "config.yaml", "--port", "0"]] {
            let ran = folder.run(arguments).unwrap();
            ran.expect(2, &[&format!("error: {said}")]).unwrap();
            assert!(!ran.all().contains("is sound") && !ran.all().contains("canary"), "{}", ran.all());
        }
    }
}

#[test]
fn what_is_wrong_in_the_file_is_found_before_a_plugin_is_loaded() {
    let folder = memory("");
    std::fs::remove_file(folder.path().join("libkeyway_memory.so")).unwrap();
    folder.write("config.yaml", memory_config("").replace("openai/gpt-4", "foo/gpt-4")).unwrap();
    folder.run(&CHECK).unwrap().expect(2, &["names no known provider"]).unwrap();
}

#[test]
fn warnings_have_the_form_of_errors_in_every_command() {
    let folder = memory("    hosted_key: []");
    let said = ["config.yaml:6:5: general_settings.key_management_settings.hosted_key: unknown key"];
    for arguments in [&CHECK[..], &["secret", "get", "OPENAI_API_KEY", "-c", "config.yaml"]] {
        folder.run(arguments).unwrap().expect(0, &said).unwrap();
    }
    let keyway = folder.keyway(&["--config", "config.yaml", "--port", "0"]).unwrap();
    keyway.serve().unwrap().said(said[0], 1).unwrap();
}

#[test]
fn a_configuration_without_a_model_is_served_with_a_warning() {
    let folder = Folder::new().unwrap();
    let config = "general_settings:\n  master_key: os.environ/LITELLM_MASTER_KEY\nmodel_list: []\n";
    folder.write("config.yaml", config).unwrap();
    let said = "config.yaml:3:1: model_list: there is no model";
    folder.run(&CHECK).unwrap().expect(0, &[said]).unwrap();
    let keyway = folder.keyway(&["--config", "config.yaml", "--port", "0"]).unwrap();
    keyway.serve().unwrap().said(said, 1).unwrap();
}
