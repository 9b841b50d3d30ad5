//! A database that does not work: full, locked, read-only, damaged, read without a pause.

use std::os::unix::fs::FileExt;

use super::*;
use crate::{id::AuditId, model::Audit};

async fn impatient(dir: &tempfile::TempDir) -> Store {
    let path = dir.path().join("vedette.db");
    let settings = Settings {
        busy_timeout: Duration::from_millis(20),
        wal_limit: 256 << 10,
        checkpoint_wait: Duration::from_millis(200),
        checkpoint_pause: Duration::ZERO,
        ..Settings::of(&path)
    };
    Store::open_with(&path, Clock::manual(TEN), Sealer::ephemeral(), settings).await.unwrap()
}

fn audit(id: i64) -> Audit {
    Audit {
        id: AuditId(id),
        at: TEN,
        who: "admin".into(),
        origin: None,
        action: "camera.delete".into(),
        target: "door".into(),
        detail: String::new(),
    }
}

#[tokio::test]
async fn a_full_disk_fails_what_it_must_says_so_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let store = impatient(&dir).await;
    let trouble = store.watch_trouble();
    store.pragma("pragma max_page_count = 60").await.unwrap();
    let large = "x".repeat(400_000);
    let (first, second, third) = tokio::join!(
        store.set_meta("a", "1"),
        store.set_meta("large", &large),
        store.set_meta("b", "2"),
    );
    let error = second.unwrap_err();
    assert_eq!((error.trouble(), error.is_transient()), (Some(Trouble::Full), true), "{error:?}");
    for shared in [first, third] {
        assert!(shared.is_ok() || shared.unwrap_err().is_transient());
    }
    store.set_meta("large", &large).await.unwrap_err();
    assert_eq!(*trouble.borrow(), Some(Trouble::Full));
    store.set_meta("c", "3").await.unwrap();
    assert_eq!(*trouble.borrow(), None);
    store.pragma("pragma max_page_count = 6000").await.unwrap();
    store.set_meta("large", &large).await.unwrap();
    assert_eq!(store.meta("c").await.unwrap().as_deref(), Some("3"));
}

#[tokio::test]
async fn a_lock_held_by_another_process_fails_writes_but_not_reads_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let store = impatient(&dir).await;
    store.set_meta("a", "1").await.unwrap();
    let options = SqliteConnectOptions::new().filename(dir.path().join("vedette.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::query("begin immediate").execute(&mut other).await.unwrap();
    let error = store.set_meta("a", "2").await.unwrap_err();
    assert_eq!((error.trouble(), error.is_transient()), (Some(Trouble::Busy), true), "{error:?}");
    assert_eq!(*store.watch_trouble().borrow(), Some(Trouble::Busy));
    assert_eq!(store.meta("a").await.unwrap().as_deref(), Some("1"));
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    store.set_meta("a", "3").await.unwrap();
    assert_eq!(*store.watch_trouble().borrow(), None);
}

#[tokio::test]
async fn a_connection_that_became_read_only_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = impatient(&dir).await;
    store.pragma("pragma query_only = 1").await.unwrap();
    let error = store.set_meta("a", "1").await.unwrap_err();
    assert_eq!((error.trouble(), error.is_transient()), (Some(Trouble::ReadOnly), true));
    store.set_meta("a", "2").await.unwrap();
    assert_eq!(store.meta("a").await.unwrap().as_deref(), Some("2"));
    // It is the same kind of connection: a row that refers to nothing is refused.
    let orphan = segment(StreamId(404), RunId(404), 1, TEN);
    assert!(store.open_segment(orphan).await.is_err());
    store.close().await;
}

#[tokio::test]
async fn damage_met_while_running_is_told_from_what_may_pass_and_stays_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vedette.db");
    let sealer = Sealer::ephemeral();
    let open = || Store::open(&path, Clock::manual(TEN), sealer.clone());
    let store = open().await.unwrap();
    let root: i64 = sqlx::query_scalar("select rootpage from sqlite_schema where name = 'audit'")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    store.insert_audit(audit(1)).await.unwrap();
    store.close().await;

    let store = open().await.unwrap();
    let trouble = store.watch_trouble();
    store.pragma("pragma shrink_memory").await.unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 4_096], (root as u64 - 1) * 4_096).unwrap();
    let error = store.insert_audit(audit(2)).await.unwrap_err();
    assert_eq!((error.trouble(), error.is_transient()), (Some(Trouble::Damaged), false));
    store.set_meta("a", "1").await.unwrap();
    assert_eq!(*trouble.borrow(), Some(Trouble::Damaged), "other pages are whole");
    store.close().await;

    let again = open().await;
    assert!(matches!(again, Err(StoreError::Unusable { why: Unusable::Damaged, .. })), "{again:?}");
}

#[tokio::test]
async fn the_log_is_cut_back_under_readers_that_never_pause() {
    let dir = tempfile::tempdir().unwrap();
    let store = impatient(&dir).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let reads = async {
        // The next one begins before the one before ends: there is always one.
        let mut last = store.snapshot().await.unwrap();
        while !stop.is_cancelled() {
            let mut next = store.snapshot().await.unwrap();
            let meta = sqlx::query("select * from meta");
            meta.fetch_all(&mut *next).await.unwrap();
            last = next;
        }
        drop(last);
    };
    let writes = async {
        let text = "x".repeat(20_000);
        for n in 0..200 {
            store.set_meta(&format!("key {}", n % 10), &text).await.unwrap();
        }
        store.ping().await.unwrap();
        stop.cancel();
    };
    tokio::join!(reads, writes);
    // 200 writes of 20 kB are 4 MB and more.
    assert!(store.wal_bytes() < 1 << 20, "{}", store.wal_bytes());
}

#[tokio::test]
async fn a_read_that_does_not_end_lets_the_log_grow_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = impatient(&dir).await;
    let mut reader = store.snapshot().await.unwrap();
    sqlx::query("select * from meta").fetch_all(&mut *reader).await.unwrap();
    let text = "x".repeat(100_000);
    for n in 0..4 {
        store.set_meta(&format!("key {n}"), &text).await.unwrap();
    }
    store.ping().await.unwrap();
    assert!(store.checkpoint_failures() > 0);
    assert!(store.wal_bytes() > 256 << 10);
    drop(reader);
    for _ in 0..3 {
        store.set_meta("after", "all").await.unwrap();
    }
    assert!(store.wal_bytes() < 256 << 10, "{}", store.wal_bytes());
}
