//! What a unit holds: is its picture whole, can decoding begin with it, where do parameter sets go.
//! Pure.

use bytes::{Bytes, BytesMut};

use crate::proto::codec::{Parameters, av1, h264, h265, mjpeg, nal::nals};

/// A video unit looked at from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wholeness {
    /// A picture from its first slice on; or sound.
    Whole,
    /// The picture's first slice is missing: packets before the ones received were lost.
    Headless,
    /// No slice at all (a lone delimiter, SEI, filler), or a broken length.
    NoPicture,
}

/// Whether the first slice of the picture is there. Packets lost *within* a unit are the
/// depacketizer's to notice; those lost before its first received packet show only here.
pub(super) fn wholeness(parameters: &Parameters, unit: &[u8]) -> Wholeness {
    // The first bit of the slice header says "first of its picture" in both codecs:
    // first_mb_in_slice = 0 as ue(v) (H.264 §7.3.3), first_slice_segment_in_pic_flag (H.265
    // §7.3.6.1).
    let first_slice =
        |header: usize| move |nal: &[u8]| nal.get(header).is_some_and(|byte| byte & 0x80 != 0);
    match parameters {
        Parameters::H264(_) => slices(unit, first_slice(1), |nal| {
            matches!(h264::NalKind::of(nal), h264::NalKind::Slice | h264::NalKind::Idr)
        }),
        Parameters::H265(_) => slices(unit, first_slice(2), |nal| {
            use h265::NalKind;
            matches!(
                NalKind::of(nal),
                NalKind::Slice
                    | NalKind::Radl
                    | NalKind::Rasl
                    | NalKind::Bla
                    | NalKind::Idr
                    | NalKind::Cra
            )
        }),
        // Their depacketizers let nothing pass that lacks its beginning.
        Parameters::Av1(_) => whole_if(av1::has_picture(unit)),
        Parameters::Mjpeg(_) => whole_if(mjpeg::is_picture(unit)),
        _ => whole_if(!unit.is_empty()),
    }
}

const fn whole_if(whole: bool) -> Wholeness {
    if whole { Wholeness::Whole } else { Wholeness::NoPicture }
}

fn slices(
    unit: &[u8],
    is_first: impl Fn(&[u8]) -> bool,
    is_slice: impl Fn(&[u8]) -> bool,
) -> Wholeness {
    let mut found = Wholeness::NoPicture;
    for nal in nals(unit) {
        match nal {
            Err(_) => return Wholeness::NoPicture,
            Ok(nal) if found == Wholeness::NoPicture && is_slice(nal) => {
                found = if is_first(nal) { Wholeness::Whole } else { Wholeness::Headless };
            }
            Ok(_) => {}
        }
    }
    found
}

/// Puts a track's parameter sets before its random access units, without copying them.
///
/// An access unit delimiter must stay the first NAL unit (H.264 §7.4.1.2.3, H.265 §7.4.2.4.4), so
/// where the camera sends one it moves into the head, and the body begins behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads {
    sets: Bytes,
    /// A delimiter with its length, and the head that begins with it.
    delimited: Option<(Bytes, Bytes)>,
}

impl Heads {
    pub(super) fn new(parameters: &Parameters) -> Self {
        Self { sets: parameters.in_band(), delimited: None }
    }

    /// Head and body of a random access unit.
    pub(super) fn split(&mut self, parameters: &Parameters, unit: Bytes) -> (Bytes, Bytes) {
        if self.sets.is_empty() || parameters.has_parameter_sets(&unit) {
            return (Bytes::new(), unit);
        }
        let delimiter = match nals(&unit).next() {
            Some(Ok(nal)) if is_delimiter(parameters, nal) => unit.slice(..4 + nal.len()),
            _ => return (self.sets.clone(), unit),
        };
        let body = unit.slice(delimiter.len()..);
        let head = match &self.delimited {
            Some((known, head)) if *known == delimiter => head.clone(),
            _ => {
                let mut head = BytesMut::with_capacity(delimiter.len() + self.sets.len());
                head.extend_from_slice(&delimiter);
                head.extend_from_slice(&self.sets);
                let head = head.freeze();
                // A copy of its own: a slice would keep the whole picture alive.
                let key = Bytes::copy_from_slice(&delimiter);
                self.delimited = Some((key, head.clone()));
                head
            }
        };
        (head, body)
    }
}

fn is_delimiter(parameters: &Parameters, nal: &[u8]) -> bool {
    match parameters {
        Parameters::H264(_) => h264::NalKind::of(nal) == h264::NalKind::Aud,
        Parameters::H265(_) => h265::NalKind::of(nal) == h265::NalKind::Aud,
        _ => false,
    }
}
