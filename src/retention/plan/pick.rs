//! Picking: walks footage oldest first and takes until a limit is kept.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use super::{
    Band, Blocked, Candidate, Held, Input, Lane, LimitState, Next, Pick, Plan, Reason, Scope,
    State, Step, StreamInput, VolumeInput, Want, age_limit, limits,
    reckon::{Reckoned, Reckoner},
};
use crate::{
    id::StreamId,
    proto::time::{WallSpan, WallTime},
};

/// A lane while it is planned.
struct Work<'a> {
    want: Want,
    stream: &'a StreamInput,
    lane: &'a Lane,
    /// Of each candidate, by this lane alone: the order across streams.
    reckoned: Vec<Reckoned>,
    taken: Vec<bool>,
    taken_bytes: u64,
    usable: bool,
}

impl Work<'_> {
    fn left(&self) -> u64 {
        self.lane.bytes.saturating_sub(self.taken_bytes)
    }

    /// The first candidate from `at` on that is not taken.
    fn free_from(&self, at: usize) -> Option<usize> {
        let rest = self.taken.get(at..)?;
        rest.iter().position(|taken| !taken).map(|skip| at + skip)
    }
}

/// The order of a walk.
#[derive(Clone, Copy)]
enum Order {
    /// (epoch, start): within a stream.
    Stream,
    /// Reckoned start: across the streams of a volume.
    Volume,
}

type Key = (i64, i64, i64);

/// Goes through the candidates of some lanes, oldest first.
struct Walk {
    order: Order,
    heap: BinaryHeap<Reverse<(Key, usize, usize)>>,
    /// Lanes of which nothing more is known though there is more: what comes next nobody knows.
    dry: Vec<usize>,
}

