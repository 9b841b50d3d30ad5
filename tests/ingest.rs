//! Cameras in, over real sockets: the supervisor and the pull against a camera that misbehaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]
#![allow(clippy::panic, reason = "test code")]

#[path = "ingest/allocations.rs"]
mod allocations;
#[path = "ingest/crowd.rs"]
mod crowd;
#[path = "ingest/goodbye.rs"]
mod goodbye;
#[path = "ingest/oracle.rs"]
mod oracle;
#[path = "ingest/probing.rs"]
mod probing;
mod support;
#[path = "ingest/ways.rs"]
mod ways;

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::PrivateKeyDer},
};
use tokio_util::sync::CancellationToken;
use vedette::{
    clock::Clock,
    hub::{ClockSource, Event, Hub, Limits, Run, Start, Subscription},
    id::{Role, StreamId},
    ingest::{
        Landing, PullState, PullTarget, Puller, Resume, StatusSnapshot, StreamStatus, Trust, probe,
    },
    model::Transport,
    proto::{
        access_unit::{AccessUnit, TrackIndex},
        codec::Parameters,
        reason::GapReason,
    },
    task::{Connects, Health, Stop},
};

use support::camera::{Audio, Auth, Behaviour, Camera, Size, frame_number};

/// Longer than any wait that ends well.
const PATIENCE: Duration = Duration::from_secs(20);

/// One stream being pulled, with a reader at the hub.
struct Pulled {
    clock: Clock,
    status: Arc<StreamStatus>,
    stop: Stop,
    tasks: JoinSet<()>,
    events: Subscription,
}

impl Pulled {
    fn start(url: &str) -> Self {
        Self::start_over(url, Transport::Auto)
    }

    fn start_over(url: &str, transport: Transport) -> Self {
        Self::of(PullTarget::new(url, None, None, transport, true).unwrap())
    }

    fn of(target: PullTarget) -> Self {
        let clock = Clock::system();
        let stream = StreamId::generate(&clock);
        let channel = Hub::new(Limits::default()).channel(stream);
        let events = channel.subscribe(Start::Oldest);
        let status = StreamStatus::new();
        let stop = Stop::child_of(&CancellationToken::new());
        let puller = Puller {
            stream,
            camera: "door".parse().unwrap(),
            role: Role::Main,
            from: Landing::Pull(target),
            channel,
            status: Arc::clone(&status),
            clock: clock.clone(),
            connects: Connects::default(),
            resume: Resume::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(puller.run(stop.clone()));
        Self { clock, status, stop, tasks, events }
    }

    async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.next()).await.expect("an event in time").expect("a stream")
    }

    /// The next unit; anything else is a failure.
    async fn unit(&mut self) -> (Arc<Run>, Arc<AccessUnit>) {
        match self.event().await {
            Event::Unit { run, unit, .. } => (run, unit),
            other => panic!("a unit was expected: {other:?}"),
        }
    }

    /// The next `count` video units.
    async fn video(&mut self, count: usize) -> Vec<(Arc<Run>, Arc<AccessUnit>)> {
        let mut units = Vec::new();
        while units.len() < count {
            let (run, unit) = self.unit().await;
            if unit.track == TrackIndex(0) {
                units.push((run, unit));
            }
        }
        units
    }

    /// Why the run ended, units before that passed over.
    async fn ended(&mut self) -> GapReason {
        loop {
            match self.event().await {
                Event::Unit { .. } => {}
                Event::Ended { reason, .. } => return reason,
                Event::Lagged { .. } => panic!("this reader is not slow"),
            }
        }
    }

    fn snapshot(&self) -> StatusSnapshot {
        self.status.snapshot(&self.clock)
    }

    /// Waits until the supervisor backs off.
    async fn backing_off(&self) -> StatusSnapshot {
        let mut health = self.status.health().subscribe();
        let wait = health.wait_for(|h| matches!(h, Health::BackingOff { .. }));
        timeout(PATIENCE, wait).await.expect("it fails in time").unwrap();
        self.snapshot()
    }

    /// Waits until an attempt has ended with this in its words.
    async fn failed_with(&self, words: &str) -> GapReason {
        let mut health = self.status.health().subscribe();
        let why = |health: &Health| match health {
            // Told once more while the next attempt begins.
            Health::BackingOff { last, .. } | Health::Starting { last: Some(last), .. } => {
                last.detail.contains(words).then_some(last.reason)
            }
            _ => None,
        };
        let wait = health.wait_for(|health| why(health).is_some());
        let failed = timeout(PATIENCE, wait).await.expect("it fails in time").unwrap().clone();
        why(&failed).unwrap()
    }

    async fn stop(mut self, reason: GapReason) -> Subscription {
        self.stop.stop(reason);
        let stopped = timeout(Duration::from_secs(5), self.tasks.join_next()).await;
        stopped.expect("it stops in time").unwrap().unwrap();
        self.events
    }
}

