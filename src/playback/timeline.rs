//! What a range of wall time shows: runs and gaps, where epochs overlap the newest. Pure.
//!
//! # Invariants
//!
//! * Within one epoch runs never overlap (FORMAT "Time in the index"). Where rows say otherwise,
//!   the later run wins, so that no instant is ever shown twice.
//! * A run or gap still open lasts for ever here ([`FOREVER`]); only the newest run may be open.
//!   It hides older epochs up to now: when the clock was set back, what bears a later time than now
//!   is there all the same, and is shown.

use crate::{
    model::{Gap, RunRow, WallRange},
    proto::{reason::GapReason, time::WallTime},
};

/// The end of what still lasts.
const FOREVER: WallTime = WallTime::from_micros(i64::MAX);

/// What a range holds. Runs do not overlap each other, gaps do not overlap runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Footage, oldest first.
    pub runs: Vec<RunSpan>,
    /// Missing footage, oldest first.
    pub gaps: Vec<GapSpan>,
}

/// Footage without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSpan {
    /// Where it begins, or the asked range does.
    pub start: WallTime,
    /// Where it ends, or the asked range does; `None` while it is being recorded: then it ends now,
    /// and when the clock was set back older footage may follow.
    pub end: Option<WallTime>,
}

/// Time without footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapSpan {
    /// Where footage ends.
    pub start: WallTime,
    /// Where it begins again; `None` while it lasts.
    pub end: Option<WallTime>,
    /// Why.
    pub reason: GapReason,
}

impl Timeline {
    /// Merges rows into what `range` shows; `now` decides whether something open still lasts at
    /// the range's end.
    #[must_use]
    pub fn new(runs: &[RunRow], gaps: &[Gap], range: &WallRange, now: WallTime) -> Self {
        let lasting = |end: WallTime| (end != FOREVER).then_some(end);
        let clipped = |start: WallTime, end: WallTime| {
            // What is open stays open beyond a range that ends in the future.
            let open = end == FOREVER && range.end > now;
            (start.max(range.start), if open { FOREVER } else { end.min(range.end) })
        };

        let mut shown: Vec<(WallTime, WallTime)> = Vec::new();
        let pieces = visible(runs, now);
        let last = pieces.last().map(|piece| piece.start);
        let mut recording = None;
        for piece in pieces {
            let (start, mut end) = clipped(piece.start, piece.end.unwrap_or(FOREVER));
            if end == FOREVER && last != Some(piece.start) {
                end = now.max(start);
                recording = Some(end);
            }
            match shown.last_mut() {
                _ if end <= start => {}
                Some(last) if last.1 == start => last.1 = end,
                _ => shown.push((start, end)),
            }
        }

        let mut spans = Vec::new();
        for gap in gaps {
            let (start, end) = clipped(gap.start, gap.end.unwrap_or(FOREVER));
            if end <= start {
                continue;
            }
            for (start, end) in subtract(&[(start, end)], &shown) {
                spans.push(GapSpan { start, end: lasting(end), reason: gap.reason });
            }
        }
        spans.sort_by_key(|g| g.start);
        let lasting = |end: WallTime| lasting(end).filter(|end| recording != Some(*end));
        let runs =
            shown.into_iter().map(|(start, end)| RunSpan { start, end: lasting(end) }).collect();
        Self { runs, gaps: spans }
    }
}

/// A part of a run that no newer epoch hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Of the run. With a time it names at most one segment.
    pub(super) epoch: u32,
    pub(super) start: WallTime,
    /// `None` while it is being recorded, which one piece is at most. What follows that was
    /// recorded by a clock that went ahead.
    pub(super) end: Option<WallTime>,
    /// There is more of the run behind `end`, which must not be shown.
    pub(super) cut: bool,
}

