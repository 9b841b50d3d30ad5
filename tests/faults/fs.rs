//! A file system that fails on demand and remembers every operation, over a real folder.
//!
//! What is written really is in the folder at once, as in a kernel's cache, so readers need no
//! seam. The [`Journal`] says in which order things were asked for and what was synced; `cut.rs`
//! makes of it what a power cut may leave.
//!
//! # What counts as durable
//!
//! * Bytes: what was appended before a sync of the file (or of everything) *began*, once that has
//!   ended well. A sync that failed takes them for good: the kernel calls the pages clean, and a
//!   later sync says nothing about them.
//! * Names: what happened in a folder before a sync of that folder (or of everything) began.
//! * What goes around the seam (`std::fs`) is taken for durable when [`FaultFs::adopt`] finds it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{self, IoSlice, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use vedette::disk::{Entry as DirEntry, Fs, FsFile, RealFs, Space};

const ENOENT: i32 = 2;
pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// A file's identity, whatever it is called.
pub(crate) type Inode = usize;

/// Something that was done. A place in the journal is the number of entries before it.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    MakeFolder(PathBuf),
    Create(PathBuf, Inode),
    Append(Inode, Bytes),
    Truncate(Inode, u64),
    /// What the journal held of the file before that place is durable.
    Sync(Inode, usize),
    /// The same is lost unless it got to the disk by chance.
    SyncFailed(Inode, usize),
    SyncFolder(PathBuf, usize),
    SyncAll(usize),
    SyncAllFailed(usize),
    RemoveFile(PathBuf),
    RemoveFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    /// What a failed sync lost reads as it stands on the disk from now on.
    Forget(Inode),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) op: Op,
    /// Length of the database's write-ahead log then.
    pub(crate) wal: u64,
}

pub(crate) type Journal = Vec<Entry>;

/// Kinds of operation, to be made to fail or to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    MakeFolder,
    Create,
    Append,
    Truncate,
    Sync,
    SyncFolder,
    SyncAll,
    Remove,
    /// Reading, listing and asking for a file are not in the journal, but may fail.
    Read,
}

/// What goes wrong at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Errors by kind of operation; for how many more times.
    pub(crate) errors: BTreeMap<Call, (i32, u32)>,
    /// Size of the file system.
    pub(crate) capacity: Option<u64>,
    /// The most that one write takes.
    pub(crate) sip: Option<usize>,
    /// A write that fails has written a part before.
    pub(crate) torn: bool,
    /// These wait until they are let go.
    pub(crate) hold: BTreeSet<Call>,
    pub(crate) read_only: bool,
    /// The disk is not there: no name is, and what was open fails.
    pub(crate) missing: bool,
}

#[derive(Debug, Default)]
struct State {
    journal: Journal,
    faults: Faults,
    /// By name, as the kernel sees it now.
    names: HashMap<PathBuf, Inode>,
    folders: BTreeSet<PathBuf>,
    sizes: Vec<u64>,
    /// Bytes that a failed sync took, by file: in memory still, and nowhere else.
    lost: HashMap<Inode, Vec<std::ops::Range<u64>>>,
    /// By file, how much of it was there at its last sync.
    synced: HashMap<Inode, u64>,
    /// Nothing has any effect any more.
    dead: bool,
    /// Folders with names that are not durable.
    unsynced: BTreeSet<PathBuf>,
    /// Calls that wait.
    waiting: Vec<Call>,
    /// Errors given so far.
    failed: u64,
    /// Operations and errors so far, but for those of the threads that look after a volume: they
    /// try a failed one every few milliseconds of real time, for as long as it fails.
    stirred: u64,
}

#[derive(Debug)]
struct Disk {
    root: PathBuf,
    wal: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
}

/// See the module. Cheap to clone; clones are the same file system.
#[derive(Clone, Debug)]
pub(crate) struct FaultFs(Arc<Disk>);

#[derive(Debug)]
struct FaultFile {
    disk: Arc<Disk>,
    inode: Inode,
    real: File,
}

