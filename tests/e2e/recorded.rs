//! Recorded footage in foreign players: length, seek, pause, end, gaps, the live edge.

use std::process::Command;

use crate::harness::{
    Camera, Clip, FPS, GOP, Got, Vedette, Watching, assert_as_sent, assert_consecutive,
    assert_times_as_sent, eventually, gstreamer, live555, read_file, run,
};

/// A recorder with so many closed segments of 2 s, and the number of the first unit on record.
pub(crate) struct Archive {
    _dir: tempfile::TempDir,
    pub(crate) camera: Camera,
    pub(crate) vedette: Vedette,
    pub(crate) first: i64,
}

pub(crate) fn archive(clip: Clip, segments: usize) -> Archive {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", clip)]);
    let vedette = Vedette::start(dir.path(), 2);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    vedette.wait_for_segments("door", segments);
    let (units, _) = read_file(&vedette.files("door")[0], matches!(clip, Clip::H265));
    Archive { _dir: dir, camera, vedette, first: units[0].number }
}

impl Archive {
    /// The key frame at or before `npt`, as a unit number.
    pub(crate) fn key_at(&self, npt: f64) -> i64 {
        let wanted = (npt * FPS + 1e-6) as i64;
        self.first + wanted.div_euclid(GOP) * GOP
    }

    fn check(&self, units: &[Got]) {
        assert_consecutive(units);
        let sent = self.camera.sent("door", "video");
        assert_as_sent(units, &sent);
        assert_times_as_sent(units, &sent, 0.003);
    }
}

#[test]
fn live555_sees_the_length_and_lands_where_it_is_put() {
    let archive = archive(Clip::H264Aac, 5);
    for tcp in [true, false] {
        // Forward across a rotation, back, into the middle of a group of pictures, into the open segment.
        let seeks = [1.0, 7.5, 3.98, 0.0, 9.3];
        let mut steps = vec!["units:40".to_owned()];
        for npt in seeks {
            steps.extend([format!("seek:{npt}"), "units:60".to_owned()]);
        }
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let said = live555(&archive.vedette, "door/recording", tcp, &steps);
        let described = said.events("described")[0];
        assert!(
            described["end"].as_f64().unwrap() >= 10.0,
            "a seek bar of all that is recorded: {described}"
        );

        let beginning = said.before("playing", 1).live555_units();
        assert_eq!(beginning[0].number, archive.first);
        archive.check(&beginning);
        for (nth, npt) in seeks.iter().enumerate() {
            let playing = said.after("playing", nth + 1);
            let units =
                if nth + 1 < seeks.len() { playing.before("playing", 1) } else { playing.clone() }
                    .live555_units();
            assert_eq!(units[0].number, archive.key_at(*npt), "seek to {npt}, over TCP: {tcp}");
            let landed = (units[0].number - archive.first) as f64 / FPS;
            // live555 works it out from the sender reports, and on a busy machine not to the millisecond: a quarter of a picture.
            assert!(
                (units[0].time - landed).abs() < 0.010,
                "shown as {:.3}, is {landed:.3}",
                units[0].time
            );
            let start = playing.0[0]["start"].as_f64().unwrap();
            assert!((start - landed).abs() < 0.003, "Range says {start:.3}, is {landed:.3}");
            archive.check(&units);
        }
    }
}

#[test]
fn live555_lands_on_the_wall_clock_time_it_asks_for() {
    let archive = archive(Clip::H264Aac, 4);
    let start = archive.vedette.segments("door")[0]["start"].as_str().unwrap().to_owned();
    let start: chrono::DateTime<chrono::Utc> = start.parse().unwrap();
    let wanted = start + chrono::Duration::milliseconds(5_300);
    let step = format!("clock:{}", wanted.format("%Y%m%dT%H%M%S%.3fZ"));
    let said = live555(&archive.vedette, "door/recording", true, &["units:20", &step, "units:60"]);
    let playing = said.after("playing", 1);
    let units = playing.live555_units();
    assert_eq!(units[0].number, archive.key_at(5.3));
    archive.check(&units);
    // Asked by the clock, answered by the clock: the true time of the first picture.
    let answered = playing.0[0]["clock"].as_str().unwrap();
    let answered =
        chrono::NaiveDateTime::parse_from_str(answered, "%Y%m%dT%H%M%S%.fZ").unwrap().and_utc();
    let true_start = start + chrono::Duration::milliseconds(5_000);
    assert!(
        (answered - true_start).abs() < chrono::Duration::milliseconds(10),
        "{answered} for {true_start}"
    );
}

