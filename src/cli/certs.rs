//! `surplusd certs`: a household's own certificates, without the need for an `OpenSSL` guide.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use relay_link::topic::is_id;

use super::exit;
use super::output::is_disk_error;
use crate::clock::wall_ms;
use crate::config::visible;
use crate::tls::authority::{self, AUTHORITY, AuthorityError, Purpose};
use crate::tls::certificates;
use crate::tls::inspect::{Inspection, inspect};

/// Warn about a certificate that expires within this many days.
const WARN_DAYS: i64 = 60;

/// Arguments of `certs`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The folder with the authority and its certificates
    #[arg(long, global = true, value_name = "FOLDER", default_value = "/etc/surplusd/certs")]
    pub dir: PathBuf,
    /// Action
    #[command(subcommand)]
    pub action: CertsAction,
}

/// The subcommands of `certs`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum CertsAction {
    /// Make the household's authority and a certificate for the broker
    Init {
        /// Host name or address at which the broker is reached (may be given several times)
        #[arg(long, value_name = "HOST", required = true)]
        broker: Vec<String>,
        /// Name of the authority
        #[arg(long, default_value = "Household authority")]
        name: String,
    },
    /// Issue a certificate for a gateway, a relay or another client; with --host, for a server
    Issue {
        /// Name of the certificate: 1 to 32 lower-case letters, digits and -
        #[arg(value_parser = name)]
        name: String,
        /// Make it a server certificate for this host name or address (may be given several times)
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
    },
    /// Show all certificates in the folder and their problems
    Show,
}

fn name(text: &str) -> Result<String, String> {
    if !is_id(text) {
        return Err("a name is 1 to 32 lower-case letters, digits and -".to_owned());
    }
    if text == "ca" { Err("ca is the authority itself".to_owned()) } else { Ok(text.to_owned()) }
}

/// Carries out the action; returns the exit code: [`exit::DIFFERENT`] if `show` found a problem.
///
/// # Errors
/// If a file cannot be read or written, or exists already, or `out` cannot be written to.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (dir, now_ms) = (&args.dir, wall_ms());
    match &args.action {
        CertsAction::Init { broker, name } => {
            // Check everything first, so that nothing is left half made.
            authority::check_hosts(broker)?;
            authority::check_free(dir, "broker")?;
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
            let issued = authority::issue(dir, name, &purpose, now_ms)?;
            let who = if host.is_empty() { "client" } else { "server" };
            writeln!(out, "{name}.crt and {name}.key ({who}, until {}) are in {}", issued.until, dir.display())?;
            if issued.shortened {
                writeln!(out, "It ends with its authority, ca.crt: make a new authority before that.")?;
            }
        }
        CertsAction::Show => return show(dir, now_ms, out),
    }
    Ok(exit::OK)
}

/// The exit code for an error of [`run`].
pub fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(AuthorityError::File { cause, .. }) if is_disk_error(cause) => exit::OUTPUT,
        Some(AuthorityError::File { cause, .. }) if cause.kind() == ErrorKind::PermissionDenied => exit::PERMISSION,
        _ => exit::USAGE,
    }
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
        let shown = visible(&name);
        match inspect(dir, &name, authority.as_deref()) {
            Ok(Some(certificate)) => {
                if line(&shown, &certificate, now_ms / 1_000, out)? {
                    code = exit::DIFFERENT;
                }
            }
            Ok(None) => {
                writeln!(out, "{shown}.crt: this is no certificate")?;
                code = exit::DIFFERENT;
            }
            Err(error) => {
                writeln!(out, "{}", visible(&error.to_string()))?;
                code = exit::DIFFERENT;
            }
        }
    }
    Ok(code)
}

/// Shows one certificate; returns whether it has a problem.
fn line(name: &str, certificate: &Inspection, now_s: i64, out: &mut dyn Write) -> std::io::Result<bool> {
    let Inspection { subject, names, authority, usages, until_s, until, signed, key, .. } = certificate;
    let days = days_left(*until_s, now_s);
    let what = if *authority { "authority".to_owned() } else { usages.join(" and ") };
    writeln!(
        out,
        "{name}.crt: {subject} ({what}){}",
        if names.is_empty() { String::new() } else { format!(", {}", names.join(", ")) }
    )?;
    writeln!(out, "  until {until}, {days} days")?;
    let signed = match signed {
        Some(true) => "signed by ca.crt",
        Some(false) => "not signed by ca.crt",
        None => "there is no ca.crt here to check it with",
    };
    let key = key.map_or("no key file".to_owned(), |key| format!("key file {:04o}", key.mode));
    writeln!(out, "  {signed}, {key}")?;
    let wrong = wrong(name, certificate, now_s);
    for what in &wrong {
        writeln!(out, "  WRONG: {what}")?;
    }
    Ok(!wrong.is_empty())
}

const fn days_left(until_s: i64, now_s: i64) -> i64 {
    (until_s - now_s).div_euclid(86_400)
}

