//! H.264: parameter sets, NAL unit types, RFC 6381 name. (`avcC` is written in `proto::fmp4`.)
//!
//! The SPS is read with h264-reader. Of a PPS only its id is looked at: which one a slice uses is
//! the decoder's matter, and ours is to lose none of them.

use bytes::{Bytes, BytesMut};
use h264_reader::{
    nal::sps::{FrameMbsFlags, PicOrderCntType, SeqParameterSet},
    rbsp::{BitRead, BitReader, ByteReader},
};

use super::nal::{self, nals};

/// Pictures larger than this in either direction are a fault, not a camera.
pub(super) const MAX_DIMENSION: u32 = 16_384;

/// Container records count parameter set lengths in 16 bits.
const MAX_NAL: usize = u16::MAX as usize;

/// `avcC` counts PPS in 8 bits.
const MAX_PPS: usize = u8::MAX as usize;

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
    /// H.265: no VPS.
    #[error("no video parameter set")]
    NoVps,
    /// No or an empty SPS.
    #[error("no sequence parameter set")]
    NoSps,
    /// No PPS.
    #[error("no picture parameter set")]
    NoPps,
    /// The SPS cannot be read.
    #[error("sequence parameter set: {0}")]
    BadSps(String),
    /// A PPS cannot be read.
    #[error("picture parameter set: {0}")]
    BadPps(&'static str),
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
    pub fn of(nal: &[u8]) -> Self {
        match nal.first().map(|header| header & 0x1f) {
            Some(1..=4) => Self::Slice,
            Some(5) => Self::Idr,
            Some(6) => Self::Sei,
            Some(7) => Self::Sps,
            Some(8) => Self::Pps,
            Some(9) => Self::Aud,
            _ => Self::Other,
        }
    }
}

impl Parameters {
    /// Parses NAL units; trailing zero bytes and an Annex B start code at the end are cut off. Of
    /// several PPS with one id the last counts.
    pub fn new(sps: Bytes, pps: Vec<Bytes>) -> Result<Self, ParametersError> {
        let sps = nal::without_trailing_start_code(sps);
        let parsed = parse_sps(&sps)?;
        let (width, height) =
            parsed.pixel_dimensions().map_err(|e| ParametersError::BadSps(format!("{e:?}")))?;
        if !(1..=MAX_DIMENSION).contains(&width) || !(1..=MAX_DIMENSION).contains(&height) {
            return Err(ParametersError::BadSps(format!("{width}×{height} pixels")));
        }
        let timing = parsed.vui_parameters.as_ref().and_then(|vui| vui.timing_info.as_ref());
        let mut parameters = Self {
            // A tick is a field: two to a frame (§E.2.1).
            frame_rate: timing
                .and_then(|t| reduced(t.time_scale, t.num_units_in_tick.checked_mul(2)?)),
            reorder: reorder(&parsed),
            sps,
            pps: Vec::with_capacity(pps.len()),
            width,
            height,
        };
        for pps in pps {
            put_pps(&mut parameters.pps, nal::without_trailing_start_code(pps), pps_id, MAX_PPS)?;
        }
        if parameters.pps.is_empty() {
            return Err(ParametersError::NoPps);
        }
        Ok(parameters)
    }

    /// `avc1.PPCCLL` (RFC 6381 §3.3).
    #[must_use]
    pub fn rfc6381(&self) -> String {
        let (profile, compatibility, level) = self.profile();
        format!("avc1.{profile:02X}{compatibility:02X}{level:02X}")
    }

    /// `profile_idc`, the constraint flags and `level_idc`, as `avcC` and SDP want them.
    #[must_use]
    pub fn profile(&self) -> (u8, u8, u8) {
        match *self.sps {
            [_, profile, compatibility, level, ..] => (profile, compatibility, level),
            _ => (0, 0, 0),
        }
    }

