//! `/storage`: how full the volumes are, what retention does next, and an administrator's word that
//! the clock is right.

use std::collections::HashMap;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, LimitName, LimitReport, NotAccepted, ObstacleName, VolumeReport,
    audit::AuditAction,
    auth::Caller,
    camera_view::RoleName,
    error::{ApiError, Mistakes, Problem, Result, chain},
    extract::{Fields, JsonObject, Params},
};
use crate::{
    access::Action,
    disk::{self, VolumeState},
    id::{Slug, StreamId},
};

/// Longest path of a volume, characters.
const MAX_PATH: usize = 4_096;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(storage))
        .routes(routes!(plan))
        .routes(routes!(confirm_clock))
        .routes(routes!(accept_volume))
}

/// The volumes, and how far back footage goes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Storage {
    volumes: Vec<VolumeView>,
    /// By camera, main first; last those of cameras that were deleted.
    streams: Vec<FootageView>,
    /// Null unless deletion by age is held.
    age_hold: Option<AgeHold>,
    /// What somebody should know although everything is recorded.
    warnings: Vec<String>,
}

/// A volume.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Volume)]
struct VolumeView {
    /// Its root folder.
    path: String,
    state: VolumeState,
    /// Why it is not ready.
    reason: Option<String>,
    /// Another volume, or a disk without a marker, stands in its place: `POST /storage/accept-volume`
    /// has it be this volume.
    replaced: bool,
    /// Since when it is in that state.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Bytes of footage on it.
    bytes: u64,
    /// Free bytes of its file system.
    free_bytes: u64,
    /// Size of its file system.
    total_bytes: u64,
    /// As configured.
    max_bytes: Option<u64>,
    /// As configured.
    min_free_bytes: u64,
    /// Written of late; null until that is known.
    write_bytes_per_second: Option<f64>,
    /// Until it is full at this rate, and the oldest footage goes; null when it does not fill up.
    days_left: Option<f64>,
    /// How many days of footage fit on it at this rate.
    holds_days: Option<f64>,
}

impl From<VolumeReport> for VolumeView {
    fn from(v: VolumeReport) -> Self {
        Self {
            path: v.path,
            state: v.state,
            reason: v.reason,
            replaced: v.replaced,
            since: v.since.map(|t| t.to_string()),
            bytes: v.bytes,
            free_bytes: v.free_bytes,
            total_bytes: v.total_bytes,
            max_bytes: v.max_bytes,
            min_free_bytes: v.min_free_bytes,
            write_bytes_per_second: v.write_bytes_per_second,
            days_left: v.days_left,
            holds_days: v.holds_days,
        }
    }
}

/// What a stream has on record.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StreamFootage)]
struct FootageView {
    #[serde(flatten)]
    of: StreamOf,
    bytes: u64,
    /// Where its oldest footage begins.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest: Option<String>,
}

/// Whose footage it is.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
struct StreamOf {
    #[schema(value_type = Option<String>)]
    camera: Option<Slug>,
    stream: Option<RoleName>,
    /// The camera was deleted, or the stream taken out, and its footage kept.
    removed: bool,
}

/// Deletion by age is held: the clock may be wrong.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct AgeHold {
    #[schema(value_type = String, format = DateTime)]
    since: String,
    /// How far the clock went forward.
    jump_seconds: f64,
    /// When it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<String>,
}

/// What retention would do now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Plan {
    #[schema(value_type = String, format = DateTime)]
    at: String,
    /// Null unless nothing is deleted at present, and then why.
    paused: Option<String>,
    /// Null unless deletion by age is held.
    age_hold: Option<AgeHold>,
    /// Limits that are not met, or were not without the deletions below.
    limits: Vec<LimitView>,
    /// The segments that go next, the first one first.
    items: Vec<Deletion>,
    /// There are more than are listed.
    more: bool,
}

/// A limit.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = LimitState)]
struct LimitView {
    limit: LimitName,
    #[serde(flatten)]
    of: StreamOf,
    volume: Option<String>,
    /// Seconds of an age, else bytes; of `free_space` the bytes that have to be free.
    allowed: u64,
    /// What there is, in the same unit.
    now: u64,
    /// What there will be after the deletions below.
    after: u64,
    /// What keeps it from being met; null when nothing does.
    blocked_by: Option<ObstacleName>,
}

/// A segment that goes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Deletion {
    /// Why it goes.
    limit: LimitName,
    #[serde(flatten)]
    of: StreamOf,
    volume: String,
    #[schema(value_type = String, format = DateTime)]
    start: String,
    #[schema(value_type = String, format = DateTime)]
    end: String,
    bytes: u64,
}

/// What came of confirming the clock.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ClockConfirmed {
    /// Whether deletion by age was held, and no longer is.
    released: bool,
}

/// The volumes: how full they are, how fast they fill, and how far back footage goes.
#[utoipa::path(get, path = "/storage", tag = "storage", operation_id = "storage",
    responses((status = 200, body = Storage)))]
