//! The index with years of footage in it: the timeline of thirty days, and finding the place to play from.
//!
//! `BENCH_SEGMENTS`: how many rows (default 5 million: 100 cameras for 35 days).

use std::{path::Path, sync::Arc, time::Instant};

use rand::RngExt;
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use vedette::{
    clock::Clock,
    disk::{self, VolumeSettings, Volumes},
    hub::Hub,
    id::{RunId, SegmentId, StreamId},
    model::{ClosedSegment, KeyFrame, NewSegment, RunRow, TrackStart, TrackTotals},
    playback::Archive,
    proto::time::{MediaTime, WallSpan, WallTime},
    seal::Sealer,
    store::Store,
};

use super::{
    process::{percentile, setting},
    world::insert_cameras,
};

const CAMERAS: usize = 100;
/// Segments of a run: about eight hours.
const RUN: i64 = 500;
const MINUTE: i64 = 60_000_000;
/// After each run.
const GAP: i64 = 5_000_000;
/// 2026-01-01.
pub(crate) const FIRST: i64 = 1_767_225_600_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
const LOOKUPS: usize = 5_000;

pub(crate) async fn run() {
    let segments = i64::try_from(setting("BENCH_SEGMENTS", 5_000_000)).unwrap();
    let index = Index::make(segments, CAMERAS).await;
    println!(
        "index of {segments} segments ({CAMERAS} cameras, {:.1} days): {} MB, made in {:.0} s",
        index.days,
        index.bytes() / 1_000_000,
        index.made_in
    );
    let (store, clock) = (index.open().await, Clock::system());
    let volumes = Volumes::open(disk::Settings {
        volumes: vec![VolumeSettings { path: index.volume(), max_bytes: None, min_free_bytes: 0 }],
        ..disk::Settings::default()
    });
    let volumes = volumes.unwrap();
    let archive =
        Archive::new(store.clone(), Arc::clone(&volumes), Arc::new(Hub::default()), clock);
    println!("{:<44} {:>8} {:>9} {:>9} {:>9}", "", "times", "p50 ms", "p99 ms", "most ms");

    // Not in the very last minute: the last segment may end a little before it is over.
    let span = (index.days * DAY as f64) as i64 - MINUTE;
    let stream = || index.streams[rand::random_range(0..index.streams.len())];
    let instant = || WallTime::from_micros(FIRST + rand::rng().random_range(0..span));
    let mut times = Vec::new();
    for _ in 0..LOOKUPS {
        let (stream, at) = (stream(), instant());
        let began = Instant::now();
        let found = store.segment_at_or_after(stream, at).await.unwrap().unwrap();
        let keys = store.key_frames(found.opened.id).await.unwrap();
        times.push(began.elapsed());
        assert_eq!(keys.len(), 60);
    }
    report("seek: segment of an instant and its key frames", times);
    let mut times = Vec::new();
    for _ in 0..LOOKUPS / 5 {
        let (stream, at) = (stream(), instant());
        let began = Instant::now();
        let hour = at..at + WallSpan::from_secs(3_600);
        store.segments_overlapping(stream, hour, None, 100).await.unwrap();
        times.push(began.elapsed());
    }
    report("list: the segments of an hour", times);
    let mut times = Vec::new();
    for _ in 0..LOOKUPS / 5 {
        let (stream, from) = (stream(), WallTime::from_micros(FIRST));
        let began = Instant::now();
        let timeline =
            archive.timeline(stream, from..from + WallSpan::from_micros(30 * DAY)).await.unwrap();
        times.push(began.elapsed());
        std::hint::black_box(timeline);
    }
    report("timeline: runs and gaps of 30 days", times);
    drop(archive);
    volumes.shut_down().await;
    store.close().await;
}

fn report(what: &str, mut times: Vec<std::time::Duration>) {
    let (count, p50, p99) =
        (times.len(), percentile(&mut times, 50.0), percentile(&mut times, 99.0));
    println!("{what:<44} {count:>8} {p50:>9.2} {p99:>9.2} {:>9.2}", percentile(&mut times, 100.0));
}

