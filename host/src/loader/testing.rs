//! Real libraries for the tests, built by the system's compiler.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A library that passes every static check.
pub(super) const PLUGIN: &str = r#"
__attribute__((section(".keyway.manifest"), used)) static const char manifest[] =
    "keyway-manifest 1\nid=test-plugin\nversion=0.1.0\nvendor=Tests\nabi=1.0\nmanagers=A,B\n";
const unsigned keyway_abi_fingerprint_v1[] = {0x4B575946u, 4u, 11u, 12u};
static int counter;
int *table[] = {&counter};
const void *keyway_plugin_entry_v1(const void *host) { counter++; return host ? table[0] : 0; }
"#;

/// Compiles C into a shared library and gives its bytes.
pub(super) fn compile(source: &str, flags: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("plugin.c"), dir.path().join("plugin.so"));
    fs::write(&input, source).unwrap();
    let compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .arg(&output)
        .arg(&input)
        .args(flags)
        .output()
        .unwrap();
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    fs::read(output).unwrap()
}

/// The bytes of [`PLUGIN`], compiled once.
pub(super) fn plugin() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| compile(PLUGIN, &[]))
}

/// A temporary folder that only its owner may write to, whatever the umask of whoever runs the tests.
pub(super) fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Writes a file whose mode does not depend on the umask of whoever runs the tests.
pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;

    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}
