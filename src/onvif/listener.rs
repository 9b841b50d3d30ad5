//! One camera's events, supervised: subscribe, fetch, renew; and again after each failure, with a
//! back-off. What it tells stands on the timeline as marks with source `onvif`, and is told to
//! whoever records because of it, at once and again as long as it lasts.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use super::{
    Device, OnvifError, Subscription, limits,
    notices::{Change, Notices},
};
use crate::{
    clock::Clock,
    id::{CameraId, EventId, Slug},
    model::Mark,
    proto::time::{WallSpan, WallTime},
    store::Store,
    task::{Attempt, Connects, Health, Policy, supervise},
};

/// The source of these marks.
const SOURCE: &str = "onvif";
/// How often it is said of an event that it lasts. A camera says so only when it ends.
const SAID_EVERY: Duration = Duration::from_secs(2);
/// Of an event that lasts it is said that it lasts so much longer: a word that comes late must not
/// cut the footage.
const LASTS_ON: WallSpan = WallSpan::from_secs(4);

/// Who wants to know what happens: its kind, when it began, and its end as far as that is known.
/// Must not wait.
pub type Tell = Arc<dyn Fn(&str, WallTime, Option<WallTime>) + Send + Sync>;

/// Everything it takes to hear one camera.
pub struct Listener {
    /// Whose events.
    pub camera: CameraId,
    /// For logs.
    pub slug: Slug,
    /// Whom to ask.
    pub device: Arc<dyn Device>,
    /// Where they go.
    pub store: Store,
    /// The recorder's clock.
    pub clock: Clock,
    /// Hears of it too.
    pub tell: Tell,
    /// Says how it goes.
    pub status: Arc<EventsStatus>,
    /// Shared by all listeners of the process.
    pub connects: Connects,
    /// When to try again: [`Listener::POLICY`].
    pub policy: Policy,
}

/// How it goes. Shared by the listener and the API.
#[derive(Debug)]
pub struct EventsStatus {
    health: watch::Sender<Health>,
    /// When the state began, as it was first told.
    told: Mutex<Option<(Instant, WallTime)>>,
    heard: AtomicU64,
    marked: AtomicU64,
    dropped: AtomicU64,
    last_us: AtomicI64,
}

/// The same at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsState {
    /// What its supervisor does.
    pub health: &'static str,
    /// Since when.
    pub since: WallTime,
    /// Why the last attempt ended, in plain words; `None` while it listens.
    pub detail: Option<Arc<str>>,
    /// When the next attempt begins.
    pub retry_at: Option<WallTime>,
    /// What the camera told, all of it.
    pub heard: u64,
    /// Events put on the timeline.
    pub marked: u64,
    /// Events left out, since there were too many.
    pub dropped: u64,
    /// When it last put one there.
    pub last: Option<WallTime>,
}

const NEVER: i64 = i64::MIN;

impl EventsStatus {
    /// Of a camera that nobody listens to.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            health: watch::Sender::new(Health::Stopped { since: Instant::now() }),
            told: Mutex::default(),
            heard: AtomicU64::new(0),
            marked: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            last_us: AtomicI64::new(NEVER),
        })
    }

    /// The supervisor's word; also to wait for a change.
    #[must_use]
    pub const fn health(&self) -> &watch::Sender<Health> {
        &self.health
    }

    /// Everything, as of now.
    #[must_use]
    pub fn snapshot(&self, clock: &Clock) -> EventsState {
        let (wall, now) = (clock.now(), Instant::now());
        let (health, since, last, retry_at) = match self.health.borrow().clone() {
            Health::Starting { since, last } => ("connecting", since, last, None),
            Health::Working { since } => ("listening", since, None, None),
            Health::BackingOff { since, retry_at, last } => {
                ("backing_off", since, Some(last), Some(retry_at))
            }
            Health::Stopped { since } => ("stopped", since, None, None),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match *told {
            Some((of, wall)) if of == since => wall,
            _ => {
                let ago = WallSpan::from(now.saturating_duration_since(since));
                told.insert((since, wall - ago)).1
            }
        };
        let last_us = self.last_us.load(Relaxed);
        EventsState {
            health,
            since,
            detail: last.map(|ended| ended.detail),
            retry_at: retry_at.map(|at| wall + WallSpan::from(at.saturating_duration_since(now))),
            heard: self.heard.load(Relaxed),
            marked: self.marked.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            last: (last_us != NEVER).then(|| WallTime::from_micros(last_us)),
        }
    }
}

