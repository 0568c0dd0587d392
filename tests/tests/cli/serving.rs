//! `keyway serve`: what is printed at the start, the port, and the end.

use std::net::TcpListener;

use keyway_tests::cli::{Folder, MASTER_KEY};

use crate::support::memory;

const SERVE: [&str; 6] = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"];

#[test]
fn a_port_in_use_is_told_before_a_plugin_runs() {
    let folder = memory("");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = folder.run(&["serve", "-c", "config.yaml", "--host", "127.0.0.1", "--port", &port]).unwrap();
    let said = format!(
        "cannot listen on 127.0.0.1:{port}; stop what has the port, or choose another one with --port"
    );
    ran.expect(1, &[&said]).unwrap();
    assert!(!ran.stderr.contains("libkeyway_memory"), "{}", ran.stderr);
}

#[test]
fn an_address_that_is_not_ours_is_refused() {
    let folder = memory("");
    let ran = folder.run(&["-c", "config.yaml", "--host", "192.0.2.1", "--port", "0"]).unwrap();
    ran.expect(1, &["cannot listen on 192.0.2.1:0; choose another address with --host"]).unwrap();
}

#[test]
fn both_spellings_of_detailed_debug_serve_and_a_stop_is_orderly() {
    let folder = memory("");
    for spelling in ["--detailed_debug", "--detailed-debug"] {
        let serving = folder.keyway(&SERVE).unwrap().args(&[spelling]).serve().unwrap();
        serving.terminate().unwrap();
        let ran = serving.wait().unwrap();
        let said = ["secret manager loaded", "layout=verified", "resolved", "from=manager memory", "stopped"];
        ran.expect(0, &said).unwrap();
        assert_eq!(ran.stderr.matches("stopping").count(), 1, "{}", ran.stderr);
        assert!(!ran.stderr.contains("example-key-of-the-store") && !ran.stderr.contains(MASTER_KEY));
    }
}

#[test]
fn a_configuration_without_a_plugin_serves_from_the_environment() {
    let folder = Folder::new().unwrap();
    let config = "general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}\nmodel_list: []\n";
    folder.write("config.yaml", config).unwrap();
    let serving = folder.keyway(&["serve"]).unwrap().args(&SERVE).serve().unwrap();
    serving.terminate().unwrap();
    let ran = serving.wait().unwrap();
    ran.expect(0, &["reference=\"os.environ/LITELLM_MASTER_KEY\" from=environment"]).unwrap();
    assert!(!ran.stderr.contains("secret manager loaded"), "{}", ran.stderr);
}
