//! One connection: a task that reaches the broker, then reads, writes and pings until the connection ends, and dies with it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::LinkSetup;
use super::classify::{broken, closed, handshake, reaching, refused};
use super::diagnose::{other_language, short_key};
use crate::config::{MqttConfig, TlsConfig};
use crate::mqtt::trouble::{DownKind, Trouble};
use crate::mqtt::wire::{
    self, DISCONNECT, Greeting, Incoming, Message, PING, SUBSCRIBE_ID, Splitter, next_id, puback, publication,
};

/// Requests to the task: the window of the session, a subscription and a disconnection fit in with room to spare.
const REQUESTS: usize = 64;
/// Packets read ahead.
const PACKETS: usize = 8;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;
/// For the broker's name.
const LOOKUP: Duration = Duration::from_secs(8);
/// For a TCP connection to one address. A lost packet is sent again after 1 and 3 s, so a machine that comes up is met in time.
const REACH: Duration = Duration::from_secs(4);
/// For the TLS handshake, and then for the broker's acceptance.
const ANSWER: Duration = Duration::from_secs(8);
/// For what is written to leave.
const WRITE: Duration = Duration::from_secs(10);
/// For a closing handshake.
const FINISH: Duration = Duration::from_secs(1);

/// What comes from the connection.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The broker's name was resolved: whether all of its addresses are within the household's network.
    Near(bool),
    /// The broker accepted the connection.
    Accepted,
    /// A message of a subscribed topic.
    Message(Message),
    /// The answer to the subscription: for each topic whether it was granted.
    Subscribed(Vec<bool>),
    /// The broker acknowledged this packet id, with this reason code: 0x80 and above is a refusal.
    Acked(u16, u8),
}

enum Request {
    Send(Vec<u8>),
    Disconnect,
}

pub(super) struct Connection {
    requests: mpsc::Sender<Request>,
    arrivals: mpsc::Receiver<Result<Arrival, Trouble>>,
    last_id: u16,
    /// Aborts the task when dropped.
    tasks: JoinSet<()>,
}

impl Connection {
    pub(super) fn open(setup: &LinkSetup) -> Self {
        let (requests, theirs) = mpsc::channel(REQUESTS);
        let (sender, arrivals) = mpsc::channel(PACKETS);
        let mut tasks = JoinSet::new();
        let setup = setup.clone();
        tasks.spawn(async move {
            let out = Out { sender, held_up: false };
            let mut life = Life { setup, requests: theirs, out };
            if let Err(trouble) = life.live().await {
                // The receiver is gone only if nobody wants to know.
                let _ = life.out.sender.send(Err(trouble)).await;
            }
        });
        Self { requests, arrivals, last_id: 0, tasks }
    }

    /// What comes next, or why there is no more. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Arrival, Trouble> {
        self.arrivals.recv().await.unwrap_or_else(|| Err(Trouble::plain(DownKind::Internal)))
    }

    pub(super) fn subscribe(&self, topics: &[String]) -> Result<(), Trouble> {
        self.send(wire::subscribe(topics))
    }

    /// Publishes with `QoS` 1; returns the packet id that will be acknowledged.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<u16, Trouble> {
        self.last_id = next_id(self.last_id);
        self.send(publication(self.last_id, topic, payload, retain))?;
        Ok(self.last_id)
    }

    pub(super) fn disconnect(&self) -> Result<(), Trouble> {
        self.request(Request::Disconnect)
    }

    /// Reads on until the connection is closed, so that the DISCONNECT goes out; not for long.
    pub(super) async fn finish(mut self) {
        let closed = async { while let Some(Ok(_)) = self.arrivals.recv().await {} };
        if timeout(FINISH, closed).await.is_err() {
            tracing::debug!("the broker did not close the connection");
        }
        self.tasks.abort_all();
    }

    fn send(&self, packet: Option<Vec<u8>>) -> Result<(), Trouble> {
        let packet = packet.ok_or_else(|| internal("a topic is too long"))?;
        self.request(Request::Send(packet))
    }

    fn request(&self, request: Request) -> Result<(), Trouble> {
        self.requests.try_send(request).map_err(|error| internal(&error.to_string()))
    }
}

