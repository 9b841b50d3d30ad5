//! The running cameras: for each stream a pull and, when it is recorded, a recorder.
//!
//! ```text
//! apply(camera) ─▶ plan of each stream ─▶ same as before? leave it alone
//!                                     └─▶ stop pull ─▶ stop recorder ─▶ start both anew
//! ```
//!
//! # Invariants
//!
//! * A stream never has two pulls or two recorders: the old ones are awaited before new ones start.
//! * The recorder subscribes before the pull publishes, so that no first frame is missed.
//! * What is expected of a stream stands in the index: the gap of a stream that is switched off is
//!   `disabled` from that moment, and no longer from the moment it is switched on. What a camera
//!   fails to send after the recorder is back is the camera's ([`blame`]).
//! * After [`CameraSet::shut_down`] nothing starts any more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use futures_util::future::{BoxFuture, OptionFuture, join_all};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info_span};

use super::{
    blame,
    coverage::CoverageCache,
    journal::{
        Journal,
        watch::{self as follow, Teller},
    },
    lanes::{Lane, Lanes},
    onvif::Listeners,
    recording::Recording,
};
use crate::{
    clock::Clock,
    disk::Volumes,
    http::{CameraControl, Completeness, StreamState},
    hub::Hub,
    id::{CameraId, Role, Slug, StreamId},
    ingest::{PullTarget, Puller, Resume, StreamStatus},
    model::{Camera, CameraStream, Gap, RecordMode},
    onvif::EventsState,
    proto::reason::GapReason,
    record,
    store::{Store, StoreError},
    task::{Connects, Stop},
};

/// What the streams are built from.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) hub: Arc<Hub>,
    pub(super) volumes: Arc<Volumes>,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) record: record::Settings,
    pub(super) lanes: Arc<Lanes>,
    pub(super) journal: Journal,
}

/// All cameras that run.
pub(super) struct CameraSet {
    parts: Parts,
    connects: Connects,
    coverage: CoverageCache,
    listeners: Listeners,
    /// Cancelled only when the drain takes too long.
    stop: CancellationToken,
    /// Small and sync-only: looked up by the API and the metrics, changed under `changes`.
    streams: Mutex<BTreeMap<StreamId, Arc<Stream>>>,
    /// Changes come one after another; `true` once shut down.
    changes: tokio::sync::Mutex<bool>,
}

/// Everything about a stream that, when it changes, makes a restart necessary.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) camera: CameraId,
    pub(super) slug: Slug,
    pub(super) role: Role,
    pub(super) stream: CameraStream,
    username: Option<String>,
    password: Option<crate::model::Secret>,
    enabled: bool,
    recorded: bool,
    volume: Option<String>,
}

impl Plan {
    fn of(camera: &Camera, stream: &CameraStream) -> Self {
        Self {
            camera: camera.id,
            slug: camera.slug.clone(),
            role: stream.role,
            // Limits of retention are read where they are used; they restart nothing.
            stream: CameraStream { retention: None, ..stream.clone() },
            username: camera.username.clone(),
            password: camera.password.clone(),
            enabled: camera.enabled,
            recorded: stream.record.unwrap_or(camera.record) == RecordMode::Always,
            volume: stream.volume.clone().or_else(|| camera.volume.clone()),
        }
    }

    fn records(&self) -> bool {
        self.enabled && self.recorded
    }
}

/// A configured stream, running or switched off.
pub(super) struct Stream {
    pub(super) plan: Plan,
    /// Kept through restarts, so that its counters only grow.
    pub(super) status: Arc<StreamStatus>,
    pull: Option<Pull>,
    pub(super) recording: Option<Recording>,
}

struct Pull {
    stop: Stop,
    task: TaskTracker,
}

impl Stream {
    pub(super) const fn id(&self) -> StreamId {
        self.plan.stream.id
    }

    /// Ends the pull, then the recorder, and waits for both.
    async fn stop(&self, reason: GapReason) {
        if let Some(pull) = &self.pull {
            pull.stop.stop(reason);
            pull.task.wait().await;
        }
        if let Some(recording) = &self.recording {
            recording.stop(reason).await;
        }
    }

    /// Its pull's own supervisor is gone, which only a mistake of ours can do.
    fn is_dead(&self) -> bool {
        self.pull.as_ref().is_some_and(|p| p.task.is_empty() && !p.stop.token().is_cancelled())
    }
}

impl CameraSet {
    pub(super) fn new(parts: Parts) -> Self {
        let coverage = CoverageCache::new(parts.store.clone(), parts.clock.clone());
        let listeners = Listeners::new(parts.store.clone(), parts.clock.clone());
        Self {
            listeners,
            parts,
            connects: Connects::default(),
            coverage,
            stop: CancellationToken::new(),
            streams: Mutex::default(),
            changes: tokio::sync::Mutex::new(false),
        }
    }

