//! One track: its packets in, its units out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{choice::Chosen, limits, udp::Pair};
use crate::{
    clock::Clock,
    ingest::source::{Arrival, SourceEvent, SourceUnit},
    proto::{
        access_unit::TrackIndex,
        codec::{Parameters, h264, h265, nal::nals},
        rtp::{
            depacketize::{Depacketizer, Frame},
            receive::{Receiver, Reorder, Settings},
        },
        rtsp::client::Agreed,
        time::WallSpan,
    },
};

/// How its packets come.
pub(super) enum Way {
    /// On these channels of the connection.
    Channels(u8, u8),
    Udp(Box<Pair>),
    /// They are handed down; as datagrams they may come out of order.
    Fed {
        datagrams: bool,
    },
}

pub(super) struct Track {
    pub(super) media: usize,
    index: TrackIndex,
    video: bool,
    /// Ticks a second.
    rate: u32,
    pub(super) way: Way,
    pub(super) receiver: Receiver,
    depacketizer: Depacketizer,
    /// RTP-Info names the beginning of every track, and so of this one.
    began_with: bool,
    first: Option<i64>,
    /// Its source said good-bye: until when another may take over.
    bye: Option<Duration>,
    /// A sender report of the track was handed on.
    pub(super) reported: bool,
    captured: Captured,
    /// How often a key frame is still to be asked for; 0 while none is needed.
    key_wishes: u8,
}

/// What turns the session's time into the recorder's.
pub(super) struct Times<'a> {
    pub(super) clock: &'a Clock,
    /// The session's zero.
    pub(super) began: Instant,
    /// The camera ties its clock to its tracks by sender reports.
    pub(super) reported: bool,
}

/// Times of capture that stand in the packets themselves (ONVIF's replay extension): recorders send
/// them with footage, and some cameras with live pictures.
///
/// They are the camera's clock, and so they are used as its sender reports are, no further: to lay
/// tracks beside one another. Which moment footage belongs to is the recorder's own clock to say,
/// and that of replayed footage is the moment it was pulled. Where there are reports these count
/// alone, for many cameras keep two clocks.
#[derive(Default)]
struct Captured {
    /// The last one seen, NTP: sound packets give it to each frame that is in them.
    last: Option<u64>,
    /// Where the last one handed on stood.
    told: Option<i64>,
}

impl Captured {
    /// What is handed on of the time of a frame at `ticks`: one a second.
    fn take(&mut self, ntp: u64, ticks: i64, rate: u32) -> Option<u64> {
        let seen = self.last.replace(ntp) == Some(ntp);
        let due = self
            .told
            .is_none_or(|told| ticks.saturating_sub(told).saturating_abs() >= i64::from(rate));
        (due && !seen).then(|| {
            self.told = Some(ticks);
            ntp
        })
    }
}

impl Times<'_> {
    fn arrival(&self, at: Duration) -> Arrival {
        let at = self.began + at;
        Arrival { wall: self.clock.now() - WallSpan::from(at.elapsed()), at }
    }
}

impl Track {
    pub(super) fn new(chosen: Chosen, index: TrackIndex, way: Way, agreed: &Agreed) -> Self {
        let Chosen { media, payload_type, depacketizer, source } = chosen;
        let reorder =
            matches!(way, Way::Udp(_) | Way::Fed { datagrams: true }).then(Reorder::default);
        let receiver = Receiver::new(Settings {
            clock_rate: source.timescale.get(),
            payload_types: vec![payload_type],
            reorder,
            ssrc: agreed.ssrc,
            own_ssrc: rand::random(),
        });
        let (video, rate) = (source.codec.is_video(), source.timescale.get());
        Self {
            media,
            index,
            video,
            rate,
            way,
            receiver,
            depacketizer,
            began_with: false,
            first: None,
            bye: None,
            reported: false,
            captured: Captured::default(),
            key_wishes: if video { limits::KEY_WISHES } else { 0 },
        }
    }

    /// RTP-Info's word, given only where all tracks have it.
    pub(super) fn begins_with(&mut self, rtptime: u32) {
        self.receiver.hint_time(rtptime);
        self.began_with = true;
    }

    pub(super) fn parameters(&self) -> Option<&Parameters> {
        self.depacketizer.parameters()
    }

    pub(super) fn is_video(&self) -> bool {
        self.video
    }

    /// An RTP packet that came at `now`.
    pub(super) fn rtp(
        &mut self,
        data: Bytes,
        now: Duration,
        times: &Times<'_>,
        out: &mut impl Extend<SourceEvent>,
    ) {
        if let Err(error) = self.receiver.handle_data(data, now) {
            return self.broken(&error, out);
        }
        self.bye = None;
        self.reports(out);
        self.ordered(now, times, out);
    }

