//! One session with a camera as a state machine: messages in, messages and events out.
//!
//! ```text
//! new ─▶ OPTIONS ─▶ DESCRIBE ─▶ Described ─▶ setup ─▶ SetUp … ─▶ play ─▶ Playing ─▶ (keep-alive) ─▶ tear_down ─▶ Ended
//!              any refusal, silence, redirect ─▶ Failed, Redirected
//! ```
//!
//! It opens no socket and reads no clock: the driver says what time it is (a [`Duration`] since any
//! moment it likes), hands in what came ([`Client::handle_message`]), wakes it
//! ([`Client::poll_timeout`], [`Client::handle_timeout`]) and sends what it wants sent
//! ([`Client::poll_transmit`]). After each of them it asks [`Client::poll_event`] until there is no more.
//!
//! # Invariants
//!
//! * Every request has a time-out; in the handshake and the good-bye one is out at a time.
//! * A login that is refused is never tried again: cameras lock accounts. What is tried again is a
//!   request with a new nonce, once where the old one is called stale, once where it was good before.
//! * All requests go to the host that was configured ([`address`]); a redirect ends the session,
//!   and where it leads is the driver's to follow ([`Event::Redirected`]).
//! * After [`Event::Failed`] and [`Event::Redirected`] it says nothing more.
//! * What it holds is bounded: descriptions by [`describe::limits`], what is to be sent by
//!   [`limits::TRANSMITS`].

pub mod address;
mod answers;
pub mod describe;
mod event;
mod info;
mod login;
mod serve;
#[cfg(test)]
mod tests;
pub mod tunnel;

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    headers::{Lower, Transport},
    message::{Message, Method, Request},
};
use address::Target;
pub use event::{Agreed, Carriage, ClientError, Event, SessionId, Settings, Start};
pub use login::Credentials;
use login::Login;

/// Bounds of a session.
pub mod limits {
    use std::time::Duration;

    /// For the answer to OPTIONS.
    pub const OPTIONS: Duration = Duration::from_secs(5);
    /// For the answer to a tunnel's GET.
    pub const TUNNEL: Duration = Duration::from_secs(5);
    /// For the answer to DESCRIBE; some cameras start their encoder first.
    pub const DESCRIBE: Duration = Duration::from_secs(10);
    /// For the answer to each SETUP.
    pub const SETUP: Duration = Duration::from_secs(5);
    /// For the answer to PLAY.
    pub const PLAY: Duration = Duration::from_secs(10);
    /// For the answer to TEARDOWN, before we go on without having heard it.
    pub const TEARDOWN: Duration = Duration::from_secs(2);
    /// A session's time-out where the camera says none (RFC 2326 §12.37), and the longest that is
    /// believed: routers forget a connection sooner than cameras do.
    pub const SESSION: Duration = Duration::from_secs(60);
    /// The shortest interval of keep-alives, whatever the camera says.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
    /// Redirects followed in a row: the driver's to count.
    pub const REDIRECTS: u8 = 4;
    /// Messages waiting to be sent. A camera that asks faster than it reads is given up.
    pub const TRANSMITS: usize = 32;
    /// Bytes of a session's id.
    pub const SESSION_ID: usize = 256;
    /// Requests without an answer.
    pub(super) const PENDING: usize = 4;
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Options,
    Describe,
    SetUp { media: usize, carriage: Carriage },
    Play,
    KeepAlive,
    Bury,
    TearDown,
}

