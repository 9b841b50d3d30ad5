//! RTSP over WebSocket: ffmpeg, which speaks none, behind a bridge that puts its bytes into
//! messages and takes those of the recorder out.

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tokio_util::sync::CancellationToken;

use crate::harness::{
    Camera, Clip, Vedette, assert_as_sent, assert_audio_as_sent, assert_consecutive, eventually,
    ffmpeg,
};

async fn carry(player: TcpStream, to: String) {
    let mut request = format!("ws://{to}/rtsp").into_client_request().unwrap();
    let protocol = "rtsp.onvif.org".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let socket = TcpStream::connect(&to).await.unwrap();
    let (socket, _) = client_async(request, socket).await.unwrap();
    let (mut messages_out, mut messages_in) = socket.split();
    let (mut reader, mut writer) = player.into_split();
    let up = async {
        let mut piece = vec![0; 100];
        while let Ok(n @ 1..) = reader.read(&mut piece).await {
            messages_out.send(Message::binary(piece[..n].to_vec())).await.unwrap();
        }
    };
    let down = async {
        while let Some(Ok(message)) = messages_in.next().await {
            if message.is_binary() && writer.write_all(&message.into_data()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn bridge(listener: std::net::TcpListener, to: String, stop: CancellationToken) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut carried = JoinSet::new();
    while let Some(Ok((player, _))) = stop.run_until_cancelled(listener.accept()).await {
        carried.spawn(carry(player, to.clone()));
    }
    carried.abort_all();
}

#[test]
fn ffmpeg_plays_live_through_a_websocket() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 60);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    eventually("the camera to run", || {
        let status = vedette.get("/cameras/door/status");
        (status["streams"][0]["state"] == "running").then_some(())
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = vedette.http.strip_prefix("http://").unwrap().to_owned();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| runtime.block_on(bridge(listener, to, stopped)));
        let _stop = stop.drop_guard();
        let url =
            vedette.rtsp("door").replacen(&vedette.rtsp_port.to_string(), &port.to_string(), 1);
        let (video, audio) = ffmpeg(&url, "tcp", 3, false);
        assert!(video.len() >= 50, "{} units in 3 s", video.len());
        assert_consecutive(&video);
        assert_as_sent(&video, &camera.sent("door", "video"));
        assert_audio_as_sent(&audio, &camera.sent("door", "audio"));
    });
}
