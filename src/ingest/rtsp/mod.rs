//! RTSP cameras, through retina for now. Nothing of retina leaves this folder.
//!
//! # What is worked around here
//!
//! * A camera is knocked at (TCP connect, [`limits::CONNECT`]) before retina is asked: its connect
//!   has no time-out and its errors do not tell "refused" from "no answer". It also keeps an
//!   unreachable camera from costing more than two seconds of an attempt.
//! * Only tracks that can be recorded are set up: retina fails the whole session when one track
//!   that was set up has no depacketizer.
//! * It would send the TEARDOWN of a UDP session, with our credentials, on a fresh connection to
//!   whatever host `Content-Base` names. Where a control URL leads to another host, it is told not
//!   to ([`TeardownPolicy::Never`]). Requests on the session's own connection are harmless: they go
//!   to the host we chose.
//! * A packet that breaks the rules of its payload format costs the unit it belongs to, not the
//!   session.
//! * A panic inside retina (an SDP with an empty format list is one) ends the attempt's task.
//!
//! Not addable from outside: a bound on the size of one access unit. The watchdog is the bound: a
//! fragment that never ends is no video unit, so the attempt ends within seconds.

mod failure;
mod sdp;

use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use retina::{
    client::{
        Credentials, Demuxed, Described, InitialTimestampPolicy, PlayOptions, Session,
        SessionGroup, SessionIdPolicy, SessionOptions, SetupOptions, TcpTransportOptions,
        TeardownPolicy, Transport as RetinaTransport, UdpTransportOptions,
        UnassignedChannelDataPolicy, UnknownRtcpSsrcPolicy,
    },
    codec::{CodecItem, FrameFormat, ParametersRef, VideoParametersCodec},
    rtcp::TypedPacketRef,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use url::{Host, Url};

use crate::{
    clock::Clock,
    model::Transport,
    proto::{
        access_unit::TrackIndex,
        codec::{
            Parameters, aac, g711,
            sets::{self, Codec, Sets},
        },
        time::{Timescale, WallSpan},
    },
};

use super::{
    PullError, PullTarget,
    source::{Arrival, Offer, Source, SourceCodec, SourceEvent, SourceTrack, SourceUnit},
};
use failure::Verdict;

mod limits {
    use std::time::Duration;

    /// For the TCP handshake.
    pub(super) const CONNECT: Duration = Duration::from_secs(2);
    /// For DESCRIBE: two round trips when a password is asked for; some cameras start their
    /// encoder first.
    pub(super) const DESCRIBE: Duration = Duration::from_secs(10);
    /// For each SETUP.
    pub(super) const SETUP: Duration = Duration::from_secs(5);
    /// For PLAY.
    pub(super) const PLAY: Duration = Duration::from_secs(10);
    /// For TEARDOWN, before we go on without having heard an answer.
    pub(super) const TEARDOWN: Duration = Duration::from_secs(2);
}

/// What an RTSP session takes beside its target.
pub(super) struct RtspContext {
    pub(super) clock: Clock,
    /// Sessions of this stream that may still be alive at the camera.
    pub(super) sessions: Arc<SessionGroup>,
    /// The video track's parameters as of the last session: a second PPS that only comes in-band
    /// is then known from the first key frame on.
    pub(super) remembered: Option<Parameters>,
}

impl RtspContext {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, sessions: Arc::default(), remembered: None }
    }

    pub(super) fn with_remembered(&self, remembered: Option<Parameters>) -> Self {
        let (clock, sessions) = (self.clock.clone(), Arc::clone(&self.sessions));
        Self { clock, sessions, remembered }
    }
}

/// A playing session.
pub(super) struct RtspSource {
    demuxed: Demuxed,
    sessions: Arc<SessionGroup>,
    clock: Clock,
    tracks: Vec<SourceTrack>,
    offers: Vec<Offer>,
    /// By retina's stream index.
    index: Vec<Option<TrackIndex>>,
    /// At least one track comes over UDP.
    over_udp: bool,
    video: Option<(Codec, Option<Parameters>)>,
    /// Follows the event just given.
    next: Option<SourceEvent>,
    /// The last packet that broke the rules, for the case that the session dies of it.
    broken: Option<String>,
}

impl RtspSource {
    /// Everything the camera offers.
    pub(super) fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// The video track's parameters as of now, to be remembered.
    pub(super) fn parameters(&self) -> Option<&Parameters> {
        self.video.as_ref().and_then(|(_, parameters)| parameters.as_ref())
    }

    fn arrival(&self, received: std::time::Instant) -> Arrival {
        let wall = self.clock.now() - WallSpan::from(received.elapsed());
        Arrival { wall, at: Instant::from_std(received) }
    }

