//! What can go wrong with the broker, in plain words with what to do. Pure; `link` sorts the client's errors into these kinds.

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DownKind {
    /// Nobody listens on that port.
    Refused,
    /// The name does not resolve.
    NameNotFound,
    /// No route to the address.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Closed by the broker before it accepted us.
    ClosedEarly,
    /// Closed by the broker after it had accepted us.
    Closed,
    /// The line went dead: a ping or a write was not answered.
    KeepAlive,
    /// What was published was not acknowledged in time.
    NoAck,
    /// Wrong user name or password.
    BadLogin,
    /// The broker does not allow this client.
    NotAuthorized,
    /// The broker does not accept the client id.
    BadClientId,
    /// The broker says it is not available.
    ServiceUnavailable,
    /// The broker's certificate is signed by an authority we do not trust.
    TlsUnknownCa,
    /// The broker's certificate is for another name.
    TlsWrongName,
    /// The broker's certificate has expired.
    TlsExpired,
    /// The broker's certificate is not valid yet.
    TlsNotYetValid,
    /// The broker's certificate cannot be used (a CA's own, too old a version, a weak signature …).
    TlsUnfit,
    /// The broker wants a client certificate and got none.
    ClientCertWanted,
    /// The broker does not accept our client certificate.
    ClientCertRejected,
    /// The broker ended the handshake without asking for a certificate of ours: it knows no kind of key, cipher or version that we know.
    TlsNothingInCommon,
    /// The port does not speak TLS, or TLS failed otherwise.
    TlsFailed,
    /// A certificate or key file of ours cannot be used.
    CertificateFiles,
    /// An incoming packet is larger than we take.
    TooLarge,
    /// Anything else that is not MQTT as we know it.
    Protocol,
    /// Our own connection task failed.
    Internal,
}

impl DownKind {
    /// Somebody must change something before another attempt can succeed: no hurry to try again.
    /// A certificate that is not valid *yet* mostly means that our own clock is not set yet, which mends itself.
    pub(super) const fn needs_a_person(self) -> bool {
        match self {
            Self::BadLogin
            | Self::NotAuthorized
            | Self::BadClientId
            | Self::TlsUnknownCa
            | Self::TlsWrongName
            | Self::TlsExpired
            | Self::TlsUnfit
            | Self::ClientCertWanted
            | Self::ClientCertRejected
            | Self::TlsNothingInCommon
            | Self::CertificateFiles => true,
            Self::Refused
            | Self::NameNotFound
            | Self::Unreachable
            | Self::TimedOut
            | Self::ClosedEarly
            | Self::Closed
            | Self::KeepAlive
            | Self::NoAck
            | Self::ServiceUnavailable
            | Self::TlsNotYetValid
            | Self::TlsFailed
            | Self::TooLarge
            | Self::Protocol
            | Self::Internal => false,
        }
    }

    const fn cause(self) -> &'static str {
        match self {
            Self::Refused => "nobody listens there: is the broker running, is the port right?",
            Self::NameNotFound => "the host name is not found: check the name, or use the address",
            Self::Unreachable => "no way to that address: check the network",
            Self::TimedOut => "no answer in time: check address, network and firewall",
            Self::ClosedEarly => {
                "the broker closed the connection before accepting it: is this the port for TLS (mqtts://) or without (mqtt://), \
                 does it want a client certificate?"
            }
            Self::Closed => {
                "the broker closed the connection: it was stopped, or another client uses the same client id (each needs its own)"
            }
            Self::KeepAlive => "the line went silent: a ping was not answered",
            Self::NoAck => "the broker does not acknowledge what is published",
            Self::BadLogin => "the broker refuses user name or password",
            Self::NotAuthorized => {
                "the broker refuses this client: check user name, password and the broker's access rules"
            }
            Self::BadClientId => "the broker does not accept the client id: use letters, digits, - and _",
            Self::ServiceUnavailable => "the broker says that it is not available",
            Self::TlsUnknownCa => "the broker's certificate is not signed by a trusted authority: check ca-file",
            Self::TlsWrongName => "the broker's certificate is for another name: use a name or address it was made for",
            Self::TlsExpired => {
                "the broker's certificate has expired: renew it (or is the clock of this machine wrong?)"
            }
            Self::TlsNotYetValid => {
                "the broker's certificate is not valid yet: the clock of this machine is probably wrong, wait for time synchronisation"
            }
            Self::TlsUnfit => "the broker's certificate cannot be used",
            Self::ClientCertWanted => "the broker wants a client certificate: set client-cert-file and client-key-file",
            Self::ClientCertRejected => {
                "the broker does not accept our client certificate: signed by its authority, not expired?"
            }
            Self::TlsNothingInCommon => {
                "broker and surplusd have no kind of TLS in common: the broker needs TLS 1.2 or 1.3, and a key on P-256 or P-384, Ed25519, \
                 or RSA with 2048 bits or more"
            }
            Self::TlsFailed => "no TLS with the broker: is this its port for TLS?",
            Self::CertificateFiles => "a certificate or key file cannot be used",
            Self::TooLarge => "the broker sent a message of more than 16 MiB",
            Self::Protocol => "the answer is not MQTT 3.1.1",
            Self::Internal => "the connection task failed, this is a bug",
        }
    }
}

/// Why there is no connection, with what the client or the file said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What kind.
    pub kind: DownKind,
    /// The particular, for people; may be empty.
    pub detail: String,
}

impl Trouble {
    /// Trouble without a particular.
    pub const fn plain(kind: DownKind) -> Self {
        Self { kind, detail: String::new() }
    }

    /// Cause and remedy in one sentence.
    pub fn sentence(&self) -> String {
        if self.detail.is_empty() {
            self.kind.cause().to_owned()
        } else {
            format!("{} ({})", self.kind.cause(), self.detail)
        }
    }
}
