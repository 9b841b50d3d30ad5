//! The index lost, compared, copied and made again, by the commands of the README.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Camera, Clip, Vedette, binary, run};

/// The README's commands about the index, as they stand there.
fn commands() -> Vec<Vec<String>> {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let line = |l: &str| -> Vec<String> {
        let command = l.split('#').next().unwrap();
        command.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    let of_index = ["vedette check", "vedette reindex", "vedette backup"];
    readme.lines().filter(|l| of_index.iter().any(|c| l.starts_with(c))).map(line).collect()
}

fn vedette(vedette: &Vedette, arguments: &[String]) -> Command {
    let copy = vedette.dir.join("index-copy.db").display().to_string();
    let arguments = arguments.iter().map(|a| a.replace("/backup/index.db", &copy));
    let mut command = binary();
    command
        .args(arguments)
        .arg("--config")
        .arg(vedette.dir.join("vedette.toml"))
        .stdin(Stdio::null());
    command
}

/// What the API says is on record.
fn recorded(vedette: &Vedette) -> Vec<(Value, Value)> {
    let closed = vedette.segments("door").into_iter().filter(|s| s["state"] == "closed");
    closed.map(|s| (s["path"].clone(), s["bytes"].clone())).collect()
}

#[test]
fn every_command_about_the_index_works_as_the_readme_says() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let mut recorder = Vedette::start(dir.path(), 2);
    recorder.add_camera("door", &camera.url("door"), "tcp");
    recorder.wait_for_segments("door", 3);
    let commands = commands();
    assert_eq!(commands.len(), 5, "{commands:?}");
    // While it runs: those that only look work, the others refuse.
    for command in &commands {
        let changes = command.iter().any(|a| a == "--repair" || a == "reindex");
        let output = vedette(&recorder, command).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = String::from_utf8_lossy(&output.stdout);
        let code = output.status.code();
        assert_eq!(code, Some(i32::from(changes)), "{command:?}: {said}{errors}");
    }
    assert!(recorder.dir.join("index-copy.db").exists());
    let before = recorded(&recorder);
    recorder.stop();
    for command in &commands {
        let output = run(&mut vedette(&recorder, command));
        if command.iter().any(|a| a == "--json") {
            let found: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((&found["wrong"], &found["findings"]), (&0.into(), &Value::Array(vec![])));
        }
    }
    recorder.launch();
    let after = recorded(&recorder);
    assert_eq!(after[..before.len()], before);
}

#[test]
fn a_recorder_whose_index_was_killed_and_destroyed_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let mut recorder = Vedette::start(dir.path(), 2);
    recorder.add_camera("door", &camera.url("door"), "tcp");
    recorder.wait_for_segments("door", 3);
    let before = recorded(&recorder);
    recorder.kill();
    std::fs::write(recorder.dir.join("vedette.db"), vec![0xa5; 64 << 10]).unwrap();
    // With its log SQLite would put most of it together again.
    std::fs::remove_file(recorder.dir.join("vedette.db-wal")).unwrap();
    recorder.launch();
    // All that was there, and new footage, from a camera whose login came back too.
    let all = recorder.wait_for_segments("door", before.len() + 3);
    for (path, bytes) in &before {
        let there = all.iter().find(|s| s["path"] == *path);
        assert_eq!(there.map(|s| &s["bytes"]), Some(bytes), "{path}: {}", recorder.log());
    }
    assert!(recorder.log().contains("THE INDEX CANNOT BE USED"));
    recorder.stop();
    let check = ["check", "--deep"].map(str::to_owned);
    run(&mut vedette(&recorder, &check));
}
