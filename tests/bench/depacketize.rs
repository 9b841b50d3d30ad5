//! Packets into frames: a camera of H.264 and AAC over TCP on the loopback as fast as it can be read, by our receiver and
//! depacketizers, by retina, and by a bare loop that finds the packets and copies their payloads into one buffer a frame.
//!
//! All three run one after the other, round after round, each on one thread whose CPU time is taken; the least of the rounds counts.
//! `BENCH_MEGABYTES` (default 256).

use std::{
    io::{IoSlice, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use vedette::proto::{
    access_unit::{AccessUnit, Track, TrackIndex},
    codec::{Parameters, aac, h264},
    rtp::{
        Depacketizer, PacketBatch, Receiver, Sender, Settings, batch::Cursor, depacketize::Format,
        receive,
    },
    rtsp::{message::Message, parse::Decoder},
    time::{MediaTime, Timescale, WallTime},
};

use super::process::setting;

const SPS: &[u8] = b"\x67\x64\x00\x0d\xac\xd9\x41\x41\xfb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60";
const PPS: &[u8] = b"\x68\xeb\xe3\xcb\x22\xc0";
const SDP: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=control:*\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:video\r\n\
    a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z2QADazZQUH7ARAAAAMAEAAAAwMg8UKZYA==,aOvjyyLA\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\na=control:audio\r\n\
    a=fmtp:97 streamtype=5;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190\r\n";
/// As cameras of 4 Mb/s send them: a second of pictures, and two sound frames a picture.
const KEY: usize = 90_000;
const PICTURE: usize = 17_000;
const SOUND: usize = 180;
const ROUNDS: usize = 3;
/// As ours is read.
const READ: usize = 64 << 10;

pub(crate) fn run() {
    let stream = Arc::new(stream(setting("BENCH_MEGABYTES", 256) as usize * 1_000_000));
    let (pictures, bytes) = (stream.pictures, stream.bytes.len());
    println!(
        "depacketizing: {:.0} MB of H.264 and AAC over TCP, {pictures} pictures",
        bytes as f64 / 1e6
    );
    println!("{:<10} {:>12} {:>9} {:>13}", "", "CPU s a GB", "of retina", "of bare loop");
    type Way = fn(TcpStream) -> usize;
    let ways: [(&str, Way); 3] = [
        ("vedette", ours),
        ("retina", |_| unreachable!("it connects by itself")),
        ("bare loop", bare),
    ];
    let mut best = [f64::MAX; 3];
    for _ in 0..ROUNDS {
        for (best, (name, read)) in best.iter_mut().zip(ways) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let sent = Arc::clone(&stream);
            let camera = std::thread::spawn(move || camera(&listener, &sent));
            let reader = std::thread::spawn(move || {
                let before = thread_cpu();
                let frames = match name {
                    "retina" => retinas(&format!("rtsp://{address}/x")),
                    _ => read(played(address)),
                };
                (frames, thread_cpu() - before)
            });
            let (frames, cpu) = reader.join().unwrap();
            camera.join().unwrap();
            // The last has no successor that would show it whole.
            assert!(frames.abs_diff(pictures) <= 1, "{name}: {frames} of {pictures}");
            *best = best.min(cpu.as_secs_f64() / bytes as f64 * 1e9);
        }
    }
    for ((name, _), cost) in ways.iter().zip(best) {
        println!("{name:<10} {cost:>12.3} {:>9.2} {:>13.2}", cost / best[1], cost / best[2]);
    }
}

/// What this thread has used (the first field of proc(5)'s `schedstat`, in nanoseconds).
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

struct Stream {
    /// Interleaved frames.
    bytes: Vec<u8>,
    pictures: usize,
}

/// What a camera sends, of about so many bytes.
fn stream(least: usize) -> Stream {
    let pps = vec![Bytes::from_static(PPS)];
    let video = Parameters::H264(h264::Parameters::new(Bytes::from_static(SPS), pps).unwrap());
    let sound = Parameters::Aac(aac::Parameters::lc(48_000, 2).unwrap());
    let sender = |parameters, timescale, payload_type, channel| {
        let track = Track { parameters, timescale: Timescale::new(timescale).unwrap() };
        let settings = Settings {
            ssrc: u32::from(payload_type),
            first_sequence: 0,
            first_timestamp: 0,
            payload_type,
            channel: Some(channel),
            max_packet: 1_452,
        };
        Sender::new(settings, &track).unwrap()
    };
    let (mut pictures, mut sounds) = (sender(video, 90_000, 96, 0), sender(sound, 48_000, 97, 2));
    let nal = |kind: u8, size: usize| {
        let mut body = Vec::with_capacity(size + 4);
        body.extend_from_slice(&(size as u32).to_be_bytes());
        // A picture's first slice.
        body.extend_from_slice(&[kind, 0x88]);
        body.extend((2..size).map(|n| (n % 251) as u8 | 4));
        Bytes::from(body)
    };
    let (key, picture, frame) =
        (nal(0x65, KEY), nal(0x41, PICTURE), Bytes::from(vec![0x21; SOUND]));
    let (mut bytes, mut batch) = (Vec::with_capacity(least + KEY * 2), PacketBatch::new());
    let mut number = 0;
    while bytes.len() < least {
        let body = if number % 25 == 0 { &key } else { &picture };
        send(&mut pictures, number, body, number as u32 * 3_600, &mut batch, &mut bytes);
        for n in 2 * number..2 * number + 2 {
            send(&mut sounds, n, &frame, n as u32 * 1_024, &mut batch, &mut bytes);
        }
        number += 1;
    }
    Stream { bytes, pictures: number as usize }
}

fn send(
    sender: &mut Sender,
    number: u64,
    body: &Bytes,
    ticks: u32,
    batch: &mut PacketBatch,
    out: &mut Vec<u8>,
) {
    let unit = AccessUnit {
        track: TrackIndex(0),
        number,
        dts: MediaTime::ZERO,
        cts: 0,
        wall: WallTime::from_micros(0),
        random_access: body.len() > KEY,
        head: Bytes::new(),
        body: body.clone(),
    };
    batch.clear();
    sender.send(&unit, ticks, batch).unwrap();
    let mut at = Cursor::default();
    loop {
        let mut slices = [IoSlice::new(&[]); PacketBatch::MAX_SLICES];
        let used = batch.framed(at, &mut slices);
        let written: usize = slices[..used].iter().map(|slice| slice.len()).sum();
        slices[..used].iter().for_each(|slice| out.extend_from_slice(slice));
        if batch.advance(&mut at, written) {
            break;
        }
    }
}

/// Answers whatever is asked, and sends at PLAY.
fn camera(listener: &TcpListener, stream: &Stream) {
    let (mut socket, _) = listener.accept().unwrap();
    let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::new());
    let mut read = [0; 4_096];
    loop {
        while let Some(message) = decoder.decode(&mut buffer).unwrap() {
            let Message::Request(request) = message else { continue };
            let header = |name: &str| request.headers.get(name).unwrap_or_default().to_owned();
            let mut answer =
                format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\nSession: 1\r\n", header("CSeq"));
            match &*request.method.to_string() {
                "DESCRIBE" => {
                    let length = SDP.len();
                    answer += &format!(
                        "Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}"
                    );
                }
                "SETUP" => answer += &format!("Transport: {}\r\n\r\n", header("Transport")),
                _ => answer += "\r\n",
            }
            socket.write_all(answer.as_bytes()).unwrap();
            if request.method.to_string() == "PLAY" {
                return socket.write_all(&stream.bytes).unwrap();
            }
        }
        let n = socket.read(&mut read).unwrap();
        assert!(n > 0, "who is asked to play stays");
        buffer.extend_from_slice(&read[..n]);
    }
}

