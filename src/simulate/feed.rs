//! The one task that plays the clip for all cameras.
//!
//! Each camera has two counters, pictures and sound frames since the start; everything else is
//! arithmetic on them: which payload, which decoding time, and when it is due after the common
//! start. The cameras are spread over the picture interval, so that forty of them do not send in
//! the same millisecond, and over the clip, so that they do not show the same.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    clip::{AAC_RATE, AAC_SAMPLES, Clip, FPS, GOP},
    sent::SentLog,
    stream_id,
};
use crate::{
    clock::Clock,
    hub::{Channel, ClockSource, Event, Hub, Position, Publisher, Run, Subscription},
    id::{RunId, StreamId},
    proto::{
        access_unit::{AccessUnit, TrackIndex},
        reason::GapReason,
        time::{MediaTime, WallSpan, WallTime},
    },
};

const MICROS: u64 = 1_000_000;
/// Groups of pictures kept for whoever reads: a camera does not pass over pictures because a machine
/// that simulates many of them is busy.
const KEPT: usize = 4;
/// RTP ticks between two pictures.
const PICTURE_TICKS: u64 = 90_000 / FPS;

pub(super) struct Feed {
    clip: Clip,
    clock: Clock,
    cameras: Vec<Camera>,
    sent: Option<SentLog>,
}

struct Camera {
    stream: StreamId,
    channel: Arc<Channel>,
    /// After the common start, µs.
    phase: u64,
    /// Where in the clip it began, groups of pictures.
    first_gop: u64,
    pictures: u64,
    sounds: u64,
    kept: Kept,
}

/// What the ring is held to keep: from so many key frames ago on.
struct Kept {
    reader: Subscription,
    keys: VecDeque<Position>,
}

impl Kept {
    fn new(channel: &Arc<Channel>) -> Self {
        Self { reader: channel.subscribe_to_record(), keys: VecDeque::new() }
    }

    /// A key frame was published.
    fn key(&mut self, channel: &Channel) {
        let mut newest = None;
        while let Ok(Some(event)) = self.reader.try_next() {
            if let Event::Unit { position, .. } = event {
                newest = Some(position);
            }
        }
        self.keys.extend(newest);
        if self.keys.len() > KEPT
            && let Some(old) = self.keys.pop_front()
        {
            // Up to right before it.
            channel.mark_readable(Position(old.0.saturating_sub(1)));
        }
    }
}

impl Feed {
    pub(super) fn new(
        clip: Clip,
        hub: &Hub,
        cameras: u16,
        clock: Clock,
        sent: Option<SentLog>,
    ) -> Self {
        let interval = MICROS / FPS;
        let camera = |n| {
            let channel = hub.channel(stream_id(n));
            Camera {
                stream: stream_id(n),
                kept: Kept::new(&channel),
                channel,
                phase: u64::from(n - 1) * interval / u64::from(cameras),
                first_gop: u64::from(n - 1) % clip.gops(),
                pictures: 0,
                sounds: 0,
            }
        };
        let cameras = (1..=cameras).map(camera).collect();
        Self { clip, clock, cameras, sent }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let start = Instant::now();
        let wall = self.clock.now();
        let mut publishers = Vec::with_capacity(self.cameras.len());
        let mut due = BinaryHeap::with_capacity(self.cameras.len());
        for (i, camera) in self.cameras.iter().enumerate() {
            let started = wall + micros(camera.phase);
            let Some(publisher) = self.begin(camera, started) else { continue };
            due.push(Reverse((camera.phase, i, publishers.len())));
            publishers.push(publisher);
        }
        while let Some(&Reverse((at, _, _))) = due.peek() {
            let now = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            if at > now {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep_until(start + Duration::from_micros(at)) => {}
                }
            } else if stop.is_cancelled() {
                break;
            }
            let Some(Reverse((_, camera, publisher))) = due.pop() else { break };
            let (Some(state), Some(out)) =
                (self.cameras.get_mut(camera), publishers.get_mut(publisher))
            else {
                break;
            };
            let started = wall + micros(state.phase);
            if let Some(unit) = state.next(&self.clip, started) {
                if let Some(sent) = &mut self.sent {
                    let video = unit.track == TrackIndex(0);
                    let place = state.place(video, unit.number);
                    sent.note(camera + 1, video, unit.number, place, self.clock.now());
                }
                let key = unit.random_access && unit.track == TrackIndex(0);
                out.push(unit);
                if key {
                    state.kept.key(&state.channel);
                }
            }
            due.push(Reverse((state.phase + state.due(), camera, publisher)));
        }
        for publisher in publishers {
            publisher.end(GapReason::VedetteDown);
        }
    }

    fn begin(&self, camera: &Camera, started: WallTime) -> Option<Publisher> {
        let run = Run {
            id: RunId::generate(&self.clock),
            stream: camera.stream,
            epoch: 0,
            started,
            clock_source: ClockSource::Arrival,
            previous_end: GapReason::Starting,
            tracks: Arc::clone(&self.clip.tracks),
        };
        camera.channel.publish(run).ok()
    }
}

impl Camera {
    /// When the next picture and sound are due after this camera's own start, µs.
    fn times(&self) -> (u64, u64) {
        (self.pictures * MICROS / FPS, self.sounds * AAC_SAMPLES * MICROS / AAC_RATE)
    }

