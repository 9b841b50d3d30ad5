//! `POST /cameras/discover`: which cameras are on the network, and what one of them offers; and the
//! streams of a camera that is added by its address alone.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    camera_body::{onvif, onvif_place},
    camera_view::RoleName,
    error::{ApiError, Mistakes, Problem, Result},
    extract::{Fields, JsonObject},
};
use crate::{
    access::Action,
    id::Slug,
    model::{Camera, Finding, Onvif, Secret},
    onvif::{self as device, Description, Found, Login, OnvifError, Search},
};

/// How long answers are waited for, seconds: unless told, and at most.
const WAIT: u64 = 4;
const MAX_WAIT: u64 = 15;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(discover))
}

/// Whom to look for.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = DiscoverRequest)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
struct DiscoverRequest {
    /// One camera, to be asked what it offers; all on the local network unless told.
    #[schema(example = "10.0.0.7")]
    host: Option<String>,
    /// 80 unless told.
    port: Option<u16>,
    /// `/onvif/device_service` unless told.
    path: Option<String>,
    /// Login at that camera. Sent to it alone, and not kept.
    username: Option<String>,
    #[schema(format = Password)]
    password: Option<String>,
    /// How long to wait for answers, 1 to 15 seconds; 4 unless told.
    seconds: Option<u64>,
}

/// Who is there.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Discovered {
    items: Vec<Device>,
    /// What somebody should know about the search.
    findings: Vec<Finding>,
}

/// A camera that was found or asked. What it did not say is null.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[schema(as = DiscoveredDevice)]
struct Device {
    /// For `onvif` of a new camera, with `port` and `path`.
    host: String,
    port: u16,
    path: String,
    /// Its services' addresses.
    addresses: Vec<String>,
    name: Option<String>,
    hardware: Option<String>,
    /// Where it says it is.
    location: Vec<String>,
    /// The camera of this recorder that it is already.
    #[schema(value_type = Option<String>)]
    camera: Option<Slug>,
    manufacturer: Option<String>,
    model: Option<String>,
    firmware: Option<String>,
    serial: Option<String>,
    /// Seconds that its clock is ahead of the recorder's.
    clock_ahead_seconds: Option<i64>,
    /// Whether it tells events.
    events: Option<bool>,
    /// What would be recorded; only of a camera that was asked.
    streams: Vec<Stream>,
    /// What somebody should know about it.
    findings: Vec<Finding>,
}

/// A stream that a camera offers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = DiscoveredStream)]
struct Stream {
    role: RoleName,
    /// Without credentials; a secret in its query is shown as `***`.
    url: String,
    /// What the camera calls it.
    profile: String,
    codec: String,
    width: u32,
    height: u32,
    /// Pictures a second at most, as the camera says.
    fps: Option<u32>,
}

