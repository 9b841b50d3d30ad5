//! What a request's URL names.
//!
//! ```text
//! rtsp://host/door                     live, main stream          rtsp://host/door/sub            live, a chosen one
//! rtsp://host/door/recording           the archive                …/recording?start=…&end=…       a part of it
//! rtsp://host/door/recording/~TOKEN/   a clip as it was described (Content-Base)
//! …/trackID=1                          one track of any of these
//! ```
//!
//! # Invariants
//!
//! * Segments are percent-decoded once, here, and are only ever compared with slugs and tokens:
//!   nothing of a URL touches the file system.
//! * [`Place::base`] is as the client wrote it (its host name, its IPv6 brackets), but for login,
//!   query and track: what a player puts `trackID=0` behind. It ends in `/`.

use crate::proto::{
    access_unit::TrackIndex,
    rtsp::sdp,
    time::{Civil, WallSpan, WallTime},
};

/// What a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// First path segment, decoded.
    pub camera: String,
    /// Second path segment, decoded; `None` is the main stream.
    pub stream: Option<String>,
    /// Live, or what of the recordings.
    pub content: Content,
    /// One of its tracks.
    pub track: Option<TrackIndex>,
    /// The URL without login, query and track, with a `/` at its end.
    pub base: String,
}

/// Live, or what of the recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// As the camera sends.
    Live,
    /// Recorded footage; nothing set is all of it, and on into live.
    Recording {
        /// From here.
        start: Option<WallTime>,
        /// To here.
        end: Option<WallTime>,
    },
    /// A clip that was described before.
    Clip {
        /// As it was given out.
        token: String,
    },
}

/// Why a URL names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not an RTSP URL, or badly escaped: 400.
    #[error("not an RTSP URL")]
    Syntax,
    /// `start` or `end` is no time, or they are the wrong way round: 400.
    #[error(
        "a time range is start=2026-11-22T10:00:00Z&end=2026-11-22T11:00:00Z, or \
         starttime=20261122T100000Z&endtime=20261122T110000Z, with the start before the end"
    )]
    Time,
    /// A path we have nothing under: 404.
    #[error("there is nothing here; a path is /camera, /camera/stream or /camera/recording")]
    Unknown,
}

impl Place {
    /// Reads an absolute URL.
    ///
    /// # Errors
    ///
    /// See [`PlaceError`].
    pub fn parse(uri: &str) -> Result<Self, PlaceError> {
        let (scheme, rest) = uri.split_once("://").ok_or(PlaceError::Syntax)?;
        if !["rtsp", "rtsps", "rtspu"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
            return Err(PlaceError::Syntax);
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_query) = rest.split_at(split);
        // The login goes into Authorization, never back into a Content-Base.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.is_empty() {
            return Err(PlaceError::Syntax);
        }
        let (path, query) = path_query.split_once('?').unwrap_or((path_query, ""));
        // A client that ignores Content-Base hangs the control onto the query.
        let (query, behind) = query.split_once('/').unwrap_or((query, ""));

        let mut raw: Vec<&str> =
            path.split('/').chain(behind.split('/')).filter(|s| !s.is_empty()).collect();
        let track = raw.last().and_then(|last| sdp::parse_control(last));
        if track.is_some() {
            raw.pop();
        }
        let token = raw.last().and_then(|last| last.strip_prefix('~')).map(str::to_owned);
        let mut named: &[&str] = &raw;
        if token.is_some() {
            named = named.split_last().map_or(named, |(_, before)| before);
        }
        // A camera may be called `recording`; behind a camera the word means its recordings.
        let recording = match named {
            [before @ .., last] if !before.is_empty() && *last == "recording" => {
                named = before;
                true
            }
            _ => false,
        };
        let (camera, stream) = match named {
            [camera] => (decode(camera)?, None),
            [camera, stream] => (decode(camera)?, Some(decode(stream)?)),
            _ => return Err(PlaceError::Unknown),
        };
        let content = match (recording, token) {
            (true, Some(token)) => Content::Clip { token },
            (true, None) => recording_range(query)?,
            (false, None) => Content::Live,
            (false, Some(_)) => return Err(PlaceError::Unknown),
        };
        let mut base = format!("{}://{host}/", scheme.to_ascii_lowercase());
        for segment in &raw {
            base.push_str(segment);
            base.push('/');
        }
        Ok(Self { camera, stream, content, track, base })
    }

    /// Whether both name the same thing, tracks aside.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.camera == other.camera && self.stream == other.stream && self.content == other.content
    }
}