    fn due(&self) -> u64 {
        let (picture, sound) = self.times();
        picture.min(sound)
    }

    /// Where in the clip a unit comes from.
    fn place(&self, video: bool, number: u64) -> u64 {
        let picture = self.first_gop * GOP;
        // The sound frame nearest to where the picture began; exact at the clip's start.
        let first = if video { picture } else { picture * AAC_RATE / (FPS * AAC_SAMPLES) };
        first + number
    }

    /// The unit that is due. The picture goes first, so that the run begins with a key frame.
    fn next(&mut self, clip: &Clip, started: WallTime) -> Option<AccessUnit> {
        let (picture, sound) = self.times();
        if picture <= sound {
            let number = self.pictures;
            self.pictures += 1;
            let key = number.is_multiple_of(GOP);
            let body = looped(&clip.video, self.place(true, number))?;
            return Some(AccessUnit {
                track: TrackIndex(0),
                number,
                dts: ticks(number * PICTURE_TICKS),
                cts: 0,
                wall: started + micros(picture),
                random_access: key,
                head: if key { clip.head.clone() } else { bytes::Bytes::new() },
                body: body.clone(),
            });
        }
        let number = self.sounds;
        self.sounds += 1;
        Some(AccessUnit {
            track: TrackIndex(1),
            number,
            dts: ticks(number * AAC_SAMPLES),
            cts: 0,
            wall: started + micros(sound),
            random_access: true,
            head: bytes::Bytes::new(),
            body: looped(&clip.audio, self.place(false, number))?.clone(),
        })
    }
}

fn looped(units: &[bytes::Bytes], index: u64) -> Option<&bytes::Bytes> {
    usize::try_from(index % units.len().max(1) as u64).ok().and_then(|i| units.get(i))
}

fn micros(us: u64) -> WallSpan {
    WallSpan::from_micros(i64::try_from(us).unwrap_or(i64::MAX))
}

fn ticks(ticks: u64) -> MediaTime {
    MediaTime::from_ticks(i64::try_from(ticks).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Limits, Start};

    /// What a camera sends in `seconds`, on a paused clock.
    async fn sent(cameras: u16, of: u16, seconds: u64) -> Vec<Arc<AccessUnit>> {
        let hub = Hub::new(Limits { per_stream: 1 << 30, total: 1 << 30 });
        let clock = Clock::manual(WallTime::from_micros(1_795_341_600_000_000));
        let feed = Feed::new(Clip::load(None).unwrap(), &hub, cameras, clock, None);
        let mut reader = hub.channel(stream_id(of)).subscribe(Start::Oldest);
        let stop = CancellationToken::new();
        let end = Duration::from_micros(seconds * MICROS - 1_000);
        let collect = async {
            let mut units = Vec::new();
            let all = async {
                while let Some(event) = reader.next().await {
                    if let Event::Unit { unit, .. } = event {
                        units.push(unit);
                    }
                }
            };
            let _ = tokio::time::timeout(end, all).await;
            stop.cancel();
            units
        };
        tokio::join!(feed.run(stop.clone()), collect).1
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_seconds_hold_every_picture_and_sound_in_order_across_the_loop() {
        let units = sent(3, 1, 20).await;
        let of = |track: u8| units.iter().filter(move |u| u.track.0 == track);
        assert_eq!(of(0).count(), 500);
        assert_eq!(of(1).count(), 938);
        for (i, unit) in of(0).enumerate() {
            assert_eq!((unit.number, unit.dts.ticks()), (i as u64, i as i64 * 3_600));
            assert_eq!(unit.random_access, i % 25 == 0);
            assert_eq!(unit.random_access, !unit.head.is_empty());
        }
        for (i, unit) in of(1).enumerate() {
            assert_eq!((unit.number, unit.dts.ticks()), (i as u64, i as i64 * 1_024));
        }
        let bodies: Vec<_> = of(0).map(|u| u.body.clone()).collect();
        assert_eq!(bodies[0], bodies[200], "the clip begins again");
        assert_ne!(bodies[0], bodies[25]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_player_that_is_three_groups_behind_misses_nothing() {
        let hub = Hub::new(Limits { per_stream: 1 << 30, total: 1 << 30 });
        let clock = Clock::manual(WallTime::from_micros(1_795_341_600_000_000));
        let feed = Feed::new(Clip::load(None).unwrap(), &hub, 1, clock, None);
        let stop = CancellationToken::new();
        let look = async {
            tokio::time::sleep(Duration::from_millis(10_500)).await;
            let mut late = hub.channel(stream_id(1)).subscribe(Start::Oldest);
            let first = late.try_next().unwrap();
            stop.cancel();
            first
        };
        let (_, first) = tokio::join!(feed.run(stop.clone()), look);
        let Some(Event::Unit { unit, .. }) = first else { panic!("{first:?}") };
        // A key frame each second, the newest at ten.
        assert!((100..=175).contains(&unit.number) && unit.track.0 == 0, "{unit:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn cameras_begin_at_different_places_of_the_clip_with_a_key_frame() {
        let (first, second) = (sent(2, 1, 1).await, sent(2, 2, 1).await);
        assert!(first[0].random_access && second[0].random_access);
        assert_ne!(first[0].body, second[0].body);
        assert_eq!((second[0].wall - first[0].wall).as_micros(), 20_000);
    }
}
