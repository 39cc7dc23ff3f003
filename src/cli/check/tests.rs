use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{Args, exit, run};
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
        "  older than 300 s: solar 0.0 A, slow 6.0 A, fast 16.0 A, fixed 16.0 A",
        "  carport: silent for 30 s, it falls to 0.0 A by itself",
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
    // Without the flag the password file is missed as well.
    let (_, out) = check(&file, &[]);
    assert!(out.contains("mqtt-password does not exist"), "{out}");
}

#[test]
fn a_file_that_is_not_there() {
    let (code, out) = check(Path::new("/nonexistent/surplusd.toml"), &[]);
    assert_eq!(code, exit::CONFIGURATION);
    assert!(out.starts_with("/nonexistent/surplusd.toml:1:1: error: it cannot be read"), "{out}");
}
