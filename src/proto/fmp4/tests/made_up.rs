//! Files of made-up units: everything written is read back, by us and by mp4-atom.

use bytes::{Bytes, BytesMut};
use mp4_atom::Decode;

use crate::proto::{
    access_unit::{Track, TrackIndex},
    codec::{Parameters, aac, g711, h264, h265},
    fmp4::*,
    time::{MediaTime, Timescale, WallTime},
};

pub(super) fn hex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn video(parameters: Parameters) -> Track {
    Track { timescale: Timescale::VIDEO, parameters }
}

pub(super) fn tracks() -> Vec<Track> {
    let sps = hex("67640028acd940780227e5c04400000fa40003a9803c60c658");
    let pps = vec![hex("68ebe3cb22c0"), hex("6859707960")];
    let h264 = h264::Parameters::new(sps, pps).expect("valid");
    let h265 = h265::Parameters::new(
        hex("40010c01ffff02200000030090000003000003003f928090"),
        hex("42010102200000030090000003000003003fa00502016936592a49395e02d01000003e900007530080"),
        vec![hex("4401c172b46240")],
    )
    .expect("valid");
    let aac = aac::Parameters::lc(44_100, 2).expect("valid");
    let law = |law, sample_rate| Track {
        timescale: Timescale::new(sample_rate).expect("not zero"),
        parameters: Parameters::G711(g711::Parameters { law, sample_rate, channels: 1 }),
    };
    vec![
        video(Parameters::H264(h264)),
        video(Parameters::H265(h265)),
        Track {
            timescale: Timescale::new(44_100).expect("not zero"),
            parameters: Parameters::Aac(aac),
        },
        law(g711::Law::Mu, 8_000),
        law(g711::Law::A, 16_000),
    ]
}

pub(super) fn identity(tracks: usize) -> Identity {
    Identity {
        segment: 0x0123_4567_89ab_cdef,
        camera: 1,
        stream: 2,
        run: 3,
        epoch: 4,
        sequence: 5,
        slug: "front-door".to_owned(),
        role: "main".to_owned(),
        start: WallTime::from_micros(1_795_341_600_123_456),
        clock_source: 2,
        previous_end: 15,
        tracks: (0..tracks as u64)
            .map(|n| TrackStart { first_number: n * 1_000, first_dts: MediaTime::from_ticks(-7) })
            .collect(),
    }
}

/// A file with what was written into it, as the recorder would have it.
#[derive(Default)]
pub(super) struct File {
    pub(super) bytes: BytesMut,
    pub(super) header_len: u64,
    pub(super) tables: Tail,
    /// Where each fragment ends.
    pub(super) ends: Vec<u64>,
    /// As files of today have them.
    pub(super) checksums: bool,
}

impl File {
    pub(super) fn new(tracks: &[Track]) -> Self {
        let header = write_header(&identity(tracks.len()), tracks).expect("fits");
        let header_len = header.len() as u64;
        let tables = Tail { tracks: vec![Vec::new(); tracks.len()], fragments: Vec::new() };
        Self {
            bytes: BytesMut::from(&header[..]),
            header_len,
            tables,
            ends: Vec::new(),
            checksums: true,
        }
    }

