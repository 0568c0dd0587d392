use std::{sync::Arc, time::Duration};

use keyway::{
    config::CacheSettings,
    service::{Cache, Cached, metrics::CacheMetrics},
};
use keyway_plugin_api::{ErrorKind, ReadRequest, Result};
use keyway_tests::scripted::Scripted;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Times that tell the phases of an entry apart: refreshed ahead from 72 s to 88 s, expired at 100 s, stale until 1000 s.
pub(crate) fn settings() -> CacheSettings {
    CacheSettings {
        ttl: seconds(100),
        refresh_ahead: 0.8,
        stale_ttl: seconds(1000),
        negative_ttl: seconds(10),
        max_entries: 1000,
        previous_overlap: seconds(60),
    }
}

pub(crate) fn cache_of(manager: &Arc<Scripted>) -> Cache {
    Cache::new(manager.clone(), settings(), TIMEOUT, CacheMetrics::default())
}

pub(crate) fn request(name: &str) -> ReadRequest {
    ReadRequest::new(name).unwrap()
}

pub(crate) async fn read(cache: &Cache, name: &str) -> Result<Cached> {
    cache.read_cached(&request(name)).await
}

/// The value as text, or the class of the error.
pub(crate) async fn value(cache: &Cache, name: &str) -> Result<String, ErrorKind> {
    match read(cache, name).await {
        Ok(cached) => Ok(cached.value.expose_str().unwrap().to_owned()),
        Err(error) => Err(error.kind()),
    }
}

pub(crate) async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

/// Lets tasks in the background run to where they wait for time.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
