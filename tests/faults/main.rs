//! The promises of the README under faults: whatever fails and whenever the power goes, what is
//! indexed is there and plays, what is lost is within the bound, and every second is accounted for.
//!
//! ```text
//! site.rs   cameras ─▶ hub ─▶ recorders ─▶ volumes ─▶ fs.rs (fails on demand, keeps a journal) ─▶ a folder
//!                                  └─────▶ store ───▶ SQLite (wal.rs: every commit of it)
//! cut.rs    journal ─▶ what a power cut may leave     verify.rs   the index against files and cameras
//! ```
//!
//! Schedules: `power_cut.rs`, `trouble.rs` (one disk), `several.rs` (disks that come and go),
//! `database.rs`, `clock_steps.rs`, `deletion.rs`.
//!
//! Cases are random; the one that fails is printed, shrunk. `PROPTEST_CASES` says how many
//! (`make faults`: ten thousand).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it did not expect should stop there"
)]

mod clock_steps;
mod cut;
mod database;
mod deletion;
mod fs;
mod power_cut;
mod several;
mod site;
mod trouble;
mod verify;
mod wal;

use proptest::test_runner::Config;

/// So many cases, or `PROPTEST_CASES`; where each generated value makes `each` of them.
fn cases(usual: usize, each: usize) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let cases = u32::try_from(cases.div_ceil(each)).unwrap_or(u32::MAX);
    Config { cases, failure_persistence: None, ..Config::default() }
}
