//! RTSP cameras over real sockets.
//!
//! ```text
//! connection (plain, TLS, tunnel through HTTP) ─▶ session (drives proto::rtsp::client) ─▶ choice ─▶ tracks: Receiver ─▶ Depacketizer ─▶ SourceEvent
//! udp ─────────────────────────────────────────────────────────────▲
//! ```
//!
//! # Invariants
//!
//! * One task, one loop: nothing more is read while what came waits to be fetched.
//! * Packets carry the time at which they were read off the socket, whenever they are looked at.
//! * A packet that breaks the rules costs the unit it belongs to, not the session.
//! * A login goes to the host it was configured for; a redirect to another goes without.

mod choice;
mod connection;
mod limits;
pub mod publish;
mod session;
mod silent;
mod stale;
mod tls;
mod track;
mod tunnel;
mod udp;

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    PullError, PullTarget,
    source::{Dial, Offer, Source, SourceEvent, SourceTrack},
};
use crate::{
    clock::Clock,
    model::Transport,
    proto::{
        access_unit::TrackIndex,
        codec::Parameters,
        rtsp::{
            client::{
                Carriage, Credentials, Event,
                address::{Scheme, Target},
                describe, limits as client,
            },
            message::InterleavedFrame,
        },
    },
};
use choice::{Chosen, choose};
use session::{Session, Step, failure};
use silent::Silent;
use stale::Stale;
pub use tls::check_authority;
use track::{Times, Track, Way};
use udp::{Datagram, Pair};

/// What an RTSP session takes beside its target.
pub(super) struct RtspContext {
    clock: Clock,
    /// What earlier sessions of this stream left behind at the camera.
    stale: Stale,
    silent: Silent,
    /// The video track's parameters as of the last session: a second PPS that only comes in-band
    /// is then known from the first key frame on.
    remembered: Option<Parameters>,
}

impl RtspContext {
    pub(super) fn new(clock: Clock) -> Self {
        let (stale, silent) = (Stale::default(), Silent::default());
        Self { clock, stale, silent, remembered: None }
    }

    pub(super) fn with_remembered(&self, remembered: Option<Parameters>) -> Self {
        let (clock, stale, silent) = (self.clock.clone(), self.stale.clone(), self.silent.clone());
        Self { clock, stale, silent, remembered }
    }
}

/// A playing session.
pub(super) struct RtspSource {
    session: Session,
    clock: Clock,
    tracks: Vec<Track>,
    described: Vec<SourceTrack>,
    offers: Vec<Offer>,
    /// At least one track comes over UDP.
    over_udp: bool,
    waiting: VecDeque<SourceEvent>,
    next_report: Duration,
    /// The leading track comes over UDP and nothing has come yet: when we stop waiting.
    unheard: Option<Duration>,
    /// Where that is noted; `None` where it changes nothing.
    silent: Option<Silent>,
}

impl RtspSource {
    /// Everything the camera offers.
    pub(super) fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// The video track's parameters as of now, to be remembered.
    pub(super) fn parameters(&self) -> Option<&Parameters> {
        self.tracks.iter().find(|track| track.is_video())?.parameters()
    }

    fn times(&self) -> (Clock, tokio::time::Instant, bool) {
        let reported = self.tracks.iter().any(|track| track.reported);
        (self.clock.clone(), self.session.instant(Duration::ZERO), reported)
    }

    /// An interleaved frame. Those on channels nobody assigned are passed over.
    fn interleaved(&mut self, frame: InterleavedFrame, at: Duration) {
        let InterleavedFrame { channel, payload } = frame;
        let (clock, began) = (&self.clock, self.session.instant(Duration::ZERO));
        let reported = self.tracks.iter().any(|track| track.reported);
        let times = Times { clock, began, reported };
        for track in &mut self.tracks {
            match track.way {
                Way::Channels(rtp, _) if rtp == channel => {
                    return track.rtp(payload, at, &times, &mut self.waiting);
                }
                Way::Channels(_, rtcp) if rtcp == channel => {
                    return track.rtcp(&payload, at, &mut self.waiting);
                }
                _ => {}
            }
        }
    }

