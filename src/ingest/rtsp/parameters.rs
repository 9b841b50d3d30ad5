//! Gathers the parameter sets of a video track.
//!
//! retina keeps one SPS and one PPS, the last it saw, and calls each change "new parameters": a
//! camera with two PPS changes with every key frame. Here a set is kept by its id for as long as
//! the SPS stays, so that such a camera has one set of parameters, all of them.

use bytes::{BufMut, Bytes, BytesMut};

use crate::proto::codec::{Parameters, h264, h265};

/// Which codec the sets are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    H264,
    H265,
}

/// The sets as they came, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) vps: Option<Bytes>,
    pub(super) sps: Option<Bytes>,
    pub(super) pps: Vec<Bytes>,
}

impl Sets {
    /// Sorts NAL units by kind; the last VPS and SPS count.
    pub(super) fn sorted(codec: Codec, nals: &[Bytes]) -> Self {
        let mut sets = Self::default();
        for nal in nals {
            match codec {
                Codec::H264 => match h264::NalKind::of(nal) {
                    h264::NalKind::Sps => sets.sps = Some(nal.clone()),
                    h264::NalKind::Pps => sets.pps.push(nal.clone()),
                    _ => {}
                },
                Codec::H265 => match h265::NalKind::of(nal) {
                    h265::NalKind::Vps => sets.vps = Some(nal.clone()),
                    h265::NalKind::Sps => sets.sps = Some(nal.clone()),
                    h265::NalKind::Pps => sets.pps.push(nal.clone()),
                    _ => {}
                },
            }
        }
        sets
    }
}

/// The parameters after `sets` came; `None` when they are the same as before or cannot be read.
pub(super) fn merged(codec: Codec, known: Option<&Parameters>, sets: &Sets) -> Option<Parameters> {
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

fn framed(nals: &[Bytes]) -> Bytes {
    let mut unit = BytesMut::new();
    for nal in nals {
        unit.put_u32(u32::try_from(nal.len()).unwrap_or(u32::MAX));
        unit.put_slice(nal);
    }
    unit.freeze()
}
