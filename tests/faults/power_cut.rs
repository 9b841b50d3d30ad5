//! The power goes at any moment; then the recorder starts on what is left.
//!
//! A case is one process that records by a random schedule, and then several cuts of it: a place
//! in the journal of the files, any commit of the database that was durable then, and dice for
//! what became of everything that was not synced.

use std::fmt;

use proptest::{collection::vec, prelude::*};
use vedette::proto::{
    reason::GapReason,
    time::{WallSpan, WallTime},
};

use crate::{
    cases,
    cut::{Dice, History, Mode, restore},
    fs::Call,
    site::{CAMERAS, EPOCH, Index, Site, Wreck, on_paused_clock, streams},
    verify::{Holdings, audit, lasting_reason, lost, plays, silently_lost},
    wal,
};

/// The sync interval of these tests.
pub(crate) const INTERVAL_MS: u64 = 2_000;
/// What is promised to a process that is killed: a second, and what is queued for the writer, which
/// here has nothing else to do.
const FRAGMENT_MS: u64 = 1_100;
/// Cuts of one process, on average.
pub(crate) const CUTS: usize = 8;

#[derive(Clone, Debug)]
enum Step {
    Play(u64),
    /// A camera begins, with so many pictures a group.
    Begin(usize, u64),
    End(usize, GapReason),
    /// A recorder is replaced by another.
    Replace(usize),
    /// A recorder panics; another takes over.
    Panic(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Of the journal, in 65,536ths.
    pub(crate) place: u16,
    /// Of the commits that fit, likewise.
    pub(crate) commit: u16,
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
    pub(crate) down_ms: u64,
    /// Goes on recording after it, for so long, and is cut again.
    pub(crate) then_ms: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let reason = prop_oneof![Just(GapReason::Disconnected), Just(GapReason::Stalled)];
    prop_oneof![
        6 => (100_u64..4_000).prop_map(Step::Play),
        2 => (0..CAMERAS, 3_u64..25).prop_map(|(c, gop)| Step::Begin(c, gop)),
        2 => (0..CAMERAS, reason).prop_map(|(c, reason)| Step::End(c, reason)),
        1 => (0..CAMERAS).prop_map(Step::Replace),
        1 => (0..CAMERAS).prop_map(Step::Panic),
    ]
}

pub(crate) fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        1 => Just(Mode::Kill),
        1 => Just(Mode::Least),
        3 => Just(Mode::Prefix),
    ]
}

pub(crate) fn cut(mode: impl Strategy<Value = Mode>) -> impl Strategy<Value = Cut> {
    let then = prop_oneof![3 => Just(0), 1 => 300_u64..3_000];
    (any::<u16>(), any::<u16>(), mode, any::<u64>(), 0_u64..9_000, then).prop_map(
        |(place, commit, mode, seed, down_ms, then_ms)| Cut {
            place,
            commit,
            mode,
            seed,
            down_ms,
            then_ms,
        },
    )
}

async fn carry_out(site: &mut Site, steps: &[Step]) {
    for camera in 0..CAMERAS {
        site.record(camera).await;
        site.begin(camera, 10, GapReason::Starting);
    }
    let mut unsynced = 0;
    for step in steps {
        match *step {
            Step::Play(ms) => {
                let mut left = ms;
                while left > 0 {
                    let some = left.min(INTERVAL_MS - unsynced);
                    site.play(some).await;
                    left -= some;
                    unsynced += some.next_multiple_of(100);
                    if unsynced >= INTERVAL_MS {
                        site.sync().await;
                        unsynced = 0;
                    }
                }
            }
            Step::Begin(camera, gop) => site.begin(camera, gop, GapReason::Disconnected),
            Step::End(camera, reason) => site.end(camera, reason),
            Step::Replace(camera) => {
                site.stop_recorder(camera, GapReason::Reconfigured).await;
                site.record(camera).await;
            }
            Step::Panic(camera) => {
                site.abort_recorder(camera).await;
                site.record(camera).await;
            }
        }
        site.quiet().await;
        audit(site).await;
    }
}

pub(crate) fn part(of: usize, share: u16) -> usize {
    of * usize::from(share) / 65_536
}

/// Where the power goes: a place in the journal, a commit that was durable there.
pub(crate) struct Moment {
    pub(crate) place: usize,
    pub(crate) wal: u64,
    pub(crate) at: WallTime,
}

pub(crate) fn moment(wreck: &Wreck, cut: &Cut) -> Moment {
    let places = wreck.journal.len() - wreck.started + 1;
    let place = wreck.started + part(places, cut.place);
    let before = place.checked_sub(1).map(|last| &wreck.journal[last]);
    let after = wreck.journal.get(place);
    let least = before.map_or(0, |e| e.wal).max(wreck.first_commit);
    let most = after.map_or(wreck.index.wal.len() as u64, |e| e.wal).max(least);
    let commits = wal::commits(&wreck.index.wal);
    // What was in the log when the operation before was done, and what came until the next one.
    let floor = commits.iter().copied().filter(|&c| c <= least).max().unwrap_or(0);
    let legal: Vec<u64> = commits.into_iter().filter(|&c| c >= floor && c <= most).collect();
    let wal = legal[part(legal.len(), cut.commit)];
    Moment { place, wal, at: wreck.latest(place, wal) }
}

