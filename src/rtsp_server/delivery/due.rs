//! When the oldest unit ahead is sent: the tie between footage and playing time.

use tokio::time::Instant;

use super::{
    Delivery, limits,
    pace::Pace,
    reverse::Reverse,
    timeline::{Anchor, decoded_at, late},
};
use crate::{proto::time::WallSpan, rtsp_server::footage::Feed};

impl Delivery {
    /// Lets playing time stand still where footage at `decoded` should have been sent so long ago
    /// that the player cannot have been listening. Live footage waits for nobody.
    pub(super) fn forgive(&mut self, decoded: WallSpan) {
        let whole = self.reverse.as_ref().is_some_and(Reverse::is_whole);
        if self.seed.resource.kind.is_live() || self.pace.is_free() || whole {
            return;
        }
        let due = self.anchor.map(|anchor| anchor.due(decoded));
        if let Some(late) = due.and_then(|due| late(due, self.now())) {
            self.began += late.to_duration();
            self.slept += late;
        }
    }

    /// Goes on at normal speed once it has come to what is being filmed, from the unit at `at` on,
    /// decoded at `decoded`.
    fn meet_the_edge(&mut self, at: WallSpan, decoded: WallSpan, now: WallSpan) {
        let kind = &self.seed.resource.kind;
        let (Some(item), Some(anchor)) = (self.ahead.front(), self.anchor) else { return };
        if kind.is_live() || !kind.is_open_ended() || !self.pace.catches_up() {
            return;
        }
        let edge = WallSpan::from(limits::EDGE);
        let waited_for = self.feed.as_ref().is_some_and(Feed::is_at_the_edge)
            && now - anchor.due(decoded) > edge;
        if !waited_for && self.seed.clock.now() - item.unit.wall > edge {
            return;
        }
        self.pace = Pace::NORMAL;
        self.thin.set_pace(self.pace);
        let anchor = self.anchor_at(decoded, now);
        for out in self.tracks.values_mut() {
            out.line.set_pace(self.pace);
            out.line.begin(at, anchor.due(at));
        }
        self.anchor = Some(anchor);
    }

    /// When the oldest unit ahead is to be sent; anchors it where nothing is anchored.
    pub(super) fn settle_first(&mut self) -> Instant {
        let now = self.now();
        let live = self.seed.resource.kind.is_live();
        let Some(item) = self.ahead.front() else { return Instant::now() };
        let Some(out) = self.tracks.get(&item.unit.track) else { return Instant::now() };
        let at = item.at;
        let decoded = decoded_at(&item.unit, at, out.described.timescale);
        if live && item.fresh {
            self.anchor = None;
        }
        if self.anchor.is_none() {
            let anchor = self.anchor_at(decoded, now);
            self.anchor = Some(anchor);
            for out in self.tracks.values_mut() {
                out.line.settle(at);
                if live {
                    out.line.interrupt();
                }
            }
            if let Some(item) = self.ahead.front_mut() {
                item.fresh = false;
            }
        }
        if live || self.pace.is_free() {
            return Instant::now();
        }
        if self.reverse.as_ref().is_some_and(Reverse::is_whole) {
            // Shown from its end: all of it is due when the group behind it was shown.
            let key = self.ahead.front().is_some_and(|item| item.unit.random_access);
            let due = self.anchor.zip(self.group.filter(|_| key)).map(|(a, at)| a.due(at));
            return self.began + due.unwrap_or(now).to_duration();
        }
        self.close_up(decoded, now);
        self.meet_the_edge(at, decoded, now);
        self.forgive(decoded);
        let due = self.anchor.map_or(WallSpan::ZERO, |anchor| anchor.due(decoded));
        self.began + due.to_duration()
    }

    /// Where footage is missing in the middle of a run (deleted since the clip was made, damaged)
    /// npt has a hole: playing time has none.
    pub(super) fn close_up(&mut self, decoded: WallSpan, now: WallSpan) {
        let fresh = self.ahead.front().is_some_and(|item| item.fresh);
        let Some(before) = self.anchor.filter(|_| fresh) else { return };
        if before.due(decoded) - now <= WallSpan::from(limits::SILENCE) {
            return;
        }
        let anchor = self.anchor_at(decoded, now);
        let jump = self.pace.footage(before.due(decoded) - anchor.due(decoded));
        for out in self.tracks.values_mut() {
            out.line.skip(jump);
        }
        self.anchor = Some(anchor);
    }

    /// Ties footage at `decoded` to now, or for live to when it was captured; never so early that
    /// RTP time would go back.
    pub(super) fn anchor_at(&self, decoded: WallSpan, now: WallSpan) -> Anchor {
        let mut due = now;
        if self.seed.resource.kind.is_live() {
            let captured = WallSpan::from_micros(self.seed.clock.now().as_micros()) - decoded;
            let age = captured.max(WallSpan::ZERO).min(WallSpan::from(limits::LIVE_AGE));
            due = now - age;
        }
        let played = self.tracks.values().filter_map(|t| t.line.played()).max();
        let least = played.map_or(due, |p| p + WallSpan::from_micros(1_000));
        Anchor::new(decoded, due.max(least), self.pace)
    }
}
