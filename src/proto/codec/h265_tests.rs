//! Parameter sets as x265 writes them; scuffle-h265 as a second opinion.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::proto::codec::Parameters as Any;

const MAIN: [&str; 3] = [
    "40010c01ffff016000000300900000030000030078959809",
    "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84",
    "4401c172b46240",
];
const MAIN_10: [&str; 3] = [
    "40010c01ffff02200000030090000003000003003f928090",
    "42010102200000030090000003000003003fa00502016936592a49395e02d01000003e900007530080",
    "4401c172b46240",
];
const FOUR_B: [&str; 3] = [
    "40010c01ffff01600000030090000003000003003f959809",
    "42010101600000030090000003000003003fa00502016965959a4932bc05a02000000300400000030321",
    "4401c172b46240",
];
const FULL_CHROMA: [&str; 3] = [
    "40010c01ffff0408000003009e0800000300003c959809",
    "4201010408000003009e0800000300003c9001610090b2cacd24995e02d0100000030010000003019080",
    "4401c172860c4624",
];
const ALL: [[&str; 3]; 4] = [MAIN, MAIN_10, FOUR_B, FULL_CHROMA];

fn hex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn parse([vps, sps, pps]: [&str; 3]) -> Parameters {
    Parameters::new(hex(vps), hex(sps), vec![hex(pps)]).expect("valid")
}

fn unit(nals: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    for nal in nals {
        out.put_u32(u32::try_from(nal.len()).expect("short"));
        out.put_slice(nal);
    }
    out.freeze()
}

#[test]
fn size_rate_reordering_and_name_are_read() {
    for (sets, size, rate, reorder, name) in [
        (MAIN, (1920, 1080), (25, 1), 2, "hvc1.1.6.L120.90"),
        (MAIN_10, (640, 360), (30_000, 1_001), 0, "hvc1.2.4.L63.90"),
        (FOUR_B, (640, 360), (25, 2), 2, "hvc1.1.6.L63.90"),
        (FULL_CHROMA, (352, 288), (25, 1), 2, "hvc1.4.10.L60.9E.8"),
    ] {
        let p = parse(sets);
        assert_eq!((p.width, p.height), size);
        assert_eq!(p.frame_rate, Some(rate), "{name}");
        assert_eq!(p.reorder, Some(reorder), "{name}");
        assert_eq!(p.rfc6381(), name);
    }
}

#[test]
fn another_parser_reads_the_same() {
    for [_, sps, _] in ALL {
        let sps = hex(sps);
        let ours = parse_sps(&sps).expect("valid");
        let theirs = scuffle_h265::SpsNALUnit::parse(&sps[..]).expect("valid").rbsp;
        assert_eq!(u64::from(ours.width), theirs.cropped_width());
        assert_eq!(u64::from(ours.height), theirs.cropped_height());
        assert_eq!(ours.luma_depth, theirs.bit_depth_y());
        assert_eq!(ours.chroma_format, theirs.chroma_format_idc);
        assert_eq!(ours.sub_layers, theirs.sps_max_sub_layers_minus1 + 1);
        let reorder = theirs.sub_layer_ordering_info.sps_max_num_reorder_pics;
        assert_eq!(Some(u64::from(ours.reorder)), reorder.last().copied());
        let profile = theirs.profile_tier_level.general_profile;
        assert_eq!(ours.profile.idc, profile.profile_idc);
        assert_eq!(Some(ours.profile.level), profile.level_idc);
        let timing = theirs.vui_parameters.and_then(|vui| vui.vui_timing_info).expect("timing");
        let (n, d) = ours.frame_rate.expect("a rate");
        assert_eq!(
            u64::from(n) * u64::from(timing.num_units_in_tick.get()),
            u64::from(d) * u64::from(timing.time_scale.get())
        );
    }
}

#[test]
fn an_sps_that_breaks_off_in_its_vui_costs_the_frame_rate_only() {
    let sps = hex(MAIN[1]);
    let p = Parameters::new(hex(MAIN[0]), sps.slice(..sps.len() - 6), vec![hex(MAIN[2])])
        .expect("enough is there");
    assert_eq!((p.width, p.height, p.frame_rate, p.reorder), (1920, 1080, None, Some(2)));
}

#[test]
fn only_an_irap_slice_makes_a_unit_random_access() {
    let nal = |kind: u8| [kind << 1, 1, 0x80];
    assert!(!is_random_access(&unit(&[&nal(35)])), "a delimiter alone");
    for kind in [0, 1, 5, 6, 7, 8, 9] {
        assert!(!is_random_access(&unit(&[&nal(35), &nal(kind)])), "{kind}");
    }
    for kind in 16..=21 {
        assert!(is_random_access(&unit(&[&nal(35), &nal(39), &nal(kind), &nal(kind)])), "{kind}");
    }
}

#[test]
fn a_second_pps_adds_up_and_another_sps_takes_over() {
    let p = parse(MAIN);
    // Id 1 in place of 0: the leading `1` bit becomes `010`.
    let second = Bytes::from_static(&[0x44, 0x01, 0b0101_0000, 0x5c]);
    let both = p.updated_by(&unit(&[&second])).expect("a change");
    assert_eq!(both.pps, [hex(MAIN[2]), second.clone()]);
    assert_eq!(both.updated_by(&unit(&[&second])), None);
    assert!(!Any::H265(p.clone()).needs_new_sample_entry(&Any::H265(both)));
    let change = unit(&[&hex(MAIN_10[0]), &hex(MAIN_10[1]), &hex(MAIN_10[2])]);
    let new = p.updated_by(&change).expect("a change");
    assert_eq!(new, parse(MAIN_10));
    assert!(Any::H265(p).needs_new_sample_entry(&Any::H265(new)));
}

#[test]
fn in_band_sets_are_recognised_as_carried() {
    let p = parse(FOUR_B);
    let in_band = p.in_band();
    assert!(p.is_carried_by(&in_band));
    assert!(!p.is_carried_by(&unit(&[&hex(FOUR_B[1])])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn damaged_sets_are_read_or_refused(
        changes in proptest::collection::vec((2_usize..44, any::<u8>()), 1..4),
        cut in 0_usize..44,
        which in 0_usize..4,
    ) {
        let [vps, sps, pps] = ALL[which];
        let mut sps = hex(sps).to_vec();
        for (at, byte) in changes {
            if let Some(place) = sps.get_mut(at) {
                *place = byte;
            }
        }
        sps.truncate(sps.len() - cut.min(sps.len()));
        if let Ok(p) = Parameters::new(hex(vps), sps.into(), vec![hex(pps)]) {
            prop_assert!(p.width <= 16_384 && p.height <= 16_384);
            prop_assert!(p.rfc6381().starts_with("hvc1."));
        }
    }

    #[test]
    fn any_unit_is_looked_through(data in proptest::collection::vec(any::<u8>(), 0..64)) {
        let data = Bytes::from([&[0, 0, 0, 4][..], &data].concat());
        let _ = (is_random_access(&data), parse(MAIN).updated_by(&data));
        prop_assert!(!parse(MAIN).is_carried_by(&data));
    }
}
