//! Explains why a file is not the expected certificate or key, and gives the command that converts it.

use std::collections::BTreeSet;
use std::path::Path;

use super::text;

/// What a PEM file must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pem {
    Certificate,
    PrivateKey,
}

/// What is wrong with a file, as a phrase that follows its name, and what to do.
pub(super) type Fault = (String, String);

/// The contents of a file: the labels of its complete PEM blocks (RFC 7468), in order.
struct Blocks<'a> {
    text: &'a str,
    labels: Vec<&'a str>,
}

impl<'a> Blocks<'a> {
    fn of(text: &'a str) -> Self {
        let label = |line: &'a str, begins: &str| line.strip_prefix(begins)?.strip_suffix("-----");
        let ended: BTreeSet<&str> = text.lines().filter_map(|line| label(line.trim(), "-----END ")).collect();
        let labels = text.lines().filter_map(|line| label(line.trim_end(), "-----BEGIN "));
        let labels = labels.filter(|label| ended.contains(label)).collect();
        Self { text, labels }
    }

    fn has(&self, label: &str) -> bool {
        self.labels.contains(&label)
    }

    fn keys(&self) -> usize {
        let is_key = |label: &&&str| matches!(**label, "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY");
        self.labels.iter().filter(is_key).count()
    }

    fn is_encrypted(&self) -> bool {
        // The older form keeps the label and adds a header (RFC 1421).
        self.has("ENCRYPTED PRIVATE KEY") || self.text.contains("Proc-Type: 4,ENCRYPTED")
    }
}

/// Judges a file: `Err` says why it is not the expected one; `Ok` may hold a warning about a file that can be used as it is.
pub(super) fn judge(bytes: &[u8], file: &Path, pem: Pem) -> Result<Option<Fault>, Fault> {
    let name = file.display();
    if text::is_utf16(bytes) {
        let remedy = format!("convert it with `iconv -f UTF-16 -t UTF-8 {name} > NEW`");
        return Err(("is UTF-16, as Windows editors write it, and not a PEM file".to_owned(), remedy));
    }
    if let Some(fault) = binary(bytes, file, pem) {
        return Err(fault);
    }
    let text = String::from_utf8_lossy(text::without_mark(bytes));
    let blocks = Blocks::of(&text);
    if blocks.labels.is_empty() {
        return Err(not_pem(&text));
    }
    let fault = |fault: &str, remedy: String| Err((fault.to_owned(), remedy));
    match pem {
        Pem::PrivateKey if blocks.is_encrypted() => {
            let remedy = format!("nobody is there to type it: remove it with `openssl pkey -in {name} -out NEW`");
            fault("holds a key that needs a passphrase", remedy)
        }
        Pem::PrivateKey if blocks.keys() > 1 => {
            let remedy = "keep only the key of the certificate in it".to_owned();
            Ok(Some((format!("holds {} private keys, and the first is used", blocks.keys()), remedy)))
        }
        Pem::PrivateKey if blocks.keys() == 1 => Ok(None),
        Pem::PrivateKey if blocks.has("CERTIFICATE") => {
            fault("holds a certificate, not a private key", "name the key here; were the two mixed up?".to_owned())
        }
        Pem::PrivateKey => Err(other(&blocks, "private key", "-----BEGIN PRIVATE KEY-----", file)),
        Pem::Certificate if blocks.has("CERTIFICATE") => Ok(None),
        Pem::Certificate if blocks.keys() > 0 || blocks.is_encrypted() => {
            let remedy = "name the certificate here; were the two mixed up?".to_owned();
            fault("holds a private key, not a certificate", remedy)
        }
        Pem::Certificate => Err(other(&blocks, "certificate", "-----BEGIN CERTIFICATE-----", file)),
    }
}