    /// Datagrams that are there; whether there were any.
    fn datagrams(&mut self, context: &mut Context<'_>) -> bool {
        let (clock, began, reported) = self.times();
        let times = Times { clock: &clock, began, reported };
        let mut any = false;
        for track in &mut self.tracks {
            for _ in 0..limits::DATAGRAMS {
                let Way::Udp(pair) = &mut track.way else { break };
                let Poll::Ready(datagram) = pair.poll(context) else { break };
                any = true;
                let now = began.elapsed();
                match datagram {
                    Datagram::Rtp(data) => track.rtp(data, now, &times, &mut self.waiting),
                    Datagram::Rtcp(data) => track.rtcp(&data, now, &mut self.waiting),
                }
            }
        }
        if any {
            self.unheard = None;
        }
        any
    }

    /// What time brings: packets no longer waited for, reports.
    fn timely(&mut self, now: Duration) {
        let (clock, began, reported) = self.times();
        let times = Times { clock: &clock, began, reported };
        for track in &mut self.tracks {
            if track.receiver.poll_timeout().is_some_and(|at| at <= now) {
                track.ordered(now, &times, &mut self.waiting);
            }
            track.ended(now, &mut self.waiting);
        }
        if self.next_report <= now {
            self.next_report = now + limits::REPORTS;
            for track in &mut self.tracks {
                track.report(now, self.session.connection.reports());
            }
        }
    }

