//! What a certificate says, and whether its key is kept as it should be. Reads only.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{TlsError, certificates};

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its common name.
    pub subject: String,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// May sign others.
    pub authority: bool,
    /// `server`, `client`.
    pub usages: Vec<&'static str>,
    /// End of its validity, in seconds since 1970 UTC.
    pub until_s: i64,
    /// As a date.
    pub until: String,
    /// Signed by the authority beside it; `None` where there is none.
    pub signed: Option<bool>,
    /// What is wrong with its key file.
    pub key: Option<&'static str>,
}

/// Reads one of the certificates in a folder, by its name without ending; `authority` is the DER of the folder's.
///
/// # Errors
/// If the file cannot be read, or holds no certificate.
pub fn inspect(dir: &Path, name: &str, authority: Option<&[u8]>) -> Result<Option<Inspection>, TlsError> {
    let chain = certificates(&dir.join(format!("{name}.crt")))?;
    let Some(der) = chain.first() else { return Ok(None) };
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Ok(None) };
    let signed = authority.map(|authority| {
        X509Certificate::from_der(authority)
            .is_ok_and(|(_, authority)| certificate.verify_signature(Some(authority.public_key())).is_ok())
    });
    let subject =
        certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or("no name");
    let san = certificate.subject_alternative_name().ok().flatten();
    let names = san.map(|san| san.value.general_names.iter().filter_map(text).collect()).unwrap_or_default();
    let usage = certificate.extended_key_usage().ok().flatten().map(|usage| usage.value);
    let says = |server: bool, client: bool| [(server, "server"), (client, "client")];
    let usages = usage.map_or(says(false, false), |usage| says(usage.server_auth, usage.client_auth));
    let usages = usages.into_iter().filter(|(says, _)| *says).map(|(_, name)| name).collect();
    let until = certificate.validity().not_after;
    let key = if certificate.is_ca() && !dir.join(format!("{name}.key")).exists() { None } else { key(dir, name) };
    Ok(Some(Inspection {
        subject: subject.to_owned(),
        names,
        authority: certificate.is_ca(),
        usages,
        until_s: until.timestamp(),
        until: until.to_rfc2822().unwrap_or_default(),
        signed,
        key,
    }))
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    let six = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
    four.or(six).ok().map(|address| address.to_string())
}

/// An authority's key may well be kept elsewhere; another's should lie beside it, for its owner alone.
fn key(dir: &Path, name: &str) -> Option<&'static str> {
    let Ok(data) = std::fs::metadata(dir.join(format!("{name}.key"))) else { return Some("its key is not here") };
    (data.permissions().mode() & 0o077 != 0).then_some("others can read its key: chmod 600")
}
