//! The commands, and a start with an index that is lost, on a recorder's real folders.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    app::App,
    config, disk,
    id::{CameraId, Role, StreamId},
    model::{Camera, CameraStream, RecordMode, RetentionLimits, Segment, Transport},
};

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    let any = ([127, 0, 0, 1], 0).into();
    (config.http.listen, config.rtsp.listen) = (any, any);
    config.database = config::Database::at(folder.join("vedette.db"));
    config.auth.admin_password = Some(crate::model::Secret::new("correct horse".to_owned()));
    config.volumes =
        vec![config::Volume { path: folder.join("footage"), max_bytes: None, min_free_bytes: 0 }];
    config
}

fn camera(clock: &Clock) -> Camera {
    let stream = CameraStream {
        id: StreamId::generate(clock),
        role: Role::Main,
        url: "rtsp://192.0.2.1/".to_owned(),
        transport: Transport::Tcp,
        audio: true,
        record: None,
        retention: None,
        volume: None,
        created: clock.now(),
    };
    Camera {
        id: CameraId::generate(clock),
        slug: "door".parse().unwrap(),
        name: "Door".to_owned(),
        // Nobody is there to be pulled.
        enabled: false,
        username: None,
        password: None,
        tls: Default::default(),
        record: RecordMode::Always,
        when: Default::default(),
        retention: RetentionLimits::default(),
        volume: None,
        streams: vec![stream],
        created: clock.now(),
        updated: clock.now(),
        sealed_broken: false,
        source: crate::model::Source::Pull,
    }
}

/// A recorder's folders after it has run once, with a camera and some footage of it; and the rows.
async fn used(folder: &Path) -> (Config, Camera, Vec<Segment>) {
    let config = config(folder);
    let app = App::build(config.clone()).await.unwrap();
    let camera = app.store().insert_camera(camera(app.clock())).await.unwrap();
    let start = app.clock().now();
    for n in 0..3 {
        let file = crate::rebuild::made_for_tests(
            (camera.id, camera.streams[0].id),
            n,
            start + crate::proto::time::WallSpan::from_secs(i64::from(n) * 10),
        );
        file.put(&config.volumes[0].path);
    }
    stop_soon(app).await;
    // The files are adopted as any that have no row.
    let options = CheckOptions { repair: true, deep: true };
    let checked = check(&config, options, CancellationToken::new()).await.unwrap();
    assert_eq!(checked.wrong, 0, "{checked:#?}");
    let rows = rows(&config, &camera).await;
    assert_eq!(rows.len(), 3);
    (config, camera, rows)
}

async fn stop_soon(app: App) {
    let stop = CancellationToken::new();
    let behind = Arc::clone(app.rebuild());
    let (store, stopping) = (app.store().clone(), stop.clone());
    let watch = async move {
        // Until what it does behind its back is done.
        while behind.is_running()
            || store.meta(UNDER_WAY).await.is_ok_and(|why| why.is_some_and(|w| !w.is_empty()))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stopping.cancel();
    };
    let (ended, ()) = tokio::join!(app.run(stop), watch);
    ended.unwrap();
}

async fn rows(config: &Config, camera: &Camera) -> Vec<Segment> {
    let sealer = sealer(config).unwrap();
    let store = Store::open(&config.database.path, Clock::system(), sealer).await.unwrap();
    let rows = store
        .segments_overlapping(
            camera.streams[0].id,
            crate::proto::time::WallTime::from_micros(0)
                ..crate::proto::time::WallTime::from_micros(i64::MAX),
            None,
            100,
        )
        .await
        .unwrap();
    store.close().await;
    rows
}

async fn events(config: &Config) -> Vec<Event> {
    let sealer = sealer(config).unwrap();
    let store = Store::open(&config.database.path, Clock::system(), sealer).await.unwrap();
    let ever = crate::proto::time::WallTime::from_micros(0)
        ..crate::proto::time::WallTime::from_micros(i64::MAX);
    let events = store.events_page(None, ever, None, 1_000).await.unwrap();
    store.close().await;
    events
}