/// Describes a PEM file that contains something else.
fn other(blocks: &Blocks, wanted: &str, begin: &str, file: &Path) -> Fault {
    let name = file.display();
    let known = [
        (
            "CERTIFICATE REQUEST",
            "a request for a certificate",
            "let the authority sign it, and name the result".to_owned(),
        ),
        (
            "NEW CERTIFICATE REQUEST",
            "a request for a certificate",
            "let the authority sign it, and name the result".to_owned(),
        ),
        (
            "TRUSTED CERTIFICATE",
            "OpenSSL's own form of one",
            format!("convert it with `openssl x509 -in {name} -out NEW`"),
        ),
        ("X509 CERTIFICATE", "an old form of one", format!("convert it with `openssl x509 -in {name} -out NEW`")),
        ("PKCS7", "a PKCS#7 bundle", format!("convert it with `openssl pkcs7 -print_certs -in {name} -out NEW`")),
        ("OPENSSH PRIVATE KEY", "a key for SSH", "name the key that was made with the certificate".to_owned()),
        ("DSA PRIVATE KEY", "a DSA key", "use a key on the curve P-256, as `surplusd certs issue` makes it".to_owned()),
        (
            "PUBLIC KEY",
            "the public half of a key",
            "name the private key that was made with the certificate".to_owned(),
        ),
        ("X509 CRL", "a revocation list", "name the certificate itself".to_owned()),
    ];
    let found = known.into_iter().find(|(label, ..)| blocks.has(label));
    match found {
        Some((_, what, remedy)) => (format!("holds no {wanted} but {what}"), remedy),
        None => (format!("holds no {wanted}"), format!("it must have a block `{begin}`")),
    }
}

/// Describes a text without a complete PEM block.
fn not_pem(text: &str) -> Fault {
    let begins = text.contains("-----BEGIN ");
    let (why, remedy) = if begins && text.contains("\\n") {
        (": its lines are separated by \\n instead of line ends", "replace each \\n by a line end")
    } else if begins && text.lines().any(|line| line.starts_with([' ', '\t']) && line.contains("-----BEGIN ")) {
        (": there are blanks before `-----BEGIN`", "remove the blanks before each line")
    } else if begins {
        (": the line `-----END …-----` is missing, it was probably cut off", "copy the whole file again")
    } else {
        ("", "convert it with `openssl`: it must have a line `-----BEGIN …-----` and the matching end")
    };
    (format!("is not a PEM file{why}"), remedy.to_owned())
}

/// Recognises a binary file by the beginning of its ASN.1: a certificate (RFC 5280) begins with two sequences, a key with a sequence and
/// its version, which is 0 or 1 (RFC 5958, RFC 5915), and a PKCS#12 store with a sequence and the version 3 (RFC 7292).
fn binary(bytes: &[u8], file: &Path, pem: Pem) -> Option<Fault> {
    let name = file.display();
    let inner = match bytes {
        [0x30, 0x82, _, _, inner @ ..] | [0x30, 0x81, _, inner @ ..] => inner,
        // So short that it can only be a key; otherwise it is the beginning of a text.
        [0x30, 0x00..=0x7f, 2, 1, ..] => bytes.get(2..).unwrap_or_default(),
        _ => return None,
    };
    let (what, remedy) = match (inner, pem) {
        ([2, 1, 3, ..], Pem::Certificate) => {
            ("a PKCS#12 store", format!("take the certificates out with `openssl pkcs12 -in {name} -nokeys -out NEW`"))
        }
        ([2, 1, 3, ..], Pem::PrivateKey) => {
            ("a PKCS#12 store", format!("take the key out with `openssl pkcs12 -in {name} -nocerts -nodes -out NEW`"))
        }
        ([2, 1, _, ..], Pem::PrivateKey) => {
            ("a key in DER format", format!("convert it with `openssl pkey -inform der -in {name} -out NEW`"))
        }
        ([2, 1, _, ..], Pem::Certificate) => {
            ("a private key in DER format", "name the certificate here; were the two mixed up?".to_owned())
        }
        ([0x30, ..], Pem::PrivateKey) => {
            ("a certificate in DER format", "name the key here; were the two mixed up?".to_owned())
        }
        (_, Pem::Certificate) => {
            ("in DER format", format!("convert it with `openssl x509 -inform der -in {name} -out NEW`"))
        }
        (_, Pem::PrivateKey) => return None,
    };
    Some((format!("is not a PEM file but {what}"), remedy))
}
