//! A frozen range of footage and its two clocks.
//!
//! # Why frozen
//!
//! A player holds a length and a place in npt for as long as it plays. Were npt counted anew at
//! each request, retention (taking footage from the front) and recording (adding at the end) would
//! move the picture under its slider. So the clip keeps its own map, and its [token](Clip::token)
//! carries what is needed to lay the same npt over the footage again: the wall time and npt of its
//! end, counted from which everything that is still there keeps its place.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::npt::NptMap;
use crate::{
    id::StreamId,
    proto::{
        access_unit::Tracks,
        time::{WallSpan, WallTime},
    },
};

/// A range of one stream's footage, frozen when it was made.
#[derive(Clone, Debug)]
pub struct Clip {
    pub(super) frozen: Frozen,
    pub(super) tracks: Tracks,
    /// May reach beyond the frozen end when the clip is open-ended.
    pub(super) map: NptMap,
}

/// What makes a clip the same clip again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frozen {
    pub(super) stream: StreamId,
    /// Wall time of npt 0.
    pub(super) start: WallTime,
    /// The end as known.
    pub(super) end: WallTime,
    /// npt of `end`.
    pub(super) duration: WallSpan,
    /// Plays on beyond `end`; up to `until`, if that is set.
    pub(super) open_ended: bool,
    /// The end asked for, when it lay in the future.
    pub(super) until: Option<WallTime>,
}

/// The text is no token of a clip of this stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such clip")]
pub struct BadToken;

impl Clip {
    /// Whose footage.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.frozen.stream
    }

    /// The tracks of its first footage: what an SDP describes.
    #[must_use]
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Wall time of npt 0: its first key frame.
    #[must_use]
    pub fn start(&self) -> WallTime {
        self.frozen.start
    }

    /// Wall time of its end, as known when it was made.
    #[must_use]
    pub fn end(&self) -> WallTime {
        self.frozen.end
    }

    /// Recorded time in it, as known when it was made: the npt of its end.
    #[must_use]
    pub fn duration(&self) -> WallSpan {
        self.frozen.duration
    }

    /// Whether playing goes on into live at its end.
    #[must_use]
    pub fn is_open_ended(&self) -> bool {
        self.frozen.open_ended
    }

    /// The wall time of a place in recorded time; clamped to the clip.
    #[must_use]
    pub fn npt_to_wall(&self, npt: WallSpan) -> WallTime {
        self.map.npt_to_wall(npt.min(self.duration()))
    }

    /// The recorded time of a wall time; inside a gap that of the next footage; clamped.
    #[must_use]
    pub fn wall_to_npt(&self, wall: WallTime) -> WallSpan {
        self.map.wall_to_npt(wall).min(self.duration())
    }

    /// Text for a URL (`[A-Za-z0-9_-]`, under 100 characters) from which
    /// [`Archive::clip_from_token`](super::Archive::clip_from_token) makes this clip again, with
    /// the same npt. Not a secret and not a right: check the reader's rights on the stream.
    #[must_use]
    pub fn token(&self) -> String {
        self.frozen.to_token()
    }
}

/// First byte of a token: the layout below.
const VERSION: u8 = 1;
const FIELDS: usize = 2 + 5 * 8;
/// Enough to refuse what was mistyped or cut; nothing rests on it being hard to forge.
const CHECK: usize = 4;

const OPEN_ENDED: u8 = 1;
const UNTIL: u8 = 2;

impl Frozen {
    /// version, flags, then stream, start, end, duration, until as big-endian i64; then the first
    /// bytes of the SHA-256 of all that.
    fn to_token(self) -> String {
        let flags = if self.open_ended { OPEN_ENDED } else { 0 }
            | if self.until.is_some() { UNTIL } else { 0 };
        let mut bytes = Vec::with_capacity(FIELDS + CHECK);
        bytes.extend([VERSION, flags]);
        for field in [
            self.stream.0,
            self.start.as_micros(),
            self.end.as_micros(),
            self.duration.as_micros(),
            self.until.map_or(0, WallTime::as_micros),
        ] {
            bytes.extend(field.to_be_bytes());
        }
        let check = Sha256::digest(&bytes);
        bytes.extend(check.iter().take(CHECK));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn from_token(token: &str) -> Result<Self, BadToken> {
        if token.len() > 100 {
            return Err(BadToken);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| BadToken)?;
        let (fields, check) = bytes.split_at_checked(FIELDS).ok_or(BadToken)?;
        if check.len() != CHECK || !Sha256::digest(fields).starts_with(check) {
            return Err(BadToken);
        }
        let (&[VERSION, flags], numbers) = fields.split_first_chunk::<2>().ok_or(BadToken)? else {
            return Err(BadToken);
        };
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|b| i64::from_be_bytes(*b));
        let mut next = || numbers.next().ok_or(BadToken);
        let stream = StreamId(next()?);
        let start = WallTime::from_micros(next()?);
        let end = WallTime::from_micros(next()?);
        let duration = WallSpan::from_micros(next()?);
        let until = WallTime::from_micros(next()?);
        let sound = start <= end
            && duration >= WallSpan::ZERO
            && duration <= end - start
            && flags & !(OPEN_ENDED | UNTIL) == 0;
        if !sound {
            return Err(BadToken);
        }
        let open_ended = flags & OPEN_ENDED != 0;
        let until = (flags & UNTIL != 0).then_some(until);
        Ok(Self { stream, start, end, duration, open_ended, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn frozen()(
            stream in 0_i64..i64::MAX,
            start in 0_i64..4_000_000_000_000_000,
            wall in 0_i64..4_000_000_000_000,
            recorded in 0.0_f64..=1.0,
            open_ended: bool,
            until in prop::option::of(0_i64..4_000_000_000_000_000),
        ) -> Frozen {
            Frozen {
                stream: StreamId(stream),
                start: WallTime::from_micros(start),
                end: WallTime::from_micros(start + wall),
                duration: WallSpan::from_micros((wall as f64 * recorded) as i64),
                open_ended,
                until: until.map(WallTime::from_micros),
            }
        }
    }

    proptest! {
        #[test]
        fn a_token_leads_back_to_the_clip(frozen in frozen()) {
            let token = frozen.to_token();
            prop_assert!(token.len() < 100);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(Frozen::from_token(&token), Ok(frozen));
        }

        #[test]
        fn a_token_with_a_wrong_character_is_refused(frozen in frozen(), at in 0_usize..61, c in "[A-Za-z0-9_-]") {
            let token = frozen.to_token();
            let mut wrong = token.clone();
            wrong.replace_range(at..=at, &c);
            prop_assume!(wrong != token);
            prop_assert_eq!(Frozen::from_token(&wrong), Err(BadToken));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,120}") {
            prop_assert_eq!(Frozen::from_token(&text), Err(BadToken));
        }
    }
}
