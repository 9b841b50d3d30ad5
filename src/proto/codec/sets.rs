//! Gathers the parameter sets of a video track.
//!
//! A PPS is kept by its id for as long as the SPS stays: a camera that sends two, one after the
//! other, has one set of parameters, all of them, and does not change with every key frame.

use bytes::{Bytes, BytesMut};

use super::{Parameters, h264, h265, nal};

/// Which codec the sets are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264.
    H264,
    /// H.265.
    H265,
}

/// The sets as they came, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// H.265 only.
    pub vps: Option<Bytes>,
    /// The last one.
    pub sps: Option<Bytes>,
    /// All of them, in the order they came.
    pub pps: Vec<Bytes>,
}

impl Sets {
    /// Sorts NAL units by kind; the last VPS and SPS count.
    #[must_use]
    pub fn sorted(codec: Codec, nals: &[Bytes]) -> Self {
        let mut sets = Self::default();
        nals.iter().for_each(|nal| sets.add(codec, nal.clone()));
        sets
    }

    /// Takes a parameter set in; anything else is passed over.
    pub fn add(&mut self, codec: Codec, nal: Bytes) {
        match (codec, h264::NalKind::of(&nal), h265::NalKind::of(&nal)) {
            (Codec::H264, h264::NalKind::Sps, _) | (Codec::H265, _, h265::NalKind::Sps) => {
                self.sps = Some(nal);
            }
            // One that comes again and again while an SPS is waited for must not pile up.
            (Codec::H264, h264::NalKind::Pps, _) | (Codec::H265, _, h265::NalKind::Pps)
                if self.pps.len() < MAX_PPS && !self.pps.contains(&nal) =>
            {
                self.pps.push(nal);
            }
            (Codec::H265, _, h265::NalKind::Vps) => self.vps = Some(nal),
            _ => {}
        }
    }
}

/// More than any camera has.
const MAX_PPS: usize = 64;

/// The parameters after `sets` came; `None` when they are the same as before or cannot be read.
#[must_use]
pub fn merged(codec: Codec, known: Option<&Parameters>, sets: &Sets) -> Option<Parameters> {
    let same_sps = match (known, &sets.sps) {
        (Some(Parameters::H264(known)), Some(sps)) => known.sps == *sps,
        (Some(Parameters::H265(known)), Some(sps)) => {
            known.sps == *sps && sets.vps.as_ref().is_none_or(|vps| known.vps == *vps)
        }
        (known, None) => known.is_some(),
        _ => false,
    };
    if same_sps {
        return known?.updated_by(&framed(&sets.pps));
    }
    let sps = sets.sps.clone()?;
    let fresh = match codec {
        Codec::H264 => h264::Parameters::new(sps, sets.pps.clone()).map(Parameters::H264).ok()?,
        Codec::H265 => {
            let vps = sets.vps.clone()?;
            h265::Parameters::new(vps, sps, sets.pps.clone()).map(Parameters::H265).ok()?
        }
    };
    // The SPS may differ in nothing but what a camera leaves behind it (zero bytes).
    if let Some(known) = known
        && !known.needs_new_sample_entry(&fresh)
    {
        return known.updated_by(&framed(&sets.pps));
    }
    Some(fresh)
}

/// What a description says, with the sets of an earlier session that go with the same SPS.
#[must_use]
pub fn with_remembered(
    described: Option<Parameters>,
    known: Option<&Parameters>,
) -> Option<Parameters> {
    let described = described?;
    match known {
        Some(known) if !known.needs_new_sample_entry(&described) => {
            Some(known.updated_by(&described.in_band()).unwrap_or_else(|| known.clone()))
        }
        _ => Some(described),
    }
}

fn framed(nals: &[Bytes]) -> Bytes {
    let mut unit = BytesMut::new();
    nals.iter().for_each(|pps| nal::put(&mut unit, pps));
    unit.freeze()
}