    /// Starts every camera of the index.
    pub(super) async fn start(&self) -> Result<(), StoreError> {
        for camera in self.parts.store.cameras().await? {
            self.make_it_so(&camera, GapReason::Reconfigured).await;
        }
        Ok(())
    }

    /// Ends all pulls, then all recorders; nothing starts any more.
    pub(super) async fn shut_down(&self) {
        *self.changes.lock().await = true;
        let streams = self.all();
        // Together: neither waits for the other's farewells.
        let streams = join_all(streams.iter().map(|s| s.stop(GapReason::VedetteDown)));
        tokio::join!(streams, self.listeners.shut_down());
    }

    /// Every stream, running or not.
    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.lock().values().cloned().collect()
    }

    pub(super) const fn coverage(&self) -> &CoverageCache {
        &self.coverage
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamId, Arc<Stream>>> {
        // Poison only says that somebody panicked while looking.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make_it_so(&self, camera: &Camera, reason: GapReason) {
        let down = self.changes.lock().await;
        if *down {
            return;
        }
        let wanted: BTreeMap<StreamId, Plan> =
            camera.streams.iter().map(|s| (s.id, Plan::of(camera, s))).collect();
        let running: Vec<_> =
            self.all().into_iter().filter(|s| s.plan.camera == camera.id).collect();
        for old in &running {
            if !wanted.contains_key(&old.id()) {
                self.take_out(old).await;
            }
        }
        for (id, plan) in wanted {
            let old = running.iter().find(|s| s.id() == id);
            if old.is_some_and(|o| o.plan == plan) {
                continue;
            }
            if let Some(old) = old {
                let reason = if plan.records() { reason } else { GapReason::Disabled };
                old.stop(reason).await;
            }
            let status = old.map_or_else(StreamStatus::new, |o| Arc::clone(&o.status));
            let stream = self.begin(plan, status).await;
            self.lock().insert(id, Arc::new(stream));
        }
        self.listeners.make_it_so(camera).await;
    }

    /// A stream that is configured no more: players see its end, its footage stays.
    async fn take_out(&self, stream: &Stream) {
        let id = stream.id();
        stream.stop(GapReason::Disabled).await;
        if let Err(error) = self.expect_nothing(id).await {
            tracing::error!(%error, camera.slug = %stream.plan.slug, "note that nothing is expected");
        }
        self.parts.hub.remove(id);
        self.lock().remove(&id);
    }

    async fn begin(&self, plan: Plan, status: Arc<StreamStatus>) -> Stream {
        let id = plan.stream.id;
        let span = info_span!("camera", camera.slug = %plan.slug, stream = %plan.role);
        if let Err(error) = self.begin_to_count(&plan).await {
            tracing::error!(parent: &span, %error, "note since when footage is expected");
        }
        let noted = if plan.records() {
            self.expect_footage(id).await
        } else {
            self.expect_nothing(id).await
        };
        if let Err(error) = noted {
            tracing::error!(parent: &span, %error, "note what is expected");
        }
        if !plan.enabled {
            return Stream { plan, status, pull: None, recording: None };
        }
        let channel = self.parts.hub.channel(id);
        let Lane { handle: lane, haste } = self.parts.lanes.pick();
        channel.served_by(haste);
        let recording = plan.recorded.then(|| {
            let target = record::Target {
                camera: plan.camera,
                slug: plan.slug.clone(),
                stream: id,
                role: plan.role,
                volume: plan.volume.clone(),
            };
            let channel = Arc::clone(&channel);
            Recording::start(target, &self.parts, channel, &self.stop, &lane, span.clone())
        });
        if recording.is_none() {
            channel.forget_readable();
        }
        let target = PullTarget::new(
            &plan.stream.url,
            plan.username.clone(),
            plan.password.clone(),
            plan.stream.transport,
            plan.stream.audio,
        );
        let pull = match target {
            Ok(target) => {
                let resume = self.resume(id).await.unwrap_or_else(|error| {
                    tracing::error!(parent: &span, %error, "read where its footage ended");
                    Resume::default()
                });
                let puller = Puller {
                    stream: id,
                    camera: plan.slug.clone(),
                    role: plan.role,
                    target,
                    channel,
                    status: Arc::clone(&status),
                    clock: self.parts.clock.clone(),
                    connects: self.connects.clone(),
                    resume,
                };
                let stop = Stop::child_of(&self.stop);
                let task = TaskTracker::new();
                let blame = plan.records().then(|| {
                    let (store, clock) = (self.parts.store.clone(), self.parts.clock.clone());
                    blame::camera(id, Arc::clone(&status), store, clock).instrument(span)
                });
                let tell = Teller {
                    journal: self.parts.journal.clone(),
                    camera: plan.camera,
                    stream: id,
                    role: plan.role.as_str(),
                };
                let told = follow::connection(tell, status.health().subscribe());
                let pull = puller.run(stop.clone());
                let pulled = async move {
                    tokio::select! {
                        () = pull => {}
                        Some(()) = OptionFuture::from(blame) => {}
                        () = told => {}
                    }
                };
                task.spawn_on(pulled, &lane);
                task.close();
                Some(Pull { stop, task })
            }
            Err(error) => {
                // The API checks addresses; one that came in otherwise harms no other camera.
                tracing::error!(parent: &span, %error, "the address cannot be pulled");
                None
            }
        };
        Stream { plan, status, pull, recording }
    }

    /// Where its footage ended, so that the next run begins after it or in a new epoch.
    async fn resume(&self, stream: StreamId) -> Result<Resume, StoreError> {
        let runs = self.parts.store.runs(stream).await?;
        let Some(last) = runs.iter().max_by_key(|r| (r.epoch, r.start)) else {
            return Ok(Resume::default());
        };
        let gap = self.parts.store.open_gap_of(stream).await?;
        Ok(Resume {
            epoch: last.epoch,
            footage_end: Some(last.end.unwrap_or(last.start)),
            ended: gap.map_or(GapReason::VedetteDown, |g| g.reason),
        })
    }

    /// From now on missing footage counts: a gap that was there on purpose ends.
    async fn expect_footage(&self, stream: StreamId) -> Result<(), StoreError> {
        let on_purpose = |reason: GapReason| !reason.counts_as_missing();
        self.turn_gap(stream, GapReason::Starting, on_purpose).await
    }

    /// Of a stream that is new, or added again, every moment counts from its creation on, and not from
    /// when its recorder got to run.
    async fn begin_to_count(&self, plan: &Plan) -> Result<(), StoreError> {
        let (store, stream) = (&self.parts.store, plan.stream.id);
        if store.open_gap_of(stream).await?.is_some() {
            return Ok(());
        }
        let run = store.newest_run(stream).await?;
        let Some(end) = run.map_or(Some(plan.stream.created), |run| run.end) else { return Ok(()) };
        let reason = if plan.records() { GapReason::Starting } else { GapReason::Disabled };
        let start = end.max(plan.stream.created);
        store.open_gap(Gap { stream, start, end: None, reason }).await
    }

    /// From now on nothing counts as missing: a gap that lasts becomes one on purpose.
    async fn expect_nothing(&self, stream: StreamId) -> Result<(), StoreError> {
        self.turn_gap(stream, GapReason::Disabled, GapReason::counts_as_missing).await
    }

    async fn turn_gap(
        &self,
        stream: StreamId,
        reason: GapReason,
        from: fn(GapReason) -> bool,
    ) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        self.parts.store.turn_gap(stream, now, reason, from).await.map(|_| ())
    }
}