impl Purpose {
    const fn within(self) -> Duration {
        match self {
            Self::Options | Self::KeepAlive => limits::OPTIONS,
            Self::Describe => limits::DESCRIBE,
            Self::SetUp { .. } => limits::SETUP,
            Self::Play => limits::PLAY,
            Self::Bury | Self::TearDown => limits::TEARDOWN,
        }
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Pending {
    purpose: Purpose,
    /// Without its number and its login.
    method: Method,
    uri: String,
    headers: Vec<(&'static str, String)>,
    cseq: u32,
    deadline: Duration,
    /// It bore a login.
    with_login: bool,
    /// Sent again with a new nonce, which was not called stale.
    repeated: bool,
    /// Sent again because the nonce was stale.
    renewed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until PLAY is answered.
    Handshake,
    Playing,
    /// TEARDOWN is out.
    Leaving,
    /// For good.
    Over,
}

/// One session.
#[derive(Debug)]
pub struct Client {
    target: Target,
    user_agent: String,
    login: Login,
    phase: Phase,
    cseq: u32,
    pending: Vec<Pending>,
    transmits: VecDeque<Bytes>,
    events: VecDeque<Event>,
    /// What relative control addresses go behind.
    base: String,
    /// Of the whole session.
    aggregate: String,
    /// By place in the description.
    controls: Vec<Option<String>>,
    /// Places of the tracks that are set up, in that order.
    set_up: Vec<usize>,
    session: Option<SessionId>,
    /// `Server`, and the description's tool.
    software: String,
    /// Whether `Public` names GET_PARAMETER.
    has_get_parameter: bool,
    keep_alive: Method,
    next_keep_alive: Option<Duration>,
}

impl Client {
    /// A session that begins at once.
    #[must_use]
    pub fn new(settings: Settings, now: Duration) -> Self {
        let Settings { target, credentials, user_agent, random } = settings;
        let address = target.address();
        let mut client = Self {
            login: Login::new(credentials, random),
            phase: Phase::Handshake,
            cseq: 0,
            pending: Vec::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            base: address.clone(),
            aggregate: address.clone(),
            controls: Vec::new(),
            set_up: Vec::new(),
            session: None,
            software: String::new(),
            has_get_parameter: false,
            keep_alive: Method::Options,
            next_keep_alive: None,
            target,
            user_agent,
        };
        client.ask(Purpose::Options, Method::Options, address, Vec::new(), now);
        client
    }

    /// Asks for a track of the description. One at a time; after [`Event::Described`],
    /// [`Event::SetUp`] or [`Event::TransportRefused`].
    pub fn set_up(&mut self, media: usize, carriage: Carriage, now: Duration) {
        let Some(Some(uri)) = self.controls.get(media) else {
            return self.fail(ClientError::Protocol("a track without an address".to_owned()));
        };
        let transport = match carriage {
            Carriage::Interleaved(rtp, rtcp) => {
                Transport { interleaved: Some((rtp, rtcp)), ..Transport::unicast(Lower::Tcp) }
            }
            Carriage::Udp(rtp, rtcp) => {
                Transport { client_port: Some((rtp, rtcp)), ..Transport::unicast(Lower::Udp) }
            }
        };
        let headers = vec![("Transport", transport.to_string())];
        let purpose = Purpose::SetUp { media, carriage };
        self.ask(purpose, Method::Setup, uri.clone(), headers, now);
    }

    /// Starts the tracks that are set up.
    pub fn play(&mut self, now: Duration) {
        let headers = vec![("Range", "npt=0.000-".to_owned())];
        self.ask(Purpose::Play, Method::Play, self.aggregate.clone(), headers, now);
    }

    /// Ends a session that an earlier connection left behind, before the first [`Self::set_up`].
    pub fn bury(&mut self, session: &str, now: Duration) {
        let headers = vec![("Session", session.to_owned())];
        self.ask(Purpose::Bury, Method::Teardown, self.aggregate.clone(), headers, now);
    }

    /// Says good-bye; [`Event::Ended`] follows. At once where no session was begun.
    pub fn tear_down(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Leaving | Phase::Over) {
            return;
        }
        self.pending.clear();
        self.next_keep_alive = None;
        if self.session.is_none() {
            self.phase = Phase::Over;
            return self.events.push_back(Event::Ended { heard: false });
        }
        self.phase = Phase::Leaving;
        let uri = self.aggregate.clone();
        self.ask(Purpose::TearDown, Method::Teardown, uri, Vec::new(), now);
    }

    /// A request or an answer of the camera. (Interleaved data is the driver's.)
    pub fn handle_message(&mut self, message: Message, now: Duration) {
        match message {
            _ if self.phase == Phase::Over => {}
            Message::Request(request) => self.serve(&request),
            Message::Response(response) => self.answered(&response, now),
            Message::Data(_) => {}
        }
    }

    /// To be called at [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.phase == Phase::Over {
            return;
        }
        let late = self.pending.extract_if(.., |p| p.deadline <= now).collect::<Vec<_>>();
        for Pending { purpose, method, .. } in late {
            match purpose {
                // Whether the session lives is told by what comes.
                Purpose::KeepAlive => {}
                Purpose::Bury => self.events.push_back(Event::Buried { heard: false }),
                Purpose::TearDown => self.over(Event::Ended { heard: false }),
                _ => {
                    let (method, within) = (method.label(), purpose.within());
                    return self.fail(ClientError::NoAnswer { method, within });
                }
            }
        }
        if self.phase == Phase::Playing && self.next_keep_alive.is_some_and(|at| at <= now) {
            self.plan_keep_alive(now);
            self.pending.retain(|pending| pending.purpose != Purpose::KeepAlive);
            let (method, uri) = (self.keep_alive.clone(), self.aggregate.clone());
            self.ask(Purpose::KeepAlive, method, uri, Vec::new(), now);
        }
    }

