//! The door to recorded footage: makes timelines, clips and readers.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    BadToken, Clip, Reader, Result, Timeline,
    clip::Frozen,
    find::Place,
    npt::{NptMap, Stretch},
    segment::Index,
    timeline::{Piece, visible},
};
use crate::{
    clock::Clock,
    disk::{Leases, Volumes},
    hub::Hub,
    id::StreamId,
    model::{RunRow, WallRange},
    proto::{
        access_unit::{Track, Tracks},
        time::{WallSpan, WallTime},
    },
    store::Store,
};

/// Bounds, each far above what sound use needs.
pub(super) mod limits {
    /// Rows of one range: a camera that reconnects each minute for two months.
    pub(in super::super) const RUNS: u32 = 100_000;
    /// Rows asked for at once while looking for a segment.
    pub(in super::super) const PAGE: u32 = 16;
    /// Runs whose codec is looked up when a clip is made; beyond, the reader notices.
    pub(in super::super) const CODEC_CHECKS: usize = 256;
    /// Codecs remembered (40 bytes each).
    pub(in super::super) const CODECS: usize = 8_192;
    /// Tables of segments kept (some 200 KB each).
    pub(in super::super) const INDEXES: usize = 32;
    /// Clips kept by token.
    pub(in super::super) const CLIPS: usize = 256;
}

const BEGINNING: WallTime = WallTime::from_micros(0);
pub(super) const FOREVER: WallTime = WallTime::from_micros(i64::MAX);

/// What of a stream's archive is wanted; nothing set is all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// From here.
    pub start: Option<WallTime>,
    /// To here; may be in the future.
    pub end: Option<WallTime>,
}

/// Recorded footage of all streams. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) volumes: Arc<Volumes>,
    hub: Arc<Hub>,
    clock: Clock,
    kept: Mutex<Kept>,
    pub(super) vanished: AtomicU64,
}

/// What is remembered so that it is not read again. Guards pushes and clones of `Arc`s, never held
/// over an await.
#[derive(Default)]
pub(super) struct Kept {
    /// Newest last.
    pub(super) indexes: VecDeque<Arc<Index>>,
    clips: VecDeque<(String, Arc<Clip>)>,
    /// Codecs of the footage that begins there.
    codecs: HashMap<(StreamId, WallTime), String>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}

impl Archive {
    /// Over an index, the files and what is live.
    #[must_use]
    pub fn new(store: Store, volumes: Arc<Volumes>, hub: Arc<Hub>, clock: Clock) -> Self {
        let (kept, vanished) = (Mutex::default(), AtomicU64::new(0));
        Self { inner: Arc::new(Inner { store, volumes, hub, clock, kept, vanished }) }
    }

    /// Runs and gaps of a range.
    ///
    /// # Errors
    ///
    /// When the index does not answer.
    pub async fn timeline(&self, stream: StreamId, range: WallRange) -> Result<Timeline> {
        let runs = self.runs(stream, range.clone()).await?;
        let gaps = self.inner.store.gaps_overlapping(stream, range.clone(), limits::RUNS).await?;
        Ok(Timeline::new(&runs, &gaps, &range, self.inner.clock.now()))
    }

    /// Freezes what is asked into a clip; `None` when there is no footage in it.
    ///
    /// # Errors
    ///
    /// When the index does not answer.
    pub async fn clip(&self, stream: StreamId, asked: Asked) -> Result<Option<Arc<Clip>>> {
        let from = asked.start.unwrap_or(BEGINNING);
        let to = asked.end.unwrap_or(FOREVER);
        if to <= from {
            return Ok(None);
        }
        let now = self.inner.clock.now();
        let mut pieces = visible(&self.runs(stream, from..to).await?, now);
        pieces.retain(|p| p.start < to && p.end.is_none_or(|end| end > from));

        // npt 0: the first key frame, in the first footage whose file is still there.
        let Some((skipped, start, tracks)) = self.first_key(stream, &pieces, from).await? else {
            return Ok(None);
        };
        pieces.drain(..skipped);
        end_with_live(&mut pieces);
        if let Some(first) = pieces.first_mut() {
            first.start = start;
        }
        self.cut_at_codec_change(stream, &mut pieces).await?;

        let Some(last) = pieces.last_mut() else { return Ok(None) };
        let known = match last.end {
            Some(end) => end,
            None => self.edge(stream, last).await?.max(start),
        };
        let open = self.inner.volumes.open_segments().of(stream);
        let live = self.inner.hub.channel(stream).current().is_some()
            || open.iter().any(|o| !o.progress().finished);
        let open_ended = last.end.is_none() && to > known && live;
        let end = known.min(to);
        if !open_ended {
            last.end = Some(end);
            last.cut |= to < known;
        }
        let Some(map) = NptMap::new(&pieces, WallSpan::ZERO) else { return Ok(None) };
        let duration = map.last().npt_of(end);
        let until = asked.end.filter(|_| open_ended);
        let frozen = Frozen { stream, start, end, duration, open_ended, until };
        let clip = Arc::new(Clip { frozen, tracks, map });
        self.keep_clip(&clip);
        Ok(Some(clip))
    }