/// What is shown of `runs` at `now`, by start, without overlap. A piece never spans two runs.
pub(super) fn visible(runs: &[RunRow], now: WallTime) -> Vec<Piece> {
    let mut rows: Vec<&RunRow> = runs.iter().collect();
    // Newest epoch first, in each the oldest run first.
    rows.sort_by_key(|r| (std::cmp::Reverse(r.epoch), r.start));

    let mut pieces = Vec::new();
    let mut hidden: Vec<(WallTime, WallTime)> = Vec::new();
    for of_epoch in rows.chunk_by(|a, b| a.epoch == b.epoch) {
        let newest_epoch = hidden.is_empty();
        let mut spans = Vec::with_capacity(of_epoch.len());
        for (at, run) in of_epoch.iter().enumerate() {
            let next = of_epoch.get(at + 1).map(|r| r.start);
            let end = match (run.end, next) {
                (Some(end), Some(next)) => end.min(next),
                (Some(end), None) => end,
                (None, Some(next)) => next,
                (None, None) if newest_epoch => FOREVER,
                // A row that nobody closed, from before the clock was set back: where it ended is
                // not known, but nothing of it is newer than the next epoch's first footage.
                (None, None) => hidden.first().map_or(run.start, |h| h.0),
            };
            if end > run.start {
                spans.push((run.start, end));
            }
        }
        for (start, end) in subtract(&spans, &hidden) {
            let own = spans.partition_point(|s| s.0 < end).checked_sub(1);
            let cut = own.and_then(|at| spans.get(at)).is_some_and(|s| end < s.1);
            let end = (end != FOREVER).then_some(end);
            if let Some(first) = of_epoch.first() {
                pieces.push(Piece { epoch: first.epoch, start, end, cut });
            }
        }
        let reached =
            |end: WallTime, start: WallTime| if end == FOREVER { now.max(start) } else { end };
        hidden.extend(spans.into_iter().map(|(start, end)| (start, reached(end, start))));
        hidden.sort_unstable();
        hidden = union(&hidden);
    }
    pieces.sort_by_key(|p| p.start);
    pieces
}

/// `spans` without what `holes` cover; both sorted, each without overlap.
fn subtract(
    spans: &[(WallTime, WallTime)],
    holes: &[(WallTime, WallTime)],
) -> Vec<(WallTime, WallTime)> {
    let mut left = Vec::with_capacity(spans.len());
    let mut holes = holes.iter().peekable();
    for &(mut start, end) in spans {
        while holes.next_if(|h| h.1 <= start).is_some() {}
        while let Some(&&(hole_start, hole_end)) = holes.peek() {
            if hole_start >= end {
                break;
            }
            if hole_start > start {
                left.push((start, hole_start));
            }
            start = start.max(hole_end);
            if hole_end > end {
                break; // It may cover the next span too.
            }
            holes.next();
        }
        if start < end {
            left.push((start, end));
        }
    }
    left
}

