//! The talk with a camera over a real connection: drives the pure state machine
//! [`client`](crate::proto::rtsp::client).

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::{
    connection::Connection,
    limits,
    stale::{Left, Stale},
    tunnel::{self, Dialled, Refused},
};
use crate::{
    ingest::{PullError, Trust},
    proto::rtsp::{
        client::{
            Agreed, Carriage, Client, ClientError, Credentials, Event, Settings, address::Target,
        },
        message::{InterleavedFrame, Message, Status},
    },
};

/// One connection and the session on it.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) connection: Connection,
    /// What the client's and the receivers' time counts from.
    began: Instant,
    /// When what is being looked at was read.
    pub(super) read_at: Duration,
    /// Interleaved frames from before PLAY was answered.
    early: Vec<(InterleavedFrame, Duration)>,
    early_bytes: usize,
    alarm: Pin<Box<Sleep>>,
    /// Where a session is noted that does not end well.
    stale: Stale,
    over_udp: bool,
    ended: bool,
}

/// What was there already.
pub(super) enum Step {
    Event(Event),
    Data(InterleavedFrame),
}

impl Session {
    pub(super) async fn open(
        target: Target,
        credentials: Option<Credentials>,
        (trust, through_http): (&Trust, bool),
        stale: Stale,
    ) -> Result<Self, PullError> {
        let user_agent = concat!("vedette/", env!("CARGO_PKG_VERSION")).to_owned();
        let settings = Settings { target, credentials, user_agent, random: rand::random() };
        let Dialled { stream, local, peer } = if through_http {
            // Random bits of its own: the cookie is shown to all on the way.
            let settings = Settings { random: rand::random(), ..settings.clone() };
            tunnel::open(settings, trust).await?
        } else {
            tunnel::plain(&settings.target, trust).await?
        };
        let connection = Connection::new(stream, local, peer);
        let began = Instant::now();
        Ok(Self {
            client: Client::new(settings, Duration::ZERO),
            connection,
            began,
            read_at: Duration::ZERO,
            early: Vec::new(),
            early_bytes: 0,
            alarm: Box::pin(sleep_until(began)),
            stale,
            over_udp: false,
            ended: false,
        })
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A moment of the session on the monotonic clock.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    /// What is there already: bytes to send are put on their way, messages read are looked at.
    pub(super) fn step(&mut self) -> Result<Option<Step>, PullError> {
        loop {
            while let Some(bytes) = self.client.poll_transmit() {
                self.connection.send(&bytes)?;
            }
            if let Some(event) = self.client.poll_event() {
                return Ok(Some(Step::Event(event)));
            }
            match self.connection.message()? {
                Some(Message::Data(frame)) => return Ok(Some(Step::Data(frame))),
                Some(message) => self.client.handle_message(message, self.read_at),
                None => return Ok(None),
            }
        }
    }

    /// Writes and reads, or lets the time come that the client or the caller waits for. Cancel-safe.
    /// `Ok(false)`: the camera closed the connection.
    pub(super) fn poll(
        &mut self,
        also: Option<Duration>,
        context: &mut Context<'_>,
    ) -> Poll<Result<bool, PullError>> {
        match self.connection.poll(context) {
            Poll::Ready(Ok(count)) => {
                self.read_at = self.now();
                // A flood must not keep the alarm from being heard.
                self.client.handle_timeout(self.read_at);
                return Poll::Ready(Ok(count > 0));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(&error))),
            Poll::Pending => {}
        }
        let Some(at) = self.client.poll_timeout().into_iter().chain(also).min() else {
            return Poll::Pending;
        };
        let at = self.instant(at);
        if self.alarm.deadline() != at {
            self.alarm.as_mut().reset(at);
        }
        if self.alarm.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.read_at = self.now();
        self.client.handle_timeout(self.read_at);
        Poll::Ready(Ok(true))
    }