    /// Packets that are in order by now, or no longer waited for.
    pub(super) fn ordered(
        &mut self,
        now: Duration,
        times: &Times<'_>,
        out: &mut impl Extend<SourceEvent>,
    ) {
        while let Some(received) = self.receiver.poll(now) {
            let broken = self.depacketizer.push(received).err();
            while let Some(frame) = self.depacketizer.poll() {
                self.frame(frame, times, out);
            }
            if let Some(error) = broken {
                self.broken(&error, out);
            }
        }
    }

    fn broken(&self, error: &dyn std::fmt::Display, out: &mut impl Extend<SourceEvent>) {
        let kind = if self.video { "video" } else { "audio" };
        out.extend([SourceEvent::Broken { detail: format!("{kind}: {error}") }]);
    }

    fn frame(&mut self, frame: Frame, times: &Times<'_>, out: &mut impl Extend<SourceEvent>) {
        let Frame { ticks, arrived, data, lost, dropped, fresh, parameters, replayed } = frame;
        if self.video {
            if lost > 0 || dropped > 0 || fresh {
                self.key_wishes = limits::KEY_WISHES;
            }
            let known = self.depacketizer.parameters();
            if self.key_wishes > 0 && known.is_some_and(|known| known.is_random_access(&data)) {
                self.key_wishes = 0;
            }
        }
        let beginning = self.receiver.beginning().filter(|_| self.began_with);
        let first = *self.first.get_or_insert(ticks);
        let track = self.index;
        let parameters = parameters.map(|parameters| SourceEvent::Parameters { track, parameters });
        let unit = SourceUnit {
            track,
            ticks,
            elapsed: ticks.saturating_sub(beginning.unwrap_or(first)),
            arrival: times.arrival(arrived),
            // A slice of a few hundred bytes would keep all alive that was read with it.
            data: match self.depacketizer.parameters() {
                Some(parameters) if self.video => without_sets(parameters, data),
                None if self.video => data,
                _ => Bytes::copy_from_slice(&data),
            },
            lost,
        };
        let captured = replayed.filter(|_| !times.reported).and_then(|replayed| {
            let ntp = self.captured.take(replayed.wall.to_ntp(), ticks, self.rate)?;
            Some(SourceEvent::SenderReport { track, ntp, ticks })
        });
        out.extend(parameters.into_iter().chain(captured).chain([SourceEvent::Unit(unit)]));
    }

    /// A compound RTCP packet that came at `now`.
    pub(super) fn rtcp(&mut self, data: &[u8], now: Duration, out: &mut impl Extend<SourceEvent>) {
        // Broken reports are counted, and of no further consequence.
        let Ok(heard) = self.receiver.handle_rtcp(data, now) else { return };
        // A publisher says it in its session as well, behind which nothing comes: ended by the BYE
        // before, its PAUSE would find no session.
        if heard.bye && !matches!(self.way, Way::Fed { .. }) {
            // Said again it is no longer than it was.
            self.bye.get_or_insert(now + limits::GOOD_BYE_OF_TRACK);
        }
        self.reports(out);
    }

    /// When to look whether anything came behind a good-bye.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.receiver.poll_timeout().into_iter().chain(self.bye).min()
    }

    /// Nothing came behind a good-bye.
    pub(super) fn ended(&mut self, now: Duration, out: &mut impl Extend<SourceEvent>) {
        if self.bye.is_some_and(|until| until <= now) {
            self.bye = None;
            out.extend([SourceEvent::Bye { track: self.index }]);
        }
    }

    fn reports(&mut self, out: &mut impl Extend<SourceEvent>) {
        let track = self.index;
        while let Some(report) = self.receiver.poll_report() {
            self.reported = true;
            let (ntp, ticks) = (report.ntp, report.ticks);
            out.extend([SourceEvent::SenderReport { track, ntp, ticks }]);
        }
    }

    /// Tells the camera how it is received; `connection` is where its reports go over TCP.
    pub(super) fn report(&mut self, now: Duration, connection: Option<&mut BytesMut>) {
        match (&self.way, connection) {
            (&Way::Channels(_, rtcp), Some(connection)) => {
                self.write_report(now, Some(rtcp), connection);
            }
            // Whoever hands packets down asks for reports himself.
            (Way::Channels(..), None) | (Way::Fed { .. }, _) => {}
            (Way::Udp(_), _) => {
                let mut report = BytesMut::new();
                self.write_report(now, None, &mut report);
                if let Way::Udp(pair) = &self.way {
                    pair.report(&report);
                    pair.knock();
                }
            }
        }
    }

    /// Appends a report, and the wish for a key frame where none came since one was needed. Some
    /// cameras send one only when asked; those that do not know the wish pass it over.
    pub(super) fn write_report(&mut self, now: Duration, channel: Option<u8>, to: &mut BytesMut) {
        let wanted = self.key_wishes > 0;
        self.key_wishes = self.key_wishes.saturating_sub(1);
        self.receiver.receiver_report(now, CNAME, channel, wanted, to);
    }
}

