//! Deleting, against a model that is too simple to be wrong: a list of segments.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    id::LockId,
    model::{ClosedSegment, Gap, Lock, PendingUnlink, WholeSegment},
    proto::reason::GapReason,
};

pub(super) fn lock(id: i64, camera: CameraId, from: i64, to: i64) -> Lock {
    Lock {
        id: LockId(id),
        camera,
        start: after(from),
        end: after(to),
        note: "evidence".into(),
        created: TEN,
        created_by: "admin".into(),
    }
}

/// A run of segments that follow one another, each of so many seconds; ids from `first` on.
pub(super) async fn record(
    fixture: &Fixture,
    stream: StreamId,
    run: i64,
    first: i64,
    start: i64,
    lengths: &[i64],
) -> i64 {
    let run = fixture.run(stream, run, after(start)).await;
    let mut at = start;
    for (id, length) in (first..).zip(lengths) {
        fixture.store.open_segment(segment(stream, run, id, after(at))).await.unwrap();
        at += length;
        fixture.store.close_segment(closed(id, at)).await.unwrap();
    }
    fixture.store.close_run(run, after(at)).await.unwrap();
    at
}

pub(super) fn closed(id: i64, end: i64) -> ClosedSegment {
    let tracks = vec![Default::default()];
    ClosedSegment {
        id: SegmentId(id),
        end: after(end),
        bytes: bytes_of(id),
        damaged: 0,
        tracks,
        keys: vec![],
    }
}

fn bytes_of(id: i64) -> u64 {
    100 + id.unsigned_abs()
}

fn ids(ids: &[i64]) -> Vec<SegmentId> {
    ids.iter().copied().map(SegmentId).collect()
}

async fn runs(fixture: &Fixture, stream: StreamId) -> Vec<(i64, i64)> {
    let seconds = |at: WallTime| (at - TEN).as_micros() / 1_000_000;
    let runs = fixture.store.runs(stream).await.unwrap();
    runs.iter().map(|run| (seconds(run.start), run.end.map_or(-1, seconds))).collect()
}

async fn gaps(fixture: &Fixture, stream: StreamId) -> Vec<(i64, i64, GapReason)> {
    let seconds = |at: WallTime| (at - TEN).as_micros() / 1_000_000;
    let gaps = fixture.store.gaps_overlapping(stream, after(-999)..after(9_999), 99).await.unwrap();
    gaps.iter().map(|g| (seconds(g.start), g.end.map_or(-1, seconds), g.reason)).collect()
}

#[tokio::test]
async fn a_run_shrinks_from_its_beginning_and_the_rest_is_one_deleted_gap() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 5]).await;
    for step in [&[1][..], &[2, 3]] {
        let done = fixture.store.delete_segments(&ids(step)).await.unwrap();
        assert_eq!(done.deleted, ids(step));
    }
    assert_eq!(runs(&fixture, stream).await, [(30, 50)]);
    assert_eq!(gaps(&fixture, stream).await, [(0, 30, GapReason::Deleted)]);
    let files = fixture.store.pending_unlinks(None, 9).await.unwrap();
    let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["door/main/1.mp4", "door/main/2.mp4", "door/main/3.mp4"]);
    assert_eq!((files[0].bytes, files[0].segment), (101, SegmentId(1)));

    let done = fixture.store.delete_segments(&ids(&[5, 4, 404])).await.unwrap();
    assert_eq!((done.deleted, done.bytes), (ids(&[4, 5]), 209));
    assert_eq!(runs(&fixture, stream).await, []);
    assert_eq!(gaps(&fixture, stream).await, [(0, 50, GapReason::Deleted)]);
    assert_eq!(fixture.store.volume_use().await.unwrap(), []);
}

