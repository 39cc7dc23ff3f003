//! Installation with the built program: wrong files, TLS that cannot work, output that cannot be written.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use surplusd::clock::Clock;
use surplusd::config::{MqttConfig, TlsConfig};
use surplusd::mqtt::link::{Event, LinkSetup, spawn};
use surplusd::mqtt::trouble::DownKind;
use tokio::time::timeout;

use crate::mosquitto::{Broker, SOON};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/two-chargers.toml");

fn surplusd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surplusd"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program with a closed pipe as its output.
fn into_closed_pipe(arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    surplusd(arguments).stdout(writer).stderr(Stdio::piped()).output().expect("it runs")
}

/// Runs the program with a full disk as its output.
fn onto_full_disk(arguments: &[&str]) -> Output {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
    surplusd(arguments).stdout(full).stderr(Stdio::piped()).output().expect("it runs")
}

#[test]
fn a_closed_pipe_is_quiet_and_a_full_disk_is_said() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let certs = folder.path().join("certs").display().to_string();
    let made = surplusd(&["certs", "init", "--broker", "localhost", "--dir", &certs]).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["relay", "--help"],
        &["check", "--no-files", "--config", EXAMPLE],
        &["certs", "show", "--dir", &certs],
        &["simulate", "--weather", "clear"],
        &["demo", "--minutes", "1"],
    ] {
        let output = into_closed_pipe(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        let output = onto_full_disk(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{arguments:?}: {output:?}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.contains("standard output cannot be written to: No space left on device"), "{said}");
    }
}

/// With `set -o pipefail` the exit code still tells what `check` found.
#[test]
fn a_closed_pipe_does_not_hide_what_was_found() {
    let missing = ["check", "--config", "/nonexistent/surplusd.toml"];
    assert_eq!(into_closed_pipe(&missing).status.code(), Some(78));
    assert_eq!(into_closed_pipe(&["no-such-command"]).status.code(), Some(2));
    let simulate = ["simulate", "--weather", "clear", "--out", "/dev/full"];
    let output = surplusd(&simulate).output().expect("it runs");
    assert_eq!(output.status.code(), Some(74), "{output:?}");
}

fn openssl(folder: &Path, arguments: &str) {
    let words = arguments.split_whitespace();
    let made = Command::new("openssl").args(words).current_dir(folder).output().expect("openssl is installed");
    assert!(made.status.success(), "{arguments}: {made:?}");
}

/// How an authority and a broker's certificate are made with `OpenSSL`.
#[derive(Debug, Clone, Copy)]
struct Made {
    authority: &'static str,
    broker: &'static str,
    signed: &'static str,
    extensions: &'static str,
}

const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const USUAL: Made =
    Made { authority: P256, broker: P256, signed: "-sha256", extensions: "subjectAltName=IP:127.0.0.1\n" };

/// What the link reports about a Mosquitto with such a certificate; `None` if it connects.
async fn said(made: Made) -> Option<(DownKind, String)> {
    let folder = tempfile::tempdir().expect("scratch folder");
    let dir = folder.path();
    std::fs::write(dir.join("extensions"), made.extensions).expect("our own file");
    openssl(dir, &format!("req -x509 -nodes -newkey {} -subj /CN=Home -keyout ca.key -out ca.crt", made.authority));
    openssl(dir, &format!("req -nodes -newkey {} -subj /CN=broker -keyout broker.key -out broker.csr", made.broker));
    let extensions = if made.extensions.is_empty() { "" } else { "-extfile extensions" };
    openssl(
        dir,
        &format!(
            "x509 -req -in broker.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out broker.crt {extensions} {}",
            made.signed
        ),
    );
    let file = |name: &str| dir.join(name).display().to_string();
    // Weak ciphers as well: which ones are allowed is the broker's decision.
    let listener = format!(
        "allow_anonymous true\nciphers DEFAULT@SECLEVEL=0\ncafile {}\ncertfile {}\nkeyfile {}\n",
        file("ca.crt"),
        file("broker.crt"),
        file("broker.key")
    );
    let broker = Broker::start(&listener).await;
    connected(broker.port, dir.join("ca.crt")).await
}