/// An index full of closed segments whose files are not there.
pub(crate) struct Index {
    folder: TempDir,
    streams: Vec<StreamId>,
    days: f64,
    made_in: f64,
}

impl Index {
    /// One segment is put in through the store; all others are that row again with their own numbers and times, made by SQL, so
    /// that this knows as little as can be of what the tables look like.
    pub(crate) async fn make(segments: i64, cameras: usize) -> Self {
        Self::make_from(WallTime::from_micros(FIRST), segments, cameras).await
    }

    /// The same from another time on.
    pub(crate) async fn make_from(first: WallTime, segments: i64, cameras: usize) -> Self {
        let began = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let store = Store::open(&database(folder.path()), clock.clone(), sealer(folder.path()))
            .await
            .unwrap();
        let cameras = insert_cameras(&store, &clock, cameras).await;
        let streams: Vec<StreamId> = cameras.iter().map(|c| c.streams[0].id).collect();
        let volume = folder.path().join("footage").to_string_lossy().into_owned();
        let each = segments / streams.len() as i64;
        template(&store, streams[0], volume, first, each).await;
        store.close().await;

        let options =
            SqliteConnectOptions::new().filename(database(folder.path())).foreign_keys(false);
        let mut db = SqliteConnection::connect_with(&options).await.unwrap();
        for pragma in ["journal_mode = off", "synchronous = off", "cache_size = -400000"] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("pragma {pragma}")))
                .execute(&mut db)
                .await
                .unwrap();
        }
        sqlx::raw_sql("begin").execute(&mut db).await.unwrap();
        for (n, stream) in streams.iter().enumerate() {
            fill(&mut db, *stream, n as i64, first.as_micros(), each).await;
        }
        sqlx::raw_sql("commit; pragma journal_mode = wal").execute(&mut db).await.unwrap();
        db.close().await.unwrap();
        let days = each as f64 * MINUTE as f64 / DAY as f64;
        Self { folder, streams, days, made_in: began.elapsed().as_secs_f64() }
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.database(), Clock::system(), sealer(self.folder.path())).await.unwrap()
    }

    /// What is left of it: index, key and a place for footage.
    pub(crate) fn into_folder(self) -> TempDir {
        self.folder
    }

    pub(crate) fn database(&self) -> std::path::PathBuf {
        database(self.folder.path())
    }

    pub(crate) fn key_file(&self) -> std::path::PathBuf {
        self.folder.path().join("key")
    }

    pub(crate) fn volume(&self) -> std::path::PathBuf {
        self.folder.path().join("footage")
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.database().metadata().unwrap().len()
    }
}

fn database(folder: &Path) -> std::path::PathBuf {
    folder.join("vedette.db")
}

pub(crate) fn sealer(folder: &Path) -> Sealer {
    Sealer::open_or_create(&folder.join("key")).unwrap()
}

/// The first segment of the first stream: a minute with a key frame each second.
async fn template(store: &Store, stream: StreamId, volume: String, start: WallTime, each: i64) {
    let (id, run) = (SegmentId(1), RunId(1));
    let end = start + WallSpan::from_micros(RUN.min(each) * MINUTE - GAP);
    store.open_run(RunRow { id: run, stream, epoch: 0, start, end: None }).await.unwrap();
    let track = TrackStart {
        first_number: 0,
        first_dts: MediaTime::from_ticks(0),
        file_dts: MediaTime::from_ticks(0),
    };
    let segment = NewSegment {
        id,
        stream,
        run,
        epoch: 0,
        sequence: 0,
        start,
        volume,
        path: "camera-1/main/2026-01-01/00/00-00.000Z.0.mp4".to_owned(),
        codecs: "avc1.640028,mp4a.40.2".to_owned(),
        tracks: vec![track; 2],
    };
    store.open_segment(segment).await.unwrap();
    let key = |n: i64| KeyFrame {
        at: WallSpan::from_micros(n * 1_000_000 + n * 7),
        offset: 1_200 + n as u64 * 503_117,
    };
    let totals = TrackTotals {
        samples: 1_500,
        sync_samples: 60,
        bytes: 29_000_000,
        duration: MediaTime::from_ticks(60 * 90_000),
        stts_runs: 1,
        ctts_runs: 0,
    };
    let closed = ClosedSegment {
        id,
        end: start + WallSpan::from_micros(MINUTE),
        bytes: 30_000_000,
        damaged: 0,
        tracks: vec![totals; 2],
        keys: (0..60).map(key).collect(),
    };
    store.close_segment(closed).await.unwrap();
    store.close_run(run, end).await.unwrap();
}

