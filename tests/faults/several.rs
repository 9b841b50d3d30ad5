//! Two or three volumes that fail, fill up, turn read-only, go away and come back, each for itself:
//! streams go on where there is a volume that works, one that is pinned waits for its own, and in
//! the end everything that was written is in the index, also what lies on a volume that was away
//! when the process began.

use std::{collections::BTreeSet, fmt};

use proptest::{collection::vec, prelude::*};
use vedette::{
    disk::VolumeState,
    proto::{reason::GapReason, time::WallSpan},
};

use crate::{
    cases,
    cut::{Dice, History, Mode, restore},
    fs::{Call, EIO, FaultFs},
    site::{CAMERAS, Index, Site, on_paused_clock, stream},
    verify::{Holdings, audit, plays, silently_lost},
};

/// The camera that is recorded on the first volume only.
const PINNED: usize = 1;
/// As long as a recorder may wait before it tries again, and a group of pictures.
const RESUMES_MS: u64 = 12_000;
/// A camera that is free goes to another volume within that.
const TAKEN_OVER_MS: u64 = 6_000;
/// What is not readable yet of a recording that goes on: a group of pictures, a fragment.
const UNDER_WAY_MS: u64 = 2_500;

#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Writes find no room.
    Full,
    /// Writes fail.
    Write,
    /// Syncs fail.
    Sync,
    ReadOnly,
    /// The disk is pulled out.
    Missing,
}

