//! The household's own certificate authority: creates it, and issues certificates with it.
//!
//! ECDSA P-256, X.509 version 3, each certificate with its own subject (one equal to its issuer's looks self-signed to `OpenSSL`), names in
//! the subject alternative name, and a purpose. An issued certificate states that it is not an authority, and the authority that no other
//! authority may be below it: someone who steals a gateway's key cannot impersonate the broker.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use relay_link::topic::is_id;
use rustls::pki_types::DnsName;
use thiserror::Error;
use x509_parser::asn1_rs::Tag;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::AttributeTypeAndValue;

use super::fitness::unfit_key;
use super::is_encrypted;
use crate::config::{unseen, without_mark};
use crate::regular;

/// The authority outlives the certificates that it signs.
const AUTHORITY_DAYS: u64 = 20 * 365;
const ISSUED_DAYS: u64 = 5 * 365;
const DAY_S: u64 = 86_400;

/// Longest common name (RFC 5280, Appendix A: ub-common-name).
const AUTHORITY_NAME_MAX: usize = 64;

/// The authority's files.
pub const AUTHORITY: (&str, &str) = ("ca.crt", "ca.key");

/// The purpose of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Client authentication: a gateway, a relay.
    Client,
    /// A server, reached at these names and addresses.
    Server(Vec<String>),
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file exists already.
    #[error("{} exists, and nothing is overwritten: move it away first if it is no longer needed", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written or read.
    #[error("{}: {cause}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// There is no authority to sign with.
    #[error("there is no authority in {}: make one with `surplusd certs init`, or name its folder with --dir", .0.display())]
    NoAuthority(PathBuf),
    /// The authority's files cannot be used.
    #[error("the authority in {} cannot be used: {cause}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The cause.
        cause: rcgen::Error,
    },
    /// The two files belong to different authorities: nobody would accept what they sign.
    #[error("ca.crt and ca.key in {} do not belong together: put back the key that was made with the certificate", .0.display())]
    Mismatch(PathBuf),
    /// The certificate is not an authority's: nobody would accept what it signs.
    #[error("ca.crt in {} is not the certificate of an authority: put back the one made by `surplusd certs init`", .0.display())]
    NotAuthority(PathBuf),
    /// The certificate cannot be an authority's, or no longer: nobody would accept what it signs.
    #[error("ca.crt in {} {fault}", path.display())]
    Unfit {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        fault: String,
    },
    /// The authority's key needs a passphrase, or is of an unknown kind or format.
    #[error("ca.key in {} cannot be used: {fault}", path.display())]
    Key {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        fault: String,
    },
    /// The authority's name could also be the name of one of its certificates.
    #[error(
        "an authority cannot be called \"{0}\", as its certificates can be: give it a name with a capital letter or a space"
    )]
    AuthorityName(String),
    /// The authority's name cannot be stored in a certificate.
    #[error("this cannot be the name of an authority: use 1 to {AUTHORITY_NAME_MAX} characters that can be seen")]
    AuthorityText,
    /// The certificate would have the same subject as its authority.
    #[error("\"{0}\" is what the authority is called: each certificate needs its own subject, so choose another name")]
    Subject(String),
    /// No client could use this host to reach a server, or would accept a certificate with it.
    #[error("\"{host}\" {fault}")]
    Host {
        /// The host as given.
        host: String,
        /// What is wrong with it, and what to do.
        fault: &'static str,
    },
    /// An error of the library.
    #[error("no certificate can be made: {0}")]
    Library(#[from] rcgen::Error),
}

/// Creates an authority in a folder, which is created too if it does not exist. `name` is its subject; `now_ms` is the wall clock, in
/// milliseconds since 1970 UTC.
pub fn init(dir: &Path, name: &str, now_ms: i64) -> Result<(), AuthorityError> {
    if name.chars().count() > AUTHORITY_NAME_MAX || name.trim().is_empty() || name.chars().any(unseen) {
        return Err(AuthorityError::AuthorityText);
    }
    if is_id(name) {
        return Err(AuthorityError::AuthorityName(name.to_owned()));
    }
    std::fs::create_dir_all(dir).map_err(|cause| AuthorityError::File { path: dir.to_owned(), cause })?;
    let mut params = params(name, AUTHORITY_DAYS, now_ms);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_pair(dir, "ca", &key.serialize_pem(), &certificate.pem())
}

/// Checks that a certificate can hold these names and addresses.
pub fn check_hosts(hosts: &[String]) -> Result<(), AuthorityError> {
    hosts.iter().try_for_each(|host| alternative(host).map(|_| ()))
}

/// Checks that a certificate for `name` would not overwrite anything.
pub fn check_free(dir: &Path, name: &str) -> Result<(), AuthorityError> {
    for ending in ["crt", "key"] {
        let path = dir.join(format!("{name}.{ending}"));
        // A dangling link also counts as existing.
        if std::fs::symlink_metadata(&path).is_ok() {
            return Err(AuthorityError::Exists(path));
        }
    }
    Ok(())
}