    /// SPS and all PPS, each behind a 4-byte length: what goes before a random access unit that
    /// lacks them.
    #[must_use]
    pub fn in_band(&self) -> Bytes {
        in_band(std::iter::once(&self.sps).chain(&self.pps))
    }

    /// Whether the unit carries each of these parameter sets itself.
    #[must_use]
    pub fn is_carried_by(&self, unit: &[u8]) -> bool {
        let carried = |set: &Bytes| nals(unit).map_while(Result::ok).any(|nal| same(nal, set));
        carried(&self.sps) && self.pps.iter().all(carried)
    }

    /// With this PPS added, or put in the place of the one of its id; `None` when that changes
    /// nothing. A NAL unit that is no PPS is an error.
    pub fn with_pps(&self, pps: Bytes) -> Result<Option<Self>, ParametersError> {
        let mut sets = self.pps.clone();
        let pps = nal::without_trailing_start_code(pps);
        let changed = put_pps(&mut sets, pps, pps_id, MAX_PPS)?;
        Ok(changed.then(|| Self { pps: sets, ..self.clone() }))
    }

    /// The parameters after this unit. PPS are put in the place of those of the same id. An SPS
    /// that differs takes over, with the PPS the unit brings, unless the unit also repeats the
    /// active one. `None` when nothing changes; what cannot be read is passed over.
    #[must_use]
    pub fn updated_by(&self, unit: &Bytes) -> Option<Self> {
        let of =
            |kind| nals(unit).map_while(Result::ok).filter(move |nal| NalKind::of(nal) == kind);
        let other_sps =
            of(NalKind::Sps).last().filter(|_| !of(NalKind::Sps).any(|sps| same(sps, &self.sps)));
        // Slices into the unit would keep the whole picture in memory for as long as the stream
        // lives: copied.
        let copies = || of(NalKind::Pps).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        if let Some(sps) = other_sps {
            let brought = copies();
            let pps = if brought.is_empty() { self.pps.clone() } else { brought };
            return Self::new(Bytes::copy_from_slice(sps), pps).ok();
        }
        if of(NalKind::Pps).all(|nal| self.pps.iter().any(|pps| same(nal, pps))) {
            return None;
        }
        let pps = with_all_pps(&self.pps, copies(), pps_id, MAX_PPS)?;
        Some(Self { pps, ..self.clone() })
    }

    /// `chroma_format_idc` and the bit depths of luma and chroma, where the profile has them: for
    /// `avcC`.
    pub(in crate::proto) fn chroma(&self) -> Option<(u8, u8, u8)> {
        let sps = parse_sps(&self.sps).ok()?;
        sps.profile_idc.has_chroma_info().then(|| {
            let chroma = &sps.chroma_info;
            let format = u8::try_from(chroma.chroma_format.to_u32()).unwrap_or(1);
            let (luma, chroma) = (chroma.bit_depth_luma_minus8, chroma.bit_depth_chroma_minus8);
            (format, luma.saturating_add(8), chroma.saturating_add(8))
        })
    }
}

/// Whether decoding can begin with this unit: its first slice is one of an IDR picture. A unit
/// without a slice (a delimiter alone) is none.
#[must_use]
pub fn is_random_access(unit: &[u8]) -> bool {
    nals(unit)
        .map_while(Result::ok)
        .map(NalKind::of)
        .find(|kind| matches!(kind, NalKind::Slice | NalKind::Idr))
        == Some(NalKind::Idr)
}

/// Whether pictures of this SPS may be sent as two fields, each of which begins like a picture.
#[must_use]
pub fn may_have_fields(sps: &[u8]) -> bool {
    parse_sps(sps).is_ok_and(|sps| matches!(sps.frame_mbs_flags, FrameMbsFlags::Fields { .. }))
}

