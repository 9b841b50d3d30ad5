//! The identity box, a `uuid` in `moov`: from these alone the index is built again.
//!
//! # Layout
//!
//! ```text
//! version u8 | fields: (tag u8, length u16, value)*
//! ```
//!
//! A reader passes over tags it does not know and takes a default for fields that may be absent.
//! So new fields need no new version; that is raised only when an old reader would misunderstand
//! the file, and it then refuses. Tags are never reused. Numbers are big-endian.

use super::{
    ReadError, WriteError,
    boxes::{Reader, put_box},
    limits,
};
use crate::proto::time::{MediaTime, WallTime};

/// Marks the box as ours; made up once, never to change.
pub(super) const UUID: [u8; 16] = [
    0x5e, 0x8d, 0x1c, 0x52, 0x0b, 0x1f, 0x4d, 0x3a, 0x9c, 0x76, 0x1d, 0x53, 0xf4, 0x0e, 0x2a, 0x91,
];

const VERSION: u8 = 1;

mod tag {
    pub(super) const SEGMENT: u8 = 1;
    pub(super) const CAMERA: u8 = 2;
    pub(super) const STREAM: u8 = 3;
    pub(super) const RUN: u8 = 4;
    pub(super) const EPOCH: u8 = 5;
    pub(super) const SEQUENCE: u8 = 6;
    pub(super) const SLUG: u8 = 7;
    pub(super) const ROLE: u8 = 8;
    pub(super) const START: u8 = 9;
    pub(super) const CLOCK_SOURCE: u8 = 10;
    pub(super) const PREVIOUS_END: u8 = 11;
    pub(super) const TRACKS: u8 = 12;
}

/// What a segment file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This segment.
    pub segment: i64,
    /// Its camera.
    pub camera: i64,
    /// Its stream.
    pub stream: i64,
    /// Its run.
    pub run: i64,
    /// Counts steps back of the recorder's clock.
    pub epoch: u32,
    /// Place in the run, from 0.
    pub sequence: u32,
    /// What people call the camera.
    pub slug: String,
    /// The stream's role: `main`, `sub`.
    pub role: String,
    /// When the segment begins on the recorder's clock.
    pub start: WallTime,
    /// Code of what the run's times rest on; 0 when not known.
    pub clock_source: u8,
    /// Code of why the run before ended; 0 when not known.
    pub previous_end: u8,
    /// One for each track, in the order of the file's tracks.
    pub tracks: Vec<TrackStart>,
}

/// How a track of the file joins its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackStart {
    /// Number in the run of the track's first unit in the file.
    pub first_number: u64,
    /// Run time of the file's time 0 on this track. A unit's time in the file is its run DTS minus
    /// this, and never negative. To keep picture and sound in step in any player, it is the same
    /// moment on all tracks: the leading track's first DTS (or less), converted.
    pub first_dts: MediaTime,
}

