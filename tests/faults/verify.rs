//! What must hold after anything whatever: the index against the files, both against what the
//! cameras sent, and every second accounted for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use vedette::{
    hub::{Hub, Limits},
    id::{SegmentId, StreamId},
    model::{Gap, RunRow, Segment},
    playback::{Archive, Asked},
    proto::{
        access_unit::leading_track,
        fmp4,
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
};

use crate::site::{CAMERAS, EPOCH, Life, Sent, Site, TrackOf, as_read, name_of, streams};

/// A unit by its name.
pub(crate) type Unit = (TrackOf, u64);

/// What the index holds.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// All units of all rows.
    pub(crate) units: BTreeSet<Unit>,
    /// The gap that lasts, by stream.
    pub(crate) lasting: BTreeMap<StreamId, Gap>,
    /// Units by segment.
    pub(crate) of: BTreeMap<SegmentId, Vec<Unit>>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) runs: Vec<RunRow>,
    pub(crate) gaps: Vec<Gap>,
    /// All of it, for people.
    pub(crate) told: String,
}

const ALWAYS: std::ops::Range<WallTime> = WallTime::from_micros(0)..WallTime::from_micros(i64::MAX);

/// What the wall clock did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It went on.
    Straight,
    /// It was set.
    Bent,
}

/// Checks everything that can be checked while a process runs.
pub(crate) async fn audit(site: &Site) -> Holdings {
    audit_on(site, Course::Straight).await
}

/// The same where the wall clock may have been set.
pub(crate) async fn audit_on(site: &Site, course: Course) -> Holdings {
    let (life, sent, now) = (site.life(), &site.sent, site.clock.now());
    let mut holdings = Holdings::default();
    let cameras = life.store.cameras().await.unwrap();
    let there: Vec<StreamId> = cameras.iter().flat_map(|c| &c.streams).map(|s| s.id).collect();
    for stream in streams() {
        if !there.contains(&stream) {
            deleted(life, stream).await;
            continue;
        }
        let segments = life.store.segments_overlapping(stream, ALWAYS, None, 10_000).await.unwrap();
        let runs = life.store.runs(stream).await.unwrap();
        let gaps = life.store.gaps_overlapping(stream, ALWAYS, 10_000).await.unwrap();
        let told = || timeline(&segments, &runs, &gaps);
        for segment in &segments {
            let units = file(life, sent, segment, course, &mut holdings.units).await;
            holdings.of.insert(segment.opened.id, units);
        }
        for run in &runs {
            let camera = (0..CAMERAS).find(|&c| crate::site::stream(c) == stream);
            let recorded = camera.is_some_and(|c| life.counters(c).is_some());
            let goes_on = run.end.is_none() && recorded;
            whole(run, &segments, goes_on, told);
        }
        let known = |s: &Segment| runs.iter().any(|r| r.id == s.opened.run);
        assert!(segments.iter().all(known), "a segment without its run:{}", told());
        match course {
            Course::Straight => tiled(&runs, &gaps, now, told),
            Course::Bent => layered(&runs, &gaps, told),
        }
        let coverage = life.store.coverage(stream, EPOCH..now).await.unwrap();
        let missing: i64 = coverage.gaps.values().map(|s| s.as_micros()).sum();
        assert_eq!(
            coverage.recorded.as_micros() + missing,
            (now - EPOCH).as_micros().max(0),
            "recorded + gaps is not the time since the camera was added:{}",
            told()
        );
        if let Some(gap) = gaps.iter().find(|g| g.end.is_none()) {
            holdings.lasting.insert(stream, *gap);
        }
        holdings.told.push_str(&told());
        holdings.segments.extend(segments);
        holdings.runs.extend(runs);
        holdings.gaps.extend(gaps);
    }
    holdings
}

