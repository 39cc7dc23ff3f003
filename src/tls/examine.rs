//! Checks the certificate files of a configuration before any connection: kinds of keys that the TLS library does not support, dates, and
//! certificates that are not what their setting says.

use std::path::PathBuf;

use x509_parser::prelude::{FromDer, X509Certificate};

use super::fitness::{USABLE, signs_unfit, unfit_key};
use super::{SUBJECT_MAX, TlsError, certificates, client, subject};
use crate::config::{TlsConfig, visible_start};

/// The file that a remark is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// `ca-file`.
    Authority,
    /// `client-cert-file`.
    Certificate,
    /// `client-key-file`.
    Key,
}

/// A problem with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The file.
    pub about: About,
    /// Whether it prevents every connection.
    pub fatal: bool,
    /// What is wrong: a fragment without a full stop.
    pub message: String,
    /// What to do: a fragment without a full stop.
    pub remedy: String,
}

/// Lists all problems of the files; `now_s` is the wall clock, in seconds since 1970 UTC.
pub fn examine(tls: &TlsConfig, now_s: i64) -> Vec<Remark> {
    let mut remarks = Vec::new();
    authorities(tls, now_s, &mut remarks);
    identity(tls, now_s, &mut remarks);
    // Any host will do: the files are the same for all.
    if let Err(error) = client(tls, "localhost")
        && !remarks.iter().any(|remark| remark.fatal)
    {
        remarks.push(unusable(tls, &error));
    }
    remarks
}

fn authorities(tls: &TlsConfig, now_s: i64, remarks: &mut Vec<Remark>) {
    let Some(file) = &tls.ca_file else { return };
    // Unreadable files are reported when all files are used together.
    let Ok(all) = certificates(file) else { return };
    let known: Vec<X509Certificate<'_>> =
        all.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
    let only_unfit = !known.is_empty() && known.iter().all(|authority| unfit_key(authority.public_key()).is_some());
    let shown = file.display();
    let mut remark = |fatal, message: String, remedy: &str| {
        remarks.push(Remark { about: About::Authority, fatal, message, remedy: remedy.to_owned() });
    };
    for authority in &known {
        let name = subject(authority);
        if let Some(kind) = unfit_key(authority.public_key()) {
            let message =
                format!("the authority \"{name}\" in {shown} has {kind}, which surplusd's TLS library does not accept");
            remark(only_unfit, message, USABLE);
        } else if let Some(kind) = signs_unfit(authority) {
            let message = format!(
                "the authority \"{name}\" in {shown} signs with {kind}; surplusd's TLS library does not accept a broker's certificate \
                 signed like that"
            );
            remark(
                false,
                message,
                "let it sign the broker's certificate with SHA-256 or SHA-384 (`openssl … -sha384`)",
            );
        }
        if authority.validity().not_after.timestamp() < now_s {
            let message =
                format!("the authority \"{name}\" in {shown} has expired ({})", authority.validity().not_after);
            remark(false, message, "make a new authority and new certificates: others will refuse these");
        }
        if !authority.is_ca() && authority.subject() != authority.issuer() {
            let message = format!(
                "\"{name}\" in {shown} is not the certificate of an authority but was signed by \"{}\"",
                visible_start(&authority.issuer().to_string(), SUBJECT_MAX)
            );
            remark(false, message, "name the certificate of the authority that signed the broker's");
        }
    }
}

fn identity(tls: &TlsConfig, now_s: i64, remarks: &mut Vec<Remark>) {
    let Some(files) = &tls.client_auth else { return };
    let Ok(chain) = certificates(&files.cert_file) else { return };
    let Some(Ok((_, own))) = chain.first().map(|der| X509Certificate::from_der(der)) else { return };
    let shown = files.cert_file.display();
    let mut remark = |fatal, message: String, remedy: &str| {
        remarks.push(Remark { about: About::Certificate, fatal, message, remedy: remedy.to_owned() });
    };
    if let Some(kind) = unfit_key(own.public_key()) {
        let message = format!("the certificate in {shown} has {kind}, which surplusd's TLS library does not accept");
        remark(true, message, USABLE);
    }
    let validity = own.validity();
    if validity.not_after.timestamp() < now_s {
        let message =
            format!("the certificate in {shown} has expired ({}): the broker will refuse it", validity.not_after);
        remark(false, message, "issue a new one: `surplusd certs issue gateway`");
    } else if validity.not_before.timestamp() > now_s {
        let message = format!("the certificate in {shown} is not valid before {}", validity.not_before);
        remark(false, message, "is the clock of this machine right?");
    }
    let usage = own.extended_key_usage().ok().flatten();
    if usage.is_some_and(|usage| !usage.value.client_auth && !usage.value.any) {
        let message = format!("the certificate in {shown} is not made for a client: the broker will refuse it");
        remark(false, message, "issue one for a client: `surplusd certs issue gateway`, without --host");
    }
    if own.is_ca() {
        let message = format!("the certificate in {shown} is an authority's, and its key would lie on this gateway");
        remark(false, message, "issue one for the gateway: `surplusd certs issue gateway`");
    }
}

/// Turns an error of using the files together into a remark.
fn unusable(tls: &TlsConfig, error: &TlsError) -> Remark {
    let of = |path: &PathBuf| {
        if tls.ca_file.as_ref() == Some(path) {
            About::Authority
        } else if tls.client_auth.as_ref().is_some_and(|files| files.key_file == *path) {
            About::Key
        } else {
            About::Certificate
        }
    };
    let (about, remedy) = match error {
        TlsError::Read { path, .. } => (of(path), "name a file that can be read"),
        TlsError::Pem { path, .. } | TlsError::Root { path, .. } => {
            (of(path), "it is damaged: copy the whole file again")
        }
        TlsError::Public { path, .. } => (of(path), "whoever could read it can connect as this gateway"),
        TlsError::Encrypted(path) => (of(path), "nobody is there to type it"),
        TlsError::Identity { .. } => (About::Key, "name the key that was made with the certificate"),
        TlsError::NoSystemRoots => (About::Authority, "or name the certificate of the broker's authority in `ca-file`"),
        TlsError::Library(_) | TlsError::Host(_) => (About::Authority, "please report this"),
    };
    Remark { about, fatal: true, message: error.to_string(), remedy: remedy.to_owned() }
}
