use super::*;
use crate::proto::codec::mjpeg_tables::quantization;
use proptest::prelude::*;

#[test]
fn the_tables_of_factor_50_are_those_of_annex_k_and_others_scale_them() {
    let first = |factor| quantization(factor).map(|[y, c]| (y[0], c[0], y[63]));
    assert_eq!(first(50), Some((16, 17, 99)));
    // As libjpeg writes for this quality.
    assert_eq!(first(75), Some((8, 9, 50)));
    assert_eq!(first(99), Some((1, 1, 2)));
    assert_eq!(first(1), Some((255, 255, 255)));
    assert_eq!([0, 100, 127, 128, 255].map(first), [None; 5]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(prop_oneof![Just(0xff_u8), Just(0xc0), Just(0xda), Just(0xdb), any::<u8>()], 0..300)) {
        bytes.splice(0..0, [0xff, 0xd8, 0xff]);
        if let Ok(picture) = Picture::parse(&bytes) {
            prop_assert!(picture.scan.end <= bytes.len() && !picture.scan.is_empty());
            let _ = picture.for_rtp();
        }
    }
}
