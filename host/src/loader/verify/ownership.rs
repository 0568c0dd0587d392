//! Who could have changed a file: the rules that OpenSSH has for its own files.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Somebody other than root and the host's user could change a file, or put another in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnershipFault {
    /// The file, folder or symbolic link.
    pub path: PathBuf,
    /// Which of the three it is.
    pub kind: &'static str,
    /// What is wrong with it.
    pub reason: OwnershipReason,
}

/// What is wrong with an owner or a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnershipReason {
    /// It belongs to a user who is neither root nor the host's.
    Owner {
        /// The user it belongs to.
        owner: u32,
        /// The user that the host runs as.
        host: u32,
    },
    /// Every user may write to it.
    WritableByOthers {
        /// The permission bits.
        mode: u32,
    },
    /// A group that is not the owner's private one may write to it.
    WritableByGroup {
        /// The permission bits.
        mode: u32,
        /// The group.
        group: u32,
    },
}

impl OwnershipFault {
    /// The command that mends it.
    pub fn fix(&self) -> String {
        let path = quoted(&self.path);
        match self.reason {
            OwnershipReason::Owner { host, .. } if self.kind == LINK => format!("chown -h {host} {path}"),
            OwnershipReason::Owner { host, .. } => format!("chown {host} {path}"),
            OwnershipReason::WritableByOthers { .. } => format!("chmod go-w {path}"),
            OwnershipReason::WritableByGroup { .. } => format!("chmod g-w {path}"),
        }
    }
}

impl fmt::Display for OwnershipFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.kind, self.path.display())?;
        match self.reason {
            OwnershipReason::Owner { owner, host: 0 } => write!(f, "belongs to user {owner}, not to root"),
            OwnershipReason::Owner { owner, host } => {
                write!(f, "belongs to user {owner}, neither to root nor to this process's user {host}")
            }
            OwnershipReason::WritableByOthers { mode } => {
                write!(f, "can be written by every user (mode {mode:04o})")
            }
            OwnershipReason::WritableByGroup { mode, group } => {
                write!(f, "can be written by group {group} (mode {mode:04o})")
            }
        }?;
        write!(f, " (run: {})", self.fix())
    }
}

/// All that is wrong on the way to a file.
#[derive(Clone, Debug)]
pub struct Faults(pub Vec<OwnershipFault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, fault)| {
            if index > 0 {
                f.write_str(", ")?;
            }
            fault.fmt(f)
        })
    }
}

pub(super) const FILE: &str = "file";
pub(super) const FOLDER: &str = "folder";
pub(super) const LINK: &str = "link";

/// What the rules look at.
#[derive(Clone, Copy)]
pub(super) struct Owned {
    pub(super) owner: u32,
    pub(super) group: u32,
    /// The permission bits, the sticky bit included.
    pub(super) mode: u32,
    pub(super) kind: &'static str,
}

/// The rules; `host` is the user that the host runs as.
///
/// In a sticky folder of root's, such as `/tmp`, users cannot touch each other's entries, so that it may be
/// writable. The mode of a symbolic link means nothing.
pub(super) fn judge(
    what: Owned,
    host: u32,
    is_private: impl FnOnce(u32, u32) -> bool,
) -> Option<OwnershipReason> {
    const STICKY: u32 = 0o1000;
    let Owned { owner, group, mode, kind } = what;
    if owner != 0 && owner != host {
        return Some(OwnershipReason::Owner { owner, host });
    }
    if kind == LINK || (kind == FOLDER && owner == 0 && mode & STICKY != 0) {
        return None;
    }
    if mode & 0o002 != 0 {
        return Some(OwnershipReason::WritableByOthers { mode });
    }
    if mode & 0o020 != 0 && !is_private(owner, group) {
        return Some(OwnershipReason::WritableByGroup { mode, group });
    }
    None
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_alphanumeric() || "/._-+@%:,".contains(character);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(owner: u32, mode: u32, kind: &'static str) -> Option<OwnershipReason> {
        judge(Owned { owner, group: 7, mode, kind }, 1000, |owner, group| owner == 1000 && group == 7)
    }

    #[test]
    fn files_of_root_and_of_the_own_user_are_trusted_and_others_are_not() {
        assert_eq!(fault(0, 0o644, FILE), None);
        assert_eq!(fault(1000, 0o600, FILE), None);
        let expected = Some(OwnershipReason::Owner { owner: 1001, host: 1000 });
        for kind in [FILE, FOLDER, LINK] {
            assert_eq!(fault(1001, 0o700, kind), expected);
        }
    }

    #[test]
    fn only_a_private_group_may_write() {
        assert_eq!(fault(1000, 0o664, FILE), None);
        assert_eq!(fault(0, 0o664, FILE), Some(OwnershipReason::WritableByGroup { mode: 0o664, group: 7 }));
        assert_eq!(fault(1000, 0o666, FILE), Some(OwnershipReason::WritableByOthers { mode: 0o666 }));
    }

    #[test]
    fn only_a_sticky_folder_of_root_may_be_writable() {
        assert_eq!(fault(0, 0o1777, FOLDER), None);
        assert!(fault(0, 0o777, FOLDER).is_some());
        assert!(fault(1000, 0o1777, FOLDER).is_some());
        assert!(fault(0, 0o1777, FILE).is_some());
    }

    #[test]
    fn the_fix_can_be_pasted_into_a_shell() {
        let reason = OwnershipReason::WritableByOthers { mode: 0o777 };
        let fault = OwnershipFault { path: "/srv/it's here".into(), kind: FOLDER, reason };
        assert_eq!(fault.fix(), r"chmod go-w '/srv/it'\''s here'");
        assert_eq!(
            OwnershipFault { path: "/a".into(), ..fault }.to_string(),
            "folder /a can be written by every user (mode 0777) (run: chmod go-w /a)"
        );
    }
}