    /// The next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.phase == Phase::Over {
            return None;
        }
        self.pending.iter().map(|pending| pending.deadline).chain(self.next_keep_alive).min()
    }

    /// The session, once a track is set up.
    #[must_use]
    pub const fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// Whether the camera is known to keep sessions of connections that are gone.
    #[must_use]
    pub fn keeps_dead_sessions(&self) -> bool {
        describe::keeps_dead_sessions(&self.software)
    }

    fn plan_keep_alive(&mut self, now: Duration) {
        let timeout = self.session.as_ref().map_or(limits::SESSION, |session| session.timeout);
        self.next_keep_alive = Some(now + (timeout / 2).max(limits::KEEP_ALIVE));
    }

    fn ask(
        &mut self,
        purpose: Purpose,
        method: Method,
        uri: String,
        headers: Vec<(&'static str, String)>,
        now: Duration,
    ) {
        let deadline = now + purpose.within();
        self.send(Pending {
            purpose,
            method,
            uri,
            headers,
            cseq: 0,
            deadline,
            with_login: false,
            repeated: false,
            renewed: false,
        });
    }

    /// Sends a request, with the login as it is now.
    fn send(&mut self, mut pending: Pending) {
        if self.phase == Phase::Over || self.pending.len() >= limits::PENDING {
            return;
        }
        self.cseq = self.cseq.wrapping_add(1);
        pending.cseq = self.cseq;
        let mut request = Request::new(pending.method.clone(), &pending.uri, self.cseq);
        if let Some(login) = self.login.answer(pending.method.as_str(), &pending.uri) {
            request.headers.push("Authorization", login);
            pending.with_login = true;
        }
        request.headers.push("User-Agent", self.user_agent.as_str());
        if pending.method == Method::Describe {
            request.headers.push("Accept", "application/sdp");
        }
        let says_session = pending.headers.iter().any(|(name, _)| *name == "Session");
        if let Some(session) = self.session.as_ref().filter(|_| !says_session) {
            request.headers.push("Session", session.id.as_str());
        }
        for (name, value) in &pending.headers {
            request.headers.push(*name, value.as_str());
        }
        let mut bytes = BytesMut::new();
        request.write(&mut bytes);
        self.pending.push(pending);
        self.transmit(bytes.freeze());
    }

    fn transmit(&mut self, bytes: Bytes) {
        if self.transmits.len() >= limits::TRANSMITS {
            let detail = "it asks more than it lets us answer".to_owned();
            return self.fail(ClientError::Protocol(detail));
        }
        self.transmits.push_back(bytes);
    }

    fn fail(&mut self, error: ClientError) {
        self.over(Event::Failed(error));
    }

    fn over(&mut self, event: Event) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.pending.clear();
            self.next_keep_alive = None;
            self.events.push_back(event);
        }
    }
}
