//! H.265: parameter sets, NAL unit types, RFC 6381 name. (`hvcC` is written in `proto::fmp4`.)

use bytes::Bytes;

pub use super::h264::ParametersError;
use super::{
    h264::{in_band, put_pps, same, with_all_pps},
    h265_sps::Sps,
    nal::{self, nals},
};

/// Container records count parameter set lengths in 16 bits.
const MAX_NAL: usize = u16::MAX as usize;

/// Ids of PPS go up to 63 (§7.4.3.3.1).
const MAX_PPS: usize = 64;

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
    pub fn of(nal: &[u8]) -> Self {
        match nal.first().map(|header| (header >> 1) & 0x3f) {
            Some(0..=5) => Self::Slice,
            Some(6 | 7) => Self::Radl,
            Some(8 | 9) => Self::Rasl,
            Some(16..=18) => Self::Bla,
            Some(19 | 20) => Self::Idr,
            Some(21) => Self::Cra,
            Some(32) => Self::Vps,
            Some(33) => Self::Sps,
            Some(34) => Self::Pps,
            Some(35) => Self::Aud,
            Some(39 | 40) => Self::Sei,
            _ => Self::Other,
        }
    }

    /// Whether it is part of a picture.
    #[must_use]
    pub const fn is_slice(self) -> bool {
        self.is_irap() || matches!(self, Self::Slice | Self::Radl | Self::Rasl)
    }

    /// Whether it is part of a picture where decoding can begin.
    #[must_use]
    pub const fn is_irap(self) -> bool {
        matches!(self, Self::Bla | Self::Idr | Self::Cra)
    }
}

impl Parameters {
    /// Parses NAL units; trailing zero bytes and an Annex B start code at the end are cut off. Of
    /// several PPS with one id the last counts.
    pub fn new(vps: Bytes, sps: Bytes, pps: Vec<Bytes>) -> Result<Self, ParametersError> {
        let vps = nal::without_trailing_start_code(vps);
        if NalKind::of(&vps) != NalKind::Vps || vps.len() > MAX_NAL {
            return Err(ParametersError::NoVps);
        }
        let sps = nal::without_trailing_start_code(sps);
        let parsed = parse_sps(&sps)?;
        let mut parameters = Self {
            vps,
            sps,
            pps: Vec::with_capacity(pps.len()),
            width: parsed.width,
            height: parsed.height,
            frame_rate: parsed.frame_rate,
            reorder: Some(parsed.reorder),
        };
        for pps in pps {
            put_pps(&mut parameters.pps, nal::without_trailing_start_code(pps), pps_id, MAX_PPS)?;
        }
        if parameters.pps.is_empty() {
            return Err(ParametersError::NoPps);
        }
        Ok(parameters)
    }

    /// `hvc1.…` (ISO/IEC 14496-15 annex E).
    #[must_use]
    pub fn rfc6381(&self) -> String {
        let Some(Sps { profile, .. }) = self.parsed() else {
            return "hvc1".to_owned();
        };
        let space = match profile.space {
            0 => "",
            1 => "A",
            2 => "B",
            _ => "C",
        };
        let tier = if profile.high_tier { 'H' } else { 'L' };
        let mut name = format!(
            "hvc1.{space}{}.{:X}.{tier}{}",
            profile.idc,
            u32::from_be_bytes(profile.compatibility).reverse_bits(),
            profile.level,
        );
        let used = profile.constraints.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        for byte in profile.constraints.iter().take(used) {
            name.push_str(&format!(".{byte:X}"));
        }
        name
    }

    /// VPS, SPS and all PPS, each behind a 4-byte length.
    #[must_use]
    pub fn in_band(&self) -> Bytes {
        in_band([&self.vps, &self.sps].into_iter().chain(&self.pps))
    }

    /// Whether the unit carries each of these parameter sets itself.
    #[must_use]
    pub fn is_carried_by(&self, unit: &[u8]) -> bool {
        let carried = |set: &Bytes| nals(unit).map_while(Result::ok).any(|nal| same(nal, set));
        carried(&self.vps) && carried(&self.sps) && self.pps.iter().all(carried)
    }

    /// With this PPS added, or put in the place of the one of its id; `None` when that changes
    /// nothing. A NAL unit that is no PPS is an error.
    pub fn with_pps(&self, pps: Bytes) -> Result<Option<Self>, ParametersError> {
        let mut sets = self.pps.clone();
        let pps = nal::without_trailing_start_code(pps);
        let changed = put_pps(&mut sets, pps, pps_id, MAX_PPS)?;
        Ok(changed.then(|| Self { pps: sets, ..self.clone() }))
    }

    /// The parameters after this unit. PPS are put in the place of those of the same id. A VPS or
    /// SPS that differs takes over, with the PPS the unit brings, unless the unit also repeats the
    /// active one. `None` when nothing changes; what cannot be read is passed over.
    #[must_use]
    pub fn updated_by(&self, unit: &Bytes) -> Option<Self> {
        let of =
            |kind| nals(unit).map_while(Result::ok).filter(move |nal| NalKind::of(nal) == kind);
        let other = |kind, active: &Bytes| {
            let repeated = of(kind).any(|nal| same(nal, active));
            of(kind).last().filter(|_| !repeated).map(Bytes::copy_from_slice)
        };
        let (vps, sps) = (other(NalKind::Vps, &self.vps), other(NalKind::Sps, &self.sps));
        // Copied, for slices into the unit would keep the whole picture in memory.
        let brought = || of(NalKind::Pps).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        if vps.is_some() || sps.is_some() {
            let pps = Some(brought()).filter(|pps| !pps.is_empty());
            return Self::new(
                vps.unwrap_or_else(|| self.vps.clone()),
                sps.unwrap_or_else(|| self.sps.clone()),
                pps.unwrap_or_else(|| self.pps.clone()),
            )
            .ok();
        }
        if of(NalKind::Pps).all(|nal| self.pps.iter().any(|pps| same(nal, pps))) {
            return None;
        }
        let pps = with_all_pps(&self.pps, brought(), pps_id, MAX_PPS)?;
        Some(Self { pps, ..self.clone() })
    }

    /// The SPS, read again: for `hvcC`.
    pub(in crate::proto) fn parsed(&self) -> Option<Sps> {
        parse_sps(&self.sps).ok()
    }
}

/// Whether decoding can begin with this unit: its first slice is one of an IRAP picture (16 to 21).
/// A unit without a slice (a delimiter alone) is none.
#[must_use]
pub fn is_random_access(unit: &[u8]) -> bool {
    nals(unit)
        .map_while(Result::ok)
        .map(NalKind::of)
        .find(|kind| kind.is_slice())
        .is_some_and(NalKind::is_irap)
}

fn parse_sps(nal: &[u8]) -> Result<Sps, ParametersError> {
    if nal.is_empty() {
        return Err(ParametersError::NoSps);
    }
    if NalKind::of(nal) != NalKind::Sps || nal.len() > MAX_NAL {
        return Err(ParametersError::BadSps("not a sequence parameter set".to_owned()));
    }
    Sps::parse(nal)
}

fn pps_id(nal: &[u8]) -> Result<u32, ParametersError> {
    if NalKind::of(nal) != NalKind::Pps || nal.len() > MAX_NAL {
        return Err(ParametersError::BadPps("not a picture parameter set"));
    }
    super::h265_sps::first_ue(nal).filter(|&id| id <= 63).ok_or(ParametersError::BadPps("no id"))
}

#[cfg(test)]
#[path = "h265_tests.rs"]
mod tests;