impl CameraControl for CameraSet {
    fn apply(&self, camera: Camera) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.make_it_so(&camera, GapReason::Reconfigured).await })
    }

    fn remove(&self, camera: Camera) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _down = self.changes.lock().await;
            let running = self.all().into_iter().filter(|s| s.plan.camera == camera.id);
            for stream in running {
                self.take_out(&stream).await;
            }
            self.listeners.remove(camera.id).await;
        })
    }

    fn events(&self, camera: CameraId) -> Option<EventsState> {
        self.listeners.status(camera)
    }

    fn status(&self, stream: StreamId) -> Option<StreamState> {
        let found = self.lock().get(&stream).cloned()?;
        let recording = found.recording.as_ref();
        Some(StreamState {
            pull: found.status.snapshot(&self.parts.clock),
            recording: recording.is_some_and(Recording::is_recording),
            trouble: recording.and_then(Recording::trouble),
            rows_waiting: recording.map_or(0, |r| r.counters().rows_waiting.load(Relaxed)),
        })
    }

    fn completeness(&self, stream: StreamId) -> BoxFuture<'_, Option<Completeness>> {
        Box::pin(async move {
            let created = self.lock().get(&stream).map(|s| s.plan.stream.created)?;
            self.coverage.of(stream, created).await
        })
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let streams = self.all();
        let failing = streams.iter().filter_map(|s| s.recording.as_ref());
        let failing = failing.filter(|r| r.is_failing()).count();
        if failing > 0 {
            problems.push(format!("{failing} recordings fail and are tried again"));
        }
        let dead = streams.iter().filter(|s| s.is_dead()).count();
        if dead > 0 {
            problems.push(format!("{dead} cameras are not pulled any more"));
        }
        let deaf = self.listeners.dead();
        if deaf > 0 {
            problems.push(format!("{deaf} cameras' events are not listened to any more"));
        }
        problems
    }
}