#[test]
fn live555_goes_on_at_the_very_unit_after_a_pause_in_the_middle_of_a_group() {
    let archive = archive(Clip::H264Aac, 4);
    let said = live555(
        &archive.vedette,
        "door/recording",
        true,
        &["units:70", "pause", "seconds:15", "resume", "units:70"],
    );
    let before = said.before("playing", 1).live555_units();
    let after = said.after("playing", 1).live555_units();
    let paused = before.last().unwrap().number;
    assert_ne!((paused + 1 - archive.first) % GOP, 0, "the pause is inside a group of pictures");
    assert_eq!(after[0].number, paused + 1);
    archive.check(&said.live555_units());
}

#[test]
fn a_clip_ends_with_bye_after_its_last_unit() {
    let archive = archive(Clip::H264Aac, 4);
    let segments = archive.vedette.segments("door");
    // The second and third segment exactly.
    let (start, end) =
        (segments[1]["start"].as_str().unwrap(), segments[2]["end"].as_str().unwrap());
    let path = format!("door/recording?start={start}&end={end}");
    let said = live555(&archive.vedette, &path, true, &["end"]);
    let units = said.live555_units();
    archive.check(&units);
    let (third, _) = read_file(&archive.vedette.files("door")[2], false);
    let (second, _) = read_file(&archive.vedette.files("door")[1], false);
    assert_eq!(units.first().unwrap().number, second[0].number);
    assert_eq!(units.last().unwrap().number, third.last().unwrap().number);
    let byes = said.events("bye");
    assert_eq!(byes.len(), 2, "one for each track: {byes:?}");
    let described = said.events("described")[0]["end"].as_f64().unwrap();
    assert!((described - (second.len() + third.len()) as f64 / FPS).abs() < 0.05, "{described}");
}

#[test]
fn recorded_footage_plays_on_into_live_with_no_unit_lost_or_doubled() {
    let archive = archive(Clip::BFrames, 3);
    // The last second on record, then on: far more units than are on disk.
    let said =
        live555(&archive.vedette, "door/recording", true, &["units:10", "seek:5.5", "units:300"]);
    let units = said.after("playing", 1).live555_units();
    assert_eq!(units[0].number, archive.key_at(5.5));
    assert_consecutive(&units);
    assert_as_sent(&units, &archive.camera.sent("door", "video"));
}

#[test]
fn playing_goes_over_a_gap_and_a_seek_to_it_lands_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 2);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    vedette.wait_for_segments("door", 2);
    camera.power_off();
    eventually("the run to end", || {
        vedette.timeline("door")["runs"][0]["end"].as_str().map(|_| ())
    });
    camera.power_on();
    let timeline = eventually("a second run", || {
        let timeline = vedette.timeline("door");
        (timeline["runs"].as_array()?.len() == 2).then_some(timeline)
    });
    let first_files = vedette.files("door").len();
    vedette.wait_for_segments("door", first_files + 1);

    let time = |v: &serde_json::Value| {
        v.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    };
    let run = &timeline["runs"][0];
    let first_run = (time(&run["end"]) - time(&run["start"])).as_seconds_f64();
    let seek = format!("seek:{:.3}", first_run - 0.5);
    let said = live555(&vedette, "door/recording", true, &["units:10", &seek, "units:120"]);
    let units = said.after("playing", 1).live555_units();
    let at = units
        .windows(2)
        .position(|w| w[1].number <= w[0].number)
        .expect("the second run begins again at a low number");
    let (old, new) = units.split_at(at + 1);
    assert_consecutive(old);
    assert_consecutive(new);
    let step = new[0].time - old.last().unwrap().time;
    assert!(
        (0.0..0.5).contains(&step),
        "the gap is closed up for npt: {step:.3} s between the runs"
    );

    // A clip that begins inside the gap begins with the footage behind it.
    let middle = time(&run["end"]) + (time(&timeline["runs"][1]["start"]) - time(&run["end"])) / 2;
    let path = format!(
        "door/recording?start={}",
        middle.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    );
    let said = live555(&vedette, &path, true, &["units:20"]);
    assert_eq!(said.live555_units()[0].number, new[0].number);
}

