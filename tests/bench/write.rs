//! The way of a unit from the hub to the disk and the index, in this process and as fast as it goes, beside a bare loop that
//! writes the same bytes to as many files.
//!
//! `BENCH_WRITE_MB`: how much footage (default 2000).

use std::{
    fs::File,
    io::Write,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use vedette::disk::RealFs;

use super::{
    process::{Stopwatch, setting},
    world::{MATTER, Shape, World, room},
};

const STREAMS: usize = 8;
/// 4 Mb/s of video, and sound.
const SHAPE: Shape = Shape { fps: 25, bytes_per_second: 500_000, sound: true, playable: false };
const SEGMENT_SECONDS: u64 = 60;
const SYNC_EVERY: Duration = Duration::from_secs(5);

struct Cost {
    cpu: f64,
    wall: f64,
    fragments: u64,
    bytes: u64,
}

pub(crate) async fn run() {
    let seconds = setting("BENCH_WRITE_MB", 2_000) * 1_000_000
        / STREAMS as u64
        / SHAPE.bytes_per_second as u64;
    println!(
        "write path: {STREAMS} streams of 4 Mb/s with sound, a fragment a second, {seconds} s of each as fast as it goes"
    );
    println!(
        "{:<12} {:>10} {:>16} {:>14} {:>14} {:>10}",
        "", "fragments", "CPU us/fragment", "CPU s/GB", "of bare loop", "GB/s"
    );
    let vedette = recorded(seconds).await;
    let bare = tokio::task::spawn_blocking(move || bare(seconds, vedette.bytes)).await.unwrap();
    for (name, cost) in [("vedette", &vedette), ("bare loop", &bare)] {
        println!(
            "{name:<12} {:>10} {:>16.1} {:>14.3} {:>14.2} {:>10.2}",
            cost.fragments,
            cost.cpu * 1e6 / cost.fragments as f64,
            cost.cpu * 1e9 / cost.bytes as f64,
            cost.cpu / bare.cpu,
            cost.bytes as f64 / 1e9 / cost.wall,
        );
    }
}

async fn recorded(seconds: u64) -> Cost {
    let world = World::new(Arc::new(RealFs), STREAMS).await;
    let recording = world.record();
    let mut films = world.films(SHAPE);
    let watch = Stopwatch::start();
    for _ in 0..seconds {
        for film in &mut films {
            film.second();
        }
        // What the hub holds for players is not in the way: only what is not on disk counts against its bound.
        room(&world.hub, STREAMS * 3 * SHAPE.bytes_per_second).await;
    }
    films.into_iter().for_each(super::world::Film::end);
    let counters = recording.counters.clone();
    recording.stop().await;
    let (cpu, wall) = watch.read();
    let sum = |of: fn(&vedette::record::RecorderCounters) -> u64| {
        counters.iter().map(|c| of(c)).sum::<u64>()
    };
    assert_eq!(sum(|c| c.shed_units.load(Relaxed)), 0, "nothing is shed");
    let segments = super::process::files(&world.folder.path().join("footage"));
    let bytes = segments.iter().map(|f| f.metadata().unwrap().len()).sum();
    world.end().await;
    Cost { cpu, wall, fragments: seconds * STREAMS as u64, bytes }
}

fn bare(seconds: u64, bytes: u64) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let size = usize::try_from(bytes / seconds / STREAMS as u64).unwrap();
    // As much matter as the films have, so that it is as cold.
    let matter: Vec<u8> = (0..STREAMS * MATTER).map(|n| n as u8).collect();
    let mut fragments = matter.chunks_exact(size).cycle();
    let watch = Stopwatch::start();
    let mut synced = Instant::now();
    let mut files: Vec<File> = Vec::new();
    for second in 0..seconds {
        if second % SEGMENT_SECONDS == 0 {
            files.iter().for_each(|f| f.sync_data().unwrap());
            let name = |n| folder.path().join(format!("{n}-{second}.bin"));
            files = (0..STREAMS).map(|n| File::create(name(n)).unwrap()).collect();
        }
        for file in &mut files {
            file.write_all(fragments.next().unwrap()).unwrap();
        }
        if synced.elapsed() >= SYNC_EVERY {
            files.iter().for_each(|f| f.sync_data().unwrap());
            synced = Instant::now();
        }
    }
    files.iter().for_each(|f| f.sync_data().unwrap());
    let (cpu, wall) = watch.read();
    Cost {
        cpu,
        wall,
        fragments: seconds * STREAMS as u64,
        bytes: (size * STREAMS) as u64 * seconds,
    }
}