/// Of a camera that was deleted with its footage nothing is left; the store may be at it still.
async fn deleted(life: &Life, stream: StreamId) {
    for patience in 0.. {
        let segments = life.store.segments_overlapping(stream, ALWAYS, None, 1).await.unwrap();
        let (runs, gaps) = (
            life.store.runs(stream).await.unwrap(),
            life.store.gaps_overlapping(stream, ALWAYS, 1).await.unwrap(),
        );
        if segments.is_empty() && runs.is_empty() && gaps.is_empty() {
            return;
        }
        assert!(patience < 2_000, "left of a deleted camera: {segments:?} {runs:?} {gaps:?}");
        std::thread::sleep(std::time::Duration::from_micros(200));
        tokio::task::yield_now().await;
    }
}

fn ms(at: WallTime) -> String {
    format!("{:.3}", (at - EPOCH).as_secs_f64())
}

fn timeline(segments: &[Segment], runs: &[RunRow], gaps: &[Gap]) -> String {
    let mut lines = Vec::new();
    for r in runs {
        let end = r.end.map_or("…".to_owned(), ms);
        lines.push((r.start, format!("run {} epoch {} [{}, {end})", r.id, r.epoch, ms(r.start))));
    }
    for g in gaps {
        let end = g.end.map_or("…".to_owned(), ms);
        lines.push((g.start, format!("gap {} [{}, {end})", g.reason, ms(g.start))));
    }
    for s in segments {
        let o = &s.opened;
        let state = if s.closed { "" } else { " open" };
        let range = format!("[{}, {})", ms(o.start), ms(s.end));
        lines.push((
            o.start,
            format!("  segment {} of {} {range}{state} {}", o.sequence, o.run, o.path),
        ));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| format!("\n  {line}")).collect()
}

/// A row against its file, and the file against what was sent; which units it holds.
async fn file(
    life: &Life,
    sent: &Sent,
    segment: &Segment,
    course: Course,
    units: &mut BTreeSet<Unit>,
) -> Vec<Unit> {
    let row = &segment.opened;
    let mut own = Vec::new();
    let away = life.disks().any(|d| Path::new(&row.volume) == d.root() && d.is_missing());
    if away {
        // Nobody can say what is in it.
        return own;
    }
    let path = Path::new(&row.volume).join(&row.path);
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|e| panic!("row of {} (closed: {}): {e}", row.path, segment.closed));
    let scan = fmp4::scan(bytes.len() as u64, |at, buffer| {
        let at = usize::try_from(at).unwrap();
        buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
        Ok(())
    });
    let scan = scan.unwrap();
    let header = scan.header.as_ref();
    if header.is_none() && !segment.closed && life.volumes.open_segments().get(row.id).is_some() {
        // A sync failed and took all of it: the row goes with the next one that works.
        return own;
    }
    let header = header.unwrap_or_else(|| panic!("{} has no header: {:?}", row.path, scan.torn));
    let identity = &header.identity;
    assert_eq!((identity.segment, identity.start), (row.id.0, row.start), "{}", row.path);
    assert_eq!((identity.stream, identity.epoch), (row.stream.0, row.epoch), "{}", row.path);
    // What was split off a run since has a name that no camera gave.
    if sent.keys().any(|of| of.1 == row.run) {
        assert_eq!((identity.run, identity.sequence), (row.run.0, row.sequence), "{}", row.path);
    }

    if segment.closed {
        assert_eq!(scan.torn, None, "{} is torn", row.path);
        assert_eq!(segment.bytes, bytes.len() as u64, "size of {}", row.path);
        let totals = life.store.track_totals(row.id).await.unwrap();
        assert_eq!(totals.len(), scan.tables.tracks.len());
        for (total, samples) in totals.iter().zip(&scan.tables.tracks) {
            let size: u64 = samples.iter().map(|s| u64::from(s.size)).sum();
            assert_eq!((total.samples, total.bytes), (samples.len() as u64, size), "{}", row.path);
        }
        let leading = leading_track(&header.tracks);
        let keys = life.store.key_frames(row.id).await.unwrap();
        assert_eq!(keys.len() as u64, totals[leading.as_usize()].sync_samples, "{}", row.path);
        for key in &keys {
            let at = usize::try_from(key.offset).unwrap();
            let fragment = fmp4::read_fragment(&bytes[at..], key.offset, totals.len()).unwrap();
            assert!(fragment.tracks[leading.as_usize()][0].sync, "{}", row.path);
        }
    }

    for (track, samples) in scan.tables.tracks.iter().enumerate() {
        for (k, sample) in samples.iter().enumerate() {
            let at = usize::try_from(sample.offset).unwrap();
            let read = &bytes[at..at + sample.size as usize];
            let place = format!("sample {k} of track {track} of {}", row.path);
            let Some((of, number)) = name_of(read) else { panic!("{place} is no unit: {read:?}") };
            let number_said = identity.tracks[track].first_number + k as u64;
            assert_eq!((of.0, of.2, number), (row.stream, track as u8, number_said), "{place}");
            let published = sent.get(&of).and_then(|units| units.get(number as usize));
            let published = published.unwrap_or_else(|| panic!("{place} was never sent"));
            assert_eq!(published.key, sample.sync, "{place}");
            assert!(read == as_read(of, number, published.key), "bytes of {place}");
            if track == 0 && k == 0 {
                // A run that would begin a moment before the last one's end begins there.
                let later = (row.start - published.wall).as_micros();
                let most = if course == Course::Bent { 1_000_000 } else { 0 };
                assert!((0..=most).contains(&later), "{place}: sent {later} us before it says");
            }
            if track == 0 && segment.closed && course == Course::Straight {
                assert!(published.wall < segment.end, "{place} lies behind the segment's end");
            }
            assert!(units.insert((of, number)), "{place} stands in two rows");
            own.push((of, number));
        }
    }
    own
}

