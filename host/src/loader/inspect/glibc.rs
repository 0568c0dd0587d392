//! Versions of the GNU C library: what a plugin needs and what this process has.

use super::InspectError;

/// Refuses a plugin that needs a newer glibc than there is; when either is unknown, dlopen has the last word.
pub(super) fn check_glibc(
    needed: Option<(u32, u32)>,
    available: Option<(u32, u32)>,
) -> Result<(), InspectError> {
    match (needed, available) {
        (Some(needed), Some(available)) if needed > available => {
            Err(InspectError::Glibc { needed, available })
        }
        _ => Ok(()),
    }
}

/// Reads `GLIBC_2.36`; other names of versions, such as `GLIBC_PRIVATE`, are none.
pub(super) fn parse_glibc(name: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(name.strip_prefix(b"GLIBC_")?).ok()?;
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

/// The path of the C library out of the text of `/proc/self/maps`; none when its file was replaced since.
#[cfg(target_os = "linux")]
pub(super) fn libc_path(maps: &str) -> Option<&str> {
    maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..])).find(|path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name == "libc.so.6" || (name.starts_with("libc-2.") && name.ends_with(".so"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_glibc(b"GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(parse_glibc(b"GLIBC_PRIVATE"), None);
        assert!(check_glibc(Some((2, 9)), Some((2, 36))).is_ok());
        let refused = check_glibc(parse_glibc(b"GLIBC_2.39"), Some((2, 36))).unwrap_err();
        assert!(refused.to_string().starts_with("needs GLIBC_2.39, this machine has 2.36"), "{refused}");
        assert!(check_glibc(Some((9, 9)), None).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_c_library_is_found_among_the_mappings() {
        let maps = "7f0-7f1 r-xp 0 fe:00 1 /opt/lib/libcurl.so.4\n\
                    7f2-7f3 r--p 0 fe:00 2                          /lib/x86_64-linux-gnu/libc.so.6\n";
        assert_eq!(libc_path(maps), Some("/lib/x86_64-linux-gnu/libc.so.6"));
        assert_eq!(libc_path("7f2-7f3 r--p 0 fe:00 2 /lib/libc.so.6 (deleted)\n"), None);
    }
}
