//! A SOAP server that does what a test says.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

/// What came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The last word of the action: `GetServices`.
    pub(super) what: String,
    pub(super) head: String,
    pub(super) body: String,
}

/// What goes back.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// An envelope around this.
    Body(String),
    /// As it stands.
    Raw(Vec<u8>),
    /// This, and then the same mebibyte on and on.
    Endless(Vec<u8>),
    /// This, and then nothing; the connection stays.
    Stalls(Vec<u8>),
    /// A byte a second.
    Trickles(Vec<u8>),
    /// The same, but only after that time.
    After(Duration, Box<Self>),
}

pub(super) struct Soap {
    pub(super) address: SocketAddr,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
    pub(super) connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

pub(super) fn head(status: &str, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{more}\r\n").into_bytes()
}

pub(super) fn fault(code: &str, reason: &str) -> Reply {
    let body = format!(
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{code}</s:Value></s:Subcode></s:Code>\
         <s:Reason><s:Text>{reason}</s:Text></s:Reason></s:Fault>"
    );
    let body = envelope(&body);
    let length = format!("Content-Length: {}\r\n", body.len());
    Reply::Raw([head("400 Bad Request", &length), body.into_bytes()].concat())
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">\
         <s:Body>{body}</s:Body></s:Envelope>"
    )
}

impl Soap {
    /// `answer` gets each request and the server's own address.
    pub(super) async fn start(
        answer: impl Fn(&Asked, SocketAddr) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (heard, count, answer) =
            (Arc::clone(&asked), Arc::clone(&connections), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                open.spawn(async move {
                    let _ = serve(stream, |request| {
                        heard.lock().unwrap().push(request.clone());
                        answer(&request, address)
                    })
                    .await;
                });
            }
        });
        Self { address, asked, connections, _tasks: tasks }
    }

    pub(super) fn heard(&self, what: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|a| a.what == what).cloned().collect()
    }
}

async fn serve(mut stream: TcpStream, answer: impl FnOnce(Asked) -> Reply) -> std::io::Result<()> {
    let mut got = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut got).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&got).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|r| r.lines().next());
        if body.len() >= length.map_or(0, |l| l.parse().unwrap()) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let action = head.split("action=\"").nth(1).and_then(|r| r.split('"').next()).unwrap_or("");
    let what = action.rsplit('/').next().unwrap_or("").to_owned();
    let mut reply = answer(Asked { what, head, body });
    while let Reply::After(span, then) = reply {
        sleep(span).await;
        reply = *then;
    }
    match reply {
        Reply::After(..) => Ok(()),
        Reply::Trickles(bytes) => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Reply::Body(body) => {
            let body = envelope(&body);
            let length = format!("Content-Length: {}\r\n", body.len());
            let whole = [super::soap::head("200 OK", &length), body.into_bytes()].concat();
            stream.write_all(&whole).await
        }
        Reply::Raw(bytes) => stream.write_all(&bytes).await,
        Reply::Endless(bytes) => {
            stream.write_all(&bytes).await?;
            loop {
                stream.write_all(&[b'a'; 64 << 10]).await?;
            }
        }
        Reply::Stalls(bytes) => {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        }
    }
}
