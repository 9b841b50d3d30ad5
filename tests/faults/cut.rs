//! What a power cut may leave of a file system: any legal state at a place in its journal.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::fs::{Entry, Inode, Op};

/// How cruel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The process was killed: all that was written is there.
    Kill,
    /// Only what was synced.
    Least,
    /// Names that were not synced may be there or not, and files end anywhere behind what was
    /// synced.
    Prefix,
    /// The same, and files may have a longer end of zeros.
    Zeros,
    /// The same with whatever stood in those blocks before.
    Garbage,
}

/// Dice. Not a good generator, but the same one for ever: a printed case can be cast again.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        if most == u64::MAX { self.next() } else { self.next() % (most + 1) }
    }

    fn often_an_end(&mut self, most: u64) -> u64 {
        match self.up_to(3) {
            0 => 0,
            1 => most,
            _ => self.up_to(most),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Dirty,
    Durable,
    /// A sync that should have saved it failed.
    Poisoned,
}

#[derive(Clone, Debug)]
enum Change {
    Append(Bytes),
    Truncate(u64),
}

#[derive(Debug, Default)]
struct Content {
    changes: Vec<(usize, Fate, Change)>,
}

#[derive(Clone, Copy, Debug)]
enum Named {
    Nothing,
    Folder,
    File(Inode),
}

/// The history of one name.
#[derive(Debug, Default)]
struct Name {
    /// Place in the journal, and what the name stands for from there on.
    steps: Vec<(usize, Named)>,
    /// So many of them are durable.
    durable: usize,
}

/// What the journal says up to a place.
#[derive(Debug, Default)]
pub(crate) struct History {
    names: BTreeMap<PathBuf, Name>,
    files: BTreeMap<Inode, Content>,
}

/// What a folder holds afterwards: `None` is a folder.
pub(crate) type Folder = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl History {
    pub(crate) fn of(journal: &[Entry]) -> Self {
        let mut history = Self::default();
        for (place, entry) in journal.iter().enumerate() {
            history.add(place, &entry.op);
        }
        history
    }

    fn add(&mut self, place: usize, op: &Op) {
        match op {
            Op::MakeFolder(path) => self.name(path, place, Named::Folder),
            Op::Create(path, inode) => self.name(path, place, Named::File(*inode)),
            Op::RemoveFile(path) | Op::RemoveFolder(path) => {
                self.name(path, place, Named::Nothing);
            }
            Op::Rename(from, to) => {
                let last = self.names.get(from).and_then(|n| n.steps.last()).map(|&(_, what)| what);
                if let Some(what) = last {
                    self.name(to, place, what);
                    self.name(from, place, Named::Nothing);
                }
            }
            Op::Forget(inode) => {
                for change in self.files.get_mut(inode).into_iter().flat_map(|f| &mut f.changes) {
                    if let (Fate::Poisoned, Change::Append(bytes)) = (change.1, &mut change.2) {
                        *bytes = Bytes::from(vec![0; bytes.len()]);
                    }
                }
            }
            Op::Append(inode, bytes) => self.change(*inode, place, Change::Append(bytes.clone())),
            Op::Truncate(inode, len) => self.change(*inode, place, Change::Truncate(*len)),
            Op::Sync(inode, before) => self.settle(Some(*inode), *before, Fate::Durable),
            Op::SyncFailed(inode, before) => self.settle(Some(*inode), *before, Fate::Poisoned),
            Op::SyncFolder(path, before) => self.settle_names(Some(path), *before),
            Op::SyncAll(before) => {
                self.settle(None, *before, Fate::Durable);
                self.settle_names(None, *before);
            }
            Op::SyncAllFailed(before) => self.settle(None, *before, Fate::Poisoned),
        }
    }

    fn name(&mut self, path: &Path, place: usize, what: Named) {
        self.names.entry(path.to_owned()).or_default().steps.push((place, what));
    }

    fn change(&mut self, inode: Inode, place: usize, change: Change) {
        self.files.entry(inode).or_default().changes.push((place, Fate::Dirty, change));
    }

    fn settle(&mut self, inode: Option<Inode>, before: usize, fate: Fate) {
        let files = self.files.iter_mut().filter(|(i, _)| inode.is_none_or(|wanted| wanted == **i));
        for change in files.flat_map(|(_, f)| &mut f.changes) {
            if change.0 < before && change.1 == Fate::Dirty {
                change.1 = fate;
            }
        }
    }

    fn settle_names(&mut self, folder: Option<&Path>, before: usize) {
        for (path, name) in &mut self.names {
            if folder.is_none_or(|folder| path.parent() == Some(folder)) {
                let durable = name.steps.iter().filter(|(place, _)| *place < before).count();
                name.durable = name.durable.max(durable);
            }
        }
    }

    /// One of the states that a power cut may leave.
    pub(crate) fn after_cut(&self, mode: Mode, dice: &mut Dice) -> Folder {
        let mut folder = Folder::new();
        // By path, so that a folder comes before what is in it.
        for (path, name) in &self.names {
            let rest = (name.steps.len() - name.durable) as u64;
            let more = match mode {
                Mode::Kill => rest,
                Mode::Least => 0,
                _ => dice.up_to(rest),
            };
            let steps = name.durable + usize::try_from(more).unwrap_or(0);
            let Some((_, what)) = steps.checked_sub(1).and_then(|last| name.steps.get(last)) else {
                continue;
            };
            // The root itself is no name in it.
            let reachable = path
                .parent()
                .is_some_and(|p| !self.names.contains_key(p) || folder.contains_key(p));
            if !reachable {
                continue;
            }
            match what {
                Named::Nothing => {}
                Named::Folder => {
                    folder.insert(path.clone(), None);
                }
                Named::File(inode) => {
                    let content = self.files.get(inode).map(|f| f.after_cut(mode, dice));
                    folder.insert(path.clone(), Some(content.unwrap_or_default()));
                }
            }
        }
        folder
    }
}

impl Content {
    fn after_cut(&self, mode: Mode, dice: &mut Dice) -> Vec<u8> {
        let sure = self.changes.iter().rposition(|(_, fate, _)| *fate == Fate::Durable);
        let sure = sure.map_or(0, |last| last + 1);
        let mut bytes = Vec::new();
        let (durable, rest) = self.changes.split_at(sure);
        for (_, fate, change) in durable {
            match change {
                Change::Append(more) if *fate == Fate::Poisoned && mode != Mode::Kill => {
                    // Something later is durable, so this has its length; but not its bytes.
                    bytes.resize(bytes.len() + more.len(), 0);
                }
                change => apply(&mut bytes, change),
            }
        }
        if mode == Mode::Kill {
            rest.iter().for_each(|(_, _, change)| apply(&mut bytes, change));
            return bytes;
        }
        if mode == Mode::Least {
            return bytes;
        }
        let all: u64 = rest.iter().map(|(_, _, c)| c.weight()).sum();
        let mut left = dice.often_an_end(all);
        let mut written = 0;
        for (_, _, change) in rest {
            let weight = change.weight();
            if weight <= left {
                apply(&mut bytes, change);
                left -= weight;
                continue;
            }
            if let Change::Append(more) = change {
                let some = usize::try_from(left).unwrap_or(0);
                bytes.extend_from_slice(more.get(..some).unwrap_or_default());
                written = more.len() - some;
            }
            break;
        }
        if matches!(mode, Mode::Zeros | Mode::Garbage) {
            let end = bytes.len() + usize::try_from(dice.often_an_end(written as u64)).unwrap_or(0);
            while bytes.len() < end {
                bytes.push(if mode == Mode::Zeros { 0 } else { (dice.next() >> 13) as u8 });
            }
        }
        bytes
    }
}

impl Change {
    /// How many places there are in it where the power may go.
    fn weight(&self) -> u64 {
        match self {
            Self::Append(bytes) => bytes.len() as u64,
            Self::Truncate(_) => 1,
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Append(more) => bytes.extend_from_slice(more),
        Change::Truncate(len) => bytes.resize(usize::try_from(*len).unwrap_or(0), 0),
    }
}

/// Puts `folder` in the place of what is below `root`.
pub(crate) fn restore(root: &Path, folder: &Folder) {
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == ".vedette" {
            // The lock stays: it is no file but a place to lock.
            for own in fs::read_dir(entry.path()).unwrap() {
                let own = own.unwrap().path();
                if !own.ends_with("lock") {
                    fs::remove_file(own).unwrap();
                }
            }
        } else if entry.metadata().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        } else {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    for (path, content) in folder {
        match content {
            None => fs::create_dir_all(path).unwrap(),
            Some(bytes) => fs::write(path, bytes).unwrap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(ops: &[Op]) -> Vec<Entry> {
        ops.iter().map(|op| Entry { op: op.clone(), wal: 0 }).collect()
    }

    fn append(text: &'static str) -> Op {
        Op::Append(0, Bytes::from_static(text.as_bytes()))
    }

    fn states(ops: &[Op], mode: Mode) -> Vec<Option<String>> {
        let history = History::of(&journal(ops));
        let mut states: Vec<_> = (0..400)
            .map(|seed| {
                let folder = history.after_cut(mode, &mut Dice(seed));
                let file = folder.get(Path::new("/v/a"))?.clone()?;
                Some(String::from_utf8_lossy(&file).into_owned())
            })
            .collect();
        states.sort();
        states.dedup();
        states
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|t| Some((*t).to_owned())).collect()
    }

    #[test]
    fn what_was_synced_is_there_and_of_the_rest_any_prefix() {
        let ops = [
            Op::Create("/v/a".into(), 0),
            append("ab"),
            Op::Sync(0, 2),
            Op::SyncFolder("/v".into(), 3),
            append("cde"),
        ];
        assert_eq!(states(&ops, Mode::Least), some(&["ab"]));
        assert_eq!(states(&ops, Mode::Kill), some(&["abcde"]));
        assert_eq!(states(&ops, Mode::Prefix), some(&["ab", "abc", "abcd", "abcde"]));
        assert!(states(&ops, Mode::Zeros).contains(&Some("abc\0\0".to_owned())));
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_missing_and_one_that_was_removed_may_be_back() {
        let made = [Op::Create("/v/a".into(), 0), append("ab"), Op::Sync(0, 2)];
        assert_eq!(states(&made, Mode::Least), [None]);
        assert_eq!(states(&made, Mode::Prefix), [None, Some("ab".to_owned())]);
        let mut removed = made.to_vec();
        removed.extend([Op::SyncFolder("/v".into(), 3), Op::RemoveFile("/v/a".into())]);
        assert_eq!(states(&removed, Mode::Prefix), [None, Some("ab".to_owned())]);
        removed.push(Op::SyncFolder("/v".into(), 5));
        assert_eq!(states(&removed, Mode::Prefix), [None]);
    }

    #[test]
    fn a_folder_that_is_lost_takes_with_it_what_was_synced_inside() {
        let ops = [
            Op::MakeFolder("/v/d".into()),
            Op::Create("/v/d/a".into(), 0),
            Op::SyncFolder("/v/d".into(), 2),
        ];
        assert!(History::of(&journal(&ops)).after_cut(Mode::Least, &mut Dice(1)).is_empty());
    }

    #[test]
    fn what_a_failed_sync_took_does_not_come_back_with_the_next_that_works() {
        let ops = [
            Op::Create("/v/a".into(), 0),
            Op::SyncFolder("/v".into(), 1),
            append("ab"),
            Op::SyncFailed(0, 3),
            append("cd"),
            Op::Sync(0, 5),
        ];
        assert_eq!(states(&ops, Mode::Least), some(&["\0\0cd"]));
    }
}
