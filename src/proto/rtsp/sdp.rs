//! The SDP that answers DESCRIBE (RFC 2326 appendix C, RFC 8866).
//!
//! # Three readers, one order of the ranges
//!
//! GStreamer takes the first `a=range` of the session for the length: so npt comes before clock.
//! ffmpeg takes the last line of all, and reads garbage from a clock line: so each medium says the
//! npt range once more. VLC has a seek bar only with npt, from either place.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::headers::{ClockRange, Npt, NptRange, Range};
use crate::proto::{
    access_unit::{Track, TrackIndex},
    codec::{Parameters, aac, av1, g711, h264, h265, opus, pcm},
    time::{WallSpan, WallTime},
};

/// `a=tool:`.
const TOOL: &str = concat!("Vedette ", env!("CARGO_PKG_VERSION"));

/// The first payload type without a fixed meaning (RFC 3551 §3).
const FIRST_DYNAMIC: u8 = 96;

/// Frame rates an SPS declares in good faith, a second. Others are of no use to a player.
const FRAME_RATES: std::ops::RangeInclusive<f64> = 0.1..=480.0;

/// What is described.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// `s=`: the camera's name.
    pub name: &'a str,
    /// `o=`: numeric, the same for the same content.
    pub id: u64,
    /// `o=`: grows when the content described changes.
    pub version: u64,
    /// `o=`, and by its family `c=`: the address the client reached us at.
    pub address: IpAddr,
    /// In order; their places are their [`TrackIndex`]es.
    pub tracks: &'a [Track],
    /// Live, or how long.
    pub extent: Extent,
}

/// How far what is described reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `npt=now-`.
    Live,
    /// Recorded footage.
    Recorded {
        /// Capture time of its first picture.
        start: WallTime,
        /// Where it ends, as of now.
        end: WallTime,
        /// Its length in npt: gaps closed up.
        length: WallSpan,
    },
}

/// The text of `description`.
#[must_use]
pub fn write(description: &Description<'_>) -> String {
    let mut text = String::new();
    // A `String` takes all that is written.
    let _ = description.write(&mut text);
    text
}

impl Description<'_> {
    fn write(&self, to: &mut String) -> fmt::Result {
        let (family, any) = match self.address {
            IpAddr::V4(_) => ("IP4", "0.0.0.0"),
            IpAddr::V6(_) => ("IP6", "::"),
        };
        write!(to, "v=0\r\n")?;
        write!(to, "o=- {} {} IN {family} {}\r\n", self.id, self.version, self.address)?;
        write!(to, "s={}\r\n", name_line(self.name))?;
        write!(to, "c=IN {family} {any}\r\n")?;
        write!(to, "t=0 0\r\n")?;
        write!(to, "a=tool:{TOOL}\r\n")?;
        write!(to, "a=control:*\r\n")?;
        match self.extent {
            Extent::Live => {
                let range = NptRange { start: Some(Npt::Now), end: None };
                write!(to, "a=range:{}\r\n", Range::Npt(range))?;
            }
            Extent::Recorded { start, end, length } => {
                let clock = ClockRange { start: Some(start), end: Some(end) };
                write!(to, "a=range:{}\r\n", npt_range(length))?;
                write!(to, "a=range:{}\r\n", Range::Clock(clock))?;
            }
        }
        for (track, index) in self.tracks.iter().zip(0..) {
            write_track(to, TrackIndex(index), track, self.extent)?;
        }
        Ok(())
    }
}

fn npt_range(length: WallSpan) -> Range {
    let (start, end) = (Npt::At(WallSpan::ZERO), Npt::At(length));
    Range::Npt(NptRange { start: Some(start), end: Some(end) })
}

