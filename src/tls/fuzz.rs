//! Fuzz targets: any bytes as a certificate that a broker sends or a file holds, and as a PEM file.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::can_issue;
use super::fitness::{signs_unfit, unfit};
use super::inspect::contents;
use super::verifier::{Explaining, refused};
use super::{certificates_in, is_encrypted, subject};
use crate::config::without_mark;

/// The authority of the seeds.
const AUTHORITY: &[u8] = include_bytes!("../../fuzz/corpus/certificate/authority.der");
/// 2027-01-01, within the validity of the seeds.
const NOW: Duration = Duration::from_secs(1_798_761_600);
/// Longest text about a certificate, as a multiple of its size: each byte of a name may be escaped.
const TEXT_FACTOR: usize = 20;

/// A client's verifier that trusts the authority of the seeds.
static VERIFIER: LazyLock<Option<Explaining>> = LazyLock::new(|| {
    let authority = CertificateDer::from(AUTHORITY);
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    Some(Explaining::new(verifier, ServerName::try_from("broker.lan").ok()?, vec![authority]))
});

/// A key in place of the authority's own, as the library does not compare them.
static KEY: LazyLock<Option<KeyPair>> = LazyLock::new(|| KeyPair::generate().ok());

/// A certificate in DER format.
pub fn certificate(bytes: &[u8]) {
    let longest = TEXT_FACTOR * bytes.len() + 1_000;
    if let Ok((_, certificate)) = X509Certificate::from_der(bytes) {
        for authority in [None, Some(AUTHORITY), Some(bytes)] {
            let inspection = contents(&certificate, bytes, authority);
            assert_eq!(inspection.signed.is_some(), authority.is_some());
            assert!(format!("{inspection:?}").len() <= 2 * longest, "{inspection:?}");
        }
        let (issuer, ends) = (certificate.issuer().to_string(), certificate.validity().not_after.to_string());
        assert!(subject(&certificate).len() + issuer.len() + ends.len() <= longest);
        signs_unfit(&certificate);
    }
    // As an authority that signs another certificate.
    let leaf = CertificateDer::from(bytes);
    if let (Some(key), Ok(params)) = (KEY.as_ref(), CertificateParams::new(vec!["broker.lan".to_owned()]))
        && X509Certificate::from_der(bytes).is_ok_and(|(_, authority)| can_issue(&authority))
        && let Ok(issuer) = Issuer::from_ca_cert_der(&leaf, key)
    {
        let _ = params.signed_by(key, &issuer);
    }
    if let Some(unfit) = unfit(bytes) {
        assert!(unfit.cause().len() + unfit.remedy().len() <= longest);
    }
    let Some(verifier) = VERIFIER.as_ref() else { panic!("the authority of the seeds cannot be used") };
    // As the broker's own, and as one that it sends with its own.
    for (own, others) in [(leaf.clone(), vec![leaf.clone()]), (CertificateDer::from(AUTHORITY), vec![leaf])] {
        let Ok(name) = ServerName::try_from("another.name") else { return };
        let result = verifier.verify_server_cert(&own, &others, &name, &[], UnixTime::since_unix_epoch(NOW));
        if let Err(error) = result {
            assert!(refused(&error).is_none_or(|refused| refused.to_string().len() <= longest));
        }
    }
}

/// A file with certificates or a private key in PEM format.
pub fn pem(bytes: &[u8]) {
    let text = without_mark(bytes);
    if let Ok(chain) = certificates_in(text) {
        assert!(chain.iter().map(|der| der.len()).sum::<usize>() <= text.len());
    }
    if !is_encrypted(&String::from_utf8_lossy(text))
        && let Ok(key) = PrivateKeyDer::from_pem_slice(text)
    {
        assert!(key.secret_der().len() <= text.len());
        // What is in it is judged by the library.
        let _ = rustls::crypto::ring::sign::any_supported_type(&key);
    }
}
