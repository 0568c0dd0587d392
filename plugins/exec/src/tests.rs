//! What the manager makes of programs, natively; the programs are shell scripts.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use keyway_plugin_api::{
    DeleteRequest, Error, ErrorKind, ListRequest, ManagerType, ReadRequest, Result, SecretManager,
    WriteRequest,
};
use tempfile::TempDir;

use crate::{Config, ExecSecretManager, NotFound, Protocol};

struct Provider {
    folder: TempDir,
}

impl Provider {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("provider");
        // Written by another process: a thread that forks meanwhile would keep the file open to write, and running
        // it would fail with ETXTBSY.
        let source = folder.path().join("source");
        fs::write(&source, format!("#!/bin/sh\nDIR='{}'\n{script}", folder.path().display())).unwrap();
        assert!(std::process::Command::new("cp").arg(&source).arg(&program).status().unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Provider { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn config(&self, protocol: Protocol) -> Config {
        Config::new([self.path("provider").display().to_string()], protocol)
    }

    fn manager(&self, protocol: Protocol) -> ExecSecretManager {
        ExecSecretManager::create(self.config(protocol)).unwrap()
    }
}

async fn read(manager: &ExecSecretManager, name: &str) -> Result<String> {
    let secret = manager.async_read_secret(&ReadRequest::new(name)?).await?;
    Ok(secret.expose_str()?.to_owned())
}

fn refused(result: Result<impl Sized>) -> Error {
    result.err().unwrap()
}

const DOCKER: &str = r#"
file() { printf '%s/%s' "$DIR" "$(printf %s "$1" | tr / _).secret"; }
case "$1" in
get) name=$(cat); f=$(file "$name"); [ -f "$f" ] || { echo "credentials not found in native keychain"; exit 1; }; cat "$f";;
store) json=$(cat); name=$(printf %s "$json" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); printf %s "$json" > "$(file "$name")";;
erase) name=$(cat); f=$(file "$name"); [ -f "$f" ] || { echo "credentials not found in native keychain"; exit 1; }; rm "$f";;
list) echo '{"team/a":"keyway","team/b":"u","other":"u"}';;
*) exit 9;;
esac
printf '%s\n' "$*" >> "$DIR/arguments"
"#;

#[tokio::test]
async fn dockers_protocol_reads_what_it_stored_and_passes_no_value_as_an_argument() {
    let provider = Provider::new(DOCKER);
    let manager = provider.manager(Protocol::Docker);
    assert_eq!(refused(read(&manager, "team/a").await).kind(), ErrorKind::NotFound);
    let value = "canary \"quoted\" \\ and\nmore ä";
    manager.async_write_secret(&WriteRequest::new("team/a", value).unwrap()).await.unwrap();
    assert_eq!(read(&manager, "team/a").await.unwrap(), value);
    let stored: serde_json::Value =
        serde_json::from_slice(&fs::read(provider.path("team_a.secret")).unwrap()).unwrap();
    assert_eq!(stored, serde_json::json!({"ServerURL": "team/a", "Username": "keyway", "Secret": value}));
    let request = ListRequest { prefix: "team/".to_owned(), ..ListRequest::default() };
    assert_eq!(manager.async_list_secrets(&request).await.unwrap(), ["team/a", "team/b"]);
    let delete = DeleteRequest::new("team/a").unwrap();
    manager.async_delete_secret(&delete).await.unwrap();
    assert_eq!(refused(manager.async_delete_secret(&delete).await).kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_to_string(provider.path("arguments")).unwrap(), "store\nget\nlist\nerase\n");
}

