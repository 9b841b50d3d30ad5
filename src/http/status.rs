//! How cameras are: `/cameras/{slug}/status` for one, `/status` for all at once.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, Completeness, StreamState, WantedName,
    auth::Caller,
    camera_view::RoleName,
    error::{Problem, Result},
    extract::{CameraSlug, Params},
};
use crate::{
    access::Action, id::Slug, ingest::PullState, model::Camera, onvif::EventsState,
    proto::time::WallTime,
};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(of_camera)).routes(routes!(of_all))
}

/// How a camera is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct CameraStatus {
    streams: Vec<StreamStatus>,
    /// How listening to its events goes; null when nobody listens.
    onvif: Option<OnvifStatus>,
}

/// How listening to a camera's events goes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct OnvifStatus {
    /// `connecting`, `listening`, `backing_off` or `stopped`.
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    since: String,
    /// Why it does not listen, in plain words.
    detail: Option<String>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    retry_at: Option<String>,
    /// What the camera told, all of it.
    heard: u64,
    /// Events put on the timeline.
    events: u64,
    /// Events left out, since there were too many.
    dropped: u64,
    /// When the last one began.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_event_at: Option<String>,
}

impl From<EventsState> for OnvifStatus {
    fn from(state: EventsState) -> Self {
        Self {
            state: state.health,
            since: state.since.to_string(),
            detail: state.detail.map(|detail| detail.to_string()),
            retry_at: state.retry_at.map(|at| at.to_string()),
            heard: state.heard,
            events: state.marked,
            dropped: state.dropped,
            last_event_at: state.last.map(|at| at.to_string()),
        }
    }
}

/// How everything is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Overview {
    version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    started: String,
    #[schema(value_type = String, format = DateTime)]
    now: String,
    /// Whether it records as configured (as `/readyz`).
    ready: bool,
    /// What keeps it from that, in words.
    problems: Vec<String>,
    /// What somebody should know although everything is recorded.
    warnings: Vec<String>,
    rtsp_port: u16,
    cameras: Vec<CameraOverview>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct CameraOverview {
    #[schema(value_type = String)]
    slug: Slug,
    name: String,
    enabled: bool,
    streams: Vec<StreamStatus>,
    /// How listening to its events goes; null when nobody listens.
    onvif: Option<OnvifStatus>,
}

/// How a stream is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StreamStatus)]
struct StreamStatus {
    role: RoleName,
    state: PullStateName,
    /// What it is wanted for. A stream that is `idle` is `stopped` on purpose: it is pulled as soon
    /// as somebody watches it.
    wanted: WantedName,
    /// When its schedule changes that; null where none does.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_change: Option<String>,
    /// How many watch it live.
    viewers: usize,
    /// Since when it is in that state.
    #[schema(value_type = String, format = DateTime)]
    since: String,
    /// Whether its footage goes to disk right now.
    recording: bool,
    /// Why the last attempt ended, a word of the gap reasons.
    reason: Option<&'static str>,
    /// The same in plain words.
    detail: Option<String>,
    /// When the next attempt begins.
    #[schema(value_type = Option<String>, format = DateTime)]
    retry_at: Option<String>,
    video: Option<Video>,
    audio: Option<Audio>,
    bitrate_bps: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_unit_at: Option<String>,
    reconnects: u64,
    /// Why it is not recorded although it should be and the camera sends; null when that is not so.
    not_recorded: Option<NotRecorded>,
    /// Footage that is on disk and that the index does not know yet: entries that wait for it.
    rows_waiting: u64,
    /// Seconds recorded over seconds expected in the last 24 hours, 0 to 1; null when nothing was expected.
    completeness_24h: Option<f64>,
    /// The same since the stream was created.
    completeness: Option<f64>,
    /// Seconds without footage in the last 24 hours, by reason.
    gap_seconds_24h: BTreeMap<&'static str, f64>,
}

/// What keeps footage from the disk.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct NotRecorded {
    /// As the gap says: `disk_full`, `disk_error`, `overload` …
    reason: &'static str,
    detail: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StreamState)]
enum PullStateName {
    Connecting,
    /// For a publisher.
    Waiting,
    Running,
    BackingOff,
    Stopped,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = VideoStatus)]
struct Video {
    codec: &'static str,
    width: u32,
    height: u32,
    /// Measured; null until there were enough pictures.
    fps: Option<f64>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AudioStatus)]
struct Audio {
    codec: &'static str,
    sample_rate: u32,
    channels: u8,
    /// Announced, but nothing comes.
    silent: bool,
}

