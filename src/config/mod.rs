//! The configuration file: strict and versioned; every finding has file, line, column, reason and remedy.
//!
//! ```text
//! text ──toml──▶ tables ──serde──▶ file::File ──checks──▶ Config
//!                  │ place of a key     │                    │
//!                  └──────▶ report::Report: all findings ◀───┘
//! ```
//! Pure except for the files that a configuration names (secrets, certificates, device numbers): uses neither clock nor environment, opens
//! no sockets or ports, and prints nothing.

mod chargers;
mod checks;
mod domain;
mod file;
mod finding;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inputs;
mod lines;
mod mqtt;
mod names;
mod pem;
mod phases;
mod report;
mod secrets;
mod site;
#[cfg(test)]
mod tests;
mod text;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

pub use domain::{
    ChargerSetup, ClientAuth, Config, InputConfig, JournalConfig, LinkConfig, MqttConfig, PhaseSwitch, PublishConfig,
    Secret, TlsConfig, Unit,
};
pub use finding::{Finding, Severity};
pub use lines::device_number;
pub use text::{invisible, unseen, visible, visible_start, without_mark};

use checks::Surroundings;
use control::Millis;
use file::File;
use report::{Report, Reported};

/// Largest configuration file, in bytes.
const FILE_MAX: u64 = 256 * 1024;
/// Directory for state files with relative names if systemd does not give one.
const STATE_DIRECTORY: &str = "/var/lib/surplusd";

/// The directories that systemd provides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CREDENTIALS_DIRECTORY`: where `LoadCredential=` puts secrets.
    pub credentials_directory: Option<PathBuf>,
    /// `STATE_DIRECTORY`: where `StateDirectory=` lets us write.
    pub state_directory: Option<PathBuf>,
    /// `RUNTIME_DIRECTORY`: where `RuntimeDirectory=` lets us create sockets.
    pub runtime_directory: Option<PathBuf>,
}

impl Environment {
    /// Takes the directories from the process's environment; `variable` looks up a variable.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let directory = |name| {
            let value = variable(name)?.into_string().ok()?;
            // systemd separates several directories with colons; ours is the first.
            let first = value.split(':').next().filter(|first| !first.is_empty())?;
            Some(PathBuf::from(first))
        };
        Self {
            credentials_directory: directory("CREDENTIALS_DIRECTORY"),
            state_directory: directory("STATE_DIRECTORY"),
            runtime_directory: directory("RUNTIME_DIRECTORY"),
        }
    }
}

/// Whether the files that a configuration names are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Secrets are read and certificates checked.
    Read,
    /// No file is opened and secrets are empty: for checking a configuration on another machine, never for running it.
    Ignore,
}

/// What the checks need to know about a charger profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownProfile<'a> {
    /// Name of the profile.
    pub name: &'a str,
    /// Whether its chargers can switch between one and three phases.
    pub switches_phases: bool,
    /// Highest current that can be set on its chargers.
    pub max: control::Milliamps,
}

/// The result of reading a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration; present if and only if no finding is an error.
    pub config: Option<Config>,
    /// All findings, in the order of the text.
    pub findings: Vec<Finding>,
    /// The file's text, for showing findings in it; empty if it could not be read.
    pub text: String,
}

impl Loaded {
    /// Creates a finding about the value of a key, such as `mqtt.ca-file`, for a problem discovered outside this module.
    pub fn finding(&self, file: &Path, severity: Severity, key: &str, message: String, remedy: String) -> Finding {
        let span = Report::parse(file, &self.text).place(key);
        let (line, column) = finding::position(&self.text, span.start);
        Finding { severity, file: file.to_owned(), line, column, span, path: key.to_owned(), message, remedy }
    }

    /// Whether any finding is an error.
    pub fn failed(&self) -> bool {
        self.config.is_none()
    }
}

/// Reads a configuration file and the files that it names. `known_profiles` are all available charger profiles.
pub fn load(path: &Path, environment: &Environment, known_profiles: &[KnownProfile]) -> Loaded {
    load_with(path, environment, known_profiles, Files::Read)
}

/// [`load`], with or without opening the files that the configuration names.
pub fn load_with(path: &Path, environment: &Environment, known_profiles: &[KnownProfile], files: Files) -> Loaded {
    let unreadable = |message: String, remedy: &str| {
        let finding = Finding {
            severity: Severity::Error,
            file: path.to_owned(),
            line: 1,
            column: 1,
            span: 0..0,
            path: String::new(),
            message,
            remedy: remedy.to_owned(),
        };
        Loaded { config: None, findings: vec![finding], text: String::new() }
    };
    let bytes = match secrets::read_at_most(path, FILE_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return unreadable(format!("it is longer than {FILE_MAX} bytes"), "is this the file you meant?"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let remedy = "let everybody read it, as it holds no secret: `sudo chmod 0644` it, and 0755 its folder";
            return unreadable(format!("it cannot be read: {error}"), remedy);
        }
        Err(error) => return unreadable(format!("it cannot be read: {error}"), "name a file that can be read"),
    };
    if text::is_utf16(&bytes) {
        return unreadable("it is UTF-16, as Windows editors write it".to_owned(), text::FROM_UTF16);
    }
    let bytes = without_mark(&bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, path, environment, known_profiles, files),
        Err(error) => {
            let line = bytes.iter().take(error.valid_up_to()).filter(|b| **b == b'\n').count();
            unreadable(format!("line {} is not text in UTF-8", line + 1), "save it as UTF-8")
        }
    }
}

