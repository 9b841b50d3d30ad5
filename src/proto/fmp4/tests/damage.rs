//! Files cut, changed and made with ill will.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::made_up::{self, File, sample_file, scan_bytes};
use crate::proto::fmp4::*;

static OPEN: LazyLock<File> = LazyLock::new(sample_file);
/// As it was before there were checksums.
static OLD: LazyLock<File> = LazyLock::new(|| made_up::sample_file_with(false));
static CLOSED: LazyLock<File> = LazyLock::new(|| {
    let mut file = sample_file();
    file.close();
    file
});

#[test]
fn a_file_cut_anywhere_ends_at_its_last_whole_fragment() {
    let file = &*CLOSED;
    let whole_before = |cut: u64| file.ends.iter().filter(|&&end| end <= cut).count();
    for cut in 0..file.bytes.len() {
        let found = scan_bytes(&file.bytes[..cut]);
        let cut = cut as u64;
        assert!(!found.closed);
        if cut < file.header_len {
            assert_eq!((found.end, found.header), (0, None));
            assert_eq!(found.torn, Some(Torn::Short { at: 0 }));
            continue;
        }
        let whole = whole_before(cut);
        let end = file.ends[..whole].last().copied().unwrap_or(file.header_len);
        assert_eq!(found.end, end, "cut at {cut}");
        assert_eq!(found.torn, (end < cut).then_some(Torn::Short { at: end }));
        assert_eq!(found.tables.fragments, file.tables.fragments[..whole]);
        assert_eq!(found.last_sequence as usize, whole);
    }
}

#[test]
fn a_file_cut_and_closed_again_is_like_one_that_ended_there() {
    let file = &*OPEN;
    let found = scan_bytes(&file.bytes[..file.bytes.len() - 1]);
    let mut repaired =
        bytes::BytesMut::from(&file.bytes[..usize::try_from(found.end).expect("small")]);
    let tracks: Vec<_> = found.tables.tracks.iter().map(Vec::as_slice).collect();
    write_tail(&mut repaired, &tracks, &found.tables.fragments).expect("fits");
    let again = scan_bytes(&repaired);
    assert!(again.closed);
    assert_eq!(again.tables, found.tables);
    assert_eq!(read_tail(&repaired), Ok(found.tables));
}

#[test]
fn zeros_where_a_fragment_should_be_are_cut_off() {
    let file = &*OPEN;
    let mut bytes = file.bytes.to_vec();
    bytes.extend_from_slice(&[0; 5_000]);
    let found = scan_bytes(&bytes);
    assert_eq!(found.end, file.bytes.len() as u64);
    assert!(matches!(found.torn, Some(Torn::Damaged { .. })));
}

#[test]
fn zeros_where_a_picture_should_be_cut_its_fragment_off_also_in_files_without_checksums() {
    let file = &*OLD;
    for whole in [true, false] {
        let mut bytes = file.bytes.to_vec();
        let picture = file.tables.tracks[0][15];
        let start = usize::try_from(picture.offset).expect("small");
        let end = start + picture.size as usize;
        // All of it, or the page that holds its end.
        bytes[if whole { start } else { end - 2 }..end].fill(0);
        let found = scan_bytes(&bytes);
        assert_eq!(found.end, file.ends[0]);
        assert_eq!(found.tables.fragments.len(), 1);
    }
}

#[test]
fn any_byte_of_an_unsynced_payload_that_is_not_as_it_was_cuts_its_fragment_off() {
    let (open, closed) = (&*OPEN, &*CLOSED);
    let scan_all = |bytes: &[u8], verify| {
        let read = |at: u64, buffer: &mut [u8]| {
            let at = usize::try_from(at).expect("small");
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        };
        scan_verifying(bytes.len() as u64, verify, read).expect("readable")
    };
    for sample in open.tables.tracks.iter().flatten() {
        let middle = usize::try_from(sample.offset + u64::from(sample.size) / 2).expect("small");
        let hit = open.ends.iter().position(|&end| end > sample.offset).expect("in one");
        let end = hit.checked_sub(1).map_or(open.header_len, |before| open.ends[before]);
        let mut bytes = open.bytes.to_vec();
        bytes[middle] ^= 0x10;
        assert_eq!(scan_bytes(&bytes).end, end);
        // A tail may have reached the disk before what it speaks of.
        let mut bytes = closed.bytes.to_vec();
        bytes[middle] ^= 0x10;
        for verify in [Verify::Unsynced, Verify::All] {
            let found = scan_all(&bytes, verify);
            assert_eq!((found.end, found.closed), (end, false));
            assert!(matches!(found.torn, Some(Torn::Damaged { .. })));
        }
        assert!(scan_all(&bytes, Verify::Torn).closed);
    }
    assert!(scan_all(&closed.bytes, Verify::All).closed);
}