fn recording_range(query: &str) -> Result<Content, PlaceError> {
    let (mut start, mut end) = (None, None);
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match key.to_ascii_lowercase().as_str() {
            "start" | "starttime" => &mut start,
            "end" | "endtime" => &mut end,
            // Players and people add what they like (`transport=tcp`): it names nothing.
            _ => continue,
        };
        *slot = Some(parse_time(&decode(value)?).ok_or(PlaceError::Time)?);
    }
    if matches!((start, end), (Some(a), Some(b)) if a >= b) {
        return Err(PlaceError::Time);
    }
    Ok(Content::Recording { start, end })
}

/// Percent-decoding, once; what is not UTF-8 or not printable names nothing.
fn decode(raw: &str) -> Result<String, PlaceError> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(), digit());
        let (Some(high), Some(low)) = (high, low) else { return Err(PlaceError::Syntax) };
        bytes.push((high * 16 + low) as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| PlaceError::Syntax)?;
    if text.chars().any(char::is_control) { Err(PlaceError::Syntax) } else { Ok(text) }
}

/// RFC 3339 (`2026-11-22T10:00:00.5+01:00`), or the same without `-` and `:` (`20261122T100000Z`).
fn parse_time(text: &str) -> Option<WallTime> {
    let mut rest = text.trim();
    let year = digits(&mut rest, 4)?;
    let dashed = eat(&mut rest, '-');
    let month = digits(&mut rest, 2)?;
    if dashed && !eat(&mut rest, '-') {
        return None;
    }
    let day = digits(&mut rest, 2)?;
    if !(eat(&mut rest, 'T') || eat(&mut rest, 't') || eat(&mut rest, ' ')) {
        return None;
    }
    let hour = digits(&mut rest, 2)?;
    let colons = eat(&mut rest, ':');
    let minute = digits(&mut rest, 2)?;
    if colons && !eat(&mut rest, ':') {
        return None;
    }
    let second = digits(&mut rest, 2)?;
    let mut micros = 0;
    if eat(&mut rest, '.') {
        let fraction: &str = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        if fraction.is_empty() {
            return None;
        }
        for place in 0..6 {
            let digit = fraction.as_bytes().get(place).map_or(0, |b| b - b'0');
            micros = micros * 10 + u32::from(digit);
        }
        rest = rest.get(fraction.len()..)?;
    }
    let offset = match rest {
        "Z" | "z" => 0,
        _ => {
            // A `+` in a query comes as a blank from clients that think in HTML forms.
            let west = match rest.chars().next()? {
                '+' | ' ' => false,
                '-' => true,
                _ => return None,
            };
            rest = rest.get(1..)?;
            let hours = digits(&mut rest, 2)?;
            eat(&mut rest, ':');
            let minutes = digits(&mut rest, 2)?;
            if !rest.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours * 3_600 + minutes * 60);
            if west { -seconds } else { seconds }
        }
    };
    let civil = Civil {
        year: i64::from(year),
        month: u8::try_from(month).ok()?,
        day: u8::try_from(day).ok()?,
        hour: u8::try_from(hour).ok()?,
        minute: u8::try_from(minute).ok()?,
        second: u8::try_from(second).ok()?,
        micros,
    };
    Some(WallTime::from_civil(civil)? - WallSpan::from_secs(offset))
}

fn digits(rest: &mut &str, count: usize) -> Option<u32> {
    let (head, tail) = rest.split_at_checked(count)?;
    if !head.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    *rest = tail;
    head.parse().ok()
}

