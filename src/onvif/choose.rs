//! Which of a camera's profiles are recorded. Pure.
//!
//! Main is the largest picture in a codec that is worth recording; sub is a smaller one of the same
//! lens: for many pictures side by side and for slow links, so not over 1280×720 where there is a
//! choice. H.264 wins over H.265 of the same size, since every browser plays it; either wins over MJPEG,
//! which costs ten times the disk.

use std::cmp::Reverse;

use super::VideoCodec;

/// A profile that has video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) token: String,
    pub(super) name: String,
    /// The lens.
    pub(super) source: Option<String>,
    pub(super) codec: VideoCodec,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) fps: Option<u32>,
}

impl Profile {
    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Greater is better.
    const fn worth(&self) -> u8 {
        match self.codec {
            VideoCodec::H264 | VideoCodec::H265 => 2,
            VideoCodec::Jpeg => 1,
            VideoCodec::Other(_) => 0,
        }
    }

    const fn plays_anywhere(&self) -> bool {
        matches!(self.codec, VideoCodec::H264)
    }
}

/// Largest picture of a sub stream, where there is a choice.
const SUB_PIXELS: u64 = 1_280 * 720;

/// Main, and sub where there is one. Of several lenses the first one's: the others are cameras of
/// their own.
pub(super) fn choose(profiles: &[Profile]) -> (Option<&Profile>, Option<&Profile>) {
    let lens = profiles.iter().find(|p| p.worth() > 0).and_then(|p| p.source.as_ref());
    let of_lens = || profiles.iter().filter(move |p| lens.is_none() || p.source.as_ref() == lens);
    // `max_by_key` takes the last of equals; cameras list the one they mean first.
    let main = of_lens()
        .filter(|p| p.worth() > 0)
        .enumerate()
        .max_by_key(|(at, p)| (p.worth(), p.pixels(), p.plays_anywhere(), Reverse(*at)))
        .map(|(_, p)| p);
    let Some(main) = main else { return (None, None) };
    let sub = of_lens()
        .filter(|p| p.worth() > 0 && p.pixels() < main.pixels() && p.pixels() > 0)
        .enumerate()
        .max_by_key(|(at, p)| {
            let small = p.pixels() <= SUB_PIXELS;
            let size = if small { p.pixels() as i64 } else { -(p.pixels() as i64) };
            (p.worth(), small, size, p.plays_anywhere(), Reverse(*at))
        })
        .map(|(_, p)| p);
    (Some(main), sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(token: &str, lens: &str, codec: VideoCodec, width: u32, height: u32) -> Profile {
        let source = (!lens.is_empty()).then(|| lens.to_owned());
        let (token, name) = (token.to_owned(), String::new());
        Profile { token, name, source, codec, width, height, fps: None }
    }

    fn chosen(profiles: &[Profile]) -> (&str, &str) {
        let (main, sub) = choose(profiles);
        let token =
            |p: Option<&Profile>| p.map_or("-", |p| Box::leak(p.token.clone().into_boxed_str()));
        (token(main), token(sub))
    }

    #[test]
    fn the_largest_is_main_and_a_small_one_of_the_same_lens_is_sub() {
        use VideoCodec::{H264, H265, Jpeg};
        let four_k = [
            profile("sub", "a", H264, 640, 360),
            profile("third", "a", H264, 1_280, 720),
            profile("main", "a", H265, 3_840, 2_160),
            profile("other lens", "b", H264, 3_840, 2_161),
        ];
        assert_eq!(chosen(&four_k), ("main", "third"));
        let only_large =
            [profile("5M", "", H264, 2_592, 1_944), profile("2M", "", H264, 1_920, 1_080)];
        assert_eq!(chosen(&only_large), ("5M", "2M"));
        let jpeg = [profile("jpeg", "", Jpeg, 1_920, 1_080), profile("h264", "", H264, 1_280, 720)];
        assert_eq!(chosen(&jpeg), ("h264", "-"), "a larger MJPEG is neither");
        let small_jpeg =
            [profile("h264", "", H264, 1_280, 720), profile("jpeg", "", Jpeg, 640, 360)];
        assert_eq!(chosen(&small_jpeg), ("h264", "jpeg"));
        let twins = [profile("h265", "", H265, 640, 360), profile("h264", "", H264, 640, 360)];
        assert_eq!(chosen(&twins), ("h264", "-"), "every browser plays it");
        let equals = [profile("first", "", H264, 640, 360), profile("second", "", H264, 640, 360)];
        assert_eq!(chosen(&equals), ("first", "-"));
    }

    #[test]
    fn where_several_would_do_the_choice_does_not_depend_on_chance() {
        use VideoCodec::{H264, H265, Other};
        // Two lenses: the one that is listed first, with its own small stream, though the other's are larger.
        let lenses = [
            profile("left", "a", H264, 1_920, 1_080),
            profile("right", "b", H264, 3_840, 2_160),
            profile("right small", "b", H264, 1_280, 720),
            profile("left small", "a", H264, 640, 360),
        ];
        assert_eq!(chosen(&lenses), ("left", "left small"));
        // A first profile of nothing that is recorded names no lens.
        let odd_first =
            [profile("odd", "a", Other("MPEG4".into()), 9, 9), profile("b", "b", H264, 640, 360)];
        assert_eq!(chosen(&odd_first), ("b", "-"));
        // Where the first names no lens, lenses are not told apart.
        let unnamed = [profile("a", "", H264, 640, 360), profile("b", "b", H264, 1_920, 1_080)];
        assert_eq!(chosen(&unnamed), ("b", "a"));
        // Of the same size: what plays everywhere, then what is listed first.
        let same = [
            profile("h265", "", H265, 1_920, 1_080),
            profile("first", "", H264, 1_920, 1_080),
            profile("second", "", H264, 1_920, 1_080),
            profile("small h265", "", H265, 640, 360),
            profile("small first", "", H264, 640, 360),
            profile("small second", "", H264, 640, 360),
        ];
        assert_eq!(chosen(&same), ("first", "small first"));
        // Of unknown size it may be anything: better than nothing, and never the small one.
        let unknown = [profile("unknown", "", H264, 0, 0)];
        assert_eq!(chosen(&unknown), ("unknown", "-"));
        let beside = [profile("unknown", "", H264, 0, 0), profile("known", "", H264, 640, 360)];
        assert_eq!(chosen(&beside), ("known", "-"));
    }

    #[test]
    fn without_video_nothing_is_chosen() {
        assert_eq!(chosen(&[]), ("-", "-"));
        let odd = [profile("a", "", VideoCodec::Other("MPEG4".into()), 640, 480)];
        assert_eq!(chosen(&odd), ("-", "-"));
    }
}