fn number(unit: &AccessUnit) -> u64 {
    frame_number(&unit.body).expect("a frame number")
}

/// What must be true of the video units of one run, none lost.
fn assert_unbroken(units: &[(Arc<Run>, Arc<AccessUnit>)]) {
    for pair in units.windows(2) {
        let ((run, a), (next, b)) = (&pair[0], &pair[1]);
        assert_eq!(run.id, next.id, "one run");
        assert_eq!(b.number, a.number + 1);
        assert_eq!(number(b), number(a) + 1, "no frame lost or doubled");
        assert_eq!((b.dts - a.dts).ticks(), 1_800, "the camera's own ticks");
        assert!(b.wall > a.wall);
    }
}

#[tokio::test]
async fn every_frame_arrives_once_with_its_time_and_parameter_sets() {
    let camera = Camera::start(Behaviour {
        audio: Some(Audio::Aac),
        delimiters: true,
        in_band_parameters: false,
        ..Behaviour::default()
    })
    .await;
    let mut pulled = Pulled::start(&camera.url());
    let (run, first) = pulled.unit().await;
    assert!(first.random_access && first.number == 0 && first.pts().ticks() == 0);
    assert_eq!(number(&first), camera.sent()[0], "the first frame sent is the first of the run");
    assert_eq!(first.wall, run.started);
    assert_eq!(run.previous_end, GapReason::Starting);
    assert_eq!(run.tracks.len(), 2);

    let mut video = vec![(run, first)];
    let mut audio = Vec::new();
    while video.len() < 100 {
        let (run, unit) = pulled.unit().await;
        let late = pulled.clock.now() - unit.wall;
        assert!(late.as_secs_f64() < 0.5 && late.as_secs_f64() > -0.1, "{late:?}");
        if unit.track == TrackIndex(0) { video.push((run, unit)) } else { audio.push(unit) }
    }
    assert_unbroken(&video);
    let Parameters::H264(h264) = &video[0].0.tracks[0].parameters else { panic!("H.264") };
    assert_eq!((h264.width, h264.height), (640, 360));
    for (_, unit) in &video {
        assert_eq!(unit.random_access, unit.number % 10 == 0);
        let kinds: Vec<_> = [&unit.head[..], &unit.body]
            .into_iter()
            .flat_map(vedette::proto::codec::nal::nals)
            .map(|nal| nal.unwrap()[0] & 0x1f)
            .collect();
        assert_eq!(kinds, if unit.random_access { vec![9, 7, 8, 5] } else { vec![9, 1] });
    }
    assert!(audio.len() > 10);
    for pair in audio.windows(2) {
        assert_eq!(pair[1].number, pair[0].number + 1);
        assert_eq!((pair[1].dts - pair[0].dts).ticks(), 1_024);
        assert_eq!(number(&pair[1]), number(&pair[0]) + 1);
    }
    let status = pulled.snapshot();
    assert_eq!(status.state, PullState::Running);
    assert_eq!(status.damaged, 0);
    let fps = status.video.unwrap().fps.unwrap();
    assert!((fps - 50.0).abs() < 1.0, "{fps}");
    assert_eq!(status.audio.unwrap().codec, "AAC");
    assert!(status.bitrate_bps > 100_000, "{}", status.bitrate_bps);
}

