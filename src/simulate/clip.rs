//! The built-in clip, taken apart once: its tracks and the payload of every frame.
//!
//! Payloads are slices of the binary itself, or of one padded copy, and are shared by all cameras.

use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom::{Atom, Codec, Decode, Header, Moov, Stbl, StszSamples};

use crate::proto::{
    access_unit::{Track, Tracks},
    codec::{self, aac, h264},
    time::Timescale,
};

/// See `make-clip.sh`.
const FILE: &[u8] = include_bytes!("clip.mp4");

/// Pictures a second.
pub(super) const FPS: u64 = 25;
/// Pictures from one key frame to the next.
pub(super) const GOP: u64 = 25;
/// Samples in an AAC frame, and a second.
pub(super) const AAC_SAMPLES: u64 = 1_024;
pub(super) const AAC_RATE: u64 = 48_000;

/// The built-in clip is not what this code expects: a mistake at build time.
#[derive(Debug, thiserror::Error)]
#[error("the built-in clip: {0}")]
pub struct ClipError(&'static str);

/// The clip, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Clip {
    /// Video, then audio.
    pub(super) tracks: Tracks,
    /// Parameter sets, to go before each key frame.
    pub(super) head: Bytes,
    /// A key frame every [`GOP`].
    pub(super) video: Vec<Bytes>,
    /// Lasts exactly as long.
    pub(super) audio: Vec<Bytes>,
}

impl Clip {
    /// Reads the clip. With `bitrate` (bits a second) its pictures are padded up to it with filler
    /// data, which decoders skip (H.264 §7.3.2.7): the cheap way to a camera of 4 Mb/s.
    pub(super) fn load(bitrate: Option<u64>) -> Result<Self, ClipError> {
        let moov = moov()?;
        let mut video = None;
        let mut audio = None;
        for trak in &moov.trak {
            let stbl = &trak.mdia.minf.stbl;
            match stbl.stsd.codecs.first() {
                Some(Codec::Avc1(avc1)) => {
                    let set =
                        |sets: &[Vec<u8>]| sets.iter().map(|s| Bytes::from(s.clone())).collect();
                    let sps: Vec<Bytes> = set(&avc1.avcc.sequence_parameter_sets);
                    let pps = set(&avc1.avcc.picture_parameter_sets);
                    let sps = sps.into_iter().next().ok_or(ClipError("no SPS"))?;
                    let parameters =
                        h264::Parameters::new(sps, pps).map_err(|_| ClipError("bad SPS"))?;
                    video = Some((codec::Parameters::H264(parameters), samples(stbl)?));
                }
                Some(Codec::Mp4a(mp4a)) => {
                    let config = mp4a.esds.es_desc.dec_config.dec_specific.as_ref();
                    let config = config.ok_or(ClipError("no AudioSpecificConfig"))?.raw.clone();
                    let parameters = aac::Parameters::new(config.into())
                        .map_err(|_| ClipError("bad AudioSpecificConfig"))?;
                    audio = Some((codec::Parameters::Aac(parameters), samples(stbl)?));
                }
                _ => return Err(ClipError("an unexpected track")),
            }
        }
        let (video_parameters, mut video) = video.ok_or(ClipError("no video"))?;
        let (audio_parameters, audio) = audio.ok_or(ClipError("no audio"))?;
        let whole = video.len() as u64 * AAC_RATE == audio.len() as u64 * AAC_SAMPLES * FPS
            && (video.len() as u64).is_multiple_of(GOP)
            && !video.is_empty();
        if !whole {
            return Err(ClipError("video and audio differ in length"));
        }
        let head = match &video_parameters {
            codec::Parameters::H264(p) => p.in_band(),
            _ => return Err(ClipError("no H.264")),
        };
        if let Some(bitrate) = bitrate {
            let sound: usize = audio.iter().map(Bytes::len).sum();
            pad(&mut video, sound, bitrate);
        }
        let rate = Timescale::new(AAC_RATE as u32).ok_or(ClipError("no rate"))?;
        let tracks: Tracks = [
            Track { timescale: Timescale::VIDEO, parameters: video_parameters },
            Track { timescale: rate, parameters: audio_parameters },
        ]
        .into();
        Ok(Self { tracks, head, video, audio })
    }

