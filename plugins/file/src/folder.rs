//! A folder in which each file is a secret.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use keyway_plugin_api::{Error, ErrorKind, Result, Secret, request::MAX_VALUE_LEN};
use rustix::{
    fs::{self as sys, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{
    beneath::{self, Astray, FOLDER, READ},
    content, error, list, name,
};

/// A folder that is opened anew for each operation, so that it may be replaced as a whole.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn read(&self, name: &str) -> Result<Secret> {
        name::check(name)?;
        let root = self.root()?;
        let file = beneath::open(root.as_fd(), name, READ).map_err(|why| error::astray("read", name, why))?;
        let content = content::read(name, File::from(file))?;
        let value = content::value(&content.bytes);
        if value.len() > MAX_VALUE_LEN {
            return Err(too_large(name, value.len()));
        }
        Ok(Secret::copy_from(value).with_version(content.version))
    }

    /// Writes a file beside the old one and renames it, so that every reader sees the old value or the new one.
    pub(crate) fn write(&self, name: &str, value: &Secret) -> Result<String> {
        name::check(name)?;
        if value.len() > MAX_VALUE_LEN {
            return Err(too_large(name, value.len()));
        }
        let failed = |errno| error::system(format_args!("write {name}"), errno);
        let (folder, file) = self.parent(name, true)?;
        Self::make_way(&folder, name, file)?;
        let temporary = name::temporary();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let unfinished = sys::openat(&folder, &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        let written = fill(unfinished.into(), value).and_then(|version| {
            sys::renameat(&folder, &temporary, &folder, file)?;
            sys::fsync(&folder)?;
            Ok(version)
        });
        written.map_err(|error| {
            // It may be renamed already; then there is nothing to remove.
            let _ = sys::unlinkat(&folder, &temporary, AtFlags::empty());
            error::io(format_args!("write {name}"), &error)
        })
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        name::check(name)?;
        let (folder, file) = self.parent(name, false)?;
        match kind(&folder, file) {
            Ok(FileType::Directory) => return Err(Error::not_found(name)),
            Ok(FileType::Symlink) => return Err(linked(name)),
            _ => {}
        }
        match sys::unlinkat(&folder, file, AtFlags::empty()) {
            Ok(()) => {
                sys::fsync(&folder).map_err(|errno| error::system(format_args!("delete {name}"), errno))
            }
            Err(Errno::NOENT) => Err(Error::not_found(name)),
            Err(errno) => Err(error::system(format_args!("delete {name}"), errno)),
        }
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<String>> {
        list::names(self.root()?.as_fd(), prefix)
    }

    /// Whether the folder can be opened and listed.
    pub(crate) fn check(&self) -> Result<()> {
        let root = self.root()?;
        let listed = sys::Dir::read_from(&root).and_then(|mut entries| entries.next().transpose());
        listed.map(drop).map_err(|errno| error::system(format_args!("list {}", self.path.display()), errno))
    }

    fn root(&self) -> Result<OwnedFd> {
        sys::open(&self.path, FOLDER, Mode::empty())
            .map_err(|errno| error::place("folder", &self.path, "is it mounted?", errno))
    }

    /// The folder that a name is in, made if need be, and its name there.
    fn parent<'a>(&self, name: &'a str, make: bool) -> Result<(OwnedFd, &'a str)> {
        let root = self.root()?;
        let Some((folders, file)) = name.rsplit_once('/') else { return Ok((root, name)) };
        let operation = if make { "write" } else { "delete" };
        match beneath::open(root.as_fd(), folders, FOLDER) {
            Ok(folder) => return Ok((folder, file)),
            Err(Astray::Absent) if make => {}
            Err(why) => return Err(error::astray(operation, name, why)),
        }
        let ends = folders.match_indices('/').map(|(end, _)| end).chain([folders.len()]);
        let above = root.as_fd().try_clone_to_owned();
        let mut above = above.map_err(|error| error::io("open the folder again", &error))?;
        for path in ends.map(|end| &folders[..end]) {
            let last = path.rsplit('/').next().unwrap_or(path);
            match sys::mkdirat(&above, last, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(error::system(format_args!("make the folder of {name}"), errno)),
            }
            above = beneath::open(root.as_fd(), path, FOLDER).map_err(|why| match why {
                // It was made a moment ago, so what has the name is no folder.
                Astray::Absent | Astray::System(Errno::NOTDIR) => Error::new(
                    ErrorKind::Conflict,
                    format!("cannot write {name}: {path} is a secret itself, and so cannot be a folder"),
                ),
                why => error::astray("write", name, why),
            })?;
        }
        Ok((above, file))
    }

    /// Refuses to replace what is not a file, but for an empty folder that deleted secrets left.
    fn make_way(folder: &OwnedFd, name: &str, file: &str) -> Result<()> {
        match kind(folder, file) {
            Ok(FileType::Symlink) => Err(linked(name)),
            Ok(FileType::Directory) if sys::unlinkat(folder, file, AtFlags::REMOVEDIR).is_err() => {
                let message = format!("cannot write {name}: it is a folder with other secrets in it");
                Err(Error::new(ErrorKind::Conflict, message))
            }
            _ => Ok(()),
        }
    }
}

fn kind(folder: &OwnedFd, file: &str) -> Result<FileType, Errno> {
    sys::statat(folder, file, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode))
}

fn fill(mut file: File, value: &Secret) -> std::io::Result<String> {
    let bytes = value.expose_bytes();
    file.write_all(bytes)?;
    file.write_all(content::tail(bytes))?;
    file.sync_all()?;
    Ok(content::version(&file.metadata()?))
}

fn too_large(name: &str, len: usize) -> Error {
    let message = format!("the value of {name} has {len} bytes; at most {MAX_VALUE_LEN} are possible");
    Error::new(ErrorKind::TooLarge, message)
}

fn linked(name: &str) -> Error {
    let message =
        format!("{name} is a symbolic link, so it belongs to whatever made the link; change it there");
    Error::new(ErrorKind::Conflict, message)
}
