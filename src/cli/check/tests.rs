use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{Args, exit, run, run_below};
use crate::config::Environment;
use crate::tls::authority::{self, Purpose};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    check: Args,
}

fn check(config: &Path, more: &[&str]) -> (u8, String) {
    let line = ["check", "--config", config.to_str().expect("UTF-8")].into_iter().chain(more.iter().copied());
    let args = Line::try_parse_from(line).expect("a valid command line").check;
    let mut out = Vec::new();
    let code = run(&args, &Environment::default(), &crate::charger::profile::known(), &mut out, false).expect("memory");
    (code, String::from_utf8(out).expect("UTF-8"))
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name)
}

#[test]
fn a_good_file_is_summed_up() {
    let (code, out) = check(&example("two-chargers.toml"), &["--no-files"]);
    assert_eq!(code, exit::OK);
    for line in [
        "broker: homeassistant.local:8883 with TLS, trusting the authority of /etc/surplusd/certs/ca.crt, user name and password, client id surplusd",
        "  battery-soc  homeassistant/sensor/powerwall_charge/state or homeassistant/sensor/my_home_charge/state in %",
        "chargers (together at most 25.0 A per phase):",
        "  2. garage: heidelberg-energy-control at /dev/surplusd-rs485 unit 2, read every 1 s",
        "     6.0 A … 10.0 A on 1 phase(s), starts in mode slow+solar",
        "  older than 5 min: solar 0.0 A, slow 6.0 A, fast 16.0 A, fixed 16.0 A",
        "  carport: after 30 s without contact it drops to 0.0 A by itself",
        "publishes under surplusd/surplusd, state kept in /var/lib/surplusd/state.json",
    ] {
        assert!(out.lines().any(|other| other == line), "{line:?} is not in:\n{out}");
    }
}

#[test]
fn a_switch_of_phases_is_summed_up() {
    let (code, out) = check(&example("phase-switch.toml"), &["--no-files"]);
    assert_eq!(code, exit::OK);
    let line = "     the charger changes between 1 and 3 phases, without current for at least 90 s";
    assert!(out.lines().any(|other| other == line), "{out}");
}

#[test]
fn a_contact_that_switches_phases_is_summed_up() {
    let (code, out) = check(&example("pico-relay.toml"), &["--no-files"]);
    assert_eq!(code, exit::OK);
    assert!(out.contains("heidelberg-energy-control at the RS-485 line of the relay pico-carport unit 1"), "{out}");
    assert!(out.contains(
        "contact 1 of the relay pico-carport changes between 1 and 3 phases, without current for at least 60 s"
    ));
}

#[test]
fn a_key_that_is_not_the_certificates_is_found() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let certs = folder.path().join("certs");
    authority::init(&certs, "Household", 1_795_737_600_000).expect("an authority");
    for name in ["gateway", "other"] {
        authority::issue(&certs, name, &Purpose::Client, 1_795_737_600_000).expect("a certificate");
    }
    let config = folder.path().join("surplusd.toml");
    fs::copy(example("pico-relay.toml"), &config).expect("a copy");
    assert_eq!(check(&config, &[]).0, exit::OK);
    fs::copy(certs.join("other.key"), certs.join("gateway.key")).expect("a copy");
    let (code, out) = check(&config, &[]);
    assert_eq!(code, exit::CONFIGURATION);
    assert!(out.contains("cannot be used together"), "{out}");
}

/// A machine with the shipped unit and a configuration whose files only root may read.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: tempfile::tempdir().expect("scratch folder") };
        // Like /etc; scratch folders are private.
        machine.mode("", 0o755);
        let unit = include_str!("../../../systemd/surplusd.service");
        // `check` is given the configuration at its path in the scratch folder.
        let config = machine.path("etc/surplusd/surplusd.toml").display().to_string();
        let unit = unit.replace("--config /etc/surplusd/surplusd.toml", &format!("--config {config}"));
        machine.write("lib/systemd/system/surplusd.service", 0o644, &unit);
        machine.write("etc/surplusd/mqtt-password", 0o600, "secret");
        let toml = fs::read_to_string(example("json-inputs.toml")).expect("the example");
        machine.write("etc/surplusd/surplusd.toml", 0o644, &toml);
        for folder in ["etc", "etc/surplusd"] {
            machine.mode(folder, 0o755);
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("our own file");
    }

    fn write(&self, name: &str, mode: u32, text: &str) {
        fs::create_dir_all(self.path(name).parent().expect("a folder")).expect("a folder");
        fs::write(self.path(name), text).expect("our own file");
        self.mode(name, mode);
    }

    /// The output of `check` when run as root.
    fn check(&self) -> (u8, String) {
        let args = Args { config: self.path("etc/surplusd/surplusd.toml"), no_files: false };
        let mut out = Vec::new();
        let known = crate::charger::profile::known();
        let code =
            run_below(self.root.path(), &args, &Environment::default(), &known, &mut out, false).expect("memory");
        (code, String::from_utf8(out).expect("UTF-8"))
    }
}

