//! One session's packets: one task, one path, for live and recorded footage.
//!
//! ```text
//! Feed (hub or reader) ─▶ ahead ─▶ wait until due ─▶ room at the sink ─▶ RTP ─▶ queue or socket
//! ```
//!
//! # Invariants
//!
//! * A PLAY is answered with the true first packets: units are read ahead until each track has one
//!   (or it is plain that it will not soon), then held until the answer is on its way.
//! * Between units nothing is held that a PAUSE would have to undo: a unit that was sent was sent
//!   whole, the next one is the one PLAY goes on with.
//! * A recording waits for its player for ever, and no unit of it is dropped (a player in pause may
//!   simply stop reading). Live does not wait: when the player takes nothing for
//!   [`limits::STALLED`] its connection is closed; one that is merely slow loses units up to a key
//!   frame once the hub holds them no longer.
//! * Footage that runs faster comes to where it is being filmed; from there on it runs as fast as it
//!   is filmed, and so does RTP time: a player that is promised more would wait for ever.
//! * The end is told by BYE, [`limits::FAREWELL`] after the last packet: players throw away what
//!   they still hold when it comes.

mod due;
mod pace;
mod replay;
mod report;
mod reverse;
mod start;
mod thin;
mod timeline;
mod track;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    counters::{Counters, DropReason, Present},
    footage::{Feed, Item, Resource},
    writer,
};
use crate::{
    clock::Clock,
    hub::Run,
    playback::PlaybackError,
    proto::{
        access_unit::{TrackIndex, leading_track},
        rtp::PacketBatch,
        rtsp::server::{Refusal, SessionId, Spot, Started, Wish},
        time::{WallSpan, WallTime},
    },
};

use pace::Pace;
use replay::Replaying;
use report::send_report;
use reverse::Reverse;
use thin::Thin;
use timeline::{Anchor, decoded_at, playing};
pub(super) use track::{Identity, Sink};
use track::{Left, TrackOut};

pub(super) mod limits {
    use std::time::Duration;

    /// Units read ahead of the first packet, at most, to know each track's first.
    pub(super) const AHEAD: usize = 128;
    /// Footage read ahead, at most.
    pub(super) const AHEAD_SPAN: Duration = Duration::from_secs(1);
    /// Time spent on it once there is a first unit.
    pub(super) const AHEAD_WAIT: Duration = Duration::from_millis(250);
    /// Time a PLAY waits for a live stream's next key frame before it is answered without it.
    pub(super) const LIVE_WAIT: Duration = Duration::from_millis(1_500);
    /// Time a PLAY waits for recorded footage to be read.
    pub(super) const RECORDED_WAIT: Duration = Duration::from_secs(10);
    /// Between sender reports of a track.
    pub(super) const REPORT: Duration = Duration::from_secs(5);
    /// Between the last packet and BYE.
    pub(super) const FAREWELL: Duration = Duration::from_secs(2);
    /// A live player that takes nothing for so long is cut off.
    pub(super) const STALLED: Duration = Duration::from_secs(10);
    /// UDP packets at once; then [`UDP_REST`]: a key frame in one heap overruns the 200 KiB that
    /// players' sockets hold.
    pub(super) const UDP_BURST: usize = 8;
    /// See [`UDP_BURST`].
    pub(super) const UDP_REST: Duration = Duration::from_millis(1);
    /// Failed reads in a row, a second apart, before a session is given up.
    pub(super) const FAILURES: u32 = 5;
    /// So near to what is being filmed nothing is played faster than it is filmed.
    pub(super) const EDGE: Duration = Duration::from_secs(1);
    /// Silence where recorded footage is missing, at most: players take a longer one for the end.
    pub(super) const SILENCE: Duration = Duration::from_secs(1);
    /// How old a live unit is taken to be, at most, when RTP time is anchored at it.
    pub(super) const LIVE_AGE: Duration = Duration::from_secs(30);
}

/// What a connection tells a delivery.
#[derive(Debug)]
pub(super) enum Command {
    /// SETUP: carry a track so.
    Carry { track: TrackIndex, identity: Identity, sink: Sink },
    /// TEARDOWN of one track.
    Mute(TrackIndex),
    /// PLAY: go there, find the first packets, hold them.
    Start {
        wish: Wish,
        tracks: Vec<TrackIndex>,
        play: u64,
        answer: oneshot::Sender<Result<Started, Refusal>>,
    },
    /// The answer is on its way (all of it written, when there is something to wait for).
    Release(Option<oneshot::Receiver<()>>),
    /// PAUSE.
    Pause(oneshot::Sender<()>),
}

