//! From what the system says to what a caller branches on: only "there is no such file" is NOT_FOUND.

use std::{fmt, io};

use keyway_plugin_api::{Error, ErrorKind};
use rustix::io::Errno;

use crate::beneath::Astray;

/// Why `what` (an operation on a name) failed.
pub(crate) fn system(what: impl fmt::Display, errno: Errno) -> Error {
    let (kind, advice) = match errno {
        Errno::ACCESS | Errno::PERM => {
            (ErrorKind::Denied, "let the user that runs this process have access to it")
        }
        Errno::ROFS => (ErrorKind::Denied, "the folder is mounted read-only"),
        Errno::NAMETOOLONG => (ErrorKind::InvalidName, "the name is too long for this file system"),
        Errno::LOOP => (ErrorKind::Unavailable, "too many symbolic links follow each other"),
        Errno::NOSPC | Errno::DQUOT => (ErrorKind::Unavailable, "there is no room left"),
        _ => (ErrorKind::Unavailable, "the system refused"),
    };
    Error::new(kind, format!("cannot {what}: {advice}")).with_source(io::Error::from(errno))
}

/// Why the way to the secret `name` led nowhere.
pub(crate) fn astray(operation: &str, name: &str, why: Astray) -> Error {
    match why {
        Astray::Absent => Error::not_found(name),
        Astray::Dangling => Error::unavailable(format!(
            "cannot {operation} {name}: a symbolic link on the way leads to nothing, so its folder is not whole"
        )),
        Astray::Outside => Error::new(
            ErrorKind::Denied,
            format!("cannot {operation} {name}: a symbolic link leads out of the folder"),
        ),
        Astray::System(errno) => system(format_args!("{operation} {name}"), errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_of_the_system_is_taken_for_an_absent_secret() {
        for (errno, kind) in [
            (Errno::ACCESS, ErrorKind::Denied),
            (Errno::ROFS, ErrorKind::Denied),
            (Errno::IO, ErrorKind::Unavailable),
            (Errno::STALE, ErrorKind::Unavailable),
            (Errno::NOSPC, ErrorKind::Unavailable),
            (Errno::NOENT, ErrorKind::Unavailable),
            (Errno::NAMETOOLONG, ErrorKind::InvalidName),
        ] {
            assert_eq!(astray("read", "a", Astray::System(errno)).kind(), kind, "{errno}");
        }
        assert_eq!(astray("read", "a", Astray::Absent).kind(), ErrorKind::NotFound);
    }
}