fn beside(folder: &Path, part: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|p| p.to_string_lossy().contains(part)).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_kept_aside_and_all_of_it_comes_back_while_it_records() {
    let dir = tempfile::tempdir().unwrap();
    let (config, camera, before) = used(dir.path()).await;
    let damaged = b"this is no database any more".repeat(1_000);
    std::fs::write(&config.database.path, &damaged).unwrap();
    let app = App::build(config.clone()).await.unwrap();
    let back = app.store().camera_by_slug(&camera.slug).await.unwrap().unwrap();
    assert_eq!(back, camera, "it records as before at once");
    assert!(app.first_password().is_none());
    stop_soon(app).await;
    assert_eq!(rows(&config, &camera).await, before);
    let kept = beside(dir.path(), "vedette.db.corrupt-");
    let events = events(&config).await;
    let lost = events.iter().find(|e| e.kind == EventKind::IndexLost).unwrap();
    assert!(lost.detail.contains(&kept[0].display().to_string()), "{}", lost.detail);
    assert_eq!(events.iter().filter(|e| e.kind == EventKind::IndexRebuilt).count(), 1);
    assert_eq!(std::fs::read(&kept[0]).unwrap(), damaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_deleted_comes_back_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (config, camera, before) = used(dir.path()).await;
    beside(dir.path(), "vedette.db").iter().for_each(|f| std::fs::remove_file(f).unwrap());
    stop_soon(App::build(config.clone()).await.unwrap()).await;
    assert_eq!(rows(&config, &camera).await, before);
    // Nor does a second start find anything to do.
    let app = App::build(config.clone()).await.unwrap();
    assert!(app.lost.is_none());
    stop_soon(app).await;
    assert_eq!(beside(dir.path(), "corrupt"), Vec::<PathBuf>::new());
}

/// Files cannot be deleted there: as if the process died before it came to that.
#[derive(Debug)]
struct Keeping;

impl Fs for Keeping {
    fn create_folder(&self, path: &Path) -> std::io::Result<bool> {
        RealFs.create_folder(path)
    }

    fn create_file(&self, path: &Path) -> std::io::Result<Arc<dyn disk::FsFile>> {
        RealFs.create_file(path)
    }

    fn sync_folder(&self, path: &Path) -> std::io::Result<()> {
        RealFs.sync_folder(path)
    }

    fn sync_all(&self, root: &Path) -> std::io::Result<()> {
        RealFs.sync_all(root)
    }

    fn space(&self, root: &Path) -> std::io::Result<disk::Space> {
        RealFs.space(root)
    }

    fn remove_file(&self, path: &Path) -> std::io::Result<()> {
        if path.extension().is_some_and(|e| e == "mp4") {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        RealFs.remove_file(path)
    }
}

/// Works on a recorder's index and volumes as it would itself, and ends as if killed.
async fn killed<T>(
    config: &Config,
    clock: Clock,
    work: impl AsyncFnOnce(&Store, &Arc<Volumes>) -> T,
) -> T {
    let sealer = sealer(config).unwrap();
    let store = Store::open(&config.database.path, clock, sealer).await.unwrap();
    let options = disk::Options { fs: Arc::new(Keeping), ..disk::Options::default() };
    let volumes = Volumes::open_with(crate::app::volume_settings(config), options).unwrap();
    let done = work(&store, &volumes).await;
    let state = store.state().await.unwrap();
    rebuild::state::write(&RealFs, &config.volumes[0].path, &state).unwrap();
    volumes.shut_down().await;
    store.close().await;
    done
}

fn lose_the_index(folder: &Path) {
    beside(folder, "vedette.db").iter().for_each(|f| std::fs::remove_file(f).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_that_was_being_deleted_when_the_index_was_lost_does_not_come_back_unless_it_is_locked()
 {
    use crate::{clock::AgeHold, id::LockId, model::Lock, proto::time::WallSpan, retention};
    let dir = tempfile::tempdir().unwrap();
    let (config, camera, before) = used(dir.path()).await;
    let a_day_on = Clock::manual(before[2].end + WallSpan::from_secs(86_400));
    let root = config.volumes[0].path.clone();
    killed(&config, a_day_on.clone(), async |store, volumes| {
        let max_age_seconds = Some(3_600);
        let limits = RetentionLimits { max_age_seconds, ..RetentionLimits::default() };
        let limited = Camera { retention: limits, ..camera.clone() };
        store.update_camera(&limited).await.unwrap();
        let parts = retention::Parts {
            store: store.clone(),
            volumes: Arc::clone(volumes),
            clock: a_day_on.clone(),
            age: AgeHold::never(a_day_on.clone()),
        };
        let retention = retention::Retention::new(retention::Settings::default(), parts);
        let round = retention.round().await.unwrap();
        assert_eq!((round.deleted, round.unlinked), (3, 0), "rows are gone, files are not");
        // Somebody locked one of them in the last moment: what counts is that it is still there.
        let lock = Lock {
            id: LockId::generate(&a_day_on),
            camera: camera.id,
            start: before[2].opened.start,
            end: before[2].end,
            note: "evidence".to_owned(),
            created: a_day_on.now(),
            created_by: "admin".to_owned(),
        };
        store.insert_lock(lock).await.unwrap();
    })
    .await;
    assert!(before.iter().all(|row| root.join(&row.opened.path).exists()));
    lose_the_index(dir.path());
    stop_soon(App::build(config.clone()).await.unwrap()).await;
    let after = rows(&config, &camera).await;
    assert_eq!(after, before[2..], "only what is locked");
    // And they are still on their way out.
    let waiting = killed(&config, Clock::system(), async |store, _| {
        store.pending_unlinks(None, 9).await.unwrap()
    });
    let mut gone: Vec<_> = waiting.await.into_iter().map(|w| w.path).collect();
    gone.retain(|path| root.join(path).exists());
    let still = before[..2].iter().filter(|row| root.join(&row.opened.path).exists()).count();
    assert_eq!(gone.len(), still, "each that is there is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_s_footage_that_was_deleted_with_it_does_not_come_back_with_a_lost_index() {
    let dir = tempfile::tempdir().unwrap();
    let (config, camera, before) = used(dir.path()).await;
    killed(&config, Clock::system(), async |store, volumes| {
        store.delete_camera(camera.id, false).await.unwrap();
        let after = before[2].end + crate::proto::time::WallSpan::from_secs(60);
        assert_eq!(volumes.note_deleted_camera(camera.id, after).await, 1);
    })
    .await;
    lose_the_index(dir.path());
    let outcome = reindex(&config, CancellationToken::new()).await.unwrap();
    assert_eq!((outcome.done.files, outcome.done.segments, outcome.done.deleted), (3, 0, 3));
    assert_eq!(rows(&config, &camera).await, []);
    let waiting = killed(&config, Clock::system(), async |store, _| {
        assert!(store.state().await.unwrap().cameras.is_empty(), "nor the camera");
        store.unlinks_waiting().await.unwrap().0
    });
    assert_eq!(waiting.await, 3, "retention unlinks them");
}

#[tokio::test(flavor = "multi_thread")]
async fn reindex_takes_over_from_an_old_index_which_files_are_to_be_unlinked() {
    let dir = tempfile::tempdir().unwrap();
    let (config, camera, before) = used(dir.path()).await;
    killed(&config, Clock::system(), async |store, _| {
        store.delete_segments(&[before[0].opened.id]).await.unwrap();
    })
    .await;
    let outcome = reindex(&config, CancellationToken::new()).await.unwrap();
    assert_eq!((outcome.done.files, outcome.done.segments), (3, 2));
    assert_eq!(rows(&config, &camera).await, before[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reindex_puts_a_new_index_in_the_place_of_the_old_one_and_keeps_that() {
    let dir = tempfile::tempdir().unwrap();
    let (config, camera, before) = used(dir.path()).await;
    let outcome = reindex(&config, CancellationToken::new()).await.unwrap();
    assert_eq!((outcome.done.files, outcome.done.segments), (3, 3));
    assert!(outcome.kept.unwrap().exists());
    assert_eq!(rows(&config, &camera).await, before);
    let checked =
        check(&config, CheckOptions { repair: false, deep: true }, CancellationToken::new());
    assert_eq!(checked.await.unwrap().wrong, 0);
    assert_eq!(beside(dir.path(), ".rebuil"), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_recorder_an_index_is_copied_and_looked_at_but_not_mended_or_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _, before) = used(dir.path()).await;
    let app = App::build(config.clone()).await.unwrap();
    let stop = CancellationToken::new();
    let error = reindex(&config, stop.clone()).await.unwrap_err();
    assert!(error.to_string().contains("used by another vedette"), "{error:#}");
    let repair = CheckOptions { repair: true, deep: false };
    let error = check(&config, repair, stop.clone()).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error:#}");
    let looked = check(&config, CheckOptions::default(), stop.clone()).await.unwrap();
    assert_eq!((looked.wrong, looked.rows), (0, before.len() as u64), "{looked:#?}");
    let copy = dir.path().join("copy.db");
    backup(&config, &copy).await.unwrap();
    stop_soon(app).await;
    let sealer = sealer(&config).unwrap();
    let copied = Store::open(&copy, Clock::system(), sealer).await.unwrap();
    let state = copied.state().await.unwrap();
    assert_eq!((state.cameras.len(), state.users.len()), (1, 1));
    copied.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_disk_that_is_not_mounted_are_not_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (config, camera, before) = used(dir.path()).await;
    // It is not mounted: its empty mount point is left.
    let volume = &config.volumes[0].path;
    std::fs::rename(volume, dir.path().join("disk")).unwrap();
    std::fs::create_dir(volume).unwrap();
    for repair in [false, true] {
        let options = CheckOptions { repair, deep: false };
        let checked = check(&config, options, CancellationToken::new()).await.unwrap();
        assert_eq!(checked.wrong, 0, "{checked:#?}");
    }
    assert_eq!(rows(&config, &camera).await, before);
}
