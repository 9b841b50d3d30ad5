//! Index and files compared, and mended.

use super::*;
use crate::model::{ClosedSegment, PendingUnlink};

const REPAIR: check::Options = check::Options { deep: true, repair: true, in_use: false };
const LOOK: check::Options = check::Options { deep: true, repair: false, in_use: false };

/// Two runs of three segments, indexed.
async fn house() -> (House, Vec<PathBuf>) {
    let house = House::new().await;
    house.mirror().await;
    let files: Vec<PathBuf> = [(1, 0), (2, 600)]
        .iter()
        .flat_map(|(run, start)| made(&house, *run, *start, 3, 60))
        .map(|f| f.put(&house.root()))
        .collect();
    rebuilt(&house.store, &house).await;
    (house, files)
}

fn kinds(checked: &Checked) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = checked.findings.iter().map(|f| f.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Finds `expected`, mends it, and finds nothing any more.
async fn finds_and_mends(house: &House, expected: &[Kind]) -> Rows {
    let before = rows(&house.store, house.stream()).await;
    let found = checked(&house.store, house, LOOK).await;
    assert_eq!(kinds(&found), expected, "{found:#?}");
    assert!(found.wrong > 0);
    assert_eq!(rows(&house.store, house.stream()).await, before, "it only looked");
    let mended = checked(&house.store, house, REPAIR).await;
    assert_eq!(mended.wrong, 0, "{mended:#?}");
    let again = checked(&house.store, house, LOOK).await;
    assert_eq!(again.findings, [], "{again:#?}");
    let rows = rows(&house.store, house.stream()).await;
    assert_tiled(&rows, EPOCH);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_fits_its_files_is_clean() {
    let (house, files) = house().await;
    let found = checked(&house.store, &house, LOOK).await;
    assert_eq!(found.findings, []);
    assert_eq!((found.files, found.rows, found.wrong), (files.len() as u64, 6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_recorder_wrote_is_clean() {
    let house = House::new().await;
    house.record(&[(2, 25, GapReason::Starting), (60, 12, GapReason::Disconnected)]).await;
    let found = checked(&house.store, &house, LOOK).await;
    assert_eq!(found.findings, [], "{:#?}", rows(&house.store, house.stream()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_its_file_goes_and_the_time_becomes_a_gap() {
    let (house, files) = house().await;
    std::fs::remove_file(&files[1]).unwrap();
    let rows = finds_and_mends(&house, &[Kind::RowWithoutFile]).await;
    assert_eq!((rows.segments.len(), rows.runs.len()), (5, 3));
    let gap = rows.gaps.iter().find(|g| g.reason == GapReason::Deleted).unwrap();
    assert_eq!(gap.end.unwrap() - gap.start, WallSpan::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_on_a_volume_that_is_away_stay() {
    let (house, files) = house().await;
    let before = rows(&house.store, house.stream()).await;
    std::fs::rename(house.root(), house.folder.path().join("elsewhere")).unwrap();
    let mut site = (*house.site()).clone();
    site.places.clear();
    site.away.push(house.volume());
    let progress = Progress::default();
    let stop = CancellationToken::new();
    let found = check(&house.store, Arc::new(site), REPAIR, &progress, stop).await.unwrap();
    assert_eq!((kinds(&found), found.wrong), (vec![Kind::VolumeAway], 0));
    assert_eq!(rows(&house.store, house.stream()).await, before, "{}", files.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_without_a_row_is_put_back_where_it_was() {
    let (house, _) = house().await;
    let before = rows(&house.store, house.stream()).await;
    for lost in [0, 1, 2, 4] {
        let id = before.segments[lost].opened.id;
        house.store.forget_segments(&[id], GapReason::Internal).await.unwrap();
        let after = finds_and_mends(&house, &[Kind::FileWithoutRow]).await;
        assert_eq!(after.segments.len(), 6);
        let spans = |rows: &Rows| {
            let all: i64 = rows.runs.iter().map(|r| (r.end.unwrap() - r.start).as_micros()).sum();
            all
        };
        assert_eq!(spans(&after), spans(&before), "nothing of the time is a gap any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_file_is_made_whole_and_its_row_says_what_is_left() {
    let (house, files) = house().await;
    let bytes = std::fs::read(&files[5]).unwrap();
    std::fs::write(&files[5], &bytes[..bytes.len() * 2 / 3]).unwrap();
    let rows = finds_and_mends(&house, &[Kind::WrongSize]).await;
    let last = rows.segments.last().unwrap();
    assert_eq!(last.bytes, std::fs::metadata(&files[5]).unwrap().len());
    assert!(last.end < EPOCH + WallSpan::from_secs(780 - 10));
    assert_eq!(rows.runs.last().unwrap().end, Some(last.end));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_within_a_file_costs_nothing_of_what_follows() {
    let (house, files) = house().await;
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let moofs: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, w)| w == b"moof").map(|(at, _)| at).collect();
    bytes[moofs[20]..moofs[20] + 4].copy_from_slice(b"junk");
    std::fs::write(&files[0], &bytes).unwrap();
    let found = checked(&house.store, &house, LOOK).await;
    assert_eq!(kinds(&found), [Kind::Damaged]);
    checked(&house.store, &house, REPAIR).await;
    assert_eq!(std::fs::read(&files[0]).unwrap(), bytes, "nothing is cut off");
    assert_eq!(rows(&house.store, house.stream()).await.segments.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_changed_on_the_disk_is_found() {
    let (house, files) = house().await;
    let mut bytes = std::fs::read(&files[3]).unwrap();
    let at = bytes.windows(100).position(|w| w == [b'p'; 100]).unwrap();
    bytes[at + 50] ^= 1;
    std::fs::write(&files[3], &bytes).unwrap();
    let shallow = check::Options { deep: false, ..LOOK };
    assert_eq!(checked(&house.store, &house, shallow).await.findings, []);
    let found = checked(&house.store, &house, LOOK).await;
    assert_eq!(kinds(&found), [Kind::Damaged]);
    assert_eq!(found.findings[0].path, files[3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_lies_about_its_file_is_corrected() {
    let (house, _) = house().await;
    let before = rows(&house.store, house.stream()).await;
    let row = &before.segments[1];
    let lie = ClosedSegment {
        id: row.opened.id,
        end: row.end,
        bytes: 7,
        damaged: 3,
        tracks: Vec::new(),
        keys: Vec::new(),
    };
    house.store.close_segment(lie).await.unwrap();
    let after = finds_and_mends(&house, &[Kind::WrongSize]).await;
    assert_eq!(after.segments[1], Segment { damaged: 3, ..row.clone() });
    assert_eq!((after.keys, after.totals), (before.keys, before.totals));
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_is_neither_recorded_nor_a_gap_becomes_one() {
    let (house, _) = house().await;
    let before = rows(&house.store, house.stream()).await;
    let mut without = before.gaps.clone();
    without.remove(0);
    let rewrite = crate::store::Rewrite {
        old_gaps: before.gaps.clone(),
        gaps: without,
        ..crate::store::Rewrite::default()
    };
    house.store.rewrite_timeline(house.stream(), rewrite).await.unwrap();
    let after = finds_and_mends(&house, &[Kind::Timeline]).await;
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_to_be_deleted_is_deleted_and_never_comes_back() {
    let (house, files) = house().await;
    let before = rows(&house.store, house.stream()).await;
    let row = &before.segments[0];
    let deleted = house.store.delete_segments(&[row.opened.id]).await.unwrap();
    assert_eq!(deleted.deleted, [row.opened.id]);
    let after = finds_and_mends(&house, &[Kind::StaleUnlink]).await;
    assert!(!files[0].exists());
    assert_eq!(after.segments.len(), 5);
    let left: Vec<PendingUnlink> = house.store.pending_unlinks(None, 10).await.unwrap();
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_recorder_only_what_stays_wrong_is_told() {
    let (house, files) = house().await;
    // It grows: no row yet, and no tail.
    let growing = Made { closed: false, ..made(&house, 3, 1_200, 1, 5).remove(0) };
    growing.put(&house.root());
    std::fs::remove_file(&files[1]).unwrap();
    let options = check::Options { in_use: true, ..LOOK };
    let found = checked(&house.store, &house, options).await;
    assert_eq!(kinds(&found), [Kind::RowWithoutFile]);
}
