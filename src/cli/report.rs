//! `surplusd report`: packs what a bug report needs into one file. Nothing is sent: the user looks through the file and sends it.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod mask;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use control::Millis;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::exit;
use crate::api::client::Client;
use crate::api::protocol::{Call, Reply};
use crate::charger::profile;
use crate::clock;
use crate::config::{self, Environment};
use crate::journal::extract;
use crate::journal::reader::Reader;
use crate::regular;
use mask::masked;

/// Largest configuration file accepted, in bytes.
const CONFIG_MAX: u64 = 256 * 1024;
/// How much of the end of the journal is included.
const JOURNAL: Millis = Millis::from_secs(3_600);
/// How many lines of the log are included.
const LOG_LINES: &str = "2000";

/// Packs what a bug report needs into one file: versions, the configuration without secrets, status, log, the last hour of the journal.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(
    after_help = "Nothing is sent anywhere. Look through the file before you give it to others: it tells when your car charges."
)]
pub struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/surplusd/surplusd.toml")]
    pub config: PathBuf,
    /// File to write (without it: surplusd-report-DATE.tar.gz in this folder)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The daemon's socket (without it: that of the installed service)
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
}

/// A file of the report: its name, and its content or why that is missing.
type Part = (&'static str, Result<Vec<u8>, String>);

/// Writes the report; returns the exit code.
///
/// # Errors
/// If the report cannot be written. A part that cannot be read is left out and listed as missing.
pub fn run(args: &Args, environment: &Environment, out: &mut dyn Write) -> anyhow::Result<u8> {
    let now = clock::wall_ms();
    let date = super::when::local(now).replace([' ', ':'], "-");
    let file = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("surplusd-report-{date}.tar.gz")));
    let parts = parts(args, environment, &date);
    write(&file, &parts, now).with_context(|| format!("{} cannot be written", file.display()))?;
    writeln!(out, "{} has:", file.display())?;
    for (name, content) in &parts {
        match content {
            Ok(bytes) => writeln!(out, "  {name:<16} {} bytes", bytes.len())?,
            Err(why) => writeln!(out, "  {name:<16} missing: {why}")?,
        }
    }
    writeln!(out, "Secrets of the configuration are masked. Look through the file before you give it to others.")?;
    Ok(exit::OK)
}

fn parts(args: &Args, environment: &Environment, date: &str) -> Vec<Part> {
    let text =
        regular::read_text(&args.config, CONFIG_MAX).map_err(|error| format!("{}: {error}", args.config.display()));
    let loaded = config::load_with(&args.config, environment, &profile::known(), config::Files::Ignore);
    let findings = loaded.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    // What is written where a name belongs may be the secret itself.
    let is_file = |name: &str| args.config.with_file_name(name).is_file();
    let journal = loaded.config.as_ref().map_or_else(
        || Err("the configuration cannot be read".to_owned()),
        |config| config.journal.as_ref().ok_or_else(|| "it is switched off ([journal] enabled = false)".to_owned()),
    );
    vec![
        ("versions.txt", Ok(versions(date).into_bytes())),
        ("surplusd.toml", text.map(|text| masked(&text, &is_file).into_bytes())),
        ("findings.txt", Ok(masked(&findings, &is_file).into_bytes())),
        ("status.json", status(args.socket.as_deref())),
        ("log.txt", log()),
        ("journal.sqlite", journal.and_then(|journal| last_hour(&journal.file))),
    ]
}

/// Versions of program, system and kernel, the machine, and the uptime.
fn versions(date: &str) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_else(|_| "unknown".to_owned());
    let release = read("/etc/os-release");
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").to_owned();
    let lines = [
        format!("surplusd {} ({})", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH),
        format!("written  {date}"),
        format!("system   {}", system.trim_matches('"')),
        format!("kernel   {}", read("/proc/version").trim()),
        format!("machine  {}", read("/proc/device-tree/model").trim_matches(['\0', '\n'])),
        format!("uptime   {} s", read("/proc/uptime").split(' ').next().unwrap_or_default()),
    ];
    lines.join("\n") + "\n"
}

fn status(socket: Option<&Path>) -> Result<Vec<u8>, String> {
    let reply = Client::connect(socket, true).and_then(|mut client| client.ask(&Call::Status));
    match reply.map_err(|error| error.to_string())? {
        Reply::Status { document, age_s } => Ok(format!("{document:#}\nage of this: {age_s} s\n").into_bytes()),
        Reply::Done(text) | Reply::Refused { text, .. } => Err(text),
    }
}

fn log() -> Result<Vec<u8>, String> {
    let arguments = ["--unit", "surplusd", "--lines", LOG_LINES, "--no-pager", "--output", "short-iso-precise"];
    let output = Command::new("journalctl").args(arguments).output();
    let output = output.map_err(|error| format!("journalctl cannot be run: {error}"))?;
    if output.status.success() && !output.stdout.is_empty() && !output.stdout.starts_with(b"-- No entries") {
        return Ok(output.stdout);
    }
    if output.status.success() {
        return Err("journald has no lines of the service surplusd".to_owned());
    }
    Err(format!("journalctl says {:?}: try again with sudo", String::from_utf8_lossy(&output.stderr).trim()))
}

fn last_hour(file: &Path) -> Result<Vec<u8>, String> {
    let part =
        Reader::open(file).and_then(|reader| extract::last(&reader, JOURNAL)).map_err(|error| error.to_string())?;
    part.ok_or_else(|| "nothing is recorded yet: it is stored every few minutes ([journal] batch-s)".to_owned())
}

/// Writes a compressed archive that only its owner can read. Never overwrites a file.
fn write(file: &Path, parts: &[Part], now_ms: i64) -> io::Result<()> {
    let archive = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    let mut archive = tar::Builder::new(GzEncoder::new(archive, Compression::default()));
    for (name, content) in parts {
        let missing = |why: &String| format!("missing: {why}\n").into_bytes();
        let bytes = content.as_ref().map_or_else(missing, Clone::clone);
        let name =
            if content.is_ok() { format!("surplusd-report/{name}") } else { format!("surplusd-report/{name}.missing") };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now_ms / 1_000).unwrap_or(0));
        archive.append_data(&mut header, name, bytes.as_slice())?;
    }
    archive.into_inner()?.finish()?.sync_all()
}

#[cfg(test)]
mod tests;