fn error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while such calls are held, then fails if they are to fail.
    fn enter(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.faults.hold.contains(&call) && !state.dead {
            state.waiting.push(call);
            while state.faults.hold.contains(&call) && !state.dead {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.waiting.retain(|&c| c != call);
        }
        if state.dead {
            return Err(error(EIO));
        }
        if state.faults.missing {
            state.fail();
            let open = matches!(call, Call::Append | Call::Truncate | Call::Sync | Call::SyncAll);
            return Err(error(if open { EIO } else { ENOENT }));
        }
        let writes = !matches!(call, Call::Sync | Call::SyncFolder | Call::SyncAll | Call::Read);
        if state.faults.read_only && writes {
            state.fail();
            return Err(error(EROFS));
        }
        Ok(state)
    }

    fn fails(state: &mut State, call: Call) -> Option<io::Error> {
        let (code, times) = state.faults.errors.get_mut(&call)?;
        let code = *code;
        *times = times.saturating_sub(u32::from(*times < u32::MAX));
        if *times == 0 {
            state.faults.errors.remove(&call);
        }
        state.fail();
        Some(error(code))
    }

    fn note(&self, state: &mut State, op: Op) {
        match &op {
            Op::MakeFolder(path)
            | Op::Create(path, _)
            | Op::RemoveFile(path)
            | Op::RemoveFolder(path)
            | Op::Rename(_, path) => {
                state.unsynced.extend(path.parent().map(Path::to_owned));
            }
            Op::SyncFolder(path, _) => {
                state.unsynced.remove(path);
            }
            Op::SyncAll(_) => state.unsynced.clear(),
            _ => {}
        }
        let wal = fs::metadata(&self.wal).map_or(0, |m| m.len());
        state.journal.push(Entry { op, wal });
        state.stir();
    }

    fn used(state: &State) -> u64 {
        state.names.values().filter_map(|&inode| state.sizes.get(inode)).sum()
    }
}

impl State {
    fn fail(&mut self) {
        self.failed += 1;
        self.stir();
    }

    fn stir(&mut self) {
        self.stirred += u64::from(std::thread::current().name() != Some("disk-keeper"));
    }

    /// A sync failed that was to save what `inode` held up to `size`.
    fn lose(&mut self, inode: Inode, size: u64) {
        let from = self.synced.insert(inode, size).unwrap_or(0).min(size);
        self.lost.entry(inode).or_default().push(from..size);
    }
}

impl FaultFs {
    /// Over `root`; `wal` is looked at with every operation.
    pub(crate) fn new(root: PathBuf, wal: PathBuf) -> Self {
        let (state, wake) = (Mutex::default(), Condvar::new());
        let new = Self(Arc::new(Disk { root, wal, state, wake }));
        new.adopt();
        new
    }

    /// The folder beneath.
    pub(crate) fn root(&self) -> &Path {
        &self.0.root
    }

    /// Changes what goes wrong.
    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.lock().faults);
        self.0.wake.notify_all();
    }

    /// Nothing has any effect from now on; what waits is let go.
    pub(crate) fn kill(&self) {
        self.0.lock().dead = true;
        self.0.wake.notify_all();
    }

    pub(crate) fn journal(&self) -> Journal {
        self.0.lock().journal.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().journal.len()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.0.lock().failed
    }

    /// Changes while somebody is at work here, and not because a failed volume is tried again.
    pub(crate) fn stirred(&self) -> u64 {
        self.0.lock().stirred
    }

    /// Something is there that nobody has synced, or tried to.
    pub(crate) fn is_dirty(&self) -> bool {
        let state = self.0.lock();
        let unsynced = |inode: &Inode| {
            let size = state.sizes.get(*inode).copied().unwrap_or(0);
            size > state.synced.get(inode).copied().unwrap_or(0)
        };
        state.names.values().any(unsynced) || state.unsynced.iter().any(|f| f.is_dir())
    }

    pub(crate) fn holds(&self) -> bool {
        !self.0.lock().faults.hold.is_empty()
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.0.lock().faults.missing
    }

    pub(crate) fn is_waiting(&self, call: Call) -> bool {
        self.0.lock().waiting.contains(&call)
    }

    /// Bytes in files now.
    pub(crate) fn used(&self) -> u64 {
        Disk::used(&self.0.lock())
    }

    /// Takes what is in the folder and not in the journal for durable.
    pub(crate) fn adopt(&self) {
        let disk = &*self.0;
        let mut state = disk.lock();
        let mut found = BTreeMap::new();
        walk(&disk.root, &mut found);
        let gone: Vec<PathBuf> = state
            .names
            .keys()
            .chain(&state.folders)
            .filter(|p| !found.contains_key(*p))
            .cloned()
            .collect();
        let mut touched = BTreeSet::new();
        for path in gone {
            touched.extend(path.parent().map(Path::to_owned));
            let op = if state.names.remove(&path).is_some() {
                Op::RemoveFile(path)
            } else {
                state.folders.remove(&path);
                Op::RemoveFolder(path)
            };
            disk.note(&mut state, op);
        }
        for (path, len) in found {
            let known = state.names.get(&path).copied();
            match len {
                None if state.folders.contains(&path) => continue,
                None => {
                    state.folders.insert(path.clone());
                    disk.note(&mut state, Op::MakeFolder(path.clone()));
                }
                Some(len) => {
                    if known.is_some_and(|i| state.sizes.get(i) == Some(&len)) {
                        continue;
                    }
                    let inode = state.sizes.len();
                    state.sizes.push(len);
                    if state.names.insert(path.clone(), inode).is_some() {
                        disk.note(&mut state, Op::RemoveFile(path.clone()));
                    }
                    disk.note(&mut state, Op::Create(path.clone(), inode));
                    let content = Bytes::from(fs::read(&path).unwrap());
                    disk.note(&mut state, Op::Append(inode, content));
                    let place = state.journal.len();
                    state.synced.insert(inode, len);
                    disk.note(&mut state, Op::Sync(inode, place));
                }
            }
            touched.extend(path.parent().map(Path::to_owned));
        }
        for folder in touched {
            let place = state.journal.len();
            disk.note(&mut state, Op::SyncFolder(folder, place));
        }
    }
}

