//! Which cameras are listened to by ONVIF: those that are on, say where, and want it. What they tell
//! is told to their directors, as what comes over the API is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::cameras::Streams;
use crate::{
    clock::Clock,
    id::{CameraId, Slug},
    model::{Camera, Onvif, Secret},
    onvif::{self, EventsState, EventsStatus, Listener, Login},
    store::Store,
    task::Connects,
};

/// All listeners that run.
pub(super) struct Listeners {
    streams: Arc<Streams>,
    store: Store,
    clock: Clock,
    connects: Connects,
    /// Small and sync-only; changed by one caller at a time ([`super::cameras::CameraSet`]).
    running: Mutex<BTreeMap<CameraId, Arc<Running>>>,
}

/// Everything that, when it changes, makes a restart necessary.
#[derive(PartialEq, Eq)]
struct Plan {
    slug: Slug,
    onvif: Onvif,
    username: Option<String>,
    password: Option<Secret>,
}

struct Running {
    plan: Plan,
    /// Kept through restarts, so that its counters only grow.
    status: Arc<EventsStatus>,
    stop: CancellationToken,
    task: TaskTracker,
}

impl Running {
    async fn stop(&self) {
        self.stop.cancel();
        self.task.wait().await;
    }
}

impl Plan {
    fn of(camera: &Camera) -> Option<Self> {
        let onvif = camera.onvif.clone().filter(|onvif| onvif.events && camera.enabled)?;
        let (username, password) = (camera.username.clone(), camera.password.clone());
        Some(Self { slug: camera.slug.clone(), onvif, username, password })
    }
}

impl Listeners {
    pub(super) fn new(streams: Arc<Streams>, store: Store, clock: Clock) -> Self {
        /// Subscribing costs a camera several requests; who waits loses nothing but some seconds.
        const AT_ONCE: usize = 16;
        let connects = Connects::new(AT_ONCE);
        Self { streams, store, clock, connects, running: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CameraId, Arc<Running>>> {
        // Poison only says that somebody panicked while looking.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts, restarts or stops what differs.
    pub(super) async fn make_it_so(&self, camera: &Camera) {
        let plan = Plan::of(camera);
        let old = self.lock().get(&camera.id).cloned();
        if old.as_ref().map(|o| &o.plan) == plan.as_ref() {
            return;
        }
        let status = match &old {
            Some(old) => {
                old.stop().await;
                Arc::clone(&old.status)
            }
            None => EventsStatus::new(),
        };
        let Some(plan) = plan else {
            self.lock().remove(&camera.id);
            return;
        };
        let login = plan.username.clone().map(|username| {
            let password = plan.password.clone();
            Login { username, password: password.unwrap_or_else(|| Secret::new(String::new())) }
        });
        let (streams, of, clock) = (Arc::clone(&self.streams), camera.id, self.clock.clone());
        let listener = Listener {
            tell: Arc::new(move |kind, start, end| streams.event(&clock, of, kind, start, end)),
            camera: camera.id,
            slug: plan.slug.clone(),
            device: onvif::device(plan.onvif.clone(), login, self.clock.clone()),
            store: self.store.clone(),
            clock: self.clock.clone(),
            status: Arc::clone(&status),
            connects: self.connects.clone(),
            policy: Listener::POLICY,
        };
        let (stop, task) = (CancellationToken::new(), TaskTracker::new());
        task.spawn(listener.run(stop.clone()));
        task.close();
        self.lock().insert(camera.id, Arc::new(Running { plan, status, stop, task }));
    }

    /// A camera that is configured no more.
    pub(super) async fn remove(&self, camera: CameraId) {
        let old = self.lock().remove(&camera);
        if let Some(old) = old {
            old.stop().await;
        }
    }

    /// Ends all; what lasts gets its end.
    pub(super) async fn shut_down(&self) {
        let all: Vec<_> = std::mem::take(&mut *self.lock()).into_values().collect();
        join_all(all.iter().map(|running| running.stop())).await;
    }

    /// How it goes; `None` for a camera that is not listened to.
    pub(super) fn status(&self, camera: CameraId) -> Option<EventsState> {
        let running = self.lock().get(&camera).cloned()?;
        Some(running.status.snapshot(&self.clock))
    }

    /// How many are not listened to any more although they should be: only a mistake of ours can do that.
    pub(super) fn dead(&self) -> usize {
        let running = self.lock();
        running.values().filter(|r| r.task.is_empty() && !r.stop.is_cancelled()).count()
    }
}
