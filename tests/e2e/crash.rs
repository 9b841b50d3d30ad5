//! `kill -9` of the real binary at random moments, with simulated cameras that write down what they send.
//!
//! After all rounds everything on disk is read back and compared with that list, unit by unit. `VEDETTE_KILL_ROUNDS` and
//! `VEDETTE_KILL_CAMERAS` make it longer (`make faults`: 100 rounds, 8 cameras); `VEDETTE_KILL_SEED` casts the same moments again.
//!
//! # What counts as lost
//!
//! All that a camera had sent until right before the kill and that is in no file, pictures and sound: also what was still on its way
//! through the socket, or waited for the recorder to look. A second of that is promised, and what waits for the writer comes on top,
//! which is a metric and is asked right before the kill.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use crate::{
    harness::{Vedette, eventually},
    simulated::{Cameras, FPS, SOUND, Segment, Sent, accounted, complaints, now_us, slug},
};

/// What a kill may take of each camera, besides what is queued for the writer.
const BOUND: f64 = 1.0;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

struct Kill {
    at_us: i64,
    /// All cameras were being recorded.
    recording: bool,
    /// How long what was queued for the writer takes to be written, seconds.
    queued: f64,
    /// What was on disk afterwards.
    files: BTreeSet<PathBuf>,
}

struct Loss {
    round: usize,
    camera: u64,
    seconds: f64,
}

fn until_recorded(vedette: &Vedette, cameras: u64) {
    eventually("all cameras to be recorded", || {
        let status = vedette.get("/status");
        let all = status["cameras"].as_array().unwrap();
        let recorded = all.iter().filter(|c| c["streams"][0]["recording"] == true).count();
        (recorded as u64 == cameras).then_some(())
    });
}

/// Seconds of media that were sent before the kill and come after the last unit on disk.
fn lost(sent: &[Sent], at_us: i64, end: usize, unit: f64) -> f64 {
    sent.partition_point(|s| s.at_us <= at_us).saturating_sub(end) as f64 * unit
}

