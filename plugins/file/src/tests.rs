//! What the manager does with folders and files, natively.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use keyway_plugin_api::{
    DeleteRequest, ErrorKind, ListRequest, ManagerType, ReadRequest, Result, SecretManager, WriteRequest,
    request::MAX_VALUE_LEN,
};

use crate::{Config, FileSecretManager, name};

fn manager(folder: &Path) -> FileSecretManager {
    let config = Config { directory: Some(folder.to_owned()), watch: true, ..Config::default() };
    FileSecretManager::create(config).unwrap()
}

fn read(manager: &FileSecretManager, name: &str) -> Result<String> {
    let secret = manager.sync_read_secret(&ReadRequest::new(name)?)?;
    Ok(secret.expose_str()?.to_owned())
}

fn kind(result: Result<impl Sized>) -> ErrorKind {
    result.err().unwrap().kind()
}

async fn write(manager: &FileSecretManager, name: &str, value: &str) -> Result<()> {
    manager.async_write_secret(&WriteRequest::new(name, value)?).await.map(drop)
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// As the kubelet does it: a new folder, and one rename of the link `..data`.
fn project(root: &Path, stamp: &str, files: &[(&str, &str)]) {
    fs::create_dir(root.join(stamp)).unwrap();
    for (name, value) in files {
        fs::write(root.join(stamp).join(name), value).unwrap();
        if fs::symlink_metadata(root.join(name)).is_err() {
            symlink(format!("..data/{name}"), root.join(name)).unwrap();
        }
    }
    symlink(stamp, root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
}

#[test]
fn a_mounted_folder_is_read_through_its_links_and_a_swap_is_seen_at_once() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "..2026_1", &[("key", "one\n"), ("other", "same")]);
    let manager = manager(folder.path());
    let first = manager.sync_read_secret(&ReadRequest::new("key").unwrap()).unwrap();
    assert_eq!(first.expose_bytes(), b"one");
    project(folder.path(), "..2026_2", &[("key", "two\n"), ("other", "same")]);
    fs::remove_dir_all(folder.path().join("..2026_1")).unwrap();
    let second = manager.sync_read_secret(&ReadRequest::new("key").unwrap()).unwrap();
    assert_eq!(second.expose_bytes(), b"two");
    assert_ne!(first.metadata().version, second.metadata().version);
    assert_eq!(kind(read(&manager, "..data/key")), ErrorKind::InvalidName);
}

#[tokio::test]
async fn a_list_has_what_can_be_read_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "..2026_1", &[("key", "one")]);
    fs::create_dir_all(folder.path().join("sub/deeper")).unwrap();
    fs::write(folder.path().join("sub/a"), "x").unwrap();
    fs::write(folder.path().join("sub/deeper/b"), "x").unwrap();
    fs::write(folder.path().join(name::temporary()), "unfinished").unwrap();
    symlink(".", folder.path().join("sub/again")).unwrap();
    symlink("/etc/passwd", folder.path().join("outside")).unwrap();
    symlink("nothing", folder.path().join("dangling")).unwrap();
    let manager = manager(folder.path());
    let list = async |prefix: &str| {
        let request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
        manager.async_list_secrets(&request).await.unwrap()
    };
    assert_eq!(list("").await, ["key", "sub/a", "sub/deeper/b"]);
    assert_eq!(list("sub/").await, ["sub/a", "sub/deeper/b"]);
    assert_eq!(list("sub/d").await, ["sub/deeper/b"]);
    assert!(list("nothing").await.is_empty());
}

#[tokio::test]
async fn a_write_replaces_the_file_whole_and_only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    fs::write(folder.path().join("key"), "old").unwrap();
    let before = fs::File::open(folder.path().join("key")).unwrap();
    write(&manager, "key", "new").await.unwrap();
    write(&manager, "team/alias", "value").await.unwrap();
    assert_eq!(std::io::read_to_string(before).unwrap(), "old");
    assert_eq!(read(&manager, "key").unwrap(), "new");
    assert_eq!(read(&manager, "team/alias").unwrap(), "value");
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key"), mode("team"), mode("team/alias")), (0o600, 0o700, 0o600));
    assert_eq!(files(folder.path()), ["key", "team"]);
}

#[tokio::test]
async fn a_killed_write_leaves_the_old_value() {
    let folder = tempfile::tempdir().unwrap();
    let manager = manager(folder.path());
    write(&manager, "key", "old").await.unwrap();
    // What is on disk when a writer is killed between its two steps.
    fs::write(folder.path().join(name::temporary()), "ne").unwrap();
    assert_eq!(read(&manager, "key").unwrap(), "old");
    let names = manager.async_list_secrets(&ListRequest::default()).await.unwrap();
    assert_eq!(names, ["key"]);
}

