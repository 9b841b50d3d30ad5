//! Plans over made-up archives: what must hold for all of them, and the cases worth a name.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, option, prelude::*};

use super::*;

const NOW: WallTime = WallTime::from_micros(1_795_341_600_000_000);

fn ago(seconds: i64) -> WallTime {
    NOW - WallSpan::from_secs(seconds)
}

/// A segment in an archive.
#[derive(Clone, Debug)]
struct Seg {
    candidate: Candidate,
    volume: usize,
}

/// An archive that plans are carried out on.
#[derive(Clone, Debug)]
struct World {
    input: Input,
    /// By stream, in order.
    segments: Vec<Vec<Seg>>,
}

impl World {
    /// As a store would tell it: of each lane at most so many, beginning where `loaded` says more.
    fn view(&self, loaded: &BTreeMap<Want, usize>, page: usize) -> Input {
        let mut input = self.input.clone();
        for (s, stream) in input.streams.iter_mut().enumerate() {
            for v in 0..self.input.volumes.len() {
                let of_lane: Vec<_> =
                    self.segments[s].iter().filter(|seg| seg.volume == v).collect();
                if of_lane.is_empty() {
                    continue;
                }
                let lane = stream.lanes.len();
                let known = loaded.get(&Want { stream: s, lane }).copied().unwrap_or(0) * page;
                stream.lanes.push(Lane {
                    volume: Some(v),
                    bytes: of_lane.iter().map(|s| s.candidate.bytes).sum(),
                    oldest: of_lane.iter().take(known).map(|s| s.candidate).collect(),
                    more: known < of_lane.len(),
                });
            }
        }
        input
    }

    /// Plans with pages of so many, loading more for as long as the plan wants more.
    fn plan(&self, page: usize) -> Plan {
        let mut loaded = BTreeMap::new();
        for _ in 0..100_000 {
            let plan = plan(&self.view(&loaded, page));
            if plan.wants.is_empty() {
                return plan;
            }
            for want in plan.wants {
                *loaded.entry(want).or_insert(0) += 1;
            }
        }
        panic!("a plan never has enough");
    }

    fn carry_out(&mut self, plan: &Plan) {
        let gone: BTreeSet<_> = plan.picks().map(|p| p.id).collect();
        for seg in self.segments.iter().flatten().filter(|s| gone.contains(&s.candidate.id)) {
            if let Some((free, _)) = &mut self.input.volumes[seg.volume].space {
                *free += seg.candidate.bytes;
            }
        }
        for stream in &mut self.segments {
            stream.retain(|s| !gone.contains(&s.candidate.id));
        }
    }

    fn find(&self, id: SegmentId) -> (usize, &Seg) {
        let mut all =
            self.segments.iter().enumerate().flat_map(|(s, l)| l.iter().map(move |g| (s, g)));
        all.find(|(_, g)| g.candidate.id == id).expect("a plan only names what is there")
    }

    fn on(&self, volume: usize) -> impl Iterator<Item = &Seg> {
        self.segments.iter().flatten().filter(move |s| s.volume == volume)
    }

    fn state(&self, reason: Reason, scope: usize) -> LimitState {
        let scope = match reason {
            Reason::Age | Reason::StreamBytes => Scope::Stream(self.input.streams[scope].id),
            _ => Scope::Volume(self.input.volumes[scope].name.clone()),
        };
        let states = self.plan(1_000).limits;
        states.into_iter().find(|l| l.reason == reason && l.scope == scope).expect("a limit")
    }
}

fn stream(id: i64, limits: RetentionLimits) -> StreamInput {
    StreamInput {
        id: StreamId(id),
        limits,
        created: WallTime::from_micros(0),
        open_bytes: 0,
        largest: 0,
        epochs: Vec::new(),
        lanes: Vec::new(),
    }
}

fn volume(name: &str) -> VolumeInput {
    VolumeInput {
        name: name.into(),
        max_bytes: None,
        min_free: 100,
        space: Some((1_000, 10_000)),
        usable: true,
        full: false,
        reserve: 0,
        open_bytes: 0,
        freeing: 0,
    }
}