/// Everything below `folder`, files with their lengths; without the lock.
pub(crate) fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, Option<u64>>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if path.ends_with(".vedette/lock") {
            continue;
        }
        if meta.is_dir() {
            found.insert(path.clone(), None);
            walk(&path, found);
        } else {
            found.insert(path, Some(meta.len()));
        }
    }
}

impl Fs for FaultFs {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        let disk = &*self.0;
        let mut state = disk.enter(Call::MakeFolder)?;
        if path.is_dir() {
            return Ok(false);
        }
        if let Some(e) = Disk::fails(&mut state, Call::MakeFolder) {
            return Err(e);
        }
        let mut missing: Vec<&Path> = path.ancestors().take_while(|a| !a.is_dir()).collect();
        missing.reverse();
        for folder in missing {
            fs::create_dir(folder)?;
            state.folders.insert(folder.to_owned());
            disk.note(&mut state, Op::MakeFolder(folder.to_owned()));
        }
        Ok(true)
    }

    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let disk = &self.0;
        let mut state = disk.enter(Call::Create)?;
        if let Some(e) = Disk::fails(&mut state, Call::Create) {
            return Err(e);
        }
        let real = File::options().append(true).read(true).create_new(true).open(path)?;
        let inode = state.sizes.len();
        state.sizes.push(0);
        state.names.insert(path.to_owned(), inode);
        disk.note(&mut state, Op::Create(path.to_owned(), inode));
        Ok(Arc::new(FaultFile { disk: Arc::clone(disk), inode, real }))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let disk = &*self.0;
        let place = self.len();
        let mut state = disk.enter(Call::SyncFolder)?;
        if let Some(e) = Disk::fails(&mut state, Call::SyncFolder) {
            state.unsynced.remove(path);
            return Err(e);
        }
        if !path.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.note(&mut state, Op::SyncFolder(path.to_owned(), place));
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        let disk = &*self.0;
        let place = self.len();
        let mut state = disk.enter(Call::SyncAll)?;
        let sizes: Vec<(Inode, u64)> = state.sizes.iter().copied().enumerate().collect();
        if let Some(e) = Disk::fails(&mut state, Call::SyncAll) {
            sizes.into_iter().for_each(|(inode, size)| state.lose(inode, size));
            disk.note(&mut state, Op::SyncAllFailed(place));
            return Err(e);
        }
        state.synced.extend(sizes);
        disk.note(&mut state, Op::SyncAll(place));
        Ok(())
    }

    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        let disk = &self.0;
        let mut state = disk.enter(Call::Read)?;
        if let Some(e) = Disk::fails(&mut state, Call::Read) {
            return Err(e);
        }
        if state.faults.read_only {
            return Err(error(EROFS));
        }
        let real = File::options().append(true).read(true).open(path)?;
        let inode = state.names.get(path).copied();
        let inode = inode.unwrap_or_else(|| panic!("{} was made around the seam", path.display()));
        Ok(Arc::new(FaultFile { disk: Arc::clone(disk), inode, real }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let disk = &*self.0;
        let mut state = disk.enter(Call::Remove)?;
        if let Some(e) = Disk::fails(&mut state, Call::Remove) {
            return Err(e);
        }
        fs::remove_file(path)?;
        state.names.remove(path);
        disk.note(&mut state, Op::RemoveFile(path.to_owned()));
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let disk = &*self.0;
        let mut state = disk.enter(Call::Remove)?;
        if let Some(e) = Disk::fails(&mut state, Call::Remove) {
            return Err(e);
        }
        fs::remove_dir(path)?;
        state.folders.remove(path);
        disk.note(&mut state, Op::RemoveFolder(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let disk = &*self.0;
        let mut state = disk.enter(Call::Create)?;
        if let Some(e) = Disk::fails(&mut state, Call::Create) {
            return Err(e);
        }
        fs::rename(from, to)?;
        if let Some(inode) = state.names.remove(from) {
            state.names.insert(to.to_owned(), inode);
        }
        disk.note(&mut state, Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.0.enter(Call::Read)?;
        if let Some(e) = Disk::fails(&mut state, Call::Read) {
            return Err(e);
        }
        RealFs.list(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.0.enter(Call::Read)?;
        if let Some(e) = Disk::fails(&mut state, Call::Read) {
            return Err(e);
        }
        fs::read(path)
    }

    fn device(&self, path: &Path) -> io::Result<u64> {
        if self.0.lock().faults.missing {
            return Err(error(ENOENT));
        }
        RealFs.device(path)
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.0.lock();
        if state.faults.missing {
            return Err(error(ENOENT));
        }
        let total = state.faults.capacity.unwrap_or(1 << 40);
        Ok(Space { free: total.saturating_sub(Disk::used(&state)), total })
    }
}

impl FsFile for FaultFile {
    fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.disk.enter(Call::Append)?;
        let whole: Vec<u8> = buffers.iter().flat_map(|b| b.iter().copied()).collect();
        let failed = Disk::fails(&mut state, Call::Append);
        let room = state.faults.capacity.map_or(u64::MAX, |c| c.saturating_sub(Disk::used(&state)));
        let mut most = usize::try_from(room).unwrap_or(usize::MAX);
        if most == 0 && !whole.is_empty() && failed.is_none() {
            state.fail();
            return Err(error(ENOSPC));
        }
        most = most.min(state.faults.sip.unwrap_or(usize::MAX));
        if failed.is_some() {
            most = if state.faults.torn { most.min(whole.len() / 2) } else { 0 };
        }
        let some = whole.get(..most).unwrap_or(&whole);
        if !some.is_empty() {
            (&self.real).write_all(some)?;
            if let Some(size) = state.sizes.get_mut(self.inode) {
                *size += some.len() as u64;
            }
            self.disk.note(&mut state, Op::Append(self.inode, Bytes::copy_from_slice(some)));
        }
        failed.map_or(Ok(some.len()), Err)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.enter(Call::Truncate)?;
        if let Some(e) = Disk::fails(&mut state, Call::Truncate) {
            return Err(e);
        }
        self.real.set_len(len)?;
        if let Some(size) = state.sizes.get_mut(self.inode) {
            *size = len;
        }
        self.disk.note(&mut state, Op::Truncate(self.inode, len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (place, size) = {
            let state = self.disk.lock();
            (state.journal.len(), state.sizes.get(self.inode).copied().unwrap_or(0))
        };
        let mut state = self.disk.enter(Call::Sync)?;
        if let Some(e) = Disk::fails(&mut state, Call::Sync) {
            state.lose(self.inode, size);
            self.disk.note(&mut state, Op::SyncFailed(self.inode, place));
            return Err(e);
        }
        state.synced.insert(self.inode, size);
        self.disk.note(&mut state, Op::Sync(self.inode, place));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.real.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.enter(Call::Read)?;
        if let Some(e) = Disk::fails(&mut state, Call::Read) {
            return Err(e);
        }
        self.real.read_exact_at(buffer, at)
    }

    fn forget_cache(&self) -> io::Result<()> {
        let mut state = self.disk.enter(Call::Read)?;
        let Some(lost) = state.lost.remove(&self.inode) else { return Ok(()) };
        // Opened for appending, it cannot be written elsewhere.
        let name = state.names.iter().find(|(_, inode)| **inode == self.inode).map(|(p, _)| p);
        if let Some(name) = name {
            let real = File::options().write(true).open(name)?;
            let size = real.metadata()?.len();
            for range in lost {
                let zeros = vec![0; (range.end.min(size).saturating_sub(range.start)) as usize];
                real.write_all_at(&zeros, range.start)?;
            }
        }
        self.disk.note(&mut state, Op::Forget(self.inode));
        Ok(())
    }
}

/// Several of them side by side, each below its root.
#[derive(Clone, Debug)]
pub(crate) struct Shelf(pub(crate) Vec<FaultFs>);

impl Shelf {
    fn of(&self, path: &Path) -> io::Result<&FaultFs> {
        // What they stand in is anybody's.
        let found = self.0.iter().find(|disk| path.starts_with(disk.root()));
        found.or(self.0.first()).ok_or_else(|| error(ENOENT))
    }
}

impl Fs for Shelf {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        self.of(path)?.create_folder(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.of(path)?.create_file(path)
    }

    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.of(path)?.open_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.of(path)?.sync_folder(path)
    }

    fn sync_all(&self, root: &Path) -> io::Result<()> {
        self.of(root)?.sync_all(root)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.of(path)?.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.of(path)?.remove_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.of(from)?.rename(from, to)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.of(path)?.list(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.of(path)?.read(path)
    }

    fn device(&self, path: &Path) -> io::Result<u64> {
        self.of(path)?.device(path)
    }

    fn space(&self, root: &Path) -> io::Result<Space> {
        self.of(root)?.space(root)
    }
}