/// An issued certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Last day of its validity.
    pub until: String,
    /// Whether it ends with its authority, earlier than others.
    pub shortened: bool,
}

/// Issues a certificate for `name`, as `<name>.crt` and `<name>.key`. It ends with its authority at the latest.
pub fn issue(dir: &Path, name: &str, purpose: &Purpose, now_ms: i64) -> Result<Issued, AuthorityError> {
    let (issuer, authority_until_s) = authority(dir, name, now_ms)?;
    let mut params = params(name, ISSUED_DAYS, now_ms);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Verifiers reject what an expired authority has signed.
    let shortened = authority_until_s < params.not_after.unix_timestamp();
    if shortened {
        let end = Duration::from_secs(u64::try_from(authority_until_s).unwrap_or(0));
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    }
    let until = params.not_after.date().to_string();
    let (names, usage) = match purpose {
        // Not checked as a host: `123` and `a-` are valid names of a relay.
        Purpose::Client => (vec![SanType::DnsName(name.try_into()?)], ExtendedKeyUsagePurpose::ClientAuth),
        Purpose::Server(hosts) => {
            let mut names = Vec::new();
            for host in hosts {
                let name = alternative(host)?;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            (names, ExtendedKeyUsagePurpose::ServerAuth)
        }
    };
    params.subject_alt_names = names;
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    write_pair(dir, name, &key.serialize_pem(), &certificate.pem())?;
    Ok(Issued { until, shortened })
}

/// Reads the authority of a folder, fit to sign for `name`; returns also the end of its validity, in seconds since 1970 UTC.
fn authority(dir: &Path, name: &str, now_ms: i64) -> Result<(Issuer<'static, KeyPair>, i64), AuthorityError> {
    let read = |name: &str, how: fn(&Path, u64) -> io::Result<Vec<u8>>| {
        let path = dir.join(name);
        match how(&path, super::MAX_FILE) {
            Ok(bytes) => Ok(String::from_utf8_lossy(without_mark(&bytes)).into_owned()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(AuthorityError::NoAuthority(dir.to_owned())),
            Err(cause) => Err(AuthorityError::File { path, cause }),
        }
    };
    let unusable = |cause| AuthorityError::Unusable { path: dir.to_owned(), cause };
    let (certificate, key_pem) = (read(AUTHORITY.0, regular::read)?, read(AUTHORITY.1, regular::read_secret)?);
    let not_pem = || unusable(rcgen::Error::CouldNotParseCertificate);
    let (_, block) = parse_x509_pem(certificate.as_bytes()).map_err(|_| not_pem())?;
    let parsed = block.parse_x509().map_err(|_| not_pem())?;
    if !parsed.is_ca() {
        return Err(AuthorityError::NotAuthority(dir.to_owned()));
    }
    if let Some(fault) = authority_fault(&parsed, now_ms) {
        return Err(AuthorityError::Unfit { path: dir.to_owned(), fault });
    }
    let key = authority_key(dir, &key_pem)?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(AuthorityError::Mismatch(dir.to_owned()));
    }
    if parsed.subject().iter_common_name().any(|called| called.as_str() == Ok(name)) {
        return Err(AuthorityError::Subject(name.to_owned()));
    }
    let until = parsed.validity().not_after.timestamp();
    Ok((Issuer::from_ca_cert_pem(&certificate, key).map_err(unusable)?, until))
}

/// Why nobody would accept what this authority signs now, and what to do.
fn authority_fault(authority: &X509Certificate<'_>, now_ms: i64) -> Option<String> {
    const ANEW: &str =
        "make a new authority in another folder (`surplusd certs init --dir FOLDER`) and give its ca.crt to everybody";
    let (now, validity) = (now_ms.div_euclid(1_000), authority.validity());
    let signs = authority.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    if let Some(kind) = unfit_key(authority.public_key()) {
        Some(format!("has {kind}, which surplusd's TLS library does not accept: {ANEW}"))
    } else if !signs {
        Some(format!("may not sign certificates (its key usage lacks keyCertSign): {ANEW}"))
    } else if !can_issue(authority) {
        Some(format!("has a name that cannot be written into other certificates: {ANEW}"))
    } else if validity.not_after.timestamp() <= now {
        Some(format!("has expired ({}), or the clock of this machine is wrong: {ANEW}", validity.not_after))
    } else if validity.not_before.timestamp() > now {
        Some(format!("is not valid before {}: is the clock of this machine right?", validity.not_before))
    } else {
        None
    }
}

/// Whether the authority's name can be written as that of an issuer. The library reads an attribute of the kind 2.x, where x is 40 or more
/// (X.690, 8.19.4), as one that does not exist, and panics when it writes it; and so it does at a question mark in a `PrintableString`.
pub(super) fn can_issue(authority: &X509Certificate<'_>) -> bool {
    let is_known = |attribute: &AttributeTypeAndValue<'_>| {
        let arcs: Option<Vec<u64>> = attribute.attr_type().iter().map(|arcs| arcs.take(2).collect());
        let value = attribute.attr_value();
        let asks = value.header.tag() == Tag::PrintableString && value.data.contains(&b'?');
        matches!(arcs.as_deref(), Some([0..=2, 0..40])) && !asks
    };
    authority.subject().iter().all(|part| part.iter().next().is_some() && part.iter().all(is_known))
}

