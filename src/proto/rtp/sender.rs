//! What one track's sender keeps between units: identity, sequence, time line, counters.
//!
//! # Invariants
//!
//! * SSRC, sequence numbers and RTP time go on without a break for as long as the sender lives,
//!   across seeks, pauses and changes of codec parameters: GStreamer dies on a new SSRC, VLC
//!   stumbles over jumps.
//! * A unit that cannot be sent uses up no sequence number.

use super::{
    batch::{PacketBatch, Writer},
    extension::{self, Replayed},
    limits,
    packet::Header,
    packetize::{PacketizeError, Packetizer},
    rtcp::SenderReport,
};
use crate::proto::{
    access_unit::{AccessUnit, Track},
    time::{MediaTime, Timescale, WallSpan, WallTime},
};

/// What a sender begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Random; never changes.
    pub ssrc: u32,
    /// Random.
    pub first_sequence: u16,
    /// Random: the RTP time of the session's time 0.
    pub first_timestamp: u32,
    /// As the SDP says: [`crate::proto::rtsp::sdp::payload_type`].
    pub payload_type: u8,
    /// Channel of RTP on the RTSP connection; `None` on UDP.
    pub channel: Option<u8>,
    /// The most bytes of a packet, held to [`super::limits`].
    pub max_packet: usize,
}

/// One track's sender.
#[derive(Clone, Debug)]
pub struct Sender {
    settings: Settings,
    packetizer: Packetizer,
    timescale: Timescale,
    next_sequence: u16,
    packets: u32,
    octets: u32,
    /// The counters may be at 0 again.
    sent: bool,
}

/// What [`Sender::send`] put into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Sequence number of its first packet, for RTP-Info.
    pub first_sequence: u16,
    /// How many packets; 0 for an empty unit.
    pub packets: u32,
}

impl Sender {
    /// For `track`.
    pub fn new(settings: Settings, track: &Track) -> Result<Self, PacketizeError> {
        let packetizer = Packetizer::new(&track.parameters)?;
        let max_packet = settings.max_packet.clamp(limits::LEAST_PACKET, limits::TCP_PACKET);
        Ok(Self {
            settings: Settings { max_packet, ..settings },
            packetizer,
            timescale: track.timescale,
            next_sequence: settings.first_sequence,
            packets: 0,
            octets: 0,
            sent: false,
        })
    }

    /// Goes on with other codec parameters (the next run, a codec change): same identity, sequence
    /// and counters.
    pub fn set_track(&mut self, track: &Track) -> Result<(), PacketizeError> {
        self.packetizer = Packetizer::new(&track.parameters)?;
        self.timescale = track.timescale;
        Ok(())
    }

    /// Its synchronisation source.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.settings.ssrc
    }

    /// Sequence number of the next packet, for RTP-Info.
    #[must_use]
    pub const fn next_sequence(&self) -> u16 {
        self.next_sequence
    }

    /// Whether anything was sent: a BYE without is of no use.
    #[must_use]
    pub const fn has_sent(&self) -> bool {
        self.sent
    }

    /// RTP time at `elapsed` of the session's own time, in which all its tracks run together.
    #[must_use]
    pub fn timestamp_at(&self, elapsed: WallSpan) -> u32 {
        let ticks = MediaTime::from_span(elapsed, self.timescale).ticks();
        self.settings.first_timestamp.wrapping_add(ticks as u32)
    }

    /// RTP time of media time `at`, exact in ticks, where media time `anchor` was put at
    /// `timestamp`. Keep an anchor from seek to seek; it frees audio of rounding.
    #[must_use]
    pub const fn timestamp_from(anchor: MediaTime, timestamp: u32, at: MediaTime) -> u32 {
        timestamp.wrapping_add(at.ticks().wrapping_sub(anchor.ticks()) as u32)
    }

    /// Appends `unit`'s packets to `batch`, with RTP time `timestamp`. When it fails, `batch` and
    /// `self` are as they were.
    pub fn send(
        &mut self,
        unit: &AccessUnit,
        timestamp: u32,
        batch: &mut PacketBatch,
    ) -> Result<Sent, PacketizeError> {
        self.send_replayed(unit, timestamp, None, batch)
    }

    /// The same with what ONVIF has said of it.
    pub fn send_replayed(
        &mut self,
        unit: &AccessUnit,
        timestamp: u32,
        replayed: Option<Replayed>,
        batch: &mut PacketBatch,
    ) -> Result<Sent, PacketizeError> {
        let first_sequence = self.next_sequence;
        let header = Header {
            marker: false,
            payload_type: self.settings.payload_type,
            sequence: first_sequence,
            timestamp,
            ssrc: self.settings.ssrc,
        };
        let channel = self.settings.channel.unwrap_or(0);
        let mut writer = Writer::new(batch, unit, header, channel);
        let mut max_packet = self.settings.max_packet;
        if let Some(replayed) = replayed {
            writer.extend(replayed);
            max_packet -= extension::LEN;
        }
        if let Err(error) = self.packetizer.write(unit, max_packet, &mut writer) {
            writer.undo();
            return Err(error);
        }
        writer.conclude();
        // Sequence numbers and RTCP's counters wrap by design.
        let packets = writer.packets() as u32;
        self.next_sequence = first_sequence.wrapping_add(packets as u16);
        self.sent |= packets > 0;
        self.packets = self.packets.wrapping_add(packets);
        self.octets = self.octets.wrapping_add(writer.octets() as u32);
        Ok(Sent { first_sequence, packets })
    }

    /// A sender report: RTP time `timestamp` is (to be) rendered at `wall`. Take the wall clock of
    /// now, never footage time.
    #[must_use]
    pub fn report(&self, wall: WallTime, timestamp: u32) -> SenderReport {
        SenderReport {
            ssrc: self.settings.ssrc,
            ntp: wall.to_ntp(),
            timestamp,
            packets: self.packets,
            octets: self.octets,
        }
    }
}
