//! Every query against a real file database.

mod cameras;
mod copies;
mod deleting;
mod footage;
mod history;
mod importing;
mod mirror;
mod opening;
mod plans;
mod timeline;
mod trouble;

use super::*;
use crate::{
    id::{CameraId, Role, RunId, SegmentId, Slug, StreamId},
    model::{
        Camera, CameraStream, NewSegment, RecordMode, RetentionLimits, RunRow, Secret, TrackStart,
        Transport, Trust,
    },
    proto::time::{MediaTime, WallSpan, WallTime},
};

/// 2026-11-22T10:00:00Z.
const TEN: WallTime = WallTime::from_micros(1_795_341_600_000_000);

fn after(seconds: i64) -> WallTime {
    TEN + WallSpan::from_secs(seconds)
}

/// A store in a folder that goes away with it.
struct Fixture {
    store: Store,
    clock: Clock,
    sealer: Sealer,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(TEN);
        let sealer = Sealer::ephemeral();
        let path = dir.path().join("index/vedette.db");
        let store = Store::open(&path, clock.clone(), sealer.clone()).await.unwrap();
        Self { store, clock, sealer, dir }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("index/vedette.db")
    }

    /// A camera `door` with a main stream.
    async fn stream(&self) -> StreamId {
        self.store.insert_camera(camera("door", &[Role::Main])).await.unwrap().streams[0].id
    }

    async fn run(&self, stream: StreamId, id: i64, start: WallTime) -> RunId {
        let run = RunRow { id: RunId(id), stream, epoch: 0, start, end: None };
        self.store.open_run(run).await.unwrap();
        RunId(id)
    }
}

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

fn camera(name: &str, roles: &[Role]) -> Camera {
    let clock = Clock::system();
    let stream = |&role| CameraStream {
        id: StreamId::generate(&clock),
        role,
        url: format!("rtsp://192.0.2.1/{role}"),
        transport: Transport::Tcp,
        audio: true,
        record: None,
        retention: None,
        volume: None,
        created: TEN,
    };
    Camera {
        id: CameraId::generate(&clock),
        slug: slug(name),
        name: name.to_uppercase(),
        enabled: true,
        username: Some("admin".into()),
        password: Some(Secret::new("correct horse battery".into())),
        tls: Default::default(),
        record: RecordMode::Always,
        when: Default::default(),
        retention: RetentionLimits::default(),
        volume: None,
        streams: roles.iter().map(stream).collect(),
        created: TEN,
        updated: TEN,
        sealed_broken: false,
        source: crate::model::Source::Pull,
    }
}

fn segment(stream: StreamId, run: RunId, id: i64, start: WallTime) -> NewSegment {
    NewSegment {
        id: SegmentId(id),
        stream,
        run,
        epoch: 0,
        sequence: 0,
        start,
        volume: "/footage".into(),
        path: format!("door/main/{id}.mp4"),
        codecs: "avc1.640028,mp4a.40.2".into(),
        tracks: vec![
            TrackStart {
                first_number: 5,
                first_dts: MediaTime::from_ticks(-3_000),
                file_dts: MediaTime::ZERO,
            };
            2
        ],
    }
}
