//! The recorder of one stream: a task between the hub, the disk and the index.
//!
//! ```text
//! hub ──▶ Segmenter ──▶ SegmentFile ──▶ volume's queue
//!                            ▲               │ Completion
//!                            └───────────────┴──▶ hub.mark_readable, rows
//! ```
//!
//! # Why it looks at the hub ten times a second
//!
//! Waking for each unit costs more than recording it: 40 cameras with sound publish 3,000 units a
//! second. The units wait in the hub's ring anyway until they are on disk, so the recorder takes
//! what has gathered every [`LOOK`], and waits for the hub only when nothing had come. A burst that
//! could fill the ring between two looks wakes it at once.
//!
//! # Rows
//!
//! A segment's row is put when its first fragment is written, so that there is no row without
//! footage; it is completed after the sync that covers the file's last byte. Rows of a stream are
//! put in the order of its segments, also when two of them are on different volumes.
//!
//! # When the disk does not keep up, or fails
//!
//! See `recorder/trouble.rs`.

mod files;
mod trouble;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    RecorderStatus, Settings, Target, adopt,
    counters::RecorderCounters,
    epoch::Epochs,
    file::{Owner, RecordedRun, SegmentFile},
    recovery,
    rows::{Place, Row, RowWriter, Rows, chain, rows},
    segmenter::{Output, Segmenter},
};
use crate::{
    clock::Clock,
    disk::{Completion, Completions, Volumes},
    hub::{Channel, Closed, Event, Position, Run, Subscription},
    id::RunId,
    model::Gap,
    proto::{access_unit::AccessUnit, reason::GapReason, time::WallTime},
    store::Store,
    task::Stop,
};
use trouble::Trouble;

/// How often the hub is looked at while units come.
const LOOK: Duration = Duration::from_millis(100);
/// How long a stopping recorder waits for its volume.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// Runs remembered that may still stand in the hub's ring.
const REMEMBERED: usize = 64;
/// How often it asks for a sync meanwhile.
const SYNC_AGAIN: Duration = Duration::from_millis(200);

/// Records one stream.
#[derive(Debug)]
pub struct Recorder {
    task: Task,
    rows: RowWriter,
}

#[derive(Debug)]
struct Task {
    owner: Owner,
    pinned: Option<String>,
    channel: Arc<Channel>,
    volumes: Arc<Volumes>,
    clock: Clock,
    store: Store,
    rows: Rows,
    counters: Arc<RecorderCounters>,
    status: watch::Sender<RecorderStatus>,
    segmenter: Segmenter,
    completions: mpsc::UnboundedReceiver<Completion>,
    completer: Completions,
    /// Oldest first. The last may be the one being written; those before wait for the disk.
    files: VecDeque<SegmentFile>,
    epochs: Epochs,
    /// The run being recorded.
    run: Option<RecordedRun>,
    /// The hub's run that was last given to a recorded one.
    last_live: Option<RunId>,
    /// Newest runs that were recorded before.
    recorded_before: Vec<RunId>,
    /// The run with the last row, and where its footage ends; until its end is put.
    tail: Option<(RunId, WallTime)>,
    trouble: Trouble,
    /// Wakes when a volume changes its state.
    changed: watch::Receiver<u64>,
    /// What a recorder that died wrote of the hub's runs: numbers after the last unit by track.
    written_before: Vec<(RunId, Vec<u64>)>,
    /// What the hub was last told to be readable though nothing of it was written.
    marked: Option<Position>,
    /// How many damaged units the channel had counted when it was last asked.
    damaged: u64,
    /// Segments are synced at once.
    stopping: bool,
    /// From when on footage is wanted, where it begins in the middle of what is live.
    from: Option<WallTime>,
    scratch: BytesMut,
}

