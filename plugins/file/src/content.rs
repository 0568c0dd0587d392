//! The bytes of a file as the value of a secret, and back.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

use keyway_plugin_api::{Error, ErrorKind, Result, request::MAX_VALUE_LEN};
use zeroize::Zeroizing;

use crate::error;

/// How often a file that changes while it is read is read again.
const TRIES: usize = 3;

/// The most that a trailing newline adds.
const NEWLINE: usize = 2;

/// How long a file that is empty may be one that somebody has truncated and not filled yet.
const FILLING: Duration = Duration::from_secs(2);

/// What a file held at one moment.
pub(crate) struct Content {
    /// The bytes, newline included.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Changes whenever the file does.
    pub(crate) version: String,
}

/// Reads an open file whole; `what` says what it is.
pub(crate) fn read(what: &str, file: File) -> Result<Content> {
    read_with(what, file, || {})
}

fn read_with(what: &str, mut file: File, mut between: impl FnMut()) -> Result<Content> {
    let failed = |error: io::Error| error::io(format_args!("read {what}"), &error);
    for _ in 0..TRIES {
        let before = file.metadata().map_err(failed)?;
        if !before.is_file() {
            let message = format!("cannot read {what}: it is not a regular file");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let limit = MAX_VALUE_LEN + NEWLINE;
        let size = usize::try_from(before.len()).unwrap_or(usize::MAX);
        if size > limit {
            let message = format!("{what} has {size} bytes; at most {MAX_VALUE_LEN} are possible");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        // One byte more than it has, so that the end is seen without growing: a grown buffer leaves a copy behind.
        let mut bytes = Zeroizing::new(vec![0; size + 1]);
        let filled = fill(&mut file, &mut bytes).map_err(failed)?;
        between();
        let after = file.metadata().map_err(failed)?;
        let same = before.len() == after.len()
            && (before.mtime(), before.mtime_nsec()) == (after.mtime(), after.mtime_nsec());
        if same && filled <= size {
            bytes.truncate(filled);
            if filled == 0 && is_new(&after) {
                return Err(Error::unavailable(format!(
                    "{what} is empty since a moment ago, so it may not be written yet; if it stays empty, that will be its value"
                )));
            }
            return Ok(Content { bytes, version: version(&after) });
        }
        file.rewind().map_err(failed)?;
    }
    Err(Error::unavailable(format!(
        "{what} changes while it is read; whoever writes it must write another file and rename that"
    )))
}

fn fill(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether a file was written a moment ago, by whichever clock is ahead.
fn is_new(file: &std::fs::Metadata) -> bool {
    let age = file.modified().map(|written| {
        let ahead = |error: std::time::SystemTimeError| error.duration();
        SystemTime::now().duration_since(written).unwrap_or_else(ahead)
    });
    age.is_ok_and(|age| age < FILLING)
}

/// The version of a file: which one it is, how long, and when it was written.
pub(crate) fn version(file: &std::fs::Metadata) -> String {
    format!("{:x}-{:x}-{:x}.{:x}", file.ino(), file.len(), file.mtime(), file.mtime_nsec())
}

/// The value without the one newline that editors and `echo` put behind it.
pub(crate) fn value(content: &[u8]) -> &[u8] {
    let Some(line) = content.strip_suffix(b"\n") else { return content };
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What has to follow a value in its file, so that exactly the value is read again; no file of ours is empty.
pub(crate) fn tail(value: &[u8]) -> &'static [u8] {
    if value.is_empty() || value.ends_with(b"\n") { b"\n" } else { b"" }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;

    #[test]
    fn every_value_is_what_was_written() {
        for text in ["", "a", "a\n", "a\n\n", "a\r\n", "a\r", "\n", "\r\n", "a\nb"] {
            let stored = [text.as_bytes(), tail(text.as_bytes())].concat();
            assert_eq!(value(&stored), text.as_bytes(), "{text:?}");
            assert!(!stored.is_empty(), "it would look like a truncated file");
        }
    }

    #[test]
    fn one_trailing_newline_is_not_part_of_a_value() {
        for (content, expected) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            assert_eq!(value(content.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "half").unwrap();
        let mut grow = Some(OpenOptions::new().append(true).open(&path).unwrap());
        let between = || {
            if let Some(mut file) = grow.take() {
                file.write_all(b" and the rest").unwrap();
            }
        };
        let content = read_with("a", File::open(&path).unwrap(), between).unwrap();
        assert_eq!(content.bytes.as_slice(), b"half and the rest");
    }

    #[test]
    fn a_file_that_was_truncated_a_moment_ago_has_no_value_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = File::create(&path).unwrap();
        for ago in [Duration::ZERO, Duration::from_secs(1)] {
            file.set_modified(SystemTime::now() - ago).unwrap();
            let error = read("a", File::open(&path).unwrap()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
        for ago in [FILLING, 1000 * FILLING] {
            file.set_modified(SystemTime::now() - ago).unwrap();
            assert!(read("a", File::open(&path).unwrap()).unwrap().bytes.is_empty());
        }
        file.set_modified(SystemTime::now() + 1000 * FILLING).unwrap();
        assert!(read("a", File::open(&path).unwrap()).unwrap().bytes.is_empty(), "a clock is wrong by much");
    }

    #[test]
    fn a_file_that_never_rests_is_unavailable_and_not_half_a_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "part").unwrap();
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        let between = || writer.write_all(b" and part").unwrap();
        let error = read_with("a", File::open(&path).unwrap(), between).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
