//! Five hundred streams on a disk that takes 20 ms for every flush: do they keep up? The same without, beside it.
//!
//! Streams are small (32 kB/s), for it is the number of files and flushes that is tried and not this machine's disk.
//! `BENCH_SLOW_STREAMS`, `BENCH_SLOW_SECONDS` (default 500, 15).

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use vedette::disk::{Fs, FsFile, RealFs, Space};

use super::{
    process::{Stopwatch, setting},
    world::{Shape, World},
};

const FLUSH: Duration = Duration::from_millis(20);
const SHAPE: Shape = Shape { fps: 10, bytes_per_second: 32_000, sound: false, playable: false };

/// The real file system, with a wait before each flush.
#[derive(Debug)]
struct SlowFs {
    flush: Duration,
    flushes: Arc<AtomicU64>,
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn FsFile>,
    flush: Duration,
    flushes: Arc<AtomicU64>,
}

fn wait(flush: Duration, flushes: &AtomicU64) {
    std::thread::sleep(flush);
    flushes.fetch_add(1, Relaxed);
}

impl Fs for SlowFs {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        RealFs.create_folder(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let file = RealFs.create_file(path)?;
        Ok(Arc::new(SlowFile { file, flush: self.flush, flushes: Arc::clone(&self.flushes) }))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        wait(self.flush, &self.flushes);
        RealFs.sync_folder(path)
    }

    fn sync_all(&self, root: &Path) -> io::Result<()> {
        wait(self.flush, &self.flushes);
        RealFs.sync_all(root)
    }

    fn space(&self, root: &Path) -> io::Result<Space> {
        RealFs.space(root)
    }
}

impl FsFile for SlowFile {
    fn append(&self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.file.append(buffers)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        wait(self.flush, &self.flushes);
        self.file.sync()
    }
}

pub(crate) async fn run() {
    let streams = setting("BENCH_SLOW_STREAMS", 500) as usize;
    let seconds = setting("BENCH_SLOW_SECONDS", 15);
    println!("slow disk: {streams} streams, {seconds} s in real time");
    println!(
        "{:>9} {:>10} {:>9} {:>13} {:>14} {:>14} {:>10}",
        "ms/flush", "fragments", "flushes", "shed units", "queue peak kB", "behind at end", "CPU s"
    );
    for flush in [FLUSH, Duration::ZERO] {
        measure(streams, seconds, flush).await;
    }
}

async fn measure(streams: usize, seconds: u64, flush: Duration) {
    let flushes = Arc::new(AtomicU64::new(0));
    let world =
        World::new(Arc::new(SlowFs { flush, flushes: Arc::clone(&flushes) }), streams).await;
    let recording = world.record();
    let mut films = world.films(SHAPE);
    let queue =
        || world.volumes.counters().iter().map(|(_, c)| c.queue_bytes.load(Relaxed)).sum::<u64>();
    let (watch, began, mut peak) = (Stopwatch::start(), Instant::now(), 0);
    // Each stream publishes a second's worth once a second, all in turn over that second, as cameras do.
    let pause = Duration::from_secs(1) / streams as u32;
    for second in 0..seconds {
        for (n, film) in films.iter_mut().enumerate() {
            film.second();
            peak = peak.max(queue());
            let due = Duration::from_secs(second) + pause * (n as u32 + 1);
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
    }
    // How long it takes to write what is left: whoever keeps up has next to nothing.
    let ended = Instant::now();
    films.into_iter().for_each(super::world::Film::end);
    let counters = recording.counters.clone();
    recording.stop().await;
    let behind = ended.elapsed();
    let (cpu, _) = watch.read();
    let units: u64 = counters.iter().map(|c| c.units.load(Relaxed)).sum();
    let shed: u64 = counters.iter().map(|c| c.shed_units.load(Relaxed)).sum();
    println!(
        "{:>9} {:>10} {:>9} {:>13} {:>14} {:>11} ms {:>10.2}",
        flush.as_millis(),
        units / SHAPE.fps as u64,
        flushes.load(Relaxed),
        shed,
        peak / 1_000,
        behind.as_millis(),
        cpu,
    );
    assert_eq!(
        units + shed,
        streams as u64 * seconds * SHAPE.fps as u64,
        "every unit is accounted for"
    );
    world.end().await;
}
