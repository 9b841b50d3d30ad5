//! One segment as a reader sees it: where each unit lies and when it was.
//!
//! A closed segment's tables come from its tail box with two reads (header, tail), from a walk over
//! its fragments when the tail is missing or damaged; an open one's from the registry of `disk/`.
//!
//! # Times
//!
//! Everything is compared on the file's own clock: sample times as spans since the file's time 0,
//! which is the same moment on all tracks. Wall time is that span put behind the segment's start,
//! the capture time of its first key frame; a segment is short, so drift has no room in it.

use std::{io, ops::Range, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;

use crate::{
    disk::{OpenSegment, SegmentReader, Volumes},
    hub,
    id::{RunId, SegmentId, StreamId},
    model,
    proto::{
        access_unit::{AccessUnit, TrackIndex, Tracks, leading_track},
        fmp4::{self, Header, SampleRef, Tail},
        reason::GapReason,
        time::{MediaTime, WallSpan, WallTime},
    },
};

/// Bounds of one read.
pub(super) mod limits {
    /// First try at a header: many times what one takes.
    pub(in super::super) const HEADER: u64 = 16 << 10;
    /// First try at a tail box: that of a minute of video and sound mostly fits.
    pub(in super::super) const TAIL: u64 = 64 << 10;
}

/// Why a segment cannot be played. It is passed over like a gap.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Open(#[from] crate::disk::ReadError),
    #[error("read segment file")]
    Io(#[from] io::Error),
    #[error("segment header")]
    Header(#[from] fmp4::ReadError),
    #[error("the file is another segment's")]
    Stranger,
}

/// What is known of a segment, without its open file.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) id: SegmentId,
    pub(super) stream: StreamId,
    pub(super) run: RunId,
    pub(super) epoch: u32,
    /// Capture time of the first key frame.
    pub(super) start: WallTime,
    pub(super) tracks: Tracks,
    pub(super) leading: TrackIndex,
    clock_source: hub::ClockSource,
    previous_end: GapReason,
    /// By track: number of the first sample, run time of the file's time 0.
    zero: Vec<fmp4::TrackStart>,
    tables: Vec<Vec<SampleRef>>,
    /// Where fragments keep their payload, in order.
    payloads: Vec<Range<u64>>,
    /// Presentation of the first key frame on the file's clock.
    first_key: WallSpan,
}

/// A segment that can be read.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) index: Arc<Index>,
    pub(super) file: SegmentReader,
    /// Set while the registry knows it: it may grow.
    pub(super) open: Option<Arc<OpenSegment>>,
}

impl Index {
    /// Samples of a track, none when there is no such track.
    pub(super) fn samples(&self, track: TrackIndex) -> &[SampleRef] {
        self.tables.get(track.as_usize()).map_or(&[], Vec::as_slice)
    }

    fn span(&self, track: TrackIndex, time: MediaTime) -> WallSpan {
        let timescale = self.tracks.get(track.as_usize()).map(|t| t.timescale);
        timescale.map_or(WallSpan::ZERO, |ts| time.to_span(ts))
    }

    fn wall_at(&self, track: TrackIndex, time: MediaTime) -> WallTime {
        self.start + (self.span(track, time) - self.first_key)
    }

    /// When it was captured.
    pub(super) fn wall(&self, track: TrackIndex, sample: &SampleRef) -> WallTime {
        self.wall_at(track, sample.pts())
    }

    /// Its decoding time on the wall clock: the order of delivery.
    pub(super) fn dts_wall(&self, track: TrackIndex, sample: &SampleRef) -> WallTime {
        self.wall_at(track, sample.dts)
    }

    /// When its picture or sound is over.
    pub(super) fn end_wall(&self, track: TrackIndex, sample: &SampleRef) -> WallTime {
        let length = MediaTime::from_ticks(i64::from(sample.duration));
        self.wall_at(track, sample.pts() + length)
    }

    pub(super) fn number(&self, track: TrackIndex, at: usize) -> u64 {
        let first = self.zero.get(track.as_usize()).map_or(0, |z| z.first_number);
        first.saturating_add(at as u64)
    }

    /// Index of the first sample with this number or a higher one.
    pub(super) fn at_number(&self, track: TrackIndex, number: u64) -> usize {
        let first = self.zero.get(track.as_usize()).map_or(0, |z| z.first_number);
        let at = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        at.min(self.samples(track).len())
    }

