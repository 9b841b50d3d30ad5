use super::*;
use crate::{
    model::{Coverage, Gap, WallRange},
    proto::reason::GapReason,
};
use proptest::prelude::*;

fn gap(stream: StreamId, start: i64, reason: GapReason) -> Gap {
    Gap { stream, start: after(start), end: None, reason }
}

async fn runs(fixture: &Fixture, stream: StreamId, range: WallRange) -> Vec<i64> {
    let found = fixture.store.runs_overlapping(stream, range, 100).await.unwrap();
    found.into_iter().map(|run| run.id.0).collect()
}

#[tokio::test]
async fn a_run_that_began_long_before_the_range_is_found() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    for (id, start, end) in [(1, 0, 10), (2, 10, 1_000_000), (3, 1_000_010, 1_000_020)] {
        fixture.run(stream, id, after(start)).await;
        fixture.store.close_run(RunId(id), after(end)).await.unwrap();
    }
    fixture.run(stream, 4, after(2_000_000)).await;
    assert_eq!(runs(&fixture, stream, after(900_000)..after(900_001)).await, [2]);
    assert_eq!(runs(&fixture, stream, after(10)..after(2_000_001)).await, [2, 3, 4]);
    assert_eq!(runs(&fixture, stream, after(9_000_000)..after(9_000_001)).await, [4]);
    assert_eq!(runs(&fixture, stream, after(1_000_000)..after(1_000_010)).await, [0; 0]);
    assert_eq!(runs(&fixture, stream, after(5)..after(5)).await, [0; 0]);
    let all = fixture.store.runs(stream).await.unwrap();
    assert_eq!(all.iter().map(|run| run.id.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(fixture.store.open_runs().await.unwrap(), all[3..]);
    let first = fixture.store.runs_overlapping(stream, TEN..after(3_000_000), 2).await.unwrap();
    assert_eq!(first, all[..2]);
}

#[tokio::test]
async fn runs_of_two_epochs_over_the_same_time_are_both_found() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    // The clock steps back by 100 s at 200, twice.
    for (id, epoch, start, end) in [(1, 0, 0, 200), (2, 1, 100, 200), (3, 2, 100, 300)] {
        let run = RunRow { id: RunId(id), stream, epoch, start: after(start), end: None };
        fixture.store.open_run(run.clone()).await.unwrap();
        fixture.store.open_run(run).await.unwrap();
        fixture.store.close_run(RunId(id), after(end)).await.unwrap();
    }
    assert_eq!(runs(&fixture, stream, after(150)..after(151)).await, [1, 2, 3]);
    assert_eq!(runs(&fixture, stream, after(250)..after(251)).await, [3]);
    let coverage = fixture.store.coverage(stream, TEN..after(1_000)).await.unwrap();
    assert_eq!(coverage.recorded, WallSpan::from_secs(300), "counted once");
    assert_eq!(fixture.store.runs(stream).await.unwrap()[2].epoch, 2);
}

#[tokio::test]
async fn an_ended_run_stays_as_it_is_and_an_empty_one_goes() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    fixture.run(stream, 1, TEN).await;
    store.close_run(RunId(1), after(10)).await.unwrap();
    store.close_run(RunId(1), after(99)).await.unwrap();
    store.close_run(RunId(404), after(99)).await.unwrap();
    assert_eq!(store.runs(stream).await.unwrap()[0].end, Some(after(10)));

    fixture.run(stream, 2, after(20)).await;
    store.close_run(RunId(2), after(20)).await.unwrap();
    assert_eq!(store.runs(stream).await.unwrap().len(), 1);

    let run = fixture.run(stream, 3, after(30)).await;
    store.open_segment(segment(stream, run, 1, after(30))).await.unwrap();
    store.close_run(run, after(5)).await.unwrap();
    assert_eq!(store.runs(stream).await.unwrap()[1].end, Some(after(30)), "it has a segment");
}

