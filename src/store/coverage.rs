//! How much of a range was recorded: by arithmetic on runs and gaps, never on segments.

use std::collections::HashMap;

use super::{Result, Store, failed, gap, run};
use crate::{
    id::StreamId,
    model::{Coverage, Gap, RunRow, WallRange},
    proto::{
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
};

/// Rows of a range that are looked at: more runs than this in one range are no recording.
const LIMIT: u32 = 1_000_000;

/// What lasts of a stream: a run that is being recorded, a gap that has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    /// Since when it is recorded.
    pub run: Option<WallTime>,
    /// Since when it is not, and why.
    pub gap: Option<(WallTime, GapReason)>,
}

impl Store {
    /// What lasts, of all streams of which something does.
    pub async fn lasting(&self) -> Result<HashMap<StreamId, Lasting>> {
        let mut snapshot =
            self.readers.begin().await.map_err(failed("begin to read what lasts"))?;
        let runs: Vec<run::Row> = sqlx::query_as(run::LASTING)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed("read runs that last"))?;
        let gaps: Vec<gap::Row> = sqlx::query_as(gap::ALL_LASTING)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed("read gaps that last"))?;
        drop(snapshot);
        let mut lasting: HashMap<StreamId, Lasting> = HashMap::new();
        for run in runs {
            let run = run.into_run()?;
            let since = &mut lasting.entry(run.stream).or_default().run;
            // Of two (a row that nobody ended) the newer one is being recorded.
            *since = (*since).max(Some(run.start));
        }
        for gap in gaps {
            let gap = gap.into_gap()?;
            lasting.entry(gap.stream).or_default().gap = Some((gap.start, gap.reason));
        }
        Ok(lasting)
    }

    /// How much of the range is recorded and what is missing, by reason. What lasts is cut at the
    /// range's end.
    ///
    /// Time that two runs cover (the clock stepped back) counts once, and where there is footage
    /// there is no gap. Time that neither a run nor a gap covers (before the camera was added,
    /// or while it was deleted) counts as nothing.
    pub async fn coverage(&self, stream: StreamId, range: WallRange) -> Result<Coverage> {
        if range.is_empty() {
            return Ok(Coverage::default());
        }
        // One snapshot of both tables: between two, a run could end and its gap begin.
        let mut snapshot = self.readers.begin().await.map_err(failed("begin to read coverage"))?;
        let runs: Vec<run::Row> = sqlx::query_as(run::OVERLAPPING)
            .bind(stream)
            .bind(range.start.as_micros())
            .bind(range.end.as_micros())
            .bind(LIMIT)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed("read runs for coverage"))?;
        let gaps: Vec<gap::Row> = sqlx::query_as(gap::OVERLAPPING)
            .bind(stream)
            .bind(range.start.as_micros())
            .bind(range.end.as_micros())
            .bind(LIMIT)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed("read gaps for coverage"))?;
        drop(snapshot);
        let runs = runs.into_iter().map(run::Row::into_run).collect::<Result<Vec<_>>>()?;
        let gaps = gaps.into_iter().map(gap::Row::into_gap).collect::<Result<Vec<_>>>()?;
        Ok(measure(&range, &runs, &gaps))
    }
}

/// Both lists by start.
fn measure(range: &WallRange, runs: &[RunRow], gaps: &[Gap]) -> Coverage {
    let clip = |start: WallTime, end: Option<WallTime>| {
        (start.max(range.start), end.unwrap_or(range.end).min(range.end))
    };
    let mut coverage = Coverage::default();

    // Recorded time as separate stretches, in order.
    let mut recorded: Vec<(WallTime, WallTime)> = Vec::with_capacity(runs.len());
    for run in runs {
        let (start, end) = clip(run.start, run.end);
        match recorded.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ if start < end => recorded.push((start, end)),
            _ => {}
        }
    }
    for &(start, end) in &recorded {
        coverage.recorded += end - start;
    }

    let mut recorded = recorded.into_iter().peekable();
    // Everything before this is counted.
    let mut counted = range.start;
    for gap in gaps {
        let (start, end) = clip(gap.start, gap.end);
        counted = counted.max(start);
        let mut missing = WallSpan::ZERO;
        while counted < end {
            match recorded.peek() {
                Some(&(_, until)) if until <= counted => {
                    recorded.next();
                }
                Some(&(from, until)) if from <= counted => counted = until,
                next => {
                    let until = next.map_or(end, |&(from, _)| from.min(end));
                    missing += until - counted;
                    counted = until;
                }
            }
        }
        if missing > WallSpan::ZERO {
            *coverage.gaps.entry(gap.reason).or_default() += missing;
        }
    }
    coverage
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::RunId, proto::reason::GapReason};
    use proptest::prelude::*;

    const STREAM: StreamId = StreamId(1);

    fn at(us: i64) -> WallTime {
        WallTime::from_micros(us)
    }

    fn run((start, length): (i64, i64)) -> RunRow {
        let end = Some(at(start + length));
        RunRow { id: RunId(start), stream: STREAM, epoch: 0, start: at(start), end }
    }

    fn gap(start: i64, length: i64, reason: GapReason) -> Gap {
        Gap { stream: STREAM, start: at(start), end: Some(at(start + length)), reason }
    }

    #[test]
    fn what_lasts_is_cut_at_the_ranges_end() {
        let lasting = RunRow { end: None, ..run((50, 0)) };
        let gaps = [gap(10, 40, GapReason::Stalled)];
        let coverage = measure(&(at(20)..at(100)), &[lasting], &gaps);
        assert_eq!(coverage.recorded, WallSpan::from_micros(50));
        assert_eq!(coverage.gaps[&GapReason::Stalled], WallSpan::from_micros(30));
    }

    #[test]
    fn a_gap_does_not_count_where_another_epoch_has_footage() {
        let gaps = [gap(0, 100, GapReason::Crash), gap(90, 20, GapReason::Stalled)];
        let coverage = measure(&(at(0)..at(110)), &[run((10, 20)), run((25, 25))], &gaps);
        assert_eq!(coverage.recorded, WallSpan::from_micros(40));
        assert_eq!(coverage.gaps[&GapReason::Crash], WallSpan::from_micros(60));
        assert_eq!(coverage.gaps[&GapReason::Stalled], WallSpan::from_micros(10));
    }

    proptest! {
        /// Against counting microsecond by microsecond.
        #[test]
        fn the_sweep_agrees_with_counting(
            mut runs in prop::collection::vec((0_i64..60, 0_i64..20), 0..8),
            mut gaps in prop::collection::vec((0_i64..60, 1_i64..20), 0..8),
            from in 0_i64..30,
            length in 0_i64..50,
        ) {
            runs.sort_unstable();
            gaps.sort_unstable();
            let (mut recorded, mut missing) = (0, 0);
            for us in from..from + length {
                let inside = |list: &[(i64, i64)]| list.iter().any(|(s, l)| (*s..s + l).contains(&us));
                if inside(&runs) {
                    recorded += 1;
                } else if inside(&gaps) {
                    missing += 1;
                }
            }
            let runs: Vec<_> = runs.into_iter().map(run).collect();
            let gaps: Vec<_> =
                gaps.into_iter().map(|(s, l)| gap(s, l, GapReason::Overload)).collect();
            let coverage = measure(&(at(from)..at(from + length)), &runs, &gaps);
            prop_assert_eq!(coverage.recorded.as_micros(), recorded);
            let sum: i64 = coverage.gaps.values().map(|span| span.as_micros()).sum();
            prop_assert_eq!(sum, missing);
        }
    }
}
