//! What can go wrong with the broker connection, in plain words and with the remedy. Pure; `link` sorts the client's errors into these
//! kinds.

use crate::config::visible_start;

/// Number of characters shown of a detail.
const DETAIL_MAX: usize = 300;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DownKind {
    /// Nothing listens on that port.
    Refused,
    /// The name does not resolve.
    NameNotFound,
    /// No route to the address.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The port accepts connections, but nothing there answers as a broker does.
    NoGreeting,
    /// The server there does not speak MQTT, or does not speak TLS.
    NotMqtt,
    /// The port speaks TLS, but was addressed without.
    WantsTls,
    /// The broker closed the connection before accepting us.
    ClosedEarly,
    /// The broker closed the connection after accepting us.
    Closed,
    /// The connection went dead: a ping or a write was not answered.
    KeepAlive,
    /// A publication or subscription was not acknowledged in time.
    NoAck,
    /// Wrong user name or password.
    BadLogin,
    /// The broker does not allow this client.
    NotAuthorized,
    /// The broker does not accept the client id.
    BadClientId,
    /// The broker reports that it is not available.
    ServiceUnavailable,
    /// The broker does not accept MQTT 3.1.1 clients.
    OtherVersion,
    /// The broker's certificate is signed by an authority we do not trust.
    TlsUnknownCa,
    /// The broker's certificate is for another name.
    TlsWrongName,
    /// The broker's certificate has expired.
    TlsExpired,
    /// The broker's certificate is not valid yet.
    TlsNotYetValid,
    /// The broker's certificate cannot be used (a CA's own, too old a version …).
    TlsUnfit,
    /// The broker speaks only TLS versions before 1.2.
    TlsTooOld,
    /// The broker requires a client certificate and got none.
    ClientCertWanted,
    /// The broker does not accept our client certificate.
    ClientCertRejected,
    /// The broker ended the handshake without asking for our certificate: we share no kind of key, cipher or version.
    TlsNothingInCommon,
    /// The broker sent a packet above the size limit.
    TooLarge,
    /// The port does not speak TLS, or TLS failed otherwise.
    TlsFailed,
    /// One of our certificate or key files cannot be used.
    CertificateFiles,
    /// Anything else that is not MQTT as we know it.
    Protocol,
    /// Our own connection task failed.
    Internal,
}

