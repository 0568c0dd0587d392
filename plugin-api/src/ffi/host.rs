//! The host as the plugin sees it: where log lines and reports of panics go.

use std::{
    fmt::{self, Write},
    sync::OnceLock,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::abi;

static HOST: OnceLock<HostRef> = OnceLock::new();

#[derive(Clone, Copy)]
struct HostRef(&'static abi::Host);

// SAFETY: the table is never written to after the host made it, and the header lets its functions be called from
// any thread.
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

/// Remembers the host; sends what the plugin traces, and the places of its panics, to the host's log.
///
/// The plugin has its own copies of `tracing` and of the standard library, so none of this touches the host's.
///
/// # Safety
/// `host` is NULL or a table that lives as long as the process.
pub(super) unsafe fn connect(host: *const abi::Host) -> bool {
    if host.is_null() || !host.is_aligned() {
        return false;
    }
    // SAFETY: not NULL and aligned; every version of the struct begins with its size, and it is never written to.
    let size = unsafe { host.cast::<u32>().read() };
    if (size as usize) < size_of::<abi::Host>() {
        return false;
    }
    // SAFETY: it has all bytes of this version and lives as long as the process.
    let host = unsafe { &*host };
    if host.abi_major != abi::ABI_MAJOR {
        return false;
    }
    if HOST.set(HostRef(host)).is_ok() {
        // Fails only when the plugin has set a subscriber of its own, which then is what its author wants.
        let _ = tracing::subscriber::set_global_default(HostLog);
        std::panic::set_hook(Box::new(|panic| {
            // The payload may hold a secret; the place cannot.
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            log(Level::ERROR, "panic", &format!("the plugin panicked at {place}"));
        }));
    }
    true
}

fn log(level: Level, target: &str, message: &str) {
    let Some(HostRef(host)) = HOST.get() else { return };
    let Some(log) = host.log else { return };
    let str = |text: &str| abi::Str { ptr: text.as_ptr(), len: text.len() };
    // SAFETY: the host's own function with the host's own table; both texts outlive the call.
    unsafe { log(*host, number(level), str(target), str(message)) };
}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => abi::LOG_ERROR,
        Level::WARN => abi::LOG_WARN,
        Level::INFO => abi::LOG_INFO,
        Level::DEBUG => abi::LOG_DEBUG,
        Level::TRACE => abi::LOG_TRACE,
    }
}

/// Hands events to the host as lines of text; spans are not passed on.
struct HostLog;

impl Subscriber for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some(HostRef(host)) = HOST.get() else { return false };
        let Some(enabled) = host.log_enabled else { return false };
        // SAFETY: the host's own function with the host's own table.
        metadata.is_event() && unsafe { enabled(*host, number(*metadata.level())) } != 0
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        log(
            *event.metadata().level(),
            event.metadata().target(),
            &format!("{}{}", line.message, line.fields),
        );
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
