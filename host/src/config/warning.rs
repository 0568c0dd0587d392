//! What is not wrong enough to stop, but worth a word.

use std::{fmt, path::Path, sync::Arc};

use super::location::{Location, Place};

/// Something that is not wrong enough to stop, but that its author will want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The setting and where it stands.
    pub place: Place,
    /// What there is to know.
    pub message: String,
}

/// The warnings about one file, while it is being proven.
pub(super) struct Warnings {
    file: Arc<Path>,
    found: Vec<Warning>,
}

impl Warnings {
    pub(super) fn about(file: &Arc<Path>) -> Self {
        Self { file: file.clone(), found: Vec::new() }
    }

    pub(super) fn push(
        &mut self,
        setting: impl Into<String>,
        location: Option<Location>,
        message: impl Into<String>,
    ) {
        let place = Place { file: self.file.clone(), setting: setting.into(), location };
        self.found.push(Warning { place, message: message.into() });
    }

    pub(super) fn into_all(self) -> Vec<Warning> {
        self.found
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place.position(), self.place.setting, self.message)
    }
}