impl Recorder {
    /// A recorder for `target`; it does nothing until it is run.
    #[must_use]
    pub fn new(
        target: Target,
        settings: Settings,
        channel: Arc<Channel>,
        volumes: Arc<Volumes>,
        store: Store,
        clock: Clock,
    ) -> Self {
        let Target { camera, slug, stream, role, volume } = target;
        let counters = Arc::new(RecorderCounters::default());
        let place = Place { slug: slug.clone(), role, stream };
        let (rows, writer) =
            rows(place, store.clone(), clock.clone(), Arc::clone(&volumes), Arc::clone(&counters));
        let changed = volumes.changed();
        let (completer, completions) = mpsc::unbounded_channel();
        let task = Task {
            owner: Owner { camera, slug, stream, role },
            pinned: volume,
            channel,
            volumes,
            clock,
            store,
            rows,
            counters,
            status: watch::Sender::new(RecorderStatus::Waiting),
            segmenter: Segmenter::new(settings.segment),
            completions,
            completer,
            files: VecDeque::new(),
            epochs: Epochs::default(),
            run: None,
            last_live: None,
            recorded_before: Vec::new(),
            tail: None,
            trouble: Trouble::default(),
            changed,
            written_before: Vec::new(),
            marked: None,
            damaged: 0,
            stopping: false,
            from: None,
            scratch: BytesMut::new(),
        };
        Self { task, rows: writer }
    }

