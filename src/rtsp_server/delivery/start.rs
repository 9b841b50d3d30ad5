//! PLAY: find the place and the first packet of each track, say what they are, hold them.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{
    Delivery, State, decoded_at, fetch, limits,
    pace::Pace,
    replay::Replaying,
    reverse::{Reverse, TICK},
    thin::Thin,
};
use crate::{
    playback::{Direction, Target},
    proto::{
        access_unit::{TrackIndex, leading_track},
        rtsp::server::{Extent, FirstPacket, Frames, Manner, Refusal, Spot, Started, Wish},
        time::{WallSpan, WallTime},
    },
    rtsp_server::footage::Kind,
};

impl Delivery {
    /// Answers a PLAY. On success nothing is sent until it is released.
    pub(super) async fn start(
        &mut self,
        wish: Wish,
        tracks: &[TrackIndex],
        play: u64,
    ) -> Result<Started, Refusal> {
        self.flush();
        self.asked = Some(Instant::now());
        let goes_on = matches!(self.state, State::Playing | State::Releasing(_));
        self.state = State::Idle;
        self.play = play;
        let joined = tracks.iter().any(|t| self.tracks.get(t).is_some_and(|out| !out.plays));
        for (index, out) in &mut self.tracks {
            out.plays = tracks.contains(index);
        }
        self.ahead.retain(|item| tracks.contains(&item.unit.track));

        let live = self.seed.resource.kind.is_live();
        let resumes = self.feed.is_some();
        let (mut moved, mut changed) = (false, false);
        if live {
            // Asked again while it plays: it goes on, unless a track joins, which begins best at a
            // key frame.
            if !goes_on || joined || self.feed.is_none() {
                self.ahead.clear();
                self.feed = Some(self.seed.resource.kind.feed(&self.seed.counters));
                self.anchor = None;
            }
        } else {
            let goes_on = wish.start.is_none() && wish.end.is_none();
            let pace = self.pace.after(&wish.manner, goes_on);
            self.replay_as(&wish.manner, goes_on);
            self.drained = false;
            let now = self.now();
            for out in self.tracks.values_mut() {
                out.line.arrive(now);
            }
            moved = self.find(&wish, pace).await?;
            if moved && let Some(replay) = &mut self.replay {
                replay.tear(self.tracks.keys().copied());
            }
            changed = std::mem::replace(&mut self.pace, pace) != pace;
        }
        for out in self.tracks.values_mut() {
            out.line.set_pace(self.pace);
        }
        let found = self.look_ahead().await?;
        // To go on where nothing is left is no error: it ends as it would have without the pause,
        // by BYE. (Players give up on a 457.)
        if !found && !live && (wish.start.is_some() || !resumes) {
            return Err(Refusal::NothingToPlay);
        }
        let started = self.tell(found && goes_on && !moved && !changed);
        self.state = State::Held;
        Ok(started)
    }

    /// What ONVIF's headers ask for.
    fn replay_as(&mut self, manner: &Manner, goes_on: bool) {
        match (manner.replay, &mut self.replay) {
            (Some(asked), Some(replaying)) if goes_on => replaying.go_on(asked, manner.frames),
            (Some(asked), replaying) => {
                let frames = manner.frames.unwrap_or_default();
                *replaying = Some(Replaying::new(asked, frames));
            }
            (None, _) if goes_on => {}
            (None, replaying) => *replaying = None,
        }
    }

