//! What is told of references from outside, and what never is.

use keyway_tests::cli::MASTER_KEY;
use mock_openai::Options;
use serde_json::Value;

use crate::support::{NEW, OLD, Settings, Store, chat, status, until_state, upstream};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_and_json_tell_state_age_generation_source_and_last_error() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings { ttl_ms: 1000, ..Settings::default() });
    let serving = store.serve();
    store.fail("OPENAI_API_KEY", "THROTTLED");
    until_state(&serving, "OPENAI_API_KEY", "stale").await;
    let url = serving.url("/");
    let arguments = ["secret", "status", "--config", "config.yaml", "--url", &url];
    let ran = store.folder.run(&arguments).unwrap();
    ran.expect(0, &[]).unwrap();
    let text = ran.text();
    let heading: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["REFERENCE", "STATE", "AGE", "GENERATION", "FROM", "LAST", "ERROR"]);
    let row = text.lines().find(|line| line.contains("os.environ/OPENAI_API_KEY")).unwrap();
    for part in ["stale", " s ", "manager folder", "THROTTLED"] {
        assert!(row.contains(part), "{part} is not in {row}");
    }
    assert!(text.contains("os.environ/LITELLM_MASTER_KEY  fresh"), "{text}");
    let ran = store.folder.keyway(&arguments).unwrap().args(&["--json"]).run().unwrap();
    let json: Value = serde_json::from_str(&ran.text()).unwrap();
    let references = json["references"].as_array().unwrap();
    assert_eq!(references.len(), 2);
    assert!(references.iter().all(|reference| reference["generation"] == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_can_be_asked_for_while_the_manager_that_has_the_master_key_is_away() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings::default());
    store.set("LITELLM_MASTER_KEY", MASTER_KEY);
    let serving = store.serve();
    store.fail("LITELLM_MASTER_KEY", "UNAVAILABLE");
    let url = serving.url("");
    let arguments = ["secret", "status", "--config", "config.yaml", "--url", &url];
    store.folder.run(&arguments).unwrap().expect(1, &["UNAVAILABLE", "--key-stdin"]).unwrap();
    let keyway = store.folder.keyway(&arguments).unwrap().args(&["--key-stdin"]);
    let ran = keyway.input(format!("{MASTER_KEY}\n")).run().unwrap();
    ran.expect(0, &[]).unwrap();
    assert!(ran.text().contains("os.environ/LITELLM_MASTER_KEY"), "{}", ran.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_away_or_has_another_key_is_told() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings::default());
    let away = ["secret", "status", "--config", "config.yaml", "--url", "http://127.0.0.1:1"];
    store
        .folder
        .run(&away)
        .unwrap()
        .expect(1, &["cannot ask the gateway at http://127.0.0.1:1", "--url"])
        .unwrap();
    let serving = store.serve();
    let url = serving.url("");
    let other = store.folder.keyway(&["secret", "status", "--config", "config.yaml", "--url", &url]).unwrap();
    let ran = other.env("LITELLM_MASTER_KEY", "sk-test-another").run().unwrap();
    ran.expect(1, &["has another master key"]).unwrap();
    let nonsense = ["secret", "status", "--config", "config.yaml", "--url", "nonsense"];
    store.folder.run(&nonsense).unwrap().expect(1, &["not an http or https URL"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_in_the_status_or_the_log_through_rotation_outage_and_reload() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings { ttl_ms: 1000, ..Settings::default() });
    let serving = store.keyway().env("KEYWAY_LOG", "trace").serve().unwrap();
    let mut seen = String::new();
    store.set("OPENAI_API_KEY", NEW);
    seen += &status(&serving).await.to_string();
    assert_eq!(chat(&serving).await.status(), 200);
    store.fail("OPENAI_API_KEY", "UNAVAILABLE");
    until_state(&serving, "OPENAI_API_KEY", "stale").await;
    seen += &status(&serving).await.to_string();
    store.replace("config.yaml", "general_settings: [");
    serving.said("the configuration is not reloaded", 1).unwrap();
    seen += &status(&serving).await.to_string();
    let url = serving.url("");
    let arguments = ["secret", "status", "--config", "config.yaml", "--url", &url];
    store.configure(Settings::default());
    store.work_again("OPENAI_API_KEY");
    seen += &store.folder.run(&arguments).unwrap().all();
    serving.terminate().unwrap();
    seen += &serving.wait().unwrap().all();
    assert!(seen.contains("os.environ/OPENAI_API_KEY"));
    for value in [OLD, NEW, MASTER_KEY] {
        assert!(!seen.contains(value), "{value} was printed");
    }
}
