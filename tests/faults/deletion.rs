//! Footage is deleted by limits, by hand and with its camera, while locks come and go and the
//! power may fail at any moment: nothing that is deleted comes back as a row, nothing locked is
//! gone, and every file that is to be unlinked is.
//!
//! What counts as deleted follows from the index alone: a segment that had been complete in it, and
//! is not in the state of the index that a power cut left. Whatever the cut did to the files, that
//! one must stay away.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};
use vedette::{
    clock::AgeHold,
    id::{LockId, SegmentId, StreamId},
    model::{Lock, RetentionLimits, Segment},
    proto::{reason::GapReason, time::WallSpan},
    retention::{self, Retention},
    store::StoreError,
};

use crate::{
    cases,
    cut::{Dice, History, restore},
    power_cut::{Cut, INTERVAL_MS, cut, mode, moment, part},
    site::{CAMERAS, Index, Site, Wreck, camera_id, on_paused_clock, stream},
    verify::{Holdings, Unit, audit},
};

/// Cuts of one process, on average.
const CUTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Play(u64),
    Sync,
    Begin(usize),
    End(usize),
    /// A camera may take so many bytes.
    Limit(usize, u64),
    /// And be so old, seconds.
    Age(usize, u64),
    /// A round of retention.
    Round,
    /// Some of a camera's segments by name, whether they may go or not: by the bits of this.
    Delete(usize, u64),
    /// From so long ago, for so long.
    Lock(usize, u64, u64),
    Unlock(u16),
    /// A camera is deleted with its footage.
    Camera(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let camera = 0..CAMERAS;
    prop_oneof![
        8 => (500_u64..5_000).prop_map(Step::Play),
        3 => Just(Step::Sync),
        1 => camera.clone().prop_map(Step::Begin),
        1 => camera.clone().prop_map(Step::End),
        2 => (camera.clone(), 0_u64..40_000).prop_map(|(c, bytes)| Step::Limit(c, bytes)),
        1 => (camera.clone(), 0_u64..10).prop_map(|(c, age)| Step::Age(c, age)),
        4 => Just(Step::Round),
        5 => (camera.clone(), any::<u64>()).prop_map(|(c, bits)| Step::Delete(c, bits)),
        4 => (camera.clone(), 0_u64..9_000, 1_u64..5_000).prop_map(|(c, ago, ms)| Step::Lock(c, ago, ms)),
        1 => any::<u16>().prop_map(Step::Unlock),
        1 => camera.prop_map(Step::Camera),
    ]
}

/// A segment whose row went.
#[derive(Clone, Debug)]
struct Gone {
    id: SegmentId,
    stream: StreamId,
    path: String,
    /// Length of the log at a moment when its row was there, complete.
    known: u64,
    units: Vec<Unit>,
}

/// What a schedule did.
#[derive(Clone, Debug, Default)]
struct Past {
    gone: Vec<Gone>,
    locks: i64,
}

fn ms(ms: u64) -> WallSpan {
    WallSpan::from_micros(ms as i64 * 1_000)
}

fn retention(site: &Site) -> Arc<Retention> {
    let life = site.life();
    let parts = retention::Parts {
        store: life.store.clone(),
        volumes: Arc::clone(&life.volumes),
        clock: site.clock.clone(),
        age: AgeHold::never(site.clock.clone()),
    };
    Retention::new(retention::Settings::default(), parts)
}

/// Time goes on while something rests on it.
pub(crate) async fn drive<T>(site: &mut Site, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let done = loop {
        let some = async {
            for _ in 0..8 {
                std::thread::sleep(Duration::from_micros(60));
                tokio::task::yield_now().await;
            }
            site.clock.advance(ms(5));
            tokio::time::advance(Duration::from_millis(5)).await;
        };
        tokio::select! {
            biased;
            done = &mut work => break done,
            () = some => {}
        }
    };
    site.pass();
    done
}

async fn locks(site: &Site) -> Vec<Lock> {
    site.life().store.locks_page(None, None, 1_000).await.unwrap()
}

fn is_locked(locks: &[Lock], segment: &Segment) -> bool {
    let (start, end) = (segment.opened.start, segment.end);
    let camera = (0..CAMERAS).find(|&c| stream(c) == segment.opened.stream).map(camera_id);
    // One of no length lasts for an instant.
    let end = end.max(start + WallSpan::from_micros(1));
    locks.iter().any(|l| Some(l.camera) == camera && l.start < end && start < l.end)
}

