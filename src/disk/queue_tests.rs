//! Who gives way when the queue is full.

use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::{id::RunId, model::NewSegment, proto::time::WallTime};

const LIMIT: usize = 1_000;

fn queue() -> Queue {
    Queue::new(LIMIT, Arc::default())
}

fn append(segment: i64, bytes: usize) -> Command {
    let fragment = Fragment {
        offset: 0,
        payload: 0..bytes as u64,
        key: true,
        wall: WallTime::default(),
        end: WallTime::default(),
        tracks: Vec::new(),
    };
    let parts = vec![Bytes::from(vec![0; bytes])];
    Command::Append { segment: SegmentId(segment), parts, fragment: Arc::new(fragment) }
}

/// Each stream writes the segment of its own number.
fn put(queue: &Queue, stream: i64, bytes: usize) -> Result<(), Refused> {
    queue.submit(StreamId(stream), append(stream, bytes))
}

/// What the writer would find, in order: segment, and bytes or nothing for a shed.
fn drain(queue: &Queue) -> Vec<(i64, Option<usize>)> {
    queue.stop();
    let mut found = Vec::new();
    while let Some((command, ticket)) = queue.next() {
        match &command {
            Command::Append { segment, parts, .. } => {
                found.push((segment.0, Some(parts.iter().map(Bytes::len).sum())));
            }
            Command::Shed { segment } => found.push((segment.0, None)),
            _ => {}
        }
        queue.done(&ticket);
    }
    found
}

#[test]
fn who_has_most_waiting_gives_way_to_who_has_less() {
    let queue = queue();
    for _ in 0..9 {
        put(&queue, 1, 100).unwrap();
    }
    put(&queue, 2, 100).unwrap();
    put(&queue, 3, 150).unwrap();
    // The newest fragments of the first were taken out, and it is told so in their place.
    let mut expected = vec![(1, Some(100)); 7];
    expected.extend([(1, None), (2, Some(100)), (3, Some(150))]);
    assert_eq!(put(&queue, 1, 10), Err(Refused::Full), "behind a hole nothing is taken");
    assert_eq!(queue.counters.evicted.load(Relaxed), 2);
    assert_eq!(drain(&queue), expected);
}

#[test]
fn who_has_most_waiting_is_refused_itself() {
    let queue = queue();
    put(&queue, 1, 300).unwrap();
    put(&queue, 2, 600).unwrap();
    assert_eq!(put(&queue, 2, 150), Err(Refused::Full));
    put(&queue, 1, 100).unwrap();
    assert_eq!(drain(&queue).len(), 3, "nothing was taken out for it");
}

#[test]
fn a_segment_that_was_shed_ends_and_the_next_one_is_taken_again() {
    let queue = queue();
    put(&queue, 1, 900).unwrap();
    put(&queue, 2, 200).unwrap();
    assert_eq!(put(&queue, 1, 10), Err(Refused::Full));
    let close =
        Command::Close { segment: SegmentId(1), tail: Vec::new(), fragments: 0, now: false };
    queue.submit(StreamId(1), close).unwrap();
    queue.submit(StreamId(1), append(11, 100)).unwrap();
    assert_eq!(drain(&queue), [(1, None), (2, Some(200)), (11, Some(100))]);
}

#[test]
fn a_writer_that_is_dropped_no_longer_counts_as_assigned() {
    let (queue, counters) = (Arc::new(queue()), Arc::<VolumeCounters>::default());
    let row = NewSegment {
        id: SegmentId(1),
        stream: StreamId(1),
        run: RunId(1),
        epoch: 0,
        sequence: 0,
        start: WallTime::default(),
        volume: String::new(),
        path: String::new(),
        codecs: String::new(),
        tracks: Vec::new(),
    };
    let draft = Draft {
        row,
        camera: "door".parse().unwrap(),
        role: crate::id::Role::Main,
        tracks: Vec::new().into(),
        live_run: RunId(1),
        header: Bytes::new(),
    };
    let (completions, _) = mpsc::unbounded_channel();
    let writer = SegmentWriter::open(&queue, &counters, draft, completions).unwrap();
    assert_eq!(counters.assigned.load(Relaxed), 1);
    drop(writer);
    assert_eq!(counters.assigned.load(Relaxed), 0);
}

proptest! {
    /// Nobody reads: what is in the queue at the end is what fairness left there.
    #[test]
    fn the_bound_holds_and_a_stream_within_its_share_is_never_touched(
        pushes in prop::collection::vec((0_i64..6, 1_usize..200), 1..400),
    ) {
        let queue = queue();
        let share = LIMIT / 6;
        // What each would have waiting if it had never been refused.
        let mut asked = [0_usize; 6];
        for (stream, bytes) in pushes {
            let mine = &mut asked[usize::try_from(stream).unwrap()];
            *mine += bytes;
            let within = *mine <= share;
            let taken = put(&queue, stream, bytes);
            prop_assert!(!within || taken.is_ok(), "{stream} was within its share");
            prop_assert!(queue.bytes() <= LIMIT);
        }
        let left = drain(&queue);
        for stream in 0..6 {
            let bytes: usize =
                left.iter().filter(|(s, _)| *s == stream).filter_map(|(_, b)| *b).sum();
            let asked = asked[usize::try_from(stream).unwrap()];
            if asked <= share {
                prop_assert_eq!(bytes, asked);
            }
            // What was shed is behind all that was kept of that stream.
            let of: Vec<_> = left.iter().filter(|(s, _)| *s == stream).map(|(_, b)| *b).collect();
            let first_shed = of.iter().position(Option::is_none).unwrap_or(of.len());
            prop_assert!(of.iter().skip(first_shed).all(Option::is_none));
        }
        prop_assert_eq!(queue.bytes(), 0);
    }
}
