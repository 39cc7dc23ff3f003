//! The household's own certificate authority: makes it, and issues certificates with it.
//!
//! ECDSA P-256, X.509 version 3, each certificate with its own subject (one that equals its issuer's looks self-signed to `OpenSSL`), names in
//! the subject alternative name, and a purpose. An issued certificate says that it is no authority, and the authority that none may stand
//! below it: who steals a gateway's key cannot play the broker.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use thiserror::Error;

/// An authority outlives what it signs.
const AUTHORITY_DAYS: u64 = 20 * 365;
const ISSUED_DAYS: u64 = 5 * 365;
const DAY_S: u64 = 86_400;

/// The authority's files.
pub const AUTHORITY: (&str, &str) = ("ca.crt", "ca.key");

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A client that proves who it is: a gateway, a relay.
    Client,
    /// A server, reached by these names and addresses.
    Server(Vec<String>),
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file is there already.
    #[error("{} exists, and nothing is overwritten: move it away first if it is no longer needed", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written or read.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is no authority to sign with.
    #[error("there is no authority in {}: make one with `surplusd certs init`, or name its folder with --dir", .0.display())]
    NoAuthority(PathBuf),
    /// The authority's files cannot be used.
    #[error("the authority in {} cannot be used: {cause}", path.display())]
    Unusable {
        /// Its folder.
        path: PathBuf,
        /// Why.
        cause: rcgen::Error,
    },
    /// Neither a DNS name nor an address.
    #[error("\"{0}\" is neither a host name nor an IP address")]
    Host(String),
    /// The library.
    #[error("no certificate can be made: {0}")]
    Library(#[from] rcgen::Error),
}

/// Makes an authority in a folder, which is made if it is not there. `name` is its subject; `now_ms` the wall clock, in milliseconds since
/// 1970 UTC.
pub fn init(dir: &Path, name: &str, now_ms: i64) -> Result<(), AuthorityError> {
    std::fs::create_dir_all(dir).map_err(|cause| AuthorityError::File { path: dir.to_owned(), cause })?;
    let mut params = params(name, AUTHORITY_DAYS, now_ms);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_pair(dir, AUTHORITY, &key.serialize_pem(), &certificate.pem())
}

/// Whether names and addresses can stand in a certificate.
pub fn check_hosts(hosts: &[String]) -> Result<(), AuthorityError> {
    hosts.iter().try_for_each(|host| alternative(host).map(|_| ()))
}

/// Issues a certificate for `name`, as `<name>.crt` and `<name>.key`.
pub fn issue(dir: &Path, name: &str, purpose: &Purpose, now_ms: i64) -> Result<(), AuthorityError> {
    let issuer = authority(dir)?;
    let mut params = params(name, ISSUED_DAYS, now_ms);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let (hosts, usage) = match purpose {
        Purpose::Client => (vec![name.to_owned()], ExtendedKeyUsagePurpose::ClientAuth),
        Purpose::Server(hosts) => (hosts.clone(), ExtendedKeyUsagePurpose::ServerAuth),
    };
    params.subject_alt_names = hosts.iter().map(|host| alternative(host)).collect::<Result<_, _>>()?;
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let files = (format!("{name}.crt"), format!("{name}.key"));
    write_pair(dir, (&files.0, &files.1), &key.serialize_pem(), &certificate.pem())
}

fn authority(dir: &Path) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).map_err(|cause| {
            if cause.kind() == io::ErrorKind::NotFound {
                AuthorityError::NoAuthority(dir.to_owned())
            } else {
                AuthorityError::File { path, cause }
            }
        })
    };
    let unusable = |cause| AuthorityError::Unusable { path: dir.to_owned(), cause };
    let key = KeyPair::from_pem(&read(AUTHORITY.1)?).map_err(unusable)?;
    Issuer::from_ca_cert_pem(&read(AUTHORITY.0)?, key).map_err(unusable)
}

fn params(name: &str, days: u64, now_ms: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    // A board without a clock battery may believe that it is years ago.
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    let today = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + today + Duration::from_secs(days * DAY_S);
    params
}

fn alternative(host: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let plausible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '*');
    if host.is_empty() || host.len() > 253 || !host.chars().all(plausible) {
        return Err(AuthorityError::Host(host.to_owned()));
    }
    host.try_into().map(SanType::DnsName).map_err(|_| AuthorityError::Host(host.to_owned()))
}

/// The key first: a certificate without its key would look finished.
fn write_pair(
    dir: &Path,
    (certificate_name, key_name): (&str, &str),
    key: &str,
    certificate: &str,
) -> Result<(), AuthorityError> {
    for name in [certificate_name, key_name] {
        let path = dir.join(name);
        if path.exists() {
            return Err(AuthorityError::Exists(path));
        }
    }
    write_new(&dir.join(key_name), 0o600, key)?;
    write_new(&dir.join(certificate_name), 0o644, certificate)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    let failed = |cause: io::Error| {
        let path = path.to_owned();
        let exists = cause.kind() == io::ErrorKind::AlreadyExists;
        if exists { AuthorityError::Exists(path) } else { AuthorityError::File { path, cause } }
    };
    // Never readable by others, not even for a moment.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// 2026-11-27.
    const NOW_MS: i64 = 1_795_737_600_000;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_private_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new/certs");
        init(&dir, "Household authority", NOW_MS).unwrap();
        issue(&dir, "pico-carport", &Purpose::Client, NOW_MS).unwrap();
        for (name, expected) in
            [("ca.key", 0o600), ("pico-carport.key", 0o600), ("ca.crt", 0o644), ("pico-carport.crt", 0o644)]
        {
            assert_eq!(mode(&dir.join(name)), expected, "{name}");
        }
        let before = std::fs::read(dir.join("ca.key")).unwrap();
        assert!(matches!(init(&dir, "Another", NOW_MS), Err(AuthorityError::Exists(_))));
        assert!(matches!(issue(&dir, "pico-carport", &Purpose::Client, NOW_MS), Err(AuthorityError::Exists(_))));
        std::fs::remove_file(dir.join("pico-carport.crt")).unwrap();
        assert!(matches!(issue(&dir, "pico-carport", &Purpose::Client, NOW_MS), Err(AuthorityError::Exists(_))));
        assert_eq!(std::fs::read(dir.join("ca.key")).unwrap(), before);
    }

    #[test]
    fn what_cannot_be_signed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = issue(dir.path(), "x", &Purpose::Client, NOW_MS).unwrap_err();
        assert!(error.to_string().contains("surplusd certs init"), "{error}");
        init(dir.path(), "Household authority", NOW_MS).unwrap();
        for host in ["", "a b", "ä.local", "host/8883"] {
            let error = issue(dir.path(), "x", &Purpose::Server(vec![host.to_owned()]), NOW_MS).unwrap_err();
            assert!(matches!(error, AuthorityError::Host(_)), "{host}: {error}");
        }
        assert!(!dir.path().join("x.key").exists());
        std::fs::write(dir.path().join("ca.crt"), "no certificate").unwrap();
        let error = issue(dir.path(), "x", &Purpose::Client, NOW_MS).unwrap_err();
        assert!(matches!(error, AuthorityError::Unusable { .. }), "{error}");
    }
}
