//! Files that a configuration names, and the configuration file itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::{BASE, PROFILES, lines, with_line};
use crate::config::{Environment, Loaded, load};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";

fn write(directory: &Path, name: &str, contents: impl AsRef<[u8]>) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
    fs::write(&path, contents).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

fn load_in(directory: &Path, text: &str, environment: &Environment) -> Loaded {
    write(directory, "surplusd.toml", text);
    load(&directory.join("surplusd.toml"), environment, &PROFILES)
}

fn load_mqtt(directory: &Path, keys: &str) -> Loaded {
    load_in(directory, &with_line(3, &format!("url = \"mqtts://b\"\n{keys}")), &Environment::default())
}

#[test]
fn the_example_of_the_design_loads() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    write(here, "mqtt-password", "hunter2\n");
    write(here, "certs/ca.crt", CERTIFICATE);
    write(here, "certs/gateway.crt", CERTIFICATE);
    write(here, "certs/gateway.key", KEY);
    let text = include_str!("design.toml").replace("/etc/surplusd", &here.display().to_string());
    let loaded = load_in(here, &text, &Environment::default());
    assert_eq!(lines(&loaded.findings), "");
    let mqtt = loaded.config.expect("good").mqtt;
    assert_eq!(mqtt.password.expect("a password").0, "hunter2");
    assert_eq!(mqtt.username.expect("a name").0, "surplusd");
    let tls = mqtt.tls.expect("TLS");
    assert_eq!(tls.ca_file, Some(here.join("certs/ca.crt")));
    assert_eq!(tls.client_auth.expect("both").key_file, here.join("certs/gateway.key"));
}

#[test]
fn secrets_come_from_systemd_first() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    write(here, "mqtt-password", "beside\r\n");
    write(here, "credentials/mqtt-password", "handed over");
    let environment = Environment { credentials_directory: Some(here.join("credentials")), state_directory: None };
    let text = with_line(3, "url = \"mqtts://b\"\nusername = \"u\"\npassword-file = \"mqtt-password\"");
    let password = |environment| {
        let loaded = load_in(here, &text, environment);
        assert_eq!(lines(&loaded.findings), "");
        loaded.config.expect("good").mqtt.password.expect("a password").0
    };
    assert_eq!(password(&environment), "handed over");
    fs::remove_file(here.join("credentials/mqtt-password")).expect("remove");
    assert_eq!(password(&environment), "beside");
    assert_eq!(password(&Environment::default()), "beside");
}

#[test]
fn bad_secrets() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    write(here, "empty", "\n");
    write(here, "two", "a\nb\n");
    write(here, "binary", [0xff, 0xfe, 0x00]);
    write(here, "long", "x".repeat(5_000));
    fs::create_dir(here.join("directory")).expect("directory");
    for (name, says) in [
        ("missing", "missing does not exist; create it"),
        ("empty", "empty is empty"),
        ("two", "more than one line"),
        ("binary", "not text in UTF-8"),
        ("long", "longer than 4096 bytes"),
        ("directory", "not a regular file"),
        ("", "the name of the file is empty"),
    ] {
        let loaded = load_mqtt(here, &format!("username = \"u\"\npassword-file = \"{name}\""));
        let found = lines(&loaded.findings);
        assert_eq!(found.lines().count(), 1, "{found}");
        assert!(found.contains(says) && found.contains(":5:17: error:"), "{found}");
        assert!(loaded.config.is_none());
    }
}

#[test]
fn public_secrets_are_warned_about() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    write(here, "p", "secret");
    fs::set_permissions(here.join("p"), fs::Permissions::from_mode(0o644)).expect("chmod");
    let loaded = load_mqtt(here, "username = \"u\"\npassword-file = \"p\"");
    let found = lines(&loaded.findings);
    assert!(found.contains(":5:17: warning: everybody on this machine may read"), "{found}");
    assert!(!found.contains("secret"));
    assert!(!format!("{:?}", loaded.config.expect("a warning only")).contains("secret"));
}

#[test]
fn certificates_and_keys_must_be_what_they_are_named_for() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    write(here, "cert", CERTIFICATE);
    write(here, "key", KEY);
    write(here, "der", [0x30, 0x82, 0xff]);
    write(here, "cut", CERTIFICATE.replace("-----END CERTIFICATE-----", ""));
    write(here, "csr", CERTIFICATE.replace("CERTIFICATE", "CERTIFICATE REQUEST"));
    write(here, "locked", KEY.replace("EC PRIVATE", "ENCRYPTED PRIVATE"));
    for (name, says) in [
        ("key", "holds a private key, not a certificate"),
        ("der", "is not a PEM file"),
        ("cut", "is not a PEM file"),
        ("csr", "holds no certificate"),
        ("missing", "does not exist"),
    ] {
        let found = lines(&load_mqtt(here, &format!("ca-file = \"{name}\"")).findings);
        assert!(
            found.contains(&format!(":4:11: error: {}", here.join(name).display())) && found.contains(says),
            "{found}"
        );
    }
    for (name, says) in [
        ("cert", "holds a certificate, not a private key"),
        ("locked", "needs a passphrase"),
        ("der", "is not a PEM file"),
    ] {
        let keys = format!("client-cert-file = \"cert\"\nclient-key-file = \"{name}\"");
        let found = lines(&load_mqtt(here, &keys).findings);
        assert!(found.contains(":5:19: error:") && found.contains(says), "{found}");
    }
    let loaded = load_mqtt(here, "client-cert-file = \"cert\"\nclient-key-file = \"key\"");
    assert_eq!(lines(&loaded.findings), "");
}

#[test]
fn the_configuration_file_itself() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    let found = |name: &str| lines(&load(&here.join(name), &Environment::default(), &PROFILES).findings);
    assert!(found("missing").contains(":1:1: error: it cannot be read"));
    assert!(found("").contains("not a regular file"));
    write(here, "latin1", b"version = 1\n# gr\xfcn\n");
    assert!(found("latin1").contains("line 2 is not text in UTF-8"));
    write(here, "long", "#".repeat(300_000));
    assert!(found("long").contains("longer than"));
    write(here, "good", BASE);
    assert_eq!(found("good"), "");
}
