//! The crate we pull cameras with, as a player of ours: no other client is as strict about RTSP and RTP.

use futures_util::StreamExt as _;
use retina::{
    client::{
        Credentials, PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions,
        Transport, UdpTransportOptions,
    },
    codec::{CodecItem, FrameFormat},
};

use crate::{
    harness::{
        Camera, Clip, Got, PASSWORD, Vedette, assert_as_sent, assert_consecutive,
        assert_times_as_sent, eventually, md5_of, number_in,
    },
    recorded::archive,
};

/// So many pictures of `path`, and whether all tracks were there.
fn retina(vedette: &Vedette, path: &str, transport: Transport, pictures: usize) -> Vec<Got> {
    let url = format!("rtsp://127.0.0.1:{}/{path}", vedette.rtsp_port).parse().unwrap();
    let login = Credentials { username: "admin".to_owned(), password: PASSWORD.to_owned() };
    let options = SessionOptions::default().creds(Some(login)).user_agent("retina".to_owned());
    let play = async {
        let mut session = Session::describe(url, options).await.unwrap();
        for stream in 0..session.streams().len() {
            let options =
                SetupOptions::default().transport(transport.clone()).frame_format(FrameFormat::MP4);
            session.setup(stream, options).await.unwrap();
        }
        let playing = session.play(PlayOptions::default()).await.unwrap();
        let mut frames = playing.demuxed().unwrap();
        let (mut units, mut sounds) = (Vec::new(), 0);
        while units.len() < pictures {
            match frames.next().await.expect("more").unwrap() {
                CodecItem::VideoFrame(frame) => {
                    assert_eq!(frame.loss(), 0, "lost packets");
                    units.push(unit(frame.data(), frame.timestamp().elapsed_secs()));
                }
                CodecItem::AudioFrame(frame) => {
                    assert_eq!(frame.loss(), 0, "lost packets");
                    sounds += 1;
                }
                _ => {}
            }
        }
        assert!(sounds > pictures, "{sounds} frames of sound beside {pictures} pictures");
        units
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(60), play).await.unwrap()
    })
}

/// A picture as MP4 has it: each NAL unit behind its length.
fn unit(mut data: &[u8], time: f64) -> Got {
    let (mut number, mut slices) = (None, Vec::new());
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        match nal[0] & 31 {
            1 | 5 => slices.extend_from_slice(nal),
            _ => number = number.or_else(|| number_in(nal)),
        }
        data = rest;
    }
    Got { number: number.unwrap_or(-1), md5: md5_of(&slices), time }
}

fn transports() -> [Transport; 2] {
    [Transport::Tcp(TcpTransportOptions::default()), Transport::Udp(UdpTransportOptions::default())]
}

#[test]
fn retina_plays_what_is_recorded_from_its_first_picture() {
    let archive = archive(Clip::H264Aac, 3);
    for transport in transports() {
        let units = retina(&archive.vedette, "door/recording", transport, 75);
        assert_eq!(units[0].number, archive.first);
        assert_consecutive(&units);
        let sent = archive.camera.sent("door", "video");
        assert_as_sent(&units, &sent);
        assert_times_as_sent(&units, &sent, 0.003);
    }
}

#[test]
fn retina_plays_live() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 60);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    eventually("door to run", || {
        let status = vedette.get("/cameras/door/status");
        (status["streams"][0]["state"] == "running").then_some(())
    });
    for transport in transports() {
        let units = retina(&vedette, "door", transport, 60);
        assert_consecutive(&units);
        let sent = camera.sent("door", "video");
        assert_as_sent(&units, &sent);
        assert_times_as_sent(&units, &sent, 0.003);
    }
}
