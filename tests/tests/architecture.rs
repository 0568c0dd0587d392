//! The absences that the architecture promises: what may not name what, and where unsafe code may not be.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use keyway_tests::build::repository;

/// A source file without its comments and its tests.
struct Source {
    /// From the root of the repository.
    path: PathBuf,
    /// Line number and text.
    lines: Vec<(usize, String)>,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let tests =
            text.find("\n#[cfg(test)]\nmod tests {").or(text.find("\n#[cfg(all(test")).unwrap_or(text.len());
        let lines = text[..tests].lines().map(|line| match line.find("//") {
            // An address in a text is no comment.
            Some(at) if !line[..at].ends_with(':') => &line[..at],
            _ => line,
        });
        let lines = (1..).zip(lines.map(str::to_owned)).filter(|(_, line)| !line.trim().is_empty()).collect();
        Source { path: path.strip_prefix(repository()).unwrap().to_owned(), lines }
    }

    /// The modules of the crate that it names, as `crate::module` or in a group.
    fn names(&self) -> Vec<String> {
        let text: String = self.lines.iter().map(|(_, line)| line.trim()).collect::<Vec<_>>().join(" ");
        let mut found = Vec::new();
        for (at, root) in text.match_indices("crate::") {
            let rest = &text[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(first_segments(group)),
                None => found.push(segment(rest)),
            }
        }
        found
    }

    fn line_with(&self, word: &str) -> Option<String> {
        let line = self.lines.iter().find(|(_, line)| has_word(line, word));
        line.map(|(number, line)| format!("{}:{number}: {}", self.path.display(), line.trim()))
    }
}

fn segment(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first segments of `a::b, c, d::{e, f}}...` up to the brace that closes the group.
fn first_segments(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut found = vec![segment(group)];
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(segment(&group[at + 1..])),
            _ => {}
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

/// All Rust sources below a folder, those of tests left out; a missing folder has none.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_test = ["tests.rs", "testing.rs", "published.rs"].contains(&name.as_str());
            match path.is_dir() {
                true if !["target", "tests", "benches"].contains(&name.as_str()) => folders.push(path),
                false if name.ends_with(".rs") && !is_test => found.push(Source::read(&path)),
                _ => {}
            }
        }
    }
    found
}

/// A module of the host: a folder, or a file of its name.
fn module(name: &str) -> Vec<Source> {
    let mut found = sources(&format!("host/src/{name}"));
    let file = repository().join(format!("host/src/{name}.rs"));
    found.extend(file.is_file().then(|| Source::read(&file)));
    found
}

#[test]
fn no_module_of_the_host_names_one_that_it_may_not() {
    let absent: [(&str, &[&str]); 11] = [
        ("config", &["loader", "worker", "service", "registry", "gateway", "keys", "cli", "startup"]),
        ("loader", &["config", "worker", "service", "registry", "gateway", "keys", "cli", "startup"]),
        ("worker", &["config", "service", "registry", "gateway", "keys", "cli", "startup"]),
        ("service", &["loader", "worker", "gateway", "keys", "cli", "startup"]),
        ("registry", &["gateway", "keys", "cli"]),
        ("keys", &["loader", "worker", "gateway", "cli", "startup"]),
        ("gateway", &["loader", "worker", "registry", "cli", "startup"]),
        ("startup", &["cli"]),
        ("local_api", &["loader", "worker", "registry", "gateway", "keys", "cli", "startup"]),
        (
            "telemetry",
            &["loader", "worker", "service", "registry", "gateway", "keys", "cli", "startup", "local_api"],
        ),
        (
            "duration",
            &["config", "loader", "worker", "service", "registry", "gateway", "keys", "cli", "startup"],
        ),
    ];
    let mut looked_at = 0;
    for (name, absent) in absent {
        for source in module(name) {
            looked_at += 1;
            for named in source.names() {
                let allowed = !absent.contains(&named.as_str());
                assert!(allowed, "{} names crate::{named}", source.path.display());
            }
        }
    }
    assert!(looked_at > 40, "only {looked_at} files were found");
}

