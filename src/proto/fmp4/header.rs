//! `ftyp` and `moov`.

use bytes::Bytes;
use mp4_atom::{
    Atom, Decode, Dinf, Dref, DrefEntry, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mvhd, Smhd, Stco, Stsc,
    Stsz, Stts, Tkhd, Trex, Url, Vmhd,
};

use super::{
    Identity, ReadError, WriteError,
    boxes::{BoxHeader, Child, Reader, child, children, put_box},
    entry, fragment, limits,
};
use crate::proto::{
    access_unit::{Track, Tracks},
    time::{Timescale, WallTime},
};

/// Seconds from 1904-01-01, where the format's clock begins, to 1970-01-01.
const MP4_UNIX_OFFSET: i64 = 2_082_844_800;

/// Milliseconds: nothing in a fragmented file hangs on the movie's own timescale.
const MOVIE_TIMESCALE: u32 = 1_000;

/// What stands before the first fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose footage it is.
    pub identity: Identity,
    /// Its tracks; [`TrackIndex`](crate::proto::access_unit::TrackIndex) counts them.
    pub tracks: Tracks,
    /// Bytes of `ftyp` and `moov`: the first fragment begins here.
    pub len: u64,
}

/// The bytes before the first fragment.
pub fn write_header(identity: &Identity, tracks: &[Track]) -> Result<Bytes, WriteError> {
    if tracks.len() > limits::TRACKS {
        return Err(WriteError::TooLarge("number of tracks"));
    }
    if tracks.is_empty() || identity.tracks.len() != tracks.len() {
        return Err(WriteError::Invalid("the identity must have an entry for each track"));
    }
    let created = mp4_time(identity.start);
    let mut out = Vec::with_capacity(2_048);
    let brand = |name: &[u8; 4]| FourCC::new(name);
    put(
        &Ftyp {
            // default-base-is-moof is iso5's, `tfdt` and signed composition offsets iso6's.
            major_brand: brand(b"iso6"),
            minor_version: 0,
            compatible_brands: [b"iso6", b"cmfc", b"isom", b"mp41"].map(brand).into(),
        },
        "ftyp",
        &mut out,
    )?;
    put_box(&mut out, b"moov", |out| {
        let mvhd = Mvhd {
            creation_time: created,
            modification_time: created,
            timescale: MOVIE_TIMESCALE,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: fragment::track_id(tracks.len()),
            ..Mvhd::default()
        };
        put(&mvhd, "mvhd", out)?;
        for (index, track) in tracks.iter().enumerate() {
            put_box(out, b"trak", |out| write_track(index, track, created, out))?;
        }
        put_box(out, b"mvex", |out| {
            (0..tracks.len()).try_for_each(|index| {
                let trex = Trex {
                    track_id: fragment::track_id(index),
                    default_sample_description_index: 1,
                    ..Trex::default()
                };
                put(&trex, "trex", out)
            })
        })?;
        identity.write(out)
    })?;
    if out.len() as u64 > limits::HEADER {
        return Err(WriteError::TooLarge("header"));
    }
    Ok(out.into())
}

fn put(atom: &impl Encode, name: &'static str, out: &mut Vec<u8>) -> Result<(), WriteError> {
    atom.encode(out).map_err(|_| WriteError::Encode(name))
}

fn mp4_time(at: WallTime) -> u64 {
    u64::try_from(at.as_micros().div_euclid(1_000_000) + MP4_UNIX_OFFSET).unwrap_or(0)
}