/// So many streams of so many segments of a minute, 10 bytes each, the last ending now, on one
/// volume with room.
fn world(streams: usize, segments: usize) -> World {
    let line = |s: usize| {
        let segment = move |n: usize| {
            let start = ago(60 * (segments - n) as i64) + WallSpan::from_micros(s as i64);
            let id = SegmentId((s * 1_000_000 + n) as i64);
            let end = start + WallSpan::from_secs(60);
            let candidate = Candidate { id, epoch: 0, start, end, bytes: 10, held: None };
            Seg { candidate, volume: 0 }
        };
        (0..segments).map(segment).collect()
    };
    World {
        input: Input {
            now: NOW,
            age_held: false,
            preview: false,
            volumes: vec![volume("/a")],
            streams: (0..streams).map(|s| stream(s as i64, RetentionLimits::default())).collect(),
        },
        segments: (0..streams).map(line).collect(),
    }
}

fn limits(max_age_seconds: Option<u64>, max_bytes: Option<u64>) -> RetentionLimits {
    RetentionLimits { max_age_seconds, max_bytes }
}

fn ids(plan: &Plan) -> Vec<i64> {
    plan.picks().map(|p| p.id.0).collect()
}

#[test]
fn without_limits_nothing_goes_while_the_volume_has_room() {
    let world = world(3, 50);
    let plan = world.plan(7);
    assert_eq!((plan.steps.len(), plan.more), (0, false));
    assert_eq!(world.state(Reason::FreeSpace, 0).state, State::Met);
}

#[test]
fn what_is_older_than_its_limit_goes_and_no_more() {
    let mut world = world(2, 10);
    world.input.streams[0].limits = limits(Some(5 * 60), None);
    let plan = world.plan(3);
    // The fifth ends exactly five minutes ago: as old as it may get.
    assert_eq!(ids(&plan), [0, 1, 2, 3, 4]);
    assert_eq!(world.state(Reason::Age, 0).state, State::Underway);
    world.carry_out(&plan);
    assert_eq!(world.state(Reason::Age, 0).state, State::Met);
    let next = world.state(Reason::Age, 0).next.unwrap();
    assert_eq!((next.id, next.due), (SegmentId(5), Some(NOW + WallSpan::from_secs(60))));
}

#[test]
fn a_clock_in_doubt_holds_age_but_not_size() {
    let mut world = world(2, 10);
    world.input.age_held = true;
    world.input.streams[0].limits = limits(Some(60), None);
    world.input.streams[1].limits = limits(Some(60), Some(50));
    let plan = world.plan(3);
    assert!(plan.picks().all(|p| p.stream == StreamId(1)));
    assert!(plan.steps.iter().all(|s| s.reason == Reason::StreamBytes));
    assert_eq!(plan.bytes(), 50);
    assert_eq!(world.state(Reason::Age, 0).state, State::Blocked(Blocked::Clock));
}

#[test]
fn a_nearly_full_volume_loses_the_oldest_of_all_its_streams() {
    let mut world = world(3, 10);
    world.input.volumes[0].space = Some((75, 10_000));
    let plan = world.plan(2);
    assert_eq!(ids(&plan), [0, 1_000_000, 2_000_000]);
    assert!(plan.steps.iter().all(|s| s.reason == Reason::FreeSpace));
    world.carry_out(&plan);
    assert_eq!(world.plan(2).steps, []);
}

#[test]
fn room_is_made_before_it_is_needed() {
    let mut world = world(1, 10);
    world.input.volumes[0].space = Some((110, 10_000));
    world.input.volumes[0].reserve = 40;
    // 100 to stay free, 40 for what is about to be written, 10 so as not to come back at once.
    assert_eq!(world.plan(9).bytes(), 40);
    world.input.volumes[0].freeing = 20;
    assert_eq!(world.plan(9).bytes(), 20, "what is being unlinked counts as free");
    world.input.volumes[0].max_bytes = Some(80);
    // 80 less an eighth of it, which is less than the reserve.
    assert_eq!(world.plan(9).bytes(), 40);
}

#[test]
fn an_age_limit_already_frees_what_the_volume_needs() {
    let mut world = world(2, 10);
    world.input.volumes[0].space = Some((75, 10_000));
    world.input.streams[1].limits = limits(Some(3 * 60), None);
    let plan = world.plan(4);
    assert!(plan.steps.iter().all(|s| s.reason == Reason::Age), "{plan:?}");
}

