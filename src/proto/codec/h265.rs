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

    /// With this PPS added, or put in the place of the one of its id; `None` when that changes
    /// nothing. A NAL unit that is no PPS is an error.
    pub fn with_pps(&self, _pps: Bytes) -> Result<Option<Self>, ParametersError> {
        todo!()
    }

    /// The parameters after this unit: its VPS, SPS and PPS put in the place of those of the same
    /// id. `None` when nothing changes. What cannot be read is passed over.
    #[must_use]
    pub fn updated_by(&self, _unit: &Bytes) -> Option<Self> {
        todo!()
    }
}

/// Whether decoding can begin with this unit: an IRAP picture (16 to 21).
#[must_use]
pub fn is_random_access(_unit: &[u8]) -> bool {
    todo!()
}

/// Whether the unit carries a VPS, an SPS and a PPS.
#[must_use]
pub fn has_parameter_sets(_unit: &[u8]) -> bool {
    todo!()
}

/// What a NAL unit is (H.265 table 7-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalKind {
    /// Slice of a trailing or sub-layer picture (0 to 5).
    Slice,
    /// Slice of a leading picture that can be decoded from the IRAP picture on (6, 7).
    Radl,
    /// Slice of a leading picture that refers to what came before the IRAP picture (8, 9).
    Rasl,
    /// Slice of a BLA picture (16 to 18).
    Bla,
    /// Slice of an IDR picture (19, 20).
    Idr,
    /// Slice of a CRA picture (21).
    Cra,
    /// Video parameter set (32).
    Vps,
    /// Sequence parameter set (33).
    Sps,
    /// Picture parameter set (34).
    Pps,
    /// Access unit delimiter (35).
    Aud,
    /// Supplemental enhancement information (39, 40).
    Sei,
    /// Any other, or an empty one.
    Other,
}

impl NalKind {
    /// Of a NAL unit without its length.
    #[must_use]
    pub fn of(_nal: &[u8]) -> Self {
        todo!()
    }
}