#[tokio::test]
async fn an_island_before_a_hole_is_a_run_of_its_own_with_its_segments() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 5]).await;
    store.delete_segments(&ids(&[3])).await.unwrap();
    assert_eq!(runs(&fixture, stream).await, [(0, 20), (30, 50)]);
    let all = store.segments_overlapping(stream, TEN..after(99), None, 9).await.unwrap();
    let of: Vec<_> = all.iter().map(|s| (s.opened.id.0, s.opened.run)).collect();
    let island = of[0].1;
    assert_ne!(island, RunId(1));
    assert_eq!(of, [(1, island), (2, island), (4, RunId(1)), (5, RunId(1))]);
    store.delete_segments(&ids(&[5])).await.unwrap();
    assert_eq!(runs(&fixture, stream).await, [(0, 20), (30, 40)]);
    // What it took out of the middle is found by the ranges.
    let of_hole = store.runs_overlapping(stream, after(20)..after(30), 9).await.unwrap();
    assert_eq!(of_hole, []);
}

#[tokio::test]
async fn a_run_being_recorded_keeps_its_id_and_goes_on() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let run = fixture.run(stream, 1, TEN).await;
    for (id, start) in [(1, 0), (2, 10), (3, 20), (4, 30)] {
        store.open_segment(segment(stream, run, id, after(start))).await.unwrap();
        if id < 4 {
            store.close_segment(closed(id, start + 10)).await.unwrap();
        }
    }
    let done = store.delete_segments(&ids(&[4, 2])).await.unwrap();
    assert_eq!((done.deleted, done.open), (ids(&[2]), ids(&[4])));
    assert_eq!(runs(&fixture, stream).await, [(0, 10), (20, -1)]);
    assert_eq!(store.open_runs().await.unwrap()[0].id, run);
    // Everything closed goes: what the recorder says next joins the end.
    store.close_segment(closed(4, 40)).await.unwrap();
    store.delete_segments(&ids(&[1, 3, 4])).await.unwrap();
    assert_eq!(runs(&fixture, stream).await, [(40, -1)]);
    assert_eq!(gaps(&fixture, stream).await, [(0, 40, GapReason::Deleted)]);
    store.open_segment(segment(stream, run, 5, after(40))).await.unwrap();
    store.close_run(run, after(50)).await.unwrap();
    assert_eq!(runs(&fixture, stream).await, [(40, 50)]);
}

#[tokio::test]
async fn nothing_that_a_lock_touches_is_deleted_until_the_lock_goes() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let door = store.insert_camera(camera("door", &[Role::Main, Role::Sub])).await.unwrap();
    let (main, sub) = (door.streams[0].id, door.streams[1].id);
    record(&fixture, main, 1, 1, 0, &[10; 4]).await;
    record(&fixture, sub, 2, 11, 0, &[10; 4]).await;
    store.insert_lock(lock(7, door.id, 15, 20)).await.unwrap();
    let mut done = store.delete_segments(&ids(&[1, 2, 3, 11, 12, 13])).await.unwrap();
    done.locked.sort();
    done.deleted.sort();
    assert_eq!(done.locked, ids(&[2, 12]), "both streams");
    assert_eq!(done.deleted, ids(&[1, 3, 11, 13]));
    assert_eq!(runs(&fixture, main).await, [(10, 20), (30, 40)]);
    let gone = store.delete_camera(door.id, false).await;
    assert!(matches!(gone, Err(StoreError::Locked(LockId(7)))), "{gone:?}");
    assert_eq!(store.locked_bytes().await.unwrap(), BTreeMap::from([(main, 102), (sub, 112)]));

    assert_eq!(store.delete_lock(LockId(7)).await.unwrap(), Some(lock(7, door.id, 15, 20)));
    let done = store.delete_segments(&ids(&[2])).await.unwrap();
    assert_eq!(done.deleted, ids(&[2]));
    assert_eq!(gaps(&fixture, main).await, [(0, 30, GapReason::Deleted)]);
}

