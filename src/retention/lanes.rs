//! What is known of the oldest footage, by stream and volume.
//!
//! Asked of the index a page at a time and kept from round to round: a stream that records a
//! segment a minute needs a page an hour. What is kept may be out of date (somebody locked it, it
//! is gone): the transaction that deletes looks again. Changes of cameras and locks, and
//! [`KEPT_FOR`], empty it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::plan::{self, Held, Lane};
use crate::{
    id::{CameraId, SegmentId, StreamId},
    model::{Age, Candidate, WallRange},
    proto::time::{WallSpan, WallTime},
    store::{Result, Store},
};

/// Candidates asked for at once.
const PAGE: u32 = 64;
/// Everything is asked anew after so long: files may have been adopted that are older than what is
/// known.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Locks looked at when all of a page is locked.
const LOCKS: u32 = 64;
/// Epochs looked for after footage of the future.
const EPOCHS: usize = 8;
const FOREVER: WallTime = WallTime::from_micros(i64::MAX);

/// The oldest of one stream on one volume.
#[derive(Debug, Default)]
struct Known {
    /// In order; of the locked ones only the oldest.
    candidates: VecDeque<plan::Candidate>,
    /// What comes next is after this.
    end: Option<Age>,
    /// Nothing came next when it was last asked, in this round.
    drained: bool,
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    known: HashMap<StreamId, BTreeMap<String, Known>>,
    epochs: HashMap<StreamId, Vec<(u32, WallTime)>>,
    since: Instant,
    generation: Option<u64>,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            epochs: HashMap::new(),
            since: Instant::now(),
            generation: None,
        }
    }

    /// Begins a round: there may be new footage since. `generation`: of cameras and locks.
    pub(super) fn begin(&mut self, generation: u64) {
        if self.since.elapsed() >= KEPT_FOR || self.generation != Some(generation) {
            *self = Self { generation: Some(generation), ..Self::new() };
        }
        for known in self.known.values_mut().flat_map(BTreeMap::values_mut) {
            known.drained = false;
        }
        self.epochs.clear();
    }

    /// Forgets segments: deleted, or not to be deleted after all.
    pub(super) fn forget(&mut self, gone: &HashSet<SegmentId>) {
        for known in self.known.values_mut().flat_map(BTreeMap::values_mut) {
            // They go from the front.
            if known.candidates.iter().take(gone.len() + 1).any(|c| gone.contains(&c.id)) {
                known.candidates.retain(|c| !gone.contains(&c.id));
            }
        }
    }

    /// Asks for what comes next.
    pub(super) async fn load(
        &mut self,
        store: &Store,
        camera: CameraId,
        stream: StreamId,
        volume: &str,
    ) -> Result<()> {
        let known = self.known.entry(stream).or_default().entry(volume.to_owned()).or_default();
        let page = store.oldest_segments_on(stream, volume, known.end, PAGE).await?;
        known.drained = page.len() < PAGE as usize;
        let Some(last) = page.last() else { return Ok(()) };
        known.end = Some(last.age);
        if page.iter().all(|c| c.locked) {
            // What is locked may be a year long: go on behind it. Within an epoch, what begins
            // before the lock's end and after a segment that it overlaps is overlapped too.
            let locks = store.locks_overlapping(camera, last.range(), LOCKS).await?;
            if let Some(end) = locks.iter().map(|lock| lock.end).max() {
                let start = end - WallSpan::from_micros(1);
                let behind = Age { epoch: last.age.epoch, start, id: SegmentId(i64::MAX) };
                known.end = Some(behind.max(last.age));
            }
        }
        for candidate in page {
            let seen = || known.candidates.iter().any(|c| c.held == Some(Held::Locked));
            if !candidate.locked || !seen() {
                known.candidates.push_back(as_planned(&candidate));
            }
        }
        Ok(())
    }

    /// Finds out where later epochs begin, for streams with footage of the future.
    pub(super) async fn find_epochs(&mut self, store: &Store, now: WallTime) -> Result<()> {
        for (stream, lanes) in &self.known {
            let all = lanes.values().flat_map(|known| &known.candidates);
            let future = all.filter(|c| plan::is_future(c, now)).map(|c| c.epoch).min();
            let (Some(mut epoch), false) = (future, self.epochs.contains_key(stream)) else {
                continue;
            };
            let mut found = Vec::new();
            while found.len() < EPOCHS {
                let after = Age { epoch, start: FOREVER, id: SegmentId(i64::MAX) };
                let Some(next) = store.oldest_segments(*stream, Some(after), 1).await?.pop() else {
                    break;
                };
                found.push((next.age.epoch, next.age.start));
                epoch = next.age.epoch;
            }
            self.epochs.insert(*stream, found);
        }
        Ok(())
    }

    pub(super) fn epochs(&self, stream: StreamId) -> Vec<(u32, WallTime)> {
        self.epochs.get(&stream).cloned().unwrap_or_default()
    }

    /// The largest segment known of a stream.
    pub(super) fn largest(&self, stream: StreamId) -> u64 {
        let lanes = self.known.get(&stream).into_iter().flat_map(BTreeMap::values);
        lanes.flat_map(|known| &known.candidates).map(|c| c.bytes).max().unwrap_or(0)
    }

    /// A lane as a plan takes it; `leased`: what is being read.
    pub(super) fn lane(
        &self,
        stream: StreamId,
        name: &str,
        volume: Option<usize>,
        bytes: u64,
        leased: &[WallRange],
    ) -> Lane {
        let known = self.known.get(&stream).and_then(|lanes| lanes.get(name));
        let Some(known) = known else {
            return Lane { volume, bytes, oldest: Vec::new(), more: true };
        };
        let read = |c: &plan::Candidate| leased.iter().any(|r| c.start < r.end && r.start < c.end);
        let held = |c: &plan::Candidate| {
            let held = c.held.or_else(|| read(c).then_some(Held::Leased));
            plan::Candidate { held, ..*c }
        };
        let oldest = known.candidates.iter().map(held).collect();
        Lane { volume, bytes, oldest, more: !known.drained }
    }
}

fn as_planned(candidate: &Candidate) -> plan::Candidate {
    plan::Candidate {
        id: candidate.age.id,
        epoch: candidate.age.epoch,
        start: candidate.age.start,
        end: candidate.end,
        bytes: candidate.bytes,
        held: candidate.locked.then_some(Held::Locked),
    }
}
