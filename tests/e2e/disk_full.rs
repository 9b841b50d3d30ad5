//! A disk that is really full: a small tmpfs under the real binary.
//!
//! A file system can be mounted by root, or by anybody in a user namespace of his own; so a test starts itself again inside one
//! (`unshare`), where the mount is seen by nobody else and goes with the last process. Where neither is allowed it fails and says so;
//! `make test` leaves these tests out there, and says so too.
//!
//! The camera sends 16 Mb/s and a file is two seconds long: what takes days on a large disk takes seconds here.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    harness::{Vedette, binary, eventually, run},
    simulated::{Account, Cameras, Segment, accounted, complaints, now_us, time},
};

/// Set inside the namespace. Not one of Vedette's own variables, for it refuses those that it does not know.
const INSIDE: &str = "INSIDE_A_NAMESPACE";
/// What the camera sends.
const BITS: u64 = 16_000_000;
/// So much is to stay free.
const MIN_FREE: &str = "6MB";
const DOOR: &str = "camera-1";

/// Runs `body` where a file system can be mounted.
fn in_a_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let can = |arguments: &[&str]| {
        let mut probe = Command::new("unshare");
        probe.args(arguments).args(["sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]);
        probe.stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let ways: [&[&str]; 2] = [&["-m"], &["-Urm"]];
    let way = ways.into_iter().find(|way| can(way)).expect(
        "a full disk cannot be tried here: neither root nor a user namespace may mount a tmpfs \
         (docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined, or sysctl kernel.unprivileged_userns_clone=1)",
    );
    let output = Command::new("unshare")
        .args(way)
        .arg(std::env::current_exe().unwrap())
        .args([&format!("disk_full::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "see above");
    // A name that does not fit, or a test that is left out, is a success too.
    assert!(said.contains("1 passed"), "the test was not run inside the namespace");
}

/// A recorder on a disk of its own, which others have filled but for some of it.
struct Small {
    vedette: Vedette,
    cameras: Cameras,
    footage: PathBuf,
    _dir: tempfile::TempDir,
}

impl Small {
    fn start(megabytes: u64, others: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let footage = dir.path().join("footage");
        std::fs::create_dir_all(&footage).unwrap();
        let size = format!("size={megabytes}m");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&footage));
        let small = std::fs::File::create(footage.join("others")).unwrap();
        // Holes take no room: it is written.
        std::io::copy(&mut std::io::Read::take(std::io::repeat(1), others << 20), &mut &small)
            .unwrap();
        let cameras = Cameras::start_at(dir.path(), 1, BITS);
        let least = [("VEDETTE_VOLUMES__0__MIN_FREE_BYTES", MIN_FREE.to_owned())];
        let vedette = Vedette::start_in(dir.path(), 2, "", &least);
        vedette.add_camera(DOOR, &cameras.url(1), "tcp");
        Self { vedette, cameras, footage, _dir: dir }
    }

    /// The reason of the gap that lasts.
    fn lasting(&self) -> Option<String> {
        let timeline = self.vedette.timeline(DOOR);
        let gap = timeline["gaps"].as_array()?.iter().find(|g| g["end"].is_null())?.clone();
        Some(gap["reason"].as_str()?.to_owned())
    }

    fn until_paused(&self) {
        eventually("recording to pause", || (self.lasting()? == "disk_full").then_some(()));
    }

    fn until_recorded(&self) {
        let recorded =
            || self.vedette.get("/status")["cameras"][0]["streams"][0]["recording"] == true;
        eventually("recording to resume", || {
            (self.lasting().is_none() && recorded()).then_some(())
        });
    }

    /// As the metric of the alert says it.
    fn paused(&self) -> bool {
        self.vedette.metric("vedette_record_paused", "disk_full") > 0.0
    }

    /// Files of closed segments, oldest first.
    fn closed(&self) -> Vec<String> {
        let all = self.vedette.segments(DOOR);
        let closed = all.iter().filter(|s| s["state"] == "closed");
        closed.map(|s| s["path"].as_str().unwrap().to_owned()).collect()
    }

    /// Why it is not recorded stands wherever somebody looks.
    fn says_that_it_is_paused(&self) {
        let status = self.vedette.get("/status");
        let stream = &status["cameras"][0]["streams"][0];
        assert_eq!(stream["not_recorded"]["reason"], "disk_full", "{status:#}");
        assert_eq!((&stream["recording"], &status["ready"]), (&false.into(), &false.into()));
        assert!(self.paused(), "the alert goes by this metric");
        assert_eq!(self.vedette.metric("vedette_disk_state", "full"), 1.0);
    }

    /// Every second is recorded or in a gap of these reasons, every file is what was sent, and plays.
    fn end(mut self, reasons: &[&str], options: &[&str]) -> Account {
        let account = accounted(&self.vedette, DOOR, reasons);
        println!("{account:.2?}");
        self.vedette.stop();
        let sent = self.cameras.sent();
        let of = |track: &str| &sent[&(1, track.to_owned())][..];
        let files = self.vedette.files(DOOR);
        // Index and files agree.
        let config = self.vedette.dir.join("vedette.toml");
        run(binary().arg("check").args(options).arg("--config").arg(config));
        for file in files {
            Segment::read(&file).among([of("video"), of("audio")], &file);
            assert_eq!(complaints(&file), "", "{}", file.display());
        }
        account
    }
}

/// Writes until there is no room at all, as `dd` does it.
fn fill(footage: &Path) -> PathBuf {
    let ballast = footage.join("ballast");
    let mut fill = Command::new("dd");
    fill.args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", ballast.display()));
    let filled = fill.stderr(Stdio::null()).status().unwrap();
    assert!(!filled.success(), "dd stops at the end of the disk");
    ballast
}

#[test]
fn a_disk_that_others_fill_pauses_recording_which_resumes_when_there_is_room() {
    in_a_namespace(
        "a_disk_that_others_fill_pauses_recording_which_resumes_when_there_is_room",
        || {
            let small = Small::start(48, 0);
            small.vedette.wait_for_segments(DOOR, 1);
            let before = small.closed();

            let ballast = fill(&small.footage);
            small.until_paused();
            small.says_that_it_is_paused();
            let kept = small.closed();
            assert!(kept.starts_with(&before), "{before:?} went in vain, {kept:?} are left");

            std::fs::remove_file(ballast).unwrap();
            small.until_recorded();
            assert!(!small.paused());
            small.vedette.wait_for_segments(DOOR, kept.len() + 1);
            // Not deep: on a disk that others filled to the last byte a file may lack its tail box, which only repeats the rest.
            let account = small.end(&["starting", "disk_full"], &[]);
            assert!(account.gaps["disk_full"] > 0.0 && account.recorded > 2.0, "{account:?}");
        },
    );
}

#[test]
fn on_a_small_disk_the_oldest_goes_before_recording_would_have_to_pause() {
    in_a_namespace("on_a_small_disk_the_oldest_goes_before_recording_would_have_to_pause", || {
        let small = Small::start(64, 36);
        let deleted =
            || small.vedette.metric("vedette_retention_deleted_segments_total", "free_space");
        eventually("the disk to be written once over", || (deleted() >= 4.0).then_some(()));
        // The oldest went, and nothing but the oldest: what is left is one run, up to now.
        let timeline = small.vedette.timeline(DOOR);
        let gaps = timeline["gaps"].as_array().unwrap();
        let gone = gaps.iter().filter(|g| g["reason"] == "deleted").map(|g| time(&g["end"])).max();
        let runs = timeline["runs"].as_array().unwrap();
        let left: Vec<_> = runs.iter().map(|r| time(&r["start"])).collect();
        assert_eq!((left.len(), left.first().copied()), (1, gone), "{timeline:#}");

        assert_eq!(small.vedette.metric("vedette_record_shed_units_total", ""), 0.0);
        let account = small.end(&["starting", "deleted"], &["--deep"]);
        assert!(account.lasting.is_none(), "{account:?}");
    });
}

#[test]
fn with_only_locked_footage_left_recording_pauses_until_a_lock_is_taken_away() {
    in_a_namespace(
        "with_only_locked_footage_left_recording_pauses_until_a_lock_is_taken_away",
        || {
            let small = Small::start(64, 36);
            let at = |seconds: i64| {
                let at = now_us() + seconds * 1_000_000;
                chrono::DateTime::from_timestamp_micros(at).unwrap().to_rfc3339()
            };
            let lock = serde_json::json!({ "start": at(-60), "end": at(600), "note": "burglary" });
            let path = format!("/cameras/{DOOR}/locks");
            let (status, lock) = small.vedette.request(reqwest::Method::POST, &path, Some(lock));
            assert_eq!(status, 201, "{lock}");

            small.until_paused();
            small.says_that_it_is_paused();
            let locked = small.closed();
            eventually("retention to say what holds it back", || {
                let blocked =
                    small.vedette.metric("vedette_retention_limit_blocked", "by=\"locked\"");
                (blocked > 0.0).then_some(())
            });
            assert_eq!(small.closed()[..locked.len()], locked, "locked footage stays");
            assert_eq!(small.vedette.metric("vedette_retention_deleted_segments_total", ""), 0.0);

            let path = format!("{path}/{}", lock["id"].as_str().unwrap());
            let (status, answer) = small.vedette.request(reqwest::Method::DELETE, &path, None);
            assert_eq!(status, 204, "{answer}");
            small.until_recorded();
            assert!(!small.paused());
            let left = small.closed();
            assert!(!left.contains(&locked[0]), "the oldest went: {left:?} of {locked:?}");
            let account = small.end(&["starting", "deleted", "disk_full"], &["--deep"]);
            assert!(account.gaps["disk_full"] > 0.0, "{account:?}");
        },
    );
}
