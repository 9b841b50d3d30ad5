//! Segment files from their opening to their row's completion: what the segmenter decided is handed
//! to the disk, and what the disk says becomes rows.

use std::sync::atomic::Ordering::Relaxed;

use super::Task;
use crate::{
    disk::{Completion, Fault},
    id::{RunId, SegmentId},
    model::RunRow,
    proto::{reason::GapReason, time::WallTime},
    record::{
        RecorderStatus,
        file::{RecordedRun, SegmentFile},
        rows::Row,
        segmenter::{Opening, Plan},
    },
};

impl Task {
    pub(super) fn current(&mut self) -> Option<&mut SegmentFile> {
        self.files.back_mut().filter(|f| f.is_current())
    }

    /// Ends the file being written, if there is one.
    pub(super) fn close_current(&mut self, next_start: Option<WallTime>) {
        let (now, damaged) = (self.stopping, self.damaged_since());
        if let Some(file) = self.current() {
            file.next_start = next_start;
            file.damaged = damaged;
            file.close(now);
        }
    }

    /// Units that came damaged since this was last asked: to a tenth of a second, as often as the
    /// hub is looked at.
    pub(super) fn damaged_since(&mut self) -> u64 {
        let all = self.channel.damaged();
        all.saturating_sub(std::mem::replace(&mut self.damaged, all))
    }

