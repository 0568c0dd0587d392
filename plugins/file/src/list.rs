//! The names of all secrets in a folder.

use std::os::fd::{AsFd, BorrowedFd};

use keyway_plugin_api::{Error, ErrorKind, Result, SecretName};
use rustix::{
    fs::{self as sys, Dir, FileType, OFlags},
    io::Errno,
};

use crate::{
    beneath::{self, Astray, FOLDER},
    error, name,
};

/// The most names that one list has.
const MAX_NAMES: usize = 100_000;

/// Looks at what a link leads to, without the right to read it.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = beneath::READ;

/// Every name that begins with `prefix` and that a read would find, sorted.
pub(crate) fn names(root: BorrowedFd<'_>, prefix: &str) -> Result<Vec<String>> {
    let mut walk = Walk { root, prefix, above: Vec::new(), found: Vec::new() };
    walk.folder("").map_err(|why| match why {
        Why::TooMany => Error::new(
            ErrorKind::TooLarge,
            format!("there are more than {MAX_NAMES} names; give a longer prefix"),
        ),
        Why::System(errno) => error::system("list the folder", errno),
    })?;
    walk.found.sort_unstable();
    Ok(walk.found)
}

enum Why {
    TooMany,
    System(Errno),
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    prefix: &'a str,
    /// Device and number of each folder on the way, so that a link back up ends there.
    above: Vec<(u64, u64)>,
    found: Vec<String>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &str) -> Result<(), Why> {
        let folder = match beneath::open(self.root, if path.is_empty() { "." } else { path }, FOLDER) {
            Ok(folder) => folder,
            // Gone since its name was read.
            Err(Astray::Absent | Astray::Dangling | Astray::Outside) => return Ok(()),
            Err(Astray::System(errno)) => return Err(Why::System(errno)),
        };
        let stat = sys::fstat(&folder).map_err(Why::System)?;
        let identity = (stat.st_dev, stat.st_ino);
        if self.above.contains(&identity) {
            return Ok(());
        }
        self.above.push(identity);
        for entry in Dir::read_from(&folder).map_err(Why::System)? {
            let entry = entry.map_err(Why::System)?;
            if let Ok(file) = entry.file_name().to_str() {
                self.entry(path, file)?;
            }
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, folder: &str, file: &str) -> Result<(), Why> {
        let path = if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        if file == "." || name::check(&path).is_err() {
            return Ok(());
        }
        let below = format!("{path}/");
        if !path.starts_with(self.prefix)
            && !below.starts_with(self.prefix)
            && !self.prefix.starts_with(&below)
        {
            return Ok(());
        }
        let kind = beneath::open(self.root, &path, LOOK).ok().and_then(|file| sys::fstat(file.as_fd()).ok());
        match kind.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::Directory) => self.folder(&path),
            Some(FileType::RegularFile) if path.starts_with(self.prefix) => {
                if SecretName::new(path.as_str()).is_err() {
                    return Ok(());
                }
                if self.found.len() == MAX_NAMES {
                    return Err(Why::TooMany);
                }
                self.found.push(path);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
