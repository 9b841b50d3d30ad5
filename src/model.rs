//! What the index holds, as the whole program sees it: cameras, runs, segments, gaps, accounts.
//!
//! They stand below `store/` so that its neighbours (`access/`, `disk/`) speak of them without
//! touching SQL. Row types stay inside `store/`, and what the API shows stays inside `http/`.

mod history;
mod schedule;
mod state;
mod trust;
mod upkeep;
mod when;

pub use history::{Audit, Event, EventKind, Mark};
pub use schedule::{Day, MAX_SPANS, Schedule, ScheduleText, Span, SpanText, Spell, TimeOfDay};
pub use state::{
    CameraState, LockState, SealedBytes, State, StateError, StreamState, TokenState, UserState,
};
pub use trust::{BadTrust, Trust, TrustText};
pub use upkeep::{
    Age, Candidate, Deleted, FootageStream, Import, Imported, Lock, PendingUnlink, VolumeRow,
    VolumeUse, WholeSegment,
};
pub use when::{EventRecording, When};

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;

use crate::{
    id::{CameraId, Role, RunId, SegmentId, Slug, StreamId, TokenId, UserId},
    proto::{
        reason::GapReason,
        time::{MediaTime, WallSpan, WallTime},
    },
};

/// Text that must not be shown: prints as `***`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(zeroize::Zeroizing<String>);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(zeroize::Zeroizing::new(text))
    }

    /// The text itself; for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What a hidden part of a text is shown as.
pub const HIDDEN: &str = "***";

/// Names whose values are hidden wherever they stand as `name=value`. Longer ones that end so are
/// hidden too, where a `_` or `-` stands between: `access_token`.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "passwd",
    "pass",
    "pwd",
    "psw",
    "pw",
    "loginpas",
    "token",
    "auth",
    "authbasic",
    "key",
    "secret",
];

/// A camera's URL, or a text that may quote one, as it is shown and logged: values that are secrets
/// become `***`.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut in_query) = (text, false);
    while let Some((before, name, value)) = next_secret(rest) {
        out.push_str(before);
        in_query |= before.contains('?');
        let ends = |c: char| {
            matches!(c, '&' | ';' | '"' | '\'')
                || c.is_whitespace()
                || (!in_query && "/?".contains(c))
        };
        let mut end = value.find(ends).unwrap_or(value.len());
        // Some cameras have user=admin_password=x_channel=1 in their paths.
        if before.ends_with('_') {
            let within = value.get(..end).unwrap_or_default();
            end = next_pair(within).unwrap_or(end);
        }
        out.push_str(name);
        out.push_str(if end == 0 { "" } else { HIDDEN });
        rest = value.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// What stands before the first secret, its name with the `=`, and everything after.
fn next_secret(text: &str) -> Option<(&str, &str, &str)> {
    for (equals, _) in text.match_indices('=') {
        let (left, right) = text.split_at_checked(equals + 1)?;
        let start = left
            .char_indices()
            .rev()
            .skip(1)
            .take_while(|(_, c)| c.is_ascii_alphanumeric())
            .last()
            .map_or(equals, |(at, _)| at);
        let (before, name) = left.split_at_checked(start)?;
        let word = name.trim_end_matches('=');
        if SECRET_NAMES.iter().any(|secret| word.eq_ignore_ascii_case(secret)) {
            return Some((before, name, right));
        }
    }
    None
}

/// Where `_name=` begins.
fn next_pair(text: &str) -> Option<usize> {
    text.match_indices('_').map(|(at, _)| at).find(|at| {
        let after = text.get(at + 1..).unwrap_or_default();
        after.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic())
        })
    })
}

/// How RTP reaches us.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP; UDP where the camera refuses it.
    #[default]
    Auto,
    /// Interleaved in the RTSP connection.
    Tcp,
    /// Unicast UDP.
    Udp,
    /// Interleaved in RTSP that goes through HTTP, for networks that let nothing else pass. Port 80
    /// (443 for `rtsps:`) unless the address says another.
    Http,
}

/// Who begins: we, or the camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// We call the camera.
    #[default]
    Pull,
    /// The camera, or an encoder, publishes to our RTSP server.
    Publish {
        /// A second publisher takes the first one's place; else it is refused.
        take_over: bool,
    },
}

impl Source {
    /// Whether it is the camera that begins.
    #[must_use]
    pub const fn is_publish(self) -> bool {
        matches!(self, Self::Publish { .. })
    }

    /// In the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Publish { .. } => "publish",
        }
    }
}

/// Whether and when a stream is recorded.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RecordMode {
    /// Always.
    #[default]
    Always,
    /// Live only.
    Never,
    /// Within its hours.
    Schedule,
    /// What surrounds events.
    Events,
}