impl Identity {
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        if self.slug.len() > limits::NAME || self.role.len() > limits::NAME {
            return Err(WriteError::TooLarge("name"));
        }
        let mut tracks = Vec::with_capacity(self.tracks.len() * 16);
        for track in &self.tracks {
            tracks.extend_from_slice(&track.first_number.to_be_bytes());
            tracks.extend_from_slice(&track.first_dts.ticks().to_be_bytes());
        }
        put_box(out, b"uuid", |out| {
            out.extend_from_slice(&UUID);
            out.push(VERSION);
            let mut field = |tag: u8, value: &[u8]| {
                let len =
                    u16::try_from(value.len()).map_err(|_| WriteError::TooLarge("identity"))?;
                out.push(tag);
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(value);
                Ok(())
            };
            field(tag::SEGMENT, &self.segment.to_be_bytes())?;
            field(tag::CAMERA, &self.camera.to_be_bytes())?;
            field(tag::STREAM, &self.stream.to_be_bytes())?;
            field(tag::RUN, &self.run.to_be_bytes())?;
            field(tag::EPOCH, &self.epoch.to_be_bytes())?;
            field(tag::SEQUENCE, &self.sequence.to_be_bytes())?;
            field(tag::SLUG, self.slug.as_bytes())?;
            field(tag::ROLE, self.role.as_bytes())?;
            field(tag::START, &self.start.as_micros().to_be_bytes())?;
            field(tag::CLOCK_SOURCE, &[self.clock_source])?;
            field(tag::PREVIOUS_END, &[self.previous_end])?;
            field(tag::TRACKS, &tracks)
        })
    }

    /// Reads the box's body; `None` when the `uuid` is someone else's.
    pub(super) fn read(body: &[u8]) -> Option<Result<Self, ReadError>> {
        let payload = body.strip_prefix(&UUID)?;
        Some(Self::read_fields(payload))
    }

    fn read_fields(payload: &[u8]) -> Result<Self, ReadError> {
        const DAMAGED: ReadError = ReadError::Damaged("identity");
        let mut reader = Reader::new(payload);
        let version = reader.u8().ok_or(DAMAGED)?;
        if version > VERSION {
            return Err(ReadError::Newer(version));
        }
        let mut id: [Option<i64>; 4] = [None; 4];
        let [segment, camera, stream, run] = &mut id;
        let (mut epoch, mut sequence, mut start) = (None, None, None);
        let (mut slug, mut role) = (None, None);
        let (mut clock_source, mut previous_end) = (0, 0);
        let mut tracks = None;
        while reader.remaining() > 0 {
            let (tag, len) = reader.u8().zip(reader.u16()).ok_or(DAMAGED)?;
            let value = reader.bytes(usize::from(len)).ok_or(DAMAGED)?;
            let mut v = Reader::new(value);
            match tag {
                tag::SEGMENT => *segment = v.i64(),
                tag::CAMERA => *camera = v.i64(),
                tag::STREAM => *stream = v.i64(),
                tag::RUN => *run = v.i64(),
                tag::EPOCH => epoch = v.u32(),
                tag::SEQUENCE => sequence = v.u32(),
                tag::SLUG => slug = name(value),
                tag::ROLE => role = name(value),
                tag::START => start = v.i64().map(WallTime::from_micros),
                tag::CLOCK_SOURCE => clock_source = v.u8().unwrap_or(0),
                tag::PREVIOUS_END => previous_end = v.u8().unwrap_or(0),
                tag::TRACKS => tracks = read_tracks(v),
                _ => {}
            }
        }
        let [segment, camera, stream, run] = id.map(|id| id.ok_or(DAMAGED));
        Ok(Self {
            segment: segment?,
            camera: camera?,
            stream: stream?,
            run: run?,
            epoch: epoch.ok_or(DAMAGED)?,
            sequence: sequence.ok_or(DAMAGED)?,
            slug: slug.ok_or(DAMAGED)?,
            role: role.ok_or(DAMAGED)?,
            start: start.ok_or(DAMAGED)?,
            clock_source,
            previous_end,
            tracks: tracks.ok_or(DAMAGED)?,
        })
    }
}

fn name(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= limits::NAME)?;
    Some(text.to_owned())
}

fn read_tracks(mut value: Reader<'_>) -> Option<Vec<TrackStart>> {
    let count = value.remaining() / 16;
    if count > limits::TRACKS {
        return None;
    }
    (0..count)
        .map(|_| {
            let (first_number, first_dts) = (value.u64()?, MediaTime::from_ticks(value.i64()?));
            Some(TrackStart { first_number, first_dts })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            segment: 1,
            camera: -2,
            stream: i64::MAX,
            run: 4,
            epoch: 5,
            sequence: 6,
            slug: "front-door".to_owned(),
            role: "main".to_owned(),
            start: WallTime::from_micros(1_795_341_600_000_001),
            clock_source: 1,
            previous_end: 15,
            tracks: vec![TrackStart { first_number: 7, first_dts: MediaTime::from_ticks(-3_000) }],
        }
    }

    fn written(identity: &Identity) -> Vec<u8> {
        let mut out = Vec::new();
        identity.write(&mut out).expect("fits");
        out.split_off(8)
    }

    #[test]
    fn an_identity_is_read_back() {
        assert_eq!(Identity::read(&written(&identity())), Some(Ok(identity())));
    }

    #[test]
    fn fields_of_a_later_program_are_passed_over() {
        let mut body = written(&identity());
        body.extend_from_slice(&[200, 0, 3, 1, 2, 3]);
        assert_eq!(Identity::read(&body), Some(Ok(identity())));
    }

    #[test]
    fn a_newer_version_is_refused_by_its_number() {
        let mut body = written(&identity());
        body[16] = 2;
        assert_eq!(Identity::read(&body), Some(Err(ReadError::Newer(2))));
    }

    #[test]
    fn another_makers_box_is_none_of_ours() {
        assert_eq!(Identity::read(&[0; 40]), None);
    }

    #[test]
    fn an_identity_cut_off_anywhere_is_damaged() {
        let body = written(&identity());
        for len in 16..body.len() {
            assert_eq!(
                Identity::read(&body[..len]),
                Some(Err(ReadError::Damaged("identity"))),
                "cut at {len}"
            );
        }
    }
}