/// Sorted spans with overlapping and touching ones made one.
fn union(spans: &[(WallTime, WallTime)]) -> Vec<(WallTime, WallTime)> {
    let mut joined: Vec<(WallTime, WallTime)> = Vec::with_capacity(spans.len());
    for &(start, end) in spans {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RunId, StreamId};
    use proptest::prelude::*;

    fn at(s: i64) -> WallTime {
        WallTime::from_micros(s * 1_000_000)
    }

    fn run(epoch: u32, start: i64, end: Option<i64>) -> RunRow {
        let id = RunId(i64::from(epoch) * 1_000_000 + start);
        RunRow { id, stream: StreamId(1), epoch, start: at(start), end: end.map(at) }
    }

    fn gap(start: i64, end: Option<i64>, reason: GapReason) -> Gap {
        Gap { stream: StreamId(1), start: at(start), end: end.map(at), reason }
    }

    fn span(start: i64, end: Option<i64>) -> RunSpan {
        RunSpan { start: at(start), end: end.map(at) }
    }

    #[test]
    fn a_timeline_is_clipped_to_its_range() {
        let t = Timeline::new(
            &[run(0, 0, Some(100)), run(0, 120, None)],
            &[gap(100, Some(120), GapReason::Stalled)],
            &(at(50)..at(110)),
            at(500),
        );
        assert_eq!(t.runs, [span(50, Some(100))]);
        let reason = GapReason::Stalled;
        assert_eq!(t.gaps, [GapSpan { start: at(100), end: Some(at(110)), reason }]);
    }

    #[test]
    fn the_run_being_recorded_is_open_ended_only_in_a_range_that_reaches_beyond_now() {
        let runs = [run(0, 0, None)];
        let past = Timeline::new(&runs, &[], &(at(0)..at(50)), at(60));
        assert_eq!(past.runs, [span(0, Some(50))]);
        let day = Timeline::new(&runs, &[], &(at(0)..at(86_400)), at(60));
        assert_eq!(day.runs, [span(0, None)]);
    }

    #[test]
    fn a_gap_that_lasts_is_open_ended() {
        let gaps = [gap(10, None, GapReason::Unreachable)];
        let t = Timeline::new(&[run(0, 0, Some(10))], &gaps, &(at(0)..at(86_400)), at(60));
        assert_eq!(t.gaps.first().map(|g| g.end), Some(None));
    }

    #[test]
    fn where_epochs_overlap_the_newest_is_shown() {
        let runs = [run(0, 0, Some(100)), run(1, 40, Some(60))];
        let pieces = visible(&runs, at(500));
        let shown: Vec<_> = pieces.iter().map(|p| (p.epoch, p.start, p.end)).collect();
        let want =
            [(0, at(0), Some(at(40))), (1, at(40), Some(at(60))), (0, at(60), Some(at(100)))];
        assert_eq!(shown, want);
    }

    #[test]
    fn a_gap_of_an_older_epoch_does_not_hide_footage() {
        let gaps = [gap(0, Some(100), GapReason::Crash)];
        let t = Timeline::new(&[run(1, 40, Some(60))], &gaps, &(at(0)..at(100)), at(500));
        let spans: Vec<_> = t.gaps.iter().map(|g| (g.start, g.end)).collect();
        assert_eq!(spans, [(at(0), Some(at(40))), (at(60), Some(at(100)))]);
    }

    #[test]
    fn runs_that_touch_are_one_on_the_timeline() {
        let runs = [run(0, 0, Some(10)), run(0, 10, Some(20))];
        let t = Timeline::new(&runs, &[], &(at(0)..at(30)), at(500));
        assert_eq!(t.runs, [span(0, Some(20))]);
    }

    #[test]
    fn footage_with_times_to_come_is_shown_while_a_clock_that_was_set_back_records() {
        let shown = |runs: &[RunRow]| Timeline::new(runs, &[], &(at(0)..at(1_000)), at(60)).runs;
        // Set back from 100 to 40, twenty seconds ago.
        let over = [run(0, 0, Some(100)), run(1, 40, None)];
        assert_eq!(shown(&over), [span(0, Some(100))], "there is footage all the way");
        let before = [run(0, 300, Some(400)), run(1, 40, None)];
        assert_eq!(shown(&before), [span(40, None), span(300, Some(400))]);
        let pieces: Vec<_> = visible(&over, at(60)).iter().map(|p| (p.start, p.end)).collect();
        let want = [(at(0), Some(at(40))), (at(40), None), (at(60), Some(at(100)))];
        assert_eq!(pieces, want);
    }

    #[test]
    fn a_row_left_open_before_the_clock_was_set_back_shows_nothing_after_it() {
        let rows = [run(0, 10, None), run(1, 5, Some(8)), run(1, 20, Some(30))];
        let pieces = visible(&rows, at(500));
        assert!(pieces.iter().all(|p| p.end.is_some()), "{pieces:?}");
    }

    prop_compose! {
        fn rows()(parts in prop::collection::vec((0_u32..3, 0_i64..200, 1_i64..60), 0..20))
            -> Vec<RunRow> {
            parts.into_iter().map(|(epoch, start, len)| run(epoch, start, Some(start + len))).collect()
        }
    }

    proptest! {
        #[test]
        fn each_second_of_footage_is_shown_once_and_from_the_newest_epoch(rows in rows()) {
            let pieces = visible(&rows, at(1_000));
            for second in 0..300 {
                let t = WallTime::from_micros(second * 1_000_000 + 500_000);
                let newest = rows
                    .iter()
                    .filter(|r| r.start <= t && r.end.is_some_and(|e| t < e))
                    .map(|r| r.epoch)
                    .max();
                let shown: Vec<u32> = pieces
                    .iter()
                    .filter(|p| p.start <= t && p.end.is_some_and(|e| t < e))
                    .map(|p| p.epoch)
                    .collect();
                // Rows of one epoch that overlap break the index's own rule; then the later run
                // cuts the earlier one, which may show an older epoch behind it.
                if let Some(newest) = newest {
                    prop_assert!(shown.len() <= 1);
                    prop_assert!(shown.first().is_none_or(|e| *e <= newest));
                } else {
                    prop_assert!(shown.is_empty());
                }
            }
        }

        #[test]
        fn runs_and_gaps_of_a_timeline_never_overlap(
            rows in rows(),
            holes in prop::collection::vec((0_i64..200, 1_i64..60), 0..6),
            from in 0_i64..200,
            len in 1_i64..100,
        ) {
            let gaps: Vec<Gap> = holes
                .iter()
                .map(|&(s, l)| gap(s, Some(s + l), GapReason::Stalled))
                .collect();
            let t = Timeline::new(&rows, &gaps, &(at(from)..at(from + len)), at(1_000));
            for pair in t.runs.windows(2) {
                prop_assert!(pair[0].end.is_some_and(|e| e < pair[1].start));
            }
            for run in &t.runs {
                prop_assert!(run.start >= at(from) && run.end.is_some_and(|e| e <= at(from + len)));
                for gap in &t.gaps {
                    let apart = gap.end.is_some_and(|e| e <= run.start)
                        || run.end.is_some_and(|e| e <= gap.start);
                    prop_assert!(apart, "{run:?} {gap:?}");
                }
            }
        }
    }
}