/// A connection on which nothing but media comes any more.
fn played(address: std::net::SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(b"PLAY rtsp://x/ RTSP/1.0\r\nCSeq: 1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    socket
}

/// Pictures that our receiver and depacketizers find.
fn ours(socket: TcpStream) -> usize {
    let track = |encoding, clock_rate, fmtp, payload_type| {
        let format = Format { encoding, clock_rate, channels: Some(2), fmtp };
        let settings = receive::Settings {
            clock_rate,
            payload_types: vec![payload_type],
            reorder: None,
            ssrc: None,
            own_ssrc: 1,
        };
        (Receiver::new(settings), Depacketizer::new(&format).unwrap())
    };
    let hbr = "mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190";
    let sets = "sprop-parameter-sets=Z2QADazZQUH7ARAAAAMAEAAAAwMg8UKZYA==,aOvjyyLA";
    let mut tracks = [track("H264", 90_000, sets, 96), track("mpeg4-generic", 48_000, hbr, 97)];
    socket.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        use tokio::io::AsyncReadExt as _;
        let mut socket = tokio::net::TcpStream::from_std(socket).unwrap();
        let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::with_capacity(READ));
        let mut pictures = 0;
        while socket.read_buf(&mut buffer).await.unwrap() > 0 {
            while let Some(Message::Data(frame)) = decoder.decode(&mut buffer).unwrap() {
                let at = usize::from(frame.channel / 2);
                let (receiver, depacketizer) = &mut tracks[at];
                receiver.handle_data(frame.payload, Duration::ZERO).unwrap();
                while let Some(received) = receiver.poll(Duration::ZERO) {
                    depacketizer.push(received).unwrap();
                    while let Some(frame) = depacketizer.poll() {
                        std::hint::black_box(&frame.data);
                        pictures += usize::from(at == 0);
                    }
                }
            }
            buffer.reserve(READ);
        }
        pictures
    })
}

