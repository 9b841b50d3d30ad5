//! Decoding times from presentation times.
//!
//! RTP carries presentation times only, in decoding order; a file needs decoding times that grow.
//! With B-frames the two orders differ.
//!
//! # How
//!
//! A stream that holds back at most `depth` pictures (`max_num_reorder_frames`) puts out, after its
//! n-th coded picture, the (n − depth)-th in presentation order. So the presentation times seen so
//! far, in order and `depth` late, are decoding times: strictly increasing, never after the
//! presentation time, on the grid of the camera's own ticks, and known at once. The first `depth`
//! units get times before the first presentation time, a frame apart.
//!
//! # Unknown depth
//!
//! It starts at 0 and grows by one whenever a presentation time falls behind the last decoding
//! time. For those few units the decoding time creeps on by single ticks and the difference
//! (`cts`) is negative; afterwards all is as if the depth had been known.
//!
//! # Invariants
//!
//! * `dts + cts` is the presentation time given, exactly.
//! * Each decoding time is greater than the one before.

use crate::proto::{access_unit::Track, codec::Parameters, time::MediaTime};

/// H.264 and H.265 allow no deeper reordering.
const MAX_DEPTH: usize = 16;

/// A presentation time taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Decoding time.
    pub dts: MediaTime,
    /// Presentation time minus decoding time.
    pub cts: i32,
}

/// The presentation time is so far from those before that no `cts` can hold it: the camera's clock
/// jumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("presentation time {} is too far from the one before", .pts.ticks())]
pub struct Jump {
    /// The time that was refused.
    pub pts: MediaTime,
}

/// Derives decoding times of one track of one run.
#[derive(Clone, Debug)]
pub struct DtsFromPts {
    /// Presentation times not yet used as decoding times, ascending; at most `depth + 1`.
    pending: Vec<i64>,
    depth: usize,
    /// Whether the depth may grow.
    reorders: bool,
    /// Ticks from one frame to the next, for the units before the first presentation time.
    frame: i64,
    last: Option<i64>,
}

impl DtsFromPts {
    /// For video whose parameter sets promise `depth` (`None`: they do not say), with frames about
    /// `frame` apart.
    #[must_use]
    pub fn new(depth: Option<u8>, frame: MediaTime) -> Self {
        let depth = usize::from(depth.unwrap_or(0)).min(MAX_DEPTH);
        Self {
            pending: Vec::with_capacity(depth + 1),
            depth,
            reorders: true,
            frame: frame.ticks().clamp(1, i64::from(u32::MAX)),
            last: None,
        }
    }

    /// For sound, which is sent in the order it is heard.
    #[must_use]
    pub fn in_order() -> Self {
        Self { reorders: false, ..Self::new(Some(0), MediaTime::from_ticks(1)) }
    }

    /// What fits the track: reorder depth and frame rate from its parameter sets.
    #[must_use]
    pub fn of(track: &Track) -> Self {
        let (reorder, rate) = match &track.parameters {
            Parameters::H264(p) => (p.reorder, p.frame_rate),
            Parameters::H265(p) => (p.reorder, p.frame_rate),
            Parameters::Aac(_) | Parameters::G711(_) => return Self::in_order(),
        };
        // A declared rate is often a lie, but only the first units' spacing hangs on it.
        let (numerator, denominator) = rate.unwrap_or((25, 1));
        let ticks =
            u64::from(track.timescale.get()) * u64::from(denominator) / u64::from(numerator).max(1);
        let second = i64::from(track.timescale.get());
        let frame = i64::try_from(ticks).unwrap_or(second).clamp(second / 240, second);
        Self::new(reorder, MediaTime::from_ticks(frame))
    }

    /// How many pictures are held back by now.
    #[must_use]
    pub fn depth(&self) -> u8 {
        u8::try_from(self.depth).unwrap_or(u8::MAX)
    }

    /// The next unit in decoding order.
    pub fn push(&mut self, pts: MediaTime) -> Result<Stamp, Jump> {
        let jump = Jump { pts };
        let ticks = pts.ticks();
        let Some(last) = self.last else {
            // As if `depth` frames had come before the first.
            for before in (1..=self.depth).rev() {
                let offset = self.frame.saturating_mul(i64::try_from(before).unwrap_or(0));
                self.pending.push(ticks.checked_sub(offset).ok_or(jump)?);
            }
            self.pending.push(ticks);
            let dts = self.pending.first().copied().unwrap_or(ticks);
            self.last = Some(dts);
            return stamp(ticks, dts).ok_or(jump);
        };
        let next = last.checked_add(1).ok_or(jump)?;
        let behind = ticks <= last;
        if behind && self.reorders && self.depth < MAX_DEPTH {
            self.depth += 1;
        }
        let mut pending = std::mem::take(&mut self.pending);
        if pending.len() > self.depth {
            pending.remove(0);
        }
        let place = pending.partition_point(|&p| p <= ticks);
        pending.insert(place, ticks);
        let dts = pending.first().map_or(next, |&first| first.max(next));
        self.pending = pending;
        let stamp = stamp(ticks, dts).ok_or(jump)?;
        self.last = Some(dts);
        Ok(stamp)
    }
}

fn stamp(pts: i64, dts: i64) -> Option<Stamp> {
    let cts = i32::try_from(pts.checked_sub(dts)?).ok()?;
    Some(Stamp { dts: MediaTime::from_ticks(dts), cts })
}
