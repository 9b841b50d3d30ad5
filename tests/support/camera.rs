//! A camera that misbehaves on request: an RTSP server over real sockets, with code of its own
//! (nothing of `vedette`), so that a mistake on our side is not made on both.
//!
//! It sends deterministic H.264 (parameter sets made by x264, slices of opaque bytes that carry a
//! frame number counted over all sessions) and, when asked, AAC or G.711. [`Behaviour`] may be
//! changed while it runs; what it holds is looked at before each frame and each answer.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UdpSocket, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::tunnel::{self, Reader};

/// Made by x264 (`testsrc`, profile Main, no B-frames, 25 fps): 640×360 and 320×176.
const SPS_LARGE: &[u8] =
    b"\x67\x4d\x40\x1e\xda\x02\x80\xbf\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x58\xba\x80";
const SPS_SMALL: &[u8] =
    b"\x67\x4d\x40\x0c\xda\x05\x05\xec\x04\x40\x00\x00\x03\x00\x40\x00\x00\x0c\x83\xc5\x0a\xa8";
/// The same of both; and once more with `pic_parameter_set_id` 1.
const PPS: &[u8] = b"\x68\xef\x0f\xc8";
const PPS_1: &[u8] = b"\x68\x5b\xc3\xf2";

/// Media per RTP packet.
const MTU: usize = 1_200;

/// Which SPS is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// 640×360.
    Large,
    /// 320×176.
    Small,
}

/// The second track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audio {
    /// AAC-LC, 8 kHz, mono (RFC 3640, AAC-hbr).
    Aac,
    /// G.711 µ-law, static payload type 0.
    Pcmu,
}

/// Who may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Everybody.
    None,
    /// `admin` / `secret`, in the clear.
    Basic,
    /// `admin` / `secret`, RFC 2617 MD5.
    Digest,
}

