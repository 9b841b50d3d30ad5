//! Real encoders' packets, given to our receiver and depacketizers and to retina: the same access
//! units must come out of both.
//!
//! ffmpeg encodes and packetizes; it publishes over TCP to a listener here, which keeps the
//! description and every packet. Nothing of them is lost or paced.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use retina::{
    client::{
        InitialTimestampPolicy, PlayOptions, Session, SessionOptions, SetupOptions,
        TcpTransportOptions, Transport as RetinaTransport,
    },
    codec::{CodecItem, FrameFormat},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};
use vedette::proto::{
    codec::nal::nals,
    rtp::{
        depacketize::{Depacketizer, Format},
        receive::{Receiver, Settings},
    },
    rtsp::{client::describe::Description, message::Message, parse::Decoder},
};

use super::{Duration, PATIENCE};

/// What an encoder published.
struct Transcript {
    sdp: Vec<u8>,
    /// Channel and packet; even channels are RTP, two a track.
    packets: Vec<(u8, Bytes)>,
}

/// A frame: ticks since the track's first, and its bytes.
type Frame = (i64, Vec<u8>);

/// The next message of the connection; `None` when it is closed.
async fn message(
    stream: &mut TcpStream,
    decoder: &mut Decoder,
    buffer: &mut BytesMut,
) -> Option<Message> {
    loop {
        if let Some(message) = decoder.decode(buffer).expect("ffmpeg speaks RTSP") {
            return Some(message);
        }
        // Who closes with something unread resets the connection.
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// Has ffmpeg encode and publish.
async fn published(arguments: &str) -> Transcript {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsp://{}/x", listener.local_addr().unwrap());
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(arguments.split_whitespace())
        .args(["-f", "rtsp", "-rtsp_transport", "tcp", &url])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::new());
    let mut transcript = Transcript { sdp: Vec::new(), packets: Vec::new() };
    while let Some(message) = message(&mut stream, &mut decoder, &mut buffer).await {
        let request = match message {
            Message::Request(request) => request,
            Message::Data(frame) => {
                transcript.packets.push((frame.channel, frame.payload));
                continue;
            }
            Message::Response(_) => continue,
        };
        if !request.body.is_empty() {
            transcript.sdp = request.body.to_vec();
        }
        let header = |name: &str| request.headers.get(name).unwrap_or_default().to_owned();
        let answer = format!(
            "RTSP/1.0 200 OK\r\nCSeq: {}\r\nSession: 1\r\nTransport: {}\r\n\r\n",
            header("CSeq"),
            header("Transport"),
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    assert!(ffmpeg.wait().await.unwrap().success(), "ffmpeg {arguments}");
    assert!(transcript.packets.len() > 20, "{} packets", transcript.packets.len());
    transcript
}

/// Plays the transcript to one client.
async fn play(listener: TcpListener, transcript: &Transcript) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::new());
    while let Some(message) = message(&mut stream, &mut decoder, &mut buffer).await {
        let Message::Request(request) = message else { continue };
        let (method, cseq) = (request.method.to_string(), request.headers.get("CSeq").unwrap());
        let mut answer = format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1\r\n");
        match method.as_str() {
            "DESCRIBE" => {
                let length = transcript.sdp.len();
                answer += &format!("Content-Type: application/sdp\r\nContent-Length: {length}\r\n");
            }
            "SETUP" => {
                let transport = request.headers.get("Transport").unwrap();
                answer += &format!("Transport: {transport}\r\n");
            }
            _ => {}
        }
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        match method.as_str() {
            "DESCRIBE" => stream.write_all(&transcript.sdp).await.unwrap(),
            "PLAY" => {
                for (channel, packet) in &transcript.packets {
                    let length = (packet.len() as u16).to_be_bytes();
                    stream.write_all(&[b'$', *channel, length[0], length[1]]).await.unwrap();
                    stream.write_all(packet).await.unwrap();
                }
                return;
            }
            _ => {}
        }
    }
}

/// What retina makes of it, by track.
async fn retinas(transcript: &Transcript) -> Vec<Vec<Frame>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsp://{}/x", listener.local_addr().unwrap()).parse().unwrap();
    let client = async {
        let mut session = Session::describe(url, SessionOptions::default()).await.unwrap();
        let mut tracks = vec![Vec::new(); session.streams().len()];
        for track in 0..tracks.len() {
            let transport = RetinaTransport::Tcp(TcpTransportOptions::default());
            let options =
                SetupOptions::default().transport(transport).frame_format(FrameFormat::MP4);
            session.setup(track, options).await.unwrap();
        }
        let options = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
        let mut frames = session.play(options).await.unwrap().demuxed().unwrap();
        // The connection's end is an error to it; all units have come by then.
        while let Some(item) = frames.next().await {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    println!("retina: {error}");
                    break;
                }
            };
            match item {
                CodecItem::VideoFrame(frame) => {
                    assert_eq!(frame.loss(), 0);
                    let of = (frame.timestamp().timestamp(), frame.data().to_vec());
                    tracks[frame.stream_id()].push(of);
                }
                CodecItem::AudioFrame(frame) => {
                    assert_eq!(frame.loss(), 0);
                    let of = (frame.timestamp().timestamp(), frame.data().to_vec());
                    tracks[frame.stream_id()].push(of);
                }
                _ => {}
            }
        }
        tracks
    };
    let (tracks, ()) = tokio::join!(client, play(listener, transcript));
    tracks
}

