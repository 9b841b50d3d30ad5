//! Volumes, retention and the clock, as the API and the metrics see them.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

use super::{
    index,
    journal::{Journal, Topic},
};
use crate::{
    clock::{AgeHold, Clock},
    disk::{VolumeHealth, VolumeState, Volumes},
    http::{
        HoldReport, LimitName, LimitReport, NotAccepted, ObstacleName, PlanReport, PlannedDeletion,
        StorageControl, StreamFootage, VolumeReport,
    },
    id::CameraId,
    model::EventKind,
    proto::time::{WallSpan, WallTime},
    rebuild::Progress,
    retention::{
        self, OnHold, Report, Retention, RetentionError,
        plan::{Blocked, LimitState, Reason, Scope, State},
    },
    store::{Store, StoreError},
    task::Health,
};

/// Limits that one answer lists.
const LIMITS: usize = 1_000;
pub(super) const DAY_SECONDS: f64 = 86_400.0;

/// What is known of all that keeps footage.
pub(super) struct Storage {
    pub(super) store: Store,
    pub(super) volumes: Arc<Volumes>,
    pub(super) retention: Arc<Retention>,
    /// How retention's task does.
    pub(super) retaining: watch::Receiver<Health>,
    pub(super) age: AgeHold,
    /// How far the index is, when it had to be made again.
    pub(super) rebuild: Arc<Progress>,
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    /// Wakes who takes out the rows of a disk that was replaced.
    pub(super) replaced: Arc<Notify>,
}

impl StorageControl for Storage {
    fn volumes(&self) -> Vec<VolumeReport> {
        let report = self.retention.report();
        let now = self.clock.now();
        self.volumes.health().into_iter().map(|health| volume(health, now, &report)).collect()
    }

    fn footage(&self) -> Vec<StreamFootage> {
        let report = self.retention.report();
        let streams = report.streams.iter();
        streams
            .map(|s| StreamFootage { stream: s.stream, bytes: s.bytes, oldest: s.oldest })
            .collect()
    }

    fn plan(&self) -> BoxFuture<'_, Result<PlanReport, StoreError>> {
        Box::pin(async move {
            let report = self.retention.plan().await.map_err(|e| match e {
                RetentionError::Store(e) => e,
            })?;
            Ok(plan(&report))
        })
    }

    fn age_hold(&self) -> Option<HoldReport> {
        let held = self.age.held()?;
        let until = self.clock.now() + WallSpan::from(held.left);
        Some(HoldReport { since: held.since, jump: held.ahead, until: Some(until) })
    }

    fn confirm_clock(&self) -> bool {
        let released = self.age.confirm();
        self.retention.wake();
        released
    }

    fn camera_deleted(&self, camera: CameraId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.volumes.note_deleted_camera(camera, self.clock.now()).await == 0 {
                tracing::error!(
                    %camera,
                    "no volume could note that the camera's footage is deleted: should the index be \
                     lost before its files are unlinked, they come back"
                );
            }
        })
    }

    fn accept_volume(&self, name: String) -> BoxFuture<'_, Result<(), NotAccepted>> {
        Box::pin(async move {
            let id = self.volumes.stand_in(&name).await?;
            // From here on it is done, also if we die.
            self.store.replace_volume(&name, &id).await?;
            self.volumes.accept(&name, &id);
            self.replaced.notify_one();
            let words = format!("{name}: the disk that stands there is the volume from now on");
            self.journal.tell(Topic::Volume(name), EventKind::VolumeReplaced, words);
            Ok(())
        })
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (state, words) in [
            (VolumeState::Missing, "not there"),
            (VolumeState::Failing, "failing"),
            (VolumeState::ReadOnly, "read-only"),
            (VolumeState::Full, "full"),
        ] {
            let health = self.volumes.health();
            let count = health.iter().filter(|v| v.state == state).count();
            if count > 0 {
                problems.push(format!("{count} of {} volumes {words}", health.len()));
            }
        }
        if let Some(trouble) = *self.store.watch_trouble().borrow() {
            let kind = trouble.as_str();
            problems
                .push(format!("the index cannot be written ({kind}); footage goes to its files"));
        }
        problems
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let report = self.retention.report();
        if self.age.held().is_some() {
            warnings
                .push("the clock may be wrong: nothing is deleted because of its age".to_owned());
        }
        if let Some(progress) = index::under_way(&self.rebuild) {
            warnings.push(progress);
        } else if let Some(OnHold::Rebuild(why)) = &report.on_hold {
            warnings.push(format!("the index is being made anew from the files ({why})"));
        }
        let mut blocked: Vec<_> = report
            .blocked()
            .filter(|(_, why)| *why != Blocked::Clock)
            .map(|(limit, why)| (limit.reason, why))
            .collect();
        blocked.sort_unstable();
        for same in blocked.chunk_by(|a, b| a == b) {
            if let Some((reason, why)) = same.first() {
                let (reason, why, n) = (reason.as_str(), why.as_str(), same.len());
                warnings.push(format!("limits that cannot be met: {n} of {reason}, {why}"));
            }
        }
        if matches!(*self.retaining.borrow(), Health::BackingOff { .. }) {
            warnings.push("retention fails and is tried again".to_owned());
        }
        warnings
    }
}

