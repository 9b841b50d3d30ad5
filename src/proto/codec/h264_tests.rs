//! Parameter sets as x264 writes them.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::proto::codec::Parameters as Any;

const BASELINE: (&str, &str) = ("6742c00cd90141fb0110000003001000000301e0f142a480", "68cb83cb20");
const HIGH: (&str, &str) = ("67640028acd940780227e5c04400000fa40003a9803c60c658", "68ebe3cb22c0");
const INTERLACED: (&str, &str) = ("674d401eeca05a126c0440000003004000000c87c50a6580", "68fba3cb20");
const HIGH_422_10: (&str, &str) =
    ("677a000db6cd9416096c0440000003004000000c83c50a6580", "68ebe3cb22c0");

fn hex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn parse((sps, pps): (&str, &str)) -> Parameters {
    Parameters::new(hex(sps), vec![hex(pps)]).expect("valid")
}

fn unit(nals: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    for nal in nals {
        out.put_u32(u32::try_from(nal.len()).expect("short"));
        out.put_slice(nal);
    }
    out.freeze()
}

/// `pic_parameter_set_id` 1 in place of 0: the leading `1` bit becomes `010`.
fn second_pps() -> Bytes {
    Bytes::from_static(&[0x68, 0b0101_1001, 0x70, 0x79, 0x60])
}

#[test]
fn size_rate_and_name_are_read() {
    for (sets, size, rate, name) in [
        (BASELINE, (320, 240), (15, 1), "avc1.42C00C"),
        (HIGH, (1920, 1080), (30_000, 1_001), "avc1.640028"),
        (INTERLACED, (720, 576), (25, 1), "avc1.4D401E"),
        (HIGH_422_10, (352, 288), (25, 1), "avc1.7A000D"),
    ] {
        let p = parse(sets);
        assert_eq!((p.width, p.height), size);
        assert_eq!(p.frame_rate, Some(rate));
        assert_eq!(p.rfc6381(), name);
    }
}

#[test]
fn the_vui_says_how_far_pictures_are_reordered() {
    assert_eq!(parse(BASELINE).reorder, Some(0));
    assert_eq!(parse(HIGH).reorder, Some(2));
}

#[test]
fn a_silent_sps_leaves_reordering_open_except_in_baseline() {
    // HIGH and BASELINE with the VUI's flag cleared.
    let p = parse(("67640028acd940780227e540", HIGH.1));
    assert_eq!((p.width, p.height, p.reorder, p.frame_rate), (1920, 1080, None, None));
    let p = parse(("6742c00cd90141f9", BASELINE.1));
    assert_eq!((p.width, p.height, p.reorder), (320, 240, Some(0)));
}

#[test]
fn chroma_and_depth_are_known_for_the_record() {
    assert_eq!(parse(HIGH_422_10).chroma(), Some((2, 10, 10)));
    assert_eq!(parse(HIGH).chroma(), Some((1, 8, 8)));
    assert_eq!(parse(BASELINE).chroma(), None);
}

#[test]
fn a_start_code_behind_the_sets_does_not_matter() {
    let dirty = |text: &str| [&hex(text)[..], &[0, 0, 0, 1]].concat().into();
    let p = Parameters::new(dirty(HIGH.0), vec![dirty(HIGH.1)]).expect("valid");
    assert_eq!(p, parse(HIGH));
}

#[test]
fn pps_are_ordered_by_id_and_the_last_of_an_id_counts() {
    let (first, second) = (hex(HIGH.1), second_pps());
    let other_first = Bytes::from_static(&[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xff]);
    let pps = vec![second.clone(), first.clone(), other_first.clone(), second.clone()];
    let p = Parameters::new(hex(HIGH.0), pps).expect("valid");
    assert_eq!(p.pps, [other_first, second]);
}

#[test]
fn a_second_pps_is_a_change_that_needs_no_new_sample_entry() {
    let p = parse(HIGH);
    let both = p.with_pps(second_pps()).expect("valid").expect("a change");
    assert_eq!(both.pps.len(), 2);
    assert!(both.with_pps(second_pps()).expect("valid").is_none());
    assert!(!Any::H264(p).needs_new_sample_entry(&Any::H264(both)));
}

