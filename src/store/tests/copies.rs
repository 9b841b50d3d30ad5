//! Databases that cannot be used, copies, and the way from the version before.

use std::os::unix::fs::{FileExt, PermissionsExt};

use proptest::prelude::*;
use sqlx::migrate::Migrator;

use super::{deleting::record, *};

fn reopen(fixture: &Fixture) -> impl Future<Output = Result<Store>> {
    let path = fixture.path();
    let (clock, sealer) = (fixture.clock.clone(), fixture.sealer.clone());
    async move { Store::open(&path, clock, sealer).await }
}

fn why(opened: Result<Store>) -> Option<Unusable> {
    match opened {
        Err(StoreError::Unusable { why, .. }) => Some(why),
        _ => None,
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone_and_told_from_a_damaged_one() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 200]).await;
    fixture.store.close().await;
    let whole = std::fs::read(fixture.path()).unwrap();

    let garbage = vec![b'?'; 100_000];
    std::fs::write(fixture.path(), &garbage).unwrap();
    assert_eq!(why(reopen(&fixture).await), Some(Unusable::NotADatabase));
    assert_eq!(std::fs::read(fixture.path()).unwrap(), garbage);

    std::fs::write(fixture.path(), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(why(reopen(&fixture).await), Some(Unusable::Damaged), "cut off");

    let mut holed = whole.clone();
    holed[whole.len() / 2..].fill(0);
    std::fs::write(fixture.path(), &holed).unwrap();
    assert_eq!(why(reopen(&fixture).await), Some(Unusable::Damaged), "zeroes at its end");

    std::fs::write(fixture.path(), &whole).unwrap();
    let store = reopen(&fixture).await.unwrap();
    assert_eq!(store.runs(stream).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_database_that_lacks_a_table_or_is_anothers_is_not_added_to() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    let mut db = SqliteConnectOptions::new().filename(fixture.path()).connect().await.unwrap();
    sqlx::query("drop table audit").execute(&mut db).await.unwrap();
    assert_eq!(why(reopen(&fixture).await), Some(Unusable::Incomplete));
    sqlx::query("drop table _sqlx_migrations").execute(&mut db).await.unwrap();
    assert_eq!(why(reopen(&fixture).await), Some(Unusable::Incomplete));
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_and_left_alone() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    let mut db = SqliteConnectOptions::new().filename(fixture.path()).connect().await.unwrap();
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'later', 1, x'00', 0)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let later = reopen(&fixture).await;
    assert!(matches!(later, Err(StoreError::Newer(9999))), "{later:?}");
}

#[tokio::test]
async fn a_copy_made_while_writing_is_whole_and_private_and_leaves_no_draft() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 3]).await;
    let folder = fixture.dir.path().join("copies");
    std::fs::create_dir(&folder).unwrap();
    let to = folder.join("copy.db");
    std::fs::write(&to, "something older").unwrap();
    let writes = async {
        for n in 0..20 {
            store.set_meta(&format!("key {n}"), "value").await.unwrap();
        }
    };
    let (bytes, ()) = tokio::join!(store.backup(&to), writes);
    let file = std::fs::metadata(&to).unwrap();
    assert_eq!((bytes.unwrap(), file.permissions().mode() & 0o777), (file.len(), 0o600));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);

    let copy = Store::open(&to, fixture.clock.clone(), fixture.sealer.clone()).await.unwrap();
    assert_eq!(copy.runs(stream).await.unwrap(), store.runs(stream).await.unwrap());
    assert_eq!(copy.cameras().await.unwrap(), store.cameras().await.unwrap());

    let nowhere = store.backup(&fixture.dir.path().join("no/such/folder/copy.db")).await;
    assert!(matches!(nowhere, Err(StoreError::Backup(_))), "{nowhere:?}");
}

