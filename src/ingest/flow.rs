//! From what a camera sends to what the hub gets: runs, numbers, decoding times, wall times.
//!
//! ```text
//! idle ──key frame──▶ settling ──0.3 s──▶ running ──end of run──▶ idle (until the next key frame)
//! ```
//!
//! # Why a run settles first
//!
//! Cameras and servers that hold a group of pictures send it in a burst to a new client. Its first
//! unit arrives seconds after it was captured, the last one at once; the lower envelope of the
//! burst is known only when it is over. So the first 0.3 s of a run are held back, and then
//! published with the wall times they deserve.
//!
//! # Why a run can end without the session
//!
//! A jump of the media clock or a second lost to the network says nothing against the connection. A
//! new run begins at the next key frame; only when none comes soon does the attempt end, because a
//! new session makes a camera send one.

mod align;
mod begin;
mod limits;
mod publish;
mod reports;
mod watch;

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{
    clock::{Clock, Steady},
    hub::{Channel, Publisher},
    id::StreamId,
    proto::{
        access_unit::TrackIndex,
        codec::{Parameters, reorder::DtsFromPts},
        reason::GapReason,
        time::{Timescale, WallSpan, WallTime},
    },
    task::Failure,
};

use reports::Reports;

use super::{
    PullError, StreamStatus,
    memory::Memory,
    pace::{Meter, Pace},
    run_clock::{Fault, RunClock},
    source::{Arrival, SourceEvent, SourceTrack, SourceUnit},
    unit::{Heads, Wholeness, wholeness},
};

/// Everything a flow works for.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    pub(super) stream: StreamId,
    pub(super) channel: Arc<Channel>,
    pub(super) clock: Clock,
    pub(super) status: Arc<StreamStatus>,
    pub(super) memory: Arc<Memory>,
}

impl Outlet {
    /// A unit came that is not whole.
    fn damaged(&self) {
        self.status.damaged(1);
        self.channel.count_damaged(1);
    }
}

/// The units of one session on their way to the hub.
#[derive(Debug)]
pub(super) struct Flow {
    out: Outlet,
    tracks: Vec<TrackState>,
    leading: usize,
    state: State,
    meter: Meter,
    /// When the session began, or the last run ended.
    idle_since: Instant,
    /// Why the last run ended.
    last_end: Option<PullError>,
    /// A packet broke the rules, and no whole video unit came since.
    broken: Option<String>,
    /// The recorder's clock since the run began, or as of the last unit where there is none.
    steady: Option<Steady>,
    /// How long the machine had slept then.
    asleep: WallSpan,
    /// The last unit's arrival.
    arrived: WallTime,
}

#[derive(Debug)]
enum State {
    Idle,
    Settling { until: Instant, units: Vec<SourceUnit>, bytes: usize },
    Running(Box<Running>),
}

#[derive(Debug)]
struct Running {
    publisher: Publisher,
    started: WallTime,
    /// By track; made when the track's first unit comes.
    tracks: Vec<Option<TrackRun>>,
}

/// One track over the whole session.
#[derive(Debug)]
struct TrackState {
    timescale: Timescale,
    parameters: Option<Parameters>,
    /// To be used from the next random access unit on.
    coming: Option<Parameters>,
    heads: Heads,
    reports: Reports,
    /// How far it was led from its own arrival at the end of the last run.
    bias: WallSpan,
    /// The first unit: ticks, and time since the beginning by RTP-Info.
    first: Option<(i64, i64)>,
    pace: Pace,
    last_seen: Option<Instant>,
    silent: bool,
    faults: u32,
    muted: bool,
}

/// One track over one run.
#[derive(Debug)]
struct TrackRun {
    clock: RunClock,
    /// The camera's ticks at the run's media time 0.
    zero: i64,
    dts: DtsFromPts,
    number: u64,
    /// The newest presentation time, and the last decoding time; ticks of the run.
    newest: i64,
    last_dts: Option<i64>,
}

