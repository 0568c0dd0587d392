//! `keyway plugin`: looks at files that may be plugins, and loads none of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::{Failure, output, table};
use crate::loader::{
    compare_fingerprint,
    inspect::Inspection,
    locate::LIBRARY_EXTENSIONS,
    verify::{InspectedFile, VerifyError, inspect_file},
};

/// What can be done with plugin files.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the libraries in folders: what they say they are, and whether this host would load them.
    #[command(after_help = "Example:\n  keyway plugin list ./plugins /usr/lib/keyway --json")]
    List {
        /// The folders; the current one when none is given.
        #[arg(value_name = "DIR")]
        folders: Vec<PathBuf>,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Show everything that can be known about one file without loading it.
    #[command(after_help = "Example:\n  keyway plugin inspect ./libacme_vault.so")]
    Inspect {
        /// The file.
        file: PathBuf,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
}

/// Prints what is found; a file that this host would not load fails `inspect`, and is a row of `list`.
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List { folders, json } => list(&folders, json),
        Command::Inspect { file, json } => inspect(&file, json),
    }
}

fn list(folders: &[PathBuf], as_json: bool) -> Result<(), Failure> {
    let here = [PathBuf::from(".")];
    let folders = if folders.is_empty() { &here } else { folders };
    let mut found = Vec::new();
    for folder in folders {
        for path in libraries(folder).map_err(Failure::failed)? {
            found.push((path.clone(), inspect_file(&path)));
        }
    }
    if as_json {
        let files: Vec<Value> = found.iter().map(|(path, file)| to_json(path, file)).collect();
        output::write(format!("{:#}\n", Value::Array(files)).as_bytes())
    } else if found.is_empty() {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Failure::note(&format!("no libraries in {}", folders.join(", ")));
        Ok(())
    } else {
        let rows: Vec<_> = found.iter().map(|(path, file)| row(path, file)).collect();
        let heading = ["FILE", "PLUGIN", "VERSION", "VENDOR", "MANAGER TYPES", "STATUS"];
        output::write(table::render(&heading, &rows).as_bytes())
    }
}

/// The files of a folder that have a library's extension, by name; no folder below it.
fn libraries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list the folder {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list the folder {}", folder.display()))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| LIBRARY_EXTENSIONS.contains(&extension)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn row(path: &Path, file: &Result<InspectedFile, VerifyError>) -> Vec<String> {
    let manifest = file.as_ref().ok().and_then(|file| file.inspection.as_ref().ok()?.manifest.as_ref());
    let of_manifest = |text: fn(&keyway_plugin_api::manifest::Manifest) -> String| {
        manifest.map_or_else(
            || "-".to_owned(),
            |manifest| Some(text(manifest)).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned()),
        )
    };
    vec![
        path.display().to_string(),
        of_manifest(|manifest| manifest.id.clone()),
        of_manifest(|manifest| manifest.version.clone()),
        of_manifest(|manifest| manifest.vendor.clone()),
        of_manifest(|manifest| manifest.managers.join(", ")),
        status(file),
    ]
}

/// Whether this host would load the file, in one line.
fn status(file: &Result<InspectedFile, VerifyError>) -> String {
    match file {
        Err(error) => chain(error),
        Ok(file) => match refusal(file) {
            Some(refusal) => format!("refused: {refusal}"),
            None if !file.ownership.is_empty() => "refused unless pinned: others can change it".to_owned(),
            None => match manifest_fault(file) {
                Some(fault) => format!("ok, but its manifest is unusable: {fault}"),
                None => "ok".to_owned(),
            },
        },
    }
}

/// What is wrong with a manifest that is there: the file is used without it.
fn manifest_fault(file: &InspectedFile) -> Option<String> {
    Some(file.inspection.as_ref().ok()?.manifest_fault.as_ref()?.to_string())
}

