//! Tells when a file has changed: by looking at its content.
//!
//! Editors replace files by renaming, mounted folders by swapping a symlink, and programs write in pieces; events of the
//! file system differ for each of them and for each kind of mount. Reading a small file now and then does not.

use std::{fs, path::Path, time::Duration};

use sha2::{Digest as _, Sha256};

/// How often the file is read.
const INTERVAL: Duration = Duration::from_millis(500);

/// What a file contained.
pub(super) type Fingerprint = Option<[u8; 32]>;

/// Calls `changed` whenever the file holds something else than what was tried last, once that was the same twice in a row;
/// never ends.
///
/// A file that cannot be read now is on its way to its next content.
pub(super) async fn changes(path: &Path, tried: impl Fn() -> Fingerprint, mut changed: impl AsyncFnMut()) {
    let mut last = None;
    loop {
        let now = fingerprint(path);
        if now.is_some() && now == last && now != tried() {
            changed().await;
        }
        last = now;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What the file contains now; `None` when it cannot be read.
pub(super) fn fingerprint(path: &Path) -> Fingerprint {
    fs::read(path).ok().map(|content| Sha256::digest(content).into())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, os::unix::fs::symlink};

    use super::*;

    async fn rounds(count: u32) {
        for _ in 0..count {
            tokio::time::advance(INTERVAL).await;
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn renames_symlink_swaps_and_writes_in_pieces_are_one_change_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(folder.path().join("one"), "a: 1").unwrap();
        fs::write(folder.path().join("two"), "a: 2").unwrap();
        symlink(folder.path().join("one"), &path).unwrap();
        let (seen, tried) = (Cell::new(0), Cell::new(fingerprint(&path)));
        let watch = changes(
            &path,
            || tried.get(),
            async || {
                tried.set(fingerprint(&path));
                seen.set(seen.get() + 1);
            },
        );
        let test = async {
            rounds(3).await;
            assert_eq!(seen.get(), 0, "nothing has changed");

            symlink(folder.path().join("two"), folder.path().join("next")).unwrap();
            fs::rename(folder.path().join("next"), &path).unwrap();
            rounds(3).await;
            assert_eq!(seen.get(), 1, "the symlink was swapped");

            fs::write(folder.path().join("new"), "a: 3").unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
            rounds(3).await;
            assert_eq!(seen.get(), 2, "the file was renamed into place");

            for text in ["a", "a:", "a: 4"] {
                fs::write(&path, text).unwrap();
                rounds(1).await;
            }
            rounds(2).await;
            assert_eq!(seen.get(), 3, "the pieces are one change");

            fs::remove_file(&path).unwrap();
            rounds(3).await;
            fs::write(&path, "a: 4").unwrap();
            rounds(3).await;
            assert_eq!(seen.get(), 3, "the same content came back");

            fs::write(&path, "a: 5").unwrap();
            tried.set(fingerprint(&path));
            rounds(3).await;
            assert_eq!(seen.get(), 3, "somebody else was faster");
        };
        tokio::select! {
            () = watch => {}
            () = test => {}
        }
    }
}