/// Reads the authority's private key.
fn authority_key(dir: &Path, pem: &str) -> Result<KeyPair, AuthorityError> {
    let failed = |fault: String| AuthorityError::Key { path: dir.to_owned(), fault };
    let convert = format!("`openssl pkey -in {} -out NEW`", dir.join(AUTHORITY.1).display());
    if is_encrypted(pem) {
        return Err(failed(format!("it needs a passphrase: remove it with {convert}, and delete NEW afterwards")));
    }
    KeyPair::from_pem(pem)
        .map_err(|cause| failed(format!("{cause}; if it is in an older format, convert it with {convert}")))
}

fn params(name: &str, days: u64, now_ms: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    // A board without a battery-backed clock may believe that it is years ago.
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    let today = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + today + Duration::from_secs(days * DAY_S);
    params
}

fn alternative(host: &str) -> Result<SanType, AuthorityError> {
    let failed = |fault| AuthorityError::Host { host: host.to_owned(), fault };
    if let Ok(address) = host.parse::<IpAddr>() {
        if address.is_unspecified() {
            return Err(failed("stands for every address, and no client connects to it: give the address itself"));
        }
        return Ok(SanType::IpAddress(address));
    }
    if let Some(fault) = host_fault(host) {
        return Err(failed(fault));
    }
    host.try_into().map(SanType::DnsName).map_err(|_| failed(NEITHER))
}

const NEITHER: &str = "is neither a host name nor an IP address";

/// Why a name that is not an address cannot be compared with the host that a client connects to.
fn host_fault(host: &str) -> Option<&'static str> {
    // Clients compare only with names of this form; `*.` stands for any single label (RFC 6125), and no public or local suffix may follow.
    let (name, is_wildcard) = host.strip_prefix("*.").map_or((host, false), |name| (name, true));
    let bare = host.trim_start_matches('[');
    if host.is_empty() {
        Some("is empty: give a host name or an IP address")
    } else if host.contains("://") {
        Some("is an address with a scheme: give the host alone, without mqtts://")
    } else if host.starts_with('[') || bare.split('%').next().is_some_and(|it| it.parse::<IpAddr>().is_ok()) {
        Some("has brackets or a zone: give the IPv6 address alone")
    } else if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        Some("has a port: give the host alone")
    } else if !host.is_ascii() {
        Some("has other letters than ASCII: give the form that begins with xn--")
    } else if host.ends_with('.') && DnsName::try_from(name.trim_end_matches('.')).is_ok() {
        Some("ends with a dot, which no certificate may: leave the dot away")
    } else if name.len() > 253 || name.split('.').any(|label| label.len() > 63) {
        Some("is too long for a host name: at most 253 characters, and 63 between two dots")
    } else if DnsName::try_from(name).is_err() {
        Some(NEITHER)
    } else if is_wildcard && !name.contains('.') {
        Some("is too wide: clients accept a wildcard only before two labels, such as *.home.arpa")
    } else {
        None
    }
}

/// Writes the key first: a certificate without its key would look finished.
fn write_pair(dir: &Path, name: &str, key: &str, certificate: &str) -> Result<(), AuthorityError> {
    check_free(dir, name)?;
    let key_file = dir.join(format!("{name}.key"));
    write_new(&key_file, 0o600, key)?;
    write_new(&dir.join(format!("{name}.crt")), 0o644, certificate).inspect_err(|_| {
        let _ = std::fs::remove_file(&key_file); // the first error is the one that counts
    })
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    let failed = |cause: io::Error| {
        let path = path.to_owned();
        let exists = cause.kind() == io::ErrorKind::AlreadyExists;
        if exists { AuthorityError::Exists(path) } else { AuthorityError::File { path, cause } }
    };
    // Never readable by others, not even for a moment.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    // Certificates are readable by everyone, even if root's umask is 077: the broker runs as another user.
    let permissions = std::fs::Permissions::from_mode(mode);
    let written = file.set_permissions(permissions).and_then(|()| file.write_all(text.as_bytes()));
    written.and_then(|()| file.sync_all()).map_err(|cause| {
        // An incomplete file would keep the next attempt from writing a complete one. It is ours, created just above.
        let _ = std::fs::remove_file(path);
        failed(cause)
    })
}

#[cfg(test)]
mod tests;