#[tokio::test]
async fn sound_sent_late_is_put_where_the_cameras_reports_say() {
    let late = Duration::from_millis(400);
    let camera = Camera::start(Behaviour {
        audio: Some(Audio::Pcmu),
        audio_late: late,
        ..Behaviour::default()
    })
    .await;
    let mut pulled = Pulled::start(&camera.url());
    let mut worst = 0.0_f64;
    let (mut video, mut seen) = (None, 0);
    while seen < 60 {
        let (run, unit) = pulled.unit().await;
        assert_ne!(run.clock_source, ClockSource::Arrival);
        if unit.track == TrackIndex(0) {
            // Media time of the camera's session, as 20 ms steps of both tracks tell it.
            video = Some((number(&unit), unit.wall));
        } else if let Some((at, wall)) = video {
            seen += 1;
            let apart = number(&unit) as f64 * 0.020 - at as f64 * 0.020;
            worst = worst.max(((unit.wall - wall).as_secs_f64() - apart).abs());
        }
    }
    assert!(worst < 0.05, "{worst} s between sound and picture");
}

#[tokio::test]
async fn sound_sent_late_is_put_where_the_times_in_its_packets_say() {
    let camera = Camera::start(Behaviour {
        audio: Some(Audio::Aac),
        audio_late: Duration::from_millis(400),
        capture_times: true,
        reports: false,
        rtp_info: false,
        ..Behaviour::default()
    })
    .await;
    let mut pulled = Pulled::start(&camera.url());
    let (mut video, mut worst, mut seen) = (None, 0.0_f64, 0);
    while seen < 20 {
        let (_, unit) = pulled.unit().await;
        let late = pulled.clock.now() - unit.wall;
        assert!(late.as_secs_f64() < 1.0, "the camera's clock moves no footage: {late:?}");
        if unit.track == TrackIndex(0) {
            video = Some((number(&unit), unit.wall));
        } else if let Some((at, wall)) = video {
            seen += 1;
            let apart = number(&unit) as f64 * 0.128 - at as f64 * 0.020;
            worst = worst.max(((unit.wall - wall).as_secs_f64() - apart).abs());
        }
    }
    assert!(worst < 0.05, "{worst} s between sound and picture");
}

#[tokio::test]
async fn a_dropped_connection_ends_the_run_and_a_new_one_begins_at_once() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    let before = pulled.video(20).await;
    camera.drop_connections();
    assert_eq!(pulled.ended().await, GapReason::Disconnected);
    let after = pulled.video(20).await;
    assert_ne!(before[0].0.id, after[0].0.id);
    assert!(after[0].1.random_access && after[0].1.number == 0);
    assert_eq!(after[0].0.previous_end, GapReason::Disconnected);
    assert_eq!(after[0].0.epoch, 0);
    assert!(after[0].0.started > before[19].1.wall);
    assert_unbroken(&after);
    assert_eq!(pulled.snapshot().reconnects, 1);
}

#[tokio::test]
async fn a_camera_without_power_is_recording_within_three_seconds_of_its_return() {
    let mut camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    pulled.video(5).await;
    camera.unplug().await;
    assert_eq!(pulled.ended().await, GapReason::Disconnected);
    let mut health = pulled.status.health().subscribe();
    for _ in 0..4 {
        // Several attempts in vain.
        health.changed().await.unwrap();
        health.wait_for(|h| matches!(h, Health::BackingOff { .. })).await.unwrap();
    }
    assert_eq!(pulled.snapshot().reason, Some(GapReason::Unreachable));
    camera.plug().await;
    let back = pulled.clock.now();
    let (run, _) = pulled.unit().await;
    assert!((run.started - back).as_secs_f64() < 3.0);
    assert_eq!(run.previous_end, GapReason::Disconnected);
}

#[tokio::test]
async fn a_socket_that_falls_silent_is_noticed_by_the_watchdog() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    pulled.video(5).await;
    camera.change(|b| b.stall = true);
    assert_eq!(pulled.ended().await, GapReason::Stalled);
    camera.change(|b| b.stall = false);
    assert_unbroken(&pulled.video(10).await);
}