/// `unit` without the parameter sets at its front (behind a delimiter, where there is one): whoever
/// takes units up puts those before them that count. Left as it is where it brings others than
/// `parameters`.
fn without_sets(parameters: &Parameters, mut unit: Bytes) -> Bytes {
    let (mut delimiter, mut end) = (0, 0);
    let mut known = None;
    for nal in nals(&unit).map_while(Result::ok) {
        match role(parameters, nal) {
            Role::Delimiter if end == 0 => {
                delimiter = PREFIX + nal.len();
                end = delimiter;
            }
            Role::Set => {
                let known = known.get_or_insert_with(|| parameters.in_band());
                if !nals(known).any(|set| set == Ok(nal)) {
                    return unit;
                }
                end += PREFIX + nal.len();
            }
            _ => break,
        }
    }
    if end == delimiter || end >= unit.len() {
        return unit;
    }
    if delimiter > 0 {
        // The delimiter moves up to what follows; nobody else has the unit yet.
        unit = match unit.try_into_mut() {
            Ok(mut unit) => {
                unit.copy_within(..delimiter, end - delimiter);
                unit.freeze()
            }
            Err(unit) => {
                let rest = unit.get(end..).unwrap_or_default();
                let delimiter = unit.get(..delimiter).unwrap_or_default();
                return Bytes::from([delimiter, rest].concat());
            }
        };
    }
    unit.slice(end - delimiter..)
}

/// Bytes of a NAL unit's length.
const PREFIX: usize = 4;

enum Role {
    Delimiter,
    Set,
    Other,
}

fn role(parameters: &Parameters, nal: &[u8]) -> Role {
    match parameters {
        Parameters::H264(_) => match h264::NalKind::of(nal) {
            h264::NalKind::Aud => Role::Delimiter,
            h264::NalKind::Sps | h264::NalKind::Pps => Role::Set,
            _ => Role::Other,
        },
        Parameters::H265(_) => match h265::NalKind::of(nal) {
            h265::NalKind::Aud => Role::Delimiter,
            h265::NalKind::Vps | h265::NalKind::Sps | h265::NalKind::Pps => Role::Set,
            _ => Role::Other,
        },
        _ => Role::Other,
    }
}

/// Our canonical name in reports.
const CNAME: &str = "vedette";

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &[u8] = b"\x67\x4d\x40\x1e\xda\x02\x80\xbf\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x58\xba\x80";
    const PPS: &[u8] = b"\x68\xef\x0f\xc8";
    const AUD: &[u8] = b"\x09\x10";
    const IDR: &[u8] = b"\x65\x88\x84picture";

    fn unit(nals: &[&[u8]]) -> Bytes {
        let framed = nals.iter().map(|nal| [&(nal.len() as u32).to_be_bytes(), *nal].concat());
        Bytes::from(framed.collect::<Vec<_>>().concat())
    }

    #[test]
    fn known_sets_at_the_front_are_taken_off_and_others_are_left() {
        let pps = vec![Bytes::from_static(PPS)];
        let known = h264::Parameters::new(Bytes::from_static(SPS), pps).expect("x264's");
        let known = Parameters::H264(known);
        let without = |nals: &[&[u8]]| without_sets(&known, unit(nals));
        assert_eq!(without(&[SPS, PPS, IDR]), unit(&[IDR]));
        assert_eq!(without(&[AUD, SPS, PPS, PPS, IDR]), unit(&[AUD, IDR]));
        let shared = unit(&[AUD, SPS, PPS, IDR]);
        assert_eq!(without_sets(&known, shared.clone()), unit(&[AUD, IDR]));
        assert_eq!(shared, unit(&[AUD, SPS, PPS, IDR]), "what others hold stays as it is");
        for kept in [&[AUD, IDR][..], &[IDR, PPS], &[SPS, b"\x68\xee\x3c\x80", IDR], &[SPS, PPS]] {
            assert_eq!(without(kept), unit(kept));
        }
        assert_eq!(without_sets(&known, Bytes::from_static(b"\0\0\0\x09x")), &b"\0\0\0\x09x"[..]);
    }
}
