//! Files that are no plugins, or are damaged: refused before anything of them runs.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    fs,
    io::{self, BufRead},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use keyway::loader::{inspect, verify::FileHash};
use keyway_tests::{
    build,
    misbehaving::{VALUE, read},
    plugin,
};
use tempfile::TempDir;

/// A file of this content in a folder of its own.
fn file(content: &[u8]) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libdamaged.so");
    fs::write(&path, content).unwrap();
    (folder, path)
}

async fn refused(path: &Path) -> String {
    let text = plugin::refusal(plugin::spec("damaged", path)).await.unwrap();
    assert!(text.contains("keyway.managers.test.plugin"), "the setting is not named: {text}");
    assert!(text.contains(&path.display().to_string()), "the file is not named: {text}");
    assert!(!text.contains('\n'), "{text}");
    text
}

#[tokio::test]
async fn what_is_no_library_is_refused_by_what_it_is() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "is empty"),
        (b"just some words\nand a line\n", "is a text file"),
        (b"class InMemorySecretManager(CustomSecretManager):\n    pass\n", "is Python source"),
        (b"!<arch>\nwhatever", "is a static library"),
        (b"\x7fELF", "truncated"),
        (b"\x00\x01\x02\x03\xff\xfe", "is "),
    ];
    for (content, expected) in cases {
        let (_folder, path) = file(content);
        let text = refused(&path).await;
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_without_waiting_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, fifo, missing, dangling) = (
        folder.path().join("libfolder.so"),
        folder.path().join("libfifo.so"),
        folder.path().join("libmissing.so"),
        folder.path().join("libdangling.so"),
    );
    fs::create_dir(&dir).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::os::unix::fs::symlink(&missing, &dangling).unwrap();
    for (path, expected) in
        [(dir, "is a folder"), (fifo, "not a regular file"), (missing, "missing"), (dangling, "missing")]
    {
        let text = refused(&path).await;
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn a_truncated_library_is_refused_at_every_length() {
    let whole = fs::read(build::c_example().unwrap()).unwrap();
    let all = whole.len();
    let lengths = [1, 3, 4, 15, 16, 63, 64, 65, 119, 120, 568, 1024, 4095, 4096, 4097, 8192];
    let lengths = lengths.into_iter().chain((1..16).map(|part| all * part / 16)).chain([all - 64, all - 1]);
    for len in lengths.filter(|len| *len < all) {
        let (_folder, path) = file(&whole[..len]);
        let text = refused(&path).await;
        assert!(
            text.contains("truncated") || text.contains("damaged") || text.contains("is "),
            "{len}: {text}"
        );
    }
    let (_folder, path) = file(&whole[..all - 1]);
    assert!(refused(&path).await.contains(&format!("the file has {}", all - 1)));
}

#[tokio::test]
async fn a_library_for_another_machine_is_refused_by_the_names_of_both() {
    let mut bytes = fs::read(build::c_example().unwrap()).unwrap();
    let (machine, name) = if cfg!(target_arch = "aarch64") { (62u16, "x86_64") } else { (183, "aarch64") };
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    let (_folder, path) = file(&bytes);
    let text = refused(&path).await;
    let expected = format!("is built for {name}, this host is {}", std::env::consts::ARCH);
    assert!(text.contains(&expected), "{text}");
}

#[tokio::test]
async fn a_pinned_library_with_any_flipped_bit_is_refused() {
    let good = fs::read(build::c_example().unwrap()).unwrap();
    let pin = FileHash::of(&good);
    let (_folder, path) = file(&good);
    let bits = (0..good.len() * 8).step_by(331);
    for bit in bits {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let mut spec = plugin::spec("damaged", &path);
        spec.trust.sha256 = vec![pin];
        let text = plugin::refusal(spec).await.unwrap();
        // The first bytes decide whether it looks like a library at all, and that is asked first.
        assert!(text.contains("not among the pins") || bit < 64 * 8, "bit {bit}: {text}");
    }
}

#[test]
fn looking_at_a_library_survives_flipped_bits_in_its_tables() {
    let good = fs::read(build::c_example().unwrap()).unwrap();
    let tables = 0..4096.min(good.len());
    let sections = good.len().saturating_sub(2048)..good.len();
    let mut usable = 0;
    let (mut bytes, mut all) = (good.clone(), 0);
    for byte in tables.chain(sections) {
        for bit in (0..8).filter(|bit| byte < 1024 || byte % 8 == *bit) {
            bytes[byte] ^= 1 << bit;
            usable += usize::from(inspect::examine(&bytes).is_ok_and(|found| found.check_loadable().is_ok()));
            bytes[byte] = good[byte];
            all += 1;
        }
    }
    assert!(usable > 0 && usable < all, "{usable} of {all} damaged files look whole");
}

/// A file that nobody pinned is trusted as it is, so that damage to its code is the process's as well. Its header, which
/// decides how it is read, must not be able to do harm; this runs in processes of its own all the same.
#[test]
fn a_damaged_header_is_refused_or_harmless() {
    let good = fs::read(build::c_example().unwrap()).unwrap();
    let (_folder, path) = file(&good);
    let mut refused = 0;
    for byte in 0..64 {
        let mut bytes = good.clone();
        bytes[byte] ^= 1 << (byte % 8);
        fs::write(&path, &bytes).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_load_one")).arg(&path).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        match output.status.code() {
            Some(0) => assert!(said.starts_with("loaded: Ok(34)"), "byte {byte}: {said}"),
            Some(3) => refused += 1,
            other => panic!("byte {byte}: ended with {other:?} {:?}", output.status),
        }
    }
    assert!(refused > 20, "only {refused} damaged headers were refused");
}