#[tokio::test]
async fn video_that_stops_while_sound_goes_on_ends_the_run() {
    let audio = Some(Audio::Pcmu);
    let camera = Camera::start(Behaviour { audio, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    pulled.video(5).await;
    camera.change(|b| b.no_video = true);
    assert_eq!(pulled.ended().await, GapReason::Stalled);
}

#[tokio::test]
async fn sound_that_stops_is_a_silent_track_and_no_gap() {
    let audio = Some(Audio::Pcmu);
    let camera = Camera::start(Behaviour { audio, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    pulled.video(5).await;
    camera.change(|b| b.no_audio = true);
    let units = pulled.video(50 * 6).await;
    assert_unbroken(&units);
    let status = pulled.snapshot();
    assert!(status.audio.unwrap().silent);
    assert_eq!((status.silences, status.state), (1, PullState::Running));
    camera.change(|b| b.no_audio = false);
    loop {
        let (run, unit) = pulled.unit().await;
        assert_eq!(run.id, units[0].0.id);
        if unit.track == TrackIndex(1) {
            break;
        }
    }
    assert!(!pulled.snapshot().audio.unwrap().silent);
}

#[tokio::test]
async fn what_only_a_person_can_mend_is_tried_once_a_minute() {
    for (status, reason) in [(404, GapReason::Refused), (401, GapReason::Unauthorized)] {
        let refuse = Some(status);
        let camera = Camera::start(Behaviour { refuse, ..Behaviour::default() }).await;
        let pulled = Pulled::start(&camera.url_with("admin:wrong"));
        let status = pulled.backing_off().await;
        assert_eq!(status.reason, Some(reason));
        let wait = status.retry_at.unwrap() - pulled.clock.now();
        assert!((40.0..80.0).contains(&wait.as_secs_f64()), "{wait:?}");
        assert!(!status.detail.unwrap().contains("wrong"));
    }
}

#[tokio::test]
async fn a_full_camera_is_tried_again_soon() {
    let refuse = Some(503);
    let camera = Camera::start(Behaviour { refuse, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    let status = pulled.backing_off().await;
    assert_eq!(status.reason, Some(GapReason::Refused));
    camera.change(|b| b.refuse = None);
    pulled.video(3).await;
}

#[tokio::test]
async fn a_camera_that_answers_nothing_is_given_up_and_tried_again() {
    let camera = Camera::start(Behaviour { mute: true, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    let status = pulled.backing_off().await;
    assert_eq!(status.reason, Some(GapReason::Stalled));
    camera.change(|b| b.mute = false);
    pulled.video(3).await;
}

#[tokio::test]
async fn basic_and_digest_logins_work_and_a_wrong_one_is_named() {
    for auth in [Auth::Basic, Auth::Digest] {
        let camera = Camera::start(Behaviour { auth, ..Behaviour::default() }).await;
        let mut pulled = Pulled::start(&camera.url_with("admin:secret"));
        pulled.video(3).await;
        let refused = Pulled::start(&camera.url_with("admin:guess"));
        assert_eq!(refused.backing_off().await.reason, Some(GapReason::Unauthorized));
    }
}

#[tokio::test]
async fn a_frame_that_lost_a_packet_is_dropped_and_counted_and_the_run_goes_on() {
    let gop = 1_000;
    let camera = Camera::start(Behaviour { key_bytes: 16_000, gop, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    let before = pulled.video(20).await;
    let run = before[0].0.id;
    camera.change(|b| b.lose = 1);
    let mut numbers = vec![number(&before[19].1)];
    for (now, unit) in pulled.video(40).await {
        assert_eq!(now.id, run);
        numbers.push(number(&unit));
    }
    let lost: Vec<_> = (numbers[0]..numbers[40]).filter(|n| !numbers.contains(n)).collect();
    assert_eq!(lost.len(), 1, "{numbers:?}");
    assert!(!camera.sent().contains(&lost[0]));
    assert_eq!(pulled.snapshot().damaged, 1);
}

#[tokio::test]
async fn more_than_a_second_lost_is_a_gap_and_the_session_goes_on() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start_over(&camera.url(), Transport::Udp);
    let before = pulled.video(10).await;
    camera.change(|b| b.lose_all = true);
    // A second and a half of the camera's frames, lost.
    camera.wait_for_frames(75).await;
    camera.change(|b| b.lose_all = false);
    assert_eq!(pulled.ended().await, GapReason::PacketLoss);
    let after = pulled.video(10).await;
    assert_unbroken(&after);
    assert_ne!(after[0].0.id, before[0].0.id);
    assert_eq!(camera.answered("PLAY", 200), 1, "the same session");
}

#[tokio::test]
async fn another_ssrc_costs_nothing() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    let mut units = pulled.video(5).await;
    camera.change(|b| b.new_ssrc = true);
    units.extend(pulled.video(20).await);
    assert_unbroken(&units);
    assert_eq!(camera.answered("PLAY", 200), 1, "the same session");
}

#[tokio::test]
async fn a_jump_of_the_media_clock_ends_the_run_and_not_the_session() {
    for seconds in [5, -5, 3_600, -3_600] {
        let camera = Camera::start(Behaviour::default()).await;
        let mut pulled = Pulled::start(&camera.url());
        let before = pulled.video(10).await;
        camera.change(|b| b.jump = seconds * 90_000);
        assert_eq!(pulled.ended().await, GapReason::ClockJump, "{seconds} s");
        let after = pulled.video(10).await;
        assert_unbroken(&after);
        let gap = (after[0].1.wall - before[9].1.wall).as_secs_f64();
        assert!((0.0..2.0).contains(&gap), "{gap} s of wall time after a jump of {seconds} s");
        assert_eq!(camera.answered("PLAY", 200), 1, "the same session");
    }
}

#[tokio::test]
async fn another_resolution_gets_new_tracks_in_the_same_run() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    let before = pulled.video(15).await;
    camera.change(|b| b.size = Size::Small);
    let mut last = before[14].clone();
    let (run, unit) = loop {
        let (run, unit) = pulled.video(1).await.remove(0);
        assert_eq!(number(&unit), number(&last.1) + 1);
        if !Arc::ptr_eq(&run, &last.0) {
            break (run, unit);
        }
        last = (run, unit);
    };
    assert_eq!(run.id, before[0].0.id);
    assert!(unit.random_access);
    assert_eq!(run.tracks[0].parameters.dimensions(), Some((320, 176)));
    assert!(before[0].0.tracks[0].parameters.needs_new_sample_entry(&run.tracks[0].parameters));
    assert_eq!(unit.head, run.tracks[0].parameters.in_band());
    let video = pulled.snapshot().video.unwrap();
    assert_eq!((video.width, video.height), (320, 176));
}

#[tokio::test]
async fn a_second_pps_is_part_of_the_parameters_and_changes_nothing() {
    let camera = Camera::start(Behaviour { two_pps: true, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    let units = pulled.video(60).await;
    assert_unbroken(&units);
    for (run, unit) in &units {
        assert!(Arc::ptr_eq(run, &units[0].0), "no new parameters");
        let Parameters::H264(h264) = &run.tracks[0].parameters else { panic!("H.264") };
        assert_eq!(h264.pps.len(), 2);
        assert_eq!(unit.head.is_empty(), !unit.random_access);
    }
}

#[tokio::test]
async fn a_second_pps_that_only_comes_in_band_cuts_nothing() {
    let sdp_parameters = false;
    let camera =
        Camera::start(Behaviour { two_pps: true, sdp_parameters, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    let units = pulled.video(60).await;
    assert_unbroken(&units);
    let (first, last) = (&units[0].0.tracks[0].parameters, &units[59].0.tracks[0].parameters);
    assert!(!first.needs_new_sample_entry(last));
    let Parameters::H264(last) = last else { panic!("H.264") };
    assert_eq!(last.pps.len(), 2);
}

#[tokio::test]
async fn media_come_over_udp_when_tcp_is_refused() {
    let camera = Camera::start(Behaviour {
        udp_only: true,
        audio: Some(Audio::Aac),
        ..Behaviour::default()
    })
    .await;
    let mut pulled = Pulled::start(&camera.url());
    assert_unbroken(&pulled.video(50).await);
    assert_eq!(camera.answered("SETUP", 461), 1, "asked once, remembered for the second track");
    pulled.stop(GapReason::VedetteDown).await;
    camera.wait_for("TEARDOWN", 200, 1).await;
}

#[tokio::test]
async fn a_description_without_sense_disturbs_no_other_camera() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP \r\n";
    let bad = Camera::start(Behaviour { sdp: Some(sdp.to_owned()), ..Behaviour::default() }).await;
    let good = Camera::start(Behaviour::default()).await;
    let mut healthy = Pulled::start(&good.url());
    let pulled = Pulled::start(&bad.url());
    let trouble = async {
        assert_eq!(pulled.backing_off().await.reason, Some(GapReason::NoUsableTrack));
    };
    // Read all the while: the hub does not wait for readers that look away for seconds.
    let (units, ()) = tokio::join!(healthy.video(100), trouble);
    assert_unbroken(&units);
    assert_eq!(units[0].1.number, 0);
}

#[tokio::test]
async fn a_redirect_is_followed_and_a_login_stays_with_its_host() {
    let login = Behaviour { auth: Auth::Digest, ..Behaviour::default() };
    let there = Camera::start(login).await;
    let redirect = Some(there.url());
    let here = Camera::start(Behaviour { redirect, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&here.url_with("admin:secret"));
    assert_unbroken(&pulled.video(10).await);

    // The same address by another name is another host.
    there.change(|b| b.auth = Auth::Basic);
    here.change(|b| b.redirect = Some(there.url().replace("127.0.0.1", "localhost")));
    let pulled = Pulled::start(&here.url_with("admin:secret"));
    assert_eq!(pulled.backing_off().await.reason, Some(GapReason::Unauthorized));

    here.change(|b| b.redirect = Some(here.url()));
    let pulled = Pulled::start(&here.url());
    let status = pulled.backing_off().await;
    assert_eq!(status.reason, Some(GapReason::ProtocolError), "round and round");
}

#[tokio::test]
async fn a_camera_that_asks_in_mid_stream_is_answered_and_sends_on() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    let mut units = pulled.video(5).await;
    camera.change(|b| b.asks = true);
    camera.wait_for("ANSWER", 200, 1).await;
    units.extend(pulled.video(10).await);
    assert_unbroken(&units);
}

#[tokio::test]
async fn empty_lines_and_data_on_channels_never_assigned_are_passed_over() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    let mut units = pulled.video(5).await;
    camera.change(|b| b.stray = true);
    units.extend(pulled.video(10).await);
    assert_unbroken(&units);
}

#[tokio::test]
async fn rtp_before_the_play_reply_is_kept() {
    let camera = Camera::start(Behaviour { early: true, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    let units = pulled.video(10).await;
    assert_unbroken(&units);
    assert_eq!(number(&units[0].1), camera.sent()[0]);
}

#[tokio::test]
async fn a_session_id_that_changes_between_setups_is_one_session() {
    let audio = Some(Audio::Pcmu);
    let camera = Camera::start(Behaviour { many_ids: true, audio, ..Behaviour::default() }).await;
    let mut pulled = Pulled::start(&camera.url());
    assert_unbroken(&pulled.video(10).await.into_iter().take(1).collect::<Vec<_>>());
    assert_eq!(camera.answered("SETUP", 200), 2);
}

#[tokio::test]
async fn rtsps_takes_the_certificate_it_was_told_to_take_and_no_other() {
    let camera = Camera::start(Behaviour::default()).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let made = made.self_signed(&key).unwrap();
    let (port, _tasks) = tls_before(&camera, &made, &key).await;
    let url = format!("rtsps://localhost:{port}/live");
    let target = |trust| {
        // What is encrypted does not go over UDP, whatever was asked for.
        PullTarget::new(&url, None, None, Transport::Udp, true).unwrap().with_trust(trust)
    };
    let print: [u8; 32] = Sha256::digest(made.der()).into();
    for trust in [Trust::Authority(made.pem()), Trust::Fingerprint(print)] {
        let mut pulled = Pulled::of(target(trust));
        assert_unbroken(&pulled.video(20).await);
    }
    for trust in [Trust::System, Trust::Fingerprint([7; 32])] {
        let pulled = Pulled::of(target(trust));
        let status = pulled.backing_off().await;
        assert_eq!(status.reason, Some(GapReason::Refused));
        assert!(status.detail.unwrap().contains("certificate is not trusted"));
    }
}

/// TLS on a port of its own, in front of `camera`.
async fn tls_before(
    camera: &Camera,
    made: &rcgen::Certificate,
    key: &rcgen::KeyPair,
) -> (u16, JoinSet<()>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = camera.address();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    (port, tasks)
}

#[tokio::test]
async fn the_camera_is_told_how_it_is_received() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    pulled.video(1).await;
    let told = timeout(PATIENCE, camera.wait_for("REPORT", 1, 1));
    told.await.expect("a receiver report on the track's RTCP channel");
}

#[tokio::test]
async fn a_key_frame_that_only_comes_on_request_is_asked_for_and_again_after_a_loss() {
    let behaviour = Behaviour { no_key: true, key_on_request: true, ..Behaviour::default() };
    let camera = Camera::start(behaviour).await;
    let mut pulled = Pulled::start(&camera.url());
    let (_, first) = pulled.video(1).await.remove(0);
    assert!(first.random_access);
    camera.change(|b| (b.no_key, b.lose) = (true, 1));
    timeout(PATIENCE, camera.wait_for("WISH", 1, 2)).await.expect("asked again");
}

#[tokio::test]
async fn a_session_left_behind_over_udp_is_ended_before_the_next() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start_over(&camera.url(), Transport::Udp);
    pulled.video(5).await;
    camera.drop_connections();
    assert_eq!(pulled.ended().await, GapReason::Disconnected);
    pulled.video(5).await;
    assert_eq!(camera.answered("TEARDOWN", 200), 1, "of the first session");
}

#[tokio::test]
async fn broken_packets_cost_at_most_a_frame() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    let run = pulled.video(10).await[0].0.id;
    camera.change(|b| (b.empty_packet, b.bad_rtcp) = (true, true));
    let after = pulled.video(30).await;
    assert!(after.iter().all(|(now, _)| now.id == run));
    let numbers: Vec<_> = after.iter().map(|(_, unit)| number(unit)).collect();
    assert!(numbers[29] - numbers[0] <= 30, "{numbers:?}");
}

#[tokio::test]
async fn a_camera_without_anything_to_record_is_told_so() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n\
        m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=control:track0\r\nm=audio 0 RTP/AVP 0\r\na=control:track1\r\n";
    let camera =
        Camera::start(Behaviour { sdp: Some(sdp.to_owned()), ..Behaviour::default() }).await;
    let pulled = Pulled::start(&camera.url());
    let status = pulled.backing_off().await;
    assert_eq!(status.reason, Some(GapReason::NoUsableTrack));
    assert!(status.detail.unwrap().contains("video/vp8"));
}

#[tokio::test]
async fn a_stop_gives_its_reason_and_tears_the_session_down() {
    let camera = Camera::start(Behaviour::default()).await;
    let mut pulled = Pulled::start(&camera.url());
    pulled.video(5).await;
    let status = Arc::clone(&pulled.status);
    let mut events = pulled.stop(GapReason::Reconfigured).await;
    assert_eq!(camera.answered("TEARDOWN", 200), 1, "heard before the task ends");
    let reason = loop {
        if let Event::Ended { reason, .. } = events.next().await.unwrap() {
            break reason;
        }
    };
    assert_eq!(reason, GapReason::Reconfigured);
    assert_eq!(status.snapshot(&Clock::system()).state, PullState::Stopped);
}

#[tokio::test]
async fn nothing_is_left_behind_by_hundreds_of_sessions() {
    let camera = Camera::start(Behaviour::default()).await;
    let target = PullTarget::new(&camera.url(), None, None, Transport::Auto, true).unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let clock = Clock::system();
    let mut before = None;
    for session in 0..300 {
        probe(&target, Duration::ZERO, &clock).await.unwrap();
        if session == 20 {
            before = Some(tasks());
        }
    }
    let (before, after) = (before.unwrap(), tasks());
    assert!(after <= before + 4, "{before} tasks, then {after}");
    assert_eq!(camera.answered("TEARDOWN", 200), 300);
}
