//! AV1: open bitstream units and the sequence header.
//!
//! # Invariants
//!
//! A unit is a temporal unit as ISO BMFF has it (AV1 codec ISO media file format binding §2.4):
//! every OBU with its size, no temporal delimiter.

use bytes::Bytes;

use super::bits::{Bits, End};

/// The most bytes of a sequence header: they are some dozen.
const MAX_SEQUENCE_HEADER: usize = 1_024;

/// What an OBU is (AV1 specification §6.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObuKind {
    /// Sequence header.
    SequenceHeader,
    /// Temporal delimiter.
    TemporalDelimiter,
    /// A frame's header without its tiles.
    FrameHeader,
    /// A frame's header with tiles.
    Frame,
    /// Tiles, metadata, repeated headers and what is reserved.
    Other,
    /// Tile lists and padding: of no use to a decoder of pictures one after another.
    Dispensable,
}

/// Where an OBU's parts lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// Its kind.
    pub kind: ObuKind,
    /// One byte or two, without the flag that says a size follows.
    pub header: ([u8; 2], usize),
    /// With header and size.
    pub whole: &'a [u8],
    /// Behind them.
    pub payload: &'a [u8],
}

/// Its header or size leads beyond the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("OBU at byte {at} is wrong")]
pub struct Malformed {
    /// Where it begins.
    pub at: usize,
}

/// Bit that says a size follows the header.
const HAS_SIZE: u8 = 0x02;
const EXTENDED: u8 = 0x04;

impl<'a> Obu<'a> {
    /// The OBU `data` begins with, and what follows. One without a size goes on to the end.
    #[must_use]
    pub fn split(data: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let &first = data.first()?;
        if first & 0x80 != 0 {
            return None;
        }
        let mut header = ([first & !HAS_SIZE, 0], 1);
        if first & EXTENDED != 0 {
            header = ([first & !HAS_SIZE, *data.get(1)?], 2);
        }
        let behind = data.get(header.1..)?;
        let (payload, rest) = if first & HAS_SIZE != 0 {
            let (size, behind) = leb128(behind)?;
            behind.split_at_checked(size)?
        } else {
            (behind, &[][..])
        };
        let whole = data.get(..data.len() - rest.len())?;
        Some((Self { kind: kind(first), header, whole, payload }, rest))
    }

    /// Its header's bytes.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        self.header.0.get(..self.header.1).unwrap_or_default()
    }
}

const fn kind(header: u8) -> ObuKind {
    match (header >> 3) & 0x0f {
        1 => ObuKind::SequenceHeader,
        2 => ObuKind::TemporalDelimiter,
        3 => ObuKind::FrameHeader,
        6 => ObuKind::Frame,
        8 | 15 => ObuKind::Dispensable,
        _ => ObuKind::Other,
    }
}

/// A size (§4.10.5), and what follows it.
#[must_use]
pub fn leb128(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (n, &byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, data.get(n + 1..)?));
        }
    }
    None
}

/// Inverse of [`leb128`], as short as can be: the bytes and how many of them count.
#[must_use]
pub fn to_leb128(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut used = 0;
    for byte in &mut bytes {
        *byte = (value & 0x7f) as u8 | if value > 0x7f { 0x80 } else { 0 };
        value >>= 7;
        used += 1;
        if value == 0 {
            break;
        }
    }
    (bytes, used)
}

/// The OBUs of a unit; after an error the iterator ends.
pub fn obus(data: &[u8]) -> impl Iterator<Item = Result<Obu<'_>, Malformed>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = data.len() - rest.len();
        let Some((obu, after)) = Obu::split(rest) else {
            rest = &[];
            return Some(Err(Malformed { at }));
        };
        rest = after;
        Some(Ok(obu))
    })
}

/// What an AV1 decoder needs, and what its sequence header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The sequence header OBU with its size.
    pub sequence_header: Bytes,
    /// Pixels across, of the largest frame.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `seq_level_idx` of the first operating point.
    pub level: u8,
    /// High tier.
    pub high_tier: bool,
    /// How colours are stored.
    pub colour: Colour,
    /// Pictures a second, as numerator and denominator, when declared as constant.
    pub frame_rate: Option<(u32, u32)>,
}