/// What the camera does. The default is a good one.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    /// Pictures a second.
    pub(crate) fps: u32,
    /// Pictures from one key frame to the next.
    pub(crate) gop: u64,
    /// Bytes of a key frame; others have an eighth.
    pub(crate) key_bytes: usize,
    /// Resolution; takes effect at once, with a key frame.
    pub(crate) size: Size,
    /// Sends two PPS with each key frame.
    pub(crate) two_pps: bool,
    /// A second track.
    pub(crate) audio: Option<Audio>,
    /// Whether parameter sets stand in the SDP.
    pub(crate) sdp_parameters: bool,
    /// Whether they come before each key frame.
    pub(crate) in_band_parameters: bool,
    /// An access unit delimiter before each picture.
    pub(crate) delimiters: bool,
    /// Who may watch.
    pub(crate) auth: Auth,
    /// Who may open a tunnel through HTTP; `None`: nobody, there are none.
    pub(crate) tunnels: Option<Auth>,
    /// Answer a tunnel's POST so.
    pub(crate) refuse_post: Option<u16>,
    /// Answer every DESCRIBE so.
    pub(crate) refuse: Option<u16>,
    /// Answer DESCRIBE of other paths with 404.
    pub(crate) only: Option<&'static str>,
    /// Send no key frame.
    pub(crate) no_key: bool,
    /// And from then on, when it is asked for one over RTCP.
    pub(crate) key_on_request: bool,
    /// Seconds that its clock is ahead, as its sender reports say.
    pub(crate) clock_ahead: i64,
    /// The SDP, if not the right one.
    pub(crate) sdp: Option<String>,
    /// Send every DESCRIBE there (302).
    pub(crate) redirect: Option<String>,
    /// Take no TCP (461).
    pub(crate) udp_only: bool,
    /// What is sent over UDP arrives nowhere; for tracks set up from now on.
    pub(crate) udp_lost: bool,
    /// Another `Session` id with every SETUP.
    pub(crate) many_ids: bool,
    /// Send the first picture before PLAY is answered.
    pub(crate) early: bool,
    /// Ask OPTIONS of the client, and send nothing until it answers (taken).
    pub(crate) asks: bool,
    /// Send empty lines and data on channels nobody assigned (taken).
    pub(crate) stray: bool,
    /// Sender reports, one a second.
    pub(crate) reports: bool,
    /// When it was captured, in each packet, by a clock that is decades off (ONVIF's extension for
    /// replay).
    pub(crate) capture_times: bool,
    /// `rtptime` in RTP-Info.
    pub(crate) rtp_info: bool,
    /// How much later than the picture of the same moment sound is sent.
    pub(crate) audio_late: Duration,
    /// Send no video packets.
    pub(crate) no_video: bool,
    /// Send no audio packets.
    pub(crate) no_audio: bool,
    /// Send nothing at all, RTCP included; the socket stays open.
    pub(crate) stall: bool,
    /// Take requests, answer none.
    pub(crate) mute: bool,
    /// Lose this many of the next video packets (counted down).
    pub(crate) lose: u64,
    /// Lose every video packet while set.
    pub(crate) lose_all: bool,
    /// Add to the RTP clock of video, once (taken).
    pub(crate) jump: i64,
    /// Another SSRC for video from now on (taken).
    pub(crate) new_ssrc: bool,
    /// Send an empty RTP payload (taken).
    pub(crate) empty_packet: bool,
    /// Send broken RTCP: too short, of no version, good-byes cut off and of sources that nobody
    /// knows (taken).
    pub(crate) bad_rtcp: bool,
    /// Say good-bye for this track (taken), and send nothing more of it while it is in `gone`.
    pub(crate) bye: Option<usize>,
    pub(crate) gone: [bool; 2],
    /// Remember what was asked and what was sent; not where it goes on for long.
    pub(crate) keeps: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            fps: 50,
            gop: 10,
            key_bytes: 4_000,
            size: Size::Large,
            two_pps: false,
            audio: None,
            sdp_parameters: true,
            in_band_parameters: true,
            delimiters: false,
            auth: Auth::None,
            tunnels: None,
            refuse_post: None,
            refuse: None,
            only: None,
            no_key: false,
            key_on_request: false,
            clock_ahead: 0,
            sdp: None,
            redirect: None,
            udp_only: false,
            udp_lost: false,
            many_ids: false,
            early: false,
            asks: false,
            stray: false,
            reports: true,
            capture_times: false,
            rtp_info: true,
            audio_late: Duration::ZERO,
            no_video: false,
            no_audio: false,
            stall: false,
            mute: false,
            lose: 0,
            lose_all: false,
            jump: 0,
            new_ssrc: false,
            empty_packet: false,
            bad_rtcp: false,
            bye: None,
            gone: [false; 2],
            keeps: true,
        }
    }
}

pub(super) struct Shared {
    behaviour: Mutex<Behaviour>,
    /// Counts [`Camera::drop_connections`]; sessions end when it changes.
    generation: watch::Sender<u64>,
    /// Requests answered, as `METHOD status`; answers to its own, as `ANSWER status`; reports of the
    /// client over TCP, as `REPORT channel`.
    requests: watch::Sender<Vec<String>>,
    /// Video frames made, sent or lost.
    frames: watch::Sender<u64>,
    audio_frame: AtomicU64,
    /// Tunnels whose GET waits for its POST.
    pub(super) waiting: tunnel::Waiting,
    /// Numbers of video frames all of whose packets were sent.
    sent: Mutex<Vec<u64>>,
}

impl Shared {
    pub(super) fn with<T>(&self, read: impl FnOnce(&mut Behaviour) -> T) -> T {
        read(&mut self.behaviour.lock().unwrap())
    }

    fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    pub(super) fn note(&self, what: String) {
        if self.with(|b| b.keeps) {
            self.requests.send_modify(|all| all.push(what));
        }
    }
}

