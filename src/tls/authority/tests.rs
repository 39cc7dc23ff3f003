use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

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
        assert!(matches!(error, AuthorityError::Host { .. }), "{host}: {error}");
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

/// Whoever else has an account on this machine could sign as well.
#[test]
fn a_key_that_everybody_may_read_signs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), "Household authority", NOW_MS).unwrap();
    let key = dir.path().join("ca.key");
    for mode in [0o644, 0o602] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = issue(dir.path(), "x", &Purpose::Client, NOW_MS).unwrap_err().to_string();
        let fault = format!("{}: everybody on this machine may read or write it (mode {mode:04o})", key.display());
        assert!(error.starts_with(&fault) && error.contains("`sudo chmod 0600` it"), "{error}");
        assert!(!dir.path().join("x.key").exists());
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    issue(dir.path(), "x", &Purpose::Client, NOW_MS).unwrap();
}

#[test]
fn no_subject_is_its_issuers() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["gateway", "broker"] {
        assert!(matches!(init(dir.path(), name, NOW_MS), Err(AuthorityError::AuthorityName(_))), "{name}");
    }
    init(dir.path(), "Home", NOW_MS).unwrap();
    assert!(matches!(issue(dir.path(), "Home", &Purpose::Client, NOW_MS), Err(AuthorityError::Subject(_))));
    for name in ["123", "a-", "-"] {
        issue(dir.path(), name, &Purpose::Client, NOW_MS).unwrap();
    }
}

/// Everything that RFC 5280 and the verifiers of `OpenSSL`, rustls and mbedTLS check.
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
        assert_eq!(purpose.map(|usage| (usage.server_auth, usage.client_auth)), (!is_ca).then_some((server, !server)));
        assert_eq!(certificate.subject() == certificate.issuer(), is_ca, "{name}");
        let identified = certificate.extensions().iter().any(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::AuthorityKeyIdentifier(id) if id.key_identifier.is_some())
        });
        assert!(identified, "{name}: authority key identifier");
    }
}

/// Writes an authority that this program would not create, and returns its folder.
fn strange(change: impl FnOnce(&mut CertificateParams)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut strange = params("Strange", AUTHORITY_DAYS, NOW_MS);
    strange.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    strange.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut strange);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.path().join("ca.crt"), strange.self_signed(&key).unwrap().pem()).unwrap();
    write_new(&dir.path().join("ca.key"), 0o600, &key.serialize_pem()).unwrap();
    dir
}

#[test]
fn an_authority_that_nobody_would_accept_signs_nothing() {
    let ended = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2026, 11, 26);
    let begins = |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2026, 12, 1);
    let no_sign = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let foreign = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 999, 3]), "found by fuzzing: the library panicked");
    };
    for (dir, says) in [
        (strange(foreign), "has a name that cannot be written"),
        (strange(ended), "has expired"),
        (strange(begins), "is not valid before"),
        (strange(no_sign), "lacks keyCertSign"),
    ] {
        let error = issue(dir.path(), "gateway", &Purpose::Client, NOW_MS).unwrap_err();
        assert!(matches!(error, AuthorityError::Unfit { .. }) && error.to_string().contains(says), "{error}");
        assert!(!dir.path().join("gateway.key").exists());
    }
    let dir = strange(|_| {});
    assert!(!issue(dir.path(), "gateway", &Purpose::Client, NOW_MS).unwrap().shortened);
    let key = std::fs::read_to_string(dir.path().join("ca.key")).unwrap();
    std::fs::write(dir.path().join("ca.key"), key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).unwrap();
    let error = issue(dir.path(), "other", &Purpose::Client, NOW_MS).unwrap_err().to_string();
    assert!(error.contains("needs a passphrase") && error.contains("openssl pkey"), "{error}");
}

#[test]
fn no_certificate_outlives_its_authority() {
    let end = rcgen::date_time_ymd(2027, 3, 1);
    let dir = strange(|params| params.not_after = end);
    let issued = issue(dir.path(), "gateway", &Purpose::Client, NOW_MS).unwrap();
    assert_eq!(issued, Issued { until: "2027-03-01".to_owned(), shortened: true });
    let text = std::fs::read(dir.path().join("gateway.crt")).unwrap();
    let (_, block) = parse_x509_pem(&text).unwrap();
    assert_eq!(block.parse_x509().unwrap().validity().not_after.timestamp(), end.unix_timestamp());
}

#[test]
fn hosts_that_no_client_can_compare_are_refused_with_the_reason() {
    let long = format!("{}.local", "a".repeat(64));
    let longer = format!("{}local", "abcdefgh.".repeat(30));
    for (host, says) in [
        ("ha.local.", "leave the dot away"),
        ("", "is empty"),
        ("ha..local", "neither"),
        (".local", "neither"),
        ("*.local", "too wide"),
        ("*", "neither"),
        ("ha.*.local", "neither"),
        ("mqtts://ha.local", "without mqtts://"),
        ("ha.local:8883", "has a port"),
        ("192.168.1.10:8883", "has a port"),
        ("[::1]", "brackets"),
        ("[::1]:8883", "brackets"),
        ("fe80::1%eth0", "zone"),
        ("0.0.0.0", "every address"),
        ("::", "every address"),
        ("häuschen.local", "xn--"),
        ("192.168.1", "neither"),
        ("ha.local\u{1b}[31m", "neither"),
        (long.as_str(), "too long"),
        (longer.as_str(), "too long"),
    ] {
        let error = check_hosts(&[host.to_owned()]).unwrap_err().to_string();
        assert!(error.contains(says), "{host}: {error}");
    }
    for host in ["ha.local", "HA", "192.168.1.10", "fd00::10", "*.home.arpa", "my_host.lan", "xn--huschen-5wa.local"] {
        check_hosts(&[host.to_owned()]).unwrap();
    }
    for name in ["Home\u{1b}[2J", "Home\nauthority", " ", "a\u{200b}B", &"Ab".repeat(33)] {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(init(dir.path(), name, NOW_MS), Err(AuthorityError::AuthorityText)), "{name:?}");
    }
}

/// Found by fuzzing: the library panicked.
#[test]
fn a_name_that_cannot_be_written_is_known() {
    let ours = include_bytes!("../../../fuzz/corpus/certificate/authority.der").as_slice();
    let kind = include_bytes!("../../../fuzz/corpus/certificate/attribute-2-5044.der").as_slice();
    let question = include_bytes!("../../../fuzz/corpus/certificate/printable-question-mark.der").as_slice();
    for (der, expected) in [(ours, true), (kind, false), (question, false)] {
        let (_, certificate) = X509Certificate::from_der(der).unwrap();
        assert_eq!(can_issue(&certificate), expected, "{}", certificate.subject());
    }
}
