//! One connection: drives the state machine.
//!
//! ```text
//! socket ─▶ Decoder ─▶ proto::rtsp::server ─▶ Respond ─▶ Queue ─▶ Writer ─▶ socket
//!                        │        ▲                       ▲
//!                        ▼ Ask    │ answer                │ packets
//!                      questions ─┘          Delivery (one a session)
//! ```
//!
//! The task outlives its socket while sessions on UDP are left; then another connection may claim
//! them.

use std::{collections::BTreeMap, future::Future, io, net::IpAddr, pin::Pin, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::{
    Place, Shared,
    delivery::{Command, Delivery, Event, Home, Identity, Seed, Sink},
    entrance::{Arrival, Beside},
    footage::Resource,
    gate::Gate,
    multicast::{Group, Viewer},
    orphans::{Adopted, Claim},
    publishing::{Announced, Entry, Publishing},
    questions::{Asker, Granted},
    writer::{self, Queue},
};
use crate::proto::{
    access_unit::TrackIndex,
    rtsp::{
        message::{InterleavedFrame, Message},
        parse::Decoder,
        server::{
            self, Connection, Described, Output, Parting, Question, Refusal, SessionId, SetUp,
            Started,
        },
    },
};

pub(super) mod limits {
    use std::time::Duration;

    /// For a request to be complete, and for the first one to begin.
    pub(in super::super) const HEADER: Duration = Duration::from_secs(10);
    /// For the last answer to go out, and for the client to close.
    pub(in super::super) const LINGER: Duration = Duration::from_secs(1);
    /// For deliveries to say good-bye when the server stops.
    pub(in super::super) const GOODBYE: Duration = Duration::from_millis(500);
    /// Events of all deliveries that wait for their connection.
    pub(in super::super) const EVENTS: usize = 64;
    /// Commands that wait for a delivery.
    pub(in super::super) const COMMANDS: usize = 16;
    /// Read at a time from a publisher, bytes.
    pub(in super::super) const READ_MEDIA: usize = 64 << 10;
    /// Read at a time, bytes.
    pub(in super::super) const READ: usize = 4 << 10;
}

/// What plays a session, as its connection holds it. Dropping it ends the delivery.
#[derive(Debug)]
pub(super) struct Player {
    commands: mpsc::Sender<Command>,
    home: Home,
    owner: String,
    identities: BTreeMap<TrackIndex, Identity>,
    /// End the tasks that listen on UDP.
    listeners: BTreeMap<TrackIndex, DropGuard>,
    task: JoinHandle<()>,
    on_udp: bool,
    /// What it watches by multicast; then nothing is sent for it alone.
    group: Option<Arc<Group>>,
}

enum Answer {
    Described(Result<Described, Refusal>),
    Granted(Box<Result<Granted, Refusal>>),
    Started(Result<Started, Refusal>),
    Paused,
    Adopted(Box<Result<Option<Adopted>, Refusal>>),
    Announced(Box<Result<Announced, Refusal>>),
    Admitted(Box<Result<Entry, Refusal>>),
    MayRecord(Result<(), Refusal>),
}

type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The socket's reading side while there is one.
#[derive(Debug)]
enum Inbox<R> {
    Open(R),
    /// Told to close: what still comes is thrown away, so that the last answer arrives.
    Draining(R, Instant),
    Closed,
}

pub(super) struct Driver<R> {
    shared: Arc<Shared>,
    asker: Asker,
    machine: Connection<Arc<Resource>>,
    players: BTreeMap<SessionId, Player>,
    publishing: Option<Publishing>,
    asking: Option<Asking>,
    inbox: Inbox<R>,
    buffer: BytesMut,
    decoder: Decoder,
    /// When the request that has begun must be complete.
    header_by: Option<Instant>,
    queue: Queue,
    writer: JoinHandle<io::Result<()>>,
    writing: bool,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    claims: (mpsc::Sender<Claim>, mpsc::Receiver<Claim>),
    peer: IpAddr,
    token: CancellationToken,
    _place: Place,
}

impl<R: AsyncRead + Unpin> Driver<R> {
    /// `buffer` is what was read already.
    pub(super) fn new<W>(arrival: Arrival, reader: R, writer: W, buffer: BytesMut) -> Self
    where
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let Arrival { shared, peer, local, secure, beside, by, token, place } = arrival;
        let datagrams = beside == Beside::Datagrams;
        let (queue, writer) = writer::queue(writer, Arc::clone(&shared.counters));
        let writer = shared.tracker.spawn(writer.run());
        let settings = server::Settings {
            timeout: shared.settings.session_timeout,
            udp: shared.ports.is_some() && datagrams,
            multicast: shared.groups.is_some() && datagrams,
        };
        let gate = Arc::new(Gate::new(shared.parts.access.clone(), peer, secure));
        let asker = Asker { shared: Arc::clone(&shared), gate, local, peer, queue: queue.clone() };
        Self {
            shared,
            asker,
            machine: Connection::new(now(), settings),
            players: BTreeMap::new(),
            publishing: None,
            asking: None,
            inbox: Inbox::Open(reader),
            buffer,
            decoder: Decoder::new(),
            header_by: Some(by),
            queue,
            writer,
            writing: true,
            events: mpsc::channel(limits::EVENTS),
            claims: mpsc::channel(limits::COMMANDS),
            peer,
            token,
            _place: place,
        }
    }

    /// Until the client is gone and no session is left, or the server stops.
    pub(super) async fn run(mut self) {
        loop {
            self.decode();
            self.carry_out().await;
            if self.machine.is_over() {
                break;
            }
            let timeout = self.machine.poll_timeout().map(Instant::from_std);
            tokio::select! {
                () = self.token.cancelled() => {
                    self.say_goodbye().await;
                    return;
                }
                answer = pending_or(&mut self.asking) => {
                    self.asking = None;
                    self.answer(answer).await;
                }
                Some(event) = self.events.1.recv() => self.event(event),
                Some(claim) = self.claims.1.recv() => self.claim(claim),
                read = receive(
                    &mut self.inbox,
                    &mut self.buffer,
                    self.machine.wants_input(),
                    if self.publishing.is_some() { limits::READ_MEDIA } else { limits::READ },
                ) => {
                    self.received(read);
                }
                _ = &mut self.writer, if self.writing => {
                    self.writing = false;
                    // Told to close, it goes on reading for a moment: an answer that meets unread
                    // bytes on our side would be lost to a reset.
                    if !matches!(self.inbox, Inbox::Draining(..)) {
                        self.disconnected();
                    }
                }
                () = Publishing::over(self.publishing.as_ref()) => {
                    self.publishing = None;
                    self.machine.handle_unpublished();
                }
                () = until(timeout) => self.machine.handle_timeout(now()),
                () = until(self.header_by) => {
                    self.header_by = None;
                    self.machine.handle_slow();
                }
            }
        }
    }

    fn received(&mut self, read: io::Result<usize>) {
        match (&self.inbox, read) {
            (Inbox::Open(_), Ok(n)) if n > 0 => {}
            (Inbox::Draining(..), Ok(n)) if n > 0 => self.buffer.clear(),
            // End, an error, or nothing more to wait for.
            _ => self.disconnected(),
        }
    }

    fn decode(&mut self) {
        while matches!(self.inbox, Inbox::Open(_)) && self.machine.wants_input() {
            match self.decoder.decode(&mut self.buffer) {
                Ok(Some(message)) => {
                    self.header_by = None;
                    match message {
                        Message::Request(request) => self.machine.handle_request(now(), request),
                        Message::Data(frame) => self.data(frame),
                        // We ask nothing.
                        Message::Response(_) => {}
                    }
                }
                Ok(None) => {
                    if self.buffer.is_empty() {
                        // What a large body made of it would else be kept as long as the client.
                        self.buffer = BytesMut::new();
                    }
                    if self.decoder.mid_message() {
                        self.header_by.get_or_insert_with(|| Instant::now() + limits::HEADER);
                    }
                    break;
                }
                Err(error) => {
                    self.machine.handle_malformed(now(), &error);
                    self.header_by = None;
                    break;
                }
            }
        }
    }

    fn data(&mut self, frame: InterleavedFrame) {
        let line = self.machine.handle_data(now(), frame.channel);
        if let Some(((media, rtcp), publishing)) = line.zip(self.publishing.as_ref()) {
            publishing.frame(&self.shared, media, rtcp, frame.payload);
        }
    }

    async fn carry_out(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Respond { method, response } => {
                    self.shared.counters.count_request(&method, response.status);
                    let mut bytes = BytesMut::with_capacity(512);
                    response.write(&mut bytes);
                    if self.queue.answer(bytes).is_err() {
                        self.writer.abort();
                        self.disconnected();
                    }
                }
                Output::Ask(question) => self.ask(question),
                Output::Release { session } => {
                    if let Some(player) = self.players.get(&session) {
                        // On the connection the queue keeps the order; a datagram could overtake.
                        let written = player.on_udp.then(|| self.queue.mark());
                        let _ = player.commands.send(Command::Release(written)).await;
                    }
                }
                Output::Mute { session, track } => {
                    if let Some(player) = self.players.get_mut(&session) {
                        player.listeners.remove(&track);
                        let _ = player.commands.send(Command::Mute(track)).await;
                    }
                }
                Output::Stop { session } => {
                    self.shared.orphans.remove(&session);
                    self.players.remove(&session);
                }
                Output::Unpublish { parting } => {
                    if let Some(publishing) = &mut self.publishing {
                        publishing.rest(parting);
                    }
                    if parting != Parting::Pause {
                        self.publishing = None;
                    }
                }
                Output::Close => {
                    self.queue.close();
                    let inbox = std::mem::replace(&mut self.inbox, Inbox::Closed);
                    if let Inbox::Open(reader) = inbox {
                        self.header_by = None;
                        self.buffer.clear();
                        self.inbox = Inbox::Draining(reader, Instant::now() + limits::LINGER);
                    }
                }
            }
        }
    }

    fn ask(&mut self, question: Question<Arc<Resource>>) {
        let asker = self.asker.clone();
        self.asking = Some(match question {
            Question::Describe { who, place } => {
                Box::pin(async move { Answer::Described(asker.describe(who, place).await) })
            }
            Question::SetUp { who, place, session, carrier } => Box::pin(async move {
                let granted = asker.set_up(who, place, session, carrier).await;
                Answer::Granted(Box::new(granted))
            }),
            Question::Start { who, session, resource, wish, tracks, play } => {
                let player = self.players.get(&session).map(|p| p.commands.clone());
                Box::pin(async move {
                    Answer::Started(asker.start(who, resource, player, wish, tracks, play).await)
                })
            }
            Question::Pause { session } => {
                let player = self.players.get(&session).map(|p| p.commands.clone());
                Box::pin(async move {
                    if let Some(player) = player {
                        let (done, paused) = oneshot::channel();
                        let _ = player.send(Command::Pause(done)).await;
                        let _ = paused.await;
                    }
                    Answer::Paused
                })
            }
            Question::Announce { who, place, description } => Box::pin(async move {
                let announced = asker.announce(who, place, description).await;
                Answer::Announced(Box::new(announced))
            }),
            Question::Admit { who, media, carrier } => {
                let camera = self.publishing.as_ref().map(|p| p.camera().clone());
                Box::pin(async move {
                    let entry = asker.admit(who, camera, media, carrier).await;
                    Answer::Admitted(Box::new(entry))
                })
            }
            Question::Record { who } => {
                let camera = self.publishing.as_ref().map(|p| p.camera().clone());
                Box::pin(async move {
                    Answer::MayRecord(match camera {
                        Some(camera) => asker.may_publish(&who, &camera).await,
                        None => Err(Refusal::Internal),
                    })
                })
            }
            Question::Adopt { who, session } => {
                Box::pin(async move { Answer::Adopted(Box::new(asker.adopt(who, session).await)) })
            }
        });
    }

    async fn answer(&mut self, answer: Answer) {
        let now = now();
        match answer {
            Answer::Described(answer) => self.machine.handle_described(now, answer),
            Answer::Started(answer) => self.machine.handle_started(now, answer),
            Answer::Paused => self.machine.handle_paused(now),
            Answer::Granted(granted) => {
                let answer = match *granted {
                    Ok(granted) if self.suits(&granted) => Ok(self.grant(granted).await),
                    Ok(_) => Err(Refusal::NoCarrier),
                    Err(refusal) => Err(refusal),
                };
                self.machine.handle_set_up(now, answer);
            }
            Answer::Announced(announced) => {
                let answer = announced.map(|announced| {
                    self.publishing = Some(Publishing::new(announced, &self.shared));
                    rand::random()
                });
                self.machine.handle_announced(now, answer);
            }
            Answer::Admitted(entry) => {
                let answer = entry.and_then(|entry| {
                    let publishing = self.publishing.as_mut().ok_or(Refusal::Internal)?;
                    Ok(publishing.enter(entry))
                });
                self.machine.handle_admitted(now, answer);
            }
            Answer::MayRecord(answer) => {
                let answer = answer.and_then(|()| {
                    let publishing = self.publishing.as_mut().ok_or(Refusal::Internal)?;
                    publishing.record(&self.shared, &self.queue, &self.events.0)
                });
                self.machine.handle_recording(now, answer);
            }
            Answer::Adopted(adopted) => {
                let answer = (*adopted).map(|adopted| {
                    adopted.map(|(session, player)| {
                        player.home.move_to(self.events.0.clone());
                        self.players.insert(session.id().clone(), player);
                        session
                    })
                });
                self.machine.handle_adopted(now, answer);
            }
        }
    }

    /// All tracks of a session go to its group, or none.
    fn suits(&self, granted: &Granted) -> bool {
        let player = granted.session.as_ref().and_then(|id| self.players.get(id));
        player.is_none_or(|player| match (&player.group, &granted.group) {
            (Some(its), Some(other)) => Arc::ptr_eq(its, other),
            (None, None) => true,
            _ => false,
        })
    }

    /// Makes the session's delivery, if it is the first track, and gives it the track.
    async fn grant(&mut self, granted: Granted) -> SetUp<Arc<Resource>> {
        let Granted { session, resource, track, sink, server_port, group, owner } = granted;
        let random: [u8; 16] = rand::random();
        let id = session.unwrap_or_else(|| SessionId::new(random));
        if !self.players.contains_key(&id) {
            let player = self.player(id.clone(), Arc::clone(&resource), group.clone(), owner);
            self.players.insert(id.clone(), player);
        }
        let address = self.asker.local;
        let mut ssrc = 0;
        if let Some(group) = group {
            let (ssrc, place) = group.place(track);
            return SetUp { resource, random, track, ssrc, address, server_port, group: place };
        }
        if let Some(player) = self.players.get_mut(&id) {
            let identity = *player.identities.entry(track).or_insert_with(Identity::random);
            ssrc = identity.ssrc;
            player.listeners.remove(&track);
            if let Sink::Udp(pair) = &sink {
                player.on_udp = true;
                let listening = CancellationToken::new();
                player.listeners.insert(track, listening.clone().drop_guard());
                let (pair, home, id) = (pair.clone(), player.home.clone(), id.clone());
                self.shared.tracker.spawn(async move {
                    let listen = pair.listen(|| home.alive(&id));
                    listening.run_until_cancelled(listen).await;
                });
            }
            let _ = player.commands.send(Command::Carry { track, identity, sink }).await;
        }
        SetUp { resource, random, track, ssrc, address, server_port, group: None }
    }

    fn player(
        &self,
        session: SessionId,
        resource: Arc<Resource>,
        group: Option<Arc<Group>>,
        owner: String,
    ) -> Player {
        let (commands, inbox) = mpsc::channel(limits::COMMANDS);
        let home = Home::new(self.events.0.clone());
        if let Some(group) = group {
            let present = self.shared.counters.session();
            let viewer = Viewer::new(session, Arc::clone(&group), home.clone(), present);
            let task = self.shared.tracker.spawn(viewer.run(inbox, self.token.clone()));
            return Player {
                commands,
                home,
                owner,
                identities: BTreeMap::new(),
                listeners: BTreeMap::new(),
                task,
                on_udp: true,
                group: Some(group),
            };
        }
        let delivery = Delivery::new(Seed {
            session,
            resource,
            home: home.clone(),
            counters: Arc::clone(&self.shared.counters),
            clock: self.shared.parts.clock.clone(),
            max_packet: self.shared.settings.max_packet,
            counts: true,
        });
        let task = self.shared.tracker.spawn(delivery.run(inbox, self.token.clone()));
        Player {
            commands,
            home,
            owner,
            identities: BTreeMap::new(),
            listeners: BTreeMap::new(),
            task,
            on_udp: false,
            group: None,
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Ended { session, play } => self.machine.handle_ended(&session, play),
            Event::Failed { session } => self.machine.handle_failed(now(), &session),
            Event::Alive { session } => self.machine.handle_report(now(), &session),
            Event::Published => self.machine.handle_published(now()),
            Event::Stalled => {
                debug!(peer = %self.peer, "player takes nothing, connection closed");
                self.writer.abort();
                self.disconnected();
            }
        }
    }

    fn disconnected(&mut self) {
        self.inbox = Inbox::Closed;
        self.header_by = None;
        self.asking = None;
        self.queue.close();
        self.machine.handle_disconnected();
        for session in self.machine.sessions() {
            self.shared.orphans.add(session.id().clone(), self.claims.0.clone());
        }
    }

    fn claim(&mut self, claim: Claim) {
        let rightful = self
            .players
            .get(&claim.session)
            .is_some_and(|player| player.owner == claim.owner && self.peer == claim.peer);
        let adopted = if rightful {
            let session = self.machine.take(&claim.session);
            session.zip(self.players.remove(&claim.session))
        } else {
            None
        };
        if adopted.is_some() {
            self.shared.orphans.remove(&claim.session);
        }
        // An asker that is gone by now has taken the session with it.
        let _ = claim.answer.send(adopted);
    }

    /// The server stops: players are told by BYE, then the connection is closed.
    async fn say_goodbye(&mut self) {
        let deadline = Instant::now() + limits::GOODBYE;
        if let Some(mut publishing) = self.publishing.take() {
            publishing.stop();
        }
        for player in self.players.values_mut() {
            let _ = tokio::time::timeout_at(deadline, &mut player.task).await;
        }
        self.queue.close();
        if self.writing && timeout(limits::LINGER, &mut self.writer).await.is_err() {
            self.writer.abort();
        }
    }
}

impl<R> Drop for Driver<R> {
    fn drop(&mut self) {
        for session in self.players.keys() {
            self.shared.orphans.remove(session);
        }
        // A writer that waits for a client which does not read would never end by itself.
        self.writer.abort();
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn pending_or(asking: &mut Option<Asking>) -> Answer {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

/// Cancel-safe. Waits while nothing may be read.
async fn receive<R: AsyncRead + Unpin>(
    inbox: &mut Inbox<R>,
    buffer: &mut BytesMut,
    wanted: bool,
    room: usize,
) -> io::Result<usize> {
    match inbox {
        Inbox::Open(reader) if wanted => {
            buffer.reserve(room);
            reader.read_buf(buffer).await
        }
        Inbox::Draining(reader, by) => {
            buffer.reserve(limits::READ);
            match tokio::time::timeout_at(*by, reader.read_buf(buffer)).await {
                Ok(read) => read,
                Err(_) => Ok(0),
            }
        }
        Inbox::Open(_) | Inbox::Closed => std::future::pending().await,
    }
}