/// root can read everything, the service's user cannot.
#[test]
fn a_password_that_the_service_could_not_read_is_warned_about() {
    let machine = Machine::new();
    let password = machine.path("etc/surplusd/mqtt-password").display().to_string();
    let line = format!("LoadCredential=mqtt-password:{password}");
    let (code, out) = machine.check();
    assert_eq!(code, exit::OK, "{out}");
    let warned = out.lines().find(|line| line.contains("warning:")).expect("a warning");
    assert!(warned.contains(&format!("the service runs as the user surplusd, who may not read {password}")), "{out}");
    assert!(warned.contains("systemctl edit surplusd") && warned.contains(&format!("`{line}`")), "{out}");
    assert!(warned.contains("surplusd.toml:10:"), "at its key: {out}");

    // Each of these is a remedy.
    machine.write(
        "etc/systemd/system/surplusd.service.d/override.conf",
        0o644,
        "[Service]\nLoadCredential=mqtt-password:/etc/surplusd/mqtt-password\n",
    );
    assert!(!machine.check().1.contains("warning:"), "{}", machine.check().1);
    fs::remove_file(machine.path("etc/systemd/system/surplusd.service.d/override.conf")).expect("our own file");
    machine.write("etc/group", 0o644, "root:x:0:\nsurplusd:x:4000:\n");
    std::os::unix::fs::chown(&password, None, Some(4000)).expect("tests run as root");
    machine.mode("etc/surplusd/mqtt-password", 0o640);
    assert!(!machine.check().1.contains("warning:"), "{}", machine.check().1);
    machine.mode("etc/surplusd/mqtt-password", 0o600);
    assert!(machine.check().1.contains("warning:"));
    machine.write("etc/systemd/system/surplusd.service.d/root.conf", 0o644, "[Service]\nDynamicUser=no\nUser=root\n");
    assert!(!machine.check().1.contains("warning:"), "{}", machine.check().1);
}

/// Units and their drop-ins are readable by everybody, whatever their mode.
#[test]
fn a_secret_in_the_unit_is_warned_about() {
    let machine = Machine::new();
    let drop_in = "etc/systemd/system/surplusd.service.d/10.conf";
    machine.write(drop_in, 0o600, "[Service]\nSetCredential=mqtt-password:hunter2\n");
    let (code, out) = machine.check();
    assert_eq!(code, exit::OK, "{out}");
    assert!(out.contains("warning: the unit has the secret itself (`SetCredential=mqtt-password:…`)"), "{out}");
    assert!(out.contains("`LoadCredential=mqtt-password:FILE`") && !out.contains("hunter2"), "{out}");
    for other in ["SetCredentialEncrypted=mqtt-password:abc", "SetCredential=mqtt-password:x\nSetCredential="] {
        machine.write(drop_in, 0o600, &format!("[Service]\n{other}\n"));
        assert!(!machine.check().1.contains("the secret itself"), "{other}: {}", machine.check().1);
    }
}

/// A masked unit is not started, whatever the package installed.
#[test]
fn a_masked_service_is_no_service() {
    let machine = Machine::new();
    let mask = machine.path("etc/systemd/system/surplusd.service");
    fs::create_dir_all(mask.parent().expect("a folder")).expect("a folder");
    assert!(machine.check().1.contains("warning:"));
    std::os::unix::fs::symlink("/dev/null", &mask).expect("a link");
    assert!(!machine.check().1.contains("warning:"), "{}", machine.check().1);
    fs::remove_file(&mask).expect("our own link");
    machine.write("etc/systemd/system/surplusd.service", 0o644, "");
    assert!(!machine.check().1.contains("warning:"), "{}", machine.check().1);
}

