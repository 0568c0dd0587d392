//! The value of `custom_secret_manager`, taken apart.

use std::{
    fmt,
    path::{MAIN_SEPARATOR, PathBuf},
    str::FromStr,
};

use keyway_plugin_api::manifest::is_printable;

use super::LIBRARY_EXTENSIONS;

/// What names a plugin: a module and a type, or the path of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginReference {
    /// `my_secret_manager.InMemorySecretManager`.
    Module {
        /// The file's name without prefix and extension, folders before it with dots.
        module: String,
        /// The manager type in it.
        type_name: String,
    },
    /// `./plugins/libacme_vault.so`, with `:AcmeVault` behind it when it offers several types.
    Path {
        /// The file.
        path: PathBuf,
        /// The manager type in it.
        type_name: Option<String>,
    },
}

impl PluginReference {
    /// The manager type that is asked for.
    pub fn type_name(&self) -> Option<&str> {
        match self {
            Self::Module { type_name, .. } => Some(type_name),
            Self::Path { type_name, .. } => type_name.as_deref(),
        }
    }
}

impl fmt::Display for PluginReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module { module, type_name } => write!(f, "{module}.{type_name}"),
            Self::Path { path, type_name: Some(name) } => write!(f, "{}:{name}", path.display()),
            Self::Path { path, type_name: None } => path.display().fmt(f),
        }
    }
}

impl FromStr for PluginReference {
    type Err = ReferenceError;

    fn from_str(value: &str) -> Result<Self, ReferenceError> {
        let text = value.trim();
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if !text.chars().all(is_printable) {
            return Err(ReferenceError::Unprintable);
        }
        let value = text.to_owned();
        if text.contains("://") {
            return Err(ReferenceError::Url { value });
        }
        let (file, type_name) = split_type(text);
        if type_name == Some("") {
            return Err(ReferenceError::NoTypeAfterColon { value });
        }
        if file.ends_with(".py") {
            return Err(ReferenceError::Python { value });
        }
        if file.contains(is_separator) || has_library_extension(file) {
            if file.is_empty() || file.ends_with(is_separator) {
                return Err(ReferenceError::NoFile { value });
            }
            return Ok(Self::Path { path: file.into(), type_name: type_name.map(str::to_owned) });
        }
        if type_name.is_some() {
            return Err(ReferenceError::ColonInModule { value });
        }
        match text.rsplit_once('.') {
            None => Err(ReferenceError::NoType { value }),
            Some((module, type_name)) if type_name.is_empty() || module.split('.').any(str::is_empty) => {
                Err(ReferenceError::EmptyPart { value })
            }
            Some((module, type_name)) => {
                Ok(Self::Module { module: module.to_owned(), type_name: type_name.to_owned() })
            }
        }
    }
}

/// Why a value names no plugin; each text continues a sentence that begins with the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing at all.
    #[error(
        "is empty: write module.Type, such as my_secret_manager.InMemorySecretManager, or a library's path"
    )]
    Empty,
    /// A character that cannot be in a name.
    #[error("holds a control character: write module.Type or a library's path")]
    Unprintable,
    /// An address in the network.
    #[error(
        "is \"{value}\", an address: plugins are loaded from files only, so download it and give its path"
    )]
    Url {
        /// The value.
        value: String,
    },
    /// A Python file.
    #[error(
        "is \"{value}\", Python source, which this host does not run: write the class as a plugin, as in \
         examples/my-secret-manager, and name the built library or module.Type"
    )]
    Python {
        /// The value.
        value: String,
    },
    /// A folder, or only a type.
    #[error("is \"{value}\", which names no file: write the path of the library, not of its folder")]
    NoFile {
        /// The value.
        value: String,
    },
    /// A module without a type.
    #[error(
        "is \"{value}\", a module without a type: write {value}.Type with the name of a manager type in it, or \
         the path of the library (./lib{value}.{})",
        std::env::consts::DLL_EXTENSION
    )]
    NoType {
        /// The value.
        value: String,
    },
    /// A colon with nothing behind it.
    #[error("is \"{value}\": a manager type must follow the colon")]
    NoTypeAfterColon {
        /// The value.
        value: String,
    },
    /// The form of a path with the name of a module.
    #[error(
        "is \"{value}\": a module and its type are joined by a dot (module.Type), only a path takes a colon"
    )]
    ColonInModule {
        /// The value.
        value: String,
    },
    /// Two dots in a row, or one at an end.
    #[error("is \"{value}\", which has an empty part: write module.Type with one dot between the parts")]
    EmptyPart {
        /// The value.
        value: String,
    },
}

/// Splits `path:Type`; a colon with a separator behind it belongs to the path, as in `C:\plugins`.
fn split_type(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((file, type_name)) if !type_name.contains(is_separator) => (file, Some(type_name)),
        _ => (text, None),
    }
}

fn is_separator(character: char) -> bool {
    character == '/' || character == MAIN_SEPARATOR
}

fn has_library_extension(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, extension)| LIBRARY_EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(module: &str, type_name: &str) -> PluginReference {
        PluginReference::Module { module: module.into(), type_name: type_name.into() }
    }

    fn path(path: &str, type_name: Option<&str>) -> PluginReference {
        PluginReference::Path { path: path.into(), type_name: type_name.map(str::to_owned) }
    }

    #[test]
    fn modules_and_paths_are_told_apart_and_print_as_they_were_written() {
        let cases = [
            ("my_secret_manager.InMemorySecretManager", module("my_secret_manager", "InMemorySecretManager")),
            ("vaults.acme.Vault", module("vaults.acme", "Vault")),
            ("./plugins/libacme.so", path("./plugins/libacme.so", None)),
            ("libacme.so:Vault", path("libacme.so", Some("Vault"))),
            ("/opt/acme:Vault", path("/opt/acme", Some("Vault"))),
            ("/opt/a:b/acme.so", path("/opt/a:b/acme.so", None)),
            ("acme.dll", path("acme.dll", None)),
        ];
        for (text, expected) in cases {
            let parsed: PluginReference = text.parse().unwrap();
            assert_eq!(parsed, expected);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn each_malformed_value_has_an_error_of_its_own() {
        let fault = |text: &str| text.parse::<PluginReference>().unwrap_err();
        let value = String::from;
        assert_eq!(fault(" "), ReferenceError::Empty);
        assert_eq!(fault("a\u{1b}.B"), ReferenceError::Unprintable);
        assert_eq!(fault("s3://bucket/m.A"), ReferenceError::Url { value: value("s3://bucket/m.A") });
        assert_eq!(fault("./m.py"), ReferenceError::Python { value: value("./m.py") });
        assert_eq!(fault("m.py"), ReferenceError::Python { value: value("m.py") });
        assert_eq!(fault("./plugins/"), ReferenceError::NoFile { value: value("./plugins/") });
        assert_eq!(fault("m"), ReferenceError::NoType { value: value("m") });
        assert_eq!(fault("./m.so:"), ReferenceError::NoTypeAfterColon { value: value("./m.so:") });
        assert_eq!(fault("m:A"), ReferenceError::ColonInModule { value: value("m:A") });
        for text in [".A", "m.", "a..B"] {
            assert_eq!(fault(text), ReferenceError::EmptyPart { value: value(text) });
        }
    }
}
