//! Between columns and types: the text of enums, and integers of another sign.

use super::{Result, StoreError};
use crate::{
    model::{RecordMode, RetentionLimits, Source, Transport, UserRole, When},
    proto::{reason::GapReason, time::WallTime},
};

/// SQLite's integers are signed. Nothing that is counted comes near 2⁶³; a wrong number from
/// outside stays a wrong number.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Inverse of [`signed`].
pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

pub(super) fn small(n: i64, what: &'static str) -> Result<u32> {
    u32::try_from(n).map_err(|_| StoreError::Corrupt(what))
}

pub(super) fn wall(us: i64) -> WallTime {
    WallTime::from_micros(us)
}

pub(super) fn reason(text: &str) -> Result<GapReason> {
    text.parse().map_err(|_| StoreError::Corrupt("gap reason"))
}

pub(super) const fn record_text(mode: RecordMode) -> &'static str {
    match mode {
        RecordMode::Always => "always",
        RecordMode::Never => "never",
        RecordMode::Schedule => "schedule",
        RecordMode::Events => "events",
    }
}

pub(super) fn record(text: &str) -> Result<RecordMode> {
    match text {
        "always" => Ok(RecordMode::Always),
        "never" => Ok(RecordMode::Never),
        "schedule" => Ok(RecordMode::Schedule),
        "events" => Ok(RecordMode::Events),
        _ => Err(StoreError::Corrupt("record mode")),
    }
}

pub(super) const fn source_text(source: Source) -> &'static str {
    match source {
        Source::Pull => "pull",
        Source::Publish { take_over: false } => "publish",
        Source::Publish { take_over: true } => "publish_take_over",
    }
}

pub(super) fn source(text: &str) -> Result<Source> {
    match text {
        "pull" => Ok(Source::Pull),
        "publish" => Ok(Source::Publish { take_over: false }),
        "publish_take_over" => Ok(Source::Publish { take_over: true }),
        _ => Err(StoreError::Corrupt("source")),
    }
}

/// `None`: as unless told.
pub(super) fn when_text(when: &When) -> Option<String> {
    // Plain structures with text keys: this cannot fail.
    (*when != When::default()).then(|| serde_json::to_string(when).unwrap_or_default())
}

pub(super) fn when(text: Option<&str>) -> Result<When> {
    let Some(text) = text else { return Ok(When::default()) };
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt("recording schedule"))
}

pub(super) const fn transport_text(transport: Transport) -> &'static str {
    match transport {
        Transport::Auto => "auto",
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Http => "http",
    }
}

pub(super) fn transport(text: &str) -> Result<Transport> {
    match text {
        "auto" => Ok(Transport::Auto),
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        "http" => Ok(Transport::Http),
        _ => Err(StoreError::Corrupt("transport")),
    }
}

pub(super) const fn user_role_text(role: UserRole) -> &'static str {
    match role {
        UserRole::Admin => "admin",
        UserRole::Operator => "operator",
        UserRole::Viewer => "viewer",
    }
}

pub(super) fn user_role(text: &str) -> Result<UserRole> {
    match text {
        "admin" => Ok(UserRole::Admin),
        "operator" => Ok(UserRole::Operator),
        "viewer" => Ok(UserRole::Viewer),
        _ => Err(StoreError::Corrupt("user role")),
    }
}

pub(super) fn limits(max_age_s: Option<i64>, max_bytes: Option<i64>) -> RetentionLimits {
    RetentionLimits { max_age_seconds: max_age_s.map(unsigned), max_bytes: max_bytes.map(unsigned) }
}
