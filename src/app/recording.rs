//! Keeps one stream's recorder alive. A recorder sees to full and broken disks by itself; what is
//! left is a mistake of ours that panics, and that must cost a gap and not the camera.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch, task::JoinSet, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, Span};

use super::{
    cameras::Parts,
    journal::watch::{self as follow, Teller},
};
use crate::{
    http::Trouble,
    hub::Channel,
    proto::{reason::GapReason, time::WallTime},
    record::{Recorder, RecorderCounters, RecorderStatus, Target},
    task::Stop,
};

/// Between a recorder that panicked and the next: it may panic at the same unit again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A stream's recorder, whichever it is by now.
pub(super) struct Recording {
    stop: Stop,
    task: TaskTracker,
    state: Arc<State>,
}

struct State {
    /// The recorder that runs now; changed only after a panic.
    current: Mutex<Current>,
    /// The last one panicked and its successor has not yet recorded.
    panicked: AtomicBool,
}

#[derive(Clone)]
struct Current {
    status: watch::Receiver<RecorderStatus>,
    counters: Arc<RecorderCounters>,
}

impl Current {
    fn of(recorder: &Recorder) -> Self {
        Self { status: recorder.status(), counters: recorder.counters() }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Current> {
        // Two handles, replaced whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recording {
    /// Starts it. It has subscribed to `channel` when its task is first polled; the hub keeps what
    /// is published before that. `from`: see [`Recorder::beginning_at`].
    pub(super) fn start(
        target: Target,
        from: Option<WallTime>,
        parts: &Parts,
        channel: Arc<Channel>,
        parent: &CancellationToken,
        lane: &Handle,
        span: Span,
    ) -> Self {
        let parts = parts.clone();
        let tell = Teller {
            journal: parts.journal.clone(),
            camera: target.camera,
            stream: target.stream,
            role: target.role.as_str(),
        };
        let make = move || {
            let recorder = Recorder::new(
                target.clone(),
                parts.record,
                Arc::clone(&channel),
                Arc::clone(&parts.volumes),
                parts.store.clone(),
                parts.clock.clone(),
            );
            let recorder = recorder.beginning_at(from);
            (Current::of(&recorder), move |stop| recorder.run(stop))
        };
        Self::keep(make, tell, parent, lane, span)
    }

    /// `make` gives a recorder's handles and how to run it.
    fn keep<R, F>(
        make: impl Fn() -> (Current, R) + Send + 'static,
        tell: Teller,
        parent: &CancellationToken,
        lane: &Handle,
        span: Span,
    ) -> Self
    where
        R: FnOnce(Stop) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (current, first) = make();
        let state =
            Arc::new(State { current: Mutex::new(current), panicked: AtomicBool::new(false) });
        let stop = Stop::child_of(parent);
        let task = TaskTracker::new();
        let kept = keep(first, make, tell, stop.clone(), Arc::clone(&state)).instrument(span);
        task.spawn_on(kept, lane);
        task.close();
        Self { stop, task, state }
    }

    /// Ends it and waits until its last segment is complete.
    pub(super) async fn stop(&self, reason: GapReason) {
        self.stop.stop(reason);
        self.task.wait().await;
    }

    pub(super) fn is_recording(&self) -> bool {
        matches!(*self.state.lock().status.borrow(), RecorderStatus::Recording { .. })
    }

    /// It cannot do its work: the disk, or a mistake of ours.
    pub(super) fn is_failing(&self) -> bool {
        let failing = matches!(*self.state.lock().status.borrow(), RecorderStatus::Failing { .. });
        let ended = self.task.is_empty() && !self.stop.token().is_cancelled();
        failing || ended || (self.state.panicked.load(Ordering::Relaxed) && !self.is_recording())
    }

    /// The same in words, for people.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        if let RecorderStatus::Failing { reason, error } = &*self.state.lock().status.borrow() {
            return Some(Trouble { reason: *reason, detail: error.clone() });
        }
        let detail = || "the recorder failed and is started again".to_owned();
        self.is_failing().then(|| Trouble { reason: GapReason::Internal, detail: detail() })
    }

    /// What the recorder that runs now has counted.
    pub(super) fn counters(&self) -> Arc<RecorderCounters> {
        Arc::clone(&self.state.lock().counters)
    }
}

async fn keep<R, F>(
    mut run: R,
    make: impl Fn() -> (Current, R) + Send,
    tell: Teller,
    stop: Stop,
    state: Arc<State>,
) where
    R: FnOnce(Stop) -> F + Send,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut task = JoinSet::new();
        task.spawn(run(stop.clone()).in_current_span());
        let Current { status, counters } = state.lock().clone();
        let told = follow::recording(tell.clone(), status, counters);
        let ended = async {
            let ended = task.join_next().await;
            ended.and_then(Result::err)
        };
        let (ended, ()) = tokio::join!(ended, told);
        let Some(panicked) = ended else { return };
        if stop.token().is_cancelled() {
            return;
        }
        tracing::error!(error = %panicked, "the recorder panicked and is started again");
        state.panicked.store(true, Ordering::Relaxed);
        tokio::select! {
            () = stop.token().cancelled() => return,
            () = sleep(AGAIN_AFTER) => {}
        }
        let (current, next) = make();
        *state.lock() = current;
        run = next;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::{id::SegmentId, proto::time::WallTime};

    #[tokio::test(start_paused = true)]
    async fn a_recorder_that_panics_is_seen_to_fail_and_is_started_again() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let make = move || {
            let n = count.fetch_add(1, Ordering::SeqCst);
            let (sender, status) = watch::channel(RecorderStatus::Waiting);
            let run = move |stop: Stop| async move {
                assert!(n > 0, "the first one panics, as this test wants it");
                sender.send_replace(RecorderStatus::Recording {
                    segment: SegmentId(1),
                    since: WallTime::default(),
                });
                stop.token().cancelled().await;
            };
            (Current { status, counters: Arc::default() }, run)
        };
        let tell = Teller::deaf();
        let recording = Recording::keep(
            make,
            tell,
            &CancellationToken::new(),
            &Handle::current(),
            Span::none(),
        );
        while !recording.state.panicked.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        assert!(recording.is_failing() && !recording.is_recording());
        assert!(recording.trouble().is_some());
        sleep(AGAIN_AFTER * 2).await;
        assert!(recording.is_recording() && !recording.is_failing());
        assert_eq!(made.load(Ordering::SeqCst), 2);
        recording.stop(GapReason::VedetteDown).await;
        assert!(!recording.is_failing(), "one that was told to stop does not fail");
    }
}
