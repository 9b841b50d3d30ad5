//! What a client sends becomes a [`Camera`].
//!
//! Creating and changing use one parser: a merge patch (RFC 7396) is applied to the camera's own
//! document, and the outcome is read like a new camera. Only the login is handled beside it, for it
//! is in no document: a name or password that is not mentioned stays, `null` takes it away.

use serde_json::{Map, Value, json};

use super::{
    address::parse_camera_url,
    camera_tls, camera_when,
    error::{ApiError, Mistakes, Result},
    extract::Fields,
};
use crate::{
    clock::Clock,
    id::{CameraId, Role, Slug, StreamId},
    model::{
        Camera, CameraStream, Onvif, RecordMode, RetentionLimits, ScheduleText, Secret, Source,
        Transport, Trust, TrustText, When, shown,
    },
    proto::time::WallTime,
};

/// Longest name of a camera, and longest login, characters.
const MAX_NAME: usize = 100;
const MAX_LOGIN: usize = 255;

/// Slugs that are paths of the API.
const RESERVED: [&str; 2] = ["discover", "probe"];

const RECORD: [(&str, RecordMode); 4] = [
    ("always", RecordMode::Always),
    ("never", RecordMode::Never),
    ("schedule", RecordMode::Schedule),
    ("events", RecordMode::Events),
];
pub(super) const TRANSPORT: [(&str, Transport); 4] = [
    ("auto", Transport::Auto),
    ("tcp", Transport::Tcp),
    ("udp", Transport::Udp),
    ("http", Transport::Http),
];
const ROLE: [(&str, Role); 2] = [("main", Role::Main), ("sub", Role::Sub)];

/// Reads the body of a POST.
pub(super) fn create(
    mut body: Map<String, Value>,
    volumes: &[String],
    clock: &Clock,
) -> Result<Camera> {
    let now = clock.now();
    let mut mistakes = Mistakes::default();
    let slug = match body.remove("slug").as_ref().and_then(Value::as_str).map(str::parse::<Slug>) {
        Some(Ok(slug)) if !RESERVED.contains(&slug.as_str()) => Some(slug),
        Some(Ok(slug)) => {
            mistakes.add("slug", format!("`{slug}` is reserved"));
            None
        }
        Some(Err(e)) => {
            mistakes.add("slug", e.to_string());
            None
        }
        None => {
            mistakes.add("slug", "is required: 1 to 63 of a-z, 0-9 and -");
            None
        }
    };
    let logins = Logins::take(&mut body, &mut mistakes);
    let read = Document::read(body, &[], volumes, &mut mistakes);
    let (username, password) = logins.settle(None, None, &read, &mut mistakes);
    mistakes.check()?;
    // Without a mistake there is a slug.
    let slug = slug.ok_or_else(|| ApiError::Invalid(Vec::new()))?;
    Ok(Camera {
        id: CameraId::generate(clock),
        name: read.name.unwrap_or_else(|| slug.to_string()),
        slug,
        enabled: read.enabled,
        source: read.source,
        username,
        password,
        tls: read.tls,
        record: read.record,
        when: read.when,
        retention: read.retention,
        volume: read.volume,
        streams: read.streams.into_iter().map(|s| s.into_stream(None, now, clock)).collect(),
        onvif: read.onvif,
        created: now,
        updated: now,
        sealed_broken: false,
    })
}

/// Applies a merge patch.
pub(super) fn patch(
    camera: &Camera,
    mut patch: Map<String, Value>,
    volumes: &[String],
    clock: &Clock,
) -> Result<Camera> {
    let now = clock.now();
    let mut mistakes = Mistakes::default();
    match patch.remove("slug") {
        None => {}
        Some(Value::String(s)) if s == camera.slug.as_str() => {}
        Some(_) => mistakes.add("slug", "cannot be changed"),
    }
    let logins = Logins::take(&mut patch, &mut mistakes);
    let mut document = document(camera);
    // What is published to has no addresses, and nobody's certificate is looked at: those that were
    // there go, unless they are given anew.
    if patch.get("source").and_then(Value::as_str) == Some("publish") {
        document.remove("tls");
        let streams = document.get_mut("streams").and_then(Value::as_array_mut);
        for stream in streams.into_iter().flatten().filter_map(Value::as_object_mut) {
            stream.remove("url");
        }
    }
    if patch.get("source").and_then(Value::as_str) == Some("pull") {
        document.remove("take_over");
    }
    // `url` is short for the main stream's, in a patch too.
    let mut short = false;
    if !patch.contains_key("streams")
        && let Some(url) = patch.remove("url")
        && let Some(main) = document.get_mut("streams").and_then(|s| s.get_mut(0))
    {
        main["url"] = url;
        short = true;
    }
    merge(&mut document, patch);
    // One that the settings lost since does not stand in the way of other changes.
    let kept = camera.volume.iter().chain(camera.streams.iter().filter_map(|s| s.volume.as_ref()));
    let volumes: Vec<String> = volumes.iter().chain(kept).cloned().collect();
    let read = Document::read(document, &camera.streams, &volumes, &mut mistakes);
    let (username, password) =
        logins.settle(camera.username.clone(), camera.password.clone(), &read, &mut mistakes);
    if short {
        mistakes.rename("streams[0].url", "url");
    }
    mistakes.check()?;
    let old = |role| camera.streams.iter().find(|s| s.role == role);
    Ok(Camera {
        id: camera.id,
        slug: camera.slug.clone(),
        name: read.name.unwrap_or_else(|| camera.slug.to_string()),
        enabled: read.enabled,
        source: read.source,
        username,
        password,
        tls: read.tls,
        record: read.record,
        when: read.when,
        retention: read.retention,
        volume: read.volume,
        streams: read
            .streams
            .into_iter()
            .map(|s| {
                let old = old(s.role);
                s.into_stream(old, now, clock)
            })
            .collect(),
        onvif: read.onvif,
        created: camera.created,
        updated: now,
        // What did not open and was not given anew stays stored as it is.
        sealed_broken: camera.sealed_broken,
    })
}

