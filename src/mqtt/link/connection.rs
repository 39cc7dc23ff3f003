//! One connection: a client and its event loop, polled by a task that does nothing else and dies with the connection.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Packet, QoS,
    SubscribeFilter, TlsConfiguration, Transport,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::LinkSetup;
use super::classify::classify;
use crate::config::TlsConfig;
use crate::mqtt::trouble::{DownKind, Trouble};
use crate::tls::Client;

/// Requests to the event loop: the window of the session, a subscription and a disconnection fit in with room to spare.
const REQUESTS: usize = 64;
/// Packets read ahead. Few, as each may be as large as the limit.
const PACKETS: usize = 8;
/// Largest packet taken; larger ones end the connection.
const INCOMING_MAX: usize = 16 * 1024 * 1024;
/// Largest packet sent.
const OUTGOING_MAX: usize = 256 * 1024;
/// Name, TCP, TLS and acceptance together, in seconds.
const CONNECT_S: u64 = 10;
/// How long a closing handshake may take.
const FINISH: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    client: AsyncClient,
    packets: mpsc::Receiver<Result<Event, Trouble>>,
    /// Aborts the task when dropped.
    tasks: JoinSet<()>,
}

impl Connection {
    pub(super) fn open(setup: &LinkSetup) -> Self {
        let (client, mut event_loop) = AsyncClient::new(options(setup), REQUESTS);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_S);
        event_loop.set_network_options(network);
        let (sender, packets) = mpsc::channel(PACKETS);
        let mut tasks = JoinSet::new();
        tasks.spawn(poll(event_loop, setup.mqtt.tls.clone(), sender));
        Self { client, packets, tasks }
    }

    /// The next packet, or why there are no more. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Event, Trouble> {
        self.packets.recv().await.unwrap_or_else(|| Err(Trouble::plain(DownKind::Internal)))
    }

    pub(super) fn subscribe(&self, topics: Vec<String>) -> Result<(), Trouble> {
        let filters = topics.into_iter().map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters).map_err(|error| internal(&error))
    }

    pub(super) fn publish(&self, topic: String, payload: Vec<u8>, retain: bool) -> Result<(), Trouble> {
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).map_err(|error| internal(&error))
    }

    pub(super) fn disconnect(&self) -> Result<(), Trouble> {
        self.client.try_disconnect().map_err(|error| internal(&error))
    }

    /// Reads on until the connection is closed, so that the DISCONNECT goes out; not for long.
    pub(super) async fn finish(mut self) {
        let closed = async { while let Some(Ok(_)) = self.packets.recv().await {} };
        if tokio::time::timeout(FINISH, closed).await.is_err() {
            tracing::debug!("the broker did not close the connection");
        }
        self.tasks.abort_all();
    }
}

fn internal(error: &rumqttc::ClientError) -> Trouble {
    Trouble { kind: DownKind::Internal, detail: error.to_string() }
}

fn options(setup: &LinkSetup) -> MqttOptions {
    let mqtt = &setup.mqtt;
    let mut options = MqttOptions::new(&mqtt.client_id, &mqtt.host, mqtt.port);
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

/// Connects once, then reads until the connection ends. Never cancelled but by the end of the connection.
async fn poll(mut event_loop: EventLoop, tls: Option<TlsConfig>, packets: mpsc::Sender<Result<Event, Trouble>>) {
    let is_tls = tls.is_some();
    let has_certificate = tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
    let mut handshake = None;
    if let Some(tls) = tls {
        match load(tls).await {
            Ok(client) => {
                let config = TlsConfiguration::Rustls(Arc::clone(&client.config));
                event_loop.mqtt_options.set_transport(Transport::tls_with_config(config));
                handshake = Some(client);
            }
            Err(trouble) => {
                let _ = packets.send(Err(trouble)).await; // the receiver is gone only if nobody wants to know
                return;
            }
        }
    }
    let mut accepted = false;
    loop {
        let result = event_loop.poll().await;
        accepted |= matches!(result, Ok(Event::Incoming(Packet::ConnAck(_))));
        let result = result.map_err(|error: ConnectionError| {
            let was_asked = handshake.as_ref().is_some_and(Client::was_asked);
            about_our_certificate(classify(&error, accepted, is_tls), was_asked, has_certificate)
        });
        let ended = result.is_err();
        if packets.send(result).await.is_err() || ended {
            return;
        }
    }
}

/// A handshake that failed is only about our certificate if the broker asked for it.
fn about_our_certificate(trouble: Trouble, was_asked: bool, has_certificate: bool) -> Trouble {
    if trouble.kind != DownKind::ClientCertWanted {
        return trouble;
    }
    let Trouble { detail, .. } = trouble;
    match (was_asked, has_certificate) {
        (true, false) => Trouble { kind: DownKind::ClientCertWanted, detail },
        (true, true) => Trouble { kind: DownKind::ClientCertRejected, detail },
        (false, _) => Trouble { kind: DownKind::TlsNothingInCommon, detail },
    }
}

/// Reads the certificate files on a thread that may block.
async fn load(tls: TlsConfig) -> Result<Client, Trouble> {
    let loaded = tokio::task::spawn_blocking(move || crate::tls::client(&tls)).await;
    match loaded {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(Trouble { kind: DownKind::CertificateFiles, detail: error.to_string() }),
        Err(error) => Err(Trouble { kind: DownKind::Internal, detail: error.to_string() }),
    }
}
