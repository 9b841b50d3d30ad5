//! From segments to a timeline: which runs and gaps a stream has, when nothing but its segments is
//! known. Pure.
//!
//! # How it is told
//!
//! * Segments of one run follow each other by sequence; where a number is missing, or footage ends
//!   more than [`JOIN`] before the next segment begins, there is a hole: the rest becomes a run of
//!   its own, named after its first segment, so that doing it again gives the same names.
//! * A segment ends where the next one of its run begins, as the recorder says it too.
//! * Between two runs of one epoch lies a gap. What is known of it already (an index that is
//!   mended) stays, clipped to it; else its reason is what the later run says of the end of the one
//!   before it. Where files are missing in between it is `deleted`, or `disk_error` when footage is
//!   away for now: on a volume that is not there, or in a file that cannot be read.
//! * Between two epochs the clock stepped back: there is no gap.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::{RunId, SegmentId, StreamId},
    model::{Gap, RunRow},
    proto::{
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
};

/// Footage that ends so little before the next segment of its run joins it: each fragment has its
/// own map to wall time, and those differ by far less; a hole is a second at least.
pub(super) const JOIN: WallSpan = WallSpan::from_micros(500_000);

/// One segment, closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) id: SegmentId,
    pub(super) run: RunId,
    pub(super) epoch: u32,
    pub(super) sequence: u32,
    pub(super) start: WallTime,
    /// Of an open one: its start.
    pub(super) end: WallTime,
    pub(super) closed: bool,
    /// Why the run before its run ended, as its file says; `None` when that is not known.
    pub(super) previous_end: Option<GapReason>,
    /// Its file ended with its tail box when it was found.
    pub(super) whole: bool,
}

/// What else is known of a stream.
#[derive(Clone, Debug)]
pub(super) struct About<'a> {
    pub(super) stream: StreamId,
    /// Footage is expected from here on.
    pub(super) created: WallTime,
    /// What lies after the last footage.
    pub(super) after: After,
    /// Gaps that an index has.
    pub(super) known: &'a [Gap],
    /// The index was lost: a gap in which the stream is new is not believed behind footage. It was
    /// begun when that footage was not known.
    pub(super) anew: bool,
    /// Footage of it may be where it cannot be seen now.
    pub(super) away: bool,
    /// Of files that are there and cannot be read: wall time at which they begin, by their names.
    pub(super) unreadable: &'a BTreeSet<WallTime>,
}

/// What lies after the last footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// A gap that lasts. Its reason: what the index says, else this, else what the files tell.
    Lasts(Option<GapReason>),
    /// Something is going on there that is not ours to judge: it is being recorded.
    Live,
    /// Nothing is expected from here on: a gap up to here, if there is time between.
    Hidden(WallTime),
}

/// Runs and gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// By (epoch, start).
    pub(super) runs: Vec<RunRow>,
    /// By start within their epoch.
    pub(super) gaps: Vec<Gap>,
    /// Segments that belong to another run than they say.
    pub(super) moved: Vec<(SegmentId, RunId)>,
    /// Segments that end elsewhere than their footage: where the next one begins.
    pub(super) ends: Vec<(SegmentId, WallTime)>,
    /// Two of one epoch that overlap by more than [`JOIN`].
    pub(super) overlaps: Vec<(SegmentId, SegmentId)>,
    /// Pieces that repeat another one's place in its run.
    pub(super) doubles: Vec<SegmentId>,
}

/// A run while it is put together.
struct Island {
    row: RunRow,
    first: Piece,
    last: Piece,
    /// Footage of the same run is missing before it.
    cut: Option<Cut>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Whole segments.
    Missing,
    /// The end of the segment before.
    Short,
}

/// Makes the timeline of one stream.
pub(super) fn line(mut pieces: Vec<Piece>, about: &About<'_>) -> Line {
    let mut line = Line::default();
    let mut islands = islands(&mut pieces, about.stream, &mut line);
    islands.sort_by_key(|i| (i.row.epoch, i.row.start, i.row.id));
    overlaps(&pieces, &mut line);
    gaps(&islands, about, &mut line);
    line.runs = islands.into_iter().map(|i| i.row).collect();
    line
}

