//! Recorded time (npt) against wall time. Pure.
//!
//! A [`NptMap`] is a list of [`Stretch`]es of footage with the gaps between them closed up.
//!
//! # Invariants
//!
//! * Stretches are disjoint in npt and in order; each begins where the one before ends.
//! * When the map is made they are disjoint and in order in wall time too. One that is appended
//!   while a player follows live may overlap older ones (the clock was set back): then the newest
//!   is found first.
//! * Only the last stretch may be open.

use std::cmp::Ordering;

use super::{
    archive::FOREVER,
    seek::Direction,
    timeline::{Piece, visible},
};
use crate::{
    model::RunRow,
    proto::time::{WallSpan, WallTime},
};

/// Footage without a gap, in both times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) epoch: u32,
    pub(super) start: WallTime,
    /// `None` while it is being recorded.
    pub(super) end: Option<WallTime>,
    /// Footage behind `end` is there but must not be shown. Where it is not set, `end` is only
    /// where npt goes on: nothing is left out for having been reckoned a little beyond it.
    pub(super) cut: bool,
    /// npt of `start`.
    pub(super) npt: WallSpan,
}

impl Stretch {
    pub(super) fn of(piece: &Piece) -> Self {
        let Piece { epoch, start, end, cut } = *piece;
        Self { epoch, start, end, cut, npt: WallSpan::ZERO }
    }

    /// Whether footage of that time must not be shown.
    pub(super) fn hides(&self, wall: WallTime) -> bool {
        self.cut && self.end.is_some_and(|end| wall >= end)
    }

    pub(super) fn holds(&self, wall: WallTime) -> bool {
        self.start <= wall && self.end.is_none_or(|end| wall < end)
    }

    /// npt of a wall time by this stretch alone, not clamped.
    pub(super) fn npt_of(&self, wall: WallTime) -> WallSpan {
        self.npt + (wall - self.start)
    }

    fn end_npt(&self) -> Option<WallSpan> {
        self.end.map(|end| self.npt_of(end))
    }
}

/// Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NptMap {
    stretches: Vec<Stretch>,
}

impl NptMap {
    /// Lays `pieces` (in order, disjoint) end to end, the first at `npt`; `None` without any.
    pub(super) fn new(pieces: &[Piece], npt: WallSpan) -> Option<Self> {
        let mut map = Self { stretches: Vec::with_capacity(pieces.len()) };
        for piece in pieces {
            let npt = map.stretches.last().map_or(npt, |last| end_of(last, piece.start));
            map.push(piece, npt);
        }
        (!map.stretches.is_empty()).then_some(map)
    }

    fn push(&mut self, piece: &Piece, npt: WallSpan) {
        self.stretches.push(Stretch { npt, ..Stretch::of(piece) });
    }