async fn storage(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Storage>> {
    caller.may(Action::ReadStatus, None)?;
    params.finish()?;
    let names = names(&api).await?;
    let footage = api.storage.footage().into_iter();
    let mut streams: Vec<_> = footage
        .map(|f| FootageView {
            of: of(&names, Some(f.stream)),
            bytes: f.bytes,
            oldest: f.oldest.map(|t| t.to_string()),
        })
        .collect();
    streams.sort_by(|a, b| {
        let (a, b) = (&a.of, &b.of);
        (a.removed, &a.camera, a.stream).cmp(&(b.removed, &b.camera, b.stream))
    });
    Ok(Json(Storage {
        volumes: api.storage.volumes().into_iter().map(VolumeView::from).collect(),
        streams,
        age_hold: age_hold(&api),
        warnings: api.storage.warnings(),
    }))
}

/// What retention would delete next and why, and which limits cannot be met. Nothing is deleted by asking.
#[utoipa::path(get, path = "/storage/plan", tag = "storage", operation_id = "storage_plan",
    params(("limit" = Option<u32>, Query, description = "1 to 1000 segments; 100 unless told")),
    responses((status = 200, body = Plan), (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn plan(State(api): State<Api>, caller: Caller, mut params: Params) -> Result<Json<Plan>> {
    caller.may(Action::ReadStatus, None)?;
    let limit = params.limit() as usize;
    params.finish()?;
    let names = names(&api).await?;
    let plan = api.storage.plan().await?;
    let more = plan.more || plan.deletions.len() > limit;
    let items = plan.deletions.into_iter().take(limit).map(|d| Deletion {
        limit: d.limit,
        of: of(&names, Some(d.stream)),
        volume: d.volume,
        start: d.range.start.to_string(),
        end: d.range.end.to_string(),
        bytes: d.bytes,
    });
    Ok(Json(Plan {
        at: plan.at.to_string(),
        paused: plan.paused,
        age_hold: age_hold(&api),
        items: items.collect(),
        limits: plan.limits.into_iter().map(|l| LimitView::new(&names, l)).collect(),
        more,
    }))
}

/// Says that the clock is right after it jumped: deletion by age, which was held, goes on.
#[utoipa::path(post, path = "/storage/confirm-clock", tag = "storage", operation_id = "confirm_clock",
    responses((status = 200, body = ClockConfirmed),
        (status = 403, body = Problem, content_type = "application/problem+json")))]
async fn confirm_clock(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
) -> Result<Json<ClockConfirmed>> {
    caller.may(Action::ManageStorage, None)?;
    params.finish()?;
    let worker = api.clone();
    let released = api
        .carry_out(async move {
            let released = worker.storage.confirm_clock();
            tracing::info!(by = %caller.principal.name, released, "clock confirmed");
            let detail = if released { "deletion by age goes on" } else { "it was not held" };
            caller.note(&worker, AuditAction::ClockConfirm, "", detail).await;
            Ok(released)
        })
        .await?;
    Ok(Json(ClockConfirmed { released }))
}

/// A disk to accept.
#[derive(Debug, utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
struct AcceptVolume {
    /// `path` of the volume whose disk was replaced.
    #[schema(example = "/srv/footage")]
    volume: String,
}

/// Says that the disk that stands in a volume's place, empty or with footage of another recorder, is
/// that volume from now on. What lay on the old disk is footage no longer: its time becomes gaps for
/// `disk_error`, locked ranges too, by and by.
#[utoipa::path(post, path = "/storage/accept-volume", tag = "storage", operation_id = "accept_volume",
    request_body = AcceptVolume,
    responses((status = 204),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "no volume has that path", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "nothing else stands in its place, or what stands there cannot be used", body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn accept_volume(
    State(api): State<Api>,
    caller: Caller,
    JsonObject(body): JsonObject,
) -> Result<StatusCode> {
    caller.may(Action::ManageStorage, None)?;
    let mut mistakes = Mistakes::default();
    let mut f = Fields::new("", body, &mut mistakes);
    let volume = f.text("volume", MAX_PATH);
    if volume.is_none() {
        f.mistake("volume", "is required: the path of a volume");
    }
    f.finish();
    mistakes.check()?;
    let volume = volume.unwrap_or_default();
    let worker = api.clone();
    api.carry_out(async move {
        worker.storage.accept_volume(volume.clone()).await.map_err(|e| refused(&volume, e))?;
        tracing::warn!(by = %caller.principal.name, %volume, "another disk is a volume now");
        let detail = "the disk in its place is the volume; footage of the old one is given up";
        caller.note(&worker, AuditAction::VolumeAccept, &volume, detail).await;
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn refused(volume: &str, error: NotAccepted) -> ApiError {
    match error {
        NotAccepted::Store(error) => error.into(),
        NotAccepted::Disk(disk::NotAccepted::Unknown) => ApiError::UnknownVolume(volume.to_owned()),
        NotAccepted::Disk(error) => ApiError::NotAccepted(chain(&error)),
    }
}

impl LimitView {
    fn new(names: &Names, limit: LimitReport) -> Self {
        Self {
            limit: limit.limit,
            of: of(names, limit.stream),
            volume: limit.volume,
            allowed: limit.allowed,
            now: limit.now,
            after: limit.after,
            blocked_by: limit.blocked_by,
        }
    }
}

type Names = HashMap<StreamId, StreamOf>;

/// Hidden streams and deleted cameras have names as well, as long as footage of them is kept.
async fn names(api: &Api) -> Result<Names> {
    let streams = api.store.footage_streams().await?.into_iter();
    let named = streams.map(|s| {
        let (camera, stream) = (Some(s.slug), Some(s.role.into()));
        (s.stream, StreamOf { camera, stream, removed: !s.configured })
    });
    Ok(named.collect())
}

fn of(names: &Names, stream: Option<StreamId>) -> StreamOf {
    stream.and_then(|id| names.get(&id)).cloned().unwrap_or_default()
}

fn age_hold(api: &Api) -> Option<AgeHold> {
    api.storage.age_hold().map(|hold| AgeHold {
        since: hold.since.to_string(),
        jump_seconds: hold.jump.as_secs_f64(),
        until: hold.until.map(|t| t.to_string()),
    })
}