fn write_track(to: &mut String, index: TrackIndex, track: &Track, extent: Extent) -> fmt::Result {
    let payload_type = payload_type(index, &track.parameters);
    let (media, onvif) =
        if track.parameters.is_video() { ("video", "VIDEO") } else { ("audio", "AUDIO") };
    write!(to, "m={media} 0 RTP/AVP {payload_type}\r\n")?;
    write!(to, "a=control:{}\r\n", control(index))?;
    if let Extent::Recorded { length, .. } = extent {
        write!(to, "a=range:{}\r\n", npt_range(length))?;
    }
    let rate = track.timescale.get();
    write!(to, "a=rtpmap:{payload_type} ")?;
    match &track.parameters {
        Parameters::H264(_) => write!(to, "H264/{rate}\r\n")?,
        Parameters::H265(_) => write!(to, "H265/{rate}\r\n")?,
        Parameters::Aac(p) => write!(to, "mpeg4-generic/{rate}/{}\r\n", p.channels)?,
        Parameters::G711(p) => {
            let name = match p.law {
                g711::Law::Mu => "PCMU",
                g711::Law::A => "PCMA",
            };
            write!(to, "{name}/{rate}/{}\r\n", p.channels)?;
        }
        Parameters::Mjpeg(_) => write!(to, "JPEG/{rate}\r\n")?,
        Parameters::Av1(_) => write!(to, "AV1/{rate}\r\n")?,
        // Two, whatever is sent (RFC 7587 §7).
        Parameters::Opus(_) => write!(to, "opus/{rate}/2\r\n")?,
        Parameters::Pcm(p) => write!(to, "L16/{rate}/{}\r\n", p.channels)?,
    }
    let format = match &track.parameters {
        Parameters::H264(p) => h264_format(p),
        Parameters::H265(p) => h265_format(p),
        Parameters::Aac(p) => aac_format(p),
        Parameters::Av1(p) => av1_format(p),
        Parameters::Opus(p) => opus_format(p),
        Parameters::G711(_) | Parameters::Mjpeg(_) | Parameters::Pcm(_) => String::new(),
    };
    if !format.is_empty() {
        write!(to, "a=fmtp:{payload_type} {format}\r\n")?;
    }
    if let Some(rate) = frame_rate(&track.parameters) {
        write!(to, "a=framerate:{rate}\r\n")?;
    }
    if matches!(extent, Extent::Recorded { .. }) {
        write!(to, "a=x-onvif-track:{onvif}{:03}\r\n", index.0)?;
    }
    Ok(())
}

/// RFC 6184 §8.1.
fn h264_format(p: &h264::Parameters) -> String {
    let mut format = "packetization-mode=1".to_owned();
    if let Some([profile, constraints, level]) = p.sps.get(1..4) {
        let _ = write!(format, ";profile-level-id={profile:02X}{constraints:02X}{level:02X}");
    }
    let sets = std::iter::once(&p.sps).chain(&p.pps);
    let _ = write!(format, ";sprop-parameter-sets={}", base64_list(sets));
    format
}

/// RFC 7798 §7.1.
fn h265_format(p: &h265::Parameters) -> String {
    format!(
        "sprop-vps={};sprop-sps={};sprop-pps={}",
        base64_list([&p.vps]),
        base64_list([&p.sps]),
        base64_list(&p.pps)
    )
}

/// RFC 3640 §4.1. `profile-level-id` 1 is what every sender writes and no receiver reads.
fn aac_format(p: &aac::Parameters) -> String {
    let config: String = p.config.iter().map(|byte| format!("{byte:02X}")).collect();
    format!(
        "streamtype=5;profile-level-id=1;mode=AAC-hbr;\
         sizelength=13;indexlength=3;indexdeltalength=3;config={config}"
    )
}

/// RTP payload format for AV1 §7.2.1.
fn av1_format(p: &av1::Parameters) -> String {
    format!("profile={};level-idx={};tier={}", p.profile, p.level, u8::from(p.high_tier))
}

/// RFC 7587 §6.1.
fn opus_format(p: &opus::Parameters) -> String {
    format!("sprop-stereo={}", u8::from(p.channels > 1))
}

fn base64_list<'a>(nals: impl IntoIterator<Item = &'a Bytes>) -> String {
    nals.into_iter().map(|nal| STANDARD.encode(nal)).collect::<Vec<_>>().join(",")
}

/// With up to three digits behind the point.
fn frame_rate(parameters: &Parameters) -> Option<f64> {
    let (numerator, denominator) = match parameters {
        Parameters::H264(p) => p.frame_rate?,
        Parameters::H265(p) => p.frame_rate?,
        Parameters::Av1(p) => p.frame_rate?,
        _ => return None,
    };
    let rate = f64::from(numerator) / f64::from(denominator);
    FRAME_RATES.contains(&rate).then(|| (rate * 1_000.0).round() / 1_000.0)
}

/// RFC 8866 §5.3: not empty, on one line.
fn name_line(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.trim().is_empty() { "-".to_owned() } else { clean }
}