#[test]
fn bytes_behind_a_tail_are_reported_and_the_fragments_stand() {
    let mut bytes = CLOSED.bytes.to_vec();
    bytes.push(0);
    let found = scan_bytes(&bytes);
    assert!(!found.closed);
    assert_eq!(found.end, *OPEN.ends.last().expect("three"));
}

#[test]
fn a_count_that_cannot_be_is_refused_before_memory_is_taken() {
    let file = &*OPEN;
    let trun = file.bytes.windows(4).position(|w| w == b"trun").expect("there");
    let start = usize::try_from(file.tables.fragments[0].offset).expect("small");
    for count in [u32::MAX, 1 << 20, 11] {
        let mut bytes = file.bytes[start..].to_vec();
        bytes[trun - start + 8..][..4].copy_from_slice(&count.to_be_bytes());
        assert!(read_fragment(&bytes, 0, 3).is_err(), "{count}");
    }
}

#[test]
fn a_box_that_claims_gigabytes_is_refused_by_its_size() {
    let mut bytes = b"\0\0\0\x08ftyp\0\0\0\x01moov".to_vec();
    bytes.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    assert_eq!(read_header(&bytes), Err(ReadError::TooLarge("header")));
    let mut bytes = b"\0\0\0\x01moof".to_vec();
    bytes.extend_from_slice(&u64::MAX.to_be_bytes());
    assert_eq!(read_fragment(&bytes, 0, 1), Err(ReadError::TooLarge("moof")));
}

fn changes(len: usize) -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((0..len, prop_oneof![any::<u8>(), Just(0), Just(0xff)]), 1..6)
}

fn changed(bytes: &[u8], changes: Vec<(usize, u8)>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, byte) in changes {
        bytes[at] = byte;
    }
    bytes
}

/// Offsets within the file, and tables no larger than it can hold.
fn sane(found: &Scan, len: usize) -> bool {
    found.end <= len as u64
        && found
            .tables
            .tracks
            .iter()
            .flatten()
            .all(|s| s.offset.checked_add(u64::from(s.size)).is_some_and(|end| end <= len as u64))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn a_changed_file_is_walked_to_a_sane_end(
        changes in changes(CLOSED.header_len as usize + 900),
    ) {
        let bytes = changed(&CLOSED.bytes, changes);
        prop_assert!(sane(&scan_bytes(&bytes), bytes.len()));
    }

    #[test]
    fn a_changed_header_is_read_or_refused(changes in changes(OPEN.header_len as usize)) {
        let bytes = changed(&OPEN.bytes[..OPEN.header_len as usize], changes);
        if let Ok(header) = read_header(&bytes) {
            prop_assert_eq!(header.tracks.len(), header.identity.tracks.len());
        }
    }

    #[test]
    fn a_changed_fragment_is_read_or_refused(changes in changes(600)) {
        let start = OPEN.tables.fragments[1].offset;
        let bytes = changed(&OPEN.bytes[start as usize..][..600], changes);
        if let Ok(fragment) = read_fragment(&bytes, start, 3) {
            let samples: usize = fragment.tracks.iter().map(Vec::len).sum();
            prop_assert!(samples <= limits::FRAGMENT_SAMPLES);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_changed_tail_is_never_believed(at in 0_usize..10_000, xor in 1_u8..) {
        let start = *OPEN.ends.last().expect("three") as usize;
        let mut bytes = CLOSED.bytes[start..].to_vec();
        let at = at % bytes.len();
        bytes[at] ^= xor;
        prop_assert!(read_tail(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_no_file(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(scan_bytes(&bytes).end, 0);
        prop_assert!(read_tail(&bytes).is_err());
    }
}