    /// Moves npt as a whole.
    pub(super) fn shift(&mut self, by: WallSpan) {
        for stretch in &mut self.stretches {
            stretch.npt += by;
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&Stretch> {
        self.stretches.get(at)
    }

    pub(super) fn len(&self) -> usize {
        self.stretches.len()
    }

    /// The first stretch; a map is never empty, so that the default is never seen.
    fn first(&self) -> Stretch {
        self.stretches.first().copied().unwrap_or(NOTHING)
    }

    pub(super) fn last(&self) -> Stretch {
        self.stretches.last().copied().unwrap_or(NOTHING)
    }

    /// Where the stretch at `npt` is and the wall time there; clamped to the ends.
    pub(super) fn at_npt(&self, npt: WallSpan) -> (usize, WallTime) {
        let at = self.stretches.partition_point(|s| s.npt <= npt).saturating_sub(1);
        let stretch = self.get(at).copied().unwrap_or(NOTHING);
        let wall = stretch.start + (npt.max(stretch.npt) - stretch.npt);
        (at, stretch.end.map_or(wall, |end| wall.min(end)))
    }

    /// Where the stretch that holds `wall` is, or the next one (the last before) when none does,
    /// and the nearest wall time there; clamped to the ends.
    pub(super) fn at_wall(&self, wall: WallTime, direction: Direction) -> (usize, WallTime) {
        if let Some(at) = self.stretches.iter().rposition(|s| s.holds(wall)) {
            return (at, wall);
        }
        let indexed = || self.stretches.iter().enumerate();
        let after = indexed().filter(|(_, s)| s.start > wall).min_by_key(|(_, s)| s.start);
        let before =
            indexed().filter_map(|(at, s)| Some((at, s.end?))).filter(|(_, end)| *end <= wall);
        let before = before.max_by_key(|(_, end)| *end);
        let after = after.map(|(at, s)| (at, s.start));
        match direction {
            Direction::Forward => after.or(before),
            Direction::Backward => before.or(after),
        }
        .unwrap_or((0, self.first().start))
    }

    pub(super) fn npt_to_wall(&self, npt: WallSpan) -> WallTime {
        self.at_npt(npt).1
    }

    pub(super) fn wall_to_npt(&self, wall: WallTime) -> WallSpan {
        let (at, wall) = self.at_wall(wall, Direction::Forward);
        self.get(at).map_or(WallSpan::ZERO, |s| s.npt_of(wall))
    }

    pub(super) fn start(&self) -> WallTime {
        self.first().start
    }

    /// Takes over what the index has learned since: the end of the last stretch, and what came
    /// after it. `rows` are the runs from the last stretch's start on; `reached` is how far the
    /// last stretch was played. Nothing played changes its npt: footage that was followed live
    /// through what the recorder could not keep is not closed up afterwards.
    pub(super) fn extend(&mut self, rows: &[RunRow], reached: WallTime) {
        let Some(last) = self.stretches.last_mut() else { return };
        let reached = reached.max(last.start);
        if last.end.is_none() {
            let of_epoch = rows.iter().filter(|r| r.epoch == last.epoch && r.start <= reached);
            if let Some(row) = of_epoch.max_by_key(|r| r.start) {
                last.end = row.end.map(|end| end.max(reached));
            }
        }
        // Older epochs never follow, so that what is now does not matter.
        for piece in visible(rows, FOREVER) {
            let last = self.last();
            let follows = match (piece.epoch.cmp(&last.epoch), last.end) {
                (Ordering::Less, _) | (Ordering::Equal, None) => false,
                (Ordering::Equal, Some(end)) => piece.start >= end && piece.start > last.start,
                (Ordering::Greater, _) => true,
            };
            if follows {
                self.append(&piece, reached);
            }
        }
    }

    /// A run began that the map does not have yet: closes the last stretch (at `reached` where
    /// its end is not known) and opens the next.
    pub(super) fn append(&mut self, piece: &Piece, reached: WallTime) {
        let Some(last) = self.stretches.last_mut() else { return };
        let close = last.end.unwrap_or(reached).max(last.start);
        last.end = Some(close);
        let npt = last.npt_of(close);
        self.push(piece, npt);
    }

    /// The last stretch ends here, unless its end is known.
    pub(super) fn close(&mut self, at: WallTime) {
        if let Some(last) = self.stretches.last_mut() {
            last.end = last.end.or(Some(at.max(last.start)));
        }
    }

    /// npt of the end; `None` while it is being recorded.
    #[cfg(test)]
    fn end_npt(&self) -> Option<WallSpan> {
        self.last().end_npt()
    }
}

/// npt of the end of a stretch; of an open one that is followed by another (which the rows do not
/// produce) that of the follower's start.
fn end_of(stretch: &Stretch, next: WallTime) -> WallSpan {
    stretch.end_npt().unwrap_or_else(|| stretch.npt_of(next))
}

const NOTHING: Stretch = Stretch {
    epoch: 0,
    start: WallTime::from_micros(0),
    end: Some(WallTime::from_micros(0)),
    cut: false,
    npt: WallSpan::ZERO,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RunId, StreamId};
    use proptest::prelude::*;

    fn at(s: i64) -> WallTime {
        WallTime::from_micros(s * 1_000_000)
    }

    fn npt(s: i64) -> WallSpan {
        WallSpan::from_secs(s)
    }

    fn piece(start: i64, end: Option<i64>) -> Piece {
        Piece { epoch: 0, start: at(start), end: end.map(at), cut: false }
    }

    fn row(epoch: u32, start: i64, end: Option<i64>) -> RunRow {
        let (start, end) = (at(start), end.map(at));
        RunRow { id: RunId(start.as_micros()), stream: StreamId(1), epoch, start, end }
    }

    fn two() -> NptMap {
        NptMap::new(&[piece(100, Some(110)), piece(200, Some(220))], WallSpan::ZERO).unwrap()
    }

    #[test]
    fn gaps_take_no_recorded_time() {
        let map = two();
        assert_eq!(map.wall_to_npt(at(205)), npt(15));
        assert_eq!(map.npt_to_wall(npt(15)), at(205));
        assert_eq!(map.end_npt(), Some(npt(30)));
    }

    #[test]
    fn inside_a_gap_the_next_footage_counts_forward_and_the_last_backward() {
        let map = two();
        assert_eq!(map.at_wall(at(150), Direction::Forward), (1, at(200)));
        assert_eq!(map.at_wall(at(150), Direction::Backward), (0, at(110)));
        assert_eq!(map.wall_to_npt(at(150)), npt(10));
    }

    #[test]
    fn times_beyond_the_ends_are_clamped() {
        let map = two();
        assert_eq!(map.wall_to_npt(at(0)), npt(0));
        assert_eq!(map.wall_to_npt(at(1_000)), npt(30));
        assert_eq!(map.npt_to_wall(npt(-5)), at(100));
        assert_eq!(map.npt_to_wall(npt(500)), at(220));
    }

    #[test]
    fn a_map_grows_at_its_end_and_nowhere_else() {
        let mut map =
            NptMap::new(&[piece(100, Some(110)), piece(200, None)], WallSpan::ZERO).unwrap();
        map.extend(&[row(0, 200, Some(220)), row(0, 300, None)], at(215));
        assert_eq!(map.wall_to_npt(at(205)), npt(15));
        assert_eq!(map.wall_to_npt(at(305)), npt(35));
        assert_eq!(map.end_npt(), None);
        map.extend(&[row(0, 300, None)], at(310));
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn footage_followed_live_through_a_hole_of_the_recording_keeps_its_npt() {
        let mut map = NptMap::new(&[piece(100, None)], WallSpan::ZERO).unwrap();
        // The recorder kept 100 to 150 and from 160 on; the player saw all of it, up to 170.
        map.extend(&[row(0, 100, Some(150)), row(0, 160, None)], at(170));
        assert_eq!(map.len(), 1);
        assert_eq!(map.wall_to_npt(at(170)), npt(70));
    }

    #[test]
    fn after_a_step_back_of_the_clock_npt_goes_on() {
        let mut map = NptMap::new(&[piece(100, None)], WallSpan::ZERO).unwrap();
        map.extend(&[row(0, 100, Some(150)), row(1, 120, None)], at(150));
        assert_eq!(map.wall_to_npt(at(130)), npt(60), "the newest epoch is shown");
        assert_eq!(map.npt_to_wall(npt(40)), at(140), "what was played stays reachable by npt");
    }

    prop_compose! {
        fn maps()(
            origin in -1_000_i64..1_000,
            parts in prop::collection::vec((1_i64..5_000_000, 0_i64..5_000_000), 1..8),
        ) -> NptMap {
            let mut wall = 1_700_000_000_000_000;
            let pieces: Vec<Piece> = parts.into_iter().map(|(len, gap)| {
                let start = WallTime::from_micros(wall);
                wall += len;
                let end = Some(WallTime::from_micros(wall));
                wall += gap;
                Piece { epoch: 0, start, end, cut: false }
            }).collect();
            NptMap::new(&pieces, WallSpan::from_micros(origin)).unwrap()
        }
    }

    proptest! {
        #[test]
        fn npt_leads_to_wall_time_and_back(map in maps(), part in 0.0_f64..1.0) {
            let first = map.get(0).unwrap().npt;
            let length = map.end_npt().unwrap() - first;
            let npt = first + WallSpan::from_micros((length.as_micros() as f64 * part) as i64);
            prop_assert_eq!(map.wall_to_npt(map.npt_to_wall(npt)), npt);
        }

        #[test]
        fn wall_time_within_footage_leads_to_npt_and_back(map in maps(), at in 0_usize..8, part in 0.0_f64..1.0) {
            let stretch = map.get(at % map.len()).copied().unwrap();
            let length = stretch.end.unwrap() - stretch.start;
            let into = WallSpan::from_micros((length.as_micros() as f64 * part) as i64);
            let wall = stretch.start + into;
            prop_assume!(stretch.holds(wall));
            prop_assert_eq!(map.npt_to_wall(map.wall_to_npt(wall)), wall);
        }

        #[test]
        fn npt_never_falls_while_wall_time_rises(map in maps(), mut walls in prop::collection::vec(0_i64..80_000_000, 2..20)) {
            walls.sort_unstable();
            let npts: Vec<_> = walls
                .iter()
                .map(|w| map.wall_to_npt(WallTime::from_micros(1_700_000_000_000_000 - 1_000_000 + w)))
                .collect();
            prop_assert!(npts.is_sorted());
        }
    }
}
