//! Live footage by multicast: one sender a stream, shared by all who watch it so.
//!
//! # Invariants
//!
//! * A [`Group`] begins with its first viewer's SETUP and ends with its last one's session (TEARDOWN
//!   or time-out); its delivery sends from the first PLAY on. Who joins later sees a picture with the
//!   stream's next key frame; a PAUSE is heard by nobody else.
//! * Groups are few ([`Multicast::groups`]); a stream takes the one its id falls on, or the next that
//!   is free. When none is free: 461.
//! * Addresses and ports are the operator's: nothing a client says moves them.
//! * When what was described ends (another codec), all viewers' sessions end as any live one does.

use std::{
    net::Ipv4Addr,
    sync::{Arc, PoisonError, Weak},
};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Shared,
    counters::Present,
    delivery::{Command, Delivery, Event, Home, Identity, Seed, Sink},
    footage::Resource,
    settings::Multicast,
    udp::Pair,
};
use crate::{
    clock::Clock,
    id::StreamId,
    proto::{
        access_unit::TrackIndex,
        rtsp::server::{self, Extent, Refusal, SessionId, Started, Wish},
    },
};

/// Commands and events that wait in a group.
const QUEUE: usize = 16;

/// A group in use, for as long as anybody watches.
#[derive(Debug)]
struct Taken {
    stream: StreamId,
    place: u32,
    group: Weak<Group>,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    settings: Multicast,
    taken: std::sync::Mutex<Vec<Taken>>,
    stop: CancellationToken,
}

/// One stream's sender.
#[derive(Debug)]
pub(super) struct Group {
    settings: Multicast,
    address: Ipv4Addr,
    tracks: Vec<(Identity, Pair)>,
    clock: Clock,
    commands: mpsc::Sender<Command>,
    /// Whether it was started. Held while the first packets are sought, so that it is done once.
    started: Mutex<bool>,
    /// Nothing more will be sent.
    over: CancellationToken,
}

impl Groups {
    pub(super) fn new(settings: Multicast) -> Self {
        Self { settings, taken: std::sync::Mutex::default(), stop: CancellationToken::new() }
    }

    /// The server stops.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// The group of a stream: the one that is sent to, or a new one.
    pub(super) async fn join(
        &self,
        shared: &Shared,
        resource: &Arc<Resource>,
    ) -> Result<Arc<Group>, Refusal> {
        let stream = resource.stream.stream;
        let (group, inbox, home) = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.retain(|t| t.group.strong_count() > 0);
            let there = taken.iter().filter(|t| t.stream == stream).find_map(|t| t.group.upgrade());
            if let Some(group) = there.filter(|group| !group.over.is_cancelled()) {
                return Ok(group);
            }
            let count = self.settings.groups.max(1);
            let wanted = u32::try_from(stream.0.unsigned_abs() % u64::from(count)).unwrap_or(0);
            let free = (0..count)
                .map(|n| (wanted + n) % count)
                .find(|place| taken.iter().all(|t| t.place != *place));
            let Some(place) = free else {
                warn!("no multicast group is left");
                return Err(Refusal::NoCarrier);
            };
            let (commands, inbox) = mpsc::channel(QUEUE);
            let (home, events) = mpsc::channel(QUEUE);
            let opened = self.open(place, resource, shared.parts.clock.clone(), commands);
            let group = Arc::new(opened.map_err(|error| {
                warn!(%error, "open a multicast group");
                Refusal::NoCarrier
            })?);
            taken.push(Taken { stream, place, group: Arc::downgrade(&group) });
            shared.tracker.spawn(watch(events, group.over.clone()));
            (group, inbox, home)
        };
        info!(camera.slug = %resource.stream.camera, address = %group.address, "multicast begins");
        let delivery = Delivery::new(Seed {
            session: SessionId::new(rand::random()),
            resource: Arc::clone(resource),
            home: Home::new(home),
            counters: Arc::clone(&shared.counters),
            clock: shared.parts.clock.clone(),
            max_packet: shared.settings.max_packet,
            counts: false,
        });
        shared.tracker.spawn(delivery.run(inbox, self.stop.clone()));
        for (index, (identity, pair)) in (0..).zip(&group.tracks) {
            let sink = Sink::Udp(pair.clone());
            let carry = Command::Carry { track: TrackIndex(index), identity: *identity, sink };
            group.commands.send(carry).await.map_err(|_| Refusal::Internal)?;
        }
        Ok(group)
    }

    fn open(
        &self,
        place: u32,
        resource: &Resource,
        clock: Clock,
        commands: mpsc::Sender<Command>,
    ) -> std::io::Result<Group> {
        let settings = self.settings;
        let address = Ipv4Addr::from_bits(settings.first.to_bits().saturating_add(place));
        let ports = (settings.port..u16::MAX).step_by(2);
        let tracks = ports
            .zip(resource.tracks.iter())
            .map(|(port, _)| Ok((Identity::random(), Pair::multicast(address, port, &settings)?)))
            .collect::<std::io::Result<_>>()?;
        let over = CancellationToken::new();
        Ok(Group { settings, address, tracks, clock, commands, started: Mutex::new(false), over })
    }
}

