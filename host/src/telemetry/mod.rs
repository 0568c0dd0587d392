//! What the host tells of itself: the log, which is lines on standard error for people or for programs, and traces.

#[cfg(feature = "otel")]
mod collector;
#[cfg(feature = "otel")]
mod traces;
#[cfg(not(feature = "otel"))]
#[path = "no_traces.rs"]
mod traces;

use std::io::{self, IsTerminal as _};

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt as _, registry, registry::LookupSpan,
};

use self::traces::Traces;
pub use self::traces::{continue_trace, pass_trace_on};
use crate::config::Env;

/// The variable that says what is logged, in the syntax of `RUST_LOG`; `keyway=trace` for example.
pub const LOG_VARIABLE: &str = "KEYWAY_LOG";

/// The variable that says how: `text`, which is the default, or `json` for one JSON object a line.
pub const FORMAT_VARIABLE: &str = "KEYWAY_LOG_FORMAT";

/// The telemetry of this process.
#[must_use = "spans that were not sent yet are lost unless it is stopped"]
pub struct Telemetry(Option<Traces>);

impl Telemetry {
    /// Sends what was not sent yet, for a few seconds at most; blocks. A second call has no effect.
    pub fn stop(&mut self) {
        if let Some(traces) = self.0.take() {
            traces.stop();
        }
    }
}

/// Begins to log, from level `default` on where the variable says nothing, and to send traces where the variables of
/// OpenTelemetry name a collector. A later call has no effect.
///
/// Libraries are never logged below `info`: what HTTP and TLS libraries trace may hold header values, and so secrets.
pub fn start(env: &Env, default: LevelFilter) -> Telemetry {
    let (filter, unknown_filter) = match EnvFilter::builder()
        .with_default_directive(default.into())
        .parse(variable(env, LOG_VARIABLE))
    {
        Ok(filter) => (filter, false),
        Err(_) => (EnvFilter::default().add_directive(default.into()), true),
    };
    let format = variable(env, FORMAT_VARIABLE);
    let lines = lines(format.trim() == "json").with_filter(filter_fn(is_safe)).with_filter(filter);
    let (traces, fault) = match Traces::start(env) {
        Ok(traces) => (traces, None),
        Err(fault) => (None, Some(fault)),
    };
    let spans = traces.as_ref().map(Traces::layer);
    if tracing::subscriber::set_global_default(registry().with(spans).with(lines)).is_err() {
        return Telemetry(None);
    }
    // What the variables say is not repeated: by mistake, it could be anything.
    if unknown_filter {
        let example = "keyway=debug";
        tracing::warn!(variable = LOG_VARIABLE, example, "the variable is not understood and has no effect");
    }
    if !["", "text", "json"].contains(&format.trim()) {
        tracing::warn!(
            variable = FORMAT_VARIABLE,
            known = "text, json",
            "the log format is unknown; using text"
        );
    }
    if let Some(reason) = fault {
        tracing::warn!(reason, "no traces are sent; correct the variables of OpenTelemetry");
    }
    Telemetry(traces)
}

fn lines<S>(json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    match json {
        true => fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
        false => fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).boxed(),
    }
}

fn variable(env: &Env, name: &str) -> String {
    let value = env.get(name).ok();
    value.as_ref().and_then(|value| value.expose_str().ok()).unwrap_or_default().to_owned()
}

fn is_safe(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("keyway") || *metadata.level() <= Level::INFO
}