/// A running camera. Dropping it is pulling its plug.
pub(crate) struct Camera {
    shared: Arc<Shared>,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Camera {
    /// Starts one on a free port of the loopback interface.
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            generation: watch::Sender::new(0),
            requests: watch::Sender::new(Vec::new()),
            frames: watch::Sender::new(0),
            audio_frame: AtomicU64::new(0),
            waiting: tunnel::Waiting::default(),
            sent: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut camera = Self { shared, address, tasks: JoinSet::new() };
        camera.listen(listener);
        camera
    }

    fn listen(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(Arc::clone(&shared), stream));
                while connections.try_join_next().is_some() {}
            }
        });
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address, without a login.
    pub(crate) fn url(&self) -> String {
        format!("rtsp://{}/live", self.address)
    }

    /// Its address with a login.
    pub(crate) fn url_with(&self, login: &str) -> String {
        format!("rtsp://{login}@{}/live", self.address)
    }

    /// Changes what it does from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        self.shared.with(change);
    }

    /// Closes all connections; the listener stays.
    pub(crate) fn drop_connections(&self) {
        self.shared.generation.send_modify(|g| *g += 1);
    }

    /// No power: connections are cut, new ones refused.
    pub(crate) async fn unplug(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Power again, same port.
    pub(crate) async fn plug(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listen(listener);
    }

    /// How many requests of `method` were answered with `status`.
    pub(crate) fn answered(&self, method: &str, status: u16) -> usize {
        let wanted = format!("{method} {status}");
        self.shared.requests.borrow().iter().filter(|r| **r == wanted).count()
    }

    /// Waits until `count` requests of `method` were answered with `status`.
    pub(crate) async fn wait_for(&self, method: &str, status: u16, count: usize) {
        let wanted = format!("{method} {status}");
        let mut requests = self.shared.requests.subscribe();
        let enough = requests.wait_for(|all| all.iter().filter(|r| **r == wanted).count() >= count);
        enough.await.unwrap();
    }

    /// Waits until it has made `more` video frames, sent or lost.
    pub(crate) async fn wait_for_frames(&self, more: u64) {
        let mut frames = self.shared.frames.subscribe();
        let target = *frames.borrow() + more;
        frames.wait_for(|made| *made >= target).await.unwrap();
    }

    /// How many video frames it has made.
    pub(crate) fn made(&self) -> u64 {
        *self.shared.frames.borrow()
    }

    /// Numbers of the video frames sent whole, in order.
    pub(crate) fn sent(&self) -> Vec<u64> {
        self.shared.sent.lock().unwrap().clone()
    }
}

/// The number of the frame in a unit's payload.
pub(crate) fn frame_number(payload: &[u8]) -> Option<u64> {
    let at = payload.windows(6).position(|w| w == b"frame:")?;
    std::str::from_utf8(payload.get(at + 6..at + 16)?).ok()?.parse().ok()
}

fn body(number: u64, bytes: usize) -> Vec<u8> {
    let mut body = format!("frame:{number:010};").into_bytes();
    body.resize(bytes.max(body.len()), b'x');
    body
}

/// One RTP sender.
struct Track {
    ssrc: u32,
    sequence: u16,
    payload_type: u8,
    rate: u32,
    /// RTP time at the session's start.
    base: u32,
    packets: u32,
    bytes: u32,
    path: Path,
    /// NTP time of what is sent next, where packets say it.
    captured: Option<u64>,
}

enum Path {
    Tcp(u8),
    Udp { rtp: UdpSocket, rtcp: UdpSocket, rtp_to: SocketAddr, rtcp_to: SocketAddr },
}

impl Track {
    fn packet(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(12 + payload.len());
        let extended = if self.captured.is_some() { 0x10 } else { 0 };
        packet.extend_from_slice(&[0x80 | extended, self.payload_type | (u8::from(marker) << 7)]);
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        if let Some(captured) = self.captured {
            packet.extend_from_slice(b"\xab\xac\x00\x03");
            packet.extend_from_slice(&captured.to_be_bytes());
            packet.extend_from_slice(&[0; 4]);
        }
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.bytes += payload.len() as u32;
        packet
    }