/// What went between two looks, none of it locked.
fn note(past: &mut Past, before: &Holdings, after: &Holdings, wal: u64, locks: &[Lock]) {
    for segment in before.segments.iter().filter(|s| !after.of.contains_key(&s.opened.id)) {
        assert!(!is_locked(locks, segment), "locked, and gone: {segment:?}{}", after.told);
        if segment.closed {
            let row = &segment.opened;
            let units = before.of[&row.id].clone();
            let (stream, path) = (row.stream, row.path.clone());
            past.gone.push(Gone { id: row.id, stream, path, known: wal, units });
        }
    }
}

async fn is_there(site: &Site, camera: usize) -> bool {
    let cameras = site.life().store.cameras().await.unwrap();
    cameras.iter().any(|c| c.id == camera_id(camera))
}

async fn limit(site: &Site, camera: usize, change: impl Fn(&mut RetentionLimits)) {
    let store = &site.life().store;
    let cameras = store.cameras().await.unwrap();
    let found = cameras.into_iter().find(|c| c.id == camera_id(camera));
    if let Some(mut found) = found {
        change(&mut found.retention);
        store.update_camera(&found).await.unwrap();
    }
}

/// A whole round: afterwards nothing that could be unlinked waits.
async fn round(site: &mut Site, retention: &Arc<Retention>) {
    drive(site, retention.round()).await.unwrap();
    site.quiet().await;
    assert_eq!(site.life().store.unlinks_waiting().await.unwrap(), (0, 0), "files are left");
}

async fn carry_out(site: &mut Site, retention: &Arc<Retention>, past: &mut Past, step: &Step) {
    site.quiet().await;
    let (before, held, wal) = (audit(site).await, locks(site).await, site.life().wal_len());
    match *step {
        Step::Play(ms) => {
            let mut left = ms;
            while left > 0 {
                let some = left.min(INTERVAL_MS);
                site.play(some).await;
                left -= some;
                if left > 0 {
                    // So that segments are complete, and may be deleted.
                    site.sync().await;
                }
            }
        }
        Step::Sync => site.sync().await,
        Step::Begin(camera) => {
            if is_there(site, camera).await {
                site.begin(camera, 10, GapReason::Disconnected);
            }
        }
        Step::End(camera) => site.end(camera, GapReason::Disconnected),
        Step::Limit(camera, bytes) => limit(site, camera, |l| l.max_bytes = Some(bytes)).await,
        Step::Age(camera, age) => limit(site, camera, |l| l.max_age_seconds = Some(age)).await,
        Step::Round => round(site, retention).await,
        Step::Delete(camera, bits) => {
            let own = before.segments.iter().filter(|s| s.opened.stream == stream(camera));
            let some = own.enumerate().filter(|(n, _)| bits >> (n % 64) & 1 == 1);
            let ids: Vec<SegmentId> = some.map(|(_, s)| s.opened.id).collect();
            site.life().store.delete_segments(&ids).await.unwrap();
        }
        Step::Lock(camera, ago, length) => {
            if is_there(site, camera).await {
                past.locks += 1;
                let start = site.clock.now() - ms(ago);
                let lock = Lock {
                    id: LockId(past.locks),
                    camera: camera_id(camera),
                    start,
                    end: start + ms(length),
                    note: String::new(),
                    created: start,
                    created_by: "admin".to_owned(),
                };
                site.life().store.insert_lock(lock).await.unwrap();
            }
        }
        Step::Unlock(which) => {
            if let Some(lock) = held.get(part(held.len(), which)) {
                site.life().store.delete_lock(lock.id).await.unwrap();
            }
        }
        Step::Camera(camera) => {
            if is_there(site, camera).await {
                delete_camera(site, camera, &held).await;
            }
        }
    }
    site.quiet().await;
    site.pass();
    let after = audit(site).await;
    note(past, &before, &after, wal, &held);
}

async fn delete_camera(site: &mut Site, camera: usize, held: &[Lock]) {
    let locked = held.iter().any(|l| l.camera == camera_id(camera));
    let store = site.life().store.clone();
    if locked {
        let refused = store.delete_camera(camera_id(camera), false).await;
        assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
        return;
    }
    // As the recorder does it: what runs is stopped first.
    site.end(camera, GapReason::Reconfigured);
    site.quiet().await;
    site.stop_recorder(camera, GapReason::Reconfigured).await;
    store.delete_camera(camera_id(camera), false).await.unwrap();
}

