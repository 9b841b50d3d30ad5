//! Sample entries: what `stsd` says of a track, and the way back to its parameters.

use bytes::Bytes;
use mp4_atom::{
    Atom, Audio, Av01, Av1c, Avc1, Avc3, Avcc, AvccExt, Decode, Dops, Encode, Hev1, Hvc1,
    HvcCArray, Hvcc, Jpeg, Mp4a, Opus, Visual,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig},
};

use super::{
    ReadError, WriteError,
    boxes::{Child, Reader, put_box},
    limits,
};
use crate::proto::{
    access_unit::Track,
    codec::{Parameters, aac, av1, g711, h264, h265, mjpeg, opus, pcm},
};

/// ISO/IEC 14496-1 table 5: MPEG-4 audio.
const MPEG4_AUDIO: u8 = 0x40;

/// ISO/IEC 14496-1 table 6.
const AUDIO_STREAM: u8 = 0x05;

const COMPRESSED_SAMPLE_BITS: u16 = 16;

/// Appends the entry of a track.
pub(super) fn write(track: &Track, out: &mut Vec<u8>) -> Result<(), WriteError> {
    match &track.parameters {
        Parameters::H264(p) => {
            let entry =
                Avc1 { visual: visual(p.width, p.height)?, avcc: avcc(p)?, ..Avc1::default() };
            entry.encode(out).map_err(|_| WriteError::Encode("avc1"))
        }
        Parameters::H265(p) => {
            let entry =
                Hvc1 { visual: visual(p.width, p.height)?, hvcc: hvcc(p)?, ..Hvc1::default() };
            entry.encode(out).map_err(|_| WriteError::Encode("hvc1"))
        }
        Parameters::Aac(p) => {
            let entry = Mp4a {
                audio: audio(p.channels, p.sample_rate),
                esds: mp4_atom::Esds { es_desc: es_descriptor(p) },
                btrt: None,
                taic: None,
            };
            entry.encode(out).map_err(|_| WriteError::Encode("mp4a"))
        }
        // mp4-atom has no such entry: a plain AudioSampleEntry under QuickTime's name.
        Parameters::G711(p) => {
            let kind = match p.law {
                g711::Law::Mu => b"ulaw",
                g711::Law::A => b"alaw",
            };
            plain_audio(out, kind, p.channels, p.sample_rate)
        }
        Parameters::Pcm(p) => plain_audio(out, b"twos", p.channels, p.sample_rate),
        Parameters::Mjpeg(p) => {
            let entry = Jpeg { visual: visual(p.width, p.height)?, ..Jpeg::default() };
            entry.encode(out).map_err(|_| WriteError::Encode("jpeg"))
        }
        Parameters::Av1(p) => {
            let entry =
                Av01 { visual: visual(p.width, p.height)?, av1c: av1c(p)?, ..Av01::default() };
            entry.encode(out).map_err(|_| WriteError::Encode("av01"))
        }
        Parameters::Opus(p) => {
            let dops = Dops {
                output_channel_count: p.channels,
                pre_skip: p.pre_skip,
                input_sample_rate: p.input_sample_rate,
                output_gain: 0,
                channel_mapping: None,
            };
            let entry = Opus { audio: audio(p.channels, opus::CLOCK_RATE), dops, btrt: None };
            entry.encode(out).map_err(|_| WriteError::Encode("Opus"))
        }
    }
}

fn plain_audio(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    channels: u8,
    sample_rate: u32,
) -> Result<(), WriteError> {
    put_box(out, kind, |out| {
        audio(channels, sample_rate)
            .encode(out)
            .map_err(|_| WriteError::Encode("audio sample entry"))
    })
}

fn visual(width: u32, height: u32) -> Result<Visual, WriteError> {
    let pixels = |n: u32| u16::try_from(n).map_err(|_| WriteError::TooLarge("picture"));
    Ok(Visual {
        data_reference_index: 1,
        width: pixels(width)?,
        height: pixels(height)?,
        ..Visual::default()
    })
}

fn audio(channels: u8, sample_rate: u32) -> Audio {
    Audio {
        data_reference_index: 1,
        channel_count: u16::from(channels),
        sample_size: COMPRESSED_SAMPLE_BITS,
        // 16 bits hold no more than 65,535 Hz; beyond it, readers go by the codec's own header.
        sample_rate: u16::try_from(sample_rate).unwrap_or(0).into(),
    }
}

