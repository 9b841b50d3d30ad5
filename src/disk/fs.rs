//! The few file operations that recording needs, behind a trait: tests put a file system that
//! fails, tears writes or fills up in the place of the real one.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File},
    io::{self, IoSlice, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::Arc,
};

/// What a volume is asked to do to its file system. Calls block; they are made on the volume's own
/// threads only.
pub trait Fs: fmt::Debug + Send + Sync + 'static {
    /// Makes a folder and those above it; says whether it was missing.
    ///
    /// # Errors
    ///
    /// The system's.
    fn create_folder(&self, path: &Path) -> io::Result<bool>;

    /// Makes a file that must not exist (`O_EXCL`), to be appended to.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`], or the system's.
    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>>;

    /// Opens a file that exists, to be cut and appended to.
    ///
    /// # Errors
    ///
    /// The system's.
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(File::options().read(true).append(true).open(path)?))
    }

    /// Makes a folder's entries durable.
    ///
    /// # Errors
    ///
    /// The system's.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes everything on the file system that holds `root` durable (`syncfs`).
    ///
    /// # Errors
    ///
    /// The system's.
    fn sync_all(&self, root: &Path) -> io::Result<()>;

    /// Room on the file system that holds `root`.
    ///
    /// # Errors
    ///
    /// The system's.
    fn space(&self, root: &Path) -> io::Result<Space>;

    /// Deletes a file.
    ///
    /// # Errors
    ///
    /// The system's.
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Deletes a folder that is empty.
    ///
    /// # Errors
    ///
    /// The system's.
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    /// Gives a file the name `to`, whatever had it before.
    ///
    /// # Errors
    ///
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// What stands in a folder, in no order.
    ///
    /// # Errors
    ///
    /// The system's.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let entry = |e: io::Result<fs::DirEntry>| {
            let e = e?;
            Ok(Entry { folder: e.file_type()?.is_dir(), name: e.file_name() })
        };
        fs::read_dir(path)?.map(entry).collect()
    }

    /// All of a small file.
    ///
    /// # Errors
    ///
    /// The system's.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    /// Which device holds `path`: another number, and another file system is mounted there.
    ///
    /// # Errors
    ///
    /// The system's.
    fn device(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.dev())
    }

    /// Writes a small file so that it is there whole and durable, or is as it was before.
    ///
    /// # Errors
    ///
    /// The system's.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = Path::new(&beside);
        match self.remove_file(beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.create_file(beside)?;
        append_all(&*file, &[bytes::Bytes::copy_from_slice(bytes)])?;
        file.sync()?;
        self.rename(beside, path)?;
        path.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// It is a folder itself.
    pub folder: bool,
}

/// A file being appended to.
pub trait FsFile: fmt::Debug + Send + Sync {
    /// Appends some of `buffers`; says how many bytes.
    ///
    /// # Errors
    ///
    /// The system's.
    fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    ///
    /// The system's.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    ///
    /// The system's.
    fn sync(&self) -> io::Result<()>;

    /// Its length now.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::Unsupported`] where a file can only be written.
    fn len(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether it holds nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` with what stands from `at` on.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::Unsupported`] as for [`Self::len`].
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let _ = (buffer, at);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets go of what memory holds of it, so that it is read from the disk itself next. What was
    /// not written to the disk yet stays.
    ///
    /// # Errors
    ///
    /// The system's.
    fn forget_cache(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Room on a file system, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free for us (without what is reserved for root).
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// The system's.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        if path.is_dir() {
            return Ok(false);
        }
        fs::create_dir_all(path)?;
        Ok(true)
    }

    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        // Append mode, so that after a cut the next write goes to the new end.
        Ok(Arc::new(File::options().read(true).append(true).create_new(true).open(path)?))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_all(&self, root: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(root)?)?)
    }

    fn space(&self, root: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(root)?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

impl FsFile for File {
    fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut file = self;
        file.write_vectored(buffers)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn forget_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}

/// `writev` takes at most so many slices (`IOV_MAX` of Linux).
const IOV_MAX: usize = 1_024;

/// Appends all of `parts`, whatever their number and however little the system takes at a time.
///
/// # Errors
///
/// The system's; a system that takes nothing is [`io::ErrorKind::WriteZero`]. How much was written
/// by then is unknown to the caller, who cuts the file back.
pub(super) fn append_all(file: &dyn FsFile, parts: &[bytes::Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|p| !p.is_empty()).map(|p| IoSlice::new(p)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let now = rest.get(..IOV_MAX).unwrap_or(rest);
        match file.append(now) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut rest, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// Takes at most so many bytes at a time, and at most [`IOV_MAX`] slices.
    #[derive(Debug)]
    struct Sip {
        most: Vec<usize>,
        got: Mutex<(usize, Vec<u8>)>,
    }

    impl FsFile for Sip {
        fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
            assert!(buffers.len() <= IOV_MAX);
            let mut got = self.got.lock().unwrap();
            let most = self.most[got.0 % self.most.len()];
            got.0 += 1;
            if most == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let mut taken = 0;
            for buffer in buffers {
                let n = buffer.len().min(most - taken);
                got.1.extend_from_slice(&buffer[..n]);
                taken += n;
            }
            Ok(taken)
        }

        fn truncate(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn short_writes_and_interruptions_lose_no_byte(
            sizes in prop::collection::vec(0_usize..40, 0..2_100),
            mut most in prop::collection::vec(0_usize..9_000, 1..6),
        ) {
            most.push(7_000);
            let mut next = 0_u8;
            let parts: Vec<Bytes> = sizes.iter().map(|&n| {
                (0..n).map(|_| { next = next.wrapping_add(1); next }).collect()
            }).collect();
            let file = Sip { most, got: Mutex::default() };
            append_all(&file, &parts).unwrap();
            prop_assert_eq!(&file.got.lock().unwrap().1, &parts.concat());
        }
    }

    #[test]
    fn a_file_that_takes_nothing_is_an_error_and_not_a_loop() {
        #[derive(Debug)]
        struct Full;
        impl FsFile for Full {
            fn append(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
                Ok(0)
            }
            fn truncate(&self, _: u64) -> io::Result<()> {
                Ok(())
            }
            fn sync(&self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = append_all(&Full, &[Bytes::from_static(b"x")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