fn parse_sps(nal: &[u8]) -> Result<SeqParameterSet, ParametersError> {
    if nal.is_empty() {
        return Err(ParametersError::NoSps);
    }
    if NalKind::of(nal) != NalKind::Sps || nal.len() > MAX_NAL {
        return Err(ParametersError::BadSps("not a sequence parameter set".to_owned()));
    }
    let reader = ByteReader::skipping_h264_header(nal);
    SeqParameterSet::from_bits(BitReader::new(reader))
        .map_err(|e| ParametersError::BadSps(format!("{e:?}")))
}

fn pps_id(nal: &[u8]) -> Result<u32, ParametersError> {
    if NalKind::of(nal) != NalKind::Pps || nal.len() > MAX_NAL {
        return Err(ParametersError::BadPps("not a picture parameter set"));
    }
    BitReader::new(ByteReader::skipping_h264_header(nal))
        .read_ue("pic_parameter_set_id")
        .ok()
        .filter(|&id| id <= 255)
        .ok_or(ParametersError::BadPps("no id"))
}

/// How far pictures may be reordered, where the SPS says so or its profile cannot reorder.
fn reorder(sps: &SeqParameterSet) -> Option<u8> {
    let vui = sps.vui_parameters.as_ref();
    if let Some(restrictions) = vui.and_then(|vui| vui.bitstream_restrictions.as_ref()) {
        return Some(u8::try_from(restrictions.max_num_reorder_frames.min(16)).unwrap_or(16));
    }
    let profile = sps.profile_idc.into();
    // §E.2.1: the intra profiles, marked by constraint_set3.
    let intra = matches!(profile, 44 | 86 | 100 | 110 | 122 | 244) && sps.constraint_flags.flag3();
    // Baseline has no B slices; order count type 2 means that output order is decoding order.
    let in_order = profile == 66 || sps.pic_order_cnt == PicOrderCntType::TypeTwo;
    (intra || in_order).then_some(0)
}

/// Puts `pps` among `sets`, which stay ordered by id; says whether that changed anything.
pub(super) fn put_pps(
    sets: &mut Vec<Bytes>,
    pps: Bytes,
    id_of: impl Fn(&[u8]) -> Result<u32, ParametersError>,
    max: usize,
) -> Result<bool, ParametersError> {
    let id = id_of(&pps)?;
    // Those in the list were read once, so they have ids.
    match sets.binary_search_by_key(&id, |set| id_of(set).unwrap_or(u32::MAX)) {
        Ok(at) => {
            let Some(set) = sets.get_mut(at).filter(|set| **set != pps) else {
                return Ok(false);
            };
            *set = pps;
        }
        Err(_) if sets.len() >= max => return Err(ParametersError::BadPps("too many")),
        Err(at) => sets.insert(at, pps),
    }
    Ok(true)
}

/// The sets with all of these put in; `None` when that changes nothing. What is no PPS is passed over.
pub(super) fn with_all_pps(
    sets: &[Bytes],
    brought: Vec<Bytes>,
    id_of: impl Fn(&[u8]) -> Result<u32, ParametersError>,
    max: usize,
) -> Option<Vec<Bytes>> {
    let mut sets = sets.to_vec();
    let mut changed = false;
    for pps in brought {
        let pps = nal::without_trailing_start_code(pps);
        changed |= put_pps(&mut sets, pps, &id_of, max).unwrap_or(false);
    }
    changed.then_some(sets)
}

/// Whether a NAL unit as sent is this parameter set, apart from zeros behind it.
pub(super) fn same(nal: &[u8], set: &[u8]) -> bool {
    nal.strip_prefix(set).is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
}

pub(super) fn in_band<'a>(sets: impl Iterator<Item = &'a Bytes>) -> Bytes {
    let mut out = BytesMut::new();
    for set in sets {
        nal::put(&mut out, set);
    }
    out.freeze()
}

/// A frame rate in lowest terms; `None` when it is none.
pub(super) fn reduced(numerator: u32, denominator: u32) -> Option<(u32, u32)> {
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (numerator != 0 && denominator != 0).then(|| (numerator / a, denominator / a))
}

#[cfg(test)]
#[path = "h264_tests.rs"]
mod tests;