fn islands(pieces: &mut Vec<Piece>, stream: StreamId, line: &mut Line) -> Vec<Island> {
    pieces.sort_by_key(|p| (p.run, p.sequence, p.start, p.id));
    pieces.dedup_by(|later, kept| {
        let double = later.id == kept.id;
        if double {
            line.doubles.push(later.id);
        }
        double
    });
    let mut islands: Vec<Island> = Vec::new();
    let mut taken: BTreeSet<RunId> = pieces.iter().map(|p| p.run).collect();
    let mut moved: BTreeMap<SegmentId, RunId> = BTreeMap::new();
    for piece in pieces.iter() {
        let before = islands.last_mut().filter(|i| i.last.run == piece.run);
        let joins = before.as_ref().map(|island| joins(&island.last, piece));
        if let (Some(island), Some(Ok(()))) = (before, joins) {
            // As the recorder has it: a segment ends where the next one begins.
            let last = &island.last;
            if last.closed && piece.start > last.start && last.end != piece.start {
                line.ends.push((island.last.id, piece.start));
            }
            island.row.end = island.row.end.max(Some(piece.end.max(piece.start)));
            island.row.start = island.row.start.min(piece.start);
            if island.row.id != piece.run {
                moved.insert(piece.id, island.row.id);
            }
            island.last = piece.clone();
            continue;
        }
        let cut = match joins {
            Some(Err(cut)) => Some(cut),
            _ => (piece.sequence > 0).then_some(Cut::Missing),
        };
        let id = match joins {
            None => piece.run,
            // Named after its first segment; a name that is taken means another is taken again.
            Some(_) => {
                let mut id = RunId(piece.id.0);
                while !taken.insert(id) {
                    id = RunId(id.0.wrapping_add(1));
                }
                moved.insert(piece.id, id);
                id
            }
        };
        let row = RunRow {
            id,
            stream,
            epoch: piece.epoch,
            start: piece.start,
            end: Some(piece.end.max(piece.start)),
        };
        islands.push(Island { row, first: piece.clone(), last: piece.clone(), cut });
    }
    line.moved.extend(moved);
    islands
}

/// Whether `next` goes on where `last` ends.
fn joins(last: &Piece, next: &Piece) -> Result<(), Cut> {
    if next.sequence != last.sequence + 1 || next.epoch != last.epoch {
        return Err(Cut::Missing);
    }
    // Of an open one it is not known yet.
    let short = last.closed && next.start - last.end > JOIN;
    if short || next.start < last.start {
        return Err(Cut::Short);
    }
    Ok(())
}

fn overlaps(pieces: &[Piece], line: &mut Line) {
    let mut sorted: Vec<&Piece> = pieces.iter().collect();
    sorted.sort_by_key(|p| (p.epoch, p.start, p.id));
    let mut reach: Option<&Piece> = None;
    for piece in sorted {
        if let Some(before) = reach.filter(|b| b.epoch == piece.epoch) {
            if before.end - piece.start > JOIN {
                line.overlaps.push((before.id, piece.id));
            }
            if piece.end <= before.end {
                continue;
            }
        }
        reach = Some(piece);
    }
}

