//! `cargo run -p quickstart`.

#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use keyway_tests::{build::cargo_binary, cli::MASTER_KEY};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::PLUGIN_KEY;

fn quickstart(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_binary("quickstart").unwrap());
    command.args(arguments).env("LITELLM_MASTER_KEY", MASTER_KEY).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The folder that a run says it used.
fn folder(text: &str) -> &Path {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("folder ")).unwrap();
    Path::new(line.trim())
}

#[test]
fn once_shows_every_step_and_cleans_up() {
    let output = quickstart(&["--once", "--port", "0"]).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "config.yaml, libmy_secret_manager.so",
        "verified (fingerprint, abi_stable)",
        "sealed memory",
        "os.environ/OPENAI_API_KEY from manager my_secret_manager.InMemorySecretManager",
        "os.environ/LITELLM_MASTER_KEY from environment",
        "Hello from the mock upstream.",
        "equal to what the plugin holds yes",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(!text.contains(PLUGIN_KEY) && !text.contains(MASTER_KEY) && !text.contains('\x1b'), "{text}");
    assert!(!folder(&text).exists());
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = quickstart(&["--port", &port]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("cannot listen on port {port}; stop what has it")), "{said}");
}

#[test]
fn it_goes_on_serving_until_it_is_interrupted() {
    let mut child = quickstart(&["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen: Vec<String> = Vec::new();
    while seen.iter().filter(|line| line.contains("-d '{\"model\"")).count() < 2 {
        seen.push(lines.next().unwrap_or_else(|| panic!("it ended early:\n{}", seen.join("\n"))));
    }
    let seen = seen.join("\n");
    assert!(seen.contains("curl http://127.0.0.1:") && seen.contains("\"stream\": true"), "{seen}");
    assert!(seen.contains("Bearer $LITELLM_MASTER_KEY") && !seen.contains(MASTER_KEY), "{seen}");
    assert!(folder(&seen).exists());
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:#?}");
    assert!(rest.iter().any(|line| line.contains("Stopped")) && !folder(&seen).exists(), "{rest:#?}");
}