/// Pictures that retina finds.
fn retinas(url: &str) -> usize {
    use retina::{
        client::{InitialTimestampPolicy, PlayOptions, Session, SessionOptions, SetupOptions},
        codec::{CodecItem, FrameFormat},
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let options = SessionOptions::default();
        let mut session = Session::describe(url.parse().unwrap(), options).await.unwrap();
        for track in 0..2 {
            let options = SetupOptions::default().frame_format(FrameFormat::MP4);
            session.setup(track, options).await.unwrap();
        }
        let options = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
        let session = session.play(options).await.unwrap();
        let mut frames = session.demuxed().unwrap();
        let mut pictures = 0;
        // The connection's end is an error to it.
        while let Some(Ok(item)) = frames.next().await {
            if let CodecItem::VideoFrame(frame) = item {
                std::hint::black_box(frame.data());
                pictures += 1;
            }
        }
        pictures
    })
}

/// Pictures that their markers end: no header is looked at but for that, no loss, no time.
fn bare(mut socket: TcpStream) -> usize {
    let (mut buffer, mut filled) = (vec![0; 2 * READ], 0);
    let mut frame = Vec::with_capacity(KEY + READ);
    let mut pictures = 0;
    loop {
        let n = socket.read(&mut buffer[filled..]).unwrap();
        if n == 0 {
            return pictures;
        }
        filled += n;
        let mut at = 0;
        while let Some(&[_, channel, high, low]) = buffer[at..filled].first_chunk::<4>() {
            let end = at + 4 + usize::from(u16::from_be_bytes([high, low]));
            if end > filled {
                break;
            }
            let packet = &buffer[at + 4..end];
            frame.extend_from_slice(&packet[12..]);
            if packet[1] & 0x80 != 0 {
                std::hint::black_box(frame.to_vec());
                frame.clear();
                pictures += usize::from(channel == 0);
            }
            at = end;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}