/// What we make of it.
fn ours(transcript: &Transcript) -> Vec<Vec<Frame>> {
    let description = Description::parse(&transcript.sdp);
    let mut tracks = Vec::new();
    for (at, media) in description.media.iter().enumerate() {
        let format = &media.formats[0];
        let mut depacketizer = Depacketizer::new(&Format {
            encoding: &format.encoding,
            clock_rate: format.clock_rate,
            channels: format.channels,
            fmtp: &format.parameters,
        })
        .unwrap();
        let mut receiver = Receiver::new(Settings {
            clock_rate: format.clock_rate,
            payload_types: vec![format.payload_type],
            reorder: None,
            ssrc: None,
            own_ssrc: 1,
        });
        let mut frames = Vec::new();
        let ours = transcript.packets.iter().filter(|(channel, _)| *channel == 2 * at as u8);
        for (_, packet) in ours {
            receiver.handle_data(packet.clone(), Duration::ZERO).unwrap();
            while let Some(received) = receiver.poll(Duration::ZERO) {
                depacketizer.push(received).unwrap();
                while let Some(frame) = depacketizer.poll() {
                    assert_eq!((frame.lost, frame.dropped), (0, 0));
                    frames.push((frame.ticks, frame.data.to_vec()));
                }
            }
        }
        tracks.push(frames);
    }
    tracks
}

/// Times from the track's first on; and of video no parameter sets, which retina takes out.
fn bare(track: &[Frame], is_set: fn(&[u8]) -> bool) -> Vec<Frame> {
    let zero = track.first().expect("a frame").0;
    let frame = |(ticks, data): &Frame| {
        let data = Bytes::copy_from_slice(data);
        let kept = nals(&data).map(Result::unwrap).filter(|nal| !is_set(nal));
        let framed = kept.flat_map(|nal| [&(nal.len() as u32).to_be_bytes(), nal].concat());
        (ticks - zero, framed.collect())
    };
    track.iter().map(frame).collect()
}

fn sound(track: &[Frame]) -> Vec<Frame> {
    let zero = track.first().expect("a frame").0;
    track.iter().map(|(ticks, data)| (ticks - zero, data.clone())).collect()
}

