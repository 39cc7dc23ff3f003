//! Files that a configuration names, and the configuration file itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::{PROFILES, lines, with_line};
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
    let environment = Environment { credentials_directory: Some(here.join("credentials")), ..Environment::default() };
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
        (
            "missing",
            "the file named here does not exist; create it, or correct its name: the secret stands in the file",
        ),
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

/// What was written in the place of a name, or without quotes, is not repeated where others read it.
#[test]
fn a_password_in_the_wrong_place_is_not_repeated() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    write(here, "cert", CERTIFICATE);
    let long = format!("username = \"u\"\npassword-file = \"hunter2{}\"", "x".repeat(300));
    for keys in [
        "username = \"u\"\npassword-file = \"hunter2\"",
        "username = \"u\"\npassword-file = \"cert/hunter2\"",
        "username = \"u\"\npassword-file = \"hunter2\\u0000\"",
        &long,
        "username = \"u\"\npassword-file = hunter2",
        "username = \"u\"\npassword-file = 748321337",
        "username = \"u\"\npassword-file = [\"hunter2\"]",
        "username-file = \"hunter2\"\npassword-file = \"cert\"",
        "username = 748321337\npassword-file = \"cert\"",
        "keep-alive-s = \"hunter2\"",
        "client-cert-file = \"cert\"\nclient-key-file = \"hunter2\"",
    ] {
        let loaded = load_mqtt(here, keys);
        let found = lines(&loaded.findings);
        assert!(loaded.config.is_none() && found.contains("error: "), "{keys}: {found}");
        assert!(!found.contains("hunter2") && !found.contains("748321337"), "{keys}: {found}");
    }
}

/// Whoever else has an account on this machine could switch the charger, or lead it to another broker. The group is the owner's choice.
#[test]
fn public_secrets_are_refused() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    for (name, contents) in [("p", "hunter2"), ("key", KEY), ("cert", CERTIFICATE)] {
        write(here, name, contents);
        std::os::unix::fs::symlink(name, here.join(format!("{name}-link"))).expect("link");
    }
    for (name, keys, place) in [
        ("p", "username = \"u\"\npassword-file = \"p\"", "5:17"),
        ("p", "username = \"u\"\npassword-file = \"p-link\"", "5:17"),
        ("key", "client-cert-file = \"cert\"\nclient-key-file = \"key\"", "5:19"),
        ("key", "client-cert-file = \"cert\"\nclient-key-file = \"key-link\"", "5:19"),
    ] {
        let with_mode = |mode| {
            fs::set_permissions(here.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
            load_mqtt(here, keys)
        };
        for mode in [0o644, 0o604, 0o602, 0o666] {
            let loaded = with_mode(mode);
            let found = lines(&loaded.findings);
            assert!(
                found.contains(&format!(":{place}: error: everybody on this machine may read or write ")),
                "{found}"
            );
            assert!(found.contains(&format!("(mode {mode:04o}); `sudo chmod 0600 ")), "{found}");
            assert!(found.contains("; if others use this machine, make a new secret\n"), "{found}");
            assert!(found.lines().count() == 1 && !found.contains("hunter2") && loaded.config.is_none(), "{found}");
        }
        for mode in [0o600, 0o400, 0o640, 0o440, 0o660] {
            let loaded = with_mode(mode);
            assert_eq!(lines(&loaded.findings), "", "{mode:o}");
            assert!(!format!("{:?}", loaded.config.expect("good")).contains("hunter2"));
        }
    }
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
        ("cut", "is not a PEM file: the line `-----END …-----` is missing"),
        ("csr", "holds no certificate but a request for a certificate"),
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
    write(here, "p", "hunter2");
    write(here, "good", with_line(3, "url = \"mqtts://b\"\nusername = \"u\"\npassword-file = \"p\""));
    assert_eq!(found("good"), "");
}

/// Windows editors put a byte order mark before the text, or write UTF-16.
#[test]
fn byte_order_marks_do_not_count_and_utf16_is_named() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    write(here, "password", marked("hunter2\r\n"));
    write(here, "ca", marked(&CERTIFICATE.replace('\n', "\r\n")));
    write(here, "cert", marked(CERTIFICATE));
    write(here, "key", marked(KEY));
    let keys = "username = \"u\"\npassword-file = \"password\"\nca-file = \"ca\"\nclient-cert-file = \"cert\"\nclient-key-file = \"key\"";
    let text = with_line(3, &format!("url = \"mqtts://b\"\n{keys}"));
    write(here, "surplusd.toml", marked(&text));
    let loaded = load(&here.join("surplusd.toml"), &Environment::default(), &PROFILES);
    assert_eq!(lines(&loaded.findings), "");
    assert_eq!(loaded.config.expect("good").mqtt.password.expect("a password").0, "hunter2");

    for (name, contents) in [("password", "hunter2"), ("ca", CERTIFICATE), ("surplusd.toml", text.as_str())] {
        write(here, "password", "hunter2");
        write(here, "ca", CERTIFICATE);
        for with_mark in [true, false] {
            let mark = if with_mark { "\u{feff}" } else { "" };
            write(here, "surplusd.toml", &text);
            write(here, name, utf16(&format!("{mark}{contents}")));
            let found = lines(&load(&here.join("surplusd.toml"), &Environment::default(), &PROFILES).findings);
            assert!(found.contains("UTF-16") && found.contains("iconv -f UTF-16 -t UTF-8"), "{name}: {found}");
            assert_eq!(found.lines().count(), 1, "{name}: {found}");
        }
    }
}