#[test]
fn locked_footage_stays_and_the_plan_says_that_it_is_why() {
    let mut world = world(1, 10);
    world.input.volumes[0].space = Some((1, 10_000));
    world.input.volumes[0].full = true;
    for seg in &mut world.segments[0][..8] {
        seg.candidate.held = Some(Held::Locked);
    }
    let plan = world.plan(3);
    assert_eq!(ids(&plan), [8, 9], "the oldest that is not locked goes first");
    world.carry_out(&plan);
    let state = world.state(Reason::FreeSpace, 0);
    assert_eq!((state.now, state.after, state.state), (21, 21, State::Blocked(Blocked::Locked)));
    world.input.volumes[0].space = Some((20, 10_000));
    let state = world.state(Reason::FreeSpace, 0).state;
    assert_eq!(state, State::Blocked(Blocked::OthersFiles), "80 of ours are not enough");
    world.input.volumes[0].space = Some((21, 10_000));
    for seg in &mut world.segments[0] {
        seg.candidate.held = None;
    }
    let plan = world.plan(3);
    assert_eq!(plan.bytes(), 80, "the lock is gone");
}

#[test]
fn what_is_being_read_goes_only_when_the_volume_is_full_and_nothing_else_is_left() {
    let mut world = world(1, 10);
    world.input.volumes[0].space = Some((61, 10_000));
    for seg in &mut world.segments[0][..8] {
        seg.candidate.held = Some(Held::Leased);
    }
    let plan = world.plan(3);
    assert_eq!(ids(&plan), [8, 9]);
    world.carry_out(&plan);
    assert_eq!(world.state(Reason::FreeSpace, 0).state, State::Blocked(Blocked::Leased));
    assert_eq!(world.plan(3).steps, []);
    world.input.volumes[0].full = true;
    let plan = world.plan(3);
    assert_eq!(ids(&plan), [0, 1], "and no more of it than has to");
    assert!(plan.picks().all(|p| p.breaks_lease));
}

#[test]
fn nothing_goes_in_vain() {
    let mut world = world(1, 10);
    world.input.volumes[0].full = true;
    // Others' files: all our footage would not make the room.
    world.input.volumes[0].space = Some((0, 10_000));
    assert_eq!(world.plan(3).steps, []);
    assert_eq!(world.state(Reason::FreeSpace, 0).state, State::Blocked(Blocked::OthersFiles));
    // A limit that no disk of this size can keep.
    world.input.volumes[0].min_free = 10_000;
    assert_eq!(world.plan(3).steps, []);
    assert_eq!(world.state(Reason::FreeSpace, 0).state, State::Blocked(Blocked::Unattainable));
}

#[test]
fn a_volume_that_is_away_loses_nothing_and_makes_others_lose_nothing() {
    let mut world = world(1, 10);
    world.input.volumes.push(volume("/b"));
    for seg in &mut world.segments[0][..8] {
        seg.volume = 1;
    }
    world.input.volumes[1].usable = false;
    world.input.volumes[1].space = Some((0, 10_000));
    world.input.volumes[1].max_bytes = Some(10);
    // 80 away and 20 here: what is here is within the limit.
    world.input.streams[0].limits = limits(Some(5 * 60), Some(50));
    assert_eq!(world.plan(3).steps, []);
    for (reason, scope) in [
        (Reason::Age, 0),
        (Reason::StreamBytes, 0),
        (Reason::VolumeBytes, 1),
        (Reason::FreeSpace, 1),
    ] {
        let state = world.state(reason, scope).state;
        assert_eq!(state, State::Blocked(Blocked::VolumeAway), "{reason:?}");
    }
}

#[test]
fn one_plan_is_bounded_and_says_that_more_is_to_come() {
    let mut world = world(2, 3_000);
    world.input.streams[0].limits = limits(Some(0), None);
    world.input.volumes[0].space = Some((95, 100_000));
    let plan = world.plan(500);
    assert!(plan.more);
    assert_eq!(plan.steps.iter().filter(|s| s.reason == Reason::Age).count(), 16);
    assert!(plan.steps.iter().all(|s| s.segments.len() <= super::limits::BATCH));
    let mut rounds = 0;
    loop {
        let plan = world.plan(500);
        world.carry_out(&plan);
        rounds += 1;
        if !plan.more {
            break;
        }
    }
    assert_eq!(rounds, 3);
    assert_eq!(world.plan(500).steps, []);
}