/// Until its delivery has nothing more to send, or is no more.
async fn watch(mut events: mpsc::Receiver<Event>, over: CancellationToken) {
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Ended { .. } | Event::Failed { .. }) {
            break;
        }
    }
    over.cancel();
}

impl Group {
    fn track(&self, index: TrackIndex) -> Option<&(Identity, Pair)> {
        self.tracks.get(index.as_usize())
    }

    pub(super) fn sink(&self, index: TrackIndex) -> Option<Sink> {
        self.track(index).map(|(_, pair)| Sink::Udp(pair.clone()))
    }

    /// Synchronisation source and place of a track.
    pub(super) fn place(&self, index: TrackIndex) -> (u32, Option<server::Group>) {
        let Some((identity, pair)) = self.track(index) else { return (0, None) };
        let (address, ttl) = (self.address.into(), self.settings.ttl);
        (identity.ssrc, Some(server::Group { address, port: pair.ports(), ttl }))
    }

    /// The first PLAY looks for the first packets; the others find it so.
    async fn start(&self, wish: Wish) -> Result<Started, Refusal> {
        if self.over.is_cancelled() {
            return Err(Refusal::NothingToPlay);
        }
        let mut started = self.started.lock().await;
        if !*started {
            let (answer, outcome) = oneshot::channel();
            let tracks = (0..).map(TrackIndex).take(self.tracks.len()).collect();
            let command = Command::Start { wish, tracks, play: 1, answer };
            self.commands.send(command).await.map_err(|_| Refusal::Internal)?;
            outcome.await.map_err(|_| Refusal::Internal)??;
            *started = true;
        }
        let extent = Extent::Live { now: self.clock.now() };
        // No first packets: those that a viewer will see first are not known.
        Ok(Started { extent, tracks: Vec::new(), scale: 1.0, speed: 1.0 })
    }
}

/// A session that watches a group, in a delivery's stead: it sends nothing of its own.
#[derive(Debug)]
pub(super) struct Viewer {
    session: SessionId,
    group: Arc<Group>,
    home: Home,
    /// The PLAY it is in.
    play: Option<u64>,
    _present: Present,
}

impl Viewer {
    pub(super) const fn new(
        session: SessionId,
        group: Arc<Group>,
        home: Home,
        present: Present,
    ) -> Self {
        Self { session, group, home, play: None, _present: present }
    }

    /// Runs until told to stop or until its connection lets go of it.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.group.over.cancelled(), if self.play.is_some() => {
                    if let Some(play) = self.play.take() {
                        let session = self.session.clone();
                        self.home.tell(Event::Ended { session, play }).await;
                    }
                }
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    let obeyed = stop.run_until_cancelled(self.obey(command)).await;
                    if obeyed.is_none() {
                        return;
                    }
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            // The group carries all tracks, whoever watches which.
            Command::Carry { .. } | Command::Mute(_) => {}
            Command::Start { wish, play, answer, .. } => {
                let outcome = self.group.start(wish).await;
                self.play = outcome.is_ok().then_some(play);
                let _ = answer.send(outcome);
            }
            Command::Release(written) => {
                if let Some(written) = written {
                    let _ = written.await;
                }
                // Of no effect once it is sent to.
                let _ = self.group.commands.send(Command::Release(None)).await;
            }
            Command::Pause(done) => {
                self.play = None;
                let _ = done.send(());
            }
        }
    }
}