#[tokio::test]
async fn footage_whose_files_are_lost_is_a_gap_with_its_reason_and_comes_back_if_they_do() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let end = record(&fixture, stream, 1, 1, 0, &[10; 5]).await;
    let door = store.camera_by_slug(&slug("door")).await.unwrap().unwrap();
    store.insert_lock(lock(1, door.id, 0, 99)).await.unwrap();
    let lost = store.forget_segments(&ids(&[2, 3]), GapReason::DiskError).await.unwrap();
    assert_eq!(lost.deleted, ids(&[2, 3]), "a lock does not bring it back");
    assert_eq!(gaps(&fixture, stream).await, [(10, 30, GapReason::DiskError)]);
    assert_eq!(store.pending_unlinks(None, 9).await.unwrap(), []);

    let whole = |id: i64, start| WholeSegment {
        opened: segment(stream, RunId(1), id, after(start)),
        closed: closed(id, start + 10),
    };
    let adopted = store.adopt_segments(vec![whole(3, 20), whole(2, 10)]).await.unwrap();
    assert_eq!(adopted.segments, 2);
    assert_eq!(gaps(&fixture, stream).await, []);
    let coverage = store.coverage(stream, TEN..after(end)).await.unwrap();
    assert_eq!(coverage.recorded, WallSpan::from_secs(end));
}

#[tokio::test]
async fn a_new_file_under_the_name_of_one_to_be_unlinked_is_not_unlinked() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10]).await;
    store.delete_segments(&ids(&[1])).await.unwrap();
    assert!(store.is_doomed("/footage", "door/main/1.mp4").await.unwrap());
    assert!(!store.is_doomed("/footage", "door/main/2.mp4").await.unwrap());
    let run = fixture.run(stream, 2, after(50)).await;
    let path = "door/main/1.mp4".to_owned();
    let new = NewSegment { path, ..segment(stream, run, 9, after(50)) };
    store.open_segment(new).await.unwrap();
    assert_eq!(store.pending_unlinks(None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_unlinked_is_forgotten_and_its_number_never_used_again() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 3]).await;
    let mut wake = store.watch_unlinks();
    store.delete_segments(&ids(&[1, 2])).await.unwrap();
    assert!(wake.has_changed().unwrap());
    wake.mark_unchanged();
    let files = store.pending_unlinks(None, 1).await.unwrap();
    let next = store.pending_unlinks(Some(files[0].id), 9).await.unwrap();
    assert_eq!((files.len(), next.len()), (1, 1));
    assert_eq!(store.unlinks_waiting().await.unwrap(), (2, 203));
    let all: Vec<_> = files.iter().chain(&next).map(|file| file.id).collect();
    store.unlinked(&all).await.unwrap();
    assert_eq!(store.unlinks_waiting().await.unwrap(), (0, 0));
    store.delete_segments(&ids(&[3])).await.unwrap();
    let last = store.pending_unlinks(None, 9).await.unwrap();
    assert!(last[0].id > next[0].id);

    let stray = |segment, path: &str| PendingUnlink {
        id: 0,
        segment: SegmentId(segment),
        volume: "/elsewhere".into(),
        path: path.into(),
        bytes: 5,
    };
    record(&fixture, stream, 2, 7, 100, &[10]).await;
    store.unlink_files(vec![stray(99, "a"), stray(99, "a"), stray(7, "b")]).await.unwrap();
    let files = store.pending_unlinks(Some(last[0].id), 9).await.unwrap();
    assert_eq!(files.len(), 1, "not twice, and not one that has a row: {files:?}");
}

#[tokio::test]
async fn a_camera_whose_deletion_was_cut_short_is_gone_at_the_next_opening() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let door = store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
    record(&fixture, door.streams[0].id, 1, 1, 0, &[10; 3]).await;
    let (id, now) = (door.id, TEN);
    let mark = store
        .writer
        .write("mark", move |db| Box::pin(async move { doom::mark(db, id, now).await }));
    mark.await.unwrap();
    // As after a kill: it is in no list, and its name is free, though its footage is still there.
    assert_eq!(store.cameras().await.unwrap(), []);
    assert_eq!(store.footage_streams().await.unwrap(), []);
    assert_eq!(store.state().await.unwrap().cameras, []);
    let locked = store.insert_lock(lock(1, door.id, 0, 9)).await;
    assert!(matches!(locked, Err(StoreError::NotFound("camera"))), "{locked:?}");
    let new = store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
    assert_ne!(new.id, door.id);
    store.close().await;

    let again =
        Store::open(&fixture.path(), fixture.clock.clone(), fixture.sealer.clone()).await.unwrap();
    let mut wake = again.watch_unlinks();
    while again.unlinks_waiting().await.unwrap().0 < 3 {
        wake.changed().await.unwrap();
    }
    // The last step takes out the camera itself.
    loop {
        let cameras: i64 = sqlx::query_scalar("select count(*) from camera")
            .fetch_one(&again.readers)
            .await
            .unwrap();
        if cameras == 1 {
            break;
        }
        wake.changed().await.unwrap();
    }
    assert_eq!(again.cameras().await.unwrap(), [new]);
}

