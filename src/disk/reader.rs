//! Reading segment files, whole ones and growing ones alike.
//!
//! One `pread` on a blocking thread brings a whole fragment (a second of footage); its units are
//! then slices of that buffer. The file stays open for as long as a reader does, so footage that
//! retention deletes under a player plays on to the end of its segment.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use bytes::Bytes;

/// The most one read may ask for. A fragment is a second of footage; what asks for more comes from
/// a damaged index.
pub const MAX_READ: usize = 256 << 20;

/// Why a segment cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("segment file {0} is missing")]
    Missing(PathBuf),
    /// The path leaves its volume, or the volume is not ours.
    #[error("{path} is not on volume {volume}")]
    Outside {
        /// The volume that was named.
        volume: String,
        /// The path that was named.
        path: String,
    },
    /// The volume is not there: not mounted, unplugged.
    #[error("volume {volume} is not there: {why}")]
    Unavailable {
        /// Which.
        volume: String,
        /// What is known of it.
        why: String,
    },
    /// The system's word.
    #[error("open {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An open segment file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    file: Arc<File>,
}

impl SegmentReader {
    pub(super) async fn open(path: PathBuf) -> Result<Self, ReadError> {
        let opened = blocking({
            let path = path.clone();
            move || File::open(path)
        });
        match opened.await {
            Ok(file) => Ok(Self { file: Arc::new(file) }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ReadError::Missing(path)),
            Err(source) => Err(ReadError::Io { path, source }),
        }
    }

    /// Exactly `len` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before, or the system's.
    pub async fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        if len > MAX_READ {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "read of absurd length"));
        }
        let file = Arc::clone(&self.file);
        blocking(move || {
            let mut buffer = vec![0; len];
            file.read_exact_at(&mut buffer, offset)?;
            Ok(Bytes::from(buffer))
        })
        .await
    }

    /// The file's length now.
    ///
    /// # Errors
    ///
    /// The system's.
    pub async fn len(&self) -> io::Result<u64> {
        let file = Arc::clone(&self.file);
        blocking(move || Ok(file.metadata()?.len())).await
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(join) => Err(io::Error::other(join)),
    }
}