/// None of what was deleted is a row, and its time says so.
async fn stays_away(site: &Site, gone: &[Gone]) -> Holdings {
    let holdings = audit(site).await;
    let cameras = site.life().store.cameras().await.unwrap();
    let there: Vec<StreamId> = cameras.iter().flat_map(|c| &c.streams).map(|s| s.id).collect();
    for gone in gone {
        let back = gone.units.iter().find(|unit| holdings.units.contains(unit));
        assert!(back.is_none(), "{back:?} of {} is back:{}", gone.path, holdings.told);
        for &(of, number) in gone.units.iter().filter(|(of, _)| of.2 == 0) {
            let wall = site.sent[&of][number as usize].wall;
            let told = holdings.gaps.iter().any(|g| {
                g.stream == gone.stream
                    && g.reason == GapReason::Deleted
                    && g.start <= wall
                    && g.end.is_some_and(|end| wall < end)
            });
            let told = told || !there.contains(&gone.stream);
            assert!(
                told,
                "{of:?} {number} of {} is in no deleted gap:{}",
                gone.path, holdings.told
            );
        }
    }
    holdings
}

/// Starts on what the cut left. What was deleted as the index has it stays so: when recorders look
/// for files, when retention goes round, and as long as it records.
async fn restart(site: &mut Site, wreck: &Wreck, cut: &Cut, past: &Past) -> Past {
    let moment = moment(wreck, cut);
    let history = History::of(&wreck.journal[..moment.place]);
    restore(&site.root(), &history.after_cut(cut.mode, &mut Dice(cut.seed)));
    let log = wreck.index.wal[..usize::try_from(moment.wal).unwrap()].to_vec();
    let index = Index { database: wreck.index.database.clone(), wal: log };
    site.clock.set(moment.at + ms(cut.down_ms));
    site.sent.values_mut().for_each(|units| units.retain(|u| u.wall <= moment.at));
    site.start(&index).await;
    site.quiet().await;

    let holdings = audit(site).await;
    let mut now = Past { locks: past.locks, ..Past::default() };
    let out = |g: &&Gone| g.known <= moment.wal && !holdings.of.contains_key(&g.id);
    now.gone.extend(past.gone.iter().filter(out).map(|g| Gone { known: 0, ..g.clone() }));
    stays_away(site, &now.gone).await;
    let there: Vec<usize> = {
        let cameras = site.life().store.cameras().await.unwrap();
        (0..CAMERAS).filter(|&c| cameras.iter().any(|k| k.id == camera_id(c))).collect()
    };
    for &camera in &there {
        site.record(camera).await;
        site.begin(camera, 5, GapReason::Crash);
    }
    site.play(cut.then_ms.max(300)).await;
    site.quiet().await;
    stays_away(site, &now.gone).await;

    let retention = retention(site);
    carry_out(site, &retention, &mut now, &Step::Round).await;
    let holdings = stays_away(site, &now.gone).await;
    for gone in &now.gone {
        let reused = holdings.segments.iter().any(|s| s.opened.path == gone.path);
        let left = !reused && site.root().join(&gone.path).exists();
        assert!(!left, "{} is deleted, and there", gone.path);
    }
    now
}

async fn run(steps: Vec<Step>, cuts: Vec<Cut>) {
    let mut site = Site::new().await;
    let mut past = Past::default();
    for camera in 0..CAMERAS {
        site.record(camera).await;
        site.begin(camera, 10, GapReason::Starting);
    }
    let retention = retention(&site);
    for step in &steps {
        tracing::info!(at = %site.clock.now(), ?step);
        carry_out(&mut site, &retention, &mut past, step).await;
    }
    drop(retention);
    stays_away(&site, &past.gone).await;
    let wreck = site.die().await;
    let sent = site.sent.clone();
    for cut in cuts {
        tracing::info!(?cut);
        site.sent.clone_from(&sent);
        let past = restart(&mut site, &wreck, &cut, &past).await;
        let second = site.die().await;
        if cut.then_ms > 0 {
            let again = Cut { then_ms: 0, seed: cut.seed.wrapping_add(1), ..cut };
            restart(&mut site, &second, &again, &past).await;
            site.die().await;
        }
    }
}

#[derive(Clone)]
struct Case(Vec<Step>, Vec<Cut>);

impl fmt::Debug for Case {
    /// A line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "steps {:?}", self.0)?;
        self.1.iter().try_for_each(|cut| writeln!(f, "  {cut:?}"))
    }
}

fn case() -> impl Strategy<Value = Case> {
    (vec(step(), 4..16), vec(cut(mode()), 1..2 * CUTS)).prop_map(|(steps, cuts)| Case(steps, cuts))
}

proptest! {
    #![proptest_config(cases(6 * CUTS, CUTS))]

    #[test]
    fn whenever_the_power_goes_nothing_deleted_comes_back_and_nothing_locked_is_gone(
        case in case(),
    ) {
        on_paused_clock(|| run(case.0, case.1));
    }
}