#[tokio::test]
async fn old_gaps_become_one_at_the_beginning_and_those_between_footage_stay() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let gap = |from, to, reason| Gap { stream, start: after(from), end: Some(after(to)), reason };
    store.open_gap(gap(0, 10, GapReason::Starting)).await.unwrap();
    for (id, start) in (1..).zip((10..70).step_by(20)) {
        record(&fixture, stream, id, id, start, &[10]).await;
        let reason = GapReason::Unreachable;
        store.open_gap(gap(start + 10, start + 20, reason)).await.unwrap();
    }
    assert_eq!(store.prune_gaps(after(45)).await.unwrap(), 0, "footage is older");
    store.delete_segments(&ids(&[1])).await.unwrap();
    // starting 0-10, deleted 10-20, unreachable 20-30; then footage.
    assert_eq!(store.prune_gaps(after(25)).await.unwrap(), 1);
    let deleted = GapReason::Deleted;
    assert_eq!(gaps(&fixture, stream).await[0], (0, 20, deleted));
    assert_eq!(store.prune_gaps(after(999)).await.unwrap(), 1);
    let unreachable = GapReason::Unreachable;
    assert_eq!(
        gaps(&fixture, stream).await,
        [(0, 30, deleted), (40, 50, unreachable), (60, 70, unreachable)]
    );
    store.delete_segments(&ids(&[2, 3])).await.unwrap();
    assert_eq!(store.prune_gaps(after(69)).await.unwrap(), 2);
    let one = [(0, 60, deleted), (60, 70, unreachable)];
    assert_eq!(gaps(&fixture, stream).await, one, "the last one is too young");
}

/// What may happen to a timeline.
#[derive(Clone, Debug)]
enum Step {
    /// A run of segments of these lengths.
    Record(Vec<i64>),
    /// Time passes without footage.
    Lose(i64, GapReason),
    /// The clock steps back by at most so much.
    TurnBack(i64),
    Lock(i64, i64),
    Unlock(prop::sample::Index),
    /// Any segments, in any order.
    Delete(Vec<prop::sample::Index>),
    /// What retention does.
    DeleteOldest(usize),
    /// Its file is lost.
    Forget(prop::sample::Index),
    /// Files that were lost are found.
    Adopt,
    Prune(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let reason = prop::sample::select(&[GapReason::Crash, GapReason::Stalled][..]);
    prop_oneof![
        4 => prop::collection::vec(1_i64..6, 1..6).prop_map(Step::Record),
        2 => (1_i64..9, reason).prop_map(|(length, reason)| Step::Lose(length, reason)),
        1 => (1_i64..20).prop_map(Step::TurnBack),
        1 => (0_i64..60, 1_i64..9).prop_map(|(from, length)| Step::Lock(from, length)),
        1 => index().prop_map(Step::Unlock),
        4 => prop::collection::vec(index(), 1..6).prop_map(Step::Delete),
        2 => (1_usize..6).prop_map(Step::DeleteOldest),
        2 => index().prop_map(Step::Forget),
        1 => Just(Step::Adopt),
        1 => (0_i64..60).prop_map(Step::Prune),
    ]
}

#[derive(Clone, Debug)]
struct Model {
    camera: CameraId,
    stream: StreamId,
    now: i64,
    /// The latest that it ever was.
    high: i64,
    epoch: u32,
    next: i64,
    /// (id, start, end, epoch) of what is there.
    segments: Vec<(i64, i64, i64, u32)>,
    lost: Vec<WholeSegment>,
    locks: Vec<Lock>,
    unlinked: BTreeSet<i64>,
}

impl Model {
    fn locked(&self, start: i64, end: i64) -> bool {
        self.locks.iter().any(|l| l.start < after(end) && l.end > after(start))
    }