#[test]
fn gstreamer_plays_seeks_and_pauses() {
    let archive = archive(Clip::H264Aac, 4);
    for udp in [false, true] {
        let said = gstreamer(
            &archive.vedette,
            "door/recording",
            udp,
            &["units:20", "seek:5.2", "units:30", "pause:20"],
        );
        let done = said.events("done")[0];
        assert!(done["duration"].as_f64().unwrap() >= 8.0, "{done}");
        let beginning = said.before("seek", 0).gstreamer_units();
        assert_eq!(beginning[0].number, archive.first);
        assert_consecutive(&beginning);
        let sought = said.after("seek", 0).gstreamer_units();
        assert_eq!(sought[0].number, archive.key_at(5.2));
        assert_consecutive(&sought);
        assert_as_sent(&sought, &archive.camera.sent("door", "video"));
    }
}

#[test]
fn ffprobe_tells_the_length_and_ffmpeg_plays_from_where_it_is_told() {
    let archive = archive(Clip::H264Aac, 4);
    let url = archive.vedette.rtsp("door/recording");
    let probe = run(Command::new("ffprobe").args([
        "-v",
        "error",
        "-show_entries",
        "format=duration",
        "-of",
        "csv=p=0",
        &url,
    ]));
    let length: f64 = String::from_utf8(probe.stdout).unwrap().trim().parse().unwrap();
    assert!((8.0..60.0).contains(&length), "{length}");
    let clip = tempfile::tempdir().unwrap();
    let copy = clip.path().join("clip.mkv");
    run(Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-ss",
            "4.2",
            "-i",
            &url,
            "-t",
            "2",
            "-c",
            "copy",
        ])
        .arg(&copy));
    let (units, _) = read_file(&copy, false);
    assert_eq!(units[0].number, archive.key_at(4.2));
    assert_consecutive(&units);
}

#[test]
fn mpv_shows_the_length_seeks_and_survives_a_pause() {
    let archive = archive(Clip::H264Aac, 5);
    let mut mpv = Command::new("timeout");
    // The built-in terminal takes commands from a file of key bindings; `--input-terminal` reads them from standard input.
    let script = archive.vedette.dir.join("drive.lua");
    std::fs::write(&script, MPV_SCRIPT).unwrap();
    mpv.args([
        "60",
        "mpv",
        "--no-config",
        "--vo=null",
        "--ao=null",
        "--rtsp-transport=tcp",
        "--no-terminal",
    ]);
    mpv.arg(format!("--script={}", script.display()));
    mpv.arg(format!("--script-opts=drive-out={}", archive.vedette.dir.join("mpv.out").display()));
    mpv.arg(archive.vedette.rtsp("door/recording"));
    Watching::start(&mut mpv).read_to_end();
    let out = std::fs::read_to_string(archive.vedette.dir.join("mpv.out")).unwrap();
    let value = |name: &str| -> f64 {
        let line = out
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .unwrap_or_else(|| panic!("no {name} in {out}"));
        line.trim().parse().unwrap()
    };
    assert!(value("duration ") >= 9.0, "{out}");
    let sought = value("sought ");
    assert!((5.9..8.5).contains(&sought), "asked for 7.0: {out}");
    assert!(value("resumed ") > value("paused "), "{out}");
}

/// Waits for a moving picture, seeks, waits again, pauses, resumes; writes what mpv shows.
const MPV_SCRIPT: &str = r#"
local out = io.open(mp.get_opt("drive-out"), "w")
local step, mark = "start", nil
local function note(name, value) out:write(name, " ", tostring(value), "\n") out:flush() end
mp.observe_property("time-pos", "number", function(_, now)
  if now == nil then return end
  if step == "start" and now > 0.5 then
    note("duration", mp.get_property_number("duration") or -1)
    step = "seeking"
    mp.commandv("seek", "7.0", "absolute")
  elseif step == "seeking" and now > 5 then
    note("sought", now)
    step, mark = "playing", now
  elseif step == "playing" and now > mark + 0.5 then
    note("paused", now)
    step, mark = "paused", now
    mp.set_property_bool("pause", true)
    mp.add_timeout(2, function() mp.set_property_bool("pause", false) end)
  elseif step == "paused" and now > mark + 0.5 then
    note("resumed", now)
    mp.commandv("quit")
  end
end)
"#;
