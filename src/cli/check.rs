//! `surplusd check`: reports all problems in a configuration, or what the daemon would do with it. Touches no network and no bus.

mod service;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use control::{ChargerConfig, ChargerId};

use super::exit;
use super::plain::Plain;
use crate::clock::wall_ms;
use crate::config::{
    self, ChargerSetup, Config, Environment, Files, InputConfig, KnownProfile, LinkConfig, Loaded, PhaseSwitch,
    Severity, Unit,
};
use crate::tls::examine::{About, examine};

/// Arguments of `check`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/surplusd/surplusd.toml")]
    pub config: PathBuf,
    /// Do not open the passwords, certificates and keys that the configuration names.
    #[arg(long)]
    pub no_files: bool,
}

/// Checks the file and writes all findings, then what the daemon would do, to `out`; `styled` adds terminal colours. Returns [`exit::OK`],
/// also with warnings, or [`exit::CONFIGURATION`]; fails if `out` cannot be written to.
pub fn run(
    args: &Args,
    environment: &Environment,
    known_profiles: &[KnownProfile],
    out: &mut dyn Write,
    styled: bool,
) -> io::Result<u8> {
    run_below(Path::new("/"), args, environment, known_profiles, out, styled)
}

/// [`run`], with the system's files below `root`.
fn run_below(
    root: &Path,
    args: &Args,
    environment: &Environment,
    known_profiles: &[KnownProfile],
    out: &mut dyn Write,
    styled: bool,
) -> io::Result<u8> {
    let files = if args.no_files { Files::Ignore } else { Files::Read };
    let mut loaded = config::load_with(&args.config, environment, known_profiles, files);
    if files == Files::Read {
        certificates(&mut loaded, &args.config);
        // With this variable set, the check runs as the service itself and has read the files.
        if environment.credentials_directory.is_none() {
            what_the_service_reads(&mut loaded, root, &args.config, environment);
        }
        loaded.findings.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
    }
    write_findings(&loaded, out, styled)?;
    let errors = loaded.findings.iter().any(|finding| finding.severity == Severity::Error);
    match &loaded.config {
        Some(config) if !errors => {
            summary(config, &mut Plain(out))?;
            Ok(exit::OK)
        }
        Some(_) | None => Ok(exit::CONFIGURATION),
    }
}

/// Checks the certificate files, alone and together, such as a key that does not belong to the certificate.
fn certificates(loaded: &mut Loaded, file: &Path) {
    let Some(tls) = loaded.config.as_ref().and_then(|config| config.mqtt.tls.clone()) else { return };
    for remark in examine(&tls, wall_ms() / 1_000) {
        let key = match remark.about {
            About::Authority => "mqtt.ca-file",
            About::Certificate => "mqtt.client-cert-file",
            About::Key => "mqtt.client-key-file",
        };
        let severity = if remark.fatal { Severity::Error } else { Severity::Warning };
        loaded.findings.push(loaded.finding(file, severity, key, remark.message, remark.remedy));
    }
}

/// Warns about files that can be read here but not by the installed service.
fn what_the_service_reads(loaded: &mut Loaded, root: &Path, file: &Path, environment: &Environment) {
    let named: Vec<service::Named> = config::named_files(&loaded.text, file, environment)
        .into_iter()
        .filter(|(key, _)| !loaded.findings.iter().any(|it| it.path == *key && it.severity == Severity::Error))
        .map(|(key, file)| {
            let public = matches!(key, "mqtt.ca-file" | "mqtt.client-cert-file");
            service::Named { key, file, public }
        })
        .collect();
    for service::Unreadable { key, message, remedy } in service::unreadable(root, file, &named) {
        loaded.findings.push(loaded.finding(file, Severity::Warning, key, message, remedy));
    }
}

/// Writes each finding as one line with the place in the text below it, then their number.
pub fn write_findings(loaded: &Loaded, out: &mut dyn Write, styled: bool) -> io::Result<()> {
    for finding in &loaded.findings {
        writeln!(out, "{finding}")?;
        let picture = finding.picture(&loaded.text, styled);
        if !picture.is_empty() {
            writeln!(out, "{picture}\n")?;
        }
    }
    let count = |severity| loaded.findings.iter().filter(|finding| finding.severity == severity).count();
    if !loaded.findings.is_empty() {
        writeln!(out, "errors: {}, warnings: {}", count(Severity::Error), count(Severity::Warning))?;
    }
    Ok(())
}

