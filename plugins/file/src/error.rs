//! From what the system says to what a caller branches on: only "there is no such file" is NOT_FOUND.
//!
//! The system's own words are part of the message where ours are not enough: a source does not reach the host.

use std::{fmt, io, path::Path};

use keyway_plugin_api::{Error, ErrorKind};
use rustix::io::Errno;

use crate::beneath::Astray;

/// Why `what` (an operation on a name) failed.
pub(crate) fn system(what: impl fmt::Display, errno: Errno) -> Error {
    let said = io::Error::from(errno);
    let (kind, advice) = match errno {
        Errno::ACCESS | Errno::PERM => {
            (ErrorKind::Denied, "let the user that runs this process have access to it")
        }
        Errno::ROFS => (ErrorKind::Denied, "the folder is mounted read-only"),
        Errno::NAMETOOLONG => (ErrorKind::InvalidName, "the name is too long for this file system"),
        Errno::LOOP => (ErrorKind::Unavailable, "too many symbolic links follow each other"),
        Errno::NOSPC | Errno::DQUOT => (ErrorKind::Unavailable, "there is no room left"),
        _ => return Error::unavailable(format!("cannot {what}: the system says: {said}")),
    };
    Error::new(kind, format!("cannot {what}: {advice}")).with_source(said)
}

/// As [`system`], for an error that has been through the standard library.
pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Error {
    system(what, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// Why the place that the configuration names cannot be opened. That it is missing says nothing about what is in it.
pub(crate) fn place(what: &str, path: &Path, advice: &str, errno: Errno) -> Error {
    let path = path.display();
    match errno {
        Errno::NOENT => Error::unavailable(format!("the {what} {path} is not there; {advice}")),
        errno => system(format_args!("open the {what} {path}"), errno),
    }
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

    #[test]
    fn what_has_no_words_of_ours_has_those_of_the_system() {
        let error = system("read a", Errno::STALE);
        assert!(error.message().starts_with("cannot read a: the system says: Stale"), "{error}");
    }
}
