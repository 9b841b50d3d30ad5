//! What goes into a session and what comes out of it.

use std::time::Duration;

#[cfg(doc)]
use super::{Client, limits};
use super::{address::Target, describe::Description, login::Credentials};

/// What a session begins with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What to ask for.
    pub target: Target,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// `User-Agent`.
    pub user_agent: String,
    /// Random bits, other ones for each session.
    pub random: [u8; 16],
}

/// How a track is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// Within the connection, on these channels.
    Interleaved(u8, u8),
    /// To these ports of ours.
    Udp(u16, u16),
}

/// How a track will come, by the camera's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Channels of RTP and RTCP; those asked for where the answer names none.
    pub channels: Option<(u8, u8)>,
    /// The camera's ports.
    pub server_ports: Option<(u16, u16)>,
    /// Where its packets come from, if not from where the connection goes.
    pub source: Option<String>,
    /// A hint: cameras lie.
    pub ssrc: Option<u32>,
}

/// What RTP-Info says of one track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// RTP time of the beginning.
    pub rtptime: Option<u32>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The camera said what it has. Time to choose: [`Client::set_up`].
    Described(Description),
    /// A track is set up.
    SetUp {
        /// Its place in the description.
        media: usize,
        /// How it will come.
        agreed: Agreed,
    },
    /// The camera takes no such transport (461, or it answered with another): [`Client::set_up`]
    /// may be called again with another.
    TransportRefused {
        /// Which track.
        media: usize,
    },
    /// Media are coming; packets that were there before this belong to it.
    Playing(Vec<(usize, Start)>),
    /// The camera lives elsewhere. Connect there, with these.
    Redirected {
        /// Where.
        target: Target,
        /// Whether the login may go along.
        same_host: bool,
    },
    /// The session another connection left behind is gone ([`Client::bury`]).
    Buried {
        /// Whether the camera said so.
        heard: bool,
    },
    /// The session is over, as we asked.
    Ended {
        /// Whether the camera said so.
        heard: bool,
    },
    /// The session is over.
    Failed(ClientError),
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A request was never answered.
    #[error("no answer to {method} within {} s", .within.as_secs())]
    NoAnswer {
        /// Which.
        method: &'static str,
        /// How long we waited.
        within: Duration,
    },
    /// Wrong or missing user name or password, or a login of a kind we do not know.
    #[error("the login was refused ({method})")]
    Unauthorized {
        /// To what.
        method: &'static str,
    },
    /// Any other refusal.
    #[error("{method} was answered with status {status}")]
    Refused {
        /// What was refused.
        method: &'static str,
        /// How.
        status: u16,
    },
    /// What came cannot be understood.
    #[error("{0}")]
    Protocol(String),
    /// The camera ended the session.
    #[error("{0}")]
    Closed(&'static str),
}

/// The session's id and how long it lives in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// Opaque.
    pub id: String,
    /// At most [`limits::SESSION`].
    pub timeout: Duration,
}
