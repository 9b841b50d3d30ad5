//! How much of each stream is on record: the last 24 hours, and since it was created. The page asks
//! every other second and Prometheus every 15 for a thousand streams, so most of it is arithmetic.
//!
//! # How it stays cheap
//!
//! Of each window the part that is settled is remembered as a sum; only what came after it is
//! looked at anew. Where one run or one gap has lasted since then, which one query says for all
//! streams, that is a subtraction; else it is a query of some minutes. What is settled may still be
//! corrected (rows that came late, footage that was deleted), so each sum is made anew now and
//! then, each stream in its own time ([`spread`]).
//!
//! # Invariants
//!
//! * An answer is never older than [`FRESH`], but for corrections of what was settled: those show
//!   within twice [`DAY_EVERY`] or [`EVER_EVERY`].
//! * The last 24 hours begin up to twice [`DAY_EVERY`] earlier than that.
//! * A clock that steps makes everything anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    clock::Clock,
    http::Completeness,
    id::StreamId,
    model::{Coverage, WallRange},
    proto::time::{WallSpan, WallTime},
    store::{Lasting, Result, Store},
};

/// The window.
const DAY: WallSpan = WallSpan::from_secs(86_400);
/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(10);
/// How old the list of what lasts may be.
const LASTING_FRESH: Duration = Duration::from_secs(2);
/// The recorder notices that footage has ended some seconds later, and the index may be behind:
/// younger than this nothing is settled.
const SETTLED: WallSpan = WallSpan::from_secs(120);
/// What is not settled is kept this short.
const TAIL: WallSpan = WallSpan::from_secs(600);
/// A sum whose end is farther back than this is made anew: nobody asked, or the clock stepped.
const FORSAKEN: WallSpan = WallSpan::from_secs(3_600);
/// A sum is made anew after this, and at most twice this.
const DAY_EVERY: Duration = Duration::from_secs(300);
/// The same since the beginning.
const EVER_EVERY: Duration = Duration::from_secs(3_600);
/// Streams that were removed are forgotten when the table has grown to this.
const TABLE: usize = 4_096;

pub(super) struct CoverageCache {
    store: Store,
    clock: Clock,
    /// Small, sync-only tables; never held over a query.
    known: Mutex<HashMap<StreamId, Known>>,
    lasting: Mutex<Option<(Instant, Arc<AllLasting>)>>,
}

type AllLasting = HashMap<StreamId, Lasting>;

#[derive(Clone)]
struct Known {
    at: Instant,
    day: Window,
    ever: Window,
    answer: Completeness,
}

/// A sum of what is settled.
#[derive(Clone, Debug)]
struct Window {
    from: WallTime,
    /// Where it ends; from here on it is looked at anew.
    until: WallTime,
    sum: Arc<Coverage>,
    anew: Instant,
}

impl CoverageCache {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, known: Mutex::default(), lasting: Mutex::default() }
    }

    /// The last 24 hours and since `created`; `None` when the index does not answer.
    pub(super) async fn of(&self, stream: StreamId, created: WallTime) -> Option<Completeness> {
        match self.at(stream, created, Instant::now()).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::warn!(%error, "read how complete a stream is");
                None
            }
        }
    }

    async fn at(&self, stream: StreamId, created: WallTime, now: Instant) -> Result<Completeness> {
        let known = self.known().get(&stream).cloned();
        if let Some(known) = &known
            && now.saturating_duration_since(known.at) < FRESH
        {
            return Ok(known.answer.clone());
        }
        let wall = self.clock.now();
        let lasting = self.lasting(now).await?.get(&stream).copied().unwrap_or_default();
        let look = Look { store: &self.store, stream, lasting, wall, now };
        let (day, ever) = known.map(|k| (k.day, k.ever)).unzip();
        let (day, last_day) = look.advance(day, wall - DAY, DAY_EVERY).await?;
        let (ever, since_created) = look.advance(ever, created, EVER_EVERY).await?;
        let answer = Completeness { day: Arc::new(last_day), ever: Arc::new(since_created) };
        // A stream of this very moment has no row yet: that is out of date at once.
        if *answer.ever != Coverage::default() {
            let mut table = self.known();
            if table.len() >= TABLE {
                table.retain(|_, known| now.saturating_duration_since(known.at) < FRESH * 6);
            }
            table.insert(stream, Known { at: now, day, ever, answer: answer.clone() });
        }
        Ok(answer)
    }

    /// What lasts, of all streams.
    async fn lasting(&self, now: Instant) -> Result<Arc<AllLasting>> {
        let slot = || self.lasting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, all)) = &*slot()
            && now.saturating_duration_since(*at) < LASTING_FRESH
        {
            return Ok(Arc::clone(all));
        }
        let all = Arc::new(self.store.lasting().await?);
        *slot() = Some((now, Arc::clone(&all)));
        Ok(all)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<StreamId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look at one stream.
