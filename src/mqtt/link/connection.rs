//! One connection: a client and its event loop, polled by a task that does nothing else and dies with the connection.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing, Packet, Publish,
    QoS, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::LinkSetup;
use super::address::{is_near, resolve, taker};
use super::classify::classify;
use super::diagnose::{listens, other_language};
use crate::config::{MqttConfig, TlsConfig};
use crate::mqtt::trouble::{DownKind, Trouble};
use crate::tls::Client;

#[cfg(test)]
mod tests;

/// Capacity of the request queue to the event loop: the session's window, a subscription and a disconnection fit in with room to spare.
const REQUESTS: usize = 64;
/// Number of packets read ahead; few, as each may be as large as the limit.
const PACKETS: usize = 8;
/// Largest packet accepted; larger ones end the connection. Only exact topics are subscribed, none of which needs more than a few bytes.
const INCOMING_MAX: usize = 16 * 1024 * 1024;
/// Largest packet sent.
const OUTGOING_MAX: usize = 256 * 1024;
/// Time for TCP, TLS and acceptance together, in seconds: for a broker in the household's own network, where a machine that comes up should
/// be noticed soon, and for one elsewhere.
const CONNECT_NEAR_S: u64 = 6;
const CONNECT_S: u64 = 10;
/// How long closing the connection may take.
const FINISH: Duration = Duration::from_secs(1);

/// An event from the connection.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The broker's name was resolved: whether all its addresses are in the household's network.
    Near(bool),
    /// The broker accepted the connection.
    Accepted,
    /// A message on a subscribed topic.
    Message(Publish),
    /// The answer to the subscription; for each topic, whether it was granted.
    Subscribed(Vec<bool>),
    /// The broker acknowledged the publication with this number.
    Acked(u16),
}

/// What the task sends.
enum News {
    Arrival(Arrival),
    /// A publication was sent with this packet id.
    Left(u16),
    /// The broker acknowledged this packet id.
    PubAck(u16),
}

pub(super) struct Connection {
    client: AsyncClient,
    news: mpsc::Receiver<Result<News, Trouble>>,
    last_number: u16,
    /// Numbers of publications not sent yet.
    waiting: VecDeque<u16>,
    /// Numbers of publications in flight, by packet id.
    under_way: BTreeMap<u16, u16>,
    /// Aborts the task when dropped.
    tasks: JoinSet<()>,
}

impl Connection {
    pub(super) fn open(setup: &LinkSetup) -> Self {
        let (client, event_loop) = AsyncClient::new(options(setup, &setup.mqtt.host), REQUESTS);
        let (sender, news) = mpsc::channel(PACKETS);
        let mut tasks = JoinSet::new();
        tasks.spawn(live(event_loop, setup.clone(), sender));
        Self { client, news, last_number: 0, waiting: VecDeque::new(), under_way: BTreeMap::new(), tasks }
    }

    /// Returns the next event, or why the connection ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Arrival, Trouble> {
        loop {
            match self.news.recv().await.unwrap_or_else(|| Err(Trouble::plain(DownKind::Internal)))? {
                News::Arrival(arrival) => return Ok(arrival),
                News::Left(packet) => {
                    if let Some(number) = self.waiting.pop_front() {
                        self.under_way.insert(packet, number);
                    }
                }
                News::PubAck(packet) => {
                    if let Some(number) = self.under_way.remove(&packet) {
                        return Ok(Arrival::Acked(number));
                    }
                }
            }
        }
    }

    pub(super) fn subscribe(&self, topics: &[String]) -> Result<(), Trouble> {
        let filters = topics.iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters).map_err(|error| internal(&error))
    }

    /// Publishes with `QoS` 1; returns the number under which it will be acknowledged.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<u16, Trouble> {
        let sent = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload);
        sent.map_err(|error| internal(&error))?;
        self.last_number = self.last_number.wrapping_add(1).max(1);
        self.waiting.push_back(self.last_number);
        Ok(self.last_number)
    }

    pub(super) fn disconnect(&self) -> Result<(), Trouble> {
        self.client.try_disconnect().map_err(|error| internal(&error))
    }

    /// Reads on for a short time until the connection is closed, so that the DISCONNECT goes out.
    pub(super) async fn finish(mut self) {
        let closed = async { while let Some(Ok(_)) = self.news.recv().await {} };
        if timeout(FINISH, closed).await.is_err() {
            tracing::debug!("the broker did not close the connection");
        }
        self.tasks.abort_all();
    }
}

fn internal(error: &rumqttc::ClientError) -> Trouble {
    Trouble { kind: DownKind::Internal, detail: error.to_string() }
}

/// Returns the client's options for connecting to this name or address.
fn options(setup: &LinkSetup, host: &str) -> MqttOptions {
    let mqtt = &setup.mqtt;
    let mut options = MqttOptions::new(&mqtt.client_id, host, mqtt.port);
    options
        .set_keep_alive(Duration::from_secs(u64::from(mqtt.keep_alive_s.max(1))))
        .set_max_packet_size(INCOMING_MAX, OUTGOING_MAX);
    if let Some(status) = &setup.status_topic {
        options.set_last_will(LastWill::new(status, "offline", QoS::AtLeastOnce, true));
    }
    if let Some(username) = &mqtt.username {
        let password = mqtt.password.as_ref().map(|password| password.0.clone());
        options.set_credentials(&username.0, password.unwrap_or_default());
    }
    options
}

