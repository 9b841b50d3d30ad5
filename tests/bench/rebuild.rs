//! Making the index again from the files alone, and checking one against the other, by number of files; beside a bare loop that
//! opens every file and reads its ends.
//!
//! `BENCH_REINDEX`: numbers of segments (default 1000,10000).

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use vedette::disk::RealFs;

use super::{
    process::{files, free_port},
    world::{Film, Shape, World, room},
};

const STREAMS: usize = 20;
/// Small pictures: the ends of a file are read, and its pictures are not.
const SHAPE: Shape = Shape { fps: 1, bytes_per_second: 300, sound: false, playable: false };
const SEGMENT_SECONDS: usize = 60;
/// What is read of each end by the bare loop.
const END: usize = 8 << 10;

pub(crate) async fn run() {
    let sizes: Vec<usize> = std::env::var("BENCH_REINDEX")
        .map_or(vec![1_000, 10_000], |s| s.split(',').map(|n| n.parse().unwrap()).collect());
    println!("rebuild: {STREAMS} streams, files of a minute with small pictures");
    println!(
        "{:>9} {:>12} {:>12} {:>14} {:>12}",
        "files", "reindex s", "check s", "bare read s", "files/s"
    );
    for size in sizes {
        let world = record(size).await;
        tokio::task::block_in_place(|| measure(world.path()));
    }
}

/// An archive: an index, and `segments` files or a few more.
async fn record(segments: usize) -> tempfile::TempDir {
    let world = World::new(Arc::new(RealFs), STREAMS).await;
    let recording = world.record();
    let mut films = world.films(SHAPE);
    for _ in 0..segments / STREAMS * SEGMENT_SECONDS {
        films.iter_mut().for_each(Film::second);
        room(&world.hub, 4 << 20).await;
    }
    films.into_iter().for_each(Film::end);
    recording.stop().await;
    world.end().await
}

fn measure(folder: &Path) {
    let footage = folder.join("footage");
    let all = files(&footage);
    let began = Instant::now();
    for file in &all {
        let file = File::open(file).unwrap();
        let len = file.metadata().unwrap().len();
        let mut buffer = vec![0; END];
        file.read_at(&mut buffer, 0).unwrap();
        file.read_at(&mut buffer, len.saturating_sub(END as u64)).unwrap();
    }
    let bare = began.elapsed();
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:{}\"\n[rtsp]\nlisten = \"127.0.0.1:{}\"\n[database]\npath = \"{folder}/vedette.db\"\n\
         key_file = \"{folder}/key\"\n[[volumes]]\npath = \"{}\"\n[auth]\nmode = \"none\"\n",
        free_port(),
        free_port(),
        footage.display(),
        folder = folder.display(),
    );
    std::fs::write(folder.join("vedette.toml"), config).unwrap();
    let reindex = vedette(folder, "reindex");
    let check = vedette(folder, "check");
    println!(
        "{:>9} {:>12.2} {:>12.2} {:>14.2} {:>12.0}",
        all.len(),
        reindex.as_secs_f64(),
        check.as_secs_f64(),
        bare.as_secs_f64(),
        all.len() as f64 / reindex.as_secs_f64(),
    );
}

fn vedette(folder: &Path, command: &str) -> Duration {
    let began = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_vedette"))
        .args([command, "--config"])
        .arg(folder.join("vedette.toml"))
        .env("VEDETTE_LOG__LEVEL", "error")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let took = began.elapsed();
    assert!(status.success(), "{command}: {status}");
    took
}
