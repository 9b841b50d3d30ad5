//! Behind live on `/recording`: catching up, over the open segment into live, and pauses there. What
//! is played is what the real recorder writes.

use std::{collections::HashMap, future::Future};

use super::{client::Frame, trick::told, *};
use crate::playback::tests::{Bench as Footage, Camera, after, small, telephone};

/// 10 pictures a second.
const FILMED: f64 = 0.1;

/// A recorder with its camera, and a server of what it records.
struct Shift {
    footage: Footage,
    camera: Camera,
    server: Bench,
    at: f64,
}

async fn serve(footage: &Footage) -> Bench {
    let parts = Parts {
        hub: Arc::clone(&footage.hub),
        archive: Some(Arc::new(footage.archive.clone())),
        access: Access::open_to_all(),
        directory: Arc::new(Doors(footage.stream)),
        berths: crate::ingest::publish::Berths::default(),
        clock: footage.clock.clone(),
    };
    Bench::on(parts, None, |_| {}).await
}

impl Shift {
    /// So many seconds are on record, and it goes on.
    async fn new(seconds: f64) -> Self {
        let mut footage = Footage::new().await;
        footage.record(60.0).await;
        let camera = footage.camera(0.0);
        let server = serve(&footage).await;
        let mut shift = Self { footage, camera, server, at: 0.0 };
        shift.film(seconds).await;
        shift
    }

    /// Films so many seconds more at once; they are on disk, but for the last group.
    async fn film(&mut self, seconds: f64) {
        let until = self.at + seconds;
        while self.at < until {
            // The hub holds some minutes.
            self.goes_on((until - self.at).min(100.0));
            self.footage.on_disk(self.at - 2.0).await;
        }
        // So much at once is in the index later than it is on disk, and a seek goes by the index.
        let segments = ((self.at - 2.0) / 60.0).ceil() as usize;
        while self.footage.segments().await.len() < segments {
            tokio::task::yield_now().await;
        }
    }

    fn goes_on(&mut self, seconds: f64) {
        self.at += seconds;
        self.camera.film(self.at);
        self.footage.clock.set(after(self.at));
    }

    /// Films on, a picture at a time, while `what` is done.
    async fn while_filming<T>(&mut self, every: Duration, what: impl Future<Output = T>) -> T {
        tokio::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                () = tokio::time::sleep(every) => self.goes_on(FILMED),
            }
        }
    }

    async fn stop(mut self) {
        self.server.stop().await;
        self.footage.stop().await;
    }

    /// Numbers of units by what they end in.
    fn known(&self) -> HashMap<[u8; 8], (TrackIndex, u64)> {
        let tail = |unit: &AccessUnit| unit.body[unit.body.len() - 8..].try_into().unwrap();
        let sent = &self.camera.sent;
        sent.iter().map(|((_, track, number), unit)| (tail(unit), (*track, *number))).collect()
    }
}

/// What a client got: when, RTP time and the last bytes of each unit of each channel.
#[derive(Default)]
struct Got(HashMap<u8, Vec<(Instant, u32, [u8; 8])>>);

impl Got {
    fn take(&mut self, frame: Frame) {
        if let Frame::Rtp { at, channel, packet } = frame
            && packet.header.marker
        {
            let tail = packet.payload[packet.payload.len() - 8..].try_into().unwrap();
            self.0.entry(channel).or_default().push((at, packet.header.timestamp, tail));
        }
    }

    fn pictures(&self) -> usize {
        self.0.get(&0).map_or(0, Vec::len)
    }

    fn numbers(&self, channel: u8, shift: &Shift) -> Vec<u64> {
        let known = shift.known();
        let units = self.0.get(&channel).into_iter().flatten();
        units.map(|(_, _, tail)| known[tail].1).collect()
    }

    /// Up to so many pictures.
    async fn read(&mut self, client: &mut Client, pictures: usize) {
        while self.pictures() < pictures {
            self.take(client.frame().await.expect("goes on"));
        }
    }

    #[track_caller]
    fn assert_whole(&self, shift: &Shift, first: u64) {
        let pictures = self.numbers(0, shift);
        let count = u64::try_from(pictures.len()).unwrap();
        assert_eq!(pictures, (first..first + count).collect::<Vec<_>>());
    }
}

fn has_sound_without_a_hole(got: &Got, shift: &Shift) {
    let sounds = got.numbers(2, shift);
    assert!(sounds.len() > 50 && sounds.windows(2).all(|w| w[1] == w[0] + 1), "{sounds:?}");
}

#[tokio::test]
async fn ten_minutes_behind_it_catches_up_and_goes_on_into_live_with_no_unit_lost_or_doubled() {
    let mut shift = Shift::new(600.0).await;
    let mut client = shift.server.client().await;
    let base = client.set_up(&shift.server.url("/door/recording")).await;
    client.play_with(&base, "Range: npt=0-\nRate-Control: no").await;
    let mut got = Got::default();
    // Over two rotations.
    shift.while_filming(Duration::from_millis(3), got.read(&mut client, 7_300)).await;
    got.assert_whole(&shift, 0);
    has_sound_without_a_hole(&got, &shift);
    shift.stop().await;
}

