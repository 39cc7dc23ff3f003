//! The household's own certificate authority: makes it, and issues certificates with it.
//!
//! ECDSA P-256, X.509 version 3, each certificate with its own subject (one that equals its issuer's looks self-signed to `OpenSSL`), names in
//! the subject alternative name, and a purpose. An issued certificate says that it is no authority, and the authority that none may stand
//! below it: who steals a gateway's key cannot play the broker.

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
use x509_parser::pem::parse_x509_pem;

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
    /// The two files are of different authorities: what they sign nobody would accept.
    #[error("ca.crt and ca.key in {} do not belong together: put back the key that was made with the certificate", .0.display())]
    Mismatch(PathBuf),
    /// The certificate is no authority's: what it signs nobody would accept.
    #[error("ca.crt in {} is not the certificate of an authority: put back the one made by `surplusd certs init`", .0.display())]
    NotAuthority(PathBuf),
    /// An authority with a name that one of its certificates could have.
    #[error(
        "an authority cannot be called \"{0}\", as its certificates can be: give it a name with a capital letter or a space"
    )]
    AuthorityName(String),
    /// A certificate with the subject of its authority.
    #[error("\"{0}\" is what the authority is called: each certificate needs its own subject, so choose another name")]
    Subject(String),
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
    if name.is_empty() || is_id(name) {
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

/// Whether names and addresses can stand in a certificate.
pub fn check_hosts(hosts: &[String]) -> Result<(), AuthorityError> {
    hosts.iter().try_for_each(|host| alternative(host).map(|_| ()))
}

/// Whether nothing is there yet that a certificate for `name` would overwrite.
pub fn check_free(dir: &Path, name: &str) -> Result<(), AuthorityError> {
    for ending in ["crt", "key"] {
        let path = dir.join(format!("{name}.{ending}"));
        // A link that leads nowhere is something, too.
        if std::fs::symlink_metadata(&path).is_ok() {
            return Err(AuthorityError::Exists(path));
        }
    }
    Ok(())
}

/// Issues a certificate for `name`, as `<name>.crt` and `<name>.key`.
pub fn issue(dir: &Path, name: &str, purpose: &Purpose, now_ms: i64) -> Result<(), AuthorityError> {
    let issuer = authority(dir, name)?;
    let mut params = params(name, ISSUED_DAYS, now_ms);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let (names, usage) = match purpose {
        // Not a host: `123` and `a-` are good names of a relay.
        Purpose::Client => (vec![SanType::DnsName(name.try_into()?)], ExtendedKeyUsagePurpose::ClientAuth),
        Purpose::Server(hosts) => {
            let names = hosts.iter().map(|host| alternative(host)).collect::<Result<_, _>>()?;
            (names, ExtendedKeyUsagePurpose::ServerAuth)
        }
    };
    params.subject_alt_names = names;
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    write_pair(dir, name, &key.serialize_pem(), &certificate.pem())
}

/// The authority of a folder, fit to sign for `name`.
fn authority(dir: &Path, name: &str) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
    let read = |name: &str| {
        let path = dir.join(name);
        crate::regular::read_text(&path, super::MAX_FILE).map_err(|cause| {
            if cause.kind() == io::ErrorKind::NotFound {
                AuthorityError::NoAuthority(dir.to_owned())
            } else {
                AuthorityError::File { path, cause }
            }
        })
    };
    let unusable = |cause| AuthorityError::Unusable { path: dir.to_owned(), cause };
    let (certificate, key) = (read(AUTHORITY.0)?, read(AUTHORITY.1)?);
    let key = KeyPair::from_pem(&key).map_err(unusable)?;
    let not_pem = || unusable(rcgen::Error::CouldNotParseCertificate);
    let (_, block) = parse_x509_pem(certificate.as_bytes()).map_err(|_| not_pem())?;
    let parsed = block.parse_x509().map_err(|_| not_pem())?;
    if !parsed.is_ca() {
        return Err(AuthorityError::NotAuthority(dir.to_owned()));
    }
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(AuthorityError::Mismatch(dir.to_owned()));
    }
    if parsed.subject().iter_common_name().any(|called| called.as_str() == Ok(name)) {
        return Err(AuthorityError::Subject(name.to_owned()));
    }
    Issuer::from_ca_cert_pem(&certificate, key).map_err(unusable)
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
    // Clients compare with names of this form only; `*.` stands for any one label.
    if DnsName::try_from(host.strip_prefix("*.").unwrap_or(host)).is_err() {
        return Err(AuthorityError::Host(host.to_owned()));
    }
    host.try_into().map(SanType::DnsName).map_err(|_| AuthorityError::Host(host.to_owned()))
}

