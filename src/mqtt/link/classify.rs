//! Sorts the client's errors into kinds of trouble. Some causes are buried three levels deep, some are found only in text.

use std::io;

use rumqttc::mqttbytes;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError};
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use crate::mqtt::trouble::{DownKind, Trouble};

/// Classifies an error that came before or after the broker `accepted` the connection, with or without TLS.
pub(super) fn classify(error: &ConnectionError, accepted: bool, is_tls: bool) -> Trouble {
    let at = Stage { accepted, is_tls };
    match error {
        ConnectionError::MqttState(error) => at.state(error),
        ConnectionError::NetworkTimeout => Trouble::plain(DownKind::TimedOut),
        ConnectionError::FlushTimeout => Trouble::plain(DownKind::KeepAlive),
        ConnectionError::Tls(TlsError::Io(error)) => at.handshake(error),
        ConnectionError::Tls(TlsError::TLS(error)) => tls(error),
        ConnectionError::Tls(error) => Trouble { kind: DownKind::TlsFailed, detail: error.to_string() },
        ConnectionError::Io(error) => at.io(error),
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::NotConnAck(_) => Trouble { kind: DownKind::Protocol, detail: "no CONNACK".to_owned() },
        ConnectionError::RequestsDone => Trouble { kind: DownKind::Internal, detail: error.to_string() },
    }
}

struct Stage {
    accepted: bool,
    is_tls: bool,
}

impl Stage {
    fn closed(&self) -> Trouble {
        Trouble::plain(if self.accepted { DownKind::Closed } else { DownKind::ClosedEarly })
    }

    fn state(&self, error: &StateError) -> Trouble {
        match error {
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)) => self.io(error),
            StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(_)) if self.accepted => {
                Trouble::plain(DownKind::TooLarge)
            }
            StateError::AwaitPingResp | StateError::CollisionTimeout => Trouble::plain(DownKind::KeepAlive),
            StateError::ConnectionAborted => self.closed(),
            StateError::InvalidState
            | StateError::Unsolicited(_)
            | StateError::WrongPacket
            | StateError::EmptySubscription
            | StateError::Deserialization(_) => Trouble { kind: DownKind::Protocol, detail: error.to_string() },
        }
    }

    fn handshake(&self, error: &io::Error) -> Trouble {
        if rustls_error(error).is_none() && is_end(error) {
            return Trouble { kind: DownKind::TlsFailed, detail: "it closed the connection in the middle".to_owned() };
        }
        self.io(error)
    }

    fn io(&self, error: &io::Error) -> Trouble {
        if let Some(error) = rustls_error(error) {
            return tls(error);
        }
        if is_end(error) {
            return self.closed();
        }
        let text = error.to_string();
        // The connection ended in the middle of a packet.
        if text.contains("bytes remaining on stream") {
            return self.closed();
        }
        let is = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
        let kind = if is(&[io::ErrorKind::ConnectionRefused]) {
            DownKind::Refused
        } else if is(&[io::ErrorKind::TimedOut]) {
            if self.accepted { DownKind::KeepAlive } else { DownKind::TimedOut }
        } else if text.contains("failed to lookup address") || text.contains("could not resolve") {
            // The resolver's errors have no kind of their own, only these texts from the standard library and the client.
            DownKind::NameNotFound
        } else if self.is_tls && !self.accepted && is(&[io::ErrorKind::InvalidData, io::ErrorKind::Other]) {
            DownKind::TlsFailed
        } else {
            DownKind::Unreachable
        };
        let known = matches!(kind, DownKind::Refused | DownKind::TimedOut);
        Trouble { kind, detail: if known { String::new() } else { text } }
    }
}

fn refused(code: ConnectReturnCode) -> Trouble {
    match code {
        ConnectReturnCode::BadUserNamePassword => Trouble::plain(DownKind::BadLogin),
        ConnectReturnCode::NotAuthorized => Trouble::plain(DownKind::NotAuthorized),
        ConnectReturnCode::BadClientId => Trouble::plain(DownKind::BadClientId),
        ConnectReturnCode::ServiceUnavailable => Trouble::plain(DownKind::ServiceUnavailable),
        ConnectReturnCode::RefusedProtocolVersion => Trouble::plain(DownKind::OtherVersion),
        ConnectReturnCode::Success => Trouble { kind: DownKind::Protocol, detail: format!("{code:?}") },
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

/// Returns the TLS error inside an I/O error.
fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn tls(error: &rustls::Error) -> Trouble {
    if let Some(refused) = crate::tls::refused(error) {
        return Trouble { kind: DownKind::TlsUnfit, detail: refused.to_string() };
    }
    let kind = if let rustls::Error::InvalidCertificate(cause) = error {
        certificate(cause)
    } else if let rustls::Error::AlertReceived(alert) = error {
        alert_kind(*alert)
    } else if let rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) = error {
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
    } else {
        DownKind::TlsUnfit
    }
}

/// Tells what the broker's alert says about our certificate. TLS 1.2 has no separate alert for a missing one.
fn alert_kind(alert: AlertDescription) -> DownKind {
    use AlertDescription as A;
    if alert == A::ProtocolVersion {
        DownKind::TlsTooOld
    } else if matches!(alert, A::CertificateRequired | A::NoCertificate | A::HandshakeFailure) {
        DownKind::ClientCertWanted
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
