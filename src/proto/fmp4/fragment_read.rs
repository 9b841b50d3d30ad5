//! Reading `prft` and `moof`: ours, and what others may have written in the same shape (defaults in
//! `tfhd`, several `trun`). What a fragment leaves to `trex` is not looked up: it is refused.

use super::{
    Anchor, Fragment, ReadError, SampleRef,
    boxes::{BoxHeader, Child, Reader, children},
    fragment::{CHECKSUM_UUID, CHECKSUM_VERSION, IS_NOT_SYNC, tfhd, trun},
    limits,
};
use crate::proto::{
    access_unit::TrackIndex,
    time::{MediaTime, WallTime},
};

/// Reads a fragment's tables. `data` begins with the fragment's `prft` (or `moof`), which stands at
/// `offset` of the file, and reaches at least to the end of `moof`; `tracks` is how many the file
/// has. Offsets are not checked against the length of the file: [`scan`](super::scan()) does that.
pub fn read_fragment(data: &[u8], offset: u64, tracks: usize) -> Result<Fragment, ReadError> {
    read_head(data, offset, tracks).map(|(fragment, _)| fragment)
}

/// The fragment, and how many bytes of `data` come before its `mdat`.
pub(super) fn read_head(
    data: &[u8],
    offset: u64,
    tracks: usize,
) -> Result<(Fragment, u64), ReadError> {
    let mut fragment = Fragment {
        sequence: 0,
        anchor: None,
        tracks: vec![Vec::new(); tracks.min(limits::TRACKS)],
        checksum: None,
    };
    let mut rest = data;
    let mut at = 0_u64;
    loop {
        let further = |e| match e {
            ReadError::Incomplete { needed } => ReadError::Incomplete { needed: at + needed },
            e => e,
        };
        let header = BoxHeader::read(rest).map_err(further)?;
        if !matches!(&header.kind, b"prft" | b"moof" | b"styp" | b"sidx" | b"emsg" | b"free") {
            return Err(ReadError::Missing("moof"));
        }
        if at.saturating_add(header.len) > limits::HEADER {
            return Err(ReadError::TooLarge("moof"));
        }
        let (body, after) = header.split(rest).map_err(further)?;
        match &header.kind {
            b"prft" => fragment.anchor = read_prft(body, tracks),
            b"moof" => {
                let moof = offset.checked_add(at).ok_or(ReadError::Damaged("offset"))?;
                read_moof(body, moof, &mut fragment)?;
                return Ok((fragment, at + header.len));
            }
            _ => {}
        }
        at += header.len;
        rest = after;
    }
}

fn read_prft(body: &[u8], tracks: usize) -> Option<Anchor> {
    let mut reader = Reader::new(body);
    let version = reader.u32()? >> 24;
    let track = usize::try_from(reader.u32()?).ok()?.checked_sub(1).filter(|&t| t < tracks)?;
    let wall = WallTime::from_ntp(reader.u64()?);
    let pts = if version == 0 { u64::from(reader.u32()?) } else { reader.u64()? };
    Some(Anchor {
        track: TrackIndex(u8::try_from(track).ok()?),
        pts: MediaTime::from_ticks(i64::try_from(pts).ok()?),
        wall,
    })
}

/// `None` for one of a later version: then nothing is known of the payload.
fn read_checksum(mut reader: Reader<'_>) -> Option<u32> {
    reader.u8().filter(|&version| version == CHECKSUM_VERSION)?;
    reader.u32()
}

fn read_moof(body: &[u8], moof: u64, fragment: &mut Fragment) -> Result<(), ReadError> {
    let mut left = limits::FRAGMENT_SAMPLES;
    for child in children(body) {
        let Child { kind, body, .. } = child?;
        match &kind {
            b"mfhd" => {
                let mut reader = Reader::new(body);
                reader.u32();
                fragment.sequence = reader.u32().ok_or(ReadError::Damaged("mfhd"))?;
            }
            b"traf" => read_traf(body, moof, &mut left, &mut fragment.tracks)?,
            b"uuid" => {
                let own = body.strip_prefix(&CHECKSUM_UUID).map(Reader::new);
                fragment.checksum = own.and_then(read_checksum).or(fragment.checksum);
            }
            _ => {}
        }
    }
    Ok(())
}

/// What `tfhd` says for samples that do not say it themselves.
#[derive(Default)]
struct Defaults {
    duration: Option<u32>,
    size: Option<u32>,
    flags: Option<u32>,
}

