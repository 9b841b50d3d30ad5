//! Secrets at rest: XChaCha20-Poly1305 under a key file made at first start.
//!
//! Signatures fixed; implementation to come from the store work package.

/// Seals and opens small secrets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sealer {
    _todo: (),
}

#[expect(clippy::todo, unused_variables, reason = "stub")]
impl Sealer {
    /// Reads the key file (32 bytes, mode 0600), or makes it.
    pub fn open_or_create(path: &std::path::Path) -> std::io::Result<Self> {
        todo!()
    }

    /// Encrypts `plain`; `context` (a camera's id, say) must be the same at opening.
    #[must_use]
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        todo!()
    }

    /// Decrypts; `None` when key or context are not those it was sealed with.
    #[must_use]
    pub fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        todo!()
    }
}
