use super::*;
use crate::model::{ClosedSegment, KeyFrame, Segment, TrackTotals};

fn closed(id: i64, end: WallTime, bytes: u64) -> ClosedSegment {
    ClosedSegment { id: SegmentId(id), end, bytes, damaged: 2, tracks: vec![], keys: vec![] }
}

/// Segments of a minute from ten o'clock, numbered from 0; the last stays open.
async fn minutes(fixture: &Fixture, stream: StreamId, count: i64) {
    let run = fixture.run(stream, 1, TEN).await;
    for n in 0..count {
        fixture.store.open_segment(segment(stream, run, n, after(n * 60))).await.unwrap();
        if n + 1 < count {
            fixture.store.close_segment(closed(n, after(n * 60 + 60), 100)).await.unwrap();
        }
    }
}

async fn ids(fixture: &Fixture, stream: StreamId, from: i64, to: i64) -> Vec<i64> {
    let range = after(from)..after(to);
    let found = fixture.store.segments_overlapping(stream, range, None, 100).await.unwrap();
    found.into_iter().map(|s| s.opened.id.0).collect()
}

#[tokio::test]
async fn a_segment_comes_back_as_it_was_opened_and_closed() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let run = fixture.run(stream, 1, TEN).await;
    let opened = segment(stream, run, 5, TEN);
    store.open_segment(opened.clone()).await.unwrap();
    let open = store.open_segments().await.unwrap();
    let row = Segment { opened, end: TEN, bytes: 0, damaged: 0, closed: false };
    assert_eq!(open, std::slice::from_ref(&row));

    let totals = TrackTotals {
        samples: 1_500,
        sync_samples: 30,
        bytes: 30_000_000,
        duration: MediaTime::from_ticks(5_400_000),
        stts_runs: 3,
        ctts_runs: 0,
    };
    let keys = vec![
        KeyFrame { at: WallSpan::ZERO, offset: 1_234 },
        KeyFrame { at: WallSpan::from_secs(2), offset: 1_000_000 },
    ];
    let close = ClosedSegment {
        tracks: vec![totals, TrackTotals::default()],
        keys: keys.clone(),
        ..closed(5, after(60), 31_000_000)
    };
    store.close_segment(close.clone()).await.unwrap();
    store.close_segment(close).await.unwrap();
    assert_eq!(store.open_segments().await.unwrap(), []);
    let found = store.segment_at_or_after(stream, after(1)).await.unwrap().unwrap();
    let (end, bytes) = (after(60), 31_000_000);
    assert_eq!(found, Segment { end, bytes, damaged: 2, closed: true, ..row });
    assert_eq!(store.key_frames(SegmentId(5)).await.unwrap(), keys);
    assert_eq!(store.track_totals(SegmentId(5)).await.unwrap(), [totals, TrackTotals::default()]);
    assert_eq!(store.key_frames(SegmentId(404)).await.unwrap(), []);
    assert_eq!(store.usage().await.unwrap()[&stream], (31_000_000, TEN));

    let unknown = store.close_segment(closed(404, TEN, 1)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_range_holds_what_overlaps_it_and_not_what_touches_it() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    minutes(&fixture, stream, 4).await;
    assert_eq!(ids(&fixture, stream, 60, 120).await, [1]);
    assert_eq!(ids(&fixture, stream, 59, 121).await, [0, 1, 2]);
    assert_eq!(ids(&fixture, stream, 30, 31).await, [0]);
    assert_eq!(ids(&fixture, stream, -60, 0).await, [0; 0]);
    assert_eq!(ids(&fixture, stream, 1_000, 2_000).await, [3], "an open one lasts");
    assert_eq!(ids(&fixture, stream, 90, 90).await, [0; 0], "an empty range holds nothing");
    assert_eq!(ids(&fixture, StreamId(404), 0, 1_000).await, [0; 0]);
}

#[tokio::test]
async fn pages_by_cursor_show_each_segment_once() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    minutes(&fixture, stream, 8).await;
    // Another epoch's segment with the same start as number 3.
    fixture.store.open_segment(segment(stream, RunId(1), 100, after(180))).await.unwrap();
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = fixture
            .store
            .segments_overlapping(stream, after(30)..after(1_000), cursor, 2)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some((last.opened.start, last.opened.id));
        assert!(page.len() <= 2);
        seen.extend(page.iter().map(|s| s.opened.id.0));
    }
    assert_eq!(seen, [0, 1, 2, 3, 100, 4, 5, 6, 7]);
}

