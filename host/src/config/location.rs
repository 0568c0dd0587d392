//! Where something stands in a configuration file.

use std::{fmt, path::Path, sync::Arc};

/// A line and a column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A setting and where it stands, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The configuration file, as it was named.
    pub file: Arc<Path>,
    /// The path of the setting, such as `model_list[0].litellm_params.api_key`.
    pub setting: String,
    /// Where its value begins; unknown for what the file does not spell out.
    pub location: Option<Location>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Place {
    /// File, line and column, as compilers write them.
    pub fn position(&self) -> String {
        let location = self.location.map(|location| format!(":{location}")).unwrap_or_default();
        format!("{}{location}", self.file.display())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.position(), self.setting)
    }
}

/// Adds a key to the path of a setting; a key that holds a dot is quoted.
pub(super) fn join_key(parent: &str, key: &str) -> String {
    let quoted = if key.contains(['.', '[', ' ']) { format!("\"{key}\"") } else { key.to_owned() };
    match parent {
        "" => quoted,
        parent => format!("{parent}.{quoted}"),
    }
}

/// Adds the index of a list item to the path of a setting.
pub(super) fn join_index(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_like_a_compiler_message() {
        let place = Place {
            file: Path::new("config.yaml").into(),
            setting: join_key(&join_index("model_list", 0), "api_key"),
            location: Some(Location { line: 9, column: 16 }),
        };
        assert_eq!(place.to_string(), "config.yaml:9:16 (model_list[0].api_key)");
    }

    #[test]
    fn a_key_with_a_dot_is_one_segment() {
        assert_eq!(join_key("keyway.managers", "a.B"), "keyway.managers.\"a.B\"");
    }
}
