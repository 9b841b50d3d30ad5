//! What is mirrored to the volumes, and put back from there.

use super::{
    deleting::{lock, record},
    *,
};
use crate::{
    id::{LockId, TokenId, UserId},
    model::{CameraState, State, StateError, Token, User, UserRole},
};

const HOURS: &str = r#"{"schedule":{"timezone":"Asia/Kathmandu","spans":[
    {"days":["sat"],"start":"22:00","end":"06:00"}]},"events":{"kinds":["bell"]}}"#;

fn user() -> User {
    User {
        id: UserId(7),
        name: "admin".into(),
        role: UserRole::Admin,
        password_hash: "$argon2id$…".into(),
        digest_sealed: vec![1, 2, 3].into(),
    }
}

/// Two cameras (one deleted, its footage kept), a hidden stream, an account, a token, a lock.
async fn furnished() -> (Fixture, Camera) {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let mut door = store.insert_camera(camera("door", &[Role::Main, Role::Sub])).await.unwrap();
    let gate = store.insert_camera(camera("gate", &[Role::Main])).await.unwrap();
    door.streams.pop();
    door.retention.max_age_seconds = Some(5);
    door.record = RecordMode::Schedule;
    door.tls = Trust::Authority("-----BEGIN CERTIFICATE-----".into());
    door.when = serde_json::from_str(HOURS).unwrap();
    store.update_camera(&door).await.unwrap();
    store.delete_camera(gate.id, true).await.unwrap();
    store.put_user(&user()).await.unwrap();
    let token = Token {
        id: TokenId(8),
        user: UserId(7),
        name: "script".into(),
        hash: [9; 32],
        expires: None,
        created: TEN,
    };
    store.insert_token(&token).await.unwrap();
    store.insert_lock(lock(1, gate.id, 0, 60)).await.unwrap();
    (fixture, door)
}

async fn fresh(sealer: &Sealer) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vedette.db");
    let store = Store::open(&path, Clock::manual(TEN), sealer.clone()).await.unwrap();
    (dir, store)
}

#[tokio::test]
async fn everything_comes_back_from_the_mirror_and_nothing_in_it_is_in_the_clear() {
    let (fixture, door) = furnished().await;
    let state = fixture.store.state().await.unwrap();
    let text = state.to_json();
    let shown = String::from_utf8(text.clone()).unwrap();
    assert!(shown.contains("\"door\""));
    assert!(!shown.contains("correct horse") && !shown.contains("192.0.2.1"), "{shown}");
    assert_eq!(format!("{:?}", state.key_check), "Some(***)");

    let (_dir, store) = fresh(&fixture.sealer).await;
    let read = State::from_json(&text).unwrap();
    assert_eq!(read, state);
    let restored = store.restore_state(read.clone()).await.unwrap();
    assert_eq!(restored, Restored { cameras: 2, users: 1, locks: 1, key_fits: true });
    assert_eq!(store.cameras().await.unwrap(), [door]);
    let again = store.state().await.unwrap();
    assert!(again.generation > state.generation);
    let same = State { generation: state.generation, key_check: None, ..again };
    assert_eq!(same, State { key_check: None, ..state });
    assert!(store.token_by_hash(&[9; 32]).await.unwrap().is_some());

    // Changed meanwhile: what is there stays.
    let mut user = user();
    user.password_hash = "newer".into();
    store.put_user(&user).await.unwrap();
    let restored = store.restore_state(read).await.unwrap();
    assert_eq!((restored.cameras, restored.users, restored.locks), (0, 0, 0));
    let kept = store.user_by_name("admin").await.unwrap().unwrap();
    assert_eq!(kept.password_hash, "newer");
}

#[tokio::test]
async fn with_another_key_file_cameras_come_back_and_say_what_they_lack() {
    let (fixture, door) = furnished().await;
    let state = fixture.store.state().await.unwrap();
    let (_dir, store) = fresh(&Sealer::ephemeral()).await;
    let restored = store.restore_state(state.clone()).await.unwrap();
    assert!(!restored.key_fits);
    let mut broken = store.camera_by_slug(&door.slug).await.unwrap().unwrap();
    assert!(broken.sealed_broken);
    assert_eq!((&broken.password, broken.streams[0].url.as_str()), (&None, ""));
    assert_eq!(broken.streams[0].id, door.streams[0].id);

    // A change of something else leaves what is stored as it is: the key file may be found.
    broken.name = "New name".into();
    store.update_camera(&broken).await.unwrap();
    let sealed = |state: &State| {
        let camera: &CameraState = state.cameras.iter().find(|c| c.id == door.id).unwrap();
        (camera.password_sealed.clone(), camera.streams[0].url_sealed.clone())
    };
    assert_eq!(sealed(&store.state().await.unwrap()), sealed(&state));

    broken.streams[0].url = "rtsp://192.0.2.9/".into();
    broken.password = Some(Secret::new("given anew".into()));
    store.update_camera(&broken).await.unwrap();
    let mended = store.camera_by_slug(&door.slug).await.unwrap().unwrap();
    assert_eq!((mended.sealed_broken, &mended.password), (false, &broken.password));
    assert_eq!(mended.streams[0].url, "rtsp://192.0.2.9/");
}

#[tokio::test]
async fn the_generation_grows_with_what_is_mirrored_and_not_with_footage() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let mut generation = store.watch_state();
    let door = store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
    generation.changed().await.unwrap();
    let before = store.state().await.unwrap().generation;
    record(&fixture, door.streams[0].id, 1, 1, 0, &[10; 3]).await;
    store.delete_segments(&[SegmentId(1)]).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.state().await.unwrap().generation, before);

    store.insert_lock(lock(1, door.id, 0, 5)).await.unwrap();
    while *generation.borrow_and_update() <= before {
        generation.changed().await.unwrap();
    }
    store.delete_lock(LockId(1)).await.unwrap();
    store.put_user(&user()).await.unwrap();
    let last = store.state().await.unwrap().generation;
    assert!(last >= before + 3, "{before} {last}");
    store.close().await;
    let again =
        Store::open(&fixture.path(), fixture.clock.clone(), fixture.sealer.clone()).await.unwrap();
    assert_eq!(*again.watch_state().borrow(), last);
}

#[tokio::test]
async fn a_camera_of_the_mirror_whose_name_was_given_away_does_not_come_back() {
    let (fixture, _) = furnished().await;
    let state = fixture.store.state().await.unwrap();
    let (_dir, store) = fresh(&fixture.sealer).await;
    let other = store.insert_camera(camera("gate", &[Role::Main])).await.unwrap();
    let restored = store.restore_state(state).await.unwrap();
    assert_eq!((restored.cameras, restored.locks), (1, 0), "its lock has no camera");
    assert_eq!(store.camera_by_slug(&other.slug).await.unwrap(), Some(other));
}

#[test]
fn a_mirror_of_a_later_version_and_a_torn_one_are_told_apart() {
    let mut state = State::empty();
    assert_eq!(State::from_json(&state.to_json()).unwrap(), state);
    let text = state.to_json();
    let torn = State::from_json(&text[..text.len() - 4]);
    assert!(matches!(torn, Err(StateError::Unreadable(_))), "{torn:?}");
    state.version = 99;
    let later = State::from_json(&state.to_json());
    assert!(matches!(later, Err(StateError::Newer(99))), "{later:?}");
    let mut text = String::from_utf8(State::empty().to_json()).unwrap();
    text = text.replacen('{', "{\"unknown\": [1, 2],", 1);
    assert_eq!(State::from_json(text.as_bytes()).unwrap(), State::empty());
}