fn read_traf(
    body: &[u8],
    moof: u64,
    left: &mut usize,
    tracks: &mut [Vec<SampleRef>],
) -> Result<(), ReadError> {
    const TFHD: ReadError = ReadError::Damaged("tfhd");
    let mut samples = None;
    let mut defaults = Defaults::default();
    let mut dts = None;
    for child in children(body) {
        let Child { kind, body, .. } = child?;
        let mut reader = Reader::new(body);
        match &kind {
            b"tfhd" => {
                let flags = reader.u32().ok_or(TFHD)?;
                let id = reader.u32().ok_or(TFHD)?;
                let track =
                    usize::try_from(id).ok().and_then(|id| tracks.get_mut(id.checked_sub(1)?));
                samples = Some(track.ok_or(ReadError::Damaged("track id"))?);
                if flags & tfhd::BASE_DATA_OFFSET != 0 || flags & tfhd::BASE_IS_MOOF == 0 {
                    return Err(ReadError::Damaged("base of data offsets"));
                }
                let mut field = |bit| {
                    if flags & bit == 0 { Ok(None) } else { reader.u32().ok_or(TFHD).map(Some) }
                };
                field(tfhd::DESCRIPTION)?;
                defaults.duration = field(tfhd::DURATION)?;
                defaults.size = field(tfhd::SIZE)?;
                defaults.flags = field(tfhd::FLAGS)?;
            }
            b"tfdt" => {
                let version = reader.u32().map(|word| word >> 24);
                let ticks = match version {
                    Some(0) => reader.u32().map(i64::from),
                    _ => reader.u64().and_then(|ticks| i64::try_from(ticks).ok()),
                };
                // As when writing: room for the durations.
                let ticks = ticks.filter(|&ticks| ticks < 1 << 62);
                dts = Some(ticks.ok_or(ReadError::Damaged("tfdt"))?);
            }
            b"trun" => {
                let samples = samples.as_deref_mut().ok_or(ReadError::Missing("tfhd"))?;
                let dts = dts.as_mut().ok_or(ReadError::Missing("tfdt"))?;
                read_trun(reader, moof, &defaults, dts, left, samples)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_trun(
    mut reader: Reader<'_>,
    moof: u64,
    defaults: &Defaults,
    dts: &mut i64,
    left: &mut usize,
    samples: &mut Vec<SampleRef>,
) -> Result<(), ReadError> {
    const DAMAGED: ReadError = ReadError::Damaged("trun");
    let flags = reader.u32().ok_or(DAMAGED)?;
    let count = reader.u32().and_then(|count| usize::try_from(count).ok()).ok_or(DAMAGED)?;
    let has = |bit| flags & bit != 0;
    if !has(trun::DATA_OFFSET) {
        return Err(ReadError::Missing("data offset"));
    }
    let data_offset = reader.i32().ok_or(DAMAGED)?;
    let mut offset = moof.checked_add_signed(i64::from(data_offset)).ok_or(DAMAGED)?;
    let mut first_flags =
        if has(trun::FIRST_FLAGS) { Some(reader.u32().ok_or(DAMAGED)?) } else { None };
    let fields = [trun::DURATION, trun::SIZE, trun::FLAGS, trun::CTS];
    let sample_len = 4 * fields.into_iter().filter(|&bit| has(bit)).count();
    // Samples that take no byte here (all by default) are bounded by the limit alone.
    if count > *left {
        return Err(ReadError::TooLarge("number of units in a fragment"));
    }
    if reader.remaining() / sample_len.max(1) < count && sample_len > 0 {
        return Err(DAMAGED);
    }
    *left -= count;
    samples.reserve(count);
    for _ in 0..count {
        let mut field = |bit, default: Option<u32>| {
            if has(bit) { reader.u32() } else { default }
        };
        let duration = field(trun::DURATION, defaults.duration);
        let size = field(trun::SIZE, defaults.size);
        let own_flags = field(trun::FLAGS, defaults.flags);
        let cts = field(trun::CTS, Some(0)).ok_or(DAMAGED)?.cast_signed();
        let flags = first_flags.take().or(own_flags).ok_or(ReadError::Missing("sample flags"))?;
        let sample = SampleRef {
            dts: MediaTime::from_ticks(*dts),
            duration: duration.ok_or(ReadError::Missing("sample duration"))?,
            cts,
            sync: flags & IS_NOT_SYNC == 0,
            offset,
            size: size.ok_or(ReadError::Missing("sample size"))?,
        };
        *dts += i64::from(sample.duration);
        offset = offset.checked_add(u64::from(sample.size)).ok_or(DAMAGED)?;
        samples.push(sample);
    }
    Ok(())
}
