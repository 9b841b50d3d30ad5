//! RTSPS: whom we take a camera for.
//!
//! # Invariants
//!
//! * A certificate is judged by the system's authorities, by the camera's own authority, or by its
//!   fingerprint alone; nothing is ever taken unseen.
//! * A fingerprint says all: names and dates are not looked at, for cameras make up both. That the
//!   peer has the certificate's key is proved nonetheless.

use std::{io, sync::Arc};

use sha2::{Digest as _, Sha256};
use tokio::{net::TcpStream, sync::OnceCell, task::spawn_blocking, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
        SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use super::limits;
use crate::{
    ingest::{PullError, Trust},
    proto::rtsp::client::address::Target,
};

/// Read once: it takes many files.
static SYSTEM: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Shakes hands with `target` over `stream`.
pub(super) async fn wrap(
    stream: TcpStream,
    target: &Target,
    trust: &Trust,
) -> Result<TlsStream<TcpStream>, PullError> {
    let config = match trust {
        Trust::System => {
            let load = || async {
                let config = spawn_blocking(system).await.map_err(io::Error::other)?;
                config.map(Arc::new).map_err(io::Error::other)
            };
            let config = SYSTEM.get_or_try_init(load).await;
            Arc::clone(config.map_err(|error| PullError::Internal(error.to_string()))?)
        }
        Trust::Authority(pem) => Arc::new(authority(pem).map_err(|error| refused(&error))?),
        Trust::Fingerprint(print) => Arc::new(pinned(*print).map_err(|error| refused(&error))?),
    };
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|error| refused(&error))?;
    let within = limits::TLS;
    match timeout(within, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(refused(&error)),
        Ok(Err(error)) => Err(PullError::Disconnected { detail: Some(error.to_string()) }),
        Err(_) => Err(PullError::NoAnswer { method: "the TLS handshake", within }),
    }
}

fn refused(error: &dyn std::fmt::Display) -> PullError {
    PullError::Untrusted { detail: error.to_string() }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
}

fn system() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // What cannot be read of the system's is as if it were not there.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// Whether these can be taken for authorities ([`Trust::Authority`]).
///
/// # Errors
///
/// Why not, in a few words.
pub fn check_authority(pem: &str) -> Result<(), String> {
    authority(pem).map(|_| ()).map_err(|error| error.to_string())
}

fn authority(pem: &str) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let bad = |_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        roots.add(certificate.map_err(bad)?)?;
    }
    if roots.is_empty() {
        return Err(rustls::Error::General("there is no certificate in it".to_owned()));
    }
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

fn pinned(print: [u8; 32]) -> Result<ClientConfig, rustls::Error> {
    let verifier = Arc::new(Pinned { print, provider: ring::default_provider() });
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes the one certificate with this SHA-256.
#[derive(Debug)]
struct Pinned {
    print: [u8; 32],
    provider: CryptoProvider,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Sha256::digest(certificate)[..] == self.print {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
