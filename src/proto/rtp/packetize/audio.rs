//! AAC-hbr (RFC 3640 §3.3.6), G.711 and L16 (RFC 3551 §4.5), Opus (RFC 7587).

use super::{super::batch::Writer, PacketizeError};

/// The largest size 13 bits can say.
const MAX_AAC: usize = (1 << 13) - 1;

/// AU-headers-length and one AU header.
const AAC_HEADER: usize = 4;

/// One access unit of `len` bytes: a packet, or fragments of it.
pub(super) fn write_aac(len: usize, max: usize, to: &mut Writer<'_>) -> Result<(), PacketizeError> {
    let size = u16::try_from(len).ok().filter(|_| len <= MAX_AAC);
    let size = size.ok_or(PacketizeError::TooLong(len))?;
    // 16 bits of headers: 13 of size, 3 of index. A fragment bears the size of the whole.
    let [high, low] = (size << 3).to_be_bytes();
    let most = max - AAC_HEADER;
    for start in (0..len).step_by(most) {
        to.begin(&[0, 16, high, low]);
        to.payload(start..len.min(start + most));
        to.end();
    }
    to.mark();
    Ok(())
}

/// Samples, cut between sampling instants of `frame` bytes. No marker: it would say that silence
/// went before (RFC 3551 §4.1).
pub(super) fn write_samples(len: usize, frame: usize, max: usize, to: &mut Writer<'_>) {
    let instants = (max / frame).max(1);
    let most = instants * frame;
    for start in (0..len).step_by(most) {
        to.begin(&[]);
        to.payload(start..len.min(start + most));
        to.end();
        to.later(instants as u32);
    }
}

/// One Opus packet, which must not be cut. No marker: it would say that silence went before.
pub(super) fn write_opus(
    len: usize,
    max: usize,
    to: &mut Writer<'_>,
) -> Result<(), PacketizeError> {
    if len > max {
        return Err(PacketizeError::TooLong(len));
    }
    if len > 0 {
        to.begin(&[]);
        to.payload(0..len);
        to.end();
    }
    Ok(())
}