/// Describes what the daemon would do.
fn summary(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    broker(config, out)?;
    writeln!(out, "inputs:")?;
    for (source, input) in &config.inputs {
        writeln!(out, "  {:<12} {}", source.name(), input_text(input))?;
    }
    writeln!(out, "chargers (together at most {} per phase):", config.control.site_limit)?;
    for (id, setup) in &config.chargers {
        if let Some(limits) = config.control.chargers.get(id) {
            charger(*id, setup, limits, out)?;
        }
    }
    safety(config, out)?;
    writeln!(out, "publishes under {}, state kept in {}", config.publish.base_topic, config.state_file.display())
}

fn broker(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let mqtt = &config.mqtt;
    let host = if mqtt.host.contains(':') { format!("[{}]", mqtt.host) } else { mqtt.host.clone() };
    let trust = match &mqtt.tls {
        None => "without TLS".to_owned(),
        Some(tls) => {
            let authority = match &tls.ca_file {
                Some(file) => format!("the authority of {}", file.display()),
                None => "the system's authorities".to_owned(),
            };
            let client = if tls.client_auth.is_some() { ", with a client certificate" } else { "" };
            format!("with TLS, trusting {authority}{client}")
        }
    };
    let login = match (&mqtt.username, &mqtt.password) {
        (Some(_), Some(_)) => "user name and password",
        (Some(_), None) => "user name without password",
        (None, _) => "no user name",
    };
    writeln!(out, "broker: {host}:{} {trust}, {login}, client id {}", mqtt.port, mqtt.client_id)
}

fn input_text(input: &InputConfig) -> String {
    let unit = match input.unit {
        Unit::Watt => "W",
        Unit::Kilowatt => "kW",
        Unit::Percent => "%",
        Unit::OnOff => "on or off",
        Unit::Any => "anything that changes",
    };
    let pointer = input.pointer.as_ref().map(|pointer| format!(" at \"{pointer}\"")).unwrap_or_default();
    let sign = if input.negate { ", sign reversed" } else { "" };
    format!("{}{pointer} in {unit}{sign}", input.topics.join(" or "))
}

fn charger(id: ChargerId, setup: &ChargerSetup, limits: &ChargerConfig, out: &mut dyn Write) -> io::Result<()> {
    let link = match &setup.link {
        LinkConfig::Serial { path } => path.display().to_string(),
        LinkConfig::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        LinkConfig::Tcp { host, port } => format!("{host}:{port}"),
        LinkConfig::Relay { id } => format!("the RS-485 line of the relay {id}"),
    };
    let number = u16::from(id.0) + 1;
    let ChargerSetup { name, profile, unit, poll, .. } = setup;
    let ChargerConfig { min, max, mode, phases, switching, .. } = limits;
    let reply = setup.reply.map(|reply| format!(", answers within {} ms", reply.0)).unwrap_or_default();
    writeln!(out, "  {number}. {name}: {profile} at {link} unit {unit}, read every {poll}{reply}")?;
    writeln!(out, "     {min} … {max} on {phases} phase(s), starts in mode {mode}")?;
    if let (Some(who), Some(switching)) = (&setup.phase_switch, switching) {
        let who = match who {
            PhaseSwitch::Charger => "the charger".to_owned(),
            PhaseSwitch::Contact { relay, contact } => format!("contact {contact} of the relay {relay}"),
        };
        writeln!(out, "     {who} changes between 1 and 3 phases, without current for at least {}", switching.pause)?;
    }
    Ok(())
}

fn safety(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let fail_safe = &config.control.fail_safe;
    writeln!(out, "safety:")?;
    writeln!(
        out,
        "  data older than {}: the current is never raised, and goes down to the minimum",
        fail_safe.stale_after
    )?;
    writeln!(
        out,
        "  older than {}: solar {}, slow {}, fast {}, fixed {}",
        fail_safe.stop_after, fail_safe.blind_solar, fail_safe.blind_slow, fail_safe.blind_fast, fail_safe.blind_fixed
    )?;
    for setup in config.chargers.values() {
        let ChargerSetup { name, watchdog, safe_current, .. } = setup;
        writeln!(out, "  {name}: after {watchdog} without contact it drops to {safe_current} by itself")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
