//! Reads the files that a configuration names: secrets, certificates, keys. They are read once, and only their form is checked: what a
//! certificate says and whether a key belongs to it is for `tls` and `doctor` to judge.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::checks::Surroundings;
use super::pem::{self, Pem};
use super::report::Report;
use super::{Files, Secret, text};
use crate::regular::{self, Public};

/// Largest secret file, in bytes.
const SECRET_MAX: u64 = 4 * 1024;
/// Largest certificate or key file, in bytes: the bundle of all public authorities has about 250 kB.
const PEM_MAX: u64 = 1024 * 1024;

impl Report<'_> {
    /// Reads the text in a secret file, without trailing line ends. If it is `private`, not everybody may read
    /// the file.
    pub(super) fn secret(&mut self, path: &str, name: &str, private: bool, around: &Surroundings) -> Option<Secret> {
        if self.broken(path) || self.unnamed(path, name) {
            return None;
        }
        if around.files == Files::Ignore {
            return Some(Secret(String::new()));
        }
        let file = around.path_of(name);
        let bytes = self.contents(path, &file, SECRET_MAX, private)?;
        let shown = file.display();
        if text::is_utf16(&bytes) {
            self.error(path, format!("{shown} is not text in UTF-8 but in UTF-16"), text::FROM_UTF16);
            return None;
        }
        let Ok(text) = std::str::from_utf8(text::without_mark(&bytes)) else {
            self.error(path, format!("{shown} is not text in UTF-8"), "write nothing but the secret into it");
            return None;
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            self.error(path, format!("{shown} is empty"), "write the secret into it, on one line");
            return None;
        }
        if text.contains(['\n', '\r']) {
            self.error(path, format!("{shown} has more than one line"), "write nothing but the secret into it");
            return None;
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            let remedy = format!("write it again without that: `printf %s 'the secret' > {shown}`");
            self.error(path, format!("{shown} contains {}", text::named(c)), remedy);
            return None;
        }
        self.warn_if_unseen(path, &file, text);
        Some(Secret(text.to_owned()))
    }

    /// Checks that the file of a certificate or key exists and contains one.
    pub(super) fn pem(&mut self, path: &str, name: &str, pem: Pem, around: &Surroundings) -> Option<PathBuf> {
        if self.broken(path) || self.unnamed(path, name) {
            return None;
        }
        let file = around.path_of(name);
        if around.files == Files::Ignore {
            return Some(file);
        }
        let bytes = self.contents(path, &file, PEM_MAX, pem == Pem::PrivateKey)?;
        match pem::judge(&bytes, &file, pem) {
            Ok(None) => Some(file),
            Ok(Some((fault, remedy))) => {
                self.warning(path, format!("{} {fault}", file.display()), remedy);
                Some(file)
            }
            Err((fault, remedy)) => {
                self.error(path, format!("{} {fault}", file.display()), remedy);
                None
            }
        }
    }

    /// Warns about blanks and invisible characters. The secret is used as it is: a blank at its end may be part of it, but mostly is not.
    fn warn_if_unseen(&mut self, path: &str, file: &Path, secret: &str) {
        let blank = |c: &char| *c == ' ' || text::invisible(*c);
        let at_end = secret.chars().next_back().filter(blank).map(|c| ("ends with", c));
        let at_start = secret.chars().next().filter(blank).map(|c| ("begins with", c));
        let inside = secret.chars().find(|c| text::invisible(*c)).map(|c| ("contains", c));
        let Some((does, c)) = at_end.or(at_start).or(inside) else { return };
        let shown = file.display();
        let remedy = format!("if it is not a part of the secret, write it again: `printf %s 'the secret' > {shown}`");
        self.warning(path, format!("{shown} {does} {}, which is sent with the rest", text::named(c)), remedy);
    }

    fn unnamed(&mut self, path: &str, name: &str) -> bool {
        if name.is_empty() {
            self.error(path, "the name of the file is empty", "name a file, or leave the key out");
        }
        name.is_empty()
    }

    fn contents(&mut self, path: &str, file: &Path, max: u64, private: bool) -> Option<Vec<u8>> {
        let shown = file.display();
        let opened = if private { regular::open_secret(file) } else { regular::open(file) };
        match opened.and_then(|opened| up_to(opened, max)) {
            Ok(Some(bytes)) => Some(bytes),
            Ok(None) => {
                self.error(path, format!("{shown} is longer than {max} bytes"), "is this the file you meant?");
                None
            }
            Err(error) => {
                let (fault, remedy) = unreadable(path, file, &error);
                self.error(path, fault, remedy);
                None
            }
        }
    }
}

/// Why a file cannot be used, and what to do. A name that leads nowhere is not repeated where a secret may have been written in its place:
/// the log is read by others than the configuration.
fn unreadable(key: &str, file: &Path, error: &io::Error) -> (String, String) {
    let kind = error.kind();
    let leads_nowhere = kind != io::ErrorKind::PermissionDenied && file.symlink_metadata().is_err();
    let hidden = leads_nowhere && matches!(key, "mqtt.username-file" | "mqtt.password-file" | "mqtt.client-key-file");
    let shown = if hidden { "the file named here".to_owned() } else { file.display().to_string() };
    if let Some(Public(mode)) = Public::cause(error) {
        let remedy = format!("`sudo chmod 0600 {shown}`; if others use this machine, make a new secret");
        (format!("everybody on this machine may read or write {shown} (mode {mode:04o})"), remedy)
    } else if kind == io::ErrorKind::NotFound {
        let where_to = if hidden { ": the secret stands in the file, not here" } else { "" };
        (format!("{shown} does not exist"), format!("create it, or correct its name{where_to}"))
    } else if kind == io::ErrorKind::PermissionDenied {
        (format!("{shown} may not be read"), readable(key, file))
    } else {
        (format!("{shown} cannot be read: {error}"), "name a file that can be read".to_owned())
    }
}

/// How to let the service read a file that it may not read.
fn readable(key: &str, file: &Path) -> String {
    let shown = file.display();
    if matches!(key, "mqtt.ca-file" | "mqtt.client-cert-file") {
        return format!("it holds no secret: `sudo chmod 0644 {shown}`, and 0755 its folders; from a shell, try sudo");
    }
    let name = file.file_name().unwrap_or_default().display();
    format!(
        "for the service: `sudo systemctl edit surplusd`, write [Service] and below it `LoadCredential={name}:{shown}`, \
         and restart surplusd; from a shell: try sudo"
    )
}

/// Returns the contents of a file; `None` if it is longer than `max` bytes.
pub(super) fn read_at_most(file: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    up_to(regular::open(file)?, max)
}

fn up_to(opened: File, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    opened.take(max + 1).read_to_end(&mut bytes)?;
    Ok((u64::try_from(bytes.len()).unwrap_or(u64::MAX) <= max).then_some(bytes))
}