    /// Until something may be there that was not. `Ok(false)`: the connection was closed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, PullError>> {
        let any = self.datagrams(context);
        let timeouts = self.tracks.iter().filter_map(Track::poll_timeout);
        let also = timeouts.chain([self.next_report]).chain(self.unheard).min();
        let outcome = self.session.poll(also, context);
        if outcome.is_ready() {
            let now = self.session.now();
            self.timely(now);
            if self.unheard.is_some_and(|until| until <= now) {
                if let Some(silent) = &self.silent {
                    silent.note(self.session.instant(now));
                }
                return Poll::Ready(Err(PullError::UdpSilent { within: limits::UDP }));
            }
        }
        if any && outcome.is_pending() { Poll::Ready(Ok(true)) } else { outcome }
    }

    async fn fetch(&mut self) -> Result<Option<SourceEvent>, PullError> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            match self.session.step()? {
                Some(Step::Data(frame)) => self.interleaved(frame, self.session.read_at),
                Some(Step::Event(Event::Failed(error))) => return Err(failure(error)),
                Some(Step::Event(_)) => {}
                None => {
                    if !poll_fn(|context| self.poll(context)).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

impl Dial for RtspSource {
    type Context = RtspContext;

    async fn connect(target: &PullTarget, context: &RtspContext) -> Result<Self, PullError> {
        let mut place = Target::new(target.url())
            .ok_or_else(|| PullError::Protocol { detail: "no address of RTSP".to_owned() })?;
        let mut credentials = target.credentials().map(|(username, password)| Credentials {
            username: username.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        });
        let through_http = target.transport() == Transport::Http;
        for _ in 0..=client::REDIRECTS {
            if through_http {
                place = place.through_http();
            }
            let stale = context.stale.clone();
            // Of what is encrypted nothing goes beside the connection.
            let secure = place.scheme == Scheme::Rtsps;
            let transport = if secure { Transport::Tcp } else { target.transport() };
            let (login, way) = (credentials.clone(), (target.trust(), through_http));
            let mut session = Session::open(place, login, way, stale).await?;
            match session.described().await? {
                Event::Redirected { target, same_host } => {
                    place = target;
                    credentials = credentials.filter(|_| same_host);
                }
                Event::Described(description) => {
                    let wanted = (target.audio(), transport);
                    return start(session, &description, wanted, context).await;
                }
                _ => break,
            }
        }
        let detail = format!("more than {} redirects", client::REDIRECTS);
        Err(PullError::Protocol { detail })
    }
}

impl Source for RtspSource {
    fn tracks(&self) -> &[SourceTrack] {
        &self.described
    }

    fn is_urgent(&self) -> bool {
        self.over_udp
    }

    async fn next(&mut self) -> Option<Result<SourceEvent, PullError>> {
        self.fetch().await.transpose()
    }

    async fn close(self) {
        self.session.close().await;
    }
}

/// From the description to PLAY.
async fn start(
    mut session: Session,
    description: &describe::Description,
    (audio, mut transport): (bool, Transport),
    context: &RtspContext,
) -> Result<RtspSource, PullError> {
    let silent = (transport == Transport::Auto).then(|| context.silent.clone());
    let chosen = choose(description, audio, context.remembered.as_ref())?;
    let offers = offers(description, &chosen);
    session.bury().await?;
    let described = chosen.iter().map(|chosen| chosen.source.clone()).collect();
    let mut tracks: Vec<Track> = Vec::new();
    for (chosen, index) in chosen.into_iter().zip(0_u8..) {
        let track =
            set_up(&mut session, chosen, index, &mut transport, (&tracks, &context.silent)).await?;
        tracks.push(track);
    }
    let starts = session.play().await?;
    // Tracks can be laid beside one another by it only where all of them have it.
    if starts.iter().all(|(_, rtptime)| rtptime.is_some()) {
        for (media, rtptime) in starts {
            let track = tracks.iter_mut().find(|track| track.media == media);
            if let (Some(track), Some(rtptime)) = (track, rtptime) {
                track.begins_with(rtptime);
            }
        }
    }
    let over_udp = tracks.iter().any(|track| matches!(track.way, Way::Udp(_)));
    let next_report = session.now() + limits::REPORTS;
    let leads_over_udp = tracks.first().is_some_and(|track| matches!(track.way, Way::Udp(_)));
    let unheard = leads_over_udp.then(|| session.now() + limits::UDP);
    let (early, clock) = (session.early(), context.clock.clone());
    let waiting = VecDeque::new();
    let mut source = RtspSource {
        session,
        clock,
        tracks,
        described,
        offers,
        over_udp,
        waiting,
        next_report,
        unheard,
        silent,
    };
    for (frame, at) in early {
        source.interleaved(frame, at);
    }
    Ok(source)
}

/// SETUP of one track; goes over to UDP for good where that is allowed and TCP is refused.
async fn set_up(
    session: &mut Session,
    chosen: Chosen,
    index: u8,
    transport: &mut Transport,
    (others, silent): (&[Track], &Silent),
) -> Result<Track, PullError> {
    let refused = || PullError::Refused { method: "SETUP", status: 461 };
    if *transport != Transport::Udp {
        let asked = (index.saturating_mul(2), index.saturating_mul(2).saturating_add(1));
        let answer = session.set_up(chosen.media, Carriage::Interleaved(asked.0, asked.1)).await?;
        match (answer, *transport) {
            (Some(agreed), _) => {
                // A camera that says the same channels twice sends on those it was asked for.
                let taken = |channel: u8| {
                    others.iter().any(
                        |t| matches!(t.way, Way::Channels(a, b) if a == channel || b == channel),
                    )
                };
                let (rtp, rtcp) =
                    agreed.channels.filter(|&(a, b)| !taken(a) && !taken(b)).unwrap_or(asked);
                let way = Way::Channels(rtp, rtcp);
                return Ok(Track::new(chosen, TrackIndex(index), way, &agreed));
            }
            (None, Transport::Auto) if others.is_empty() && silent.take(Instant::now()) => {
                return Err(PullError::NoWay);
            }
            (None, Transport::Auto) => *transport = Transport::Udp,
            (None, _) => return Err(refused()),
        }
    }
    let (local, camera) = (session.connection.local.ip(), session.connection.peer.ip());
    let mut pair = Pair::open(local, camera)
        .map_err(|error| PullError::Internal(format!("no ports for UDP: {error}")))?;
    let (rtp, rtcp) = pair.ports();
    let answer = session.set_up(chosen.media, Carriage::Udp(rtp, rtcp)).await?;
    let agreed = answer.ok_or_else(refused)?;
    pair.set_up(camera, agreed.server_ports, agreed.source.as_deref());
    Ok(Track::new(chosen, TrackIndex(index), Way::Udp(Box::new(pair)), &agreed))
}

fn offers(description: &describe::Description, chosen: &[Chosen]) -> Vec<Offer> {
    let offer = |(at, media): (usize, &describe::Media)| {
        let nth = chosen.iter().position(|chosen| chosen.media == at);
        let taken = nth.and_then(|nth| chosen.get(nth));
        let payload_type = taken.map(|chosen| chosen.payload_type);
        let named = |f: &&describe::Format| payload_type.is_none_or(|t| t == f.payload_type);
        let format = media.formats.iter().find(named);
        Offer {
            media: media.kind.clone(),
            encoding: format.map(describe::Format::name).unwrap_or_default(),
            clock_rate: format.map_or(0, |format| format.clock_rate),
            taken: nth.and_then(|nth| u8::try_from(nth).ok()).map(TrackIndex),
        }
    };
    description.media.iter().enumerate().map(offer).collect()
}
