//! What an operator should know although it stops nothing.

use std::{fs, io, path::Path};

use crate::{
    config::Config,
    loader::{LoadReport, verify},
};

/// Says in the log what is doubtful about the file of a configuration.
pub fn on_file(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for fault in verify::who_could_change(&config.path) {
        tracing::warn!(
            "{}: somebody else could change this file, and with it which plugins are loaded and trusted: {fault}",
            config.path.display()
        );
    }
}

/// Says in the log what is doubtful about serving a configuration, of which these plugins were loaded.
pub fn on_serving(config: &Config, loaded: &[LoadReport]) {
    if config.models.is_empty() {
        let place = config.places.find("model_list");
        tracing::warn!(
            "{}: model_list: there is no model, so every request for one is answered with 404; add an entry",
            place.position()
        );
    }
    for warning in written_beside_plugins(config, loaded) {
        tracing::warn!("{warning}");
    }
}

/// Who may write a file into a folder may replace the others in it: what Keyway writes belongs elsewhere than what it runs.
fn written_beside_plugins(config: &Config, loaded: &[LoadReport]) -> Vec<String> {
    let audit = config.keyway.service.audit.as_ref();
    let local_api = config.keyway.local_api.as_ref();
    let written = [
        audit.map(|audit| ("keyway.audit.path", "the audit log", &audit.path, "audit")),
        local_api.map(|api| ("keyway.local_api.path", "the socket", &api.path, "run")),
    ];
    let mut warnings = Vec::new();
    for (setting, what, path, own_folder) in written.into_iter().flatten() {
        let beside = loaded.iter().find(|report| share_a_folder(path, &report.path));
        let Some(LoadReport { path: plugin, .. }) = beside else { continue };
        let name = Path::new(own_folder).join(path.file_name().unwrap_or_default());
        warnings.push(format!(
            "{}: {setting}: {what} {} is in the folder of the plugin {}, so this process must be able to write there and \
             could replace the plugin; make a folder for it and write `{}`, for example",
            config.places.find(setting).position(),
            path.display(),
            plugin.display(),
            name.display()
        ));
    }
    warnings
}

fn share_a_folder(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| fs::canonicalize(path.parent().ok_or(io::ErrorKind::NotFound)?);
    matches!((folder(one), folder(other)), (Ok(one), Ok(other)) if one == other)
}