/// The camera's own document: what a merge patch applies to.
fn document(camera: &Camera) -> Map<String, Value> {
    let streams: Vec<_> = camera
        .streams
        .iter()
        .map(|s| {
            let mut stream = json!({
                "role": s.role.as_str(), "transport": s.transport,
                "audio": s.audio, "record": s.record, "retention": s.retention, "volume": s.volume,
            });
            if let Some(stream) = stream.as_object_mut().filter(|_| !camera.source.is_publish()) {
                stream.insert("url".to_owned(), shown(&s.url).into());
            }
            stream
        })
        .collect();
    let tls = (!camera.tls.is_system()).then(|| TrustText::from(camera.tls.clone()));
    let document = json!({
        "tls": tls,
        "name": camera.name, "enabled": camera.enabled, "record": camera.record,
        "schedule": camera.when.schedule.clone().map(ScheduleText::from),
        "events": camera.when.events, "retention": camera.retention, "volume": camera.volume, "streams": streams,
        "onvif": camera.onvif,
        "source": camera.source.as_str(),
    });
    match document {
        Value::Object(mut map) => {
            if let Source::Publish { take_over } = camera.source {
                map.insert("take_over".to_owned(), take_over.into());
            }
            map
        }
        _ => Map::new(),
    }
}

/// RFC 7396 §2. Recursion is bounded by the JSON parser's own limit on nesting.
fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(inner) => {
                let slot = target.entry(name).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(map) = slot {
                    merge(map, inner);
                }
            }
            other => {
                target.insert(name, other);
            }
        }
    }
}

/// A field of a merge patch.
enum Change {
    Keep,
    Clear,
    Set(String),
}

/// The login as the client mentions it outside of URLs.
struct Logins {
    username: Change,
    password: Change,
}

impl Logins {
    fn take(body: &mut Map<String, Value>, mistakes: &mut Mistakes) -> Self {
        let mut take = |name: &str| match body.remove(name) {
            None => Change::Keep,
            Some(Value::Null) => Change::Clear,
            Some(Value::String(s))
                if !s.is_empty()
                    && s.chars().count() <= MAX_LOGIN
                    && !s.chars().any(char::is_control) =>
            {
                Change::Set(s)
            }
            Some(_) => {
                mistakes
                    .add(name, format!("must be a text of 1 to {MAX_LOGIN} printable characters"));
                Change::Keep
            }
        };
        Self { username: take("username"), password: take("password") }
    }

    /// Joins what is kept, what the fields say and what the URLs hold.
    fn settle(
        self,
        kept_name: Option<String>,
        kept_password: Option<Secret>,
        read: &Document,
        mistakes: &mut Mistakes,
    ) -> (Option<String>, Option<Secret>) {
        let mut from_urls = read.streams.iter().filter_map(|s| s.login.as_ref());
        let in_url = from_urls.next();
        if from_urls.any(|other| Some(other) != in_url) {
            mistakes.add("streams", "hold different credentials; a camera has one login");
        }
        let (url_name, url_password) = match in_url {
            Some((name, password)) => (Some(name.clone()), password.clone()),
            None => (None, None),
        };
        let username = match (self.username, url_name) {
            (Change::Set(name), Some(other)) if name != other => {
                mistakes.add("username", "differs from the one in the URL");
                Some(name)
            }
            (Change::Set(name), _) | (_, Some(name)) => Some(name),
            (Change::Clear, None) => return (None, None),
            (Change::Keep, None) => kept_name,
        };
        let password = match (self.password, url_password) {
            (Change::Set(password), Some(other)) if password != other.expose() => {
                mistakes.add("password", "differs from the one in the URL");
                None
            }
            (Change::Set(password), _) => Some(Secret::new(password)),
            (_, Some(password)) => Some(password),
            (Change::Clear, None) => None,
            (Change::Keep, None) => kept_password,
        };
        if password.is_some() && username.is_none() {
            mistakes.add("username", "is required with a password");
        }
        (username, password)
    }
}

