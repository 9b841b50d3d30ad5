//! Fast, slow and backwards in foreign players, by the numbers of the pictures they get.

use crate::{
    harness::Clip,
    harness::{FPS, GOP, Got, Said, assert_as_sent, assert_consecutive, gstreamer_with, live555},
    recorded::{Archive, archive},
};

/// Microseconds between the units that live555 shows.
fn steps(said: &Said) -> Vec<i64> {
    let times: Vec<_> = said
        .0
        .iter()
        .filter(|v| matches!(v["type"].as_i64(), Some(1 | 5)))
        .map(|v| v["pts_us"].as_i64().unwrap())
        .collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn numbers(units: &[Got]) -> Vec<i64> {
    units.iter().map(|unit| unit.number).collect()
}

#[test]
fn live555_plays_faster_backwards_and_at_normal_speed_again() {
    let archive = archive(Clip::H264Aac, 4);
    let said = live555(
        &archive.vedette,
        "door/recording",
        true,
        &[
            "units:40", "scale:2", "units:60", "scale:4", "units:80", "scale:1", "units:40",
            // In reverse a unit is a key frame: with its parameter sets and its number four NAL units.
            "seek:7.2", "units:40", "scale:-4", "units:16", "scale:-1", "units:8", "scale:1",
            "units:40",
        ],
    );
    let parts: Vec<Said> = (0..8)
        .map(|nth| {
            let part = said.after("playing", nth);
            if nth < 7 { part.before("playing", 1) } else { part }
        })
        .collect();
    let scales: Vec<_> =
        said.events("playing").iter().map(|v| v["scale"].as_f64().unwrap()).collect();
    assert_eq!(scales, [1.0, 2.0, 4.0, 1.0, 1.0, -4.0, -1.0, 1.0]);

    // Faster: every picture, without a hole at a change of speed, shown so much closer together.
    let forward: Vec<Got> = parts[..4].iter().flat_map(Said::live555_units).collect();
    assert_eq!(forward[0].number, archive.first);
    archive.check_units(&forward);
    for (part, step) in parts[..4].iter().zip([40_000, 20_000, 10_000, 40_000]) {
        let steps = steps(part);
        assert!(steps.iter().all(|s| (s - step).abs() <= 2_000), "{step} µs: {steps:?}");
    }

    // Backwards: key frames, each the one before the one before.
    let sought = parts[4].live555_units();
    assert_eq!(sought[0].number, archive.key_at(7.2));
    archive.check_units(&sought);
    let back: Vec<Got> = parts[5..7].iter().flat_map(Said::live555_units).collect();
    assert_as_sent(&back, &archive.camera.sent("door", "video"));
    let turn = sought.last().unwrap().number;
    assert_eq!(back[0].number, archive.first + (turn - archive.first) / GOP * GOP);
    assert!(back.windows(2).all(|w| w[1].number == w[0].number - GOP), "{:?}", numbers(&back));
    assert!(back.len() >= 5, "{:?}", numbers(&back));
    for (part, step) in parts[5..7].iter().zip([250_000, 1_000_000]) {
        let steps = steps(part);
        assert!(steps.iter().all(|s| (s - step).abs() <= 25_000), "{step} µs: {steps:?}");
    }

    // And on from the picture shown last.
    let again = parts[7].live555_units();
    assert_eq!(again[0].number, back.last().unwrap().number);
    archive.check_units(&again);
}

#[test]
fn gstreamer_plays_at_twice_the_speed() {
    let archive = archive(Clip::H264Aac, 4);
    let steps = ["units:20", "rate:2,3.5,", "units:80"];
    let said = gstreamer_with(&archive.vedette, "door/recording", &[], &steps);
    assert_eq!(said.events("rate")[0]["ok"], true);
    let fast = said.after("rate", 0).gstreamer_units();
    assert_eq!(fast.len(), 80);
    assert_eq!(fast[0].number, archive.key_at(3.5));
    archive.check_units(&fast);
}

/// GStreamer 1.22 throws the first picture after each PLAY of `onvif-mode` away, for it times its arrival by another clock
/// than the footage; backwards it then shows the rest of that group, which has no key frame, behind the next.
#[test]
fn gstreamer_replays_as_onvif_has_it_forwards_and_backwards() {
    let archive = archive(Clip::H264Aac, 4);
    for rate_control in ["no", "yes"] {
        let said = gstreamer_with(
            &archive.vedette,
            "door/recording",
            &["--onvif", rate_control],
            &["units:60", "rate:1,3.5,", "units:30", "rate:-1,0,6.5", "units:55"],
        );
        let is_at = |unit: &Got| {
            let filmed = (unit.number - archive.first) as f64 / FPS;
            assert!((unit.time - filmed).abs() < 0.01, "{unit:?} was filmed at {filmed}");
        };
        let beginning = said.before("rate", 0).gstreamer_units();
        assert_eq!(beginning[0].number, archive.first + 1);
        archive.check_units(&beginning);
        beginning.iter().for_each(is_at);

        let sought = said.after("rate", 0).before("rate", 1).gstreamer_units();
        assert_eq!(sought[0].number, archive.key_at(3.5) + 1);
        archive.check_units(&sought);

        let back = said.after("rate", 1).gstreamer_units();
        assert_as_sent(&back, &archive.camera.sent("door", "video"));
        back.iter().for_each(is_at);
        // Whole groups of pictures, the last one first, and of that what is up to 6.5 s.
        let (first, groups): (Vec<i64>, Vec<i64>) =
            numbers(&back).iter().map(|n| n - archive.first).partition(|n| *n >= 150);
        assert_eq!(first, (151..=162).collect::<Vec<_>>(), "rate control {rate_control}");
        let wanted = (0..6).rev().flat_map(|second| second * GOP..(second + 1) * GOP);
        assert_eq!(groups, wanted.take(43).collect::<Vec<_>>(), "rate control {rate_control}");
    }
}

impl Archive {
    fn check_units(&self, units: &[Got]) {
        assert_consecutive(units);
        assert_as_sent(units, &self.camera.sent("door", "video"));
    }
}