    /// Index of the first sample presented at `wall` or later.
    pub(super) fn at_wall(&self, track: TrackIndex, wall: WallTime) -> usize {
        let samples = self.samples(track);
        samples.iter().position(|s| self.wall(track, s) >= wall).unwrap_or(samples.len())
    }

    /// The key frame of the leading track at or before `wall`, but not before `from`; else the
    /// first one from `from` on.
    pub(super) fn key_for(&self, wall: WallTime, from: WallTime) -> Option<usize> {
        let track = self.leading;
        let keys = self.samples(track).iter().enumerate().filter(|(_, s)| s.sync);
        let mut keys =
            keys.map(|(at, s)| (at, self.wall(track, s))).filter(|(_, key)| *key >= from);
        let first = keys.next()?;
        let last = keys.take_while(|(_, key)| *key <= wall).last();
        Some(last.unwrap_or(first).0)
    }

    /// The sample as the unit that was published, given its bytes.
    pub(super) fn unit(
        &self,
        track: TrackIndex,
        at: usize,
        sample: &SampleRef,
        body: Bytes,
    ) -> AccessUnit {
        let zero = self.zero.get(track.as_usize()).map_or(MediaTime::ZERO, |z| z.first_dts);
        AccessUnit {
            track,
            number: self.number(track, at),
            dts: zero + sample.dts,
            cts: sample.cts,
            wall: self.wall(track, sample),
            random_access: sample.sync,
            head: Bytes::new(),
            body,
        }
    }

    /// The run of its units; its `started` is reckoned from this segment.
    pub(super) fn run(&self) -> hub::Run {
        let zero = self.zero.get(self.leading.as_usize()).map_or(MediaTime::ZERO, |z| z.first_dts);
        hub::Run {
            id: self.run,
            stream: self.stream,
            epoch: self.epoch,
            started: self.start - (self.first_key + self.span(self.leading, zero)),
            clock_source: self.clock_source,
            previous_end: self.previous_end,
            tracks: Arc::clone(&self.tracks),
        }
    }

    /// The fragments that hold `offset` and, with `more`, those after it up to that many bytes in
    /// all; `None` when no fragment holds it.
    pub(super) fn payload_at(&self, offset: u64, more: u64) -> Option<Range<u64>> {
        let at = self.payloads.partition_point(|p| p.end <= offset);
        let mut range = self.payloads.get(at).filter(|p| p.start <= offset)?.clone();
        for next in self.payloads.get(at + 1..).unwrap_or_default() {
            if next.end.saturating_sub(range.start) > more {
                break;
            }
            range.end = next.end;
        }
        Some(range)
    }

    /// Takes over fragments of an open segment.
    fn add(&mut self, fragments: &[Arc<crate::disk::Fragment>]) {
        for fragment in fragments {
            self.payloads.push(fragment.payload.clone());
            for part in &fragment.tracks {
                let Some(table) = self.tables.get_mut(part.track.as_usize()) else { continue };
                table.extend(part.samples.iter().map(|s| SampleRef {
                    dts: s.dts,
                    duration: s.duration,
                    cts: s.cts,
                    sync: s.sync,
                    offset: s.offset,
                    size: s.size,
                }));
            }
        }
        self.find_first_key();
    }

    fn find_first_key(&mut self) {
        if let Some(first) = self.samples(self.leading).first() {
            self.first_key = self.span(self.leading, first.pts());
        }
    }
}

impl Segment {
    /// From the registry. A file that cannot be opened any more is unreadable.
    pub(super) async fn growing(open: Arc<OpenSegment>) -> Result<Self, Unreadable> {
        let file = open.reader().await?;
        let opened = &open.opened;
        let zero = opened.tracks.iter().map(|t| fmp4::TrackStart {
            first_number: t.first_number,
            first_dts: t.first_dts - t.file_dts,
        });
        let mut index = Index {
            id: opened.id,
            stream: opened.stream,
            run: opened.run,
            epoch: opened.epoch,
            start: opened.start,
            tracks: Arc::clone(&open.tracks),
            leading: leading_track(&open.tracks),
            clock_source: hub::ClockSource::Arrival,
            previous_end: GapReason::Starting,
            zero: zero.collect(),
            tables: vec![Vec::new(); open.tracks.len()],
            payloads: Vec::new(),
            first_key: WallSpan::ZERO,
        };
        index.add(&open.fragments(0));
        Ok(Self { index: Arc::new(index), file, open: Some(open) })
    }