struct Look<'a> {
    store: &'a Store,
    stream: StreamId,
    lasting: Lasting,
    wall: WallTime,
    now: Instant,
}

impl Look<'_> {
    /// Brings a window up to now: what is settled of it, and all of it.
    async fn advance(
        &self,
        window: Option<Window>,
        from: WallTime,
        every: Duration,
    ) -> Result<(Window, Coverage)> {
        let settled = (self.wall - SETTLED).max(from);
        let usable = window.filter(|w| {
            // The clock stepped, or time has come to make it anew.
            let steady = w.from <= from && w.until <= self.wall && self.wall - w.until < FORSAKEN;
            steady && self.now < w.anew
        });
        let mut window = match usable {
            Some(window) => window,
            None => {
                let sum = Arc::new(self.store.coverage(self.stream, from..settled).await?);
                Window { from, until: settled, sum, anew: self.now + spread(every, self.stream) }
            }
        };
        if self.wall - window.until > TAIL && settled > window.until {
            let more = self.part(window.until..settled).await?;
            window.sum = Arc::new(added(&window.sum, &more));
            window.until = settled;
        }
        let tail = self.part(window.until..self.wall).await?;
        let all = added(&window.sum, &tail);
        Ok((window, all))
    }

    async fn part(&self, range: WallRange) -> Result<Coverage> {
        let mut coverage = Coverage::default();
        let span = range.end - range.start;
        match self.lasting {
            _ if range.is_empty() => {}
            Lasting { run: Some(since), gap: None } if since <= range.start => {
                coverage.recorded = span;
            }
            Lasting { run: None, gap: Some((since, reason)) } if since <= range.start => {
                coverage.gaps.insert(reason, span);
            }
            _ => coverage = self.store.coverage(self.stream, range).await?,
        }
        Ok(coverage)
    }
}

/// Between `every` and twice that, the same for a stream each time.
fn spread(every: Duration, stream: StreamId) -> Duration {
    let seconds = every.as_secs().max(1);
    every + Duration::from_secs(stream.0.unsigned_abs() % seconds)
}

