//! Certificates: which ones are trusted, and which one we present. Files are read again for each connection, so that renewed ones are
//! picked up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use x509_parser::prelude::X509Certificate;

use crate::config::{TlsConfig, visible_start, without_mark};
use crate::regular::{self, Public};

pub mod authority;
pub mod examine;
pub mod fitness;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod inspect;
#[cfg(test)]
mod tests;
mod verifier;

pub use verifier::{Refused, refused};

use verifier::{Asked, Explaining};

/// Larger files are not certificates.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Number of characters shown of a certificate's subject. A common name has 64 at most (RFC 5280, Appendix A), if its maker keeps to that.
const SUBJECT_MAX: usize = 100;

/// Why there is no TLS configuration. Each of these needs a person to act.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// Everybody may read or write the file of a key.
    #[error("{}: {fault}", path.display())]
    Public {
        /// Path of the file.
        path: PathBuf,
        /// Its mode, and what to do.
        fault: Public,
    },
    /// A file is not PEM, or not the PEM expected.
    #[error("{} holds no {expected} in PEM format ({cause})", path.display())]
    Pem {
        /// Path of the file.
        path: PathBuf,
        /// What the file should contain.
        expected: &'static str,
        /// The cause.
        cause: pem::Error,
    },
    /// A key needs a passphrase, and nobody is there to type it.
    #[error("{} needs a passphrase: remove it with `openssl pkey -in {} -out NEW`", .0.display(), .0.display())]
    Encrypted(PathBuf),
    /// The authority's certificate cannot be used.
    #[error("{} holds a certificate that cannot be trusted: {cause}", path.display())]
    Root {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        cause: rustls::Error,
    },
    /// Certificate and key do not belong together, or the kind of key is unknown.
    #[error("certificate {} and key {} cannot be used together: {}", cert.display(), key.display(), apart(cause))]
    Identity {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
        /// The cause.
        cause: rustls::Error,
    },
    /// No certificate can be for this host.
    #[error("{0} is neither a host name nor an address that a certificate can be made for")]
    Host(String),
    /// The system has no trusted roots.
    #[error("this system has no trusted root certificates: install ca-certificates or set ca-file")]
    NoSystemRoots,
    /// An error of the TLS library itself.
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

/// A client's TLS configuration, and whether the broker asked for a certificate.
#[derive(Debug, Clone)]
pub struct Client {
    /// The configuration for the TLS library.
    pub config: Arc<ClientConfig>,
    asked: Arc<AtomicBool>,
}

impl Client {
    /// Whether the broker asked for a client certificate in any handshake so far.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Builds the TLS configuration for connections to a host name or address, whichever of its addresses is used. Reads files, so it must not
/// run in a task that must not block.
pub fn client(tls: &TlsConfig, host: &str) -> Result<Client, TlsError> {
    let host = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host(host.to_owned()))?;
    let authorities = tls.ca_file.as_deref().map_or_else(|| Ok(Vec::new()), certificates)?;
    let roots = match &tls.ca_file {
        Some(path) => private_roots(path, &authorities)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| TlsError::Library(rustls::Error::General(error.to_string())))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .dangerous()
        // Makes no decision of its own: see `Explaining`.
        .with_custom_certificate_verifier(Arc::new(Explaining::new(verifier, host, authorities)));
    let mut config = match &tls.client_auth {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = certificates(&files.cert_file)?;
            let key = private_key(&files.key_file)?;
            builder.with_client_auth_cert(chain, key).map_err(|cause| TlsError::Identity {
                cert: files.cert_file.clone(),
                key: files.key_file.clone(),
                cause,
            })?
        }
    };
    let asked = Arc::new(AtomicBool::new(false));
    let resolver = Asked::new(Arc::clone(&config.client_auth_cert_resolver), Arc::clone(&asked));
    config.client_auth_cert_resolver = Arc::new(resolver);
    Ok(Client { config: Arc::new(config), asked })
}

/// Explains why a certificate and a key cannot be used together.
fn apart(cause: &rustls::Error) -> String {
    if matches!(cause, rustls::Error::InconsistentKeys(_)) {
        "the key is another certificate's".to_owned()
    } else if let rustls::Error::General(text) = cause {
        // The kind of the key is unknown or not accepted.
        format!("{text}; {}", fitness::USABLE)
    } else {
        cause.to_string()
    }
}

/// Reads the certificates in a PEM file, at least one, in the order of the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(&read(path)?).map_err(|cause| TlsError::Pem {
        path: path.to_owned(),
        expected: "certificate",
        cause,
    })
}

fn certificates_in(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) }
}

/// Reads the first private key in a PEM file: PKCS#8, PKCS#1 or SEC1, not encrypted, and not for everybody.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let opened = regular::read_secret(path, MAX_FILE).map_err(|cause| match Public::cause(&cause) {
        Some(fault) => TlsError::Public { path: path.to_owned(), fault },
        None => TlsError::Read { path: path.to_owned(), cause },
    });
    key_in(path, without_mark(&opened?))
}

/// Takes the first private key out of the contents of a PEM file.
fn key_in(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    if is_encrypted(&String::from_utf8_lossy(text)) {
        return Err(TlsError::Encrypted(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|cause| TlsError::Pem {
        path: path.to_owned(),
        expected: "private key (unencrypted)",
        cause,
    })
}

/// Whether a key in PEM format needs a passphrase. The older form keeps its label and has a header (RFC 1421).
fn is_encrypted(pem: &str) -> bool {
    pem.contains("Proc-Type: 4,ENCRYPTED") || pem.contains("BEGIN ENCRYPTED PRIVATE KEY")
}

/// The common name, or otherwise the whole subject: as text on one line, and cut.
fn subject(certificate: &X509Certificate<'_>) -> String {
    let name = common_name(certificate);
    name.unwrap_or_else(|| visible_start(&certificate.subject().to_string(), SUBJECT_MAX))
}

/// The common name, as text on one line, and cut.
fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(visible_start(name, SUBJECT_MAX))
}

fn private_roots(path: &Path, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(|cause| TlsError::Root { path: path.to_owned(), cause })?;
    }
    Ok(roots)
}

/// Reads the system's roots; single ones that cannot be read or used are left out.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |cause| TlsError::Read { path: path.to_owned(), cause };
    let text = regular::read(path, MAX_FILE).map_err(failed)?;
    Ok(without_mark(&text).to_vec())
}