/// Looks for cameras on the local network by ONVIF, or asks one what it offers.
///
/// A camera that cannot be asked is an answer too, not an error: its `findings` say why. The search only
/// reaches the networks that the recorder itself is on.
#[utoipa::path(post, path = "/cameras/discover", tag = "cameras", operation_id = "discover_cameras",
    request_body = DiscoverRequest,
    responses((status = 200, body = Discovered), (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn discover(
    State(api): State<Api>,
    caller: Caller,
    JsonObject(body): JsonObject,
) -> Result<Json<Discovered>> {
    caller.may(Action::ManageCameras, None)?;
    let mut mistakes = Mistakes::default();
    let mut f = Fields::new("", body, &mut mistakes);
    let place = if ["host", "port", "path", "username", "password"].iter().any(|n| f.has(n)) {
        onvif_place(&mut f)
    } else {
        None
    };
    let login = login(&mut f);
    let seconds = f.count("seconds").unwrap_or(WAIT);
    if seconds > MAX_WAIT {
        f.mistake("seconds", format!("must be a whole number from 1 to {MAX_WAIT}"));
    }
    f.finish();
    mistakes.check()?;
    let _place = api.probes.try_acquire().map_err(|_| ApiError::Unavailable(None))?;
    let known = api.store.cameras().await?;
    if let Some(place) = place {
        let described = device::device(place.clone(), login, api.clock.clone()).describe().await;
        let item = Device::asked(place, described, &known);
        return Ok(Json(Discovered { items: vec![item], findings: Vec::new() }));
    }
    let how = Search { wait: Duration::from_secs(seconds), ..Search::default() };
    let mut findings = Vec::new();
    let found = device::search(&how).await.unwrap_or_else(|error| {
        let message = format!("the local network cannot be searched: {error}");
        findings.push(Finding::problem("cannot_search", message));
        Vec::new()
    });
    if found.is_empty() && findings.is_empty() {
        findings.push(Finding::note(
            "nothing_found",
            "no camera answered: ONVIF discovery may be switched off in them, and only networks that the \
             recorder itself is on are reached (in a container: with host networking)",
        ));
    }
    let items = found.into_iter().map(|found| Device::found(found, &known)).collect();
    Ok(Json(Discovered { items, findings }))
}

/// `username` and `password`.
fn login(f: &mut Fields<'_>) -> Option<Login> {
    let (username, password) = (f.text("username", 255), f.text("password", 255));
    if username.is_none() && password.is_some() {
        f.mistake("username", "is required with a password");
    }
    let password = Secret::new(password.unwrap_or_default());
    username.map(|username| Login { username, password })
}

/// A camera to add that says where it answers ONVIF and not what to pull: asks it. Others stay as
/// they are.
pub(super) async fn fill_in(api: &Api, mut body: Map<String, Value>) -> Result<Map<String, Value>> {
    let given = |name: &str| body.get(name).is_some_and(|v| !v.is_null());
    // One that publishes is not asked what to pull.
    let publishes = body.get("source").is_some_and(|v| v == "publish");
    if !given("onvif") || given("url") || given("streams") || publishes {
        return Ok(body);
    }
    let mut mistakes = Mistakes::default();
    let asked = ["onvif", "username", "password"];
    let part = body.iter().filter(|(name, _)| asked.contains(&name.as_str()));
    let part = part.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut f = Fields::new("", part, &mut mistakes);
    let place = onvif(&mut f);
    let login = login(&mut f);
    mistakes.check()?;
    let place = place.ok_or_else(|| ApiError::Invalid(Vec::new()))?;
    let _place = api.probes.try_acquire().map_err(|_| ApiError::Unavailable(None))?;
    let described = match device::device(place, login, api.clock.clone()).describe().await {
        Ok(described) => described,
        Err(error) => {
            let field = match &error {
                OnvifError::Unauthorized { .. } => "password",
                _ => "onvif",
            };
            let mut mistakes = Mistakes::default();
            mistakes.add(field, super::error::chain(&error));
            return mistakes.check().map(|()| body);
        }
    };
    let streams = described.streams.iter();
    let streams = streams.map(|s| json!({ "role": s.role.as_str(), "url": s.url }));
    body.insert("streams".to_owned(), streams.collect());
    if body.get("name").is_none_or(Value::is_null) && !described.name.is_empty() {
        body.insert("name".to_owned(), described.name.into());
    }
    Ok(body)
}

impl Device {
    fn found(found: Found, known: &[Camera]) -> Self {
        let host = found.ip.to_string();
        Self {
            camera: already(&host, found.port, known),
            host,
            port: found.port,
            path: found.path,
            addresses: found.addresses,
            name: found.name,
            hardware: found.hardware,
            location: found.location,
            ..Self::default()
        }
    }

    fn asked(
        place: Onvif,
        described: std::result::Result<Description, OnvifError>,
        known: &[Camera],
    ) -> Self {
        let camera = already(&place.host, place.port, known);
        let Onvif { host, port, path, .. } = place;
        let unknown = Self { host, port, path, camera, ..Self::default() };
        match described {
            Err(error) => Self {
                findings: vec![Finding::problem(error.code(), super::error::chain(&error))],
                ..unknown
            },
            Ok(d) => Self {
                name: Some(d.name),
                manufacturer: Some(d.manufacturer),
                model: Some(d.model),
                firmware: Some(d.firmware),
                serial: Some(d.serial),
                clock_ahead_seconds: d.clock_off,
                events: Some(d.events),
                streams: d
                    .streams
                    .into_iter()
                    .map(|s| Stream {
                        role: s.role.into(),
                        url: crate::model::shown(&s.url),
                        profile: s.profile,
                        codec: s.codec.as_str().to_owned(),
                        width: s.width,
                        height: s.height,
                        fps: s.fps,
                    })
                    .collect(),
                findings: d.findings,
                ..unknown
            },
        }
    }
}

/// The camera that is at this address already. Of several behind one address, as with a device of many
/// lenses, the first.
fn already(host: &str, port: u16, known: &[Camera]) -> Option<Slug> {
    let asked = |camera: &&Camera| {
        camera.onvif.as_ref().is_some_and(|o| o.host.eq_ignore_ascii_case(host) && o.port == port)
    };
    let pulled = |camera: &&Camera| {
        let mut hosts = camera.streams.iter().filter_map(|s| Url::parse(&s.url).ok());
        hosts.any(|url| {
            let named = url.host_str().unwrap_or_default();
            named.trim_matches(['[', ']']).eq_ignore_ascii_case(host)
        })
    };
    let by_address = || known.iter().filter(|c| c.onvif.is_none()).find(pulled);
    known.iter().find(asked).or_else(by_address).map(|camera| camera.slug.clone())
}
