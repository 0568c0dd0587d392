//! Which names of secrets can be names of files.

use keyway_plugin_api::{Error, ErrorKind, Result};

/// The longest name of one file on the common file systems, in bytes.
const MAX_COMPONENT: usize = 255;

const TEMPORARY_START: &str = ".keyway-";
const TEMPORARY_END: &str = ".tmp";

/// Refuses a name that is no path below the folder, or that belongs to somebody else in there.
pub(crate) fn check(name: &str) -> Result<()> {
    let fault = name.split('/').find_map(|part| match part {
        "" => Some("begins or ends with a slash or has two in a row"),
        "." => Some("has a part that is `.`"),
        // `..` itself, and `..data` with its neighbours, which Kubernetes keeps for itself.
        _ if part.starts_with("..") => Some("has a part that begins with `..`"),
        _ if part.len() > MAX_COMPONENT => Some("has a part of more than 255 bytes"),
        _ if is_temporary(part) => Some("is one that unfinished writes have"),
        _ => None,
    });
    match fault {
        None => Ok(()),
        Some(fault) => {
            let message = format!("the name {name} cannot be that of a file below the folder: it {fault}");
            Err(Error::new(ErrorKind::InvalidName, message))
        }
    }
}

/// A name for a file that is not finished yet.
pub(crate) fn temporary() -> String {
    format!("{TEMPORARY_START}{:016x}{TEMPORARY_END}", fastrand::u64(..))
}

/// Whether a file is not finished yet, or was left by a write that was killed.
pub(crate) fn is_temporary(file: &str) -> bool {
    file.starts_with(TEMPORARY_START) && file.ends_with(TEMPORARY_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_out_of_the_folder_are_no_names() {
        for bad in [
            "..",
            "../a",
            "a/../b",
            "a/..",
            "/etc/passwd",
            "a//b",
            "a/",
            "./a",
            "a/./b",
            "..data/a",
            "..2024",
        ] {
            assert_eq!(check(bad).unwrap_err().kind(), ErrorKind::InvalidName, "{bad}");
        }
        assert!(check(&"x".repeat(256)).is_err());
        assert!(check(&temporary()).is_err());
    }

    #[test]
    fn other_names_are_names_of_files() {
        for good in ["a", "a/b/c", ".dockerconfigjson", "a..b", "litellm/Schlüssel 1", "a\\b"] {
            assert!(check(good).is_ok(), "{good}");
        }
    }
}
