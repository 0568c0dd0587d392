//! The audit log: one line of JSON for each call of a manager and for each secret that is handed out.
//!
//! A line has `time`, `event` (`manager_call`, `handed_out`, `used` when the gateway puts a secret on a request, or
//! `begun` before a change when the log is required), `caller`, `operation`, `manager`, `name`, `outcome` (`OK` or an error's class), `latency_us`, `cache` and
//! `generation`. Never a value, and never an error's text. Health checks, which touch no secret, are not logged.

mod layer;
mod time;
mod writer;

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, SystemTime},
};

use keyway_plugin_api::{Error, Result};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

pub use self::layer::Audited;
use self::writer::Message;
use crate::{
    config::AuditSettings,
    service::{caller::Caller, metrics::Counter},
};

/// How many lines may wait for the disk.
const QUEUE: usize = 8192;

/// The log; a copy writes to the same file.
#[derive(Clone)]
pub struct AuditLog {
    messages: mpsc::Sender<Message>,
    required: bool,
    lost: Counter,
}

/// The log cannot be written from the start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened.
    #[error(
        "cannot open the audit log {path} (`keyway.audit.path`) for appending; check that its folder exists and that this user may write there, also to the file if another user made it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no thread to write it.
    #[error("cannot start the thread that writes the audit log")]
    Thread {
        /// Why not.
        source: io::Error,
    },
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A manager was called.
    ManagerCall,
    /// Somebody got a secret, had one changed, or was refused.
    HandedOut,
    /// The gateway is about to put a secret on a request.
    Used,
    /// A change is about to be made.
    Begun,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub event: Happening,
    /// On whose behalf.
    pub caller: Caller,
    /// What was asked for: `read`, `write`, `delete`, `rotate` or `list`; `request` when it was used.
    pub operation: &'a str,
    /// Which manager, or what else a value came from.
    pub manager: &'a str,
    /// Which secret, or the prefix of a list.
    pub name: &'a str,
    /// `OK`, or the class of the error.
    pub outcome: &'a str,
    /// How long it took.
    pub latency: Duration,
    /// How the cache answered, when one was asked.
    pub cache: Option<&'a str>,
    /// The number of the value that was handed out.
    pub generation: Option<u64>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'a str,
    caller: String,
    operation: &'a str,
    manager: &'a str,
    name: &'a str,
    outcome: &'a str,
    latency_us: u64,
    cache: Option<&'a str>,
    generation: Option<u64>,
}

impl AuditLog {
    /// Opens the file and starts the thread that writes it; `lost` counts the lines that the disk was too slow for or refused.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn open(settings: &AuditSettings, lost: Counter) -> Result<Self, AuditError> {
        let path = settings.path.clone();
        let file = writer::open(&path).map_err(|source| AuditError::Open { path: path.clone(), source })?;
        let (messages, inbox) = mpsc::channel(QUEUE);
        let log = Self { messages, required: settings.required, lost: lost.clone() };
        thread::Builder::new()
            .name("keyway-audit".to_owned())
            .spawn(move || writer::run(&path, file, inbox, &lost))
            .map_err(|source| AuditError::Thread { source })?;
        Ok(log)
    }

    /// Whether nothing may be handed out that cannot be logged.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Writes a line: when the log is required, waits until it is written, otherwise leaves it to the thread.
    ///
    /// # Errors
    /// UNAVAILABLE when the log is required and cannot be written.
    pub async fn record(&self, event: &Event<'_>) -> Result<()> {
        let line = event.line();
        if !self.required {
            if self.messages.try_send(Message::Line(line, None)).is_err() {
                self.lose();
            }
            return Ok(());
        }
        self.write(line).await
    }

    /// Waits until every line before this moment is written; call it before the process ends.
    pub async fn flush(&self) {
        // A failure has been reported by the thread already.
        let _ = self.write(Vec::new()).await;
    }

    /// Opens the file anew by its name, after it was moved away.
    pub fn reopen(&self) {
        if self.messages.try_send(Message::Reopen).is_err() {
            tracing::error!("the audit log is too far behind to be opened anew; try again");
        }
    }

    /// Counts a line for which there was no room in the queue, and says so now and then.
    fn lose(&self) {
        self.lost.inc();
        let lost = self.lost.get();
        if lost % 1000 == 1 {
            tracing::warn!(lost, "the disk is too slow for the audit log, which loses lines");
        }
    }

    async fn write(&self, line: Vec<u8>) -> Result<()> {
        let (acknowledge, written) = oneshot::channel();
        let sent = self.messages.send(Message::Line(line, Some(acknowledge))).await;
        let answer = match sent {
            Ok(()) => written.await.ok(),
            Err(_) => None,
        };
        let refused =
            "the audit log cannot be written, and `keyway.audit.required` allows nothing without it";
        match answer {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Error::unavailable(refused).with_source(error)),
            None => Err(Error::unavailable(refused)),
        }
    }
}

impl Event<'_> {
    fn line(&self) -> Vec<u8> {
        let line = Line {
            time: time::rfc3339(SystemTime::now()),
            event: match self.event {
                Happening::ManagerCall => "manager_call",
                Happening::HandedOut => "handed_out",
                Happening::Used => "used",
                Happening::Begun => "begun",
            },
            caller: self.caller.to_string(),
            operation: self.operation,
            manager: self.manager,
            name: self.name,
            outcome: self.outcome,
            latency_us: u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX),
            cache: self.cache,
            generation: self.generation,
        };
        // Text and numbers always have a JSON form.
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        line
    }
}