fn internal(detail: &str) -> Trouble {
    Trouble { kind: DownKind::Internal, detail: detail.to_owned() }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where what arrived is handed over.
struct Out {
    sender: mpsc::Sender<Result<Arrival, Trouble>>,
    /// The consumer was slow since this was last looked at: silence is not the broker's fault.
    held_up: bool,
}

impl Out {
    async fn hand(&mut self, arrival: Arrival) -> Result<(), Trouble> {
        let gone = || internal("nobody reads");
        match self.sender.try_send(Ok(arrival)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(arrival)) => {
                self.held_up = true;
                self.sender.send(arrival).await.map_err(|_| gone())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(gone()),
        }
    }
}

/// The life of the task.
struct Life {
    setup: LinkSetup,
    requests: mpsc::Receiver<Request>,
    out: Out,
}

impl Life {
    async fn live(&mut self) -> Result<(), Trouble> {
        let tls = match self.setup.mqtt.tls.clone() {
            Some(tls) => Some(load(tls).await?),
            None => None,
        };
        let (socket, address) = self.reach().await?;
        let opened = async {
            let mut stream = self.secure(socket, tls).await?;
            self.greet(&mut stream).await?;
            Ok(stream)
        };
        let mut stream = match opened.await {
            Ok(stream) => stream,
            Err(trouble) => return Err(self.explained(trouble, address).await),
        };
        self.out.hand(Arrival::Accepted).await?;
        self.converse(&mut stream).await
    }

    /// A TCP connection to the first address that takes one.
    async fn reach(&mut self) -> Result<(TcpStream, SocketAddr), Trouble> {
        let MqttConfig { host, port, .. } = &self.setup.mqtt;
        let unknown = |detail: String| Trouble { kind: DownKind::NameNotFound, detail };
        let found = timeout(LOOKUP, lookup_host((host.as_str(), *port))).await;
        let found = found.map_err(|_| unknown("no answer about the name in time".to_owned()))?;
        let addresses: Vec<SocketAddr> = found.map_err(|error| unknown(error.to_string()))?.collect();
        self.out.hand(Arrival::Near(addresses.iter().all(|address| is_near(address.ip())))).await?;
        let mut trouble = unknown("the name has no address".to_owned());
        for address in addresses {
            match timeout(REACH, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => {
                    let _ = socket.set_nodelay(true); // without it everything is a little later, nothing else
                    return Ok((socket, address));
                }
                Ok(Err(error)) => trouble = reaching(&error),
                Err(_) => trouble = Trouble::plain(DownKind::TimedOut),
            }
        }
        Err(trouble)
    }

    async fn secure(&self, socket: TcpStream, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Stream>, Trouble> {
        let Some(config) = tls else { return Ok(Box::new(socket)) };
        let host = &self.setup.mqtt.host;
        let name = ServerName::try_from(host.clone())
            .map_err(|error| Trouble { kind: DownKind::TlsWrongName, detail: format!("{host:?}: {error}") })?;
        let stream = timeout(ANSWER, TlsConnector::from(config).connect(name, socket)).await;
        let stream = stream.map_err(|_| Trouble::plain(DownKind::NoGreeting))?;
        Ok(Box::new(stream.map_err(|error| handshake(&error))?))
    }

    /// CONNECT, and the wait for CONNACK.
    async fn greet(&self, stream: &mut Box<dyn Stream>) -> Result<(), Trouble> {
        let mqtt = &self.setup.mqtt;
        let password = mqtt.password.as_ref().map_or("", |password| password.0.as_str());
        let greeting = Greeting {
            client_id: &mqtt.client_id,
            keep_alive_s: mqtt.keep_alive_s.max(1),
            will: self.setup.status_topic.as_deref().map(|topic| (topic, "offline")),
            login: mqtt.username.as_ref().map(|username| (username.0.as_str(), password)),
        };
        let greeting = wire::connect(&greeting).ok_or_else(|| internal("user name or password is too long"))?;
        write(stream, &greeting, false).await?;
        let mut splitter = Splitter::default();
        let answer = async {
            // Byte by byte: what follows the answer stays where it is.
            let mut byte = [0];
            loop {
                match stream.read(&mut byte).await {
                    Ok(0) => return Err(closed(false)),
                    Ok(_) => {}
                    Err(error) => return Err(broken(&error, false)),
                }
                if let Some(packet) = splitter.next(&mut &byte[..]).map_err(protocol)? {
                    return Ok(packet);
                }
            }
        };
        let answer = timeout(ANSWER, answer).await.map_err(|_| Trouble::plain(DownKind::NoGreeting))??;
        match answer {
            Incoming::ConnAck(0) => Ok(()),
            Incoming::ConnAck(code) => Err(refused(code)),
            Incoming::Publish(_) | Incoming::PubAck(..) | Incoming::SubAck(..) | Incoming::Pong => {
                Err(Trouble { kind: DownKind::Protocol, detail: "it did not answer the greeting".to_owned() })
            }
        }
    }

    /// A better explanation of a failed opening, if one is found by asking in another way.
    async fn explained(&self, trouble: Trouble, address: SocketAddr) -> Trouble {
        let tls = self.setup.mqtt.tls.as_ref();
        let odd = [DownKind::ClosedEarly, DownKind::NoGreeting, DownKind::Protocol, DownKind::TlsFailed];
        let better = if odd.contains(&trouble.kind) {
            other_language(address, tls.is_some()).await
        } else if let (DownKind::TlsUnknownCa, Some(tls)) = (trouble.kind, tls) {
            // A signature that does not fit has two causes.
            short_key(address, tls).await
        } else {
            None
        };
        better.unwrap_or(trouble)
    }

    /// Until the connection ends. `Ok` after a farewell.
    async fn converse(&mut self, stream: &mut Box<dyn Stream>) -> Result<(), Trouble> {
        let mut splitter = Splitter::default();
        let keep_alive = Duration::from_secs(u64::from(self.setup.mqtt.keep_alive_s.max(1)));
        let mut ping_due: std::pin::Pin<Box<Sleep>> = Box::pin(sleep(keep_alive));
        let mut pinged = false;
        let mut chunk = vec![0; CHUNK];
        loop {
            tokio::select! {
                read = stream.read(&mut chunk) => {
                    let count = read.map_err(|error| broken(&error, true))?;
                    let mut bytes = chunk.get(..count).unwrap_or_default();
                    if bytes.is_empty() {
                        return Err(closed(true));
                    }
                    pinged = false;
                    let mut answers = Vec::new();
                    while !bytes.is_empty() {
                        if let Some(packet) = splitter.next(&mut bytes).map_err(protocol)? {
                            self.take(packet, &mut answers).await?;
                        }
                    }
                    write(stream, &answers, true).await?;
                }
                request = self.requests.recv() => match request {
                    Some(Request::Send(packet)) => write(stream, &packet, true).await?,
                    Some(Request::Disconnect) | None => {
                        write(stream, &DISCONNECT, true).await?;
                        let _ = timeout(FINISH, stream.shutdown()).await; // the broker has what it needs
                        return Ok(());
                    }
                },
                () = &mut ping_due => {
                    if pinged && !std::mem::take(&mut self.out.held_up) {
                        return Err(Trouble::plain(DownKind::KeepAlive));
                    }
                    write(stream, &PING, true).await?;
                    pinged = true;
                    ping_due = Box::pin(sleep(keep_alive));
                }
            }
        }
    }

    async fn take(&mut self, packet: Incoming, answers: &mut Vec<u8>) -> Result<(), Trouble> {
        let arrival = match packet {
            Incoming::Publish(message) => {
                if let Some(id) = message.id {
                    answers.extend(puback(id));
                }
                Arrival::Message(message)
            }
            Incoming::SubAck(SUBSCRIBE_ID, granted) => Arrival::Subscribed(granted),
            Incoming::PubAck(id, reason) => Arrival::Acked(id, reason),
            Incoming::SubAck(..) | Incoming::Pong => return Ok(()),
            Incoming::ConnAck(_) => {
                return Err(Trouble {
                    kind: DownKind::Protocol,
                    detail: "it accepted the connection twice".to_owned(),
                });
            }
        };
        self.out.hand(arrival).await
    }
}

async fn write(stream: &mut Box<dyn Stream>, bytes: &[u8], accepted: bool) -> Result<(), Trouble> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    match timeout(WRITE, written).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(broken(&error, accepted)),
        Err(_) => Err(Trouble::plain(DownKind::KeepAlive)),
    }
}

fn protocol(error: wire::WireError) -> Trouble {
    Trouble { kind: DownKind::Protocol, detail: error.to_string() }
}

/// Reads the certificate files on a thread that may block.
async fn load(tls: TlsConfig) -> Result<Arc<ClientConfig>, Trouble> {
    let loaded = tokio::task::spawn_blocking(move || crate::tls::client_config(&tls)).await;
    match loaded {
        Ok(Ok(config)) => Ok(config),
        Ok(Err(error)) => Err(Trouble { kind: DownKind::CertificateFiles, detail: error.to_string() }),
        Err(error) => Err(internal(&error.to_string())),
    }
}

/// Whether a name, before it is resolved, is most likely one of the household's own network.
pub(super) fn is_near_name(host: &str) -> bool {
    if let Ok(address) = host.parse() {
        return is_near(address);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ends = [".local", ".lan", ".home", ".internal", ".localhost", ".home.arpa", ".fritz.box"];
    !host.contains('.') || ends.iter().any(|end| host.ends_with(end))
}

/// Whether an address is one of the household's own network.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}
