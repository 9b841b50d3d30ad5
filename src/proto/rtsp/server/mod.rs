//! The server's side of one RTSP connection, as a state machine without sockets.
//!
//! ```text
//!  handle_request ─▶ ┌────────────┐ ─▶ Output::Respond       (to the client, in order)
//!  handle_described  │            │ ─▶ Output::Ask(Question) (one at a time; answered by a handle_*)
//!  handle_set_up     │ Connection │ ─▶ Output::Release       (packets may flow: the reply is out)
//!  handle_started …  │            │ ─▶ Output::Mute, Stop    (a track, a session, is over)
//!  handle_timeout ─▶ └────────────┘ ─▶ Output::Close
//! ```
//!
//! Every decision about methods, states, headers, transports, units of time, session ids and
//! time-outs is taken here. What needs the outside (who is this, is there footage, which ports are
//! free, what is the first packet) is put as a [`Question`]; requests that come meanwhile wait in
//! order, so that answers never overtake one another.
//!
//! `R` is what the outside resolved a URL to; it is kept with a session and handed back.
//!
//! # Invariants
//!
//! * Every request gets exactly one answer, in the order of the requests.
//! * [`Output::Release`] follows the PLAY's [`Output::Respond`]: who carries outputs out in order
//!   sends no packet before the reply.
//! * A session on the RTSP connection alone ends with the connection and never before by silence;
//!   one on UDP ends by silence and not with the connection.
//! * `now` never comes from a clock here.
//!
//! # Scale and Speed
//!
//! They come to the outside in [`Wish`]; what it makes of them ([`Started`]) is what is answered,
//! whenever it was asked for or is not 1.

mod answers;
mod carriage;
mod manner;
mod place;
mod publish;
mod range;
mod requests;
mod session;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    client::describe::Description,
    message::{Method, Request, Response, Status},
    parse::DecodeError,
    sdp,
};
use crate::proto::access_unit::{TrackIndex, Tracks};

pub use manner::{Frames, Manner, Replay};
pub use place::{Content, Place, PlaceError};
pub use publish::{Admitted, Parting};
pub use range::{Extent, Spot, Wish};
pub use session::{Carrier, Session, SessionId};

/// Bounds of one connection.
pub mod limits {
    use std::time::Duration;

    /// Sessions at a time.
    pub const SESSIONS: usize = 16;
    /// Requests that wait for their turn; beyond it nothing more is read from the client.
    pub const WAITING: usize = 32;
    /// Bytes of them, about; one more may go beyond it.
    pub const WAITING_BYTES: usize = 64 << 10;
    /// A connection without a session is closed after so long without a request.
    pub const IDLE: Duration = Duration::from_secs(60);
}

/// What the machine must know.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Silence after which a session on UDP ends.
    pub timeout: Duration,
    /// Whether RTP over UDP is on offer.
    pub udp: bool,
    /// Whether live footage is on offer by multicast.
    pub multicast: bool,
}

/// Who asks, for the outside to judge: the answer to a challenge covers method and URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Of the request.
    pub method: Method,
    /// `Authorization`, as it came.
    pub authorization: Option<String>,
}

