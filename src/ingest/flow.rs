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

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{
    clock::Clock,
    hub::{Channel, ClockSource, Publisher, Run},
    id::{RunId, StreamId},
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, Tracks},
        codec::{Parameters, reorder::DtsFromPts},
        reason::GapReason,
        time::{MediaTime, Timescale, WallSpan, WallTime},
    },
};

use super::{
    PullError, StreamStatus,
    memory::{Memory, Place},
    pace::{Meter, Pace},
    run_clock::{Fault, RunClock},
    source::{SourceEvent, SourceTrack, SourceUnit},
    unit::{Heads, Wholeness, wholeness},
};

mod limits {
    use std::time::Duration;

    /// How long the first units of a run are held back.
    pub(super) const SETTLE: Duration = Duration::from_millis(300);
    /// And how many bytes of them at most: they reach the hub in one go, whose ring has to hold
    /// them until the recorder has looked.
    pub(super) const SETTLE_BYTES: usize = 4 << 20;
    /// For the first video after PLAY.
    pub(super) const FIRST_UNIT: Duration = Duration::from_secs(10);
    /// Silence of video that ends an attempt, at least; else ten times its median interval.
    pub(super) const SILENCE: Duration = Duration::from_secs(5);
    /// For parameter sets that do not stand in the description.
    pub(super) const PARAMETERS: Duration = Duration::from_secs(10);
    /// For the first key frame. "Smart" codecs send one every 20 s or so.
    pub(super) const KEY_FRAME: Duration = Duration::from_secs(60);
    /// For a key frame after a run ended in mid-session; then a new session gets one.
    pub(super) const NEXT_KEY_FRAME: Duration = Duration::from_secs(3);
    /// Video lost to the network beyond this is a gap.
    pub(super) const HOLE_US: i64 = 1_000_000;
    /// A media clock that steps back further than any reordering has jumped.
    pub(super) const BACKWARD_US: i64 = 2_000_000;
    /// How far the recorder's wall clock may leave its monotonic clock between two units.
    pub(super) const CLOCK_STEP_US: i64 = 2_000_000;
    /// A track beside the leading one that breaks runs this often is left out of the session.
    pub(super) const FAULTS: u32 = 3;
}

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
    /// The last unit's arrival: (wall, monotonic).
    last_arrival: Option<(WallTime, Instant)>,
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
    /// The newest sender report: NTP time and ticks.
    report: Option<(u64, i64)>,
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
                report: None,
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
            last_arrival: None,
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
                if let Some(state) = self.tracks.get_mut(track.as_usize()) {
                    state.report = Some((ntp, ticks));
                }
                self.align(track.as_usize());
            }
            SourceEvent::Parameters { track, parameters } => self.parameters(track, parameters),
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

    /// To be called twice a second: watchdogs, measurements, units held back.
    ///
    /// # Errors
    ///
    /// When a watchdog ends the session.
    pub(super) fn tick(&mut self, now: Instant) -> Result<(), PullError> {
        self.settle_when_due(now)?;
        let bits = self.meter.bits_per_second(now);
        let Some(leading) = self.tracks.get(self.leading) else {
            return Err(PullError::Internal("a session without tracks".to_owned()));
        };
        self.out.status.measured(leading.pace.rate(), bits);

        let (since, limit) = match leading.last_seen {
            None => (self.idle_since, limits::FIRST_UNIT),
            Some(seen) => (seen, patience(&leading.pace)),
        };
        let silence = now.saturating_duration_since(since);
        if silence > limit {
            return Err(match self.broken.take() {
                Some(detail) => PullError::Protocol { detail },
                None => PullError::Stalled { silence },
            });
        }
        if matches!(self.state, State::Idle) {
            let idle = now.saturating_duration_since(self.idle_since);
            let unknown = leading.parameters.is_none();
            match self.last_end.take() {
                Some(error) if idle > limits::NEXT_KEY_FRAME => return Err(error),
                last_end => self.last_end = last_end,
            }
            if unknown && idle > limits::PARAMETERS {
                return Err(PullError::NoParameters { within: limits::PARAMETERS });
            }
            if idle > limits::KEY_FRAME {
                let detail = format!("no key frame within {} s", limits::KEY_FRAME.as_secs());
                return Err(PullError::Protocol { detail });
            }
        }
        self.watch_other_tracks(now);
        Ok(())
    }

    /// Ends the run, if one is open, for `reason`.
    pub(super) fn end(&mut self, reason: GapReason, now: Instant) {
        // What was held back is footage, too.
        if matches!(self.state, State::Settling { .. }) {
            let _ = self.settle();
        }
        if let Some(running) = self.take_running() {
            running.publisher.end(reason);
            self.out.memory.run_ends(reason);
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

    fn unit(&mut self, unit: SourceUnit) -> Result<(), PullError> {
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

        if let Some(step) = self.wall_clock_step(&unit) {
            let detail = format!("met a recorder's clock set by {:+.1} s", step.as_secs_f64());
            self.interrupt(Interrupt::clock(self.leading, detail), now);
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

    /// How far the recorder's wall clock was set since the last unit, when that is more than it can
    /// be slewed.
    fn wall_clock_step(&mut self, unit: &SourceUnit) -> Option<WallSpan> {
        let arrival = (unit.arrival.wall, unit.arrival.at);
        let (wall, at) = self.last_arrival.replace(arrival)?;
        let passed = WallSpan::from(arrival.1.saturating_duration_since(at))
            - WallSpan::from(at.saturating_duration_since(arrival.1));
        let step = (arrival.0 - wall) - passed;
        let running = !matches!(self.state, State::Idle);
        (running && step.as_micros().abs() > limits::CLOCK_STEP_US).then_some(step)
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

    fn settle_when_due(&mut self, now: Instant) -> Result<(), PullError> {
        match &self.state {
            State::Settling { until, .. } if now >= *until => self.settle(),
            _ => Ok(()),
        }
    }

    /// Begins the run with what was held back.
    fn settle(&mut self) -> Result<(), PullError> {
        let State::Settling { units, .. } = std::mem::replace(&mut self.state, State::Idle) else {
            return Ok(());
        };
        let Some(first) = units.first() else { return Ok(()) };
        let (zero, at) = (first.ticks, first.arrival.at);
        self.apply_coming();
        let Some(leading) = self.tracks.get(self.leading) else { return Ok(()) };
        let started =
            least_wall(&units, self.leading, leading.timescale).unwrap_or(first.arrival.wall);
        let place = self.out.memory.place(started, self.out.clock.now());
        let Place::Here { epoch, later, previous_end } = place else {
            debug!("passed over pictures that are recorded already");
            return Ok(());
        };
        let started = started + later;
        let tracks = self.current_tracks()?;
        let run = Run {
            id: RunId::generate(&self.out.clock),
            stream: self.out.stream,
            epoch,
            started,
            clock_source: self.clock_source(),
            previous_end,
            tracks,
        };
        let id = run.id;
        self.out.status.tracks(&run.tracks);
        let publisher = self.out.channel.publish(run).map_err(|_| PullError::AlreadyPublishing)?;
        self.out.memory.run_begins(epoch, started);
        self.out.status.run_began();
        info!(run = %id, epoch, "run begins");
        let mut running =
            Running { publisher, started, tracks: self.tracks.iter().map(|_| None).collect() };
        if let (Some(place), Some(state)) =
            (running.tracks.get_mut(self.leading), self.tracks.get(self.leading))
        {
            let clock = RunClock::new(state.timescale, zero, started);
            *place = Some(TrackRun::new(clock, zero, state));
        }
        // The other tracks by the envelope of what was held back of them.
        for other in (0..self.tracks.len()).filter(|at| *at != self.leading) {
            let Some(first) = units.iter().find(|u| u.track.as_usize() == other) else { continue };
            let timescale = self.tracks.get(other).map_or(Timescale::VIDEO, |t| t.timescale);
            let Some(wall) = least_wall(&units, other, timescale) else { continue };
            self.begin_track(&mut running, other, first.ticks, wall);
        }
        self.state = State::Running(Box::new(running));
        self.last_end = None;
        for unit in units {
            let key = self.is_key(&unit);
            if let Err(interrupt) = self.publish(unit, key, true) {
                self.interrupt(interrupt, at);
                break;
            }
        }
        Ok(())
    }

    fn is_key(&self, unit: &SourceUnit) -> bool {
        let parameters = self.tracks.get(unit.track.as_usize()).and_then(|t| t.parameters.as_ref());
        parameters.is_some_and(|p| p.is_random_access(&unit.data))
    }

    fn apply_coming(&mut self) -> bool {
        let mut changed = false;
        for track in &mut self.tracks {
            if let Some(parameters) = track.coming.take() {
                track.heads = Heads::new(&parameters);
                track.parameters = Some(parameters);
                changed = true;
            }
        }
        changed
    }

    fn current_tracks(&self) -> Result<Tracks, PullError> {
        let tracks = self.tracks.iter().map(|track| {
            let parameters = track.parameters.clone()?;
            Some(Track { timescale: track.timescale, parameters })
        });
        let tracks: Option<Vec<_>> = tracks.collect();
        // Sound always has its parameters, and the leading track had them to have a key frame.
        tracks
            .map(Tracks::from)
            .ok_or_else(|| PullError::Internal("a track without parameters".into()))
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

    /// One whole unit into the run. `held`: it was held back, so the clocks know of it.
    fn publish(&mut self, unit: SourceUnit, key: bool, held: bool) -> Result<(), Interrupt> {
        let Some(mut running) = self.take_running() else { return Ok(()) };
        let outcome = self.publish_into(&mut running, unit, key, held);
        self.state = State::Running(running);
        outcome
    }

    fn publish_into(
        &mut self,
        running: &mut Running,
        unit: SourceUnit,
        key: bool,
        held: bool,
    ) -> Result<(), Interrupt> {
        let at = unit.track.as_usize();
        let leading = at == self.leading;
        if running.tracks.get(at).is_some_and(Option::is_none) {
            self.begin_track(running, at, unit.ticks, unit.arrival.wall);
        }
        let Some(Some(track)) = running.tracks.get_mut(at) else { return Ok(()) };
        let Some(state) = self.tracks.get_mut(at) else { return Ok(()) };
        let us = |ticks: i64| MediaTime::from_ticks(ticks).to_span(state.timescale).as_micros();

        let pts = unit.ticks.saturating_sub(track.zero);
        let ahead = us(pts.saturating_sub(track.newest));
        if -ahead > limits::BACKWARD_US {
            return Err(Interrupt::clock(
                at,
                format!("stepped back by {:.1} s", -ahead as f64 / 1e6),
            ));
        }
        if leading && unit.lost > 0 && ahead > limits::HOLE_US {
            let usual = state.pace.median().unwrap_or_default();
            let hole = Duration::from_micros(ahead.unsigned_abs()).saturating_sub(usual);
            // A camera of one picture a second loses a second with every picture.
            if hole > usual.mul_f64(1.5).max(Duration::from_micros(limits::HOLE_US.unsigned_abs()))
            {
                let error = PullError::PacketLoss { hole };
                return Err(Interrupt { error, reason: GapReason::PacketLoss, track: at });
            }
        }
        if held {
            track.clock.settled(unit.ticks);
        } else {
            track.clock.observe(unit.ticks, unit.arrival.wall).map_err(|fault| (at, fault))?;
        }
        if pts < 0 {
            // From before the run's first picture: sound, or a picture that refers to what came
            // before it.
            return Ok(());
        }
        let stamp = track
            .dts
            .push(MediaTime::from_ticks(pts))
            .map_err(|jump| Interrupt::clock(at, jump.to_string()))?;
        if let Some(last) = track.last_dts.replace(stamp.dts.ticks()) {
            state.pace.push(us(stamp.dts.ticks().saturating_sub(last)));
        }
        track.newest = track.newest.max(pts);

        if key && leading && self.apply_coming() {
            let tracks = self.current_tracks().map_err(|error| Interrupt {
                error,
                reason: GapReason::Internal,
                track: at,
            })?;
            self.out.status.tracks(&tracks);
            running.publisher.set_tracks(tracks);
        }
        let Some(state) = self.tracks.get_mut(at) else { return Ok(()) };
        let Some(parameters) = &state.parameters else { return Ok(()) };
        let (head, body) = if key {
            state.heads.split(parameters, unit.data)
        } else {
            (bytes::Bytes::new(), unit.data)
        };
        let wall = track.clock.wall(unit.ticks);
        let unit = AccessUnit {
            track: unit.track,
            number: track.number,
            dts: stamp.dts,
            cts: stamp.cts,
            wall,
            random_access: key,
            head,
            body,
        };
        track.number += 1;
        self.out.status.unit(unit.len(), self.last_arrival.map_or(wall, |(wall, _)| wall));
        if leading {
            let length = state.pace.median().unwrap_or(Duration::ZERO);
            self.out.memory.reaches(wall + WallSpan::from(length));
        }
        running.publisher.push(unit);
        Ok(())
    }

    /// A track that follows the leading one joins the run; `arrived`: the envelope at `ticks`.
    fn begin_track(&self, running: &mut Running, at: usize, ticks: i64, arrived: WallTime) {
        let Some(state) = self.tracks.get(at) else { return };
        let leading = running.tracks.get(self.leading).and_then(Option::as_ref);
        let beside = leading.and_then(|leading| self.beside(&leading.clock, at, ticks));
        let clock = match beside {
            Some(wall) => RunClock::aligned(state.timescale, ticks, arrived, wall),
            None => RunClock::new(state.timescale, ticks, arrived),
        };
        // Media time 0 of every track is the same moment.
        let zero = clock.ticks(running.started);
        if let Some(place) = running.tracks.get_mut(at) {
            *place = Some(TrackRun::new(clock, zero, state));
        }
    }

    /// Where tick `ticks` of a track stands by the camera's own word of how its tracks lie beside
    /// one another.
    fn beside(&self, leading_clock: &RunClock, at: usize, ticks: i64) -> Option<WallTime> {
        let (leading, track) = (self.tracks.get(self.leading)?, self.tracks.get(at)?);
        let since =
            |from: i64| MediaTime::from_ticks(ticks.saturating_sub(from)).to_span(track.timescale);
        let leading_ticks = |span: WallSpan, from: i64| {
            from.saturating_add(MediaTime::from_span(span, leading.timescale).ticks())
        };
        if let (Some((ntp, report)), Some((leading_ntp, leading_report))) =
            (track.report, leading.report)
        {
            let apart = WallTime::from_ntp(ntp) - WallTime::from_ntp(leading_ntp);
            return Some(leading_clock.wall(leading_ticks(apart + since(report), leading_report)));
        }
        if self.has_rtp_info() {
            let (first, elapsed) = track.first?;
            let (leading_first, leading_elapsed) = leading.first?;
            let elapsed = MediaTime::from_ticks(elapsed).to_span(track.timescale);
            let leading_elapsed = MediaTime::from_ticks(leading_elapsed).to_span(leading.timescale);
            let apart = elapsed + since(first) - leading_elapsed;
            return Some(leading_clock.wall(leading_ticks(apart, leading_first)));
        }
        None
    }

    /// Without RTP-Info, each track's time begins with its first unit.
    fn has_rtp_info(&self) -> bool {
        self.tracks.len() > 1 && self.tracks.iter().any(|t| t.first.is_some_and(|(_, e)| e != 0))
    }

    fn clock_source(&self) -> ClockSource {
        if self.tracks.len() > 1 && self.tracks.iter().all(|t| t.report.is_some()) {
            ClockSource::SenderReport
        } else if self.has_rtp_info() {
            ClockSource::RtpInfo
        } else {
            ClockSource::Arrival
        }
    }

    /// A sender report came: the tracks that follow are led to where they belong.
    fn align(&mut self, reported: usize) {
        let Some(mut running) = self.take_running() else { return };
        for other in (0..self.tracks.len()).filter(|at| *at != self.leading) {
            if reported != other && reported != self.leading {
                continue;
            }
            let ticks = self.tracks.get(other).and_then(|t| t.report).map(|(_, ticks)| ticks);
            let leading = running.tracks.get(self.leading).and_then(Option::as_ref);
            let wall = match (ticks, leading) {
                (Some(ticks), Some(leading)) => self.beside(&leading.clock, other, ticks),
                _ => None,
            };
            if let (Some(ticks), Some(wall), Some(Some(track))) =
                (ticks, wall, running.tracks.get_mut(other))
                && !track.clock.align(ticks, wall)
            {
                debug!(track = other, "sender reports are not believed");
            }
        }
        self.state = State::Running(running);
    }

    fn watch_other_tracks(&mut self, now: Instant) {
        if !self.is_running() {
            return;
        }
        for (at, track) in self.tracks.iter_mut().enumerate() {
            if at == self.leading || track.silent || track.muted {
                continue;
            }
            let since = track.last_seen.unwrap_or(self.idle_since);
            if now.saturating_duration_since(since) > patience(&track.pace) {
                info!(track = at, "fell silent");
                track.silent = true;
                self.out.status.silence(true);
            }
        }
    }
}

impl TrackRun {
    fn new(clock: RunClock, zero: i64, state: &TrackState) -> Self {
        let dts = state.parameters.as_ref().map_or_else(DtsFromPts::in_order, |parameters| {
            DtsFromPts::of(&Track { timescale: state.timescale, parameters: parameters.clone() })
        });
        Self { clock, zero, dts, number: 0, newest: 0, last_dts: None }
    }
}

/// How long a track may be silent.
fn patience(pace: &Pace) -> Duration {
    pace.median().map_or(limits::SILENCE, |median| (median * 10).max(limits::SILENCE))
}

/// Wall time of a track's first unit by the lower envelope of all of its units.
fn least_wall(units: &[SourceUnit], track: usize, timescale: Timescale) -> Option<WallTime> {
    let mut units = units.iter().filter(|u| u.track.as_usize() == track).peekable();
    let first = units.peek()?.ticks;
    let walls = units.map(|unit| {
        let since = MediaTime::from_ticks(unit.ticks.saturating_sub(first)).to_span(timescale);
        unit.arrival.wall - since
    });
    walls.min()
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