    /// The clip of a [`Clip::token`]; the outer error is ours, the inner the asker's.
    ///
    /// # Errors
    ///
    /// When the index does not answer.
    pub async fn clip_from_token(
        &self,
        stream: StreamId,
        token: &str,
    ) -> Result<Result<Arc<Clip>, BadToken>> {
        let frozen = match Frozen::from_token(token) {
            Ok(frozen) if frozen.stream == stream => frozen,
            _ => return Ok(Err(BadToken)),
        };
        if let Some((_, clip)) = self.kept().clips.iter().find(|(kept, _)| kept == token) {
            return Ok(Ok(Arc::clone(clip)));
        }
        Ok(self.thaw(frozen).await?.ok_or(BadToken))
    }

    /// Makes a clip again, its npt counted back from its end: what is still there keeps its place
    /// though older footage be gone. `None` when all of it is.
    async fn thaw(&self, frozen: Frozen) -> Result<Option<Arc<Clip>>> {
        let Frozen { stream, start, end, duration, open_ended, until } = frozen;
        let to = if open_ended { until.unwrap_or(FOREVER) } else { end };
        let rows = self.runs(stream, start..to.max(end)).await?;
        let mut pieces = visible(&rows, self.inner.clock.now());
        pieces.retain(|p| p.start < to && p.end.is_none_or(|end| end > start));
        let Some((skipped, _, tracks)) = self.first_key(stream, &pieces, start).await? else {
            return Ok(None);
        };
        pieces.drain(..skipped);
        end_with_live(&mut pieces);
        for piece in &mut pieces {
            piece.start = piece.start.max(start);
            if piece.end.is_none_or(|end| end > to) && to != FOREVER {
                (piece.end, piece.cut) = (Some(to), true);
            }
        }
        let Some(mut map) = NptMap::new(&pieces, WallSpan::ZERO) else { return Ok(None) };
        map.shift(duration - map.wall_to_npt(end));
        let clip = Arc::new(Clip { frozen, tracks, map });
        self.keep_clip(&clip);
        Ok(Some(clip))
    }

    /// A reader over a clip, at its start.
    #[must_use]
    pub fn reader(&self, clip: Arc<Clip>) -> Reader {
        Reader::new(self.clone(), clip)
    }

    /// Segments that were gone when a reader came to them, and were passed over.
    #[must_use]
    pub fn vanished(&self) -> u64 {
        self.inner.vanished.load(Relaxed)
    }

