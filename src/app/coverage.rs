//! How much of the last 24 hours each stream has, from the index, remembered for some seconds: the
//! page asks every other second, Prometheus every 15, and the answer moves slowly.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{clock::Clock, id::StreamId, model::Coverage, proto::time::WallSpan, store::Store};

/// The window.
const WINDOW: WallSpan = WallSpan::from_secs(86_400);
/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(10);
/// Streams that were removed are forgotten when the table has grown to this.
const TABLE: usize = 4_096;

pub(super) struct CoverageCache {
    store: Store,
    clock: Clock,
    /// A small, sync-only table; never held over the query.
    known: Mutex<HashMap<StreamId, (Instant, Arc<Coverage>)>>,
}

impl CoverageCache {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, known: Mutex::default() }
    }

    /// The last 24 hours; `None` when the index does not answer.
    pub(super) async fn of(&self, stream: StreamId) -> Option<Arc<Coverage>> {
        let now = Instant::now();
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, coverage)) = lock().get(&stream)
            && now - *at < FRESH
        {
            return Some(Arc::clone(coverage));
        }
        let wall = self.clock.now();
        match self.store.coverage(stream, wall - WINDOW..wall).await {
            Ok(coverage) => {
                let coverage = Arc::new(coverage);
                // A stream of this very moment has no row yet: that is out of date at once.
                if *coverage == Coverage::default() {
                    return Some(coverage);
                }
                let mut known = lock();
                if known.len() >= TABLE {
                    known.retain(|_, (at, _)| now - *at < FRESH);
                }
                known.insert(stream, (now, Arc::clone(&coverage)));
                Some(coverage)
            }
            Err(error) => {
                tracing::warn!(%error, "read how complete a stream is");
                None
            }
        }
    }

    /// Recorded over expected; `None` when nothing was expected.
    pub(super) async fn completeness(&self, stream: StreamId) -> Option<f64> {
        let coverage = self.of(stream).await?;
        let missing = coverage.gaps.iter().filter(|(reason, _)| reason.counts_as_missing());
        let expected: i64 = missing.map(|(_, span)| span.as_micros()).sum();
        let expected = expected.saturating_add(coverage.recorded.as_micros());
        (expected > 0).then(|| coverage.completeness())
    }
}
