use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let found: usize = obus(&bytes).map_while(Result::ok).map(|obu| obu.whole.len()).sum();
        prop_assert!(found <= bytes.len());
        let mut header = vec![0x0a, bytes.len() as u8];
        header.extend_from_slice(&bytes);
        if let Ok(p) = Parameters::new(header.into()) {
            prop_assert!(p.width > 0 && p.height > 0 && p.profile <= 2);
        }
    }

    #[test]
    fn sizes_are_read_back(size in any::<u32>(), behind in any::<u8>()) {
        let (bytes, used) = to_leb128(size);
        let mut bytes = bytes[..used].to_vec();
        bytes.push(behind);
        prop_assert_eq!(leb128(&bytes), Some((size as usize, &[behind][..])));
    }
}