    /// The next event of the handshake. Data that comes meanwhile is kept.
    async fn event(&mut self) -> Result<Event, PullError> {
        loop {
            match self.step()? {
                Some(Step::Event(Event::Failed(error))) => return Err(failure(error)),
                Some(Step::Event(event)) => return Ok(event),
                Some(Step::Data(frame)) => {
                    self.early_bytes += frame.payload.len();
                    if self.early.len() < limits::EARLY.0 && self.early_bytes <= limits::EARLY.1 {
                        self.early.push((frame, self.read_at));
                    }
                }
                None => {
                    if !poll_fn(|context| self.poll(None, context)).await? {
                        return Err(PullError::Disconnected { detail: None });
                    }
                }
            }
        }
    }

    /// Until the camera has described itself, or sent us elsewhere.
    pub(super) async fn described(&mut self) -> Result<Event, PullError> {
        self.event().await
    }

    /// Ends what an earlier session left behind.
    pub(super) async fn bury(&mut self) -> Result<(), PullError> {
        let Some(Left { session, .. }) = self.stale.get(Instant::now()) else { return Ok(()) };
        self.client.bury(&session, self.now());
        match self.event().await? {
            Event::Buried { heard: true } => {
                self.stale.put(None);
                Ok(())
            }
            // The next attempt tries again, until the session is over by itself.
            Event::Buried { heard: false } => Err(PullError::NoAnswer {
                method: "TEARDOWN",
                within: crate::proto::rtsp::client::limits::TEARDOWN,
            }),
            _ => Err(unexpected()),
        }
    }

    /// SETUP of one track; `None`: not by this transport.
    pub(super) async fn set_up(
        &mut self,
        media: usize,
        carriage: Carriage,
    ) -> Result<Option<Agreed>, PullError> {
        self.client.set_up(media, carriage, self.now());
        match self.event().await? {
            Event::SetUp { agreed, .. } => {
                self.over_udp |= matches!(carriage, Carriage::Udp(..));
                Ok(Some(agreed))
            }
            Event::TransportRefused { .. } => Ok(None),
            _ => Err(unexpected()),
        }
    }

    /// PLAY: what RTP-Info says of the tracks, by their place in the description.
    pub(super) async fn play(&mut self) -> Result<Vec<(usize, Option<u32>)>, PullError> {
        self.client.play(self.now());
        match self.event().await? {
            Event::Playing(starts) => {
                Ok(starts.into_iter().map(|(media, start)| (media, start.rtptime)).collect())
            }
            _ => Err(unexpected()),
        }
    }

    /// What came before PLAY was answered, and when.
    pub(super) fn early(&mut self) -> Vec<(InterleavedFrame, Duration)> {
        std::mem::take(&mut self.early)
    }

    /// TEARDOWN, and its answer. Bounded in time.
    pub(super) async fn close(mut self) {
        self.client.tear_down(self.now());
        let good_bye = async {
            loop {
                match self.event().await {
                    Ok(Event::Ended { heard }) => return heard,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        };
        self.ended = timeout(limits::GOOD_BYE, good_bye).await.unwrap_or(false);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(session) = self.client.session().filter(|_| !self.ended) else { return };
        if self.over_udp || self.client.keeps_dead_sessions() {
            let until = Instant::now() + session.timeout;
            self.stale.put(Some(Left { session: session.id.clone(), until }));
        }
    }
}

fn unexpected() -> PullError {
    PullError::Internal("an answer to what was not asked".to_owned())
}

/// The connection does no more.
fn lost(error: &io::Error) -> PullError {
    const METHOD: &str = "POST";
    match error.get_ref().and_then(|error| error.downcast_ref::<Refused>()) {
        Some(Refused(Status::UNAUTHORIZED)) => PullError::Unauthorized { method: METHOD },
        Some(Refused(status)) => PullError::Refused { method: METHOD, status: status.as_u16() },
        None => PullError::Disconnected { detail: Some(error.to_string()) },
    }
}

/// The client's words in ours.
pub(super) fn failure(error: ClientError) -> PullError {
    match error {
        ClientError::NoAnswer { method, within } => PullError::NoAnswer { method, within },
        ClientError::Unauthorized { method } => PullError::Unauthorized { method },
        ClientError::Refused { method, status: 404 } => PullError::NotFound { method },
        ClientError::Refused { method, status } => PullError::Refused { method, status },
        ClientError::Protocol(detail) => PullError::Protocol { detail },
        ClientError::Closed(why) => PullError::Disconnected { detail: Some(why.to_owned()) },
    }
}
