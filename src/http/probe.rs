//! `POST /cameras/probe`: what a camera offers, before it is added.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    address::parse_camera_url,
    auth::Caller,
    camera_body::TRANSPORT,
    camera_tls,
    error::{ApiError, Mistakes, Problem, Result},
    extract::{Fields, JsonObject},
};
use crate::{
    access::Action,
    ingest::{self, ProbeReport, ProbedTrack, PullTarget},
    model::{Secret, Transport, TrustText},
};

/// How long the camera is watched.
const WATCH: Duration = Duration::from_secs(6);
/// How long it may take in all, connecting included.
const DEADLINE: Duration = Duration::from_secs(20);
/// Probes at once: each is a connection to wherever the caller says.
pub(super) const MAX_PROBES: usize = 4;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(probe))
}

/// What to look at.
#[derive(Debug, utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
struct ProbeRequest {
    /// May hold credentials.
    url: String,
    username: Option<String>,
    #[schema(format = Password)]
    password: Option<String>,
    transport: Option<Transport>,
    /// As for a camera that is added.
    tls: Option<TrustText>,
}

/// What a camera offers and really sends.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Probed {
    /// Whether it could be reached and watched at all.
    reachable: bool,
    tracks: Vec<Track>,
    watched_seconds: f64,
    /// What is wrong, in plain words; empty when all is well.
    problems: Vec<String>,
}

/// A track of a camera.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ProbedTrack)]
struct Track {
    media: String,
    codec: String,
    /// RFC 6381 name.
    rfc6381: Option<String>,
    /// Whether it would be recorded.
    usable: bool,
    clock_rate: u32,
    width: Option<u32>,
    height: Option<u32>,
    channels: Option<u8>,
    declared_fps: Option<f64>,
    measured_fps: Option<f64>,
    bitrate_bps: u64,
    key_frame_interval_seconds: Option<f64>,
    units: u64,
    damaged: u64,
}

impl From<ProbedTrack> for Track {
    fn from(t: ProbedTrack) -> Self {
        Self {
            media: t.media,
            codec: t.codec,
            rfc6381: t.rfc6381,
            usable: t.usable,
            clock_rate: t.clock_rate,
            width: t.width,
            height: t.height,
            channels: t.channels,
            declared_fps: t.declared_fps,
            measured_fps: t.measured_fps,
            bitrate_bps: t.bitrate_bps,
            key_frame_interval_seconds: t.key_frame_interval_seconds,
            units: t.units,
            damaged: t.damaged,
        }
    }
}

impl From<ProbeReport> for Probed {
    fn from(report: ProbeReport) -> Self {
        Self {
            reachable: true,
            tracks: report.tracks.into_iter().map(Track::from).collect(),
            watched_seconds: report.watched_seconds,
            problems: report.problems,
        }
    }
}

/// Watches a camera for some seconds without recording it.
///
/// A camera that cannot be reached is an answer too, not an error: its `problems` say why.
#[utoipa::path(post, path = "/cameras/probe", tag = "cameras", operation_id = "probe_camera", request_body = ProbeRequest,
    responses((status = 200, body = Probed), (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn probe(
    State(api): State<Api>,
    caller: Caller,
    JsonObject(body): JsonObject,
) -> Result<Json<Probed>> {
    caller.may(Action::ManageCameras, None)?;
    let target = read(body)?;
    let _place = api.probes.try_acquire().map_err(|_| ApiError::Unavailable(None))?;
    let watched = ingest::probe(&target, WATCH, &api.clock);
    let problem = match tokio::time::timeout(DEADLINE, watched).await {
        Ok(Ok(report)) => return Ok(Json(report.into())),
        Ok(Err(error)) => super::error::chain(&error),
        Err(_) => format!("no answer within {} s", DEADLINE.as_secs()),
    };
    Ok(Json(Probed {
        reachable: false,
        tracks: Vec::new(),
        watched_seconds: 0.0,
        problems: vec![problem],
    }))
}

fn read(body: serde_json::Map<String, serde_json::Value>) -> Result<PullTarget> {
    let mut mistakes = Mistakes::default();
    let mut f = Fields::new("", body, &mut mistakes);
    let mut login = (f.text("username", 255), f.text("password", 255).map(Secret::new));
    let transport = f.choice("transport", &TRANSPORT);
    let tls = camera_tls::read(&mut f);
    let given = f.has("url");
    let mut url = None;
    match f.text("url", 2_048).map(|text| parse_camera_url(&text)) {
        Some(Ok(read)) => {
            if let Some((name, password)) = read.login {
                login = (Some(name), password);
            }
            url = Some(read.url);
        }
        Some(Err(message)) => f.mistake("url", message),
        None if !given => f.mistake("url", "is required"),
        None => {}
    }
    f.finish();
    if let Some(url) = url {
        match PullTarget::new(&url, login.0, login.1, transport.unwrap_or_default(), true) {
            Ok(target) => return mistakes.check().map(|()| target.with_trust(tls)),
            Err(e) => mistakes.add("url", e.to_string()),
        }
    }
    mistakes.check()?;
    Err(ApiError::Invalid(Vec::new()))
}