#[test]
fn what_a_kill_takes_is_within_the_bound_and_the_rest_is_there_unit_by_unit() {
    let rounds = setting("VEDETTE_KILL_ROUNDS", 5);
    let cameras = setting("VEDETTE_KILL_CAMERAS", 3);
    let seed = setting("VEDETTE_KILL_SEED", now_us() as u64);
    println!("VEDETTE_KILL_SEED={seed}");
    let mut dice = seed;
    let mut up_to = |most: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % (most + 1)
    };

    let dir = tempfile::tempdir().unwrap();
    let simulated = Cameras::start(dir.path(), cameras);
    let mut vedette = Vedette::start(dir.path(), 2);
    for camera in 1..=cameras {
        vedette.add_camera(&slug(camera), &simulated.url(camera), "tcp");
    }
    let mut kills = Vec::new();
    for round in 0..rounds {
        // Now and then before anything is recorded.
        let recording = round == 0 || up_to(7) > 0;
        if recording {
            until_recorded(&vedette, cameras);
        }
        // A moment, not a wait for something.
        std::thread::sleep(Duration::from_millis(up_to(if recording { 2_500 } else { 400 })));
        let queued = vedette.metric("vedette_disk_queue_seconds", "");
        let at_us = now_us();
        vedette.kill();
        let files = (1..=cameras).flat_map(|c| vedette.files(&slug(c))).collect();
        kills.push(Kill { at_us, recording, queued, files });
        vedette.launch();
    }
    until_recorded(&vedette, cameras);
    for camera in 1..=cameras {
        accounted(&vedette, &slug(camera), &["starting", "crash"]);
    }
    let rows: Vec<BTreeSet<String>> = (1..=cameras)
        .map(|camera| {
            let segments = vedette.segments(&slug(camera));
            assert!(segments.len() < 1_000, "more than a page");
            segments.iter().map(|s| s["path"].as_str().unwrap().to_owned()).collect()
        })
        .collect();
    vedette.stop();
    let sent = simulated.sent();
    drop(simulated);

    let mut losses = Vec::new();
    let (mut units, mut segments) = (0, 0);
    let mut unplayable = Vec::new();
    for (camera, rows) in (1..=cameras).zip(rows) {
        let root = dir.path().join("footage");
        let files = vedette.files(&slug(camera));
        for row in &rows {
            assert!(files.contains(&root.join(row)), "{row} has a row and no file");
        }
        let of = |track: &str| &sent[&(camera, track.to_owned())][..];
        let sent = [of("video"), of("audio")];
        // The numbers after each file's last picture and sound. A run begins with the camera's newest key frame, which the run before
        // may hold too: within one run each unit is there once.
        let mut ends = BTreeMap::new();
        let mut held = BTreeSet::new();
        for file in &files {
            let segment = Segment::read(file);
            if segment.units.iter().all(Vec::is_empty) {
                // Killed between a file's first bytes and its first fragment: nobody's footage.
                let row = file.strip_prefix(&root).unwrap().to_str().unwrap();
                assert!(!rows.contains(row), "{row} has a row and no footage");
                continue;
            }
            assert!(segment.closed, "{} has no tail", file.display());
            let there = segment.among(sent, file);
            for (track, numbers) in there.iter().enumerate() {
                for number in numbers.clone() {
                    let first = held.insert((segment.run, track, number));
                    assert!(first, "unit {number} twice: {}", file.display());
                }
                units += numbers.len();
            }
            ends.insert(file.clone(), there.map(|numbers| numbers.end));
            segments += 1;
            let said = complaints(file);
            if !said.is_empty() {
                unplayable.push(format!("{}: {said}", file.display()));
            }
        }
        for (round, kill) in kills.iter().enumerate().filter(|(_, k)| k.recording) {
            let there = || ends.iter().filter(|(file, _)| kill.files.contains(*file));
            let end = |track: usize| there().map(|(_, end)| end[track]).max().unwrap();
            let pictures = lost(sent[0], kill.at_us, end(0), 1.0 / FPS as f64);
            let sounds = lost(sent[1], kill.at_us, end(1), SOUND.0 as f64 / SOUND.1 as f64);
            losses.push(Loss { round, camera, seconds: pictures.max(sounds) });
        }
    }

    println!("round  queued  lost by camera, seconds of media");
    for (round, kill) in kills.iter().enumerate() {
        let of_round = losses.iter().filter(|l| l.round == round);
        let lost: Vec<String> = of_round.map(|l| format!("{:.2}", l.seconds)).collect();
        let lost =
            if lost.is_empty() { "before anything was recorded".into() } else { lost.join(" ") };
        println!("{:5}  {:6.2}  {lost}", round + 1, kill.queued);
    }
    let mut sorted: Vec<f64> = losses.iter().map(|l| l.seconds).collect();
    sorted.sort_by(f64::total_cmp);
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    let most = sorted.last().unwrap();
    let p99 = sorted[(sorted.len() * 99).div_ceil(100) - 1];
    let queued = kills.iter().map(|k| k.queued).fold(0.0, f64::max);
    println!(
        "{rounds} kills, {cameras} cameras: {units} units in {segments} files read back, each as it was sent; {} files do not play; \
         lost at most {most:.2} s, p99 {p99:.2} s, mean {mean:.2} s; promised {BOUND:.2} s and what waits for the writer (at most {queued:.2} s)",
        unplayable.len(),
    );
    assert!(unplayable.is_empty(), "{unplayable:#?}");
    for Loss { round, camera, seconds } in losses {
        let queued = kills[round].queued;
        let what = || format!("kill {} took {seconds:.3} s of camera {camera}", round + 1);
        assert!(seconds <= BOUND + queued, "{}, {queued:.3} s waited for the writer", what());
    }
}