impl Listener {
    /// Events matter less than footage and cost cameras more: they are asked for less often.
    pub const POLICY: Policy = Policy {
        first: Duration::from_secs(5),
        patience: Duration::from_secs(60),
        max: Duration::from_secs(120),
        ..Policy::CAMERA
    };

    /// Listens until `stop`, however often the camera fails. Returns when the last attempt has ended
    /// what lasted and said good-bye; spawn it into a `TaskTracker` or `JoinSet`.
    pub async fn run(self, stop: CancellationToken) {
        let span = info_span!("onvif", camera = %self.slug);
        let (health, policy) = (self.status.health.clone(), self.policy);
        let listener = Arc::new(self);
        let listening = supervise(policy, health, stop, move |attempt| {
            let listener = Arc::clone(&listener);
            async move { listener.attempt(&attempt).await }
        });
        listening.instrument(span).await;
    }

    async fn attempt(&self, attempt: &Attempt) -> Result<(), OnvifError> {
        let stop = attempt.stop();
        let begin = async {
            let _place = self.connects.permit().await;
            self.device.subscribe().await
        };
        let mut subscription = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            begun = begin => begun?,
        };
        attempt.works();
        let mut notices = Notices::default();
        let outcome = self.follow(subscription.as_mut(), &mut notices, stop).await;
        self.write(notices.close(self.clock.now())).await;
        subscription.end().await;
        outcome
    }

    async fn follow(
        &self,
        subscription: &mut dyn Subscription,
        notices: &mut Notices,
        stop: &CancellationToken,
    ) -> Result<(), OnvifError> {
        let mut renewed = Instant::now();
        loop {
            let began = Instant::now();
            let told = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                told = self.meanwhile(notices, subscription.pull()) => told?,
            };
            self.status.heard.fetch_add(told.len() as u64, Relaxed);
            let (now, at) = (self.clock.now(), Instant::now());
            let dropped = notices.dropped;
            let mut changes: Vec<_> = told
                .iter()
                .filter_map(|notice| {
                    notices.take(notice, now, at, || EventId::generate(&self.clock))
                })
                .collect();
            self.status.dropped.fetch_add(notices.dropped - dropped, Relaxed);
            changes.extend(notices.go_on(now, at));
            self.write(changes).await;
            if renewed.elapsed() >= limits::RENEW {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    outcome = self.meanwhile(notices, subscription.renew()) => match outcome {
                        // Some are renewed by being fetched from and know no other way. If this one is
                        // not, the next fetch fails, and a new subscription follows.
                        Ok(()) | Err(OnvifError::Fault { .. }) => renewed = Instant::now(),
                        Err(error) => return Err(error),
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep_until(began + limits::PULL_PACE) => {}
            }
        }
    }

    /// Does `work`, and says meanwhile what lasts.
    async fn meanwhile<F: Future>(&self, notices: &Notices, work: F) -> F::Output {
        let mut work = pin!(work);
        loop {
            let mut lasts = false;
            for (kind, start) in notices.lasting() {
                lasts = true;
                (self.tell)(kind, start, Some(self.clock.now() + LASTS_ON));
            }
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(SAID_EVERY), if lasts => {}
            }
        }
    }

    /// Into the index. What it refuses is lost, and said.
    async fn write(&self, changes: Vec<Change>) {
        for change in changes {
            let written = match change {
                Change::Begin { id, start, lasts, kind, note } => {
                    let mark = Mark {
                        id,
                        camera: self.camera,
                        start,
                        end: lasts.then_some(start),
                        kind: kind.to_owned(),
                        note,
                        source: SOURCE.to_owned(),
                    };
                    self.status.marked.fetch_add(1, Relaxed);
                    self.status.last_us.store(start.as_micros(), Relaxed);
                    // Before it is written: footage matters more than its mark.
                    (self.tell)(kind, start, lasts.then_some(start));
                    self.store.insert_mark(mark).await
                }
                Change::Until { id, end } => self.store.extend_mark(id, end).await,
            };
            if let Err(error) = written {
                tracing::error!(%error, "note what the camera tells");
            }
        }
    }
}