/// What a delivery tells its connection.
#[derive(Debug)]
pub(super) enum Event {
    /// Played to the end; BYE was sent.
    Ended { session: SessionId, play: u64 },
    /// Nothing more can be sent.
    Failed { session: SessionId },
    /// Its player takes nothing: close the connection.
    Stalled,
    /// An RTCP report came over UDP.
    Alive { session: SessionId },
    /// What is published came over UDP.
    Published,
}

/// The connection a session belongs to now: it may pass to another.
#[derive(Clone, Debug)]
pub(super) struct Home(Arc<Mutex<mpsc::Sender<Event>>>);

impl Home {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self(Arc::new(Mutex::new(events)))
    }

    pub(super) fn move_to(&self, events: mpsc::Sender<Event>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = events;
    }

    /// Signs of life may be lost when the connection is busy: another comes.
    pub(super) fn alive(&self, session: &SessionId) {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = events.try_send(Event::Alive { session: session.clone() });
    }

    pub(super) async fn tell(&self, event: Event) {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A connection that is gone has no use for it.
        let _ = events.send(event).await;
    }
}

/// What a delivery begins with.
#[derive(Debug)]
pub(super) struct Seed {
    pub(super) session: SessionId,
    pub(super) resource: Arc<Resource>,
    pub(super) home: Home,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
    pub(super) max_packet: usize,
    /// Counted as a player's session. (One that sends to a group is nobody's.)
    pub(super) counts: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing to be sent.
    Idle,
    /// First packets found; waiting for [`Command::Release`].
    Held,
    /// The answer is being written.
    Releasing(oneshot::Receiver<()>),
    Playing,
    /// All sent; BYE is due.
    Ending(Instant),
}

/// A unit's packets that are not all sent yet (UDP only).
#[derive(Debug)]
struct Outgoing {
    track: TrackIndex,
    batch: PacketBatch,
    next: usize,
}

/// The task.
#[derive(Debug)]
pub(super) struct Delivery {
    seed: Seed,
    tracks: BTreeMap<TrackIndex, TrackOut>,
    feed: Option<Feed>,
    /// Units read and not sent, oldest first.
    ahead: VecDeque<Item>,
    /// The run of the unit sent last, to notice new parameters.
    run: Option<Arc<Run>>,
    anchor: Option<Anchor>,
    pace: Pace,
    /// While it is replayed as ONVIF has it.
    replay: Option<Replaying>,
    /// Without rate control: when the first unit was captured, and playing time then.
    sampled: Option<(WallTime, WallSpan)>,
    /// Of whole groups backwards: the key frame sent last.
    group: Option<WallSpan>,
    /// All that is to be played was read.
    drained: bool,
    /// While footage runs backwards.
    reverse: Option<Reverse>,
    thin: Thin,
    /// Where the unit of the leading track that was sent last is presented.
    place: Option<WallSpan>,
    state: State,
    outgoing: Option<Outgoing>,
    /// Where each track that was torn down has come to, should it be set up again.
    left: BTreeMap<TrackIndex, Left>,
    /// Session time 0; moves on by what the player slept.
    began: Instant,
    /// How long that was, in all.
    slept: WallSpan,
    /// Where the recording that is played was told to end.
    end: Option<Spot>,
    play: u64,
    /// When the PLAY came whose first packet is still to go.
    asked: Option<Instant>,
    failures: u32,
    _present: Option<Present>,
}

/// Why a step ended the playing.
enum Over {
    /// No more footage, or of a kind that was not described.
    End,
    /// The connection is gone.
    Gone,
    /// The player takes nothing.
    Stalled,
    /// Footage cannot be read.
    Failed,
}

impl Delivery {
    pub(super) fn new(seed: Seed) -> Self {
        let present = seed.counts.then(|| seed.counters.session());
        Self {
            seed,
            tracks: BTreeMap::new(),
            feed: None,
            ahead: VecDeque::new(),
            run: None,
            anchor: None,
            pace: Pace::NORMAL,
            replay: None,
            sampled: None,
            group: None,
            drained: false,
            reverse: None,
            thin: Thin::new(Pace::NORMAL),
            place: None,
            state: State::Idle,
            outgoing: None,
            left: BTreeMap::new(),
            began: Instant::now(),
            slept: WallSpan::ZERO,
            end: None,
            play: 0,
            asked: None,
            failures: 0,
            _present: present,
        }
    }