fn volume(health: VolumeHealth, now: WallTime, report: &Report) -> VolumeReport {
    let known = report.volumes.iter().find(|v| *v.volume == *health.path);
    let days = |seconds: Option<u64>| seconds.map(|s| s as f64 / DAY_SECONDS);
    let rate = known.and_then(|v| v.write_rate).map(|rate| rate as f64);
    VolumeReport {
        state: health.state,
        reason: health.reason,
        replaced: health.replaced,
        path: health.path,
        since: Some(now - WallSpan::from(Duration::from_secs(health.for_seconds))),
        bytes: known.map_or(0, |v| v.used_bytes),
        free_bytes: health.free_bytes,
        total_bytes: health.total_bytes,
        max_bytes: known.and_then(|v| v.max_bytes),
        min_free_bytes: known.map_or(0, |v| v.min_free_bytes),
        queue_seconds: health.queue_seconds,
        write_bytes_per_second: rate,
        days_left: days(known.and_then(|v| v.seconds_left)),
        holds_days: days(known.and_then(|v| v.seconds_held)),
    }
}

fn plan(report: &Report) -> PlanReport {
    let steps = report.steps.iter();
    let deletions = steps.flat_map(|step| {
        step.segments.iter().map(|pick| PlannedDeletion {
            stream: pick.stream,
            range: pick.start..pick.end,
            bytes: pick.bytes,
            volume: step.volume.to_string(),
            limit: limit_name(step.reason),
        })
    });
    let unmet = report.limits.iter().filter(|l| l.state != State::Met);
    PlanReport {
        at: report.at,
        deletions: deletions.collect(),
        more: report.more,
        limits: unmet.take(LIMITS).map(limit).collect(),
        paused: report.on_hold.as_ref().map(|OnHold::Rebuild(why)| {
            format!("the index is being made anew from the files ({why})")
        }),
    }
}

fn limit(state: &LimitState) -> LimitReport {
    // Ages are in microseconds.
    let shown = |value: u64| match state.reason {
        Reason::Age => Duration::from_micros(value).as_secs(),
        Reason::StreamBytes | Reason::VolumeBytes | Reason::FreeSpace => value,
    };
    let (stream, volume) = match &state.scope {
        Scope::Stream(id) => (Some(*id), None),
        Scope::Volume(name) => (None, Some(name.to_string())),
    };
    LimitReport {
        limit: limit_name(state.reason),
        stream,
        volume,
        allowed: shown(state.limit),
        now: shown(state.now),
        after: shown(state.after),
        blocked_by: match state.state {
            State::Blocked(why) => Some(obstacle(why)),
            State::Met | State::Underway => None,
        },
    }
}

const fn limit_name(reason: Reason) -> LimitName {
    match reason {
        Reason::Age => LimitName::Age,
        Reason::StreamBytes => LimitName::StreamBytes,
        Reason::VolumeBytes => LimitName::VolumeBytes,
        Reason::FreeSpace => LimitName::FreeSpace,
    }
}

const fn obstacle(blocked: Blocked) -> ObstacleName {
    match blocked {
        Blocked::Clock => ObstacleName::Clock,
        Blocked::Locked => ObstacleName::Locked,
        Blocked::Leased => ObstacleName::Leased,
        Blocked::Recording => ObstacleName::Recording,
        Blocked::OthersFiles => ObstacleName::OthersFiles,
        Blocked::Unattainable => ObstacleName::Unattainable,
        Blocked::VolumeAway => ObstacleName::VolumeAway,
    }
}

/// Of retention, for the metrics.
impl Storage {
    pub(super) fn report(&self) -> Arc<Report> {
        self.retention.report()
    }

    pub(super) fn counters(&self) -> &retention::Counters {
        self.retention.counters()
    }
}