#[test]
fn what_nobody_sees_in_a_secret_is_named() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    for (secret, severity, says) in [
        ("secret \n", "warning", "p ends with U+0020 (blank), which is sent with the rest"),
        (" secret", "warning", "p begins with U+0020 (blank)"),
        ("secret\u{a0}\r\n", "warning", "p ends with U+00A0 (no-break space)"),
        ("sec\u{200b}ret", "warning", "p contains U+200B (zero width space)"),
        ("secret\t\n", "error", "p contains U+0009 (tab)"),
        ("sec\0ret", "error", "p contains U+0000 (control character)"),
    ] {
        write(here, "p", secret);
        let loaded = load_mqtt(here, "username = \"u\"\npassword-file = \"p\"");
        let found = lines(&loaded.findings);
        assert!(found.contains(&format!(":5:17: {severity}: ")) && found.contains(says), "{secret:?}: {found}");
        assert!(found.contains("printf %s"), "{found}");
        let taken = loaded.config.map(|config| config.mqtt.password.expect("a password").0);
        let expected = secret.trim_end_matches(['\r', '\n']);
        assert_eq!(taken.as_deref(), (severity == "warning").then_some(expected), "as it is");
    }
    for secret in ["two words", "pässwörd", "x"] {
        write(here, "p", secret);
        assert_eq!(lines(&load_mqtt(here, "username = \"u\"\npassword-file = \"p\"").findings), "");
    }
}

/// Each finding has the command that converts the file.
#[test]
fn keys_and_certificates_in_other_forms_are_named() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    let block = |label: &str, head: &str| format!("-----BEGIN {label}-----\n{head}AAAA\n-----END {label}-----\n");
    write(here, "cert", CERTIFICATE);
    write(here, "old", block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n"));
    write(here, "new", block("ENCRYPTED PRIVATE KEY", ""));
    write(here, "ssh", block("OPENSSH PRIVATE KEY", ""));
    write(here, "public", block("PUBLIC KEY", ""));
    write(here, "der", [0x30, 0x82, 1, 2, 2, 1, 0, 0x30]);
    write(here, "ed25519.der", [0x30, 0x2e, 2, 1, 0, 0x30]);
    write(here, "p12", [0x30, 0x82, 1, 2, 2, 1, 3, 0x30]);
    write(here, "cert.der", [0x30, 0x82, 1, 2, 0x30, 0x82, 1, 1]);
    for (name, says) in [
        ("old", "holds a key that needs a passphrase; nobody is there to type it: remove it with `openssl pkey -in "),
        ("new", "holds a key that needs a passphrase; nobody is there to type it: remove it with `openssl pkey -in "),
        ("ssh", "holds no private key but a key for SSH"),
        ("public", "holds no private key but the public half of a key"),
        ("der", "is not a PEM file but a key in DER format; convert it with `openssl pkey -inform der"),
        ("ed25519.der", "is not a PEM file but a key in DER format"),
        ("p12", "is not a PEM file but a PKCS#12 store; take the key out with `openssl pkcs12"),
        ("cert.der", "is not a PEM file but a certificate in DER format; name the key here"),
    ] {
        let found =
            lines(&load_mqtt(here, &format!("client-cert-file = \"cert\"\nclient-key-file = \"{name}\"")).findings);
        assert!(found.contains(":5:19: error:") && found.contains(says), "{name}: {found}");
    }
    write(here, "request", block("NEW CERTIFICATE REQUEST", ""));
    write(here, "trusted", block("TRUSTED CERTIFICATE", ""));
    write(here, "p7", block("PKCS7", ""));
    write(here, "one-line", CERTIFICATE.replace('\n', "\\n"));
    write(here, "indented", CERTIFICATE.replace("-----B", "  -----B"));
    for (name, says) in [
        ("old", "holds a private key, not a certificate"),
        ("der", "is not a PEM file but a private key in DER format"),
        ("p12", "take the certificates out with `openssl pkcs12"),
        ("cert.der", "convert it with `openssl x509 -inform der"),
        ("request", "a request for a certificate; let the authority sign it"),
        ("trusted", "convert it with `openssl x509 -in"),
        ("p7", "convert it with `openssl pkcs7 -print_certs"),
        ("one-line", "replace each \\n by a line end"),
        ("indented", "remove the blanks before each line"),
    ] {
        let found = lines(&load_mqtt(here, &format!("ca-file = \"{name}\"")).findings);
        assert!(found.contains(":4:11: error:") && found.contains(says), "{name}: {found}");
    }
    write(here, "two", format!("{KEY}{KEY}"));
    let loaded = load_mqtt(here, "client-cert-file = \"cert\"\nclient-key-file = \"two\"");
    let found = lines(&loaded.findings);
    assert!(found.contains("warning") && found.contains("holds 2 private keys, and the first is used"), "{found}");
    assert!(loaded.config.is_some());
}

/// The end of each block is looked up, not searched for in the whole file.
#[test]
fn a_large_file_of_beginnings_is_judged_soon() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    write(here, "begins", "-----BEGIN CERTIFICATE-----\n".repeat(30_000));
    let found = lines(&load_mqtt(here, "ca-file = \"begins\"").findings);
    assert!(found.contains("the line `-----END …-----` is missing"), "{found}");
}
