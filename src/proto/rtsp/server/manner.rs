//! How a PLAY wants its footage played: `Scale` and `Speed`, and ONVIF's `Rate-Control` and
//! `Frames`.
//!
//! `Immediate` is read by nobody: a PLAY that names a place always cancels the one before.

use crate::proto::{
    rtsp::{
        headers::{self, HeaderError},
        message::{Headers, Request},
    },
    time::WallSpan,
};

/// What a PLAY asks for beside its range. What is not said is not changed by a PLAY that goes on,
/// and is normal for one that goes elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Manner {
    /// Footage time to presentation time: 2 shows twice as much a second. Never 0.
    pub scale: Option<f64>,
    /// Presentation time to real time: 2 delivers twice as fast. Above 0.
    pub speed: Option<f64>,
    /// Whether we pace the footage; `Some(false)`: as fast as the client reads.
    pub rate_control: Option<bool>,
    /// Which pictures.
    pub frames: Option<Frames>,
    /// Whether it is a replay as ONVIF has it.
    pub replay: Option<Replay>,
}

/// Which pictures of footage are wanted (`Frames`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// All.
    #[default]
    All,
    /// Key frames, no closer to each other than so.
    Intra {
        /// In footage time.
        every: WallSpan,
    },
    /// Those that others are decoded from.
    Predicted,
}

/// A PLAY of a client that understands ONVIF's header extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// It said `Require: onvif-replay`, on this PLAY or on its SETUP: then it looks for the end in
    /// the extension and not in a BYE.
    pub required: bool,
    /// Low byte of the PLAY's `CSeq`.
    pub cseq: u8,
}

impl Manner {
    /// Whether footage is to run backwards, when this PLAY says so.
    #[must_use]
    pub fn is_backward(&self) -> Option<bool> {
        self.scale.map(|scale| scale < 0.0)
    }
}

/// Reads a PLAY's headers.
pub(super) fn manner(headers: &Headers) -> Result<Manner, HeaderError> {
    let factor = |name| headers.get(name).map(headers::factor).transpose();
    let (scale, speed) = (factor("Scale")?, factor("Speed")?);
    if speed.is_some_and(|speed| speed < 0.0) {
        return Err(HeaderError("Speed"));
    }
    let rate_control = headers.get("Rate-Control").map(|value| match value.trim() {
        yes if yes.eq_ignore_ascii_case("yes") => Ok(true),
        no if no.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err(HeaderError("Rate-Control")),
    });
    let frames = headers.get("Frames").map(frames).transpose()?;
    Ok(Manner { scale, speed, rate_control: rate_control.transpose()?, frames, replay: None })
}

fn frames(value: &str) -> Result<Frames, HeaderError> {
    let value = value.trim().to_ascii_lowercase();
    Ok(match value.as_str() {
        "all" => Frames::All,
        "predicted" => Frames::Predicted,
        "intra" => Frames::Intra { every: WallSpan::ZERO },
        other => {
            let ms = other.strip_prefix("intra/").and_then(|ms| ms.trim().parse::<u32>().ok());
            let ms = ms.ok_or(HeaderError("Frames"))?;
            Frames::Intra { every: WallSpan::from_millis(i64::from(ms)) }
        }
    })
}

/// The feature of `Require` that makes a session a replay.
pub(super) const REPLAY: &str = "onvif-replay";

/// Whether a request requires it.
pub(super) fn requires_replay(request: &Request) -> bool {
    headers::required(&request.headers).iter().any(|tag| tag.eq_ignore_ascii_case(REPLAY))
}

/// Whether a PLAY speaks ONVIF, of a session that does when `required`.
pub(super) fn replay(request: &Request, required: bool) -> Option<Replay> {
    let speaks = ["Rate-Control", "Frames", "Immediate"]
        .iter()
        .any(|name| request.headers.get(name).is_some());
    let cseq = request.cseq().unwrap_or_default();
    // Its low byte, by definition.
    (required || speaks).then_some(Replay { required, cseq: cseq as u8 })
}

/// A factor as answers tell it.
pub(super) fn told(factor: f64) -> String {
    format!("{factor:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_frames_are_told_apart() {
        assert_eq!(frames("all"), Ok(Frames::All));
        assert_eq!(frames("Predicted "), Ok(Frames::Predicted));
        assert_eq!(frames("intra"), Ok(Frames::Intra { every: WallSpan::ZERO }));
        let every = WallSpan::from_secs(4);
        assert_eq!(frames("intra/4000"), Ok(Frames::Intra { every }));
        for wrong in ["", "intra/", "intra/-1", "intra/x", "key", "intra/99999999999"] {
            assert_eq!(frames(wrong), Err(HeaderError("Frames")), "{wrong:?}");
        }
    }
}