#[tokio::test]
async fn an_instant_finds_its_segment_or_the_next_or_the_one_before() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let run = fixture.run(stream, 1, TEN).await;
    // 0–60 and 120–180.
    for (id, start) in [(1, 0), (2, 120)] {
        store.open_segment(segment(stream, run, id, after(start))).await.unwrap();
        store.close_segment(closed(id, after(start + 60), 1)).await.unwrap();
    }
    let at = |s| async move {
        store.segment_at_or_after(stream, after(s)).await.unwrap().map(|s| s.opened.id.0)
    };
    assert_eq!(at(-5).await, Some(1));
    assert_eq!(at(0).await, Some(1));
    assert_eq!(at(59).await, Some(1));
    assert_eq!(at(60).await, Some(2), "the end is not in it");
    assert_eq!(at(179).await, Some(2));
    assert_eq!(at(180).await, None);

    let before = |s| async move {
        store.segment_before(stream, after(s)).await.unwrap().map(|s| s.opened.id.0)
    };
    assert_eq!(before(0).await, None);
    assert_eq!(before(120).await, Some(1));
    assert_eq!(before(121).await, Some(2));
}

#[tokio::test]
async fn where_epochs_overlap_the_newer_is_found() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let run = fixture.run(stream, 1, TEN).await;
    for (id, epoch, start) in [(1, 0, 0), (2, 1, -20), (3, 0, 30)] {
        let new = NewSegment { epoch, ..segment(stream, run, id, after(start)) };
        store.open_segment(new).await.unwrap();
        store.close_segment(closed(id, after(start + 60), 1)).await.unwrap();
    }
    let found = store.segment_at_or_after(stream, after(35)).await.unwrap().unwrap();
    assert_eq!(found.opened.id, SegmentId(2));
}

#[tokio::test]
async fn an_impossible_length_is_cut_so_that_range_queries_still_find_it() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let run = fixture.run(stream, 1, TEN).await;
    for (id, end) in [(1, after(-10)), (2, TEN + MAX_SEGMENT + MAX_SEGMENT)] {
        store.open_segment(segment(stream, run, id, TEN)).await.unwrap();
        store.close_segment(closed(id, end, 1)).await.unwrap();
    }
    let last = TEN + MAX_SEGMENT - WallSpan::from_micros(1);
    let all = store.segments_overlapping(stream, last..last + MAX_SEGMENT, None, 9).await.unwrap();
    let found: Vec<_> = all.iter().map(|s| (s.opened.id.0, s.end)).collect();
    assert_eq!(found, [(2, TEN + MAX_SEGMENT)]);
    let first = store.segment_before(stream, after(1)).await.unwrap().unwrap();
    assert_eq!(first.opened.id, SegmentId(2));
}

#[tokio::test]
async fn usage_follows_segments_as_they_close_and_go() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    minutes(&fixture, stream, 4).await;
    assert_eq!(store.usage().await.unwrap()[&stream], (300, TEN));
    store.delete_segment(SegmentId(0)).await.unwrap();
    store.delete_segment(SegmentId(3)).await.unwrap();
    store.delete_segment(SegmentId(404)).await.unwrap();
    assert_eq!(store.usage().await.unwrap()[&stream], (200, after(60)));
    store.close_segment(closed(1, after(120), 150)).await.unwrap();
    assert_eq!(store.usage().await.unwrap()[&stream], (250, after(60)));
    assert_eq!(ids(&fixture, stream, 0, 1_000).await, [1, 2]);
}

/// Commits in the WAL file: frames that say how large the database is after them
/// (sqlite.org/fileformat2.html#walformat).
fn commits(fixture: &Fixture) -> usize {
    let wal = std::fs::read(fixture.path().with_extension("db-wal")).unwrap();
    let frames = wal[32..].chunks_exact(24 + 4_096);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn writes_that_queue_up_share_a_commit() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    let run = fixture.run(stream, 1, TEN).await;
    let before = commits(&fixture);
    let opened = futures_util::future::join_all(
        (0..200).map(|n| fixture.store.open_segment(segment(stream, run, n, after(n)))),
    )
    .await;
    assert!(opened.iter().all(Result::is_ok));
    let shared = commits(&fixture) - before;
    assert!((1..=5).contains(&shared), "{shared} commits for 200 writes");
    assert_eq!(fixture.store.open_segments().await.unwrap().len(), 200);
}
