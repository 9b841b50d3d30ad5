//! What a row says of a segment's samples: made when a segment closes, when recovery completes one,
//! and when the index is made again from the files; always by this one code, so that all agree.

use crate::{
    disk::Fragment,
    model::{KeyFrame, TrackTotals},
    proto::{
        access_unit::TrackIndex,
        fmp4::{Anchor, FragmentRef, SampleRef},
        time::{MediaTime, Timescale, WallTime},
    },
};

/// All samples of a file by track, and its fragments, as the tail box holds them.
#[must_use]
pub fn tables<'a>(
    fragments: impl Iterator<Item = &'a Fragment>,
    tracks: usize,
) -> (Vec<Vec<SampleRef>>, Vec<FragmentRef>) {
    let mut samples = vec![Vec::new(); tracks];
    let mut refs = Vec::new();
    for fragment in fragments {
        for part in &fragment.tracks {
            if let Some(list) = samples.get_mut(part.track.as_usize()) {
                list.extend_from_slice(&part.samples);
            }
        }
        let first = fragment.tracks.first().and_then(|p| Some((p.track, p.samples.first()?)));
        if let Some((track, sample)) = first {
            let anchor = Anchor { track, pts: sample.pts(), wall: fragment.wall };
            refs.push(FragmentRef { offset: fragment.offset, anchor });
        }
    }
    (samples, refs)
}

/// Totals of one track.
#[must_use]
pub fn totals(samples: &[SampleRef]) -> TrackTotals {
    let duration = samples.iter().map(|s| i64::from(s.duration)).sum();
    let ctts = samples.chunk_by(|a, b| a.cts == b.cts).count();
    let plain = samples.iter().all(|s| s.cts == 0);
    let stts = samples.chunk_by(|a, b| a.duration == b.duration).count();
    TrackTotals {
        samples: samples.len() as u64,
        sync_samples: samples.iter().filter(|s| s.sync).count() as u64,
        bytes: samples.iter().map(|s| u64::from(s.size)).sum(),
        duration: MediaTime::from_ticks(duration),
        stts_runs: u32::try_from(stts).unwrap_or(u32::MAX),
        ctts_runs: if plain { 0 } else { u32::try_from(ctts).unwrap_or(u32::MAX) },
    }
}

/// Fragments that begin with a key frame of the leading track.
#[must_use]
pub fn keys(
    fragments: &[FragmentRef],
    leading: TrackIndex,
    samples: &[SampleRef],
    start: WallTime,
) -> Vec<KeyFrame> {
    let mut rest = samples;
    let mut keys = Vec::new();
    for fragment in fragments.iter().filter(|f| f.anchor.track == leading) {
        // The fragment's first sample is the first one that lies behind the fragment's own start.
        let skip = rest.partition_point(|s| s.offset < fragment.offset);
        rest = rest.get(skip..).unwrap_or_default();
        if rest.first().is_some_and(|s| s.sync) {
            keys.push(KeyFrame { at: fragment.anchor.wall - start, offset: fragment.offset });
        }
    }
    keys
}

/// Where the footage of the leading track ends, as its last anchor tells.
#[must_use]
pub fn end(
    fragments: &[FragmentRef],
    leading: TrackIndex,
    samples: &[SampleRef],
    timescale: Timescale,
) -> Option<WallTime> {
    let anchor = fragments.iter().rev().map(|f| f.anchor).find(|a| a.track == leading)?;
    let lasts = |s: &SampleRef| s.pts() + MediaTime::from_ticks(i64::from(s.duration));
    let last = samples.iter().rev().take(REORDERED).map(lasts).max()?;
    Some(anchor.wall + (last - anchor.pts).to_span(timescale))
}

/// The unit shown last is among so many that are decoded last: no codec reorders further.
const REORDERED: usize = 32;