/// A run is footage without a hole.
fn whole(run: &RunRow, segments: &[Segment], goes_on: bool, told: impl Fn() -> String) {
    let mut own: Vec<_> = segments.iter().filter(|s| s.opened.run == run.id).collect();
    own.sort_by_key(|s| s.opened.sequence);
    let (Some(first), Some(last)) = (own.first(), own.last()) else {
        if goes_on {
            // All of it was deleted, and what is being written has no row yet.
            return;
        }
        panic!("run {} has no segment:{}", run.id, told());
    };
    assert_eq!(run.start, first.opened.start, "start of run {}:{}", run.id, told());
    for pair in own.windows(2) {
        let next = &pair[1].opened;
        assert_eq!(pair[0].opened.sequence + 1, next.sequence, "in run {}:{}", run.id, told());
        if pair[0].closed {
            assert_eq!(pair[0].end, next.start, "a hole in run {}:{}", run.id, told());
        }
    }
    // A run ends when its last fragment is written; its last row is complete after a sync.
    if let Some(end) = run.end.filter(|_| own.iter().all(|s| s.closed)) {
        assert_eq!(end, last.end, "end of run {}:{}", run.id, told());
    }
}

/// Runs and gaps lie one behind the other from the stream's creation until now.
fn tiled(runs: &[RunRow], gaps: &[Gap], now: WallTime, told: impl Fn() -> String) {
    let mut spans: Vec<_> = runs.iter().map(|r| (r.start, r.end)).collect();
    spans.extend(gaps.iter().map(|g| (g.start, g.end)));
    spans.sort_by_key(|&(start, end)| (start, end.is_none(), end));
    let lasting = spans.iter().filter(|(_, end)| end.is_none()).count();
    assert_eq!(lasting, 1, "exactly one run or gap lasts:{}", told());
    let mut at = EPOCH;
    for (start, end) in spans {
        assert_eq!(start, at, "a hole or an overlap at {}:{}", ms(at), told());
        at = end.unwrap_or(now.max(start));
    }
    assert!(at >= now, "nothing is said of the time after {}:{}", ms(at), told());
}

