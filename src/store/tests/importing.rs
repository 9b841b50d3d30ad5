use super::{
    deleting::{closed, record},
    *,
};
use crate::{
    model::{Gap, Import, WholeSegment},
    proto::reason::GapReason,
};

fn whole(stream: StreamId, run: i64, id: i64, start: i64) -> WholeSegment {
    WholeSegment {
        opened: segment(stream, RunId(run), id, after(start)),
        closed: closed(id, start + 10),
    }
}

fn run(stream: StreamId, id: i64, start: i64, end: i64) -> RunRow {
    RunRow { id: RunId(id), stream, epoch: 0, start: after(start), end: Some(after(end)) }
}

fn gap(stream: StreamId, start: i64, end: Option<i64>, reason: GapReason) -> Gap {
    Gap { stream, start: after(start), end: end.map(after), reason }
}

#[tokio::test]
async fn rows_made_from_files_come_in_once_however_often_they_are_asked_for() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let rows = Import {
        runs: vec![run(stream, 1, 0, 20), run(stream, 2, 30, 40)],
        segments: vec![
            whole(stream, 1, 1, 0),
            whole(stream, 1, 2, 10),
            whole(stream, 2, 3, 30),
            whole(StreamId(404), 9, 4, 0),
        ],
        gaps: vec![
            gap(stream, 20, Some(30), GapReason::Stalled),
            gap(stream, 40, None, GapReason::Crash),
        ],
    };
    let first = store.import(rows.clone()).await.unwrap();
    assert_eq!((first.segments, first.known), (3, 0));
    assert_eq!(first.strangers, [SegmentId(4)]);
    let second = store.import(rows).await.unwrap();
    assert_eq!((second.segments, second.known), (0, 3));
    assert_eq!(store.runs(stream).await.unwrap().len(), 2);
    let gaps = store.gaps_overlapping(stream, TEN..after(99), 9).await.unwrap();
    assert_eq!(gaps.len(), 2);
    assert_eq!(store.track_totals(SegmentId(3)).await.unwrap().len(), 1);
    assert_eq!(store.volume_use().await.unwrap()[0].segments, 3);
    // The same run seen again, longer: as when its files are read in two goes.
    let longer = Import {
        runs: vec![run(stream, 2, 25, 60)],
        segments: vec![whole(stream, 5, 6, 70)],
        gaps: vec![],
    };
    store.import(longer).await.unwrap();
    let runs = store.runs(stream).await.unwrap();
    let spans: Vec<_> = runs.iter().map(|r| (r.id.0, r.start, r.end)).collect();
    let span = |id, from, to| (id, after(from), Some(after(to)));
    assert_eq!(spans, [span(1, 0, 20), span(2, 25, 60), span(5, 70, 80)], "5 was not said");
}

#[tokio::test]
async fn deleted_footage_whose_file_is_still_there_does_not_come_back() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 3]).await;
    store.delete_segments(&[SegmentId(1)]).await.unwrap();
    let import = Import { segments: vec![whole(stream, 1, 1, 0)], ..Import::default() };
    assert_eq!(store.import(import).await.unwrap().doomed, [SegmentId(1)]);
    let adopted = store.adopt_segments(vec![whole(stream, 1, 1, 0)]).await.unwrap();
    assert_eq!((adopted.segments, adopted.doomed), (0, vec![SegmentId(1)]));
    assert_eq!(store.runs(stream).await.unwrap()[0].start, after(10));
}