    fn ticks(&self, elapsed: Duration) -> u32 {
        let ticks = elapsed.as_micros() * u128::from(self.rate) / 1_000_000;
        self.base.wrapping_add(ticks as u32)
    }

    fn report(&self, elapsed: Duration, clock_ahead: i64) -> Vec<u8> {
        #[expect(clippy::disallowed_methods, reason = "a camera has a clock of its own")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seconds = (now.as_secs() as i64 + clock_ahead + 2_208_988_800) as u32;
        let fraction = ((u64::from(now.subsec_micros()) << 32) / 1_000_000) as u32;
        let mut report = vec![0x80, 200, 0, 6];
        for word in [self.ssrc, seconds, fraction, self.ticks(elapsed), self.packets, self.bytes] {
            report.extend_from_slice(&word.to_be_bytes());
        }
        report
    }
}

/// NTP time of what was captured so long after the session began: in the year 1990.
fn captured(due: Duration) -> u64 {
    let fraction = ((u64::from(due.subsec_nanos())) << 32) / 1_000_000_000;
    ((2_840_140_800 + due.as_secs()) << 32) | fraction
}

/// What a connection has set up.
#[derive(Default)]
struct Session {
    tracks: [Option<Track>; 2],
    playing: Option<Instant>,
    frames: u64,
    audio_frames: u64,
    reports: u32,
    /// Size of the last picture, to send a key frame when it changes.
    size: Option<Size>,
    since_key: u64,
    /// For an answer of the client.
    waits: bool,
    /// RTP ticks the video clock has jumped.
    jumped: u32,
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let generation = shared.generation();
    let mut changed = shared.generation.subscribe();
    let talk = async {
        let (read, write) = tunnel::enter(&shared, stream).await?;
        talk(Arc::clone(&shared), read, write).await
    };
    tokio::select! {
        _ = changed.wait_for(|g| *g != generation) => {}
        _ = talk => {}
    }
}

