//! How a PLAY wants its footage played: `Scale` and `Speed`.

use crate::proto::rtsp::{
    headers::{self, HeaderError},
    message::Headers,
};

/// What a PLAY asks for beside its range. What is not said is not changed by a PLAY that goes on,
/// and is normal for one that goes elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Manner {
    /// Footage time to presentation time: 2 shows twice as much a second. Never 0.
    pub scale: Option<f64>,
    /// Presentation time to real time: 2 delivers twice as fast. Above 0.
    pub speed: Option<f64>,
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
    Ok(Manner { scale, speed })
}

/// A factor as answers tell it.
pub(super) fn told(factor: f64) -> String {
    format!("{factor:.6}")
}
