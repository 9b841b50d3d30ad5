//! Packets of one track as they come in: put in order, counted, laid on one line of time.
//!
//! ```text
//! datagram or interleaved frame ──▶ Receiver ──▶ Received ──▶ depacketize
//! RTCP ─────────────────────────────▶   │  ──▶ Report (sender reports on the same line of time)
//!                                       └────▶ receiver reports out
//! ```
//!
//! Time is the driver's: a [`Duration`] since any moment it likes, the same for all calls, never
//! running backward.
//!
//! # Which source counts
//!
//! The first one heard; where the SETUP's answer named one, another has to show two packets in
//! sequence. Cameras change their SSRC, or begin their sequence numbers anew, when their encoder
//! restarts: two packets in sequence from elsewhere, none of the present source between them, are
//! such a restart. The first of them is kept meanwhile: it may begin a key frame. The source that
//! was left is not gone back to while the present one sends, so two that send at once make no
//! flapping.
//!
//! # What always holds
//!
//! * Packets come out in sequence; each number of a source once or, by [`Received::lost`], as lost.
//! * No packet is held longer than [`Reorder::delay`], nor more of them than [`Reorder`] says; over
//!   TCP none at all.
//! * Nothing is allocated per packet.

mod line;
mod reorder;
mod statistics;

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    packet::{Packet, PacketError},
    rtcp::{self, RtcpError, SenderReport},
};
use line::Line;
use reorder::{Buffer, InOrder, Place};
use statistics::Statistics;

mod limits {
    use std::time::Duration;

    /// A step forward in sequence numbers that is loss without further ado (RFC 3550 A.1).
    pub(super) const DROPOUT: i64 = 3_000;
    /// A step back that is a late packet (RFC 3550 A.1), over UDP.
    pub(super) const MISORDER: i64 = 100;
    /// A packet whose time lies further back is not late but of another beginning.
    pub(super) const LATE: Duration = Duration::from_secs(10);
    /// The same forward: pictures are not sent in the order they are shown.
    pub(super) const EARLY: Duration = Duration::from_secs(1);
    /// A source that was left may come back when the present one has been silent for so long.
    pub(super) const SILENCE: Duration = Duration::from_secs(1);
    /// Packets that wait to be asked for. Only a driver that does not ask gets there; what comes
    /// then is lost.
    pub(super) const READY: usize = 4_096;
}

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
    /// The payload types taken; packets of others are passed over. Empty: all.
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
    source: Option<Source>,
    /// A packet from elsewhere: whether a source begins there shows with the next.
    suspect: Option<(Packet, Duration)>,
    /// The source before the present one.
    left: Option<u32>,
    line: Line,
    counters: Counters,
    ready: VecDeque<Received>,
    /// Given up since the last packet that found room in `ready`.
    unasked: u64,
    /// The newest report not asked for yet.
    report: Option<Report>,
    /// A report that came before the first packet.
    early: Option<(SenderReport, Duration)>,
}

/// The source that counts.
#[derive(Debug)]
struct Source {
    statistics: Statistics,
    buffer: Buffer,
    /// Its first packet did not come out yet, and there was another source before it.
    fresh: bool,
    heard: Duration,
    said_bye: bool,
}

/// What a packet is to the present source.
enum Verdict {
    /// One of its packets, with this number: perhaps late, perhaps doubled.
    Own(i64),
    /// Another source, or another beginning of the same.
    Elsewhere,
    /// The first of all.
    First,
}