/// What the outside is asked. While one is open no other is put.
#[derive(Clone, Debug)]
pub enum Question<R> {
    /// DESCRIBE: is there such a thing, and of what kind? Answer with
    /// [`Connection::handle_described`].
    Describe {
        /// Who asks.
        who: Credentials,
        /// What for.
        place: Place,
    },
    /// SETUP of a track. Answer with [`Connection::handle_set_up`].
    SetUp {
        /// Who asks.
        who: Credentials,
        /// What for; its `track` is `None` when the URL named no track: fine where there is one.
        place: Place,
        /// The session it joins and what that plays; a new one when `None`.
        session: Option<(SessionId, R)>,
        /// How its packets are to be carried.
        carrier: Carrier,
    },
    /// PLAY: go to the place, find the first packets, and hold them. Answer with
    /// [`Connection::handle_started`].
    Start {
        /// Who asks.
        who: Credentials,
        /// Which session.
        session: SessionId,
        /// What it plays.
        resource: R,
        /// From where to where.
        wish: Wish,
        /// For which tracks.
        tracks: Vec<TrackIndex>,
        /// To be named in [`Connection::handle_ended`].
        play: u64,
    },
    /// PAUSE: stop sending, at once. Answer with [`Connection::handle_paused`].
    Pause {
        /// Which session.
        session: SessionId,
    },
    /// A session that is not of this connection: one on UDP whose connection is gone, of the same
    /// user and address? Answer with [`Connection::handle_adopted`].
    Adopt {
        /// Who asks.
        who: Credentials,
        /// For which session.
        session: SessionId,
    },
    /// ANNOUNCE: may they publish this there? Answer with [`Connection::handle_announced`].
    Announce {
        /// Who asks.
        who: Credentials,
        /// Where to.
        place: Place,
        /// What.
        description: Arc<Description>,
    },
    /// SETUP of a publisher. Answer with [`Connection::handle_admitted`].
    Admit {
        /// Who asks.
        who: Credentials,
        /// Which of the description's media.
        media: usize,
        /// How its packets will come.
        carrier: Carrier,
    },
    /// RECORD. Answer with [`Connection::handle_recording`].
    Record {
        /// Who asks.
        who: Credentials,
    },
}

/// What is to be done, in order.
#[derive(Clone, Debug)]
pub enum Output<R> {
    /// Send it.
    Respond {
        /// The method it answers, for the count.
        method: Method,
        /// The answer.
        response: Response,
    },
    /// Find out.
    Ask(Question<R>),
    /// The session's packets may flow from here on.
    Release {
        /// Which.
        session: SessionId,
    },
    /// No more packets of this track.
    Mute {
        /// Of which session.
        session: SessionId,
        /// Which.
        track: TrackIndex,
    },
    /// The session is over: no more packets, free everything.
    Stop {
        /// Which.
        session: SessionId,
    },
    /// Nothing more is published on this connection; after a pause it may go on.
    Unpublish {
        /// Why.
        parting: Parting,
    },
    /// Close the connection when everything before this is sent.
    Close,
}

/// Why the outside says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401 with these `WWW-Authenticate` values, in this order.
    Unauthorized(Vec<String>),
    /// 403.
    Forbidden,
    /// 404, with words for people.
    NotFound(String),
    /// 503 with `Retry-After`, and words for people.
    Unavailable {
        /// Come again after so long.
        retry_after: Duration,
        /// Why.
        why: String,
    },
    /// 457: nothing left to play.
    NothingToPlay,
    /// 459: the URL means several tracks, or others than those of the session.
    Aggregate,
    /// 405, with words for people: nobody publishes there.
    NotPublished(String),
    /// 415, with words for people: nothing of it can be recorded.
    Unusable(String),
    /// 453, with words for people: somebody else does already.
    Busy(String),
    /// 461: nothing left to carry it on (no free port).
    NoCarrier,
    /// 500. The reason is in our log.
    Internal,
}

/// What DESCRIBE is answered with.
#[derive(Clone, Debug)]
pub struct Described {
    /// The camera's name.
    pub name: String,
    /// For `o=`: the same for the same content.
    pub id: u64,
    /// For `o=`: grows when it changes.
    pub version: u64,
    /// Our address as the client reached it.
    pub address: IpAddr,
    /// The tracks.
    pub tracks: Tracks,
    /// Live, or how long.
    pub extent: sdp::Extent,
    /// For a clip: what freezes it, put into Content-Base.
    pub token: Option<String>,
}

/// What SETUP is answered with.
#[derive(Clone, Debug)]
pub struct SetUp<R> {
    /// What the session plays; taken for a new session only.
    pub resource: R,
    /// Random, for a new session's id.
    pub random: [u8; 16],
    /// Which track it was.
    pub track: TrackIndex,
    /// The sender's identity.
    pub ssrc: u32,
    /// Our address as the client reached it.
    pub address: IpAddr,
    /// Our ports for RTP and RTCP, on UDP.
    pub server_port: Option<(u16, u16)>,
    /// Where the track goes, by multicast.
    pub group: Option<Group>,
}

