//! Timelines made of segments alone.

use proptest::prelude::*;

use super::*;

const STREAM: StreamId = StreamId(7);

fn at(second: i64) -> WallTime {
    WallTime::from_micros(1_795_341_600_000_000) + WallSpan::from_secs(second)
}

/// A minute of run `run`, `sequence`th in it, from `start` on.
fn piece(run: i64, sequence: u32, start: i64) -> Piece {
    Piece {
        id: SegmentId(run * 1_000 + i64::from(sequence)),
        run: RunId(run),
        epoch: 0,
        sequence,
        start: at(start),
        end: at(start + 60),
        closed: true,
        previous_end: Some(GapReason::Disconnected),
        whole: true,
    }
}

fn about(known: &[Gap]) -> About<'_> {
    static NONE: BTreeSet<WallTime> = BTreeSet::new();
    About {
        stream: STREAM,
        created: at(0),
        after: After::Lasts(None),
        known,
        anew: false,
        away: false,
        unreadable: &NONE,
    }
}

fn gap(start: i64, end: i64, reason: GapReason) -> Gap {
    Gap { stream: STREAM, start: at(start), end: Some(at(end)), reason }
}

fn lasting(start: i64, reason: GapReason) -> Gap {
    Gap { stream: STREAM, start: at(start), end: None, reason }
}

fn run(id: i64, start: i64, end: i64) -> RunRow {
    RunRow { id: RunId(id), stream: STREAM, epoch: 0, start: at(start), end: Some(at(end)) }
}

#[test]
fn segments_of_a_run_make_one_run_and_what_lies_between_runs_has_the_later_ones_reason() {
    let mut first = piece(1, 0, 5);
    first.previous_end = Some(GapReason::Starting);
    let pieces = vec![piece(2, 0, 200), first, piece(1, 1, 65)];
    let line = line(pieces, &about(&[]));
    assert_eq!(line.runs, [run(1, 5, 125), run(2, 200, 260)]);
    let gaps = [
        gap(0, 5, GapReason::Starting),
        gap(125, 200, GapReason::Disconnected),
        lasting(260, GapReason::VedetteDown),
    ];
    assert_eq!(line.gaps, gaps);
    assert_eq!((line.moved, line.ends, line.overlaps, line.doubles), Default::default());
}

#[test]
fn a_missing_number_splits_the_run_where_it_is_missing() {
    let pieces = vec![piece(1, 0, 0), piece(1, 1, 60), piece(1, 3, 180), piece(1, 4, 240)];
    let split = line(pieces.clone(), &about(&[]));
    let new = RunId(1_003);
    assert_eq!(split.runs, [run(1, 0, 120), run(1_003, 180, 300)]);
    assert_eq!(split.moved, [(SegmentId(1_003), new), (SegmentId(1_004), new)]);
    assert_eq!(split.gaps[0], gap(120, 180, GapReason::Deleted));
    let away = line(pieces.clone(), &About { away: true, ..about(&[]) });
    assert_eq!(away.gaps[0], gap(120, 180, GapReason::DiskError), "it may come back");
    let unreadable = BTreeSet::from([at(120)]);
    let damaged = line(pieces, &About { unreadable: &unreadable, ..about(&[]) });
    assert_eq!(damaged.gaps[0], gap(120, 180, GapReason::DiskError));
}

#[test]
fn a_segment_ends_where_the_next_of_its_run_begins_unless_footage_is_missing() {
    let mut short = piece(1, 0, 0);
    short.end = at(60) - WallSpan::from_micros(40_000);
    let joined = line(vec![short.clone(), piece(1, 1, 60)], &about(&[]));
    assert_eq!(joined.ends, [(short.id, at(60))]);
    assert_eq!(joined.runs, [run(1, 0, 120)]);
    short.end = at(50);
    let split = line(vec![short, piece(1, 1, 60)], &about(&[]));
    assert_eq!(split.ends, []);
    assert_eq!(split.runs, [run(1, 0, 50), run(1_001, 60, 120)]);
    assert_eq!(split.gaps[0], gap(50, 60, GapReason::DiskError));
}

#[test]
fn where_the_clock_stepped_back_there_is_no_gap_and_both_runs_stay() {
    let mut later = piece(2, 0, -600);
    later.epoch = 1;
    let line = line(vec![piece(1, 0, 0), later], &About { created: at(-900), ..about(&[]) });
    assert_eq!(
        line.runs.iter().map(|r| (r.epoch, r.start)).collect::<Vec<_>>(),
        [(0, at(0)), (1, at(-600))]
    );
    let gaps = [gap(-900, 0, GapReason::Deleted), lasting(-540, GapReason::VedetteDown)];
    assert_eq!(line.gaps, gaps);
    assert!(line.overlaps.is_empty());
}