#[tokio::test]
async fn summons_protocol_passes_the_name_and_takes_the_output() {
    let provider = Provider::new(r#"[ "$#" = 2 ] && printf 'value of %s after %s\n' "$2" "$1""#);
    let mut config = provider.config(Protocol::Summon);
    config.command.push("--first".to_owned());
    let manager = ExecSecretManager::create(config).unwrap();
    let odd = "a b; $(touch x) `id` 'q'";
    assert_eq!(read(&manager, odd).await.unwrap(), format!("value of {odd} after --first"));
    let write = manager.async_write_secret(&WriteRequest::new("a", "b").unwrap()).await;
    assert_eq!(refused(write).kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_name_that_begins_with_a_dash_never_becomes_an_option() {
    let provider = Provider::new("touch \"$DIR/ran\"; echo value");
    let manager = provider.manager(Protocol::Summon);
    assert_eq!(refused(read(&manager, "--help").await).kind(), ErrorKind::InvalidName);
    assert!(!provider.path("ran").exists());
}

#[tokio::test]
async fn every_failure_is_an_outage_unless_it_is_known_to_mean_an_absent_secret() {
    let provider = Provider::new(
        r#"case "$1" in three) exit 3;; words) echo 'no such entry' >&2; exit 1;; kill) echo 'no such entry' >&2; kill -9 $$;; *) echo 'not found' >&2; exit 1;; esac"#,
    );
    let plain = provider.manager(Protocol::Summon);
    for name in ["three", "words", "kill", "other"] {
        assert_eq!(refused(read(&plain, name).await).kind(), ErrorKind::Unavailable, "{name}");
    }
    let mut config = provider.config(Protocol::Summon);
    config.not_found = NotFound { exit_codes: vec![3], messages: Some(vec!["no such entry".to_owned()]) };
    let told = ExecSecretManager::create(config).unwrap();
    for name in ["three", "words"] {
        assert_eq!(refused(read(&told, name).await).kind(), ErrorKind::NotFound, "{name}");
    }
    for name in ["kill", "other"] {
        assert_eq!(refused(read(&told, name).await).kind(), ErrorKind::Unavailable, "{name}");
    }
}

#[tokio::test]
async fn a_failing_program_puts_nothing_of_its_output_into_the_error() {
    let provider = Provider::new("echo canary; echo canary >&2; exit 5");
    let error = refused(read(&provider.manager(Protocol::Summon), "a").await);
    assert_eq!((error.kind(), error.vendor_code()), (ErrorKind::Unavailable, Some("5")));
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    let garbage = Provider::new("echo '{\"Secret\": 5, \"canary\": 1}'");
    let error = refused(read(&garbage.manager(Protocol::Docker), "a").await);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

/// The program and what it started hold the other end of a FIFO, so its end is theirs.
async fn ends(fifo: &Path) {
    let fifo = fifo.to_owned();
    let read = tokio::task::spawn_blocking(move || fs::read(fifo).unwrap());
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
}

fn fifo(provider: &Provider) -> PathBuf {
    let path = provider.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    path
}

/// Starts a child of its own that holds the FIFO, and waits for it for ever.
const HANGS: &str = "sleep 600 3> \"$DIR/fifo\" & wait";

#[tokio::test]
async fn a_program_that_hangs_is_killed_at_the_deadline_with_all_it_started() {
    let provider = Provider::new(HANGS);
    let fifo = fifo(&provider);
    let mut config = provider.config(Protocol::Summon);
    config.timeout = Duration::from_secs(1);
    let manager = ExecSecretManager::create(config).unwrap();
    let began = Instant::now();
    let (error, ()) = tokio::join!(async { refused(read(&manager, "a").await) }, ends(&fifo));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_caller_that_gives_up_ends_the_program_with_all_it_started() {
    let provider = Provider::new(HANGS);
    let fifo = fifo(&provider);
    let manager = provider.manager(Protocol::Summon);
    // Opening succeeds when the program has opened its end, so that it is known to run.
    let open = tokio::task::spawn_blocking(move || fs::File::open(fifo).unwrap());
    let held = tokio::select! {
        held = open => held.unwrap(),
        read = read(&manager, "a") => panic!("{read:?}"),
    };
    let rest = tokio::task::spawn_blocking(move || std::io::read_to_string(held).unwrap());
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), rest).await.unwrap().unwrap(), "");
}

#[tokio::test]
async fn a_program_that_prints_without_end_is_stopped() {
    let provider = Provider::new("yes");
    let error = refused(read(&provider.manager(Protocol::Summon), "a").await);
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let noisy = Provider::new("head -c 3000000 /dev/zero >&2; echo value");
    assert_eq!(read(&noisy.manager(Protocol::Summon), "a").await.unwrap(), "value");
}

#[tokio::test]
async fn the_program_sees_its_configured_environment_and_little_else() {
    let provider = Provider::new("/usr/bin/env | sed 's/=.*//' | sort | tr '\\n' ' '; printf %s \"$TOKEN\"");
    let mut config = provider.config(Protocol::Summon);
    config.env.insert("TOKEN".to_owned(), "sk-test-not-a-key".to_owned());
    let seen = read(&ExecSecretManager::create(config).unwrap(), "a").await.unwrap();
    let (names, token) = seen.rsplit_once(' ').unwrap();
    assert_eq!(token, "sk-test-not-a-key");
    // The shell adds some of its own.
    let shells = ["PWD", "SHLVL", "_", "OLDPWD"];
    let names: Vec<&str> = names.split(' ').filter(|name| !shells.contains(name)).collect();
    assert_eq!(names, ["HOME", "PATH", "TOKEN"]);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_found_out_at_the_start() {
    let missing = Config::new(["/nowhere/provider"], Protocol::Summon);
    let error = refused(ExecSecretManager::create(missing));
    assert!(error.message().contains("/nowhere/provider: it is not there"), "{error}");
    let provider = Provider::new("echo value");
    let manager = provider.manager(Protocol::Summon);
    manager.health_check().await.unwrap();
    fs::remove_file(provider.path("provider")).unwrap();
    assert_eq!(refused(manager.health_check().await).kind(), ErrorKind::Unavailable);
    assert_eq!(refused(read(&manager, "a").await).kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_program_that_ignores_its_input_is_no_failure() {
    let provider = Provider::new("exec 0<&-; exit 0");
    let manager = provider.manager(Protocol::Docker);
    let large = "x".repeat(1 << 20);
    manager.async_write_secret(&WriteRequest::new("a", large).unwrap()).await.unwrap();
}