/// Lists all problems of one certificate.
fn wrong(name: &str, certificate: &Inspection, now_s: i64) -> Vec<String> {
    let Inspection { authority, signs, usages, from_s, until_s, signed, key, unfit, .. } = certificate;
    let days = days_left(*until_s, now_s);
    let is_ca = name == "ca";
    // An authority's key may well be kept elsewhere; other keys should lie beside their certificate, readable by their owner only.
    let key_missing = key.is_none() && !authority;
    let key_open = key.is_some_and(|key| key.mode & 0o077 != 0);
    let key_strange = key.is_some_and(|key| key.fits == Some(false));
    [
        (days < 0, "it has expired: issue a new one"),
        ((0..WARN_DAYS).contains(&days), "it ends soon: issue a new one"),
        (*from_s > now_s, "it is not valid yet: is the clock right?"),
        (is_ca && !authority, "it is not the certificate of an authority"),
        (*authority && !signs, "it may not sign certificates (keyCertSign is missing): make a new authority"),
        (*signed == Some(false), "it is not signed by the authority in this folder"),
        (!authority && usages.is_empty(), "it says neither server nor client: some programs will refuse it"),
        (key_missing, "its key is not here"),
        (key_open, "others can read its key: chmod 600"),
        (key_strange, "the key file beside it is not its key"),
    ]
    .into_iter()
    .filter(|(is_so, _)| *is_so)
    .map(|(_, what)| what.to_owned())
    .chain(unfit.as_ref().map(|unfit| format!("it {}: {}", unfit.cause(), unfit.remedy())))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    /// 2026-11-27.
    const NOW_MS: i64 = 1_795_737_600_000;

    fn shown(dir: &Path, now_ms: i64) -> (u8, String) {
        let mut out = Vec::new();
        let code = show(dir, now_ms, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    fn household() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        authority::init(dir.path(), "Household authority", NOW_MS).unwrap();
        authority::issue(dir.path(), "gateway", &Purpose::Client, NOW_MS).unwrap();
        dir
    }

    #[test]
    fn the_end_is_announced_sixty_days_before() {
        let dir = household();
        let after = |days: i64| shown(dir.path(), NOW_MS + days * DAY_MS);
        let (code, text) = after(5 * 365 - 60);
        assert!(code == exit::OK && text.contains(", 60 days") && !text.contains("WRONG"), "{text}");
        let (code, text) = after(5 * 365 - 59);
        assert!(code == exit::DIFFERENT && text.contains("59 days") && text.contains("WRONG: it ends soon"), "{text}");
        let (code, text) = after(5 * 365 + 1);
        assert!(
            code == exit::DIFFERENT && text.contains("-1 days") && text.contains("WRONG: it has expired"),
            "{text}"
        );
    }

    #[test]
    fn signature_and_key_are_told_also_when_good() {
        let dir = household();
        let (code, text) = shown(dir.path(), NOW_MS);
        assert_eq!((code, text.matches("signed by ca.crt, key file 0600").count()), (exit::OK, 2), "{text}");
        // Another authority of the same name, with another key.
        let other = household();
        for name in ["gateway.key", "ca.crt"] {
            std::fs::copy(other.path().join(name), dir.path().join(name)).unwrap();
        }
        let (_, text) = shown(dir.path(), NOW_MS);
        assert!(text.contains("not signed by ca.crt") && text.contains("WRONG: the key file beside it"), "{text}");
        std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
        assert!(shown(dir.path(), NOW_MS).1.contains("there is no ca.crt here to check it with"));
        std::fs::copy(other.path().join("gateway.crt"), dir.path().join("ca.crt")).unwrap();
        let (_, text) = shown(dir.path(), NOW_MS);
        assert!(text.contains("WRONG: it is not the certificate of an authority"), "{text}");
    }

    /// A name with line ends would look like another certificate, or like the end of the list.
    #[test]
    fn no_certificate_forges_lines_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let forged = "x (server)\n  signed by ca.crt, key file 0600\nbroker.crt: broker\u{202e}";
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("{forged}{}", "x".repeat(10_000)));
        let san = "a\nbroker.crt: b".to_owned();
        params.subject_alt_names = vec![rcgen::SanType::DnsName(san.try_into().unwrap())];
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("a\nb.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.path().join("c\nd.crt"), "nothing").unwrap();
        let (_, text) = shown(dir.path(), NOW_MS);
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("  WRONG: ")).collect();
        assert_eq!(lines.len(), 4, "three for the first, one for the second: {text}");
        assert!(lines[0].starts_with("a\\u{a}b.crt: x (server)\\u{a}  signed") && lines[0].len() < 250, "{text}");
        assert!(lines[0].ends_with(", a\\u{a}broker.crt: b"), "{text}");
        assert!(lines[3].contains("c\\u{a}d.crt holds no certificate"), "{text}");
    }
}