#[test]
fn a_group_of_imports_is_read_like_single_ones() {
    assert_eq!(first_segments("a::{b, c}, d, e::f}, g"), ["a", "d", "e"]);
    assert_eq!(first_segments(" config::Env, }"), ["config"]);
    assert!(has_word("use keyway::x", "keyway") && !has_word("keyway_memory", "keyway"));
}

#[test]
fn within_the_plugin_interface_what_is_safe_names_nothing_of_the_boundary() {
    for file in ["manager", "request", "secret", "error", "config"] {
        let source = Source::read(&repository().join(format!("plugin-api/src/{file}.rs")));
        for named in source.names() {
            let allowed = !["ffi", "abi", "export", "runtime"].contains(&named.as_str());
            assert!(allowed, "{} names crate::{named}", source.path.display());
        }
    }
}

#[test]
fn neither_the_plugin_interface_nor_a_plugin_names_the_host() {
    for folder in ["plugin-api/src", "plugins", "examples/my-secret-manager/src"] {
        let found = sources(folder);
        assert!(!found.is_empty(), "{folder} has no sources");
        for source in found {
            let line = source.line_with("keyway").filter(|line| line.contains("keyway::"));
            assert_eq!(line, None, "only the host's own crates name it");
        }
    }
    for manifest in manifests("plugins").into_iter().chain([repository().join("plugin-api/Cargo.toml")]) {
        let text = fs::read_to_string(&manifest).unwrap();
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or_default();
        for line in dependencies.lines().filter(|line| line.starts_with("keyway")) {
            assert!(line.starts_with("keyway-plugin-api"), "{} depends on {line}", manifest.display());
        }
    }
}

fn manifests(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path().join("Cargo.toml")).filter(|path| path.is_file()).collect()
}

#[test]
fn the_host_names_no_plugin() {
    let names: Vec<String> = manifests("plugins")
        .iter()
        .flat_map(|manifest| {
            let text = fs::read_to_string(manifest).unwrap();
            let names = text
                .lines()
                .filter_map(|line| line.strip_prefix("name = "))
                .map(|name| name.trim_matches('"'));
            names.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(names.contains(&"keyway_memory".to_owned()), "{names:?}");
    for source in sources("host/src") {
        for name in &names {
            assert_eq!(source.line_with(name), None, "the host knows the plugin {name}");
        }
    }
    let manifest = fs::read_to_string(repository().join("host/Cargo.toml")).unwrap();
    assert!(!manifest.contains("plugins/"), "the host depends on a plugin");
}

#[test]
fn unsafe_code_is_in_its_zones_only() {
    let zones = [
        "host/src/loader",
        "plugin-api/src/ffi",
        // Types of functions, and what the macro writes into the plugin.
        "plugin-api/src/abi.rs",
        "plugin-api/src/export.rs",
    ];
    let mut inside = 0;
    for folder in ["host/src", "plugin-api/src", "plugins", "examples"] {
        for source in sources(folder) {
            let found = source.line_with("unsafe");
            match zones.iter().any(|zone| source.path.starts_with(zone)) {
                true => inside += usize::from(found.is_some()),
                false => assert_eq!(found, None, "unsafe code outside its zones"),
            }
        }
    }
    assert!(inside > 5, "the zones have no unsafe code: is this looking at the right files?");
}

#[test]
fn the_lint_against_unsafe_code_is_lifted_at_the_gates_only() {
    let gates = ["host/src/loader/mod.rs", "plugin-api/src/ffi/mod.rs"];
    for folder in ["host/src", "plugin-api/src", "plugins", "examples"] {
        for source in sources(folder) {
            let lifted = source.lines.iter().any(|(_, line)| {
                has_word(line, "unsafe_code") && (line.contains("expect(") || line.contains("allow("))
            });
            let is_gate = gates.iter().any(|gate| source.path == Path::new(gate));
            assert_eq!(lifted, is_gate, "{}", source.path.display());
        }
    }
    let workspace = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"deny\""));
}
