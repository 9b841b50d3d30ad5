use std::path::Path;

use super::{watch::Teller, *};
use crate::{
    disk::{Options, Pace, Settings, VolumeSettings, Volumes},
    id::SegmentId,
    model::WallRange,
    proto::{reason::GapReason, time::WallSpan},
    record::{RecorderCounters, RecorderStatus},
    retention::Report,
    seal::Sealer,
    task::{Ended, Health},
};

const NOON: WallTime = WallTime::from_micros(1_795_348_800_000_000);
const EVER: WallRange = WallTime::from_micros(0)..WallTime::from_micros(i64::MAX / 2);

async fn index(folder: &Path) -> Store {
    let (path, clock) = (folder.join("vedette.db"), Clock::manual(NOON));
    Store::open(&path, clock, Sealer::ephemeral()).await.unwrap()
}

fn teller(journal: &Journal) -> Teller {
    Teller { journal: journal.clone(), camera: CameraId(7), stream: StreamId(8), role: "main" }
}

#[expect(clippy::disallowed_methods, reason = "each handle is awaited by its test")]
fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}

fn ended(reason: GapReason, detail: &str) -> Ended {
    Ended { reason, detail: detail.into() }
}

/// The next news: its kind and its words.
async fn next(queue: &mut mpsc::Receiver<News>) -> (EventKind, String) {
    let news = queue.recv().await.unwrap();
    (news.kind, news.detail)
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_comes_and_goes_is_told_once_each_time_with_the_reason() {
    let (journal, mut queue) = Journal::unread(Clock::manual(NOON));
    let (health, seen) = tokio::sync::watch::channel(Health::Stopped { since: Instant::now() });
    let told = spawn(watch::connection(teller(&journal), seen));
    let since = Instant::now();
    health.send_replace(Health::Working { since });
    assert_eq!(next(&mut queue).await, (EventKind::CameraConnected, "main: it sends".into()));
    let last = ended(GapReason::Disconnected, "the camera closed the connection");
    health.send_replace(Health::BackingOff { since, retry_at: since, last: last.clone() });
    let words = "main: disconnected: the camera closed the connection".to_owned();
    assert_eq!(next(&mut queue).await, (EventKind::CameraDisconnected, words));
    // Another attempt, which fails for the same reason, and one that fails for another.
    health.send_replace(Health::Starting { since, last: Some(last.clone()) });
    health.send_replace(Health::BackingOff { since, retry_at: since, last });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(queue.try_recv().is_err(), "nothing new");
    let last = ended(GapReason::Unauthorized, "wrong password");
    health.send_replace(Health::BackingOff { since, retry_at: since, last });
    let words = "main: unauthorized: wrong password".to_owned();
    assert_eq!(next(&mut queue).await, (EventKind::CameraDisconnected, words));
    drop(health);
    told.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_pauses_is_told_with_why_and_at_its_return_with_what_it_cost() {
    let (journal, mut queue) = Journal::unread(Clock::manual(NOON));
    let (status, seen) = tokio::sync::watch::channel(RecorderStatus::Waiting);
    let counters = Arc::<RecorderCounters>::default();
    let told = spawn(watch::recording(teller(&journal), seen, Arc::clone(&counters)));
    let recording = || RecorderStatus::Recording { segment: SegmentId(1), since: NOON };
    let failing = |reason, error: &str| RecorderStatus::Failing { reason, error: error.to_owned() };
    status.send_replace(recording());
    tokio::time::sleep(Duration::from_secs(1)).await;
    status.send_replace(failing(GapReason::DiskFull, "no volume has room"));
    let lost = (EventKind::RecordingLost, "main: disk_full: no volume has room".to_owned());
    assert_eq!(next(&mut queue).await, lost);
    counters.shed_units.fetch_add(60, Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    status.send_replace(recording());
    let words = "main: after 2.0 s; 60 units were not recorded".to_owned();
    assert_eq!(next(&mut queue).await, (EventKind::RecordingBack, words));
    status.send_replace(failing(GapReason::Overload, "the queue is full"));
    let shed = (EventKind::Overload, "main: overload: the queue is full".to_owned());
    assert_eq!(next(&mut queue).await, shed);
    drop(status);
    told.await.unwrap();
}

#[tokio::test]
async fn what_is_told_is_in_the_index_after_the_end_and_what_is_held_back_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = index(folder.path()).await;
    let clock = Clock::manual(NOON);
    let (journal, writer) = Journal::new(store.clone(), clock.clone());
    for n in 0..50 {
        clock.advance(WallSpan::from_secs(1));
        let kind = if n % 2 == 0 { EventKind::VolumeLost } else { EventKind::VolumeBack };
        journal.tell(Topic::Volume("/a".into()), kind, format!("number {n}"));
    }
    journal.tell_of((CameraId(7), StreamId(8)), Topic::Camera(StreamId(8)), EventKind::Other, "x");
    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(stop).await;
    let found = store.events_page(None, EVER, None, 100).await.unwrap();
    let details: Vec<_> = found.iter().map(|e| e.detail.as_str()).collect();
    assert_eq!(found.len(), 8, "six, the rest in one, and another's: {details:?}");
    let summed_up = "number 49 (the last of 44 changes since 2026-11-22T12:00:07.000000Z)";
    assert!(details.contains(&summed_up), "{details:?}");
    let of_camera = store.events_page(Some(CameraId(7)), EVER, None, 100).await.unwrap();
    assert_eq!(of_camera.len(), 1);
    assert_eq!(of_camera[0].stream, Some(StreamId(8)));
    store.close().await;
}

#[tokio::test]
async fn what_the_queue_cannot_take_is_dropped_counted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = index(folder.path()).await;
    let (journal, writer) = Journal::new(store.clone(), Clock::manual(NOON));
    let most = i64::try_from(QUEUE).unwrap();
    for n in 0..most + 5 {
        journal.tell(Topic::Camera(StreamId(n)), EventKind::CameraConnected, "it sends");
    }
    assert_eq!(journal.counters().dropped.load(Relaxed), 5);
    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(stop).await;
    let found = store.events_page(None, EVER, None, 9_999).await.unwrap();
    assert_eq!(found.len(), QUEUE + 1);
    let said = found.iter().find(|e| e.kind == EventKind::EventsDropped).unwrap();
    assert!(said.detail.starts_with("5 events are not here"), "{}", said.detail);
    store.close().await;
}

#[tokio::test]
async fn volumes_that_go_and_come_and_readers_that_lose_their_footage_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = index(folder.path()).await;
    let path = folder.path().join("disk");
    let volume = VolumeSettings { path: path.clone(), max_bytes: None, min_free_bytes: 0 };
    let settings = Settings { volumes: vec![volume], ..Settings::default() };
    let quick = Duration::from_millis(5);
    let pace = Pace { look: quick, first: quick, longest: quick };
    let volumes = Volumes::open_with(settings, Options { pace, ..Options::default() }).unwrap();
    let (journal, mut queue) = Journal::unread(Clock::manual(NOON));
    let (_reports, report) = tokio::sync::watch::channel(Arc::<Report>::default());
    let stop = CancellationToken::new();
    let keeping =
        spawn(watch::keeping(journal, Arc::clone(&volumes), store.clone(), report, stop.clone()));
    let away = folder.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    let (kind, words) = next(&mut queue).await;
    assert_eq!(kind, EventKind::VolumeLost);
    assert!(words.contains("is missing: "), "{words}");
    std::fs::rename(&away, &path).unwrap();
    let (kind, words) = next(&mut queue).await;
    assert_eq!((kind, words), (EventKind::VolumeBack, format!("{} is ready", path.display())));
    let lease = volumes.leases().hold(StreamId(1), NOON..NOON + WallSpan::from_secs(9));
    volumes.leases().break_over(StreamId(1), &(NOON..NOON + WallSpan::from_secs(1)));
    let (kind, words) = next(&mut queue).await;
    assert_eq!(kind, EventKind::LeaseBroken);
    assert!(words.starts_with("1 readers lost their footage"), "{words}");
    drop(lease);
    stop.cancel();
    keeping.await.unwrap();
    volumes.shut_down().await;
    store.close().await;
}
