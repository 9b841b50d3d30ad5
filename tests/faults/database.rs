//! The database is busy, full or read-only while cameras are recorded, and the process may be
//! killed or stopped meanwhile: recording goes on, rows wait within their bound or are made from
//! the files later, and nothing that was written is missing from the index in the end.

use std::{fmt, sync::atomic::Ordering::Relaxed, time::Duration};

use proptest::{collection::vec, prelude::*};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use vedette::proto::{reason::GapReason, time::WallSpan};

use crate::{
    cases,
    cut::{Dice, History, Mode, restore},
    site::{CAMERAS, Site, on_paused_clock},
    verify::{audit, lost, plays, silently_lost},
};

/// A fragment: a second, the next unit, a look at the hub.
const FRAGMENT_MS: u64 = 1_500;
/// As long as a row may wait before it is tried again.
const AGAIN: Duration = Duration::from_secs(31);
/// Rows of segments that a stream may have waiting, and some of runs beside them.
const ROWS: u64 = 128 + 32;
/// Segments are complete so often.
const SYNC_MS: u64 = 2_000;

#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Somebody else holds its lock.
    Busy,
    /// It cannot grow.
    Full,
    /// It cannot be written at all, until it is opened anew; and then again.
    ReadOnly,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    /// It passes.
    Passes,
    /// The process is killed meanwhile, or the power goes, and is away for so long.
    Dies(Mode, u64, u64),
    /// The process is stopped meanwhile, and is away for so long.
    Stops(u64),
}

#[derive(Clone, Debug)]
enum Step {
    Play(u64),
    /// With so many pictures a group.
    Begin(usize, u64),
    End(usize),
    Sync,
    /// While so much is played, a camera coming and going meanwhile or not.
    Trouble(Trouble, u64, Option<usize>, Then),
}

fn step() -> impl Strategy<Value = Step> {
    let trouble = prop_oneof![Just(Trouble::Busy), Just(Trouble::Full), Just(Trouble::ReadOnly)];
    let mode = prop_oneof![2 => Just(Mode::Kill), 1 => Just(Mode::Least), 1 => Just(Mode::Prefix)];
    let then = prop_oneof![
        3 => Just(Then::Passes),
        2 => (mode, any::<u64>(), 0_u64..9_000).prop_map(|(m, seed, down)| Then::Dies(m, seed, down)),
        1 => (0_u64..9_000).prop_map(Then::Stops),
    ];
    let length = prop_oneof![5 => 0_u64..6_000, 1 => 20_000_u64..40_000];
    let comes = prop_oneof![2 => Just(None), 1 => (0..CAMERAS).prop_map(Some)];
    prop_oneof![
        4 => (100_u64..4_000).prop_map(Step::Play),
        1 => (0..CAMERAS, 3_u64..25).prop_map(|(c, gop)| Step::Begin(c, gop)),
        1 => (0..CAMERAS).prop_map(Step::End),
        1 => Just(Step::Sync),
        4 => (trouble, length, comes, then).prop_map(|(t, ms, c, then)| Step::Trouble(t, ms, c, then)),
    ]
}

fn ms(ms: u64) -> WallSpan {
    WallSpan::from_micros(ms as i64 * 1_000)
}

/// Begins; whoever holds the lock is given back.
async fn begin(site: &Site, trouble: Trouble) -> Option<SqliteConnection> {
    let life = site.life();
    match trouble {
        Trouble::Busy => {
            life.store.pragma("pragma busy_timeout = 1").await.unwrap();
            let options = SqliteConnectOptions::new().filename(&life.database);
            let mut other = options.connect().await.unwrap();
            sqlx::query("begin immediate").execute(&mut other).await.unwrap();
            return Some(other);
        }
        Trouble::Full => life.store.pragma("pragma max_page_count = 1").await.unwrap(),
        // It may be about to be opened anew for the last time.
        Trouble::ReadOnly => drop(life.store.pragma("pragma query_only = 1").await),
    }
    None
}

async fn record(site: &mut Site, previous_end: GapReason) {
    for camera in 0..CAMERAS {
        site.record(camera).await;
        site.begin(camera, 3, previous_end);
    }
}

/// Plays, and sees that no more waits than may.
async fn play(site: &mut Site, length: u64, trouble: Option<Trouble>) {
    let (mut left, mut unsynced) = (length, 0);
    while left > 0 {
        let some = left.min(500);
        site.play(some).await;
        left -= some;
        unsynced += some;
        if unsynced >= SYNC_MS {
            site.sync().await;
            unsynced = 0;
        }
        if let Some(Trouble::ReadOnly) = trouble {
            begin(site, Trouble::ReadOnly).await;
        }
        for camera in 0..CAMERAS {
            let waiting = site.life().counters(camera).map(|c| c.rows_waiting.load(Relaxed));
            assert!(waiting.is_none_or(|rows| rows <= ROWS), "{waiting:?} rows wait");
        }
    }
}

