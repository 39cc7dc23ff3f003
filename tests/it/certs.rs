//! A household's own certificates, made by the built program, used between a real Mosquitto and its clients, and checked by `OpenSSL`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::mosquitto::Broker;

fn certs(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_surplusd")).arg("certs").args(arguments).arg("--dir").arg(dir).output().unwrap()
}

fn good(dir: &Path, arguments: &[&str]) -> String {
    let output = certs(dir, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn household() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    good(dir.path(), &["init", "--broker", "localhost", "--broker", "127.0.0.1"]);
    good(dir.path(), &["issue", "gateway"]);
    dir
}

/// A Mosquitto that requires a certificate of this household from every client.
async fn broker(dir: &Path) -> Broker {
    let file = |name: &str| dir.join(name).display().to_string();
    let (ca, certificate, key) = (file("ca.crt"), file("broker.crt"), file("broker.key"));
    // Mosquitto may run as another user, who must not be able to read other keys.
    let listener =
        format!("cafile {ca}\ncertfile {certificate}\nkeyfile {key}\nrequire_certificate true\nallow_anonymous true\n");
    Broker::start(&listener).await
}

fn client(program: &str, port: u16, ca: &Path, name: &Path) -> Command {
    let mut command = Command::new(program);
    let (certificate, key) = (name.with_extension("crt"), name.with_extension("key"));
    command.args(["-h", "localhost", "-p", &port.to_string(), "-t", "hello"]);
    command.arg("--cafile").arg(ca).arg("--cert").arg(certificate).arg("--key").arg(key);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn mosquitto_and_its_clients_accept_them_and_no_others() {
    let (ours, others) = (household(), household());
    let broker = broker(ours.path()).await;
    let ca = ours.path().join("ca.crt");
    let gateway = ours.path().join("gateway");
    let publish = |ca: &Path, name: PathBuf| {
        let output =
            client("mosquitto_pub", broker.port, ca, &name).args(["-m", "sun", "-r", "-q", "1"]).output().unwrap();
        output.status.success()
    };
    assert!(publish(&ca, gateway.clone()), "{}", broker.log());
    let heard = client("mosquitto_sub", broker.port, &ca, &gateway).args(["-C", "1", "-W", "5"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&heard.stdout), "sun\n");
    assert!(!publish(&ca, others.path().join("gateway")), "a client of another household");
    assert!(!publish(&others.path().join("ca.crt"), gateway), "a broker of another household");
}

/// Someone who steals a gateway's key must not be able to impersonate the broker.
#[test]
fn an_issued_certificate_signs_nothing() {
    let (dir, openssl) = (household(), |arguments: &[&str]| Command::new("openssl").args(arguments).output().unwrap());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (ca, gateway, forged) = (file("ca.crt"), file("gateway.crt"), file("forged.crt"));
    for (purpose, name, right) in [
        ("sslserver", "broker", true),
        ("sslclient", "gateway", true),
        ("sslserver", "gateway", false),
        ("sslclient", "broker", false),
    ] {
        let certificate = file(&format!("{name}.crt"));
        let output = openssl(&["verify", "-CAfile", &ca, "-purpose", purpose, &certificate]);
        assert_eq!(output.status.success(), right, "{purpose} {name}: {output:?}");
    }
    let (request, key) = (file("forged.csr"), file("forged.key"));
    let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"];
    assert!(openssl(&[&new[..], &["-keyout", &key, "-out", &request]].concat()).status.success());
    let signed = openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &gateway,
        "-CAkey",
        &file("gateway.key"),
        "-CAcreateserial",
        "-out",
        &forged,
    ]);
    assert!(signed.status.success(), "{signed:?}");
    let output = openssl(&["verify", "-CAfile", &ca, "-untrusted", &gateway, &forged]);
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("invalid CA certificate"),
        "{output:?}"
    );
}

#[test]
fn what_is_wrong_is_shown() {
    use std::os::unix::fs::PermissionsExt;
    let (ours, others) = (household(), household());
    let dir = ours.path();
    assert!(good(dir, &["show"]).contains("broker.crt: broker (server), localhost, 127.0.0.1"));
    std::fs::set_permissions(dir.join("gateway.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::copy(others.path().join("broker.crt"), dir.join("stranger.crt")).unwrap();
    std::fs::write(dir.join("nonsense.crt"), "no certificate").unwrap();
    let output = certs(dir, &["show"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "WRONG: others can read its key: chmod 600",
        "WRONG: it is not signed by the authority in this folder",
        "WRONG: its key is not here",
        "nonsense.crt holds no certificate in PEM format",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for (arguments, words) in [
        (&["init", "--broker", "localhost"][..], "nothing is overwritten"),
        (&["issue", "gateway"], "nothing is overwritten"),
        (&["issue", "x", "--host", "a b"], "neither a host name nor an IP address"),
        (&["issue", "ca"], "the authority itself"),
        (&["issue", "No"], "lower-case letters"),
    ] {
        let output = certs(dir, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{arguments:?}: {output:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(!certs(empty.path(), &["init", "--broker", "a b"]).status.success());
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "nothing half made");
    std::fs::write(empty.path().join("broker.crt"), "of another authority").unwrap();
    for name in ["Household authority", "broker"] {
        assert!(!certs(empty.path(), &["init", "--broker", "localhost", "--name", name]).status.success());
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 1, "nothing half made");
    }
}

/// Whatever the umask: keys are readable by their owner only, certificates by everyone.
#[test]
fn file_modes_do_not_depend_on_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    for umask in ["000", "022", "077"] {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "umask {umask}; \"$0\" certs init --broker localhost --dir \"$1\" && exec \"$0\" certs issue gateway --dir \"$1\""
        );
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_surplusd")).arg(dir.path());
        assert!(shell.stdout(Stdio::null()).status().unwrap().success());
        for (ending, mode) in [("crt", 0o644), ("key", 0o600)] {
            for name in ["ca", "broker", "gateway"] {
                let file = dir.path().join(name).with_extension(ending);
                let permissions = std::fs::metadata(&file).unwrap().permissions();
                assert_eq!(permissions.mode() & 0o777, mode, "umask {umask}: {}", file.display());
            }
        }
    }
}
