//! Finds out what is behind a port that does not answer as a broker should, by asking in other ways, once after a failed attempt. Nothing
//! of ours is sent there, neither name nor password.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::mqtt::trouble::{DownKind, Trouble};
use crate::rate::excerpt;

/// Time limit for each question.
const LIMIT: Duration = Duration::from_secs(3);

/// Returns which other protocol is spoken there, if that can be found out.
pub(super) async fn other_language(address: SocketAddr, with_tls: bool) -> Option<Trouble> {
    if !with_tls && timeout(LIMIT, shown_certificates(address)).await.ok()?.is_some() {
        return Some(Trouble::plain(DownKind::WantsTls));
    }
    let begins = timeout(LIMIT, answer_to_http(address)).await.ok()??;
    let detail = if begins.starts_with(b"HTTP/") {
        "it looks like HTTP, as a web server speaks".to_owned()
    } else if begins.starts_with(b"SSH-") {
        "it looks like SSH".to_owned()
    } else if begins.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        format!("it sends {}", excerpt(begins.trim_ascii()))
    } else {
        "it sends bytes that are not text".to_owned()
    };
    Some(Trouble { kind: DownKind::NotMqtt, detail })
}

/// Returns whether anything accepts a TCP connection there.
pub(super) async fn listens(address: SocketAddr) -> bool {
    matches!(timeout(LIMIT, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// Returns the beginning of what a server sends to a web browser; `None` if it sends nothing.
async fn answer_to_http(address: SocketAddr) -> Option<Vec<u8>> {
    let mut socket = TcpStream::connect(address).await.ok()?;
    socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
    let mut begins = vec![0; 64];
    let count = socket.read(&mut begins).await.ok()?;
    begins.truncate(count);
    (count > 0).then_some(begins)
}

/// Returns the certificates that a TLS server shows, none of them verified; `None` if it does not speak TLS.
async fn shown_certificates(address: SocketAddr) -> Option<Vec<CertificateDer<'static>>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let witness = Arc::new(Witness(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(witness)
        .with_no_client_auth();
    let socket = TcpStream::connect(address).await.ok()?;
    let name = ServerName::from(address.ip());
    match TlsConnector::from(Arc::new(config)).connect(name, socket).await {
        Ok(stream) => Some(
            stream.get_ref().1.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect(),
        ),
        // A TLS alert: it speaks TLS, but refuses us.
        Err(error) => {
            let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
            matches!(error, rustls::Error::AlertReceived(_)).then(Vec::new)
        }
    }
}

/// Accepts any certificate, only to look at it, on a connection on which nothing is sent.
#[derive(Debug)]
struct Witness(Arc<CryptoProvider>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
