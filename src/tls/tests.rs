use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};

use super::{TlsError, client_config};
use crate::config::{ClientAuth, TlsConfig};

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("scratch file");
    path
}

fn pair() -> (String, String) {
    let key = KeyPair::generate().expect("key");
    let certificate =
        CertificateParams::new(["test".to_owned()]).and_then(|p| p.self_signed(&key)).expect("certificate");
    (certificate.pem(), key.serialize_pem())
}

fn setup(ca: &Path, client: Option<(&Path, &Path)>) -> TlsConfig {
    TlsConfig {
        ca_file: Some(ca.to_owned()),
        client_auth: client.map(|(cert, key)| ClientAuth { cert_file: cert.to_owned(), key_file: key.to_owned() }),
    }
}

#[test]
fn good_files() {
    let folder = tempfile::tempdir().expect("scratch");
    let (certificate, key_text) = pair();
    let cert = write(folder.path(), "a.crt", &certificate);
    let key = write(folder.path(), "a.k", &key_text);
    assert!(client_config(&setup(&cert, None)).is_ok());
    let bundle = write(folder.path(), "bundle.crt", &format!("a comment\n{certificate}{}", pair().0));
    assert!(client_config(&setup(&bundle, Some((&cert, &key)))).is_ok(), "several authorities, and an identity");
}

#[test]
fn each_bad_file_is_named_with_its_cause() {
    let folder = tempfile::tempdir().expect("scratch");
    let (certificate, key_text) = pair();
    let cert = write(folder.path(), "a.crt", &certificate);
    let key = write(folder.path(), "a.k", &key_text);
    let other = write(folder.path(), "b.k", &pair().1);
    let text = write(folder.path(), "text", "hello");
    let absent = folder.path().join("absent");
    let error = |tls: &TlsConfig| client_config(tls).expect_err("bad files");

    assert!(matches!(error(&setup(&absent, None)), TlsError::Read { path, .. } if path == absent));
    assert!(matches!(error(&setup(&text, None)), TlsError::Pem { path, .. } if path == text));
    assert!(matches!(error(&setup(&key, None)), TlsError::Pem { .. }), "a key is no certificate");
    assert!(
        matches!(error(&setup(&cert, Some((&cert, &cert)))), TlsError::Pem { expected, .. } if expected.contains("key"))
    );
    assert!(
        matches!(error(&setup(&cert, Some((&cert, &other)))), TlsError::Identity { .. }),
        "the key of another certificate"
    );
}
