//! Boxes and numbers: the two or three things every part of the format needs.

use super::{ReadError, WriteError};

pub(super) type Kind = [u8; 4];

/// Appends a box: its header, and whatever `body` appends.
pub(super) fn put_box(
    out: &mut Vec<u8>,
    kind: &Kind,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    body(out)?;
    let size = u32::try_from(out.len() - start).map_err(|_| WriteError::TooLarge("box"))?;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&size.to_be_bytes());
    }
    Ok(())
}

/// The beginning of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BoxHeader {
    pub(super) kind: Kind,
    /// Bytes of this header.
    pub(super) header_len: u64,
    /// Bytes in all, header included.
    pub(super) len: u64,
}

impl BoxHeader {
    /// Bytes that tell a header for certain.
    pub(super) const MAX: u64 = 16;

    /// Of the box `data` begins with. Boxes that go on to the end of the file are refused: one
    /// cannot be told from zeros, and we write none.
    pub(super) fn read(data: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(data);
        let (Some(size), Some(kind)) = (reader.u32(), reader.array()) else {
            return Err(ReadError::Incomplete { needed: 8 });
        };
        let (header_len, len) = match size {
            1 => (16, reader.u64().ok_or(ReadError::Incomplete { needed: 16 })?),
            size => (8, u64::from(size)),
        };
        if len < header_len {
            return Err(ReadError::Damaged("box size"));
        }
        Ok(Self { kind, header_len, len })
    }

    /// The whole box at the beginning of `data`: its body, and what follows it.
    pub(super) fn split<'a>(&self, data: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), ReadError> {
        let incomplete = ReadError::Incomplete { needed: self.len };
        let (Ok(header_len), Ok(len)) =
            (usize::try_from(self.header_len), usize::try_from(self.len))
        else {
            return Err(incomplete);
        };
        let (whole, rest) = data.split_at_checked(len).ok_or(incomplete)?;
        Ok((whole.get(header_len..).unwrap_or_default(), rest))
    }
}

/// The boxes inside `body`, which must fill it: kind, whole box, body.
pub(super) fn children(body: &[u8]) -> impl Iterator<Item = Result<Child<'_>, ReadError>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let child = BoxHeader::read(rest).and_then(|header| {
            let (body, after) = header.split(rest)?;
            let whole = rest.get(..rest.len() - after.len()).unwrap_or_default();
            rest = after;
            Ok(Child { kind: header.kind, whole, body })
        });
        if child.is_err() {
            rest = &[];
        }
        // Inside a whole box, what is missing will never come.
        Some(child.map_err(|_| ReadError::Damaged("box in a box")))
    })
}

/// A box inside another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child<'a> {
    pub(super) kind: Kind,
    pub(super) whole: &'a [u8],
    pub(super) body: &'a [u8],
}

/// The body of the first box of that kind inside `body`.
pub(super) fn child<'a>(
    body: &'a [u8],
    kind: &Kind,
    name: &'static str,
) -> Result<Child<'a>, ReadError> {
    for child in children(body) {
        let child = child?;
        if child.kind == *kind {
            return Ok(child);
        }
    }
    Err(ReadError::Missing(name))
}

/// Big-endian numbers one after another; `None` at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) const fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A number of 7 bits a byte, the low ones first (LEB128).
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A signed number, small in either direction (zigzag).
    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

/// Inverse of [`Reader::varint`].
pub(super) fn put_varint(out: &mut impl bytes::BufMut, mut value: u64) {
    while value > 0x7f {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Inverse of [`Reader::signed`].
pub(super) fn put_signed(out: &mut impl bytes::BufMut, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_box_of_size_zero_or_smaller_than_its_header_is_refused() {
        for size in [0_u8, 2, 7] {
            let bytes = [0, 0, 0, size, b'm', b'd', b'a', b't'];
            assert_eq!(BoxHeader::read(&bytes), Err(ReadError::Damaged("box size")));
        }
    }

    #[test]
    fn a_large_box_has_its_size_in_64_bits() {
        let bytes = [0, 0, 0, 1, b'm', b'd', b'a', b't', 0, 0, 0, 1, 0, 0, 0, 0];
        let header = BoxHeader::read(&bytes).expect("whole");
        assert_eq!((header.header_len, header.len), (16, 1 << 32));
        assert_eq!(BoxHeader::read(&bytes[..12]), Err(ReadError::Incomplete { needed: 16 }));
    }

    proptest! {
        #[test]
        fn numbers_of_varying_length_are_read_back(a in any::<u64>(), b in any::<i64>()) {
            let mut out = Vec::new();
            put_varint(&mut out, a);
            put_signed(&mut out, b);
            let mut reader = Reader::new(&out);
            prop_assert_eq!((reader.varint(), reader.signed()), (Some(a), Some(b)));
            prop_assert_eq!(reader.remaining(), 0);
        }
    }
}
