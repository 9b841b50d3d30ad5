//! An index made again behind the back of a recorder that goes on recording.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_meanwhile_and_what_was_before_make_one_timeline() {
    let house = House::new().await;
    house.record(&[(2, 25, GapReason::Starting)]).await;
    house.mirror().await;
    let before = rows(&house.store, house.stream()).await;
    // The index is gone; the process that starts begins with an empty one.
    let store = house.another("second.db").await;
    let volumes = volumes(&house.root());
    house.clock.set(EPOCH + WallSpan::from_secs(100));
    crate::record::recover(&store, &volumes, &house.clock).await.unwrap();
    let recording = house.record_on(
        &volumes,
        &store,
        &[(100, 30, GapReason::Starting), (200, 30, GapReason::Disconnected)],
        GapReason::VedetteDown,
    );
    let progress = Progress::default();
    let rebuilding = async {
        // Again and again, at any moment of the recording.
        for _ in 0..20 {
            let stop = CancellationToken::new();
            let site = house.site();
            rebuild(&store, site, Some(&volumes), &progress, "a test", stop).await.unwrap();
        }
    };
    tokio::join!(recording, rebuilding);
    volumes.shut_down().await;
    rebuilt(&store, &house).await;
    let after = rows(&store, house.stream()).await;
    assert_tiled(&after, EPOCH);
    assert_eq!(after.segments[..before.segments.len()], before.segments);
    assert_eq!(after.runs.len(), 3);
    assert_eq!(after.runs[0], before.runs[0]);
    let reasons: Vec<GapReason> = after.gaps.iter().map(|g| g.reason).collect();
    let expected = [
        GapReason::Starting,
        GapReason::VedetteDown,
        GapReason::Disconnected,
        GapReason::VedetteDown,
    ];
    assert_eq!(reasons, expected);
    let look = check::Options { deep: true, ..check::Options::default() };
    assert_eq!(checked(&store, &house, look).await.findings, []);
}
