//! How the camera is talked to through HTTP: GET and POST with `x-sessioncookie`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
};

use super::camera::{Request, Shared, authorized};

/// By cookie, whoever waits for the POST.
pub(super) type Waiting = Mutex<HashMap<String, oneshot::Sender<Reader>>>;

/// Where requests come from.
pub(super) struct Reader {
    from: OwnedReadHalf,
    /// Of a tunnel: what is not decoded yet, and what must not be closed.
    tunnel: Option<(Vec<u8>, OwnedWriteHalf)>,
}

impl Reader {
    /// Waits for more and appends it to `buffer`; `None` at the end. Cancel-safe.
    pub(super) async fn more(&mut self, buffer: &mut Vec<u8>) -> Option<()> {
        if let Some((text, _)) = self.tunnel.as_mut().filter(|(text, _)| text.len() >= 4) {
            // Came with the POST.
            decode(text, buffer);
            return Some(());
        }
        let mut chunk = [0_u8; 4_096];
        let count = self.from.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        match &mut self.tunnel {
            None => buffer.extend_from_slice(&chunk[..count]),
            Some((text, _)) => {
                text.extend_from_slice(&chunk[..count]);
                decode(text, buffer);
            }
        }
        Some(())
    }
}

fn decode(text: &mut Vec<u8>, buffer: &mut Vec<u8>) {
    let whole = text.len() / 4 * 4;
    for group in text.drain(..whole).collect::<Vec<_>>().chunks(4) {
        buffer.extend(STANDARD.decode(group).expect("base64"));
    }
}

/// Where requests come from and answers go to, over this connection; `None` when it is a POST, which
/// belongs to a GET, or nothing comes of it.
pub(super) async fn enter(
    shared: &Arc<Shared>,
    stream: TcpStream,
) -> Option<(Reader, OwnedWriteHalf)> {
    let mut word = [0; 4];
    while stream.peek(&mut word).await.ok().filter(|n| *n > 0)? < word.len() {
        tokio::task::yield_now().await;
    }
    let (mut from, mut to) = stream.into_split();
    let http = matches!(&word, b"GET " | b"POST");
    let (Some(auth), true) = (shared.with(|b| b.tunnels), http) else {
        if http {
            to.write_all(b"RTSP/1.0 400 Bad Request\r\n\r\n").await.ok()?;
            return None;
        }
        return Some((Reader { from, tunnel: None }, to));
    };
    let mut buffer = Vec::new();
    let request = loop {
        match Request::take(&mut buffer, shared) {
            Some(request) => break request,
            None => from.read_buf(&mut buffer).await.ok().filter(|n| *n > 0)?,
        };
    };
    let cookie = request.header("x-sessioncookie").expect("a cookie").to_owned();
    let refused = match authorized(auth, &request) {
        Err(challenge) => Some((401, challenge)),
        Ok(()) if request.method == "POST" => {
            shared.with(|b| b.refuse_post).map(|status| (status, String::new()))
        }
        Ok(()) => None,
    };
    let status = refused.as_ref().map_or(200, |(status, _)| *status);
    shared.note(format!("{} {status}", request.method));
    if let Some((status, headers)) = refused {
        let body = "<html>no</html>";
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} No\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        to.write_all(answer.as_bytes()).await.ok()?;
        // Closed by the client: a reset would take the answer with it.
        while from.read(&mut [0; 1_024]).await.ok()? > 0 {}
        return None;
    }
    if request.method == "POST" {
        let waits = shared.waiting.lock().unwrap().remove(&cookie).expect("a GET before");
        let _ = waits.send(Reader { from, tunnel: Some((buffer, to)) });
        return None;
    }
    let (give, take) = oneshot::channel();
    shared.waiting.lock().unwrap().insert(cookie, give);
    to.write_all(
        b"HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\nContent-Length: 32767\r\n\r\n",
    )
    .await
    .ok()?;
    // The GET's own socket says nothing any more, and is kept open by its other half.
    Some((take.await.ok()?, to))
}
