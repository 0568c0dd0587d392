//! The log: lines on standard error.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _};

use crate::config::Env;

/// The variable that says what is logged, in the syntax of `RUST_LOG`; `keyway=trace` for example.
pub const LOG_VARIABLE: &str = "KEYWAY_LOG";

/// Begins to log, from level `default` on where the variable says nothing. A later call has no effect.
///
/// Libraries are never logged below `info`: what HTTP and TLS libraries trace may hold header values, and so secrets.
pub fn start(env: &Env, default: LevelFilter) {
    let directives = env.get(LOG_VARIABLE).ok();
    let directives = directives.as_ref().and_then(|value| value.expose_str().ok()).unwrap_or_default();
    let (filter, fault) = match EnvFilter::builder().with_default_directive(default.into()).parse(directives)
    {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::default().add_directive(default.into()), Some(error)),
    };
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let subscriber =
        tracing_subscriber::registry().with(lines.with_filter(filter_fn(is_safe)).with_filter(filter));
    if tracing::subscriber::set_global_default(subscriber).is_ok()
        && let Some(error) = fault
    {
        tracing::warn!(variable = LOG_VARIABLE, %error, "the variable is not understood and has no effect");
    }
}

fn is_safe(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("keyway") || *metadata.level() <= Level::INFO
}
