//! What retention says about itself: for the API, the metrics and the log.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    forecast::{Pace, Room},
    plan::{Blocked, Input, LimitState, Pick, Plan, Reason, State},
};
use crate::{clock::Held, id::StreamId, proto::time::WallTime};

/// Counters and gauges.
#[derive(Debug, Default)]
pub struct Counters {
    segments: [AtomicU64; Reason::ALL.len()],
    bytes: [AtomicU64; Reason::ALL.len()],
    /// Rounds that came to their end.
    pub rounds: AtomicU64,
    /// Rounds that failed: the index did not answer.
    pub failures: AtomicU64,
    /// Files unlinked.
    pub unlinked: AtomicU64,
    /// Files that could not be unlinked, counted at each try.
    pub unlink_failures: AtomicU64,
    /// Files whose rows are gone and that are still there, on volumes that are there (gauge).
    pub unlink_waiting: AtomicU64,
    /// Rows of events, audit and gaps pruned by age.
    pub pruned: AtomicU64,
    /// How long the last round took, microseconds (gauge).
    pub round_us: AtomicU64,
}

impl Counters {
    pub(super) fn deleted(&self, reason: Reason, segments: u64, bytes: u64) {
        for (counts, count) in [(&self.segments, segments), (&self.bytes, bytes)] {
            if let Some(counter) = counts.get(reason as usize) {
                counter.fetch_add(count, Relaxed);
            }
        }
    }

    /// Segments and bytes deleted so far for a limit.
    #[must_use]
    pub fn of(&self, reason: Reason) -> (u64, u64) {
        let get = |counts: &[AtomicU64]| counts.get(reason as usize).map_or(0, |c| c.load(Relaxed));
        (get(&self.segments), get(&self.bytes))
    }
}

/// Footage of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Which.
    pub stream: StreamId,
    /// Bytes of its closed segments.
    pub bytes: u64,
    /// Start of the first of them.
    pub oldest: Option<WallTime>,
}

/// A volume, as far as retention goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeReport {
    /// As rows name it.
    pub volume: Arc<str>,
    /// Bytes of footage on it.
    pub used_bytes: u64,
    /// Its own limit.
    pub max_bytes: Option<u64>,
    /// What is to stay free.
    pub min_free_bytes: u64,
    /// Free and in all, where the file system says.
    pub space: Option<(u64, u64)>,
    /// Room kept for what will be written before the next rounds.
    pub reserve_bytes: u64,
    /// Bytes whose files are being unlinked.
    pub freeing_bytes: u64,
    /// Bytes written a second; `None` at first.
    pub write_rate: Option<u64>,
    /// Seconds until something has to go for this volume's limits, growing as now; `None` while it
    /// does not grow (something goes already, or nothing is recorded).
    pub seconds_left: Option<u64>,
    /// Seconds of footage it holds when it is full, written as now.
    pub seconds_held: Option<u64>,
}

/// Some segments that go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// Why.
    pub reason: Reason,
    /// Where from.
    pub volume: Arc<str>,
    /// Which, oldest first.
    pub segments: Vec<Pick>,
    /// Of all of them.
    pub bytes: u64,
}

/// Why nothing at all is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnHold {
    /// The index is being made anew from the files, and locks may not be back yet.
    Rebuild(String),
}

/// How it stands with all limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// When it was planned.
    pub at: WallTime,
    /// Nothing is deleted at all.
    pub on_hold: Option<OnHold>,
    /// Nothing is deleted by age: the clock may be wrong.
    pub age_held: Option<Held>,
    /// What goes next, in this order.
    pub steps: Vec<StepReport>,
    /// And more after that.
    pub more: bool,
    /// Every limit: streams' first, then volumes'.
    pub limits: Vec<LimitState>,
    /// All streams with footage, hidden ones and those of deleted cameras too.
    pub streams: Vec<StreamReport>,
    /// All volumes configured.
    pub volumes: Vec<VolumeReport>,
}

impl Report {
    pub(super) fn new(plan: Plan, input: &Input) -> Self {
        let name = |at: usize| input.volumes.get(at).map_or_else(|| "".into(), |v| v.name.clone());
        let steps = plan.steps.into_iter().map(|step| StepReport {
            reason: step.reason,
            volume: name(step.volume),
            segments: step.segments,
            bytes: step.bytes,
        });
        Self {
            at: input.now,
            steps: steps.collect(),
            more: plan.more,
            limits: plan.limits,
            ..Self::default()
        }
    }

    /// Limits that cannot be kept, and why.
    pub fn blocked(&self) -> impl Iterator<Item = (&LimitState, Blocked)> {
        self.limits.iter().filter_map(|limit| match limit.state {
            State::Blocked(why) => Some((limit, why)),
            State::Met | State::Underway => None,
        })
    }
}

pub(super) fn volumes<'a>(
    input: &'a Input,
    pace: impl Fn(&str) -> Option<&'a Pace>,
) -> Vec<VolumeReport> {
    let report = |(at, volume): (usize, &super::plan::VolumeInput)| {
        let lanes = input.streams.iter().flat_map(|s| &s.lanes);
        let closed: u64 = lanes.filter(|l| l.volume == Some(at)).map(|l| l.bytes).sum();
        let used = closed.saturating_add(volume.open_bytes);
        let room = Room::of(used, volume.max_bytes, volume.space, volume.min_free);
        let pace = pace(&volume.name);
        VolumeReport {
            volume: volume.name.clone(),
            used_bytes: used,
            max_bytes: volume.max_bytes,
            min_free_bytes: volume.min_free,
            space: volume.space,
            reserve_bytes: volume.reserve,
            freeing_bytes: volume.freeing,
            write_rate: pace.and_then(Pace::write_rate),
            seconds_left: pace.and_then(|p| room.seconds_left(p)),
            seconds_held: pace.and_then(|p| room.seconds_held(p)),
        }
    };
    input.volumes.iter().enumerate().map(report).collect()
}