/// `each` segments of one stream: a minute each, in runs of [`RUN`] with five seconds of gap after each run.
async fn fill(db: &mut SqliteConnection, stream: StreamId, place: i64, first: i64, each: i64) {
    let stream = stream.0;
    // The template is the first of all, and already there.
    let skip = i64::from(place == 0);
    let runs = each / RUN + i64::from(each % RUN > 0);
    let id = format!("({} + i)", place * each + 1);
    let run_id = |at: &str| format!("({} + {at})", place * runs + 1);
    // Of segment or run `i`; `end` before the gap.
    let start = |length: i64| format!("({first} + i * {length})");
    let run_end = format!("({first} + min((i + 1) * {RUN}, {each}) * {MINUTE} - {GAP})");
    let end = format!(
        "({first} + (i + 1) * {MINUTE} - iif(i % {RUN} = {RUN} - 1 or i = {each} - 1, {GAP}, 0))"
    );
    let path = format!(
        "printf('camera-{}/main/%s.mp4', strftime('%Y-%m-%d/%H/%M-%S.000Z.0', {} + i * 60, 'unixepoch'))",
        place + 1,
        first / 1_000_000
    );
    let script = [
        numbers(skip, runs)
            + &copy(
                db,
                "run",
                "id = 1",
                &[
                    ("stream", stream.to_string()),
                    ("start_us", start(RUN * MINUTE)),
                    ("id", run_id("i")),
                    ("end_us", run_end.clone()),
                ],
            )
            .await,
        format!(
            "{} insert into gap (stream, lane, start_us, end_us, reason)
             select {stream}, 0, {run_end}, {run_end} + {GAP}, 'disconnected' from n",
            numbers(0, runs)
        ),
        numbers(skip, each)
            + &copy(
                db,
                "segment",
                "id = 1",
                &[
                    ("stream", stream.to_string()),
                    ("start_us", start(MINUTE)),
                    ("id", id.clone()),
                    ("run", run_id(&format!("i / {RUN}"))),
                    ("sequence", format!("i % {RUN}")),
                    ("end_us", end),
                    ("path", path),
                ],
            )
            .await,
        numbers(skip, each)
            + &copy(db, "segment_keys", "segment = 1", &[("segment", id.clone())]).await,
        numbers(skip, each) + &copy(db, "segment_track", "segment = 1", &[("segment", id)]).await,
    ];
    for sql in script {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *db).await.unwrap();
    }
}

/// The numbers from `from` up to `to`, without it, as `n(i)`.
fn numbers(from: i64, to: i64) -> String {
    format!(
        "with recursive n(i) as (select {from} where {from} < {to}
         union all select i + 1 from n where i + 1 < {to}) "
    )
}

/// `insert … select`: the template's row (or rows) once for each number, but for some columns.
async fn copy(
    db: &mut SqliteConnection,
    table: &str,
    template: &str,
    own: &[(&str, String)],
) -> String {
    let columns = sqlx::query("select name from pragma_table_info(?1)")
        .bind(table)
        .fetch_all(&mut *db)
        .await
        .unwrap();
    let columns: Vec<String> = columns.iter().map(|row| row.get(0)).collect();
    let values: Vec<&str> = columns
        .iter()
        .map(|column| {
            own.iter().find(|(name, _)| name == column).map_or(column.as_str(), |(_, value)| value)
        })
        .collect();
    format!(
        "insert into {table} ({}) select {} from n, (select * from {table} where {template})",
        columns.join(", "),
        values.join(", ")
    )
}
