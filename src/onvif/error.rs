//! Why a camera could not be asked by ONVIF, in words for whoever set it up.

use std::{io, time::Duration};

use crate::{
    model::clock_apart,
    proto::{reason::GapReason, time::WallSpan},
    task::{Failure, Retry},
};

/// Why a camera could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnvifError {
    /// No route, no name, refused.
    #[error("connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Not answered in time, or not to its end.
    #[error("no answer from {address} within {} s", .within.as_secs())]
    NoAnswer {
        /// Host and port.
        address: String,
        /// How long we waited.
        within: Duration,
    },
    /// Something is there, but it does not speak HTTP.
    #[error("what answers at {address} does not speak HTTP ({detail})")]
    NotHttp {
        /// Host and port.
        address: String,
        /// What was wrong.
        detail: String,
    },
    /// A web server without ONVIF, or with ONVIF switched off.
    #[error(
        "{address} does not answer ONVIF (HTTP status {status}): is it switched on in the camera's \
         settings, and is this its port?"
    )]
    NotOnvif {
        /// Host and port.
        address: String,
        /// The HTTP status.
        status: u16,
    },
    /// It sends whoever asks to another address.
    #[error(
        "{address} sends whoever asks to another address, where nobody goes: name that host and port \
         if they are the camera's"
    )]
    Redirect {
        /// Host and port.
        address: String,
    },
    /// More than is ever read.
    #[error("the camera's answer is larger than {} KiB", .limit >> 10)]
    TooLarge {
        /// Bytes.
        limit: usize,
    },
    /// What it says makes no sense.
    #[error("cannot understand the camera: {detail}")]
    Malformed {
        /// What was wrong.
        detail: String,
    },
    /// Wrong user name or password; or a clock that makes every login look stale.
    #[error("the camera refused the user name or password{}", clock_hint(*.clock_off))]
    Unauthorized {
        /// Seconds that the camera's clock is ahead of ours; `None` when it does not tell.
        clock_off: Option<i64>,
    },
    /// It understood and refused.
    #[error("the camera refused to {what}: {reason}")]
    Fault {
        /// What it was asked for.
        what: &'static str,
        /// Its own words.
        reason: String,
    },
    /// A service is offered by HTTPS only.
    #[error(
        "the camera offers ONVIF by HTTPS only, which is not supported: allow HTTP in its settings"
    )]
    Https,
    /// No media service.
    #[error("the camera has no media service: it offers no video by ONVIF")]
    NoMedia,
    /// A media service without video.
    #[error("the camera has no profile with video: make one in its settings")]
    NoProfile,
    /// No events service.
    #[error("the camera has no events service")]
    NoEvents,
}

/// Up to here a login is not called stale by any camera that is known.
const CLOCK_MATTERS: i64 = 5;

fn clock_hint(clock_off: Option<i64>) -> String {
    match clock_off {
        // Logins are stamped with the camera's own time, so it should not matter; some firmware
        // reports another time than it compares with.
        Some(seconds) if seconds.abs() > CLOCK_MATTERS => {
            format!(
                " (its clock is {}: set it, if the password is right)",
                clock_apart(WallSpan::from_secs(seconds))
            )
        }
        Some(_) => String::new(),
        None => " (it does not tell its clock: when that is wrong, every login is refused)".into(),
    }
}

impl OnvifError {
    /// A word for scripts; never changes its meaning.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "unreachable",
            Self::NoAnswer { .. } => "no_answer",
            Self::NotHttp { .. } | Self::NotOnvif { .. } => "no_onvif",
            Self::Redirect { .. } => "redirected",
            Self::TooLarge { .. } | Self::Malformed { .. } => "not_understood",
            Self::Unauthorized { .. } => "wrong_password",
            Self::Fault { .. } => "refused",
            Self::Https => "https_only",
            Self::NoMedia => "no_media_service",
            Self::NoProfile => "no_profile",
            Self::NoEvents => "no_events_service",
        }
    }
}

impl Failure for OnvifError {
    fn retry(&self) -> Retry {
        match self {
            Self::Unauthorized { .. }
            | Self::NotHttp { .. }
            | Self::NotOnvif { .. }
            | Self::Redirect { .. }
            | Self::Https
            | Self::NoMedia
            | Self::NoProfile
            | Self::NoEvents => Retry::Slow,
            Self::Connect { .. }
            | Self::NoAnswer { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Fault { .. } => Retry::Soon,
        }
    }

    fn reason(&self) -> GapReason {
        match self {
            Self::Connect { .. } => GapReason::Unreachable,
            Self::NoAnswer { .. } => GapReason::Stalled,
            Self::Unauthorized { .. } => GapReason::Unauthorized,
            Self::NotOnvif { .. } | Self::Redirect { .. } | Self::Fault { .. } | Self::Https => {
                GapReason::Refused
            }
            Self::NotHttp { .. } | Self::TooLarge { .. } | Self::Malformed { .. } => {
                GapReason::ProtocolError
            }
            Self::NoMedia | Self::NoProfile | Self::NoEvents => GapReason::NoUsableTrack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_names_the_clock_when_that_may_be_the_cause() {
        let words = |clock_off| OnvifError::Unauthorized { clock_off }.to_string();
        assert_eq!(words(Some(1)), "the camera refused the user name or password");
        assert!(words(Some(-10_800)).contains("3 h behind"), "{}", words(Some(-10_800)));
        assert!(words(None).contains("does not tell its clock"));
    }
}