    pub(super) fn leases(&self) -> &Leases {
        self.inner.volumes.leases()
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Runs that overlap a range, by start. Rows follow the files by some seconds (they wait for
    /// the sync), so where the registry knows more of a run than its row does, it counts: a run
    /// whose row is still on its way, and the end of one that another has followed.
    pub(super) async fn runs(&self, stream: StreamId, range: WallRange) -> Result<Vec<RunRow>> {
        let open = self.inner.volumes.open_segments().of(stream);
        let mut rows =
            self.inner.store.runs_overlapping(stream, range.clone(), limits::RUNS).await?;
        for segment in &open {
            let (opened, progress) = (&segment.opened, segment.progress());
            let outside = opened.start >= range.end
                || progress.fragments == 0
                || (progress.finished && progress.end <= range.start);
            if !outside && rows.iter().all(|row| row.id != opened.run) {
                let (id, epoch, start) = (opened.run, opened.epoch, opened.start);
                rows.push(RunRow { id, stream, epoch, start, end: None });
            }
        }
        let newest = rows.iter().map(|row| (row.epoch, row.start)).max();
        for row in &mut rows {
            if row.end.is_none() && Some((row.epoch, row.start)) < newest {
                let of_run = open.iter().filter(|o| o.opened.run == row.id);
                row.end = of_run.map(|o| o.progress().end).max();
            }
        }
        Ok(rows)
    }

    /// The key frame a clip begins with when it is asked from `from` on, how many pieces before it
    /// have no footage left, and the tracks there.
    async fn first_key(
        &self,
        stream: StreamId,
        pieces: &[Piece],
        from: WallTime,
    ) -> Result<Option<(usize, WallTime, Tracks)>> {
        for (skipped, piece) in pieces.iter().enumerate() {
            let span = Stretch::of(piece);
            let mut place = Place::at(from.max(piece.start));
            while let Some(segment) = self.next_segment(stream, &span, place).await? {
                let index = &segment.index;
                if let Some(at) = index.key_for(from, piece.start)
                    && let Some(key) = index.samples(index.leading).get(at)
                {
                    let wall = index.wall(index.leading, key);
                    if piece.end.is_none_or(|end| wall < end) {
                        return Ok(Some((skipped, wall, Arc::clone(&index.tracks))));
                    }
                }
                place = Place::after(index);
            }
        }
        Ok(None)
    }

    /// How far an open piece can be read.
    async fn edge(&self, stream: StreamId, piece: &Piece) -> Result<WallTime> {
        let open = self.inner.volumes.open_segments().of(stream);
        let of_epoch = open.iter().filter(|o| o.opened.epoch == piece.epoch);
        if let Some(end) = of_epoch.map(|o| o.progress().end).max() {
            return Ok(end);
        }
        // Nobody writes to it: what its last row says.
        let row = self.inner.store.segment_before(stream, FOREVER).await?;
        Ok(row.filter(|r| r.opened.epoch == piece.epoch).map_or(piece.start, |r| r.end))
    }

    /// Ends the list before the first piece that needs another kind of decoder (RTSP.md 30).
    async fn cut_at_codec_change(&self, stream: StreamId, pieces: &mut Vec<Piece>) -> Result<()> {
        let Some(first) = pieces.first().copied() else { return Ok(()) };
        let Some(wanted) = self.codecs(stream, &first).await? else { return Ok(()) };
        for at in 1..pieces.len().min(limits::CODEC_CHECKS) {
            let Some(piece) = pieces.get(at).copied() else { break };
            let found = self.codecs(stream, &piece).await?;
            if found.is_some_and(|found| !same_kinds(&wanted, &found)) {
                pieces.truncate(at);
                break;
            }
        }
        Ok(())
    }

    async fn codecs(&self, stream: StreamId, piece: &Piece) -> Result<Option<String>> {
        let key = (stream, piece.start);
        if let Some(known) = self.kept().codecs.get(&key) {
            return Ok(Some(known.clone()));
        }
        let range = piece.start..piece.end.unwrap_or(FOREVER);
        let rows = self.inner.store.segments_overlapping(stream, range, None, limits::PAGE).await?;
        let row = rows.into_iter().find(|r| r.opened.epoch == piece.epoch);
        let Some(row) = row else { return Ok(None) };
        let mut kept = self.kept();
        if kept.codecs.len() >= limits::CODECS {
            kept.codecs.clear();
        }
        kept.codecs.insert(key, row.opened.codecs.clone());
        Ok(Some(row.opened.codecs))
    }

    fn keep_clip(&self, clip: &Arc<Clip>) {
        let mut kept = self.kept();
        if kept.clips.len() >= limits::CLIPS {
            kept.clips.pop_front();
        }
        kept.clips.push_back((clip.token(), Arc::clone(clip)));
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is being recorded goes on for as long as somebody watches: footage that a clock made which
/// went ahead is not played behind it.
fn end_with_live(pieces: &mut Vec<Piece>) {
    if let Some(live) = pieces.iter().position(|piece| piece.end.is_none()) {
        pieces.truncate(live + 1);
    }
}

/// Whether footage of these codecs (RFC 6381, comma-separated, in track order) goes on from the
/// other's as far as sample entries tell. Profile and level may change, in-band parameter sets say
/// so; a track more or less is no change of the others.
fn same_kinds(a: &str, b: &str) -> bool {
    let kind = |codec: &str| codec.split('.').next().unwrap_or_default().to_owned();
    a.split(',').zip(b.split(',')).all(|(a, b)| kind(a) == kind(b))
}

/// The same question of tracks themselves. Sound has no in-band parameters, so it must be equal.
pub(super) fn same_decoders(a: &[Track], b: &[Track]) -> bool {
    !b.is_empty()
        && a.iter().zip(b).all(|(a, b)| {
            let kind =
                std::mem::discriminant(&a.parameters) == std::mem::discriminant(&b.parameters);
            let video = a.parameters.is_video();
            kind && a.timescale == b.timescale && (video || a.parameters == b.parameters)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_level_goes_on_but_a_new_codec_does_not() {
        assert!(same_kinds("avc1.64001f,mp4a.40.2", "avc1.640028,mp4a.40.2"));
        assert!(same_kinds("avc1.64001f,mp4a.40.2", "avc1.64001f"));
        assert!(!same_kinds("avc1.64001f,mp4a.40.2", "hvc1.1.6.L93,mp4a.40.2"));
        assert!(!same_kinds("avc1.64001f,mp4a.40.2", "avc1.64001f,alaw"));
    }
}
