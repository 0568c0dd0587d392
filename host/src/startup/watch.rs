//! Tells when a file has changed: by looking at its content.
//!
//! Editors replace files by renaming, mounted folders by swapping a symlink, and programs write in pieces; events of the
//! file system differ for each of them and for each kind of mount. Reading a small file now and then does not.
//!
//! The beginning of a configuration can be a valid one, so a file that is written in place has to rest before it is used.
//! One that took the place of another is whole from the start.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How often the file is read.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a file that was written in place must have rested.
const REST: Duration = Duration::from_secs(2);

/// The same for one that is shorter than it was: most of these are not written to their end yet.
const REST_OF_SHORTER: Duration = Duration::from_secs(10);

/// What a file contained; nothing when it could not be read.
pub(super) type Fingerprint = Option<Look>;

/// One look at a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    content: [u8; 32],
    len: usize,
    /// Which file it was; `None` where files have no numbers.
    id: Option<(u64, u64)>,
}

/// Calls `changed` whenever the file holds something else than what was tried last, once it has rested; never ends.
pub(super) async fn changes(path: &Path, tried: impl Fn() -> Fingerprint, mut changed: impl AsyncFnMut()) {
    loop {
        change(path, &tried).await;
        changed().await;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits until the file holds something else than what was tried last, and has rested.
///
/// A file that cannot be read now is on its way to its next content.
pub(super) async fn change(path: &Path, tried: impl Fn() -> Fingerprint) {
    let mut last: Option<(Look, Instant)> = None;
    loop {
        let now = fingerprint(path);
        last = now.map(|now| match last {
            Some((look, since)) if look.content == now.content => (now, since),
            _ => (now, Instant::now()),
        });
        if let Some((look, since)) = last
            && tried().is_none_or(|tried| look.content != tried.content)
            && since.elapsed() >= look.rest(tried())
        {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What the file contains now; `None` when it cannot be read.
pub(super) fn fingerprint(path: &Path) -> Fingerprint {
    Look::at(path).ok()
}

impl Look {
    fn at(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let id = id(&file.metadata()?);
        Ok(Look { content: Sha256::digest(&content).into(), len: content.len(), id })
    }

    /// How long this content must stay the same before it counts, after what was tried before it.
    fn rest(&self, before: Fingerprint) -> Duration {
        match before {
            Some(before) if self.id.is_some() && self.id != before.id => INTERVAL,
            Some(before) if self.len < before.len => REST_OF_SHORTER,
            _ => REST,
        }
    }
}

#[cfg(unix)]
fn id(metadata: &std::fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn id(_metadata: &std::fs::Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, os::unix::fs::symlink, path::PathBuf};

    use super::*;

    /// A file that is watched, and how often it has changed.
    struct Watched {
        folder: tempfile::TempDir,
        path: PathBuf,
        seen: Cell<u32>,
        tried: Cell<Fingerprint>,
    }

    impl Watched {
        fn new(content: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.yaml");
            fs::write(folder.path().join("one"), content).unwrap();
            symlink(folder.path().join("one"), &path).unwrap();
            let tried = Cell::new(fingerprint(&path));
            Watched { folder, path, seen: Cell::new(0), tried }
        }

        fn write(&self, content: &str) {
            fs::write(&self.path, content).unwrap();
        }

        /// How many changes have been seen when this time has passed.
        async fn after(&self, millis: u64) -> u32 {
            for _ in 0..millis / 500 {
                tokio::time::advance(INTERVAL).await;
                tokio::task::yield_now().await;
            }
            self.seen.get()
        }

        async fn during(&self, test: impl Future<Output = ()>) {
            let changed = async || {
                self.tried.set(fingerprint(&self.path));
                self.seen.set(self.seen.get() + 1);
            };
            tokio::select! {
                () = changes(&self.path, || self.tried.get(), changed) => {}
                () = test => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn renames_and_symlink_swaps_are_seen_within_a_second() {
        let file = Watched::new("models: [a, b]");
        let path = |name: &str| file.folder.path().join(name);
        file.during(async {
            assert_eq!(file.after(20_000).await, 0, "nothing has changed");

            fs::write(path("two"), "models: [a]").unwrap();
            symlink(path("two"), path("next")).unwrap();
            fs::rename(path("next"), &file.path).unwrap();
            assert_eq!(file.after(1000).await, 1, "the symlink was swapped");

            fs::write(path("new"), "").unwrap();
            fs::rename(path("new"), &file.path).unwrap();
            assert_eq!(file.after(1000).await, 2, "the file was renamed into place");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_in_pieces_is_one_change() {
        let file = Watched::new("models: [a, b]");
        file.during(async {
            for piece in ["", "models:", "models: [a]", "models: [a]\nothers: {}"] {
                file.write(piece);
                assert_eq!(file.after(1500).await, 0, "{piece}");
            }
            assert_eq!(file.after(1000).await, 1);

            file.write("models: [a]");
            assert_eq!(file.after(9500).await, 1, "it may go on");
            assert_eq!(file.after(1500).await, 2, "it did not go on");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_tried_is_no_change() {
        let file = Watched::new("a: 1");
        file.during(async {
            fs::remove_file(file.folder.path().join("one")).unwrap();
            assert_eq!(file.after(20_000).await, 0, "it is away");
            file.write("a: 1");
            assert_eq!(file.after(20_000).await, 0, "the same content came back");

            file.write("a: 2");
            file.tried.set(fingerprint(&file.path));
            assert_eq!(file.after(20_000).await, 0, "somebody else was faster");
        })
        .await;
    }
}