/// Ends the run, not (yet) the session.
#[derive(Debug)]
struct Interrupt {
    error: PullError,
    reason: GapReason,
    /// The track whose fault it was.
    track: usize,
}

impl Interrupt {
    fn clock(track: usize, detail: String) -> Self {
        let error = PullError::ClockJump { detail };
        Self { error, reason: GapReason::ClockJump, track }
    }
}

impl From<(usize, Fault)> for Interrupt {
    fn from((track, fault): (usize, Fault)) -> Self {
        Self::clock(track, fault.to_string())
    }
}

impl Flow {
    /// A session with these tracks begins.
    pub(super) fn new(out: Outlet, tracks: &[SourceTrack], now: Instant) -> Self {
        let leading = tracks.iter().position(|t| t.codec.is_video()).unwrap_or(0);
        let tracks = tracks.iter().map(|track| {
            let parameters = track.codec.parameters().cloned();
            TrackState {
                timescale: track.timescale,
                heads: parameters.as_ref().map(Heads::new).unwrap_or_default(),
                parameters,
                coming: None,
                reports: Reports::new(track.timescale),
                bias: WallSpan::ZERO,
                first: None,
                pace: Pace::default(),
                last_seen: None,
                silent: false,
                faults: 0,
                muted: false,
            }
        });
        Self {
            out,
            tracks: tracks.collect(),
            leading,
            state: State::Idle,
            meter: Meter::new(now),
            idle_since: now,
            last_end: None,
            broken: None,
            steady: None,
            asleep: WallSpan::ZERO,
            arrived: WallTime::default(),
        }
    }

    /// Whether units are being published.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Takes in what the camera sent.
    ///
    /// # Errors
    ///
    /// When the session is of no more use.
    pub(super) fn event(&mut self, event: SourceEvent) -> Result<(), PullError> {
        match event {
            SourceEvent::Unit(unit) => self.unit(unit)?,
            SourceEvent::SenderReport { track, ntp, ticks } => {
                self.reported(track, ntp, ticks);
            }
            SourceEvent::Parameters { track, parameters } => self.parameters(track, parameters),
            SourceEvent::Bye { track } if track.as_usize() == self.leading => {
                return Err(PullError::Ended);
            }
            SourceEvent::Bye { track } => self.fell_silent(track.as_usize()),
            SourceEvent::Broken { detail } => {
                if self.broken.is_none() {
                    debug!("passed over a packet: {detail}");
                    self.out.damaged();
                }
                self.broken = Some(detail);
            }
        }
        Ok(())
    }

    /// Ends the run, if one is open, for `reason`.
    pub(super) fn end(&mut self, reason: GapReason, now: Instant) {
        // What was held back is footage, too.
        if matches!(self.state, State::Settling { .. }) {
            let _ = self.settle();
        }
        if let Some(running) = self.take_running() {
            for (state, track) in self.tracks.iter_mut().zip(&running.tracks) {
                state.bias = track.as_ref().map_or(state.bias, |track| track.clock.bias());
            }
            running.publisher.end(reason);
            // The clock of the run: the recorder's may be set by now.
            self.out.memory.run_ends(reason, self.steady.map(|s| s.moment()));
        }
        self.state = State::Idle;
        self.idle_since = now;
    }

    fn parameters(&mut self, track: TrackIndex, parameters: Parameters) {
        let Some(state) = self.tracks.get_mut(track.as_usize()) else { return };
        if state.parameters.is_none() {
            state.heads = Heads::new(&parameters);
            state.parameters = Some(parameters);
        } else {
            state.coming = Some(parameters);
        }
    }

