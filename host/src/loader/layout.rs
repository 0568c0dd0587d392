//! Whether plugin and host agree on the layout of the structs that they exchange.

use std::fmt;

use keyway_plugin_api::abi::{FINGERPRINT, FINGERPRINT_MAGIC, LAYOUTS};

/// By what the layout of a plugin was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// By the table of sizes and offsets that the plugin exports.
    pub fingerprint: bool,
    /// By the `abi_stable` root module.
    pub abi_stable: bool,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.fingerprint, self.abi_stable) {
            (true, true) => "verified (fingerprint, abi_stable)",
            (true, false) => "verified (fingerprint)",
            (false, true) => "verified (abi_stable)",
            (false, false) => "unverified",
        })
    }
}

/// The first difference between a plugin's layout and the host's.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The table does not begin or end as it should.
    #[error("its layout fingerprint is not one: {0}")]
    Malformed(String),
    /// A struct or member has another size or place.
    #[error("{what} is {plugin} in the plugin and {host} in this host")]
    Differs {
        /// The struct or member.
        what: String,
        /// In bytes.
        plugin: u32,
        /// In bytes.
        host: u32,
    },
    /// `abi_stable` found a difference.
    #[error("{0}")]
    AbiStable(String),
}

/// Compares a plugin's fingerprint with the host's, word by word.
///
/// A newer minor may have added structs at the end; those that this host knows must be the same.
///
/// # Errors
/// The first difference.
pub fn compare_fingerprint(words: &[u32]) -> Result<(), LayoutError> {
    let malformed = |text: String| Err(LayoutError::Malformed(text));
    match words {
        [FINGERPRINT_MAGIC, count, ..] if *count as usize == words.len() => {}
        [FINGERPRINT_MAGIC, count, ..] => {
            return malformed(format!("it says that it has {count} words and has {}", words.len()));
        }
        _ => return malformed("it does not begin with the right word".to_owned()),
    }
    if words.len() < FINGERPRINT.len() {
        return malformed(format!("it has {} words; {} are needed", words.len(), FINGERPRINT.len()));
    }
    let mut at = 2;
    for layout in LAYOUTS {
        let head = [
            ("the number", layout.id),
            ("the size", layout.size),
            ("the alignment", layout.align),
            ("the number of members", layout.members.len() as u32),
        ];
        let head = head.into_iter().map(|(what, host)| (format!("{what} of {}", layout.name), host));
        let members = layout
            .members
            .iter()
            .map(|(name, offset)| (format!("the offset of {}.{name}", layout.name), *offset));
        for (what, host) in head.chain(members) {
            let plugin = words[at];
            at += 1;
            if plugin != host {
                return Err(LayoutError::Differs { what, plugin, host });
            }
        }
    }
    Ok(())
}

/// Checks the `abi_stable` root module of a library, when it has one: its layout, and that it leads to the function
/// that the C entry is. `Ok(false)`: it has none, or one without a layout.
///
/// # Errors
/// The first difference in one line; the whole report goes to the log at debug level.
#[cfg(feature = "abi_stable")]
pub(super) fn check_root_module(
    header: Option<abi_stable::library::AbiHeaderRef>,
    entry: super::open::Entry,
) -> Result<bool, LayoutError> {
    use abi_stable::library::LibraryError;
    use keyway_plugin_api::ffi::PluginModule_Ref;

    let Some(header) = header else { return Ok(false) };
    let refused = |error: LibraryError| {
        let report = error.to_string();
        tracing::debug!(report, "abi_stable refuses the layout of the root module");
        LayoutError::AbiStable(first_difference(&report))
    };
    let header = header.upgrade().map_err(refused)?;
    if header.layout().is_none() {
        return Ok(false);
    }
    let module = header.init_root_module::<PluginModule_Ref>().map_err(refused)?;
    if !std::ptr::fn_addr_eq(module.entry(), entry) {
        return Err(LayoutError::AbiStable(
            "its abi_stable root module leads to another function than its C entry".to_owned(),
        ));
    }
    Ok(true)
}

/// The first difference of an `abi_stable` report, which may have thousands of lines: what follows its first `Error:`.
#[cfg(feature = "abi_stable")]
fn first_difference(report: &str) -> String {
    let lines = || report.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut difference = lines().skip_while(|line| !line.starts_with("Error:"));
    let what = difference.next().and_then(|line| line.strip_prefix("Error:"));
    let line = match what {
        Some(what) => {
            let rest: Vec<_> = difference.take_while(|line| !line.starts_with("Error:")).take(4).collect();
            format!("{}: {}", what.trim(), rest.join(" "))
        }
        None => lines().next().unwrap_or("abi_stable gives no reason").to_owned(),
    };
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_fingerprint_fits() {
        compare_fingerprint(&FINGERPRINT).unwrap();
    }

    #[test]
    fn a_newer_minor_may_add_structs_at_the_end() {
        let mut words = FINGERPRINT.to_vec();
        words.extend([99, 8, 8, 1, 0]);
        words[1] = words.len() as u32;
        compare_fingerprint(&words).unwrap();
    }

    #[test]
    fn the_first_difference_is_named() {
        let mut words = FINGERPRINT.to_vec();
        let manager = 2 + LAYOUTS
            .iter()
            .take_while(|layout| layout.name != "keyway_manager_v1")
            .map(|layout| 4 + layout.members.len())
            .sum::<usize>();
        words[manager + 4 + 6] += 8;
        let error = compare_fingerprint(&words).unwrap_err().to_string();
        assert_eq!(error, "the offset of keyway_manager_v1.create is 72 in the plugin and 64 in this host");
    }

    #[test]
    fn words_that_are_no_fingerprint_are_refused() {
        for words in [&[][..], &[1, 2, 3], &[FINGERPRINT_MAGIC, 9], &[FINGERPRINT_MAGIC, 2]] {
            assert!(matches!(compare_fingerprint(words), Err(LayoutError::Malformed(_))));
        }
    }

    #[cfg(feature = "abi_stable")]
    #[test]
    fn the_first_difference_of_a_report_is_one_line() {
        let report = "Compared <this>:\n  type:A\n0 error(s).\n1 error(s)inside:\n  Error:mismatched package\n  \
                      Expected:\n    a\n  Found:\n    b\n  Error:another\n";
        assert_eq!(first_difference(report), "mismatched package: Expected: a Found: b");
        assert_eq!(first_difference("\nno magic\n"), "no magic");
    }
}
