//! The thread that writes the audit log.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};

use crate::service::metrics::Counter;

/// How many bytes are gathered before they are written.
const BATCH: usize = 64 << 10;

/// What the thread is asked for.
pub(super) enum Message {
    /// Write a line that ends in a line feed; somebody may wait to hear that it is written.
    Line(Vec<u8>, Option<Acknowledge>),
    /// Open the file anew by its name, which may be another file now.
    Reopen,
}

/// Hears whether the line was written.
pub(super) type Acknowledge = oneshot::Sender<Result<(), Arc<io::Error>>>;

/// Opens the log for appending; a new file is its owner's alone.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes until every sender has gone.
pub(super) fn run(path: &Path, file: File, mut messages: mpsc::Receiver<Message>, lost: &Counter) {
    let mut log = Log { path: path.to_owned(), file, torn: false, failing: false };
    let mut waiting = Vec::new();
    while let Some(message) = messages.blocking_recv() {
        let mut batch = Vec::new();
        let mut lines: u64 = 0;
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Line(line, acknowledge) => {
                    batch.extend_from_slice(&line);
                    waiting.extend(acknowledge);
                    lines += 1;
                }
                Message::Reopen => {
                    let written = log.write(&mut batch);
                    count(&written, &mut lines, lost);
                    tell(&mut waiting, &written);
                    log.reopen();
                }
            }
            next = (batch.len() < BATCH).then(|| messages.try_recv().ok()).flatten();
        }
        let written = log.write(&mut batch);
        count(&written, &mut lines, lost);
        tell(&mut waiting, &written);
    }
}

struct Log {
    path: PathBuf,
    file: File,
    /// The last line may have been written in part, and could not be taken back.
    torn: bool,
    failing: bool,
}

impl Log {
    fn write(&mut self, batch: &mut Vec<u8>) -> Result<(), Arc<io::Error>> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.torn {
            batch.insert(0, b'\n');
        }
        let written = self.append(batch);
        batch.clear();
        match (&written, self.failing) {
            (Err(error), false) => {
                tracing::error!(path = %self.path.display(), %error, "the audit log cannot be written");
            }
            (Ok(()), true) => tracing::info!(path = %self.path.display(), "the audit log is written again"),
            _ => {}
        }
        self.failing = written.is_err();
        written.map_err(Arc::new)
    }

    /// All of it, or nothing where that is possible: half a line would be in the way of whoever reads the log.
    ///
    /// Others append to the same file, so it is cut only while they are kept out.
    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let is_ours = self.file.lock().is_ok();
        let end = self.file.metadata().map(|metadata| metadata.len());
        let written = self.file.write_all(batch);
        let is_cut = || is_ours && end.is_ok_and(|end| self.file.set_len(end).is_ok());
        self.torn = written.is_err() && (!is_cut() || self.torn);
        if is_ours {
            // It goes with the file at the latest.
            let _ = self.file.unlock();
        }
        written
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => (self.file, self.torn) = (file, false),
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "the audit log cannot be opened anew; the old file goes on");
            }
        }
    }
}

fn count(written: &Result<(), Arc<io::Error>>, lines: &mut u64, lost: &Counter) {
    if written.is_err() {
        (0..*lines).for_each(|_| lost.inc());
    }
    *lines = 0;
}

fn tell(waiting: &mut Vec<Acknowledge>, written: &Result<(), Arc<io::Error>>) {
    for acknowledge in waiting.drain(..) {
        // Who has given up does not care.
        let _ = acknowledge.send(written.clone());
    }
}