/// How a camera's streams are.
#[utoipa::path(get, path = "/cameras/{slug}/status", tag = "cameras", operation_id = "camera_status",
    params(("slug" = String, Path)),
    responses((status = 200, body = CameraStatus), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn of_camera(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    params: Params,
) -> Result<Json<CameraStatus>> {
    caller.may(Action::ReadStatus, Some(&slug))?;
    params.finish()?;
    let camera = api.camera(&slug).await?;
    let onvif = api.control.events(camera.id).map(OnvifStatus::from);
    Ok(Json(CameraStatus { streams: streams(&api, &camera).await, onvif }))
}

/// How all cameras are, in one answer.
#[utoipa::path(get, path = "/status", tag = "cameras", operation_id = "status",
    responses((status = 200, body = Overview)))]
async fn of_all(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<Overview>> {
    caller.may(Action::ReadStatus, None)?;
    params.finish()?;
    let mut cameras = Vec::new();
    for camera in api.store.cameras().await? {
        let streams = streams(&api, &camera).await;
        let onvif = api.control.events(camera.id).map(OnvifStatus::from);
        let Camera { slug, name, enabled, .. } = camera;
        cameras.push(CameraOverview { slug, name, enabled, streams, onvif });
    }
    let problems = super::health::problems(&api);
    Ok(Json(Overview {
        version: api.settings.version,
        started: api.started.to_string(),
        now: api.clock.now().to_string(),
        ready: problems.is_empty(),
        problems,
        warnings: api.storage.warnings(),
        rtsp_port: api.settings.rtsp_port,
        cameras,
    }))
}

async fn streams(api: &Api, camera: &Camera) -> Vec<StreamStatus> {
    let mut streams = Vec::with_capacity(camera.streams.len());
    for stream in &camera.streams {
        let completeness = api.control.completeness(stream.id).await.unwrap_or_default();
        let state = api.control.status(stream.id);
        streams.push(StreamStatus::new(stream.role.into(), camera.updated, state, &completeness));
    }
    streams
}

impl StreamStatus {
    /// `state` is `None` for a stream that nobody pulls.
    fn new(
        role: RoleName,
        updated: WallTime,
        state: Option<StreamState>,
        completeness: &Completeness,
    ) -> Self {
        let gaps = completeness.day.gaps.iter();
        let gap_seconds_24h = gaps.map(|(r, span)| (r.as_str(), span.as_secs_f64())).collect();
        let completeness_24h = completeness.day.ratio();
        let completeness = completeness.ever.ratio();
        let Some(StreamState {
            pull,
            wanted,
            next_change,
            viewers,
            recording,
            trouble,
            rows_waiting,
        }) = state
        else {
            return Self {
                role,
                state: PullStateName::Stopped,
                wanted: WantedName::Off,
                next_change: None,
                viewers: 0,
                since: updated.to_string(),
                recording: false,
                reason: None,
                detail: None,
                retry_at: None,
                video: None,
                audio: None,
                bitrate_bps: 0,
                last_unit_at: None,
                reconnects: 0,
                not_recorded: None,
                rows_waiting: 0,
                completeness_24h,
                completeness,
                gap_seconds_24h,
            };
        };
        Self {
            role,
            state: match pull.state {
                PullState::Connecting => PullStateName::Connecting,
                PullState::Waiting => PullStateName::Waiting,
                PullState::Running => PullStateName::Running,
                PullState::BackingOff => PullStateName::BackingOff,
                PullState::Stopped => PullStateName::Stopped,
            },
            wanted,
            next_change: next_change.map(|t| t.to_string()),
            viewers,
            since: pull.since.to_string(),
            recording,
            reason: pull.reason.map(|r| r.as_str()),
            detail: pull.detail.map(|d| d.to_string()),
            retry_at: pull.retry_at.map(|t| t.to_string()),
            video: pull.video.map(|v| Video {
                codec: v.codec,
                width: v.width,
                height: v.height,
                fps: v.fps,
            }),
            audio: pull.audio.map(|a| Audio {
                codec: a.codec,
                sample_rate: a.sample_rate,
                channels: a.channels,
                silent: a.silent,
            }),
            bitrate_bps: pull.bitrate_bps,
            last_unit_at: pull.last_unit_at.map(|t| t.to_string()),
            reconnects: pull.reconnects,
            not_recorded: trouble
                .map(|t| NotRecorded { reason: t.reason.as_str(), detail: t.detail }),
            rows_waiting,
            completeness_24h,
            completeness,
            gap_seconds_24h,
        }
    }
}
