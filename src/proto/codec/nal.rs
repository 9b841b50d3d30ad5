//! Walking the NAL units of an access unit that stand behind 4-byte big-endian lengths
//! (ISO/IEC 14496-15 §4.3.3), as in [`AccessUnit`](crate::proto::access_unit::AccessUnit) bodies
//! and in the file. Shared by H.264 and H.265.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A length prefix is cut off, zero, or leads beyond the end of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("NAL unit length at byte {at} is wrong")]
pub struct Malformed {
    /// Offset of the length prefix.
    pub at: usize,
}

/// The NAL units of `data`, without their lengths. After an error the iterator ends.
///
/// From a `Bytes`, `bytes.slice_ref(nal)` makes an item an owned slice without a copy.
#[must_use]
pub fn nals(data: &[u8]) -> Nals<'_> {
    Nals { rest: data, at: 0 }
}

/// See [`nals`].
#[derive(Clone, Debug)]
pub struct Nals<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Nals<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.at;
        let nal = self.rest.split_first_chunk::<4>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            if length == 0 { None } else { rest.split_at_checked(length) }
        });
        let Some((nal, rest)) = nal else {
            self.rest = &[];
            return Some(Err(Malformed { at }));
        };
        self.rest = rest;
        self.at += 4 + nal.len();
        Some(Ok(nal))
    }
}

/// Cuts off what cameras leave behind a parameter set in SDP or in-band: zero bytes, and an
/// Annex B start code. A NAL unit never ends in a zero byte (H.264 §7.4.1, H.265 §7.4.2).
pub(super) fn without_trailing_start_code(mut nal: bytes::Bytes) -> bytes::Bytes {
    let zeros = |nal: &[u8]| nal.iter().rev().take_while(|&&byte| byte == 0).count();
    if nal.ends_with(&[0, 0, 1]) {
        nal.truncate(nal.len() - 1);
    }
    nal.truncate(nal.len() - zeros(&nal));
    nal
}

/// Where an Annex B start code (`00 00 01`) begins in `data`. A NAL unit holds none.
#[must_use]
pub fn find_start_code(data: &[u8]) -> Option<usize> {
    START_CODE.find(data)
}

/// Each byte of each picture is searched: with the processor's widest instructions.
static START_CODE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&[0, 0, 1]));

/// The NAL units between Annex B start codes, zeros behind them cut off. What stands before the
/// first start code is one, too; empty ones are passed over.
pub fn annex_b(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let data = rest?;
        let end = find_start_code(data);
        rest = end.and_then(|at| data.get(at + 3..));
        let nal = data.get(..end.unwrap_or(data.len())).unwrap_or_default();
        let zeros = nal.iter().rev().take_while(|&&byte| byte == 0).count();
        Some(nal.get(..nal.len() - zeros).unwrap_or_default())
    })
    .filter(|nal| !nal.is_empty())
}

/// Appends `nal` behind its length.
pub(super) fn put(out: &mut bytes::BytesMut, nal: &[u8]) {
    use bytes::BufMut;
    // Parameter sets come in containers with 16-bit lengths, or were capped when parsed.
    out.put_u32(u32::try_from(nal.len()).unwrap_or(u32::MAX));
    out.put_slice(nal);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_beyond_the_end_is_an_error_and_ends_the_walk() {
        let mut walk = nals(&[0, 0, 0, 1, 9, 0, 0, 0, 5, 1, 2]);
        assert_eq!(walk.next(), Some(Ok(&[9_u8][..])));
        assert_eq!(walk.next(), Some(Err(Malformed { at: 5 })));
        assert_eq!(walk.next(), None);
    }

    #[test]
    fn a_start_code_left_behind_a_parameter_set_is_cut_off() {
        for tail in [&[][..], &[0], &[0, 0, 0, 1], &[0, 0, 1], &[0, 0, 0, 0]] {
            let nal = [&[0x67, 0x42, 0x80][..], tail].concat();
            assert_eq!(without_trailing_start_code(nal.into()), &[0x67, 0x42, 0x80][..]);
        }
    }

    #[test]
    fn nal_units_between_start_codes_are_found() {
        let data = b"\x67ab\0\0\0\x01\x68c\0\0\x01\0\0\x01\x65d\0\0";
        let found: Vec<&[u8]> = annex_b(data).collect();
        assert_eq!(found, [&b"\x67ab"[..], b"\x68c", b"\x65d"]);
        assert_eq!(annex_b(b"").count(), 0);
    }

    proptest! {
        #[test]
        fn a_start_code_is_found_wherever_it_stands(
            mut data in proptest::collection::vec(prop_oneof![4 => 2_u8..=255, 1 => 0_u8..2], 0..900),
            at in any::<proptest::sample::Index>(),
        ) {
            let plain = |data: &[u8]| data.windows(3).position(|three| three == [0, 0, 1]);
            prop_assert_eq!(find_start_code(&data), plain(&data));
            let at = at.index(data.len() + 1);
            data.splice(at..at, [0, 0, 1]);
            prop_assert_eq!(find_start_code(&data), plain(&data));
        }

        #[test]
        fn any_bytes_are_walked_without_panic(data in proptest::collection::vec(0_u8..4, 0..64)) {
            let total: usize = nals(&data).map_while(Result::ok).map(|nal| nal.len() + 4).sum();
            prop_assert!(total <= data.len());
        }

        #[test]
        fn what_was_put_is_found_again(
            units in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
        ) {
            let mut data = bytes::BytesMut::new();
            for unit in &units {
                put(&mut data, unit);
            }
            let found: Vec<_> = nals(&data).map(|nal| nal.expect("whole").to_vec()).collect();
            prop_assert_eq!(found, units);
        }
    }
}