#[test]
fn what_is_full_is_seen_to_first() {
    let mut world = world(2, 10);
    world.input.volumes.push(volume("/b"));
    for seg in &mut world.segments[1] {
        seg.volume = 1;
    }
    world.input.streams[0].limits = limits(Some(0), None);
    world.input.volumes[1].full = true;
    world.input.volumes[1].space = Some((100, 10_000));
    let plan = world.plan(50);
    assert_eq!(plan.steps[0].reason, Reason::FreeSpace);
    assert_eq!(plan.steps[1].reason, Reason::Age);
}

#[test]
fn a_stream_that_only_records_cannot_be_brought_under_its_limit() {
    let mut world = world(1, 2);
    world.input.streams[0].limits = limits(None, Some(100));
    world.input.streams[0].open_bytes = 101;
    let plan = world.plan(50);
    assert_eq!(ids(&plan), [0, 1]);
    world.carry_out(&plan);
    let state = world.state(Reason::StreamBytes, 0).state;
    assert_eq!(state, State::Blocked(Blocked::Recording));
}

#[test]
fn an_earlier_epoch_goes_before_a_later_one_whatever_its_clock_said() {
    let mut world = world(2, 10);
    // Stream 0: five minutes an hour and more in the future, then the clock was set right.
    for (n, seg) in world.segments[0].iter_mut().enumerate() {
        if n < 5 {
            seg.candidate.start = NOW + WallSpan::from_secs(100_000 + 60 * n as i64);
            seg.candidate.end = seg.candidate.start + WallSpan::from_secs(60);
        } else {
            seg.candidate.epoch = 1;
        }
    }
    let began = world.segments[0][5].candidate.start;
    world.input.streams[0].epochs = vec![(1, began)];
    world.input.streams[0].limits = limits(Some(5 * 60), None);
    let plan = world.plan(2);
    assert_eq!(ids(&plan), [0, 1, 2, 3, 4], "they were recorded before minute five");
    world.input.streams[0].limits = limits(None, None);
    world.input.volumes[0].space = Some((1, 10_000));
    let plan = world.plan(2);
    let order: Vec<_> = plan.picks().map(|p| p.id.0).collect();
    // Reckoned as of minute five: after stream 1's first five, before stream 1's sixth.
    assert_eq!(order, [1_000_000, 1_000_001, 1_000_002, 1_000_003, 1_000_004, 0, 1, 2, 3, 4]);
}

fn held() -> impl Strategy<Value = Option<Held>> {
    prop_oneof![6 => Just(None), 1 => Just(Some(Held::Locked)), 1 => Just(Some(Held::Leased))]
}

prop_compose! {
    fn any_volume()(
        max_bytes in option::of(0_u64..3_000),
        min_free in 0_u64..2_000,
        free in 0_u64..3_000,
        reserve in 0_u64..200,
        open_bytes in 0_u64..100,
        freeing in prop_oneof![3 => Just(0_u64), 1 => 0_u64..300],
        usable in prop::bool::weighted(0.85),
        full in any::<bool>(),
        known in prop::bool::weighted(0.9),
    ) -> VolumeInput {
        VolumeInput {
            name: "/".into(), max_bytes, min_free, reserve, open_bytes, freeing, usable, full,
            space: known.then_some((free, 3_000)),
        }
    }
}

prop_compose! {
    fn any_world()(
        volumes in vec(any_volume(), 1..4),
        lines in vec((
            vec((0_u32..2, 0_i64..3, 1_u64..60, 0_usize..3, held()), 0..40),
            option::of(0_u64..3_000), option::of(0_u64..2_000), 0_u64..50, 0_i64..40,
        ), 0..6),
        age_held in prop::bool::weighted(0.2),
        preview in any::<bool>(),
    ) -> World {
        let mut volumes = volumes;
        for (n, volume) in volumes.iter_mut().enumerate() {
            volume.name = format!("/{n}").into();
        }
        let mut streams = Vec::new();
        let mut segments = Vec::new();
        for (s, (line, age, bytes, open_bytes, offset)) in lines.into_iter().enumerate() {
            let mut own = stream(s as i64, limits(age, bytes));
            own.open_bytes = open_bytes;
            own.largest = line.iter().map(|l| l.2).max().unwrap_or(0);
            let (mut at, mut epoch) = (ago(3_000 + offset), 0);
            let line: Vec<_> = line.into_iter().enumerate().map(|(n, (step, hole, bytes, volume, held))| {
                // Now and then the clock goes back by some minutes: a new epoch.
                if step == 1 && n % 7 == 6 {
                    epoch += 1;
                    at = at - WallSpan::from_secs(200);
                }
                let start = at + WallSpan::from_secs(hole * 20);
                at = start + WallSpan::from_secs(60);
                let id = SegmentId((s * 1_000 + n) as i64);
                let candidate = Candidate { id, epoch, start, end: at, bytes, held };
                Seg { candidate, volume: volume % volumes.len() }
            }).collect();
            streams.push(own);
            segments.push(line);
        }
        World { input: Input { now: NOW, age_held, preview, volumes, streams }, segments }
    }
}

