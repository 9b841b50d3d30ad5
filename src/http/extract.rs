//! What handlers take out of a request, refused as a problem when it is not there: the camera a
//! path names, query parameters, a JSON object.
//!
//! The parsers collect every mistake and know every name, so that one answer names all bad fields
//! and a misspelt one is refused instead of ignored.

use std::{collections::BTreeMap, ops::RangeInclusive, str::FromStr};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::{
    cursor::Cursor,
    error::{ApiError, Mistakes, Result},
};
use crate::{
    id::Slug,
    model::WallRange,
    proto::time::{WallSpan, WallTime},
};

/// Longest body of a request, bytes. The largest one that makes sense is a camera of a few kB.
pub(super) const MAX_BODY: usize = 64 << 10;

/// The camera a path names. What is no slug names no camera: 404.
#[derive(Debug)]
pub(super) struct CameraSlug(pub(super) Slug);

impl<S: Send + Sync> FromRequestParts<S> for CameraSlug {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(ApiError::UnknownPath);
        };
        match text.parse() {
            Ok(slug) => Ok(Self(slug)),
            Err(_) => Err(ApiError::UnknownCamera(text.chars().take(100).collect())),
        }
    }
}

/// A query string, to be taken apart by name.
#[derive(Debug)]
pub(super) struct Params {
    values: BTreeMap<String, String>,
    mistakes: Mistakes,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let mut values = BTreeMap::new();
        let mut mistakes = Mistakes::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if values.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                mistakes.add(name, "is given twice");
            }
        }
        Ok(Self { values, mistakes })
    }
}

impl Params {
    /// The value of `name`, as text.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// The value of `name`, parsed; `wanted` says what it has to be.
    pub(super) fn parse<T: FromStr>(&mut self, name: &str, wanted: &str) -> Option<T> {
        let text = self.values.remove(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => {
                self.mistakes.add(name, format!("must be {wanted}"));
                None
            }
        }
    }

    /// A time.
    pub(super) fn time(&mut self, name: &str) -> Option<WallTime> {
        let text = self.values.remove(name)?;
        let time = parse_time(&text);
        if time.is_none() {
            self.mistakes.add(name, "must be a time as in RFC 3339: 2026-11-22T10:00:00Z");
        }
        time
    }

    /// `start` and `end`: the last 24 hours unless told. Without an end the range goes a little
    /// beyond now, so that what lasts is shown as lasting.
    pub(super) fn range(&mut self, now: WallTime) -> WallRange {
        let second = WallSpan::from_secs(1);
        let end = self.time("end");
        let start = self.time("start");
        let end = end.unwrap_or_else(|| start.map_or(now, |s| now.max(s)) + second);
        let start = start.unwrap_or(end - WallSpan::from_secs(86_400));
        if start >= end {
            self.mistakes.add("start", "must be before `end`");
        }
        start..end
    }

    /// `start` and `end`: all of time unless told.
    pub(super) fn any_range(&mut self) -> WallRange {
        let start = self.time("start").unwrap_or(WallTime::from_micros(i64::MIN));
        let end = self.time("end").unwrap_or(WallTime::from_micros(i64::MAX));
        if start >= end {
            self.mistakes.add("start", "must be before `end`");
        }
        start..end
    }

    /// Where the page before ended.
    pub(super) fn cursor(&mut self) -> Option<Cursor> {
        self.parse("cursor", "what an answer gave as `next_cursor`")
    }

    /// An id as answers show it.
    pub(super) fn id(&mut self, name: &str) -> Option<i64> {
        let text = self.values.remove(name)?;
        let id = i64::from_str_radix(&text, 16).ok();
        if id.is_none() {
            self.mistakes.add(name, "must be what an answer gave as `next_cursor`");
        }
        id
    }

    /// A page's size.
    pub(super) fn limit(&mut self) -> u32 {
        self.number("limit", 1..=1_000, 100)
    }

    /// A whole number within bounds, `default` when none is given.
    pub(super) fn number(&mut self, name: &str, bounds: RangeInclusive<u32>, default: u32) -> u32 {
        let (least, most) = bounds.into_inner();
        let wanted = format!("a number from {least} to {most}");
        let number = self.parse(name, &wanted).unwrap_or(default);
        if !(least..=most).contains(&number) {
            self.mistakes.add(name, format!("must be {wanted}"));
        }
        number.clamp(least, most)
    }

    /// Reports a mistake of the caller's own.
    pub(super) fn mistake(&mut self, name: &str, message: &str) {
        self.mistakes.add(name, message);
    }

    /// Everything wanted has been taken: whatever is left is a mistake.
    pub(super) fn finish(mut self) -> Result<()> {
        for name in self.values.into_keys() {
            self.mistakes.add(name, "is not known here");
        }
        self.mistakes.check()
    }
}

/// RFC 3339, any offset. A `+` that a query string turned into a space is understood.
pub(super) fn parse_time(text: &str) -> Option<WallTime> {
    let text = text.replace(' ', "+");
    let time = chrono::DateTime::parse_from_rfc3339(&text).ok()?;
    Some(WallTime::from_micros(time.timestamp_micros()))
}

/// A body that is one JSON object.
#[derive(Debug)]
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let declared = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let media = declared.unwrap_or("").split(';').next().unwrap_or("").trim();
        let json = ["application/json", "application/merge-patch+json"];
        if !json.iter().any(|j| media.eq_ignore_ascii_case(j)) {
            return Err(ApiError::MediaType("application/json"));
        }
        let bytes = read_body(request.into_body()).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(ApiError::NotAnObject),
            // Not serde's text for the value itself: that could repeat a password.
            Err(e) => Err(ApiError::NotJson(format!("line {}, column {}", e.line(), e.column()))),
        }
    }
}

