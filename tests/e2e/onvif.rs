//! Cameras that say by ONVIF what they have: the recorder process, GStreamer's RTSP server with a login, and beside it a small device
//! service that names the address it has behind its router, as cameras do. And what `probe` says, from outside.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    harness::{Camera, Clip, Vedette, binary, eventually},
    simulated::Cameras,
};

/// Of `Camera::with_digest`.
const LOGIN: (&str, &str) = ("viewer", "pass word");

/// A device service. Its threads end with the process.
struct Device {
    port: u16,
    moves: Arc<AtomicBool>,
    /// Requests, whole.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Device {
    /// Of a camera whose streams are at that port.
    fn start(rtsp: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (moves, heard) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (state, requests) = (Arc::clone(&moves), Arc::clone(&heard));
        std::thread::spawn(move || {
            // What it said of motion last.
            let said = Arc::<AtomicBool>::default();
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, requests, said) =
                    (Arc::clone(&state), Arc::clone(&requests), Arc::clone(&said));
                std::thread::spawn(move || {
                    // The recorder goes away in the middle when the test ends.
                    let _ = serve(stream, &requests, |request| {
                        answer(request, port, rtsp, &state, &said)
                    });
                });
            }
        });
        Self { port, moves, heard }
    }
}

fn serve(
    mut stream: TcpStream,
    heard: &Mutex<Vec<String>>,
    answer: impl FnOnce(&str) -> Option<String>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        request += &line;
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request += std::str::from_utf8(&body).unwrap();
    heard.lock().unwrap().push(request.clone());
    let (status, body) = match answer(&request) {
        Some(body) => ("200 OK", body),
        None => (
            "400 Bad Request",
            "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code>\
             <s:Reason><s:Text>Sender not authorized</s:Text></s:Reason></s:Fault>"
                .to_owned(),
        ),
    };
    let body = format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:tt=\"http://www.onvif.org/ver10/schema\"><s:Body>{body}</s:Body></s:Envelope>"
    );
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/soap+xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// `None`: not with that login.
fn answer(
    request: &str,
    port: u16,
    rtsp: u16,
    moves: &AtomicBool,
    said: &AtomicBool,
) -> Option<String> {
    let action = request.split("action=\"").nth(1).and_then(|r| r.split('"').next()).unwrap();
    let what = action.rsplit('/').next().unwrap().trim_end_matches("Request");
    // Where it is as it sees itself.
    let at = format!("http://10.99.99.99:{port}/onvif");
    let profile = |token: &str| {
        format!(
            "<Profiles token=\"{token}\"><Name>{token}</Name><VideoEncoderConfiguration token=\"e-{token}\"/></Profiles>"
        )
    };
    let encoder = |token: &str, width: u32, height: u32| {
        format!(
            "<Configurations token=\"e-{token}\"><Name>{token}</Name><UseCount>1</UseCount><Encoding>H264</Encoding>\
             <Resolution><Width>{width}</Width><Height>{height}</Height></Resolution><Quality>1</Quality></Configurations>"
        )
    };
    let open = what == "GetSystemDateAndTime" || what == "GetServices";
    if !open && !request.contains(">viewer</") {
        return None;
    }
    let body = match what {
        "GetServices" => ["media", "events"]
            .map(|s| {
                format!(
                    "<Service><Namespace>http://www.onvif.org/ver10/{s}/wsdl</Namespace><XAddr>{at}/{s}</XAddr>\
                     <Version><Major>2</Major><Minor>0</Minor></Version></Service>"
                )
            })
            .concat(),
        "GetDeviceInformation" => {
            "<Manufacturer>Nobody</Manufacturer><Model>X1</Model><FirmwareVersion>1</FirmwareVersion>\
             <SerialNumber>2</SerialNumber><HardwareId>3</HardwareId>"
                .to_owned()
        }
        "GetProfiles" => profile("main") + &profile("sub"),
        "GetVideoEncoderConfigurations" => {
            encoder("main", 1_920, 1_080) + &encoder("sub", 640, 360)
        }
        "GetStreamUri" => {
            let stream = if request.contains(">sub<") { "sub" } else { "main" };
            format!("<MediaUri><Uri>rtsp://10.99.99.99:{rtsp}/{stream}</Uri></MediaUri>")
        }
        "CreatePullPointSubscription" => format!(
            "<SubscriptionReference><Address>{at}/events/1</Address></SubscriptionReference>\
             <CurrentTime>2026-01-01T00:00:00Z</CurrentTime><TerminationTime>2026-01-01T00:02:00Z</TerminationTime>"
        ),
        "PullMessages" => {
            let state = moves.load(SeqCst);
            if said.swap(state, SeqCst) == state {
                // A camera waits until it has something to say; this one not for long.
                std::thread::sleep(Duration::from_millis(200));
                String::new()
            } else {
                format!(
                    "<NotificationMessage><Topic>tns1:VideoSource/MotionAlarm</Topic><Message><tt:Message \
                     UtcTime=\"2001-01-01T00:00:00Z\" PropertyOperation=\"Changed\"><tt:Source><tt:SimpleItem Name=\"Source\" \
                     Value=\"1\"/></tt:Source><tt:Data><tt:SimpleItem Name=\"State\" Value=\"{state}\"/></tt:Data>\
                     </tt:Message></Message></NotificationMessage>"
                )
            }
        }
        "SetSynchronizationPoint" | "Unsubscribe" | "Renew" => String::new(),
        // An older one does not know the rest.
        _ => return None,
    };
    Some(format!("<{what}Response>{body}</{what}Response>"))
}

