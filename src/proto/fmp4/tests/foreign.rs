//! Footage of ffmpeg's encoders in our files, played back by ffprobe: every packet's bytes and
//! times. Needs `ffmpeg` and `ffprobe` on the path.

use std::{path::Path, process::Command};

use bytes::{BufMut, Bytes, BytesMut};
use md5::{Digest, Md5};

use super::made_up::{File, identity, scan_bytes};
use crate::proto::{
    access_unit::{Track, TrackIndex},
    codec::{
        Parameters, aac, g711, h264, h265,
        nal::nals,
        reorder::{DtsFromPts, Stamp},
    },
    fmp4::*,
    time::{MediaTime, Timescale, WallTime},
};

pub(super) fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let done = Command::new(program)
        .args(["-hide_banner", "-v", "error"])
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {errors}");
    done.stdout
}

pub(super) const PICTURES: &[&str] =
    &["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "4.2"];
pub(super) const SOUND: &[&str] =
    &["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "4.2"];

pub(super) fn encode(input: &[&str], output: &[&str]) -> Vec<u8> {
    run("ffmpeg", &[input, output, &["pipe:1"]].concat())
}

/// The NAL units of an Annex B stream.
fn annex_b(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<_> =
        (0..stream.len().saturating_sub(3)).filter(|&at| stream[at..at + 3] == [0, 0, 1]).collect();
    starts.push(stream.len());
    let nal = |pair: &[usize]| {
        let nal = &stream[pair[0] + 3..pair[1]];
        &nal[..nal.len() - nal.iter().rev().take_while(|&&byte| byte == 0).count()]
    };
    starts.windows(2).map(nal).collect()
}

/// Units as the recorder has them. Each begins with a delimiter or its parameter sets, so with the
/// first NAL unit behind a slice that is none.
fn units(stream: &[u8], is_slice: impl Fn(&[u8]) -> bool) -> Vec<Bytes> {
    let mut units: Vec<BytesMut> = Vec::new();
    let mut behind_slice = true;
    for nal in annex_b(stream) {
        if behind_slice && !is_slice(nal) {
            units.push(BytesMut::new());
        }
        behind_slice = is_slice(nal);
        let unit = units.last_mut().expect("begins with a delimiter");
        unit.put_u32(u32::try_from(nal.len()).expect("small"));
        unit.put_slice(nal);
    }
    units.into_iter().map(BytesMut::freeze).collect()
}

fn find(unit: &Bytes, is: impl Fn(&[u8]) -> bool) -> Bytes {
    let nal = nals(unit).map(|nal| nal.expect("whole")).find(|nal| is(nal)).expect("there");
    unit.slice_ref(nal)
}

/// One track as ingest would publish it.
pub(super) struct Footage {
    track: Track,
    units: Vec<(Stamp, Bytes)>,
}

impl Footage {
    fn new(track: Track, pts: &[i64], units: Vec<Bytes>) -> Self {
        assert_eq!(pts.len(), units.len());
        let mut dts = DtsFromPts::of(&track);
        let stamp = |&pts| dts.push(MediaTime::from_ticks(pts)).expect("close enough");
        Self { units: pts.iter().map(stamp).zip(units).collect(), track }
    }

    pub(super) fn paced(track: Track, ticks: i64, units: Vec<Bytes>) -> Self {
        let pts: Vec<_> = (0..units.len() as i64).map(|n| n * ticks).collect();
        Self::new(track, &pts, units)
    }

    fn is_key(&self, at: usize) -> bool {
        self.track.parameters.is_random_access(&self.units[at].1)
    }
}

/// Presentation times of a reference file's first track, in decoding order, at 90 kHz.
fn presentation_times(reference: &Path) -> Vec<i64> {
    let packets = probe(reference);
    let first: Vec<_> = packets.iter().filter(|p| p.stream == 0).collect();
    let base = first.iter().map(|p| p.pts).min().expect("some");
    first.iter().map(|p| p.pts - base).collect()
}

fn h264(extra: &[&str]) -> Footage {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = folder.path().join("reference.mp4");
    let name = reference.to_str().expect("UTF-8");
    let settings = ["-c:v", "libx264", "-g", "25", "-x264-params", "aud=1", "-pix_fmt", "yuv420p"];
    let output = ["-video_track_timescale", "90000", name];
    run("ffmpeg", &[PICTURES, &settings, extra, &output].concat());
    let copy = ["-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264"];
    let units = units(&encode(&["-i", name], &copy), |nal| {
        matches!(h264::NalKind::of(nal), h264::NalKind::Slice | h264::NalKind::Idr)
    });
    let set = |kind| find(&units[0], |nal| h264::NalKind::of(nal) == kind);
    let parameters = h264::Parameters::new(set(h264::NalKind::Sps), vec![set(h264::NalKind::Pps)]);
    let track = Track {
        timescale: Timescale::VIDEO,
        parameters: Parameters::H264(parameters.expect("valid")),
    };
    Footage::new(track, &presentation_times(&reference), units)
}

fn h265() -> Footage {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = folder.path().join("reference.mp4");
    let name = reference.to_str().expect("UTF-8");
    let settings = ["-c:v", "libx265", "-g", "25", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    let more = ["-x265-params", "log-level=none:aud=1:bframes=3:b-pyramid=1:repeat-headers=1"];
    let output = ["-video_track_timescale", "90000", name];
    run("ffmpeg", &[PICTURES, &settings, &more, &output].concat());
    let copy = ["-c", "copy", "-bsf:v", "hevc_mp4toannexb", "-f", "hevc"];
    let units = units(&encode(&["-i", name], &copy), |nal| h265::NalKind::of(nal).is_slice());
    let set = |kind| find(&units[0], |nal| h265::NalKind::of(nal) == kind);
    let (vps, sps) = (set(h265::NalKind::Vps), set(h265::NalKind::Sps));
    let parameters = h265::Parameters::new(vps, sps, vec![set(h265::NalKind::Pps)]);
    let track = Track {
        timescale: Timescale::VIDEO,
        parameters: Parameters::H265(parameters.expect("valid")),
    };
    Footage::new(track, &presentation_times(&reference), units)
}

fn aac() -> Footage {
    let stream = encode(SOUND, &["-c:a", "aac", "-ac", "2", "-f", "adts"]);
    let mut rest = &stream[..];
    let mut units = Vec::new();
    while !rest.is_empty() {
        let bits = u32::from_be_bytes([0, rest[3], rest[4], rest[5]]);
        let len = (bits >> 5 & 0x1fff) as usize;
        units.push(Bytes::copy_from_slice(&rest[7..len]));
        rest = &rest[len..];
    }
    let parameters = Parameters::Aac(aac::Parameters::lc(44_100, 2).expect("valid"));
    let timescale = Timescale::new(44_100).expect("not zero");
    Footage::paced(Track { timescale, parameters }, 1_024, units)
}

fn g711(law: g711::Law, format: &str) -> Footage {
    let codec = format!("pcm_{format}");
    let stream = encode(SOUND, &["-ar", "8000", "-ac", "1", "-c:a", &codec, "-f", format]);
    let units = stream.chunks(160).map(Bytes::copy_from_slice).collect();
    let parameters = Parameters::G711(g711::Parameters { law, sample_rate: 8_000, channels: 1 });
    let timescale = Timescale::new(8_000).expect("not zero");
    Footage::paced(Track { timescale, parameters }, 160, units)
}

/// Writes the footage as the recorder does: a fragment at each key frame of the first track and
/// each second.
fn mux(footage: &[Footage]) -> File {
    let tracks: Vec<_> = footage.iter().map(|f| f.track.clone()).collect();
    // Time 0 of the file: the first decoding time of the first track, as seconds.
    let first = &footage[0];
    let zero = first.units[0].0.dts.to_span(first.track.timescale);
    let mut identity = identity(tracks.len());
    for (start, track) in identity.tracks.iter_mut().zip(&tracks) {
        start.first_dts = MediaTime::from_span(zero, track.timescale);
    }
    let header = write_header(&identity, &tracks).expect("fits");
    let mut file = File::new(&tracks);
    file.bytes = BytesMut::from(&header[..]);
    file.header_len = header.len() as u64;

    let rate = i64::from(first.track.timescale.get());
    let mut cuts = Vec::new();
    for (at, (stamp, _)) in first.units.iter().enumerate() {
        let last = cuts.last().copied().unwrap_or(i64::MIN);
        if (first.track.parameters.is_video() && first.is_key(at))
            || stamp.dts.ticks().saturating_sub(last) >= rate
        {
            cuts.push(stamp.dts.ticks());
        }
    }
    let mut next: Vec<usize> = vec![0; footage.len()];
    for n in 0..cuts.len() {
        let until =
            cuts.get(n + 1).map(|&cut| MediaTime::from_ticks(cut).to_span(first.track.timescale));
        let mut samples = Vec::new();
        let mut payload = Vec::new();
        for (f, next) in footage.iter().zip(&mut next) {
            let start = *next;
            let before =
                |stamp: &Stamp| until.is_none_or(|end| stamp.dts.to_span(f.track.timescale) < end);
            while f.units.get(*next).is_some_and(|(stamp, _)| before(stamp)) {
                *next += 1;
            }
            samples.push(
                (start..*next)
                    .map(|at| {
                        let (stamp, unit) = &f.units[at];
                        let after = f.units.get(at + 1).map_or_else(
                            || stamp.dts + (stamp.dts - f.units[at - 1].0.dts),
                            |(stamp, _)| stamp.dts,
                        );
                        payload.extend_from_slice(unit);
                        Sample {
                            duration: u32::try_from((after - stamp.dts).ticks()).expect("grows"),
                            cts: stamp.cts,
                            size: u32::try_from(unit.len()).expect("small"),
                            sync: f.is_key(at),
                        }
                    })
                    .collect::<Vec<_>>(),
            );
        }
        let parts: Vec<_> = samples
            .iter()
            .enumerate()
            .map(|(t, samples)| {
                let start = next[t] - samples.len();
                let dts = footage[t]
                    .units
                    .get(start)
                    .map_or(MediaTime::ZERO, |(stamp, _)| stamp.dts - identity.tracks[t].first_dts);
                FragmentTrack { track: TrackIndex(t as u8), dts, samples }
            })
            .collect();
        let wall = WallTime::from_micros(1_795_341_600_000_000 + n as i64 * 1_000_000);
        file.push(wall, &parts, &payload);
    }
    assert!(next.iter().zip(footage).all(|(&next, f)| next == f.units.len()), "all written");
    file
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    stream: usize,
    pts: i64,
    dts: i64,
    key: bool,
    size: u32,
    md5: String,
}

fn probe(file: &Path) -> Vec<Packet> {
    let arguments = ["-show_packets", "-show_data_hash", "MD5", "-of", "json"];
    let json = run("ffprobe", &[&arguments[..], &[file.to_str().expect("UTF-8")]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let packet = |p: &serde_json::Value| Packet {
        stream: p["stream_index"].as_u64().expect("an index") as usize,
        pts: p["pts"].as_i64().expect("a time"),
        dts: p["dts"].as_i64().expect("a time"),
        key: p["flags"].as_str().expect("flags").starts_with('K'),
        size: p["size"].as_str().and_then(|s| s.parse().ok()).expect("a size"),
        md5: p["data_hash"].as_str().expect("a hash").trim_start_matches("MD5:").to_owned(),
    };
    json["packets"].as_array().expect("a list").iter().map(packet).collect()
}

/// What a player must find: all units of which `file`'s first `fragments` fragments hold tables.
fn expected(file: &File, track: usize, up_to: u64) -> Vec<Packet> {
    let samples = file.tables.tracks[track].iter().filter(|s| s.offset < up_to);
    samples
        .map(|s| {
            let at = usize::try_from(s.offset).expect("small");
            let payload = &file.bytes[at..at + s.size as usize];
            let md5 = Md5::digest(payload).iter().map(|byte| format!("{byte:02x}")).collect();
            Packet {
                stream: track,
                pts: s.pts().ticks(),
                dts: s.dts.ticks(),
                key: s.sync,
                size: s.size,
                md5,
            }
        })
        .collect()
}

fn assert_plays(file: &File, bytes: &[u8], up_to: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("segment.mp4");
    std::fs::write(&path, bytes).expect("written");
    let packets = probe(&path);
    for track in 0..file.tables.tracks.len() {
        let found: Vec<_> = packets.iter().filter(|p| p.stream == track).cloned().collect();
        let expected = expected(file, track, up_to);
        assert_eq!(found.len(), expected.len(), "track {track}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected);
        }
    }
}

/// Closed, open, cut at each fragment and at some bytes between: a player finds what is there.
pub(super) fn assert_whole(footage: &[Footage]) -> File {
    let mut file = mux(footage);
    let open = file.bytes.clone();
    let open_len = open.len() as u64;
    assert!(file.ends.len() >= 4);
    assert_eq!(scan_bytes(&open).tables, file.tables);
    assert_plays(&file, &open, open_len);
    file.close();
    assert_plays(&file, &file.bytes, open_len);
    let header = read_header(&file.bytes).expect("whole");
    for (f, track) in footage.iter().zip(header.tracks.iter()) {
        assert_eq!(f.track, *track);
    }
    file
}

/// Decodes it all; ffmpeg prints what it does not like.
pub(super) fn assert_decodes(file: &File) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("segment.mp4");
    std::fs::write(&path, &file.bytes).expect("written");
    let done = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "warning", "-xerror", "-i"])
        .arg(&path)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg");
    let said = String::from_utf8_lossy(&done.stderr);
    // That mono is mono it may guess.
    let complains = said.lines().any(|line| !line.is_empty() && !line.starts_with("Guessed"));
    assert!(done.status.success() && !complains, "{said}");
}

#[test]
fn h264_and_aac_are_played_back_unit_by_unit() {
    let file = assert_whole(&[h264(&["-bf", "0"]), aac()]);
    assert_decodes(&file);
}

#[test]
fn h264_with_b_frames_keeps_its_presentation_times() {
    let footage = h264(&["-bf", "3", "-b_strategy", "0", "-x264-params", "aud=1:b-pyramid=normal"]);
    assert!(footage.units.iter().any(|(stamp, _)| stamp.cts != footage.units[0].0.cts));
    assert!(footage.units.iter().all(|(stamp, _)| stamp.cts >= 0));
    let file = assert_whole(&[footage]);
    assert_decodes(&file);
}

#[test]
fn h265_with_b_frames_is_played_back_unit_by_unit() {
    let footage = h265();
    assert!(footage.units.iter().any(|(stamp, _)| stamp.cts != footage.units[0].0.cts));
    let file = assert_whole(&[footage]);
    assert_decodes(&file);
}

#[test]
fn g711_of_both_laws_is_played_back_byte_by_byte() {
    for (law, format) in [(g711::Law::Mu, "mulaw"), (g711::Law::A, "alaw")] {
        let file = assert_whole(&[h264(&["-bf", "0"]), g711(law, format)]);
        assert_decodes(&file);
    }
}

#[test]
fn sound_alone_is_played_back() {
    let file = assert_whole(&[g711(g711::Law::Mu, "mulaw")]);
    assert_decodes(&file);
}

#[test]
fn a_torn_file_plays_up_to_its_last_whole_fragment() {
    let file = mux(&[h264(&["-bf", "2"]), aac()]);
    let torn_inside = file.ends.windows(2).map(|pair| pair[0] + (pair[1] - pair[0]) * 2 / 3);
    let torn_in_tables = file.ends.iter().rev().skip(1).map(|end| end + 50);
    for cut in file.ends.iter().copied().chain(torn_inside).chain(torn_in_tables) {
        let bytes = &file.bytes[..usize::try_from(cut).expect("small")];
        let found = scan_bytes(bytes);
        let end = file.ends.iter().rev().find(|&&end| end <= cut).expect("one is whole");
        assert_eq!(found.end, *end, "cut at {cut}");
        assert_plays(&file, &bytes[..usize::try_from(*end).expect("small")], *end);
        // As it lies there after a crash, with its torn end: opened without complaint.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("torn.mp4");
        std::fs::write(&path, bytes).expect("written");
        let whole = expected(&file, 0, *end);
        let played: Vec<_> = probe(&path).into_iter().filter(|p| p.stream == 0).collect();
        assert_eq!(played.get(..whole.len()), Some(&whole[..]), "cut at {cut}");
    }
}
