//! RTSPS: over real sockets, with certificates made on the spot.

use std::{net::SocketAddr, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::{
    access::{by_md5, challenged},
    *,
};
use crate::model::Secret;

/// Writes a certificate of its own for `localhost`, with its key; the key of another if `torn`.
fn certify(folder: &Path, torn: bool) -> CertificateDer<'static> {
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    let key = if torn { &other.signing_key } else { &own.signing_key };
    std::fs::write(folder.join("cert.pem"), own.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    own.cert.der().clone()
}

fn settings(folder: &Path) -> Tls {
    Tls {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    }
}

async fn serving(folder: &Path, access: Access) -> Bench {
    let run = run(1, TEN);
    let units = footage(&run, 100, 3_000);
    let script = Script::new(vec![(run, units)], WallSpan::from_micros(15_000));
    Bench::with(access, Some(script), |s| s.tls = Some(settings(folder))).await
}

async fn connect(
    to: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<Client<TlsStream<TcpStream>>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(to).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.map(Client::over)
}

fn by_basic(password: &str) -> super::client::Sign {
    let login = STANDARD.encode(format!("ann:{password}"));
    Box::new(move |_, _| format!("Basic {login}"))
}

fn ann() -> Access {
    Access::fixed("ann", &Secret::new("open sesame".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn rtsps_plays_as_rtsp_does_and_names_itself_in_the_content_base() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path(), false);
    let bench = serving(dir.path(), ann()).await;
    let mut client = connect(bench.tls.unwrap(), &trusted).await.unwrap();
    let url = format!("rtsps://{}/door/recording", bench.tls.unwrap());
    let (challenges, nonce) = challenged(&mut client, &url).await;
    assert!(challenges[1].starts_with("Basic "), "between the Digests: {challenges:?}");
    assert!(challenges[0].contains("SHA-256") && challenges[2].contains("MD5"));
    client.authorization = Some(by_md5("open sesame", nonce));
    let base = client.set_up(&url).await;
    assert!(base.starts_with("rtsps://"), "{base}");
    client.play(&base, "npt=0-").await;
    let pictures = client.pictures(50).await;
    let numbers: Vec<_> = pictures.iter().map(|(_, p)| super::client::number(p)).collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_over_tls_does_not_go_out_in_the_clear_over_udp() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path(), false);
    let bench = serving(dir.path(), Access::open_to_all()).await;
    let url = format!("rtsps://{}/door/recording/", bench.tls.unwrap());
    let udp = format!("SETUP {url}trackID=0\nTransport: RTP/AVP;unicast;client_port=40000-40001");
    let mut plain = bench.client().await;
    assert_eq!(plain.ask(&udp).await.status.as_u16(), 200);
    let mut client = connect(bench.tls.unwrap(), &trusted).await.unwrap();
    assert_eq!(client.ask(&udp).await.status.as_u16(), 461, "players then turn to TCP");
    let either = format!("{udp},RTP/AVP/TCP;unicast;interleaved=0-1");
    let answer = client.ask(&either).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert!(answer.headers.get("Transport").unwrap().contains("TCP"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn basic_is_taken_over_tls_only() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path(), false);
    let bench = serving(dir.path(), ann()).await;
    let mut plain = bench.client().await;
    plain.authorization = Some(by_basic("open sesame"));
    let describe = format!("DESCRIBE {}", bench.url("/door/recording"));
    let refused = plain.ask(&describe).await;
    assert_eq!(refused.status.as_u16(), 401);
    assert!(!refused.headers.get_all("WWW-Authenticate").any(|c| c.contains("Basic")));
    let mut client = connect(bench.tls.unwrap(), &trusted).await.unwrap();
    client.authorization = Some(by_basic("open sesame"));
    assert_eq!(client.ask(&describe).await.status.as_u16(), 200);
    client.authorization = Some(by_basic("sesame"));
    assert_eq!(client.ask(&describe).await.status.as_u16(), 401);
    let mut last = 401;
    for _ in 0..50 {
        last = client.ask(&describe).await.status.as_u16();
        if last == 503 {
            break;
        }
    }
    assert_eq!(last, 503, "guesses are kept waiting as with Digest");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_is_given_ten_seconds_and_counts_as_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certify(dir.path(), false);
    let bench = Bench::with(Access::open_to_all(), None, |s| {
        s.tls = Some(settings(dir.path()));
        s.max_connections_per_address = 1;
    })
    .await;
    let began = Instant::now();
    let silent = Client::connect(bench.tls.unwrap()).await;
    while bench.counters.connections() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(connect(bench.tls.unwrap(), &trusted).await.is_err(), "there is room for one");
    assert!(silent.rest().await.is_empty());
    assert_eq!(began.elapsed().as_secs(), 10);
    while bench.counters.connections() == 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut client = connect(bench.tls.unwrap(), &trusted).await.unwrap();
    assert_eq!(client.ask("OPTIONS *").await.status.as_u16(), 200);
    drop(client);
    while bench.counters.connections() == 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // What is no TLS is not answered as if it were RTSP.
    let mut plain = Client::connect(bench.tls.unwrap()).await;
    plain.raw(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n").await;
    assert!(!plain.rest().await.starts_with(b"RTSP"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_shown_from_then_on_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = certify(dir.path(), false);
    let bench = serving(dir.path(), Access::open_to_all()).await;
    let (address, certificates) = (bench.tls.unwrap(), bench.certificates.clone().unwrap());
    let mut early = connect(address, &first).await.unwrap();
    assert_eq!(early.ask("OPTIONS *").await.status.as_u16(), 200);

    let second = certify(dir.path(), false);
    assert!(connect(address, &second).await.is_err(), "nobody asked for it yet");
    certificates.reload().await.unwrap();
    connect(address, &second).await.unwrap();
    assert!(connect(address, &first).await.is_err());
    assert_eq!(early.ask("OPTIONS *").await.status.as_u16(), 200, "it goes on as it began");

    certify(dir.path(), true);
    let torn = certificates.reload().await.unwrap_err();
    assert!(matches!(torn, TlsError::Unusable { .. }), "{torn}");
    std::fs::write(dir.path().join("cert.pem"), "no certificate").unwrap();
    let empty = certificates.reload().await.unwrap_err();
    assert!(matches!(empty, TlsError::Pem { .. }), "{empty}");
    std::fs::remove_file(dir.path().join("key.pem")).unwrap();
    assert!(certificates.reload().await.is_err());
    connect(address, &second).await.unwrap();
    bench.stop().await;
}

#[tokio::test]
async fn a_server_does_not_begin_without_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: Some(settings(dir.path())),
        ..Settings::default()
    };
    let parts = Parts {
        hub: Arc::new(Hub::new(Limits::default())),
        archive: None,
        access: Access::open_to_all(),
        directory: Arc::new(Doors(StreamId(1))),
        berths: crate::ingest::publish::Berths::default(),
        clock: Clock::manual(TEN),
    };
    let error = RtspServer::bind(settings, parts).await.unwrap_err();
    let BindError::Certificate(TlsError::Read { file, .. }) = error else { panic!("{error}") };
    assert_eq!(file, dir.path().join("cert.pem"));
}
