//! The threads of the recording path: each runs its share of the cameras, alone.
//!
//! # Why not the server's runtime
//!
//! A work-stealing runtime wakes a second thread for each packet that comes in, in case there is
//! more to do; there is not, and with forty cameras those wake-ups cost more than the packets. A
//! lane is a runtime of one thread: what a camera's socket wakes runs on the spot, its puller and
//! its recorder never contend with one another, and players cannot hold up recording. A stream
//! stays on its lane for life.
//!
//! # Why a lane waits before it sleeps
//!
//! Going to sleep and being woken, and a read of each socket, cost more than what most packets need.
//! So a lane that last went to sleep less than a while ago waits out the rest of it first, and then
//! finds all that came in the meantime at once, as network cards do with their interrupts. A lane
//! with little to do never waits.
//!
//! How long that while is depends on who waits for the units ([`Haste`]): [`COALESCE`] when somebody
//! watches live, when a camera is being connected or has just begun to send (its clock is being
//! measured), or sends over UDP; else [`GATHER`], for the recorder looks ten times a second only.
//! Who comes while a lane rests waits for that rest once.
//!
//! What a rest does besides:
//!
//! * Packets wait in the socket's buffer; over TCP the window has room for several rests of a camera
//!   of 20 Mb/s once the kernel has sized it by what was read at once.
//! * A unit seems to have arrived up to [`GATHER`] late. The wall clock of a run follows the least
//!   delay of many units (`ingest/run_clock.rs`), and the length of a rest varies, so that a camera
//!   whose frames keep step with the rests does not always seem late by the same.
//! * `kill -9` loses what waited, too.
//!
//! # Invariants
//!
//! * Nothing that blocks runs on a lane.
//! * [`Lanes::shut_down`] comes after the tasks on them were awaited; what is still there then is
//!   dropped.

use std::{
    cell::Cell,
    io,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::hub::Haste;

/// More lanes than this only help machines that record thousands of cameras.
const MOST: usize = 4;

/// The least time between two sleeps of a lane that somebody waits for.
const COALESCE: Duration = Duration::from_millis(3);

/// And of one that nobody waits for, from and to, in microseconds.
const GATHER: Range<u64> = 20_000..40_000;

thread_local! {
    /// When this lane was last about to sleep.
    static SLEPT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Called by a lane that has nothing to do.
fn rest(haste: &Haste) {
    let now = Instant::now();
    let least = if haste.is_called_for() {
        COALESCE
    } else {
        Duration::from_micros(rand::random_range(GATHER))
    };
    let rest = SLEPT.get().and_then(|then| least.checked_sub(now - then));
    if let Some(rest) = rest {
        std::thread::sleep(rest);
    }
    SLEPT.set(Some(now + rest.unwrap_or_default()));
}

/// Where a stream runs.
#[derive(Clone)]
pub(super) struct Lane {
    /// Its runtime.
    pub(super) handle: Handle,
    /// Who waits for its streams.
    pub(super) haste: Haste,
}

pub(super) struct Lanes {
    lanes: Vec<Lane>,
    next: AtomicUsize,
    stop: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Lanes {
    /// One for each processor, at most [`MOST`].
    pub(super) fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let stop = CancellationToken::new();
        let mut lanes = Self {
            lanes: Vec::with_capacity(count),
            next: AtomicUsize::new(0),
            stop: stop.clone(),
            threads: Mutex::default(),
        };
        for n in 0..count {
            let haste = Haste::default();
            let waits = haste.clone();
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(8)
                .on_thread_park(move || rest(&waits))
                .build()?;
            lanes.lanes.push(Lane { handle: runtime.handle().clone(), haste });
            let stop = stop.clone();
            let thread = std::thread::Builder::new()
                .name(format!("lane-{n}"))
                .spawn(move || runtime.block_on(stop.cancelled()))?;
            lanes.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(lanes)
    }

    /// The lane of the next stream, in turn.
    pub(super) fn pick(&self) -> Lane {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len().max(1);
        // There is at least one; the server's runtime would do as well.
        let other = || Lane { handle: Handle::current(), haste: Haste::default() };
        self.lanes.get(turn).cloned().unwrap_or_else(other)
    }

    /// Ends the threads.
    pub(super) async fn shut_down(&self) {
        self.stop.cancel();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(|| {
            threads.into_iter().filter_map(|thread| thread.join().err()).count()
        });
        if !matches!(joined.await, Ok(0)) {
            tracing::error!("a thread of the recording path panicked");
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{
        ingest::run_clock::RunClock,
        proto::time::{Timescale, WallTime},
    };

    /// When this lane fetches what comes: the moments between its rests, in microseconds.
    struct Fetches {
        random: StdRng,
        at: i64,
    }

    impl Fetches {
        /// The first at or after `arrival`. Rests are short while the run is young, as in `ingest/attempt.rs`.
        fn next(&mut self, arrival: i64) -> i64 {
            while self.at < arrival {
                let least = i64::try_from(COALESCE.as_micros()).unwrap();
                let gather = i64::try_from(self.random.random_range(GATHER)).unwrap();
                self.at += if self.at < 6_000_000 { least } else { gather };
            }
            self.at
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_camera_s_wall_clock_is_as_good_with_rests_as_without(
            seed in any::<u64>(),
            fps in prop::sample::select(vec![5_i64, 12, 25, 50]),
            drift_ppm in -10_000_i64..10_000,
            begun in 0_i64..40_000,
        ) {
            let mut fetches = Fetches { random: StdRng::seed_from_u64(seed), at: 0 };
            let mut clock = RunClock::new(Timescale::VIDEO, 0, WallTime::from_micros(begun));
            for n in 0..fps * 300 {
                let ticks = n * 90_000 / fps;
                let media = ticks * 1_000_000 / 90_000;
                let sent = begun + media + media * drift_ppm / 1_000_000;
                clock.observe(ticks, WallTime::from_micros(fetches.next(sent))).unwrap();
                let error = clock.wall(ticks).as_micros() - sent;
                // The drift itself takes a minute to be learned.
                prop_assert!(n < fps * 60 || error.abs() < 20_000, "{error} µs at {n}");
            }
        }
    }

    #[tokio::test]
    async fn streams_take_turns_and_all_lanes_end() {
        let lanes = Lanes::start().unwrap();
        let count = lanes.lanes.len();
        let mut names = Vec::new();
        for _ in 0..count * 2 {
            let name = lanes
                .pick()
                .handle
                .spawn(async { std::thread::current().name().map(str::to_owned) });
            names.push(name.await.unwrap().unwrap());
        }
        assert_eq!(names[..count], names[count..], "in turn");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "each has its own thread");
        lanes.shut_down().await;
        assert!(lanes.threads.lock().unwrap().is_empty());
    }
}
