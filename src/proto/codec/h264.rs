//! H.264: parameter sets, `avcC` (ISO/IEC 14496-15 §5.3.3), RFC 6381 name.
//!
//! Implementation to come from the files work package; the shape is fixed.

use bytes::Bytes;

/// What an H.264 decoder needs before the first slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The active sequence parameter set: one NAL unit, without start code or length.
    pub sps: Bytes,
    /// Every picture parameter set seen for it, by ascending id: NAL units.
    pub pps: Vec<Bytes>,
    /// Pixels, cropped.
    pub width: u32,
    /// Pixels, cropped.
    pub height: u32,
    /// Frames a second the SPS's VUI declares (often a lie), as (numerator, denominator).
    pub frame_rate: Option<(u32, u32)>,
    /// How many pictures may precede another in decoding order and follow it in output order
    /// (`max_num_reorder_frames`); `None` when the SPS does not say.
    pub reorder: Option<u8>,
}

/// Why parameter sets were refused.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// No or an empty SPS.
    #[error("no sequence parameter set")]
    NoSps,
    /// No PPS.
    #[error("no picture parameter set")]
    NoPps,
    /// The SPS cannot be read.
    #[error("sequence parameter set: {0}")]
    BadSps(String),
}

impl Parameters {
    /// Parses NAL units; trailing zero bytes and an Annex B start code at the end are cut off.
    pub fn new(_sps: Bytes, _pps: Vec<Bytes>) -> Result<Self, ParametersError> {
        todo!()
    }

    /// `avc1.PPCCLL` (RFC 6381 §3.3).
    #[must_use]
    pub fn rfc6381(&self) -> String {
        todo!()
    }

    /// SPS and all PPS, each behind a 4-byte length: what goes before a random access unit that
    /// lacks them.
    #[must_use]
    pub fn in_band(&self) -> Bytes {
        todo!()
    }

    /// With this PPS added, or put in the place of the one of its id; `None` when that changes
    /// nothing. A NAL unit that is no PPS is an error.
    pub fn with_pps(&self, _pps: Bytes) -> Result<Option<Self>, ParametersError> {
        todo!()
    }

    /// The parameters after this unit: its SPS and PPS put in the place of those of the same id.
    /// `None` when nothing changes. What cannot be read is passed over.
    #[must_use]
    pub fn updated_by(&self, _unit: &Bytes) -> Option<Self> {
        todo!()
    }
}

/// Whether decoding can begin with this unit.
#[must_use]
pub fn is_random_access(_unit: &[u8]) -> bool {
    todo!()
}

/// Whether the unit carries an SPS and a PPS.
#[must_use]
pub fn has_parameter_sets(_unit: &[u8]) -> bool {
    todo!()
}

/// What a NAL unit is (H.264 table 7-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalKind {
    /// Slice of a picture that is no IDR (1 to 4: partitions).
    Slice,
    /// Slice of an IDR picture (5).
    Idr,
    /// Supplemental enhancement information (6).
    Sei,
    /// Sequence parameter set (7).
    Sps,
    /// Picture parameter set (8).
    Pps,
    /// Access unit delimiter (9).
    Aud,
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