    /// Goes to where a recording is to begin, or to go on; whether that is elsewhere.
    async fn find(&mut self, wish: &Wish, pace: Pace) -> Result<bool, Refusal> {
        let kind = &self.seed.resource.kind;
        let now = self.seed.clock.now();
        let target = |spot| match spot {
            Spot::Npt(npt) => Target::Npt(npt),
            Spot::Wall(wall) => Target::Wall(wall),
            Spot::Now => Target::Wall(now),
        };
        let backward = pace.is_backward();
        let whole =
            self.replay.as_ref().is_some_and(|r| !matches!(r.frames(), Frames::Intra { .. }));
        if self.replay.as_ref().is_some_and(Replaying::sees_the_end) && is_outside(kind, wish) {
            return Err(Refusal::NothingToPlay);
        }
        let wish = &turned(*wish, backward);
        let from = match wish.start {
            Some(spot) => Some(target(spot)),
            None if self.feed.is_none() && backward => kind.end().map(|(npt, _)| Target::Npt(npt)),
            None if self.feed.is_none() => Some(Target::Npt(WallSpan::ZERO)),
            None if backward != self.pace.is_backward() => {
                // The end that was asked for lies the other way.
                self.end = None;
                Some(Target::Npt(self.place.unwrap_or_default()))
            }
            // Pictures that come next hang on some that were left out: back to the last one shown.
            None if !backward && pace != self.pace && self.thin.is_broken() => {
                self.place.map(Target::Npt)
            }
            None => None,
        };
        self.thin.set_pace(pace);
        let feed = self.feed.get_or_insert_with(|| kind.feed(&self.seed.counters));
        if from.is_some() {
            self.ahead.clear();
            self.thin = Thin::new(pace);
            if wish.start.is_some() {
                self.end = None;
            }
        }
        self.end = wish.end.or(self.end);
        if backward {
            let floor = self.end.and_then(|end| kind.both(target(end)));
            let floor = floor.map_or(WallSpan::ZERO, |(npt, _)| npt);
            match (from, &mut self.reverse) {
                (None, Some(reverse)) => reverse.set_floor(floor),
                (from, reverse) => {
                    let before = from.map_or(WallSpan::ZERO, |from| last_before(kind, from));
                    *reverse = Some(Reverse::new(before, floor, whole));
                }
            }
            return Ok(from.is_some());
        }
        self.reverse = None;
        if let Some(from) = from {
            match feed.seek(from, Direction::Forward).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    // Nowhere to go on from either.
                    self.feed = None;
                    return Err(Refusal::NothingToPlay);
                }
                Err(error) => {
                    warn!(session = %self.seed.session, %error, "seek");
                    return Err(Refusal::Internal);
                }
            }
        }
        if let Some(end) = self.end {
            feed.set_end(target(end));
        }
        Ok(from.is_some())
    }

    /// Reads until every track that plays has a unit ahead, or it is plain that one will not have
    /// any soon. False when there is none at all.
    async fn look_ahead(&mut self) -> Result<bool, Refusal> {
        let live = self.seed.resource.kind.is_live();
        let lead = leading_track(&self.seed.resource.tracks);
        let wait = if live { limits::LIVE_WAIT } else { limits::RECORDED_WAIT };
        let mut until = Instant::now() + wait;
        if !self.ahead.is_empty() {
            until = Instant::now() + limits::AHEAD_WAIT;
        }
        while !self.is_known() && self.ahead.len() < limits::AHEAD {
            let Some(feed) = &mut self.feed else { break };
            let next = tokio::select! {
                biased;
                next = fetch(feed, &mut self.reverse, lead) => next,
                () = sleep_until(until) => break,
            };
            match next {
                Ok(Some(item)) if self.wants(&item) => {
                    if self.ahead.is_empty() {
                        until = until.min(Instant::now() + limits::AHEAD_WAIT);
                    }
                    self.ahead.push_back(item);
                }
                Ok(Some(_)) => {}
                // The end; it will be found again when everything ahead is sent.
                Ok(None) => break,
                Err(error) => {
                    warn!(session = %self.seed.session, %error, "read footage");
                    return Err(Refusal::Internal);
                }
            }
        }
        Ok(!self.ahead.is_empty())
    }

    /// Whether the first unit of each track that plays is known, or far off.
    fn is_known(&self) -> bool {
        let (Some(first), Some(last)) = (self.ahead.front(), self.ahead.back()) else {
            return false;
        };
        let span: Duration = (last.at - first.at).to_duration();
        let seen = |index| self.ahead.iter().any(|item| item.unit.track == index);
        // Backwards there are pictures only.
        let lead = leading_track(&self.seed.resource.tracks);
        let comes = |index: TrackIndex| !self.pace.is_backward() || index == lead;
        span > limits::AHEAD_SPAN
            || self
                .tracks
                .iter()
                .filter(|(index, t)| t.plays && comes(**index))
                .all(|(index, _)| seen(*index))
    }

    /// Fixes RTP time for what is ahead and says what will be played. With `unbroken` the footage
    /// goes on where it is, and so does RTP time.
    fn tell(&mut self, unbroken: bool) -> Started {
        let now = self.now();
        // Units were being sent up to now, so the place in the footage is that of the next.
        let lead = leading_track(&self.seed.resource.tracks);
        let first = self
            .ahead
            .iter()
            .find(|item| item.unit.track == lead)
            .or_else(|| self.ahead.front())
            .map(|item| (item.at, item.unit.wall));
        let decoded = self.ahead.front().and_then(|item| {
            let out = self.tracks.get(&item.unit.track)?;
            Some(decoded_at(&item.unit, item.at, out.described.timescale))
        });
        let origin = decoded.and_then(|at| self.reverse.as_mut()?.take_from(at));
        let decoded = origin.or(decoded);
        // A whole group is shown from its end.
        let shown = origin.and_then(|at| self.seed.resource.kind.both(Target::Npt(at - TICK)));
        let shown = shown.or(first);
        let live = self.seed.resource.kind.is_live();
        if !(live && unbroken && self.anchor.is_some()) {
            self.anchor = decoded.map(|decoded| self.anchor_at(decoded, now));
        }
        let anchor = self.anchor;
        self.group = None;
        self.sampled = anchor.zip(first).map(|(anchor, (at, wall))| (wall, anchor.due(at)));
        self.sampled = self.sampled.filter(|_| self.pace.is_free());
        let mut tracks = Vec::new();
        for (index, out) in self.tracks.iter_mut().filter(|(_, t)| t.plays) {
            let unit = self.ahead.iter().find(|item| item.unit.track == *index);
            let at = unit.map(|item| item.at).or(first.map(|(at, _)| at));
            let exact = unit
                .filter(|item| unbroken && !item.fresh)
                .and_then(|item| out.line.continued(item.run.id, &item.unit));
            let timestamp = match (exact, at, anchor) {
                (Some(timestamp), _, _) => timestamp,
                (None, Some(at), Some(anchor)) => out.line.begin(at, anchor.due(at)),
                _ => out.line.promise(now),
            };
            let sequence = out.sender.next_sequence();
            tracks.push(FirstPacket { track: *index, sequence, timestamp });
        }
        if anchor.is_some()
            && let Some(item) = self.ahead.front_mut()
        {
            // Whatever broke before it, RTP time is told from here.
            item.fresh = false;
        }
        let (scale, speed) = (self.pace.scale(), self.pace.speed());
        Started { extent: self.extent(shown), tracks, scale, speed }
    }

    fn extent(&self, first: Option<(WallSpan, WallTime)>) -> Extent {
        let kind = &self.seed.resource.kind;
        let Some(full) = kind.end() else {
            return Extent::Live { now: self.seed.clock.now() };
        };
        let end = match self.end {
            Some(Spot::Npt(npt)) => kind.both(Target::Npt(npt)),
            Some(Spot::Wall(wall)) => kind.both(Target::Wall(wall)),
            Some(Spot::Now) | None => None,
        };
        let (end_npt, end_wall) = end.unwrap_or(full);
        let (npt, wall) = first.unwrap_or((end_npt, end_wall));
        if self.pace.is_backward() {
            let (start_npt, start_wall) =
                end.or_else(|| kind.both(Target::Npt(WallSpan::ZERO))).unwrap_or((npt, wall));
            return Extent::Recorded {
                npt: (npt, start_npt.min(npt)),
                wall: (wall, start_wall.min(wall)),
            };
        }
        // Footage recorded since the clip was described lies beyond its end as described.
        Extent::Recorded { npt: (npt, end_npt.max(npt)), wall: (wall, end_wall.max(wall)) }
    }
}

