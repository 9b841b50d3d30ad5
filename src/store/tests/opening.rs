use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn the_database_and_its_companions_are_for_their_owner_only() {
    let fixture = Fixture::new().await;
    fixture.store.set_meta("a", "b").await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(fixture.path().parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        seen += 1;
    }
    assert_eq!(seen, 3, "database, -wal, -shm");
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let fixture = Fixture::new().await;
    fixture.store.set_meta("epoch", "1").await.unwrap();
    fixture.store.set_meta("epoch", "2").await.unwrap();
    fixture.store.close().await;
    let wal = fixture.path().with_extension("db-wal");
    assert!(!wal.exists(), "closing checkpoints and takes the WAL away");
    let again =
        Store::open(&fixture.path(), fixture.clock.clone(), fixture.sealer.clone()).await.unwrap();
    assert_eq!(again.meta("epoch").await.unwrap().as_deref(), Some("2"));
    assert_eq!(again.meta("other").await.unwrap(), None);
    again.ping().await.unwrap();
}

#[tokio::test]
async fn another_key_file_is_noticed_at_opening() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    let other = Store::open(&fixture.path(), fixture.clock.clone(), Sealer::ephemeral()).await;
    assert!(matches!(other, Err(StoreError::WrongKey)), "{other:?}");
}

#[tokio::test]
async fn after_closing_writes_are_refused_and_what_was_queued_is_kept() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let writes: Vec<_> = (0..100)
        .map(|i| {
            let store = store.clone();
            async move { store.set_meta(&format!("key {i}"), "kept").await }
        })
        .collect();
    let (written, ()) = tokio::join!(futures_util::future::join_all(writes), async {
        // The writes are polled first, so they are in the queue by now.
        store.close().await;
    });
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    store.close().await;
    assert!(matches!(store.set_meta("late", "lost").await, Err(StoreError::Closed)));
    assert!(store.ping().await.is_err());

    let again =
        Store::open(&fixture.path(), fixture.clock.clone(), fixture.sealer.clone()).await.unwrap();
    assert_eq!(again.meta("key 99").await.unwrap().as_deref(), Some("kept"));
    assert_eq!(again.meta("late").await.unwrap(), None);
}

#[tokio::test]
async fn a_write_that_fails_takes_no_other_down() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    let run = fixture.run(stream, 1, TEN).await;
    let store = &fixture.store;
    // Queued together: another's id, a segment of an unknown run, and good ones around them.
    let path = |path: &str| path.to_owned();
    let stranger = NewSegment { path: path("other.mp4"), ..segment(stream, run, 1, after(1)) };
    let results = futures_util::future::join_all(
        [
            segment(stream, run, 1, after(1)),
            stranger,
            segment(stream, run, 1, after(1)),
            segment(stream, RunId(404), 2, after(2)),
            segment(stream, run, 3, after(3)),
        ]
        .map(|new| store.open_segment(new)),
    )
    .await;
    let ok: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true, false, true]);
    assert!(matches!(results[1], Err(StoreError::Conflict("segment"))), "{results:?}");
    let ids: Vec<_> =
        store.open_segments().await.unwrap().into_iter().map(|s| s.opened.id.0).collect();
    assert_eq!(ids, [1, 3]);
}

#[tokio::test]
async fn a_command_that_fails_halfway_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    let result: Result<()> = fixture
        .store
        .writer
        .write("half a thing", |db| {
            Box::pin(async move {
                sqlx::query("insert into meta (key, value) values ('half', 'done')")
                    .execute(db)
                    .await
                    .map_err(failed("half"))?;
                Err(StoreError::Conflict("other half"))
            })
        })
        .await;
    assert!(matches!(result, Err(StoreError::Conflict("other half"))));
    assert_eq!(fixture.store.meta("half").await.unwrap(), None);
}

#[tokio::test]
async fn when_the_transaction_itself_breaks_those_who_were_in_it_are_told_and_the_others_go_on() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    // Ends the shared transaction under the writer's feet, as a full disk would.
    let breaking = store.writer.write("break", |db| {
        Box::pin(async move {
            sqlx::query("rollback").execute(db).await.map(|_| ()).map_err(failed("break"))
        })
    });
    let (before, broken, behind) =
        tokio::join!(store.set_meta("a", "1"), breaking, store.set_meta("b", "2"));
    for result in [before, broken] {
        assert!(matches!(result, Err(StoreError::Transaction { .. })), "{result:?}");
    }
    behind.unwrap();
    assert_eq!(store.meta("a").await.unwrap(), None);
    assert_eq!(store.meta("b").await.unwrap().as_deref(), Some("2"));
    store.set_meta("a", "3").await.unwrap();
    assert_eq!(store.meta("a").await.unwrap().as_deref(), Some("3"));
}

#[tokio::test]
async fn readers_cannot_write() {
    let fixture = Fixture::new().await;
    let written =
        sqlx::query("insert into meta values ('x', 'y')").execute(&fixture.store.readers).await;
    assert!(written.is_err());
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_still_happens() {
    let fixture = Fixture::new().await;
    {
        let write = std::pin::pin!(fixture.store.set_meta("left", "alone"));
        assert!(futures_util::poll!(write).is_pending());
    }
    fixture.store.ping().await.unwrap();
    assert_eq!(fixture.store.meta("left").await.unwrap().as_deref(), Some("alone"));
}
