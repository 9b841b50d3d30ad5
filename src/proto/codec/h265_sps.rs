//! The H.265 sequence parameter set (§7.3.2.2), as far as a recorder needs it.
//!
//! # Why by hand
//!
//! scuffle-h265 indexes and subtracts unchecked, so a hostile SPS panics it, and it refuses an SPS
//! for any oddity in parts a recorder has no use for. Here what must be known (size, profile,
//! reordering) is read strictly, and what is only nice to have (the frame rate, far behind in the
//! VUI) is given up quietly. The bits are read with h264-reader, whose escaping is the same. Tests
//! compare with scuffle-h265.

use std::{io::BufRead, num::NonZeroUsize};

use h264_reader::rbsp::{BitRead, BitReader, BitReaderError, ByteReader};

use super::h264::{MAX_DIMENSION, ParametersError, reduced};

/// Bytes of a NAL unit header.
const HEADER: NonZeroUsize = NonZeroUsize::new(2).expect("2 is not zero");

/// General profile, tier and level, as they stand in the SPS and in `hvcC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) struct Profile {
    pub(in crate::proto) space: u8,
    pub(in crate::proto) high_tier: bool,
    pub(in crate::proto) idc: u8,
    pub(in crate::proto) compatibility: [u8; 4],
    pub(in crate::proto) constraints: [u8; 6],
    pub(in crate::proto) level: u8,
}

/// What is read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) struct Sps {
    pub(in crate::proto) sub_layers: u8,
    pub(in crate::proto) temporal_id_nested: bool,
    pub(in crate::proto) profile: Profile,
    pub(in crate::proto) chroma_format: u8,
    pub(in crate::proto) luma_depth: u8,
    pub(in crate::proto) chroma_depth: u8,
    pub(in crate::proto) width: u32,
    pub(in crate::proto) height: u32,
    pub(in crate::proto) reorder: u8,
    pub(in crate::proto) frame_rate: Option<(u32, u32)>,
}

impl Sps {
    pub(super) fn parse(nal: &[u8]) -> Result<Self, ParametersError> {
        let mut bits = bits(nal);
        let (mut sps, poc_bits) = required(&mut bits).map_err(|e| match e {
            Refused::Bits(e) => ParametersError::BadSps(format!("{e:?}")),
            Refused::Value(what) => ParametersError::BadSps(what.to_owned()),
        })?;
        sps.frame_rate = frame_rate(&mut bits, poc_bits).ok().flatten();
        Ok(sps)
    }
}

/// The Exp-Golomb number at the beginning of a NAL unit's payload: the id of a PPS.
pub(super) fn first_ue(nal: &[u8]) -> Option<u32> {
    bits(nal).read_ue("id").ok()
}

fn bits(nal: &[u8]) -> BitReader<ByteReader<&[u8]>> {
    BitReader::new(ByteReader::skipping_bytes(nal, HEADER))
}