/// Starts on what the cut left and checks all that was promised.
async fn restart(site: &mut Site, wreck: &Wreck, cut: &Cut, bounded: bool) -> WallSpan {
    let moment = moment(wreck, cut);
    let history = History::of(&wreck.journal[..moment.place]);
    let folder = history.after_cut(cut.mode, &mut Dice(cut.seed));
    restore(&site.root(), &folder);
    let log = wreck.index.wal[..usize::try_from(moment.wal).unwrap()].to_vec();
    let index = Index { database: wreck.index.database.clone(), wal: log };
    site.clock.set(moment.at + WallSpan::from_micros(cut.down_ms as i64 * 1_000));

    // What came after it never was.
    site.sent.values_mut().for_each(|units| units.retain(|u| u.wall <= moment.at));
    site.start(&index).await;
    let holdings = audit(site).await;
    plays(site, &holdings).await;
    assert!(site.life().store.open_segments().await.unwrap().is_empty());
    for stream in streams() {
        assert!(lasting_reason(&holdings, stream).is_some(), "nothing is recorded, so a gap lasts");
    }
    let silent = silently_lost(&site.sent, &holdings);
    let silent = silent.iter().find(|(_, wall)| *wall < moment.at);
    assert!(silent.is_none(), "gone from recorded time: {silent:?}{}", holdings.told);
    let promised = if cut.mode == Mode::Kill { FRAGMENT_MS } else { INTERVAL_MS + FRAGMENT_MS };
    let bound = WallSpan::from_micros(promised as i64 * 1_000);
    let gone = lost(&site.sent, &holdings, moment.at);
    let worst = gone.iter().map(|(_, wall)| moment.at - *wall).max().unwrap_or(WallSpan::ZERO);
    if bounded {
        let at = moment.at - EPOCH;
        assert!(
            worst <= bound,
            "lost {worst:?} at {at:?} by {cut:?}, promised {bound:?}: {:?}{}{}",
            &gone[..1],
            holdings.told,
            wreck.told(moment.place, moment.wal)
        );
    }
    worst
}

/// Records a little on what the cut left: nothing that is there may be harmed.
async fn go_on(site: &mut Site, ms: u64) {
    let before = audit(site).await;
    for camera in 0..CAMERAS {
        site.record(camera).await;
        site.begin(camera, 5, GapReason::Crash);
    }
    site.play(ms).await;
    site.quiet().await;
    let after = audit(site).await;
    kept(&before, &after);
}

fn kept(before: &Holdings, after: &Holdings) {
    let harmed: Vec<_> = before.units.difference(&after.units).take(3).collect();
    assert!(harmed.is_empty(), "was there before: {harmed:?}");
}

async fn run(steps: Vec<Step>, cuts: Vec<Cut>) {
    let mut site = Site::new().await;
    carry_out(&mut site, &steps).await;
    let wreck = site.die().await;
    let sent = site.sent.clone();
    // With a recorder that panics, units may be lost to that.
    let bounded = !steps.iter().any(|s| matches!(s, Step::Panic(_)));
    for cut in cuts {
        site.sent.clone_from(&sent);
        restart(&mut site, &wreck, &cut, bounded).await;
        if cut.then_ms == 0 {
            site.die().await;
            continue;
        }
        go_on(&mut site, cut.then_ms).await;
        let second = site.die().await;
        let again = Cut { then_ms: 0, seed: cut.seed.wrapping_add(1), ..cut };
        restart(&mut site, &second, &again, false).await;
        site.die().await;
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

fn case(mode: impl Strategy<Value = Mode>) -> impl Strategy<Value = Case> {
    (vec(step(), 1..8), vec(cut(mode), 1..2 * CUTS)).prop_map(|(steps, cuts)| Case(steps, cuts))
}

proptest! {
    #![proptest_config(cases(30 * CUTS, CUTS))]

    #[test]
    fn after_a_power_cut_at_any_moment_the_index_is_true_and_no_more_is_lost_than_promised(
        case in case(mode()),
    ) {
        on_paused_clock(|| run(case.0, case.1));
    }
}

proptest! {
    #![proptest_config(cases(15 * CUTS, CUTS))]

    /// As ext4 with `data=writeback` does it, and exFAT.
    #[test]
    fn the_same_where_files_end_in_zeros_or_garbage(
        case in case(prop_oneof![Just(Mode::Zeros), Just(Mode::Garbage)]),
    ) {
        on_paused_clock(|| run(case.0, case.1));
    }
}

#[test]
fn a_file_made_while_its_folder_is_being_synced_keeps_its_name() {
    on_paused_clock(|| async {
        let mut site = Site::new().await;
        site.record(0).await;
        site.begin(0, 10, GapReason::Starting);
        site.fs().faults(|f| f.hold.extend([Call::Create]));
        while !site.fs().is_waiting(Call::Create) {
            site.play(100).await;
        }
        // The folder is there and not durable, the file is not there yet.
        site.rounds().await;
        site.fs().faults(|f| f.hold.clear());
        site.play(3_000).await;
        site.sync().await;
        let wreck = site.die().await;
        let (place, commit) = (u16::MAX, u16::MAX);
        let cut = Cut { place, commit, mode: Mode::Least, seed: 0, down_ms: 0, then_ms: 0 };
        restart(&mut site, &wreck, &cut, true).await;
    });
}