/// Nothing is picked that must stay.
fn assert_allowed(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for step in &plan.steps {
        prop_assert!(!step.segments.is_empty() && step.segments.len() <= super::limits::BATCH);
        prop_assert_eq!(step.bytes, step.segments.iter().map(|s| s.bytes).sum::<u64>());
        for pick in &step.segments {
            let (stream, seg) = world.find(pick.id);
            prop_assert!(seen.insert(pick.id), "picked twice");
            prop_assert_eq!(seg.volume, step.volume);
            prop_assert_eq!(world.input.streams[stream].id, pick.stream);
            let volume = &world.input.volumes[seg.volume];
            prop_assert!(volume.usable, "on a volume that is away");
            prop_assert!(seg.candidate.held != Some(Held::Locked), "locked");
            let leased = seg.candidate.held == Some(Held::Leased);
            prop_assert_eq!(pick.breaks_lease, leased);
            prop_assert!(!leased || (volume.full && step.reason == Reason::FreeSpace));
            prop_assert!(!(world.input.age_held && step.reason == Reason::Age));
        }
    }
    Ok(())
}

/// Of what a limit may take, nothing stays that is older than what goes for it.
fn assert_oldest_first(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let gone: BTreeSet<_> = plan.picks().map(|p| p.id).collect();
    let stays = |seg: &&Seg| {
        let usable = world.input.volumes[seg.volume].usable;
        usable && seg.candidate.held.is_none() && !gone.contains(&seg.candidate.id)
    };
    for step in &plan.steps {
        for pick in step.segments.iter().filter(|p| !p.breaks_lease) {
            let (stream, seg) = world.find(pick.id);
            match step.reason {
                Reason::Age | Reason::StreamBytes => {
                    let mut left = world.segments[stream].iter().filter(stays);
                    prop_assert!(left.all(|s| s.candidate.key() > seg.candidate.key()));
                }
                Reason::VolumeBytes | Reason::FreeSpace => {
                    // Times never run back by more than an epoch's step, which is 200 s here: what
                    // they are reckoned as, `reckon.rs` tests.
                    let slack = WallSpan::from_secs(200 * 6);
                    let single = world.on(seg.volume).all(|s| s.candidate.epoch == 0);
                    let slack = if single { WallSpan::ZERO } else { slack };
                    for s in world.on(seg.volume).filter(stays) {
                        prop_assert!(s.candidate.start + slack >= seg.candidate.start);
                    }
                    let mut own = world.segments[stream]
                        .iter()
                        .filter(stays)
                        .filter(|s| s.volume == seg.volume);
                    prop_assert!(own.all(|s| s.candidate.key() > seg.candidate.key()));
                }
            }
        }
        let order = |ids: Vec<_>| ids.is_sorted();
        if step.reason == Reason::FreeSpace {
            let breaks: Vec<_> = step.segments.iter().map(|p| p.breaks_lease).collect();
            prop_assert!(order(breaks), "what is being read goes last");
        }
    }
    Ok(())
}