fn eat(rest: &mut &str, wanted: char) -> bool {
    match rest.strip_prefix(wanted) {
        Some(tail) => {
            *rest = tail;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-22T10:00:00Z.
    const TEN: WallTime = WallTime::from_micros(1_795_341_600_000_000);
    const HOUR: WallSpan = WallSpan::from_secs(3_600);

    fn place(uri: &str) -> Place {
        Place::parse(uri).unwrap()
    }

    #[test]
    fn live_paths_name_a_camera_and_perhaps_a_stream() {
        let door = place("rtsp://host:8554/door");
        assert_eq!((door.camera.as_str(), door.stream.as_deref()), ("door", None));
        assert_eq!(door.content, Content::Live);
        assert_eq!(door.base, "rtsp://host:8554/door/");
        let sub = place("RTSP://host/door/sub/trackID=1");
        assert_eq!(sub.stream.as_deref(), Some("sub"));
        assert_eq!(sub.track, Some(TrackIndex(1)));
        assert_eq!(sub.base, "rtsp://host/door/sub/");
    }

    #[test]
    fn a_login_in_the_url_does_not_come_back_and_ipv6_keeps_its_brackets() {
        assert_eq!(
            place("rtsp://me:p@ss@[2001:db8::1]:8554/door/").base,
            "rtsp://[2001:db8::1]:8554/door/"
        );
    }

    #[test]
    fn recordings_take_a_range_in_either_spelling() {
        let whole = Content::Recording { start: None, end: None };
        assert_eq!(place("rtsp://h/door/recording").content, whole);
        let hour = Content::Recording { start: Some(TEN), end: Some(TEN + HOUR) };
        for query in [
            "start=2026-11-22T10:00:00Z&end=2026-11-22T11:00:00Z",
            "starttime=20261122T100000Z&endtime=20261122T110000Z",
            "start=2026-11-22T11:00:00.000%2B01:00&end=2026-11-22T12:00:00+01:00",
            "end=2026-11-22T06:00:00-05:00&x=y&start=20261122T100000.000Z",
        ] {
            let here = place(&format!("rtsp://h/door/sub/recording?{query}"));
            assert_eq!(here.content, hour, "{query}");
            assert_eq!(here.base, "rtsp://h/door/sub/recording/");
        }
    }

    #[test]
    fn a_control_behind_the_query_is_found() {
        let here = place("rtsp://h/door/recording?start=2026-11-22T10:00:00Z/trackID=1");
        assert_eq!(here.track, Some(TrackIndex(1)));
        assert_eq!(here.content, Content::Recording { start: Some(TEN), end: None });
    }

    #[test]
    fn a_clip_is_named_by_its_token() {
        let here = place("rtsp://h/door/recording/~abc_-9/trackID=0");
        assert_eq!(here.content, Content::Clip { token: "abc_-9".to_owned() });
        assert_eq!(here.base, "rtsp://h/door/recording/~abc_-9/");
        assert_eq!(Place::parse("rtsp://h/door/~abc"), Err(PlaceError::Unknown));
    }

    #[test]
    fn what_names_nothing_is_told_from_what_is_no_url() {
        for unknown in ["rtsp://h", "rtsp://h/", "rtsp://h/a/b/c", "rtsp://h/a/b/c/recording"] {
            assert_eq!(Place::parse(unknown), Err(PlaceError::Unknown), "{unknown}");
        }
        for bad in
            ["*", "", "http://h/a", "rtsp:///a", "rtsp://h/%zz", "rtsp://h/%0a", "rtsp://h/%ff"]
        {
            assert_eq!(Place::parse(bad), Err(PlaceError::Syntax), "{bad}");
        }
        for query in [
            "start=noon",
            "start=2026-11-22",
            "start=2026-02-30T00:00:00Z",
            "start=2026-11-22T10:00:00Z&end=2026-11-22T10:00:00Z",
            "end=2026-11-22T10:00:00+99:00",
        ] {
            let uri = format!("rtsp://h/a/recording?{query}");
            assert_eq!(Place::parse(&uri), Err(PlaceError::Time), "{query}");
        }
    }

    #[test]
    fn an_escaped_slash_is_part_of_a_name_and_no_separator() {
        assert_eq!(place("rtsp://h/%2e%2e%2fetc").camera, "../etc");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(uri in "(rtsp://)?\\PC{0,80}") {
            let _ = Place::parse(&uri);
        }

        #[test]
        fn what_a_time_prints_as_is_read_as_the_same_time(us in 0_i64..4_000_000_000_000_000) {
            let at = WallTime::from_micros(us);
            prop_assert_eq!(parse_time(&at.to_string()), Some(at));
        }

        #[test]
        fn a_base_names_the_same_place(tail in "door(/sub)?(/recording(/~[a-z0-9]{1,9})?)?") {
            let here = place(&format!("rtsp://h:1/{tail}"));
            let again = place(&here.base);
            prop_assert_eq!(here, again);
        }
    }
}
