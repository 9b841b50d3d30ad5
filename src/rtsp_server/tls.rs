//! RTSPS: the certificate in use, and how it is changed while the server runs.
//!
//! # Invariants
//!
//! * A certificate that cannot be used never replaces one that can: a renewal that went wrong
//!   leaves the old one in place, and whoever asked for it learns why.
//! * Connections that are there keep what they began with.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};
use zeroize::Zeroizing;

/// Why a certificate is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that is not there, or not ours to read.
    #[error("read {}", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file that is no PEM, or has nothing in it that we look for.
    #[error("find {wanted} in {}", .file.display())]
    Pem {
        /// Which.
        file: PathBuf,
        /// A certificate or a key.
        wanted: &'static str,
        /// Why not.
        #[source]
        source: pem::Error,
    },
    /// The key is another's, or of a kind that is not known.
    #[error("use the certificate in {} with the key in {}", .cert.display(), .key.display())]
    Unusable {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate and its key, as they were read last.
pub struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    /// Held to copy the pointer.
    current: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("cert", &self.cert)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub async fn load(cert: PathBuf, key: PathBuf) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let current = RwLock::new(Arc::new(read(&cert, &key, &provider).await?));
        Ok(Arc::new(Self { cert, key, provider, current }))
    }

    /// Reads both files again. What comes in from now on is shown what they hold.
    ///
    /// # Errors
    ///
    /// See [`TlsError`]; then nothing has changed.
    pub async fn reload(&self) -> Result<(), TlsError> {
        let new = Arc::new(read(&self.cert, &self.key, &self.provider).await?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(super) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, rustls::Error> {
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn read(cert: &Path, key: &Path, with: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let file = |path: &Path| {
        let file = path.to_owned();
        move |source| TlsError::Read { file, source }
    };
    let lacks = |path: &Path, wanted| {
        let file = path.to_owned();
        move |source| TlsError::Pem { file, wanted, source }
    };
    let certificate = "a certificate";
    let text = tokio::fs::read(cert).await.map_err(file(cert))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(lacks(cert, certificate))?;
    if chain.is_empty() {
        return Err(lacks(cert, certificate)(pem::Error::NoItemsFound));
    }
    let text = Zeroizing::new(tokio::fs::read(key).await.map_err(file(key))?);
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(lacks(key, "a private key"))?;
    CertifiedKey::from_der(chain, secret, with).map_err(|source| TlsError::Unusable {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })
}
