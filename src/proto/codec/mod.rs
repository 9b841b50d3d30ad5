//! Codecs: what must be known of a track to describe it in SDP and in a sample entry.
//!
//! Nothing here decodes pictures or sound. Each codec's file reads its headers (parameter sets,
//! AudioSpecificConfig), writes its decoder configuration record, and says its RFC 6381 name.

pub mod aac;
pub mod g711;
pub mod h264;
pub mod h265;
mod h265_sps;
pub mod nal;
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
}

impl Parameters {
    /// Whether this is video.
    #[must_use]
    pub fn is_video(&self) -> bool {
        matches!(self, Self::H264(_) | Self::H265(_))
    }

    /// The codec's name as people write it: `H.264`, `H.265`, `AAC`, `G.711 µ-law`, `G.711 A-law`.
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
        }
    }

    /// RFC 6381 name for MIME `codecs=`; for G.711 the sample entry's name.
    #[must_use]
    pub fn rfc6381(&self) -> String {
        match self {
            Self::H264(p) => p.rfc6381(),
            Self::H265(p) => p.rfc6381(),
            Self::Aac(p) => p.rfc6381(),
            Self::G711(p) => p.sample_entry().to_owned(),
        }
    }

    /// Width and height in pixels as shown (cropping applied); `None` for audio.
    #[must_use]
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        match self {
            Self::H264(p) => Some((p.width, p.height)),
            Self::H265(p) => Some((p.width, p.height)),
            Self::Aac(_) | Self::G711(_) => None,
        }
    }

    /// Whether going from `self` to `new` needs a new sample entry, and so a new segment: another
    /// active SPS (H.265: also VPS) or audio configuration. A further or repeated PPS does not.
    #[must_use]
    pub fn needs_new_sample_entry(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::H264(a), Self::H264(b)) => a.sps != b.sps,
            (Self::H265(a), Self::H265(b)) => a.sps != b.sps || a.vps != b.vps,
            (a, b) => a != b,
        }
    }

    /// Whether decoding can begin with this unit (NAL units behind 4-byte lengths): it holds an IDR
    /// picture, for H.265 any IRAP picture. Always for sound. A malformed unit is none.
    #[must_use]
    pub fn is_random_access(&self, unit: &[u8]) -> bool {
        match self {
            Self::H264(_) => h264::is_random_access(unit),
            Self::H265(_) => h265::is_random_access(unit),
            Self::Aac(_) | Self::G711(_) => true,
        }
    }

    /// Whether the unit carries each of these parameter sets itself, so that nothing must go before
    /// it. Always for sound, which has none.
    #[must_use]
    pub fn has_parameter_sets(&self, unit: &[u8]) -> bool {
        match self {
            Self::H264(p) => p.is_carried_by(unit),
            Self::H265(p) => p.is_carried_by(unit),
            Self::Aac(_) | Self::G711(_) => true,
        }
    }

    /// All parameter sets, each behind a 4-byte length; empty for sound.
    #[must_use]
    pub fn in_band(&self) -> Bytes {
        match self {
            Self::H264(p) => p.in_band(),
            Self::H265(p) => p.in_band(),
            Self::Aac(_) | Self::G711(_) => Bytes::new(),
        }
    }

    /// The parameters after this unit: its parameter sets put in place of those of the same id.
    /// `None` when nothing changes. Parameter sets that cannot be read are passed over.
    #[must_use]
    pub fn updated_by(&self, unit: &Bytes) -> Option<Self> {
        match self {
            Self::H264(p) => p.updated_by(unit).map(Self::H264),
            Self::H265(p) => p.updated_by(unit).map(Self::H265),
            Self::Aac(_) | Self::G711(_) => None,
        }
    }
}
