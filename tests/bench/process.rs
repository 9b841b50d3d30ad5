//! What a process costs, as the system counts it; and other things that benchmarks ask of the system.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// User and system time of a process so far (proc(5): fields 14 and 15 of `stat`, in hundredths of a second).
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
    let after_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// `VmHWM`: the most memory it ever held.
pub(crate) fn peak_bytes(process: u32) -> u64 {
    status_bytes(process, "VmHWM:")
}

/// `VmRSS`: the memory it holds.
pub(crate) fn resident_bytes(process: u32) -> u64 {
    status_bytes(process, "VmRSS:")
}

fn status_bytes(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// CPU seconds and wall seconds of this process since it was made.
pub(crate) struct Stopwatch {
    cpu: f64,
    began: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { cpu: cpu_seconds(std::process::id()), began: Instant::now() }
    }

    /// (CPU, wall).
    pub(crate) fn read(&self) -> (f64, f64) {
        (cpu_seconds(std::process::id()) - self.cpu, self.began.elapsed().as_secs_f64())
    }
}

/// Footage below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "mp4") {
            found.push(path);
        }
    }
    found
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn wait_for(what: &str, patience: Duration, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < patience, "waited {patience:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The `p`-th percentile of `times`, in milliseconds; sorts them.
pub(crate) fn percentile(times: &mut [Duration], p: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * p / 100.0).round() as usize;
    times[at].as_secs_f64() * 1e3
}

/// A number from the environment.
pub(crate) fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.replace('_', "").parse().expect(name))
}
