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
//! The rest of the group of pictures is shed, the run ends with the last fragment written, the
//! gap gets its reason, and recording begins anew with a key frame after a pause that grows from
//! [`FIRST_PAUSE`] to [`LONGEST_PAUSE`] until fragments are written again.

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
    RecorderStatus, Settings, Target,
    counters::RecorderCounters,
    epoch::Epochs,
    file::{Owner, RecordedRun, SegmentFile, WriteError},
    recovery,
    rows::{Row, RowWriter, Rows, chain, rows},
    segmenter::{Opening, Output, Plan, Segmenter},
};
use crate::{
    clock::Clock,
    disk::{Completion, Completions, NoRoom, Volumes, is_full},
    hub::{Channel, Closed, Event, Position, Run, Subscription},
    id::{RunId, SegmentId},
    model::{Gap, RunRow},
    proto::{access_unit::AccessUnit, reason::GapReason, time::WallTime},
    store::Store,
    task::Stop,
};

/// How often the hub is looked at while units come.
const LOOK: Duration = Duration::from_millis(100);
/// Pause after a failure of the disk.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So many fragments in a row, and the disk is well again.
const WELL_AFTER: u32 = 10;
/// How long a stopping recorder waits for its volume.
const STOP_WITHIN: Duration = Duration::from_secs(8);

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
    /// The run with the last row, and where its footage ends; until its end is put.
    tail: Option<(RunId, WallTime)>,
    /// No segment is opened before.
    retry_at: Option<(Instant, GapReason)>,
    pause: Duration,
    written_in_a_row: u32,
    /// What a recorder that died wrote of the hub's runs: numbers after the last unit by track.
    written_before: Vec<(RunId, Vec<u64>)>,
    /// What the hub was last told to be readable though nothing of it was written.
    marked: Option<Position>,
    /// How many damaged units the channel had counted when it was last asked.
    damaged: u64,
    /// Segments are synced at once.
    stopping: bool,
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
        let (rows, writer) =
            rows(stream, store.clone(), Arc::clone(&volumes), Arc::clone(&counters));
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
            tail: None,
            retry_at: None,
            pause: FIRST_PAUSE,
            written_in_a_row: 0,
            written_before: Vec::new(),
            marked: None,
            damaged: 0,
            stopping: false,
            scratch: BytesMut::new(),
        };
        Self { task, rows: writer }
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
        let mut hub = self.channel.subscribe_to_record();
        let under_way = self.channel.current();
        let stream = self.owner.stream;
        // A recorder of this stream that died left its run without an end.
        let (store, volumes) = (&self.store, &self.volumes);
        match recovery::take_over(store, volumes, stream, GapReason::Internal).await {
            Ok(written) => self.written_before = written,
            Err(error) => tracing::error!(%stream, error = chain(&error), "runs left open"),
        }
        let known = self.store.runs(stream).await;
        match &known {
            Ok(rows) => self.epochs.learn(rows),
            Err(error) => tracing::error!(%stream, error = chain(error), "read its epochs"),
        }
        // A run that was recorded before goes on under another name: it has a hole.
        if let Some(run) = under_way
            && (known.is_err() || known.is_ok_and(|rows| rows.iter().any(|r| r.id == run.id)))
        {
            self.last_live = Some(run.id);
        }
        // From here on footage is expected. Where a gap lasts already this changes nothing.
        let gap = Gap { stream, start: self.clock.now(), end: None, reason: GapReason::Starting };
        self.rows.put(Row::OpenGap(gap));

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

    fn current(&mut self) -> Option<&mut SegmentFile> {
        self.files.back_mut().filter(|f| f.is_current())
    }

    /// Ends the file being written, if there is one.
    fn close_current(&mut self, next_start: Option<WallTime>) {
        let (now, damaged) = (self.stopping, self.damaged_since());
        if let Some(file) = self.current() {
            file.next_start = next_start;
            file.damaged = damaged;
            file.close(now);
        }
    }

    /// Units that came damaged since this was last asked: to a tenth of a second, as often as the
    /// hub is looked at.
    fn damaged_since(&mut self) -> u64 {
        let all = self.channel.damaged();
        all.saturating_sub(std::mem::replace(&mut self.damaged, all))
    }

    fn open(&mut self, opening: &Opening) {
        if let Some((at, reason)) = self.retry_at {
            if Instant::now() < at {
                self.shed(reason);
                return;
            }
            self.retry_at = None;
        }
        let volume = match self.volumes.choose(self.pinned.as_deref()) {
            Ok(volume) => volume,
            Err(no_room) => {
                let reason = match no_room {
                    NoRoom::Full => GapReason::DiskFull,
                    NoRoom::Unknown(_) => GapReason::DiskError,
                };
                self.fail(reason, &no_room);
                return;
            }
        };
        let run = self.recorded_run(opening);
        self.channel.raise_epoch(run.epoch);
        let id = SegmentId::generate(&self.clock);
        let completer = self.completer.clone();
        match SegmentFile::open(&self.owner, id, run, opening, &volume, completer) {
            Ok(file) => {
                self.run = Some(RecordedRun { next_sequence: run.next_sequence + 1, ..run });
                self.last_live = Some(run.live);
                self.files.push_back(file);
            }
            Err(error) => self.fail(reason_of(&error), &error),
        }
    }

    /// The run that a segment belongs to: the hub's, or a new one after a hole within that.
    fn recorded_run(&self, opening: &Opening) -> RecordedRun {
        let live = &opening.run;
        match (opening.first, self.run) {
            (None, Some(run)) => run,
            (first, _) => RecordedRun {
                id: if self.last_live == Some(live.id) {
                    RunId::generate(&self.clock)
                } else {
                    live.id
                },
                live: live.id,
                epoch: self.epochs.current(),
                previous_end: first.unwrap_or(live.previous_end),
                next_sequence: 0,
            },
        }
    }

    fn append(&mut self, plan: &Plan) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let Some(file) = self.current() else { return };
        let appended = file.append(plan, &mut scratch);
        self.scratch = scratch;
        if let Err(error) = appended {
            let units = plan.parts.iter().map(|p| p.units.len() as u64).sum();
            self.counters.shed_units.fetch_add(units, Relaxed);
            self.fail(reason_of(&error), &error);
        }
    }

    /// The run is over: its last segment is closed, and its end is put when that is written.
    fn end_run(&mut self, reason: GapReason) {
        self.close_current(None);
        self.run = None;
        match self.files.back_mut() {
            Some(file) => {
                file.end_run.get_or_insert(reason);
            }
            None => self.put_end_of_run(reason),
        }
        self.put_rows();
        self.status.send_if_modified(|status| {
            let was_recording = matches!(status, RecorderStatus::Recording { .. });
            if was_recording {
                *status = RecorderStatus::Waiting;
            }
            was_recording
        });
    }

    /// The disk failed us: nothing more of this run, and a pause.
    fn fail(&mut self, reason: GapReason, error: &dyn std::error::Error) {
        let error = chain(error);
        tracing::warn!(stream = %self.owner.stream, %reason, %error, "recording is interrupted");
        self.retry_at = Some((Instant::now() + self.pause, reason));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.written_in_a_row = 0;
        self.shed(reason);
        self.status.send_replace(RecorderStatus::Failing { reason, error });
    }

    fn shed(&mut self, reason: GapReason) {
        let units = self.segmenter.shed(reason);
        self.counters.shed_units.fetch_add(units, Relaxed);
    }

    async fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Opened(segment) => {
                if let Some(file) = self.file(segment.opened.id) {
                    file.opened = Some(segment);
                }
            }
            Completion::Written { segment } => self.wrote(segment),
            Completion::Failed { segment, opened, source } => {
                let reason =
                    if is_full(&source) { GapReason::DiskFull } else { GapReason::DiskError };
                let damaged = self.damaged_since();
                if let Some(file) = self.file(segment) {
                    if file.is_current() {
                        file.damaged = damaged;
                    }
                    let lost = file.unwritten();
                    file.abandon();
                    file.end_run.get_or_insert(reason);
                    // Of a file that was never made no more is heard.
                    file.gone = !opened;
                    file.finished |= !opened;
                    self.counters.shed_units.fetch_add(lost, Relaxed);
                }
                self.fail(reason, &source);
                self.put_rows();
            }
            Completion::Finished { segment } => {
                if let Some(file) = self.file(segment) {
                    file.finished = true;
                }
                self.put_rows();
            }
            Completion::Closed { segment, bytes, durable } => {
                if !durable {
                    tracing::error!(%segment, "segment closed, but its sync failed");
                }
                self.close(segment, bytes).await;
            }
        }
    }

    fn file(&mut self, id: SegmentId) -> Option<&mut SegmentFile> {
        self.files.iter_mut().find(|f| f.id == id)
    }

    fn wrote(&mut self, segment: SegmentId) {
        let Some((fragment, readable)) = self.file(segment).and_then(SegmentFile::wrote_one) else {
            return;
        };
        let units = fragment.tracks.iter().map(|t| t.samples.len() as u64).sum();
        self.counters.units.fetch_add(units, Relaxed);
        let payload = fragment.payload.end - fragment.payload.start;
        self.counters.bytes.fetch_add(payload, Relaxed);
        // The registry has it already, so whoever misses it in the hub finds it there.
        self.channel.mark_readable(readable);
        if self.retry_at.is_none() {
            self.written_in_a_row += 1;
            if self.written_in_a_row == WELL_AFTER {
                self.pause = FIRST_PAUSE;
            }
        }
        if self.file(segment).is_some_and(|f| f.written == 1) {
            self.put_rows();
            let since = fragment.wall;
            self.status.send_replace(RecorderStatus::Recording { segment, since });
        }
    }

    /// Puts the rows that are due, in the order of the segments.
    fn put_rows(&mut self) {
        for at in 0..self.files.len() {
            let Some(file) = self.files.get_mut(at) else { break };
            if let (false, 1.., Some(opened)) = (file.has_row, file.written, &file.opened) {
                file.has_row = true;
                let run = file.run;
                if file.first_of_run {
                    let (id, start, epoch) = (run.id, file.start, run.epoch);
                    let stream = self.owner.stream;
                    self.rows.put(Row::OpenRun(RunRow { id, stream, epoch, start, end: None }));
                }
                self.rows.put(Row::OpenSegment(opened.opened.clone()));
                if file.first_of_run {
                    self.rows.put(Row::CloseGap(file.start));
                }
            }
            if !file.finished {
                break;
            }
            if file.has_row && !std::mem::replace(&mut file.ended, true) {
                self.tail = file.end().map(|end| (file.run.id, end)).or(self.tail);
            }
            if let Some(reason) = file.end_run.take() {
                self.put_end_of_run(reason);
            }
        }
        self.files.retain(|f| !f.gone || f.end_run.is_some());
    }

    fn put_end_of_run(&mut self, reason: GapReason) {
        let Some((run, end)) = self.tail.take() else { return };
        self.rows.put(Row::CloseRun(run, end));
        let gap = Gap { stream: self.owner.stream, start: end, end: None, reason };
        self.rows.put(Row::OpenGap(gap));
        self.counters.gaps.fetch_add(1, Relaxed);
    }

    async fn close(&mut self, segment: SegmentId, bytes: u64) {
        self.put_rows();
        let Some(at) = self.files.iter().position(|f| f.id == segment) else { return };
        let Some(file) = self.files.remove(at) else { return };
        match file.closed(bytes).filter(|_| file.has_row) {
            Some(closed) => {
                self.rows.put(Row::CloseSegment(closed));
                self.counters.segments.fetch_add(1, Relaxed);
            }
            None => file.delete(&self.volumes).await,
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
        // Segments that were rotated out wait for a sync too.
        self.volumes.sync_now();
        let deadline = Instant::now() + STOP_WITHIN;
        while !self.files.is_empty() {
            match timeout_at(deadline, self.completions.recv()).await {
                Ok(Some(completion)) => self.complete(completion).await,
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

fn reason_of(error: &WriteError) -> GapReason {
    use crate::disk::Refused;
    match error {
        WriteError::Refused(Refused::Full) => GapReason::Overload,
        WriteError::Refused(Refused::Stopped) => GapReason::DiskError,
        WriteError::Boxes(_) => GapReason::Internal,
    }
}
