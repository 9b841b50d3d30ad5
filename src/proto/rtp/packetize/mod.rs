//! Access units into RTP payloads, by each codec's RFC.

mod audio;
pub(super) mod av1;
pub(super) mod mjpeg;
mod nal;

use super::{batch::Writer, packet::HEADER_LEN};
use crate::proto::{access_unit::AccessUnit, codec::Parameters};

/// The most NAL units in one aggregation packet: bounds the slices of a packet.
pub(super) const MAX_AGGREGATED: usize = 16;

/// How a track's units become payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packetizer {
    /// RFC 6184, packetization mode 1: single NAL units, STAP-A, FU-A.
    H264,
    /// RFC 7798: single NAL units, aggregation packets, fragmentation units.
    H265,
    /// RFC 3640, AAC-hbr: one access unit a packet, or fragments of one.
    Aac,
    /// RFC 3551 §4.5: samples of G.711 and L16.
    Samples {
        /// Bytes of one sampling instant.
        frame: u16,
    },
    /// RFC 2435.
    Mjpeg,
    /// AOMedia's payload format: OBUs aggregated and fragmented.
    Av1,
    /// RFC 7587: one packet a packet.
    Opus,
}

/// Why a unit cannot be sent. Nothing of it is in the batch then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketizeError {
    /// The lengths before its NAL units do not add up.
    #[error("malformed lengths of NAL units")]
    NalLength,
    /// Longer than its payload format can say: an AAC frame beyond 8,191 bytes, a JPEG picture
    /// beyond 16 MiB, an Opus packet that does not fit into one of RTP.
    #[error("frame of {0} bytes")]
    TooLong(usize),
    /// Lengths of its OBUs do not add up.
    #[error("malformed sizes of OBUs")]
    Obu,
    /// RFC 2435 has no way to say what this picture is.
    #[error("JPEG that RTP cannot carry: {0}")]
    Jpeg(&'static str),
    /// Its codec has no packetizer.
    #[error("no packetizer for {0}")]
    Codec(&'static str),
}

impl Packetizer {
    /// The one for a codec.
    pub fn new(parameters: &Parameters) -> Result<Self, PacketizeError> {
        match parameters {
            Parameters::H264(_) => Ok(Self::H264),
            Parameters::H265(_) => Ok(Self::H265),
            Parameters::Aac(_) => Ok(Self::Aac),
            Parameters::G711(p) => Ok(Self::Samples { frame: p.channels.max(1).into() }),
            // Two bytes each of at most 255 channels.
            Parameters::Pcm(p) => Ok(Self::Samples { frame: p.frame() as u16 }),
            Parameters::Mjpeg(_) => Ok(Self::Mjpeg),
            Parameters::Av1(_) => Ok(Self::Av1),
            Parameters::Opus(_) => Ok(Self::Opus),
        }
    }

    /// `unit` into packets of at most `max_packet` bytes.
    pub(super) fn write(
        self,
        unit: &AccessUnit,
        max_packet: usize,
        to: &mut Writer<'_>,
    ) -> Result<(), PacketizeError> {
        let max = max_packet.saturating_sub(HEADER_LEN);
        match self {
            Self::H264 => nal::write(nal::Family::H264, unit, max, to),
            Self::H265 => nal::write(nal::Family::H265, unit, max, to),
            Self::Aac => audio::write_aac(unit.len(), max, to),
            Self::Samples { frame } => {
                audio::write_samples(unit.len(), usize::from(frame), max, to);
                Ok(())
            }
            Self::Mjpeg => mjpeg::write(unit, max, to),
            Self::Av1 => av1::write(unit, max, to),
            Self::Opus => audio::write_opus(unit.len(), max, to),
        }
    }
}

#[cfg(test)]
#[path = "../packetize_tests.rs"]
mod tests;
