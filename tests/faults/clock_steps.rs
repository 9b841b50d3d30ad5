//! The recorder's clock is set back and forward, while it records and while it does not, by
//! seconds and by decades: what would lie over footage begins a new epoch, each run says why it
//! begins, all time is accounted for, and nothing is deleted because a clock was wrong.
//!
//! What a puller does when its clock is set is done here by hand: the run ends, and another begins
//! by the new clock.

use std::{fmt, sync::Arc};

use proptest::{collection::vec, prelude::*};
use vedette::{
    clock::{AgeHold, Believed},
    id::RunId,
    model::RetentionLimits,
    proto::{
        fmp4,
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
    retention::{self, Retention},
};

use crate::{
    cases,
    cut::{Dice, History, Mode, restore},
    deletion::drive,
    site::{CAMERAS, EPOCH, Index, PICTURE, Site, on_paused_clock},
    verify::{Course, Holdings, audit_on},
};

/// Footage may be so old: older than all steps together that are believed.
const AGE_SECONDS: u64 = 2 * 86_400;
/// A clock that is led by less than this is followed within a run.
const FOLLOWED: WallSpan = WallSpan::from_secs(2);

#[derive(Clone, Debug)]
enum Step {
    Play(u64),
    Begin(usize),
    End(usize),
    /// The clock is set by so many milliseconds.
    Set(i64),
    /// It says 1970, and soon the right time again.
    Unset(u64),
    /// A round of retention.
    Round,
    /// Killed or cut, and started again with a clock that was set by so much meanwhile.
    Die(Mode, u64, i64),
    Restart(i64),
}

fn by() -> impl Strategy<Value = i64> {
    let second = 1_000_i64;
    let size = prop_oneof![
        3 => 0..10 * second,
        2 => 10 * second..3_600 * second,
        2 => 3_600 * second..400 * 86_400 * second,
        1 => Just(5 * 365 * 86_400 * second),
    ];
    (size, any::<bool>()).prop_map(|(size, back)| if back { -size } else { size })
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Mode::Kill), Just(Mode::Least), Just(Mode::Prefix)];
    prop_oneof![
        6 => (300_u64..5_000).prop_map(Step::Play),
        1 => (0..CAMERAS).prop_map(Step::Begin),
        1 => (0..CAMERAS).prop_map(Step::End),
        5 => by().prop_map(Step::Set),
        1 => (0_u64..6_000).prop_map(Step::Unset),
        2 => Just(Step::Round),
        1 => (mode, any::<u64>(), by()).prop_map(|(m, seed, by)| Step::Die(m, seed, by)),
        1 => by().prop_map(Step::Restart),
    ]
}

/// The clock was set forward while a camera was sending.
struct Jump {
    /// The run it ended, and the one that was sent behind it.
    before: RunId,
    behind: Option<RunId>,
    from: WallTime,
    to: WallTime,
}

/// What is tracked beside the recorder.
struct Case {
    /// What this process believes of its clock.
    age: AgeHold,
    retention: Option<Arc<Retention>>,
    /// Jumps forward.
    jumps: Vec<Jump>,
    /// The latest time at which anything was recorded or missing.
    reached: WallTime,
}

impl Case {
    /// A process begins.
    fn watch(&mut self, site: &Site, before: Option<Believed>) {
        let life = site.life();
        self.age = AgeHold::new(site.clock.clone(), before);
        let parts = retention::Parts {
            store: life.store.clone(),
            volumes: Arc::clone(&life.volumes),
            clock: site.clock.clone(),
            age: self.age.clone(),
        };
        self.retention = Some(Retention::new(retention::Settings::default(), parts));
    }

    /// A round deletes nothing, whatever the clock says.
    async fn round(&self, site: &mut Site) {
        let before = look(site).await;
        let now = site.clock.now();
        let retention = self.retention.as_ref().unwrap();
        let done = drive(site, retention.round()).await.unwrap();
        assert_eq!(done.deleted, 0, "deleted for its age at {now}:{}", before.told);
    }
}

async fn look(site: &Site) -> Holdings {
    site.quiet().await;
    let holdings = audit_on(site, Course::Bent).await;
    for segment in holdings.segments.iter().filter(|s| s.opened.sequence == 0) {
        let row = &segment.opened;
        let path = std::path::Path::new(&row.volume).join(&row.path);
        let bytes = std::fs::read(path).unwrap();
        let scan = fmp4::scan(bytes.len() as u64, |at, buffer| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        });
        let identity = scan.unwrap().header.unwrap().identity;
        // A run that was split has a name of its own.
        if let Some(why) = site.whys.get(&row.run) {
            let said = GapReason::from_code(identity.previous_end);
            assert_eq!(said, Some(*why), "why {} begins:{}", row.path, holdings.told);
        }
    }
    holdings
}

/// What a puller does when its clock was set: see the module.
async fn set(site: &mut Site, case: &mut Case, by: WallSpan) {
    let before = site.clock.now();
    if by <= FOLLOWED && by >= WallSpan::ZERO - FOLLOWED {
        // Units are placed by a clock that is led and not set.
        return;
    }
    let _ = case.age.tick();
    site.clock.advance(by);
    let _ = case.age.tick();
    let sending = |c: usize| Some((c, site.sends(c)?));
    let sending: Vec<(usize, RunId)> = (0..CAMERAS).filter_map(sending).collect();
    let now = site.clock.now();
    sending.iter().for_each(|&(camera, _)| site.end(camera, GapReason::ClockJump));
    // The recorder sees that they ended, and cameras take a moment.
    site.play(200).await;
    for (camera, run) in sending {
        site.begin(camera, 10, GapReason::ClockJump);
        if before >= case.reached && by > WallSpan::ZERO {
            let behind = site.sends(camera);
            case.jumps.push(Jump { before: run, behind, from: before, to: now });
        }
    }
    case.reached = case.reached.max(site.clock.now());
}

