//! Fuzz targets: any bytes as a configuration file, and as a certificate or key file that one names.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use std::path::Path;

use control::{Controller, Milliamps, Tick};

use super::pem::{Pem, judge};
use super::{
    Config, Environment, FILE_MAX, Files, Finding, KnownProfile, LinkConfig, Loaded, Severity, invisible, named_files,
    parse, text, without_mark,
};

const NAME: &str = "fuzz.toml";
const PROFILES: [KnownProfile<'_>; 2] = [
    KnownProfile { name: "heidelberg-energy-control", switches_phases: false, max: Milliamps(16_000) },
    KnownProfile { name: "amperfied-connect", switches_phases: true, max: Milliamps(16_000) },
];
/// Most findings: a hundred, and one that says that there are more.
const FINDINGS_MAX: usize = 101;

/// A configuration file.
pub fn file(bytes: &[u8]) {
    let bytes = without_mark(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text::is_utf16(bytes) || bytes.len() as u64 > FILE_MAX {
        return;
    }
    let (file, environment) = (Path::new(NAME), Environment::default());
    let loaded = parse(text, file, &environment, &PROFILES, Files::Ignore);
    let failed = loaded.findings.iter().any(|finding| finding.severity == Severity::Error);
    assert!(loaded.config.is_none() == failed && loaded.failed() == failed);
    assert!(loaded.findings.len() <= FINDINGS_MAX, "{} findings", loaded.findings.len());
    loaded.findings.iter().for_each(|finding| assert_finding(finding, text));
    assert!(named_files(text, file, &environment).len() <= 5);
    let later = loaded.finding(file, Severity::Warning, "mqtt.ca-file", "it has expired".to_owned(), "no".to_owned());
    assert_finding(&later, text);
    if let Loaded { config: Some(config), .. } = loaded {
        assert_config(config);
    }
}

/// A certificate or key file.
pub fn pem(bytes: &[u8]) {
    let file = Path::new("fuzz.pem");
    for pem in [Pem::Certificate, Pem::PrivateKey] {
        if let Ok(Some((fault, remedy))) | Err((fault, remedy)) = judge(bytes, file, pem) {
            assert!(!fault.is_empty() && !remedy.is_empty() && fault.len() + remedy.len() < 500, "{fault}; {remedy}");
        }
    }
}

fn assert_finding(finding: &Finding, text: &str) {
    assert!(finding.line >= 1 && finding.column >= 1 && finding.line <= text.matches('\n').count() + 1);
    assert!(!finding.message.is_empty() && !finding.remedy.is_empty());
    assert!(finding.span.start <= finding.span.end && finding.span.end <= text.len(), "{:?}", finding.span);
    let shown = finding.to_string();
    assert!(!shown.contains(|c: char| c.is_control() || invisible(c)), "{shown:?}");
    // Drawing is slow, and the same for long files.
    if text.len() <= 2_000 {
        finding.picture(text, false);
    }
}

/// What is accepted can be used: the controller takes it, and no current in it is one that must not leave.
fn assert_config(config: Config) {
    assert!((5..=120).contains(&config.mqtt.keep_alive_s));
    assert_eq!(config.chargers.len(), config.control.chargers.len());
    for setup in config.chargers.values() {
        let unit_max = if matches!(setup.link, LinkConfig::Tcp { .. }) { 255 } else { 247 };
        assert!((1..=unit_max).contains(&setup.unit), "{setup:?}");
        assert!(setup.safe_current == Milliamps::ZERO || setup.safe_current >= Milliamps::PILOT_MIN);
        assert!(setup.watchdog > setup.poll);
    }
    for charger in config.control.chargers.values() {
        assert!(Milliamps::PILOT_MIN <= charger.min && charger.min <= charger.max && charger.max <= Milliamps(32_000));
    }
    let mut controller = Controller::new(config.control, Tick(1_000));
    controller.handle_timeout(Tick(2_000));
    while controller.poll_action().is_some() {}
}
