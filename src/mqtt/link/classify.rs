//! Errors of the connection to kinds of trouble. Some causes are buried in an I/O error, some only in text.

use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use crate::mqtt::trouble::{DownKind, Trouble};

/// What became of one address of the broker.
pub(super) fn reaching(error: &io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        Trouble::plain(DownKind::Refused)
    } else if error.kind() == io::ErrorKind::TimedOut {
        Trouble::plain(DownKind::TimedOut)
    } else {
        Trouble { kind: DownKind::Unreachable, detail: error.to_string() }
    }
}

/// What ended a TLS handshake.
pub(super) fn handshake(error: &io::Error) -> Trouble {
    if let Some(error) = rustls_error(error) {
        return tls(error);
    }
    let detail = if is_end(error) { "it closed the connection in the middle".to_owned() } else { error.to_string() };
    Trouble { kind: DownKind::TlsFailed, detail }
}

/// What ended an open connection, before or after the broker `accepted` it.
pub(super) fn broken(error: &io::Error, accepted: bool) -> Trouble {
    if let Some(error) = rustls_error(error) {
        return tls(error);
    }
    if is_end(error) {
        return closed(accepted);
    }
    if error.kind() == io::ErrorKind::TimedOut {
        Trouble::plain(DownKind::KeepAlive)
    } else {
        Trouble { kind: DownKind::Unreachable, detail: error.to_string() }
    }
}

/// The broker closed the connection.
pub(super) const fn closed(accepted: bool) -> Trouble {
    Trouble::plain(if accepted { DownKind::Closed } else { DownKind::ClosedEarly })
}

/// The return code of a CONNACK that is not 0 (MQTT 3.1.1, table 3.1).
pub(super) fn refused(code: u8) -> Trouble {
    match code {
        2 => Trouble::plain(DownKind::BadClientId),
        3 => Trouble::plain(DownKind::ServiceUnavailable),
        4 => Trouble::plain(DownKind::BadLogin),
        5 => Trouble::plain(DownKind::NotAuthorized),
        code => Trouble { kind: DownKind::Protocol, detail: format!("it refuses with code {code}") },
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

/// The TLS error that an I/O error carries.
fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn tls(error: &rustls::Error) -> Trouble {
    use PeerIncompatible as P;
    let kind = if let rustls::Error::InvalidCertificate(cause) = error {
        certificate(cause)
    } else if let rustls::Error::AlertReceived(alert) = error {
        alert_kind(*alert)
    } else if let rustls::Error::PeerIncompatible(P::ServerDoesNotSupportTls12Or13) = error {
        DownKind::TlsTooOld
    } else {
        DownKind::TlsFailed
    };
    Trouble { kind, detail: error.to_string() }
}

fn certificate(cause: &CertificateError) -> DownKind {
    use CertificateError as E;
    if matches!(cause, E::UnknownIssuer | E::BadSignature) {
        DownKind::TlsUnknownCa
    } else if matches!(cause, E::NotValidForName | E::NotValidForNameContext { .. }) {
        DownKind::TlsWrongName
    } else if matches!(cause, E::Expired | E::ExpiredContext { .. }) {
        DownKind::TlsExpired
    } else if matches!(cause, E::NotValidYet | E::NotValidYetContext { .. }) {
        DownKind::TlsNotYetValid
    } else if matches!(
        cause,
        E::UnsupportedSignatureAlgorithmContext { .. } | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    ) {
        DownKind::TlsAlgorithm
    } else {
        DownKind::TlsUnfit
    }
}

/// What the broker thinks of our certificate, or of the handshake. TLS 1.2 has no alert of its own for a missing certificate.
fn alert_kind(alert: AlertDescription) -> DownKind {
    use AlertDescription as A;
    if matches!(alert, A::CertificateRequired | A::NoCertificate) {
        DownKind::ClientCertWanted
    } else if alert == A::ProtocolVersion {
        DownKind::TlsTooOld
    } else if alert == A::HandshakeFailure {
        DownKind::TlsRefused
    } else if matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::DecryptError
    ) {
        DownKind::ClientCertRejected
    } else {
        DownKind::TlsFailed
    }
}
