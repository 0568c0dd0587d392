//! Counters and histograms that threads share without sharing a cache line.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// How many threads count without meeting each other.
const SHARDS: usize = 16;

/// The upper ends of a histogram's buckets, in nanoseconds; a last bucket has no end.
const BOUNDS: [u64; 16] = [
    100_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// Counts up; an increment is one addition to a cell of the thread's own.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<[Cell; SHARDS]>);

/// Counts durations by size.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<[Buckets; SHARDS]>);

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// Counts one in a gauge for as long as it lives.
#[derive(Debug)]
pub struct InGauge(Gauge);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.0[shard()].0.fetch_add(1, Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }
}

impl Histogram {
    /// Adds a duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        let buckets = &self.0[shard()];
        buckets.counts[bucket].fetch_add(1, Relaxed);
        buckets.nanos.fetch_add(nanos, Relaxed);
    }

    /// How many durations were added.
    pub fn count(&self) -> u64 {
        (0..=BOUNDS.len()).map(|bucket| self.bucket(bucket)).sum()
    }

    fn bucket(&self, bucket: usize) -> u64 {
        self.0.iter().map(|shard| shard.counts[bucket].load(Relaxed)).sum()
    }
}

impl Gauge {
    /// Counts one more until the guard is dropped.
    pub fn enter(&self) -> InGauge {
        self.0.fetch_add(1, Relaxed);
        InGauge(self.clone())
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Drop for InGauge {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.get(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ends = BOUNDS.iter().map(|nanos| *nanos as f64 / 1e9).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            ends.enumerate().map(|(index, end)| (end, self.bucket(index))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let nanos: u64 = self.0.iter().map(|shard| shard.nanos.load(Relaxed)).sum();
        encoder.encode_histogram::<NoLabelSet>(nanos as f64 / 1e9, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl EncodeMetric for Gauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Counter {
    const TYPE: MetricType = MetricType::Counter;
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl TypedMetric for Gauge {
    const TYPE: MetricType = MetricType::Gauge;
}

/// The cell of this thread.
fn shard() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = THREADS.fetch_add(1, Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let (counter, histogram) = (Counter::default(), Histogram::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.inc();
                        histogram.observe(Duration::from_millis(3));
                    }
                });
            }
        });
        assert_eq!((counter.get(), histogram.count()), (4000, 4000));
    }

    #[test]
    fn a_duration_beyond_every_bucket_is_counted_all_the_same() {
        let histogram = Histogram::default();
        histogram.observe(Duration::MAX);
        histogram.observe(Duration::ZERO);
        assert_eq!((histogram.bucket(0), histogram.bucket(BOUNDS.len())), (1, 1));
    }

    #[test]
    fn a_gauge_counts_who_is_inside() {
        let gauge = Gauge::default();
        let inside = gauge.enter();
        assert_eq!(gauge.get(), 1);
        drop(inside);
        assert_eq!(gauge.get(), 0);
    }
}
