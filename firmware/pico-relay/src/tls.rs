//! TLS to the broker. The broker must show a certificate from the household's authority for the host name in the settings, and the relay
//! shows its own. Neither can be bypassed.
//!
//! Mbed TLS instead of a client in pure Rust: the one available for this processor (embedded-tls 0.19) accepts a server that shows no
//! certificate at all, and accepts the certificate of any device of the household as an authority. Both were tried, and Mbed TLS refuses
//! both. Its price is some 190 kB of flash and a C library. Dates of certificates are not checked, as the relay has no clock that it could
//! trust; a lost key must be locked out at the broker.

use core::ffi::CStr;
use core::fmt;

use embassy_net::tcp::TcpSocket;
use heapless::{CapacityError, Vec};
use mbedtls_rs::{
    Certificate, ClientSessionConfig, Credentials, PrivateKey, Session, SessionConfig, SessionError, TlsVersion, X509,
};
use rand_chacha::ChaCha20Rng;
use relay_link::settings::Settings;
use static_cell::StaticCell;

use crate::libc;

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum TlsFault {
    /// The host, authority, certificate or key in the settings.
    Settings(&'static str),
    /// The other side or the connection.
    Session(SessionError),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(what) => write!(f, "the {what} in the settings cannot be used"),
            Self::Session(error) => write!(f, "{error:?}"),
        }
    }
}

/// The relay's own credentials and the authority it trusts; read once.
pub(crate) struct Identity {
    tls: mbedtls_rs::Tls<'static>,
    host: Vec<u8, 254>,
    authority: Certificate<'static>,
    credentials: Credentials<'static>,
}

impl Identity {
    /// Reads the identity from the settings.
    pub(crate) fn new(settings: &Settings<'static>, generator: ChaCha20Rng) -> Result<Self, TlsFault> {
        static GENERATOR: StaticCell<ChaCha20Rng> = StaticCell::new();
        libc::init();
        let tls = mbedtls_rs::Tls::new(GENERATOR.init(generator)).map_err(|_| TlsFault::Settings("library"))?;
        let mut host = Vec::new();
        host.extend_from_slice(settings.host.as_bytes())
            .and_then(|()| host.push(0).map_err(|_| CapacityError::default()))
            .map_err(|_| TlsFault::Settings("host"))?;
        let certificate = |name, der| Certificate::new_no_copy(der).map_err(|_| TlsFault::Settings(name));
        let private_key = PrivateKey::new(X509::DER(settings.key), None).map_err(|_| TlsFault::Settings("key"))?;
        Ok(Self {
            tls,
            host,
            authority: certificate("authority", settings.authority)?,
            credentials: Credentials { certificate: certificate("certificate", settings.certificate)?, private_key },
        })
    }

    /// Performs the handshake.
    pub(crate) async fn connect<'a>(&'a self, socket: TcpSocket<'a>) -> Result<Session<'a, TcpSocket<'a>>, TlsFault> {
        let mut config = ClientSessionConfig::new();
        config.ca_chain = Some(self.authority.clone());
        config.creds = Some(self.credentials.clone());
        config.server_name = Some(CStr::from_bytes_with_nul(&self.host).map_err(|_| TlsFault::Settings("host"))?);
        // Every Mosquitto still maintained supports it, so the weaknesses of older versions need not be considered.
        config.min_version = TlsVersion::Tls1_3;
        let config = SessionConfig::Client(config);
        let mut session = Session::new(self.tls.reference(), socket, &config).map_err(TlsFault::Session)?;
        session.connect().await.map_err(TlsFault::Session)?;
        Ok(session)
    }
}
