//! A camera in JSON: what answers show, and what requests may hold, for the API's description.

use serde::Serialize;

use crate::{
    id::{Role, Slug},
    model::{
        Camera, CameraStream, EventRecording, RecordMode, RetentionLimits, ScheduleText, Source,
        Transport, TrustText, shown,
    },
};

/// A camera to add: either `url` or `streams`.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = CameraCreate)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
pub(super) struct CameraCreate {
    /// What the camera is called in paths and addresses; never changes.
    #[schema(pattern = "^[a-z0-9-]{1,63}$", example = "front-door")]
    slug: String,
    /// What people see; the slug unless told.
    name: Option<String>,
    /// The main stream's address. Credentials in it are taken out and kept as secrets.
    #[schema(example = "rtsp://user:password@10.0.0.7/h264")]
    url: Option<String>,
    /// One or two streams; one must be `main`.
    streams: Option<Vec<StreamBody>>,
    /// Login at the camera.
    username: Option<String>,
    /// Password at the camera; never shown again.
    #[schema(format = Password)]
    password: Option<String>,
    /// Which certificate it must show, where an address begins with `rtsps://`: one that the system
    /// trusts, unless told.
    tls: Option<TrustText>,
    /// Off: neither pulled nor expected. On unless told.
    enabled: Option<bool>,
    /// `pull`, unless told; `publish`: the camera sends to our RTSP server, and has no address.
    source: Option<SourceName>,
    /// With `publish`: a second publisher takes the first one's place; unless told it is refused.
    take_over: Option<bool>,
    /// Whether its streams are recorded: always, unless told.
    record: Option<RecordMode>,
    /// Hours for `record` = `schedule`, of all its streams.
    schedule: Option<ScheduleText>,
    /// What is kept where `record` is `events`.
    events: Option<EventRecording>,
    /// Limits.
    retention: Option<RetentionLimits>,
    /// Root folder of the volume it is pinned to.
    volume: Option<String>,
}

/// A merge patch (RFC 7396): what is not mentioned stays, `null` takes away.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = CameraPatch)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
pub(super) struct CameraPatch {
    /// What people see.
    name: Option<String>,
    /// The main stream's address.
    url: Option<String>,
    /// All streams; replaces the list. A role that stays keeps its footage.
    streams: Option<Vec<StreamBody>>,
    /// Login at the camera.
    username: Option<String>,
    /// Password at the camera.
    #[schema(format = Password)]
    password: Option<String>,
    /// Which certificate it must show; `null`: one that the system trusts.
    tls: Option<TrustText>,
    /// Off: neither pulled nor expected.
    enabled: Option<bool>,
    /// Who begins.
    source: Option<SourceName>,
    /// With `publish`: a second publisher takes the first one's place.
    take_over: Option<bool>,
    /// Whether its streams are recorded.
    record: Option<RecordMode>,
    /// Hours for `record` = `schedule`, of all its streams.
    schedule: Option<ScheduleText>,
    /// What is kept where `record` is `events`.
    events: Option<EventRecording>,
    /// Limits.
    retention: Option<RetentionLimits>,
    /// Root folder of the volume it is pinned to.
    volume: Option<String>,
}

/// A stream.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = StreamCreate)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
pub(super) struct StreamBody {
    role: RoleName,
    /// Required where it is pulled, and only there.
    url: Option<String>,
    /// TCP, and UDP where the camera refuses it, unless told.
    transport: Option<Transport>,
    /// Whether to take its sound; yes unless told.
    audio: Option<bool>,
    /// Overrides the camera's.
    record: Option<RecordMode>,
    /// Overrides the camera's.
    retention: Option<RetentionLimits>,
    /// Overrides the camera's.
    volume: Option<String>,
}

/// Who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Source)]
pub(super) enum SourceName {
    /// We call the camera.
    Pull,
    /// The camera calls us.
    Publish,
}

/// Which stream of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub(super) enum RoleName {
    /// Full resolution.
    Main,
    /// Low resolution.
    Sub,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Main => Self::Main,
            Role::Sub => Self::Sub,
        }
    }
}

/// A camera as answers show it: never with a password.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Camera)]
pub(super) struct CameraView {
    #[schema(value_type = String)]
    slug: Slug,
    name: String,
    enabled: bool,
    source: SourceName,
    /// Only where it is published to.
    #[serde(skip_serializing_if = "Option::is_none")]
    take_over: Option<bool>,
    record: RecordMode,
    schedule: Option<ScheduleText>,
    events: EventRecording,
    retention: RetentionLimits,
    volume: Option<String>,
    username: Option<String>,
    /// Whether a password is kept for it.
    has_password: bool,
    /// Which certificate it must show; null: one that the system trusts.
    tls: Option<TrustText>,
    streams: Vec<StreamView>,
    #[schema(value_type = String, format = DateTime)]
    created: String,
    #[schema(value_type = String, format = DateTime)]
    updated: String,
}

/// A stream as answers show it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Stream)]
pub(super) struct StreamView {
    role: RoleName,
    /// Without credentials; a secret in its query is shown as `***`. Empty where it is published to.
    url: String,
    transport: Transport,
    audio: bool,
    record: Option<RecordMode>,
    retention: Option<RetentionLimits>,
    volume: Option<String>,
    /// Where to watch it live.
    live: String,
    /// Where to play its footage.
    recording: String,
}

impl CameraView {
    /// `rtsp` is the RTSP server's address as the client reaches it.
    pub(super) fn new(camera: &Camera, rtsp: &str) -> Self {
        let slug = &camera.slug;
        let stream = |s: &CameraStream| {
            let base = match s.role {
                Role::Main => format!("{rtsp}/{slug}"),
                Role::Sub => format!("{rtsp}/{slug}/{}", s.role),
            };
            StreamView {
                role: s.role.into(),
                url: shown(&s.url),
                transport: s.transport,
                audio: s.audio,
                record: s.record,
                retention: s.retention,
                volume: s.volume.clone(),
                recording: format!("{base}/recording"),
                live: base,
            }
        };
        Self {
            slug: slug.clone(),
            name: camera.name.clone(),
            enabled: camera.enabled,
            source: if camera.source.is_publish() { SourceName::Publish } else { SourceName::Pull },
            take_over: match camera.source {
                Source::Publish { take_over } => Some(take_over),
                Source::Pull => None,
            },
            record: camera.record,
            schedule: camera.when.schedule.clone().map(ScheduleText::from),
            events: camera.when.events.clone(),
            retention: camera.retention,
            volume: camera.volume.clone(),
            username: camera.username.clone(),
            has_password: camera.password.is_some(),
            tls: (!camera.tls.is_system()).then(|| camera.tls.clone().into()),
            streams: camera.streams.iter().map(stream).collect(),
            created: camera.created.to_string(),
            updated: camera.updated.to_string(),
        }
    }
}