/// Lets so much time pass that every row was tried again, and checks everything.
async fn catch_up(site: &mut Site) {
    for camera in 0..CAMERAS {
        site.end(camera, GapReason::Disconnected);
    }
    site.play(200).await;
    // A row that waits, the adoption of what was given up, what that was waiting for.
    for _ in 0..3 {
        site.sync().await;
        site.clock.advance(WallSpan::from(AGAIN));
        tokio::time::advance(AGAIN).await;
        site.quiet().await;
        std::thread::sleep(Duration::from_millis(2));
        site.quiet().await;
    }
    let holdings = audit(site).await;
    let silent = silently_lost(&site.sent, &holdings);
    assert!(silent.is_empty(), "gone from recorded time: {:?}{}", silent.first(), holdings.told);
}

async fn carry_out(site: &mut Site, step: &Step) {
    match *step {
        Step::Play(ms) => play(site, ms, None).await,
        Step::Begin(camera, gop) => site.begin(camera, gop, GapReason::Disconnected),
        Step::End(camera) => site.end(camera, GapReason::Disconnected),
        Step::Sync => site.sync().await,
        Step::Trouble(trouble, length, comes, then) => {
            site.quiet().await;
            let other = begin(site, trouble).await;
            play(site, length / 2, Some(trouble)).await;
            if let Some(camera) = comes {
                site.end(camera, GapReason::Disconnected);
                play(site, 300, Some(trouble)).await;
                site.begin(camera, 3, GapReason::Disconnected);
            }
            play(site, length / 2, Some(trouble)).await;
            match then {
                Then::Passes => {
                    pass(site, other).await;
                    catch_up(site).await;
                    record(site, GapReason::Disconnected).await;
                }
                Then::Dies(mode, seed, down) => {
                    let wreck = site.die().await;
                    drop(other);
                    let left = History::of(&wreck.journal).after_cut(mode, &mut Dice(seed));
                    restore(&site.root(), &left);
                    site.clock.advance(ms(down));
                    site.start(&wreck.index).await;
                    record(site, GapReason::Crash).await;
                    site.play(300).await;
                    catch_up(site).await;
                    if mode == Mode::Kill {
                        // Whatever the index had missed, the files had it.
                        let holdings = audit(site).await;
                        let began = wreck.passed.first().map_or(wreck.at, |p| p.at);
                        let mut gone = lost(&site.sent, &holdings, wreck.at);
                        gone.retain(|(_, wall)| *wall >= began);
                        let worst = gone.iter().map(|(_, wall)| wreck.at - *wall).max();
                        assert!(
                            worst.is_none_or(|w| w <= ms(FRAGMENT_MS)),
                            "lost {worst:?}: {:?}{}",
                            gone.first(),
                            holdings.told
                        );
                    }
                    record(site, GapReason::Disconnected).await;
                }
                Then::Stops(down) => {
                    let index = site.stop().await;
                    drop(other);
                    site.clock.advance(ms(down));
                    site.start(&index).await;
                    record(site, GapReason::VedetteDown).await;
                    site.play(300).await;
                    catch_up(site).await;
                    record(site, GapReason::Disconnected).await;
                }
            }
        }
    }
}

/// The trouble is over.
async fn pass(site: &Site, other: Option<SqliteConnection>) {
    if let Some(other) = other {
        sqlx::Connection::close(other).await.unwrap();
    }
    let store = &site.life().store;
    for pragma in ["pragma query_only = 0", "pragma max_page_count = 1000000"] {
        // A connection that is given up takes its trouble with it.
        let _ = store.pragma(pragma).await;
    }
    store.ping().await.unwrap();
}

async fn run(steps: Vec<Step>) {
    let mut site = Site::new().await;
    // A row each few pictures, so that more of them may come than may wait.
    site.segment = Duration::from_millis(250);
    record(&mut site, GapReason::Starting).await;
    for step in &steps {
        tracing::info!(at = %site.clock.now(), ?step);
        carry_out(&mut site, step).await;
    }
    catch_up(&mut site).await;
    let index = site.stop().await;
    site.start(&index).await;
    let holdings = audit(&site).await;
    let silent = silently_lost(&site.sent, &holdings);
    assert!(silent.is_empty(), "gone from recorded time: {:?}{}", silent.first(), holdings.told);
    plays(&site, &holdings).await;
    site.die().await;
}

#[derive(Clone)]
struct Case(Vec<Step>);

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

proptest! {
    #![proptest_config(cases(10, 1))]

    #[test]
    fn while_the_database_fails_recording_goes_on_and_its_rows_are_there_in_the_end(
        case in vec(step(), 1..6).prop_map(Case),
    ) {
        on_paused_clock(|| run(case.0));
    }
}