#[tokio::test]
async fn a_file_that_others_may_write_is_refused_with_the_command_that_mends_it_or_the_pin_that_accepts_it() {
    let good = fs::read(build::c_example().unwrap()).unwrap();
    let (folder, path) = file(&good);
    let shown = path.display();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let text = refused(&path).await;
    let line = format!("sha256: [\"{}\"]", FileHash::of(&good));
    assert!(text.contains(&format!("chmod go-w {shown}")) && text.contains(&line), "{text}");

    let mut pinned = plugin::spec("pinned", &path);
    pinned.trust.sha256 = vec![FileHash::of(&good)];
    let (_, report) = plugin::load(pinned).await.unwrap();
    assert!(report.pinned);
    assert!(report.warnings.iter().any(|warning| warning.contains("chmod go-w")), "{:?}", report.warnings);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let text = refused(&path).await;
    assert!(text.contains(&format!("folder {} can be written", folder.path().display())), "{text}");
}

#[tokio::test]
async fn a_wrong_pin_is_refused_with_the_line_that_accepts_the_file() {
    let good = build::c_example().unwrap();
    let mut spec = plugin::spec("vault", good);
    spec.trust.sha256 = vec![FileHash([7; 32])];
    let text = plugin::refusal(spec).await.unwrap();
    let (old, new) = (FileHash([7; 32]), FileHash::of(&fs::read(good).unwrap()));
    assert!(text.contains(&format!("sha256: [\"{old}\", \"{new}\"]")), "{text}");
    assert!(text.contains("entry \"vault\" of keyway.managers"), "{text}");

    let mut spec = plugin::spec("vault", good);
    spec.trust.require = keyway::loader::verify::Require::Pin;
    let text = plugin::refusal(spec).await.unwrap();
    assert!(text.contains("is not pinned") && text.contains(&format!("sha256: [\"{new}\"]")), "{text}");
}

#[tokio::test]
async fn a_file_that_is_replaced_after_it_was_loaded_changes_nothing_until_it_is_loaded_again() {
    let good = build::faulty_table("replaced", &["-DMINOR=31"]).unwrap();
    let next = build::faulty_table("replacement", &["-DMINOR=32"]).unwrap();
    let (_folder, path) = file(&fs::read(good).unwrap());
    let (running, first) = plugin::load(plugin::spec("running", &path)).await.unwrap();
    fs::write(&path, fs::read(next).unwrap()).unwrap();
    assert_eq!(read(&*running, "any").await.unwrap().expose_bytes(), VALUE);
    let (_, second) = plugin::load(plugin::spec("next", &path)).await.unwrap();
    assert_eq!((first.abi, second.abi), ((1, 31), (1, 32)));
    fs::write(&path, b"garbage").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(read(&*running, "any").await.unwrap().expose_bytes(), VALUE);
}

#[tokio::test]
async fn a_private_copy_serves_as_well_as_sealed_memory_and_leaves_no_file() {
    let library = build::faulty_table("private", &["-DMINOR=41"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut spec = plugin::spec("private", &library);
    spec.trust.load_from = keyway::loader::verify::LoadFrom::PrivateCopy;
    spec.trust.private_dir = Some(folder.path().to_owned());
    let (manager, report) = plugin::load(spec).await.unwrap();
    assert_eq!(report.copy, "private copy");
    assert_eq!(read(&*manager, "any").await.unwrap().expose_bytes(), VALUE);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The dynamic linker lets nobody else in meanwhile, so that this is a matter for a process of its own.
#[test]
fn a_library_that_hangs_while_it_is_opened_is_named_and_so_is_it_to_those_behind_it() {
    let source = build::repository().join("tests/plugins/hanging.c");
    let folder = tempfile::tempdir().unwrap();
    let hanging = build::c_library(&source, folder.path(), "hanging", &[]).unwrap();
    let behind = build::faulty_table("behind", &["-DMINOR=91"]).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_load_one"))
        .args([&hanging, &behind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take().unwrap();
    let mut lines = io::BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (first, second) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(first.contains("libhanging.so was not open within 2s: its constructors"), "{first}");
    assert!(second.contains("libbehind.so was not opened, because"), "{second}");
    assert!(second.contains("libhanging.so has been opening for more than 2s"), "{second}");
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
