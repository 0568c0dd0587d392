//! The way to a file, folder by folder, on open descriptors.
//!
//! Each folder is opened relative to the one before it and checked while it is open; symbolic links, those of
//! mounted configurations included, are followed by hand and checked as well. So what is opened at the end is
//! what was checked, even when somebody renames folders meanwhile.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{self as sys, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
    process::geteuid,
};

use super::{
    VerifyError,
    ownership::{FILE, FOLDER, LINK, Owned, OwnershipFault, judge},
    private_group::is_private,
};

/// The most symbolic links on the way, the system's own limit.
const MAX_LINKS: usize = 40;

/// Enough to look at a folder and to open what is in it, even where it may not be listed.
#[cfg(target_os = "linux")]
const FOLDER_FLAGS: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const FOLDER_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A FIFO without a writer must not hang, a terminal must not become ours.
const FILE_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a regular file; the second half is what is wrong with owners and modes on the way to it.
pub(super) fn open(path: &Path) -> Result<(File, Vec<OwnershipFault>), VerifyError> {
    let mut walk = Walk::default();
    let found = walk.to(path);
    let failed = |at: &Path, source: Errno| VerifyError::Open {
        path: path.to_owned(),
        at: at.to_owned(),
        source: source.into(),
    };
    let (parent, name, stat) = found.map_err(|source| failed(&walk.at, source))?;
    let special = |stat: &Stat| VerifyError::NotAFile { path: path.to_owned(), kind: kind(stat) };
    // Devices do things when they are opened, so look first; the open file has the last word.
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(special(&stat));
    }
    let opened = sys::openat(&parent, &name, FILE_FLAGS, Mode::empty())
        .and_then(|file| Ok((sys::fstat(&file)?, file)))
        .map_err(|source| failed(&walk.at, source));
    let (stat, file) = opened?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(special(&stat));
    }
    walk.check(&stat, FILE);
    Ok((file.into(), walk.faults))
}

/// What is wrong with owners and modes of a folder and of the way to it.
pub(super) fn folder_faults(path: &Path) -> io::Result<Vec<OwnershipFault>> {
    let mut walk = Walk::default();
    let (_, _, stat) = walk.to(path)?;
    walk.check(&stat, FOLDER);
    Ok(walk.faults)
}

#[derive(Default)]
struct Walk {
    /// Where the walk is, or where it failed.
    at: PathBuf,
    faults: Vec<OwnershipFault>,
}

impl Walk {
    /// Goes to the last component of a path and gives the folder it is in, its name there and what it is.
    fn to(&mut self, path: &Path) -> Result<(OwnedFd, OsString, Stat), Errno> {
        let path = std::path::absolute(path).map_err(|_| Errno::INVAL)?;
        let mut ahead = components(&path);
        let mut links = 0;
        let mut folder = self.root()?;
        while let Some(name) = ahead.pop() {
            let above = self.at.clone();
            self.at.push(&name);
            let stat = sys::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                self.check(&stat, LINK);
                let target = sys::readlinkat(&folder, &name, Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes())).to_owned();
                ahead.extend(components(&target));
                self.at = above;
                if target.is_absolute() {
                    folder = self.root()?;
                }
            } else if ahead.is_empty() && name != ".." {
                return Ok((folder, name, stat));
            } else {
                folder = sys::openat(&folder, &name, FOLDER_FLAGS, Mode::empty())?;
                if name == ".." {
                    self.at = above.parent().unwrap_or(Path::new("/")).to_owned();
                }
                self.check(&sys::fstat(&folder)?, FOLDER);
            }
        }
        // The path is the root itself or ends in "..": a folder either way.
        let stat = sys::fstat(&folder)?;
        Ok((folder, OsString::from("."), stat))
    }

    fn root(&mut self) -> Result<OwnedFd, Errno> {
        self.at = PathBuf::from("/");
        let root = sys::open("/", FOLDER_FLAGS, Mode::empty())?;
        self.check(&sys::fstat(&root)?, FOLDER);
        Ok(root)
    }

    fn check(&mut self, stat: &Stat, kind: &'static str) {
        let mode = u32::from(stat.st_mode as u16) & 0o7777;
        let owned = Owned { owner: stat.st_uid, group: stat.st_gid, mode, kind };
        let at = self.at.clone();
        let private = |user, group| is_private(user, group) && !has_access_list(&at);
        let Some(reason) = judge(owned, geteuid().as_raw(), private) else { return };
        let fault = OwnershipFault { path: at, kind, reason };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// The names on a path, the first one last.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut names: Vec<OsString> = names.map(|part| part.as_os_str().to_owned()).collect();
    names.reverse();
    names
}

/// Where a file has an access list, the group's bits are the most that anybody in the list may do, so that
/// they say nothing about the group.
fn has_access_list(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        // Any other answer than "there is none" counts as one.
        let mut list = [0_u8; 1024];
        !matches!(
            sys::lgetxattr(path, "system.posix_acl_access", &mut list[..]),
            Err(Errno::NODATA | Errno::NOTSUP)
        )
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

fn kind(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => "a folder",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        FileType::Symlink => "a symbolic link",
        _ => "a special file",
    }
}