impl Walk {
    fn new(work: &[Work<'_>], lanes: impl IntoIterator<Item = usize>, order: Order) -> Self {
        let mut walk = Self { order, heap: BinaryHeap::new(), dry: Vec::new() };
        for lane in lanes {
            walk.push(work, lane, 0);
        }
        walk
    }

    fn push(&mut self, work: &[Work<'_>], at: usize, from: usize) {
        let Some(lane) = work.get(at) else { return };
        let known = lane.free_from(from).and_then(|next| {
            let candidate = lane.lane.oldest.get(next)?;
            let (epoch, start, id) = candidate.key();
            let first = match self.order {
                Order::Stream => i64::from(epoch),
                Order::Volume => lane.reckoned.get(next)?.start.as_micros(),
            };
            Some(((first, start.as_micros(), id.0), next))
        });
        match known {
            Some((key, next)) => self.heap.push(Reverse((key, at, next))),
            None if lane.lane.more && lane.left() > 0 => self.dry.push(at),
            None => {}
        }
    }

    fn next(&mut self, work: &[Work<'_>]) -> Option<Found> {
        if !self.dry.is_empty() {
            return None;
        }
        let Reverse((_, lane, at)) = self.heap.pop()?;
        self.push(work, lane, at + 1);
        let found = work.get(lane)?;
        let candidate = *found.lane.oldest.get(at)?;
        Some(Found { lane, at, candidate })
    }
}

#[derive(Clone, Copy)]
struct Found {
    lane: usize,
    at: usize,
    candidate: Candidate,
}

/// What was passed over, and why.
#[derive(Default)]
struct Passed {
    locked: bool,
    leased: bool,
}

impl Passed {
    fn note(&mut self, held: Held) {
        match held {
            Held::Locked => self.locked = true,
            Held::Leased => self.leased = true,
        }
    }

    fn why(&self) -> Option<Blocked> {
        match self {
            Self { locked: true, .. } => Some(Blocked::Locked),
            Self { leased: true, .. } => Some(Blocked::Leased),
            _ => None,
        }
    }
}

/// How taking ended.
#[derive(Default)]
struct Taken {
    any: bool,
    passed: Passed,
    /// More is to be loaded, or comes with the next plan.
    unfinished: bool,
}

pub(super) struct Picker<'a> {
    input: &'a Input,
    work: Vec<Work<'a>>,
    /// Indexes into `work`.
    of_stream: Vec<Vec<usize>>,
    of_volume: Vec<Vec<usize>>,
    picks: Vec<(Reason, usize, Pick)>,
    wants: BTreeSet<Want>,
    states: Vec<LimitState>,
    more: bool,
    age_left: usize,
    stream_left: usize,
}

impl<'a> Picker<'a> {
    pub(super) fn new(input: &'a Input) -> Self {
        let mut work = Vec::new();
        let mut of_stream = Vec::with_capacity(input.streams.len());
        let mut of_volume = vec![Vec::new(); input.volumes.len()];
        for (s, stream) in input.streams.iter().enumerate() {
            let mut own = Vec::with_capacity(stream.lanes.len());
            for (l, lane) in stream.lanes.iter().enumerate() {
                let at = work.len();
                let volume = lane.volume.and_then(|v| input.volumes.get(v));
                if let Some(lanes) = lane.volume.and_then(|v| of_volume.get_mut(v)) {
                    lanes.push(at);
                }
                let mut reckoner = Reckoner::new(&stream.epochs, stream.created, input.now);
                work.push(Work {
                    want: Want { stream: s, lane: l },
                    stream,
                    lane,
                    reckoned: lane.oldest.iter().map(|c| reckoner.next(c)).collect(),
                    taken: vec![false; lane.oldest.len()],
                    taken_bytes: 0,
                    usable: volume.is_some_and(|v| v.usable),
                });
                own.push(at);
            }
            of_stream.push(own);
        }
        Self {
            input,
            work,
            of_stream,
            of_volume,
            picks: Vec::new(),
            wants: BTreeSet::new(),
            states: Vec::new(),
            more: false,
            age_left: limits::PHASE,
            stream_left: limits::PHASE,
        }
    }

    pub(super) fn age(&mut self, stream: usize) {
        let Some(config) = self.input.streams.get(stream) else { return };
        let Some(max) = age_limit(&config.limits) else { return };
        let (now, held) = (self.input.now, self.input.age_held);
        let cutoff = now - max;
        let mut walk = Walk::new(&self.work, self.lanes(stream, true), Order::Stream);
        let mut came_to_the_end = true;
        let mut reckoner = Reckoner::new(&config.epochs, config.created, now);
        let (mut taken, mut next) = (Taken::default(), None);
        let (mut oldest, mut oldest_left, mut clock) = (None, None, false);
        while let Some(found) = walk.next(&self.work) {
            let reckoned = reckoner.next(&found.candidate);
            oldest = oldest.or(Some(reckoned.end));
            let due = reckoned.end <= cutoff;
            if next.is_none() && found.candidate.held.is_none() {
                next = Some(self.as_next(&found, Some(reckoned.end + max)));
            }
            let keep = match found.candidate.held {
                _ if !due => true,
                Some(why) => {
                    taken.passed.note(why);
                    true
                }
                None if held => {
                    clock = true;
                    true
                }
                None if self.age_left == 0 => {
                    taken.unfinished = true;
                    self.more = true;
                    true
                }
                None => {
                    self.age_left -= 1;
                    self.take(&found, Reason::Age, false);
                    taken.any = true;
                    false
                }
            };
            if keep {
                oldest_left = oldest_left.or(Some(reckoned.end));
                if !due || clock || taken.unfinished {
                    came_to_the_end = false;
                    break;
                }
            }
        }
        taken.unfinished |= came_to_the_end && self.load(&walk);
        let mut away = false;
        for lane in self.lanes(stream, false) {
            let Some(work) = self.work.get(lane).filter(|w| !w.usable && w.lane.bytes > 0) else {
                continue;
            };
            match work.lane.oldest.first() {
                Some(first) => away |= first.end <= cutoff,
                None if work.lane.more => drop(self.wants.insert(work.want)),
                None => {}
            }
        }
        let state = match taken.passed.why() {
            _ if clock => State::Blocked(Blocked::Clock),
            Some(why) if !taken.unfinished => State::Blocked(why),
            _ if taken.any || taken.unfinished => State::Underway,
            _ if away => State::Blocked(Blocked::VolumeAway),
            _ => State::Met,
        };
        let age = |end: Option<_>| end.map_or(0, |end| micros(now - end));
        self.states.push(LimitState {
            reason: Reason::Age,
            scope: Scope::Stream(config.id),
            limit: micros(max),
            now: age(oldest),
            after: age(oldest_left),
            state,
            next,
        });
    }

    pub(super) fn stream_bytes(&mut self, stream: usize) {
        let Some(config) = self.input.streams.get(stream) else { return };
        let Some(max) = config.limits.max_bytes else { return };
        let lanes = self.lanes(stream, true);
        let before = self.bytes(&lanes).saturating_add(config.open_bytes);
        let now: u64 = lanes.iter().filter_map(|at| self.work.get(*at)).map(|w| w.lane.bytes).sum();
        let band = Band::below(max, config.largest);
        let next = self.peek(&lanes, Order::Stream);
        let (mut used, mut taken) = (before, Taken::default());
        if before > band.low {
            let mut budget = self.stream_left;
            let mut need = before - band.goal;
            taken = self.fill(&lanes, Reason::StreamBytes, &mut need, &mut budget, false);
            self.stream_left = budget;
            used = band.goal.saturating_add(need);
        }
        let away: u64 = self
            .lanes(stream, false)
            .iter()
            .filter_map(|at| self.work.get(*at))
            .filter(|w| !w.usable)
            .map(|w| w.lane.bytes)
            .sum();
        let state = match taken.passed.why() {
            _ if taken.unfinished => State::Underway,
            _ if used <= max && taken.any => State::Underway,
            _ if used <= max && used.saturating_add(away) <= max => State::Met,
            _ if used <= max => State::Blocked(Blocked::VolumeAway),
            Some(why) => State::Blocked(why),
            None => State::Blocked(Blocked::Recording),
        };
        self.states.push(LimitState {
            reason: Reason::StreamBytes,
            scope: Scope::Stream(config.id),
            limit: max,
            now: now.saturating_add(config.open_bytes),
            after: used,
            state,
            next,
        });
    }

    pub(super) fn volume_bytes(&mut self, volume: usize) {
        let Some(config) = self.input.volumes.get(volume) else { return };
        let Some(max) = config.max_bytes else { return };
        let lanes = self.of_volume.get(volume).cloned().unwrap_or_default();
        let before = self.bytes(&lanes).saturating_add(config.open_bytes);
        let now: u64 = lanes.iter().filter_map(|at| self.work.get(*at)).map(|w| w.lane.bytes).sum();
        let band = Band::below(max, config.reserve);
        let next = self.peek(&lanes, Order::Volume);
        let (mut used, mut taken) = (before, Taken::default());
        if config.usable && before > band.low {
            let mut need = before - band.goal;
            let mut budget = limits::PHASE;
            taken = self.fill(&lanes, Reason::VolumeBytes, &mut need, &mut budget, false);
            used = band.goal.saturating_add(need);
        }
        let state = match taken.passed.why() {
            _ if !config.usable && used > max => State::Blocked(Blocked::VolumeAway),
            _ if taken.unfinished => State::Underway,
            _ if used <= max && taken.any => State::Underway,
            _ if used <= max => State::Met,
            Some(why) => State::Blocked(why),
            None => State::Blocked(Blocked::Recording),
        };
        self.states.push(LimitState {
            reason: Reason::VolumeBytes,
            scope: Scope::Volume(config.name.clone()),
            limit: max,
            now: now.saturating_add(config.open_bytes),
            after: used,
            state,
            next,
        });
    }

    pub(super) fn free_space(&mut self, volume: usize) {
        let Some(config) = self.input.volumes.get(volume) else { return };
        let Some((free, total)) = config.space.filter(|(_, total)| *total > 0) else { return };
        let lanes = self.of_volume.get(volume).cloned().unwrap_or_default();
        let ours = self.bytes(&lanes);
        let earlier: u64 =
            lanes.iter().filter_map(|at| self.work.get(*at)).map(|w| w.taken_bytes).sum();
        let before = free.saturating_add(config.freeing).saturating_add(earlier);
        let band = Band::above(config.min_free, config.reserve, total);
        // A volume with just so much free takes no new segment.
        let least = config.min_free.saturating_add(1);
        let unattainable = config.min_free >= total;
        let in_vain = before.saturating_add(ours) < least;
        let next = self.peek(&lanes, Order::Volume);
        let (mut after, mut taken) = (before, Taken::default());
        if config.usable && !unattainable && !in_vain && before < band.low {
            let mut need = band.goal - before;
            let mut budget = limits::PHASE;
            taken = self.fill(&lanes, Reason::FreeSpace, &mut need, &mut budget, false);
            after = band.goal.saturating_sub(need);
            if config.full && after < least && !taken.unfinished {
                // Only what is being read is left. No more of it than has to go.
                let mut need = least - after;
                let wanted = need;
                let broken = self.fill(&lanes, Reason::FreeSpace, &mut need, &mut budget, true);
                after = after.saturating_add(wanted.saturating_sub(need));
                taken.any |= broken.any;
                taken.unfinished |= broken.unfinished;
            }
        }
        let state = match taken.passed.why() {
            _ if unattainable => State::Blocked(Blocked::Unattainable),
            _ if after >= least && taken.any => State::Underway,
            _ if after >= least => State::Met,
            _ if !config.usable => State::Blocked(Blocked::VolumeAway),
            _ if in_vain => State::Blocked(Blocked::OthersFiles),
            _ if taken.unfinished => State::Underway,
            Some(why) => State::Blocked(why),
            None if config.open_bytes > 0 => State::Blocked(Blocked::Recording),
            None => State::Blocked(Blocked::OthersFiles),
        };
        self.states.push(LimitState {
            reason: Reason::FreeSpace,
            scope: Scope::Volume(config.name.clone()),
            limit: config.min_free,
            now: free,
            after,
            state,
            next,
        });
    }

    /// The plan.
    pub(super) fn finish(self) -> Plan {
        let full = |v: usize| self.input.volumes.get(v).is_some_and(|v: &VolumeInput| v.full);
        let mut groups: BTreeMap<(bool, Reason, usize), Vec<Pick>> = BTreeMap::new();
        for (reason, volume, pick) in self.picks {
            // Where nothing can be written, every second counts.
            groups.entry((!full(volume), reason, volume)).or_default().push(pick);
        }
        let steps = groups.into_iter().flat_map(|((_, reason, volume), picks)| {
            let step = move |segments: &[Pick]| Step {
                reason,
                volume,
                bytes: segments.iter().map(|s| s.bytes).sum(),
                segments: segments.to_vec(),
            };
            picks.chunks(limits::BATCH).map(step).collect::<Vec<_>>()
        });
        let wants: Vec<_> = self.wants.into_iter().collect();
        Plan { steps: steps.collect(), limits: self.states, wants, more: self.more }
    }

    /// Takes, oldest first, until nothing is needed any more.
    fn fill(
        &mut self,
        lanes: &[usize],
        reason: Reason,
        need: &mut u64,
        budget: &mut usize,
        break_leases: bool,
    ) -> Taken {
        let mut taken = Taken::default();
        let order = if reason == Reason::StreamBytes { Order::Stream } else { Order::Volume };
        let mut walk = Walk::new(&self.work, lanes.iter().copied(), order);
        while *need > 0 {
            let Some(found) = walk.next(&self.work) else { break };
            match found.candidate.held {
                Some(Held::Leased) if break_leases => {}
                Some(why) => {
                    taken.passed.note(why);
                    continue;
                }
                None => {}
            }
            if *budget == 0 {
                taken.unfinished = true;
                self.more = true;
                return taken;
            }
            *budget -= 1;
            *need = need.saturating_sub(found.candidate.bytes);
            let leased = found.candidate.held == Some(Held::Leased);
            self.take(&found, reason, leased);
            taken.any = true;
        }
        if *need > 0 {
            taken.unfinished |= self.load(&walk);
        }
        taken
    }

    fn take(&mut self, found: &Found, reason: Reason, breaks_lease: bool) {
        let Some(work) = self.work.get_mut(found.lane) else { return };
        let (Some(taken), Some(volume)) = (work.taken.get_mut(found.at), work.lane.volume) else {
            return;
        };
        *taken = true;
        let Candidate { id, start, end, bytes, .. } = found.candidate;
        work.taken_bytes = work.taken_bytes.saturating_add(bytes);
        let pick = Pick { stream: work.stream.id, id, start, end, bytes, breaks_lease };
        self.picks.push((reason, volume, pick));
    }

    /// Asks for what a walk lacked; whether it lacked something.
    fn load(&mut self, walk: &Walk) -> bool {
        let dry = walk.dry.iter().filter_map(|at| self.work.get(*at));
        self.wants.extend(dry.map(|w| w.want));
        !walk.dry.is_empty()
    }

    /// What would go next.
    fn peek(&mut self, lanes: &[usize], order: Order) -> Option<Next> {
        let mut walk = Walk::new(&self.work, lanes.iter().copied(), order);
        while let Some(found) = walk.next(&self.work) {
            if found.candidate.held.is_none() {
                return Some(self.as_next(&found, None));
            }
        }
        if self.input.preview {
            self.load(&walk);
        }
        None
    }

    fn as_next(&self, found: &Found, due: Option<WallTime>) -> Next {
        let Candidate { id, start, end, bytes, .. } = found.candidate;
        let stream = self.work.get(found.lane).map_or(StreamId(0), |w| w.stream.id);
        Next { stream, id, start, end, bytes, due }
    }

    /// Indexes of a stream's lanes.
    fn lanes(&self, stream: usize, usable: bool) -> Vec<usize> {
        let own = self.of_stream.get(stream).cloned().unwrap_or_default();
        let fits = |at: &usize| !usable || self.work.get(*at).is_some_and(|w| w.usable);
        own.into_iter().filter(fits).collect()
    }

    /// What is left in lanes.
    fn bytes(&self, lanes: &[usize]) -> u64 {
        lanes.iter().filter_map(|at| self.work.get(*at)).map(Work::left).sum()
    }
}

fn micros(span: WallSpan) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(0)
}
