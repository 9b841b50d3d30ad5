//! Codecs: what must be known of a track to describe it in SDP and in a sample entry.
//!
//! Nothing here decodes pictures or sound. Each codec's file reads its headers (parameter sets,
//! AudioSpecificConfig), writes its decoder configuration record, and says its RFC 6381 name.

pub mod aac;
pub mod av1;
pub mod bits;
pub mod g711;
pub mod h264;
pub mod h265;
mod h265_sps;
pub mod mjpeg;
pub mod mjpeg_tables;
pub mod nal;
pub mod opus;
pub mod pcm;
pub mod reorder;
pub mod sets;

use bytes::Bytes;

/// A track's codec with what a decoder needs before the first unit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parameters {
    /// ITU-T H.264.
    H264(h264::Parameters),
    /// ITU-T H.265.
    H265(h265::Parameters),
    /// MPEG-4 AAC, raw frames.
    Aac(aac::Parameters),
    /// ITU-T G.711, either law.
    G711(g711::Parameters),
    /// Motion JPEG.
    Mjpeg(mjpeg::Parameters),
    /// AOMedia AV1.
    Av1(av1::Parameters),
    /// Opus.
    Opus(opus::Parameters),
    /// Uncompressed sound, 16 bits.
    Pcm(pcm::Parameters),
}

impl Parameters {
    /// Whether this is video.
    #[must_use]
    pub fn is_video(&self) -> bool {
        matches!(self, Self::H264(_) | Self::H265(_) | Self::Mjpeg(_) | Self::Av1(_))
    }

    /// Whether every unit can be decoded alone, so that random access is nothing to go by.
    #[must_use]
    pub fn is_all_random_access(&self) -> bool {
        !matches!(self, Self::H264(_) | Self::H265(_) | Self::Av1(_))
    }

    /// Sound's samples a second and channels; `None` for video.
    #[must_use]
    pub fn sound(&self) -> Option<(u32, u8)> {
        match self {
            Self::Aac(p) => Some((p.sample_rate, p.channels)),
            Self::G711(p) => Some((p.sample_rate, p.channels)),
            Self::Opus(p) => Some((opus::CLOCK_RATE, p.channels)),
            Self::Pcm(p) => Some((p.sample_rate, p.channels)),
            Self::H264(_) | Self::H265(_) | Self::Mjpeg(_) | Self::Av1(_) => None,
        }
    }

    /// Samples of each channel in a unit of sound, at the rate [`Self::sound`] says; `None` for
    /// video and for what cannot be told.
    #[must_use]
    pub fn samples(&self, unit: &[u8]) -> Option<u64> {
        match self {
            Self::Aac(p) => Some(p.frame_length.into()),
            Self::G711(p) => Some(unit.len() as u64 / u64::from(p.channels.max(1))),
            Self::Opus(_) => opus::samples(unit).map(u64::from),
            Self::Pcm(p) => Some((unit.len() / p.frame()) as u64),
            Self::H264(_) | Self::H265(_) | Self::Mjpeg(_) | Self::Av1(_) => None,
        }
    }