#[test]
fn a_run_whose_beginning_is_gone_follows_deleted_footage() {
    let line = line(vec![piece(1, 5, 300)], &about(&[]));
    assert_eq!(line.runs, [run(1, 300, 360)]);
    assert_eq!(line.gaps[0], gap(0, 300, GapReason::Deleted));
}

#[test]
fn what_is_torn_was_followed_by_a_crash_and_what_is_whole_by_a_stop() {
    let mut torn = piece(1, 0, 0);
    torn.whole = false;
    let mut next = piece(2, 0, 100);
    next.previous_end = Some(GapReason::Starting);
    let line = line(vec![torn, next], &about(&[]));
    assert_eq!(line.gaps[0].reason, GapReason::Crash);
    assert_eq!(line.gaps[1].reason, GapReason::VedetteDown);
}

#[test]
fn gaps_that_are_known_keep_their_reasons_around_footage_that_is_put_back() {
    let known = [
        gap(60, 100, GapReason::Unreachable),
        gap(100, 400, GapReason::VedetteDown),
        lasting(460, GapReason::Stalled),
    ];
    let pieces = vec![piece(1, 0, 0), piece(2, 0, 200), piece(3, 0, 400)];
    let line = line(pieces, &about(&known));
    let gaps = [
        gap(60, 100, GapReason::Unreachable),
        // What the recorder said of its own absence was wrong: there is footage in it.
        gap(100, 200, GapReason::Disconnected),
        gap(260, 400, GapReason::Disconnected),
        lasting(460, GapReason::Stalled),
    ];
    assert_eq!(line.gaps, gaps);
}

#[test]
fn footage_that_overlaps_in_one_epoch_and_copies_are_told() {
    let mut copy = piece(1, 0, 0);
    copy.sequence = 9;
    let line = line(vec![piece(1, 0, 0), copy, piece(2, 0, 30)], &about(&[]));
    assert_eq!(line.overlaps, [(SegmentId(1_000), SegmentId(2_000))]);
}

#[test]
fn of_the_time_before_a_camera_was_added_again_nothing_new_is_missing() {
    let known = [gap(60, 90, GapReason::Stalled), gap(150, 170, GapReason::Disabled)];
    let pieces = vec![piece(1, 0, 0), piece(2, 0, 90), piece(3, 0, 600)];
    let line = line(pieces, &About { created: at(500), ..about(&known) });
    let expected = [
        known[0],
        known[1],
        gap(500, 600, GapReason::Disconnected),
        lasting(660, GapReason::VedetteDown),
    ];
    assert_eq!(line.gaps, expected);
}

#[test]
fn what_was_deleted_may_have_begun_with_pictures_from_before_the_stream_was_made() {
    let known = [gap(-1, 60, GapReason::Deleted)];
    let line = line(vec![piece(1, 3, 60)], &about(&known));
    assert_eq!(line.gaps, [known[0], lasting(120, GapReason::VedetteDown)]);
}

#[test]
fn a_stream_without_footage_has_one_gap() {
    assert_eq!(line(Vec::new(), &about(&[])).gaps, [lasting(0, GapReason::Starting)]);
    let hidden = About { after: After::Hidden(at(9)), ..about(&[]) };
    assert_eq!(line(Vec::new(), &hidden).gaps, [gap(0, 9, GapReason::Starting)]);
}

proptest! {
    /// Any runs, any of whose segments are missing.
    #[test]
    fn every_moment_is_in_one_run_or_one_gap_and_doing_it_again_changes_nothing(
        lengths in prop::collection::vec((1_u32..6, 0_i64..300, any::<u64>()), 1..12),
    ) {
        let (mut pieces, mut start) = (Vec::new(), 0);
        for (run, (segments, pause, kept)) in (1..).zip(&lengths) {
            start += pause;
            for sequence in 0..*segments {
                if kept >> sequence & 1 == 1 {
                    pieces.push(piece(run, sequence, start));
                }
                start += 60;
            }
        }
        let line = line(pieces.clone(), &about(&[]));
        let mut marks: Vec<(WallTime, WallTime)> = line.runs.iter()
            .map(|r| (r.start, r.end.unwrap()))
            .chain(line.gaps.iter().map(|g| (g.start, g.end.unwrap_or(at(1_000_000)))))
            .collect();
        marks.sort();
        prop_assert_eq!(marks[0].0, at(0));
        prop_assert_eq!(marks.last().unwrap().1, at(1_000_000));
        for pair in marks.windows(2) {
            prop_assert_eq!(pair[0].1, pair[1].0);
        }
        let moved: BTreeMap<_, _> = line.moved.iter().copied().collect();
        for piece in &mut pieces {
            piece.run = moved.get(&piece.id).copied().unwrap_or(piece.run);
        }
        let again = super::line(pieces, &about(&line.gaps));
        prop_assert_eq!((&again.runs, &again.gaps), (&line.runs, &line.gaps));
        prop_assert!(again.moved.is_empty());
    }
}