async fn begin_again(site: &mut Site, case: &mut Case, index: &Index, by: i64, why: GapReason) {
    let believed = case.age.believed();
    // It holds on to the volumes.
    case.retention = None;
    site.clock.advance(WallSpan::from_millis(by));
    site.start(index).await;
    case.watch(site, believed);
    for camera in 0..CAMERAS {
        site.record(camera).await;
        site.begin(camera, 10, why);
    }
}

async fn carry_out(site: &mut Site, case: &mut Case, step: &Step) {
    match *step {
        Step::Play(ms) => {
            site.play(ms).await;
            // So that segments are complete, and may be deleted.
            site.sync().await;
        }
        Step::Begin(camera) => site.begin(camera, 10, GapReason::Disconnected),
        Step::End(camera) => site.end(camera, GapReason::Disconnected),
        Step::Set(by) => set(site, case, WallSpan::from_millis(by)).await,
        Step::Unset(ms) => {
            let right = site.clock.now();
            let to = WallTime::from_micros(20_000_000);
            set(site, case, to - right).await;
            site.play(ms).await;
            site.sync().await;
            let right = right + (site.clock.now() - to);
            set(site, case, right - site.clock.now()).await;
        }
        Step::Round => case.round(site).await,
        Step::Die(mode, seed, by) => {
            let wreck = site.die().await;
            let left = History::of(&wreck.journal).after_cut(mode, &mut Dice(seed));
            restore(&site.root(), &left);
            begin_again(site, case, &wreck.index, by, GapReason::Crash).await;
        }
        Step::Restart(by) => {
            let index = site.stop().await;
            begin_again(site, case, &index, by, GapReason::VedetteDown).await;
        }
    }
    case.reached = case.reached.max(site.clock.now());
}

async fn run(steps: Vec<Step>) {
    let mut site = Site::new().await;
    for mut camera in site.life().store.cameras().await.unwrap() {
        camera.retention =
            RetentionLimits { max_age_seconds: Some(AGE_SECONDS), ..RetentionLimits::default() };
        site.life().store.update_camera(&camera).await.unwrap();
    }
    let age = AgeHold::never(site.clock.clone());
    let mut case = Case { age, retention: None, jumps: Vec::new(), reached: EPOCH };
    case.watch(&site, None);
    for camera in 0..CAMERAS {
        site.record(camera).await;
        site.begin(camera, 10, GapReason::Starting);
    }
    for step in &steps {
        tracing::info!(at = %site.clock.now(), ?step);
        carry_out(&mut site, &mut case, step).await;
        look(&site).await;
    }
    case.round(&mut site).await;
    case.retention = None;
    let holdings = look(&site).await;
    for Jump { before, behind, from, to } in &case.jumps {
        // Unless nothing was recorded yet, or nothing behind it, or a crash took the end of it.
        let up_to_it = |end: WallTime| end <= *from + FOLLOWED && end >= *from - PICTURE;
        let row_of = |run: RunId| holdings.runs.iter().find(|r| r.id == run);
        let row = row_of(*before).filter(|r| r.end.is_some_and(up_to_it));
        let Some(row) = row.filter(|_| behind.and_then(row_of).is_some()) else { continue };
        let told = holdings.gaps.iter().any(|g| {
            g.stream == row.stream
                && g.reason == GapReason::ClockJump
                && g.start <= *from + FOLLOWED
                && g.end.is_none_or(|end| end >= *to)
        });
        assert!(told, "no clock_jump from {from} to {to}:{}", holdings.told);
    }
    let index = site.stop().await;
    site.start(&index).await;
    look(&site).await;
    site.die().await;
}

#[derive(Clone)]
struct Steps(Vec<Step>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

proptest! {
    #![proptest_config(cases(20, 1))]

    #[test]
    fn a_clock_that_is_set_begins_epochs_and_erases_nothing(
        steps in vec(step(), 1..10).prop_map(Steps),
    ) {
        on_paused_clock(|| run(steps.0));
    }
}

#[test]
fn a_clock_set_forward_and_back_before_anything_was_recorded_leaves_no_gap_for_it() {
    let steps = vec![Step::Play(300), Step::Set(2_001), Step::Set(-3_637_643), Step::Play(2_309)];
    on_paused_clock(|| run(steps.clone()));
}

#[test]
fn what_a_machine_recorded_first_by_a_clock_that_was_behind_is_not_old_because_the_clock_goes_on() {
    let days = |n: i64| n * 86_400_000;
    for steps in [
        vec![Step::Unset(3_000), Step::Play(3_000)],
        vec![Step::Set(-days(63)), Step::Play(300), Step::Restart(days(3))],
        vec![Step::Set(-days(63)), Step::Play(300), Step::Restart(days(63))],
        vec![Step::Set(-days(63)), Step::Play(300), Step::Die(Mode::Kill, 1, days(40))],
    ] {
        on_paused_clock(|| run(steps.clone()));
    }
}