/// Of the colour configuration (§5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// 8, 10 or 12 bits a sample.
    pub depth: u8,
    /// Without chrominance.
    pub monochrome: bool,
    /// Chrominance is halved across.
    pub halved_across: bool,
    /// Chrominance is halved down.
    pub halved_down: bool,
    /// `chroma_sample_position`.
    pub position: u8,
}

/// Why a sequence header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AV1 sequence header: {0}")]
pub struct SequenceError(pub &'static str);

impl From<End> for SequenceError {
    fn from(_: End) -> Self {
        Self("ends too soon")
    }
}

impl Parameters {
    /// Reads a sequence header OBU, which must have its size.
    pub fn new(obu: Bytes) -> Result<Self, SequenceError> {
        if obu.len() > MAX_SEQUENCE_HEADER {
            return Err(SequenceError("too long"));
        }
        let (found, rest) = Obu::split(&obu).ok_or(SequenceError("no OBU"))?;
        let sized = obu.first().is_some_and(|first| first & HAS_SIZE != 0);
        if found.kind != ObuKind::SequenceHeader || !rest.is_empty() || !sized {
            return Err(SequenceError("not one OBU of that kind with its size"));
        }
        let read = sequence_header(found.payload)?;
        Ok(Self { sequence_header: obu, ..read })
    }

    /// `av01.0.08M.08` (AV1 ISO BMFF binding §5).
    #[must_use]
    pub fn rfc6381(&self) -> String {
        let tier = if self.high_tier { 'H' } else { 'M' };
        format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.colour.depth)
    }

    /// Whether the unit holds this very sequence header.
    #[must_use]
    pub fn is_carried_by(&self, unit: &[u8]) -> bool {
        sequence_header_of(unit) == Some(&self.sequence_header)
    }

    /// The parameters after a unit that brings another sequence header.
    #[must_use]
    pub fn updated_by(&self, unit: &Bytes) -> Option<Self> {
        let found = sequence_header_of(unit).filter(|&found| found != self.sequence_header)?;
        // Not a slice: that would keep the whole unit.
        Self::new(Bytes::copy_from_slice(found)).ok()
    }
}

/// The first sequence header of a unit, with its size.
#[must_use]
pub fn sequence_header_of(unit: &[u8]) -> Option<&[u8]> {
    let mut headers = obus(unit).map_while(Result::ok);
    headers.find(|obu| obu.kind == ObuKind::SequenceHeader).map(|obu| obu.whole)
}

/// Whether there is a frame, and its OBUs are whole.
#[must_use]
pub fn has_picture(unit: &[u8]) -> bool {
    let mut found = false;
    for obu in obus(unit) {
        let Ok(obu) = obu else { return false };
        found |= matches!(obu.kind, ObuKind::Frame | ObuKind::FrameHeader);
    }
    found
}

/// Whether decoding can begin with it: its first frame is a key frame that is shown.
#[must_use]
pub fn is_random_access(unit: &[u8]) -> bool {
    let frames = obus(unit).map_while(Result::ok);
    let mut frames = frames.filter(|o| matches!(o.kind, ObuKind::Frame | ObuKind::FrameHeader));
    // §5.9.2: show_existing_frame = 0, frame_type = KEY_FRAME, show_frame = 1.
    frames.next().is_some_and(|o| o.payload.first().is_some_and(|byte| byte & 0xf0 == 0x10))
}