/// Carried out, each limit is kept, or it is said truly why not.
fn assert_kept_or_said(world: &World) -> Result<(), TestCaseError> {
    let plan = world.plan(1_000);
    for limit in &plan.limits {
        let of_scope = |seg: &&Seg, stream: usize| match &limit.scope {
            Scope::Stream(id) => world.input.streams[stream].id == *id,
            Scope::Volume(name) => world.input.volumes[seg.volume].name == *name,
        };
        let all =
            world.segments.iter().enumerate().flat_map(|(s, l)| l.iter().map(move |g| (s, g)));
        let scope: Vec<_> = all.filter(|(s, g)| of_scope(g, *s)).map(|(_, g)| g).collect();
        let usable: Vec<_> =
            scope.iter().filter(|g| world.input.volumes[g.volume].usable).collect();
        let free = usable.iter().filter(|g| g.candidate.held.is_none()).count();
        let due = |g: &Seg| match limit.reason {
            Reason::Age => (NOW - g.candidate.end).as_micros() >= limit.limit as i64,
            _ => true,
        };
        let within = match limit.reason {
            Reason::Age => true,
            Reason::StreamBytes | Reason::VolumeBytes => limit.now <= limit.limit,
            Reason::FreeSpace => {
                let volume = world
                    .input
                    .volumes
                    .iter()
                    .find(|v| Scope::Volume(v.name.clone()) == limit.scope)
                    .unwrap();
                limit.now + volume.freeing > limit.limit
            }
        };
        match limit.state {
            State::Underway => prop_assert!(false, "nothing is left to do: {:?}", limit),
            State::Met => {
                prop_assert!(within, "{:?}", limit);
                if limit.reason == Reason::Age {
                    // Reckoned times are never earlier than told ones.
                    prop_assert!(
                        scope.iter().filter(|g| g.candidate.epoch == 0).all(|g| !due(g)),
                        "{:?}",
                        limit
                    );
                }
            }
            State::Blocked(Blocked::Clock) => prop_assert!(world.input.age_held),
            State::Blocked(Blocked::Locked | Blocked::Leased | Blocked::Recording) => {
                if limit.reason == Reason::Age {
                    prop_assert!(usable.iter().any(|g| g.candidate.held.is_some() && due(g)));
                } else {
                    prop_assert!(!within && free == 0, "{:?}", limit);
                }
            }
            State::Blocked(Blocked::VolumeAway) => {
                let away = world.input.volumes.iter().any(|v| !v.usable);
                prop_assert!(away);
            }
            State::Blocked(Blocked::OthersFiles) => {
                let ours: u64 = scope.iter().map(|g| g.candidate.bytes).sum();
                prop_assert!(!within && (free == 0 || limit.now + ours <= limit.limit));
            }
            State::Blocked(Blocked::Unattainable) => prop_assert!(limit.limit >= 3_000 || !within),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn only_what_may_go_goes_and_the_oldest_first(world in any_world(), page in 1_usize..9) {
        let plan = world.plan(page);
        assert_allowed(&world, &plan)?;
        assert_oldest_first(&world, &plan)?;
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do_and_keeps_each_limit_or_says_why(
        world in any_world(), page in 1_usize..9,
    ) {
        let mut world = world;
        // Where the clock went back, what is left may turn out older once what came before it is
        // gone: that takes a round an epoch.
        let epochs = world.segments.iter().flatten().map(|s| s.candidate.epoch).max();
        for _ in 0..=epochs.unwrap_or(0) {
            let plan = world.plan(page);
            world.carry_out(&plan);
        }
        let again = world.plan(page);
        prop_assert_eq!(&again.steps, &[]);
        assert_kept_or_said(&world)?;
    }

    #[test]
    fn it_makes_no_difference_how_candidates_are_paged(world in any_world(), page in 1_usize..9) {
        let (paged, whole) = (world.plan(page), world.plan(1_000));
        prop_assert_eq!(paged.steps, whole.steps);
    }

    #[test]
    fn no_more_goes_than_has_to(world in any_world()) {
        let plan = world.plan(1_000);
        // Without the last of what goes for a volume, the volume's limit would not be kept with
        // its reserve.
        for (at, volume) in world.input.volumes.iter().enumerate() {
            let picks = plan.steps.iter().filter(|s| s.volume == at && s.reason == Reason::FreeSpace);
            let picks: Vec<_> = picks.flat_map(|s| &s.segments).filter(|p| !p.breaks_lease).collect();
            let Some(last) = picks.last() else { continue };
            let all: u64 = plan.picks().filter(|p| world.find(p.id).1.volume == at && !p.breaks_lease).map(|p| p.bytes).sum();
            let (free, total) = volume.space.unwrap();
            let band = Band::above(volume.min_free, volume.reserve, total);
            prop_assert!(free + volume.freeing + all - last.bytes < band.goal);
        }
    }
}
