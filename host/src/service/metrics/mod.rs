//! What is counted, under which name, and how it is shown to Prometheus.
//!
//! Names and help texts stand here and nowhere else. Labels are names of managers, operations and classes: never
//! the name of a secret, of which there may be many, and never a value.

mod cell;
mod layer;
mod reading;

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{MetricType, family::Family},
    registry::Registry,
};

use self::reading::Readings;
pub use self::{
    cell::{Counter, Gauge, Histogram, InGauge},
    layer::Metered,
    reading::Reading,
};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const CALLS: &str = "keyway_manager_calls";
const CALL_DURATION: &str = "keyway_manager_call_duration_seconds";
const CALLS_IN_FLIGHT: &str = "keyway_manager_calls_in_flight";
const CACHE_READS: &str = "keyway_cache_reads";
const AUDIT_LOST: &str = "keyway_audit_lost_lines";
const RELOADS: &str = "keyway_config_reloads";
const GATEWAY_REQUESTS: &str = "keyway_gateway_requests";
const GATEWAY_DURATION: &str = "keyway_gateway_request_duration_seconds";
const GATEWAY_UPSTREAM_DURATION: &str = "keyway_gateway_upstream_duration_seconds";

/// Names of labels and their values.
pub type Labels = Vec<(&'static str, String)>;

/// Everything that is counted in one host.
pub struct Metrics {
    registry: Registry,
    calls: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
    in_flight: Family<Labels, Gauge>,
    cache_reads: Family<Labels, Counter>,
    audit_lost: Counter,
    gateway: GatewayMetrics,
    reloads: ReloadMetrics,
    readings: Readings,
}

/// What is counted about the calls of one manager.
#[derive(Clone, Debug, Default)]
pub struct ManagerMetrics {
    manager: String,
    calls: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
    in_flight: Gauge,
}

/// What is counted about the reads of one cache.
#[derive(Clone, Debug, Default)]
pub struct CacheMetrics {
    /// Answered without waiting, with a value within its time to live.
    pub hits: Counter,
    /// Answered with a value that a call brought.
    pub misses: Counter,
    /// Answered with a value past its time to live.
    pub stale: Counter,
    /// Answered with NOT_FOUND from memory.
    pub negative: Counter,
    /// Answered with an error.
    pub errors: Counter,
}

/// What became of the reloads of the configuration.
#[derive(Clone, Debug, Default)]
pub struct ReloadMetrics {
    /// The new configuration is in use.
    pub done: Counter,
    /// It could not be used, and the one before it goes on.
    pub refused: Counter,
}

/// What is counted about the gateway's requests; a copy is cheap and counts to the same numbers.
#[derive(Clone, Debug, Default)]
pub struct GatewayMetrics {
    requests: [Counter; CLASSES.len()],
    duration: Histogram,
    upstream: Histogram,
}

/// The classes of a gateway's answers, by the first digit of their status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let (calls, durations) = (Family::default(), Family::default());
        let (in_flight, cache_reads) = (Family::default(), Family::default());
        registry.register(CALLS, "Calls of a manager, by operation and class of the outcome", calls.clone());
        registry.register(CALL_DURATION, "How long the calls of a manager took", durations.clone());
        registry.register(CALLS_IN_FLIGHT, "Calls of a manager under way", in_flight.clone());
        let help = "Reads of the cache before a manager, by result: hit, miss, stale, negative or error";
        registry.register(CACHE_READS, help, cache_reads.clone());

        let audit_lost = Counter::default();
        registry.register(
            AUDIT_LOST,
            "Lines that the audit log lacks, because they could not be written",
            audit_lost.clone(),
        );

        let gateway = GatewayMetrics::default();
        registry.register_collector(Box::new(ByClass(gateway.requests.clone())));
        let help = "How long the gateway's requests took, to the end of the answer's head";
        registry.register(GATEWAY_DURATION, help, gateway.duration.clone());
        let help = "How long upstreams took to answer, as part of the gateway's requests";
        registry.register(GATEWAY_UPSTREAM_DURATION, help, gateway.upstream.clone());

        let family = Family::<Labels, Counter>::default();
        let outcome = |outcome: &str| family.get_or_create_owned(&vec![("outcome", outcome.to_owned())]);
        let reloads = ReloadMetrics { done: outcome("done"), refused: outcome("refused") };
        registry.register(RELOADS, "Reloads of the configuration, by outcome: done or refused", family);

        let readings = Readings::default();
        registry.register_collector(Box::new(readings.clone()));
        Self { registry, calls, durations, in_flight, cache_reads, audit_lost, gateway, reloads, readings }
    }

    /// The counters of one manager's calls.
    pub fn manager(&self, manager: &str) -> ManagerMetrics {
        ManagerMetrics {
            manager: manager.to_owned(),
            calls: self.calls.clone(),
            durations: self.durations.clone(),
            in_flight: self.in_flight.get_or_create_owned(&vec![("manager", manager.to_owned())]),
        }
    }

    /// The counters of the cache before one manager.
    pub fn cache(&self, manager: &str) -> CacheMetrics {
        let counter = |result: &str| {
            let labels = vec![("manager", manager.to_owned()), ("result", result.to_owned())];
            self.cache_reads.get_or_create_owned(&labels)
        };
        CacheMetrics {
            hits: counter("hit"),
            misses: counter("miss"),
            stale: counter("stale"),
            negative: counter("negative"),
            errors: counter("error"),
        }
    }

    /// The counter of lines that the audit log lacks.
    pub fn audit_lost(&self) -> Counter {
        self.audit_lost.clone()
    }

    /// The counters of the gateway.
    pub fn gateway(&self) -> GatewayMetrics {
        self.gateway.clone()
    }

    /// The counters of the reloads.
    pub fn reloads(&self) -> &ReloadMetrics {
        &self.reloads
    }

    /// Asks `read` for a manager's number whenever the metrics are shown, until it answers `None`.
    pub fn watch(
        &self,
        reading: Reading,
        manager: &str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        let labels: Labels = vec![("manager", manager.to_owned())];
        self.watch_all(reading, move || Some(vec![(labels.clone(), read()?)]));
    }

    /// As [`Metrics::watch`], for numbers with labels of their own.
    pub fn watch_all(
        &self,
        reading: Reading,
        read: impl Fn() -> Option<Vec<(Labels, f64)>> + Send + Sync + 'static,
    ) {
        self.readings.add(reading, read);
    }

    /// The text that Prometheus reads, in the OpenMetrics format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        if text::encode(&mut out, &self.registry).is_err() {
            tracing::error!("the metrics cannot be written as text");
        }
        out
    }
}