    async fn delete(&mut self, fixture: &Fixture, asked: &[i64]) {
        let asked: BTreeSet<_> = asked.iter().copied().collect();
        let order: Vec<_> = asked.iter().rev().copied().collect();
        let done = fixture.store.delete_segments(&ids(&order)).await.unwrap();
        let (mut deleted, mut locked) = (BTreeSet::new(), BTreeSet::new());
        for &(id, start, end, _) in self.segments.iter().filter(|s| asked.contains(&s.0)) {
            if self.locked(start, end) {
                locked.insert(id)
            } else {
                deleted.insert(id)
            };
        }
        let set = |ids: Vec<SegmentId>| ids.into_iter().map(|id| id.0).collect::<BTreeSet<_>>();
        assert_eq!(set(done.deleted), deleted);
        assert_eq!(set(done.locked), locked);
        self.segments.retain(|s| !deleted.contains(&s.0));
        self.unlinked.extend(deleted);
    }

    async fn apply(&mut self, fixture: &Fixture, step: Step) {
        let store = &fixture.store;
        match step {
            Step::Record(lengths) => {
                let run = RunRow {
                    id: RunId(self.next),
                    stream: self.stream,
                    epoch: self.epoch,
                    start: after(self.now),
                    end: None,
                };
                store.open_run(run.clone()).await.unwrap();
                for length in lengths {
                    let (id, start) = (self.next, self.now);
                    let new = segment(self.stream, run.id, id, after(start));
                    let new = NewSegment { epoch: self.epoch, ..new };
                    store.open_segment(new).await.unwrap();
                    self.now += length;
                    store.close_segment(closed(id, self.now)).await.unwrap();
                    self.segments.push((id, start, self.now, self.epoch));
                    self.next += 1;
                }
                store.close_run(run.id, after(self.now)).await.unwrap();
            }
            Step::Lose(length, reason) => {
                let start = after(self.now);
                self.now += length;
                let end = Some(after(self.now));
                store.open_gap(Gap { stream: self.stream, start, end, reason }).await.unwrap();
            }
            Step::TurnBack(by) => {
                self.now = (self.now - by).max(0);
                self.epoch += 1;
            }
            Step::Lock(from, length) => {
                let lock = lock(self.next, self.camera, from, from + length);
                self.next += 1;
                store.insert_lock(lock.clone()).await.unwrap();
                self.locks.push(lock);
            }
            Step::Unlock(index) if !self.locks.is_empty() => {
                let lock = self.locks.swap_remove(index.index(self.locks.len()));
                assert_eq!(store.delete_lock(lock.id).await.unwrap(), Some(lock));
            }
            Step::Delete(indexes) if !self.segments.is_empty() => {
                let pick =
                    |index: &prop::sample::Index| self.segments[index.index(self.segments.len())].0;
                let asked: Vec<_> = indexes.iter().map(pick).collect();
                self.delete(fixture, &asked).await;
            }
            Step::DeleteOldest(count) => {
                let oldest = store.oldest_segments(self.stream, None, count as u32).await.unwrap();
                let mut expected = self.segments.clone();
                expected.sort_by_key(|&(id, start, _, epoch)| (epoch, start, id));
                expected.truncate(count);
                let found: Vec<_> = oldest.iter().map(|c| (c.id().0, c.locked, c.bytes)).collect();
                let expected: Vec<_> = expected
                    .iter()
                    .map(|&(id, start, end, _)| (id, self.locked(start, end), bytes_of(id)))
                    .collect();
                assert_eq!(found, expected);
                let asked: Vec<_> = oldest.iter().map(|c| c.id().0).collect();
                self.delete(fixture, &asked).await;
            }
            Step::Forget(index) if !self.segments.is_empty() => {
                let (id, ..) = self.segments.swap_remove(index.index(self.segments.len()));
                let all = store
                    .segments_overlapping(self.stream, after(0)..after(9_999), None, 999)
                    .await
                    .unwrap();
                let row = all.into_iter().find(|s| s.opened.id.0 == id).unwrap();
                let end = (row.end - TEN).as_micros() / 1_000_000;
                self.lost.push(WholeSegment { opened: row.opened, closed: closed(id, end) });
                store.forget_segments(&[SegmentId(id)], GapReason::DiskError).await.unwrap();
            }
            Step::Adopt => {
                let found = std::mem::take(&mut self.lost);
                for whole in &found {
                    let seconds = |at: WallTime| (at - TEN).as_micros() / 1_000_000;
                    let (start, end) = (seconds(whole.opened.start), seconds(whole.closed.end));
                    self.segments.push((whole.opened.id.0, start, end, whole.opened.epoch));
                }
                let adopted = store.adopt_segments(found.clone()).await.unwrap();
                assert_eq!(adopted.segments, found.len() as u64);
                let again = store.adopt_segments(found).await.unwrap();
                assert_eq!((again.segments, again.known), (0, adopted.segments));
            }
            Step::Prune(before) => {
                store.prune_gaps(after(before)).await.unwrap();
            }
            Step::Unlock(_) | Step::Delete(_) | Step::Forget(_) => {}
        }
        self.high = self.high.max(self.now);
    }

