//! What a camera offers, and what keeps it from telling.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use super::{
    soap::{Asked, Reply, Soap, fault, head},
    *,
};
use crate::{id::Role, task::Failure};

#[tokio::test]
async fn a_camera_tells_its_name_and_the_streams_worth_recording() {
    let camera = simulated().await;
    let said = asked(&camera, PASSWORD).describe().await.unwrap();
    assert_eq!(said.manufacturer, "oxvif-mock");
    assert!(!said.name.is_empty());
    let chosen: Vec<_> = said.streams.iter().map(|s| (s.role, s.width, s.height)).collect();
    assert_eq!(chosen, [(Role::Main, 1_920, 1_080), (Role::Sub, 704, 480)]);
    for stream in &said.streams {
        assert!(stream.url.starts_with("rtsp://127.0.0.1"), "{}", stream.url);
        assert_eq!(stream.codec, VideoCodec::H264);
    }
    assert!(said.events);
    assert_eq!(said.findings, []);
    assert!(said.clock_off.unwrap().abs() < 5);
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_that_and_is_not_repeated() {
    let camera = simulated().await;
    let error = asked(&camera, "guessed").describe().await.unwrap_err();
    assert!(matches!(error, OnvifError::Unauthorized { .. }), "{error:?}");
    assert_eq!(error.code(), "wrong_password");
    assert_eq!(error.retry(), crate::task::Retry::Slow);
    assert!(!error.to_string().contains("guessed"));
    let nobody = device(place(camera.port(), "/onvif/device"), None, Clock::system());
    assert_eq!(nobody.describe().await.unwrap_err().code(), "wrong_password");
}

#[tokio::test]
async fn a_fault_is_told_in_the_cameras_words_and_an_older_service_is_asked_instead() {
    let camera = simulated().await;
    camera.inject_fault("GetDeviceInformation", "s:Receiver", "out of memory");
    let error = asked(&camera, PASSWORD).describe().await.unwrap_err();
    assert_eq!(error.to_string(), "the camera refused to say what it is: out of memory");
    // Media2 fails, Media1 does not.
    camera.inject_fault("ver20/media/wsdl/GetProfiles", "s:Receiver", "out of memory");
    let said = asked(&camera, PASSWORD).describe().await.unwrap();
    assert_eq!(said.streams.len(), 2);
}

#[tokio::test]
async fn a_camera_without_a_profile_is_said_to_have_none() {
    let camera = simulated().await;
    camera.device().modify(|state| state.profiles.profiles.clear());
    let error = asked(&camera, PASSWORD).describe().await.unwrap_err();
    assert!(matches!(error, OnvifError::NoProfile), "{error:?}");
}

/// A camera of one stream, for what oxvif's does not do.
fn one_stream(request: &Asked, own: std::net::SocketAddr, host: &str) -> Reply {
    let at = format!("http://{host}:{}", own.port());
    let body = match request.what.as_str() {
        "GetSystemDateAndTime" => return fault("ter:ActionNotSupported", "no"),
        "GetServices" => ["media", "events"]
            .map(|s| {
                format!(
                    "<Service><Namespace>http://www.onvif.org/ver10/{s}/wsdl</Namespace>\
                     <XAddr>{at}/onvif/{s}</XAddr><Version><Major>2</Major><Minor>0</Minor></Version></Service>"
                )
            })
            .concat(),
        "GetDeviceInformation" => "<Manufacturer>M</Manufacturer><Model>X</Model>\
            <FirmwareVersion>1</FirmwareVersion><SerialNumber>2</SerialNumber><HardwareId>3</HardwareId>"
            .to_owned(),
        "GetProfiles" => "<Profiles token=\"p\"><Name>one</Name>\
            <VideoEncoderConfiguration token=\"e\"/></Profiles>"
            .to_owned(),
        "GetVideoEncoderConfigurations" => "<Configurations token=\"e\"><Name>e</Name><UseCount>1</UseCount>\
            <Encoding>H264</Encoding><Resolution><Width>640</Width><Height>360</Height></Resolution>\
            <Quality>1</Quality></Configurations>"
            .to_owned(),
        "GetStreamUri" => format!("<MediaUri><Uri>rtsp://{host}:554/live</Uri></MediaUri>"),
        _ => return fault("ter:ActionNotSupported", "no"),
    };
    Reply::Body(format!("<{0}Response>{body}</{0}Response>", request.what))
}

async fn describe(server: &Soap, password: &str) -> Result<Description, OnvifError> {
    let at = place(server.address.port(), Onvif::PATH);
    device(at, login(password), Clock::system()).describe().await
}

#[tokio::test]
async fn a_camera_that_names_another_host_is_asked_at_its_own() {
    let elsewhere = Soap::start(|_, _| fault("x", "not me")).await;
    let port = elsewhere.address.port();
    // 127.0.0.2 reaches the same machine; what counts is that nobody goes there.
    let camera = Soap::start(move |request, own| {
        let named = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let _ = own;
        one_stream(request, named, "127.0.0.2")
    })
    .await;
    let said = describe(&camera, PASSWORD).await.unwrap();
    assert_eq!(said.streams[0].url, "rtsp://127.0.0.1:554/live");
    assert_eq!(elsewhere.connections.load(SeqCst), 0);
    assert!(!camera.heard("GetProfiles").is_empty());
    assert!(camera.asked.lock().unwrap().iter().all(|a| !a.body.contains(PASSWORD)));
    let codes: Vec<_> = said.findings.iter().map(|f| f.code).collect();
    assert_eq!(codes, ["sub_stream_missing"]);
}

#[tokio::test]
async fn logins_are_stamped_by_the_cameras_clock_when_that_is_off() {
    // A quarter past three, three hours ago.
    let three_hours = 3 * 3_600;
    let camera = Soap::start(move |request, own| match request.what.as_str() {
        "GetSystemDateAndTime" => {
            let us = Clock::system().now().as_micros() - three_hours * 1_000_000;
            let c = crate::proto::time::WallTime::from_micros(us).to_string();
            let part = |from: usize, to: usize| c[from..to].trim_start_matches('0').to_owned();
            let or_zero = |text: String| if text.is_empty() { "0".to_owned() } else { text };
            let (hour, minute, second) =
                (or_zero(part(11, 13)), or_zero(part(14, 16)), or_zero(part(17, 19)));
            Reply::Body(format!(
                "<GetSystemDateAndTimeResponse><SystemDateAndTime><UTCDateTime>\
                 <Time><Hour>{hour}</Hour><Minute>{minute}</Minute><Second>{second}</Second></Time>\
                 <Date><Year>{}</Year><Month>{}</Month><Day>{}</Day></Date>\
                 </UTCDateTime></SystemDateAndTime></GetSystemDateAndTimeResponse>",
                part(0, 4),
                part(5, 7),
                part(8, 10)
            ))
        }
        _ => {
            let created = request.body.split("Created>").nth(1).unwrap_or_default();
            let us = Clock::system().now().as_micros() - three_hours * 1_000_000;
            let now = crate::proto::time::WallTime::from_micros(us).to_string();
            // To the hour is enough; a test at its turn looks at the one before too.
            let before = crate::proto::time::WallTime::from_micros(us - 60_000_000).to_string();
            if created.starts_with(&now[..13]) || created.starts_with(&before[..13]) {
                one_stream(request, own, "127.0.0.1")
            } else {
                fault("ter:NotAuthorized", "Sender not authorized")
            }
        }
    })
    .await;
    let said = describe(&camera, PASSWORD).await.unwrap();
    assert!((said.clock_off.unwrap() + three_hours).abs() <= 2, "{:?}", said.clock_off);
    let found = said.findings.iter().find(|f| f.code == "clock_off").unwrap();
    assert!(found.message.contains("3 h behind"), "{}", found.message);
}

#[tokio::test]
async fn a_login_refused_by_a_camera_that_hides_its_clock_is_said_to_be_perhaps_the_clock() {
    let camera = Soap::start(|request, own| match request.what.as_str() {
        "GetSystemDateAndTime" | "GetServices" => one_stream(request, own, "127.0.0.1"),
        _ => fault("ter:NotAuthorized", "Sender not authorized"),
    })
    .await;
    let error = describe(&camera, PASSWORD).await.unwrap_err();
    assert!(error.to_string().contains("does not tell its clock"), "{error}");
}

#[tokio::test]
async fn http_digest_is_answered_and_basic_is_not() {
    let camera = Soap::start(|request, own| {
        if request.head.to_ascii_lowercase().contains("authorization: digest username=\"admin\"") {
            return one_stream(request, own, "127.0.0.1");
        }
        let challenge = "WWW-Authenticate: Basic realm=\"c\"\r\nContent-Length: 0\r\n\
            WWW-Authenticate: Digest realm=\"c\", qop=\"auth\", nonce=\"77\", algorithm=MD5\r\n";
        Reply::Raw(head("401 Unauthorized", challenge))
    })
    .await;
    assert_eq!(describe(&camera, PASSWORD).await.unwrap().streams.len(), 1);
    for request in camera.asked.lock().unwrap().iter() {
        assert!(!request.head.to_ascii_lowercase().contains("authorization: basic"));
    }
    let basic = Soap::start(|_, _| {
        let challenge = "WWW-Authenticate: Basic realm=\"c\"\r\nContent-Length: 0\r\n";
        Reply::Raw(head("401 Unauthorized", challenge))
    })
    .await;
    assert_eq!(describe(&basic, PASSWORD).await.unwrap_err().code(), "wrong_password");
}

#[tokio::test]
async fn nobody_goes_where_a_camera_sends_him_but_https_is_named() {
    let elsewhere = Soap::start(|_, _| fault("x", "not me")).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary", "308 Permanent"] {
        let to = format!("Location: http://{}/\r\nContent-Length: 0\r\n", elsewhere.address);
        let camera = Soap::start(move |_, _| Reply::Raw(head(status, &to))).await;
        let error = describe(&camera, PASSWORD).await.unwrap_err();
        assert_eq!(error.code(), "redirected", "{status}");
        assert!(error.to_string().contains("sends whoever asks to another address"), "{error}");
    }
    assert_eq!(elsewhere.connections.load(SeqCst), 0);
    let secure = head("301 Moved", "Location: HTTPS://127.0.0.1/\r\nContent-Length: 0\r\n");
    assert_eq!(code_of(Reply::Raw(secure)).await, "https_only");
}

