//! A camera's events on the timeline.

use std::{
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering::SeqCst},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{super::device::Notice, *};
use crate::{
    id::CameraId,
    model::Mark,
    proto::time::{WallSpan, WallTime},
    seal::Sealer,
    store::Store,
    task::{Connects, Policy},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Kind, beginning, and end.
type Happened = (String, WallTime, Option<WallTime>);

struct Heard {
    store: Store,
    clock: Clock,
    camera: CameraId,
    status: Arc<EventsStatus>,
    told: Arc<Mutex<Vec<Happened>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Heard {
    async fn start(device: Arc<dyn Device>, clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Sealer::open_or_create(&folder.path().join("key")).unwrap();
        let store = Store::open(&folder.path().join("db"), clock.clone(), sealer).await.unwrap();
        let (camera, status) = (CameraId(7), EventsStatus::new());
        let stop = CancellationToken::new();
        let told = Arc::<Mutex<Vec<Happened>>>::default();
        let hears = Arc::clone(&told);
        let listener = Listener {
            tell: Arc::new(move |kind, start, end| {
                hears.lock().unwrap().push((kind.to_owned(), start, end));
            }),
            camera,
            slug: "door".parse().unwrap(),
            device,
            store: store.clone(),
            clock: clock.clone(),
            status: Arc::clone(&status),
            connects: Connects::default(),
            // The store's threads do not stop when the clock does: what writes does not stop it.
            policy: Policy { first: Duration::from_millis(10), ..Listener::POLICY },
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run(stop.clone()));
        Self { store, clock, camera, status, told, stop, tasks, _folder: folder }
    }

    async fn marks(&self) -> Vec<Mark> {
        let range = WallTime::from_micros(0)..WallTime::from_micros(i64::MAX / 2);
        let mut marks = self.store.marks_page(Some(self.camera), range, None, 100).await.unwrap();
        marks.reverse();
        marks
    }

    async fn stop(mut self) -> Vec<Mark> {
        self.stop.cancel();
        timeout(PATIENCE, self.tasks.join_next()).await.unwrap().unwrap().unwrap();
        self.marks().await
    }
}

/// What a test has a camera do.
enum Does {
    Tells(Vec<Notice>),
    Fails,
    Waits(Duration),
}

/// A camera that does what it is told, step by step.
struct Scripted {
    steps: Arc<tokio::sync::Mutex<mpsc::Receiver<Does>>>,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    subscribed: AtomicUsize,
    renewed: AtomicUsize,
    ended: AtomicUsize,
    /// How often it was asked for events.
    pulled: Mutex<Option<watch::Sender<usize>>>,
}

struct Script {
    steps: mpsc::Sender<Does>,
    told: Arc<Told>,
    pulled: watch::Receiver<usize>,
}

fn scripted() -> (Arc<dyn Device>, Script) {
    let (steps, receiver) = mpsc::channel(64);
    let (sender, pulled) = watch::channel(0);
    let told = Arc::new(Told { pulled: Mutex::new(Some(sender)), ..Told::default() });
    let device =
        Scripted { steps: Arc::new(tokio::sync::Mutex::new(receiver)), told: Arc::clone(&told) };
    (Arc::new(device), Script { steps, told, pulled })
}

impl Script {
    /// Has it done, and what it told written: it is asked again only then.
    async fn run(&mut self, step: Does) {
        let before = *self.pulled.borrow_and_update();
        self.steps.send(step).await.unwrap();
        let again = self.pulled.wait_for(|pulled| *pulled > before.max(1));
        timeout(PATIENCE, again).await.unwrap().unwrap();
    }

    async fn asked(&mut self) {
        timeout(PATIENCE, self.pulled.wait_for(|n| *n > 0)).await.unwrap().unwrap();
    }
}

impl Device for Scripted {
    fn describe(&self) -> BoxFuture<'_, Result<Description, OnvifError>> {
        Box::pin(async { Err(OnvifError::NoMedia) })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Subscription>, OnvifError>> {
        self.told.subscribed.fetch_add(1, SeqCst);
        let point = Point { steps: Arc::clone(&self.steps), told: Arc::clone(&self.told) };
        Box::pin(async { Ok(Box::new(point) as Box<dyn Subscription>) })
    }
}

struct Point {
    steps: Arc<tokio::sync::Mutex<mpsc::Receiver<Does>>>,
    told: Arc<Told>,
}

impl Subscription for Point {
    fn pull(&mut self) -> BoxFuture<'_, Result<Vec<Notice>, OnvifError>> {
        Box::pin(async {
            if let Some(pulled) = &*self.told.pulled.lock().unwrap() {
                pulled.send_modify(|n| *n += 1);
            }
            match self.steps.lock().await.recv().await {
                Some(Does::Tells(notices)) => Ok(notices),
                Some(Does::Fails) => Err(OnvifError::Malformed { detail: "it rebooted".into() }),
                Some(Does::Waits(span)) => {
                    sleep(span).await;
                    Ok(Vec::new())
                }
                None => std::future::pending().await,
            }
        })
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), OnvifError>> {
        self.told.renewed.fetch_add(1, SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.told.ended.fetch_add(1, SeqCst);
        Box::pin(async {})
    }
}

fn motion(state: bool) -> Does {
    let topic = "VideoSource/MotionAlarm".to_owned();
    Does::Tells(vec![Notice { topic, state: Some(state), ..Notice::default() }])
}

const NOON: WallTime = WallTime::from_micros(1_795_348_800_000_000);

#[tokio::test]
async fn motion_stands_on_the_timeline_from_its_beginning_to_its_end() {
    let (device, mut script) = scripted();
    let heard = Heard::start(device, Clock::manual(NOON)).await;
    script.asked().await;
    script.run(motion(true)).await;
    heard.clock.advance(WallSpan::from_secs(8));
    script.run(motion(false)).await;
    heard.clock.advance(WallSpan::from_secs(100));
    let marks = heard.marks().await;
    assert_eq!(marks.len(), 1);
    let mark = &marks[0];
    assert_eq!((mark.kind.as_str(), mark.source.as_str()), ("motion", "onvif"));
    assert_eq!((mark.start, mark.end), (NOON, Some(NOON + WallSpan::from_secs(8))));
    assert!(mark.note.contains("MotionAlarm"));
    let state = heard.status.snapshot(&heard.clock);
    assert_eq!(
        (state.health, state.heard, state.marked, state.last),
        ("listening", 2, 1, Some(NOON))
    );
    heard.stop().await;
    assert_eq!(script.told.ended.load(SeqCst), 1, "it says good-bye");
}

#[tokio::test]
async fn a_camera_that_is_lost_in_the_middle_of_motion_ends_it_and_is_subscribed_to_again() {
    let (device, mut script) = scripted();
    let heard = Heard::start(device, Clock::manual(NOON)).await;
    script.asked().await;
    script.run(motion(true)).await;
    heard.clock.advance(WallSpan::from_secs(5));
    script.run(Does::Fails).await;
    assert_eq!(script.told.subscribed.load(SeqCst), 2);
    heard.clock.advance(WallSpan::from_secs(60));
    script.run(motion(true)).await;
    heard.clock.advance(WallSpan::from_secs(3));
    let marks = heard.stop().await;
    let spans: Vec<_> = marks
        .iter()
        .map(|m| {
            (
                (m.start - NOON).as_micros() / 1_000_000,
                (m.end.unwrap() - NOON).as_micros() / 1_000_000,
            )
        })
        .collect();
    assert_eq!(spans, [(0, 5), (65, 68)], "the stop ends what lasts");
    assert_eq!(script.told.ended.load(SeqCst), 2);
}

#[tokio::test]
async fn a_subscription_is_renewed_while_nothing_happens() {
    let (device, mut script) = scripted();
    let heard = Heard::start(device, Clock::manual(NOON)).await;
    script.asked().await;
    tokio::time::pause();
    for _ in 0..9 {
        script.run(Does::Waits(Duration::from_secs(20))).await;
    }
    assert_eq!(script.told.renewed.load(SeqCst), 3, "every 45 s, looked at every 20 s");
    assert_eq!(script.told.subscribed.load(SeqCst), 1);
    tokio::time::resume();
    assert_eq!(heard.stop().await, []);
}

#[tokio::test]
async fn what_lasts_lasts_up_to_now_in_the_index() {
    let (device, mut script) = scripted();
    let heard = Heard::start(device, Clock::manual(NOON)).await;
    script.asked().await;
    script.run(motion(true)).await;
    heard.clock.advance(WallSpan::from_secs(40));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    tokio::time::resume();
    script.run(Does::Tells(Vec::new())).await;
    let marks = heard.marks().await;
    assert_eq!(marks[0].end, Some(NOON + WallSpan::from_secs(40)), "after a crash it ends here");
    heard.stop().await;
}

#[tokio::test]
async fn what_lasts_is_told_again_and_again_to_what_records_it_until_it_ends() {
    let (device, mut script) = scripted();
    let heard = Heard::start(device, Clock::manual(NOON)).await;
    let told = || std::mem::take(&mut *heard.told.lock().unwrap());
    script.asked().await;
    script.run(motion(true)).await;
    let first = told();
    assert_eq!(first[0], ("motion".to_owned(), NOON, Some(NOON)), "at once");
    heard.clock.advance(WallSpan::from_secs(60));
    tokio::time::pause();
    // Shorter than what is written in the index: its threads do not stop with the clock.
    script.run(Does::Waits(Duration::from_secs(10))).await;
    tokio::time::resume();
    let again = told();
    assert!(again.len() >= 4, "every 2 s: {again:?}");
    let lasts = Some(NOON + WallSpan::from_secs(64));
    assert!(again.iter().all(|t| *t == ("motion".to_owned(), NOON, lasts)), "{again:?}");
    script.run(motion(false)).await;
    told();
    tokio::time::pause();
    script.run(Does::Waits(Duration::from_secs(10))).await;
    tokio::time::resume();
    assert_eq!(told(), [], "it is over");
    let topic = "RuleEngine/TamperDetector/Tamper".to_owned();
    script.run(Does::Tells(vec![Notice { topic, ..Notice::default() }])).await;
    let moment = ("tamper".to_owned(), NOON + WallSpan::from_secs(60), None);
    assert_eq!(told(), [moment], "what does not last is told once");
    heard.stop().await;
}

#[tokio::test]
async fn a_camera_of_oxvif_puts_motion_and_inputs_on_the_timeline() {
    let pulled = watch::Sender::new(0);
    let mut seen = pulled.subscribe();
    let camera = simulated_telling(Arc::new(move |state| {
        pulled.send_replace(state.event_seq);
    }))
    .await;
    let heard = Heard::start(asked(&camera, PASSWORD), Clock::system()).await;
    // It begins motion with its first event and ends it with the third: written when the fourth is asked for.
    timeout(PATIENCE, seen.wait_for(|n| *n >= 5)).await.unwrap().unwrap();
    let marks = heard.stop().await;
    let motion: Vec<_> = marks.iter().filter(|m| m.kind == "motion").collect();
    assert!(!motion.is_empty(), "{marks:?}");
    assert!(motion[0].end.unwrap() > motion[0].start, "{marks:?}");
    assert_eq!(marks.len(), motion.len(), "its object detector is none of ours");
}

#[tokio::test]
async fn a_camera_with_a_wrong_password_is_not_hammered() {
    struct Refuses(AtomicUsize);
    impl Device for Refuses {
        fn describe(&self) -> BoxFuture<'_, Result<Description, OnvifError>> {
            Box::pin(async { Err(OnvifError::NoMedia) })
        }
        fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Subscription>, OnvifError>> {
            self.0.fetch_add(1, SeqCst);
            Box::pin(async { Err(OnvifError::Unauthorized { clock_off: Some(0) }) })
        }
    }
    let device = Arc::new(Refuses(AtomicUsize::new(0)));
    let heard = Heard::start(device.clone(), Clock::manual(NOON)).await;
    tokio::time::pause();
    sleep(Duration::from_secs(3_600)).await;
    tokio::time::resume();
    let tries = device.0.load(SeqCst);
    assert!((10..=22).contains(&tries), "{tries} in an hour");
    let state = heard.status.snapshot(&heard.clock);
    assert_eq!(state.health, "backing_off");
    assert!(state.detail.unwrap().contains("password"));
    heard.stop().await;
}