/// What lies over one another is of different epochs, and one run or gap lasts. That all time is in
/// one of them shows in the coverage.
fn layered(runs: &[RunRow], gaps: &[Gap], told: impl Fn() -> String) {
    let lasting = runs.iter().filter(|r| r.end.is_none()).count();
    let lasting = lasting + gaps.iter().filter(|g| g.end.is_none()).count();
    assert_eq!(lasting, 1, "exactly one run or gap lasts:{}", told());
    let mut runs: Vec<_> = runs.iter().collect();
    runs.sort_by_key(|r| (r.epoch, r.start));
    for pair in runs.windows(2).filter(|pair| pair[0].epoch == pair[1].epoch) {
        let end = pair[0].end.unwrap_or(pair[1].start + WallSpan::from_micros(1));
        assert!(end <= pair[1].start, "an overlap within an epoch:{}", told());
    }
}

/// Everything that is indexed plays, when nothing is being recorded.
pub(crate) async fn plays(site: &Site, holdings: &Holdings) {
    let life = site.life();
    let hub = Arc::new(Hub::new(Limits::default()));
    let archive =
        Archive::new(life.store.clone(), Arc::clone(&life.volumes), hub, site.clock.clone());
    for stream in streams() {
        let of_stream = |u: &&Unit| u.0.0 == stream;
        let wanted: BTreeSet<Unit> = holdings.units.iter().filter(of_stream).copied().collect();
        let runs = life.store.runs(stream).await.unwrap();
        let end = runs.iter().filter_map(|r| r.end).max();
        let asked = Asked { start: None, end: end.map(|e| e + WallSpan::from_secs(1)) };
        let mut got = BTreeSet::new();
        if let Some(clip) = archive.clip(stream, asked).await.unwrap() {
            let mut reader = archive.reader(clip);
            while got.len() < wanted.len() {
                let Some(played) = reader.next().await.unwrap() else { break };
                let name = name_of(&played.unit.body).unwrap();
                let key = site.sent[&name.0][name.1 as usize].key;
                assert!(played.unit.body == as_read(name.0, name.1, key), "bytes of {name:?}");
                assert!(got.insert(name), "{name:?} is played twice");
            }
        }
        let missing: Vec<_> = wanted.difference(&got).take(5).collect();
        assert!(missing.is_empty(), "not played: {missing:?} of {} units", wanted.len());
    }
}

/// What was sent up to `until`, is not there, and does not lie in a gap that had ended: those are
/// asked about elsewhere. Units that came before a recorder saw a key frame are not asked for.
pub(crate) fn lost(sent: &Sent, holdings: &Holdings, until: WallTime) -> Vec<(Unit, WallTime)> {
    let mut lost = Vec::new();
    for (&of, units) in sent {
        for (number, unit) in units.iter().enumerate().filter(|(_, u)| u.wanted && u.wall < until) {
            let missed = |g: &&Gap| {
                g.stream == of.0
                    && g.reason != GapReason::Crash
                    && g.start <= unit.wall
                    && g.end.is_some_and(|end| unit.wall < end)
            };
            if !holdings.units.contains(&(of, number as u64))
                && holdings.gaps.iter().find(missed).is_none()
            {
                lost.push(((of, number as u64), unit.wall));
            }
        }
    }
    lost
}

/// The reason that a stream's lasting gap gives.
pub(crate) fn lasting_reason(holdings: &Holdings, stream: StreamId) -> Option<GapReason> {
    holdings.lasting.get(&stream).map(|g| g.reason)
}

/// Pictures that are neither there nor in a gap.
pub(crate) fn silently_lost(sent: &Sent, holdings: &Holdings) -> Vec<(Unit, WallTime)> {
    let mut lost = Vec::new();
    for (&of, units) in sent.iter().filter(|(of, _)| of.2 == 0) {
        for (number, unit) in units.iter().enumerate() {
            let told = |g: &Gap| {
                g.stream == of.0 && g.start <= unit.wall && g.end.is_none_or(|end| unit.wall < end)
            };
            if !holdings.units.contains(&(of, number as u64)) && !holdings.gaps.iter().any(told) {
                lost.push(((of, number as u64), unit.wall));
            }
        }
    }
    lost
}