    fn unit(&mut self, mut unit: SourceUnit) -> Result<(), PullError> {
        let at = unit.track.as_usize();
        let leading = at == self.leading;
        let now = unit.arrival.at;
        self.settle_when_due(now)?;
        let Some(state) = self.tracks.get_mut(at) else { return Ok(()) };
        if state.muted {
            return Ok(());
        }
        let Some(parameters) = &state.parameters else { return Ok(()) };
        match wholeness(parameters, &unit.data) {
            Wholeness::Whole => {}
            Wholeness::NoPicture => return Ok(()),
            Wholeness::Headless => {
                self.out.damaged();
                return Ok(());
            }
        }
        if unit.lost > 0 {
            self.out.damaged();
        }
        let key = parameters.is_random_access(&unit.data);
        if !key
            && let Some(coming) = &state.coming
            && parameters.needs_new_sample_entry(coming)
        {
            // It wants parameters that only the next key frame brings into the file.
            self.out.damaged();
            return Ok(());
        }
        state.last_seen = Some(now);
        state.first.get_or_insert((unit.ticks, unit.elapsed));
        if std::mem::take(&mut state.silent) {
            info!(track = at, "sends again");
            self.out.status.silence(false);
        }
        if leading {
            self.broken = None;
        }
        self.meter.add(unit.data.len());

        if let Some(interrupt) = self.steady(&mut unit.arrival) {
            self.interrupt(interrupt, now);
            self.anchor(unit.arrival);
        }
        if self.is_running() {
            match self.publish(unit.clone(), key, false) {
                Ok(()) => return Ok(()),
                Err(interrupt) => self.interrupt(interrupt, now),
            }
        }
        match &mut self.state {
            State::Running(_) => {}
            State::Settling { units, bytes, .. } => {
                *bytes += unit.data.len();
                units.push(unit);
                if *bytes > limits::SETTLE_BYTES {
                    self.settle()?;
                }
            }
            State::Idle => {
                if leading && key {
                    let (bytes, until) = (unit.data.len(), now + limits::SETTLE);
                    self.state = State::Settling { until, units: vec![unit], bytes };
                }
            }
        }
        Ok(())
    }

    /// Puts an arrival on the clock of the run. Where the recorder's clock was set that run is over,
    /// and what comes next is told by the new clock.
    fn steady(&mut self, arrival: &mut Arrival) -> Option<Interrupt> {
        let taken = match &mut self.steady {
            Some(steady) if !matches!(self.state, State::Idle) => {
                steady.take(arrival.wall, arrival.at)
            }
            _ => {
                self.anchor(*arrival);
                return None;
            }
        };
        let by = match taken {
            Ok(wall) => {
                arrival.wall = wall;
                self.arrived = wall;
                return None;
            }
            Err(by) => by,
        };
        let slept = self.out.clock.asleep() - self.asleep;
        let error = if slept > limits::NAP {
            PullError::Slept { slept: slept.to_duration() }
        } else {
            PullError::ClockSet { by }
        };
        Some(Interrupt { reason: error.reason(), error, track: self.leading })
    }

    /// The recorder's clock as it stands: what comes next begins a run, or waits for one.
    fn anchor(&mut self, arrival: Arrival) {
        self.steady = Some(Steady::new(arrival.wall, arrival.at));
        self.arrived = arrival.wall;
        self.asleep = self.out.clock.asleep();
    }

    /// Ends the run; the session goes on.
    fn interrupt(&mut self, interrupt: Interrupt, now: Instant) {
        warn!(reason = %interrupt.reason, "run ended: {}", interrupt.error);
        self.end(interrupt.reason, now);
        self.last_end = Some(interrupt.error);
        if interrupt.track != self.leading
            && let Some(state) = self.tracks.get_mut(interrupt.track)
        {
            state.faults += 1;
            if state.faults >= limits::FAULTS {
                // One bad track must not cost the others their footage.
                warn!(track = interrupt.track, "left out: its clock keeps jumping");
                state.muted = true;
                self.out.status.silence(true);
            }
        }
    }

    /// Takes the run out, to be put back; any other state stays.
    fn take_running(&mut self) -> Option<Box<Running>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Running(running) => Some(running),
            other => {
                self.state = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod sync_tests;
#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
