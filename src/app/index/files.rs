//! The index's files: who holds them, and putting one in the place of another without ever losing
//! either.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::clock::Clock;

/// SQLite's files beside the database. The database goes first: without it SQLite throws a log away,
/// and with a log that is another's it would be damaged.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// Held for as long as a process records into the index or makes it again.
#[derive(Debug)]
pub(in crate::app) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Takes it.
    pub(in crate::app) fn take(database: &Path) -> anyhow::Result<Self> {
        match Self::try_take(database)? {
            Some(lock) => Ok(lock),
            None => bail!("the index {} is used by another vedette", database.display()),
        }
    }

    /// `None`: another process has it.
    pub(super) fn try_take(database: &Path) -> anyhow::Result<Option<Self>> {
        let path = with(database, ".lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("make {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("lock {}", path.display()))
            }
        }
    }
}

/// `vedette.db` + `.rebuild`.
pub(super) fn with(database: &Path, end: &str) -> PathBuf {
    let mut name: OsString = database.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Renames the index and what belongs to it, to a name that nothing has yet; which. `None`: there was
/// none.
pub(super) fn keep_aside(database: &Path, why: &str, clock: &Clock) -> io::Result<Option<PathBuf>> {
    if !PARTS.iter().any(|part| with(database, part).exists()) {
        return Ok(None);
    }
    let c = clock.now().civil();
    let stamp = format!(
        ".{why}-{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    );
    let taken = |name: &PathBuf| PARTS.iter().any(|part| with(name, part).exists());
    let first = with(database, &stamp);
    let mut others = (1..).map(|n| with(database, &format!("{stamp}.{n}")));
    let aside = if taken(&first) { others.find(|n| !taken(n)).unwrap_or(first) } else { first };
    for part in PARTS {
        match fs::rename(with(database, part), with(&aside, part)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    sync_folder(database)?;
    Ok(Some(aside))
}

/// Says that the index that was being made is whole. It must be closed: nothing beside it.
pub(super) fn is_made(database: &Path) -> io::Result<()> {
    let draft = with(database, ".rebuild");
    File::open(&draft)?.sync_all()?;
    for part in PARTS.iter().skip(1) {
        let rest = with(&draft, part);
        if fs::metadata(&rest).is_ok_and(|m| m.len() > 0) && *part == "-wal" {
            return Err(io::Error::other(format!("{} is not empty", rest.display())));
        }
        match fs::remove_file(&rest) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    fs::rename(&draft, with(database, ".rebuilt"))?;
    sync_folder(database)
}

/// Puts an index that is made in the place of the old one, which is kept aside; which. To be called
/// again after a crash in between. `None`: none is waiting, or there was no old one.
pub(super) fn finish_swap(database: &Path, clock: &Clock) -> io::Result<Option<PathBuf>> {
    let made = with(database, ".rebuilt");
    if !made.exists() {
        return Ok(None);
    }
    let aside = keep_aside(database, "before-reindex", clock)?;
    fs::rename(&made, database)?;
    sync_folder(database)?;
    Ok(aside)
}

fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::time::WallTime;

    fn clock() -> Clock {
        Clock::manual(WallTime::from_micros(1_795_341_600_000_000))
    }

    #[test]
    fn an_index_that_is_replaced_is_kept_with_its_log_however_often() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("vedette.db");
        let mut kept = Vec::new();
        for n in 0..3 {
            fs::write(&database, format!("old {n}")).unwrap();
            fs::write(with(&database, "-wal"), format!("log {n}")).unwrap();
            fs::write(with(&database, ".rebuild"), format!("new {n}")).unwrap();
            is_made(&database).unwrap();
            kept.push(finish_swap(&database, &clock()).unwrap().unwrap());
            assert_eq!(fs::read_to_string(&database).unwrap(), format!("new {n}"));
            assert!(!with(&database, "-wal").exists(), "another one's log would damage it");
        }
        for (n, aside) in kept.iter().enumerate() {
            assert_eq!(fs::read_to_string(aside).unwrap(), format!("old {n}"));
            assert_eq!(fs::read_to_string(with(aside, "-wal")).unwrap(), format!("log {n}"));
        }
    }

    #[test]
    fn a_swap_that_was_interrupted_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("vedette.db");
        // The old one is aside already, its log is not.
        fs::write(with(&database, "-wal"), "log").unwrap();
        fs::write(with(&database, ".rebuilt"), "new").unwrap();
        let aside = finish_swap(&database, &clock()).unwrap().unwrap();
        assert_eq!(fs::read_to_string(with(&aside, "-wal")).unwrap(), "log");
        assert_eq!(fs::read_to_string(&database).unwrap(), "new");
        assert_eq!(finish_swap(&database, &clock()).unwrap(), None);
    }

    #[test]
    fn one_process_at_a_time_holds_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("vedette.db");
        let lock = Lock::take(&database).unwrap();
        assert!(Lock::try_take(&database).unwrap().is_none());
        drop(lock);
        assert!(Lock::try_take(&database).unwrap().is_some());
    }
}
