//! Where a plugin is looked for, what is shared between loads, and where its log lines go.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
};

use keyway::loader::PluginSpec;
use keyway_tests::{
    build,
    misbehaving::{Control, instance, read, spec},
    plugin,
};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

/// A folder with a configuration's neighbours, and two plugin folders.
fn folders() -> (TempDir, PluginSpec) {
    let root = tempfile::tempdir().unwrap();
    for folder in ["config", "first", "second"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    let mut spec = plugin::spec("vault", Path::new("/"));
    spec.reference = "acme_vault.Vault".to_owned();
    spec.setting = "general_settings.key_management_settings.custom_secret_manager".to_owned();
    spec.config_dir = root.path().join("config");
    spec.plugin_dirs = vec!["../first".into(), root.path().join("second")];
    (root, spec)
}

fn again(spec: &PluginSpec) -> PluginSpec {
    PluginSpec {
        name: spec.name.clone(),
        reference: spec.reference.clone(),
        setting: spec.setting.clone(),
        config_dir: spec.config_dir.clone(),
        plugin_dirs: spec.plugin_dirs.clone(),
        config: spec.config.clone(),
        trust: spec.trust.clone(),
        ..*spec
    }
}

#[tokio::test]
async fn the_folder_of_the_configuration_comes_first_and_the_plugin_folders_follow_in_order() {
    let (root, spec) = folders();
    // The last place first, so that each new one must come before those that are there.
    let places =
        ["second/acme_vault.so", "second/libacme_vault.so", "first/libacme_vault.so", "config/acme_vault.so"];
    for (minor, place) in (61..).zip(places) {
        let library = build::faulty_table(&format!("place_{minor}"), &[&format!("-DMINOR={minor}")]).unwrap();
        fs::copy(library, root.path().join(place)).unwrap();
        let (_, report) = plugin::load(again(&spec)).await.unwrap();
        assert_eq!(report.abi, (1, minor), "{place}");
        assert_eq!(report.path.canonicalize().unwrap(), root.path().canonicalize().unwrap().join(place));
    }
}

#[tokio::test]
async fn a_plugin_that_is_nowhere_is_reported_with_every_place_and_never_taken_from_the_current_folder() {
    let (root, spec) = folders();
    let here = std::env::current_dir().unwrap();
    let text = plugin::refusal(again(&spec)).await.unwrap();
    for place in ["config", "first", "second"] {
        assert!(text.contains(&format!("{place}/libacme_vault.so (missing)")), "{text}");
        assert!(text.contains(&format!("{place}/acme_vault.so (missing)")), "{text}");
    }
    assert!(text.contains("custom_secret_manager") && text.contains("acme_vault.Vault"), "{text}");
    assert!(!text.contains(&format!(" {}/libacme_vault.so", here.display())), "{text}");

    fs::write(root.path().join("config/acme_vault.py"), "class Vault: pass\n").unwrap();
    let text = plugin::refusal(again(&spec)).await.unwrap();
    assert!(
        text.contains("acme_vault.py is Python source") && text.contains("examples/my-secret-manager"),
        "{text}"
    );
}

#[tokio::test]
async fn a_bad_candidate_blocks_no_other_and_is_mentioned() {
    let (root, spec) = folders();
    fs::write(root.path().join("config/libacme_vault.so"), "words").unwrap();
    let library = build::faulty_table("candidate", &["-DMINOR=71"]).unwrap();
    fs::copy(library, root.path().join("first/libacme_vault.so")).unwrap();
    let (_, report) = plugin::load(spec).await.unwrap();
    assert_eq!(report.abi, (1, 71));
    assert!(
        report.warnings.iter().any(|warning| warning.contains("is a text file")),
        "{:?}",
        report.warnings
    );
}

#[tokio::test]
async fn two_loads_of_the_same_content_share_one_library() {
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("another_name.so");
    fs::copy(build::misbehaving().unwrap(), &path).unwrap();
    let (_kept, _) = plugin::load(plugin::spec_of("shared", &path, "Misbehaving")).await.unwrap();
    // The journal is a static of the library: it is found by an instance of the other file.
    let control = Control::new("shared control").await.unwrap();
    assert_eq!(control.journal("shared").await.unwrap(), "create;");
}

#[tokio::test]
async fn the_configuration_reaches_the_plugin_as_json() {
    let mut spec = spec("configured", "Misbehaving").unwrap();
    spec.config = serde_json::json!({"a": [1, "ä\n"], "b": {"c": null}});
    let (manager, _) = plugin::load(spec).await.unwrap();
    let text = read(&*manager, "config").await.unwrap();
    let config: serde_json::Value = serde_json::from_slice(text.expose_bytes()).unwrap();
    assert_eq!(config, serde_json::json!({"a": [1, "ä\n"], "b": {"c": null}}));
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Reads with a subscriber of this level and returns what it wrote.
async fn logged(level: tracing::Level, name: &str) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(writer).finish();
    let _inside = tracing::subscriber::set_default(subscriber);
    let manager = instance(name, "Misbehaving").await.unwrap();
    read(&*manager, "log").await.unwrap();
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn log_lines_of_a_plugin_reach_the_log_of_the_host_at_their_level() {
    let text = logged(tracing::Level::TRACE, "log all").await;
    let line = |wanted: &str| text.lines().find(|line| line.contains(wanted)).unwrap_or_default().to_owned();
    for (level, words) in [
        ("ERROR", "line of an error"),
        ("WARN", "line of a warning"),
        ("INFO", "line of an information"),
        ("DEBUG", "line of a debugger"),
        ("TRACE", "line of a trace"),
    ] {
        assert!(line(words).contains(level), "{text}");
        assert!(
            line(words).contains("keyway::plugin") && line(words).contains("component=\"misbehaving\""),
            "{text}"
        );
    }
    assert!(line("two lines \u{fffd}").contains("INFO"), "{text}");
    let text = logged(tracing::Level::WARN, "log some").await;
    assert!(text.contains("line of a warning") && !text.contains("line of an information"), "{text}");
}
