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
//! Going to sleep and being woken costs more than what most packets need. So a lane that was woken
//! less than [`COALESCE`] ago waits out the rest of it first, and then finds all that came in the
//! meantime at once, as network cards do with their interrupts. A lane with little to do never
//! waits; one with much delays a unit by at most that.
//!
//! # Invariants
//!
//! * Nothing that blocks runs on a lane.
//! * [`Lanes::shut_down`] comes after the tasks on them were awaited; what is still there then is
//!   dropped.

use std::{
    cell::Cell,
    io,
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

/// More lanes than this only help machines that record thousands of cameras.
const MOST: usize = 4;

/// The least time between two sleeps of a lane.
const COALESCE: Duration = Duration::from_millis(3);

thread_local! {
    /// When this lane was last about to sleep.
    static SLEPT: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn coalesce() {
    let now = Instant::now();
    let rest = SLEPT.get().and_then(|then| COALESCE.checked_sub(now - then));
    if let Some(rest) = rest {
        std::thread::sleep(rest);
    }
    SLEPT.set(Some(now + rest.unwrap_or_default()));
}

pub(super) struct Lanes {
    handles: Vec<Handle>,
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
            handles: Vec::with_capacity(count),
            next: AtomicUsize::new(0),
            stop: stop.clone(),
            threads: Mutex::default(),
        };
        for n in 0..count {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(8)
                .on_thread_park(coalesce)
                .build()?;
            lanes.handles.push(runtime.handle().clone());
            let stop = stop.clone();
            let thread = std::thread::Builder::new()
                .name(format!("lane-{n}"))
                .spawn(move || runtime.block_on(stop.cancelled()))?;
            lanes.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(lanes)
    }

    /// The lane of the next stream, in turn.
    pub(super) fn pick(&self) -> Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len().max(1);
        // There is at least one; the server's runtime would do as well.
        self.handles.get(turn).cloned().unwrap_or_else(Handle::current)
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
    use super::*;

    #[tokio::test]
    async fn streams_take_turns_and_all_lanes_end() {
        let lanes = Lanes::start().unwrap();
        let count = lanes.handles.len();
        let mut names = Vec::new();
        for _ in 0..count * 2 {
            let name =
                lanes.pick().spawn(async { std::thread::current().name().map(str::to_owned) });
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