    /// How many groups of pictures it has.
    pub(super) fn gops(&self) -> u64 {
        self.video.len() as u64 / GOP
    }
}

fn moov() -> Result<Moov, ClipError> {
    let mut rest = FILE;
    while let Ok(header) = Header::decode(&mut rest) {
        let size = header.size.ok_or(ClipError("a box without a size"))?;
        let (mut body, after) = rest.split_at_checked(size).ok_or(ClipError("a torn box"))?;
        if header.kind == Moov::KIND {
            return Moov::decode_body(&mut body).map_err(|_| ClipError("an unreadable moov"));
        }
        rest = after;
    }
    Err(ClipError("no moov"))
}

/// The payload of each sample.
fn samples(stbl: &Stbl) -> Result<Vec<Bytes>, ClipError> {
    const TORN: ClipError = ClipError("inconsistent sample tables");
    let StszSamples::Different { sizes } = &stbl.stsz.samples else { return Err(TORN) };
    let chunks = stbl.stco.as_ref().ok_or(TORN)?;
    let file = Bytes::from_static(FILE);
    let mut sizes = sizes.iter();
    let mut out = Vec::with_capacity(sizes.len());
    for (chunk, offset) in (1_u32..).zip(&chunks.entries) {
        let entry = stbl.stsc.entries.iter().rev().find(|e| e.first_chunk <= chunk).ok_or(TORN)?;
        let mut at = *offset as usize;
        for size in sizes.by_ref().take(entry.samples_per_chunk as usize) {
            let end = at + *size as usize;
            if end > file.len() {
                return Err(TORN);
            }
            out.push(file.slice(at..end));
            at = end;
        }
    }
    if sizes.next().is_some() { Err(TORN) } else { Ok(out) }
}

/// Spreads filler evenly over the pictures, so that key frames stay the large ones.
fn pad(video: &mut [Bytes], sound: usize, bitrate: u64) {
    const LENGTH: usize = 4;
    let seconds = video.len() as u64 / FPS;
    let wanted = usize::try_from(bitrate / 8 * seconds).unwrap_or(usize::MAX);
    let natural: usize = video.iter().map(Bytes::len).sum();
    let missing = wanted.saturating_sub(natural + sound) / video.len().max(1);
    // Behind the length: type 12, at least one 0xff, the stop bit.
    let Some(filler) = missing.checked_sub(LENGTH + 2).filter(|f| *f > 0) else { return };
    let mut tail = BytesMut::with_capacity(missing);
    tail.put_u32((filler + 2) as u32);
    tail.put_u8(12);
    tail.put_bytes(0xff, filler);
    tail.put_u8(0x80);
    for picture in video {
        *picture = [picture.as_ref(), tail.as_ref()].concat().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clip_is_whole_groups_of_pictures_with_sound_of_the_same_length() {
        let clip = Clip::load(None).unwrap();
        assert_eq!((clip.video.len(), clip.audio.len(), clip.gops()), (200, 375, 8));
        assert_eq!(clip.tracks[0].parameters.dimensions(), Some((640, 360)));
        for (i, unit) in clip.video.iter().enumerate() {
            let mut rest = &unit[..];
            let mut idr = false;
            while !rest.is_empty() {
                let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
                idr |= rest[4] & 0x1f == 5;
                rest = &rest[4 + size..];
            }
            assert_eq!(idr, (i as u64).is_multiple_of(GOP), "picture {i}");
        }
    }

    #[test]
    fn padding_brings_it_to_the_bit_rate_asked_for() {
        for bitrate in [1_000_000, 4_000_000] {
            let clip = Clip::load(Some(bitrate)).unwrap();
            let bytes: usize = clip.video.iter().chain(&clip.audio).map(Bytes::len).sum();
            let got = bytes as f64 * 8.0 / 8.0;
            assert!((got / bitrate as f64 - 1.0).abs() < 0.001, "{got} for {bitrate}");
        }
    }
}
