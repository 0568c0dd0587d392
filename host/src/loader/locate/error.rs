//! Why no file was found.

use std::{fmt, path::PathBuf};

pub(super) const MISSING: &str = "missing";

/// A place that was looked in without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The file.
    pub path: PathBuf,
    /// Why it was not taken.
    pub reason: String,
}

impl Refused {
    /// Whether there simply is no such file.
    pub fn is_missing(&self) -> bool {
        self.reason == MISSING
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_missing() {
            write!(f, "{} (missing)", self.path.display())
        } else {
            write!(f, "{} ({})", self.path.display(), self.reason)
        }
    }
}

/// No file was found for a reference.
#[derive(Clone, Debug)]
pub struct LocateError {
    /// The setting that holds the reference.
    pub setting: String,
    /// Its value.
    pub reference: String,
    /// Whether that is a path, and not a module that is looked for.
    pub is_path: bool,
    /// Each place looked in, in order.
    pub refused: Vec<Refused>,
    /// The Python source that the original would have taken.
    pub python: Option<PathBuf>,
}

impl fmt::Display for LocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot find the plugin that {} names ({}): looked for ", self.setting, self.reference)?;
        for (index, refused) in self.refused.iter().enumerate() {
            write!(f, "{}{refused}", if index > 0 { ", " } else { "" })?;
        }
        match &self.python {
            Some(source) => write!(
                f,
                "; {} is Python source, which this host does not run: write the class as a plugin, as in \
                 examples/my-secret-manager, build it and copy the library beside the configuration",
                source.display()
            ),
            None => write!(f, "; {}", self.advice()),
        }
    }
}

impl LocateError {
    fn advice(&self) -> &'static str {
        let is_missing = self.refused.iter().all(Refused::is_missing);
        match (self.is_path, is_missing) {
            (true, true) => {
                "copy the library there, or correct the path, which begins at the folder of the configuration unless it is absolute"
            }
            (true, false) => "put the plugin's library for this system in its place, or correct the path",
            (false, true) => {
                "copy the library to one of these places, or name its folder under keyway.plugin_dirs"
            }
            (false, false) => {
                "put the plugin's library for this system in the place of what is no such library, or name the folder of the \
                 right one under keyway.plugin_dirs"
            }
        }
    }
}

impl std::error::Error for LocateError {}
