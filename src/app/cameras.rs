//! The running cameras: for each stream a [`Director`], which pulls and records it when that is
//! wanted.
//!
//! ```text
//! apply(camera) ─▶ plan of each stream ─▶ same as before? leave it alone
//!                                     ├─▶ only when it is recorded? the director sees to it
//!                                     └─▶ else stop the director ─▶ start it anew
//! ```
//!
//! # Invariants
//!
//! * A stream never has two directors: the old one is awaited before a new one starts.
//! * What is expected of a stream stands in the index ([`director`](super::director)). What a camera
//!   fails to send after the recorder is back is the camera's ([`blame`](super::blame)).
//! * After [`CameraSet::shut_down`] nothing starts any more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use futures_util::future::{BoxFuture, join_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info_span;

use super::{
    coverage::CoverageCache,
    director::{Cast, Director},
    journal::Journal,
    lanes::{Lane, Lanes},
    recording::Recording,
    when::{Order, Wanted, Window},
};
use crate::{
    clock::Clock,
    disk::Volumes,
    http::{CameraControl, Completeness, StreamState, WantedName},
    hub::Hub,
    id::{CameraId, Role, Slug, StreamId},
    ingest::{StreamStatus, publish::Berths},
    model::{Camera, CameraStream, RecordMode, Source},
    proto::{reason::GapReason, time::WallTime},
    record,
    store::{Store, StoreError},
    task::Connects,
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
    pub(super) berths: Berths,
}

/// All cameras that run.
pub(super) struct CameraSet {
    parts: Parts,
    connects: Connects,
    coverage: CoverageCache,
    /// Cancelled only when the drain takes too long.
    stop: CancellationToken,
    /// Small and sync-only: looked up by the API and the metrics, changed under `changes`.
    streams: Mutex<BTreeMap<StreamId, Arc<Stream>>>,
    /// Changes come one after another; `true` once shut down.
    changes: tokio::sync::Mutex<bool>,
}

/// Everything about a stream that, when it changes, changes what runs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) camera: CameraId,
    pub(super) slug: Slug,
    pub(super) role: Role,
    pub(super) stream: CameraStream,
    pub(super) source: Source,
    pub(super) username: Option<String>,
    pub(super) password: Option<crate::model::Secret>,
    pub(super) tls: crate::model::Trust,
    /// When it is pulled and recorded.
    pub(super) order: Order,
    /// Where it is recorded.
    pub(super) volume: Option<String>,
}

impl Plan {
    fn of(camera: &Camera, stream: &CameraStream) -> Self {
        Self {
            camera: camera.id,
            slug: camera.slug.clone(),
            role: stream.role,
            // Limits of retention are read where they are used; they restart nothing. The rest
            // stands in `order` and `volume`.
            stream: CameraStream { retention: None, record: None, volume: None, ..stream.clone() },
            source: camera.source,
            username: camera.username.clone(),
            password: camera.password.clone(),
            tls: camera.tls.clone(),
            order: Order {
                enabled: camera.enabled,
                mode: camera.mode_of(stream),
                when: camera.when.clone(),
                publishes: camera.source.is_publish(),
            },
            volume: stream.volume.clone().or_else(|| camera.volume.clone()),
        }
    }

    /// Whether the connection to the camera stays as it is.
    fn pulls_like(&self, other: &Self) -> bool {
        let Self { order, volume, .. } = other;
        *other == Self { order: order.clone(), volume: volume.clone(), ..self.clone() }
    }

    /// Whether footage is ever expected of it, without an event.
    fn records(&self) -> bool {
        self.order.enabled && self.order.mode.wants_footage()
    }
}

/// A configured stream, running or switched off.
pub(super) struct Stream {
    pub(super) plan: Plan,
    /// Kept through restarts, so that its counters only grow.
    pub(super) status: Arc<StreamStatus>,
    /// Kept while only its orders change.
    pub(super) director: Arc<Director>,
}

impl Stream {
    pub(super) const fn id(&self) -> StreamId {
        self.plan.stream.id
    }

    /// Its recorder, while footage is wanted.
    pub(super) fn recording(&self) -> Option<Arc<Recording>> {
        self.director.shown().recording
    }

    /// Ends the pull, then the recorder, and waits for both.
    async fn stop(&self, reason: GapReason) {
        self.director.stop(reason).await;
    }
}