/// What the link reports about a broker on this port; `None` if it connects.
async fn connected(port: u16, ca_file: PathBuf) -> Option<(DownKind, String)> {
    let mqtt = MqttConfig {
        host: "127.0.0.1".to_owned(),
        port,
        tls: Some(TlsConfig { ca_file: Some(ca_file), client_auth: None }),
        username: None,
        password: None,
        client_id: "surplusd-setup".to_owned(),
        keep_alive_s: 20,
    };
    let (_link, [mut events]) = spawn(LinkSetup { mqtt, status_topic: None }, [Vec::new()], Clock::start(1));
    match timeout(SOON, events.recv()).await.expect("in time").expect("the link lives") {
        Event::Up => None,
        Event::Down { kind, why, .. } => Some((kind, why)),
        other @ (Event::SubscriptionRefused { .. }
        | Event::LeftOut { .. }
        | Event::Unheard { .. }
        | Event::Message { .. }) => {
            panic!("{other:?}")
        }
    }
}

/// The library's own errors for these are "handshake failure" and "bad signature".
#[tokio::test]
async fn the_true_cause_is_named_where_the_tls_library_does_not_know_a_certificate() {
    for (made, says) in [
        (Made { broker: "ec -pkeyopt ec_paramgen_curve:P-521", ..USUAL }, "it has a key on the curve P-521"),
        (Made { broker: "ed448", ..USUAL }, "it has an Ed448 key"),
        (Made { broker: "rsa:1024", ..USUAL }, "it has an RSA key of 1024 bits"),
        (
            Made { authority: "ec -pkeyopt ec_paramgen_curve:P-384", signed: "-sha512", ..USUAL },
            "it is signed with ECDSA and SHA-512",
        ),
        (Made { authority: "rsa:2048", signed: "-sha1", ..USUAL }, "it is signed with RSA and SHA-1"),
        (
            Made { authority: "ec -pkeyopt ec_paramgen_curve:P-521", ..USUAL },
            "\"Home\" that the broker sends with its own has a key on the curve P-521",
        ),
    ] {
        let (kind, why) = said(made).await.unwrap_or_else(|| panic!("{made:?} is accepted"));
        assert_eq!(kind, DownKind::TlsUnfit, "{made:?}: {why}");
        assert!(why.contains(says) && why.contains("use a key on P-256 or P-384"), "{made:?}: {why}");
    }
    for (made, says) in [
        (Made { extensions: "", ..USUAL }, "it is of X.509 version 1"),
        (Made { extensions: "keyUsage=digitalSignature\n", ..USUAL }, "it names no host"),
        (
            Made { extensions: "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=clientAuth\n", ..USUAL },
            "it is not made for a server",
        ),
        (
            Made { extensions: "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:TRUE\n", ..USUAL },
            "it is the certificate of an authority",
        ),
    ] {
        let (kind, why) = said(made).await.unwrap_or_else(|| panic!("{made:?} is accepted"));
        assert_eq!(kind, DownKind::TlsUnfit, "{made:?}: {why}");
        assert!(why.contains(says) && why.contains("surplusd certs"), "{made:?}: {why}");
    }
}

