//! Which certificates and keys the TLS library can use, and plain-language reasons why it cannot use others.
//!
//! The library is rustls with the ring provider (`rustls::crypto::ring`, `SUPPORTED_SIG_ALGS` of 0.23): ECDSA on P-256 and P-384 with
//! SHA-256 and SHA-384, Ed25519, and RSA of 2048 to 8192 bits with SHA-256, SHA-384 and SHA-512. It was chosen because it builds everywhere
//! with only a C compiler; anything else it rejects with errors that name neither the certificate nor the cause.

use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// What works; used in remedies.
pub const USABLE: &str =
    "use a key on P-256 or P-384, Ed25519, or RSA with 2048 bits or more, signed with SHA-256 or SHA-384";

/// The part of a certificate that makes it unusable; its text reads on from "the certificate of …", without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// The certificate's own key.
    Key(String),
    /// The signature on it, made by its issuer.
    Signature(String),
    /// Its X.509 version.
    Version(u32),
}

impl Unfit {
    /// The cause, to follow the name of a certificate.
    pub fn cause(&self) -> String {
        match self {
            Self::Key(kind) => format!("has {kind}, which surplusd's TLS library does not accept"),
            Self::Signature(kind) => format!("is signed with {kind}, which surplusd's TLS library does not accept"),
            Self::Version(version) => format!("is of X.509 version {version}, and only version 3 is accepted"),
        }
    }

    /// What to do.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::Signature(_) => USABLE,
            Self::Version(_) => {
                "make a new one as version 3, with the host as subject alternative name (`surplusd certs init` does)"
            }
        }
    }
}

/// Why a certificate cannot be verified, judged by itself; `None` if its kind is supported.
pub fn unfit(der: &[u8]) -> Option<Unfit> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    unfit_key(certificate.public_key())
        .map(Unfit::Key)
        .or_else(|| unfit_signature(&certificate.signature_algorithm).map(Unfit::Signature))
        .or_else(|| {
            let X509Version(version) = certificate.version();
            (version != X509Version::V3.0).then_some(Unfit::Version(version.saturating_add(1)))
        })
}

/// Names the kind of a key that cannot be used.
pub fn unfit_key(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let kind = key.algorithm.algorithm.to_id_string();
    match kind.as_str() {
        // rsaEncryption (RFC 8017).
        "1.2.840.113549.1.1.1" => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => {
                let bits = rsa.modulus.iter().skip_while(|byte| **byte == 0).count() * 8;
                (!(2_048..=8_192).contains(&bits)).then(|| format!("an RSA key of {bits} bits"))
            }
            Ok(_) | Err(_) => Some("a damaged RSA key".to_owned()),
        },
        "1.2.840.113549.1.1.10" => Some("a key for RSA-PSS only".to_owned()),
        // id-ecPublicKey (RFC 5480).
        "1.2.840.10045.2.1" => unfit_curve(&key.algorithm).map(|curve| format!("a key on {curve}")),
        // Ed25519 (RFC 8410).
        "1.3.101.112" => None,
        "1.3.101.113" => Some("an Ed448 key".to_owned()),
        "1.2.840.10040.4.1" => Some("a DSA key".to_owned()),
        "2.16.840.1.101.3.4.3.17" | "2.16.840.1.101.3.4.3.18" | "2.16.840.1.101.3.4.3.19" => {
            Some("an ML-DSA key".to_owned())
        }
        _ => Some(format!("a key of an unknown kind ({kind})")),
    }
}

/// Names the curve of an ECDSA key that cannot be used, with its article.
fn unfit_curve(algorithm: &AlgorithmIdentifier<'_>) -> Option<String> {
    let named = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let Some(curve) = named.map(|oid| oid.to_id_string()) else {
        return Some("a curve that is written out instead of named".to_owned());
    };
    let name = match curve.as_str() {
        // P-256 and P-384 (RFC 5480).
        "1.2.840.10045.3.1.7" | "1.3.132.0.34" => return None,
        "1.3.132.0.35" => "the curve P-521",
        "1.3.132.0.33" => "the curve P-224",
        "1.2.840.10045.3.1.1" => "the curve P-192",
        "1.3.132.0.10" => "the curve secp256k1",
        "1.2.156.10197.1.301" => "the curve SM2",
        // RFC 5639.
        _ if curve.starts_with("1.3.36.3.3.2.8.1.1.") => "a Brainpool curve",
        _ => return Some(format!("an unknown curve ({curve})")),
    };
    Some(name.to_owned())
}

/// Names the kind of a signature that cannot be verified.
fn unfit_signature(algorithm: &AlgorithmIdentifier<'_>) -> Option<String> {
    let kind = algorithm.algorithm.to_id_string();
    let name = match kind.as_str() {
        // RSA with SHA-256, SHA-384, SHA-512, and RSASSA-PSS (RFC 8017, RFC 4055); ECDSA with SHA-256 and SHA-384 (RFC 5758);
        // Ed25519 (RFC 8410).
        "1.2.840.113549.1.1.11"
        | "1.2.840.113549.1.1.12"
        | "1.2.840.113549.1.1.13"
        | "1.2.840.113549.1.1.10"
        | "1.2.840.10045.4.3.2"
        | "1.2.840.10045.4.3.3"
        | "1.3.101.112" => return None,
        "1.2.840.113549.1.1.2" => "RSA and MD2",
        "1.2.840.113549.1.1.4" => "RSA and MD5",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "RSA and SHA-1",
        "1.2.840.113549.1.1.14" => "RSA and SHA-224",
        "1.2.840.10045.4.1" => "ECDSA and SHA-1",
        "1.2.840.10045.4.3.1" => "ECDSA and SHA-224",
        "1.2.840.10045.4.3.4" => "ECDSA and SHA-512",
        "1.3.101.113" => "Ed448",
        "1.2.840.10040.4.3" | "2.16.840.1.101.3.4.3.1" | "2.16.840.1.101.3.4.3.2" => "DSA",
        "2.16.840.1.101.3.4.3.17" | "2.16.840.1.101.3.4.3.18" | "2.16.840.1.101.3.4.3.19" => "ML-DSA",
        _ if kind.starts_with("2.16.840.1.101.3.4.3.") => "SHA-3",
        _ => return Some(format!("an unknown algorithm ({kind})")),
    };
    Some(name.to_owned())
}

/// Names the kind of the signature on an authority's own certificate if it could not be verified: authorities mostly sign other
/// certificates the same way.
pub fn signs_unfit(authority: &X509Certificate<'_>) -> Option<String> {
    let own = authority.subject() == authority.issuer();
    own.then(|| unfit_signature(&authority.signature_algorithm)).flatten()
}
