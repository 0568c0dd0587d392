use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::*;
use crate::loader::testing::{folder, plugin, write};

fn policy() -> TrustPolicy {
    TrustPolicy::new("my_sm.Manager")
}

fn pinned(bytes: &[u8]) -> TrustPolicy {
    TrustPolicy { sha256: vec![FileHash::of(bytes)], ..policy() }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refused(path: &Path, policy: &TrustPolicy) -> String {
    verify(path, policy).unwrap_err().to_string()
}

#[test]
fn a_good_file_is_verified_and_its_copy_outlives_what_happens_to_the_file() {
    for load_from in [LoadFrom::Memory, LoadFrom::PrivateCopy] {
        let dir = folder();
        let path = write(dir.path(), "libmy_sm.so", plugin());
        let verified = verify(&path, &TrustPolicy { load_from, ..policy() }).unwrap();
        assert_eq!(verified.sha256, FileHash::of(plugin()));
        assert_eq!(verified.warnings, Vec::<String>::new());
        fs::write(&path, b"something else").unwrap();
        assert_eq!(fs::read(verified.sealed.load_path()).unwrap(), plugin());
        fs::remove_file(&path).unwrap();
        assert_eq!(fs::read(verified.sealed.load_path()).unwrap(), plugin());
        assert_eq!(verified.inspection.manifest.unwrap().id, "test-plugin");
    }
}

#[test]
fn sealed_memory_cannot_be_changed() {
    let dir = folder();
    let verified = verify(&write(dir.path(), "a.so", plugin()), &policy()).unwrap();
    assert_eq!(verified.sealed.describe(), "sealed memory");
    let copy = fs::File::options().write(true).open(verified.sealed.load_path()).unwrap();
    assert_eq!(rustix::io::pwrite(&copy, b"x", 0), Err(rustix::io::Errno::PERM));
    assert_eq!(copy.set_len(1).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn a_private_copy_is_private_unique_and_removed_with_its_owner() {
    let (dir, base) = (folder(), folder());
    let path = write(dir.path(), "a.so", plugin());
    let policy = TrustPolicy {
        load_from: LoadFrom::PrivateCopy,
        private_dir: Some(base.path().to_owned()),
        ..policy()
    };
    let (one, two) = (verify(&path, &policy).unwrap(), verify(&path, &policy).unwrap());
    assert_ne!(one.sealed.load_path(), two.sealed.load_path());
    let private = one.sealed.load_path().parent().unwrap();
    assert_eq!(fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o700);
    one.sealed.remove_name();
    assert!(!private.exists());
    drop((one, two));
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    set_mode(base.path(), 0o777);
    assert!(refused(&path, &policy).starts_with("the folder for private copies is not safe"));
}

#[test]
fn a_file_that_everybody_may_write_needs_a_pin() {
    let dir = folder();
    let path = write(dir.path(), "a.so", plugin());
    set_mode(&path, 0o666);
    let text = refused(&path, &policy());
    let hash = FileHash::of(plugin());
    assert!(text.contains(&format!("chmod go-w {}", path.display())), "{text}");
    assert!(text.contains("entry \"my_sm.Manager\" of keyway.managers"), "{text}");
    assert!(text.ends_with(&format!("sha256: [\"{hash}\"]")), "{text}");
    let warnings = verify(&path, &pinned(plugin())).unwrap().warnings;
    assert!(warnings[0].contains("can be written by every user (mode 0666)"), "{warnings:?}");
}

#[test]
fn a_folder_that_everybody_may_write_counts_however_far_above() {
    let dir = folder();
    let inner = dir.path().join("open/inner");
    fs::create_dir_all(&inner).unwrap();
    set_mode(&inner, 0o755);
    let path = write(&inner, "a.so", plugin());
    set_mode(&dir.path().join("open"), 0o777);
    let text = refused(&path, &policy());
    assert!(text.contains(&format!("folder {}/open can be written", dir.path().display())), "{text}");
    assert_eq!(verify(&path, &pinned(plugin())).unwrap().warnings.len(), 1);
    set_mode(&dir.path().join("open"), 0o755);
    verify(&path, &policy()).unwrap();
}

#[test]
fn links_are_followed_and_the_folders_of_their_targets_count() {
    let dir = folder();
    let (data, other) = (dir.path().join("..2026"), dir.path().join("other"));
    fs::create_dir(&data).unwrap();
    fs::create_dir(&other).unwrap();
    set_mode(&data, 0o755);
    set_mode(&other, 0o755);
    write(&data, "a.so", plugin());
    symlink("..2026", dir.path().join("..data")).unwrap();
    symlink("..data/a.so", dir.path().join("a.so")).unwrap();
    symlink(dir.path().join("other/../a.so"), other.join("b.so")).unwrap();
    for path in [dir.path().join("a.so"), other.join("b.so")] {
        assert_eq!(verify(&path, &policy()).unwrap().path, path);
    }
    set_mode(&data, 0o777);
    let text = refused(&dir.path().join("a.so"), &policy());
    assert!(text.contains("..2026 can be written by every user"), "{text}");
    symlink("loop", dir.path().join("loop")).unwrap();
    assert!(refused(&dir.path().join("loop"), &policy()).starts_with("cannot open plugin file"));
}

#[test]
fn only_regular_files_are_read_and_nothing_hangs() {
    let dir = folder();
    let fifo = dir.path().join("fifo.so");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    assert!(refused(&fifo, &policy()).contains("is a FIFO, not a regular file"));
    assert!(refused(dir.path(), &policy()).contains("is a folder, not a regular file"));
    assert!(refused(Path::new("/dev/zero"), &policy()).contains("is a device, not a regular file"));
    assert!(refused(Path::new("/"), &policy()).contains("is a folder, not a regular file"));
    let missing = verify(&dir.path().join("none/a.so"), &policy()).unwrap_err();
    assert!(missing.to_string().ends_with("none"), "{missing}");
    assert!(matches!(missing, VerifyError::Open { at, .. } if at.ends_with("none")));
}

#[test]
fn a_file_over_the_limit_is_not_read_and_one_at_it_is() {
    let dir = folder();
    let path = write(dir.path(), "a.so", plugin());
    let len = plugin().len() as u64;
    let over = refused(&path, &TrustPolicy { max_len: len - 1, ..policy() });
    assert!(over.contains(&format!("has {len} bytes, more than the limit of {}", len - 1)), "{over}");
    verify(&path, &TrustPolicy { max_len: len, ..policy() }).unwrap();
}

#[test]
fn a_pin_that_does_not_fit_is_refused_with_the_line_that_would_accept_the_file() {
    let dir = folder();
    let path = write(dir.path(), "a.so", plugin());
    let text = refused(&path, &pinned(b"another"));
    let (old, new) = (FileHash::of(b"another"), FileHash::of(plugin()));
    assert!(text.contains(&format!("has the sha256 {new}, which is not among the pins")), "{text}");
    assert!(text.ends_with(&format!("sha256: [\"{old}\", \"{new}\"]")), "{text}");
}

#[test]
fn required_pins_are_required() {
    let dir = folder();
    let path = write(dir.path(), "a.so", plugin());
    let text = refused(&path, &TrustPolicy { require: Require::Pin, ..policy() });
    assert!(text.ends_with(&format!("sha256: [\"{}\"]", FileHash::of(plugin()))), "{text}");
    verify(&path, &TrustPolicy { require: Require::Pin, ..pinned(plugin()) }).unwrap();
}

#[test]
fn what_is_no_plugin_is_refused_in_one_sentence() {
    let dir = folder();
    let cases: [(&[u8], &str); 4] = [
        (b"", "is empty"),
        (b"hello\n", "is a text file"),
        (b"import os\n", "is Python source"),
        (&plugin()[..5000], "is truncated"),
    ];
    for (bytes, expected) in cases {
        let path = write(dir.path(), "a.so", bytes);
        let text = refused(&path, &policy());
        assert!(text.starts_with(&format!("plugin file {} {expected}", path.display())), "{text}");
        let seen = inspect_file(&path).unwrap();
        assert!(seen.refusal.unwrap().to_string().starts_with(expected));
    }
}

#[test]
fn looking_at_a_file_tells_its_hash_and_who_could_change_it() {
    let dir = folder();
    let path = write(dir.path(), "a.so", plugin());
    set_mode(&path, 0o666);
    let seen = inspect_file(&path).unwrap();
    assert_eq!((seen.sha256, seen.refusal), (FileHash::of(plugin()), None));
    assert_eq!(seen.ownership[0].fix(), format!("chmod go-w {}", path.display()));
}
