//! Who sees what happens and tells the [`Journal`]: followers of the states that the parts publish
//! anyway. The parts themselves know nothing of events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Journal, Topic};
use crate::{
    disk::{VolumeState, Volumes},
    id::{CameraId, StreamId},
    model::EventKind,
    proto::reason::GapReason,
    record::{RecorderCounters, RecorderStatus},
    retention::{
        Report,
        plan::{Blocked, Scope},
    },
    store::Store,
    task::Health,
};

/// Tells of one stream.
#[derive(Clone, Debug)]
pub(in crate::app) struct Teller {
    pub(in crate::app) journal: Journal,
    pub(in crate::app) camera: CameraId,
    pub(in crate::app) stream: StreamId,
    /// `main`, `sub`.
    pub(in crate::app) role: &'static str,
}

impl Teller {
    /// One that nobody hears.
    #[cfg(test)]
    pub(in crate::app) fn deaf() -> Self {
        let (journal, _) = Journal::unread(crate::clock::Clock::system());
        Self { journal, camera: CameraId(1), stream: StreamId(1), role: "main" }
    }

    fn connection(&self, kind: EventKind, detail: &str) {
        let detail = format!("{}: {detail}", self.role);
        self.journal.tell_of((self.camera, self.stream), Topic::Camera(self.stream), kind, detail);
    }

    fn recording(&self, kind: EventKind, detail: &str) {
        let detail = format!("{}: {detail}", self.role);
        self.journal.tell_of(
            (self.camera, self.stream),
            Topic::Recording(self.stream),
            kind,
            detail,
        );
    }
}

/// How a stream's connection was last told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Connected,
    Gone(GapReason),
}