/// A camera's document as read: everything but slug and login.
struct Document {
    name: Option<String>,
    enabled: bool,
    source: Source,
    record: RecordMode,
    when: When,
    retention: RetentionLimits,
    volume: Option<String>,
    streams: Vec<StreamDraft>,
    tls: Trust,
    onvif: Option<Onvif>,
}

struct StreamDraft {
    role: Role,
    url: String,
    login: Option<(String, Option<Secret>)>,
    transport: Transport,
    audio: bool,
    record: Option<RecordMode>,
    retention: Option<RetentionLimits>,
    volume: Option<String>,
}

impl StreamDraft {
    fn into_stream(self, old: Option<&CameraStream>, now: WallTime, clock: &Clock) -> CameraStream {
        CameraStream {
            id: old.map_or_else(|| StreamId::generate(clock), |o| o.id),
            role: self.role,
            url: self.url,
            transport: self.transport,
            audio: self.audio,
            record: self.record,
            retention: self.retention,
            volume: self.volume,
            created: old.map_or(now, |o| o.created),
        }
    }
}

impl Document {
    /// `old` are the streams whose shown URLs stand for the stored ones.
    fn read(
        body: Map<String, Value>,
        old: &[CameraStream],
        volumes: &[String],
        mistakes: &mut Mistakes,
    ) -> Self {
        let mut f = Fields::new("", body, mistakes);
        f.read_only(&["has_password", "created", "updated"]);
        let name = f.text("name", MAX_NAME);
        let enabled = f.bool("enabled").unwrap_or(true);
        let source = source(&mut f);
        let record = record(&mut f).unwrap_or_default();
        let scheduled = f.has("schedule");
        let when = camera_when::read(&mut f);
        let retention = retention(&mut f).unwrap_or_default();
        let volume = volume(&mut f, volumes);
        let streams = streams(&mut f, old, volumes, source);
        let tls = camera_tls::read(&mut f);
        let mut urls = streams.iter().map(|stream| stream.url.as_str());
        if !tls.is_system() && !streams.is_empty() && !urls.any(|url| url.starts_with("rtsps:")) {
            f.mistake("tls", "is for addresses that begin with rtsps://; there is none");
        }
        let onvif = onvif(&mut f);
        let by_schedule = RecordMode::Schedule;
        let mut modes = streams.iter().map(|s| s.record.unwrap_or(record));
        if !scheduled && (record == by_schedule || modes.any(|mode| mode == by_schedule)) {
            f.mistake("schedule", "is required where `record` is `schedule`");
        }
        f.finish();
        Self { name, enabled, source, record, when, retention, volume, streams, tls, onvif }
    }
}

fn source(f: &mut Fields<'_>) -> Source {
    let publish = f.choice("source", &[("pull", false), ("publish", true)]).unwrap_or_default();
    match (publish, f.bool("take_over")) {
        (true, take_over) => Source::Publish { take_over: take_over.unwrap_or_default() },
        (false, None) => Source::Pull,
        (false, Some(_)) => {
            f.mistake("take_over", "is for cameras whose `source` is `publish`");
            Source::Pull
        }
    }
}

fn record(f: &mut Fields<'_>) -> Option<RecordMode> {
    f.choice("record", &RECORD)
}

fn retention(f: &mut Fields<'_>) -> Option<RetentionLimits> {
    let map = f.object("retention")?;
    let path = f.path("retention");
    let mut inner = Fields::new(&path, map, f.mistakes());
    let limits = RetentionLimits {
        max_age_seconds: inner.count("max_age_seconds"),
        max_bytes: inner.count("max_bytes"),
    };
    inner.finish();
    Some(limits)
}

/// Where a camera answers ONVIF, as `onvif` says.
pub(super) fn onvif(f: &mut Fields<'_>) -> Option<Onvif> {
    let map = f.object("onvif")?;
    let path = f.path("onvif");
    let mut inner = Fields::new(&path, map, f.mistakes());
    let onvif = onvif_place(&mut inner);
    let events = inner.bool("events").unwrap_or(true);
    inner.finish();
    onvif.map(|onvif| Onvif { events, ..onvif })
}

