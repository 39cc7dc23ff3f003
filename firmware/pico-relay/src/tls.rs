//! TLS to the broker: the broker must show a certificate of the household's authority that carries the host name from the settings, and the
//! relay shows its own. There is no way around either of the two.
//!
//! Mbed TLS, not a client in pure Rust: the one there is for this processor (embedded-tls 0.19) takes a server for good that shows no
//! certificate at all, and takes the certificate of any device of the household for an authority. Both were tried, and Mbed TLS refuses
//! both. Its price is some 190 kB of flash and a library in C. Dates of certificates are not checked, as the relay has no clock that it
//! could trust; a key that got lost is locked out at the broker.

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
    /// The settings' host, authority, certificate or key.
    Settings(&'static str),
    /// The other side, or the connection.
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

/// Who the relay is, and whom it believes; read once.
pub(crate) struct Identity {
    tls: mbedtls_rs::Tls<'static>,
    host: Vec<u8, 254>,
    authority: Certificate<'static>,
    credentials: Credentials<'static>,
}

impl Identity {
    /// Of the settings.
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

    /// Shakes hands.
    pub(crate) async fn connect<'a>(&'a self, socket: TcpSocket<'a>) -> Result<Session<'a, TcpSocket<'a>>, TlsFault> {
        let mut config = ClientSessionConfig::new();
        config.ca_chain = Some(self.authority.clone());
        config.creds = Some(self.credentials.clone());
        config.server_name = Some(CStr::from_bytes_with_nul(&self.host).map_err(|_| TlsFault::Settings("host"))?);
        // Every Mosquitto that is still looked after speaks it; what older versions allow need not be thought about.
        config.min_version = TlsVersion::Tls1_3;
        let config = SessionConfig::Client(config);
        let mut session = Session::new(self.tls.reference(), socket, &config).map_err(TlsFault::Session)?;
        session.connect().await.map_err(TlsFault::Session)?;
        Ok(session)
    }
}