async fn code_of(reply: Reply) -> &'static str {
    let server = Soap::start(move |_, _| reply.clone()).await;
    describe(&server, PASSWORD).await.unwrap_err().code()
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let length = format!("Content-Length: {}\r\n", 1_u64 << 40);
    assert_eq!(code_of(Reply::Endless(head("200 OK", &length))).await, "not_understood");
    assert_eq!(code_of(Reply::Endless(head("200 OK", ""))).await, "not_understood");
    // A head without an end.
    assert_eq!(code_of(Reply::Endless(b"HTTP/1.1 200 OK\r\nX: ".to_vec())).await, "no_onvif");
}

fn document(text: &str) -> Reply {
    let length = format!("Content-Length: {}\r\n", text.len());
    Reply::Raw([head("200 OK", &length), text.as_bytes().to_vec()].concat())
}

#[tokio::test]
async fn an_answer_that_would_harm_its_reader_is_refused_with_the_reason() {
    // Each entity is ten of the one before: a billion at the end.
    let mut bomb = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY e0 \"ha\">".to_owned();
    for n in 1..10 {
        let ten = format!("&e{};", n - 1).repeat(10);
        bomb += &format!("<!ENTITY e{n} \"{ten}\">");
    }
    bomb += "]><a>&e9;</a>";
    let outside = "<!DOCTYPE a SYSTEM \"http://127.0.0.1/x.dtd\"><a/>".to_owned();
    let many = format!("<a>{}</a>", "<b/>".repeat(200_000));
    let wide = format!("<a {}/>", "b='c' ".repeat(100_000));
    for (text, reason) in [
        (bomb, "defines a document type"),
        (outside, "defines a document type"),
        (many, "too many elements"),
        (wide, "too long a tag"),
        ("<a>".repeat(100_000), "nested too deeply"),
        (format!("<a>{}</a>", "x".repeat(2 << 20)), "larger than 1024 KiB"),
    ] {
        let server = Soap::start(move |_, _| document(&text)).await;
        let error = describe(&server, PASSWORD).await.unwrap_err();
        assert_eq!(error.code(), "not_understood");
        assert!(error.to_string().contains(reason), "{error} is not {reason}");
    }
    assert_eq!(
        code_of(Reply::Raw([head("200 OK", "Content-Length: 2\r\n"), vec![0xff, 0xfe]].concat()))
            .await,
        "not_understood"
    );
}

