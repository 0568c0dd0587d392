//! What a read of a small secret costs on each way to a secret manager, beside the bare mechanism under it.
//!
//! - `inline`: the in-memory manager as a native trait object, the same type loaded as a plugin, and a C plugin; the
//!   difference is what the table costs.
//! - `from_thread`: a plugin that completes from its own thread, beside a bare wake-up by such a thread.
//! - `blocking`: a plugin that can only block, beside a bare `spawn_blocking`.
//!
//! `cargo bench -p keyway-tests --bench read`; the plugins are built with the profile of the benchmark itself.
#![expect(clippy::expect_used, reason = "a benchmark whose read fails has nothing to measure")]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use keyway::loader::{self, PluginSpec, verify::TrustPolicy};
use keyway_memory::{Config, InMemorySecretManager};
use keyway_plugin_api::{ManagerType, ReadRequest, Secret, SecretManager};
use keyway_tests::build;
use tokio::{runtime::Runtime, sync::oneshot};

const NAME: &str = "OPENAI_API_KEY";
const VALUE: &str = "example-value-of-a-secret";

fn main() -> Result<()> {
    let runtime = Runtime::new()?;
    let memory = memory_library()?;
    let source = build::repository().join("tests/benches/worker.c");
    let folder = tempfile::tempdir()?;
    let worker = build::c_library(&source, folder.path(), "worker", &["-O2", "-pthread"])?;
    let native =
        InMemorySecretManager::create(Config { secrets: [(NAME.to_owned(), VALUE.to_owned())].into() })?;
    let native: Arc<dyn SecretManager> = Arc::new(native);
    let config = serde_json::json!({ "secrets": { NAME: VALUE } });
    let loaded = runtime.block_on(load(&memory, "InMemorySecretManager", config))?;
    let none = || serde_json::json!({});
    let inline = runtime.block_on(load(&worker, "Inline", none()))?;
    let threaded = runtime.block_on(load(&worker, "Threaded", none()))?;
    let blocking = runtime.block_on(load(&worker, "Blocking", none()))?;

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("inline");
    read(&mut group, &runtime, "native", &native);
    read(&mut group, &runtime, "plugin", &loaded);
    read(&mut group, &runtime, "c_plugin", &inline);
    group.finish();

    let mut group = criterion.benchmark_group("from_thread");
    let waker = Waker::start();
    measure(&mut group, &runtime, "bare", async || waker.wake().await);
    read(&mut group, &runtime, "plugin", &threaded);
    group.finish();

    let mut group = criterion.benchmark_group("blocking");
    measure(&mut group, &runtime, "bare", async || {
        tokio::task::spawn_blocking(|| Secret::from(VALUE)).await.expect("the closure does not panic")
    });
    read(&mut group, &runtime, "plugin", &blocking);
    group.finish();
    criterion.final_summary();
    Ok(())
}

fn read(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    manager: &Arc<dyn SecretManager>,
) {
    let request = ReadRequest::new(NAME).expect("the name is valid");
    let read = || runtime.block_on(manager.async_read_secret(&request));
    assert_eq!(read().expect("the secret is there").expose_bytes(), VALUE.as_bytes());
    measure(group, runtime, name, async || {
        manager.async_read_secret(black_box(&request)).await.expect("the secret is there")
    });
}

/// Measures an operation inside one `block_on`, so that entering the runtime does not count.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    operation: impl AsyncFn() -> Secret,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..iterations {
                    black_box(operation().await);
                }
                start.elapsed()
            })
        });
    });
}

/// Loads a manager type as the host does, with the file's owner as the only condition.
async fn load(library: &Path, type_name: &str, config: serde_json::Value) -> Result<Arc<dyn SecretManager>> {
    let spec = PluginSpec {
        name: type_name.to_owned(),
        reference: format!("{}:{type_name}", library.display()),
        setting: "the benchmark".to_owned(),
        config_dir: PathBuf::from("/"),
        plugin_dirs: Vec::new(),
        config,
        trust: TrustPolicy::new(type_name),
        timeout: Duration::from_secs(10),
        max_in_flight: 256,
    };
    let (manager, _) = loader::load(spec).await?;
    Ok(manager)
}

/// The library of the in-memory plugin, as a vendor ships it: optimised.
fn memory_library() -> Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--profile=bench", "--message-format=json", "--lib", "-p", "keyway-plugin-memory"])
        .current_dir(build::repository())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo cannot build the in-memory plugin:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten()
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .rfind(|file| file.extension().is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION))
        .context("cargo made no library of the in-memory plugin")
}

/// The least that a wake-up from another thread needs: a thread behind a lock and a condition, and a channel back.
struct Waker(Arc<(Mutex<Option<oneshot::Sender<Secret>>>, Condvar)>);

impl Waker {
    fn start() -> Self {
        let shared = Arc::new((Mutex::default(), Condvar::new()));
        let Waker(own) = Waker(Arc::clone(&shared));
        thread::spawn(move || {
            let (place, wake) = &*own;
            let mut waiting: std::sync::MutexGuard<'_, Option<oneshot::Sender<Secret>>> =
                place.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match waiting.take() {
                    Some(sender) => {
                        drop(waiting);
                        let _ = sender.send(Secret::from(VALUE));
                        waiting = place.lock().unwrap_or_else(PoisonError::into_inner);
                    }
                    None => waiting = wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                }
            }
        });
        Self(shared)
    }

    async fn wake(&self) -> Secret {
        let (sender, receiver) = oneshot::channel();
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.0.1.notify_one();
        receiver.await.expect("the thread lives as long as the process")
    }
}
