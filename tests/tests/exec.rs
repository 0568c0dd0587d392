//! `keyway exec` as a black box: a program gets secrets in its environment and takes the place of `keyway`.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    process::{Command, ExitStatus, Stdio},
};

use keyway_tests::{
    build::cargo_binary,
    canary::Canary,
    cli::{Folder, Keyway, Ran},
};
use rustix::process::{Pid, Signal, getuid, kill_process};

/// The memory plugin beside a configuration that uses it.
fn store(secrets: &str, settings: &str) -> Folder {
    let folder = Folder::new().unwrap();
    folder.plugin("keyway-plugin-memory").unwrap();
    let config = format!(
        "general_settings:\n  key_management_system: custom\n  key_management_settings:\n    \
         custom_secret_manager: memory\n{settings}keyway:\n  managers:\n    memory:\n      \
         plugin: keyway_memory.InMemorySecretManager\n      config: {{secrets: {secrets}}}\n"
    );
    folder.write("config.yaml", config).unwrap();
    folder
}

fn exec(folder: &Folder, options: &[&str], command: &[&str]) -> Keyway {
    let keyway = folder.keyway(&["exec", "--config", "config.yaml"]).unwrap();
    keyway.args(options).args(&["--"]).args(command)
}

/// Whatever is wrong, the program was not started, and no file was left behind.
fn refused(folder: &Folder, keyway: Keyway, code: i32, said: &[&str]) -> Ran {
    let ran = keyway.run().unwrap();
    ran.expect(code, said).unwrap();
    assert!(!folder.path().join("started").exists(), "the program was started");
    ran
}

const START: [&str; 3] = ["/bin/sh", "-c", "echo x > started"];

#[test]
fn references_and_named_secrets_reach_the_program_and_everything_else_is_as_it_was() {
    let canary = Canary::random();
    let secrets = serde_json::json!({"KEY": canary.value(), "OTHER": "of the store\n"}).to_string();
    let folder = store(&secrets, "");
    let before = fs::read_dir(folder.path()).unwrap().count();
    let script = r#"cat; printf '%s|%s|%s|%s|%s|%s' "$KEY" "$DIRECT" "$PLAIN" "$TOKEN" "$1" "$2"; exit 42"#;
    let ran =
        exec(&folder, &["--secret", "DIRECT=OTHER"], &["/bin/sh", "-c", script, "sh", "--config", "-x y"])
            .env("KEY", "os.environ/KEY")
            .env("DIRECT", "os.environ/NOT_ASKED_FOR")
            .env("PLAIN", "see os.environ/KEY")
            .env("TOKEN", "oidc/env/RAW")
            .env("RAW", "token")
            .env("KEYWAY_LOG", "trace")
            .input("input;")
            .run()
            .unwrap();
    let expected = format!("input;{}|of the store\n|see os.environ/KEY|token|--config|-x y", canary.value());
    assert_eq!((ran.code, ran.text()), (Some(42), expected), "{}", ran.stderr);
    assert_eq!(canary.found_in(&ran.stderr), None, "the log shows a secret");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before, "a file was written");
}

#[test]
fn the_environment_stands_in_where_the_manager_has_nothing() {
    let folder = store("{}", "");
    let print = ["/bin/sh", "-c", "printf %s \"$A\""];
    let ran = exec(&folder, &[], &print).env("A", "os.environ/B").env("B", "value").run().unwrap();
    assert_eq!((ran.code, ran.text().as_str()), (Some(0), "value"), "{}", ran.stderr);
}

#[test]
fn a_program_that_needs_nothing_starts_without_the_plugin() {
    let folder = store("{}", "");
    fs::remove_file(folder.path().join("libkeyway_memory.so")).unwrap();
    let ran = exec(&folder, &[], &["/bin/sh", "-c", "printf started"]).run().unwrap();
    assert_eq!((ran.code, ran.text().as_str()), (Some(0), "started"), "{}", ran.stderr);
}

#[test]
fn one_secret_that_is_missing_keeps_the_program_from_starting_and_every_failure_is_told() {
    let folder = store("{KEY: of-the-store}", "");
    let keyway =
        exec(&folder, &["-s", "A=GONE"], &START).env("KEY", "os.environ/KEY").env("B", "os.environ/B");
    let said = [
        "the program is not started, because 2 of 3 variables have no value:",
        "os.environ/B, which stands at the environment (B)",
        "environment variable B holds a reference, which is no value",
        "--secret A=GONE: manager memory answered NOT_FOUND for GONE; only the manager counts",
    ];
    let ran = refused(&folder, keyway, 1, &said);
    assert!(!ran.stderr.contains("of-the-store"), "{}", ran.stderr);
}

#[test]
fn a_named_secret_comes_from_the_manager_or_not_at_all() {
    let folder = store("{KEY: of-the-store}", "    hosted_keys: [KEY]\n");
    let keyway = exec(&folder, &["--secret", "A=B"], &START).env("B", "of-the-environment");
    let ran = refused(&folder, keyway, 1, &["--secret A=B", "the name is not in `hosted_keys`"]);
    assert!(!ran.stderr.contains("of-the-environment"), "{}", ran.stderr);
}

