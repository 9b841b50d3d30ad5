//! JPEG (RFC 2435): the entropy-coded bytes of each picture, behind headers of RTP's own that say
//! its size, sampling and quantization tables. What a receiver needs besides are the Huffman tables
//! of ITU-T T.81 annex K, so pictures with others cannot be sent.

use super::{super::batch::Writer, PacketizeError};
use crate::proto::{
    access_unit::AccessUnit,
    codec::mjpeg::{Picture, Sampling},
};

/// Bytes of the main header; and of each of those for restart markers and quantization tables.
pub(in crate::proto::rtp) const MAIN: usize = 8;
pub(in crate::proto::rtp) const MORE: usize = 4;

/// Added to the type where there are restart markers.
pub(in crate::proto::rtp) const RESTARTS: u8 = 64;

/// A quality factor that says: the tables come with every picture.
const TABLES_IN_BAND: u8 = 255;

/// The most that the size in units of 8 pixels can say.
const MAX_PIXELS: u16 = 255 * 8;

/// F, L and a count of all ones: wait for the whole picture.
const WHOLE_PICTURE: u16 = 0xffff;

pub(super) fn write(
    unit: &AccessUnit,
    max: usize,
    to: &mut Writer<'_>,
) -> Result<(), PacketizeError> {
    let refuse = PacketizeError::Jpeg;
    let picture = Picture::parse(&unit.body).map_err(|e| refuse(e.0))?;
    let (sampling, tables) = picture.for_rtp().map_err(refuse)?;
    if picture.width > MAX_PIXELS || picture.height > MAX_PIXELS {
        return Err(refuse("wider or higher than 2,040 pixels"));
    }
    let blocks = |pixels: u16| pixels.div_ceil(8) as u8;
    let mut kind = match sampling {
        Sampling::Half => 0,
        Sampling::Quarter => 1,
    };
    if picture.restart_interval > 0 {
        kind += RESTARTS;
    }
    let mut quantization = vec![0, 0, 0, 0];
    let mut precision = 0;
    for (n, table) in tables.iter().enumerate() {
        precision |= u8::from(table.wide) << n;
        quantization.extend_from_slice(table.entries);
    }
    // 4 + 2 * 128 at most.
    let length = ((quantization.len() - MORE) as u16).to_be_bytes();
    if let Some(place) = quantization.first_chunk_mut::<MORE>() {
        *place = [0, precision, length[0], length[1]];
    }

    // Where the unit has a head, the picture lies behind it. (It has none.)
    let base = unit.head.len();
    let scan = picture.scan;
    if scan.len() >= 1 << 24 {
        return Err(PacketizeError::TooLong(scan.len()));
    }
    let mut at = scan.start;
    while at < scan.end {
        let offset = at - scan.start;
        let [_, o0, o1, o2] = (offset as u32).to_be_bytes();
        let (width, height) = (blocks(picture.width), blocks(picture.height));
        let mut header = [0; MAIN + MORE];
        let main = [0, o0, o1, o2, kind, TABLES_IN_BAND, width, height];
        let mut used = MAIN;
        if let Some(place) = header.first_chunk_mut::<MAIN>() {
            *place = main;
        }
        if picture.restart_interval > 0 {
            let [i0, i1] = picture.restart_interval.to_be_bytes();
            let [c0, c1] = WHOLE_PICTURE.to_be_bytes();
            if let Some(place) = header.last_chunk_mut::<MORE>() {
                *place = [i0, i1, c0, c1];
            }
            used += MORE;
        }
        let tables: &[u8] = if offset == 0 { &quantization } else { &[] };
        let room = max.checked_sub(used + tables.len()).filter(|&room| room > 0);
        let room = room.ok_or(refuse("packets too short for its quantization tables"))?;
        let end = scan.end.min(at + room);
        to.begin(header.get(..used).unwrap_or_default());
        to.between(tables);
        to.payload(base + at..base + end);
        to.end();
        at = end;
    }
    to.mark();
    Ok(())
}
