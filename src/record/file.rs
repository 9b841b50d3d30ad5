//! One segment on its way to disk: bytes made of plans, and what its row will say.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::segmenter::{Opening, Plan};
use crate::{
    disk::{
        Completions, Draft, Fragment, FragmentTrack, OpenSegment, Refused, SegmentWriter, Volume,
        Volumes,
    },
    footage::tables,
    hub::Position,
    id::{CameraId, Role, RunId, SegmentId, Slug, StreamId},
    model::{ClosedSegment, NewSegment, TrackStart},
    proto::{
        access_unit::{Tracks, leading_track},
        fmp4,
        reason::GapReason,
        time::WallTime,
    },
};

/// Whose segment it is.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) camera: CameraId,
    pub(super) slug: Slug,
    pub(super) stream: StreamId,
    pub(super) role: Role,
}

/// A run as recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordedRun {
    pub(super) id: RunId,
    /// The hub's.
    pub(super) live: RunId,
    pub(super) epoch: u32,
    /// Why the one before it ended.
    pub(super) previous_end: GapReason,
    /// Of its next segment.
    pub(super) next_sequence: u32,
}

/// Why a segment takes no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("hand over to the disk")]
    Refused(#[from] Refused),
    #[error("make the file's boxes")]
    Boxes(#[from] fmp4::WriteError),
}

impl WriteError {
    /// The reason of the gap that begins.
    pub(super) const fn reason(&self) -> GapReason {
        match self {
            Self::Refused(Refused::Full) => GapReason::Overload,
            Self::Refused(Refused::Stopped) => GapReason::DiskError,
            Self::Boxes(_) => GapReason::Internal,
        }
    }
}

/// From its opening until its row is complete.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) id: SegmentId,
    pub(super) run: RecordedRun,
    pub(super) first_of_run: bool,
    pub(super) start: WallTime,
    /// Where it is.
    pub(super) volume: String,
    /// The right to write; gone when closed.
    writer: Option<SegmentWriter>,
    tracks: Tracks,
    next_offset: u64,
    /// Handed to the disk, with what can be read when they are written.
    fragments: Vec<(Arc<Fragment>, Position)>,
    /// So many of them are written.
    pub(super) written: usize,
    /// Where the next segment of the run begins.
    pub(super) next_start: Option<WallTime>,
    pub(super) opened: Option<Arc<OpenSegment>>,
    /// Its row was put.
    pub(super) has_row: bool,
    /// Nothing more will be written.
    pub(super) finished: bool,
    /// Its end was taken note of.
    pub(super) ended: bool,
    /// Its run ends with it.
    pub(super) end_run: Option<GapReason>,
    /// The file could not be made.
    pub(super) gone: bool,
    /// Units that belong in it came damaged, and were dropped before the hub.
    pub(super) damaged: u64,
}

impl SegmentFile {
    pub(super) fn open(
        owner: &Owner,
        id: SegmentId,
        run: RecordedRun,
        opening: &Opening,
        volume: &Volume,
        completions: Completions,
    ) -> Result<Self, WriteError> {
        let identity = fmp4::Identity {
            segment: id.0,
            camera: owner.camera.0,
            stream: owner.stream.0,
            run: run.id.0,
            epoch: run.epoch,
            sequence: run.next_sequence,
            slug: owner.slug.to_string(),
            role: owner.role.to_string(),
            start: opening.start,
            clock_source: opening.run.clock_source.code(),
            previous_end: run.previous_end.code(),
            tracks: opening
                .tracks
                .iter()
                .map(|t| fmp4::TrackStart { first_number: t.first_number, first_dts: t.base })
                .collect(),
        };
        let tracks = Arc::clone(&opening.run.tracks);
        let header = fmp4::write_header(&identity, &tracks)?;
        let codecs: Vec<_> = tracks.iter().map(|t| t.parameters.rfc6381()).collect();
        let starts = opening.tracks.iter().map(|t| TrackStart {
            first_number: t.first_number,
            first_dts: t.base + t.file_dts,
            file_dts: t.file_dts,
        });
        let row = NewSegment {
            id,
            stream: owner.stream,
            run: run.id,
            epoch: run.epoch,
            sequence: run.next_sequence,
            start: opening.start,
            volume: String::new(),
            path: String::new(),
            codecs: codecs.join(","),
            tracks: starts.collect(),
        };
        let next_offset = header.len() as u64;
        let draft = Draft {
            row,
            camera: owner.slug.clone(),
            role: owner.role,
            tracks: Arc::clone(&tracks),
            live_run: run.live,
            header,
        };
        let writer = volume.create(draft, completions)?;
        Ok(Self {
            id,
            run,
            first_of_run: run.next_sequence == 0,
            start: opening.start,
            volume: volume.name().to_owned(),
            writer: Some(writer),
            tracks,
            next_offset,
            fragments: Vec::new(),
            written: 0,
            next_start: None,
            opened: None,
            has_row: false,
            finished: false,
            ended: false,
            end_run: None,
            gone: false,
            damaged: 0,
        })
    }

    /// Whether it takes fragments.
    pub(super) fn is_current(&self) -> bool {
        self.writer.is_some()
    }