/// Why this host would not load the file, whoever owns it.
fn refusal(file: &InspectedFile) -> Option<String> {
    if let Some(refusal) = &file.refusal {
        return Some(refusal.to_string());
    }
    let words = file.inspection.as_ref().ok()?.fingerprint.as_ref()?;
    compare_fingerprint(words)
        .err()
        .map(|fault| format!("has another layout of the plugin interface: {fault}"))
}

fn inspect(path: &Path, as_json: bool) -> Result<(), Failure> {
    let file = inspect_file(path);
    if as_json {
        output::write(format!("{:#}\n", to_json(path, &file)).as_bytes())?;
    }
    let file = file.map_err(Failure::failed)?;
    if !as_json {
        let lines = facts(&file).into_iter().map(|(what, text)| format!("{what:<14} {text}\n"));
        output::write(lines.collect::<String>().as_bytes())?;
    }
    match refusal(&file) {
        Some(refusal) => Err(Failure::failed(anyhow!("{} {refusal}", path.display()))),
        None => Ok(()),
    }
}

fn facts(file: &InspectedFile) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("file", file.path.display().to_string()),
        ("size", format!("{} bytes", file.len)),
        ("sha256", file.sha256.to_string()),
    ];
    if let Ok(found) = &file.inspection {
        facts.push(("format", format!("{} for {}", found.format, found.architecture)));
        match (&found.manifest, &found.manifest_fault) {
            (Some(manifest), _) => facts.extend([
                ("plugin", format!("{} {}", manifest.id, manifest.version)),
                ("vendor", manifest.vendor.clone()),
                ("manager types", manifest.managers.join(", ")),
                ("interface", format!("{}.{}", manifest.abi.0, manifest.abi.1)),
            ]),
            (None, Some(fault)) => facts.push(("manifest", format!("unusable: {fault}"))),
            (None, None) => facts.push(("manifest", "none".to_owned())),
        }
        facts.push(("layout", layout(found)));
        if let Some((major, minor)) = found.glibc {
            facts.push(("needs", format!("GLIBC_{major}.{minor}")));
        }
        if found.is_go {
            facts.push(("runtime", "Go; one process can hold only one such plugin".to_owned()));
        }
    }
    facts.extend(file.ownership.iter().map(|fault| ("ownership", fault.to_string())));
    facts.push(("to pin it", format!("sha256: [\"{}\"]", file.sha256)));
    facts
}

fn layout(found: &Inspection) -> String {
    match found.fingerprint.as_deref().map(compare_fingerprint) {
        Some(Ok(())) => "verified by its fingerprint".to_owned(),
        Some(Err(fault)) => fault.to_string(),
        None => "unverified: the file has no fingerprint".to_owned(),
    }
}

fn to_json(path: &Path, file: &Result<InspectedFile, VerifyError>) -> Value {
    let file = match file {
        Ok(file) => file,
        Err(error) => return json!({"file": path, "loadable": false, "refusal": chain(error)}),
    };
    let found = file.inspection.as_ref().ok();
    let manifest = found.and_then(|found| found.manifest.as_ref());
    let refusal = refusal(file);
    json!({
        "file": path,
        "size": file.len,
        "sha256": file.sha256.to_string(),
        "loadable": refusal.is_none(),
        "refusal": refusal,
        "ownership": file.ownership.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "format": found.map(|found| found.format.to_string()),
        "architecture": found.map(|found| &found.architecture),
        "id": manifest.map(|manifest| &manifest.id),
        "version": manifest.map(|manifest| &manifest.version),
        "vendor": manifest.map(|manifest| &manifest.vendor),
        "abi": manifest.map(|manifest| format!("{}.{}", manifest.abi.0, manifest.abi.1)),
        "manifest_fault": manifest_fault(file),
        "manager_types": manifest.map(|manifest| &manifest.managers),
        "layout": found.map(layout),
        "glibc": found.and_then(|found| found.glibc).map(|(major, minor)| format!("{major}.{minor}")),
        "go": found.map(|found| found.is_go),
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