/// Runs the task: connects once, then reads until the connection ends. Cancelled only by the end of the connection.
async fn live(mut event_loop: EventLoop, setup: LinkSetup, news: mpsc::Sender<Result<News, Trouble>>) {
    let talking = async {
        let addresses = resolve(&setup.mqtt).await?;
        talk(&mut event_loop, &setup, &addresses, &news).await
    };
    if let Err(trouble) = talking.await {
        let _ = news.send(Err(trouble)).await; // the receiver is gone only if nobody wants to know
    }
}

async fn talk(
    event_loop: &mut EventLoop,
    setup: &LinkSetup,
    addresses: &[SocketAddr],
    news: &mpsc::Sender<Result<News, Trouble>>,
) -> Result<(), Trouble> {
    let tell = async |what: News| {
        let gone = |_| Trouble { kind: DownKind::Internal, detail: "nobody reads".to_owned() };
        news.send(Ok(what)).await.map_err(gone)
    };
    let mqtt = &setup.mqtt;
    let near = addresses.iter().all(|address| is_near(address.ip()));
    tell(News::Arrival(Arrival::Near(near))).await?;
    if let Some(address) = taker(addresses).await {
        event_loop.mqtt_options = options(setup, &address.ip().to_string());
    }
    let handshake = match mqtt.tls.clone() {
        Some(tls) => Some(load(tls, mqtt.host.clone()).await?),
        None => None,
    };
    if let Some(client) = &handshake {
        let config = TlsConfiguration::Rustls(Arc::clone(&client.config));
        event_loop.mqtt_options.set_transport(Transport::tls_with_config(config));
    }
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(if near { CONNECT_NEAR_S } else { CONNECT_S });
    event_loop.set_network_options(network);
    let mut accepted = false;
    loop {
        let event = match event_loop.poll().await {
            Ok(event) => event,
            Err(error) => {
                let trouble = trouble(&error, accepted, mqtt, handshake.as_ref());
                return Err(if accepted { trouble } else { explained(trouble, addresses, mqtt).await });
            }
        };
        let what = match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                accepted = true;
                News::Arrival(Arrival::Accepted)
            }
            Event::Incoming(Packet::Publish(message)) => News::Arrival(Arrival::Message(message)),
            Event::Incoming(Packet::SubAck(answer)) => {
                let granted = |code: SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                News::Arrival(Arrival::Subscribed(answer.return_codes.into_iter().map(granted).collect()))
            }
            Event::Incoming(Packet::PubAck(ack)) => News::PubAck(ack.pkid),
            Event::Outgoing(Outgoing::Publish(packet)) => News::Left(packet),
            Event::Incoming(_) | Event::Outgoing(_) => continue,
        };
        tell(what).await?;
    }
}

/// Tells why the connection ended.
fn trouble(error: &ConnectionError, accepted: bool, mqtt: &MqttConfig, handshake: Option<&Client>) -> Trouble {
    let trouble = classify(error, accepted, mqtt.tls.is_some());
    let has_certificate = mqtt.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
    if matches!(trouble.kind, DownKind::NotAuthorized | DownKind::BadLogin)
        && has_certificate
        && mqtt.username.is_none()
    {
        let detail = "the client certificate is accepted, but there is no user name: is this the listener with use_identity_as_username?";
        return Trouble { detail: detail.to_owned(), ..trouble };
    }
    if trouble.kind != DownKind::ClientCertWanted {
        return trouble;
    }
    // A handshake that failed is only about our certificate if the broker asked for it.
    let was_asked = handshake.is_some_and(Client::was_asked);
    let kind = match (was_asked, has_certificate) {
        (true, false) => DownKind::ClientCertWanted,
        (true, true) => DownKind::ClientCertRejected,
        (false, _) => DownKind::TlsNothingInCommon,
    };
    Trouble { kind, ..trouble }
}

/// Returns a better explanation of a failed attempt to connect, if asking in another way finds one.
async fn explained(trouble: Trouble, addresses: &[SocketAddr], mqtt: &MqttConfig) -> Trouble {
    let odd = [DownKind::ClosedEarly, DownKind::TimedOut, DownKind::Protocol, DownKind::TlsFailed];
    let Some(address) = addresses.first().filter(|_| odd.contains(&trouble.kind)) else { return trouble };
    if let Some(better) = other_language(*address, mqtt.tls.is_some()).await {
        return better;
    }
    if trouble.kind == DownKind::TimedOut && listens(*address).await {
        return Trouble::plain(DownKind::NoGreeting);
    }
    trouble
}

/// Reads the certificate files on a thread that may block.
async fn load(tls: TlsConfig, host: String) -> Result<Client, Trouble> {
    let loaded = tokio::task::spawn_blocking(move || crate::tls::client(&tls, &host)).await;
    match loaded {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(Trouble { kind: DownKind::CertificateFiles, detail: error.to_string() }),
        Err(error) => Err(Trouble { kind: DownKind::Internal, detail: error.to_string() }),
    }
}
