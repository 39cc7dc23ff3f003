//! A small MQTT 3.1.1 broker with or without TLS, for the demo and for fault tests.
//!
//! Supports retained messages, wills, wildcards, `QoS` 0 and 1, and take-over of a client identifier. Left out: sessions that outlive their
//! connection (each CONNECT is answered with "no session present"), redelivery (a `QoS` 1 message is sent once), `QoS` 2 (a client that
//! sends one is disconnected, a subscription to it is granted `QoS` 1), and access rules beyond one user name and password.

mod connection;
mod state;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::connection::Connection;
use self::state::State;

/// Messages queued for a subscriber within the program; when the queue is full, new ones are lost.
const LOCAL_MAX: usize = 1_024;

/// How the broker can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerOptions {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `None`: plain MQTT.
    pub tls: Option<BrokerTls>,
    /// User name and password that every client must present; `None`: no login.
    pub login: Option<(String, String)>,
}

impl BrokerOptions {
    /// Plain MQTT on a free port of 127.0.0.1, without login.
    pub fn plain() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), tls: None, login: None }
    }

    /// TLS with this certificate on a free port of 127.0.0.1, without login.
    pub fn tls(cert_file: PathBuf, key_file: PathBuf) -> Self {
        Self { tls: Some(BrokerTls { cert_file, key_file, client_ca_file: None }), ..Self::plain() }
    }
}

/// The broker's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerTls {
    /// The broker's certificate, PEM.
    pub cert_file: PathBuf,
    /// The broker's private key, PEM.
    pub key_file: PathBuf,
    /// Clients must present a certificate of this authority; `None`: none needed.
    pub client_ca_file: Option<PathBuf>,
}

/// A message as seen by a subscriber within the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// The flag as published (not as forwarded to clients, which see it only on messages stored before they subscribed).
    pub retain: bool,
}

/// A running broker. Dropping it closes all connections without sending wills.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    deaf: watch::Sender<bool>,
    /// The one task that accepts connections; it owns their tasks.
    _accept: JoinSet<()>,
}

/// State shared by all connections.
#[derive(Debug, Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    deaf: watch::Receiver<bool>,
    login: Option<(String, String)>,
}

impl Broker {
    /// Starts listening. Fails if the address is in use or a certificate cannot be used.
    pub async fn start(options: BrokerOptions) -> io::Result<Self> {
        let acceptor = options.tls.as_ref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let (deaf, hears) = watch::channel(false);
        let shared = Shared { state: Arc::clone(&state), deaf: hears, login: options.login };
        let mut task = JoinSet::new();
        task.spawn(accept(listener, acceptor, shared));
        Ok(Self { address, state, deaf, _accept: task })
    }

    /// The address that the broker listens on.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The TCP port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Publishes a message from within the program.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        self.state().publish(&Message { topic: topic.to_owned(), payload: payload.into(), retain });
    }

    /// Receives all messages published from now on that match the filter, whoever sends them. With 1024 unread messages, new ones are lost.
    pub fn listen(&self, filter: &str) -> mpsc::Receiver<Message> {
        let (sender, receiver) = mpsc::channel(LOCAL_MAX);
        self.state().listen(filter.to_owned(), sender);
        receiver
    }

    /// The retained message of a topic.
    pub fn retained(&self, topic: &str) -> Option<Vec<u8>> {
        self.state().retained(topic)
    }

    /// Identifiers of the connected clients.
    pub fn clients(&self) -> Vec<String> {
        self.state().clients()
    }

    /// The subscriptions of a client, in alphabetical order; empty if it is not connected.
    pub fn subscriptions(&self, client: &str) -> Vec<String> {
        self.state().subscriptions(client)
    }

    /// Cuts all connections without DISCONNECT; wills are sent. Clients may reconnect at once.
    pub fn cut_all(&self) {
        self.state().cut_all();
    }

    /// While deaf, the broker neither reads, writes nor accepts logins; connections stay open.
    pub fn set_deaf(&self, deaf: bool) {
        self.deaf.send_replace(deaf);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Maximum number of open connections; further ones are closed at once.
const CONNECTIONS_MAX: usize = 256;

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    let (shared, acceptor) = (shared.clone(), acceptor.clone());
                    connections.spawn(async move {
                        stream.set_nodelay(true).ok();
                        match acceptor {
                            None => Connection::serve(stream, shared).await,
                            Some(acceptor) => match acceptor.accept(stream).await {
                                Ok(stream) => Connection::serve(stream, shared).await,
                                Err(error) => tracing::debug!(%error, "TLS handshake with the simulated broker failed"),
                            },
                        }
                    });
                }
                // Too many, or gone before it was accepted.
                Ok(_) => {}
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn acceptor(tls: &BrokerTls) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(&tls.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(io::Error::other)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file).map_err(io::Error::other)?).map_err(io::Error::other)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(io::Error::other)?)
        }
    };
    let config = builder.with_single_cert(chain, key).map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