#[derive(Clone, Debug)]
enum Step {
    Play(u64),
    Sync,
    Begin(usize),
    End(usize),
    /// A volume fails until it is mended.
    Trouble(usize, Trouble),
    Mend(usize),
    /// Killed or cut, and started again on the volumes that are there.
    Die(Mode, u64, u64),
    Restart(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let trouble = prop_oneof![
        1 => Just(Trouble::Full),
        1 => Just(Trouble::Write),
        1 => Just(Trouble::Sync),
        1 => Just(Trouble::ReadOnly),
        2 => Just(Trouble::Missing),
    ];
    let mode = prop_oneof![2 => Just(Mode::Kill), 1 => Just(Mode::Least), 1 => Just(Mode::Prefix)];
    prop_oneof![
        5 => (100_u64..5_000).prop_map(Step::Play),
        2 => Just(Step::Sync),
        1 => (0..CAMERAS).prop_map(Step::Begin),
        1 => (0..CAMERAS).prop_map(Step::End),
        5 => (0_usize..3, trouble).prop_map(|(v, t)| Step::Trouble(v, t)),
        3 => (0_usize..3).prop_map(Step::Mend),
        1 => (mode, any::<u64>(), 0_u64..9_000).prop_map(|(m, seed, down)| Step::Die(m, seed, down)),
        1 => (0_u64..9_000).prop_map(Step::Restart),
    ]
}

fn ms(ms: u64) -> WallSpan {
    WallSpan::from_micros(ms as i64 * 1_000)
}

fn disk(site: &Site, volume: usize) -> &FaultFs {
    site.life().disks().nth(volume).unwrap()
}

fn begin_trouble(site: &Site, volume: usize, trouble: Trouble) {
    let disk = disk(site, volume);
    let used = disk.used();
    disk.faults(|f| {
        *f = Default::default();
        match trouble {
            Trouble::Full => f.capacity = Some(used),
            Trouble::Write => drop(f.errors.insert(Call::Append, (EIO, u32::MAX))),
            Trouble::Sync => {
                for call in [Call::Sync, Call::SyncAll, Call::SyncFolder] {
                    f.errors.insert(call, (EIO, u32::MAX));
                }
            }
            Trouble::ReadOnly => f.read_only = true,
            Trouble::Missing => f.missing = true,
        }
    });
}

/// Waits until a volume is seen to be well; whatever the others are.
async fn well(site: &Site, volume: usize) {
    for patience in 0.. {
        let volumes = site.life().volumes.all();
        if volumes[volume].state() == VolumeState::Ready {
            break;
        }
        assert!(patience < 20_000, "{:?}", site.life().volumes.health());
        std::thread::sleep(std::time::Duration::from_micros(200));
        tokio::task::yield_now().await;
    }
    // What came back is looked at by somebody of whom nothing tells.
    for _ in 0..8 {
        std::thread::sleep(std::time::Duration::from_millis(1));
        site.quiet().await;
    }
}

async fn start(site: &mut Site, previous_end: GapReason) {
    for camera in 0..CAMERAS {
        site.record(camera).await;
        site.begin(camera, 10, previous_end);
    }
}

/// Whether a camera's newest footage is of just now.
fn is_recorded(site: &Site, holdings: &Holdings, camera: usize) -> bool {
    let own = holdings.units.iter().filter(|u| u.0.0 == stream(camera) && u.0.2 == 0);
    let newest = own.map(|u| site.sent[&u.0][u.1 as usize].wall).max();
    newest.is_some_and(|n| n >= site.clock.now() - ms(UNDER_WAY_MS))
}

/// The pinned camera's footage is on its volume and nowhere else.
async fn look(site: &Site) -> Holdings {
    site.quiet().await;
    let holdings = audit(site).await;
    let own = site.root_of(0);
    for segment in holdings.segments.iter().filter(|s| s.opened.stream == stream(PINNED)) {
        assert_eq!(own.to_str(), Some(&segment.opened.volume[..]), "{}", segment.opened.path);
    }
    holdings
}

async fn carry_out(
    site: &mut Site,
    ill: &mut BTreeSet<usize>,
    away: &mut BTreeSet<usize>,
    step: &Step,
) {
    match *step {
        Step::Play(ms) => site.play(ms).await,
        Step::Sync => site.sync().await,
        Step::Begin(camera) => site.begin(camera, 10, GapReason::Disconnected),
        Step::End(camera) => site.end(camera, GapReason::Disconnected),
        Step::Trouble(volume, trouble) if volume < site.volumes => {
            begin_trouble(site, volume, trouble);
            ill.insert(volume);
            away.remove(&volume);
            if matches!(trouble, Trouble::Missing) {
                away.insert(volume);
            }
            site.begin(0, 10, GapReason::Disconnected);
            site.play(TAKEN_OVER_MS / 2).await;
            // So that a disk whose syncs fail shows it.
            site.sync().await;
            site.play(TAKEN_OVER_MS / 2).await;
            let holdings = look(site).await;
            if ill.len() < site.volumes {
                assert!(is_recorded(site, &holdings, 0), "not taken over:{}", holdings.told);
            }
        }
        Step::Mend(volume) if volume < site.volumes => {
            disk(site, volume).faults(|f| *f = Default::default());
            ill.remove(&volume);
            away.remove(&volume);
            well(site, volume).await;
        }
        Step::Trouble(..) | Step::Mend(_) => {}
        Step::Die(mode, seed, down) => {
            let wreck = site.die().await;
            let journals = std::iter::once(&wreck.journal).chain(&wreck.more);
            for (volume, journal) in journals.enumerate() {
                let left = History::of(journal).after_cut(mode, &mut Dice(seed));
                restore(&site.root_of(volume), &left);
            }
            site.clock.advance(ms(down));
            begin_again(site, ill, away, &wreck.index, GapReason::Crash).await;
        }
        Step::Restart(down) => {
            let index = site.stop().await;
            site.clock.advance(ms(down));
            begin_again(site, ill, away, &index, GapReason::VedetteDown).await;
        }
    }
}

/// The next life: disks that are away still are; what else was wrong is over.
async fn begin_again(
    site: &mut Site,
    ill: &mut BTreeSet<usize>,
    away: &BTreeSet<usize>,
    index: &Index,
    why: GapReason,
) {
    site.away.clone_from(away);
    ill.clone_from(away);
    site.start(index).await;
    start(site, why).await;
}

async fn run(volumes: usize, steps: Vec<Step>) {
    let mut site = Site::new().await;
    let index = site.stop().await;
    site.volumes = volumes;
    site.pinned = Some((PINNED, 0));
    site.start(&index).await;
    start(&mut site, GapReason::VedetteDown).await;
    let (mut ill, mut away) = (BTreeSet::new(), BTreeSet::new());
    for step in &steps {
        tracing::info!(at = %site.clock.now(), ?step);
        carry_out(&mut site, &mut ill, &mut away, step).await;
        look(&site).await;
    }

    // All volumes come back, and both cameras are recorded again by themselves.
    for volume in 0..volumes {
        disk(&site, volume).faults(|f| *f = Default::default());
    }
    for volume in 0..volumes {
        well(&site, volume).await;
    }
    start(&mut site, GapReason::Disconnected).await;
    site.play(RESUMES_MS).await;
    site.sync().await;
    let holdings = look(&site).await;
    for camera in 0..CAMERAS {
        assert!(is_recorded(&site, &holdings, camera), "{camera} is not recorded{}", holdings.told);
    }
    site.away.clear();
    let index = site.stop().await;
    site.start(&index).await;
    for camera in 0..CAMERAS {
        site.record(camera).await;
    }
    let holdings = look(&site).await;
    assert!(site.life().store.open_segments().await.unwrap().is_empty(), "left open");
    let silent = silently_lost(&site.sent, &holdings);
    assert!(silent.is_empty(), "gone from recorded time: {:?}{}", silent.first(), holdings.told);
    plays(&site, &holdings).await;
    site.die().await;
}

#[derive(Clone)]
struct Case(usize, Vec<Step>);

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} volumes, {:?}", self.0, self.1)
    }
}

proptest! {
    #![proptest_config(cases(12, 1))]

    #[test]
    fn volumes_that_fail_and_go_and_come_cost_what_was_on_its_way_and_no_more(
        case in (2_usize..=3, vec(step(), 1..9)).prop_map(|(volumes, steps)| Case(volumes, steps)),
    ) {
        on_paused_clock(|| run(case.0, case.1));
    }
}

/// What lay on it in the middle of a run was once put back as a run of its own, and the rows behind
/// it were left with the name of the one before.
#[test]
fn a_volume_that_returns_while_its_run_is_recorded_elsewhere_gives_its_footage_back() {
    on_paused_clock(|| run(3, vec![Step::Play(2_001), Step::Trouble(2, Trouble::Missing)]));
}