impl DownKind {
    /// Returns whether somebody must change something before another attempt can succeed, so that there is no hurry to retry. A certificate
    /// that is not valid *yet* mostly means that our own clock is not set yet, which resolves itself.
    pub(super) const fn needs_a_person(self) -> bool {
        match self {
            Self::BadLogin
            | Self::NotAuthorized
            | Self::BadClientId
            | Self::OtherVersion
            | Self::TlsUnknownCa
            | Self::TlsWrongName
            | Self::TlsExpired
            | Self::TlsUnfit
            | Self::TlsTooOld
            | Self::WantsTls
            | Self::ClientCertWanted
            | Self::ClientCertRejected
            | Self::TlsNothingInCommon
            | Self::CertificateFiles => true,
            Self::Refused
            | Self::NameNotFound
            | Self::Unreachable
            | Self::TimedOut
            | Self::NoGreeting
            | Self::NotMqtt
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

    /// Returns whether the trouble may end soon: the broker's machine or program is probably being restarted, or hangs, and retrying early
    /// costs nobody anything.
    pub(super) const fn may_end_soon(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::NameNotFound
                | Self::Unreachable
                | Self::TimedOut
                | Self::ServiceUnavailable
                // A broker that hangs accepts connections and sends nothing.
                | Self::NoGreeting
                | Self::NoAck
                | Self::KeepAlive
        )
    }

    const fn cause(self) -> &'static str {
        match self {
            Self::Refused => "nothing is listening there: is the broker running, and is the port right?",
            Self::NameNotFound => "the host name is not found: check the name, or use the address",
            Self::Unreachable => "no route to that address: check the network",
            Self::TimedOut => "no answer in time: check address, network and firewall",
            Self::NoGreeting => {
                "something takes connections there but does not answer as a broker does: does the broker hang, or is this not its port \
                 (usually 8883 with TLS, 1883 without)?"
            }
            Self::NotMqtt => {
                "what answers there is no MQTT broker: is this the broker's port (usually 8883 with TLS, 1883 without)?"
            }
            Self::WantsTls => "this port speaks TLS: write mqtts:// in the url, or use the broker's port without TLS",
            Self::ClosedEarly => {
                "the broker closed the connection before accepting it: is this the port for TLS (mqtts://) or without (mqtt://), \
                 does it want a client certificate?"
            }
            Self::Closed => {
                "the broker closed the connection: it was stopped, or another client uses the same client id (each needs its own)"
            }
            Self::KeepAlive => "the connection went silent: a ping was not answered",
            Self::NoAck => "the broker does not acknowledge what is published and subscribed",
            Self::BadLogin => {
                "the broker refuses the user name or the password: check them, and restart surplusd after changing its password file"
            }
            Self::NotAuthorized => {
                "the broker refuses this client: check user name, password and the broker's access rules; restart surplusd after changing \
                 its password file"
            }
            Self::BadClientId => "the broker does not accept the client id: use letters, digits, - and _",
            Self::ServiceUnavailable => "the broker says that it is not available",
            Self::OtherVersion => {
                "the broker does not take clients of MQTT 3.1.1: allow that version in its configuration"
            }
            Self::TlsUnknownCa => "the broker's certificate is not signed by a trusted authority: check ca-file",
            Self::TlsWrongName => "the broker's certificate is for another name: use a name or address it was made for",
            Self::TlsExpired => {
                "the broker's certificate has expired: renew it (or is the clock of this machine wrong?)"
            }
            Self::TlsNotYetValid => {
                "the broker's certificate is not valid yet: the clock of this machine is probably wrong, wait for time synchronisation"
            }
            Self::TlsUnfit => "the broker's certificate cannot be used",
            Self::TlsTooOld => {
                "the broker speaks only an old version of TLS: allow TLS 1.2 or 1.3 in its configuration"
            }
            Self::ClientCertWanted => "the broker wants a client certificate: set client-cert-file and client-key-file",
            Self::ClientCertRejected => {
                "the broker does not accept our client certificate: is it signed by the broker's authority, and not expired?"
            }
            Self::TlsNothingInCommon => {
                "broker and surplusd have no kind of TLS in common: the broker needs TLS 1.2 or 1.3, and a key on P-256 or P-384, Ed25519, \
                 or RSA with 2048 bits or more"
            }
            Self::TlsFailed => "TLS with the broker failed: is this its port for TLS?",
            Self::CertificateFiles => "a certificate or key file cannot be used",
            Self::TooLarge => {
                "the broker sent a message of more than 16 MiB on one of the topics that surplusd reads: the topics are subscribed one by \
                 one to find out which"
            }
            Self::Protocol => "the answer is not MQTT 3.1.1",
            Self::Internal => "the connection task failed: this is a bug",
        }
    }
}

/// Why there is no connection, with the words of the client or the file error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The kind of trouble.
    pub kind: DownKind,
    /// The detail, for people; may be empty.
    pub detail: String,
}

impl Trouble {
    /// Creates trouble without a detail.
    pub const fn plain(kind: DownKind) -> Self {
        Self { kind, detail: String::new() }
    }

    /// Returns cause and remedy in one sentence. The detail may be the other side's words: it is cut, and all of its characters are made
    /// visible.
    pub fn sentence(&self) -> String {
        if self.detail.is_empty() {
            return self.kind.cause().to_owned();
        }
        format!("{} ({})", self.kind.cause(), visible_start(&self.detail, DETAIL_MAX))
    }
}

/// Returns cause and remedy for topics that are left out because of a message that is too large.
pub fn left_out(topics: &[String]) -> String {
    let list = topics.join(", ");
    let delete: Vec<String> = topics.iter().map(|topic| format!("`mosquitto_pub -r -n -t {topic}`")).collect();
    format!(
        "{list}: a message of more than 16 MiB ends the connection, so nothing is read there; surplusd tries again every hour. Delete the \
         message ({})",
        delete.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::unseen;

    #[test]
    fn the_other_sides_words_are_cut_and_harmless() {
        let trouble = Trouble { kind: DownKind::Protocol, detail: format!("\u{1b}[2J\n{}", "é".repeat(100_000)) };
        let sentence = trouble.sentence();
        assert!(sentence.starts_with("the answer is not MQTT 3.1.1 (\\u{1b}[2J\\u{a}é"), "{sentence}");
        assert!(sentence.chars().count() < 400 && !sentence.chars().any(unseen));
        // As in the name in a broker's certificate.
        let trouble = Trouble { kind: DownKind::TlsUnfit, detail: "\u{202e}kcatta\u{200b}\u{9b}".to_owned() };
        let sentence = trouble.sentence();
        assert!(sentence.ends_with("(\\u{202e}kcatta\\u{200b}\\u{9b})"), "{sentence}");
    }
}