    pub(super) fn open(&mut self, opening: &Opening) {
        let Some(volume) = self.volume_for(opening) else { return };
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
            Err(error) => self.fail(error.reason(), &error),
        }
    }

    /// The run that a segment belongs to: the hub's, or a new one after a hole within that.
    fn recorded_run(&self, opening: &Opening) -> RecordedRun {
        let live = &opening.run;
        let taken = self.last_live == Some(live.id) || self.recorded_before.contains(&live.id);
        match (opening.first, self.run) {
            (None, Some(run)) => run,
            (first, _) => RecordedRun {
                id: if taken { RunId::generate(&self.clock) } else { live.id },
                live: live.id,
                epoch: self.epochs.current(),
                previous_end: first.unwrap_or(live.previous_end),
                next_sequence: 0,
            },
        }
    }

    pub(super) fn append(&mut self, plan: &Plan) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let Some(file) = self.current() else { return };
        let appended = file.append(plan, &mut scratch);
        self.scratch = scratch;
        if let Err(error) = appended {
            let units = plan.parts.iter().map(|p| p.units.len() as u64).sum();
            self.counters.shed_units.fetch_add(units, Relaxed);
            self.fail(error.reason(), &error);
        }
    }

    /// The run is over: its last segment is closed, and its end is put when that is written.
    pub(super) fn end_run(&mut self, reason: GapReason) {
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

    pub(super) async fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Opened(segment) => {
                if let Some(file) = self.file(segment.opened.id) {
                    file.opened = Some(segment);
                }
            }
            Completion::Written { segment } => self.wrote(segment),
            Completion::Failed { segment, opened, kept, fault } => {
                self.failed(segment, opened, kept, &fault);
            }
            Completion::Finished { segment } => {
                if let Some(file) = self.file(segment) {
                    file.finished = true;
                }
                self.put_rows();
            }
            Completion::Closed { segment, bytes, kept, durable } => {
                self.close(segment, bytes, kept, durable).await;
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
        self.trouble.wrote();
        if self.file(segment).is_some_and(|f| f.written == 1) {
            self.put_rows();
            let since = fragment.wall;
            self.status.send_replace(RecorderStatus::Recording { segment, since });
        }
    }

    /// A segment takes no more. What was on its way into it is lost, and so the run ends with it:
    /// what follows, in a file that was begun already or with the next key frame, is another.
    fn failed(&mut self, segment: SegmentId, opened: bool, kept: usize, fault: &Fault) {
        let reason = fault.reason();
        let Some(at) = self.files.iter().position(|f| f.id == segment) else { return };
        let damaged = self.damaged_since();
        let Some(file) = self.files.get_mut(at) else { return };
        let was_current = file.is_current();
        if was_current {
            file.damaged = damaged;
        }
        let lost = file.keep(kept);
        file.abandon();
        // Of a file that was never made no more is heard.
        file.gone = !opened;
        file.finished |= !opened;
        self.counters.shed_units.fetch_add(lost, Relaxed);
        if was_current {
            if let Some(file) = self.files.get_mut(at) {
                file.end_run.get_or_insert(reason);
            }
            self.fail(reason, fault);
        } else if lost > 0 {
            self.break_run(at, reason);
            self.note(reason, fault);
        }
        self.put_rows();
    }

    /// Something was lost at the end of a file behind which the run had gone on already: it ends
    /// there, and the files behind it, of which no row was put yet, are another.
    fn break_run(&mut self, at: usize, reason: GapReason) {
        let Some(broken) = self.files.get_mut(at) else { return };
        let old = broken.run.id;
        if broken.end_run.is_some() {
            // It was the last of its run, and the gap behind it has its reason.
            return;
        }
        broken.end_run = Some(reason);
        broken.next_start = None;
        self.rename(at + 1, old, reason);
    }

    /// The files from `from` on, of which no row was put, and what follows are another run than `old`.
    fn rename(&mut self, from: usize, old: RunId, reason: GapReason) {
        let id = RunId::generate(&self.clock);
        let mut sequence = 0;
        for file in self.files.iter_mut().skip(from).filter(|f| f.run.id == old) {
            file.run =
                RecordedRun { id, previous_end: reason, next_sequence: sequence, ..file.run };
            file.first_of_run = sequence == 0;
            sequence += 1;
        }
        if let Some(run) = self.run.as_mut().filter(|run| run.id == old) {
            *run = RecordedRun { id, previous_end: reason, next_sequence: sequence, ..*run };
        }
    }

    /// Puts the rows that are due, in the order of the segments.
    pub(super) fn put_rows(&mut self) {
        for at in 0..self.files.len() {
            let Some(file) = self.files.get_mut(at) else { break };
            if let (false, 1.., Some(opened)) = (file.has_row, file.written, &file.opened) {
                file.has_row = true;
                let mut row = opened.opened.clone();
                (row.run, row.sequence) = (file.run.id, file.run.next_sequence);
                if file.first_of_run {
                    let (id, start, epoch) = (file.run.id, file.start, file.run.epoch);
                    let run = RunRow { id, stream: self.owner.stream, epoch, start, end: None };
                    self.rows.put(Row::BeginRun(run, row));
                } else {
                    self.rows.put(Row::OpenSegment(row));
                }
            }
            if !file.finished {
                break;
            }
            if file.has_row && !std::mem::replace(&mut file.ended, true) {
                // A run of which nothing could be kept has a row, and that is to be ended too.
                let end = file.end().or_else(|| file.first_of_run.then_some(file.start));
                self.tail = end.map(|end| (file.run.id, end)).or(self.tail);
            }
            if let Some(reason) = file.end_run.take() {
                self.put_end_of_run(reason);
            }
        }
        self.files.retain(|f| !f.gone || f.end_run.is_some());
    }

    pub(super) fn put_end_of_run(&mut self, reason: GapReason) {
        let Some((run, end)) = self.tail.take() else { return };
        self.rows.put(Row::EndRun(run, end, reason));
        self.counters.gaps.fetch_add(1, Relaxed);
    }

    /// The last word on a segment.
    async fn close(&mut self, segment: SegmentId, bytes: u64, kept: usize, durable: bool) {
        self.put_rows();
        let Some(at) = self.files.iter().position(|f| f.id == segment) else { return };
        let Some(mut file) = self.files.remove(at) else { return };
        let lost = file.keep(kept);
        if lost > 0 && file.has_row {
            // A sync failed after the run had gone on: what it had not covered is cut off.
            self.counters.shed_units.fetch_add(lost, Relaxed);
            let end = file.end().unwrap_or(file.start);
            self.rows.put(Row::CutRun(segment, end, GapReason::DiskError));
            let behind = self.files.iter().skip(at).find(|f| f.run.id == file.run.id);
            if behind.is_none_or(|f| !f.has_row) {
                // With no row behind it the run ended there.
                self.tail = self.tail.filter(|(run, _)| *run != file.run.id);
                self.rename(at, file.run.id, GapReason::DiskError);
            }
        }
        match file.closed(bytes).filter(|_| file.has_row) {
            Some(_) if !durable => {
                // Nobody knows how much of it is there: its row stays open, until somebody looks.
                tracing::error!(%segment, "segment left open: its last bytes are not known to be there");
                self.rows.put(Row::LeaveOpen(segment));
            }
            Some(closed) => {
                self.rows.put(Row::CloseSegment(closed));
                self.counters.segments.fetch_add(1, Relaxed);
            }
            None => {
                file.delete(&self.volumes).await;
                if file.has_row {
                    self.rows.put(Row::Forget(segment));
                }
            }
        }
    }
}
