//! The host as a process: started, followed and stopped as an operator would.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr},
};

use crate::{scene::Scene, screen::Screen};

/// A line of the host's log.
pub(crate) struct Event(Value);

/// A `keyway` that serves.
pub(crate) struct Gateway {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    url: String,
}

/// Fails early and in plain words when somebody has the port.
pub(crate) fn check_port(port: u16) -> Result<()> {
    std::net::TcpListener::bind(("127.0.0.1", port)).map(drop).with_context(|| {
        format!("cannot listen on port {port}; stop what has it, or choose another one: cargo run -p quickstart -- --port 4321")
    })
}

impl Event {
    /// The constant message.
    pub(crate) fn message(&self) -> &str {
        self.0["message"].as_str().unwrap_or_default()
    }

    /// A field as text.
    pub(crate) fn field(&self, name: &str) -> Result<String> {
        match &self.0[name] {
            Value::Null => bail!("keyway's log says {:?} without {name}", self.message()),
            Value::String(text) => Ok(text.clone()),
            other => Ok(other.to_string()),
        }
    }

    /// The level, the message and all other fields on one line.
    fn line(&self) -> String {
        let constant = ["timestamp", "level", "message", "target", "span", "spans"];
        let fields = self.0.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| !constant.contains(&name.as_str()));
        let fields: String = fields.map(|(name, value)| format!(" {name}={value}")).collect();
        format!("   {:<5} {}{fields}", self.0["level"].as_str().unwrap_or_default(), self.message())
    }
}

impl Gateway {
    /// Starts the host and waits until it serves; what it said until then is returned.
    pub(crate) async fn start(keyway: &Path, scene: &Scene, port: u16) -> Result<(Self, Vec<Event>)> {
        let mut command = scene.command(keyway);
        command.arg("--config").arg(scene.config()).args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ]);
        // The log is read by this program; whatever the caller has set would get in its way.
        command.env("KEYWAY_LOG", "").env("KEYWAY_LOG_FORMAT", "json").stderr(Stdio::piped());
        // Ctrl-C reaches this program only, which then stops the host in the orderly way.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().context("cannot run keyway")?;
        let log = child.stderr.take().context("keyway has no standard error")?;
        let mut log = BufReader::new(log).lines();
        let (mut events, mut words) = (Vec::new(), String::new());
        while let Some(line) = log.next_line().await.context("cannot read keyway's log")? {
            match serde_json::from_str(&line).map(Event) {
                Ok(event) if event.message() == "serving" => {
                    let url = format!("http://{}", event.field("address")?);
                    return Ok((Self { child, log, url }, events));
                }
                Ok(event) => events.push(event),
                // What is not log is the reason why it ends.
                Err(_) => words = format!("{words}\n{line}"),
            }
        }
        let status = child.wait().await.context("cannot wait for keyway")?;
        bail!("keyway ended before it served ({status}):{words}")
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Shows what it logs, until it ends; that is an error, since nobody told it to.
    pub(crate) async fn follow(&mut self, screen: &Screen) -> Result<()> {
        while let Some(line) = self.log.next_line().await.context("cannot read keyway's log")? {
            screen.text(&serde_json::from_str(&line).map(Event).map_or(line, |event| event.line()));
        }
        let status = self.child.wait().await.context("cannot wait for keyway")?;
        bail!("keyway ended by itself ({status})")
    }

    /// Stops it in the orderly way, and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        #[cfg(unix)]
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .context("cannot tell keyway to stop")?;
        }
        #[cfg(not(unix))]
        self.child.start_kill().context("cannot stop keyway")?;
        while self.log.next_line().await.context("cannot read keyway's log")?.is_some() {}
        let status = self.child.wait().await.context("cannot wait for keyway")?;
        ensure!(status.success() || cfg!(not(unix)), "keyway did not stop in the orderly way ({status})");
        Ok(())
    }
}