#[tokio::test]
async fn a_gap_that_lasts_keeps_its_first_reason() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    store.open_gap(gap(stream, 0, GapReason::Stalled)).await.unwrap();
    store.open_gap(gap(stream, 5, GapReason::Unreachable)).await.unwrap();
    let lasting = store.open_gap_of(stream).await.unwrap();
    assert_eq!(lasting, Some(gap(stream, 0, GapReason::Stalled)));
    store.close_gap(stream, after(20)).await.unwrap();
    store.close_gap(stream, after(30)).await.unwrap();
    assert_eq!(store.open_gap_of(stream).await.unwrap(), None);
    let ended = Gap { end: Some(after(20)), ..gap(stream, 0, GapReason::Stalled) };
    let found = store.gaps_overlapping(stream, after(19)..after(500), 10).await.unwrap();
    assert_eq!(found, [ended]);
    let beside = store.gaps_overlapping(stream, after(20)..after(500), 10).await.unwrap();
    assert_eq!(beside, []);
}

#[tokio::test]
async fn a_gap_that_lasts_turns_only_from_the_reasons_named_and_leaves_no_second_out() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let of_ours = GapReason::is_of_the_recorder;
    let turn = |at, reason| store.turn_gap(stream, after(at), reason, of_ours);
    assert_eq!(turn(5, GapReason::Unreachable).await.unwrap(), None, "no gap lasts");

    store.open_gap(gap(stream, 10, GapReason::VedetteDown)).await.unwrap();
    assert_eq!(turn(15, GapReason::Unreachable).await.unwrap(), Some(GapReason::Unreachable));
    // The camera's own word stands, and it is no gap's business when footage has begun.
    assert_eq!(turn(18, GapReason::Refused).await.unwrap(), Some(GapReason::Unreachable));
    store.close_gap(stream, after(20)).await.unwrap();
    assert_eq!(turn(22, GapReason::Refused).await.unwrap(), None);
    let until = |end, gap| Gap { end: Some(after(end)), ..gap };
    let found = store.gaps_overlapping(stream, after(0)..after(99), 10).await.unwrap();
    assert_eq!(
        found,
        [
            until(15, gap(stream, 10, GapReason::VedetteDown)),
            until(20, gap(stream, 15, GapReason::Unreachable)),
        ]
    );

    // One that begins later than the failure has been of the camera's making all along.
    store.open_gap(gap(stream, 30, GapReason::Starting)).await.unwrap();
    turn(29, GapReason::Unauthorized).await.unwrap();
    let lasting = store.open_gap_of(stream).await.unwrap();
    assert_eq!(lasting, Some(gap(stream, 30, GapReason::Unauthorized)));
}

#[tokio::test]
async fn a_gap_of_no_length_vanishes() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    for end in [0, -10] {
        store.open_gap(gap(stream, 0, GapReason::ClockJump)).await.unwrap();
        store.close_gap(stream, after(end)).await.unwrap();
        let none = Gap { end: Some(after(end)), ..gap(stream, 0, GapReason::ClockJump) };
        store.open_gap(none).await.unwrap();
    }
    let found = store.gaps_overlapping(stream, after(-99)..after(99), 10).await.unwrap();
    assert_eq!(found, []);
    assert_eq!(store.open_gap_of(stream).await.unwrap(), None);
}

#[tokio::test]
async fn gaps_before_and_after_a_step_back_of_the_clock_are_both_found() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    let mut ended = gap(stream, 100, GapReason::Crash);
    ended.end = Some(after(110));
    store.open_gap(ended).await.unwrap();
    // A longer one around it, recorded after the clock stepped back.
    store.open_gap(gap(stream, 50, GapReason::Stalled)).await.unwrap();
    store.close_gap(stream, after(200)).await.unwrap();
    let found = store.gaps_overlapping(stream, after(150)..after(160), 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].reason, GapReason::Stalled);
    let both = store.gaps_overlapping(stream, after(105)..after(106), 10).await.unwrap();
    assert_eq!(both.len(), 2);
}

#[tokio::test]
async fn coverage_of_a_stream_nobody_knows_is_nothing() {
    let fixture = Fixture::new().await;
    let coverage = fixture.store.coverage(StreamId(404), TEN..after(60)).await.unwrap();
    assert_eq!(coverage, Coverage::default());
    let backwards = WallRange { start: after(60), end: TEN };
    assert_eq!(
        fixture.store.coverage(StreamId(404), backwards).await.unwrap(),
        Coverage::default()
    );
}

/// What a recorder may do next; times pass between.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Footage begins: the gap ends.
    Begin,
    /// Footage ends: a gap begins.
    Lose(GapReason),
    /// A new run follows the old one at once.
    Cut,
    /// The reason changes while the gap lasts: the first one stays.
    Again(GapReason),
}

