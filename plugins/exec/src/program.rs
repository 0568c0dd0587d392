//! Runs the provider program: without a shell, in a process group of its own, with limits on time and output.

use std::{
    collections::BTreeMap, ffi::OsString, io, path::Path, process::ExitStatus, process::Stdio, time::Duration,
};

use keyway_plugin_api::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    runtime::Handle,
};
use zeroize::Zeroizing;

use crate::{config::Config, output};

/// The variables of the host's environment that the program is given.
const INHERITED: [&str; 2] = ["PATH", "HOME"];

/// The program and its limits.
pub(crate) struct Program {
    command: Vec<String>,
    env: BTreeMap<OsString, OsString>,
    timeout: Duration,
    max_output: usize,
}

/// A run that ended by itself.
pub(crate) struct Run {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Zeroizing<Vec<u8>>,
    pub(crate) stderr: Zeroizing<Vec<u8>>,
}

impl Program {
    pub(crate) fn new(config: &Config) -> Self {
        let given = config.env.iter().map(|(name, value)| (name.into(), value.into()));
        Program {
            command: config.command.clone(),
            env: inherited().chain(given).collect(),
            timeout: config.timeout,
            max_output: config.max_output,
        }
    }

    /// The program, as the configuration names it.
    pub(crate) fn name(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    /// Whether the program is there and may be run.
    pub(crate) fn check(&self) -> Result<()> {
        let executable =
            |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
        let name = self.name();
        let found = if name.contains('/') {
            executable(Path::new(name))
        } else {
            let path = self.env.get(&OsString::from("PATH")).cloned().unwrap_or_default();
            std::env::split_paths(&path).any(|folder| executable(&folder.join(name)))
        };
        match found {
            true => Ok(()),
            false => Err(Error::unavailable(format!(
                "cannot run the program {name}: it is not there or is not executable; check config.command{}",
                if name.contains('/') { "" } else { ", and PATH of this process" }
            ))),
        }
    }

    /// Runs the program with one more argument, and with `input` on its standard input.
    ///
    /// Whoever drops the future, or the deadline, ends the program with everything it started in its group.
    pub(crate) async fn run(&self, last: &str, input: Option<&[u8]>, limit: Duration) -> Result<Run> {
        let limit = limit.min(self.timeout);
        match tokio::time::timeout(limit, self.run_to_its_end(last, input)).await {
            Ok(run) => run,
            Err(_elapsed) => {
                let message =
                    format!("the program {} did not end within {limit:?} and was killed", self.name());
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    async fn run_to_its_end(&self, last: &str, input: Option<&[u8]>) -> Result<Run> {
        let failed = |error: io::Error| {
            Error::unavailable(format!("cannot run the program {}", self.name())).with_source(error)
        };
        let child = Command::new(self.name())
            .args(self.command.get(1..).unwrap_or_default())
            .arg(last)
            .env_clear()
            .envs(&self.env)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut running = Running { child: Some(child) };
        let (stdin, stdout, stderr) = running.pipes();
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(Error::internal("the program has no standard output"));
        };
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that does not read its input may still succeed; its exit code tells.
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let stdout = async {
            output::whole(stdout, self.max_output).await.map_err(failed)?.ok_or_else(|| {
                let (name, limit) = (self.name(), self.max_output);
                let message = format!(
                    "the program {name} printed more than {limit} bytes (config.max_output) and was killed"
                );
                Error::new(ErrorKind::TooLarge, message)
            })
        };
        let stderr = async { output::beginning(stderr).await.map_err(failed) };
        let ((), stdout, stderr) = tokio::try_join!(feed, stdout, stderr)?;
        // Only now may the process be reaped: until then nobody else can have its number.
        let status = running.end().await.map_err(failed)?;
        Ok(Run { status, stdout, stderr })
    }
}

/// A program that is killed, with all that is in its process group, when this goes before it has ended.
struct Running {
    child: Option<Child>,
}

impl Running {
    fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        match &mut self.child {
            Some(child) => (child.stdin.take(), child.stdout.take(), child.stderr.take()),
            None => (None, None, None),
        }
    }

    async fn end(mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(io::ErrorKind::NotFound.into()) };
        let status = child.wait().await?;
        self.child = None;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // It fails only when nobody is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
        // Reaped here, since the runtime would put up a signal handler in the host's process to do it later.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { child.wait().await });
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the program needs to find what it runs, and its own settings")]
fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    INHERITED.into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
}