#[test]
fn what_is_no_pps_is_refused() {
    assert!(matches!(parse(HIGH).with_pps(hex(HIGH.0)), Err(ParametersError::BadPps(_))));
    assert!(matches!(Parameters::new(hex(HIGH.0), vec![]), Err(ParametersError::NoPps)));
    assert!(matches!(Parameters::new(Bytes::new(), vec![]), Err(ParametersError::NoSps)));
}

#[test]
fn a_unit_that_alternates_between_two_pps_changes_nothing_once_both_are_known() {
    let p = parse(HIGH);
    let first = unit(&[&hex(HIGH.0), &hex(HIGH.1), &[0x65, 1]]);
    let second = unit(&[&hex(HIGH.0), &second_pps(), &[0x65, 1]]);
    assert_eq!(p.updated_by(&first), None);
    let both = p.updated_by(&second).expect("a change");
    assert_eq!(both.updated_by(&first), None);
    assert_eq!(both.updated_by(&second), None);
}

#[test]
fn another_sps_takes_over_with_the_pps_it_comes_with() {
    let change = unit(&[&hex(BASELINE.0), &hex(BASELINE.1), &[0x65, 1]]);
    assert_eq!(parse(HIGH).updated_by(&change), Some(parse(BASELINE)));
    let both = unit(&[&hex(HIGH.0), &hex(BASELINE.0), &hex(HIGH.1)]);
    assert_eq!(parse(HIGH).updated_by(&both), None, "the active one is there too");
    let broken = unit(&[&[0x67, 0x64, 0xff], &[0x65, 1]]);
    assert_eq!(parse(HIGH).updated_by(&broken), None);
}

#[test]
fn only_an_idr_slice_makes_a_unit_random_access() {
    assert!(!is_random_access(&unit(&[&[0x09, 0xf0]])), "a delimiter alone");
    assert!(!is_random_access(&unit(&[&[0x09, 0xf0], &hex(HIGH.0), &hex(HIGH.1)])));
    assert!(!is_random_access(&unit(&[&[0x41, 1]])));
    assert!(is_random_access(&unit(&[&[0x09, 0xf0], &hex(HIGH.0), &[0x06, 5], &[0x65, 1]])));
    assert!(!is_random_access(&[0, 0, 0, 9, 0x65]), "cut off");
}

#[test]
fn a_unit_carries_its_sets_only_when_it_has_all_of_them() {
    let p = parse(HIGH).with_pps(second_pps()).expect("valid").expect("a change");
    let idr = [0x65, 1];
    let one = unit(&[&hex(HIGH.0), &hex(HIGH.1), &idr]);
    let all = [&p.in_band()[..], &unit(&[&idr])].concat();
    let any = Any::H264(p);
    assert!(!any.has_parameter_sets(&one));
    assert!(any.has_parameter_sets(&all));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn damaged_sets_are_read_or_refused(
        at in 0_usize..24, byte in any::<u8>(), cut in 0_usize..24, which in 0_usize..4,
    ) {
        let (sps, pps) = [BASELINE, HIGH, INTERLACED, HIGH_422_10][which];
        let mut sps = hex(sps).to_vec();
        if let Some(place) = sps.get_mut(at) {
            *place = byte;
        }
        sps.truncate(sps.len() - cut.min(sps.len()));
        if let Ok(p) = Parameters::new(sps.into(), vec![hex(pps)]) {
            prop_assert!(p.width <= MAX_DIMENSION && p.height <= MAX_DIMENSION);
            prop_assert!(p.chroma().is_none_or(|(_, luma, _)| luma >= 8));
            prop_assert_eq!(p.rfc6381().len(), 11);
        }
    }

    #[test]
    fn any_unit_is_looked_through(data in proptest::collection::vec(any::<u8>(), 0..64)) {
        let data = Bytes::from([&[0, 0, 0, 4][..], &data].concat());
        let _ = (is_random_access(&data), parse(HIGH).updated_by(&data));
        prop_assert!(!parse(HIGH).is_carried_by(&data));
    }
}
