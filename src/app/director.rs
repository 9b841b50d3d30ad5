//! Carries out for one stream what [`Planner`] wants: starts and stops its pull and its recorder,
//! each by itself, and notes in the index what is expected of it. Where the camera publishes, its
//! place ([`publish`](crate::ingest::publish)) is the pull.
//!
//! ```text
//! orders (API) ┐
//! viewers (hub)├─▶ Planner ─▶ Wish ─▶ start recorder ─▶ start pull ─▶ stop recorder ─▶ stop pull
//! events       │                      (gap: starting)                (gap: why nothing is wanted)
//! clock        ┘
//! ```
//!
//! # Invariants
//!
//! * A stream never has two pulls or two recorders: the old one is awaited before a new one starts.
//! * Who watches notices nothing of a recorder that comes or goes.
//! * The recorder subscribes before the pull publishes, so that no first frame is missed. One that
//!   begins in the middle of what is live begins with the key frame at or before the moment from
//!   which on footage is wanted, and the gap ends there.
//! * The gap that lasts says whether footage is expected: it is `disabled` or `not_scheduled` from
//!   the moment it is not, and no longer from the moment it is. What a schedule wanted of a time in
//!   which nobody looked (the recorder was down, the machine slept) is told apart afterwards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, Span};

use super::{
    blame,
    cameras::{Parts, Plan},
    journal::watch::{self as follow, Teller},
    recording::Recording,
    when::{Order, Planner, Wanted, Window, Wish},
};
use crate::{
    hub::Channel,
    id::StreamId,
    ingest::{Landing, PullTarget, Puller, Resume, StreamStatus},
    model::{Gap, RecordMode},
    proto::{
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
    record,
    store::StoreError,
    task::{Connects, Stop},
};

/// Orders that wait while one is carried out. The API gives them one after another.
const ORDERS: usize = 4;
/// Hours that began longer ago began while the machine slept, or its clock leapt over that.
const LATE: WallSpan = WallSpan::from_secs(10);
/// Marks of the time before a start that are looked at: the newest.
const MARKS: u32 = 100;

/// A stream's director, as others reach it.
pub(super) struct Director {
    orders: mpsc::Sender<(Order, Option<String>, oneshot::Sender<()>)>,
    shared: Arc<Shared>,
    stop: Stop,
    task: TaskTracker,
}

#[derive(Default)]
struct Shared {
    /// Looked at by the API and the metrics, changed by the director.
    shown: Mutex<Shown>,
    /// What happened since the director last looked, as one.
    events: Mutex<Option<Window>>,
    happened: Notify,
}

/// What runs.
#[derive(Clone, Default)]
pub(super) struct Shown {
    pub(super) pull: Option<Arc<Pull>>,
    pub(super) recording: Option<Arc<Recording>>,
    pub(super) wish: Option<Wish>,
}

impl Shown {
    /// What it is wanted for.
    pub(super) fn wanted(&self) -> Wanted {
        self.wish.map_or(Wanted::Off, |wish| wish.wanted)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        // Each write leaves it whole.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn events(&self) -> MutexGuard<'_, Option<Window>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Pull {
    stop: Stop,
    task: TaskTracker,
}

impl Pull {
    async fn end(&self, reason: GapReason) {
        self.stop.stop(reason);
        self.task.wait().await;
    }

    fn is_dead(&self) -> bool {
        self.task.is_empty() && !self.stop.token().is_cancelled()
    }
}

/// What a director is built from.
pub(super) struct Cast {
    pub(super) plan: Plan,
    pub(super) parts: Parts,
    pub(super) connects: Connects,
    pub(super) status: Arc<StreamStatus>,
    pub(super) channel: Arc<Channel>,
    pub(super) lane: Handle,
    pub(super) span: Span,
}

impl Director {
    /// Starts it. Done when what is wanted now was started.
    pub(super) async fn start(cast: Cast, parent: &CancellationToken) -> Self {
        let (orders, received) = mpsc::channel(ORDERS);
        let shared = Arc::<Shared>::default();
        let stop = Stop::child_of(parent);
        let task = TaskTracker::new();
        let wall = cast.parts.clock.now();
        let span = cast.span.clone();
        let planner = Planner::new(cast.plan.order.clone(), wall);
        let work = Work {
            planner,
            volume: cast.plan.volume.clone(),
            channel: cast.channel,
            plan: cast.plan,
            parts: cast.parts,
            connects: cast.connects,
            status: cast.status,
            lane: cast.lane,
            span: cast.span,
            parent: parent.clone(),
            shared: Arc::clone(&shared),
            blame: None,
            noted: None,
            unusable: false,
        };
        let (begun, ready) = oneshot::channel();
        task.spawn(work.run(received, stop.clone(), begun).instrument(span));
        task.close();
        // It says so, or it panicked: then it is dead, and that shows.
        let _ = ready.await;
        Self { orders, shared, stop, task }
    }

    /// Ends pull and recorder, in this order, and waits for both.
    pub(super) async fn stop(&self, reason: GapReason) {
        self.stop.stop(reason);
        self.task.wait().await;
    }

    /// What is configured from now on; done when it is so. `volume` is where to record.
    pub(super) async fn order(&self, order: Order, volume: Option<String>) {
        let (done, carried_out) = oneshot::channel();
        if self.orders.send((order, volume, done)).await.is_ok() {
            let _ = carried_out.await;
        }
    }

    /// Something happened; carried out by and by.
    pub(super) fn event(&self, window: Window) {
        let mut events = self.shared.events();
        *events = Some(events.map_or(window, |known| known.and(window)));
        drop(events);
        self.shared.happened.notify_one();
    }

    pub(super) fn shown(&self) -> Shown {
        self.shared.lock().clone()
    }

    /// Its own task, or its pull's supervisor, is gone, which only a mistake of ours can do.
    pub(super) fn is_dead(&self) -> bool {
        let gone = self.task.is_empty() && !self.stop.token().is_cancelled();
        gone || self.shared.lock().pull.as_ref().is_some_and(|pull| pull.is_dead())
    }
}

struct Work {
    plan: Plan,
    parts: Parts,
    connects: Connects,
    status: Arc<StreamStatus>,
    channel: Arc<Channel>,
    lane: Handle,
    span: Span,
    parent: CancellationToken,
    shared: Arc<Shared>,
    planner: Planner,
    /// Where it is recorded, or would be.
    volume: Option<String>,
    /// Watches the camera while footage is expected.
    blame: Option<Blame>,
    /// Why nothing is expected, as the index has it; `None` while something is.
    noted: Option<GapReason>,
    /// The address cannot be pulled.
    unusable: bool,
}

struct Blame {
    stop: CancellationToken,
    task: TaskTracker,
}

type Orders = mpsc::Receiver<(Order, Option<String>, oneshot::Sender<()>)>;

impl Work {
    async fn run(mut self, mut orders: Orders, stop: Stop, begun: oneshot::Sender<()>) {
        let mut viewers = self.channel.viewers();
        self.begin().await;
        self.keep();
        // Some may have watched before, when the director was another.
        self.planner.viewers(*viewers.borrow_and_update(), Instant::now());
        let mut wish = self.settle(true).await;
        let _ = begun.send(());
        let shared = Arc::clone(&self.shared);
        loop {
            let mut done = None;
            tokio::select! {
                biased;
                () = stop.token().cancelled() => break,
                Some((order, volume, carried_out)) = orders.recv() => {
                    self.change(order, volume).await;
                    done = Some(carried_out);
                }
                // The sender lives in the channel that is held here.
                Ok(()) = viewers.changed() => {}
                () = shared.happened.notified() => {}
                () = sleep_until(wish.again.unwrap_or_else(Instant::now)), if wish.again.is_some() => {}
            }
            let count = *viewers.borrow_and_update();
            self.planner.viewers(count, Instant::now());
            if let Some(window) = shared.events().take() {
                self.planner.event(window);
            }
            wish = self.settle(false).await;
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
        let reason = stop.reason();
        let shown = self.shared.lock().clone();
        if let Some(pull) = shown.pull {
            pull.end(reason).await;
        }
        self.end_recording(reason).await;
        *self.shared.lock() = Shown::default();
    }

    const fn id(&self) -> StreamId {
        self.plan.stream.id
    }

    /// What went before.
    async fn begin(&mut self) {
        if let Err(error) = self.begin_to_count().await {
            tracing::error!(%error, "note since when footage is expected");
        }
        self.tell_apart().await;
        if self.planner.current().mode == RecordMode::Events
            && let Err(error) = self.remember_events().await
        {
            tracing::error!(%error, "read what happened before the start");
        }
        self.channel.forget_readable();
    }

    async fn change(&mut self, order: Order, volume: Option<String>) {
        let wall = self.parts.clock.now();
        if self.volume != volume {
            self.volume = volume;
            // The next one writes there, and goes on where this one ended.
            self.end_recording(GapReason::Reconfigured).await;
        }
        if *self.planner.current() != order {
            self.planner.order(order, wall);
        }
        self.keep();
    }

    /// What came before an event waits in the hub.
    fn keep(&self) {
        let order = self.planner.current();
        let by_events = order.enabled && order.mode == RecordMode::Events;
        self.channel.keep(by_events.then(|| order.when.events.before()));
    }

    /// Brings what runs in line with what is wanted.
    async fn settle(&mut self, first: bool) -> Wish {
        let wish = self.planner.wish(self.parts.clock.now(), Instant::now());
        self.shared.lock().wish = Some(wish);
        let shown = self.shared.lock().clone();
        if wish.record() && shown.recording.is_none() {
            self.begin_recording(&wish, first).await;
        }
        if wish.pull() && shown.pull.is_none() && !self.unusable {
            self.begin_pull().await;
        }
        if !wish.record() {
            let reason = self.planner.current().idle_reason();
            self.end_recording(reason).await;
            if self.noted != Some(reason) {
                self.expect_nothing(reason).await;
            }
        }
        if !wish.pull()
            && let Some(pull) = shown.pull
        {
            pull.end(self.planner.current().idle_reason()).await;
            self.shared.lock().pull = None;
        }
        wish
    }

    async fn begin_recording(&mut self, wish: &Wish, first: bool) {
        self.noted = None;
        // At the start nothing is live yet.
        let from = (!first).then_some(wish.since);
        // Hours that began while nobody looked are the recorder's.
        if !first && self.parts.clock.now() - wish.since > LATE {
            self.tell_apart().await;
        }
        let live = from.and_then(|from| self.channel.key_frame(from));
        // That very one, though others come before the recorder looks.
        let from = live.or(from);
        self.expect_footage(live, wish.since, first).await;
        let target = record::Target {
            camera: self.plan.camera,
            slug: self.plan.slug.clone(),
            stream: self.id(),
            role: self.plan.role,
            volume: self.volume.clone(),
        };
        let channel = Arc::clone(&self.channel);
        let span = self.span.clone();
        let recording =
            Recording::start(target, from, &self.parts, channel, &self.parent, &self.lane, span);
        self.shared.lock().recording = Some(Arc::new(recording));
        let stop = CancellationToken::new();
        let task = TaskTracker::new();
        let (store, clock) = (self.parts.store.clone(), self.parts.clock.clone());
        let blame = blame::camera(self.id(), Arc::clone(&self.status), store, clock);
        let blame = stop.clone().run_until_cancelled_owned(blame);
        task.spawn_on(
            async move {
                let _ = blame.await;
            }
            .instrument(self.span.clone()),
            &self.lane,
        );
        task.close();
        self.blame = Some(Blame { stop, task });
    }

    async fn end_recording(&mut self, reason: GapReason) {
        let Some(recording) = self.shared.lock().recording.clone() else { return };
        if let Some(blame) = self.blame.take() {
            blame.stop.cancel();
            blame.task.wait().await;
        }
        recording.stop(reason).await;
        self.shared.lock().recording = None;
    }

    async fn begin_pull(&mut self) {
        let Some(from) = self.landing() else {
            self.unusable = true;
            return;
        };
        let resume = self.resume().await.unwrap_or_else(|error| {
            tracing::error!(%error, "read where its footage ended");
            Resume::default()
        });
        let puller = Puller {
            stream: self.id(),
            camera: self.plan.slug.clone(),
            role: self.plan.role,
            from,
            channel: Arc::clone(&self.channel),
            status: Arc::clone(&self.status),
            clock: self.parts.clock.clone(),
            connects: self.connects.clone(),
            resume,
        };
        let stop = Stop::child_of(&self.parent);
        let task = TaskTracker::new();
        let tell = Teller {
            journal: self.parts.journal.clone(),
            camera: self.plan.camera,
            stream: self.id(),
            role: self.plan.role.as_str(),
        };
        let told = follow::connection(tell, self.status.health().subscribe());
        let pull = puller.run(stop.clone());
        let pulled = async move {
            tokio::select! {
                () = pull => {}
                () = told => {}
            }
        };
        task.spawn_on(pulled, &self.lane);
        task.close();
        self.shared.lock().pull = Some(Arc::new(Pull { stop, task }));
    }

    fn landing(&self) -> Option<Landing> {
        let (id, source, stream) = (self.id(), self.plan.source, &self.plan.stream);
        if source.is_publish() {
            return Some(Landing::Publish(self.parts.berths.open(id, source, stream.audio)));
        }
        let target = PullTarget::new(
            &stream.url,
            self.plan.username.clone(),
            self.plan.password.clone(),
            stream.transport,
            stream.audio,
        );
        // The API checks addresses; one that came in otherwise harms no other camera.
        target
            .inspect_err(|error| tracing::error!(%error, "the address cannot be pulled"))
            .ok()
            .map(|target| Landing::Pull(target.with_trust(self.plan.tls.clone())))
    }

    /// Where its footage ended, so that the next run begins after it or in a new epoch.
    async fn resume(&self) -> Result<Resume, StoreError> {
        let store = &self.parts.store;
        let Some(last) = store.newest_run(self.id()).await? else {
            return Ok(Resume::default());
        };
        let gap = store.open_gap_of(self.id()).await?;
        Ok(Resume {
            epoch: last.epoch,
            footage_end: Some(last.end.unwrap_or(last.start)),
            ended: gap.map_or(GapReason::VedetteDown, |g| g.reason),
        })
    }

    /// From now on missing footage counts: a gap that was there on purpose ends, where there is
    /// footage of it in the hub (`live`), else when footage is wanted.
    async fn expect_footage(&self, live: Option<WallTime>, since: WallTime, first: bool) {
        let now = self.parts.clock.now();
        let at = live.unwrap_or(if first { now } else { since.min(now) });
        let on_purpose = |reason: GapReason| !reason.counts_as_missing();
        let store = &self.parts.store;
        if let Err(error) = store.turn_gap(self.id(), at, GapReason::Starting, on_purpose).await {
            tracing::error!(%error, "note what is expected");
        }
    }

    /// From now on nothing counts as missing: a gap that lasts becomes one on purpose.
    async fn expect_nothing(&mut self, reason: GapReason) {
        self.tell_apart().await;
        let now = self.parts.clock.now();
        match self.parts.store.turn_gap(self.id(), now, reason, |_| true).await {
            Ok(_) => self.noted = Some(reason),
            Err(error) => tracing::error!(%error, "note what is expected"),
        }
    }

    /// What a schedule wanted of the time in which the gap has lasted.
    async fn tell_apart(&self) {
        if !self.planner.current().by_schedule() {
            return;
        }
        let (store, stream) = (&self.parts.store, self.id());
        let told = async {
            let Some(gap) = store.open_gap_of(stream).await? else { return Ok(()) };
            let now = self.parts.clock.now();
            for (at, reason) in self.planner.pieces(gap.start, gap.reason, now) {
                store.turn_gap(stream, at, reason, |_| true).await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = told.await {
            tracing::error!(%error, "note what the schedule wanted");
        }
    }

    /// Of a stream that is new, or added again, every moment counts from its creation on, and not
    /// from when its recorder got to run.
    async fn begin_to_count(&self) -> Result<(), StoreError> {
        let (store, stream) = (&self.parts.store, self.id());
        if store.open_gap_of(stream).await?.is_some() {
            return Ok(());
        }
        let created = self.plan.stream.created;
        let run = store.newest_run(stream).await?;
        let Some(end) = run.map_or(Some(created), |run| run.end) else { return Ok(()) };
        let order = self.planner.current();
        let wanted = order.enabled && order.mode.wants_footage();
        let reason = if wanted { GapReason::Starting } else { order.idle_reason() };
        store.open_gap(Gap { stream, start: end.max(created), end: None, reason }).await
    }

    /// What happened right before the start still has its time after it.
    async fn remember_events(&mut self) -> Result<(), StoreError> {
        let (wall, now) = (self.parts.clock.now(), Instant::now());
        let rule = self.planner.current().when.events.clone();
        let range = wall - rule.after()..wall + WallSpan::from_secs(1);
        let camera = Some(self.plan.camera);
        for mark in self.parts.store.marks_page(camera, range, None, MARKS).await? {
            if rule.wants(&mark.kind) {
                self.planner.event(Window::around(&rule, mark.start, mark.end, wall, now));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "director_tests.rs"]
mod tests;