enum Refused {
    Bits(BitReaderError),
    Value(&'static str),
}

impl From<BitReaderError> for Refused {
    fn from(e: BitReaderError) -> Self {
        Self::Bits(e)
    }
}

/// Everything up to the reordering; and how many bits an order count has.
fn required<R: BufRead + Clone>(r: &mut BitReader<R>) -> Result<(Sps, u32), Refused> {
    r.skip(4, "sps_video_parameter_set_id")?;
    let max_sub_layer: u8 = r.read::<3, u8>("sps_max_sub_layers_minus1")?;
    if max_sub_layer > 6 {
        return Err(Refused::Value("too many sub-layers"));
    }
    let temporal_id_nested = r.read_bit("sps_temporal_id_nesting_flag")?;
    let profile = profile(r, max_sub_layer)?;
    r.read_ue("sps_seq_parameter_set_id")?;
    let chroma_format = at_most(r.read_ue("chroma_format_idc")?, 3, "chroma format")?;
    if chroma_format == 3 {
        r.skip(1, "separate_colour_plane_flag")?;
    }
    let (mut width, mut height) = (r.read_ue("width")?, r.read_ue("height")?);
    if r.read_bit("conformance_window_flag")? {
        let (step_x, step_y) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let mut cropped = |size: u32, step: u32| -> Result<u32, Refused> {
            let (before, after) = (r.read_ue("conf_win_offset")?, r.read_ue("conf_win_offset")?);
            before
                .checked_add(after)
                .and_then(|units| units.checked_mul(step))
                .and_then(|pixels| size.checked_sub(pixels))
                .ok_or(Refused::Value("cropped to nothing"))
        };
        width = cropped(width, step_x)?;
        height = cropped(height, step_y)?;
    }
    if !(1..=MAX_DIMENSION).contains(&width) || !(1..=MAX_DIMENSION).contains(&height) {
        return Err(Refused::Value("impossible picture size"));
    }
    let luma_depth = 8 + at_most(r.read_ue("bit_depth_luma_minus8")?, 8, "bit depth")?;
    let chroma_depth = 8 + at_most(r.read_ue("bit_depth_chroma_minus8")?, 8, "bit depth")?;
    let poc_bits = 4 + at_most(r.read_ue("log2_max_pic_order_cnt_lsb_minus4")?, 12, "order count")?;
    let all = r.read_bit("sps_sub_layer_ordering_info_present_flag")?;
    let mut reorder = 0;
    for _ in if all { 0..=max_sub_layer } else { max_sub_layer..=max_sub_layer } {
        r.read_ue("sps_max_dec_pic_buffering_minus1")?;
        reorder = at_most(r.read_ue("sps_max_num_reorder_pics")?, 16, "reordering")?;
        r.read_ue("sps_max_latency_increase_plus1")?;
    }
    let sps = Sps {
        sub_layers: max_sub_layer + 1,
        temporal_id_nested,
        profile,
        chroma_format,
        luma_depth,
        chroma_depth,
        width,
        height,
        reorder,
        frame_rate: None,
    };
    Ok((sps, u32::from(poc_bits)))
}

fn at_most(value: u32, max: u8, what: &'static str) -> Result<u8, Refused> {
    u8::try_from(value).ok().filter(|&value| value <= max).ok_or(Refused::Value(what))
}

/// `profile_tier_level` (§7.3.3).
fn profile<R: BufRead + Clone>(
    r: &mut BitReader<R>,
    max_sub_layer: u8,
) -> Result<Profile, BitReaderError> {
    let profile = Profile {
        space: r.read::<2, u8>("general_profile_space")?,
        high_tier: r.read_bit("general_tier_flag")?,
        idc: r.read::<5, u8>("general_profile_idc")?,
        compatibility: r.read_to::<[u8; 4]>("general_profile_compatibility_flag")?,
        constraints: r.read_to::<[u8; 6]>("general_constraint_flags")?,
        level: r.read::<8, u8>("general_level_idc")?,
    };
    let mut skip = 0;
    for _ in 0..max_sub_layer {
        skip += if r.read_bit("sub_layer_profile_present_flag")? { 88 } else { 0 };
        skip += if r.read_bit("sub_layer_level_present_flag")? { 8 } else { 0 };
    }
    if max_sub_layer > 0 {
        skip += 2 * (8 - u32::from(max_sub_layer));
    }
    r.skip(skip, "sub_layer")?;
    Ok(profile)
}

/// From behind the reordering to the VUI's timing.
fn frame_rate<R: BufRead + Clone>(
    r: &mut BitReader<R>,
    poc_bits: u32,
) -> Result<Option<(u32, u32)>, BitReaderError> {
    for _ in 0..6 {
        r.read_ue("block sizes and depths")?;
    }
    if r.read_bit("scaling_list_enabled_flag")?
        && r.read_bit("sps_scaling_list_data_present_flag")?
    {
        skip_scaling_lists(r)?;
    }
    r.skip(2, "amp, sao")?;
    if r.read_bit("pcm_enabled_flag")? {
        r.skip(8, "pcm_sample_bit_depth")?;
        r.read_ue("log2_min_pcm_luma_coding_block_size_minus3")?;
        r.read_ue("log2_diff_max_min_pcm_luma_coding_block_size")?;
        r.skip(1, "pcm_loop_filter_disabled_flag")?;
    }
    if !skip_short_term_sets(r)? {
        return Ok(None);
    }
    if r.read_bit("long_term_ref_pics_present_flag")? {
        // Each takes bits from the input, so that a lie about their number ends at its end.
        for _ in 0..r.read_ue("num_long_term_ref_pics_sps")? {
            r.skip(poc_bits + 1, "lt_ref_pic_poc_lsb_sps, used_by_curr_pic_lt_sps_flag")?;
        }
    }
    r.skip(2, "temporal_mvp, strong_intra_smoothing")?;
    if !r.read_bit("vui_parameters_present_flag")? {
        return Ok(None);
    }
    if r.read_bit("aspect_ratio_info_present_flag")? && r.read::<8, u8>("aspect_ratio_idc")? == 255
    {
        r.skip(32, "sar")?;
    }
    if r.read_bit("overscan_info_present_flag")? {
        r.skip(1, "overscan_appropriate_flag")?;
    }
    if r.read_bit("video_signal_type_present_flag")? {
        r.skip(4, "video_format, video_full_range_flag")?;
        if r.read_bit("colour_description_present_flag")? {
            r.skip(24, "colour description")?;
        }
    }
    if r.read_bit("chroma_loc_info_present_flag")? {
        r.read_ue("chroma_sample_loc_type_top_field")?;
        r.read_ue("chroma_sample_loc_type_bottom_field")?;
    }
    r.skip(3, "neutral_chroma, field_seq, frame_field_info")?;
    if r.read_bit("default_display_window_flag")? {
        for _ in 0..4 {
            r.read_ue("def_disp_win_offset")?;
        }
    }
    if !r.read_bit("vui_timing_info_present_flag")? {
        return Ok(None);
    }
    let units = r.read::<32, u32>("vui_num_units_in_tick")?;
    let scale = r.read::<32, u32>("vui_time_scale")?;
    Ok(reduced(scale, units))
}

/// `scaling_list_data` (§7.3.4).
fn skip_scaling_lists<R: BufRead + Clone>(r: &mut BitReader<R>) -> Result<(), BitReaderError> {
    for size in 0..4_u32 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if r.read_bit("scaling_list_pred_mode_flag")? {
                if size > 1 {
                    r.read_se("scaling_list_dc_coef_minus8")?;
                }
                for _ in 0..64.min(1 << (4 + 2 * size)) {
                    r.read_se("scaling_list_delta_coef")?;
                }
            } else {
                r.read_ue("scaling_list_pred_matrix_id_delta")?;
            }
        }
    }
    Ok(())
}

