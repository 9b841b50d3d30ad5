//! The segment being built: its pending fragment, and where its tracks stand in the file.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Part, Plan, TrackOpening, limits};
use crate::{
    hub::{Position, Run},
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex},
        fmp4::Sample,
        reason::GapReason,
        time::{MediaTime, Timescale, WallSpan, WallTime},
    },
};

/// A unit that waits for its fragment.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) unit: Arc<AccessUnit>,
    pub(super) position: Position,
    /// When it came.
    pub(super) at: Instant,
}

/// What is known of a track of the run, whether it is recorded at the moment or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) next_number: u64,
    /// Units were passed over since: the number may be higher.
    pub(super) passed_over: bool,
    /// Decoding time of the last unit, in the run and on the wall.
    pub(super) last: Option<(MediaTime, WallTime)>,
}

#[derive(Debug, Default)]
pub(super) struct TrackState {
    pub(super) pending: Vec<Held>,
    /// Duration of the last unit that was written.
    pub(super) last_duration: Option<u32>,
    /// Time in the run of the file's time 0.
    pub(super) base: MediaTime,
    pub(super) first_number: u64,
    /// A unit of it is in the file, or pending.
    pub(super) begun: bool,
    /// How far the file's clock is from the wall's at its last unit.
    pub(super) off: WallSpan,
    /// The header could not say where it begins: its units wait for the next segment.
    pub(super) unplaced: bool,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) run: Arc<Run>,
    pub(super) leading: TrackIndex,
    pub(super) first: Option<GapReason>,
    pub(super) start: WallTime,
    /// When the file's time 0 was, as soon as it is open.
    pub(super) origin: WallTime,
    /// Of the leading track's first unit.
    pub(super) first_dts: MediaTime,
    pub(super) end: WallTime,
    pub(super) tracks: Vec<TrackState>,
    pub(super) pending_bytes: usize,
    pub(super) opened: bool,
    pub(super) cut_at_next_key: bool,
    /// Units that need the sample entries of the next segment, whose key frame is not here yet.
    pub(super) early: Vec<Held>,
}

/// How the units at the end of a fragment get their duration.
#[derive(Clone, Copy)]
pub(super) enum Flush {
    /// The leading track's next unit is here.
    Before(MediaTime),
    /// It may still come: hold the last one back.
    HoldBack,
    /// It will not come, or too late.
    All,
}

impl TrackState {
    /// How far a unit's place in the file is from its place on the wall.
    pub(super) fn off_wall(&self, track: &Track, unit: &AccessUnit, origin: WallTime) -> WallSpan {
        (unit.dts - self.base).to_span(track.timescale) - (decoded_at(track, unit) - origin)
    }
}

impl Segment {
    pub(super) fn others(&self) -> impl Iterator<Item = &TrackState> {
        let leading = self.leading.as_usize();
        self.tracks.iter().enumerate().filter(move |(i, _)| *i != leading).map(|(_, t)| t)
    }

    /// Whether the pending fragment is to end before `next`, a unit of the leading track.
    pub(super) fn is_full(&self, timescale: Timescale, next: &AccessUnit) -> bool {
        if self.pending_bytes >= limits::FRAGMENT_BYTES {
            return true;
        }
        let Some(lead) = self.tracks.get(self.leading.as_usize()) else { return false };
        let (Some(first), Some(last)) = (lead.pending.first(), lead.pending.last()) else {
            return false;
        };
        // To the nearest unit: a rate that does not quite divide the second must not leave a
        // fragment of one unit behind it.
        let half = (next.dts - last.unit.dts).ticks() / 2;
        let len = next.dts - first.unit.dts + MediaTime::from_ticks(half);
        len.to_span(timescale) > limits::FRAGMENT
    }

    /// Whether a track has come apart from the leading one since the file was begun.
    pub(super) fn is_apart(&self, track: TrackIndex) -> bool {
        let off = |track: TrackIndex| self.tracks.get(track.as_usize()).map(|state| state.off);
        off(track)
            .zip(off(self.leading))
            .is_some_and(|(own, lead)| own - lead > limits::APART || lead - own > limits::APART)
    }

