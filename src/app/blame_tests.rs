//! A publisher that stays away, with a real index.

use tokio::task::JoinSet;

use super::*;
use crate::{
    hub::{Hub, Limits},
    id::{CameraId, Role},
    ingest::{Landing, Puller, Resume, publish::Berths},
    model::{Camera, CameraStream, Gap, RecordMode, Source, Transport, Trust},
    proto::time::WallTime,
    seal::Sealer,
    task::{Connects, Stop},
};

const NOON: WallTime = WallTime::from_micros(1_795_431_600_000_000);

/// Both clocks go on.
async fn pass(clock: &Clock, seconds: u64) {
    clock.advance(WallSpan::from(Duration::from_secs(seconds)));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_publisher_that_stays_away_is_unreachable_from_when_it_could_have_come() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOON);
    let database = folder.path().join("vedette.db");
    let store = Store::open(&database, clock.clone(), Sealer::ephemeral()).await.unwrap();
    let source = Source::Publish { take_over: false };
    let stream = CameraStream {
        id: StreamId::generate(&clock),
        role: Role::Main,
        url: String::new(),
        transport: Transport::Tcp,
        audio: true,
        record: None,
        retention: None,
        volume: None,
        created: NOON,
    };
    let id = stream.id;
    let camera = Camera {
        id: CameraId::generate(&clock),
        slug: "door".parse().unwrap(),
        name: "Door".to_owned(),
        enabled: true,
        source,
        username: None,
        password: None,
        tls: Trust::default(),
        record: RecordMode::Always,
        when: Default::default(),
        retention: Default::default(),
        volume: None,
        streams: vec![stream],
        created: NOON,
        updated: NOON,
        sealed_broken: false,
    };
    store.insert_camera(camera).await.unwrap();
    let gap = Gap { stream: id, start: NOON, end: None, reason: GapReason::VedetteDown };
    store.open_gap(gap).await.unwrap();

    clock.advance(WallSpan::from_secs(60));
    let (status, stop) =
        (StreamStatus::new(), Stop::child_of(&tokio_util::sync::CancellationToken::new()));
    let puller = Puller {
        stream: id,
        camera: "door".parse().unwrap(),
        role: Role::Main,
        from: Landing::Publish(Berths::default().open(id, source, true)),
        channel: Hub::new(Limits::default()).channel(id),
        status: Arc::clone(&status),
        clock: clock.clone(),
        connects: Connects::default(),
        resume: Resume::default(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(puller.run(stop.clone()));
    tasks.spawn(super::camera(id, Arc::clone(&status), store.clone(), clock.clone()));
    status.absent().wait_for(Option::is_some).await.unwrap();
    pass(&clock, 9).await;
    let lasting = store.open_gap_of(id).await.unwrap().unwrap();
    assert_eq!(lasting.reason, GapReason::VedetteDown, "it may be on its way");
    pass(&clock, 2).await;
    let turned = async {
        loop {
            let lasting = store.open_gap_of(id).await.unwrap().unwrap();
            if lasting.reason != GapReason::VedetteDown {
                return lasting;
            }
            tokio::task::yield_now().await;
        }
    };
    let turned = tokio::time::timeout(Duration::from_secs(60), turned).await.unwrap();
    assert_eq!(turned.reason, GapReason::Unreachable);
    let from = (turned.start - NOON).as_micros();
    assert!((59_000_000..=61_000_000).contains(&from), "{from} us after its creation");
    stop.stop(GapReason::VedetteDown);
    tasks.join_next().await.unwrap().unwrap();
    tasks.shutdown().await;
    store.close().await;
}
