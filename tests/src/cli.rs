//! The `keyway` program as a black box: a folder, a command line, and what came of it.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::build::{cargo_binary, cargo_library};

/// The master key that the programs under test get from their environment.
pub const MASTER_KEY: &str = "sk-test-master-not-a-key";

/// How long a program may take to begin to serve before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of a test's own, with the files of an operator.
pub struct Folder(tempfile::TempDir);

/// A command line that is being put together.
pub struct Keyway {
    command: Command,
    input: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` when a signal ended the process.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

/// A gateway that starts; it is killed when this goes.
pub struct Starting {
    child: Child,
    log: Log,
    reader: Option<JoinHandle<()>>,
}

/// A gateway that serves; it is killed when this goes.
pub struct Serving {
    starting: Starting,
    /// Where it serves.
    pub address: SocketAddr,
}

/// What a program has written so far.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    text: String,
    address: Option<SocketAddr>,
    ended: bool,
}

impl Folder {
    /// A fresh folder.
    ///
    /// # Errors
    /// When the system has none.
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Builds the plugin of a package and puts the library here, as an operator would.
    ///
    /// # Errors
    /// When it cannot be built or copied.
    pub fn plugin(&self, package: &str) -> Result<PathBuf> {
        let built = cargo_library(package)?;
        let path = self.path().join(built.file_name().context("a library without a name")?);
        fs::copy(built, &path)?;
        Ok(path)
    }

    /// A command line to be run here, with nothing in its environment but the master key.
    ///
    /// # Errors
    /// When the program cannot be built.
    pub fn keyway(&self, arguments: &[&str]) -> Result<Keyway> {
        let command = Command::new(cargo_binary("keyway")?);
        Ok(Keyway::from_command(command, self.path()).args(arguments))
    }

    /// Runs a command line here.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.keyway(arguments)?.run()
    }
}

impl Keyway {
    /// Any way to start the program, through `setpriv` for example.
    pub fn from_command(mut command: Command, folder: &Path) -> Self {
        command.env_clear().env("LITELLM_MASTER_KEY", MASTER_KEY).current_dir(folder);
        Self { command, input: Vec::new() }
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable away.
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Gives it standard input.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be run, or writes what is not text to standard error.
    pub fn run(mut self) -> Result<Ran> {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run keyway")?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who needs no input may be gone before it was written.
            let _ = stdin.write_all(&self.input);
        }
        let output = child.wait_with_output()?;
        let stderr = String::from_utf8(output.stderr)?;
        Ok(Ran { code: output.status.code(), stdout: output.stdout, stderr })
    }

    /// Runs it with a standard output whose reader is gone already.
    ///
    /// # Errors
    /// As [`Keyway::run`].
    pub fn run_unread(mut self) -> Result<Ran> {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut child = self.command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn()?;
        let mut stderr = String::new();
        child.stderr.take().context("no standard error")?.read_to_string(&mut stderr)?;
        Ok(Ran { code: child.wait()?.code(), stdout: Vec::new(), stderr })
    }

    /// Starts it and waits until it serves. Give it `--port 0`.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub fn serve(self) -> Result<Serving> {
        self.begin()?.serving()
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn begin(mut self) -> Result<Starting> {
        let mut child = self
            .command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run keyway")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let log = Log::default();
        let written = log.clone();
        let reader = Some(std::thread::spawn(move || written.follow(stderr)));
        Ok(Starting { child, log, reader })
    }
}

impl Starting {
    /// Waits until it serves.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub fn serving(self) -> Result<Serving> {
        match self.log.wait(|written| written.address) {
            Ok(address) => Ok(Serving { starting: self, address }),
            Err(text) => bail!("keyway did not serve:\n{text}"),
        }
    }

    /// Waits until it has written a text so many times, and returns all that it has written.
    ///
    /// # Errors
    /// When it ends without, or takes too long.
    pub fn said(&self, text: &str, times: usize) -> Result<String> {
        let found =
            |written: &Written| (written.text.matches(text).count() >= times).then(|| written.text.clone());
        self.log.wait(found).or_else(|all| bail!("expected {text:?} {times} times in:\n{all}"))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process without a number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end; the log is in `stderr`.
    ///
    /// # Errors
    /// When the system has lost it.
    pub fn wait(mut self) -> Result<Ran> {
        let code = self.child.wait()?.code();
        if let Some(reader) = self.reader.take() {
            // One that panicked has left what it had read.
            let _ = reader.join();
        }
        Ok(Ran { code, stdout: Vec::new(), stderr: self.log.lock().text.clone() })
    }
}

impl Log {
    fn follow(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut written = self.lock();
            written.address = written.address.or_else(|| served_address(&line));
            written.text.push_str(&line);
            written.text.push('\n');
            self.0.1.notify_all();
        }
        self.lock().ended = true;
        self.0.1.notify_all();
    }

    /// What is looked for, or all that was written when it does not come.
    fn wait<T>(&self, found: impl Fn(&Written) -> Option<T>) -> std::result::Result<T, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut written = self.lock();
        loop {
            if let Some(found) = found(&written) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if written.ended || left.is_zero() {
                return Err(written.text.clone());
            }
            written = self.0.1.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address in the line of the log that says that the gateway serves, in either format.
fn served_address(line: &str) -> Option<SocketAddr> {
    if let Some((_, address)) = line.split_once("serving address=") {
        return address.trim().parse().ok();
    }
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    (event["message"] == "serving").then(|| event["address"].as_str()?.parse().ok())?
}

impl Ran {
    /// Standard output as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Everything that was printed.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.text(), self.stderr)
    }

    /// Whether it ended with this code and said all of these on standard error.
    ///
    /// # Errors
    /// What is missing, with everything that was said.
    pub fn expect(&self, code: i32, said: &[&str]) -> Result<()> {
        if self.code != Some(code) {
            bail!("expected exit code {code}, got {self:#?}");
        }
        match said.iter().find(|part| !self.stderr.contains(**part)) {
            Some(part) => bail!("expected {part:?} in:\n{}", self.stderr),
            None => Ok(()),
        }
    }
}

impl Serving {
    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.starting.child.id()
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn terminate(&self) -> Result<()> {
        self.starting.signal(Signal::TERM)
    }

    /// Sends SIGHUP.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn hang_up(&self) -> Result<()> {
        self.starting.signal(Signal::HUP)
    }

    /// As [`Starting::said`].
    ///
    /// # Errors
    /// When it ends without, or takes too long.
    pub fn said(&self, text: &str, times: usize) -> Result<String> {
        self.starting.said(text, times)
    }

    /// Waits for its end; the log is in `stderr`.
    ///
    /// # Errors
    /// When the system has lost it.
    pub fn wait(self) -> Result<Ran> {
        self.starting.wait()
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
