//! Where a page ended. Opaque to clients, so that it can change.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::proto::time::WallTime;

/// The place of the last item of a page, in lists by time and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) at: WallTime,
    pub(super) id: i64,
}

impl Cursor {
    /// Cuts what was asked for with one more than `limit` to a page, and says where the next begins.
    pub(super) fn page<T>(
        mut found: Vec<T>,
        limit: u32,
        place: impl Fn(&T) -> Self,
    ) -> (Vec<T>, Option<String>) {
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| more).map(|last| place(last).to_string());
        (found, next)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [0; 16];
        let (at, id) = bytes.split_at_mut(8);
        at.copy_from_slice(&self.at.as_micros().to_be_bytes());
        id.copy_from_slice(&self.id.to_be_bytes());
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let bytes: [u8; 16] =
            BASE64_URL_SAFE_NO_PAD.decode(s).ok().and_then(|b| b.try_into().ok()).ok_or(())?;
        let (at, id) = bytes.split_at(8);
        let number = |b: &[u8]| b.try_into().map(i64::from_be_bytes).map_err(|_| ());
        Ok(Self { at: WallTime::from_micros(number(at)?), id: number(id)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_back_and_garbage_is_refused(at: i64, id: i64, junk in ".{0,30}") {
            let cursor = Cursor { at: WallTime::from_micros(at), id };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            if let Ok(read) = junk.parse::<Cursor>() {
                prop_assert_eq!(read.to_string(), junk);
            }
        }
    }
}