/// §5.5.1; without the OBU itself.
fn sequence_header(payload: &[u8]) -> Result<Parameters, SequenceError> {
    let bits = &mut Bits::new(payload);
    let profile = bits.read(3)? as u8;
    if profile > 2 {
        return Err(SequenceError("reserved profile"));
    }
    bits.skip(1)?; // still_picture
    let reduced = bits.flag()?;
    let (mut level, mut high_tier, mut frame_rate) = (0, false, None);
    if reduced {
        level = bits.read(5)? as u8;
    } else {
        let mut delay_bits = None;
        if bits.flag()? {
            frame_rate = timing(bits)?;
            if bits.flag()? {
                delay_bits = Some(bits.read(5)? as usize + 1);
                bits.skip(32 + 5 + 5)?;
            }
        }
        let has_display_delay = bits.flag()?;
        for point in 0..=bits.read(5)? {
            bits.skip(12)?; // operating_point_idc
            let this_level = bits.read(5)? as u8;
            let this_tier = this_level > 7 && bits.flag()?;
            if point == 0 {
                (level, high_tier) = (this_level, this_tier);
            }
            if let Some(length) = delay_bits
                && bits.flag()?
            {
                bits.skip(2 * length + 1)?;
            }
            if has_display_delay && bits.flag()? {
                bits.skip(4)?;
            }
        }
    }
    let (width_bits, height_bits) = (bits.read(4)? + 1, bits.read(4)? + 1);
    let (width, height) = (bits.read(width_bits)? + 1, bits.read(height_bits)? + 1);
    tools(bits, reduced)?;
    let colour = colour(bits, profile)?;
    let sequence_header = Bytes::new();
    Ok(Parameters { sequence_header, width, height, profile, level, high_tier, colour, frame_rate })
}

/// `timing_info` (§5.5.3): the frame rate, when it is constant.
fn timing(bits: &mut Bits<'_>) -> Result<Option<(u32, u32)>, SequenceError> {
    let (tick, scale) = (bits.read(32)?, bits.read(32)?);
    if !bits.flag()? {
        return Ok(None);
    }
    // uvlc (§4.10.3).
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
        if zeros >= 32 {
            return Err(SequenceError("ticks a picture"));
        }
    }
    let more = u64::from(bits.read(zeros)?) + (1 << zeros);
    let span = u32::try_from(u64::from(tick).saturating_mul(more)).ok();
    Ok(span.filter(|&span| span > 0 && scale > 0).map(|span| (scale, span)))
}

/// What lies between the size and the colours.
fn tools(bits: &mut Bits<'_>, reduced: bool) -> Result<(), SequenceError> {
    if !reduced && bits.flag()? {
        bits.skip(4 + 3)?; // lengths of frame ids
    }
    bits.skip(3)?; // superblocks, filter_intra, intra_edge_filter
    if !reduced {
        bits.skip(4)?; // interintra, masked_compound, warped_motion, dual_filter
        let order_hint = bits.flag()?;
        if order_hint {
            bits.skip(2)?; // jnt_comp, ref_frame_mvs
        }
        // seq_choose_screen_content_tools, or seq_force_screen_content_tools.
        let screen = bits.flag()? || bits.flag()?;
        if screen && !bits.flag()? {
            bits.skip(1)?; // seq_force_integer_mv
        }
        if order_hint {
            bits.skip(3)?;
        }
    }
    bits.skip(3)?; // superres, cdef, restoration
    Ok(())
}

/// §5.5.2.
fn colour(bits: &mut Bits<'_>, profile: u8) -> Result<Colour, SequenceError> {
    let high = bits.flag()?;
    let depth = match (high, profile) {
        (false, _) => 8,
        (true, 2) if bits.flag()? => 12,
        (true, _) => 10,
    };
    let monochrome = profile != 1 && bits.flag()?;
    let described = if bits.flag()? { Some(bits.read(24)?) } else { None };
    let mut colour =
        Colour { depth, monochrome, halved_across: true, halved_down: true, position: 0 };
    if monochrome {
        bits.skip(1)?; // color_range
        return Ok(colour);
    }
    // BT.709 primaries, the transfer of sRGB, no matrix: RGB.
    if described == Some(0x01_0d_00) {
        (colour.halved_across, colour.halved_down) = (false, false);
        return Ok(colour);
    }
    bits.skip(1)?; // color_range
    (colour.halved_across, colour.halved_down) = match (profile, depth) {
        (0, _) => (true, true),
        (1, _) => (false, false),
        (_, 12) => {
            let across = bits.flag()?;
            (across, across && bits.flag()?)
        }
        _ => (true, false),
    };
    if colour.halved_across && colour.halved_down {
        colour.position = bits.read(2)? as u8;
    }
    Ok(colour)
}

#[cfg(test)]
#[path = "av1_tests.rs"]
mod tests;