impl Receiver {
    /// For one track of one session.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            line: Line::new(settings.clock_rate),
            settings,
            source: None,
            suspect: None,
            left: None,
            counters: Counters::default(),
            ready: VecDeque::new(),
            unasked: 0,
            report: None,
            early: None,
        }
    }

    /// RTP-Info's `rtptime`: what the track's time begins with. May come after the first packets.
    /// Not believed where it lies more than ten seconds from the first packet. (`seq` is of no use:
    /// nothing depends on it, and cameras make it up.)
    pub const fn hint_time(&mut self, rtptime: u32) {
        self.line.hint(rtptime);
    }

    /// The ticks RTP-Info gave as the beginning, when it said so and is believed. Tracks can be
    /// laid beside one another by it only where all of them have it.
    #[must_use]
    pub fn beginning(&self) -> Option<i64> {
        self.line.beginning()
    }

    /// The source that counts at present.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.statistics.ssrc())
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
        let types = &self.settings.payload_types;
        let taken = types.is_empty() || types.contains(&packet.header.payload_type);
        if !taken {
            self.counters.other_type += 1;
        }
        match self.judge(&packet) {
            Verdict::Own(at) => {
                // Nothing begins elsewhere while the present source sends.
                self.forget_suspect();
                self.place(at, packet, taken, now);
            }
            Verdict::First if taken => self.begin(packet, now),
            Verdict::Elsewhere if taken => self.suspect(packet, now),
            Verdict::First | Verdict::Elsewhere => {}
        }
    }

    fn judge(&self, packet: &Packet) -> Verdict {
        let header = &packet.header;
        let Some(source) = &self.source else {
            let named = self.settings.ssrc.is_none_or(|ssrc| ssrc == header.ssrc);
            return if named { Verdict::First } else { Verdict::Elsewhere };
        };
        if source.statistics.ssrc() != header.ssrc {
            return Verdict::Elsewhere;
        }
        let highest = source.statistics.highest();
        let delta = i64::from(header.sequence.wrapping_sub(highest as u16).cast_signed());
        let at = highest + delta;
        let awaited = delta <= limits::DROPOUT && at >= source.buffer.next();
        let late = || {
            let ahead = self.line.ahead(header.timestamp);
            let (early, late) =
                (self.line.ticks_of(limits::EARLY), self.line.ticks_of(limits::LATE));
            self.settings.reorder.is_some()
                && delta >= -limits::MISORDER
                && (-late..=early).contains(&ahead)
        };
        if awaited || delta == 0 || (delta < 0 && late()) {
            Verdict::Own(at)
        } else {
            Verdict::Elsewhere
        }
    }

    /// A source begins with this packet.
    fn begin(&mut self, packet: Packet, arrived: Duration) {
        let (ssrc, at) = (packet.header.ssrc, i64::from(packet.header.sequence));
        let before = self.source.take();
        if let Some(before) = &before {
            self.counters.restarts += 1;
            let old = before.statistics.ssrc();
            if old != ssrc {
                self.left = Some(old);
            }
        }
        self.source = Some(Source {
            statistics: Statistics::new(ssrc, at),
            buffer: Buffer::new(self.settings.reorder, at),
            fresh: before.is_some(),
            heard: arrived,
            said_bye: false,
        });
        self.place(at, packet, true, arrived);
    }

    /// Puts a packet of the present source in its place.
    fn place(&mut self, at: i64, packet: Packet, taken: bool, arrived: Duration) {
        let Some(source) = &mut self.source else { return };
        source.heard = arrived;
        let overtaken = at < source.statistics.highest();
        let ticks = self.line.ticks_of(arrived);
        source.statistics.packet(at, packet.header.timestamp, ticks);
        let mut out = Out {
            line: &mut self.line,
            counters: &mut self.counters,
            ready: &mut self.ready,
            unasked: &mut self.unasked,
            fresh: &mut source.fresh,
        };
        let place =
            source.buffer.insert(at, taken.then_some(packet), arrived, &mut |p| out.hand(p));
        source.buffer.release(arrived, &mut |p| out.hand(p));
        match place {
            Place::Taken if overtaken => self.counters.reordered += 1,
            Place::Taken => {}
            Place::Duplicate => self.counters.duplicates += 1,
            Place::Late => self.counters.late += 1,
        }
    }

    /// A packet from elsewhere.
    fn suspect(&mut self, packet: Packet, now: Duration) {
        let ssrc = packet.header.ssrc;
        let (present, gone) = self.source.as_ref().map_or((false, false), |source| {
            let silent = now.saturating_sub(source.heard) >= limits::SILENCE;
            (!silent && !source.said_bye, source.said_bye)
        });
        if present && self.left == Some(ssrc) {
            self.counters.other_source += 1;
            return;
        }
        match self.suspect.take() {
            Some((first, arrived)) if follows(&first, &packet) => {
                self.adopt(first, arrived);
                self.handle_packet(packet, now);
            }
            other => {
                self.counters.other_source += u64::from(other.is_some());
                if gone { self.adopt(packet, now) } else { self.suspect = Some((packet, now)) }
            }
        }
    }

    /// It goes on with this packet: after many losses, or as another source.
    fn adopt(&mut self, packet: Packet, arrived: Duration) {
        self.flush();
        let header = packet.header;
        if let Some(source) = self.source.as_ref().filter(|s| s.statistics.ssrc() == header.ssrc) {
            let highest = source.statistics.highest();
            let ahead = header.sequence.wrapping_sub(highest as u16);
            if ahead < 0x8000 && self.line.goes_on(header.timestamp, arrived) {
                return self.place(highest + i64::from(ahead), packet, true, arrived);
            }
        }
        self.begin(packet, arrived);
    }

    fn forget_suspect(&mut self) {
        if self.suspect.take().is_some() {
            self.counters.other_source += 1;
        }
    }

    /// Hands out all that is held.
    fn flush(&mut self) {
        self.release(None);
    }

    /// Hands out what is in order and what has waited until `now`; `None`: everything.
    fn release(&mut self, now: Option<Duration>) {
        let Some(source) = &mut self.source else { return };
        let mut out = Out {
            line: &mut self.line,
            counters: &mut self.counters,
            ready: &mut self.ready,
            unasked: &mut self.unasked,
            fresh: &mut source.fresh,
        };
        match now {
            Some(now) => source.buffer.release(now, &mut |p| out.hand(p)),
            None => source.buffer.flush(&mut |p| out.hand(p)),
        }
    }

    /// The next packet in order.
    pub fn poll(&mut self, now: Duration) -> Option<Received> {
        if self.ready.is_empty() {
            self.release(Some(now));
        }
        self.ready.pop_front()
    }

    /// When [`poll`](Self::poll) should be asked again although nothing came.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.source.as_ref()?.buffer.deadline()
    }

    /// A compound RTCP packet.
    ///
    /// # Errors
    ///
    /// When it is none; it is counted and of no further consequence.
    pub fn handle_rtcp(&mut self, data: &[u8], now: Duration) -> Result<Heard, RtcpError> {
        let said = rtcp::parse(data).inspect_err(|_| self.counters.malformed_rtcp += 1)?;
        for report in said.sender_reports {
            match &self.source {
                None => match self.line.begin(report.timestamp, now) {
                    Some(ticks) => {
                        self.report = Some(Report { ntp: report.ntp, ticks, arrived: now });
                    }
                    None => self.early = Some((report, now)),
                },
                Some(_) => self.reported(report, now),
            }
        }
        let Some(source) = &mut self.source else { return Ok(Heard::default()) };
        let bye = said.byes.contains(&source.statistics.ssrc());
        source.said_bye |= bye;
        Ok(Heard { bye })
    }

    fn reported(&mut self, report: SenderReport, now: Duration) {
        let Some(source) =
            self.source.as_mut().filter(|source| source.statistics.ssrc() == report.ssrc)
        else {
            self.counters.other_reports += 1;
            return;
        };
        source.statistics.report(report.ntp, now);
        if let Some(ticks) = self.line.ticks(report.timestamp) {
            self.report = Some(Report { ntp: report.ntp, ticks, arrived: now });
        }
    }

    /// The newest sender report, if there is one since the last asked for. One that came before the
    /// first packet is there behind it; at once where RTP-Info vouches for its time.
    pub fn poll_report(&mut self) -> Option<Report> {
        if self.source.is_some()
            && let Some((report, arrived)) = self.early.take()
        {
            self.reported(report, arrived);
        }
        self.report.take()
    }

    /// Appends a receiver report to `to` (RFC 3550 §6.4.2) with our CNAME; as an interleaved frame
    /// where `channel` is given. With `wants_key` the source is asked for a key frame, too.
    pub fn receiver_report(
        &mut self,
        now: Duration,
        cname: &str,
        channel: Option<u8>,
        wants_key: bool,
        to: &mut BytesMut,
    ) {
        let block = self.source.as_mut().map(|source| source.statistics.block(now));
        let key_of = block.as_ref().filter(|_| wants_key).map(|sent| sent.block.ssrc);
        rtcp::write_receiver(to, self.settings.own_ssrc, block.as_ref(), key_of, cname, channel);
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Whether two packets follow one another in one source.
fn follows(first: &Packet, then: &Packet) -> bool {
    first.header.ssrc == then.header.ssrc
        && first.header.sequence.wrapping_add(1) == then.header.sequence
}

/// Where packets in order go.
struct Out<'a> {
    line: &'a mut Line,
    counters: &'a mut Counters,
    ready: &'a mut VecDeque<Received>,
    unasked: &'a mut u64,
    fresh: &'a mut bool,
}

impl Out<'_> {
    fn hand(&mut self, InOrder { packet, arrived, lost }: InOrder) {
        let timestamp = packet.header.timestamp;
        let ticks = if *self.fresh {
            self.line.take_over(timestamp, arrived)
        } else {
            self.line.advance(timestamp, arrived)
        };
        self.counters.lost += lost;
        if self.ready.len() >= limits::READY {
            self.counters.lost += 1;
            *self.unasked += lost + 1;
            return;
        }
        let lost = lost + std::mem::take(self.unasked);
        self.counters.packets += 1;
        self.ready.push_back(Received {
            packet,
            ticks,
            arrived,
            lost: u16::try_from(lost).unwrap_or(u16::MAX),
            fresh: std::mem::take(self.fresh),
        });
    }
}

#[cfg(test)]
mod tests;