/// ISO/IEC 14496-15 §5.3.3.1.
fn avcc(p: &h264::Parameters) -> Result<Avcc, WriteError> {
    let (avc_profile_indication, profile_compatibility, avc_level_indication) = p.profile();
    Ok(Avcc {
        configuration_version: 1,
        avc_profile_indication,
        profile_compatibility,
        avc_level_indication,
        length_size: 4,
        sequence_parameter_sets: vec![set(&p.sps)?],
        picture_parameter_sets: sets(&p.pps, usize::from(u8::MAX))?,
        ext: p.chroma().map(|(chroma_format, bit_depth_luma, bit_depth_chroma)| AvccExt {
            chroma_format,
            bit_depth_luma,
            bit_depth_chroma,
            sequence_parameter_sets_ext: Vec::new(),
        }),
    })
}

/// ISO/IEC 14496-15 §8.3.3.1.
fn hvcc(p: &h265::Parameters) -> Result<Hvcc, WriteError> {
    let sps = p.parsed().ok_or(WriteError::Invalid("H.265 sequence parameter set"))?;
    // Complete: no parameter set is in-band only. (Those in-band repeat these.)
    let array = |nal_unit_type, nalus| HvcCArray { completeness: true, nal_unit_type, nalus };
    Ok(Hvcc {
        general_profile_space: sps.profile.space,
        general_tier_flag: sps.profile.high_tier,
        general_profile_idc: sps.profile.idc,
        general_profile_compatibility_flags: sps.profile.compatibility,
        general_constraint_indicator_flags: sps.profile.constraints,
        general_level_idc: sps.profile.level,
        chroma_format_idc: sps.chroma_format,
        bit_depth_luma_minus8: sps.luma_depth.saturating_sub(8),
        bit_depth_chroma_minus8: sps.chroma_depth.saturating_sub(8),
        num_temporal_layers: sps.sub_layers,
        temporal_id_nested: sps.temporal_id_nested,
        length_size_minus_one: 3,
        arrays: vec![
            array(32, vec![set(&p.vps)?]),
            array(33, vec![set(&p.sps)?]),
            array(34, sets(&p.pps, 64)?),
        ],
        ..Hvcc::new()
    })
}

/// AV1 ISO BMFF binding §2.3.3.
fn av1c(p: &av1::Parameters) -> Result<Av1c, WriteError> {
    Ok(Av1c {
        seq_profile: p.profile,
        seq_level_idx_0: p.level,
        seq_tier_0: p.high_tier,
        high_bitdepth: p.colour.depth > 8,
        twelve_bit: p.colour.depth == 12,
        monochrome: p.colour.monochrome,
        chroma_subsampling_x: p.colour.halved_across,
        chroma_subsampling_y: p.colour.halved_down,
        chroma_sample_position: p.colour.position,
        initial_presentation_delay: None,
        config_obus: set(&p.sequence_header)?,
    })
}

fn set(nal: &Bytes) -> Result<Vec<u8>, WriteError> {
    if nal.len() > limits::PARAMETER_SET {
        return Err(WriteError::TooLarge("parameter set"));
    }
    Ok(nal.to_vec())
}

fn sets(nals: &[Bytes], max: usize) -> Result<Vec<Vec<u8>>, WriteError> {
    if nals.len() > max {
        return Err(WriteError::TooLarge("number of parameter sets"));
    }
    nals.iter().map(set).collect()
}

fn es_descriptor(p: &aac::Parameters) -> EsDescriptor {
    EsDescriptor {
        es_id: 0, // the track's id says it (ISO/IEC 14496-14 §3.1.2)
        dec_config: DecoderConfig {
            object_type_indication: MPEG4_AUDIO,
            stream_type: AUDIO_STREAM,
            dec_specific: Some(DecoderSpecific { raw: p.config.to_vec(), ..Default::default() }),
            ..DecoderConfig::default()
        },
        sl_config: SLConfig {},
        ..EsDescriptor::default()
    }
}

