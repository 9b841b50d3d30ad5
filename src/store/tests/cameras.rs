use super::*;
use crate::{
    id::{TokenId, UserId},
    model::{ClosedSegment, Gap, Token, User, UserRole},
    proto::reason::GapReason,
};

#[tokio::test]
async fn a_camera_comes_back_as_it_was_put_in() {
    let fixture = Fixture::new().await;
    let mut door = camera("door", &[Role::Main, Role::Sub]);
    door.retention.max_age_seconds = Some(86_400);
    door.volume = Some("/b".into());
    door.streams[1].retention = Some(RetentionLimits::default());
    door.streams[1].record = Some(RecordMode::Never);
    door.streams[0].transport = Transport::Udp;
    door.streams[1].transport = Transport::Http;
    door.tls = Trust::Fingerprint([7; 32]);
    let bare = Camera { username: None, password: None, ..camera("bare", &[]) };
    let store = &fixture.store;
    assert_eq!(store.insert_camera(door.clone()).await.unwrap(), door);
    store.insert_camera(bare.clone()).await.unwrap();

    assert_eq!(store.camera_by_slug(&door.slug).await.unwrap().as_ref(), Some(&door));
    let both = [bare, door];
    assert_eq!(store.cameras().await.unwrap(), both);
    assert_eq!(store.cameras_page(None, 1).await.unwrap(), both[..1]);
    assert_eq!(store.cameras_page(Some(&both[0].slug), 9).await.unwrap(), both[1..]);
    assert_eq!(store.camera_by_slug(&slug("nobody")).await.unwrap(), None);
}

#[tokio::test]
async fn no_password_stands_in_the_clear_in_any_file() {
    let fixture = Fixture::new().await;
    let mut door = fixture.store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
    door.password = Some(Secret::new("another secret word".into()));
    door.streams[0].url = "rtsp://192.0.2.1/live?user=a&password=in-the-query".into();
    fixture.store.update_camera(&door).await.unwrap();
    let found = |needle: &str| {
        std::fs::read_dir(fixture.path().parent().unwrap()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
        })
    };
    assert!(found("DOOR"), "the search works");
    assert!(!found("in-the-query"));
    assert!(!found("correct horse battery"));
    assert!(!found("another secret word"));
}

#[tokio::test]
async fn a_sealed_password_moved_to_another_camera_does_not_open_there() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.insert_camera(camera("door", &[])).await.unwrap();
    store.insert_camera(camera("gate", &[])).await.unwrap();
    store
        .writer
        .write("tamper", |db| {
            Box::pin(async move {
                sqlx::query(
                    "update camera set password_sealed =
                         (select password_sealed from camera where slug = 'door')
                     where slug = 'gate'",
                )
                .execute(db)
                .await
                .map(|_| ())
                .map_err(failed("tamper"))
            })
        })
        .await
        .unwrap();
    let cameras = store.cameras().await.unwrap();
    assert_eq!(cameras[0].password, Some(Secret::new("correct horse battery".into())));
    let (password, broken) = (&cameras[1].password, cameras[1].sealed_broken);
    assert_eq!((password, broken, cameras[0].sealed_broken), (&None, true, false));
}

#[tokio::test]
async fn a_slug_is_taken_until_its_camera_is_deleted() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let door = store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
    let again = store.insert_camera(camera("door", &[Role::Main])).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    store.delete_camera(door.id, false).await.unwrap();
    let new = store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
    assert_ne!(new.id, door.id, "nothing was kept to adopt");
    let gone = store.delete_camera(door.id, true).await;
    assert!(matches!(gone, Err(StoreError::NotFound(_))), "{gone:?}");
    let gone = store.delete_camera(door.id, false).await;
    assert!(matches!(gone, Err(StoreError::NotFound(_))), "{gone:?}");
}

#[tokio::test]
async fn a_camera_made_anew_adopts_the_footage_that_was_kept() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let old = store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
    let stream = old.streams[0].id;
    let run = fixture.run(stream, 1, TEN).await;
    store.open_segment(segment(stream, run, 1, TEN)).await.unwrap();
    let lasting = Gap { stream, start: after(60), end: None, reason: GapReason::Unreachable };
    store.open_gap(lasting).await.unwrap();

    fixture.clock.set(after(100));
    store.delete_camera(old.id, true).await.unwrap();
    assert_eq!(store.cameras().await.unwrap(), []);
    assert_eq!(store.camera_by_slug(&old.slug).await.unwrap(), None);
    assert_eq!(store.open_gap_of(stream).await.unwrap(), None, "nothing is expected any more");
    // Somebody who did not know yet that it was deleted.
    store.open_gap(Gap { start: after(90), ..lasting }).await.unwrap();
    fixture.clock.set(after(500));

    let mut new = camera("door", &[Role::Main, Role::Sub]);
    new.password = Some(Secret::new("a new one".into()));
    let adopted = store.insert_camera(new.clone()).await.unwrap();
    assert_eq!((adopted.id, adopted.streams[0].id), (old.id, stream));
    assert_eq!(adopted.streams[1].id, new.streams[1].id, "there was no sub stream before");
    assert_eq!(store.camera_by_slug(&new.slug).await.unwrap(), Some(adopted));
    let range = TEN..after(1_000);
    let found = store.segments_overlapping(stream, range.clone(), None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    let gaps = store.gaps_overlapping(stream, range, 10).await.unwrap();
    assert!(gaps.iter().all(|gap| gap.end == Some(after(100))), "{gaps:?}");
}