#[tokio::test]
async fn an_index_of_the_first_version_is_copied_then_migrated_and_its_sums_are_right() {
    let fixture = Fixture::new().await;
    let stream = fixture.stream().await;
    record(&fixture, stream, 1, 1, 0, &[10; 3]).await;
    fixture.store.close().await;
    // The same rows as the first version would hold them.
    let old = fixture.dir.path().join("old/vedette.db");
    std::fs::create_dir(old.parent().unwrap()).unwrap();
    let options = SqliteConnectOptions::new().filename(&old).create_if_missing(true);
    let mut db = options.connect().await.unwrap();
    let all = Migrator::new(std::path::Path::new("migrations")).await.unwrap();
    let first = all.iter().take(1).cloned().collect();
    Migrator::with_migrations(first).run(&mut db).await.unwrap();
    let new = fixture.path().to_str().unwrap().to_owned();
    sqlx::query("attach ?1 as new").bind(new).execute(&mut db).await.unwrap();
    for copy in [
        "insert into meta select * from new.meta",
        "insert into camera select id, slug, name, enabled, username, password_sealed, record,
             max_age_s, max_bytes, volume, created_us, updated_us, deleted_us from new.camera",
        "insert into stream select * from new.stream",
        "update stream set closed_bytes = 0",
        "insert into run select * from new.run",
        "insert into volume select id, path from new.volume",
        "insert into codecs select * from new.codecs",
        "insert into segment select * from new.segment",
    ] {
        sqlx::query(copy).execute(&mut db).await.unwrap();
    }
    drop(db);

    let open = || Store::open(&old, fixture.clock.clone(), fixture.sealer.clone());
    let store = open().await.unwrap();
    let used = store.volume_use().await.unwrap();
    assert_eq!((used[0].bytes, used[0].segments), (306, 3));
    assert_eq!(store.cameras().await.unwrap().len(), 1);
    store.close().await;
    open().await.unwrap().close().await;
    let mut names: Vec<_> = std::fs::read_dir(old.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let newest = all.iter().map(|migration| migration.version).max().unwrap();
    let name = format!("vedette.db.before-{newest:04}");
    assert_eq!(names, ["vedette.db", &name]);
    let copy = old.with_file_name(name);
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut db = SqliteConnectOptions::new().filename(&copy).connect().await.unwrap();
    let (version, segments): (i64, i64) = sqlx::query_as(
        "select (select max(version) from _sqlx_migrations), (select count(*) from segment)",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!((version, segments), (1, 3));
}

#[tokio::test]
async fn a_migration_that_came_in_after_a_later_one_is_made_too_and_a_copy_first() {
    let fixture = Fixture::new().await;
    fixture.stream().await;
    fixture.store.close().await;
    let mut db = SqliteConnectOptions::new().filename(fixture.path()).connect().await.unwrap();
    for step in [
        "alter table camera drop column when_json",
        "delete from _sqlx_migrations where version = 4",
    ] {
        sqlx::query(step).execute(&mut db).await.unwrap();
    }
    drop(db);
    let store = reopen(&fixture).await.unwrap();
    assert_eq!(store.cameras().await.unwrap().len(), 1);
    store.close().await;
    let all = Migrator::new(std::path::Path::new("migrations")).await.unwrap();
    let newest = all.iter().map(|migration| migration.version).max().unwrap();
    let copy = fixture.path().with_file_name(format!("vedette.db.before-{newest:04}"));
    assert!(copy.exists());
}

#[tokio::test]
async fn of_the_copies_before_migrations_the_newest_few_are_kept() {
    let fixture = Fixture::new().await;
    let folder = fixture.path().parent().unwrap().to_owned();
    for name in ["0001", "0002", "0003", "notes", "1"] {
        std::fs::write(folder.join(format!("vedette.db.before-{name}")), "").unwrap();
    }
    let options = SqliteConnectOptions::new().filename(fixture.path());
    backup::before_migration(&fixture.path(), &options, 12).await.unwrap();
    let left = |name: &str| folder.join(format!("vedette.db.before-{name}")).exists();
    assert!(!left("0001") && left("0002") && left("0003") && left("0012"));
    assert!(left("notes") && left("1"), "not ours");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written over a database, opening it works or says that it cannot be used.
    #[test]
    fn a_database_damaged_anywhere_opens_or_is_unusable(
        at in any::<prop::sample::Index>(),
        length in 1_usize..6_000,
        byte: u8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            let stream = fixture.stream().await;
            record(&fixture, stream, 1, 1, 0, &[10; 3]).await;
            fixture.store.close().await;
            let file = std::fs::File::options().write(true).open(fixture.path()).unwrap();
            let at = at.index(file.metadata().unwrap().len() as usize);
            file.write_all_at(&vec![byte; length], at as u64).unwrap();
            match reopen(&fixture).await {
                Ok(store) => store.close().await,
                Err(StoreError::Unusable { .. } | StoreError::WrongKey | StoreError::Corrupt(_)) => {}
                // What the list of migrations says may be what was overwritten.
                Err(StoreError::Migrate(_) | StoreError::Newer(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        });
    }
}
