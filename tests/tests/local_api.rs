//! The read API on a Unix socket, as a black box.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    fs,
    io::{ErrorKind, Write as _},
    net::TcpStream,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Command,
};

use keyway_tests::{
    build::{cargo_binary, misbehaving},
    canary::Canary,
    cli::{Folder, Keyway, MASTER_KEY, Serving},
};
use rustix::{process::getuid, thread::set_thread_uid};

const SERVE: [&str; 6] = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"];

/// An ordinary user.
const NOBODY: u32 = 65534;

fn config(plugin: &str, secrets: &str, allow: &str) -> String {
    format!(
        "general_settings:\n  master_key: {MASTER_KEY}\n  key_management_system: custom\n  \
         key_management_settings: {{custom_secret_manager: store}}\n\
         model_list: []\nkeyway:\n  managers:\n    store: {{plugin: {plugin}, config: {secrets}}}\n  \
         local_api: {{path: run/secrets.sock, allow: {allow}}}\n"
    )
}

/// The memory plugin beside a configuration whose secrets may be read like that.
fn store(secrets: &serde_json::Value, allow: &str) -> Folder {
    let folder = Folder::new().unwrap();
    folder.plugin("keyway-plugin-memory").unwrap();
    let secrets = serde_json::json!({"secrets": secrets}).to_string();
    let config = config("keyway_memory.InMemorySecretManager", &secrets, allow);
    folder.write("config.yaml", config).unwrap();
    folder
}

/// What this user may read, when the test does not care who it is.
fn own(names: &str) -> String {
    format!("{{{}: {names}}}", getuid().as_raw())
}

fn serve(folder: &Folder) -> Serving {
    folder.keyway(&SERVE).unwrap().env("KEYWAY_LOG", "trace").serve().unwrap()
}

fn socket(folder: &Folder) -> PathBuf {
    folder.path().join("run/secrets.sock")
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads an answer to its end.
fn answer(mut stream: impl std::io::Read) -> Answer {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // Whoever answers before it has read all of a request cuts the rest off.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        read => drop(read.unwrap()),
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    Answer { status: head[9..12].parse().unwrap(), body: bytes[end + 4..].to_vec(), head }
}

/// Sends a request as it is.
fn send(path: &Path, request: &str) -> Answer {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

fn get(path: &Path, name: &str) -> Answer {
    send(path, &format!("GET /v1/secret/{name} HTTP/1.1\r\nHost: keyway\r\n\r\n"))
}

/// As [`get`], from a thread that is another user's.
fn get_as(uid: u32, path: &Path, name: &str) -> Result<Answer, std::io::Error> {
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            set_thread_uid(rustix::process::Uid::from_raw(uid))?;
            UnixStream::connect(path)?;
            Ok(get(path, name))
        });
        work.join().unwrap()
    })
}

fn stop(serving: Serving) -> String {
    serving.terminate().unwrap();
    let ran = serving.wait().unwrap();
    ran.expect(0, &["stopped"]).unwrap();
    ran.stderr
}

#[test]
fn a_secret_is_its_bare_bytes_and_the_audit_has_everything_but_them() {
    let canary = Canary::random();
    let secrets = serde_json::json!({"team/KEY A": format!("{}\n", canary.value())});
    let folder = store(&secrets, &own("[team/*]"));
    let serving = serve(&folder);
    let path = socket(&folder);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));

    let found = get(&path, "team/KEY%20A");
    assert_eq!((found.status, found.text()), (200, format!("{}\n", canary.value())));
    for header in ["keyway-version: 1", "cache-control: no-store", "content-type: application/octet-stream"] {
        assert!(found.head.contains(header), "{}", found.head);
    }
    assert_eq!(get(&path, "team/GONE").status, 404);

    let log = stop(serving);
    assert!(!path.exists(), "the socket is still there");
    let audit = log.lines().find(|line| line.contains("outcome=\"OK\"")).unwrap();
    let who = [
        format!("uid={}", getuid().as_raw()),
        format!("pid={}", std::process::id()),
        "name=\"team/KEY A\"".to_owned(),
    ];
    for part in who {
        assert!(audit.contains(&part), "{part} is not in {audit}");
    }
    assert!(log.contains("name=\"team/GONE\" outcome=\"NOT_FOUND\""), "{log}");
    assert_eq!(canary.found_in(&log), None, "the log shows a secret");
}

#[test]
fn a_name_that_is_not_allowed_has_the_same_answer_whether_it_exists_or_not() {
    let folder = store(&serde_json::json!({"A": "a", "B": "b"}), &own("A"));
    let serving = serve(&folder);
    let path = socket(&folder);
    assert_eq!(get(&path, "A").text(), "a");
    let (exists, does_not) = (get(&path, "B"), get(&path, "GONE"));
    let without_date = |answer: &Answer| -> Vec<String> {
        answer.head.lines().filter(|line| !line.starts_with("date:")).map(str::to_owned).collect()
    };
    assert_eq!(exists.status, 403);
    assert_eq!((without_date(&exists), &exists.body), (without_date(&does_not), &does_not.body));
    assert!(exists.text().contains("NOT_ALLOWED"), "{}", exists.text());
    assert!(stop(serving).contains("name=\"B\" outcome=\"NOT_ALLOWED\""));
}

