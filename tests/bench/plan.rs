//! Retention with five hundred cameras: the pure planner's time, and whole rounds against an index: rows deleted a second beside
//! the rate at which such cameras make segments.
//!
//! `BENCH_PLAN_CAMERAS` (default 500).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use vedette::{
    clock::{AgeHold, Clock},
    disk::{self, VolumeSettings, Volumes},
    id::{SegmentId, StreamId},
    model::RetentionLimits,
    proto::time::{WallSpan, WallTime},
    retention::{
        Parts, Retention, Settings,
        plan::{Candidate, Input, Lane, StreamInput, VolumeInput, plan},
    },
};

use super::{
    lookup::{self, Index},
    process::{percentile, setting},
};

const VOLUMES: usize = 4;
const SEGMENT_BYTES: u64 = 30_000_000;
const TIMES: usize = 200;
/// Segments of each camera in the index, a minute each, and how many of them are too old at first.
const EACH: i64 = 200;
const OLD: i64 = 5;

pub(crate) async fn run() {
    let cameras = setting("BENCH_PLAN_CAMERAS", 500) as usize;
    println!("planner: {cameras} cameras on {VOLUMES} volumes");
    println!("{:<44} {:>8} {:>9} {:>9}", "", "picks", "p50 ms", "p99 ms");
    let minute = Some(60 * 60);
    for (what, max_age, free) in [
        ("nothing to delete", Some(10 * 24 * 3_600), 1 << 40),
        ("by age: everything but the last hour", minute, 1 << 40),
        ("by free space: all volumes full", None, 0),
    ] {
        let input = input(cameras, max_age, free);
        let picks = plan(&input).picks().count();
        let mut times: Vec<Duration> = (0..TIMES)
            .map(|_| {
                let began = Instant::now();
                std::hint::black_box(plan(&input));
                began.elapsed()
            })
            .collect();
        let (p50, p99) = (percentile(&mut times, 50.0), percentile(&mut times, 99.0));
        println!("{what:<44} {picks:>8} {p50:>9.2} {p99:>9.2}");
    }
    rounds(cameras).await;
}

/// Each stream on one volume, with a page of candidates, oldest first.
fn input(cameras: usize, max_age_seconds: Option<u64>, free: u64) -> Input {
    let now = WallTime::from_micros(1_800_000_000_000_000);
    let page = 64;
    let candidates = |stream: usize| {
        let age = move |n: i64| {
            WallSpan::from_secs((page - n) * 600) + WallSpan::from_micros(stream as i64 * 1_000)
        };
        (0..page).map(move |n| Candidate {
            id: SegmentId(stream as i64 * 1_000 + n),
            epoch: 0,
            start: now - age(n),
            end: now - age(n) + WallSpan::from_secs(60),
            bytes: SEGMENT_BYTES,
            held: None,
        })
    };
    let streams = (0..cameras).map(|n| StreamInput {
        id: StreamId(n as i64),
        limits: RetentionLimits { max_age_seconds, max_bytes: None },
        created: WallTime::from_micros(0),
        open_bytes: SEGMENT_BYTES / 2,
        largest: SEGMENT_BYTES,
        epochs: Vec::new(),
        lanes: vec![Lane {
            volume: Some(n % VOLUMES),
            bytes: 10_000 * SEGMENT_BYTES,
            oldest: candidates(n).collect(),
            more: false,
        }],
    });
    let volumes = (0..VOLUMES).map(|n| VolumeInput {
        name: format!("/footage/{n}").into(),
        max_bytes: None,
        min_free: 10 << 30,
        space: Some((free, 1 << 44)),
        usable: true,
        full: false,
        reserve: 60 * 500_000 * cameras as u64 / VOLUMES as u64,
        open_bytes: 0,
        freeing: 0,
    });
    Input {
        now,
        age_held: false,
        preview: false,
        volumes: volumes.collect(),
        streams: streams.collect(),
    }
}

async fn rounds(cameras: usize) {
    let index = Index::make(EACH * cameras as i64, cameras).await;
    let store = index.open().await;
    let now = WallTime::from_micros(lookup::FIRST) + WallSpan::from_secs(EACH * 60);
    for mut camera in store.cameras().await.unwrap() {
        camera.retention.max_age_seconds = Some((EACH - OLD) as u64 * 60);
        store.update_camera(&camera).await.unwrap();
    }
    let volumes = Volumes::open(disk::Settings {
        volumes: vec![VolumeSettings { path: index.volume(), max_bytes: None, min_free_bytes: 0 }],
        ..disk::Settings::default()
    });
    let volumes = volumes.unwrap();
    let clock = Clock::manual(now);
    let parts = Parts {
        store: store.clone(),
        volumes: Arc::clone(&volumes),
        clock: clock.clone(),
        age: AgeHold::never(clock.clone()),
    };
    let retention = Retention::new(Settings::default(), parts);
    println!(
        "{:<44} {:>8} {:>9} {:>9} {:>14}",
        "rounds (rows, then files that are not there)", "deleted", "s", "a second", "needed"
    );
    for what in ["what was too old at first", "a minute later", "and another"] {
        let (began, mut deleted) = (Instant::now(), 0);
        loop {
            let round = retention.round().await.unwrap();
            deleted += round.deleted;
            if !round.more {
                break;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{what:<44} {deleted:>8} {seconds:>9.2} {:>9.0} {:>14.1}",
            deleted as f64 / seconds,
            cameras as f64 / 60.0
        );
        clock.advance(WallSpan::from_secs(60));
    }
    drop(retention);
    volumes.shut_down().await;
    store.close().await;
}