/// The key first: a certificate without its key would look finished.
fn write_pair(dir: &Path, name: &str, key: &str, certificate: &str) -> Result<(), AuthorityError> {
    check_free(dir, name)?;
    write_new(&dir.join(format!("{name}.key")), 0o600, key)?;
    write_new(&dir.join(format!("{name}.crt")), 0o644, certificate)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    let failed = |cause: io::Error| {
        let path = path.to_owned();
        let exists = cause.kind() == io::ErrorKind::AlreadyExists;
        if exists { AuthorityError::Exists(path) } else { AuthorityError::File { path, cause } }
    };
    // Never readable by others, not even for a moment.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    // Certificates are for everybody, also where root's umask is 077: the broker runs as another user.
    let permissions = std::fs::Permissions::from_mode(mode);
    file.set_permissions(permissions).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
    file.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::ParsedExtension;

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
        for host in ["", "a b", "ä.local", "host/8883", "*", "..", "-", "a..b", "a.*.b", "1.2.3"] {
            let error = issue(dir.path(), "x", &Purpose::Server(vec![host.to_owned()]), NOW_MS).unwrap_err();
            assert!(matches!(error, AuthorityError::Host(_)), "{host}: {error}");
        }
        assert!(!dir.path().join("x.key").exists());
        std::fs::write(dir.path().join("ca.crt"), "no certificate").unwrap();
        let error = issue(dir.path(), "x", &Purpose::Client, NOW_MS).unwrap_err();
        assert!(matches!(error, AuthorityError::Unusable { .. }), "{error}");
    }

    #[test]
    fn nothing_is_signed_that_nobody_would_accept() {
        let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, others) = (ours.path(), others.path());
        for dir in [ours, others] {
            init(dir, "Household authority", NOW_MS).unwrap();
            issue(dir, "gateway", &Purpose::Client, NOW_MS).unwrap();
        }
        let error = || issue(ours, "x", &Purpose::Client, NOW_MS).unwrap_err();
        std::fs::copy(others.join("ca.key"), ours.join("ca.key")).unwrap();
        assert!(matches!(error(), AuthorityError::Mismatch(_)), "{}", error());
        std::fs::copy(ours.join("gateway.crt"), ours.join("ca.crt")).unwrap();
        std::fs::copy(ours.join("gateway.key"), ours.join("ca.key")).unwrap();
        assert!(matches!(error(), AuthorityError::NotAuthority(_)), "{}", error());
        assert!(!ours.join("x.key").exists());
    }

    #[test]
    fn no_subject_is_its_issuers() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "gateway", "broker"] {
            assert!(matches!(init(dir.path(), name, NOW_MS), Err(AuthorityError::AuthorityName(_))), "{name}");
        }
        init(dir.path(), "Home", NOW_MS).unwrap();
        assert!(matches!(issue(dir.path(), "Home", &Purpose::Client, NOW_MS), Err(AuthorityError::Subject(_))));
        for name in ["123", "a-", "-"] {
            issue(dir.path(), name, &Purpose::Client, NOW_MS).unwrap();
        }
    }

    /// What RFC 5280 and the verifiers of `OpenSSL`, rustls and mbedTLS look at.
    #[test]
    fn certificates_say_what_they_may_do_and_for_how_long() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), "Household authority", NOW_MS).unwrap();
        issue(dir.path(), "gateway", &Purpose::Client, NOW_MS).unwrap();
        issue(dir.path(), "broker", &Purpose::Server(vec!["ha.local".to_owned(), "::1".to_owned()]), NOW_MS).unwrap();
        for (name, days, is_ca, server) in
            [("ca", 20 * 365, true, false), ("gateway", 5 * 365, false, false), ("broker", 5 * 365, false, true)]
        {
            let text = std::fs::read(dir.path().join(format!("{name}.crt"))).unwrap();
            let (_, block) = parse_x509_pem(&text).unwrap();
            let certificate = block.parse_x509().unwrap();
            assert_eq!(certificate.version().0, 2, "{name}: X.509 version 3");
            let (from, until) = (certificate.validity().not_before, certificate.validity().not_after);
            assert!(from.timestamp() <= NOW_MS / 1_000 - 86_400, "{name}: {from}");
            assert_eq!(until.timestamp(), NOW_MS / 1_000 + days * 86_400, "{name}");
            let constraints = certificate.basic_constraints().unwrap().unwrap();
            assert!(constraints.critical, "{name}: also an end entity says so");
            assert_eq!((constraints.value.ca, constraints.value.path_len_constraint), (is_ca, is_ca.then_some(0)));
            let usage = certificate.key_usage().unwrap().unwrap().value;
            assert_eq!((usage.key_cert_sign(), usage.crl_sign(), usage.digital_signature()), (is_ca, is_ca, !is_ca));
            let purpose = certificate.extended_key_usage().unwrap().map(|usage| usage.value);
            assert_eq!(
                purpose.map(|usage| (usage.server_auth, usage.client_auth)),
                (!is_ca).then_some((server, !server))
            );
            assert_eq!(certificate.subject() == certificate.issuer(), is_ca, "{name}");
            let identified = certificate.extensions().iter().any(|extension| {
                matches!(extension.parsed_extension(), ParsedExtension::AuthorityKeyIdentifier(id) if id.key_identifier.is_some())
            });
            assert!(identified, "{name}: authority key identifier");
        }
    }
}
