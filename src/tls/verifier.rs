//! Explains why a broker's certificate is rejected. Whether it is rejected is decided by the TLS library alone: this verifier calls the
//! library's own and only replaces its error by a better one.
//!
//! The handshake also offers signature schemes that the library cannot verify (P-521, Ed448, Brainpool), after those that it can. Otherwise
//! a broker with such a key would end the handshake before it sends its certificate, and the cause could not be determined.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::fitness::{Unfit, unfit, unfit_key};
use super::subject;

/// Signature schemes offered only to see the certificate, and never accepted: P-521, Ed448, RSA-PSS keys (RFC 8446, section 4.2.3) and
/// Brainpool (RFC 8734).
const SHOWN_ONLY: [SignatureScheme; 8] = [
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED448,
    SignatureScheme::Unknown(0x0809),
    SignatureScheme::Unknown(0x080a),
    SignatureScheme::Unknown(0x080b),
    SignatureScheme::Unknown(0x081a),
    SignatureScheme::Unknown(0x081b),
    SignatureScheme::Unknown(0x081c),
];

/// Why the broker's certificate ("it") is rejected: cause and remedy, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// The explanation carried by an error, if this verifier could give one.
pub fn refused(error: &Error) -> Option<&Refused> {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else { return None };
    cause.downcast_ref()
}

/// The library's verifier for one host name, with explanations.
#[derive(Debug)]
pub(super) struct Explaining {
    inner: Arc<dyn ServerCertVerifier>,
    /// The host that the certificate must be for, whichever of its addresses is used.
    host: ServerName<'static>,
    /// The trusted certificates of a private authority, to find the one that signed.
    authorities: Vec<CertificateDer<'static>>,
}

impl Explaining {
    pub(super) fn new(
        inner: Arc<dyn ServerCertVerifier>,
        host: ServerName<'static>,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { inner, host, authorities }
    }

    /// Replaces the error by a better one if the chain shows the cause.
    fn explained(&self, error: Error, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Error {
        match explanation(&error, leaf, others, &self.authorities) {
            Some(text) => Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(text))))),
            None => error,
        }
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner
            .verify_server_cert(end_entity, intermediates, &self.host, ocsp_response, now)
            .map_err(|error| self.explained(error, end_entity, intermediates))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss).map_err(|error| self.explained(error, cert, &[]))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss).map_err(|error| self.explained(error, cert, &[]))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.inner.supported_verify_schemes();
        schemes.extend(SHOWN_ONLY);
        schemes
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}

/// What the chain shows about the cause of an error: cause and remedy in one sentence.
fn explanation(
    error: &Error,
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    // If the library got as far as dates and names, every certificate that it needed is of a supported kind.
    let unfit = if is_plain(error) { None } else { unfit_in(leaf, &certificate, others, authorities) };
    unfit.or_else(|| told(error, &certificate))
}

/// Whether an error already states its cause.
const fn is_plain(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
                | CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }
                | CertificateError::InvalidPurpose
                | CertificateError::InvalidPurposeContext { .. }
        )
    )
}

/// Finds a certificate in the chain that is of a kind the library does not support.
fn unfit_in(
    leaf: &CertificateDer<'_>,
    certificate: &X509Certificate<'_>,
    others: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
) -> Option<String> {
    let sentence = |whose: &str, unfit: &Unfit| format!("{whose} {}: {}", unfit.cause(), unfit.remedy());
    if let Some(unfit) = unfit(leaf) {
        return Some(sentence("it", &unfit));
    }
    for der in others {
        let Ok((_, other)) = X509Certificate::from_der(der) else { continue };
        // An authority's signature on its own certificate is never verified.
        let counts = |unfit: &Unfit| !matches!(unfit, Unfit::Signature(_)) || other.subject() != other.issuer();
        if let Some(unfit) = unfit(der).filter(counts) {
            let whose = format!("the certificate \"{}\" that the broker sends with its own", subject(&other));
            return Some(sentence(&whose, &unfit));
        }
    }
    for der in authorities {
        let Ok((_, authority)) = X509Certificate::from_der(der) else { continue };
        if authority.subject() == certificate.issuer()
            && let Some(kind) = unfit_key(authority.public_key())
        {
            return Some(sentence(&format!("the authority \"{}\" of ca-file", subject(&authority)), &Unfit::Key(kind)));
        }
    }
    None
}

