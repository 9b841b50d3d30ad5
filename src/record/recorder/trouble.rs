//! What a recorder does about a disk that fails, is full, or does not keep up.
//!
//! | what happens | what becomes of the run | when recording goes on |
//! |---|---|---|
//! | its volume fails, and another is ready | goes on there at the next key frame, if nothing was lost; else a new one | at the next key frame |
//! | no volume is ready (for a pinned stream: its own) | ends, gap `disk_full` or `disk_error` | with the group of pictures in which one is ready again |
//! | the queue is full, and this stream has most waiting | ends, gap `overload` | at a key frame, after a pause, with the queue half empty |
//! | our own mistake | ends, gap `internal` | at a key frame, after a pause |
//!
//! What is lost is always the rest of a group of pictures or more, never single pictures; each unit
//! of it is counted as shed, and the index says why it is missing. There is no pause for a volume
//! that fails: whether it is ready is for its keeper to say, which tries it with a pause that grows.
//! And nothing is polled: each group of pictures asks for a volume when its first fragment is
//! complete, so recording goes on with the group that is under way when there is one again.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::Instant;

use super::Task;
use crate::{
    disk::{NoRoom, Volume, VolumeState},
    proto::reason::GapReason,
    record::{
        RecorderStatus,
        rows::{Row, chain},
        segmenter::Opening,
    },
};

/// Pause after the first shedding.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: a disk that is too slow is not helped by files of a second each.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// So many fragments in a row, and all is well again.
const WELL_AFTER: u32 = 10;

/// What a recorder remembers of its troubles.
#[derive(Debug)]
pub(super) struct Trouble {
    /// No segment is opened before.
    retry_at: Option<(Instant, GapReason)>,
    pause: Duration,
    written_in_a_row: u32,
    /// The last end was for a queue that was full: it is to drain first.
    overloaded: bool,
    /// The reason that was last given to the gap that lasts.
    blamed: Option<GapReason>,
}

impl Default for Trouble {
    fn default() -> Self {
        Self {
            retry_at: None,
            pause: FIRST_PAUSE,
            written_in_a_row: 0,
            overloaded: false,
            blamed: None,
        }
    }
}

impl Trouble {
    /// A fragment was written.
    pub(super) fn wrote(&mut self) {
        self.blamed = None;
        if self.retry_at.is_none() {
            self.written_in_a_row += 1;
            if self.written_in_a_row == WELL_AFTER {
                self.pause = FIRST_PAUSE;
            }
        }
    }

    fn failed(&mut self, reason: GapReason, now: Instant) {
        self.written_in_a_row = 0;
        self.overloaded = reason == GapReason::Overload;
        if matches!(reason, GapReason::DiskFull | GapReason::DiskError) {
            return;
        }
        self.retry_at = Some((now + self.pause, reason));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Task {
    /// The volume for a segment; without one its first fragment is shed.
    pub(super) fn volume_for(&mut self, opening: &Opening) -> Option<Arc<Volume>> {
        if let Some((at, reason)) = self.trouble.retry_at {
            if Instant::now() < at {
                self.shed(reason);
                return None;
            }
            self.trouble.retry_at = None;
        }
        let no_room = match self.volumes.choose(self.pinned.as_deref()) {
            Ok(volume) if self.trouble.overloaded && !volume.is_relaxed() => {
                self.shed(GapReason::Overload);
                return None;
            }
            Ok(volume) => {
                self.trouble.overloaded = false;
                return Some(volume);
            }
            Err(no_room) => no_room,
        };
        let reason = match no_room {
            NoRoom::Full => GapReason::DiskFull,
            NoRoom::Failing(_) | NoRoom::Unknown(_) => GapReason::DiskError,
        };
        self.shed(reason);
        self.note(reason, &no_room);
        // Whatever the gap was for until now: from here on there would be footage.
        if self.files.is_empty() && self.trouble.blamed != Some(reason) {
            self.trouble.blamed = Some(reason);
            self.rows.put(Row::TurnGap(opening.start, reason));
        }
        None
    }

    /// A volume has changed its state: the segment being written leaves one that is not ready, if
    /// there is another.
    pub(super) fn see_volumes(&mut self) {
        if self.pinned.is_some() {
            return;
        }
        let volumes = Arc::clone(&self.volumes);
        let Some(name) = self.current().map(|f| f.volume.clone()) else { return };
        let ready = volumes.state(&name) == Some(VolumeState::Ready);
        if !ready && volumes.choose(None).is_ok() {
            self.segmenter.leave_at_next_key();
        }
    }

    /// Nothing more of this run.
    pub(super) fn fail(&mut self, reason: GapReason, error: &dyn std::error::Error) {
        self.trouble.failed(reason, Instant::now());
        self.shed(reason);
        self.note(reason, error);
    }

    /// Says so in the status, and in the log when it is news.
    pub(super) fn note(&mut self, reason: GapReason, error: &dyn std::error::Error) {
        let error = chain(error);
        let status = RecorderStatus::Failing { reason, error };
        self.status.send_if_modified(|before| {
            let news = *before != status;
            if let (true, RecorderStatus::Failing { error, .. }) = (news, &status) {
                tracing::warn!(stream = %self.owner.stream, %reason, %error, "recording is interrupted");
            }
            *before = status;
            news
        });
    }

    fn shed(&mut self, reason: GapReason) {
        let units = self.segmenter.shed(reason);
        self.counters.shed_units.fetch_add(units, Relaxed);
    }
}