fn step() -> impl Strategy<Value = Step> {
    let reason = prop::sample::select(GapReason::ALL);
    prop_oneof![
        Just(Step::Begin),
        reason.clone().prop_map(Step::Lose),
        Just(Step::Cut),
        reason.prop_map(Step::Again),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens, every microsecond since the start is either recorded or missing for a
    /// reason, and the range queries agree with a scan of everything.
    #[test]
    fn recorded_and_gaps_add_up_to_what_has_passed(
        steps in prop::collection::vec((step(), 0_i64..50), 1..25),
        from in 0_i64..600,
        length in 1_i64..600,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            let store = &fixture.store;
            let stream = fixture.stream().await;
            let mut now = 0;
            let mut next = 0;
            let mut running = None;
            store.open_gap(gap(stream, 0, GapReason::Starting)).await.unwrap();
            for (step, passes) in steps {
                now += passes;
                match (step, running) {
                    (Step::Begin, None) => {
                        store.close_gap(stream, after(now)).await.unwrap();
                        next += 1;
                        running = Some(fixture.run(stream, next, after(now)).await);
                    }
                    (Step::Lose(reason), Some(run)) => {
                        store.close_run(run, after(now)).await.unwrap();
                        store.open_gap(gap(stream, now, reason)).await.unwrap();
                        running = None;
                    }
                    (Step::Cut, Some(run)) => {
                        store.close_run(run, after(now)).await.unwrap();
                        next += 1;
                        running = Some(fixture.run(stream, next, after(now)).await);
                    }
                    (Step::Again(reason), None) => {
                        store.open_gap(gap(stream, now, reason)).await.unwrap();
                    }
                    _ => {}
                }
            }
            let range = after(from)..after(from + length);
            let coverage = store.coverage(stream, range.clone()).await.unwrap();
            let missing: i64 = coverage.gaps.values().map(|span| span.as_micros()).sum();
            assert_eq!(
                WallSpan::from_micros(coverage.recorded.as_micros() + missing),
                WallSpan::from_secs(length)
            );

            let all = store.runs(stream).await.unwrap();
            let overlapping: Vec<_> = all
                .into_iter()
                .filter(|run| run.start < range.end && run.end.is_none_or(|end| end > range.start))
                .filter(|run| run.end != Some(run.start))
                .collect();
            assert_eq!(store.runs_overlapping(stream, range, 100).await.unwrap(), overlapping);
            store.close().await;
        });
    }
}

#[tokio::test]
async fn footage_that_begins_ends_the_gap_and_a_gap_begins_where_it_ends() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    store.open_gap(gap(stream, 0, GapReason::Starting)).await.unwrap();
    let run =
        |id, start| RunRow { id: RunId(id), stream, epoch: 0, start: after(start), end: None };
    for _ in 0..2 {
        let first = segment(stream, RunId(1), 1, after(10));
        store.begin_run(run(1, 10), first).await.unwrap();
    }
    assert_eq!(store.open_gap_of(stream).await.unwrap(), None);
    for _ in 0..2 {
        let stalled = gap(stream, 30, GapReason::Stalled);
        store.end_run(RunId(1), after(30), stalled).await.unwrap();
    }
    // Said again much later: the gap that lasts now is another's business.
    store.begin_run(run(1, 10), segment(stream, RunId(1), 1, after(10))).await.unwrap();
    let found = store.gaps_overlapping(stream, after(0)..after(99), 9).await.unwrap();
    let starting = Gap { end: Some(after(10)), ..gap(stream, 0, GapReason::Starting) };
    assert_eq!(found, [starting, gap(stream, 30, GapReason::Stalled)]);
    let coverage = store.coverage(stream, after(0)..after(40)).await.unwrap();
    assert_eq!(coverage.recorded, WallSpan::from_secs(20));

    // Nothing of it happens when a part of it cannot.
    let stranger = segment(StreamId(404), RunId(2), 2, after(40));
    assert!(store.begin_run(run(2, 40), stranger).await.is_err());
    assert_eq!(store.runs(stream).await.unwrap().len(), 1);
    assert!(store.open_gap_of(stream).await.unwrap().is_some());
    // A run whose row was lost: the gap begins where it is said to.
    store.close_gap(stream, after(50)).await.unwrap();
    let crash = gap(stream, 60, GapReason::Crash);
    store.end_run(RunId(404), after(60), crash).await.unwrap();
    assert_eq!(store.open_gap_of(stream).await.unwrap(), Some(crash));
}
