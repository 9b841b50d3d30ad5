//! H.265: parameter sets, `hvcC` (ISO/IEC 14496-15 §8.3.3), RFC 6381 name.
//!
//! Implementation to come from the files work package; the shape is fixed.

use bytes::Bytes;

pub use super::h264::ParametersError;

/// What an H.265 decoder needs before the first slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Video parameter set NAL unit.
    pub vps: Bytes,
    /// The active sequence parameter set NAL unit.
    pub sps: Bytes,
    /// Every picture parameter set seen for it, by ascending id.
    pub pps: Vec<Bytes>,
    /// Pixels, cropped.
    pub width: u32,
    /// Pixels, cropped.
    pub height: u32,
    /// Frames a second declared in the SPS's VUI, as (numerator, denominator).
    pub frame_rate: Option<(u32, u32)>,
    /// `sps_max_num_reorder_pics` of the highest sub-layer.
    pub reorder: Option<u8>,
}

impl Parameters {
    /// Parses NAL units.
    pub fn new(_vps: Bytes, _sps: Bytes, _pps: Vec<Bytes>) -> Result<Self, ParametersError> {
        todo!()
    }

    /// `hvc1.…` (ISO/IEC 14496-15 annex E).
    #[must_use]
    pub fn rfc6381(&self) -> String {
        todo!()
    }

    /// VPS, SPS and all PPS, each behind a 4-byte length.
    #[must_use]
    pub fn in_band(&self) -> Bytes {
        todo!()
    }
}