    /// The codec's name as people write it: `H.264`, `AAC`, `G.711 µ-law`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::H264(_) => "H.264",
            Self::H265(_) => "H.265",
            Self::Aac(_) => "AAC",
            Self::G711(p) => match p.law {
                g711::Law::Mu => "G.711 µ-law",
                g711::Law::A => "G.711 A-law",
            },
            Self::Mjpeg(_) => "MJPEG",
            Self::Av1(_) => "AV1",
            Self::Opus(_) => "Opus",
            Self::Pcm(_) => "PCM",
        }
    }

    /// RFC 6381 name for MIME `codecs=`; the sample entry's name where nothing is added to it.
    #[must_use]
    pub fn rfc6381(&self) -> String {
        match self {
            Self::H264(p) => p.rfc6381(),
            Self::H265(p) => p.rfc6381(),
            Self::Aac(p) => p.rfc6381(),
            Self::G711(p) => p.sample_entry().to_owned(),
            Self::Mjpeg(_) => "jpeg".to_owned(),
            Self::Av1(p) => p.rfc6381(),
            Self::Opus(_) => "Opus".to_owned(),
            Self::Pcm(_) => pcm::Parameters::SAMPLE_ENTRY.to_owned(),
        }
    }

    /// Width and height in pixels as shown (cropping applied); `None` for audio.
    #[must_use]
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        match self {
            Self::H264(p) => Some((p.width, p.height)),
            Self::H265(p) => Some((p.width, p.height)),
            Self::Mjpeg(p) => Some((p.width, p.height)),
            Self::Av1(p) => Some((p.width, p.height)),
            Self::Aac(_) | Self::G711(_) | Self::Opus(_) | Self::Pcm(_) => None,
        }
    }

    /// Whether going from `self` to `new` needs a new sample entry, and so a new segment: another
    /// active SPS (H.265: also VPS) or sequence header, another size or audio configuration. A
    /// further or repeated PPS does not.
    #[must_use]
    pub fn needs_new_sample_entry(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::H264(a), Self::H264(b)) => a.sps != b.sps,
            (Self::H265(a), Self::H265(b)) => a.sps != b.sps || a.vps != b.vps,
            (a, b) => a != b,
        }
    }

    /// Whether decoding can begin with this unit (NAL units behind 4-byte lengths): it holds an IDR
    /// picture, for H.265 any IRAP picture, for AV1 a key frame. Always for sound and for MJPEG. A
    /// malformed unit is none.
    #[must_use]
    pub fn is_random_access(&self, unit: &[u8]) -> bool {
        match self {
            Self::H264(_) => h264::is_random_access(unit),
            Self::H265(_) => h265::is_random_access(unit),
            Self::Av1(_) => av1::is_random_access(unit),
            Self::Mjpeg(_) | Self::Aac(_) | Self::G711(_) | Self::Opus(_) | Self::Pcm(_) => true,
        }
    }

    /// Whether the unit carries each of these parameter sets itself, so that nothing must go before
    /// it. Always for sound and MJPEG, which have none.
    #[must_use]
    pub fn has_parameter_sets(&self, unit: &[u8]) -> bool {
        match self {
            Self::H264(p) => p.is_carried_by(unit),
            Self::H265(p) => p.is_carried_by(unit),
            Self::Av1(p) => p.is_carried_by(unit),
            Self::Mjpeg(_) | Self::Aac(_) | Self::G711(_) | Self::Opus(_) | Self::Pcm(_) => true,
        }
    }

    /// All parameter sets, each behind a 4-byte length (AV1: the sequence header, with its size);
    /// empty for sound and MJPEG.
    #[must_use]
    pub fn in_band(&self) -> Bytes {
        match self {
            Self::H264(p) => p.in_band(),
            Self::H265(p) => p.in_band(),
            Self::Av1(p) => p.sequence_header.clone(),
            Self::Mjpeg(_) | Self::Aac(_) | Self::G711(_) | Self::Opus(_) | Self::Pcm(_) => {
                Bytes::new()
            }
        }
    }

    /// The parameters after this unit: its parameter sets put in place of those of the same id.
    /// `None` when nothing changes. Parameter sets that cannot be read are passed over.
    #[must_use]
    pub fn updated_by(&self, unit: &Bytes) -> Option<Self> {
        match self {
            Self::H264(p) => p.updated_by(unit).map(Self::H264),
            Self::H265(p) => p.updated_by(unit).map(Self::H265),
            Self::Av1(p) => p.updated_by(unit).map(Self::Av1),
            Self::Mjpeg(p) => p.updated_by(unit).map(Self::Mjpeg),
            Self::Aac(_) | Self::G711(_) | Self::Opus(_) | Self::Pcm(_) => None,
        }
    }
}