    /// New parameter sets of the video track, when they change anything.
    fn parameters_changed(&mut self, stream: usize) -> Option<Parameters> {
        let (codec, known) = self.video.as_mut()?;
        let of = self.demuxed.streams().get(stream).and_then(|s| sets_of(s.parameters()?))?;
        let new = sets::merged(*codec, known.as_ref(), &of)?;
        *known = Some(new.clone());
        Some(new)
    }

    /// One item in our words.
    fn event(&mut self, item: CodecItem) -> Option<SourceEvent> {
        let track =
            |index: &[Option<TrackIndex>], stream: usize| index.get(stream).copied().flatten();
        match item {
            CodecItem::VideoFrame(frame) => {
                let stream = frame.stream_id();
                let track = track(&self.index, stream)?;
                let stamp = frame.timestamp();
                let arrival = self.arrival(frame.start_ctx().received());
                let (lost, news) = (frame.loss(), frame.has_new_parameters());
                let unit = SourceEvent::Unit(SourceUnit {
                    track,
                    ticks: stamp.timestamp(),
                    elapsed: stamp.elapsed(),
                    arrival,
                    data: Bytes::from(frame.into_data()),
                    lost,
                });
                match news.then(|| self.parameters_changed(stream)).flatten() {
                    None => Some(unit),
                    Some(parameters) => {
                        self.next = Some(unit);
                        Some(SourceEvent::Parameters { track, parameters })
                    }
                }
            }
            CodecItem::AudioFrame(frame) => {
                let stamp = frame.timestamp();
                Some(SourceEvent::Unit(SourceUnit {
                    track: track(&self.index, frame.stream_id())?,
                    ticks: stamp.timestamp(),
                    elapsed: stamp.elapsed(),
                    arrival: self.arrival(frame.ctx().received()),
                    data: Bytes::copy_from_slice(frame.data()),
                    lost: frame.loss(),
                }))
            }
            CodecItem::Rtcp(packet) => {
                let track = track(&self.index, packet.stream_id())?;
                let ticks = packet.rtp_timestamp()?.timestamp();
                let ntp = packet.pkts().find_map(|p| match p.as_typed() {
                    Ok(Some(TypedPacketRef::SenderReport(report))) => {
                        Some(report.ntp_timestamp().0)
                    }
                    _ => None,
                })?;
                Some(SourceEvent::SenderReport { track, ntp, ticks })
            }
            _ => None,
        }
    }
}

impl Source for RtspSource {
    type Context = RtspContext;

    async fn connect(target: &PullTarget, context: &RtspContext) -> Result<Self, PullError> {
        // An old session may hold the only place the camera has.
        let _ = timeout(limits::TEARDOWN, context.sessions.await_teardown()).await;
        knock(target).await?;
        let mut session = describe(target, context, TeardownPolicy::Auto).await?;
        if session.streams().iter().any(|s| leads_elsewhere(s.control(), target.url())) {
            drop(session);
            session = describe(target, context, TeardownPolicy::Never).await?;
        }
        let chosen = Chosen::of(&session, target, context.remembered.as_ref())?;
        let mut transport = target.transport();
        for track in &chosen.tracks {
            setup(&mut session, track.stream, &mut transport).await?;
        }
        let options = PlayOptions::default()
            .initial_timestamp(InitialTimestampPolicy::Permissive)
            .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::DropPackets);
        let playing = bounded("PLAY", limits::PLAY, session.play(options)).await?;
        let demuxed = playing.demuxed().map_err(|e| failure::of_request("PLAY", &e))?;
        let mut index = vec![None; demuxed.streams().len()];
        for (track, n) in chosen.tracks.iter().zip(0..) {
            if let Some(place) = index.get_mut(track.stream) {
                *place = Some(TrackIndex(n));
            }
        }
        let offers = demuxed.streams().iter().zip(&index);
        let offers = offers.map(|(stream, taken)| Offer {
            media: stream.media().to_owned(),
            encoding: stream.encoding_name().to_owned(),
            clock_rate: stream.clock_rate_hz(),
            taken: *taken,
        });
        Ok(Self {
            offers: offers.collect(),
            sessions: Arc::clone(&context.sessions),
            clock: context.clock.clone(),
            tracks: chosen.tracks.into_iter().map(|track| track.source).collect(),
            video: chosen.video,
            over_udp: transport == Transport::Udp,
            index,
            demuxed,
            next: None,
            broken: None,
        })
    }

    fn tracks(&self) -> &[SourceTrack] {
        &self.tracks
    }

    fn is_urgent(&self) -> bool {
        self.over_udp
    }

    async fn next(&mut self) -> Option<Result<SourceEvent, PullError>> {
        if let Some(event) = self.next.take() {
            return Some(Ok(event));
        }
        loop {
            match self.demuxed.next().await {
                Some(Ok(item)) => {
                    if let Some(event) = self.event(item) {
                        self.broken = None;
                        return Some(Ok(event));
                    }
                }
                Some(Err(error)) => match failure::of_stream(&error) {
                    Verdict::Packet(detail) => {
                        self.broken = Some(detail.clone());
                        return Some(Ok(SourceEvent::Broken { detail }));
                    }
                    Verdict::Fatal(error) => return Some(Err(error)),
                },
                // Some packet errors are retina's last word.
                None => {
                    let detail = self.broken.take()?;
                    return Some(Err(PullError::Protocol { detail }));
                }
            }
        }
    }

    async fn close(self) {
        let Self { demuxed, sessions, .. } = self;
        drop(demuxed);
        let _ = timeout(limits::TEARDOWN, sessions.await_teardown()).await;
    }
}

