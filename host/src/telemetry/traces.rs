//! Traces: the host's spans, sent to a collector of OpenTelemetry over OTLP (HTTP with protobuf).
//!
//! Only the host's own spans are sent, and none of what is logged within them: what a span has is written in few places,
//! and holds names and numbers.

use std::{sync::OnceLock, time::Duration};

use axum::http::HeaderMap;
use opentelemetry::{
    propagation::TextMapPropagator as _,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use super::collector::Collector;
use crate::config::Env;

/// Either of them switches traces on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// `true` switches them off again.
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// How the service is called where `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say nothing.
const SERVICE: &str = "keyway";

/// How long a stop waits for the last spans to be sent.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// Set while traces are sent: without, requests pay nothing for them.
static PROPAGATOR: OnceLock<TraceContextPropagator> = OnceLock::new();

/// The spans that are under way to the collector.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send, where the environment names a collector.
    ///
    /// The library reads the variables of OpenTelemetry's specification itself.
    pub(super) fn start(env: &Env) -> Result<Option<Self>, String> {
        let is_disabled =
            env.get(DISABLED).is_ok_and(|value| value.expose_bytes().eq_ignore_ascii_case(b"true"));
        if is_disabled || ENDPOINTS.iter().all(|name| env.get(name).is_err()) {
            return Ok(None);
        }
        let collector = Collector::new().map_err(|error| error.to_string())?;
        let exporter = SpanExporter::builder().with_http().with_http_client(collector).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_batch_exporter(exporter.map_err(|error| error.to_string())?)
            .build();
        PROPAGATOR.get_or_init(TraceContextPropagator::new);
        Ok(Some(Traces(provider)))
    }

    /// Hands the host's spans over.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_own_span))
    }

    /// Sends what is left.
    pub(super) fn stop(self) {
        if self.0.shutdown_with_timeout(LAST_EXPORT).is_err() {
            tracing::warn!("the last spans were not sent in time");
        }
    }
}

/// Lets a span continue the trace that a caller's `traceparent` names, if there is one.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    let Some(propagator) = PROPAGATOR.get() else { return };
    let caller = propagator.extract(&HeaderExtractor(headers));
    if caller.span().span_context().is_valid() {
        // It fails where no layer takes the span, and then there is nothing to continue.
        let _ = span.set_parent(caller);
    }
}

/// Puts the span's own `traceparent` in place of a caller's, so that who gets the headers continues the span.
pub fn pass_trace_on(span: &Span, headers: &mut HeaderMap) {
    let Some(propagator) = PROPAGATOR.get() else { return };
    let context = span.context();
    if context.span().span_context().is_valid() {
        propagator.inject_context(&context, &mut HeaderInjector(headers));
    }
}

fn resource() -> Resource {
    let said = Resource::builder().build();
    let key = opentelemetry::Key::from_static_str("service.name");
    match said.get(&key) {
        Some(name) if !name.as_str().starts_with("unknown_service") => said,
        _ => Resource::builder().with_service_name(SERVICE).build(),
    }
}

fn is_own_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("keyway")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named_and_the_sdk_is_not_disabled() {
        for vars in [vec![], vec![(ENDPOINTS[0], "http://127.0.0.1:1"), (DISABLED, "true")]] {
            assert!(Traces::start(&Env::from_vars(vars)).unwrap().is_none());
        }
        let mut headers = HeaderMap::new();
        pass_trace_on(&Span::none(), &mut headers);
        assert!(headers.is_empty());
    }
}