#[tokio::test]
async fn an_adopted_segment_joins_its_run_or_gets_its_own_and_gaps_make_room() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    // Run 1 lost its rows from 20 on: then a gap of another reason was noted, which lasts.
    record(&fixture, stream, 1, 1, 0, &[10; 2]).await;
    store.open_gap(gap(stream, 20, None, GapReason::DiskError)).await.unwrap();
    let mut later = whole(stream, 1, 3, 20);
    later.opened.start = later.opened.start + WallSpan::from_micros(5_000);
    // 4 and 5 of the same run lie behind a hole; 6 is of a run that nobody knows.
    let found =
        vec![whole(stream, 1, 5, 60), whole(stream, 1, 4, 50), later, whole(stream, 77, 6, 80)];
    let adopted = store.adopt_segments(found).await.unwrap();
    assert_eq!((adopted.segments, adopted.new_runs.len()), (4, 1));
    let runs = store.runs(stream).await.unwrap();
    let spans: Vec<_> = runs.iter().map(|r| (r.id, r.start, r.end)).collect();
    let span = |id, from, to| (id, after(from), Some(after(to)));
    let own = adopted.new_runs[0];
    assert_eq!(spans, [span(RunId(1), 0, 30), span(own, 50, 70), span(RunId(77), 80, 90)]);
    let gaps = store.gaps_overlapping(stream, TEN..after(999), 9).await.unwrap();
    let reason = GapReason::DiskError;
    assert_eq!(
        gaps,
        [
            gap(stream, 30, Some(50), reason),
            gap(stream, 70, Some(80), reason),
            gap(stream, 90, None, reason)
        ]
    );
    let lasting = store.open_gap_of(stream).await.unwrap();
    assert_eq!(lasting, Some(gap(stream, 90, None, reason)));
}

#[tokio::test]
async fn a_file_that_lost_its_end_does_not_join_what_comes_after_half_a_second() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let mut short = whole(stream, 1, 1, 0);
    short.closed.end = after(10) - WallSpan::from_micros(500_000);
    record(&fixture, stream, 1, 2, 10, &[10]).await;
    let adopted = store.adopt_segments(vec![short.clone()]).await.unwrap();
    let runs = store.runs(stream).await.unwrap();
    let spans: Vec<_> = runs.iter().map(|r| (r.id, r.start, r.end)).collect();
    let own = adopted.new_runs[0];
    let second = (RunId(1), after(10), Some(after(20)));
    assert_eq!(spans, [(own, TEN, Some(short.closed.end)), second]);
}

#[tokio::test]
async fn a_run_is_cut_where_a_file_that_was_found_within_it_ends_early() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 3]).await;
    // Its row was refused, and the run went on without it.
    store.delete_segment(SegmentId(2)).await.unwrap();
    let mut short = whole(stream, 1, 2, 10);
    short.closed.end = after(15);
    store.adopt_segments(vec![short]).await.unwrap();
    let runs = store.runs(stream).await.unwrap();
    let spans: Vec<_> = runs.iter().map(|r| (r.start, r.end)).collect();
    assert_eq!(spans, [(TEN, Some(after(15))), (after(20), Some(after(30)))]);
    let gaps = store.gaps_overlapping(stream, TEN..after(999), 9).await.unwrap();
    assert_eq!(gaps, [gap(stream, 15, Some(20), GapReason::Crash)]);
}

#[tokio::test]
async fn a_segment_found_within_a_run_that_lasts_changes_no_time() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let lasting = fixture.run(stream, 1, TEN).await;
    let adopted = store.adopt_segments(vec![whole(stream, 1, 2, 10)]).await.unwrap();
    assert_eq!((adopted.segments, adopted.new_runs), (1, vec![]));
    assert_eq!(store.open_runs().await.unwrap()[0].id, lasting);
    assert_eq!(store.runs(stream).await.unwrap()[0].start, TEN);
}

#[tokio::test]
async fn the_newest_run_is_of_the_newest_epoch_whatever_the_clock_said() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    assert_eq!(store.newest_run(stream).await.unwrap(), None);
    assert_eq!(store.newest_footage().await.unwrap(), None);
    record(&fixture, stream, 1, 1, 500, &[10]).await;
    let back = RunRow { epoch: 1, end: None, ..run(stream, 2, 100, 0) };
    store.open_run(back.clone()).await.unwrap();
    assert_eq!(store.newest_run(stream).await.unwrap(), Some(back));
    assert_eq!(store.newest_footage().await.unwrap(), Some(after(510)));
}

#[tokio::test]
async fn volumes_are_known_by_their_markers_and_what_is_on_them() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 2]).await;
    store.set_volume_marker("/footage", "abc").await.unwrap();
    store.set_volume_marker("/new", "def").await.unwrap();
    let known = store.known_volumes().await.unwrap();
    let rows = known.iter().map(|v| (v.path.as_str(), v.marker.as_deref(), v.segments));
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows, [("/footage", Some("abc"), 2), ("/new", Some("def"), 0)]);
    assert_eq!(known[0].bytes, 203);
}
