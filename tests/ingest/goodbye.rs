//! A camera that says good-bye by RTCP: believed at once, and only where it is meant so.

use vedette::{
    ingest::PullState,
    model::Transport,
    proto::{access_unit::TrackIndex, reason::GapReason},
};

use super::{
    Pulled, assert_unbroken,
    support::camera::{Audio, Behaviour, Camera},
};

#[tokio::test]
async fn a_good_bye_of_the_video_ends_the_run_as_closed_by_the_camera() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let audio = Some(Audio::Pcmu);
        let camera = Camera::start(Behaviour { audio, ..Behaviour::default() }).await;
        let mut pulled = Pulled::start_over(&camera.url(), transport);
        pulled.video(5).await;
        camera.change(|b| (b.bye, b.gone[0]) = (Some(0), true));
        // The watchdog's word would be `stalled`.
        assert_eq!(pulled.ended().await, GapReason::Disconnected);
        assert_eq!(pulled.failed_with("RTCP BYE").await, GapReason::Disconnected);
        assert_eq!(camera.answered("TEARDOWN", 200), 1);
        camera.change(|b| b.gone[0] = false);
        assert_unbroken(&pulled.video(10).await);
    }
}

#[tokio::test]
async fn a_good_bye_of_the_sound_is_a_silent_track_at_once() {
    let audio = Some(Audio::Pcmu);
    let camera = Camera::start(Behaviour { audio, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    let run = pulled.video(25).await[0].0.id;
    camera.change(|b| (b.bye, b.gone[1]) = (Some(1), true));
    // The watchdog of sound takes five seconds; this is three of video.
    let units = pulled.video(150).await;
    assert_unbroken(&units);
    let status = pulled.snapshot();
    assert!(status.audio.unwrap().silent);
    assert_eq!((status.silences, status.state), (1, PullState::Running));
    camera.change(|b| b.gone[1] = false);
    let sound = loop {
        let (run, unit) = pulled.unit().await;
        if unit.track == TrackIndex(1) {
            break run.id;
        }
    };
    assert_eq!(sound, run);
    assert!(!pulled.snapshot().audio.unwrap().silent);
}

#[tokio::test]
async fn a_good_bye_before_another_source_or_meant_for_nobody_costs_nothing() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let camera = Camera::start(Behaviour::default()).await;
        let mut pulled = Pulled::start_over(&camera.url(), transport);
        let mut units = pulled.video(5).await;
        // As an encoder does that is started anew.
        camera.change(|b| (b.bye, b.new_ssrc) = (Some(0), true));
        units.extend(pulled.video(10).await);
        // And one that goes on as if it had said nothing.
        camera.change(|b| b.bye = Some(0));
        units.extend(pulled.video(10).await);
        camera.change(|b| b.bad_rtcp = true);
        // Longer than a good-bye is waited upon.
        units.extend(pulled.video(80).await);
        assert_unbroken(&units);
        assert_eq!(camera.answered("PLAY", 200), 1, "the same session");
        assert_eq!(pulled.snapshot().damaged, 0);
    }
}