    /// Takes over what was written since; whether there was something.
    pub(super) fn grow(&mut self) -> bool {
        let Some(open) = &self.open else { return false };
        let fragments = open.fragments(self.index.payloads.len());
        if fragments.is_empty() {
            return false;
        }
        Arc::make_mut(&mut self.index).add(&fragments);
        true
    }

    /// The hub's name for its run, where that is known.
    pub(super) fn live_run(&self) -> Option<RunId> {
        self.open.as_ref().map(|o| o.live_run)
    }
}

/// Reads header and tables of a whole file.
pub(super) async fn load(
    volumes: &Volumes,
    row: &model::NewSegment,
    file: &SegmentReader,
) -> Result<Index, Unreadable> {
    let len = file.len().await?;
    let header = read_header(file, len).await?;
    if header.identity.segment != row.id.0 {
        return Err(Unreadable::Stranger);
    }
    let tables = match read_tail(file, len).await? {
        Some(tail) if fits(&tail, &header, len) => tail,
        _ => scan(volumes, row, len).await?,
    };
    Ok(index(row.stream, header, tables))
}

async fn read_header(file: &SegmentReader, len: u64) -> Result<Header, Unreadable> {
    let mut wanted = limits::HEADER;
    loop {
        let bytes = file.read_at(0, as_len(wanted.min(len))).await?;
        match fmp4::read_header(&bytes) {
            Err(fmp4::ReadError::Incomplete { needed })
                if needed > bytes.len() as u64 && needed <= len.min(fmp4::limits::HEADER) =>
            {
                wanted = needed;
            }
            other => return Ok(other?),
        }
    }
}

/// `None`: there is none, or none that can be believed.
async fn read_tail(file: &SegmentReader, len: u64) -> Result<Option<Tail>, Unreadable> {
    let mut wanted = limits::TAIL.min(len);
    loop {
        let bytes = file.read_at(len - wanted, as_len(wanted)).await?;
        match fmp4::tail_len(&bytes) {
            Some(all) if all > len || all > fmp4::limits::TAIL => return Ok(None),
            Some(all) if all > wanted => wanted = all,
            Some(_) => return Ok(fmp4::read_tail(&bytes).ok()),
            None => return Ok(None),
        }
    }
}

/// Whether tables speak of this file: a table that does not is damaged, and a read by it would
/// bring another unit's bytes.
fn fits(tail: &Tail, header: &Header, len: u64) -> bool {
    tail.tracks.len() == header.tracks.len()
        && tail
            .tracks
            .iter()
            .flatten()
            .all(|s| s.offset >= header.len && s.offset.saturating_add(u64::from(s.size)) <= len)
}

/// The walk over all fragments: some preads, so on a blocking thread as a whole.
async fn scan(volumes: &Volumes, row: &model::NewSegment, len: u64) -> Result<Tail, Unreadable> {
    let path = volumes.absolute(&row.volume, &row.path)?;
    let walk = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(path)?;
        fmp4::scan(len, |offset, buffer| file.read_exact_at(buffer, offset))
    });
    Ok(walk.await.map_err(io::Error::other)??.tables)
}

fn index(stream: StreamId, header: Header, tail: Tail) -> Index {
    let Header { identity, tracks, .. } = header;
    let mut index = Index {
        id: SegmentId(identity.segment),
        stream,
        run: RunId(identity.run),
        epoch: identity.epoch,
        start: identity.start,
        leading: leading_track(&tracks),
        tracks,
        clock_source: hub::ClockSource::Arrival,
        previous_end: GapReason::from_code(identity.previous_end).unwrap_or(GapReason::Internal),
        zero: identity.tracks,
        payloads: payloads(&tail),
        tables: tail.tracks,
        first_key: WallSpan::ZERO,
    };
    index.find_first_key();
    index
}

/// From the first to the last byte of the samples of each fragment.
fn payloads(tail: &Tail) -> Vec<Range<u64>> {
    let mut ranges: Vec<Option<Range<u64>>> = vec![None; tail.fragments.len().max(1)];
    for sample in tail.tracks.iter().flatten() {
        let at = tail.fragments.partition_point(|f| f.offset <= sample.offset).saturating_sub(1);
        let end = sample.offset.saturating_add(u64::from(sample.size));
        if let Some(range) = ranges.get_mut(at) {
            let range = range.get_or_insert(sample.offset..end);
            range.start = range.start.min(sample.offset);
            range.end = range.end.max(end);
        }
    }
    ranges.into_iter().flatten().collect()
}

/// A length that was bounded by a limit or a file read; beyond memory it fails when read.
fn as_len(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