#[tokio::test]
async fn changing_a_camera_hides_a_stream_and_brings_it_back_with_its_id() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let both = store.insert_camera(camera("door", &[Role::Main, Role::Sub])).await.unwrap();
    let mut one = both.clone();
    one.streams.pop();
    one.name = "Front door".into();
    one.enabled = false;
    store.update_camera(&one).await.unwrap();
    assert_eq!(store.camera_by_slug(&one.slug).await.unwrap(), Some(one.clone()));

    let mut back = one;
    back.streams.push(camera("x", &[Role::Sub]).streams.remove(0));
    store.update_camera(&back).await.unwrap();
    let stored = store.camera_by_slug(&back.slug).await.unwrap().unwrap();
    assert_eq!(stored.streams[1].id, both.streams[1].id);

    let stranger = camera("stranger", &[]);
    let unknown = store.update_camera(&stranger).await;
    assert!(matches!(unknown, Err(StoreError::NotFound(_))), "{unknown:?}");
}

#[tokio::test]
async fn deleting_with_footage_names_every_file_and_leaves_no_row() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let door = store.insert_camera(camera("door", &[Role::Main, Role::Sub])).await.unwrap();
    let gate = store.insert_camera(camera("gate", &[Role::Main])).await.unwrap();
    for (n, stream) in
        [door.streams[0].id, door.streams[1].id, gate.streams[0].id].into_iter().enumerate()
    {
        let id = n as i64 + 1;
        let run = fixture.run(stream, id, TEN).await;
        store.open_segment(segment(stream, run, id, TEN)).await.unwrap();
        let closed = ClosedSegment {
            id: SegmentId(id),
            end: after(60),
            bytes: 10,
            damaged: 0,
            tracks: vec![Default::default()],
            keys: vec![],
        };
        store.close_segment(closed).await.unwrap();
        let gap = Gap { stream, start: after(60), end: None, reason: GapReason::Crash };
        store.open_gap(gap).await.unwrap();
    }
    store.delete_camera(door.id, false).await.unwrap();
    let files = store.pending_unlinks(None, 10).await.unwrap();
    let mut files: Vec<_> = files.into_iter().map(|file| (file.volume, file.path)).collect();
    files.sort();
    let file = |n| ("/footage".to_owned(), format!("door/main/{n}.mp4"));
    assert_eq!(files, [file(1), file(2)]);

    for (table, left) in [
        ("select count(*) from segment", 1),
        ("select count(*) from segment_keys", 1),
        ("select count(*) from segment_track", 1),
        ("select count(*) from run", 1),
        ("select count(*) from gap", 1),
        ("select count(*) from stream", 1),
        ("select count(*) from camera", 1),
    ] {
        let count: i64 = sqlx::query_scalar(table).fetch_one(&store.readers).await.unwrap();
        assert_eq!(count, left, "{table}");
    }
    assert_eq!(store.usage().await.unwrap().len(), 1);
}

#[tokio::test]
async fn accounts_and_tokens_come_back_as_they_were_put_in() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let mut user = User {
        id: UserId(7),
        name: "admin".into(),
        role: UserRole::Admin,
        password_hash: "$argon2id$…".into(),
        digest_sealed: vec![1, 2, 3].into(),
    };
    assert_eq!(store.count_users().await.unwrap(), 0);
    assert!(store.user_by_name("admin").await.unwrap().is_none());
    store.put_user(&user).await.unwrap();
    let token = Token {
        id: TokenId(8),
        user: user.id,
        name: "backup script".into(),
        hash: [9; 32],
        expires: Some(after(60)),
        created: TEN,
    };
    store.insert_token(&token).await.unwrap();

    user.id = UserId(99);
    user.role = UserRole::Viewer;
    user.password_hash = "new".into();
    store.put_user(&user).await.unwrap();
    assert_eq!(store.count_users().await.unwrap(), 1);
    assert!(store.user(UserId(99)).await.unwrap().is_none(), "the account keeps its id");
    let stored = store.user(UserId(7)).await.unwrap().unwrap();
    assert_eq!((stored.role, stored.password_hash.as_str()), (UserRole::Viewer, "new"));
    assert_eq!(stored.digest_sealed, user.digest_sealed);

    let found = store.token_by_hash(&[9; 32]).await.unwrap().unwrap();
    assert_eq!((found.id, found.expires, found.name), (token.id, token.expires, token.name));
    assert!(store.token_by_hash(&[8; 32]).await.unwrap().is_none());
    assert_eq!(store.tokens(UserId(7)).await.unwrap().len(), 1);
    assert!(store.delete_token(TokenId(8)).await.unwrap());
    assert!(!store.delete_token(TokenId(8)).await.unwrap());
    assert!(store.tokens(UserId(7)).await.unwrap().is_empty());
}