/// A request that must be answered in time.
async fn bounded<T>(
    method: &'static str,
    within: Duration,
    request: impl Future<Output = Result<T, retina::Error>>,
) -> Result<T, PullError> {
    match timeout(within, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure::of_request(method, &error)),
        Err(_) => Err(PullError::NoAnswer { method, within }),
    }
}

async fn knock(target: &PullTarget) -> Result<(), PullError> {
    let port = target.port();
    let connect = async {
        match target.url().host() {
            // A scheme that is not `special` leaves IPv4 addresses as names.
            Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
            Some(Host::Ipv4(ip)) => TcpStream::connect((IpAddr::V4(ip), port)).await,
            Some(Host::Ipv6(ip)) => TcpStream::connect((IpAddr::V6(ip), port)).await,
            None => Err(std::io::ErrorKind::InvalidInput.into()),
        }
    };
    let (address, within) = (target.address(), limits::CONNECT);
    match timeout(within, connect).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(PullError::Connect { address, source }),
        Err(_) => Err(PullError::ConnectTimeout { address, within }),
    }
}

async fn describe(
    target: &PullTarget,
    context: &RtspContext,
    teardown: TeardownPolicy,
) -> Result<Session<Described>, PullError> {
    let credentials = target.credentials().map(|(username, password)| Credentials {
        username: username.to_owned(),
        password: password.to_owned(),
    });
    let options = SessionOptions::default()
        .creds(credentials)
        .user_agent(concat!("vedette/", env!("CARGO_PKG_VERSION")).to_owned())
        .session_group(Arc::clone(&context.sessions))
        .session_id(SessionIdPolicy::UseFirst)
        .teardown(teardown)
        .unassigned_channel_data(UnassignedChannelDataPolicy::Ignore);
    let describe = Session::describe(target.url().clone(), options);
    bounded("DESCRIBE", limits::DESCRIBE, describe).await
}

/// SETUP of one stream; falls back to UDP for good when that is allowed and TCP is refused.
async fn setup(
    session: &mut Session<Described>,
    stream: usize,
    transport: &mut Transport,
) -> Result<(), PullError> {
    let options = |transport: Transport| {
        let transport = match transport {
            Transport::Udp => RetinaTransport::Udp(UdpTransportOptions::default()),
            Transport::Auto | Transport::Tcp => {
                RetinaTransport::Tcp(TcpTransportOptions::default())
            }
        };
        SetupOptions::default().transport(transport).frame_format(FrameFormat::MP4)
    };
    let first = session.setup(stream, options(*transport));
    let outcome = bounded("SETUP", limits::SETUP, first).await;
    match (outcome, *transport) {
        (Err(PullError::Refused { status: 461, .. }), Transport::Auto) => {
            *transport = Transport::Udp;
            let again = session.setup(stream, options(*transport));
            bounded("SETUP", limits::SETUP, again).await
        }
        (outcome, _) => outcome,
    }
}

fn leads_elsewhere(control: Option<&Url>, target: &Url) -> bool {
    control.is_some_and(|control| {
        control.host() != target.host()
            || control.port().unwrap_or(554) != target.port().unwrap_or(554)
    })
}

/// The tracks to set up.
struct Chosen {
    tracks: Vec<ChosenTrack>,
    video: Option<(Codec, Option<Parameters>)>,
}

struct ChosenTrack {
    /// retina's index.
    stream: usize,
    source: SourceTrack,
}

