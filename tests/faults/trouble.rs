//! A recorder over a random schedule of disk trouble, lost cameras, restarts and power cuts: after
//! each step every second is in a run or in a gap whose reason fits what was done, and what the
//! timeline calls recorded is there.

use std::{collections::BTreeSet, fmt};

use proptest::{collection::vec, prelude::*};
use vedette::proto::{reason::GapReason, time::WallSpan};

use crate::{
    cases,
    cut::{Dice, History, Mode, restore},
    fs::{Call, EIO, ENOSPC},
    site::{CAMERAS, Site, on_paused_clock, streams},
    verify::{audit, plays, silently_lost},
};

/// As long as a recorder may wait before it tries again, and a group of pictures.
const RESUMES_MS: u64 = 34_000;

#[derive(Clone, Debug)]
enum Trouble {
    /// So many writes fail.
    Write(u32),
    /// The same, with a part written before.
    Torn(u32),
    /// The file system has room for so many bytes more.
    Full(u64),
    /// Writes take so few bytes at a time: no trouble at all.
    Sip(usize),
    /// Writes wait until it is over.
    Slow,
    /// Syncs wait until it is over.
    SlowSync,
    /// So many syncs of files fail.
    Sync(u32),
    /// So many syncs of folders fail.
    SyncFolder(u32),
    /// Files cannot be made, for so many times.
    Create(u32),
    /// Nor folders.
    MakeFolder(u32),
    /// A file that was torn cannot be cut.
    Truncate(u32),
    ReadOnly,
}

#[derive(Clone, Debug)]
enum Step {
    Play(u64),
    Begin(usize, u64),
    End(usize),
    Replace(usize),
    Panic(usize),
    Sync,
    /// Lasts while so much is played, then is over.
    Trouble(Trouble, u64),
    /// Stopped in order and started again after so long.
    Restart(u64),
    /// Killed or cut, and started again.
    Die(Mode, u64, u64),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let times = prop_oneof![2 => 1_u32..4, 1 => Just(u32::MAX)];
    prop_oneof![
        times.clone().prop_map(Trouble::Write),
        times.clone().prop_map(Trouble::Torn),
        (0_u64..20_000).prop_map(Trouble::Full),
        (1_usize..2_000).prop_map(Trouble::Sip),
        Just(Trouble::Slow),
        Just(Trouble::SlowSync),
        times.clone().prop_map(Trouble::Sync),
        times.clone().prop_map(Trouble::SyncFolder),
        times.clone().prop_map(Trouble::Create),
        times.clone().prop_map(Trouble::MakeFolder),
        times.prop_map(Trouble::Truncate),
        Just(Trouble::ReadOnly),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Mode::Kill), Just(Mode::Least), Just(Mode::Prefix)];
    prop_oneof![
        5 => (100_u64..5_000).prop_map(Step::Play),
        1 => (0..CAMERAS, 3_u64..25).prop_map(|(c, gop)| Step::Begin(c, gop)),
        1 => (0..CAMERAS).prop_map(Step::End),
        1 => (0..CAMERAS).prop_map(Step::Replace),
        1 => (0..CAMERAS).prop_map(Step::Panic),
        2 => Just(Step::Sync),
        5 => (trouble(), 0_u64..8_000).prop_map(|(t, ms)| Step::Trouble(t, ms)),
        1 => (0_u64..9_000).prop_map(Step::Restart),
        1 => (mode, any::<u64>(), 0_u64..9_000).prop_map(|(m, seed, down)| Step::Die(m, seed, down)),
    ]
}

fn begin_trouble(site: &Site, trouble: &Trouble) {
    let fs = site.fs();
    let used = fs.used();
    fs.faults(|f| match *trouble {
        Trouble::Write(times) => drop(f.errors.insert(Call::Append, (EIO, times))),
        Trouble::Torn(times) => {
            f.torn = true;
            f.errors.insert(Call::Append, (EIO, times));
        }
        Trouble::Full(more) => f.capacity = Some(used + more),
        Trouble::Sip(most) => f.sip = Some(most),
        Trouble::Slow => f.hold.extend([Call::Append]),
        Trouble::SlowSync => f.hold.extend([Call::Sync, Call::SyncAll, Call::SyncFolder]),
        Trouble::Sync(times) => {
            f.errors.insert(Call::Sync, (EIO, times));
            f.errors.insert(Call::SyncAll, (EIO, times));
        }
        Trouble::SyncFolder(times) => drop(f.errors.insert(Call::SyncFolder, (EIO, times))),
        Trouble::Create(times) => drop(f.errors.insert(Call::Create, (ENOSPC, times))),
        Trouble::MakeFolder(times) => drop(f.errors.insert(Call::MakeFolder, (EIO, times))),
        Trouble::Truncate(times) => {
            f.errors.insert(Call::Truncate, (EIO, times));
            f.torn = true;
            f.errors.insert(Call::Append, (EIO, 2));
        }
        Trouble::ReadOnly => f.read_only = true,
    });
}