/// Answers requests and, between them, sends media. `None`: the client is gone.
async fn talk(shared: Arc<Shared>, mut read: Reader, mut write: OwnedWriteHalf) -> Option<()> {
    let mut session = Session::default();
    let mut buffer = Vec::new();
    loop {
        let next = session.next_due(&shared);
        tokio::select! {
            biased;
            more = read.more(&mut buffer) => {
                more?;
                while let Some(request) = Request::take(&mut buffer, &shared) {
                    if shared.with(|b| b.mute) {
                        continue;
                    }
                    if request.method.starts_with("RTSP/") {
                        session.waits = false;
                        let status = format!("ANSWER {}", request.uri);
                        shared.requests.send_modify(|all| all.push(status));
                        continue;
                    }
                    let answer = session.answer(&shared, &request).await;
                    shared.note(format!("{} {}", request.method, answer.status));
                    if request.method == "PLAY" && shared.with(|b| b.early) {
                        session.send_due(&shared, &mut write).await?;
                    }
                    write.write_all(&answer.bytes(&request)).await.ok()?;
                    if request.method == "TEARDOWN" {
                        session = Session::default();
                    }
                }
            }
            () = sleep_until(next.unwrap_or_else(far)), if next.is_some() => {
                session.send_due(&shared, &mut write).await?;
            }
        }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}

pub(super) struct Request {
    pub(super) method: String,
    uri: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Takes a whole request off the buffer. Interleaved data from the client is noted and skipped.
    pub(super) fn take(buffer: &mut Vec<u8>, shared: &Shared) -> Option<Self> {
        while buffer.first() == Some(&b'$') {
            let length = usize::from(u16::from_be_bytes([*buffer.get(2)?, *buffer.get(3)?]));
            if buffer.len() < 4 + length {
                return None;
            }
            shared.note(format!("REPORT {}", buffer[1]));
            // Payload feedback of format 1: picture loss indication.
            if buffer[4..4 + length].windows(4).any(|w| w == [0x81, 206, 0, 2]) {
                shared.note(format!("WISH {}", buffer[1]));
                shared.with(|b| b.no_key &= !b.key_on_request);
            }
            buffer.drain(..4 + length);
        }
        let end = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap().split(' ');
        let method = words.next().unwrap().to_owned();
        let uri = words.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Self { method, uri, headers })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, headers: String::new(), body: String::new() }
    }

    fn ok(headers: String) -> Self {
        Self { status: 200, headers, body: String::new() }
    }

    fn bytes(&self, request: &Request) -> Vec<u8> {
        let sequence = request.header("cseq").unwrap_or("0");
        let Self { status, headers, body } = self;
        let length = body.len();
        format!(
            "RTSP/1.0 {status} X\r\nCSeq: {sequence}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

const NONCE: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn authorized(auth: Auth, request: &Request) -> Result<(), String> {
    let given = request.header("authorization").unwrap_or_default();
    let (good, challenge) = match auth {
        Auth::None => (true, String::new()),
        Auth::Basic => (
            given == format!("Basic {}", STANDARD.encode("admin:secret")),
            "Basic realm=\"camera\"".to_owned(),
        ),
        Auth::Digest => {
            let field = |name: &str| {
                let at = given.find(&format!("{name}=\""))? + name.len() + 2;
                given[at..].split('"').next()
            };
            let secret = hex("admin:camera:secret");
            let uri = field("uri").unwrap_or_default();
            let place = hex(&format!("{}:{uri}", request.method));
            let response = hex(&format!("{secret}:{NONCE}:{place}"));
            let good = field("username") == Some("admin") && field("response") == Some(&response);
            (good, format!("Digest realm=\"camera\", nonce=\"{NONCE}\""))
        }
    };
    if good { Ok(()) } else { Err(format!("WWW-Authenticate: {challenge}\r\n")) }
}

impl Session {
    async fn answer(&mut self, shared: &Shared, request: &Request) -> Answer {
        let b = shared.with(|b| b.clone());
        if request.method != "OPTIONS"
            && let Err(headers) = authorized(b.auth, request)
        {
            return Answer { headers, ..Answer::status(401) };
        }
        match request.method.as_str() {
            "OPTIONS" => Answer::ok(
                "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n".to_owned(),
            ),
            "DESCRIBE" if b.only.is_some_and(|path| !request.uri.ends_with(path)) => {
                Answer::status(404)
            }
            "DESCRIBE" => match (b.refuse, b.redirect.clone()) {
                (Some(status), _) => Answer::status(status),
                (None, Some(to)) => {
                    Answer { headers: format!("Location: {to}\r\n"), ..Answer::status(302) }
                }
                (None, None) => Answer {
                    body: b.sdp.clone().unwrap_or_else(|| sdp(&b)),
                    headers: format!(
                        "Content-Type: application/sdp\r\nContent-Base: {}/\r\n",
                        request.uri
                    ),
                    status: 200,
                },
            },
            "SETUP" => self.setup(&b, request).await,
            "PLAY" => {
                let info = self.tracks.iter().enumerate().filter_map(|(at, track)| {
                    let track = track.as_ref()?;
                    let time = format!(";rtptime={}", track.base);
                    let time = if b.rtp_info { time } else { String::new() };
                    Some(format!("url=track{at};seq={}{time}", track.sequence))
                });
                let info: Vec<_> = info.collect();
                self.playing = Some(Instant::now());
                Answer::ok(format!("Session: 7\r\nRTP-Info: {}\r\n", info.join(",")))
            }
            _ => Answer::ok("Session: 7\r\n".to_owned()),
        }
    }

    async fn setup(&mut self, b: &Behaviour, request: &Request) -> Answer {
        let at = usize::from(request.uri.contains("track1"));
        let transport = request.header("transport").unwrap_or_default();
        let value = |name: &str| -> Option<u16> {
            let rest = transport.split(&format!("{name}=")).nth(1)?;
            rest.split('-').next()?.parse().ok()
        };
        let (path, reply) = if let Some(channel) = value("interleaved") {
            if b.udp_only {
                return Answer::status(461);
            }
            let reply = format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel + 1);
            (Path::Tcp(channel as u8), reply)
        } else {
            let client = value("client_port").unwrap();
            let (rtp, rtcp, port) = udp_pair().await;
            let reply = format!(
                "RTP/AVP;unicast;client_port={client}-{};server_port={port}-{}",
                client + 1,
                port + 1
            );
            // What it sends to itself nobody reads.
            let target = if b.udp_lost { port } else { client };
            let to = |port| SocketAddr::from(([127, 0, 0, 1], port));
            (Path::Udp { rtp, rtcp, rtp_to: to(target), rtcp_to: to(target + 1) }, reply)
        };
        let (rate, payload_type) = match (at, b.audio) {
            (0, _) => (90_000, 96),
            (_, Some(Audio::Pcmu)) => (8_000, 0),
            _ => (8_000, 97),
        };
        // Close to the wrap of both counters, so that every test goes through it.
        let base = u32::MAX - rate / 2;
        let (ssrc, sequence) = (0x1234_0000 + at as u32, u16::MAX - 20);
        let (packets, bytes) = (0, 0);
        self.tracks[at] = Some(Track {
            ssrc,
            sequence,
            payload_type,
            rate,
            base,
            packets,
            bytes,
            path,
            captured: None,
        });
        let id = if b.many_ids { 7 + at } else { 7 };
        Answer::ok(format!("Session: {id};timeout=60;foo=1\r\nTransport: {reply}\r\n"))
    }

    fn video_due(&self, b: &Behaviour) -> Duration {
        Duration::from_micros(self.frames * 1_000_000 / u64::from(b.fps))
    }

    fn audio_due(&self, b: &Behaviour) -> Option<Duration> {
        let samples = if b.audio? == Audio::Aac { 1_024 } else { 160 };
        Some(Duration::from_micros(self.audio_frames * samples * 125))
    }

    fn next_due(&self, shared: &Shared) -> Option<Instant> {
        let start = self.playing.filter(|_| !self.waits)?;
        let b = shared.with(|b| b.clone());
        let audio = self.tracks[1].as_ref().and_then(|_| self.audio_due(&b));
        let video = self.tracks[0].as_ref().map(|_| self.video_due(&b));
        let next = [audio.map(|due| due + b.audio_late), video].into_iter().flatten().min()?;
        Some(start + next)
    }

    async fn send_due(&mut self, shared: &Shared, write: &mut OwnedWriteHalf) -> Option<()> {
        let start = self.playing?;
        let b = shared.with(|b| {
            let before = b.clone();
            (b.asks, b.stray, b.bye) = (false, false, None);
            before
        });
        if let Some(track) = b.bye.and_then(|at| self.tracks.get(at)?.as_ref()) {
            let bye = [&[0x81, 203, 0, 1], &track.ssrc.to_be_bytes()[..]].concat();
            // Behind an empty receiver report, as a compound packet has to begin.
            let bye = [&[0x80, 201, 0, 1], &track.ssrc.to_be_bytes()[..], &bye].concat();
            send(&track.path, true, &bye, write).await?;
        }
        let elapsed = start.elapsed();
        if b.stray {
            write.write_all(b"\r\n$\x09\x00\x03abc\r\n\r\n$\xff\x00\x00").await.ok()?;
        }
        if b.asks {
            self.waits = true;
            write.write_all(b"OPTIONS * RTSP/1.0\r\nCSeq: 900\r\n\r\n").await.ok()?;
            return Some(());
        }
        if self.tracks[0].is_some() && self.video_due(&b) <= elapsed {
            let due = self.video_due(&b);
            self.frames += 1;
            self.send_picture(shared, &b, due, write).await?;
        }
        let audio_due = self.audio_due(&b).filter(|due| *due + b.audio_late <= elapsed);
        if let (Some(due), Some(track)) = (audio_due, &mut self.tracks[1]) {
            self.audio_frames += 1;
            let number = shared.audio_frame.fetch_add(1, Ordering::SeqCst);
            let frame = body(number, if b.audio == Some(Audio::Pcmu) { 160 } else { 60 });
            let payload = match b.audio {
                Some(Audio::Aac) => {
                    let size = (frame.len() as u16) << 3;
                    [&[0, 16][..], &size.to_be_bytes(), &frame].concat()
                }
                _ => frame,
            };
            track.captured = b.capture_times.then(|| captured(due));
            let packet = track.packet(track.ticks(due), true, &payload);
            if !b.no_audio && !b.stall && !b.gone[1] {
                send(&track.path, false, &packet, write).await?;
            }
        }
        if b.reports && !b.stall && elapsed >= Duration::from_secs(u64::from(self.reports)) {
            self.reports += 1;
            let jumped = self.jumped;
            for (at, track) in self.tracks.iter_mut().enumerate() {
                let Some(track) = track.as_ref().filter(|_| !b.gone[at]) else { continue };
                let mut report = track.report(elapsed, b.clock_ahead);
                if at == 0 {
                    let ticks = track.ticks(elapsed).wrapping_add(jumped);
                    report[16..20].copy_from_slice(&ticks.to_be_bytes());
                }
                send(&track.path, true, &report, write).await?;
            }
        }
        Some(())
    }

    async fn send_picture(
        &mut self,
        shared: &Shared,
        b: &Behaviour,
        due: Duration,
        write: &mut OwnedWriteHalf,
    ) -> Option<()> {
        let (jump, new_ssrc, empty, bad_rtcp) = shared.with(|b| {
            (
                std::mem::take(&mut b.jump),
                std::mem::take(&mut b.new_ssrc),
                std::mem::take(&mut b.empty_packet),
                std::mem::take(&mut b.bad_rtcp),
            )
        });
        let track = self.tracks[0].as_mut()?;
        if new_ssrc {
            track.ssrc = track.ssrc.wrapping_add(1);
        }
        self.jumped = self.jumped.wrapping_add(jump as u32);
        let timestamp = track.ticks(due).wrapping_add(self.jumped);
        track.captured = b.capture_times.then(|| captured(due));
        if b.stall || b.no_video || b.gone[0] {
            return Some(());
        }
        if bad_rtcp {
            let own = track.ssrc.to_be_bytes();
            let cut = [b"\x80\xc9\x00\x01\0\0\0\x09\x81\xcb\x00\x02", &own[..]].concat();
            let unnamed = b"\x80\xc9\x00\x01\0\0\0\x09\x80\xcb\x00\x00";
            let stranger = b"\x80\xc9\x00\x01\0\0\0\x09\x81\xcb\x00\x01\xde\xad\xbe\xef";
            for packet in [&b"\x80\xc8\xff\xff"[..], b"", b"\x80", &cut, unnamed, stranger] {
                send(&track.path, true, packet, write).await?;
            }
        }
        if empty {
            let packet = track.packet(timestamp, false, b"");
            send(&track.path, false, &packet, write).await?;
        }
        let number = *shared.frames.borrow();
        shared.frames.send_replace(number + 1);
        let key = !b.no_key && (self.size != Some(b.size) || self.since_key + 1 >= b.gop);
        self.size = Some(b.size);
        self.since_key = if key { 0 } else { self.since_key + 1 };

        let mut nals: Vec<Vec<u8>> = Vec::new();
        if b.delimiters {
            nals.push(vec![0x09, if key { 0x10 } else { 0x30 }]);
        }
        if key && b.in_band_parameters {
            nals.push(sps(b.size).to_vec());
            nals.push(PPS.to_vec());
            if b.two_pps {
                nals.push(PPS_1.to_vec());
            }
        }
        let bytes = if key { b.key_bytes } else { b.key_bytes / 8 };
        let header: &[u8] = if key { &[0x65, 0x88, 0x84] } else { &[0x41, 0x9a, 0x26] };
        nals.push([header, &body(number, bytes)].concat());

        let mut whole = true;
        let last = nals.len() - 1;
        for (at, nal) in nals.iter().enumerate() {
            for (payload, end) in payloads(nal) {
                let packet = track.packet(timestamp, end && at == last, &payload);
                let lost = b.lose_all
                    || shared.with(|b| {
                        let lose = b.lose > 0;
                        b.lose -= u64::from(lose);
                        lose
                    });
                if lost {
                    // Losing parameter sets does not harm the picture.
                    whole &= at != last;
                } else {
                    send(&track.path, false, &packet, write).await?;
                }
            }
        }
        if whole && shared.with(|b| b.keeps) {
            shared.sent.lock().unwrap().push(number);
        }
        Some(())
    }
}

/// A NAL unit as single packet or as FU-A; with each payload, whether it is the last.
fn payloads(nal: &[u8]) -> Vec<(Vec<u8>, bool)> {
    if nal.len() <= MTU {
        return vec![(nal.to_vec(), true)];
    }
    let (header, rest) = nal.split_first().unwrap();
    let chunks = rest.chunks(MTU);
    let last = chunks.len() - 1;
    let fragments = chunks.enumerate().map(|(at, chunk)| {
        let start = if at == 0 { 0x80 } else { 0 };
        let end = if at == last { 0x40 } else { 0 };
        let fu = [(header & 0xe0) | 28, start | end | (header & 0x1f)];
        ([&fu[..], chunk].concat(), at == last)
    });
    fragments.collect()
}

async fn send(path: &Path, rtcp: bool, packet: &[u8], write: &mut OwnedWriteHalf) -> Option<()> {
    match path {
        Path::Tcp(channel) => {
            let length = (packet.len() as u16).to_be_bytes();
            let head = [b'$', channel + u8::from(rtcp), length[0], length[1]];
            write.write_all(&[&head[..], packet].concat()).await.ok()
        }
        Path::Udp { rtp, rtcp: control, rtp_to, rtcp_to } => {
            let (socket, to) = if rtcp { (control, rtcp_to) } else { (rtp, rtp_to) };
            // The client may have closed its port; that is not our loss.
            let _ = socket.send_to(packet, to).await;
            Some(())
        }
    }
}

async fn udp_pair() -> (UdpSocket, UdpSocket, u16) {
    loop {
        let rtp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = rtp.local_addr().unwrap().port();
        let next = port.checked_add(1);
        if let Some(next) = next.filter(|_| port % 2 == 0)
            && let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", next)).await
        {
            return (rtp, rtcp, port);
        }
    }
}

fn sps(size: Size) -> &'static [u8] {
    match size {
        Size::Large => SPS_LARGE,
        Size::Small => SPS_SMALL,
    }
}

/// The right SDP; what is appended belongs to its last track.
pub(crate) fn sdp(b: &Behaviour) -> String {
    let mut sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=control:*\r\n\
        m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track0\r\n"
        .to_owned();
    if b.sdp_parameters {
        let mut sets = vec![STANDARD.encode(sps(b.size)), STANDARD.encode(PPS)];
        if b.two_pps {
            sets.push(STANDARD.encode(PPS_1));
        }
        sdp +=
            &format!("a=fmtp:96 packetization-mode=1;sprop-parameter-sets={}\r\n", sets.join(","));
    }
    match b.audio {
        Some(Audio::Aac) => {
            sdp += "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/8000/1\r\n\
                a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;\
                indexlength=3;indexdeltalength=3;config=1588\r\na=control:track1\r\n";
        }
        Some(Audio::Pcmu) => sdp += "m=audio 0 RTP/AVP 0\r\na=control:track1\r\n",
        None => {}
    }
    sdp
}