impl Chosen {
    /// The first video track and the first audio track that can be recorded.
    fn of(
        session: &Session<Described>,
        target: &PullTarget,
        remembered: Option<&Parameters>,
    ) -> Result<Self, PullError> {
        let hints = sdp::media(session.sdp());
        let streams = session.streams();
        // retina passes over media it cannot parse, so its indices are not the SDP's.
        let hint = |stream: &retina::client::Stream, nth: usize| {
            let same = |h: &&sdp::Media| {
                h.kind == stream.media() && h.payload_type == Some(stream.rtp_payload_type())
            };
            hints.iter().filter(same).nth(nth)
        };
        // Several media may share kind and payload type.
        let nth = |at: usize, stream: &retina::client::Stream| {
            let same = |s: &&retina::client::Stream| {
                s.media() == stream.media() && s.rtp_payload_type() == stream.rtp_payload_type()
            };
            streams.iter().take(at).filter(same).count()
        };
        let mut chosen = Self { tracks: Vec::new(), video: None };
        for (at, stream) in streams.iter().enumerate() {
            if chosen.video.is_some() || stream.media() != "video" {
                continue;
            }
            let codec = match stream.encoding_name() {
                "h264" => Codec::H264,
                "h265" => Codec::H265,
                _ => continue,
            };
            let Some(timescale) = Timescale::new(stream.clock_rate_hz()) else { continue };
            let described = hint(stream, nth(at, stream));
            let of = described.map(|h| Sets::sorted(codec, &h.parameter_sets));
            let known = of.and_then(|of| sets::merged(codec, None, &of));
            let known = known.or_else(|| {
                let of = stream.parameters().and_then(sets_of)?;
                sets::merged(codec, None, &of)
            });
            let known = sets::with_remembered(known, remembered);
            chosen.video = Some((codec, known.clone()));
            let codec = match (known, codec) {
                (Some(parameters), _) => SourceCodec::Known(parameters),
                (None, Codec::H264) => SourceCodec::H264,
                (None, Codec::H265) => SourceCodec::H265,
            };
            let declared_fps = stream.framerate().map(f64::from);
            let source = SourceTrack { timescale, codec, declared_fps };
            chosen.tracks.push(ChosenTrack { stream: at, source });
        }
        // A camera whose video we cannot record is no camera that only sends sound.
        let offers_video = streams.iter().any(|s| matches!(s.media(), "video" | "image"));
        if chosen.video.is_some() || !offers_video {
            let video_sends_only = chosen.tracks.first().is_some_and(|track| {
                let stream = streams.get(track.stream);
                stream.is_some_and(|s| hint(s, 0).is_some_and(|h| h.send_only))
            });
            let audio =
                streams.iter().enumerate().filter(|_| target.audio()).find_map(|(at, s)| {
                    // A back channel; unless the camera means its own side by the word.
                    let back =
                        hint(s, nth(at, s)).is_some_and(|h| h.send_only) && !video_sends_only;
                    if back { None } else { Some((at, audio_track(s)?)) }
                });
            if let Some((stream, source)) = audio {
                chosen.tracks.push(ChosenTrack { stream, source });
            }
        }
        if chosen.tracks.is_empty() {
            let offered = streams.iter().take(16);
            let offered = offered.map(|s| format!("{}/{}", s.media(), s.encoding_name()));
            return Err(PullError::NoUsableTrack { offered: offered.collect() });
        }
        Ok(chosen)
    }
}

fn sets_of(parameters: ParametersRef<'_>) -> Option<Sets> {
    let ParametersRef::Video(video) = parameters else { return None };
    match video.codec_params() {
        VideoParametersCodec::H264 { sps, pps } => {
            Some(Sets { vps: None, sps: Some(sps.clone()), pps: vec![pps.clone()] })
        }
        VideoParametersCodec::H265 { vps, sps, pps } => {
            Some(Sets { vps: Some(vps.clone()), sps: Some(sps.clone()), pps: vec![pps.clone()] })
        }
        _ => None,
    }
}

fn audio_track(stream: &retina::client::Stream) -> Option<SourceTrack> {
    let ParametersRef::Audio(audio) = stream.parameters()? else { return None };
    let parameters = match (stream.media(), stream.encoding_name()) {
        ("audio", "mpeg4-generic") => {
            let config = Bytes::copy_from_slice(audio.extra_data());
            Parameters::Aac(aac::Parameters::new(config).ok()?)
        }
        ("audio", name @ ("pcmu" | "pcma")) => Parameters::G711(g711::Parameters {
            law: if name == "pcmu" { g711::Law::Mu } else { g711::Law::A },
            sample_rate: stream.clock_rate_hz(),
            channels: u8::try_from(audio.channels().get()).ok()?,
        }),
        _ => return None,
    };
    let timescale = Timescale::new(stream.clock_rate_hz())?;
    Some(SourceTrack { timescale, codec: SourceCodec::Known(parameters), declared_fps: None })
}
