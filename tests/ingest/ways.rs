//! By which way media come: what happens where one of them is closed.

use vedette::{model::Transport, proto::reason::GapReason};

use super::{
    Pulled, assert_unbroken,
    support::camera::{Behaviour, Camera},
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