#[test]
fn what_is_refused_without_asking_the_manager_is_in_the_audit_log() {
    let folder = store(&serde_json::json!({"team/A": "a", "OTHER": "o"}), &own("[team/*, HELD]"));
    let (path, log) = (socket(&folder), folder.path().join("audit.log"));
    let text = fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    let text = text
        .replace("keyway:\n", &format!("keyway:\n  audit: {{path: {log:?}}}\n"))
        .replace("custom_secret_manager: store", "custom_secret_manager: store, hosted_keys: [team/A]");
    folder.write("config.yaml", text).unwrap();
    let serving = serve(&folder);
    let refused = [
        ("OTHER", 403, "OTHER", "NOT_ALLOWED"),
        ("HELD", 403, "HELD", "NOT_ALLOWED"),
        ("team%2F..%2FOTHER", 400, "", "INVALID_NAME"),
        ("team/../OTHER", 400, "", "INVALID_NAME"),
        ("%zz", 400, "", "INVALID_NAME"),
    ];
    for (name, status, _, class) in refused {
        let answer = get(&path, name);
        assert_eq!(answer.status, status, "{name}");
        assert!(answer.text().contains(class), "{name}: {}", answer.text());
    }
    assert_eq!(get(&path, "team/A").text(), "a");
    stop(serving);
    let text = fs::read_to_string(log).unwrap();
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let caller = format!("uid:{}", getuid().as_raw());
    let mut of_caller = events.iter().filter(|event| event["caller"] == *caller);
    for (_, _, name, class) in refused {
        let event = of_caller.next().unwrap();
        assert_eq!((&event["event"], &event["manager"]), (&"handed_out".into(), &"store".into()));
        assert_eq!((&event["name"], &event["outcome"]), (&name.into(), &class.into()), "{text}");
    }
    assert!(of_caller.all(|event| event["name"] == "team/A" && event["outcome"] == "OK"), "{text}");
}

