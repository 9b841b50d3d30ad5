//! Packets of one track as they come in: put in order, counted, laid on one line of time.
//!
//! ```text
//! datagram or interleaved frame ──▶ Receiver ──▶ Received ──▶ depacketize
//! RTCP ─────────────────────────────▶   │  ──▶ Report (sender reports on the same line of time)
//!                                       └────▶ receiver reports out
//! ```
//!
//! Time is the driver's: a [`Duration`] since any moment it likes, the same for all calls.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    packet::{Packet, PacketError},
    rtcp::RtcpError,
};

/// How long, and for how much, packets are waited for that others overtook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorder {
    /// No packet is held back for longer.
    pub delay: Duration,
    /// Sequence numbers that those held may span.
    pub packets: u16,
    /// Payload bytes held.
    pub bytes: usize,
}

impl Default for Reorder {
    fn default() -> Self {
        Self { delay: Duration::from_millis(100), packets: 512, bytes: 1 << 20 }
    }
}

/// What is known of a track before its first packet.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ticks a second of its RTP clock.
    pub clock_rate: u32,
    /// The payload types taken; packets of others are passed over.
    pub payload_types: Vec<u8>,
    /// `None` where nothing can overtake: TCP.
    pub reorder: Option<Reorder>,
    /// The source the SETUP's answer named (`ssrc=`). Only a hint: cameras lie.
    pub ssrc: Option<u32>,
    /// Our own source in receiver reports.
    pub own_ssrc: u32,
}

/// A packet in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// As it came.
    pub packet: Packet,
    /// Its RTP time on one line for the whole session: extended beyond 32 bits, and going on where
    /// a new source takes over.
    pub ticks: i64,
    /// When it came.
    pub arrived: Duration,
    /// How many packets are missing just before it.
    pub lost: u16,
    /// The first of another source, or of the same after a restart: nothing before it goes on.
    /// False for the first packet of all.
    pub fresh: bool,
}

/// A sender report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The camera's clock, NTP.
    pub ntp: u64,
    /// The same moment, on the line of [`Received::ticks`].
    pub ticks: i64,
    /// When the report came.
    pub arrived: Duration,
}

/// What RTCP said that is no [`Report`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The track's source says good-bye.
    pub bye: bool,
}

/// What was counted since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets handed out.
    pub packets: u64,
    /// Packets told as lost.
    pub lost: u64,
    /// Came again.
    pub duplicates: u64,
    /// Came after they had been told as lost.
    pub late: u64,
    /// Came after a later one, and in time.
    pub reordered: u64,
    /// No RTP, or RTP that contradicts itself.
    pub malformed: u64,
    /// Of a payload type not taken.
    pub other_type: u64,
    /// Of another source.
    pub other_source: u64,
    /// Sources that took over, and restarts of one.
    pub restarts: u64,
    /// RTCP that could not be read.
    pub malformed_rtcp: u64,
    /// Reports of another source.
    pub other_reports: u64,
}

/// One track's receiving end. After each `handle_…` ask [`poll`](Self::poll) until it has no more.
#[derive(Debug)]
pub struct Receiver {
    settings: Settings,
    counters: Counters,
    ready: VecDeque<Received>,
}

impl Receiver {
    /// For one track of one session.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, counters: Counters::default(), ready: VecDeque::new() }
    }

    /// RTP-Info's `rtptime`: what the track's time begins with. May come after the first packets.
    /// Not believed where it lies far from the first packet. (`seq` is of no use: nothing depends
    /// on it, and cameras make it up.)
    pub fn hint_time(&mut self, rtptime: u32) {
        let _ = rtptime;
    }

    /// The ticks RTP-Info gave as the beginning, when it said so and is believed. Tracks can be
    /// laid beside one another by it only where all of them have it.
    #[must_use]
    pub fn beginning(&self) -> Option<i64> {
        None
    }

    /// A datagram or an interleaved frame.
    ///
    /// # Errors
    ///
    /// When it is no RTP; it is counted and of no further consequence.
    pub fn handle_data(&mut self, data: Bytes, now: Duration) -> Result<(), PacketError> {
        let packet = Packet::parse(data).inspect_err(|_| self.counters.malformed += 1)?;
        self.handle_packet(packet, now);
        Ok(())
    }

    /// A packet that came at `now`.
    pub fn handle_packet(&mut self, packet: Packet, now: Duration) {
        let ticks = i64::from(packet.header.timestamp);
        self.counters.packets += 1;
        self.ready.push_back(Received { packet, ticks, arrived: now, lost: 0, fresh: false });
    }

    /// The next packet in order.
    pub fn poll(&mut self, now: Duration) -> Option<Received> {
        let _ = now;
        self.ready.pop_front()
    }

    /// When [`poll`](Self::poll) should be asked again although nothing came.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// A compound RTCP packet.
    ///
    /// # Errors
    ///
    /// When it is none; it is counted and of no further consequence.
    pub fn handle_rtcp(&mut self, data: &[u8], now: Duration) -> Result<Heard, RtcpError> {
        let _ = (super::rtcp::parse(data)?, now);
        Ok(Heard::default())
    }

    /// The next sender report.
    pub fn poll_report(&mut self) -> Option<Report> {
        None
    }

    /// Appends a receiver report to `to` (RFC 3550 §6.4.2) with our CNAME; as an interleaved frame
    /// where `channel` is given.
    pub fn receiver_report(
        &mut self,
        now: Duration,
        cname: &str,
        channel: Option<u8>,
        to: &mut BytesMut,
    ) {
        let _ = (now, cname, channel, to, self.settings.own_ssrc);
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
