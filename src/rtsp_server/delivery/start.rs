//! PLAY: find the place and the first packet of each track, say what they are, hold them.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{Delivery, State, decoded_at, limits};
use crate::{
    playback::Target,
    proto::{
        access_unit::{TrackIndex, leading_track},
        rtsp::server::{Extent, FirstPacket, Refusal, Spot, Started, Wish},
        time::{WallSpan, WallTime},
    },
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
        if live {
            // Asked again while it plays: it goes on, unless a track joins, which begins best at a
            // key frame.
            if !goes_on || joined || self.feed.is_none() {
                self.ahead.clear();
                self.feed = Some(self.seed.resource.kind.feed(&self.seed.counters));
                self.anchor = None;
            }
        } else {
            self.find(&wish).await?;
        }
        let found = self.look_ahead().await?;
        // To go on where nothing is left is no error: it ends as it would have without the pause,
        // by BYE. (Players give up on a 457.)
        if !found && !live && (wish.start.is_some() || !resumes) {
            return Err(Refusal::NothingToPlay);
        }
        let started = self.tell(found && goes_on && wish.start.is_none());
        self.state = State::Held;
        Ok(started)
    }

    /// Goes to where a recording is to begin.
    async fn find(&mut self, wish: &Wish) -> Result<(), Refusal> {
        let kind = &self.seed.resource.kind;
        let now = self.seed.clock.now();
        let target = |spot| match spot {
            Spot::Npt(npt) => Target::Npt(npt),
            Spot::Wall(wall) => Target::Wall(wall),
            Spot::Now => Target::Wall(now),
        };
        let resumes = wish.start.is_none() && self.feed.is_some();
        let feed = self.feed.get_or_insert_with(|| kind.feed(&self.seed.counters));
        if !resumes {
            self.ahead.clear();
            self.end = None;
            let start = target(wish.start.unwrap_or(Spot::Npt(WallSpan::ZERO)));
            match feed.seek(start).await {
                Ok(true) => {}
                Ok(false) => {
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
        if let Some(end) = wish.end {
            feed.set_end(target(end));
            self.end = Some(end);
        }
        Ok(())
    }

    /// Reads until every track that plays has a unit ahead, or it is plain that one will not have
    /// any soon. False when there is none at all.
    async fn look_ahead(&mut self) -> Result<bool, Refusal> {
        let live = self.seed.resource.kind.is_live();
        let wait = if live { limits::LIVE_WAIT } else { limits::RECORDED_WAIT };
        let mut until = Instant::now() + wait;
        if !self.ahead.is_empty() {
            until = Instant::now() + limits::AHEAD_WAIT;
        }
        while !self.is_known() && self.ahead.len() < limits::AHEAD {
            let Some(feed) = &mut self.feed else { break };
            let next = tokio::select! {
                biased;
                next = feed.next() => next,
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
        span > limits::AHEAD_SPAN
            || self.tracks.iter().filter(|(_, t)| t.plays).all(|(index, _)| seen(*index))
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
        let live = self.seed.resource.kind.is_live();
        if !(live && unbroken && self.anchor.is_some()) {
            self.anchor = decoded.map(|decoded| self.anchor_at(decoded, now));
        }
        let anchor = self.anchor;
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
        Started { extent: self.extent(first), tracks }
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
        // Footage recorded since the clip was described lies beyond its end as described.
        Extent::Recorded { npt: (npt, end_npt.max(npt)), wall: (wall, end_wall.max(wall)) }
    }
}
