//! Opens what is below a folder, and nothing else, whatever links say and whoever renames meanwhile.
//!
//! The kernel does it in one call where it can (`openat2`). Otherwise, and whenever that call fails, the way is walked
//! on open descriptors, which also tells a file that is absent from a link that leads to nothing.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path},
};

use rustix::{
    fs::{self as sys, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

/// Opens a file to read; a FIFO without a writer must not hang, a terminal must not become ours.
pub(crate) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a folder to list it or to change what is in it.
pub(crate) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The most symbolic links on the way, the system's own limit.
const MAX_LINKS: usize = 40;

/// Why a way below a folder leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Astray {
    /// Nothing has this name.
    Absent,
    /// A link leads to a name that nothing has.
    Dangling,
    /// A link leads out of the folder.
    Outside,
    /// The system refused.
    System(Errno),
}

/// Opens a path below `root`, following only links that stay below it.
pub(crate) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Astray> {
    #[cfg(target_os = "linux")]
    {
        let beneath = sys::ResolveFlags::BENEATH | sys::ResolveFlags::NO_MAGICLINKS;
        if let Ok(file) = sys::openat2(root, path, flags, Mode::empty(), beneath) {
            return Ok(file);
        }
    }
    walk(root, path, flags)
}

fn walk(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Astray> {
    let mut folders: Vec<OwnedFd> = Vec::new();
    let mut ahead = parts(Path::new(path), false)?;
    let mut links = 0;
    while let Some(Part { name, linked }) = ahead.pop() {
        if name == ".." {
            folders.pop().ok_or(Astray::Outside)?;
            continue;
        }
        let folder = folders.last().map_or(root, AsFd::as_fd);
        let failed = |errno| match errno {
            Errno::NOENT | Errno::NOTDIR if linked => Astray::Dangling,
            Errno::NOENT | Errno::NOTDIR => Astray::Absent,
            other => Astray::System(other),
        };
        let stat = sys::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(Astray::System(Errno::LOOP));
            }
            let target = sys::readlinkat(folder, &name, Vec::new()).map_err(failed)?;
            ahead.extend(parts(Path::new(OsStr::from_bytes(target.as_bytes())), true)?);
        } else if ahead.is_empty() {
            return sys::openat(folder, &name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(failed);
        } else {
            let below = OFlags::NOFOLLOW | FOLDER;
            let below = sys::openat(folder, &name, below, Mode::empty()).map_err(failed)?;
            folders.push(below);
        }
    }
    // The way ends in a folder: that of a link to `.`, for example.
    let folder = folders.last().map_or(root, AsFd::as_fd);
    sys::openat(folder, ".", flags, Mode::empty()).map_err(Astray::System)
}

struct Part {
    name: OsString,
    linked: bool,
}

/// The parts of a path, the last one first.
fn parts(path: &Path, linked: bool) -> Result<Vec<Part>, Astray> {
    let named = path.components().rev().filter(|part| *part != Component::CurDir);
    named
        .map(|part| match part {
            Component::RootDir | Component::Prefix(_) => Err(Astray::Outside),
            part => Ok(Part { name: part.as_os_str().to_owned(), linked }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Both ways to open must agree.
    fn opens(root: &Path, path: &str) -> Result<String, Astray> {
        let folder = sys::open(root, FOLDER, Mode::empty()).unwrap();
        let content = |file: OwnedFd| std::io::read_to_string(fs::File::from(file)).unwrap();
        let fast = open(folder.as_fd(), path, READ).map(content);
        let walked = walk(folder.as_fd(), path, READ).map(content);
        assert_eq!(fast, walked, "{path}");
        fast
    }

    #[test]
    fn links_are_followed_inside_and_never_outside() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("outside"), "no").unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("..1/deep")).unwrap();
        fs::write(root.join("..1/deep/a"), "yes").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/deep", root.join("deep")).unwrap();
        symlink("../../..data/deep/a", root.join("..1/deep/back")).unwrap();
        symlink("../outside", root.join("up")).unwrap();
        symlink(outer.path().join("outside"), root.join("absolute")).unwrap();
        symlink("nothing", root.join("dangling")).unwrap();
        symlink("round", root.join("round")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.join("magic")).unwrap();

        assert_eq!(opens(&root, "deep/a").unwrap(), "yes");
        assert_eq!(opens(&root, "deep/back").unwrap(), "yes");
        for out in ["up", "absolute", "magic", "../outside"] {
            assert_eq!(opens(&root, out), Err(Astray::Outside), "{out}");
        }
        assert_eq!(opens(&root, "dangling"), Err(Astray::Dangling));
        assert_eq!(opens(&root, "round"), Err(Astray::System(Errno::LOOP)));
        for absent in ["nothing", "deep/nothing", "no/folder", "deep/a/below a file"] {
            assert_eq!(opens(&root, absent), Err(Astray::Absent), "{absent}");
        }
    }

    #[test]
    fn a_folder_that_was_renamed_away_is_still_the_root() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a"), "mine").unwrap();
        let folder = sys::open(&root, FOLDER, Mode::empty()).unwrap();
        fs::rename(&root, outer.path().join("old")).unwrap();
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a"), "another's").unwrap();
        let file = walk(folder.as_fd(), "a", READ).unwrap();
        assert_eq!(std::io::read_to_string(fs::File::from(file)).unwrap(), "mine");
    }
}
