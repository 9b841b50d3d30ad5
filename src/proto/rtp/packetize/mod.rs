//! Access units into RTP payloads, by each codec's RFC.

mod audio;
mod nal;

use super::{batch::Writer, packet::HEADER_LEN};
use crate::proto::{
    access_unit::AccessUnit,
    codec::{Parameters, g711},
};

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
    /// RFC 3551 §4.5.14: samples.
    G711 {
        /// Bytes of one sampling instant: channels.
        frame: u8,
    },
}

/// Why a unit cannot be sent. Nothing of it is in the batch then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketizeError {
    /// The lengths before its NAL units do not add up.
    #[error("malformed lengths of NAL units")]
    NalLength,
    /// An AAC frame longer than an AU header can say (8,191 bytes).
    #[error("AAC frame of {0} bytes")]
    TooLong(usize),
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
            Parameters::G711(g711::Parameters { channels, .. }) => {
                Ok(Self::G711 { frame: (*channels).max(1) })
            }
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
            Self::G711 { frame } => {
                audio::write_g711(unit.len(), usize::from(frame), max, to);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[path = "../packetize_tests.rs"]
mod tests;