/// A track's place among multicast groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Address.
    pub address: IpAddr,
    /// Ports of RTP and RTCP.
    pub port: (u16, u16),
    /// How many routers it passes, plus one.
    pub ttl: u8,
}

/// What PLAY is answered with.
#[derive(Clone, Debug)]
pub struct Started {
    /// What will be played.
    pub extent: Extent,
    /// The first packet of each track.
    pub tracks: Vec<FirstPacket>,
    /// `Scale` in force.
    pub scale: f64,
    /// `Speed` in force.
    pub speed: f64,
}

/// The first packet of a track, for RTP-Info.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    /// Which track.
    pub track: TrackIndex,
    /// Its sequence number.
    pub sequence: u16,
    /// Its RTP time.
    pub timestamp: u32,
}

/// The request that waits for an answer from outside.
#[derive(Debug)]
enum Asking {
    Describe { place: Place },
    SetUp { place: Place, session: Option<SessionId>, carrier: Carrier },
    Start { session: SessionId, unit: Unit, play: u64, range: Option<String> },
    Pause { session: SessionId },
    Adopt,
    Announce { description: Arc<Description> },
    Admit { media: usize, carrier: Carrier },
    Record,
}

use session::Unit;
use waiting::Waiting;

/// The machine.
#[derive(Debug)]
pub struct Connection<R> {
    settings: Settings,
    sessions: BTreeMap<SessionId, Session<R>>,
    publication: Option<publish::Publication>,
    waiting: Waiting,
    asking: Option<(Asking, Request)>,
    outputs: VecDeque<Output<R>>,
    /// Of the last request, the end of a session, or the connection's start.
    heard: Instant,
    connected: bool,
    closing: bool,
    plays: u64,
}

impl<R: Clone> Connection<R> {
    /// A connection just accepted.
    #[must_use]
    pub fn new(now: Instant, settings: Settings) -> Self {
        Self {
            settings,
            sessions: BTreeMap::new(),
            publication: None,
            waiting: Waiting::default(),
            asking: None,
            outputs: VecDeque::new(),
            heard: now,
            connected: true,
            closing: false,
            plays: 0,
        }
    }

    /// A request has come.
    pub fn handle_request(&mut self, now: Instant, request: Request) {
        if self.closing {
            return;
        }
        self.heard = now;
        self.waiting.push(request);
        self.advance(now);
    }

