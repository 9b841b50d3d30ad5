//! The hub as its readers see it.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{
    id::{RunId, StreamId},
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex},
        codec::{Parameters, g711},
        time::{MediaTime, Timescale, WallTime},
    },
};

const STREAM: StreamId = StreamId(1);

fn run(id: i64) -> Run {
    let parameters =
        Parameters::G711(g711::Parameters { law: g711::Law::Mu, sample_rate: 8_000, channels: 1 });
    let timescale = Timescale::new(8_000).unwrap();
    Run {
        id: RunId(id),
        stream: STREAM,
        epoch: 0,
        started: WallTime::from_micros(0),
        clock_source: ClockSource::Arrival,
        previous_end: GapReason::Starting,
        tracks: Arc::new([Track { timescale, parameters }]),
    }
}

fn unit(number: u64, key: bool, size: usize) -> AccessUnit {
    AccessUnit {
        track: TrackIndex(0),
        number,
        dts: MediaTime::from_ticks(number as i64),
        cts: 0,
        wall: WallTime::from_micros(number as i64),
        random_access: key,
        head: Bytes::new(),
        body: Bytes::from(vec![0; size]),
    }
}

/// Numbers of the units that can be read now; lags and ends as negative numbers.
fn drain(reader: &mut Subscription) -> Vec<i64> {
    std::iter::from_fn(|| reader.try_next().ok().flatten())
        .map(|event| match event {
            Event::Unit { unit, .. } => unit.number as i64,
            Event::Ended { .. } => -1,
            Event::Lagged { units } => -1_000 - units as i64,
        })
        .collect()
}

fn hub(per_stream: usize, total: usize) -> Hub {
    Hub::new(Limits { per_stream, total })
}

#[test]
fn a_new_player_starts_at_the_newest_key_frame() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut publisher = channel.publish(run(1)).unwrap();
    for n in 0..200 {
        publisher.push(unit(n, n % 70 == 0, 10));
    }
    let mut player = channel.subscribe(Start::KeyFrame);
    assert_eq!(drain(&mut player), (140..200).collect::<Vec<_>>());
}

#[test]
fn a_player_that_comes_right_before_a_key_frame_gets_the_rest_of_the_group_too() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut publisher = channel.publish(run(1)).unwrap();
    for n in 0..200 {
        publisher.push(unit(n, n % 100 == 0, 10));
    }
    let mut player = channel.subscribe(Start::KeyFrame);
    // While it sends the first, the next group begins.
    for n in 200..210 {
        publisher.push(unit(n, n % 100 == 0, 10));
    }
    assert_eq!(drain(&mut player), (100..210).collect::<Vec<_>>());
    for n in 210..300 {
        publisher.push(unit(n, false, 10));
    }
    let kept = drain(&mut channel.subscribe(Start::Oldest));
    assert_eq!(kept, (200..300).collect::<Vec<_>>(), "then the group before it goes");
}

#[test]
fn a_player_that_comes_before_the_first_key_frame_waits_for_it() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut publisher = channel.publish(run(1)).unwrap();
    publisher.push(unit(0, false, 10));
    let mut player = channel.subscribe(Start::KeyFrame);
    publisher.push(unit(1, false, 10));
    assert!(drain(&mut player).is_empty());
    publisher.push(unit(2, true, 10));
    publisher.push(unit(3, false, 10));
    assert_eq!(drain(&mut player), [2, 3]);
}

#[test]
fn what_cannot_be_read_from_disk_yet_stays_in_the_ring() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut publisher = channel.publish(run(1)).unwrap();
    publisher.push(unit(0, true, 10));
    channel.mark_readable(Position(0));
    for n in 1..500 {
        publisher.push(unit(n, n % 10 == 0, 10));
    }
    let mut reader = channel.subscribe(Start::Oldest);
    assert_eq!(
        drain(&mut reader),
        (1..500).collect::<Vec<_>>(),
        "from the first unit that is not on disk"
    );
    channel.mark_readable(Position(498));
    let kept = drain(&mut channel.subscribe(Start::Oldest));
    assert!(
        kept.len() < 100 && kept.contains(&490),
        "the newest group stays, the rest goes: {kept:?}"
    );
}

