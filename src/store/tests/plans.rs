//! What SQLite does for each query: it must search, and never read a whole table of footage.

use super::*;
use crate::store::{age, delete, gap, history, lock, prune, run, segment, unlink, volume};

async fn plan(store: &Store, sql: &'static str) -> Vec<String> {
    let explain = sqlx::AssertSqlSafe(format!("explain query plan {sql}"));
    let mut query = sqlx::query_as(explain);
    for _ in 0..sql.matches('?').count().min(7) {
        query = query.bind(0);
    }
    let rows: Vec<(i64, i64, i64, String)> = query.fetch_all(&store.readers).await.unwrap();
    rows.into_iter().map(|row| row.3).collect()
}

#[tokio::test]
async fn range_queries_search_an_index_and_scan_no_table_of_footage() {
    let fixture = Fixture::new().await;
    for (name, sql, searches) in [
        ("segments of a range", segment::OVERLAPPING, "(stream=? AND start_us>? AND start_us<?)"),
        ("segment of an instant", segment::HOLDING, "(stream=? AND start_us>? AND start_us<?)"),
        ("segment after", segment::AFTER, "(stream=? AND start_us>?)"),
        ("segment before", segment::BEFORE, "(stream=? AND start_us<?)"),
        (
            "runs of a range",
            run::OVERLAPPING,
            "(stream=? AND lane=? AND start_us>? AND start_us<?)",
        ),
        (
            "gaps of a range",
            gap::OVERLAPPING,
            "(stream=? AND lane=? AND start_us>? AND start_us<?)",
        ),
    ] {
        let plan = plan(&fixture.store, sql).await;
        assert!(plan.iter().any(|line| line.contains(searches)), "{name}: {plan:#?}");
        let mut before = "";
        for line in &plan {
            let scans = line.starts_with("SCAN") && line != "SCAN lanes";
            assert!(!scans, "{name}: {plan:#?}");
            // A search by stream alone would read all its rows; the first lane is a `min`, which
            // reads one.
            let all = line.ends_with("(stream=?)") && before != "SETUP";
            assert!(!all, "{name}: {plan:#?}");
            before = line;
        }
    }
}

#[tokio::test]
async fn what_lasts_is_found_by_its_own_small_index() {
    let fixture = Fixture::new().await;
    for (sql, index) in [(segment::OPEN, "segment_open"), (run::LASTING, "run_lasting")] {
        let plan = plan(&fixture.store, sql).await;
        assert!(plan.iter().any(|line| line.contains(index)), "{plan:#?}");
    }
}

#[tokio::test]
async fn what_lies_on_a_volume_that_was_replaced_is_found_in_order_without_sorting_it() {
    let fixture = Fixture::new().await;
    let plan = plan(&fixture.store, volume::ON_IT).await;
    assert!(plan.iter().any(|line| line.contains("segment_volume_age")), "{plan:#?}");
    assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:#?}");
}

#[tokio::test]
async fn usage_reads_one_row_a_stream() {
    let fixture = Fixture::new().await;
    let plan = plan(&fixture.store, segment::USAGE).await;
    let segment: Vec<_> = plan.iter().filter(|line| line.contains("segment")).collect();
    assert_eq!(segment.len(), 1, "{plan:#?}");
    assert!(segment[0].starts_with("SEARCH segment USING PRIMARY KEY (stream=?)"), "{plan:#?}");
}

#[tokio::test]
async fn what_retention_asks_walks_an_index_in_the_order_of_deletion() {
    let fixture = Fixture::new().await;
    for (name, sql, searches) in [
        ("oldest", age::OLDEST, "segment_age (stream=? AND (epoch,start_us,id)>(?,?,?))"),
        (
            "oldest on a volume",
            age::OLDEST_ON,
            "segment_volume_age (stream=? AND volume=? AND (epoch,start_us,id)>(?,?,?))",
        ),
        ("heads of a volume", age::HEADS, "segment_volume_age (stream=? AND volume=?)"),
        ("newest run", age::NEWEST_RUN, "run_epoch (stream=?)"),
        ("newest footage", age::NEWEST_FOOTAGE, "segment USING PRIMARY KEY (stream=?)"),
        ("locked bytes", age::LOCKED_BYTES, "(stream=? AND start_us>? AND start_us<?)"),
        ("before in its run", delete::BEFORE, "segment_run (run=? AND (start_us,id)<(?,?))"),
        ("behind in its run", delete::BEHIND, "segment_run (run=? AND (start_us,id)>(?,?))"),
        ("segments before a hole", delete::MOVE, "segment_run (run=? AND (start_us,id)<(?,?))"),
        ("old gaps", prune::OLD_GAPS, "gap_age (stream=? AND start_us<?)"),
        ("first run", prune::FIRST_RUN, "run USING PRIMARY KEY (stream=? AND lane=?)"),
        ("old events", prune::DELETE_EVENTS, "event_at (at_us<?)"),
        ("old changes", prune::DELETE_AUDIT, "audit_at (at_us<?)"),
        ("events", history::EVENTS, "event_at (at_us>? AND at_us<?)"),
        (
            "events of a camera",
            history::EVENTS_OF,
            "event_camera (camera=? AND at_us>? AND at_us<?)",
        ),
        ("changes", history::AUDIT, "audit_at (at_us>? AND at_us<?)"),
        ("locks of a range", lock::OVERLAPPING, "footage_lock_camera (camera=? AND end_us>?)"),
        ("files to unlink", unlink::PAGE, "unlink USING INTEGER PRIMARY KEY (rowid>?)"),
        ("volumes", volume::KNOWN, "volume"),
    ] {
        let plan = plan(&fixture.store, sql).await;
        assert!(plan.iter().any(|line| line.contains(searches)), "{name}: {plan:#?}");
        let few = ["SCAN lanes", "SCAN stream", "SCAN volume"];
        let scans = plan.iter().filter(|line| line.starts_with("SCAN"));
        let long = scans.filter(|line| !few.iter().any(|few| line.starts_with(few)));
        assert_eq!(long.collect::<Vec<_>>(), [""; 0], "{name}: {plan:#?}");
        // Sorting is for what is short by itself.
        let short = ["heads of a volume", "locks of a range", "volumes"];
        let sorts = plan.iter().any(|line| line.contains("TEMP B-TREE"));
        assert!(!sorts || short.contains(&name), "{name}: {plan:#?}");
    }
}