/// `host`, `port` and `path`.
pub(super) fn onvif_place(f: &mut Fields<'_>) -> Option<Onvif> {
    let given = f.has("host");
    let host = f.text("host", 253).and_then(|text| {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
        let is_name = || {
            let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            bare.chars().all(name)
        };
        let good = bare.parse::<std::net::IpAddr>().is_ok() || is_name();
        if !good {
            f.mistake("host", "must be a name or an address, without scheme and port");
        }
        good.then(|| bare.to_owned())
    });
    if !given {
        f.mistake("host", "is required: the camera's name or address");
    }
    let port = f.count("port").unwrap_or_else(|| Onvif::PORT.into());
    let Ok(port) = u16::try_from(port) else {
        f.mistake("port", "must be a number from 1 to 65535");
        return None;
    };
    let path = f.text("path", 200).unwrap_or_else(|| Onvif::PATH.to_owned());
    let is_path = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '#');
    if !path.starts_with('/') || !path.chars().all(is_path) {
        f.mistake("path", "must begin with / and hold no spaces");
    }
    Some(Onvif { host: host?, port, path, events: true })
}

fn volume(f: &mut Fields<'_>, volumes: &[String]) -> Option<String> {
    let name = f.text("volume", 4_096)?;
    if !volumes.contains(&name) {
        f.mistake("volume", "is no volume of this recorder");
    }
    Some(name)
}

fn streams(
    f: &mut Fields<'_>,
    old: &[CameraStream],
    volumes: &[String],
    source: Source,
) -> Vec<StreamDraft> {
    let url = f.value("url");
    let list = match (url, f.value("streams")) {
        (Some(_), Some(_)) => {
            f.mistake("url", "give either `url` or `streams`");
            return Vec::new();
        }
        (Some(url), None) => {
            let main = json!({ "role": "main", "url": url });
            return stream(f, "", main, old, volumes, source).into_iter().collect();
        }
        (None, Some(Value::Array(list))) if !list.is_empty() => list,
        (None, Some(_)) => {
            f.mistake("streams", "must be a list of one or two streams");
            return Vec::new();
        }
        (None, None) if source.is_publish() => {
            let main = json!({ "role": "main" });
            return stream(f, "", main, old, volumes, source).into_iter().collect();
        }
        (None, None) => {
            f.mistake("url", "is required (or `streams`)");
            return Vec::new();
        }
    };
    if list.len() > 2 {
        f.mistake("streams", "must be a list of one or two streams");
        return Vec::new();
    }
    let whole = list.len();
    let mut drafts: Vec<StreamDraft> = Vec::new();
    for (i, value) in list.into_iter().enumerate() {
        drafts.extend(stream(f, &format!("streams[{i}]"), value, old, volumes, source));
    }
    if drafts.len() == whole {
        let mains = drafts.iter().filter(|d| d.role == Role::Main).count();
        if mains != 1 {
            f.mistake("streams", "exactly one must be `main`");
        }
        drafts.sort_by_key(|d| d.role);
    }
    drafts
}

fn stream(
    f: &mut Fields<'_>,
    prefix: &str,
    value: Value,
    old: &[CameraStream],
    volumes: &[String],
    source: Source,
) -> Option<StreamDraft> {
    let Value::Object(map) = value else {
        f.mistake(prefix, "must be an object");
        return None;
    };
    let mut s = Fields::new(prefix, map, f.mistakes());
    s.read_only(&["live", "recording"]);
    s.planned(&["schedule"]);
    let has_role = s.has("role");
    let role = s.choice("role", &ROLE);
    if !has_role {
        s.mistake("role", "is required: main or sub");
    }
    let (url, login) = match s.value("url") {
        None if source.is_publish() => (Some(String::new()), None),
        Some(_) if source.is_publish() => {
            s.mistake("url", "is not for cameras whose `source` is `publish`: they call us");
            (None, None)
        }
        Some(Value::String(text)) => {
            if let Some(kept) = old.iter().find(|o| Some(o.role) == role && shown(&o.url) == text) {
                (Some(kept.url.clone()), None)
            } else {
                match parse_camera_url(&text) {
                    Ok(read) => (Some(read.url), read.login),
                    Err(message) => {
                        s.mistake("url", message);
                        (None, None)
                    }
                }
            }
        }
        Some(_) => {
            s.mistake("url", "must be a text");
            (None, None)
        }
        None => {
            s.mistake("url", "is required");
            (None, None)
        }
    };
    let draft = StreamDraft {
        role: role.unwrap_or(Role::Main),
        url: url.clone().unwrap_or_default(),
        login,
        transport: s.choice("transport", &TRANSPORT).unwrap_or_default(),
        audio: s.bool("audio").unwrap_or(true),
        record: record(&mut s),
        retention: retention(&mut s),
        volume: volume(&mut s, volumes),
    };
    s.finish();
    (role.is_some() && url.is_some()).then_some(draft)
}