    /// Has it begin with the key frame at or before `from`, as far as the hub holds that, and not
    /// with the next run: the camera may send already.
    #[must_use]
    pub const fn beginning_at(mut self, from: Option<WallTime>) -> Self {
        self.task.from = from;
        self
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<RecorderCounters> {
        Arc::clone(&self.task.counters)
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<RecorderStatus> {
        self.task.status.subscribe()
    }

    /// Records until it is stopped or the stream is removed from the hub; then finishes its
    /// segment, its rows and, if nobody did before, begins the gap that follows.
    pub async fn run(self, stop: Stop) {
        let stopping = stop.token().clone();
        tokio::join!(self.task.run(stop), self.rows.run(stopping));
    }
}

impl Task {
    async fn run(mut self, stop: Stop) {
        // From here on nothing leaves the ring unread, also before the first fragment is written.
        let mut hub = self.channel.subscribe_to_record_from(self.from);
        let under_way = self.channel.current();
        let stream = self.owner.stream;
        // A recorder of this stream that died left its run without an end.
        let (store, volumes) = (&self.store, &self.volumes);
        match recovery::take_over(store, volumes, stream, GapReason::Internal).await {
            Ok(written) => self.written_before = written,
            Err(error) => tracing::error!(%stream, error = chain(&error), "runs left open"),
        }
        // What the index missed of this stream while it was away.
        let Owner { slug, role, .. } = &self.owner;
        let now = self.clock.now();
        match adopt::unindexed(&self.store, &self.volumes, slug, *role, stream, now, true).await {
            Ok(adopted) => drop(self.counters.adopted.fetch_add(adopted, Relaxed)),
            Err(error) => tracing::error!(%stream, error = chain(&error), "files without rows"),
        }
        // A run that was recorded before goes on under another name: it has a hole.
        match self.store.runs(stream).await {
            Ok(mut rows) => {
                self.epochs.learn(&rows);
                rows.sort_unstable_by_key(|r| (r.epoch, r.start));
                let newest = rows.iter().rev().take(REMEMBERED);
                self.recorded_before.extend(newest.map(|r| r.id));
            }
            Err(error) => {
                tracing::error!(%stream, error = chain(&error), "read its epochs");
                self.recorded_before.extend(under_way.map(|run| run.id));
            }
        }
        // From here on footage is expected. Where a gap lasts already this changes nothing.
        let gap = Gap { stream, start: self.clock.now(), end: None, reason: GapReason::Starting };
        self.rows.put(Row::OpenGap(gap));
        // Whoever watches sees that it listens now.
        self.status.send_replace(RecorderStatus::Waiting);

        let mut next_look = None;
        loop {
            let flush_at = self.segmenter.poll_timeout();
            let wake_at = next_look.into_iter().chain(flush_at).min();
            tokio::select! {
                biased;
                () = stop.token().cancelled() => break,
                Some(completion) = self.completions.recv() => self.complete(completion).await,
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {
                    let now = Instant::now();
                    if next_look.is_some_and(|at| at <= now) {
                        match self.look(&mut hub, now) {
                            Ok(came) => next_look = came.then(|| now + LOOK),
                            Err(Closed) => break,
                        }
                    }
                    self.segmenter.handle_timeout(now);
                }
                Ok(()) = self.changed.changed() => self.see_volumes(),
                () = self.channel.much_gathered(), if next_look.is_some() => {
                    if self.look(&mut hub, Instant::now()).is_err() {
                        break;
                    }
                }
                event = hub.next(), if next_look.is_none() => {
                    let Some(event) = event else { break };
                    let now = Instant::now();
                    self.take(event, now);
                    next_look = Some(now + LOOK);
                }
            }
            self.carry_out();
            self.settle();
        }
        let removed = !stop.token().is_cancelled();
        let reason = if removed { GapReason::Reconfigured } else { stop.reason() };
        self.stop(&mut hub, reason).await;
    }

    /// Takes what the hub has; says whether that was anything.
    fn look(&mut self, hub: &mut Subscription, now: Instant) -> Result<bool, Closed> {
        let mut came = false;
        while let Some(event) = hub.try_next()? {
            self.take(event, now);
            came = true;
        }
        Ok(came)
    }

    fn take(&mut self, event: Event, now: Instant) {
        if !self.segmenter.is_gathering() {
            // What came damaged while there was no segment is no segment's.
            self.damaged_since();
        }
        match event {
            Event::Unit { run, unit, position } if self.is_written(&run, &unit) => {
                self.channel.mark_readable(position);
            }
            Event::Unit { run, unit, position } => self.segmenter.push(now, &run, unit, position),
            Event::Ended { reason, .. } => self.segmenter.end_run(reason),
            Event::Lagged { units } => {
                tracing::warn!(stream = %self.owner.stream, units, "recorder fell behind the hub");
                self.counters.shed_units.fetch_add(units, Relaxed);
                self.segmenter.lagged();
            }
        }
        self.carry_out();
    }

    /// Whether a recorder before this one wrote it, which died before it could tell the hub.
    fn is_written(&self, run: &Run, unit: &AccessUnit) -> bool {
        self.written_before.iter().any(|(live, numbers)| {
            *live == run.id && numbers.get(unit.track.as_usize()).is_some_and(|&n| unit.number < n)
        })
    }

    /// Does what the segmenter decided.
    fn carry_out(&mut self) {
        while let Some(mut output) = self.segmenter.poll_output() {
            self.epochs.place(&mut output);
            match output {
                Output::Open(opening) => self.open(&opening),
                Output::Append(plan) => self.append(&plan),
                Output::Rotate { next_start } => self.close_current(Some(next_start)),
                Output::EndRun { reason } => self.end_run(reason),
            }
        }
    }

    /// Lets the hub forget what will never be on disk, when nothing is on its way there.
    fn settle(&mut self) {
        self.counters.dropped_units.store(self.segmenter.dropped(), Relaxed);
        let Some(position) = self.segmenter.settled().filter(|&p| self.marked != Some(p)) else {
            return;
        };
        if self.files.iter().all(|f| f.unwritten() == 0) {
            self.marked = Some(position);
            self.channel.mark_readable(position);
        }
    }

    /// Writes what is there, closes, and waits for the disk.
    async fn stop(mut self, hub: &mut Subscription, reason: GapReason) {
        // What was published before we were told to stop still counts.
        let _ = self.look(hub, Instant::now());
        self.stopping = true;
        self.segmenter.end_run(reason);
        self.carry_out();
        self.put_rows();
        let deadline = Instant::now() + STOP_WITHIN;
        while !self.files.is_empty() {
            // Segments that were closed before wait for a sync too, and some of them the writer
            // may only come to now.
            self.volumes.sync_now();
            let again = (Instant::now() + SYNC_AGAIN).min(deadline);
            match timeout_at(again, self.completions.recv()).await {
                Ok(Some(completion)) => self.complete(completion).await,
                Err(_) if again < deadline => {}
                _ => {
                    // The rows stay open: the next start completes them.
                    tracing::error!(stream = %self.owner.stream, "the volume did not finish in time");
                    break;
                }
            }
        }
        self.channel.forget_readable();
        self.status.send_replace(RecorderStatus::Stopped);
    }
}