    /// What came is no RTSP: answered in its turn, then the connection is closed.
    pub fn handle_malformed(&mut self, now: Instant, error: &DecodeError) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        self.heard = now;
        // What waits will never be answered, for the client is out of step with us anyway.
        self.waiting = Waiting::default();
        self.respond(Method::Other(String::new()), Response::to(error.cseq, error.status()));
        self.outputs.push_back(Output::Close);
    }

    /// A request was begun and not finished in time.
    pub fn handle_slow(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        self.waiting = Waiting::default();
        self.respond(Method::Other(String::new()), Response::to(None, Status::REQUEST_TIMEOUT));
        self.outputs.push_back(Output::Close);
    }

    /// An interleaved frame has come; on a channel that is not set up it means nothing. Where it is
    /// of what is published: of which media, and whether it is RTCP.
    pub fn handle_data(&mut self, now: Instant, channel: u8) -> Option<(usize, bool)> {
        for session in self.sessions.values_mut().filter(|s| s.uses_channel(channel)) {
            session.touched = now;
        }
        let publication = self.publication.as_mut().filter(|p| p.recording)?;
        let line = publication.line(channel)?;
        publication.touched = now;
        Some(line)
    }

    /// An RTCP report has come over UDP.
    pub fn handle_report(&mut self, now: Instant, session: &SessionId) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.touched = now;
        }
    }

    /// A closed range was played to its end (after BYE): the session is still there for another
    /// PLAY.
    pub fn handle_ended(&mut self, session: &SessionId, play: u64) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        if let session::State::Playing { tracks, play: current, .. } = &mut session.state
            && *current == play
        {
            session.state = session::State::Ready { tracks: std::mem::take(tracks) };
        }
    }

    /// The session can play no more (its stream is gone, or its client takes nothing).
    pub fn handle_failed(&mut self, now: Instant, session: &SessionId) {
        self.heard = now;
        self.end(session);
    }

    /// The client is gone. Sessions on the connection end; those on UDP go on until they time out.
    pub fn handle_disconnected(&mut self) {
        self.connected = false;
        self.closing = true;
        self.waiting = Waiting::default();
        self.asking = None;
        let ends: Vec<_> =
            self.sessions.values().filter(|s| !s.is_on_udp()).map(|s| s.id.clone()).collect();
        for id in ends {
            self.end(&id);
        }
        self.unpublish(Parting::Gone);
    }

    /// Time has passed: see [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        let timeout = self.settings.timeout;
        let asked_for = self.asked_session().cloned();
        let silent: Vec<_> = self
            .sessions
            .values()
            .filter(|s| Some(&s.id) != asked_for.as_ref())
            .filter(|s| s.deadline(timeout).is_some_and(|deadline| deadline <= now))
            .map(|s| s.id.clone())
            .collect();
        for id in silent {
            // Its client may still come back on this connection and set up another.
            self.heard = now;
            self.end(&id);
        }
        if self.publication_deadline().is_some_and(|deadline| deadline <= now) {
            self.heard = now;
            self.unpublish(Parting::Silence);
        }
        if self.idle_deadline().is_some_and(|deadline| deadline <= now) {
            self.closing = true;
            self.outputs.push_back(Output::Close);
        }
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeout = self.settings.timeout;
        let asked_for = self.asked_session();
        let sessions = self
            .sessions
            .values()
            .filter(|s| Some(&s.id) != asked_for)
            .filter_map(|s| s.deadline(timeout));
        sessions.chain(self.publication_deadline()).chain(self.idle_deadline()).min()
    }

    /// What is to be done next. Drain it after every `handle_*`.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output<R>> {
        self.outputs.pop_front()
    }

    /// Whether more may be read from the client. False while too many requests wait.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.closing && !self.waiting.is_full()
    }

    /// Whether nothing is left to be done: no client, no session.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.connected && self.sessions.is_empty()
    }

    /// Its sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Session<R>> {
        self.sessions.values()
    }

    /// Takes a session out, for another connection to adopt. Nothing is stopped.
    pub fn take(&mut self, session: &SessionId) -> Option<Session<R>> {
        self.sessions.remove(session)
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let idle =
            self.connected && !self.closing && self.sessions.is_empty() && self.asking.is_none();
        let idle = idle && self.publication.is_none();
        idle.then(|| self.heard + limits::IDLE)
    }

    /// None while a question about it is open.
    fn publication_deadline(&self) -> Option<Instant> {
        let publication = self.publication.as_ref().filter(|_| self.asking.is_none())?;
        Some(publication.deadline(self.settings.timeout))
    }

    fn asked_session(&self) -> Option<&SessionId> {
        match &self.asking {
            Some((Asking::Start { session, .. } | Asking::Pause { session }, _)) => Some(session),
            Some((Asking::SetUp { session, .. }, _)) => session.as_ref(),
            _ => None,
        }
    }

    fn end(&mut self, session: &SessionId) {
        if self.sessions.remove(session).is_some() {
            self.outputs.push_back(Output::Stop { session: session.clone() });
        }
    }

    fn respond(&mut self, method: Method, response: Response) {
        let response = response.header("Server", concat!("vedette/", env!("CARGO_PKG_VERSION")));
        self.outputs.push_back(Output::Respond { method, response });
    }

    fn reply(&mut self, request: &Request, response: Response) {
        self.respond(request.method.clone(), response);
    }

    fn refuse(&mut self, request: &Request, status: Status) {
        self.reply(request, request.reply(status));
    }

    /// With words for people beside the code.
    fn refuse_saying(&mut self, request: &Request, status: Status, text: &str) {
        let response =
            request.reply(status).content("text/plain;charset=utf-8", format!("{text}\r\n"));
        self.reply(request, response);
    }

    fn advance(&mut self, now: Instant) {
        while self.asking.is_none() && !self.closing {
            let Some(request) = self.waiting.pop() else { return };
            self.begin(now, request);
        }
    }
}
