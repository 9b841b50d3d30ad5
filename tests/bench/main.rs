//! What Vedette costs and how long it takes, each beside something to compare it with, in the same run.
//!
//! ```sh
//! make bench                                       # all of them, a few minutes
//! cargo bench --bench bench -- record lookup       # some of them
//! BENCH_SECONDS=60 BENCH_CAMERAS=40 cargo bench --bench bench -- record
//! ```
//!
//! Nothing is asserted of a time: machines differ, and so does the same one from minute to minute. Read the ratios.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures in the world's time")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on should stop where it is"
)]

mod audience;
mod bare;
mod crowd;
mod depacketize;
mod fanout;
mod latency;
mod lookup;
mod plan;
mod player;
mod process;
mod rebuild;
mod record;
mod seek;
mod server;
mod slow;
mod start;
mod world;
mod write;

/// As `serve` allocates: what a write costs depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALL: [&str; 12] = [
    "record",
    "crowd",
    "depacketize",
    "fanout",
    "latency",
    "write",
    "slow",
    "lookup",
    "seek",
    "start",
    "plan",
    "rebuild",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [bare, dir, urls @ ..] = &arguments[..]
        && bare == "bare"
    {
        return bare::run(dir, urls);
    }
    match &arguments[..] {
        [part, arguments @ ..] if part == "viewers" => return audience::run_viewers(arguments),
        [part, arguments @ ..] if part == "relay" => return audience::run_relay(arguments),
        _ => {}
    }
    // Cargo adds `--bench`.
    let asked: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    let unknown: Vec<_> = asked.iter().filter(|name| !ALL.contains(name)).collect();
    assert!(unknown.is_empty(), "there is no {unknown:?}; choose among {ALL:?}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for name in ALL.iter().filter(|name| asked.is_empty() || asked.contains(name)) {
        match *name {
            "record" => record::run(),
            "crowd" => crowd::run(),
            "depacketize" => depacketize::run(),
            "fanout" => fanout::run(),
            "latency" => latency::run(),
            "seek" => runtime.block_on(seek::run()),
            "write" => runtime.block_on(write::run()),
            "slow" => runtime.block_on(slow::run()),
            "lookup" => runtime.block_on(lookup::run()),
            "start" => runtime.block_on(start::run()),
            "plan" => runtime.block_on(plan::run()),
            _ => runtime.block_on(rebuild::run()),
        }
        println!();
    }
}