/// What `a=control:` says of a track; it goes behind `Content-Base`: `trackID=0`.
#[must_use]
pub fn control(track: TrackIndex) -> String {
    format!("trackID={}", track.0)
}

/// Inverse of [`control`], for the last part of a SETUP's path.
#[must_use]
pub fn parse_control(control: &str) -> Option<TrackIndex> {
    let (name, index) = control.split_once('=')?;
    let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    if !name.eq_ignore_ascii_case("trackID") || !digits {
        return None;
    }
    index.parse().ok().map(TrackIndex)
}

/// The payload type of a track: what [`write()`] says and RTP packets must bear. Static where
/// RFC 3551 §6 has one that fits, else 96 and up by the track's place.
#[must_use]
pub fn payload_type(track: TrackIndex, parameters: &Parameters) -> u8 {
    match parameters {
        Parameters::G711(g711::Parameters { law, sample_rate: 8_000, channels: 1 }) => match law {
            g711::Law::Mu => 0,
            g711::Law::A => 8,
        },
        Parameters::Pcm(pcm::Parameters { sample_rate: 44_100, channels: 2 }) => 10,
        Parameters::Pcm(pcm::Parameters { sample_rate: 44_100, channels: 1 }) => 11,
        // 7 bits: no stream has 32 tracks.
        _ => FIRST_DYNAMIC.saturating_add(track.0).min(127),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::time::Timescale;

    fn track(parameters: Parameters) -> Track {
        let rate = match &parameters {
            Parameters::Aac(p) => p.sample_rate,
            Parameters::G711(p) => p.sample_rate,
            _ => 90_000,
        };
        Track { timescale: Timescale::new(rate).expect("not zero"), parameters }
    }

    fn h264() -> Track {
        track(Parameters::H264(h264::Parameters {
            sps: Bytes::from_static(b"\x67\x42\xc0\x1e\xd9\x00"),
            pps: vec![Bytes::from_static(b"\x68\xce\x3c"), Bytes::from_static(b"\x68\x48\xe3")],
            width: 640,
            height: 480,
            frame_rate: Some((30_000, 1_001)),
            reorder: None,
        }))
    }

    fn h265() -> Track {
        track(Parameters::H265(h265::Parameters {
            vps: Bytes::from_static(b"\x40\x01\x0c"),
            sps: Bytes::from_static(b"\x42\x01\x01"),
            pps: vec![Bytes::from_static(b"\x44\x01\xc1"), Bytes::from_static(b"\x44\x01\xc2")],
            width: 640,
            height: 480,
            frame_rate: Some((0, 0)),
            reorder: None,
        }))
    }

    fn aac() -> Track {
        track(Parameters::Aac(aac::Parameters {
            config: Bytes::from_static(b"\x11\x90"),
            sample_rate: 48_000,
            channels: 2,
            frame_length: 1_024,
            object_type: 2,
        }))
    }

    fn g711(law: g711::Law, sample_rate: u32, channels: u8) -> Track {
        track(Parameters::G711(g711::Parameters { law, sample_rate, channels }))
    }

    fn description(tracks: &[Track], extent: Extent) -> Description<'_> {
        Description {
            name: "Front door",
            id: 17,
            version: 3,
            address: "10.0.0.1".parse().expect("an address"),
            tracks,
            extent,
        }
    }

    fn recorded() -> Extent {
        let start = WallTime::from_micros(1_795_341_600_250_000);
        let end = start + WallSpan::from_secs(3_600);
        Extent::Recorded { start, end, length: WallSpan::from_micros(3_590_040_000) }
    }

    #[test]
    fn recorded_h264_and_aac_are_described_as_players_read_them() {
        let tracks = [h264(), aac()];
        let expected = [
            "v=0",
            "o=- 17 3 IN IP4 10.0.0.1",
            "s=Front door",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            &format!("a=tool:{TOOL}"),
            "a=control:*",
            "a=range:npt=0.000-3590.040",
            "a=range:clock=20261122T100000.25Z-20261122T110000.25Z",
            "m=video 0 RTP/AVP 96",
            "a=control:trackID=0",
            "a=range:npt=0.000-3590.040",
            "a=rtpmap:96 H264/90000",
            "a=fmtp:96 packetization-mode=1;profile-level-id=42C01E;\
             sprop-parameter-sets=Z0LAHtkA,aM48,aEjj",
            "a=framerate:29.97",
            "a=x-onvif-track:VIDEO000",
            "m=audio 0 RTP/AVP 97",
            "a=control:trackID=1",
            "a=range:npt=0.000-3590.040",
            "a=rtpmap:97 mpeg4-generic/48000/2",
            "a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;\
             sizelength=13;indexlength=3;indexdeltalength=3;config=1190",
            "a=x-onvif-track:AUDIO001",
            "",
        ];
        assert_eq!(write(&description(&tracks, recorded())), expected.join("\r\n"));
    }

    #[test]
    fn live_is_now_and_has_no_clock() {
        let text = write(&description(&[h264()], Extent::Live));
        let ranges: Vec<&str> = text.lines().filter(|l| l.starts_with("a=range")).collect();
        assert_eq!(ranges, ["a=range:npt=now-"]);
        assert!(!text.contains("x-onvif-track"));
    }

    #[test]
    fn h265_has_its_parameter_sets_one_by_one_and_no_lying_frame_rate() {
        let text = write(&description(&[h265()], Extent::Live));
        assert!(text.contains("a=rtpmap:96 H265/90000\r\n"));
        let format = "a=fmtp:96 sprop-vps=QAEM;sprop-sps=QgEB;sprop-pps=RAHB,RAHC\r\n";
        assert!(text.contains(format), "{text}");
        assert!(!text.contains("framerate"));
    }

    #[test]
    fn g711_has_its_static_type_only_at_8_khz_mono() {
        let laws = [g711::Law::Mu, g711::Law::A];
        let types = |rate, channels| {
            laws.map(|law| payload_type(TrackIndex(1), &g711(law, rate, channels).parameters))
        };
        assert_eq!(types(8_000, 1), [0, 8]);
        assert_eq!(types(16_000, 1), [97, 97]);
        assert_eq!(types(8_000, 2), [97, 97]);
        let text = write(&description(&[h264(), g711(g711::Law::A, 16_000, 1)], Extent::Live));
        assert!(text.contains("m=audio 0 RTP/AVP 97\r\n"));
        assert!(text.contains("a=rtpmap:97 PCMA/16000/1\r\n"));
        assert!(!text.contains("a=fmtp:97"));
    }

    #[test]
    fn another_parser_reads_what_is_written() {
        let tracks = [h264(), h265(), aac(), g711(g711::Law::Mu, 8_000, 1)];
        let text = write(&description(&tracks, recorded()));
        let session = sdp_types::Session::parse(text.as_bytes()).expect("SDP");
        assert_eq!(session.origin.unicast_address, "10.0.0.1");
        assert_eq!((session.session_name.as_str(), session.medias.len()), ("Front door", 4));
        let range = session.get_first_attribute_value("range");
        let range = range.expect("well-formed").expect("there");
        assert_eq!(range, "npt=0.000-3590.040", "the first one is what GStreamer takes");
        for (n, media) in session.medias.iter().enumerate() {
            let control = media.get_first_attribute_value("control").expect("once");
            let control = control.expect("there");
            assert_eq!(parse_control(control), Some(TrackIndex(n as u8)));
            let map = media.get_first_attribute_value("rtpmap").expect("once").expect("there");
            assert!(map.starts_with(&format!("{} ", media.fmt)));
        }
    }

    #[test]
    fn an_ipv6_client_gets_ipv6_addresses() {
        let address = "2001:db8::1".parse().expect("an address");
        let text = write(&Description { address, ..description(&[], Extent::Live) });
        assert!(text.contains("o=- 17 3 IN IP6 2001:db8::1\r\n"));
        assert!(text.contains("c=IN IP6 ::\r\n"));
    }

    #[test]
    fn a_name_cannot_make_lines() {
        let with_name = |name| write(&Description { name, ..description(&[], Extent::Live) });
        assert!(with_name("a\r\na=control:x").contains("s=a  a=control:x\r\n"));
        assert!(with_name(" ").contains("s=-\r\n"));
    }

    #[test]
    fn a_control_that_is_not_ours_is_none() {
        assert_eq!(parse_control("trackid=3"), Some(TrackIndex(3)));
        for other in ["", "trackID", "trackID=", "trackID=256", "trackID=+1", "streamid=0"] {
            assert_eq!(parse_control(other), None, "{other}");
        }
    }
}