    async fn check(&self, fixture: &Fixture) {
        let store = &fixture.store;
        let all = after(0)..after(self.high);
        // Recorded time and gaps are all the time there was, and recorded is what segments hold.
        let coverage = store.coverage(self.stream, all.clone()).await.unwrap();
        let missing: i64 = coverage.gaps.values().map(|span| span.as_micros()).sum();
        let held = (0..self.high)
            .filter(|s| self.segments.iter().any(|(_, start, end, _)| (*start..*end).contains(s)))
            .count();
        assert_eq!(coverage.recorded, WallSpan::from_secs(held as i64));
        assert_eq!(coverage.recorded.as_micros() + missing, self.high * 1_000_000);

        // Each run is tiled by its segments.
        let rows = store.segments_overlapping(self.stream, all.clone(), None, 9_999).await.unwrap();
        let there: BTreeSet<_> = rows.iter().map(|s| s.opened.id.0).collect();
        assert_eq!(there, self.segments.iter().map(|s| s.0).collect());
        let mut of: BTreeMap<RunId, Vec<(WallTime, WallTime)>> = BTreeMap::new();
        for row in &rows {
            of.entry(row.opened.run).or_default().push((row.opened.start, row.end));
        }
        let runs = store.runs(self.stream).await.unwrap();
        assert_eq!(runs.len(), of.len());
        for run in &runs {
            let tiles = &of[&run.id];
            assert!(tiles.windows(2).all(|pair| pair[0].1 == pair[1].0), "{run:?}: {tiles:?}");
            let whole = (tiles[0].0, tiles.last().map(|tile| tile.1));
            assert_eq!(whole, (run.start, run.end));
        }
        // Range queries find what a scan finds.
        let middle = after(self.high / 3)..after(self.high / 2 + 1);
        let overlapping =
            |run: &&RunRow| run.start < middle.end && run.end.is_none_or(|end| end > middle.start);
        let mut expected: Vec<_> = runs.iter().filter(overlapping).cloned().collect();
        expected.sort_by_key(|run| (run.start, run.id));
        let mut found = store.runs_overlapping(self.stream, middle.clone(), 999).await.unwrap();
        found.sort_by_key(|run| (run.start, run.id));
        assert_eq!(found, expected);

        // Deleted gaps do not touch, and within a lane nothing overlaps.
        let gaps = store.gaps_overlapping(self.stream, all, 9_999).await.unwrap();
        let deleted: Vec<_> = gaps.iter().filter(|g| g.reason == GapReason::Deleted).collect();
        let apart = deleted.windows(2).all(|pair| pair[0].end < Some(pair[1].start));
        assert!(apart, "{deleted:?}");
        for table in ["run", "gap"] {
            let sql = format!(
                "select count(*) from {table} a join {table} b
                 on a.stream = b.stream and a.lane = b.lane and a.start_us < b.start_us
                    and (a.end_us is null or a.end_us > b.start_us)"
            );
            let overlaps: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(&store.readers)
                .await
                .unwrap();
            assert_eq!(overlaps, 0, "{table}");
        }

        // The sums that are kept, and what is to be unlinked.
        let sum: u64 = self.segments.iter().map(|s| bytes_of(s.0)).sum();
        let used: u64 = store.volume_use().await.unwrap().iter().map(|u| u.bytes).sum();
        assert_eq!(used, sum);
        assert_eq!(store.footage_streams().await.unwrap()[0].bytes, sum);
        let files = store.pending_unlinks(None, 9_999).await.unwrap();
        assert_eq!(files.iter().map(|f| f.segment.0).collect::<BTreeSet<_>>(), self.unlinked);
        // The head of the volume is the oldest that is not locked.
        let heads = store.oldest_on_volume("/footage").await.unwrap();
        let free = self.segments.iter().filter(|(_, start, end, _)| !self.locked(*start, *end));
        let oldest = free.min_by_key(|(id, start, _, epoch)| (*epoch, *start, *id));
        assert_eq!(heads.first().map(|head| head.id().0), oldest.map(|s| s.0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_is_recorded_locked_deleted_lost_and_found_every_second_is_accounted_for(
        steps in prop::collection::vec(step(), 1..22),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            let door = fixture.store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
            let mut model = Model {
                camera: door.id,
                stream: door.streams[0].id,
                now: 0,
                high: 0,
                epoch: 0,
                next: 1,
                segments: Vec::new(),
                lost: Vec::new(),
                locks: Vec::new(),
                unlinked: BTreeSet::new(),
            };
            for step in steps {
                model.apply(&fixture, step).await;
                model.check(&fixture).await;
            }
            fixture.store.close().await;
        });
    }
}

#[tokio::test]
async fn a_run_is_cut_where_the_end_of_a_segment_is_lost_and_goes_on_under_its_own_name() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 3]).await;
    let reason = GapReason::DiskError;
    store.cut_run(SegmentId(2), after(16), reason, RunId(7)).await.unwrap();
    let runs = store.runs(stream).await.unwrap();
    let spans: Vec<_> = runs.iter().map(|r| (r.id.0, r.start, r.end)).collect();
    let cut = [(7, TEN, Some(after(16))), (1, after(20), Some(after(30)))];
    assert_eq!(spans, cut);
    let rows = store.segments_overlapping(stream, TEN..after(99), None, 9).await.unwrap();
    assert_eq!(rows.iter().map(|s| s.opened.run.0).collect::<Vec<_>>(), [7, 7, 1]);
    let gaps = store.gaps_overlapping(stream, TEN..after(25), 9).await.unwrap();
    assert_eq!(gaps, [Gap { stream, start: after(16), end: Some(after(20)), reason }]);
    // Said twice, and of what is there, it changes nothing.
    store.cut_run(SegmentId(2), after(18), reason, RunId(8)).await.unwrap();
    store.cut_run(SegmentId(1), after(10), reason, RunId(9)).await.unwrap();
    assert_eq!(store.runs(stream).await.unwrap(), runs);
}

#[tokio::test]
async fn a_run_that_lasts_ends_where_its_last_segment_lost_its_end() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let run = fixture.run(stream, 1, TEN).await;
    store.open_segment(segment(stream, run, 1, TEN)).await.unwrap();
    store.cut_run(SegmentId(1), after(4), GapReason::DiskError, RunId(7)).await.unwrap();
    let runs = store.runs(stream).await.unwrap();
    assert_eq!((runs[0].id, runs[0].end), (run, Some(after(4))));
    let gap = store.open_gap_of(stream).await.unwrap().unwrap();
    assert_eq!((gap.start, gap.reason), (after(4), GapReason::DiskError));
}
