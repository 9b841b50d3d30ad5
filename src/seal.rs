//! Secrets at rest: XChaCha20-Poly1305 under a key file made at first start.
//!
//! Camera passwords and Digest secrets must be sent or compared, so hashing them is no way out;
//! they are sealed, and the key lies in a file of its own, so that a copy of the database (a
//! backup, a bug report) gives nothing away.
//!
//! # A sealed secret
//!
//! ```text
//! 1 byte   version, 1
//! 4 bytes  id of the key: the first of SHA-256("vedette key id" ‖ key)
//! 24 bytes nonce, random
//! n + 16   ciphertext and tag; version, key id and context are authenticated with it
//! ```
//!
//! The context (which camera, which account) is not stored: a sealed secret moved to another row
//! does not open there. The key id tells "another key file" from "damaged".

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_LEN: usize = 32;
const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 24;

/// Seals and opens small secrets. Cheap to clone.
#[derive(Clone)]
pub struct Sealer(Arc<Inner>);

struct Inner {
    cipher: XChaCha20Poly1305,
    key_id: [u8; KEY_ID_LEN],
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

impl Sealer {
    /// Reads the key file (32 bytes, mode 0600), or makes it, and the folders above it.
    ///
    /// Two processes that start at once end up with the same key: the file appears under its
    /// name complete or not at all, and the first one stays.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        match read_key(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                create_key(path)?;
                read_key(path).map(|key| Self::new(&key))
            }
            read => read.map(|key| Self::new(&key)),
        }
    }

    fn new(key: &[u8; KEY_LEN]) -> Self {
        let mut key_id = [0; KEY_ID_LEN];
        let digest = Sha256::new().chain_update(b"vedette key id").chain_update(key).finalize();
        key_id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(Arc::new(Inner { cipher: XChaCha20Poly1305::new(key.into()), key_id }))
    }

    /// A sealer with a key that nobody knows: what it seals cannot be opened after a restart.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self::new(&rand::random())
    }

    /// Encrypts `plain`; `context` (a camera's id, say) must be the same at opening.
    #[must_use]
    #[expect(clippy::expect_used, reason = "fails only beyond 256 GiB")]
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let aad = self.aad(context);
        let ciphertext = self
            .0
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad })
            .expect("a secret is small");
        let mut sealed = Vec::with_capacity(1 + KEY_ID_LEN + NONCE_LEN + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.0.key_id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Decrypts; `None` when key or context are not those it was sealed with.
    #[must_use]
    pub fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&version, rest) = sealed.split_first()?;
        let (key_id, rest) = rest.split_first_chunk::<KEY_ID_LEN>()?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
        if version != VERSION || *key_id != self.0.key_id {
            return None;
        }
        let aad = self.aad(context);
        let payload = Payload { msg: ciphertext, aad: &aad };
        self.0.cipher.decrypt(&XNonce::from(*nonce), payload).ok()
    }

    fn aad(&self, context: &str) -> Vec<u8> {
        [&[VERSION], self.0.key_id.as_slice(), context.as_bytes()].concat()
    }
}

fn read_key(path: &Path) -> io::Result<Zeroizing<[u8; KEY_LEN]>> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format!("{:o}", mode & 0o777),
            "others than its owner can read the key file; chmod 600 it"
        );
    }
    // One byte more than a key, to notice a file that is too long.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
    file.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes)?;
    let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("key file {} is not {KEY_LEN} bytes long", path.display()),
        )
    })?;
    Ok(Zeroizing::new(key))
}

/// Makes the key file: under a name of its own, on disk, then linked to its name.
fn create_key(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&parent)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{:016x}.new", rand::random::<u64>()));
    let draft = PathBuf::from(draft);

    let key = Zeroizing::new(rand::random::<[u8; KEY_LEN]>());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(key.as_slice()).and_then(|()| file.sync_all());
    // A link, not a rename: a rename would replace a key that another process has just made.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    File::open(&parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_sealed_opens_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/down/vedette.key");
        let sealed = Sealer::open_or_create(&path).unwrap().seal("camera 1", b"hunter2");
        let again = Sealer::open_or_create(&path).unwrap();
        assert_eq!(again.open("camera 1", &sealed).as_deref(), Some(b"hunter2".as_slice()));
    }

    #[test]
    fn a_sealed_secret_does_not_open_in_another_row_or_under_another_key() {
        let sealer = Sealer::ephemeral();
        let sealed = sealer.seal("camera 1", b"hunter2");
        assert_eq!(sealer.open("camera 2", &sealed), None);
        assert_eq!(Sealer::ephemeral().open("camera 1", &sealed), None);
    }

    #[test]
    fn the_key_file_is_for_its_owner_only_and_no_draft_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vedette.key");
        Sealer::open_or_create(&path).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.len()), (0o600, 32));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_another_process_made_first_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vedette.key");
        create_key(&path).unwrap();
        let first = fs::read(&path).unwrap();
        create_key(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
    }

    #[test]
    fn a_key_file_of_the_wrong_length_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vedette.key");
        for content in [&[7_u8; 31][..], &[7; 33], &[]] {
            fs::write(&path, content).unwrap();
            assert_eq!(
                Sealer::open_or_create(&path).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn the_same_secret_sealed_twice_looks_different() {
        let sealer = Sealer::ephemeral();
        assert_ne!(sealer.seal("x", b"same"), sealer.seal("x", b"same"));
    }

    proptest! {
        #[test]
        fn anything_sealed_opens(context in ".{0,40}", plain: Vec<u8>) {
            let sealer = Sealer::ephemeral();
            let sealed = sealer.seal(&context, &plain);
            prop_assert_eq!(sealer.open(&context, &sealed), Some(plain));
        }

        #[test]
        fn one_changed_bit_anywhere_is_noticed(at: prop::sample::Index, bit in 0_u8..8) {
            let sealer = Sealer::ephemeral();
            let mut sealed = sealer.seal("camera", b"secret");
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(sealer.open("camera", &sealed), None);
        }

        #[test]
        fn garbage_opens_as_nothing(garbage: Vec<u8>) {
            prop_assert_eq!(Sealer::ephemeral().open("camera", &garbage), None);
        }
    }
}