/// Reads a configuration from `text`. `file` is its name in findings, and relative names are resolved in the directory of `file`.
pub fn parse(
    text: &str,
    file: &Path,
    environment: &Environment,
    known_profiles: &[KnownProfile],
    files: Files,
) -> Loaded {
    let directory = file.parent().unwrap_or_else(|| Path::new(""));
    let around = Surroundings { directory, environment, files, known_profiles };
    let mut report = Report::parse(file, text);
    let config = if report.failed() { None } else { interpret(&mut report, &around) };
    let config = config.filter(|_| !report.failed());
    Loaded { config, findings: report.into_findings(), text: text.to_owned() }
}

/// Returns the files that `text` names under `[mqtt]`, with their keys and the paths where they would be read; `file` is the configuration
/// file.
pub fn named_files(text: &str, file: &Path, environment: &Environment) -> Vec<(&'static str, PathBuf)> {
    let directory = file.parent().unwrap_or_else(|| Path::new(""));
    let around = Surroundings { directory, environment, files: Files::Read, known_profiles: &[] };
    let table: toml::Table = text.parse().unwrap_or_default();
    let named = ["username-file", "password-file", "ca-file", "client-cert-file", "client-key-file"].into_iter();
    let keys =
        ["mqtt.username-file", "mqtt.password-file", "mqtt.ca-file", "mqtt.client-cert-file", "mqtt.client-key-file"];
    let name = |key| table.get("mqtt")?.get(key)?.as_str();
    named.zip(keys).filter_map(|(key, path)| Some((path, around.path_of(name(key)?)))).collect()
}

/// Converts tables and keys to the domain's configuration. Continues after a finding, in order to find all of them.
fn interpret(report: &mut Report, around: &Surroundings) -> Option<Config> {
    other_version(report)?;
    let file = report.read()?;
    if file.version.is_none() {
        report.error("version", "the version of the file is missing", "begin it with `version = 1`");
    }
    let publish = mqtt::publish(report, &file.home_assistant, &file.publish);
    let mqtt = mqtt::mqtt(report, &file.mqtt, &file.home_assistant.node_id, around);
    let sources = inputs::sources(report, &file, publish.as_ref());
    let site = site::site(report, &file.site);
    let battery = site::battery(report, &file.battery);
    let solar = site::solar(report, &file.solar);
    let sampling = site::sampling(report, &file.sampling);
    let safety = site::safety(report, &file.fail_safe, chargers::highest_current(&file.charger));
    let chargers = chargers::chargers(report, &file.charger, site, safety, around);
    let state_file = state_file(report, &file, around.environment);
    let journal = journal(report, &file, state_file.as_deref(), around.environment);
    let (sources, chargers) = (sources?, chargers?);
    Some(Config {
        mqtt: mqtt?,
        inputs: sources.inputs,
        control: control::Config {
            sources: sources.groups,
            sampling: sampling?,
            battery: battery?,
            solar: solar?,
            fail_safe: safety?.fail_safe,
            site_limit: site?.limit,
            connection: site?.connection,
            chargers: chargers.control,
        },
        chargers: chargers.setups,
        publish: publish?,
        state_file: state_file?,
        journal: journal.ok()?,
    })
}

/// Reports a file of another version. Keys may mean something else there, so they are not checked.
fn other_version(report: &mut Report) -> Option<()> {
    let version = report.version().filter(|version| (version - file::VERSION).abs() > f64::EPSILON);
    let Some(version) = version else { return Some(()) };
    let message = format!("the file has version {version}, this surplusd reads version {}", file::VERSION);
    report.error("version", message, "see CHANGELOG.md for how to convert it, or install the surplusd it is for");
    None
}

fn state_file(report: &mut Report, file: &File, environment: &Environment) -> Option<PathBuf> {
    state_path(report, "state-file", &file.state_file, "state.json", environment)
}

/// The path of a file that we write: a relative name is resolved in the directory that systemd lets us write to.
fn state_path(report: &mut Report, key: &str, path: &str, usual: &str, environment: &Environment) -> Option<PathBuf> {
    let name = Path::new(path);
    if name.file_name().is_none() || path.ends_with('/') {
        report.error(key, "this does not name a file", format!("write it as \"{STATE_DIRECTORY}/{usual}\""));
        return None;
    }
    if let Some(c) = path.chars().find(|c| unseen(*c)) {
        let message = format!("the name contains {}", text::named(c));
        report.error(key, message, format!("write it as \"{STATE_DIRECTORY}/{usual}\""));
        return None;
    }
    let directory = environment.state_directory.as_deref().unwrap_or_else(|| Path::new(STATE_DIRECTORY));
    Some(directory.join(name))
}

/// Checks `[journal]`: all its keys, even if the journal is switched off.
fn journal(
    report: &mut Report,
    file: &File,
    state_file: Option<&Path>,
    environment: &Environment,
) -> Result<Option<JournalConfig>, Reported> {
    const DAY: u64 = 24 * 3_600;
    let table = &file.journal;
    let path = state_path(report, "journal.file", &table.file, "journal.sqlite", environment);
    if path.is_some() && path.as_deref() == state_file {
        report.error("journal.file", "this is the state-file", "give the journal a file of its own");
    }
    let keep: Option<u64> = report.whole("journal.keep-days", table.keep_days, 1.0..=3_650.0);
    let megabytes: Option<u64> = report.whole("journal.max-mb", table.max_mb, 1.0..=100_000.0);
    let batch = report.seconds("journal.batch-s", table.batch_s, 10.0..=3_600.0);
    let config = || {
        let (keep, max_bytes) = (Millis::from_secs(keep? * DAY), megabytes? * 1_000_000);
        Some(JournalConfig { file: path?, keep, max_bytes, batch: batch? })
    };
    let config = config().ok_or(Reported)?;
    Ok(table.enabled.then_some(config))
}
