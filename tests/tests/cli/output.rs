//! Standard output whose reader is gone, and the log.

use keyway_tests::cli::Folder;

use crate::support::memory;

#[test]
fn a_reader_that_stops_early_is_no_failure() {
    let folder = memory("");
    let commands: [&[&str]; 5] = [
        &["completions", "bash"],
        &["config", "check", "config.yaml"],
        &["plugin", "list"],
        &["plugin", "inspect", "libkeyway_memory.so", "--json"],
        &["--help"],
    ];
    for command in commands {
        let ran = folder.keyway(command).unwrap().run_unread().unwrap();
        ran.expect(0, &[]).unwrap();
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn a_secret_that_nobody_read_is_a_failure() {
    let folder = memory("");
    let keyway = folder.keyway(&["secret", "get", "OPENAI_API_KEY", "-c", "config.yaml"]).unwrap();
    let ran = keyway.run_unread().unwrap();
    ran.expect(1, &["error: cannot write to standard output"]).unwrap();
    assert!(!ran.stderr.contains("cannot read"), "the manager did read it: {}", ran.stderr);
}

#[test]
fn a_log_in_json_is_one_object_a_line() {
    let folder = memory("");
    let keyway = folder.keyway(&["--config", "config.yaml", "--port", "0"]).unwrap();
    // Without the key it ends by itself, with an error that is no part of the log.
    let ran = keyway.env("KEYWAY_LOG_FORMAT", "json").without("LITELLM_MASTER_KEY").run().unwrap();
    ran.expect(1, &["error: "]).unwrap();
    let log: Vec<&str> = ran.stderr.lines().take_while(|line| !line.starts_with("error: ")).collect();
    assert!(!log.is_empty(), "{}", ran.stderr);
    for line in log {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["message"].is_string() && event["level"].is_string(), "{event}");
    }
}

#[test]
fn variables_of_the_log_that_are_not_understood_are_told_without_their_content() {
    let folder = Folder::new().unwrap();
    let keyway = folder.keyway(&["plugin", "list"]).unwrap();
    let ran =
        keyway.env("KEYWAY_LOG", "example=canary=x").env("KEYWAY_LOG_FORMAT", "xml-canary").run().unwrap();
    ran.expect(0, &["KEYWAY_LOG", "KEYWAY_LOG_FORMAT", "text, json"]).unwrap();
    assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
}