fn write_track(
    index: usize,
    track: &Track,
    created: u64,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let video = track.parameters.is_video();
    let (width, height) = track.parameters.dimensions().unwrap_or_default();
    let pixels = |n: u32| u16::try_from(n).unwrap_or(u16::MAX).into();
    let tkhd = Tkhd {
        creation_time: created,
        modification_time: created,
        track_id: fragment::track_id(index),
        enabled: true,
        in_movie: true,
        volume: u8::from(!video).into(),
        width: pixels(width),
        height: pixels(height),
        ..Tkhd::default()
    };
    put(&tkhd, "tkhd", out)?;
    put_box(out, b"mdia", |out| {
        let mdhd = Mdhd {
            creation_time: created,
            modification_time: created,
            timescale: track.timescale.get(),
            duration: 0,
            language: "und".to_owned(),
        };
        put(&mdhd, "mdhd", out)?;
        let (handler, name) = if video { (b"vide", "video") } else { (b"soun", "sound") };
        put(&Hdlr { handler: FourCC::new(handler), name: name.to_owned() }, "hdlr", out)?;
        put_box(out, b"minf", |out| {
            if video {
                put(&Vmhd::default(), "vmhd", out)?;
            } else {
                put(&Smhd::default(), "smhd", out)?;
            }
            let in_this_file = DrefEntry::Url(Url::default());
            put(&Dinf { dref: Dref { entries: vec![in_this_file] } }, "dinf", out)?;
            put_box(out, b"stbl", |out| {
                put_box(out, b"stsd", |out| {
                    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]); // version, flags; one entry
                    entry::write(track, out)
                })?;
                put(&Stts::default(), "stts", out)?;
                put(&Stsc::default(), "stsc", out)?;
                put(&Stsz::default(), "stsz", out)?;
                put(&Stco::default(), "stco", out)
            })
        })
    })
}

/// Reads the header from the start of a file; `data` may go on beyond it.
pub fn read_header(data: &[u8]) -> Result<Header, ReadError> {
    let mut rest = data;
    let mut at = 0_u64;
    loop {
        let further = |e| match e {
            ReadError::Incomplete { needed } => ReadError::Incomplete { needed: at + needed },
            e => e,
        };
        let header = BoxHeader::read(rest).map_err(further)?;
        if (at == 0) != (header.kind == *b"ftyp") {
            return Err(ReadError::Missing("ftyp"));
        }
        if at.saturating_add(header.len) > limits::HEADER {
            return Err(ReadError::TooLarge("header"));
        }
        let (body, after) = header.split(rest).map_err(further)?;
        at += header.len;
        rest = after;
        match &header.kind {
            b"moov" => return read_moov(body, at),
            b"moof" | b"mdat" => return Err(ReadError::Missing("moov")),
            _ => {}
        }
    }
}

fn read_moov(moov: &[u8], len: u64) -> Result<Header, ReadError> {
    let mut identity = None;
    let mut tracks = Vec::new();
    for child in children(moov) {
        let Child { kind, body, .. } = child?;
        match &kind {
            b"trak" if tracks.len() == limits::TRACKS => {
                return Err(ReadError::TooLarge("number of tracks"));
            }
            b"trak" => tracks.push(read_track(tracks.len(), body)?),
            b"uuid" if identity.is_none() => identity = Identity::read(body).transpose()?,
            _ => {}
        }
    }
    let identity = identity.ok_or(ReadError::Missing("identity"))?;
    if tracks.is_empty() || identity.tracks.len() != tracks.len() {
        return Err(ReadError::Damaged("number of tracks"));
    }
    Ok(Header { identity, tracks: tracks.into(), len })
}

fn read_track(index: usize, trak: &[u8]) -> Result<Track, ReadError> {
    let tkhd: Tkhd = leaf(trak, "tkhd")?;
    if tkhd.track_id != fragment::track_id(index) {
        return Err(ReadError::Damaged("track id"));
    }
    let mdia = child(trak, b"mdia", "mdia")?.body;
    let mdhd: Mdhd = leaf(mdia, "mdhd")?;
    let timescale = Timescale::new(mdhd.timescale).ok_or(ReadError::Damaged("timescale"))?;
    let minf = child(mdia, b"minf", "minf")?.body;
    let stbl = child(minf, b"stbl", "stbl")?.body;
    let stsd = child(stbl, b"stsd", "stsd")?.body;
    let mut reader = Reader::new(stsd);
    if reader.u32().is_none() || reader.u32() != Some(1) {
        return Err(ReadError::Damaged("stsd"));
    }
    let entry = children(stsd.get(8..).unwrap_or_default()).next();
    let entry = entry.ok_or(ReadError::Missing("sample entry"))??;
    Ok(Track { timescale, parameters: entry::read(entry, timescale.get())? })
}

/// One of mp4-atom's boxes inside `parent`.
fn leaf<T: Atom>(parent: &[u8], name: &'static str) -> Result<T, ReadError> {
    let kind: [u8; 4] = T::KIND.into();
    let child = child(parent, &kind, name)?;
    T::decode(&mut &*child.whole).map_err(|_| ReadError::Damaged(name))
}
