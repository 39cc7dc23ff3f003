use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::{Client, TlsError, client};
use crate::config::{ClientAuth, TlsConfig};

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("scratch file");
    mode(&path, 0o600);
    path
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("scratch file");
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

fn opened(tls: &TlsConfig) -> Result<Client, TlsError> {
    client(tls, "broker.lan")
}

fn opened_for(tls: &TlsConfig, host: &str) -> Client {
    client(tls, host).expect("good files")
}

#[test]
fn good_files() {
    let folder = tempfile::tempdir().expect("scratch");
    let (certificate, key_text) = pair();
    let cert = write(folder.path(), "a.crt", &certificate);
    let key = write(folder.path(), "a.k", &key_text);
    assert!(opened(&setup(&cert, None)).is_ok());
    let bundle = write(folder.path(), "bundle.crt", &format!("a comment\n{certificate}{}", pair().0));
    assert!(opened(&setup(&bundle, Some((&cert, &key)))).is_ok(), "several authorities, and an identity");
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
    let error = |tls: &TlsConfig| opened(tls).expect_err("bad files");

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
    // It may have been replaced since the configuration was read.
    mode(&key, 0o644);
    let public = error(&setup(&cert, Some((&cert, &key))));
    assert!(matches!(&public, TlsError::Public { path, .. } if *path == key), "{public}");
    assert!(public.to_string().contains("everybody on this machine may read or write it (mode 0644)"), "{public}");
}

/// What a client that connects to an address of a broker with this name thinks of the certificate for `test`.
fn by_address(host: &str) -> Option<rustls::Error> {
    let folder = tempfile::tempdir().expect("scratch");
    let (certificate, key) = pair();
    let config = opened_for(&setup(&write(folder.path(), "a.crt", &certificate), None), host).config;
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let server = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut server = ServerConnection::new(server.expect("fits").into()).expect("fits");
    let address = ServerName::try_from("192.0.2.1").expect("an address");
    let mut client = ClientConnection::new(config, address).expect("fits");
    while client.is_handshaking() {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut there).expect("memory");
        }
        server.read_tls(&mut there.as_slice()).expect("memory");
        server.process_new_packets().expect("a client's handshake");
        while server.wants_write() {
            server.write_tls(&mut back).expect("memory");
        }
        let mut back = back.as_slice();
        while !back.is_empty() {
            client.read_tls(&mut back).expect("memory");
            if let Err(error) = client.process_new_packets() {
                return Some(error);
            }
        }
    }
    None
}

#[test]
fn a_certificate_is_for_the_configured_name_at_whichever_address() {
    assert_eq!(by_address("test"), None);
    let error = by_address("other").expect("another name");
    assert!(error.to_string().contains("other"), "{error}");
    assert!(by_address("192.0.2.1").is_some(), "the address itself is not in it");
}

/// A new version of the library, or another provider, must not bring old ciphers back unnoticed.
#[test]
fn only_tls_1_2_and_1_3_with_forward_secrecy_and_authenticated_encryption() {
    let folder = tempfile::tempdir().expect("scratch");
    let config = opened_for(&setup(&write(folder.path(), "a.crt", &pair().0), None), "broker.lan").config;
    let suites: Vec<_> =
        config.crypto_provider().cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
    let expected = [
        "TLS13_AES_256_GCM_SHA384",
        "TLS13_AES_128_GCM_SHA256",
        "TLS13_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ];
    assert_eq!(suites, expected);
    let name = ServerName::try_from("broker.lan").expect("a name");
    let mut hello = Vec::new();
    ClientConnection::new(config, name).expect("fits").write_tls(&mut hello).expect("memory");
    // The extension `supported_versions` (RFC 8446, section 4.2.1) with 1.3 and 1.2.
    let versions = [0x00, 0x2b, 0x00, 0x05, 0x04, 0x03, 0x04, 0x03, 0x03];
    assert!(hello.windows(versions.len()).any(|bytes| bytes == versions), "{hello:02x?}");
}
