//! A plugin that repeats secrets is not repeated.

use keyway_tests::cli::{Folder, MASTER_KEY};
use serde_json::Value;

const TOKEN: &str = "canary-token-\"of\"-the-plugin";
const WRITTEN: &str = "canary-\"value\"-that-is-written";

fn config(more: &str, name: &str) -> String {
    format!(
        "\
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  key_management_system: custom
  key_management_settings: {{custom_secret_manager: echo, access_mode: read_and_write}}
keyway:
  managers:
    echo:
      plugin: keyway_tests_scripted.Echo
      config: {{token: os.environ/ECHO_TOKEN{more}}}
model_list:
  - model_name: gpt-4
    litellm_params: {{model: openai/gpt-4, api_key: os.environ/{name}}}
"
    )
}

fn folder(more: &str, name: &str) -> Folder {
    let folder = Folder::new().unwrap();
    folder.plugin("keyway-tests-scripted").unwrap();
    folder.write("config.yaml", config(more, name)).unwrap();
    folder
}

/// Runs with everything in the log, and looks for the secrets.
fn run(folder: &Folder, arguments: &[&str], code: i32, said: &[&str]) {
    let keyway = folder.keyway(arguments).unwrap().env("ECHO_TOKEN", TOKEN).env("KEYWAY_LOG", "trace");
    let ran = keyway.input(WRITTEN).run().unwrap();
    ran.expect(code, said).unwrap();
    assert!(!ran.all().contains("canary"), "{}", ran.all());
}

#[test]
fn what_a_plugin_is_configured_with_is_taken_out_of_its_words() {
    let refused = folder(", refuse: true", "A");
    run(
        &refused,
        &["config", "check", "config.yaml"],
        2,
        &["logging in with [redacted]", "bad token [redacted]"],
    );
    let denied = folder("", "FAIL");
    run(&denied, &["config", "check", "config.yaml"], 1, &["[redacted] may not read this"]);
}

#[test]
fn what_is_written_is_taken_out_of_a_plugins_words_also_as_json() {
    let said =
        ["cannot store {\"value\": \"[redacted]\"} for [redacted]", "sending {\"value\": \"[redacted]\"}"];
    run(&folder("", "A"), &["secret", "set", "A", "-c", "config.yaml"], 1, &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_gateway_gets_the_class_of_a_plugins_error_and_not_its_words() {
    let folder = folder("", "A");
    let arguments = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"];
    let serving = folder.keyway(&arguments).unwrap().env("ECHO_TOKEN", TOKEN).serve().unwrap();
    folder.write("config.yaml", config(", refuse: true", "A")).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let reload = client.post(serving.url("/keyway/reload")).bearer_auth(MASTER_KEY).send().await.unwrap();
    assert_eq!(reload.status(), 422);
    let reload: Value = reload.json().await.unwrap();
    let reason = reload["reason"].as_str().unwrap();
    assert!(reason.ends_with("it answered INVALID_CONFIG; the log has its words"), "{reason}");
    let status = client.get(serving.url("/keyway/status")).bearer_auth(MASTER_KEY).send().await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!(status["last_reload"]["reason"], reason);
    folder.write("config.yaml", config("", "FAIL")).unwrap();
    let reload = client.post(serving.url("/keyway/reload")).bearer_auth(MASTER_KEY).send().await.unwrap();
    let reason = reload.text().await.unwrap();
    assert!(
        reason.contains("failed with DENIED for FAIL") && !reason.contains("the server said"),
        "{reason}"
    );
    serving.terminate().unwrap();
    let ran = serving.wait().unwrap();
    assert!(ran.stderr.contains("bad token [redacted]") && !ran.stderr.contains("canary"), "{}", ran.stderr);
}