/// The parameters of an entry; `timescale` is its track's, for entries without a sample rate.
pub(super) fn read(entry: Child<'_>, timescale: u32) -> Result<Parameters, ReadError> {
    match &entry.kind {
        b"avc1" => from_avcc(decode::<Avc1>(entry, "avc1")?.avcc),
        b"avc3" => from_avcc(decode::<Avc3>(entry, "avc3")?.avcc),
        b"hvc1" => from_hvcc(decode::<Hvc1>(entry, "hvc1")?.hvcc),
        b"hev1" => from_hvcc(decode::<Hev1>(entry, "hev1")?.hvcc),
        b"mp4a" => {
            let specific = decode::<Mp4a>(entry, "mp4a")?.esds.es_desc.dec_config.dec_specific;
            let config = specific.ok_or(ReadError::Missing("AudioSpecificConfig"))?.raw;
            aac::Parameters::new(config.into())
                .map(Parameters::Aac)
                .map_err(|_| ReadError::Damaged("AudioSpecificConfig"))
        }
        b"ulaw" => from_g711(entry, g711::Law::Mu, timescale),
        b"alaw" => from_g711(entry, g711::Law::A, timescale),
        b"twos" => {
            let (channels, sample_rate) = from_plain_audio(entry, timescale)?;
            Ok(Parameters::Pcm(pcm::Parameters { sample_rate, channels }))
        }
        b"jpeg" => {
            let visual = decode::<Jpeg>(entry, "jpeg")?.visual;
            let (width, height) = (visual.width.into(), visual.height.into());
            Ok(Parameters::Mjpeg(mjpeg::Parameters { width, height }))
        }
        b"av01" => {
            let obus = decode::<Av01>(entry, "av01")?.av1c.config_obus;
            let header = av1::sequence_header_of(&obus).ok_or(ReadError::Damaged("av1C"))?;
            av1::Parameters::new(Bytes::copy_from_slice(header))
                .map(Parameters::Av1)
                .map_err(|_| ReadError::Damaged("av1C"))
        }
        b"Opus" => {
            let dops = decode::<Opus>(entry, "Opus")?.dops;
            // More channels than two come with a table of streams, which nobody who writes these
            // files has.
            if dops.channel_mapping.is_some() || !matches!(dops.output_channel_count, 1 | 2) {
                return Err(ReadError::Damaged("dOps"));
            }
            Ok(Parameters::Opus(opus::Parameters {
                channels: dops.output_channel_count,
                pre_skip: dops.pre_skip,
                input_sample_rate: dops.input_sample_rate,
            }))
        }
        kind => Err(ReadError::UnknownCodec(String::from_utf8_lossy(kind).into_owned())),
    }
}

fn decode<T: Atom>(entry: Child<'_>, name: &'static str) -> Result<T, ReadError> {
    T::decode(&mut &*entry.whole).map_err(|_| ReadError::Damaged(name))
}

fn from_avcc(avcc: Avcc) -> Result<Parameters, ReadError> {
    if avcc.length_size != 4 {
        return Err(ReadError::Damaged("avcC"));
    }
    let sps = avcc.sequence_parameter_sets.into_iter().next();
    let pps = avcc.picture_parameter_sets.into_iter().map(Bytes::from).collect();
    h264::Parameters::new(sps.unwrap_or_default().into(), pps)
        .map(Parameters::H264)
        .map_err(|_| ReadError::Damaged("avcC"))
}

fn from_hvcc(hvcc: Hvcc) -> Result<Parameters, ReadError> {
    if hvcc.length_size_minus_one != 3 {
        return Err(ReadError::Damaged("hvcC"));
    }
    let (mut vps, mut sps, mut pps) = (Bytes::new(), Bytes::new(), Vec::new());
    for array in hvcc.arrays {
        let mut nals = array.nalus.into_iter().map(Bytes::from);
        match array.nal_unit_type {
            32 => vps = nals.next().unwrap_or_default(),
            33 => sps = nals.next().unwrap_or_default(),
            34 => pps.extend(nals),
            _ => {}
        }
    }
    h265::Parameters::new(vps, sps, pps)
        .map(Parameters::H265)
        .map_err(|_| ReadError::Damaged("hvcC"))
}

fn from_g711(entry: Child<'_>, law: g711::Law, timescale: u32) -> Result<Parameters, ReadError> {
    let (channels, sample_rate) = from_plain_audio(entry, timescale)?;
    Ok(Parameters::G711(g711::Parameters { law, sample_rate, channels }))
}

/// Channels and samples a second.
fn from_plain_audio(entry: Child<'_>, timescale: u32) -> Result<(u8, u32), ReadError> {
    let mut reader = Reader::new(entry.body);
    let channels = reader.bytes(16).and_then(|_| reader.u16());
    let sample_rate = reader.bytes(6).and_then(|_| reader.u16()).map(u32::from);
    let channels = channels
        .and_then(|channels| u8::try_from(channels).ok())
        .filter(|&channels| channels > 0)
        .ok_or(ReadError::Damaged("audio sample entry"))?;
    let sample_rate = sample_rate.ok_or(ReadError::Damaged("audio sample entry"))?;
    Ok((channels, if sample_rate == 0 { timescale } else { sample_rate }))
}