impl CameraSet {
    pub(super) fn new(parts: Parts) -> Self {
        let coverage = CoverageCache::new(parts.store.clone(), parts.clock.clone());
        Self {
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
        join_all(streams.iter().map(|s| s.stop(GapReason::VedetteDown))).await;
    }

    /// Every stream, running or not.
    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        self.lock().values().cloned().collect()
    }

    /// How many watch a stream.
    pub(super) fn viewers(&self, stream: StreamId) -> usize {
        *self.parts.hub.channel(stream).viewers().borrow()
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
            let stream = match old {
                Some(old) if old.plan.pulls_like(&plan) => {
                    old.director.order(plan.order.clone(), plan.volume.clone()).await;
                    let (status, director) = (Arc::clone(&old.status), Arc::clone(&old.director));
                    Stream { plan, status, director }
                }
                Some(old) => {
                    let idle = plan.order.idle_reason();
                    old.stop(if plan.records() { reason } else { idle }).await;
                    self.begin(plan, Arc::clone(&old.status)).await
                }
                None => self.begin(plan, StreamStatus::new()).await,
            };
            self.lock().insert(id, Arc::new(stream));
        }
    }

    /// A stream that is configured no more: players see its end, its footage stays.
    async fn take_out(&self, stream: &Stream) {
        let id = stream.id();
        stream.stop(GapReason::Disabled).await;
        let (store, now) = (&self.parts.store, self.parts.clock.now());
        let counts = GapReason::counts_as_missing;
        if let Err(error) = store.turn_gap(id, now, GapReason::Disabled, counts).await {
            tracing::error!(%error, camera.slug = %stream.plan.slug, "note that nothing is expected");
        }
        self.parts.hub.remove(id);
        self.lock().remove(&id);
    }

    async fn begin(&self, plan: Plan, status: Arc<StreamStatus>) -> Stream {
        let id = plan.stream.id;
        let span = info_span!("camera", camera.slug = %plan.slug, stream = %plan.role);
        let channel = self.parts.hub.channel(id);
        let Lane { handle: lane, haste } = self.parts.lanes.pick();
        channel.served_by(haste);
        let cast = Cast {
            plan: plan.clone(),
            parts: self.parts.clone(),
            connects: self.connects.clone(),
            status: Arc::clone(&status),
            channel,
            lane,
            span,
        };
        let director = Arc::new(Director::start(cast, &self.stop).await);
        Stream { plan, status, director }
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
        })
    }

    fn status(&self, stream: StreamId) -> Option<StreamState> {
        let found = self.lock().get(&stream).cloned()?;
        let shown = found.director.shown();
        let recording = shown.recording.as_ref();
        Some(StreamState {
            pull: found.status.snapshot(&self.parts.clock),
            wanted: match shown.wanted() {
                Wanted::Off => WantedName::Off,
                Wanted::Idle => WantedName::Idle,
                Wanted::Open => WantedName::Open,
                Wanted::Watched => WantedName::Watched,
                Wanted::Standby => WantedName::Standby,
                Wanted::Recording => WantedName::Recording,
            },
            next_change: shown.wish.and_then(|wish| wish.next_change),
            viewers: self.viewers(stream),
            recording: recording.is_some_and(|r| r.is_recording()),
            trouble: recording.and_then(|r| r.trouble()),
            rows_waiting: recording.map_or(0, |r| r.counters().rows_waiting.load(Relaxed)),
        })
    }

    fn event(&self, camera: CameraId, kind: &str, start: WallTime, end: Option<WallTime>) {
        let (wall, now) = (self.parts.clock.now(), Instant::now());
        for stream in self.all().into_iter().filter(|s| s.plan.camera == camera) {
            let Order { enabled, mode, when, .. } = &stream.plan.order;
            if *enabled && *mode == RecordMode::Events && when.events.wants(kind) {
                stream.director.event(Window::around(&when.events, start, end, wall, now));
            }
        }
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
        let failing = streams.iter().filter_map(|s| s.recording());
        let failing = failing.filter(|r| r.is_failing()).count();
        if failing > 0 {
            problems.push(format!("{failing} recordings fail and are tried again"));
        }
        let dead = streams.iter().filter(|s| s.director.is_dead()).count();
        if dead > 0 {
            problems.push(format!("{dead} cameras are not pulled any more"));
        }
        problems
    }
}