    pub(super) fn push(&mut self, wall: WallTime, parts: &[FragmentTrack<'_>], payload: &[u8]) {
        let offset = self.bytes.len() as u64;
        let sequence = u32::try_from(self.ends.len() + 1).expect("few");
        let head = write_fragment(
            &mut self.bytes,
            sequence,
            wall,
            parts,
            self.checksums.then(|| checksum([payload])),
        )
        .expect("fits");
        assert_eq!(self.bytes.len() as u64, offset + head.len);
        assert_eq!(head.payload_len, payload.len() as u64);
        for (track, sample) in index(parts, offset + head.len) {
            self.tables.tracks[track.as_usize()].push(sample);
        }
        let first = parts.iter().find(|p| !p.samples.is_empty()).expect("one has samples");
        let pts = first.dts + MediaTime::from_ticks(i64::from(first.samples[0].cts));
        let anchor = Anchor { track: first.track, pts, wall };
        self.tables.fragments.push(FragmentRef { offset, anchor });
        self.bytes.extend_from_slice(payload);
        self.ends.push(self.bytes.len() as u64);
    }

    pub(super) fn close(&mut self) {
        let tracks: Vec<_> = self.tables.tracks.iter().map(Vec::as_slice).collect();
        write_tail(&mut self.bytes, &tracks, &self.tables.fragments).expect("fits");
    }
}

pub(super) fn scan_bytes(bytes: &[u8]) -> Scan {
    scan(bytes.len() as u64, |offset, buffer| {
        let at = usize::try_from(offset).expect("small");
        buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
        Ok(())
    })
    .expect("memory does not fail")
}

/// Three fragments of pictures with B-frames and two kinds of sound.
pub(super) fn sample_file() -> File {
    sample_file_with(true)
}

pub(super) fn sample_file_with(checksums: bool) -> File {
    let all = tracks();
    let tracks = [all[0].clone(), all[2].clone(), all[3].clone()];
    let mut file = File { checksums, ..File::new(&tracks) };
    for n in 0..3_i64 {
        let picture = |k: u32| Sample {
            duration: 3_600,
            cts: [7_200, 3_600, 0, -1][k as usize % 4],
            size: 6 + k,
            sync: k == 0,
        };
        let pictures: Vec<_> = (0..10).map(picture).collect();
        let sound: Vec<_> =
            (0..17).map(|k| Sample { duration: 1_024, cts: 0, size: 5 + k, sync: true }).collect();
        let law = [Sample { duration: 160, cts: 0, size: 160, sync: true }; 20];
        let parts = [
            FragmentTrack {
                track: TrackIndex(0),
                dts: MediaTime::from_ticks(n * 36_000),
                samples: &pictures,
            },
            FragmentTrack {
                track: TrackIndex(1),
                dts: MediaTime::from_ticks(5 + n * 17 * 1_024),
                samples: if n == 1 { &[] } else { &sound },
            },
            FragmentTrack {
                track: TrackIndex(2),
                dts: MediaTime::from_ticks(n * 3_200),
                samples: &law,
            },
        ];
        let mut payload = Vec::new();
        for part in &parts {
            for sample in part.samples {
                let nal = sample.size - 4;
                payload.extend_from_slice(&nal.to_be_bytes());
                payload.extend(std::iter::repeat_n(0x41_u8, nal as usize));
            }
        }
        file.push(WallTime::from_micros(1_795_341_600_123_456 + n * 400_000), &parts, &payload);
    }
    file
}

#[test]
fn a_header_is_read_back_with_every_codec_and_both_pps() {
    let tracks = tracks();
    let bytes = write_header(&identity(5), &tracks).expect("fits");
    let mut file = bytes.to_vec();
    file.extend_from_slice(&[0xff; 100]);
    let header = read_header(&file).expect("whole");
    assert_eq!(header.identity, identity(5));
    assert_eq!(header.tracks[..], tracks[..]);
    assert_eq!(header.len, bytes.len() as u64);
}

#[test]
fn every_cut_of_a_header_asks_for_more_and_at_last_for_all_of_it() {
    let bytes = write_header(&identity(5), &tracks()).expect("fits");
    let mut have = 0;
    let mut reads = 0;
    while let Err(e) = read_header(&bytes[..have]) {
        let ReadError::Incomplete { needed } = e else { panic!("{e}") };
        let needed = usize::try_from(needed).expect("small");
        assert!(needed > have && needed <= bytes.len());
        have = needed;
        reads += 1;
    }
    assert_eq!(have, bytes.len());
    assert!(reads <= 5);
}

#[test]
fn another_implementation_decodes_the_header() {
    let bytes = write_header(&identity(5), &tracks()).expect("fits");
    let mut rest = &bytes[..];
    let ftyp = mp4_atom::Ftyp::decode(&mut rest).expect("ftyp");
    assert_eq!(ftyp.major_brand, b"iso6".into());
    let moov = mp4_atom::Moov::decode(&mut rest).expect("moov");
    assert!(rest.is_empty());
    let scales: Vec<_> = moov.trak.iter().map(|trak| trak.mdia.mdhd.timescale).collect();
    assert_eq!(scales, [90_000, 90_000, 44_100, 8_000, 16_000]);
    let ids: Vec<_> = moov.mvex.expect("mvex").trex.iter().map(|trex| trex.track_id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    let mp4_atom::Codec::Avc1(avc1) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else {
        panic!("avc1")
    };
    assert_eq!(avc1.avcc.picture_parameter_sets.len(), 2);
    assert_eq!((avc1.visual.width, avc1.visual.height), (1920, 1080));
}

#[test]
fn fragments_are_read_back_as_they_were_indexed() {
    let file = sample_file();
    for (n, fragment) in file.tables.fragments.iter().enumerate() {
        let at = usize::try_from(fragment.offset).expect("small");
        let read = read_fragment(&file.bytes[at..], fragment.offset, 3).expect("whole");
        assert_eq!(read.sequence as usize, n + 1);
        assert_eq!(read.anchor, Some(fragment.anchor));
        for (track, samples) in read.tracks.iter().enumerate() {
            let mut expected = file.tables.tracks[track].iter();
            for sample in samples {
                assert!(expected.any(|e| e == sample), "{sample:?}");
            }
        }
    }
    let scan = scan_bytes(&file.bytes);
    assert_eq!(scan.tables, file.tables);
    assert_eq!((scan.end, scan.last_sequence), (file.bytes.len() as u64, 3));
    assert_eq!((scan.closed, scan.torn), (false, None));
}

#[test]
fn another_implementation_decodes_the_fragment() {
    let file = sample_file();
    let at = usize::try_from(file.tables.fragments[0].offset).expect("small");
    let mut rest = &file.bytes[at..];
    let prft = mp4_atom::Prft::decode(&mut rest).expect("prft");
    assert_eq!(WallTime::from_ntp(prft.ntp_timestamp), file.tables.fragments[0].anchor.wall);
    assert_eq!((prft.reference_track_id, prft.media_time), (1, 7_200));
    let moof_at = at + 32;
    let moof = mp4_atom::Moof::decode(&mut rest).expect("moof");
    assert_eq!(moof.mfhd.sequence_number, 1);
    for (traf, samples) in moof.traf.iter().zip(&file.tables.tracks) {
        let trun = &traf.trun[0];
        let first = moof_at as i64 + i64::from(trun.data_offset.expect("set"));
        assert_eq!(first, samples[0].offset as i64);
        let base = traf.tfdt.as_ref().expect("set").base_media_decode_time;
        assert_eq!(base, samples[0].dts.ticks() as u64);
        for (entry, sample) in trun.samples.iter().zip(samples) {
            assert_eq!(entry.size, Some(sample.size));
            assert_eq!(entry.cts.unwrap_or(0), i64::from(sample.cts));
            let flags = entry.flags.or(traf.tfhd.default_sample_flags).expect("one of them");
            assert_eq!(flags & 0x1_0000 == 0, sample.sync);
            let duration = entry.duration.or(traf.tfhd.default_sample_duration);
            assert_eq!(duration, Some(sample.duration));
        }
    }
}

#[test]
fn a_tail_says_all_that_the_fragments_say() {
    let mut file = sample_file();
    let open_len = file.bytes.len() as u64;
    file.close();
    let tail_bytes = file.bytes.len() as u64 - open_len;
    assert_eq!(tail_len(&file.bytes), Some(tail_bytes));
    assert_eq!(read_tail(&file.bytes).expect("whole"), file.tables);
    let short = &file.bytes[file.bytes.len() - TRAILER_LEN..];
    assert_eq!(tail_len(short), Some(tail_bytes));
    assert_eq!(read_tail(short), Err(ReadError::Incomplete { needed: tail_bytes }));
    let scan = scan_bytes(&file.bytes);
    assert_eq!((scan.end, scan.closed, scan.torn), (open_len, true, None));
    assert_eq!(scan.tables, file.tables);
}

#[test]
fn an_open_file_has_no_tail() {
    let file = sample_file();
    assert_eq!(tail_len(&file.bytes), None);
    assert_eq!(tail_len(&[]), None);
}

#[test]
fn what_a_file_cannot_hold_is_refused_and_nothing_is_written() {
    let mut out = BytesMut::from(&b"before"[..]);
    let wall = WallTime::from_micros(0);
    let huge = [Sample { duration: 1, cts: 0, size: u32::MAX, sync: true }; 2];
    let part = |track, dts, samples| FragmentTrack {
        track: TrackIndex(track),
        dts: MediaTime::from_ticks(dts),
        samples,
    };
    let one = [Sample { size: 1, ..huge[0] }];
    for parts in [
        vec![part(0, 0, &huge[..])],
        vec![part(0, -1, &one[..])],
        vec![part(0, 0, &one[..]), part(0, 0, &one[..])],
        vec![part(16, 0, &one[..])],
        vec![part(0, 0, &[])],
        vec![],
    ] {
        assert!(write_fragment(&mut out, 1, wall, &parts, None).is_err(), "{parts:?}");
        assert_eq!(&out[..], b"before");
    }
    assert!(write_header(&identity(1), &tracks()).is_err());
    assert!(write_header(&identity(0), &[]).is_err());
}

#[test]
fn a_minute_of_tables_takes_some_kilobytes() {
    let mut video = Vec::new();
    let mut sound = Vec::new();
    let mut offset = 1_000_u64;
    for second in 0..60_i64 {
        for n in 0..25_i64 {
            let size = if n == 0 { 60_000 } else { 15_000 + (n as u32 * 7_919) % 4_000 };
            let dts = MediaTime::from_ticks((second * 25 + n) * 3_600);
            video.push(SampleRef { dts, duration: 3_600, cts: 0, sync: n == 0, offset, size });
            offset += u64::from(size);
        }
        for n in 0..47_i64 {
            let dts = MediaTime::from_ticks((second * 47 + n) * 1_024);
            sound.push(SampleRef { dts, duration: 1_024, cts: 0, sync: true, offset, size: 170 });
            offset += 170;
        }
        offset += 900;
    }
    let mut out = BytesMut::new();
    write_tail(&mut out, &[&video, &sound], &[]).expect("fits");
    assert!(out.len() < 24_000, "{} bytes", out.len());
    assert_eq!(read_tail(&out).expect("whole").tracks, [video, sound]);
}