fn post(vedette: &Vedette, path: &str, body: Value) -> (u16, Value) {
    vedette.request(reqwest::Method::POST, path, Some(body))
}

#[test]
fn a_camera_is_added_by_host_and_login_alone_and_recorded_while_it_tells_motion() {
    let dir = tempfile::tempdir().unwrap();
    let camera =
        Camera::with_digest(dir.path(), &[("main", Clip::H264Aac), ("sub", Clip::BFrames)]);
    let device = Device::start(camera.port);
    let mut vedette = Vedette::start(dir.path(), 60);
    let place = json!({ "host": "127.0.0.1", "port": device.port });
    let (status, refused) = post(
        &vedette,
        "/cameras",
        json!({ "slug": "door", "onvif": place, "username": "guest", "password": "guessed" }),
    );
    assert_eq!((status, &refused["errors"][0]["field"]), (422, &json!("password")), "{refused}");
    let rule = json!({ "kinds": ["motion"], "before_seconds": 1, "after_seconds": 1 });
    let (status, added) = post(
        &vedette,
        "/cameras",
        json!({ "slug": "door", "onvif": place, "username": LOGIN.0, "password": LOGIN.1,
            "record": "events", "events": rule }),
    );
    assert_eq!(status, 201, "{added}");
    assert_eq!(added["name"], "Nobody X1");
    let urls: Vec<_> = added["streams"].as_array().unwrap().iter().map(|s| &s["url"]).collect();
    let url = |stream| json!(format!("rtsp://127.0.0.1:{}/{stream}", camera.port));
    assert_eq!(urls, [&url("main"), &url("sub")], "at the host that was asked");

    let streams = || vedette.get("/cameras/door/status")["streams"].as_array().unwrap().clone();
    eventually("it to send both streams", || {
        let streams = streams();
        assert!(streams.iter().all(|s| s["recording"] == false), "nothing moves: {streams:?}");
        streams.iter().all(|s| s["state"] == "running").then_some(())
    });
    device.moves.store(true, SeqCst);
    eventually("both streams to be recorded", || {
        streams().iter().all(|s| s["recording"] == true).then_some(())
    });
    device.moves.store(false, SeqCst);
    eventually("it to be over", || {
        streams().iter().all(|s| s["wanted"] == "standby" && s["recording"] == false).then_some(())
    });
    let events = vedette.get("/events?camera=door");
    let motion = events["items"].as_array().unwrap().iter().find(|e| e["kind"] == "motion");
    let motion = motion.unwrap_or_else(|| panic!("{events:#}"));
    assert_eq!(motion["source"], "onvif");
    // A run's end is known with its last segment's row, which is written just after.
    let run = eventually("the run to end", || {
        let run = vedette.timeline("door")["runs"][0].clone();
        (!run["end"].is_null()).then_some(run)
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert!(text(&run["start"]) < text(&motion["start"]), "{run} {motion}");
    assert!(text(&run["end"]) > text(&motion["end"]), "{run} {motion}");
    assert!(!vedette.files("door").is_empty());
    vedette.stop();
    let heard = device.heard.lock().unwrap();
    assert!(heard.iter().any(|request| request.contains("Unsubscribe")), "it says good-bye");
    let secrets = [LOGIN.1, "guessed"];
    assert!(heard.iter().all(|request| secrets.iter().all(|s| !request.contains(s))));
    let log = vedette.log();
    assert!(secrets.iter().all(|secret| !log.contains(secret)));
}

#[test]
fn probe_says_over_the_api_and_on_the_command_line_what_a_camera_sends() {
    let dir = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(dir.path(), 1);
    let closed = Camera::with_digest(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 60);
    // Beside the API's, since each watches for seconds.
    let mut command = binary();
    command.args(["probe", "--json", &cameras.url(1)]).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let (status, said) = post(&vedette, "/cameras/probe", json!({ "url": cameras.url(1) }));
    assert_eq!(status, 200, "{said}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    for report in [&said, &printed] {
        let video = &report["tracks"][0];
        assert_eq!((&video["codec"], &video["usable"]), (&json!("H.264"), &json!(true)));
        let fps = video["measured_fps"].as_f64().unwrap();
        assert!((fps - 25.0).abs() < 2.0, "{report:#}");
        assert!(video["key_frame_interval_seconds"].is_number(), "{report:#}");
        assert_eq!(report["problems"], json!([]), "{report:#}");
    }
    assert_eq!(said["reachable"], true);

    let wrong = closed.url("door").replace("pass%20word", "guessed");
    let (status, said) = post(&vedette, "/cameras/probe", json!({ "url": wrong }));
    assert_eq!((status, &said["reachable"]), (200, &json!(false)), "{said}");
    assert_eq!(said["findings"][0]["code"], "wrong_password", "{said}");
    let output = binary().args(["probe", &wrong]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.contains("[wrong_password]") && !printed.contains("guessed"), "{printed}");
}
