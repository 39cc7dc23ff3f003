//! `surplusd certs`: a household's own certificates, without another guide to `OpenSSL`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use relay_link::topic::is_id;

use super::exit;
use crate::daemon::clock::wall_ms;
use crate::tls::authority::{self, AUTHORITY, Purpose};
use crate::tls::certificates;
use crate::tls::inspect::{Inspection, inspect};

/// Earlier than this before its end a certificate is worth a warning.
const WARN_DAYS: i64 = 60;

/// Arguments of `certs`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The folder with the authority and its certificates
    #[arg(long, global = true, value_name = "FOLDER", default_value = "/etc/surplusd/certs")]
    pub dir: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub action: CertsAction,
}

/// What can be done.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum CertsAction {
    /// Make the household's authority, and a certificate for the broker
    Init {
        /// A name or address by which the broker is reached (may be given several times)
        #[arg(long, value_name = "HOST", required = true)]
        broker: Vec<String>,
        /// What the authority is called
        #[arg(long, default_value = "Household authority")]
        name: String,
    },
    /// Issue a certificate for a gateway, a relay or another client; with --host for a server
    Issue {
        /// Its name: 1 to 32 small letters, digits and -
        #[arg(value_parser = name)]
        name: String,
        /// It is a server, reached by this name or address (may be given several times)
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
    },
    /// Show all certificates in the folder, and what is wrong with them
    Show,
}

fn name(text: &str) -> Result<String, String> {
    if !is_id(text) {
        return Err("a name is 1 to 32 small letters, digits and -".to_owned());
    }
    if text == "ca" { Err("ca is the authority itself".to_owned()) } else { Ok(text.to_owned()) }
}

/// Does it; returns the exit code: [`exit::DIFFERENT`] where `show` found something wrong.
///
/// # Errors
/// If a file cannot be read or written, or is there already, or `out` cannot be written to.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (dir, now_ms) = (&args.dir, wall_ms());
    match &args.action {
        CertsAction::Init { broker, name } => {
            // Nothing half made.
            authority::check_hosts(broker)?;
            authority::init(dir, name, now_ms)?;
            authority::issue(dir, "broker", &Purpose::Server(broker.clone()), now_ms)?;
            writeln!(out, "In {}:", dir.display())?;
            writeln!(out, "  ca.crt      for everybody: the gateway's ca-file, Mosquitto's cafile")?;
            writeln!(
                out,
                "  ca.key      signs certificates: keep it off gateway and broker, and a copy somewhere safe"
            )?;
            writeln!(out, "  broker.crt  Mosquitto's certfile, for {}", broker.join(", "))?;
            writeln!(out, "  broker.key  Mosquitto's keyfile: for the broker alone")?;
            writeln!(out, "Next: surplusd certs issue gateway --dir {}", dir.display())?;
        }
        CertsAction::Issue { name, host } => {
            let purpose = if host.is_empty() { Purpose::Client } else { Purpose::Server(host.clone()) };
            authority::issue(dir, name, &purpose, now_ms)?;
            let who = if host.is_empty() { "client" } else { "server" };
            writeln!(out, "{name}.crt and {name}.key ({who}) are in {}", dir.display())?;
        }
        CertsAction::Show => return show(dir, now_ms, out),
    }
    Ok(exit::OK)
}

fn show(dir: &Path, now_ms: i64, out: &mut dyn Write) -> anyhow::Result<u8> {
    let folder = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut names: Vec<String> = folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "crt"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    anyhow::ensure!(!names.is_empty(), "there are no certificates (.crt) in {}", dir.display());
    let authority = certificates(&dir.join(AUTHORITY.0)).ok().and_then(|chain| chain.into_iter().next());
    let mut code = exit::OK;
    for name in names {
        match inspect(dir, &name, authority.as_deref()) {
            Ok(Some(certificate)) => {
                if line(&name, &certificate, now_ms / 1_000, out)? {
                    code = exit::DIFFERENT;
                }
            }
            Ok(None) => {
                writeln!(out, "{name}.crt: this is no certificate")?;
                code = exit::DIFFERENT;
            }
            Err(error) => {
                writeln!(out, "{error}")?;
                code = exit::DIFFERENT;
            }
        }
    }
    Ok(code)
}

/// Shows one; returns whether something is wrong with it.
fn line(name: &str, certificate: &Inspection, now_s: i64, out: &mut dyn Write) -> std::io::Result<bool> {
    let Inspection { subject, names, authority, usages, until_s, until, signed, key } = certificate;
    let days = (until_s - now_s).div_euclid(86_400);
    let what = if *authority { "authority".to_owned() } else { usages.join(" and ") };
    writeln!(
        out,
        "{name}.crt: {subject} ({what}){}",
        if names.is_empty() { String::new() } else { format!(", {}", names.join(", ")) }
    )?;
    writeln!(out, "  until {until}, {days} days")?;
    let mut wrong = Vec::new();
    if days < 0 {
        wrong.push("it has expired: issue a new one");
    } else if days < WARN_DAYS {
        wrong.push("it ends soon: issue a new one");
    }
    if *signed == Some(false) {
        wrong.push("it is not signed by the authority in this folder");
    }
    if !authority && usages.is_empty() {
        wrong.push("it says neither server nor client: some programs will refuse it");
    }
    wrong.extend(*key);
    for what in &wrong {
        writeln!(out, "  WRONG: {what}")?;
    }
    Ok(!wrong.is_empty())
}
