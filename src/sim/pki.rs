//! A throw-away certificate authority for the demo's broker and for tests. Its key is discarded once the certificates are signed.
//!
//! Left out: everything that a household's authority needs because it outlives a single run.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Paths of the files. All are PEM; keys are readable by their owner only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pki {
    /// The authority's certificate.
    pub ca_file: PathBuf,
    /// Certificate of the broker, for `localhost`, `127.0.0.1` and `::1`.
    pub server_cert_file: PathBuf,
    /// Private key of the broker.
    pub server_key_file: PathBuf,
    /// Certificate of a client named `gateway`.
    pub client_cert_file: PathBuf,
    /// Private key of that client.
    pub client_key_file: PathBuf,
}

impl Pki {
    /// Creates an authority and one certificate each for broker and client in an existing directory.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let pki = Self {
            ca_file: dir.join("ca.crt"),
            server_cert_file: dir.join("broker.crt"),
            server_key_file: dir.join("broker.key"),
            client_cert_file: dir.join("gateway.crt"),
            client_key_file: dir.join("gateway.key"),
        };
        pki.write().map_err(io::Error::other)?;
        Ok(pki)
    }

    fn write(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut authority = params("surplusd throw-away authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        write(&self.ca_file, 0o644, &authority.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(authority, key);

        let mut server = params("localhost");
        server.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        write(&self.server_cert_file, 0o644, &server.signed_by(&key, &issuer)?.pem())?;
        write(&self.server_key_file, 0o600, &key.serialize_pem())?;

        let mut client = params("gateway");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        write(&self.client_cert_file, 0o644, &client.signed_by(&key, &issuer)?.pem())?;
        write(&self.client_key_file, 0o600, &key.serialize_pem())?;
        Ok(())
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    // Fixed dates: a board without a battery-backed clock may believe that it is years ago.
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params
}

fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_private_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        for key in [&pki.server_key_file, &pki.client_key_file] {
            assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(std::fs::read_to_string(&pki.ca_file).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(Pki::create(dir.path()).is_err());
    }
}