#[tokio::test]
async fn what_is_no_camera_is_told_from_one_that_refuses() {
    let web = head("404 Not Found", "Content-Length: 0\r\n");
    assert_eq!(code_of(Reply::Raw(web)).await, "no_onvif");
    assert_eq!(code_of(Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())).await, "no_onvif");
    let page = "<html><body>a router</body></html>";
    let page =
        [head("200 OK", &format!("Content-Length: {}\r\n", page.len())), page.into()].concat();
    assert_eq!(code_of(Reply::Raw(page)).await, "not_understood");
    let camera = Soap::start(|request, own| match request.what.as_str() {
        "GetServices" => Reply::Body("<GetServicesResponse/>".to_owned()),
        "GetCapabilities" => Reply::Body(
            "<GetCapabilitiesResponse><Capabilities><Device><XAddr>http://127.0.0.1/</XAddr></Device>\
             </Capabilities></GetCapabilitiesResponse>"
                .to_owned(),
        ),
        _ => one_stream(request, own, "127.0.0.1"),
    })
    .await;
    let error = describe(&camera, PASSWORD).await.unwrap_err();
    assert!(matches!(error, OnvifError::NoMedia), "{error:?}");
    let port = {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        gone.local_addr().unwrap().port()
    };
    let gone = device(place(port, "/"), None, Clock::system());
    assert_eq!(gone.describe().await.unwrap_err().code(), "unreachable");
}

// The clock stands still but for the time-outs, which come when there is nothing else to do.
#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_is_given_up() {
    let stalled = head("200 OK", "Content-Length: 100\r\n");
    let server = Soap::start(move |_, _| Reply::Stalls(stalled.clone())).await;
    let error = describe(&server, PASSWORD).await.unwrap_err();
    assert!(matches!(error, OnvifError::NoAnswer { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_trickles_and_a_camera_that_is_slow_each_time_are_given_up() {
    let trickle = [head("200 OK", "Content-Length: 1000\r\n"), vec![b' '; 1_000]].concat();
    let server = Soap::start(move |_, _| Reply::Trickles(trickle.clone())).await;
    let error = describe(&server, PASSWORD).await.unwrap_err();
    assert!(error.to_string().contains("within 8 s"), "{error}");
    // Each answer is in time, but all of them take too long.
    let slow = Soap::start(|request, own| {
        let reply = one_stream(request, own, "127.0.0.1");
        Reply::After(Duration::from_secs(6), Box::new(reply))
    })
    .await;
    let error = describe(&slow, PASSWORD).await.unwrap_err();
    assert!(error.to_string().contains("within 20 s"), "{error}");
}