/// Reasons that a step may leave in a gap.
fn reasons(step: &Step) -> &'static [GapReason] {
    match step {
        Step::End(_) => &[GapReason::Disconnected],
        Step::Replace(_) => &[GapReason::Reconfigured],
        // What a recorder that died had not written is lost when its place cannot be taken over.
        Step::Panic(_) => &[GapReason::Internal],
        Step::Restart(_) => &[GapReason::VedetteDown],
        Step::Die(..) => &[GapReason::Crash],
        Step::Trouble(Trouble::Full(_) | Trouble::Create(_), _) => {
            &[GapReason::DiskFull, GapReason::DiskError]
        }
        Step::Trouble(Trouble::Slow | Trouble::SlowSync, _) => {
            &[GapReason::Overload, GapReason::DiskError]
        }
        Step::Trouble(Trouble::Sip(_), _) => &[],
        Step::Trouble(..) => &[GapReason::DiskError],
        _ => &[],
    }
}

async fn start(site: &mut Site, previous_end: GapReason) {
    for camera in 0..CAMERAS {
        site.record(camera).await;
        site.begin(camera, 10, previous_end);
    }
}

async fn carry_out(site: &mut Site, step: &Step) {
    match step {
        Step::Play(ms) => site.play(*ms).await,
        Step::Begin(camera, gop) => site.begin(*camera, *gop, GapReason::Disconnected),
        Step::End(camera) => site.end(*camera, GapReason::Disconnected),
        Step::Replace(camera) => {
            site.stop_recorder(*camera, GapReason::Reconfigured).await;
            site.record(*camera).await;
        }
        Step::Panic(camera) => {
            site.abort_recorder(*camera).await;
            site.record(*camera).await;
        }
        Step::Sync => site.sync().await,
        Step::Trouble(trouble, ms) => {
            begin_trouble(site, trouble);
            site.play(*ms / 2).await;
            if !site.fs().holds() {
                site.sync().await;
            }
            site.play(*ms / 2).await;
            site.quiet().await;
            audit(site).await;
            site.fs().faults(|f| *f = Default::default());
            site.well().await;
        }
        Step::Restart(down_ms) => {
            let index = site.stop().await;
            site.clock.advance(WallSpan::from_micros(*down_ms as i64 * 1_000));
            site.start(&index).await;
            start(site, GapReason::VedetteDown).await;
        }
        Step::Die(mode, seed, down_ms) => {
            let wreck = site.die().await;
            let left = History::of(&wreck.journal).after_cut(*mode, &mut Dice(*seed));
            restore(&site.root(), &left);
            site.clock.advance(WallSpan::from_micros(*down_ms as i64 * 1_000));
            site.start(&wreck.index).await;
            start(site, GapReason::Crash).await;
        }
    }
}

#[derive(Clone)]
struct Case(Vec<Step>);

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

async fn run(steps: Vec<Step>) {
    let mut site = Site::new().await;
    // Smaller than what waits while a disk hangs, so that something is shed.
    site.queue_bytes = 24 << 10;
    let index = site.stop().await;
    site.start(&index).await;
    start(&mut site, GapReason::VedetteDown).await;
    let mut allowed = BTreeSet::from([GapReason::Starting, GapReason::VedetteDown]);
    for step in &steps {
        tracing::info!(at = %site.clock.now(), ?step);
        carry_out(&mut site, step).await;
        site.quiet().await;
        allowed.extend(reasons(step));
        let holdings = audit(&site).await;
        for gap in &holdings.gaps {
            assert!(allowed.contains(&gap.reason), "{gap:?} after {step:?}");
        }
    }

    // It records again by itself, whatever had happened.
    start(&mut site, GapReason::Disconnected).await;
    site.play(RESUMES_MS).await;
    let before = site.clock.now() - WallSpan::from_secs(3);
    site.sync().await;
    site.quiet().await;
    let holdings = audit(&site).await;
    for stream in streams() {
        let newest = holdings.units.iter().filter(|u| u.0.0 == stream && u.0.2 == 0);
        let newest = newest.map(|u| site.sent[&u.0][u.1 as usize].wall).max();
        assert!(newest.is_some_and(|n| n >= before), "{stream} is not recorded: {newest:?}");
    }
    let index = site.stop().await;
    site.start(&index).await;
    let holdings = audit(&site).await;
    let silent = silently_lost(&site.sent, &holdings);
    assert!(silent.is_empty(), "gone from recorded time: {:?}{}", silent.first(), holdings.told);
    plays(&site, &holdings).await;
    site.die().await;
}

proptest! {
    #![proptest_config(cases(60, 1))]

    #[test]
    fn whatever_the_disk_does_every_second_is_accounted_for_and_recording_resumes(
        case in vec(step(), 1..8).prop_map(Case),
    ) {
        on_paused_clock(|| run(case.0));
    }
}
