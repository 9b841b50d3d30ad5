//! One session: which tracks are set up, how they are carried, and whether it plays.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use super::place::Place;
use crate::proto::{access_unit::TrackIndex, rtsp::headers};

/// A session's id: 128 random bits as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// From 128 random bits.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(random)))
    }

    /// As a client sent it; whether there is such a session is another question.
    #[must_use]
    pub(super) fn asked(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The header's value.
    pub(super) fn header(&self, timeout: Duration) -> String {
        let timeout = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        headers::Session { id: self.0.clone(), timeout: Some(timeout) }.to_string()
    }

    /// As in the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What carries a track's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The RTSP connection.
    Interleaved {
        /// Channel of RTP.
        rtp: u8,
        /// Channel of RTCP.
        rtcp: u8,
    },
    /// UDP to the address the connection comes from.
    Udp {
        /// The client's port for RTP.
        rtp: u16,
        /// The client's port for RTCP.
        rtcp: u16,
    },
    /// A group of our choice, shared by all who ask for it.
    Multicast,
}

/// A track that is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrackSetup {
    pub(super) carrier: Carrier,
    /// Whether the last PLAY was for it too. A track set up while others play waits for a PLAY.
    pub(super) plays: bool,
}

pub(super) type Setups = BTreeMap<TrackIndex, TrackSetup>;

/// RFC 2326 §A.2, with what each state alone has. (Init is a session that is not there yet.)
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Set up, or paused.
    Ready { tracks: Setups },
    /// Packets flow.
    Playing {
        tracks: Setups,
        /// Which PLAY it is, so that the end of an earlier one is not taken for its own.
        play: u64,
        /// That PLAY's `Range` as it was asked for.
        range: Option<String>,
    },
}

impl State {
    pub(super) fn tracks(&self) -> &Setups {
        match self {
            Self::Ready { tracks } | Self::Playing { tracks, .. } => tracks,
        }
    }

    pub(super) fn tracks_mut(&mut self) -> &mut Setups {
        match self {
            Self::Ready { tracks } | Self::Playing { tracks, .. } => tracks,
        }
    }
}

/// In which unit a session's times are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    #[default]
    Npt,
    Clock,
}

/// A session. It can be taken out of one connection's machine and put into another's
/// ([`Connection::adopt`](super::Connection::handle_adopted)), for one on UDP outlives its
/// connection.
#[derive(Clone, Debug)]
pub struct Session<R> {
    pub(super) id: SessionId,
    pub(super) resource: R,
    pub(super) place: Place,
    pub(super) state: State,
    pub(super) unit: Unit,
    /// Its client requires ONVIF replay.
    pub(super) replay: bool,
    /// Of the last request, RTCP report or interleaved frame.
    pub(super) touched: Instant,
}

impl<R> Session<R> {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &SessionId {
        &self.id
    }

    /// What it plays.
    #[must_use]
    pub const fn resource(&self) -> &R {
        &self.resource
    }

    /// Whether any track goes over UDP, to the client or to a group. Only then can it be silent without being dead: a session
    /// on the RTSP connection alone lives as long as that (VLC and mpv say nothing while paused).
    #[must_use]
    pub fn is_on_udp(&self) -> bool {
        self.state.tracks().values().any(|t| !matches!(t.carrier, Carrier::Interleaved { .. }))
    }

    pub(super) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        self.is_on_udp().then(|| self.touched + timeout)
    }

    pub(super) fn header(&self, timeout: Duration) -> String {
        self.id.header(timeout)
    }

    pub(super) fn uses_channel(&self, channel: u8) -> bool {
        self.state.tracks().values().any(|t| {
            matches!(t.carrier, Carrier::Interleaved { rtp, rtcp } if rtp == channel || rtcp == channel)
        })
    }
}
