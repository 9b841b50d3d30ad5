//! Every state that the database was ever durable in, from one copy of its write-ahead log.
//!
//! SQLite appends the pages of each transaction to the log and marks the last one. As long as a
//! reader looks at the state before (see `site.rs`), the log is never begun anew: so its prefixes
//! that end with such a mark are exactly the database after each commit.

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
    u32::from_be_bytes(four.unwrap_or_default())
}

/// Lengths of the log after each commit, beginning with none.
pub(crate) fn commits(wal: &[u8]) -> Vec<u64> {
    let mut ends = vec![0];
    if wal.len() < HEADER {
        return ends;
    }
    let page = word(wal, 8) as usize;
    let salts = wal.get(16..24);
    let mut at = HEADER;
    while let Some(frame) = wal.get(at..at + FRAME_HEADER + page) {
        if frame.get(8..16) != salts {
            break;
        }
        at += frame.len();
        if word(frame, 4) != 0 {
            ends.push(at as u64);
        }
    }
    ends
}
