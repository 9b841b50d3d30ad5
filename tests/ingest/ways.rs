//! By which way media come: what happens where one of them is closed.

use std::num::NonZeroU16;

use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vedette::{
    clock::Clock,
    ingest::{PullTarget, Trust},
    model::{Secret, Transport},
    proto::reason::GapReason,
    simulate::{Settings, Simulator},
};

use super::{
    Pulled, assert_unbroken,
    support::camera::{Audio, Auth, Behaviour, Camera},
    tls_before,
};

#[tokio::test]
async fn udp_that_stays_silent_is_left_for_tcp_and_that_is_remembered() {
    let behaviour = Behaviour { udp_only: true, udp_lost: true, ..Behaviour::default() };
    let camera = Camera::start(behaviour).await;
    let mut pulled = Pulled::start(&camera.url());
    camera.wait_for("PLAY", 200, 1).await;
    camera.change(|b| b.udp_only = false);
    let reason = pulled.failed_with("nothing came over UDP within 5 s").await;
    assert_eq!(reason, GapReason::Stalled);
    assert_eq!(camera.answered("TEARDOWN", 200), 1, "politely");
    assert_unbroken(&pulled.video(10).await);
    assert_eq!(camera.answered("SETUP", 461), 1, "of the first session");

    // Refused now, TCP is asked for again by the next attempt, without seconds of silence between.
    camera.change(|b| b.udp_only = true);
    camera.drop_connections();
    assert_eq!(pulled.ended().await, GapReason::Disconnected);
    assert_eq!(pulled.failed_with("refuses TCP").await, GapReason::Refused);
    assert_eq!(camera.answered("PLAY", 200), 2, "nothing was played over UDP again");

    // And where it stays so, UDP has its turn again.
    camera.change(|b| b.udp_lost = false);
    assert_unbroken(&pulled.video(10).await);
}

#[tokio::test]
async fn udp_that_was_asked_for_and_stays_silent_is_named_and_never_left() {
    // Asked for TCP, it would say 461.
    let behaviour = Behaviour { udp_only: true, udp_lost: true, ..Behaviour::default() };
    let camera = Camera::start(behaviour).await;
    let mut pulled = Pulled::start_over(&camera.url(), Transport::Udp);
    let reason = pulled.failed_with("nothing came over UDP within 5 s").await;
    assert_eq!(reason, GapReason::Stalled);
    camera.change(|b| b.udp_lost = false);
    assert_unbroken(&pulled.video(10).await);
    assert_eq!(camera.answered("SETUP", 461), 0);
}

/// A camera with tunnels for those who log in so; within them it asks for the same.
async fn with_tunnels(auth: Auth) -> Camera {
    let audio = Some(Audio::Aac);
    Camera::start(Behaviour { tunnels: Some(auth), auth, audio, ..Behaviour::default() }).await
}

#[tokio::test]
async fn media_come_through_http_whatever_login_http_and_rtsp_ask_for() {
    for auth in [Auth::None, Auth::Basic, Auth::Digest] {
        let camera = with_tunnels(auth).await;
        let mut pulled = Pulled::start_over(&camera.url_with("admin:secret"), Transport::Http);
        assert_unbroken(&pulled.video(20).await);
        let asked = usize::from(auth != Auth::None);
        assert_eq!((camera.answered("GET", 401), camera.answered("GET", 200)), (asked, 1));
        assert_eq!((camera.answered("POST", 401), camera.answered("POST", 200)), (0, 1));
        assert_eq!(camera.answered("SETUP", 200), 2);
        pulled.stop(GapReason::VedetteDown).await;
        assert_eq!(camera.answered("TEARDOWN", 200), 1, "through the tunnel");
    }
}

#[tokio::test]
async fn a_tunnel_is_opened_anew_when_it_breaks_and_reports_go_up_through_it() {
    let camera = with_tunnels(Auth::Digest).await;
    let mut pulled = Pulled::start_over(&camera.url_with("admin:secret"), Transport::Http);
    pulled.video(5).await;
    camera.drop_connections();
    assert_eq!(pulled.ended().await, GapReason::Disconnected);
    assert_unbroken(&pulled.video(10).await);
    assert_eq!(camera.answered("POST", 200), 2);
    let told = tokio::time::timeout(super::PATIENCE, camera.wait_for("REPORT", 1, 1));
    told.await.expect("a receiver report on the track's RTCP channel");
}

#[tokio::test]
async fn a_login_that_http_refuses_is_named_and_shown_once() {
    let camera = with_tunnels(Auth::Digest).await;
    let pulled = Pulled::start_over(&camera.url_with("admin:guess"), Transport::Http);
    assert_eq!(pulled.failed_with("user name or password (GET)").await, GapReason::Unauthorized);
    assert_eq!(camera.answered("GET", 401), 2, "asked for, and refused");
    assert_eq!(camera.answered("POST", 200) + camera.answered("POST", 401), 0);
}

#[tokio::test]
async fn a_camera_without_tunnels_and_one_that_refuses_the_post_are_named() {
    let camera = Camera::start(Behaviour::default()).await;
    let pulled = Pulled::start_over(&camera.url(), Transport::Http);
    assert_eq!(pulled.failed_with("no tunnel: ").await, GapReason::ProtocolError);

    for (status, reason) in [(401, GapReason::Unauthorized), (403, GapReason::Refused)] {
        let camera = with_tunnels(Auth::None).await;
        camera.change(|b| b.refuse_post = Some(status));
        let pulled = Pulled::start_over(&camera.url(), Transport::Http);
        assert_eq!(pulled.failed_with("POST").await, reason, "{status}");
    }
}

#[tokio::test]
async fn both_halves_of_a_tunnel_are_encrypted_where_the_address_says_so() {
    let camera = with_tunnels(Auth::Basic).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let made = made.self_signed(&key).unwrap();
    let (port, _tasks) = tls_before(&camera, &made, &key).await;
    let url = format!("rtsps://admin:secret@localhost:{port}/live");
    let target = |print| {
        let target = PullTarget::new(&url, None, None, Transport::Http, true).unwrap();
        target.with_trust(Trust::Fingerprint(print))
    };
    let mut pulled = Pulled::of(target(Sha256::digest(made.der()).into()));
    assert_unbroken(&pulled.video(20).await);
    assert_eq!(camera.answered("POST", 200), 1);

    let refused = Pulled::of(target([7; 32]));
    let reason = refused.failed_with("certificate is not trusted").await;
    assert_eq!(reason, GapReason::Refused);
}

#[tokio::test]
async fn the_tunnels_of_another_vedette_are_taken() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let login = Some(("ann".to_owned(), Secret::new("open sesame".to_owned())));
    let settings = Settings { login, ..Settings::new(listen, NonZeroU16::MIN) };
    let simulator = Simulator::bind(settings, Clock::system()).await.unwrap();
    let port = simulator.local_addr().port();
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(simulator.run(stop.clone()));
    let url = format!("rtsp://ann:open%20sesame@127.0.0.1:{port}/camera-1");
    let mut pulled = Pulled::start_over(&url, Transport::Http);
    let units = pulled.video(30).await;
    for pair in units.windows(2) {
        assert_eq!(pair[1].1.number, pair[0].1.number + 1);
    }
    pulled.stop(GapReason::VedetteDown).await;
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
}