    /// Runs until told to stop or until its connection lets go of it.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.flush();
                    if !matches!(self.state, State::Idle) {
                        self.say_goodbye();
                    }
                    return;
                }
                command = commands.recv() => match command {
                    // TEARDOWN or time-out: who asked for it, or is gone, needs no BYE.
                    None => return,
                    Some(command) => self.obey(command, &stop).await,
                },
                over = self.step() => self.over(over).await,
            }
        }
    }

    async fn obey(&mut self, command: Command, stop: &CancellationToken) {
        match command {
            Command::Carry { track, identity, sink } => self.carry(track, identity, sink),
            Command::Mute(track) => {
                self.flush();
                if let Some(out) = self.tracks.remove(&track) {
                    self.left.insert(track, out.leave());
                }
            }
            Command::Start { wish, tracks, play, answer } => {
                let outcome = tokio::select! {
                    () = stop.cancelled() => return,
                    outcome = self.start(wish, &tracks, play) => outcome,
                };
                let _ = answer.send(outcome);
            }
            Command::Release(written) => {
                if matches!(self.state, State::Held) {
                    match written {
                        Some(written) => self.state = State::Releasing(written),
                        None => self.release(),
                    }
                }
            }
            Command::Pause(done) => {
                self.flush();
                self.halt();
                let _ = done.send(());
            }
        }
    }

    fn carry(&mut self, track: TrackIndex, identity: Identity, sink: Sink) {
        let max = self.seed.max_packet;
        let outcome = match self.tracks.get_mut(&track) {
            Some(out) => out.carry(track, identity, sink, max),
            None => {
                let Some(described) = self.seed.resource.tracks.get(track.as_usize()) else {
                    return;
                };
                let left = self.left.remove(&track);
                TrackOut::new(track, described, identity, left, sink, max)
                    .map(|out| drop(self.tracks.insert(track, out)))
            }
        };
        if let Err(error) = outcome {
            warn!(session = %self.seed.session, track = track.0, %error, "cannot send this track");
        }
    }

    /// Stops where it stands. The units read ahead stay: PLAY goes on with them.
    fn halt(&mut self) {
        self.state = State::Idle;
        self.asked = None;
        if self.seed.resource.kind.is_live() {
            // Live goes on at what is live then.
            self.feed = None;
            self.ahead.clear();
        } else if let Some(feed) = &mut self.feed {
            feed.rest();
        }
    }

    fn release(&mut self) {
        let now = self.now();
        if let Some(anchor) = &mut self.anchor
            && !self.seed.resource.kind.is_live()
        {
            anchor.release(now);
        }
        for out in self.tracks.values_mut() {
            out.report_at = None;
        }
        self.state = State::Playing;
    }

    /// Playing time.
    fn now(&self) -> WallSpan {
        playing(self.began.elapsed())
    }

    /// The wall time that sender reports tie to playing time: as playing time, it stands still
    /// while the player sleeps.
    fn wall(&self) -> WallTime {
        self.seed.clock.now() - self.slept
    }

    /// Goes on by one thing: a packet, a wait, a report. Cancel-safe.
    async fn step(&mut self) -> Over {
        loop {
            match &mut self.state {
                State::Idle | State::Held => std::future::pending::<()>().await,
                State::Releasing(written) => {
                    // An error means that nothing will be written any more.
                    let _ = written.await;
                    self.release();
                }
                State::Ending(at) => {
                    sleep_until(*at).await;
                    return Over::End;
                }
                State::Playing => {
                    if let Err(over) = self.play_on().await {
                        return over;
                    }
                }
            }
        }
    }

    async fn play_on(&mut self) -> Result<(), Over> {
        self.send_outgoing().await;
        let report_at = self.tracks.values().filter_map(|t| t.report_at).min();
        let report = async {
            match report_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        if self.ahead.is_empty() || self.looks_on() {
            let lead = leading_track(&self.seed.resource.tracks);
            let Some(feed) = &mut self.feed else { return Err(Over::Failed) };
            let next = tokio::select! {
                // What is there at once needs no timer.
                biased;
                next = fetch(feed, &mut self.reverse, lead) => next,
                () = report => {
                    self.report_due();
                    return Ok(());
                }
            };
            match next {
                Ok(Some(item)) => {
                    self.failures = 0;
                    if self.wants(&item) {
                        self.ahead.push_back(item);
                    }
                }
                Ok(None) => {
                    self.drained = true;
                    if self.ahead.is_empty() {
                        self.wind_up();
                    }
                }
                Err(error) => {
                    self.failures += 1;
                    warn!(session = %self.seed.session, %error, "read footage");
                    if self.failures >= limits::FAILURES {
                        return Err(Over::Failed);
                    }
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
            return Ok(());
        }
        let due = self.settle_first();
        if self.pace.is_free() || self.seed.resource.kind.is_live() {
            // Due now: a timer for each unit of each viewer would be dear.
            if report_at.is_some_and(|at| at <= Instant::now()) {
                self.report_due();
            }
            return self.send_first().await;
        }
        tokio::select! {
            () = sleep_until(due) => {}
            () = report => {
                self.report_due();
                return Ok(());
            }
        }
        self.send_first().await
    }

    /// A unit that may be the last of its track says so: whether the next must be looked for.
    fn looks_on(&self) -> bool {
        let Some(first) = self.ahead.front().filter(|_| self.replay.is_some()) else {
            return false;
        };
        let follows = self.ahead.iter().skip(1).any(|i| i.unit.track == first.unit.track);
        !follows && !self.drained && self.ahead.len() < limits::AHEAD
    }

    /// Whether a unit that was read is to be sent. To be asked once of each.
    fn wants(&mut self, item: &Item) -> bool {
        let Some(out) = self.tracks.get(&item.unit.track) else { return false };
        let wanted = self.replay.as_mut().is_none_or(|r| r.keeps(item, &out.described));
        wanted && self.thin.keeps(item, &out.described) && out.plays
    }

    /// Sends the oldest unit ahead. It is taken off only when there is room for it.
    async fn send_first(&mut self) -> Result<(), Over> {
        let live = self.seed.resource.kind.is_live();
        let Some(item) = self.ahead.front() else { return Ok(()) };
        let index = item.unit.track;
        let Some(out) = self.tracks.get(&index) else {
            self.ahead.pop_front();
            return Ok(());
        };
        let room = match &out.sink {
            Sink::Udp(_) => None,
            Sink::Interleaved { queue, .. } => Some(room(queue, item.unit.len(), live).await?),
        };
        let Some(item) = self.ahead.pop_front() else { return Ok(()) };
        self.notice(&item)?;
        if let Some(out) = self.tracks.get(&index) {
            // The wait for room may have been long.
            self.forgive(decoded_at(&item.unit, item.at, out.described.timescale));
        }
        if index == leading_track(&self.seed.resource.tracks) {
            self.place = Some(item.at);
            if item.unit.random_access {
                self.group = Some(item.at);
            }
        }
        let next = self.ahead.iter().find(|next| next.unit.track == index);
        let (drained, backward) = (self.drained, self.pace.is_backward());
        let replayed = self.replay.as_mut().map(|r| r.say(&item, next, drained, backward));
        let (now, time) = (self.now(), self.report_time());
        let due = match self.sampled {
            Some((wall, playing)) => playing + (item.unit.wall - wall),
            None => self.anchor.map_or(now, |anchor| anchor.due(item.at)),
        };
        let Some(out) = self.tracks.get_mut(&index) else { return Ok(()) };
        let timestamp = out.line.stamp(item.run.id, &item.unit, item.at, due);
        if out.report_at.is_none() {
            // The player's clock starts on it: it goes before the first packet.
            let packet = out.report(time, false);
            self.seed.counters.count_bytes(send_report(&out.sink, packet));
            out.report_at = Some(Instant::now() + limits::REPORT);
        }
        let mut batch = out.batch();
        if let Err(error) = out.sender.send_replayed(&item.unit, timestamp, replayed, &mut batch) {
            debug!(session = %self.seed.session, track = index.0, %error, "unit not sent");
            self.seed.counters.count_dropped(DropReason::Unsendable, 1);
            return Ok(());
        }
        if let Some(asked) = self.asked.take() {
            self.seed.counters.count_first_packet(asked.elapsed());
        }
        match (&out.sink, room) {
            (Sink::Interleaved { queue, .. }, Some(room)) => {
                queue.packets(batch, room).map_err(|writer::Gone| Over::Gone)?;
            }
            _ => {
                self.outgoing = Some(Outgoing { track: index, batch, next: 0 });
                self.send_outgoing().await;
            }
        }
        Ok(())
    }

    /// Looks whether the unit still is what was described, and breaks RTP lines at gaps.
    fn notice(&mut self, item: &Item) -> Result<(), Over> {
        let known = self.run.as_ref().is_some_and(|run| Arc::ptr_eq(run, &item.run));
        if !known {
            for (index, out) in &mut self.tracks {
                let now = item.run.tracks.get(index.as_usize());
                if !now.is_some_and(|now| out.follows(now)) {
                    debug!(session = %self.seed.session, "the stream's codecs have changed");
                    return Err(Over::End);
                }
            }
            self.run = Some(Arc::clone(&item.run));
        }
        // Each track has a first unit of its own behind a gap. The others' lines go on: among
        // B-frames a line can only be taken up again at a unit presented after all before it.
        if item.fresh
            && let Some(out) = self.tracks.get_mut(&item.unit.track)
        {
            out.line.interrupt();
        }
        Ok(())
    }

    /// Sends what is left of a unit, a few packets at a time. Cancel-safe.
    async fn send_outgoing(&mut self) {
        while let Some(outgoing) = &mut self.outgoing {
            let sink = self.tracks.get(&outgoing.track).map(|t| &t.sink);
            let Some(Sink::Udp(pair)) = sink else { break };
            if outgoing.next >= outgoing.batch.len() {
                break;
            }
            // Up to the next rest.
            let most = limits::UDP_BURST - outgoing.next % limits::UDP_BURST;
            let sent = pair.send(&outgoing.batch, outgoing.next, most).await;
            outgoing.next += sent.packets;
            self.seed.counters.count_bytes(sent.bytes);
            if outgoing.next.is_multiple_of(limits::UDP_BURST) {
                tokio::time::sleep(limits::UDP_REST).await;
            }
        }
        self.outgoing = None;
    }

    /// The same at once, so that a unit is never left half sent.
    fn flush(&mut self) {
        let Some(outgoing) = self.outgoing.take() else { return };
        if let Some(Sink::Udp(pair)) = self.tracks.get(&outgoing.track).map(|t| &t.sink) {
            let mut next = outgoing.next;
            while next < outgoing.batch.len() {
                let sent = pair.send_now(&outgoing.batch, next, limits::UDP_BURST);
                next += sent.packets;
                self.seed.counters.count_bytes(sent.bytes);
            }
        }
    }

    async fn over(&mut self, over: Over) {
        let session = self.seed.session.clone();
        match over {
            Over::End if !matches!(self.state, State::Ending(_)) => {
                // Not by its end but by what comes next: still let the player show what it has.
                self.feed = None;
                self.ahead.clear();
                self.wind_up();
            }
            Over::End => {
                if self.says_goodbye() {
                    self.say_goodbye();
                }
                self.state = State::Idle;
                self.seed.home.tell(Event::Ended { session, play: self.play }).await;
            }
            Over::Gone => self.state = State::Idle,
            Over::Stalled => {
                self.state = State::Idle;
                self.seed.home.tell(Event::Stalled).await;
            }
            Over::Failed => {
                self.say_goodbye();
                self.state = State::Idle;
                self.seed.home.tell(Event::Failed { session }).await;
            }
        }
    }
}

/// The next unit of what is played, the way it is played. Cancel-safe.
async fn fetch(
    feed: &mut Feed,
    reverse: &mut Option<Reverse>,
    lead: TrackIndex,
) -> Result<Option<Item>, PlaybackError> {
    match reverse {
        Some(reverse) => reverse.next(feed, lead).await,
        None => feed.next().await,
    }
}

/// Room at the connection. Live gives up on a player that takes nothing.
async fn room(queue: &writer::Queue, bytes: usize, live: bool) -> Result<writer::Room, Over> {
    let room = queue.room(bytes);
    if !live {
        return room.await.map_err(|writer::Gone| Over::Gone);
    }
    tokio::pin!(room);
    let waiting = Instant::now();
    loop {
        let patience = queue.progress().max(waiting) + limits::STALLED;
        tokio::select! {
            room = &mut room => return room.map_err(|writer::Gone| Over::Gone),
            () = sleep_until(patience) => {
                if queue.progress().max(waiting) + limits::STALLED <= Instant::now() {
                    return Err(Over::Stalled);
                }
            }
        }
    }
}