    /// Hands one fragment to the disk.
    pub(super) fn append(&mut self, plan: &Plan, scratch: &mut BytesMut) -> Result<(), WriteError> {
        let Some(writer) = &self.writer else { return Err(Refused::Stopped.into()) };
        let parts: Vec<_> = plan
            .parts
            .iter()
            .map(|p| fmp4::FragmentTrack { track: p.track, dts: p.dts, samples: &p.samples })
            .collect();
        let sequence = u32::try_from(self.fragments.len() + 1).unwrap_or(u32::MAX);
        let payloads = || plan.parts.iter().flat_map(|p| &p.units).flat_map(|u| [&u.head, &u.body]);
        let checksum = Some(fmp4::checksum(payloads().map(|b| &b[..])));
        let head = fmp4::write_fragment(scratch, sequence, plan.wall, &parts, checksum)?;
        let payload = self.next_offset + head.len;
        let mut tracks: Vec<FragmentTrack> = plan
            .parts
            .iter()
            .map(|p| FragmentTrack { track: p.track, samples: Vec::with_capacity(p.samples.len()) })
            .collect();
        for (track, sample) in fmp4::index(&parts, payload) {
            if let Some(part) = tracks.iter_mut().find(|p| p.track == track) {
                part.samples.push(sample);
            }
        }
        let mut slices =
            Vec::with_capacity(1 + 2 * plan.parts.iter().map(|p| p.units.len()).sum::<usize>());
        slices.push(scratch.split().freeze());
        slices.extend(payloads().filter(|b| !b.is_empty()).cloned());
        let fragment = Arc::new(Fragment {
            offset: self.next_offset,
            payload: payload..payload + head.payload_len,
            key: plan.key,
            wall: plan.wall,
            end: plan.end,
            tracks,
        });
        writer.append(slices, Arc::clone(&fragment))?;
        self.next_offset = fragment.end_offset();
        self.fragments.push((fragment, plan.readable));
        Ok(())
    }

    /// Ends the file with its tail box. Completions follow.
    pub(super) fn close(&mut self, now: bool) {
        let Some(writer) = self.writer.take() else { return };
        let fragments = self.fragments.len();
        let tail = self.tail(fragments);
        self.hand_over(writer, tail, fragments, now);
    }

    /// The tail box over so many fragments.
    fn tail(&self, fragments: usize) -> Vec<Bytes> {
        let (samples, refs) = self.tables(fragments);
        let lists: Vec<&[fmp4::SampleRef]> = samples.iter().map(Vec::as_slice).collect();
        let mut tail = BytesMut::new();
        match fmp4::write_tail(&mut tail, &lists, &refs) {
            Ok(()) => vec![tail.freeze()],
            Err(error) => {
                // The segment is whole without: the tail repeats what the fragments say.
                tracing::warn!(segment = %self.id, %error, "segment closed without its tail box");
                Vec::new()
            }
        }
    }

    /// Ends the file where it is, since its disk failed: with a tail box, for which room is kept,
    /// over what was written.
    pub(super) fn abandon(&mut self) {
        if let Some(writer) = self.writer.take() {
            let tail = if self.written == 0 { Vec::new() } else { self.tail(self.written) };
            self.hand_over(writer, tail, self.written, false);
        }
    }

    fn hand_over(&mut self, writer: SegmentWriter, tail: Vec<Bytes>, fragments: usize, now: bool) {
        if writer.close(tail, fragments, now).is_err() {
            // The volume is gone and will complete nothing.
            self.finished = true;
        }
    }

    /// One more fragment was written; says up to where the hub's units can be read.
    pub(super) fn wrote_one(&mut self) -> Option<(Arc<Fragment>, Position)> {
        let next = self.fragments.get(self.written).cloned();
        self.written += usize::from(next.is_some());
        next
    }

    /// Nothing behind so many fragments is, or will be, there; says how many units that are.
    pub(super) fn keep(&mut self, kept: usize) -> u64 {
        let before = self.written;
        self.written = kept.min(before);
        let lost = self.unwritten();
        self.fragments.truncate(self.written);
        // With something missing it does not reach to where the next one begins.
        self.next_start = self.next_start.filter(|_| lost == 0);
        lost
    }

    /// Units handed over but not written.
    pub(super) fn unwritten(&self) -> u64 {
        let rest = self.fragments.get(self.written..).unwrap_or_default();
        let units = |f: &Fragment| f.tracks.iter().map(|t| t.samples.len() as u64).sum::<u64>();
        rest.iter().map(|(f, _)| units(f)).sum()
    }

    /// Where its footage ends, once it is finished; `None` when there is none.
    pub(super) fn end(&self) -> Option<WallTime> {
        let (last, _) = self.fragments.get(self.written.checked_sub(1)?)?;
        let all = self.written == self.fragments.len();
        let next = self.next_start.filter(|&next| all && next > self.start);
        Some(next.unwrap_or(last.end))
    }

    /// Its row, complete.
    pub(super) fn closed(&self, bytes: u64) -> Option<ClosedSegment> {
        let end = self.end()?;
        let leading = leading_track(&self.tracks);
        let (samples, refs) = self.tables(self.written);
        let lead = samples.get(leading.as_usize()).map_or(&[][..], Vec::as_slice);
        Some(ClosedSegment {
            id: self.id,
            end,
            bytes,
            damaged: self.damaged,
            tracks: samples.iter().map(|s| tables::totals(s)).collect(),
            keys: tables::keys(&refs, leading, lead, self.start),
        })
    }

    fn tables(&self, fragments: usize) -> (Vec<Vec<fmp4::SampleRef>>, Vec<fmp4::FragmentRef>) {
        let taken = self.fragments.iter().take(fragments).map(|(f, _)| &**f);
        tables::tables(taken, self.tracks.len())
    }

    /// Deletes a file that holds no footage.
    pub(super) async fn delete(&self, volumes: &Volumes) {
        let Some(opened) = &self.opened else { return };
        let row = &opened.opened;
        volumes.open_segments().remove(row.stream, row.id);
        if let Err(error) = volumes.remove(&row.volume, &row.path).await {
            tracing::warn!(segment.path = %row.path, %error, "cannot delete an empty segment");
        }
    }
}