impl RecordMode {
    /// Whether footage is ever wanted without an event that calls for it.
    #[must_use]
    pub const fn wants_footage(self) -> bool {
        matches!(self, Self::Always | Self::Schedule)
    }

    /// Why there is no footage while none is wanted.
    #[must_use]
    pub const fn idle_reason(self) -> GapReason {
        match self {
            Self::Always | Self::Never => GapReason::Disabled,
            Self::Schedule | Self::Events => GapReason::NotScheduled,
        }
    }
}

/// Retention limits of a camera or stream.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
pub struct RetentionLimits {
    /// Delete what is older, seconds.
    pub max_age_seconds: Option<u64>,
    /// Delete the oldest beyond so many bytes.
    pub max_bytes: Option<u64>,
}

/// One stream of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraStream {
    /// Its id, in rows and files.
    pub id: StreamId,
    /// Main or sub.
    pub role: Role,
    /// `rtsp://…` without credentials.
    pub url: String,
    /// How to pull.
    pub transport: Transport,
    /// Whether to take its audio.
    pub audio: bool,
    /// Overrides the camera's.
    pub record: Option<RecordMode>,
    /// Overrides the camera's.
    pub retention: Option<RetentionLimits>,
    /// Overrides the camera's: name (path) of the volume.
    pub volume: Option<String>,
    /// When it was added: footage is expected from here on.
    pub created: WallTime,
}

/// A camera as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    /// Its id.
    pub id: CameraId,
    /// What people call it; unique among those not deleted.
    pub slug: Slug,
    /// What people see.
    pub name: String,
    /// Off: neither pulled nor expected.
    pub enabled: bool,
    /// Who begins.
    pub source: Source,
    /// Login at the camera.
    pub username: Option<String>,
    /// Password at the camera; sealed at rest.
    pub password: Option<Secret>,
    /// Which certificate it must show, where it is pulled over `rtsps://`.
    pub tls: Trust,
    /// Whether its streams are recorded.
    pub record: RecordMode,
    /// And when.
    pub when: When,
    /// Limits.
    pub retention: RetentionLimits,
    /// Pinned to a volume.
    pub volume: Option<String>,
    /// Main first.
    pub streams: Vec<CameraStream>,
    /// When it was added.
    pub created: WallTime,
    /// When it was last changed.
    pub updated: WallTime,
    /// Its password or an address did not open: sealed with another key file, or damaged. What did
    /// not open is absent here (an address is empty) and stays stored until it is replaced.
    pub sealed_broken: bool,
}

impl Camera {
    /// How a stream of it is recorded.
    #[must_use]
    pub fn mode_of(&self, stream: &CameraStream) -> RecordMode {
        stream.record.unwrap_or(self.record)
    }
}

/// A segment at its opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSegment {
    /// Made by the recorder; also in the file.
    pub id: SegmentId,
    /// Whose.
    pub stream: StreamId,
    /// Of which run.
    pub run: RunId,
    /// Of which epoch.
    pub epoch: u32,
    /// Number of the segment in its run, from 0.
    pub sequence: u32,
    /// Wall time of its first unit.
    pub start: WallTime,
    /// Root folder of its volume.
    pub volume: String,
    /// Path relative to the volume.
    pub path: String,
    /// RFC 6381 names joined by commas, in track order.
    pub codecs: String,
    /// Where each track begins.
    pub tracks: Vec<TrackStart>,
}

/// Where a segment's track begins within the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackStart {
    /// Number ([`AccessUnit::number`](crate::proto::access_unit::AccessUnit::number)) of its first unit.
    pub first_number: u64,
    /// Decoding time of that unit within the run, ticks.
    pub first_dts: MediaTime,
    /// Decoding time of that unit within the file (its first `tfdt`), ticks.
    pub file_dts: MediaTime,
}

/// A segment at its close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSegment {
    /// Which.
    pub id: SegmentId,
    /// Wall time of the end of its last unit.
    pub end: WallTime,
    /// File size.
    pub bytes: u64,
    /// Units the camera sent damaged, and which were dropped.
    pub damaged: u64,
    /// Totals a track.
    pub tracks: Vec<TrackTotals>,
    /// Key frames of the leading track, in order.
    pub keys: Vec<KeyFrame>,
}

/// What a closed segment holds of one track: enough to say a clip's `Content-Length` by arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackTotals {
    /// Units.
    pub samples: u64,
    /// Random access units.
    pub sync_samples: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Sum of the durations, ticks.
    pub duration: MediaTime,
    /// Runs of equal duration (`stts` entries).
    pub stts_runs: u32,
    /// Runs of equal composition offset (`ctts` entries); 0 when all are 0.
    pub ctts_runs: u32,
}

