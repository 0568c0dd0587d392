//! The log: lines on standard error, for people or for programs.

use std::io::{self, IsTerminal as _};

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, fmt, layer::SubscriberExt as _, registry,
};

use crate::config::Env;

/// The variable that says what is logged, in the syntax of `RUST_LOG`; `keyway=trace` for example.
pub const LOG_VARIABLE: &str = "KEYWAY_LOG";

/// The variable that says how: `text`, which is the default, or `json` for one JSON object a line.
pub const FORMAT_VARIABLE: &str = "KEYWAY_LOG_FORMAT";

/// Begins to log, from level `default` on where the variable says nothing. A later call has no effect.
///
/// Libraries are never logged below `info`: what HTTP and TLS libraries trace may hold header values, and so secrets.
pub fn start(env: &Env, default: LevelFilter) {
    let (filter, unknown_filter) = match EnvFilter::builder()
        .with_default_directive(default.into())
        .parse(variable(env, LOG_VARIABLE))
    {
        Ok(filter) => (filter, false),
        Err(_) => (EnvFilter::default().add_directive(default.into()), true),
    };
    let format = variable(env, FORMAT_VARIABLE);
    let lines = lines(format.trim() == "json").with_filter(filter_fn(is_safe)).with_filter(filter);
    if tracing::subscriber::set_global_default(registry().with(lines)).is_err() {
        return;
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
}

fn lines(json: bool) -> Box<dyn Layer<Registry> + Send + Sync> {
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