#[test]
fn a_recorder_that_has_written_nothing_yet_misses_nothing() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut recorder = channel.subscribe_to_record();
    let mut publisher = channel.publish(run(1)).unwrap();
    for n in 0..500 {
        publisher.push(unit(n, n % 10 == 0, 10));
    }
    assert_eq!(drain(&mut recorder), (0..500).collect::<Vec<_>>());
}

#[test]
fn a_recorder_after_another_begins_behind_what_that_has_recorded() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut publisher = channel.publish(run(1)).unwrap();
    let _first = channel.subscribe_to_record();
    for n in 0..30 {
        publisher.push(unit(n, n % 10 == 0, 10));
    }
    channel.mark_readable(Position(19));
    // It died: what it left unwritten is still there.
    assert_eq!(drain(&mut channel.subscribe_to_record()), (20..30).collect::<Vec<_>>());
    channel.mark_readable(Position(24));
    channel.forget_readable();
    assert_eq!(drain(&mut channel.subscribe_to_record()), (25..30).collect::<Vec<_>>());

    // It was stopped with the camera: the next one has no business with that run.
    publisher.end(GapReason::Reconfigured);
    channel.forget_readable();
    let mut next = channel.subscribe_to_record();
    let mut publisher = channel.publish(run(2)).unwrap();
    publisher.push(unit(0, true, 10));
    assert_eq!(drain(&mut next), [0]);
}

#[test]
fn a_slow_reader_is_told_what_it_missed_and_goes_on_at_a_key_frame() {
    let hub = hub(1_000, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut publisher = channel.publish(run(1)).unwrap();
    let mut reader = channel.subscribe(Start::Next);
    for n in 0..100 {
        publisher.push(unit(n, n % 5 == 0, 100));
    }
    let seen = drain(&mut reader);
    assert_eq!(seen[0], -1_000 - 90, "ten units fit the ring, ninety are gone: {seen:?}");
    assert_eq!(seen[1..], (90..100).collect::<Vec<_>>());
}

#[test]
fn the_bytes_of_all_streams_are_counted_and_bounded() {
    let hub = hub(10_000, 4_000);
    let channels: Vec<_> = (0..4).map(|n| hub.channel(StreamId(n))).collect();
    let mut publishers: Vec<_> = channels.iter().map(|c| c.publish(run(1)).unwrap()).collect();
    for n in 0..100 {
        for publisher in &mut publishers {
            publisher.push(unit(n, n % 50 == 0, 100));
        }
    }
    assert!(hub.bytes() <= 8_000, "{} bytes", hub.bytes());
    drop(publishers);
    drop(channels);
    for n in 0..4 {
        hub.remove(StreamId(n));
    }
    assert_eq!(hub.bytes(), 0);
}

#[test]
fn a_stream_has_one_publisher_at_a_time() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let first = channel.publish(run(1)).unwrap();
    assert!(channel.publish(run(2)).is_err());
    first.end(GapReason::Stalled);
    assert!(channel.publish(run(2)).is_ok());
}

#[test]
fn a_publisher_that_dies_ends_its_run() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut reader = channel.subscribe(Start::Next);
    drop(channel.publish(run(7)).unwrap());
    let event = reader.try_next().unwrap();
    let Some(Event::Ended { run, reason }) = event else { panic!("{event:?}") };
    assert_eq!((run, reason), (RunId(7), GapReason::Internal));
    assert!(channel.current().is_none());
}

#[tokio::test]
async fn a_waiting_reader_wakes_when_a_unit_comes_and_when_the_stream_goes() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut reader = channel.subscribe(Start::Next);
    let mut publisher = channel.publish(run(1)).unwrap();
    let (event, ()) = tokio::join!(reader.next(), async { publisher.push(unit(0, true, 1)) });
    assert!(matches!(event, Some(Event::Unit { .. })));
    let (event, ()) = tokio::join!(reader.next(), async { hub.remove(STREAM) });
    assert!(event.is_none(), "{event:?}");
}

#[tokio::test]
async fn whoever_waits_for_a_run_gets_it() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let (found, publisher) =
        tokio::join!(channel.wait_for_run(), async { channel.publish(run(3)).unwrap() });
    assert_eq!(found.id, RunId(3));
    drop(publisher);
}

