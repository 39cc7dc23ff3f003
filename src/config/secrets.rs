//! Files that a configuration names: secrets, certificates, keys. They are read once and judged by their outside only:
//! what a certificate says, and whether a key belongs to it, is `tls`'s and `doctor`'s to tell.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::checks::Surroundings;
use super::report::Report;
use super::{Files, Secret};

/// The longest secret file, in bytes.
const SECRET_MAX: u64 = 4 * 1024;
/// The longest certificate or key file, in bytes: the bundle of all public authorities has about 250 kB.
const PEM_MAX: u64 = 1024 * 1024;

/// What a PEM file must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pem {
    Certificate,
    PrivateKey,
}

impl Report<'_> {
    /// The text in a secret file, without the line ends after it. `secret` warns where others may read it.
    pub(super) fn secret(&mut self, path: &str, name: &str, private: bool, around: &Surroundings) -> Option<Secret> {
        if self.broken(path) || self.unnamed(path, name) {
            return None;
        }
        if around.files == Files::Ignore {
            return Some(Secret(String::new()));
        }
        let file = around.path_of(name);
        let bytes = self.contents(path, &file, SECRET_MAX)?;
        if private {
            self.warn_if_public(path, &file);
        }
        let shown = file.display();
        let Ok(text) = String::from_utf8(bytes) else {
            self.error(path, format!("{shown} is not text in UTF-8"), "write nothing but the secret into it");
            return None;
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            self.error(path, format!("{shown} is empty"), "write the secret into it, on one line");
            return None;
        }
        if text.contains(char::is_control) {
            self.error(path, format!("{shown} has more than one line"), "write nothing but the secret into it");
            return None;
        }
        Some(Secret(text.to_owned()))
    }

    /// The file of a certificate or key, which must be there and hold one.
    pub(super) fn pem(&mut self, path: &str, name: &str, pem: Pem, around: &Surroundings) -> Option<PathBuf> {
        if self.broken(path) || self.unnamed(path, name) {
            return None;
        }
        let file = around.path_of(name);
        if around.files == Files::Ignore {
            return Some(file);
        }
        let bytes = self.contents(path, &file, PEM_MAX)?;
        if pem == Pem::PrivateKey {
            self.warn_if_public(path, &file);
        }
        if let Some((fault, remedy)) = pem_fault(&String::from_utf8_lossy(&bytes), pem) {
            self.error(path, format!("{} {fault}", file.display()), remedy);
            return None;
        }
        Some(file)
    }

    fn unnamed(&mut self, path: &str, name: &str) -> bool {
        if name.is_empty() {
            self.error(path, "the name of the file is empty", "name a file, or leave the key out");
        }
        name.is_empty()
    }

    fn contents(&mut self, path: &str, file: &Path, max: u64) -> Option<Vec<u8>> {
        let shown = file.display();
        match read_at_most(file, max) {
            Ok(Some(bytes)) => Some(bytes),
            Ok(None) => {
                self.error(path, format!("{shown} is longer than {max} bytes"), "is this the file you meant?");
                None
            }
            Err(error) => {
                let kind = error.kind();
                let (fault, remedy) = if kind == io::ErrorKind::NotFound {
                    ("does not exist".to_owned(), "create it, or correct its name")
                } else if kind == io::ErrorKind::PermissionDenied {
                    ("may not be read".to_owned(), "let the user that surplusd runs as read it; from a shell, try sudo")
                } else {
                    (format!("cannot be read: {error}"), "name a file that can be read")
                };
                self.error(path, format!("{shown} {fault}"), remedy);
                None
            }
        }
    }

    fn warn_if_public(&mut self, path: &str, file: &Path) {
        let public = fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
        if public {
            let remedy = format!("chmod 0640 {0}, or 0600", file.display());
            self.warning(path, format!("everybody on this machine may read {}", file.display()), remedy);
        }
    }
}

/// The contents of a file; `None` where it is longer than `max` bytes.
pub(super) fn read_at_most(file: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok((u64::try_from(bytes.len()).unwrap_or(u64::MAX) <= max).then_some(bytes))
}

/// Why a text is not the PEM file wanted (RFC 7468), and what to do.
fn pem_fault(text: &str, pem: Pem) -> Option<(&'static str, &'static str)> {
    let labels: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .filter(|label| text.contains(&format!("-----END {label}-----")))
        .collect();
    let has = |label: &str| labels.contains(&label);
    let has_key = has("PRIVATE KEY") || has("RSA PRIVATE KEY") || has("EC PRIVATE KEY");
    match pem {
        Pem::Certificate if has("CERTIFICATE") => None,
        Pem::Certificate if has_key => {
            Some(("holds a private key, not a certificate", "name the certificate here; were the two mixed up?"))
        }
        Pem::PrivateKey if has_key => None,
        Pem::PrivateKey if has("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") => {
            Some(("holds a key that needs a passphrase", "nobody is there to type it: remove it with `openssl pkey`"))
        }
        Pem::PrivateKey if has("CERTIFICATE") => {
            Some(("holds a certificate, not a private key", "name the key here; were the two mixed up?"))
        }
        Pem::Certificate | Pem::PrivateKey if labels.is_empty() => Some((
            "is not a PEM file",
            "convert it with `openssl`: it must have a line `-----BEGIN …-----` and the matching end",
        )),
        Pem::Certificate => Some(("holds no certificate", "it must have a block `-----BEGIN CERTIFICATE-----`")),
        Pem::PrivateKey => Some(("holds no private key", "it must have a block `-----BEGIN PRIVATE KEY-----`")),
    }
}
