//! What bad configurations get: a sentence to act on, and exit code 2.

use keyway_tests::cli::Folder;

use crate::support::{memory, memory_config, refused};

const MASTER: &str = "general_settings:\n  master_key: os.environ/LITELLM_MASTER_KEY\n";

#[test]
fn yaml_that_does_not_parse_is_placed_by_line_and_column() {
    let ran = refused("model_list:\n  - model_name: [a\n    b: c\n");
    ran.expect(2, &["error: config.yaml:3:", "this is not valid YAML"]).unwrap();
}

#[test]
fn a_wrong_type_names_setting_expected_and_found() {
    let ran = refused(&format!(
        "{MASTER}model_list:\n  - model_name: 7\n    litellm_params: {{model: openai/x}}\n"
    ));
    ran.expect(2, &["config.yaml:4:17: model_list[0].model_name: expected text, found a number"]).unwrap();
}

#[test]
fn an_unknown_key_of_our_own_section_gets_the_nearest_known_one() {
    let ran = refused(&format!("{MASTER}keyway:\n  plugin_dir: [x]\n"));
    ran.expect(2, &["config.yaml:4:3: keyway: unknown key `plugin_dir`; did you mean `plugin_dirs`?"])
        .unwrap();
}

#[test]
fn isolation_in_a_process_is_refused_until_it_exists() {
    let ran = refused(&format!("{MASTER}keyway:\n  managers:\n    m: {{plugin: a.B, isolation: process}}\n"));
    ran.expect(2, &["keyway.managers.m.isolation", "not available in this version", "`in_process`"]).unwrap();
}

#[test]
fn a_gateway_without_a_master_key_does_not_start() {
    let ran = refused("model_list: []\n");
    ran.expect(2, &["general_settings.master_key", "open to everybody", "LITELLM_MASTER_KEY"]).unwrap();
}

#[test]
fn storing_virtual_keys_in_a_read_only_manager_is_refused_with_the_fix() {
    let ran = refused(&memory_config("    store_virtual_keys: true"));
    ran.expect(2, &["store_virtual_keys", "`read_only`", "set `access_mode: read_and_write`"]).unwrap();
}

#[test]
fn a_missing_file_and_an_empty_one_are_told_apart() {
    let folder = Folder::new().unwrap();
    let serve = ["--config", "config.yaml"];
    folder
        .run(&serve)
        .unwrap()
        .expect(2, &["cannot read the configuration file config.yaml", "--config"])
        .unwrap();
    folder.write("config.yaml", "# nothing\n").unwrap();
    folder.run(&serve).unwrap().expect(2, &["config.yaml is empty"]).unwrap();
}

#[test]
fn settings_of_litellm_that_are_unknown_here_are_tolerated() {
    let folder = memory("    key_of_a_later_version: 1");
    let config = format!(
        "{}litellm_settings: {{drop_params: true, callbacks: [otel]}}\nlater_section: {{a: b}}\n",
        memory_config("    hosted_key: [x]\n    key_of_a_later_version: 1")
    );
    folder.write("config.yaml", config).unwrap();
    let ran = folder.run(&["config", "check", "config.yaml"]).unwrap();
    ran.expect(0, &["did you mean `hosted_keys`?", "key_of_a_later_version"]).unwrap();
}

#[test]
fn a_strict_configuration_refuses_what_is_unknown() {
    let config =
        memory_config("    hosted_key: [x]").replace("keyway:\n", "keyway:\n  strict_config: true\n");
    let ran = refused(&config);
    ran.expect(2, &["config.yaml:6:5:", "unknown key `hosted_key`; did you mean `hosted_keys`?"]).unwrap();
}

#[test]
fn another_secret_manager_system_is_refused_with_what_to_use_instead() {
    let ran = refused(&format!("{MASTER}  key_management_system: hashicorp_vault\n"));
    ran.expect(2, &["HashiCorp Vault", "key_management_system: custom"]).unwrap();
}