#[test]
fn what_is_no_read_is_refused() {
    let folder = store(&serde_json::json!({"A": "a"}), &own("'*'"));
    let serving = serve(&folder);
    let path = socket(&folder);
    let large = format!("GET /v1/secret/A HTTP/1.1\r\nHost: k\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for (request, status) in [
        ("POST /v1/secret/A HTTP/1.1\r\nHost: k\r\nContent-Length: 0\r\n\r\n", 405),
        ("HEAD /v1/secret/A HTTP/1.1\r\nHost: k\r\n\r\n", 405),
        ("GET /v1/secret/A?version=1 HTTP/1.1\r\nHost: k\r\n\r\n", 400),
        ("GET /v1/secret/A HTTP/1.1\r\nHost: k\r\nContent-Length: 5\r\n\r\nhello", 400),
        ("GET /v1/secret/a%0Ab HTTP/1.1\r\nHost: k\r\n\r\n", 400),
        ("GET /v1/secret/%zz HTTP/1.1\r\nHost: k\r\n\r\n", 400),
        ("GET /v1/secret/oidc/env/LITELLM_MASTER_KEY HTTP/1.1\r\nHost: k\r\n\r\n", 403),
        ("GET /v1/secret/ HTTP/1.1\r\nHost: k\r\n\r\n", 404),
        ("GET /v1/secrets HTTP/1.1\r\nHost: k\r\n\r\n", 404),
        ("nonsense\r\n\r\n", 400),
        (&large, 431),
    ] {
        let answer = send(&path, request);
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
    assert_eq!(get(&path, "A").text(), "a", "and it goes on");
    stop(serving);
}

#[test]
fn idle_connections_take_no_more_than_their_places() {
    let folder = store(&serde_json::json!({"A": "a"}), &own("A"));
    let serving = serve(&folder);
    let path = socket(&folder);
    let idle: Vec<UnixStream> = (0..64).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut waiting = UnixStream::connect(&path).unwrap();
    waiting.write_all(b"GET /v1/secret/A HTTP/1.1\r\nHost: k\r\n\r\n").unwrap();
    drop(idle);
    assert_eq!(answer(waiting).text(), "a");
    stop(serving);
}

#[test]
fn a_failing_manager_is_told_by_its_class_and_never_in_its_words() {
    let folder = Folder::new().unwrap();
    fs::copy(misbehaving().unwrap(), folder.path().join("libmisbehaving.so")).unwrap();
    let config = config("misbehaving.Misbehaving", "{}", &own("[throttled, metadata]"));
    // Its health is bad as well.
    let config = config.replace("keyway:\n", "keyway:\n  startup: {on_missing: degraded}\n");
    folder.write("config.yaml", config).unwrap();
    let serving = serve(&folder);
    let path = socket(&folder);
    let throttled = get(&path, "throttled");
    assert_eq!(throttled.status, 503);
    assert!(throttled.head.contains("retry-after: 3"), "{}", throttled.head);
    let text = throttled.text();
    assert!(text.contains("\"class\":\"THROTTLED\"") && !text.contains("too many calls"), "{text}");
    assert!(get(&path, "metadata").head.contains("keyway-version: 7"));
    assert!(stop(serving).contains("outcome=\"THROTTLED\""));
}

#[test]
fn each_user_reads_its_own_names_and_others_cannot_connect() {
    if !getuid().is_root() {
        println!("skipped: only root can be two users");
        return;
    }
    let secrets = serde_json::json!({"OF_NOBODY": "n", "OF_ROOT": "r"});
    let folder = store(&secrets, "{65534: [OF_NOBODY], root: [OF_ROOT], 65533: [OF_ROOT]}");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::set_permissions(folder.path().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    chown(folder.path().join("run"), Some(NOBODY), Some(NOBODY)).unwrap();
    let keyway = folder.path().join("keyway");
    fs::copy(cargo_binary("keyway").unwrap(), &keyway).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&keyway);
    let serving = Keyway::from_command(command, folder.path()).args(&SERVE).serve().unwrap();
    let path = socket(&folder);
    assert_eq!((get(&path, "OF_ROOT").text().as_str(), get(&path, "OF_NOBODY").status), ("r", 403));
    let as_nobody = |name| get_as(NOBODY, &path, name).unwrap();
    assert_eq!((as_nobody("OF_NOBODY").text().as_str(), as_nobody("OF_ROOT").status), ("n", 403));
    let other = get_as(65533, &path, "OF_ROOT").unwrap_err();
    assert_eq!(other.kind(), ErrorKind::PermissionDenied);
    let log = stop(serving);
    assert!(log.contains("cannot connect") && log.contains("user=\"65533\""), "{log}");
    assert!(log.contains("uid=65534") && log.contains("uid=0"), "{log}");
}

#[test]
fn a_live_socket_is_refused_and_that_of_a_killed_process_replaced() {
    let folder = store(&serde_json::json!({"A": "a"}), &own("A"));
    let path = socket(&folder);
    let first = serve(&folder);
    let second = folder.run(&SERVE).unwrap();
    let said = format!("a running process serves on {} already", path.display());
    second.expect(1, &[&said]).unwrap();
    assert!(!second.stderr.contains("secret manager loaded"), "{}", second.stderr);
    assert_eq!(get(&path, "A").text(), "a");
    // Killed, not stopped.
    drop(first);
    assert!(path.exists());
    let third = serve(&folder);
    assert_eq!(get(&path, "A").text(), "a");
    stop(third);
}

#[test]
fn a_folder_that_others_can_reach_into_keeps_the_host_from_starting() {
    let folder = store(&serde_json::json!({"A": "a"}), &own("A"));
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = folder.run(&SERVE).unwrap();
    ran.expect(1, &["has the mode 0755", &format!("run `chmod 0700 {}`", run.display())]).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    if getuid().is_root() {
        chown(&run, Some(NOBODY), None).unwrap();
        folder.run(&SERVE).unwrap().expect(1, &["belongs to user 65534 and not to keyway's own, 0"]).unwrap();
    }
}

#[test]
fn a_reload_changes_who_may_read_what() {
    let folder = store(&serde_json::json!({"A": "a", "B": "b"}), &own("A"));
    let serving = serve(&folder);
    let path = socket(&folder);
    assert_eq!((get(&path, "A").status, get(&path, "B").status), (200, 403));
    let text = fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    let changed = text.replace(&own("A"), &own("B")).replace("run/secrets.sock", "run/other.sock");
    folder.write("config.yaml", changed).unwrap();
    let mut stream = TcpStream::connect(serving.address).unwrap();
    let request = format!(
        "POST /keyway/reload HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {MASTER_KEY}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(answer(stream).status, 200);
    assert_eq!((get(&path, "A").status, get(&path, "B").status), (403, 200));
    let log = stop(serving);
    assert!(log.contains("keyway.local_api.path has changed, which takes effect at the next start"), "{log}");
}

#[test]
fn a_wrong_section_is_refused_before_anything_starts() {
    let folder = Folder::new().unwrap();
    let config = config("./nowhere.so", "{}", "{0: [a*b]}");
    folder.write("config.yaml", config).unwrap();
    folder
        .run(&SERVE)
        .unwrap()
        .expect(2, &["config.yaml:9:", "keyway.local_api.allow.0: `a*b` has a `*`"])
        .unwrap();
}