/// The last frame: whether it is whole nobody knows before the next one begins, if its packets
/// do not say so.
fn agree(ours: &[Frame], retinas: &[Frame], least: usize, what: &str) {
    let common = ours.len().min(retinas.len());
    assert!(
        ours.len().abs_diff(retinas.len()) <= 1,
        "{what}: {} and {}",
        ours.len(),
        retinas.len()
    );
    assert!(common >= least, "{what}: {common} frames");
    for (at, (ours, retinas)) in ours.iter().zip(retinas).enumerate() {
        assert_eq!(ours.0, retinas.0, "{what}: time of frame {at}");
        assert!(
            ours.1 == retinas.1,
            "{what}: frame {at} of {} and {} bytes",
            ours.1.len(),
            retinas.1.len()
        );
    }
}

async fn compared(arguments: &str) -> (Vec<Vec<Frame>>, Vec<Vec<Frame>>) {
    let both = async {
        let transcript = published(arguments).await;
        (ours(&transcript), retinas(&transcript).await)
    };
    timeout(PATIENCE * 3, both).await.expect("in time")
}

const PICTURES: &str = "-f lavfi -i testsrc2=size=1280x720:rate=25 -t 4";

#[tokio::test]
async fn retina_reads_the_same_h264_and_aac_as_we_do() {
    for encoder in [
        "-c:v libx264 -preset veryfast -bf 3 -g 25",
        "-c:v libx264 -preset veryfast -tune zerolatency -slices 4 -g 25 -x264-params aud=1",
        "-c:v libx264 -preset veryfast -intra-refresh 1 -g 50 -b:v 8M -pkt_size 1000",
    ] {
        let sine = "-f lavfi -i sine=frequency=440:sample_rate=48000 -t 4";
        let audio = "-c:a aac -b:a 96k";
        let (ours, retinas) = compared(&format!("{PICTURES} {sine} {encoder} {audio}")).await;
        let is_set = |nal: &[u8]| matches!(nal[0] & 31, 7 | 8);
        agree(&bare(&ours[0], is_set), &bare(&retinas[0], is_set), 98, encoder);
        agree(&sound(&ours[1]), &sound(&retinas[1]), 180, audio);
    }
}

#[tokio::test]
async fn retina_reads_the_same_h265_as_we_do() {
    let encoder = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25:bframes=2";
    let (ours, retinas) = compared(&format!("{PICTURES} {encoder}")).await;
    let is_set = |nal: &[u8]| matches!((nal[0] >> 1) & 63, 32..=34);
    agree(&bare(&ours[0], is_set), &bare(&retinas[0], is_set), 98, encoder);
}

#[tokio::test]
async fn retina_reads_the_same_g711_as_we_do() {
    for encoder in ["pcm_mulaw", "pcm_alaw"] {
        let sine = "-f lavfi -i sine=frequency=440:sample_rate=8000 -t 4";
        let (ours, retinas) = compared(&format!("{sine} -ac 1 -c:a {encoder}")).await;
        agree(&sound(&ours[0]), &sound(&retinas[0]), 20, encoder);
    }
}

/// retina has no depacketizer for LATM; but one encoder's frames are the same in either wrapping.
#[tokio::test]
async fn aac_in_latm_is_the_same_aac() {
    let sine = "-f lavfi -i sine=frequency=440:sample_rate=48000 -t 4 -c:a aac -b:a 96k";
    let plain = timeout(PATIENCE, published(sine)).await.expect("in time");
    let latm = format!("{sine} -rtpflags latm");
    let latm = timeout(PATIENCE, published(&latm)).await.expect("in time");
    let sdp = String::from_utf8_lossy(&latm.sdp).into_owned();
    assert!(sdp.contains("MP4A-LATM"), "{sdp}");
    let (latm, plain) = (sound(&ours(&latm)[0]), sound(&ours(&plain)[0]));
    // Frames that ffmpeg still gathers for a packet when it ends are never sent; LATM gathers none.
    let common = latm.len().min(plain.len());
    agree(&latm[..common], &plain[..common], 180, "LATM");
}