fn gaps(islands: &[Island], about: &About<'_>, line: &mut Line) {
    let mut before: Option<&Island> = None;
    // How far the epoch's footage reaches.
    let first = islands.first().map_or(about.created, |i| i.row.start);
    // A camera may begin with pictures from before the stream was made, and these go first.
    let deleted = about.known.iter().filter(|g| g.reason == GapReason::Deleted).map(|g| g.start);
    let mut reach = deleted.min().map_or(first, |at| at.min(first)).min(about.created);
    for island in islands {
        let from = match before {
            Some(last) if last.row.epoch != island.row.epoch => {
                reach = island.row.end.unwrap_or(island.row.start);
                before = Some(island);
                continue;
            }
            _ => reach,
        };
        if island.row.start > from {
            let reason = reason(before, island, from, about);
            fill(from, island.row.start, reason, about, line);
        }
        reach = reach.max(island.row.end.unwrap_or(island.row.start));
        before = Some(island);
    }
    let of_last = || match before {
        None => GapReason::Starting,
        Some(last) if last.last.whole => GapReason::VedetteDown,
        Some(_) => GapReason::Crash,
    };
    match about.after {
        After::Live => {}
        After::Hidden(until) if until > reach => {
            let reason = before.map_or(GapReason::Starting, |_| of_last());
            fill(reach, until, reason, about, line);
        }
        After::Hidden(_) => {}
        After::Lasts(otherwise) => {
            let known = about.known.iter().find(|g| g.end.is_none());
            let told = known.filter(|g| {
                let believed = !(about.anew && g.reason == GapReason::Starting && before.is_some());
                (g.start >= reach && believed) || !g.reason.is_of_the_recorder()
            });
            // Ended gaps that lie between the last footage and the one that lasts stay too.
            let start = known.map_or(reach, |g| g.start.max(reach));
            let reason = told.map(|g| g.reason).or(otherwise).unwrap_or_else(of_last);
            fill(reach, start, reason, about, line);
            line.gaps.push(Gap { stream: about.stream, start, end: None, reason });
        }
    }
}

/// Why there is no footage before `island`, when nothing but files is known.
fn reason(
    before: Option<&Island>,
    island: &Island,
    from: WallTime,
    about: &About<'_>,
) -> GapReason {
    let missing = || {
        let unreadable = about.unreadable.range(from..island.row.start).next().is_some();
        if about.away || unreadable { GapReason::DiskError } else { GapReason::Deleted }
    };
    match (island.cut, before) {
        (Some(Cut::Short), _) => GapReason::DiskError,
        (Some(Cut::Missing), _) => missing(),
        (None, Some(before)) => {
            // A whole file may be unreadable just there.
            if about.unreadable.range(from..island.row.start).next().is_some() {
                return GapReason::DiskError;
            }
            match island.first.previous_end {
                // The first run after a start of the recorder: it was stopped, or died.
                None | Some(GapReason::Starting) if before.last.whole => GapReason::VedetteDown,
                None | Some(GapReason::Starting) => GapReason::Crash,
                Some(reason) => reason,
            }
        }
        (None, None) => match island.first.previous_end {
            None | Some(GapReason::Starting) => GapReason::Starting,
            // Something was before it.
            Some(_) => missing(),
        },
    }
}

/// Puts gaps from `start` to `end`: those that are known where they fit, `reason` elsewhere. Before
/// the stream was added (again) nothing is missing but what was known to be.
fn fill(start: WallTime, end: WallTime, reason: GapReason, about: &About<'_>, line: &mut Line) {
    let mut at = start;
    let first = line.gaps.len();
    let mut put = |from: WallTime, to: WallTime, reason: GapReason| {
        if to <= from {
            return;
        }
        match line.gaps.get_mut(first..).and_then(<[Gap]>::last_mut) {
            Some(last) if last.reason == reason && last.end == Some(from) => last.end = Some(to),
            _ => line.gaps.push(Gap { stream: about.stream, start: from, end: Some(to), reason }),
        }
    };
    let mut known: Vec<&Gap> =
        about.known.iter().filter(|g| usable(g, start, end, about)).collect();
    known.sort_by_key(|g| g.start);
    for gap in known {
        let from = gap.start.max(at);
        let to = gap.end.map_or(end, |e| e.min(end));
        if to <= from {
            continue;
        }
        put(at.max(about.created), from, reason);
        put(from, to, gap.reason);
        at = to;
    }
    put(at.max(about.created), end, reason);
}

/// A gap that reaches over footage was begun when that footage was not known: then it only tells
/// more than the files where the camera was at fault.
fn usable(gap: &Gap, start: WallTime, end: WallTime, about: &About<'_>) -> bool {
    if about.anew && gap.reason == GapReason::Starting && start > about.created {
        return false;
    }
    let gap_end = gap.end.unwrap_or(end);
    let inside = gap.start >= start && gap_end <= end;
    let meets = gap.start < end && gap_end > start;
    inside || (meets && !gap.reason.is_of_the_recorder())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