async fn read_body(body: Body) -> Result<bytes::Bytes> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(ApiError::TooLarge(MAX_BODY)),
        Err(_) => Err(ApiError::BodyBroken),
    }
}

/// Takes a JSON object apart by name, collecting mistakes. `null` is the same as absent.
#[derive(Debug)]
pub(super) struct Fields<'m> {
    prefix: String,
    map: Map<String, Value>,
    mistakes: &'m mut Mistakes,
}

impl<'m> Fields<'m> {
    pub(super) fn new(prefix: &str, map: Map<String, Value>, mistakes: &'m mut Mistakes) -> Self {
        Self { prefix: prefix.to_owned(), map, mistakes }
    }

    /// The name as it is reported.
    pub(super) fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    pub(super) fn mistake(&mut self, name: &str, message: impl Into<String>) {
        let path = self.path(name);
        self.mistakes.add(path, message);
    }

    /// Whether it is given at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|v| !v.is_null())
    }

    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|v| !v.is_null())
    }

    /// Text of 1 to `max` characters without control characters.
    pub(super) fn text(&mut self, name: &str, max: usize) -> Option<String> {
        match self.value(name)? {
            Value::String(s)
                if !s.is_empty()
                    && s.chars().count() <= max
                    && !s.chars().any(char::is_control) =>
            {
                Some(s)
            }
            _ => {
                self.mistake(name, format!("must be a text of 1 to {max} printable characters"));
                None
            }
        }
    }

    pub(super) fn bool(&mut self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(b) => Some(b),
            _ => {
                self.mistake(name, "must be true or false");
                None
            }
        }
    }

    /// A whole number of at least 1.
    pub(super) fn count(&mut self, name: &str) -> Option<u64> {
        // SQLite's integers are signed.
        const MAX: u64 = i64::MAX as u64;
        match self.value(name)?.as_u64() {
            Some(n) if (1..=MAX).contains(&n) => Some(n),
            _ => {
                self.mistake(name, "must be a whole number of at least 1");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.value(name)?;
        let found = value.as_str().and_then(|s| choices.iter().find(|(word, _)| *word == s));
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.mistake(name, format!("must be one of: {}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A time.
    pub(super) fn time(&mut self, name: &str) -> Option<WallTime> {
        let value = self.value(name)?;
        let time = value.as_str().and_then(parse_time);
        if time.is_none() {
            self.mistake(name, "must be a time as in RFC 3339: 2026-11-22T10:00:00Z");
        }
        time
    }

    /// The same where there has to be one.
    pub(super) fn required_time(&mut self, name: &str) -> Option<WallTime> {
        if !self.has(name) {
            self.mistake(name, "is required: a time as in RFC 3339");
        }
        self.time(name)
    }

    /// A nested object.
    pub(super) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.value(name)? {
            Value::Object(map) => Some(map),
            _ => {
                self.mistake(name, "must be an object");
                None
            }
        }
    }

    /// Names that answers carry but requests cannot set; so that what was read can be sent back.
    pub(super) fn read_only(&mut self, names: &[&str]) {
        for name in names {
            self.map.remove(*name);
        }
    }

    /// Names that are planned and not there yet: refused, since ignoring them would look like success.
    pub(super) fn planned(&mut self, names: &[&str]) {
        for name in names {
            if self.value(name).is_some() {
                self.mistake(name, "is not supported by this version");
            }
        }
    }

    pub(super) fn mistakes(&mut self) -> &mut Mistakes {
        self.mistakes
    }

    /// Everything known has been taken: whatever is left is a mistake.
    pub(super) fn finish(mut self) {
        for name in std::mem::take(&mut self.map).into_iter().map(|(name, _)| name) {
            // A key can be as long as the body; its beginning is enough to find it.
            let name: String = name.chars().take(100).collect();
            self.mistake(&name, "is not known here");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let (mut parts, ()) =
            axum::http::Request::builder().uri(format!("/?{query}")).body(()).unwrap().into_parts();
        futures_util::FutureExt::now_or_never(Params::from_request_parts(&mut parts, &()))
            .unwrap()
            .unwrap()
    }

    #[test]
    fn times_are_read_with_any_offset_and_fraction() {
        let ten = parse_time("2026-11-22T10:00:00Z").unwrap();
        assert_eq!(parse_time("2026-11-22T12:00:00+02:00"), Some(ten));
        assert_eq!(parse_time("2026-11-22T12:00:00 02:00"), Some(ten), "+ decoded as a space");
        let later = parse_time("2026-11-22T10:00:00.5Z").unwrap();
        assert_eq!((later - ten).as_micros(), 500_000);
        assert_eq!(parse_time("2026-11-22"), None);
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn a_misspelt_parameter_and_a_bad_one_are_both_named() {
        let mut p = params("strat=x&limit=0&limit=5");
        p.limit();
        let Err(ApiError::Invalid(errors)) = p.finish() else { panic!("accepted") };
        let names: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(names, ["limit", "strat"]);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_refused() {
        let mut p = params("start=2026-11-22T10:00:00Z&end=2026-11-22T09:00:00Z");
        p.range(WallTime::from_micros(0));
        assert!(p.finish().is_err());
    }

    #[test]
    fn the_last_day_is_meant_when_nothing_is_said() {
        let now = WallTime::from_micros(1_795_341_600_000_000);
        let mut p = params("");
        let range = p.range(now);
        assert_eq!(range.end - now, WallSpan::from_secs(1));
        assert_eq!(range.end - range.start, WallSpan::from_secs(86_400));
        assert!(p.finish().is_ok());
    }
}