/// All `st_ref_pic_set` (§7.3.7); false when they are beyond what the standard allows.
fn skip_short_term_sets<R: BufRead + Clone>(r: &mut BitReader<R>) -> Result<bool, BitReaderError> {
    let sets = r.read_ue("num_short_term_ref_pic_sets")?;
    if sets > 64 {
        return Ok(false);
    }
    let mut pictures_before = 0_u32;
    for set in 0..sets {
        let mut pictures = 0;
        if set > 0 && r.read_bit("inter_ref_pic_set_prediction_flag")? {
            r.skip(1, "delta_rps_sign")?;
            r.read_ue("abs_delta_rps_minus1")?;
            for _ in 0..=pictures_before {
                let used = r.read_bit("used_by_curr_pic_flag")?;
                pictures += u32::from(used || r.read_bit("use_delta_flag")?);
            }
        } else {
            let (negative, positive) =
                (r.read_ue("num_negative_pics")?, r.read_ue("num_positive_pics")?);
            if negative > 16 || positive > 16 {
                return Ok(false);
            }
            pictures = negative + positive;
            for _ in 0..pictures {
                r.read_ue("delta_poc_minus1")?;
                r.skip(1, "used_by_curr_pic_flag")?;
            }
        }
        pictures_before = pictures;
    }
    Ok(true)
}
