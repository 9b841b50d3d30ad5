//! One track on its way to a player: its identity, its RTP time, its reports, and where they go.

use bytes::BytesMut;
use tokio::time::Instant;

use super::timeline::RtpLine;
use crate::{
    proto::{
        access_unit::{Track, TrackIndex},
        codec::Parameters,
        rtp::{PacketBatch, PacketizeError, Sender, Settings, rtcp},
        rtsp::sdp,
        time::{WallSpan, WallTime},
    },
    rtsp_server::{udp::Pair, writer::Queue},
};

/// Who we are in RTCP (RFC 3550 §6.5.1).
const CNAME: &str = "vedette";

/// Where a track's packets go.
#[derive(Clone, Debug)]
pub(in crate::rtsp_server) enum Sink {
    Interleaved { queue: Queue, rtp: u8, rtcp: u8 },
    Udp(Pair),
}

impl Sink {
    pub(super) const fn channel(&self) -> Option<u8> {
        match self {
            Self::Interleaved { rtp, .. } => Some(*rtp),
            Self::Udp(_) => None,
        }
    }
}

/// A track that is set up.
#[derive(Debug)]
pub(super) struct TrackOut {
    pub(super) described: Track,
    /// As the units now are: a new run may bring new parameters.
    current: Parameters,
    pub(super) sender: Sender,
    pub(super) sink: Sink,
    pub(super) line: RtpLine,
    /// Whether the last PLAY was for it.
    pub(super) plays: bool,
    /// When its next sender report is due; `None` before the first packet after a PLAY.
    pub(super) report_at: Option<Instant>,
}

/// What is random of a track; the same for the session's whole life.
#[derive(Clone, Copy, Debug)]
pub(in crate::rtsp_server) struct Identity {
    pub(in crate::rtsp_server) ssrc: u32,
    first_sequence: u16,
    first_timestamp: u32,
}

impl Identity {
    pub(in crate::rtsp_server) fn random() -> Self {
        Self {
            ssrc: rand::random(),
            first_sequence: rand::random(),
            first_timestamp: rand::random(),
        }
    }
}

/// Where a track had come to when it was torn down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    next_sequence: u16,
    line: RtpLine,
}

impl TrackOut {
    /// `left`: of the same track earlier in the session, whose numbers it goes on with.
    pub(super) fn new(
        index: TrackIndex,
        described: &Track,
        identity: Identity,
        left: Option<Left>,
        sink: Sink,
        max_packet: usize,
    ) -> Result<Self, PacketizeError> {
        let settings = Settings {
            ssrc: identity.ssrc,
            first_sequence: left.map_or(identity.first_sequence, |left| left.next_sequence),
            first_timestamp: identity.first_timestamp,
            payload_type: sdp::payload_type(index, &described.parameters),
            channel: sink.channel(),
            max_packet,
        };
        let fresh = || RtpLine::new(described.timescale, identity.first_timestamp);
        Ok(Self {
            described: described.clone(),
            current: described.parameters.clone(),
            sender: Sender::new(settings, described)?,
            sink,
            line: left.map_or_else(fresh, |left| left.line),
            plays: false,
            report_at: None,
        })
    }

    /// It is torn down.
    pub(super) fn leave(self) -> Left {
        Left { next_sequence: self.sender.next_sequence(), line: self.line }
    }

    /// Sends to another place from now on: same identity, sequence and time.
    pub(super) fn carry(
        &mut self,
        index: TrackIndex,
        identity: Identity,
        sink: Sink,
        max_packet: usize,
    ) -> Result<(), PacketizeError> {
        let settings = Settings {
            ssrc: identity.ssrc,
            first_sequence: self.sender.next_sequence(),
            first_timestamp: identity.first_timestamp,
            payload_type: sdp::payload_type(index, &self.described.parameters),
            channel: sink.channel(),
            max_packet,
        };
        self.sender = Sender::new(settings, &self.described)?;
        self.sink = sink;
        Ok(())
    }

    /// Whether units of `now` can be sent as the track was described; takes over new in-band
    /// parameter sets.
    pub(super) fn follows(&mut self, now: &Track) -> bool {
        if self.current == now.parameters {
            return true;
        }
        let same = now.timescale == self.described.timescale
            && match (&self.described.parameters, &now.parameters) {
                (Parameters::H264(_), Parameters::H264(_))
                | (Parameters::H265(_), Parameters::H265(_))
                | (Parameters::Av1(_), Parameters::Av1(_))
                | (Parameters::Mjpeg(_), Parameters::Mjpeg(_)) => true,
                // What a sound decoder needs stands in the SDP alone.
                (described, now) => described == now,
            };
        if same && self.sender.set_track(now).is_ok() {
            self.current = now.parameters.clone();
            return true;
        }
        false
    }

    /// A compound RTCP packet: sender report, CNAME, and BYE when asked for.
    /// Without a time both its clocks are zero: footage that is not paced has none.
    pub(super) fn report(&self, time: Option<(WallTime, WallSpan)>, bye: bool) -> BytesMut {
        let mut packet = BytesMut::with_capacity(64);
        let (wall, playing) = time.unwrap_or_default();
        let mut report = self.sender.report(wall, self.line.timestamp_now(playing));
        if time.is_none() {
            (report.ntp, report.timestamp) = (0, 0);
        }
        let channel = match &self.sink {
            Sink::Interleaved { rtcp, .. } => Some(*rtcp),
            Sink::Udp(_) => None,
        };
        rtcp::write(&mut packet, &report, CNAME, bye, channel);
        packet
    }

    pub(super) fn batch(&self) -> PacketBatch {
        match &self.sink {
            Sink::Interleaved { queue, .. } => queue.batch(),
            Sink::Udp(_) => PacketBatch::new(),
        }
    }
}