/// Backwards from the later to the earlier, whichever way round they were written.
fn turned(wish: Wish, backward: bool) -> Wish {
    let ahead = match (wish.start, wish.end) {
        (Some(Spot::Npt(a)), Some(Spot::Npt(b))) => a < b,
        (Some(Spot::Wall(a)), Some(Spot::Wall(b))) => a < b,
        _ => false,
    };
    if backward && ahead { Wish { start: wish.end, end: wish.start, ..wish } } else { wish }
}

/// Where what is presented at `from` or before ends; inside a gap where the footage before it does.
fn last_before(kind: &Kind, from: Target) -> WallSpan {
    match from {
        Target::Npt(npt) => npt + TICK,
        Target::Wall(wall) => {
            let npt = kind.both(from).map_or(WallSpan::ZERO, |(npt, _)| npt);
            let there = kind.both(Target::Npt(npt)).map_or(wall, |(_, there)| there);
            if there > wall { npt } else { npt + TICK }
        }
    }
}

/// Whether nothing of what is asked for by the wall clock is there. (Players that are no ONVIF
/// clients are taken to the nearest footage instead.)
fn is_outside(kind: &Kind, wish: &Wish) -> bool {
    let Some((_, begin)) = kind.both(Target::Npt(WallSpan::ZERO)) else { return false };
    let wall = |spot| match spot {
        Some(Spot::Wall(wall)) => Some(wall),
        _ => None,
    };
    let (from, to) = (wall(wish.start), wall(wish.end));
    let earlier = to.or(from).into_iter().chain(from).min();
    let later = to.or(from).into_iter().chain(from).max();
    let over = kind.end().filter(|_| !kind.is_open_ended());
    let before = later.filter(|_| to.is_some()).is_some_and(|later| later <= begin);
    before || earlier.zip(over).is_some_and(|(earlier, (_, end))| earlier >= end)
}