    /// Fixes where each track stands in the file; see the module on times in a file.
    pub(super) fn open(&mut self, seen: &[Seen]) -> Vec<TrackOpening> {
        // A track without a unit so far goes on from its last one, or from the run's start.
        let begun = (MediaTime::ZERO, self.run.started);
        let last = |at: usize| seen.get(at).and_then(|s| s.last).unwrap_or(begun);
        let described = self.run.tracks.iter().zip(&self.tracks).enumerate();
        let here = described.clone().filter_map(|(_, (track, state))| {
            state.pending.first().map(|held| decoded_at(track, &held.unit))
        });
        let mut origin = here.min().unwrap_or(self.start);
        for (at, (_, state)) in described {
            // Its next unit may lie before what is here already: sound that comes in long packets.
            // One that has been silent for longer will not go on from there.
            let (_, wall) = last(at);
            if state.pending.is_empty() && wall > origin - limits::SILENT {
                origin = origin.min(wall);
            }
        }
        self.origin = origin;
        let mut openings = Vec::with_capacity(self.tracks.len());
        for (at, (track, state)) in self.run.tracks.iter().zip(&mut self.tracks).enumerate() {
            let ticks = |span: WallSpan| MediaTime::from_span(span, track.timescale);
            let opening = if let Some(held) = state.pending.first() {
                let file_dts = ticks(decoded_at(track, &held.unit) - origin).max(MediaTime::ZERO);
                let base = held.unit.dts - file_dts;
                TrackOpening { first_number: held.unit.number, base, file_dts }
            } else {
                let (dts, wall) = last(at);
                let base = dts + ticks(origin - wall);
                let seen = seen.get(at).copied().unwrap_or_default();
                state.unplaced = seen.passed_over;
                TrackOpening { first_number: seen.next_number, base, file_dts: MediaTime::ZERO }
            };
            state.base = opening.base;
            state.first_number = opening.first_number;
            openings.push(opening);
        }
        openings
    }

    /// Takes the pending units out as a fragment.
    pub(super) fn plan(&mut self, how: Flush) -> Option<Plan> {
        let leading = self.leading.as_usize();
        let order =
            std::iter::once(leading).chain((0..self.tracks.len()).filter(|&i| i != leading));
        let mut parts = Vec::with_capacity(self.tracks.len());
        for at in order {
            let (Some(track), Some(state)) = (self.run.tracks.get(at), self.tracks.get_mut(at))
            else {
                continue;
            };
            let leads = at == leading;
            let hold_back = leads && matches!(how, Flush::HoldBack);
            let keep_from = state.pending.len() - usize::from(hold_back).min(state.pending.len());
            let kept = state.pending.split_off(keep_from);
            let taken = std::mem::replace(&mut state.pending, kept);
            let next = match how {
                Flush::Before(dts) if leads => Some(dts),
                _ => state.pending.first().map(|h| h.unit.dts),
            };
            let Some(first) = taken.first() else { continue };
            let dts = first.unit.dts - state.base;
            let mut samples = Vec::with_capacity(taken.len());
            for (i, held) in taken.iter().enumerate() {
                let next = taken.get(i + 1).map(|h| h.unit.dts).or(next);
                let duration = match next {
                    Some(next) => ticks_u32(next - held.unit.dts),
                    None => alone(track, &held.unit, state.last_duration),
                };
                state.last_duration = Some(duration);
                self.pending_bytes = self.pending_bytes.saturating_sub(held.unit.len());
                if leads {
                    let lasts = MediaTime::from_ticks(i64::from(duration)).to_span(track.timescale);
                    self.end = self.end.max(held.unit.wall + lasts);
                }
                samples.push(Sample {
                    duration,
                    cts: held.unit.cts,
                    // A unit comes out of bounded network buffers, far below 4 GiB.
                    size: u32::try_from(held.unit.len()).unwrap_or(u32::MAX),
                    sync: held.unit.random_access,
                });
            }
            let track = TrackIndex(u8::try_from(at).unwrap_or(u8::MAX));
            let units = taken.into_iter().map(|h| h.unit).collect();
            parts.push(Part { track, dts, samples, units });
        }
        let first = parts.first()?;
        let unit = first.units.first()?;
        let key = first.track == self.leading && unit.random_access;
        let (wall, end) = (unit.wall, self.end);
        Some(Plan { parts, key, wall, end, readable: Position(0) })
    }
}

/// When a unit is decoded, on the wall clock.
pub(super) fn decoded_at(track: &Track, unit: &AccessUnit) -> WallTime {
    unit.wall - MediaTime::from_ticks(i64::from(unit.cts)).to_span(track.timescale)
}

fn ticks_u32(span: MediaTime) -> u32 {
    u32::try_from(span.ticks().max(0)).unwrap_or(u32::MAX)
}

/// How long a unit lasts whose next one is not known.
fn alone(track: &Track, unit: &AccessUnit, before: Option<u32>) -> u32 {
    let nominal = || {
        let (sample_rate, _) = track.parameters.sound()?;
        // The head of sound is empty.
        let samples = track.parameters.samples(&unit.body)?;
        let ticks = samples.checked_mul(track.timescale.get().into())?;
        u32::try_from(ticks.checked_div(sample_rate.into())?).ok().filter(|&t| t > 0)
    };
    // Video of which there is but one unit: a frame at the usual rate.
    nominal().or(before).unwrap_or(track.timescale.get() / 25)
}