/// A broker that speaks nothing newer than TLS 1.1 is refused with the remedy, and never spoken to in that version.
#[tokio::test]
async fn a_broker_with_an_old_tls_is_refused() {
    let folder = tempfile::tempdir().expect("scratch folder");
    openssl(folder.path(), "req -x509 -nodes -newkey rsa:2048 -subj /CN=old -keyout old.key -out old.crt");
    let port = crate::mosquitto::free_port();
    let mut server = Command::new("openssl")
        .args(["s_server", "-quiet", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-cert", "old.crt", "-key", "old.key"])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let listening = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let listening = timeout(SOON, listening).await;
    let said = connected(port, folder.path().join("old.crt")).await;
    server.kill().expect("our own child");
    server.wait().expect("our own child");
    listening.expect("it listens");
    let (kind, why) = said.expect("refused");
    assert_eq!(kind, DownKind::TlsTooOld, "{why}");
    assert!(why.starts_with("the broker speaks only an old version of TLS: allow TLS 1.2 or 1.3"), "{why}");
}

/// With a curve that nobody offers, the broker ends the handshake before it sends its certificate: the cause is not our certificate.
#[tokio::test]
async fn a_handshake_that_fails_is_not_taken_for_a_missing_client_certificate() {
    let (kind, why) = said(Made { broker: "ec -pkeyopt ec_paramgen_curve:secp256k1", ..USUAL }).await.expect("refused");
    assert_eq!(kind, DownKind::TlsNothingInCommon, "{why}");
    assert!(why.contains("P-256") && !why.contains("client-cert-file"), "{why}");
}

#[tokio::test]
async fn the_kinds_that_work_go_on_working() {
    for made in [
        USUAL,
        Made { broker: "ec -pkeyopt ec_paramgen_curve:P-384", ..USUAL },
        Made { authority: "ed25519", broker: "ed25519", signed: "", ..USUAL },
        Made { authority: "rsa:2048", broker: "rsa:2048", signed: "-sha512", ..USUAL },
    ] {
        assert_eq!(said(made).await, None, "{made:?}");
    }
}

/// A certificate's text comes from elsewhere: a terminal must show it as text only.
#[test]
fn names_in_certificates_are_shown_as_text() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ed25519", "-keyout", "a.key", "-out", "a\u{1b}[31m.crt"])
        .args(["-subj", "/CN=\u{1b}]0;title\u{7}red", "-addext", "subjectAltName=DNS:x\u{1b}[2J"])
        .current_dir(folder.path())
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let output = surplusd(&["certs", "show", "--dir"]).arg(folder.path()).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("\\u{1b}]0;title\\u{7}red") && text.contains("x\\u{1b}[2J"), "{text:?}");
    assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
}

/// So does the text of arguments, files and keys in a configuration, which may have been copied from anywhere.
#[test]
fn what_goes_to_standard_error_is_text() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let (config, plant) = (folder.path().join("surplusd.toml"), folder.path().join("plant.toml"));
    std::fs::write(&config, "version = 1\n\"a\\u001b[31m\" = \"\u{9b}\u{200b}\"\n").expect("our own file");
    std::fs::write(&plant, "\"a\\u001b[31m\" = 1\n").expect("our own file");
    let (config, plant) = (config.display().to_string(), plant.display().to_string());
    for arguments in [
        &["simulate", "--weather", "clear", "--config", &config][..],
        &["simulate", "--weather", "clear", "--plant", &plant],
        &["simulate", "--trace", "a\u{1b}[31m\u{202e}"],
        &["simulate", "--weather", "a\u{1b}[31m\u{202e}"],
        &["relay", "provision", "x", "--out", "x", "--ssid", "x", "--broker", "x", "--dir", "a\u{1b}[31m"],
        &["probe", "--port", "a\u{1b}[31m\u{202e}"],
        &["a\u{1b}[31m"],
    ] {
        let output = surplusd(arguments).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!output.status.success() && !said.is_empty(), "{arguments:?}");
        let raw = said.chars().find(|c| *c != '\n' && surplusd::config::unseen(*c));
        assert_eq!(raw, None, "{arguments:?}: {said:?}");
    }
}

/// The address of the demo's broker; only addresses of this machine are accepted.
#[test]
fn the_demo_listens_where_it_is_told() {
    let port = crate::mosquitto::free_port();
    let mut demo = surplusd(&["demo", "--minutes", "5", "--listen", &format!("127.0.0.1:{port}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut said = String::new();
    let mut out = std::io::BufReader::new(demo.stdout.take().expect("piped"));
    for _ in 0..3 {
        std::io::BufRead::read_line(&mut out, &mut said).expect("text");
    }
    let connected = std::net::TcpStream::connect(("127.0.0.1", port));
    // In an orderly way, so that its folder with the keys is removed.
    let asked = Command::new("kill").arg(demo.id().to_string()).status().expect("kill is installed");
    assert!(asked.success());
    demo.wait().expect("our own child");
    assert!(said.contains(&format!("-p {port}")), "{said}");
    connected.expect("the broker listens there");
    let output = surplusd(&["demo", "--listen", "0.0.0.0:8883"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
