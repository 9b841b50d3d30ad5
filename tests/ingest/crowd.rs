//! Many cameras at once that come and go, beside one that is well.
//!
//! `VEDETTE_FLAP_SECONDS` makes a short test a long one with five hundred of them (`make flap`: half an hour).

use super::*;

/// Longer than the longest wait between two attempts, and a watchdog.
const RECOVERY: Duration = Duration::from_secs(60);
/// The good camera's pictures a second: the beat of the test.
const FPS: usize = 50;
/// One of the others is troubled each time so many pictures have come.
const EVERY: usize = 5;

/// Something a camera does wrong, or no more.
fn trouble(camera: &Camera, kind: u64) {
    match kind {
        0..=3 => camera.drop_connections(),
        4 => camera.change(|b| b.stall = true),
        5 => camera.change(|b| b.mute = true),
        6 => camera.change(|b| b.refuse = Some(503)),
        7 => camera.change(|b| b.jump = 900_000),
        8 => camera.change(|b| b.new_ssrc = true),
        9 => camera.change(|b| b.lose_all = true),
        _ => well_again(camera),
    }
}

fn well_again(camera: &Camera) {
    camera.change(|b| {
        (b.stall, b.mute, b.refuse, b.lose_all) = (false, false, None, false);
    });
    camera.drop_connections();
}

/// Tasks, open files and resident bytes of this process: the pullers', and the cameras' beside them.
fn held() -> (usize, usize, u64) {
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    (tasks, files, pages * 4_096)
}

/// Waits until a picture of `pulled` comes that was made after now.
async fn is_pulled(camera: &Camera, pulled: &mut Pulled) {
    camera.wait_for_frames(1).await;
    let made = camera.made();
    let comes = async {
        loop {
            // Whoever did not read for long is told that he is late, and goes on from there.
            let Some(event) = pulled.events.next().await else { panic!("the stream has ended") };
            if let Event::Unit { unit, .. } = event
                && frame_number(&unit.body).is_some_and(|number| number >= made)
            {
                break;
            }
        }
    };
    timeout(RECOVERY, comes).await.expect("it comes back by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cameras_that_flap_do_not_disturb_one_that_is_well_and_all_come_back_by_themselves() {
    let seconds: Option<usize> =
        std::env::var("VEDETTE_FLAP_SECONDS").ok().map(|s| s.parse().unwrap());
    let (count, seconds) = seconds.map_or((40, 6), |seconds| (500, seconds));
    let slow = Behaviour { fps: 5, gop: 5, key_bytes: 1_000, keeps: false, ..Behaviour::default() };
    let mut others = Vec::new();
    for _ in 0..count {
        let camera = Camera::start(slow.clone()).await;
        let pulled = Pulled::start(&camera.url());
        others.push((camera, pulled));
    }
    for (camera, pulled) in &mut others {
        is_pulled(camera, pulled).await;
    }
    let well = Camera::start(Behaviour { keeps: false, ..Behaviour::default() }).await;
    let mut steady = Pulled::start(&well.url());
    steady.video(1).await;
    let before = held();

    let mut seed = 7_u64;
    let mut dice = |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % sides
    };
    let mut last: Option<(Arc<Run>, u64)> = None;
    for picture in 0..seconds * FPS {
        let (run, unit) = steady.video(1).await.remove(0);
        if let Some((before, number)) = last.replace((Arc::clone(&run), unit.number)) {
            assert_eq!(
                (before.id, number + 1),
                (run.id, unit.number),
                "the good one was disturbed"
            );
        }
        if picture % EVERY == 0 {
            let (camera, _) = &others[dice(count as u64) as usize];
            trouble(camera, dice(16));
        }
        if picture % (60 * FPS) == 60 * FPS - 1 {
            let (tasks, files, bytes) = held();
            println!("{} s: {tasks} tasks, {files} files, {} MiB", picture / FPS, bytes >> 20);
        }
    }
    assert_eq!(steady.snapshot().reconnects, 0);

    others.iter().for_each(|(camera, _)| well_again(camera));
    for (camera, pulled) in &mut others {
        is_pulled(camera, pulled).await;
    }
    let after = held();
    println!("before {before:?}, after {after:?}: tasks, files, bytes");
    assert!(after.0 <= before.0 + count / 8, "tasks: {before:?}, then {after:?}");
    assert!(after.1 <= before.1 + count / 8, "files: {before:?}, then {after:?}");
    assert!(after.2 <= before.2 + before.2 / 4 + (16 << 20), "memory: {before:?}, then {after:?}");
}
