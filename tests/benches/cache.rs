//! What the cache before a manager costs: a read that hits, one call for a thousand waiters, a start with 100,000
//! references through all layers, and the memory of a million entries.
//!
//! `cargo bench -p keyway-tests --bench cache`; the memory is printed first.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends when something fails"
)]

use std::{
    fs,
    hint::black_box,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use keyway::{
    config::{AccessMode, CacheSettings, Env, OnError, Reference},
    service::{
        Cache, Freshness, Keeper, Metrics, Policy, Resolver, SecretHandle, Stack, StackSettings,
        limit::Limit, metrics::CacheMetrics,
    },
};
use keyway_plugin_api::{OptionalParams, ReadRequest, Result, Secret, SecretManager};
use keyway_tests::{build, plugin};
use tokio::{runtime::Runtime, sync::Notify};

const TIMEOUT: Duration = Duration::from_secs(5);
const VALUE: &str = "sk-test-not-a-key-sk-test-not-a-key";

/// Answers every read at once with the same value.
struct Instantly;

#[async_trait]
impl SecretManager for Instantly {
    async fn async_read_secret(&self, _: &ReadRequest) -> Result<Secret> {
        Ok(Secret::from(VALUE))
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn cache(runtime: &Runtime, max_entries: u64) -> Cache {
    cache_of(runtime, Arc::new(Instantly), max_entries)
}

fn cache_of(runtime: &Runtime, manager: Arc<dyn SecretManager>, max_entries: u64) -> Cache {
    let _entered = runtime.enter();
    let settings = CacheSettings { max_entries, ..CacheSettings::default() };
    Cache::new(manager, settings, TIMEOUT, CacheMetrics::default())
}

/// All layers before a manager; must be called inside a runtime.
fn stack_of(manager: Arc<dyn SecretManager>) -> Stack {
    let settings = StackSettings {
        name: "vault".to_owned(),
        timeout: TIMEOUT,
        max_in_flight: 64,
        access: Default::default(),
        service: Default::default(),
    };
    Stack::new(manager, settings, &Metrics::new(), None)
}

fn request(index: usize) -> ReadRequest {
    let params =
        OptionalParams::from_json(r#"{"custom_secret_manager":"my_secret_manager.InMemorySecretManager"}"#);
    ReadRequest { optional_params: params, ..ReadRequest::new(format!("OPENAI_API_KEY_{index}")).unwrap() }
}

fn read_hit(criterion: &mut Criterion) {
    let runtime = runtime();
    let cache = cache(&runtime, 10_000);
    let requests: Vec<_> = (0..64).map(request).collect();
    runtime.block_on(async {
        for request in &requests {
            cache.read_cached(request).await.unwrap();
        }
    });
    // Polled here, so that the runtime's own cost does not count.
    let read = |request: &ReadRequest| futures_util::FutureExt::now_or_never(cache.read_cached(request));
    print_median("1 thread", 1, &|_| drop(black_box(read(&requests[0]))));
    print_median("2 threads, one name", 2, &|_| drop(black_box(read(&requests[0]))));
    print_median("2 threads, a name each", 2, &|thread| drop(black_box(read(&requests[thread]))));
    criterion.bench_function("cached read, 1 thread", |bench| {
        let mut next = (0..64).cycle();
        bench.iter(|| black_box(read(&requests[next.next().unwrap_or_default()])));
    });
    criterion.bench_function("cached read, 2 threads, one name", |bench| {
        bench.iter_custom(|times| two_threads(times, |_, _| drop(black_box(read(&requests[0])))));
    });
    criterion.bench_function("cached read, 2 threads, 64 names", |bench| {
        let read = |thread: usize, time: u64| {
            drop(black_box(read(&requests[(thread * 32 + time as usize % 32) % 64])));
        };
        bench.iter_custom(|times| two_threads(times, read));
    });
    let manager = runtime.block_on(async { stack_of(Arc::new(Instantly)).manager() });
    runtime.block_on(manager.async_read_secret(&requests[0])).unwrap();
    criterion.bench_function("read through all layers, 1 thread", |bench| {
        bench.iter(|| {
            let read = manager.async_read_secret(&requests[0]);
            black_box(futures_util::FutureExt::now_or_never(read))
        });
    });
}

/// The median of what a read costs, in batches too short to be interrupted often: a busy machine hardly shows in it.
fn print_median(what: &str, threads: usize, read: &(impl Fn(usize) + Sync)) {
    const BATCH: u32 = 100;
    let barrier = Barrier::new(threads);
    let run = &|thread| {
        barrier.wait();
        let batch = || {
            let start = Instant::now();
            (0..BATCH).for_each(|_| read(thread));
            start.elapsed() / BATCH
        };
        (0..20_000).map(|_| batch()).collect::<Vec<_>>()
    };
    let mut times: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    times.sort();
    println!(
        "cached read, {what}: p50 {:?}, p99 {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}

/// The time that each of two threads takes for so many reads.
fn two_threads(times: u64, read: impl Fn(usize, u64) + Sync) -> Duration {
    let barrier = Barrier::new(2);
    let run = |thread| {
        barrier.wait();
        let start = Instant::now();
        for time in 0..times {
            read(thread, time);
        }
        start.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        run(0).max(other.join().unwrap())
    })
}

/// Answers when it is let, and counts its calls.
#[derive(Default)]
struct Gated {
    gate: Notify,
    calls: AtomicU64,
}

#[async_trait]
impl SecretManager for Gated {
    async fn async_read_secret(&self, _: &ReadRequest) -> Result<Secret> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.gate.notified().await;
        Ok(Secret::from(VALUE))
    }
}

fn single_flight(criterion: &mut Criterion) {
    let runtime = runtime();
    let manager = Arc::new(Gated::default());
    let cache = cache_of(&runtime, manager.clone(), 10_000);
    let request = request(0);
    criterion.bench_function("one call for 1,000 waiters", |bench| {
        bench.iter(|| {
            cache.invalidate(&request.name);
            let before = manager.calls.load(Ordering::Relaxed);
            let waiters = join_all((0..1000).map(|_| cache.read_cached(&request)));
            let waiters = tokio::task::unconstrained(waiters);
            // All of them wait before the gate is opened for the one call.
            let open = async { manager.gate.notify_one() };
            let (answers, ()) = runtime.block_on(async { tokio::join!(biased; waiters, open) });
            assert!(answers.iter().all(|answer| answer.is_ok()));
            assert_eq!(manager.calls.load(Ordering::Relaxed) - before, 1);
        });
    });
}

/// What a start does between loading the plugin and serving: every reference is read through all layers, past the cache and
/// into it, and its value is put into the handle that the gateway uses.
fn start(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let source = build::repository().join("tests/benches/worker.c");
    let library = build::c_library(&source, folder.path(), "worker", &["-O2", "-pthread"]).unwrap();
    let spec = plugin::spec_of("worker", &library, "Inline");
    let (loaded, _) = runtime.block_on(plugin::load(spec)).unwrap();
    let mut group = criterion.benchmark_group("start with 100,000 references");
    group.sample_size(10);
    let managers: [(_, Arc<dyn SecretManager>); 2] =
        [("a native manager", Arc::new(Instantly)), ("a C plugin", loaded)];
    for (what, manager) in managers {
        group.bench_function(what, |bench| bench.iter(|| runtime.block_on(start_with(manager.clone()))));
    }
    group.finish();
}

async fn start_with(manager: Arc<dyn SecretManager>) {
    let policy = Policy {
        access_mode: AccessMode::ReadOnly,
        hosted_keys: None,
        primary_secret_name: None,
        on_error: OnError::Fail,
        optional_params: OptionalParams::NONE,
        timeout: TIMEOUT,
        max_in_flight: 64,
    };
    let references: Vec<Reference> = (0..100_000)
        .map(|index| Reference::new(format!("os.environ/SECRET_{index}"), Vec::new()).unwrap())
        .collect();
    let limited = Arc::new(Limit::new("vault", manager, TIMEOUT, 64, None));
    let stack = stack_of(limited);
    let env = Env::from_vars::<String, Secret>([]);
    let resolver = Resolver::new(Some(("vault".to_owned(), stack.fresh())), policy, env);
    let outcomes = resolver.resolve_all(&references).await.into_iter();
    let kept = outcomes.map(|outcome| (SecretHandle::unresolved(outcome.reference.text()), outcome));
    let keeper = Keeper::new(resolver, Freshness::default(), kept.collect::<Vec<_>>(), None);
    assert!(keeper.status().iter().all(|reference| reference.state == "fresh"));
}

fn memory(_: &mut Criterion) {
    const ENTRIES: usize = 1_000_000;
    let runtime = runtime();
    let cache = cache(&runtime, 2 * ENTRIES as u64);
    let before = resident();
    runtime.block_on(async {
        for index in 0..ENTRIES {
            cache.read_cached(&request(index)).await.unwrap();
        }
    });
    assert_eq!(cache.extent().0, ENTRIES as u64);
    let (Some(before), Some(after)) = (before, resident()) else {
        println!("memory: this system does not say how much a process uses");
        return;
    };
    let bytes = after.saturating_sub(before) / ENTRIES;
    println!(
        "memory: {bytes} bytes an entry with {ENTRIES} entries, names of 21 and values of {} bytes included",
        VALUE.len()
    );
}

/// The bytes of memory that this process has, where the system says so.
fn resident() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}

criterion_group!(benches, memory, read_hit, single_flight, start);
criterion_main!(benches);
