//! `state.json`: written torn, read back, followed.

use std::{
    io::{self, IoSlice},
    sync::Mutex,
};

use proptest::prelude::*;

use super::*;
use crate::{
    disk::{Fs, FsFile, Space},
    model::{CameraState, SealedBytes, State},
};

/// A file system that dies after so many steps; a byte written is a step.
#[derive(Debug)]
struct Mortal(Arc<Mutex<usize>>);

#[derive(Debug)]
struct MortalFile(Arc<Mutex<usize>>, Arc<dyn FsFile>);

fn step(left: &Mutex<usize>, want: usize) -> io::Result<usize> {
    let mut left = left.lock().unwrap();
    let got = want.min(*left);
    *left -= got;
    if got == 0 { Err(io::ErrorKind::Other.into()) } else { Ok(got) }
}

impl Fs for Mortal {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        RealFs.create_folder(path)
    }
    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        step(&self.0, 1)?;
        Ok(Arc::new(MortalFile(Arc::clone(&self.0), RealFs.create_file(path)?)))
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        step(&self.0, 1)?;
        RealFs.sync_folder(path)
    }
    fn sync_all(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_all(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealFs.space(path)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        step(&self.0, 1)?;
        RealFs.remove_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        step(&self.0, 1)?;
        RealFs.rename(from, to)
    }
}

impl FsFile for MortalFile {
    fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = buffers.iter().flat_map(|b| b.iter().copied()).collect();
        let n = step(&self.0, bytes.len())?;
        self.1.append(&[IoSlice::new(&bytes[..n])])
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.1.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        step(&self.0, 1)?;
        self.1.sync()
    }
}

fn state(generation: u64, names: &[String]) -> State {
    let cameras = (1..).zip(names).map(|(id, name)| CameraState {
        source: crate::model::Source::Pull,
        id: CameraId(id),
        slug: format!("camera-{id}").parse().unwrap(),
        name: name.clone(),
        enabled: true,
        username: None,
        password_sealed: Some(SealedBytes(name.clone().into_bytes())),
        tls: Default::default(),
        record: RecordMode::Always,
        when: Default::default(),
        retention: RetentionLimits::default(),
        volume: None,
        created_us: 1,
        updated_us: 2,
        deleted_us: None,
        streams: Vec::new(),
    });
    State { generation, cameras: cameras.collect(), ..State::empty() }
}

proptest! {
    #[test]
    fn a_write_that_breaks_off_anywhere_leaves_the_old_or_the_new_state(
        old in prop::collection::vec(".{0,20}", 0..4),
        new in prop::collection::vec(".{0,20}", 0..4),
        deaths in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (state(3, &old), state(4, &new));
        state::write(&RealFs, dir.path(), &old).unwrap();
        // Dies again and again, and finds what the last death left.
        for death in deaths {
            let steps = death.index(new.to_json().len() + 6);
            let written =
                state::write(&Mortal(Arc::new(Mutex::new(steps))), dir.path(), &new);
            let there = state::read(&RealFs, dir.path()).unwrap().unwrap();
            prop_assert!(there == old || there == new);
            if written.is_ok() {
                prop_assert_eq!(&there, &new);
            }
        }
        state::write(&RealFs, dir.path(), &new).unwrap();
        prop_assert_eq!(state::read(&RealFs, dir.path()).unwrap().unwrap(), new);
    }
}

#[test]
fn only_its_owner_reads_it_and_what_another_index_wrote_is_kept_aside() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let write = |state: &State| state::write(&RealFs, dir.path(), state).unwrap();
    let file = dir.path().join(state::FILE);
    write(&state(9, &["of another index".to_owned()]));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    write(&state(2, &["ours".to_owned()]));
    let kept = std::fs::read(file.with_file_name("state-9.json")).unwrap();
    assert_eq!(State::from_json(&kept).unwrap().generation, 9);
    std::fs::write(&file, "{\"version\": 1, \"gener").unwrap();
    assert!(state::read(&RealFs, dir.path()).is_err());
    write(&state(3, &[]));
    assert!(file.with_file_name("state-unreadable.json").exists());
}

#[test]
fn of_several_copies_the_newest_that_opens_with_our_key_counts() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let root = dir.path().join(name);
        std::fs::create_dir(&root).unwrap();
        Place { volume: name.to_owned(), root }
    };
    let places = [place("a"), place("b"), place("c"), place("empty")];
    for (place, (generation, name)) in places.iter().zip([(4, "ours"), (5, "ours"), (99, "theirs")])
    {
        let state = state(generation, &[name.to_owned()]);
        state::write(&RealFs, &place.root, &state).unwrap();
    }
    let ours = |s: &State| s.cameras[0].name == "ours";
    let (newest, wrong) = state::newest(&RealFs, &places, ours);
    assert_eq!((newest.unwrap().generation, wrong.len()), (5, 0));
    std::fs::write(places[1].root.join(state::FILE), "{").unwrap();
    let (newest, wrong) = state::newest(&RealFs, &places, ours);
    assert_eq!((newest.unwrap().generation, wrong.len()), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_reaches_every_volume_also_one_that_comes_back() {
    let house = House::new().await;
    let other = house.folder.path().join("other");
    let there = Arc::new(Mutex::new(vec![Place { volume: "v".to_owned(), root: house.root() }]));
    let ask = Arc::clone(&there);
    let places = mirror::Places::new(move || ask.lock().unwrap().clone());
    let mirror = Mirror::new(house.store.clone(), Arc::new(RealFs), places);
    let stop = CancellationToken::new();
    let running = mirror.run(stop.clone());
    let says = |root: PathBuf, slug: &'static str| async move {
        loop {
            let state = state::read(&RealFs, &root).unwrap();
            if state.is_some_and(|s| s.cameras.iter().any(|c| c.slug.as_str() == slug)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let changing = async {
        says(house.root(), "door").await;
        let mut second = camera(&house.clock);
        second.slug = "gate".parse().unwrap();
        house.store.insert_camera(second).await.unwrap();
        says(house.root(), "gate").await;
        // It is written where it was not, when something changes or some seconds later.
        std::fs::create_dir(&other).unwrap();
        there.lock().unwrap().push(Place { volume: "other".to_owned(), root: other.clone() });
        let mut third = camera(&house.clock);
        third.slug = "yard".parse().unwrap();
        house.store.insert_camera(third).await.unwrap();
        says(other.clone(), "yard").await;
        stop.cancel();
    };
    tokio::join!(running, changing);
}