#[tokio::test]
async fn only_an_absent_file_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("mount");
    let manager = manager(&root);
    let error = read(&manager, "key").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let says = format!("the folder {} is not there; is it mounted?", root.display());
    assert_eq!(error.message(), says);
    assert_eq!(kind(manager.health_check().await), ErrorKind::Unavailable);
    assert_eq!(kind(write(&manager, "key", "x").await), ErrorKind::Unavailable);
    fs::create_dir(&root).unwrap();
    assert_eq!(kind(read(&manager, "key")), ErrorKind::NotFound);
    assert_eq!(kind(read(&manager, "no/folder")), ErrorKind::NotFound);
    assert_eq!(
        kind(manager.async_delete_secret(&DeleteRequest::new("no/folder").unwrap()).await),
        ErrorKind::NotFound
    );
    manager.health_check().await.unwrap();
    symlink("nothing", root.join("dangling")).unwrap();
    assert_eq!(kind(read(&manager, "dangling")), ErrorKind::Unavailable);
    symlink("/etc/passwd", root.join("outside")).unwrap();
    assert_eq!(kind(read(&manager, "outside")), ErrorKind::Denied);
    fs::create_dir(root.join("folder")).unwrap();
    assert_eq!(kind(read(&manager, "folder")), ErrorKind::Denied);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    assert_eq!(kind(read(&manager, "fifo")), ErrorKind::Denied);
    let large = fs::File::create(root.join("large")).unwrap();
    large.set_len(MAX_VALUE_LEN as u64 + 1).unwrap();
    assert_eq!(kind(read(&manager, "large")), ErrorKind::TooLarge);
    large.set_len(MAX_VALUE_LEN as u64).unwrap();
    assert_eq!(read(&manager, "large").unwrap().len(), MAX_VALUE_LEN);
}

#[tokio::test]
async fn what_others_own_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), "..2026_1", &[("key", "one")]);
    let manager = manager(folder.path());
    write(&manager, "a", "leaf").await.unwrap();
    write(&manager, "team/alias", "value").await.unwrap();
    for name in ["key", "a/b", "a/b/c", "team"] {
        assert_eq!(kind(write(&manager, name, "x").await), ErrorKind::Conflict, "{name}");
    }
    let delete = async |name: &str| manager.async_delete_secret(&DeleteRequest::new(name).unwrap()).await;
    assert_eq!(kind(delete("key").await), ErrorKind::Conflict);
    assert_eq!(kind(delete("team").await), ErrorKind::NotFound);
    assert_eq!(read(&manager, "key").unwrap(), "one");
    delete("team/alias").await.unwrap();
    write(&manager, "team", "now a leaf").await.unwrap();
    assert_eq!(read(&manager, "team").unwrap(), "now a leaf");
}

#[tokio::test]
async fn a_dotenv_file_is_read_and_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    let config = Config { dotenv: Some(path.clone()), ..Config::default() };
    let manager = FileSecretManager::create(config).unwrap();
    let error = read(&manager, "A").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().ends_with(".env is not there; check config.dotenv"), "{error}");
    fs::write(&path, "A=first\nexport A='sec#ond'\nB=\n").unwrap();
    assert_eq!(read(&manager, "A").unwrap(), "sec#ond");
    assert_eq!(kind(read(&manager, "C")), ErrorKind::NotFound);
    assert_eq!(manager.async_list_secrets(&ListRequest::default()).await.unwrap(), ["A", "B"]);
    assert_eq!(kind(write(&manager, "A", "x").await), ErrorKind::Unsupported);
    fs::write(&path, "A=first\nB='half a canary").unwrap();
    let error = manager.sync_read_secret(&ReadRequest::new("C").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("line 2") && !error.message().contains("canary"), "{error}");
}

#[test]
fn a_value_may_be_kept_briefly_when_the_folder_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "one").unwrap();
    let ttl = |watch| {
        let config = Config { directory: Some(folder.path().to_owned()), watch, ..Config::default() };
        let manager = FileSecretManager::create(config).unwrap();
        manager.sync_read_secret(&ReadRequest::new("key").unwrap()).unwrap().metadata().ttl
    };
    assert_eq!(ttl(true), Some(std::time::Duration::from_secs(2)));
    assert_eq!(ttl(false), None);
}

#[test]
fn a_config_names_one_absolute_place() {
    let message = |config| FileSecretManager::create(config).err().unwrap().message().to_owned();
    let path = |text: &str| Some(text.into());
    assert!(message(Config::default()).contains("neither"));
    let both = Config { directory: path("/a"), dotenv: path("/b"), ..Config::default() };
    assert!(message(both).contains("both"));
    let relative = Config { directory: path("secrets"), ..Config::default() };
    assert!(message(relative).contains("config.directory: secrets is a relative path"));
}