/// Explains errors of the library that have no counterpart among the kinds of trouble.
fn told(error: &Error, certificate: &X509Certificate<'_>) -> Option<String> {
    let Error::InvalidCertificate(cause) = error else {
        let unknown = matches!(error, Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon));
        return unknown.then(|| "the broker signs in a way that surplusd's TLS library does not know".to_owned());
    };
    let nameless = certificate.subject_alternative_name().ok().flatten().is_none();
    if matches!(cause, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) && nameless
    {
        let remedy =
            "make a new one with the host as subject alternative name (`surplusd certs init --broker HOST` does)";
        return Some(format!("it names no host as subject alternative name: {remedy}"));
    }
    if let CertificateError::Other(_) = cause
        && certificate.is_ca()
    {
        let remedy = "make one for the broker and sign it with that (`surplusd certs init` does both)";
        return Some(format!("it is the certificate of an authority: {remedy}"));
    }
    if matches!(cause, CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }) {
        let remedy = "make a new one for a server (`surplusd certs issue NAME --host HOST`)";
        return Some(format!("it is not made for a server (extended key usage): {remedy}"));
    }
    None
}

/// Remembers whether the broker asked for our certificate: TLS 1.2 has no alert of its own for a missing one.
#[derive(Debug)]
pub(super) struct Asked {
    inner: Arc<dyn ResolvesClientCert>,
    asked: Arc<AtomicBool>,
}

impl Asked {
    pub(super) const fn new(inner: Arc<dyn ResolvesClientCert>, asked: Arc<AtomicBool>) -> Self {
        Self { inner, asked }
    }
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, root_hint_subjects: &[&[u8]], sigschemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.inner.resolve(root_hint_subjects, sigschemes)
    }

    fn has_certs(&self) -> bool {
        self.inner.has_certs()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// An RSA certificate that `openssl` makes for its own key.
    fn made(arguments: &str) -> CertificateDer<'static> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made.crt");
        let mut openssl = std::process::Command::new("openssl");
        openssl.args("req -x509 -nodes -newkey rsa:2048 -subj /CN=Home -keyout /dev/null".split(' '));
        let output = openssl.args(arguments.split(' ')).arg("-out").arg(&file).output().expect("openssl is installed");
        assert!(output.status.success(), "{output:?}");
        CertificateDer::from_pem_file(&file).unwrap()
    }

    /// The broker also sends its root, which signed itself with SHA-1: that signature is never verified, and the cause is another.
    #[test]
    fn an_old_root_beside_another_cause_is_not_blamed() {
        let leaf = made("-sha256 -addext subjectAltName=DNS:broker.lan");
        let root = made("-sha1");
        let said = |cause| explanation(&Error::InvalidCertificate(cause), &leaf, std::slice::from_ref(&root), &[]);
        for cause in [
            CertificateError::Expired,
            CertificateError::NotValidYet,
            CertificateError::NotValidForName,
            CertificateError::UnknownIssuer,
        ] {
            assert_eq!(said(cause.clone()), None, "{cause:?}: the library's own words are the right ones");
        }
        let purpose = said(CertificateError::InvalidPurpose).unwrap();
        assert!(purpose.contains("not made for a server"), "{purpose}");
    }

    #[test]
    fn an_expired_certificate_of_an_unknown_kind_is_called_expired() {
        let leaf = made("-sha1");
        let said = |cause| explanation(&Error::InvalidCertificate(cause), &leaf, &[], &[]);
        assert_eq!(said(CertificateError::Expired), None);
        let kind = said(CertificateError::UnknownIssuer).unwrap();
        assert!(kind.contains("RSA and SHA-1"), "{kind}");
    }
}
