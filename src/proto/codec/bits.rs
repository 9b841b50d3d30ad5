//! Bits of a header one after another, the most significant first.

/// Ends before what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End;

/// A place among bits.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Bits<'a> {
    /// From the first bit on.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, end: data.len() * 8 }
    }

    /// The same, of the first `count` bits alone.
    #[must_use]
    pub fn first(data: &'a [u8], count: usize) -> Self {
        Self { data, at: 0, end: count.min(data.len() * 8) }
    }

    /// How many were read.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Whether the next bit begins a byte.
    #[must_use]
    pub const fn is_aligned(&self) -> bool {
        self.at.is_multiple_of(8)
    }

    /// The next `count` bits, at most 32.
    pub fn read(&mut self, count: u32) -> Result<u32, End> {
        let wanted = count as usize;
        if wanted > self.remaining() {
            return Err(End);
        }
        let mut value = 0_u64;
        let mut left = wanted;
        while left > 0 {
            let byte = self.data.get(self.at / 8).copied().ok_or(End)?;
            let offset = self.at % 8;
            let take = left.min(8 - offset);
            let bits = (byte << offset) >> (8 - take);
            value = value << take | u64::from(bits);
            self.at += take;
            left -= take;
        }
        Ok(value as u32)
    }

    /// One bit.
    pub fn flag(&mut self) -> Result<bool, End> {
        Ok(self.read(1)? == 1)
    }

    /// Passes over bits.
    pub fn skip(&mut self, count: usize) -> Result<(), End> {
        if count > self.remaining() {
            return Err(End);
        }
        self.at += count;
        Ok(())
    }

    /// The whole bytes from here on, when one begins here.
    #[must_use]
    pub fn aligned(&self) -> Option<&'a [u8]> {
        self.data.get(self.at / 8..).filter(|_| self.is_aligned())
    }

    /// `count` bits from here on as bytes, filled up with zeros; they are not passed over.
    pub fn copy(&self, count: usize) -> Result<Vec<u8>, End> {
        if count > self.remaining() {
            return Err(End);
        }
        let mut from = *self;
        let mut out = Vec::with_capacity(count.div_ceil(8));
        let mut left = count;
        while left > 0 {
            let take = left.min(8);
            let bits = from.read(take as u32)? as u8;
            out.push(bits << (8 - take));
            left -= take;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_come_as_they_stand(data in proptest::collection::vec(any::<u8>(), 0..12), cuts in proptest::collection::vec(0_u32..=32, 0..12)) {
            let text: String = data.iter().map(|byte| format!("{byte:08b}")).collect();
            let mut bits = Bits::new(&data);
            for count in cuts {
                let at = bits.position();
                let expected = text.get(at..at + count as usize);
                let copied = bits.copy(count as usize);
                prop_assert_eq!(copied.is_ok(), expected.is_some());
                let read = bits.read(count).ok();
                prop_assert_eq!(read.is_some(), expected.is_some());
                if let (Some(read), Some(expected)) = (read, expected) {
                    prop_assert_eq!(u64::from(read), u64::from_str_radix(expected, 2).unwrap_or(0));
                    let copied: String = copied.unwrap_or_default().iter().map(|byte| format!("{byte:08b}")).collect();
                    prop_assert!(copied.starts_with(expected));
                    prop_assert!(copied[expected.len()..].bytes().all(|b| b == b'0'));
                }
            }
        }
    }
}