#[test]
fn what_else_keeps_the_service_from_starting() {
    let machine = Machine::new();
    let drop_in = "etc/systemd/system/surplusd.service.d/10.conf";
    let load = |from: &str| format!("[Service]\nLoadCredential=mqtt-password:/etc/surplusd/{from}\n");
    machine.write(drop_in, 0o644, &load("no-such-file"));
    let (_, out) = machine.check();
    assert!(out.contains("no-such-file`, and that file does not exist: the service will not start"), "{out}");
    machine.write(drop_in, 0o644, &load("mqtt-password"));
    assert!(!machine.check().1.contains("warning:"));
    // The configuration itself, and its folder.
    machine.mode("etc/surplusd/surplusd.toml", 0o600);
    let (_, out) = machine.check();
    assert!(out.contains("who may not read") && out.contains("`sudo chmod 0644"), "{out}");
    machine.mode("etc/surplusd/surplusd.toml", 0o644);
    machine.mode("etc/surplusd", 0o700);
    let (_, out) = machine.check();
    assert!(out.contains("`sudo chmod 0755"), "{out}");
    machine.mode("etc/surplusd", 0o755);
    // A later drop-in that clears the list.
    machine.write("run/systemd/system/surplusd.service.d/20.conf", 0o644, "[Service]\nLoadCredential=\n");
    assert!(machine.check().1.contains("may not read"));
    // A configuration other than the service's is not checked.
    let elsewhere = machine.path("etc/surplusd/other.toml");
    fs::copy(machine.path("etc/surplusd/surplusd.toml"), &elsewhere).expect("a copy");
    let args = Args { config: elsewhere, no_files: false };
    let mut out = Vec::new();
    let known = crate::charger::profile::known();
    run_below(machine.root.path(), &args, &Environment::default(), &known, &mut out, false).expect("memory");
    assert!(!String::from_utf8_lossy(&out).contains("warning:"));
}

#[test]
fn certificates_that_cannot_work_are_found_before_anybody_connects() {
    let folder = tempfile::tempdir().expect("scratch folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &str| {
        let words = arguments.split_whitespace();
        let made = std::process::Command::new("openssl").args(words).output().expect("openssl is installed");
        assert!(made.status.success(), "{arguments}: {made:?}");
    };
    let (ca, key) = (at("ca.crt"), at("ca.key"));
    let toml = fs::read_to_string(example("json-inputs.toml")).expect("the example");
    let (head, rest) = toml.split_once("[mqtt]").expect("a table");
    let toml = format!("{head}[mqtt]\nca-file = \"ca.crt\"{}", rest.replace("password-file", "#password-file"));
    fs::write(at("surplusd.toml"), toml).expect("our own file");
    for (made, code, says) in [
        ("ec -pkeyopt ec_paramgen_curve:P-384 -sha512", exit::OK, "signs with ECDSA and SHA-512"),
        ("ec -pkeyopt ec_paramgen_curve:P-384 -sha384", exit::OK, ""),
        ("ec -pkeyopt ec_paramgen_curve:P-521", exit::CONFIGURATION, "has a key on the curve P-521"),
        ("ec -pkeyopt ec_paramgen_curve:brainpoolP256r1", exit::CONFIGURATION, "has a key on a Brainpool curve"),
        ("ec -pkeyopt ec_paramgen_curve:secp256k1", exit::CONFIGURATION, "has a key on the curve secp256k1"),
        ("ed448", exit::CONFIGURATION, "has an Ed448 key"),
        ("ed25519", exit::OK, ""),
        ("rsa:1024", exit::CONFIGURATION, "has an RSA key of 1024 bits"),
        ("rsa:2048 -sha1", exit::OK, "signs with RSA and SHA-1"),
        ("rsa:2048", exit::OK, ""),
    ] {
        openssl(&format!("req -x509 -nodes -newkey {made} -subj /CN=Home -keyout {key} -out {ca} -days 30"));
        let (found, out) = check(Path::new(&at("surplusd.toml")), &[]);
        assert_eq!(found, code, "{made}: {out}");
        let line = out.lines().find(|line| line.contains("Home")).unwrap_or_default();
        assert!(line.contains(says) && line.is_empty() == says.is_empty(), "{made}: {out}");
        assert!(says.is_empty() || line.contains("SHA-384"), "the remedy: {out}");
    }
}

#[test]
fn a_bad_file_is_shown_with_its_places() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("bad.toml");
    let good = fs::read_to_string(example("json-inputs.toml")).expect("the example");
    fs::write(&file, good.replace("mqtts://", "mqtt://").replace("stop-after-s = 120", "stop-after-s = 50"))
        .expect("write");
    let (code, out) = check(&file, &["--no-files"]);
    assert_eq!(code, exit::CONFIGURATION);
    assert!(out.starts_with(&format!("{}:8:7: warning: without TLS", file.display())), "{out}");
    assert!(out.contains("bad.toml:26:16: error: data is stale after 60 s"), "{out}");
    assert!(out.contains("26 | stop-after-s = 50\n"), "{out}");
    assert!(out.ends_with("errors: 1, warnings: 1\n"), "{out}");
    assert!(!out.contains("broker:"));
    // Without the flag, the missing password file is reported too.
    let (_, out) = check(&file, &[]);
    assert!(out.contains("the file named here does not exist"), "{out}");
}

#[test]
fn a_file_that_is_not_there() {
    let (code, out) = check(Path::new("/nonexistent/surplusd.toml"), &[]);
    assert_eq!(code, exit::CONFIGURATION);
    assert!(out.starts_with("/nonexistent/surplusd.toml:1:1: error: it cannot be read"), "{out}");
}