impl GatewayMetrics {
    /// Counts a request: the status of its answer, how long it took, and how much of that its upstream took.
    pub fn observe(&self, status: u16, duration: Duration, upstream: Option<Duration>) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[class].inc();
        self.duration.observe(duration);
        if let Some(upstream) = upstream {
            self.upstream.observe(upstream);
        }
    }
}

#[derive(Debug)]
struct ByClass([Counter; CLASSES.len()]);

impl Collector for ByClass {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Requests of the gateway, by class of the answer's status.";
        let mut metric = encoder.encode_descriptor(GATEWAY_REQUESTS, help, None, MetricType::Counter)?;
        for (class, counter) in CLASSES.iter().zip(&self.0) {
            let labels = [("class", *class)];
            counter.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keyway_plugin_api::SecretManager as _;

    use super::*;
    use crate::service::fake::Fake;

    #[tokio::test]
    async fn the_text_has_every_name_with_its_help_and_ends_as_the_format_asks() {
        let metrics = Metrics::new();
        let manager = Metered::new(Fake::new("vault"), metrics.manager("vault"));
        manager.health_check().await.unwrap();
        metrics.cache("vault").hits.inc();
        metrics.gateway().observe(200, Duration::from_millis(3), Some(Duration::from_millis(2)));
        metrics.watch(Reading::BreakerState, "vault", || Some(1.0));
        let text = metrics.render();
        for line in [
            "# TYPE keyway_manager_calls counter",
            "# TYPE keyway_manager_call_duration_seconds histogram",
            "# TYPE keyway_manager_zombie_operations gauge",
            "keyway_manager_calls_total{manager=\"vault\",operation=\"health\",class=\"OK\"} 1",
            "keyway_cache_reads_total{manager=\"vault\",result=\"hit\"} 1",
            "keyway_manager_breaker_state{manager=\"vault\"} 1.0",
            "keyway_gateway_requests_total{class=\"2xx\"} 1",
            "keyway_gateway_request_duration_seconds_count 1",
            "keyway_gateway_upstream_duration_seconds_bucket{le=\"0.0025\"} 1",
            "keyway_gateway_upstream_duration_seconds_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_reading_whose_manager_has_gone_is_forgotten() {
        let metrics = Metrics::new();
        metrics.watch(Reading::ZombieOperations, "gone", || None);
        assert!(!metrics.render().contains("gone"));
        assert_eq!(metrics.readings.len(), 0);
    }

    #[test]
    fn of_two_readings_with_the_same_labels_the_later_one_is_shown() {
        let metrics = Metrics::new();
        metrics.watch(Reading::CacheValues, "vault", || Some(1.0));
        metrics.watch(Reading::CacheValues, "vault", || Some(2.0));
        let text = metrics.render();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("keyway_cache_values{")).collect();
        assert_eq!(lines, ["keyway_cache_values{manager=\"vault\"} 2.0"], "{text}");
    }

    #[test]
    fn every_help_is_a_sentence_and_no_outcome_of_a_reload_is_missing() {
        let text = Metrics::new().render();
        for help in text.lines().filter(|line| line.starts_with("# HELP")) {
            assert!(help.ends_with('.') && !help.ends_with(".."), "{help}");
        }
        for outcome in ["done", "refused"] {
            let line = format!("keyway_config_reloads_total{{outcome=\"{outcome}\"}} 0");
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn a_status_out_of_range_is_counted_at_the_nearest_class() {
        let metrics = GatewayMetrics::default();
        metrics.observe(0, Duration::ZERO, None);
        metrics.observe(999, Duration::ZERO, None);
        assert_eq!((metrics.requests[0].get(), metrics.requests[4].get()), (1, 1));
    }
}