#[test]
fn new_parameters_show_as_another_run_value_of_the_same_id() {
    let hub = hub(1 << 20, 1 << 30);
    let channel = hub.channel(STREAM);
    let mut reader = channel.subscribe(Start::Next);
    let mut publisher = channel.publish(run(1)).unwrap();
    publisher.push(unit(0, true, 1));
    let tracks = Arc::clone(&publisher.run().tracks);
    publisher.set_tracks(tracks);
    publisher.push(unit(1, true, 1));
    let runs: Vec<_> = std::iter::from_fn(|| reader.try_next().ok().flatten())
        .filter_map(|e| if let Event::Unit { run, .. } = e { Some(run) } else { None })
        .collect();
    assert!(!Arc::ptr_eq(&runs[0], &runs[1]));
    assert_eq!(runs[0].id, runs[1].id);
}

#[test]
fn who_reads_or_waits_for_a_run_is_a_viewer_and_the_recorder_is_none() {
    let channel = hub(1_000, 1_000).channel(STREAM);
    let viewers = channel.viewers();
    let count = || *viewers.borrow();
    let _recorder = channel.subscribe_to_record();
    assert_eq!(count(), 0);
    let (one, two) = (channel.subscribe(Start::KeyFrame), channel.subscribe(Start::Oldest));
    assert_eq!(count(), 2);
    drop(one);
    {
        let mut waits = Box::pin(channel.wait_for_run());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        assert_eq!(count(), 2, "a DESCRIBE that waits");
    }
    assert_eq!(count(), 1);
    drop(two);
    assert_eq!(count(), 0);
}

/// Units a second apart, every third of them a key frame.
fn seconds(publisher: &mut Publisher, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let wall = WallTime::from_micros(number as i64 * 1_000_000);
        publisher.push(AccessUnit { wall, ..unit(number, number % 3 == 0, 10) });
    }
}

fn second(s: i64) -> Option<WallTime> {
    Some(WallTime::from_micros(s * 1_000_000))
}

#[test]
fn a_recorder_that_comes_later_begins_with_the_key_frame_at_or_before_the_moment() {
    let channel = hub(100_000, 100_000).channel(STREAM);
    let mut publisher = channel.publish(run(1)).unwrap();
    channel.keep(Some(WallSpan::from_secs(20)));
    seconds(&mut publisher, 0..32);
    assert_eq!(channel.key_frame(second(25).unwrap()), second(24));
    assert_eq!(channel.key_frame(second(34).unwrap()), None, "nothing came for so long");
    let mut recorder = channel.subscribe_to_record_from(second(25));
    assert_eq!(drain(&mut recorder), (24..32).collect::<Vec<_>>());
    // It ends, and the next one wants what is recorded already.
    channel.mark_readable(Position(28));
    channel.forget_readable();
    assert_eq!(channel.key_frame(second(25).unwrap()), second(30));
    let mut next = channel.subscribe_to_record_from(second(25));
    assert_eq!(drain(&mut next), [30, 31]);
    // One that died is gone on from, whatever was wanted once.
    let mut after = channel.subscribe_to_record_from(second(31));
    assert_eq!(drain(&mut after), [29, 30, 31]);
}

#[test]
fn what_is_kept_for_events_is_bounded_by_its_age_and_by_bytes() {
    let channel = hub(1_000, 100_000).channel(STREAM);
    let mut publisher = channel.publish(run(1)).unwrap();
    seconds(&mut publisher, 0..300);
    let oldest = |channel: &Arc<Channel>| drain(&mut channel.subscribe(Start::Oldest))[0];
    // The ring's own tail is 64 units.
    channel.keep(Some(WallSpan::from_secs(80)));
    seconds(&mut publisher, 300..600);
    assert_eq!(oldest(&channel), 519, "the key frame at or before 80 s ago");
    channel.keep(Some(WallSpan::from_secs(500)));
    seconds(&mut publisher, 600..900);
    assert_eq!(oldest(&channel), 801, "the first key frame among 100 units of 10 bytes");
    channel.keep(None);
    assert_eq!(oldest(&channel), 836);
    // What is left of a camera that is gone is not taken for what surrounds an event hours later.
    publisher.end(GapReason::Disconnected);
    assert_eq!(channel.key_frame(second(7_000).unwrap()), None);
    assert_eq!(channel.key_frame(second(899).unwrap()), second(897));
}
