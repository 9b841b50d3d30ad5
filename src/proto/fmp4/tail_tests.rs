//! Tails made with ill will: a right checksum over wrong numbers.

use proptest::prelude::*;

use super::*;

fn sealed(body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    let size = u32::try_from(8 + 16 + body.len() + TRAILER_LEN).expect("small");
    out.put_u32(size);
    out.put_slice(b"uuid");
    out.put_slice(&UUID);
    out.put_slice(body);
    out.put_slice(&MAGIC);
    out.put_u32(size);
    let crc = crc32(&out);
    out.put_u32(crc);
    out
}

#[test]
fn the_checksum_is_that_of_zip() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_count_that_cannot_be_is_refused_before_memory_is_taken() {
    let mut body = vec![VERSION, 1];
    put_varint(&mut body, 1 << 40);
    assert_eq!(read_tail(&sealed(&body)), Err(DAMAGED));
    let mut body = vec![VERSION, 0];
    put_varint(&mut body, 60_000);
    assert_eq!(read_tail(&sealed(&body)), Err(DAMAGED));
}

#[test]
fn a_newer_tail_is_refused_by_its_version() {
    assert_eq!(read_tail(&sealed(&[2])), Err(ReadError::Newer(2)));
}

#[test]
fn a_tail_of_nothing_is_one() {
    let mut out = BytesMut::new();
    write_tail(&mut out, &[], &[]).expect("fits");
    assert_eq!(read_tail(&out), Ok(Tail::default()));
}

fn sample() -> impl Strategy<Value = SampleRef> {
    let dts = 0_i64..1 << 62;
    (dts, any::<u32>(), any::<i32>(), any::<bool>(), 0_u64..1 << 62, any::<u32>()).prop_map(
        |(dts, duration, cts, sync, offset, size)| SampleRef {
            dts: MediaTime::from_ticks(dts),
            duration,
            cts,
            sync,
            offset,
            size,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_body_is_read_or_refused(
        mut body in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..80),
    ) {
        body.insert(0, VERSION);
        if let Ok(tail) = read_tail(&sealed(&body)) {
            prop_assert!(tail.tracks.iter().map(Vec::len).sum::<usize>() <= body.len());
        }
    }

    #[test]
    fn however_odd_the_tables_they_are_read_back(
        tracks in proptest::collection::vec(proptest::collection::vec(sample(), 0..20), 0..4),
        fragments in proptest::collection::vec(
            (0_u64..1 << 60, any::<u8>(), 0_i64..1 << 60, -(1_i64 << 60)..1 << 60), 0..10),
    ) {
        let fragments: Vec<_> = fragments.into_iter().map(|(offset, track, pts, wall)| {
            let (pts, wall) = (MediaTime::from_ticks(pts), WallTime::from_micros(wall));
            FragmentRef { offset, anchor: Anchor { track: TrackIndex(track), pts, wall } }
        }).collect();
        let slices: Vec<_> = tracks.iter().map(Vec::as_slice).collect();
        let mut out = BytesMut::new();
        write_tail(&mut out, &slices, &fragments).expect("fits");
        prop_assert_eq!(read_tail(&out), Ok(Tail { tracks, fragments }));
    }
}
