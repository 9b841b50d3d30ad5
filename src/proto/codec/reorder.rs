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
//! It starts at 0 and grows to the number of earlier units that are presented after a later one,
//! when such a one comes; the same when the SPS promised too little. For those few units the
//! decoding time creeps on by single ticks and the difference (`cts`) is negative; afterwards all
//! is as if the depth had been known.
//!
//! # Invariants
//!
//! * `dts + cts` is the presentation time given, exactly.
//! * Each decoding time is greater than the one before.

use std::cmp::Ordering;

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
    /// The latest presentation times seen, ascending; at most one more than the greatest depth.
    latest: Vec<i64>,
    /// How many units may be overtaken by one that comes after them.
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
            latest: Vec::with_capacity(MAX_DEPTH + 2),
            depth,
            reorders: true,
            frame: frame.ticks().clamp(1, i64::from(u32::MAX)),
            last: None,
        }
    }

    /// For sound, which is sent in the order it is heard, and for pictures that are sent in the order
    /// they are shown (MJPEG; of AV1 each temporal unit shows one).
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
            _ => return Self::in_order(),
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
        if self.last.is_none() {
            // As if `depth` frames had come before the first.
            for before in (1..=self.depth).rev() {
                let offset = self.frame.saturating_mul(i64::try_from(before).unwrap_or(0));
                self.latest.push(ticks.checked_sub(offset).ok_or(jump)?);
            }
        }
        let next = self.last.map_or(Some(i64::MIN), |last| last.checked_add(1)).ok_or(jump)?;
        let place = self.latest.partition_point(|&other| other <= ticks);
        let overtaken = self.latest.len() - place;
        let depth = if self.reorders { self.depth.max(overtaken).min(MAX_DEPTH) } else { 0 };
        // The one that `depth` others come after, with this one put in its place.
        let at = self.latest.len().saturating_sub(depth);
        let dts = match at.cmp(&place) {
            Ordering::Less => self.latest.get(at).copied(),
            Ordering::Equal => Some(ticks),
            Ordering::Greater => self.latest.get(at - 1).copied(),
        };
        let dts = dts.unwrap_or(ticks).max(next);
        let cts = ticks.checked_sub(dts).and_then(|cts| i32::try_from(cts).ok()).ok_or(jump)?;
        // Only now that it is accepted does it count.
        self.latest.insert(place, ticks);
        if self.latest.len() > MAX_DEPTH + 1 {
            self.latest.remove(0);
        }
        self.depth = depth;
        self.last = Some(dts);
        Ok(Stamp { dts: MediaTime::from_ticks(dts), cts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: i64 = 3_600;

    /// Presentation order numbers of whole groups, in decoding order.
    fn repeated(group: &[i64], groups: i64) -> Vec<i64> {
        (0..groups).flat_map(|g| group.iter().map(move |n| g * group.len() as i64 + n)).collect()
    }

    fn patterns() -> Vec<(u8, Vec<i64>)> {
        vec![
            (0, repeated(&[0], 40)),
            (1, [vec![0], repeated(&[2, 1], 20)].concat()), // I P B P B
            (1, [vec![0], repeated(&[3, 1, 2], 20)].concat()), // I P B B
            (2, [vec![0], repeated(&[4, 2, 1, 3], 20)].concat()), // pyramid
            (3, [vec![0], repeated(&[8, 4, 2, 1, 3, 6, 5, 7], 8)].concat()),
        ]
    }

    fn derive(dts: &mut DtsFromPts, numbers: &[i64], tick: impl Fn(i64) -> i64) -> Vec<Stamp> {
        let push = |&n| dts.push(MediaTime::from_ticks(tick(n))).expect("close enough");
        numbers.iter().map(push).collect()
    }

    #[test]
    fn with_known_depth_decoding_times_lie_on_the_frame_grid_and_never_after_presentation() {
        for (depth, numbers) in patterns() {
            let mut dts = DtsFromPts::new(Some(depth), MediaTime::from_ticks(FRAME));
            let stamps = derive(&mut dts, &numbers, |n| n * FRAME);
            for (at, stamp) in stamps.iter().enumerate() {
                let expected = (at as i64 - i64::from(depth)) * FRAME;
                assert_eq!(stamp.dts.ticks(), expected, "depth {depth}, unit {at}");
                assert!(stamp.cts >= 0);
            }
            assert_eq!(dts.depth(), depth);
        }
    }

    #[test]
    fn an_unknown_depth_is_found_and_the_times_become_those_of_the_known_one() {
        for (depth, numbers) in patterns() {
            let mut dts = DtsFromPts::new(None, MediaTime::from_ticks(FRAME));
            let stamps = derive(&mut dts, &numbers, |n| n * FRAME);
            assert_eq!(dts.depth(), depth, "{numbers:?}");
            // After two groups at most.
            for (at, stamp) in stamps.iter().enumerate().skip(18) {
                assert_eq!(stamp.dts.ticks(), (at as i64 - i64::from(depth)) * FRAME);
            }
        }
    }

    #[test]
    fn an_sps_that_promises_too_little_is_corrected() {
        let (_, numbers) = &patterns()[4];
        let mut dts = DtsFromPts::new(Some(1), MediaTime::from_ticks(FRAME));
        derive(&mut dts, numbers, |n| n * FRAME);
        assert_eq!(dts.depth(), 3);
    }

    #[test]
    fn sound_that_steps_back_a_little_does_not_begin_to_lag() {
        let mut dts = DtsFromPts::in_order();
        let stamps = derive(&mut dts, &[0, 1_024, 1_000, 3_072], |n| n);
        let times: Vec<_> = stamps.iter().map(|s| (s.dts.ticks(), s.cts)).collect();
        assert_eq!(times, [(0, 0), (1_024, 0), (1_025, -25), (3_072, 0)]);
    }

    #[test]
    fn a_jump_of_the_cameras_clock_is_refused_not_wrapped() {
        let mut dts = DtsFromPts::new(None, MediaTime::from_ticks(FRAME));
        dts.push(MediaTime::from_ticks(i64::from(u32::MAX))).expect("the first");
        let back = MediaTime::from_ticks(0);
        assert_eq!(dts.push(back), Err(Jump { pts: back }));
        let mut dts = DtsFromPts::new(Some(2), MediaTime::from_ticks(FRAME));
        assert!(dts.push(MediaTime::from_ticks(i64::MIN)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_times_grow_and_presentation_is_kept(
            depth in proptest::option::of(0_u8..20),
            steps in proptest::collection::vec(-50_000_i64..100_000, 1..200),
        ) {
            let mut dts = DtsFromPts::new(depth, MediaTime::from_ticks(FRAME));
            let (mut pts, mut last) = (0, None);
            for step in steps {
                pts += step;
                let stamp = dts.push(MediaTime::from_ticks(pts)).expect("close enough");
                prop_assert_eq!(stamp.dts.ticks() + i64::from(stamp.cts), pts);
                prop_assert!(last.is_none_or(|last| stamp.dts > last));
                last = Some(stamp.dts);
            }
        }

        #[test]
        fn lost_pictures_and_uneven_frames_leave_decoding_before_presentation(
            which in 0_usize..5,
            lost in proptest::collection::hash_set(1_usize..60, 0..20),
            jitter in proptest::collection::vec(0_i64..1_000, 70),
        ) {
            let (depth, numbers) = patterns()[which].clone();
            let kept: Vec<_> = numbers
                .iter().enumerate().filter(|(at, _)| !lost.contains(at)).map(|(_, n)| *n).collect();
            let mut dts = DtsFromPts::new(Some(depth), MediaTime::from_ticks(FRAME));
            let tick = |n: i64| n * FRAME + jitter[n as usize % jitter.len()];
            for stamp in derive(&mut dts, &kept, tick) {
                prop_assert!(stamp.cts >= 0);
            }
            prop_assert_eq!(dts.depth(), depth);
        }
    }
}
