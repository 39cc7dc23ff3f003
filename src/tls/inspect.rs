//! Reads what a certificate contains, and whether its key is stored safely. Changes nothing.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::crypto::ring::sign::any_supported_type;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::fitness::{Unfit, unfit};
use super::{TlsError, certificates, common_name, key_in, read};
use crate::config::visible;

/// The content of a certificate, and its key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its common name, cut. This and the names below are text on one line, whatever the certificate says.
    pub subject: String,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// Whether it is an authority's (basic constraints).
    pub authority: bool,
    /// Whether its key usage allows signing certificates.
    pub signs: bool,
    /// Why the TLS library cannot use it, if so.
    pub unfit: Option<Unfit>,
    /// Its extended key usages: `server`, `client`.
    pub usages: Vec<&'static str>,
    /// Start of its validity, in seconds since 1970 UTC.
    pub from_s: i64,
    /// End of its validity, in seconds since 1970 UTC.
    pub until_s: i64,
    /// End of its validity as a date.
    pub until: String,
    /// Whether the authority beside it signed it; `None` if there is no authority.
    pub signed: Option<bool>,
    /// Its key file, if it exists.
    pub key: Option<KeyFile>,
}

/// A key file beside a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFile {
    /// Its permission bits.
    pub mode: u32,
    /// Whether the key belongs to the certificate; `None` if it may not be read.
    pub fits: Option<bool>,
}

/// Reads a certificate in a folder by its name without extension; `authority` is the DER of the folder's authority.
///
/// # Errors
/// If the file cannot be read, or contains no certificate.
pub fn inspect(dir: &Path, name: &str, authority: Option<&[u8]>) -> Result<Option<Inspection>, TlsError> {
    let chain = certificates(&dir.join(format!("{name}.crt")))?;
    let Some(der) = chain.first() else { return Ok(None) };
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Ok(None) };
    let key = key(dir, name, certificate.public_key().raw);
    Ok(Some(Inspection { key, ..contents(&certificate, der, authority) }))
}

/// Extracts the contents of a certificate, without a key file; `der` is the certificate itself.
pub(super) fn contents(certificate: &X509Certificate<'_>, der: &[u8], authority: Option<&[u8]>) -> Inspection {
    let signed = authority.map(|authority| {
        X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
            authority.is_ca()
                && certificate.issuer() == authority.subject()
                && certificate.verify_signature(Some(authority.public_key())).is_ok()
        })
    });
    let san = certificate.subject_alternative_name().ok().flatten();
    let names = san.map(|san| san.value.general_names.iter().filter_map(text).collect()).unwrap_or_default();
    let usage = certificate.extended_key_usage().ok().flatten().map(|usage| usage.value);
    let says = |server: bool, client: bool| [(server, "server"), (client, "client")];
    let usages = usage.map_or(says(false, false), |usage| says(usage.server_auth, usage.client_auth));
    let usages = usages.into_iter().filter(|(says, _)| *says).map(|(_, name)| name).collect();
    let until = certificate.validity().not_after;
    Inspection {
        subject: common_name(certificate).unwrap_or_else(|| "no name".to_owned()),
        names,
        authority: certificate.is_ca(),
        signs: certificate.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign()),
        unfit: unfit(der),
        usages,
        from_s: certificate.validity().not_before.timestamp(),
        until_s: until.timestamp(),
        until: until.to_rfc2822().unwrap_or_default(),
        signed,
        key: None,
    }
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some(visible(name));
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    let six = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
    four.or(six).ok().map(|address| address.to_string())
}

fn key(dir: &Path, name: &str, public_key: &[u8]) -> Option<KeyFile> {
    let path = dir.join(format!("{name}.key"));
    let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    // Whatever its mode is: `certs show` reports one that others may read.
    let fits = match read(&path).and_then(|text| key_in(&path, &text)) {
        Ok(key) => {
            let known = any_supported_type(&key).ok().and_then(|key| Some(key.public_key()?.to_vec()));
            Some(known.is_some_and(|known| known == public_key))
        }
        Err(TlsError::Read { .. }) => None,
        Err(_) => Some(false),
    };
    Some(KeyFile { mode, fits })
}