#[tokio::test]
async fn who_plays_faster_comes_to_what_is_filmed_and_goes_on_as_fast_as_that() {
    for (manner, behind) in [("Scale: 8\nSpeed: 10", 240.0), ("Speed: 10", 25.0)] {
        let mut shift = Shift::new(300.0).await;
        let mut client = shift.server.client().await;
        let base = client.set_up(&shift.server.url("/door/recording")).await;
        let begin = 300.0 - behind;
        let lines = format!("Range: npt={}-\n{manner}", begin + 0.5);
        client.play_with(&base, &lines).await;
        let mut got = Got::default();
        // Live for two seconds at least: it is there in three.
        let pictures = (behind as usize + 5) * 10;
        shift.while_filming(Duration::from_millis(100), got.read(&mut client, pictures)).await;
        got.assert_whole(&shift, (begin * 10.0) as u64);
        // A player shows one second a second again.
        let pictures = &got.0[&0];
        for pair in pictures[pictures.len() - 10..].windows(2) {
            let ticks = pair[1].1.wrapping_sub(pair[0].1);
            assert!(ticks.abs_diff(9_000) <= 90, "{manner}: {ticks}");
        }
        shift.stop().await;
    }
}

#[tokio::test]
async fn key_frames_alone_become_all_pictures_at_the_live_edge() {
    let mut shift = Shift::new(120.0).await;
    let mut client = shift.server.client().await;
    let base = client.set_up(&shift.server.url("/door/recording")).await;
    client.play_with(&base, "Range: npt=10-\nScale: 32\nSpeed: 4").await;
    let mut got = Got::default();
    let whole = async {
        let mut pictures = 0;
        // The first second of normal speed.
        let step = |got: &Got| {
            let all = &got.0[&0];
            let [.., a, b] = &all[..] else { return 0 };
            b.1.wrapping_sub(a.1)
        };
        while pictures < 15 {
            got.read(&mut client, got.pictures() + 1).await;
            pictures = if step(&got).abs_diff(9_000) <= 90 { pictures + 1 } else { 0 };
        }
    };
    shift.while_filming(Duration::from_millis(100), whole).await;
    let numbers = got.numbers(0, &shift);
    let broken = numbers.windows(2).rposition(|w| w[1] != w[0] + 1).expect("key frames alone");
    let (keys, all) = numbers.split_at(broken + 1);
    assert!(all[0].is_multiple_of(10) && all.len() >= 15, "{all:?}");
    assert!(keys.len() < 150 && keys.is_sorted(), "{keys:?}");
    shift.stop().await;
}

#[tokio::test]
async fn a_pause_of_an_hour_goes_on_at_the_very_unit_and_on_into_live() {
    let mut shift = Shift::new(100.0).await;
    let mut client = shift.server.client().await;
    let base = client.set_up(&shift.server.url("/door/recording")).await;
    client.play_with(&base, "Range: npt=0-\nRate-Control: no").await;
    let mut got = Got::default();
    shift.while_filming(Duration::from_millis(3), got.read(&mut client, 1_030)).await;
    client.ask(&format!("PAUSE {base}")).await;
    for frame in client.drain().await {
        got.take(frame);
    }
    // More than the hub holds, and an hour on every clock.
    shift.film(700.0).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_600)).await;
    tokio::time::resume();
    let before = got.pictures();
    let answer = client.play_with(&base, "").await;
    let paused = before as f64 * FILMED;
    assert!(told(&answer, "Range").starts_with(&format!("npt={paused:.3}-")), "{answer:?}");
    shift.while_filming(Duration::from_millis(3), got.read(&mut client, before + 7_500)).await;
    got.assert_whole(&shift, 0);
    has_sound_without_a_hole(&got, &shift);
    shift.stop().await;
}

#[tokio::test]
async fn another_codec_ends_the_range_and_begins_one_of_its_own() {
    let mut footage = Footage::new().await;
    footage.record(60.0).await;
    let mut camera = footage.camera(0.0);
    footage.film(&mut camera, 6.0).await;
    camera.publisher.end(GapReason::Reconfigured);
    let mut camera = footage.camera_with(10.0, 0, Arc::from([small(), telephone()]));
    footage.film(&mut camera, 4.0).await;
    camera.publisher.end(GapReason::Reconfigured);
    footage.stop().await;
    let server = serve(&footage).await;
    for (start, codec, other, pictures) in [
        ("", "mpeg4-generic/16000", "PCMA", 60),
        ("?start=20261122T100008Z", "PCMA/16000", "mpeg4-generic", 40),
    ] {
        let mut client = server.client().await;
        let url = server.url(&format!("/door/recording{start}"));
        let sdp = client.ask(&format!("DESCRIBE {url}")).await.body;
        let sdp = String::from_utf8(sdp.to_vec()).unwrap();
        assert!(sdp.contains(codec) && !sdp.contains(other), "{sdp}");
        let range = sdp.lines().find_map(|l| l.strip_prefix("a=range:npt=0.000-")).unwrap();
        let length: f64 = range.parse().unwrap();
        assert!((length - f64::from(pictures) * FILMED).abs() < 0.1, "{sdp}");
        let base = client.set_up(&url).await;
        client.play_with(&base, "Range: npt=0-\nRate-Control: no").await;
        let (mut shown, mut byes) = (0, 0);
        while byes < 2 {
            match client.frame().await.unwrap() {
                Frame::Rtcp { received, .. } => byes += received.byes.len(),
                Frame::Rtp { channel: 0, packet, .. } if packet.header.marker => shown += 1,
                Frame::Rtp { .. } => {}
            }
        }
        assert_eq!(shown, pictures);
    }
    server.stop().await;
}
