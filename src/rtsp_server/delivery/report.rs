//! What goes beside the packets: sender reports, and BYE at the end.

use tokio::time::Instant;

use super::{Delivery, Sink, State, limits, replay::Replaying};
use crate::proto::time::{WallSpan, WallTime};

impl Delivery {
    pub(super) fn report_due(&mut self) {
        let (at, time) = (Instant::now(), self.report_time());
        for out in self.tracks.values_mut().filter(|t| t.report_at.is_some_and(|due| due <= at)) {
            let packet = out.report(time, false);
            self.seed.counters.count_bytes(send_report(&out.sink, packet));
            out.report_at = Some(at + limits::REPORT);
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        let time = self.report_time();
        for out in self.tracks.values_mut().filter(|t| t.plays) {
            let packet = out.report(time, true);
            self.seed.counters.count_bytes(send_report(&out.sink, packet));
            out.report_at = None;
        }
    }

    /// All is sent.
    pub(super) fn wind_up(&mut self) {
        let rest = if self.says_goodbye() { limits::FAREWELL } else { std::time::Duration::ZERO };
        self.state = State::Ending(Instant::now() + rest);
    }

    pub(super) fn says_goodbye(&self) -> bool {
        !self.replay.as_ref().is_some_and(Replaying::sees_the_end)
    }

    /// What sender reports say: without rate control nothing.
    pub(super) fn report_time(&self) -> Option<(WallTime, WallSpan)> {
        (!self.pace.is_free()).then(|| (self.wall(), self.now()))
    }
}

/// Returns the bytes sent (those on the connection are counted there).
pub(super) fn send_report(sink: &Sink, packet: bytes::BytesMut) -> usize {
    match sink {
        Sink::Interleaved { queue, .. } => {
            // When the connection is gone the next unit finds out.
            let _ = queue.report(packet.freeze());
            0
        }
        Sink::Udp(pair) => pair.report(&packet),
    }
}