fn added(a: &Coverage, b: &Coverage) -> Coverage {
    let mut sum = a.clone();
    sum.recorded += b.recorded;
    for (reason, span) in &b.gaps {
        *sum.gaps.entry(*reason).or_default() += *span;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::path::Path;

    use super::*;
    use crate::{
        id::{CameraId, Role, RunId},
        model::{Camera, CameraStream, Gap, RecordMode, RunRow, Transport},
        proto::reason::GapReason,
        seal::Sealer,
    };

    const NOON: WallTime = WallTime::from_micros(1_795_348_800_000_000);

    async fn with_stream(folder: &Path, clock: &Clock) -> (Store, StreamId) {
        let sealer = Sealer::open_or_create(&folder.join("key")).unwrap();
        let store = Store::open(&folder.join("vedette.db"), clock.clone(), sealer).await.unwrap();
        let stream = StreamId::generate(clock);
        let camera = Camera {
            id: CameraId::generate(clock),
            slug: "door".parse().unwrap(),
            name: "Door".to_owned(),
            enabled: true,
            username: None,
            password: None,
            tls: Default::default(),
            record: RecordMode::Always,
            when: Default::default(),
            retention: crate::model::RetentionLimits::default(),
            volume: None,
            streams: vec![CameraStream {
                id: stream,
                role: Role::Main,
                url: "rtsp://door/".to_owned(),
                transport: Transport::Auto,
                audio: true,
                record: None,
                retention: None,
                volume: None,
                created: NOON,
            }],
            created: NOON,
            updated: NOON,
            sealed_broken: false,
            source: crate::model::Source::Pull,
        };
        store.insert_camera(camera).await.unwrap();
        (store, stream)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Looked at now and then, while footage comes and goes, the sums are what the index says.
        #[test]
        fn sums_that_are_carried_on_are_what_the_index_says(
            steps in prop::collection::vec((any::<bool>(), 1_i64..2_000, 0_i64..4), 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let folder = tempfile::tempdir().unwrap();
                let clock = Clock::manual(NOON);
                let (store, stream) = with_stream(folder.path(), &clock).await;
                let cache = CoverageCache::new(store.clone(), clock.clone());
                let mut now = Instant::now();
                let mut run: Option<RunId> = None;
                for (recording, span, looks) in steps {
                    let at = clock.now();
                    if recording && run.is_none() {
                        let id = RunId(at.as_micros());
                        store.close_gap(stream, at).await.unwrap();
                        let row = RunRow { id, stream, epoch: 0, start: at, end: None };
                        store.open_run(row).await.unwrap();
                        run = Some(id);
                    } else if !recording {
                        if let Some(run) = run.take() {
                            store.close_run(run, at).await.unwrap();
                        }
                        let reason = GapReason::Stalled;
                        store.open_gap(Gap { stream, start: at, end: None, reason }).await.unwrap();
                    }
                    for _ in 0..=looks {
                        clock.advance(WallSpan::from_secs(span));
                        now += Duration::from_secs(span.unsigned_abs());
                        let wall = clock.now();
                        let known = cache.at(stream, NOON, now).await.unwrap();
                        if span >= 10 {
                            let ever = store.coverage(stream, NOON..wall).await.unwrap();
                            assert_eq!(*known.ever, ever, "since it was created, at {wall}");
                            // The day begins no later, and all there is lies within it.
                            let day = store.coverage(stream, wall - DAY..wall).await.unwrap();
                            assert_eq!(*known.day, day, "the last 24 hours, at {wall}");
                        }
                    }
                }
                store.close().await;
            });
        }
    }

    #[tokio::test]
    async fn what_is_deleted_later_shows_once_the_sums_are_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOON);
        let (store, stream) = with_stream(folder.path(), &clock).await;
        let cache = CoverageCache::new(store.clone(), clock.clone());
        let end = NOON + WallSpan::from_secs(1_000);
        let run = RunRow { id: RunId(1), stream, epoch: 0, start: NOON, end: Some(end) };
        store.open_run(run).await.unwrap();
        clock.set(end);
        let start = Instant::now();
        let looked = cache.at(stream, NOON, start).await.unwrap();
        assert_eq!(looked.day.recorded, WallSpan::from_secs(1_000));
        // Corrected behind its back.
        let gap = Gap { stream, start: end, end: None, reason: GapReason::Crash };
        store.open_gap(gap).await.unwrap();
        clock.advance(WallSpan::from_secs(86_400));
        let later = start + 2 * DAY_EVERY;
        let looked = cache.at(stream, NOON, later).await.unwrap();
        assert_eq!(looked.day.gaps[&GapReason::Crash], WallSpan::from_secs(86_400));
        assert_eq!(looked.day.ratio(), Some(0.0), "the day before is no longer in it");
        assert_eq!(looked.ever.recorded, WallSpan::from_secs(1_000));
        store.close().await;
    }

    #[test]
    fn deleted_footage_had_been_recorded() {
        let span = WallSpan::from_secs(50);
        let gaps = [(GapReason::Deleted, span), (GapReason::Disabled, span)].into();
        assert_eq!(Coverage { recorded: span, gaps }.ratio(), Some(1.0));
        let gaps = [(GapReason::Disabled, span)].into();
        assert_eq!(Coverage { recorded: WallSpan::ZERO, gaps }.ratio(), None);
        let gaps = [(GapReason::Deleted, span), (GapReason::Crash, span)].into();
        assert_eq!(Coverage { recorded: span, gaps }.ratio(), Some(2.0 / 3.0));
    }
}