#[test]
fn a_value_with_a_nul_byte_and_one_that_is_too_large_are_refused() {
    let large = "x".repeat(200_000);
    let folder = store(&serde_json::json!({"NUL": "a\0b", "LARGE": large}).to_string(), "");
    let nul = exec(&folder, &["-s", "A=NUL"], &START);
    refused(&folder, nul, 1, &["the value of NUL holds a NUL byte", "A cannot be set"]);
    let large = exec(&folder, &["-s", "A=LARGE"], &START);
    refused(&folder, large, 1, &["cannot run /bin/sh", "more than the system passes on"]);
}

#[test]
fn wrong_usage_and_a_wrong_configuration_are_exit_code_2() {
    let folder = store("{}", "");
    let none = folder.keyway(&["exec", "-c", "config.yaml", "--"]).unwrap();
    refused(&folder, none, 2, &["COMMAND"]);
    let twice = exec(&folder, &["-s", "A=B", "-s", "A=C"], &START);
    refused(&folder, twice, 2, &["--secret sets A twice"]);
    refused(&folder, exec(&folder, &["-s", "A"], &START), 2, &["VAR=NAME"]);
    let empty = exec(&folder, &[], &START).env("A", "os.environ/");
    refused(&folder, empty, 2, &["environment variable A is `os.environ/`, which names nothing"]);
    folder.write("config.yaml", "keyway: {nonsense: 1}\n").unwrap();
    refused(&folder, exec(&folder, &[], &START), 2, &["unknown key `nonsense`"]);
}

#[test]
fn a_program_that_is_not_there_or_no_program_is_told() {
    let folder = store("{}", "");
    for program in ["./nowhere", "./config.yaml"] {
        let ran = exec(&folder, &[], &[program]).run().unwrap();
        ran.expect(1, &[&format!("cannot run {program}; name a program")]).unwrap();
    }
}

#[test]
fn the_help_has_an_example() {
    let ran = Folder::new().unwrap().run(&["exec", "--help"]).unwrap();
    ran.expect(0, &[]).unwrap();
    assert!(ran.text().contains("keyway exec --config config.yaml --secret"), "{}", ran.text());
}

/// Starts a script that says when it is ready, does something to it, and gives its output and end.
fn while_it_runs(script: &str, act: impl FnOnce(Pid)) -> (u32, String, ExitStatus) {
    let folder = store("{KEY: of-the-store}", "");
    let mut child = Command::new(cargo_binary("keyway").unwrap())
        .args(["exec", "-c", "config.yaml", "-s", "KEY=KEY", "--", "/bin/sh", "-c", script])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    output.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    act(Pid::from_raw(child.id().cast_signed()).unwrap());
    // Whatever was sent has arrived when the script reads this line.
    let _ = child.stdin.take().unwrap().write_all(b"\n");
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (child.id(), text, child.wait().unwrap())
}

#[test]
fn the_program_takes_the_place_of_keyway_and_gets_every_signal() {
    let signals = [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
    ];
    for (signal, name) in signals {
        let script = format!("trap 'echo got {name}' {name}; echo ready; read line; echo $$ $KEY; exit 7");
        let (id, text, status) = while_it_runs(&script, |pid| kill_process(pid, signal).unwrap());
        assert_eq!(text, format!("got {name}\n{id} of-the-store\n"));
        assert_eq!(status.code(), Some(7));
    }
}

#[test]
fn a_signal_that_ends_the_program_is_seen_by_the_parent() {
    let (_, _, status) =
        while_it_runs("echo ready; read line; echo survived", |pid| kill_process(pid, Signal::TERM).unwrap());
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn what_the_parent_ignores_stays_ignored() {
    let folder = store("{KEY: of-the-store}", "");
    let script =
        "trap '' HUP; exec \"$0\" exec -c config.yaml -s KEY=KEY -- /bin/sh -c 'kill -HUP $$; echo alive'";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).arg(cargo_binary("keyway").unwrap()).current_dir(folder.path());
    let output = shell.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n");
}

#[test]
fn the_program_is_an_ordinary_process_again_for_its_user() {
    if !getuid().is_root() {
        println!("skipped: only root can run a program as another user");
        return;
    }
    let folder = store("{KEY: of-the-store}", "");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let keyway = folder.path().join("keyway");
    fs::copy(cargo_binary("keyway").unwrap(), &keyway).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&keyway);
    // What /proc has about a process that cannot be dumped belongs to root.
    let script = "stat -c %u /proc/$$/environ; echo $KEY";
    let ran = Keyway::from_command(command, folder.path())
        .args(&["exec", "-c", "config.yaml", "-s", "KEY=KEY", "--", "/bin/sh", "-c", script])
        .run()
        .unwrap();
    assert_eq!((ran.code, ran.text().as_str()), (Some(0), "65534\nof-the-store\n"), "{}", ran.stderr);
}