/// A place to begin playing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFrame {
    /// Since the segment's start.
    pub at: WallSpan,
    /// Offset of the `moof` that begins with it, bytes from the file's start.
    pub offset: u64,
}

/// A segment's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What was known at its opening.
    pub opened: NewSegment,
    /// Wall time of its end; for an open one, of the last time the row was touched (at least `start`).
    pub end: WallTime,
    /// File size; 0 while open.
    pub bytes: u64,
    /// As in [`ClosedSegment`]; 0 while open.
    pub damaged: u64,
    /// Whether it is complete.
    pub closed: bool,
}

/// A run's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Whose.
    pub stream: StreamId,
    /// Its epoch.
    pub epoch: u32,
    /// Wall time of its first recorded unit.
    pub start: WallTime,
    /// Wall time of the end of its last; `None` while it is being recorded.
    pub end: Option<WallTime>,
}

/// A gap's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose.
    pub stream: StreamId,
    /// Where footage ends.
    pub start: WallTime,
    /// Where it begins again; `None` while it lasts.
    pub end: Option<WallTime>,
    /// Why.
    pub reason: GapReason,
}

/// How much of a range was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Coverage {
    /// Seconds of footage.
    pub recorded: WallSpan,
    /// Seconds missing, by reason.
    pub gaps: BTreeMap<GapReason, WallSpan>,
}

impl Coverage {
    /// Recorded over expected, 0 to 1; 1 when nothing was expected.
    #[must_use]
    pub fn completeness(&self) -> f64 {
        self.ratio().unwrap_or(1.0)
    }

    /// Recorded over expected, 0 to 1; `None` when nothing was expected.
    ///
    /// What was deleted had been recorded, and counts so: a small disk is not an incomplete one.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let sum = |wanted: fn(GapReason) -> bool| -> i64 {
            let spans = self.gaps.iter().filter(|(reason, _)| wanted(**reason));
            spans.map(|(_, span)| span.as_micros()).sum()
        };
        let recorded = self.recorded.as_micros() + sum(|r| r == GapReason::Deleted);
        let expected = recorded + sum(GapReason::counts_as_missing);
        (expected > 0).then(|| recorded as f64 / expected as f64)
    }
}

/// What an account may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Everything.
    Admin,
    /// Watch, export, lock.
    Operator,
    /// Watch.
    Viewer,
}

/// An account.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its login.
    pub name: String,
    /// Its role.
    pub role: UserRole,
    /// Argon2id hash in PHC form.
    pub password_hash: String,
    /// Digest HA1 for RTSP (RFC 7616 §3.4.2), sealed: MD5 then SHA-256, both as lower-case hex.
    pub digest_sealed: Bytes,
}

/// A bearer token as stored: only its hash.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whose.
    pub user: UserId,
    /// What it is for, in its owner's words.
    pub name: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// When it stops working.
    pub expires: Option<WallTime>,
    /// When it was made.
    pub created: WallTime,
}

/// A half-open range of wall time.
pub type WallRange = Range<WallTime>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_in_a_query_a_path_or_a_sentence_are_not_shown() {
        for (text, expected) in [
            (
                "rtsp://cam/live?user=a&password=b&channel=1",
                "rtsp://cam/live?user=a&password=***&channel=1",
            ),
            ("rtsp://cam/user=a&PASSWORD=b&channel=1", "rtsp://cam/user=a&PASSWORD=***&channel=1"),
            ("rtsp://cam/password=b/1?x=2", "rtsp://cam/password=***/1?x=2"),
            ("rtsp://cam/?password=a/b?c=d&x=1", "rtsp://cam/?password=***&x=1"),
            (
                "rtsp://cam/user=admin_password=tl_Jw_channel=1_stream=0.sdp?real_stream",
                "rtsp://cam/user=admin_password=***_channel=1_stream=0.sdp?real_stream",
            ),
            ("rtsp://cam/?access_token=x&pwd=y", "rtsp://cam/?access_token=***&pwd=***"),
            (
                "bad Content-Base \"cam/?pwd=b\": no host",
                "bad Content-Base \"cam/?pwd=***\": no host",
            ),
            ("rtsp://cam/?password=&compass=1", "rtsp://cam/?password=&compass=1"),
            ("rtsp://cam/plain?x=1", "rtsp://cam/plain?x=1"),
            ("rtsp://cam:554/", "rtsp://cam:554/"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_once_is_shown_the_same_again(text in "[a-z_=&?/* ;é]{0,40}|.{0,40}|(password=|&|_|/|\\?|x){0,9}") {
            prop_assert_eq!(shown(&shown(&text)), shown(&text));
        }
    }
}