/// Tells when a camera's stream comes and goes. Ends when nobody publishes its state any more.
pub(in crate::app) async fn connection(tell: Teller, mut health: watch::Receiver<Health>) {
    let mut told = None;
    loop {
        let seen = health.borrow_and_update().clone();
        let now = match &seen {
            Health::Working { .. } => Some((Told::Connected, String::new())),
            // The attempt that has begun since says nothing yet.
            Health::BackingOff { last, .. } | Health::Starting { last: Some(last), .. } => {
                Some((Told::Gone(last.reason), format!("{}: {}", last.reason, last.detail)))
            }
            Health::Starting { last: None, .. } | Health::Stopped { .. } => None,
        };
        if let Some((now, why)) = now.filter(|(now, _)| told != Some(*now)) {
            told = Some(now);
            match now {
                Told::Connected => tell.connection(EventKind::CameraConnected, "it sends"),
                Told::Gone(_) => tell.connection(EventKind::CameraDisconnected, &why),
            }
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Tells when a stream's recording pauses and goes on. Ends with the recorder.
pub(in crate::app) async fn recording(
    tell: Teller,
    mut status: watch::Receiver<RecorderStatus>,
    counters: Arc<RecorderCounters>,
) {
    let mut paused: Option<(GapReason, Instant, u64)> = None;
    loop {
        let seen = status.borrow_and_update().clone();
        match seen {
            RecorderStatus::Failing { reason, error } => {
                if paused.as_ref().is_none_or(|(told, ..)| *told != reason) {
                    let kind = match reason {
                        GapReason::Overload => EventKind::Overload,
                        _ => EventKind::RecordingLost,
                    };
                    tell.recording(kind, &format!("{reason}: {error}"));
                    let shed = counters.shed_units.load(Relaxed);
                    let since = paused.map_or((Instant::now(), shed), |(_, at, shed)| (at, shed));
                    paused = Some((reason, since.0, since.1));
                }
            }
            RecorderStatus::Recording { .. } => {
                if let Some((_, since, shed)) = paused.take() {
                    let units = counters.shed_units.load(Relaxed).saturating_sub(shed);
                    let seconds = since.elapsed().as_secs_f64();
                    let words = format!("after {seconds:.1} s; {units} units were not recorded");
                    tell.recording(EventKind::RecordingBack, &words);
                }
            }
            RecorderStatus::Waiting | RecorderStatus::Stopped => {}
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Tells of volumes, the index, limits that cannot be kept and readers that lose their footage,
/// until `stop`.
pub(in crate::app) async fn keeping(
    journal: Journal,
    volumes: Arc<Volumes>,
    store: Store,
    mut reports: watch::Receiver<Arc<Report>>,
    stop: CancellationToken,
) {
    let mut changed = volumes.changed();
    let mut trouble = store.watch_trouble();
    let mut broken = volumes.leases().watch_broken();
    let mut states: BTreeMap<String, VolumeState> = BTreeMap::new();
    let mut blocked = BTreeSet::new();
    let mut readers = volumes.leases().counters().broken.load(Relaxed);
    // One that is in trouble at the start is told, one that is well is not.
    let mut index_is_well = true;
    loop {
        tell_volumes(&journal, &volumes, &mut states);
        let now = *trouble.borrow_and_update();
        if now.is_none() != index_is_well {
            index_is_well = now.is_none();
            match now {
                None => journal.tell(Topic::Index, EventKind::IndexBack, "it is written again"),
                Some(trouble) => {
                    let words = format!("{}: footage goes to its files", trouble.as_str());
                    journal.tell(Topic::Index, EventKind::IndexTrouble, words);
                }
            }
        }
        let report = reports.borrow_and_update().clone();
        tell_limits(&journal, &store, &report, &mut blocked).await;
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = changed.changed() => {}
            Ok(()) = trouble.changed() => {}
            Ok(()) = reports.changed() => {}
            Ok(()) = broken.changed() => {
                let stream = *broken.borrow_and_update();
                let count = volumes.leases().counters().broken.load(Relaxed);
                let lost = count.saturating_sub(std::mem::replace(&mut readers, count));
                if let Some(stream) = stream.filter(|_| lost > 0) {
                    let words = format!("{lost} readers lost their footage: a full disk needed the room");
                    let (topic, kind) = (Topic::Readers(stream), EventKind::LeaseBroken);
                    tell_of_stream(&journal, &store, stream, topic, kind, words).await;
                }
            }
        }
    }
}

fn tell_volumes(journal: &Journal, volumes: &Volumes, states: &mut BTreeMap<String, VolumeState>) {
    for health in volumes.health() {
        let before = states.insert(health.path.clone(), health.state);
        let before = before.unwrap_or(VolumeState::Ready);
        if before == health.state {
            continue;
        }
        let kind = match (before, health.state) {
            (VolumeState::Full, VolumeState::Ready) => EventKind::DiskRoom,
            (_, VolumeState::Ready) => EventKind::VolumeBack,
            (_, VolumeState::Full) => EventKind::DiskFull,
            _ => EventKind::VolumeLost,
        };
        let why = health.reason.map(|why| format!(": {why}")).unwrap_or_default();
        let words = format!("{} is {}{why}", health.path, health.state.as_str());
        journal.tell(Topic::Volume(health.path), kind, words);
    }
}

/// Limits that were kept until now. What passes by itself, and what other events tell, is left out.
async fn tell_limits(
    journal: &Journal,
    store: &Store,
    report: &Report,
    blocked: &mut BTreeSet<String>,
) {
    let mut now = BTreeSet::new();
    for (limit, why) in report.blocked() {
        let told_elsewhere = matches!(why, Blocked::Clock | Blocked::VolumeAway);
        if told_elsewhere || matches!(why, Blocked::Leased | Blocked::Recording) {
            continue;
        }
        let (reason, why) = (limit.reason.as_str(), why.as_str());
        let name = format!("{reason} of {}", limit.scope);
        let key = format!("{name}: {why}");
        if !blocked.contains(&key) {
            let (topic, kind) = (Topic::Limit(name.clone()), EventKind::LimitsNotKept);
            match &limit.scope {
                Scope::Volume(_) => {
                    journal.tell(topic, kind, format!("{name} cannot be kept: {why}"));
                }
                Scope::Stream(stream) => {
                    let words = format!("{reason} cannot be kept: {why}");
                    tell_of_stream(journal, store, *stream, topic, kind, words).await;
                }
            }
        }
        now.insert(key);
    }
    *blocked = now;
}

/// With the camera that the stream is of, where the index says so.
async fn tell_of_stream(
    journal: &Journal,
    store: &Store,
    stream: StreamId,
    topic: Topic,
    kind: EventKind,
    words: String,
) {
    let streams = store.footage_streams().await.unwrap_or_default();
    match streams.iter().find(|s| s.stream == stream) {
        Some(found) => journal.tell_of((found.camera, stream), topic, kind, words),
        None => journal.tell(topic, kind, words),
    }
}
