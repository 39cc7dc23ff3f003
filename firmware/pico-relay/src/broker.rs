//! The broker: MQTT 5 over TLS, incoming frames on `…/to`, outgoing frames on `…/from`, presence on `…/online`.
//!
//! ```text
//!  name ─▶ TCP ─▶ TLS ─▶ CONNECT (last will: offline) ─▶ SUBSCRIBE to ─▶ PUBLISH online ─▶ serve
//!   ▲                                                                                       │
//!   └──────────────── wait, twice as long each time, up to a minute ◀───── whatever fails ──┘
//! ```
//! `QoS` 0 both ways: the gateway repeats unanswered requests, and [`Endpoint`] does nothing twice, so acknowledgements would only add
//! packets. If a connection ends without DISCONNECT the broker publishes `offline`, which is what we want.

use core::fmt::{self, Write as _};
use core::num::NonZero;

use embassy_executor::task;
use embassy_futures::select::{Either, select};
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::TcpSocket;
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, Instant, TimeoutError, Timer, with_timeout};
use heapless::{String, Vec};
use mbedtls_rs::Session;
use relay_link::settings::Settings;
use relay_link::topic::{Side, Topic};
use relay_link::{Endpoint, FRAME_MAX};
use rust_mqtt::Bytes;
use rust_mqtt::buffer::BumpBuffer;
use rust_mqtt::client::event::Event;
use rust_mqtt::client::options::{
    ConnectOptions, PublicationOptions, RetainHandling, SubscriptionOptions, TopicReference, WillOptions,
};
use rust_mqtt::client::{Client, MqttError};
use rust_mqtt::config::KeepAlive;
use rust_mqtt::types::{MqttBinary, MqttString, ReasonCode, TopicFilter, TopicName};
use static_cell::StaticCell;

use crate::backoff::Backoff;
use crate::log::line;
use crate::relay::Relay;
use crate::tls::{Identity, TlsFault};
use crate::{health, led, memory};

/// MQTT keep-alive; the broker drops the relay after one and a half times this.
const KEEP_ALIVE_S: NonZero<u16> = NonZero::new(20).unwrap();
const PING_AFTER: Duration = Duration::from_secs(10);
/// How long nothing may come from the broker, not even an answer to the ping, before the connection is given up.
const SILENT_AFTER: Duration = Duration::from_secs(25);
/// Time limit for every step except the handshake, which calculates for seconds.
const STEP: Duration = Duration::from_secs(10);
const HANDSHAKE: Duration = Duration::from_secs(20);
/// How long a connection must last to count as a good one.
const LASTED: Duration = Duration::from_secs(30);
/// The largest packet that the broker may send: a frame, its topic and the rest of the packet.
const PACKET_MAX: NonZero<u32> = NonZero::new(512).unwrap();

/// One subscription, and one packet in flight in each direction; no user properties, no aliases.
type Mqtt<'a, 'b> = Client<'b, 'b, Session<'a, TcpSocket<'a>>, BumpBuffer<'b>, 1, 1, 1, 0, 0, 0, 0>;

/// Why a connection ended.
enum Fault {
    Name,
    Connect,
    Tls(TlsFault),
    Refused(ReasonCode),
    Mqtt,
    Timeout(&'static str),
    Silent,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("its name has no address"),
            Self::Connect => f.write_str("no connection"),
            Self::Tls(fault) => write!(f, "TLS: {fault}"),
            Self::Refused(reason) => write!(f, "{reason:?}"),
            Self::Mqtt => f.write_str("connection lost"),
            Self::Timeout(step) => write!(f, "{step} takes too long"),
            Self::Silent => f.write_str("no answer to the ping"),
        }
    }
}

impl From<MqttError<'_, 0>> for Fault {
    fn from(error: MqttError<'_, 0>) -> Self {
        match error {
            MqttError::Disconnect { reason, .. } => Self::Refused(reason),
            _ => Self::Mqtt,
        }
    }
}

/// Memory reused by one connection after another.
struct Buffers {
    receive: [u8; 4_096],
    send: [u8; 2_048],
    packet: [u8; 1_024],
}

/// What is kept across connections.
pub(crate) struct Broker {
    pub(crate) stack: Stack<'static>,
    pub(crate) settings: Settings<'static>,
    pub(crate) identity: Identity,
    pub(crate) relay: Relay,
    pub(crate) endpoint: Endpoint,
}

/// Connects, serves, and connects again.
#[task]
pub(crate) async fn run(mut broker: Broker) -> ! {
    static BUFFERS: StaticCell<Buffers> = StaticCell::new();
    let buffers = BUFFERS.init(Buffers { receive: [0; 4_096], send: [0; 2_048], packet: [0; 1_024] });
    let mut backoff = Backoff::new();
    loop {
        broker.stack.wait_config_up().await;
        let since = Instant::now();
        let Err(fault) = broker.connection(buffers).await;
        led::set_at_broker(false);
        if since.elapsed() > LASTED {
            backoff.reset();
        }
        let wait = backoff.fail();
        line!("broker: {}; again in {} s", fault, wait.as_secs());
        Timer::after(wait).await;
    }
}

impl Broker {
    /// Runs one connection, from resolving the name to its end.
    async fn connection(&mut self, buffers: &mut Buffers) -> Result<core::convert::Infallible, Fault> {
        let address = self.address().await?;
        let mut socket = TcpSocket::new(self.stack, &mut buffers.receive, &mut buffers.send);
        socket.set_timeout(Some(SILENT_AFTER));
        step("connecting", STEP, socket.connect((address, self.settings.port))).await?.map_err(|_| Fault::Connect)?;
        let session = step("TLS", HANDSHAKE, self.identity.connect(socket)).await?.map_err(Fault::Tls)?;
        let mut buffer = BumpBuffer::new(&mut buffers.packet);
        let mut client = Mqtt::new(&mut buffer);
        let [to, from, online] = [Side::To, Side::From, Side::Online].map(|side| topic(self.settings.id, side));
        let will = WillOptions::new(name(&online)?, payload("offline")?).retain();
        let options = ConnectOptions::new()
            .clean_start()
            .keep_alive(KeepAlive::Seconds(KEEP_ALIVE_S))
            .maximum_packet_size(PACKET_MAX)
            .will(will);
        step("CONNECT", STEP, client.connect(session, &options, Some(text(self.settings.id)?))).await??;
        let subscription = SubscriptionOptions::new().retain_handling(RetainHandling::NeverSend);
        let filter = TopicFilter::new(text(&to)?).ok_or(Fault::Mqtt)?;
        step("SUBSCRIBE", STEP, client.subscribe(filter, &subscription)).await??;
        match step("SUBSCRIBE", STEP, client.poll()).await?? {
            Event::Suback(answer) if answer.reason_code.is_success() => {}
            Event::Suback(answer) => return Err(Fault::Refused(answer.reason_code)),
            _ => return Err(Fault::Mqtt),
        }
        let options = PublicationOptions::new(TopicReference::Name(name(&online)?)).retain();
        step("PUBLISH", STEP, client.publish(&options, Bytes::from("online"))).await??;
        line!("broker: connected");
        memory::peaks();
        led::set_at_broker(true);
        let from = PublicationOptions::new(TopicReference::Name(name(&from)?));
        serve(&mut client, &from, &mut self.endpoint, &mut self.relay).await
    }

    async fn address(&self) -> Result<IpAddress, Fault> {
        let host = self.settings.host;
        let addresses = step("its name", STEP, self.stack.dns_query(host, DnsQueryType::A)).await?;
        addresses.ok().and_then(|addresses| addresses.first().copied()).ok_or(Fault::Name)
    }
}

/// Answers frames until the connection ends.
async fn serve(
    client: &mut Mqtt<'_, '_>,
    from: &PublicationOptions<'_>,
    endpoint: &mut Endpoint,
    relay: &mut Relay,
) -> Result<core::convert::Infallible, Fault> {
    let mut out = [0; FRAME_MAX];
    let (mut heard, mut said) = (Instant::now(), Instant::now());
    loop {
        forget(client);
        let until = (heard + SILENT_AFTER).min(said + PING_AFTER);
        // Only the receiving of a header may be cancelled and resumed.
        let header = match select(client.poll_header(), Timer::at(until)).await {
            Either::First(header) => header?,
            Either::Second(()) if heard.elapsed() >= SILENT_AFTER => return Err(Fault::Silent),
            Either::Second(()) => {
                step("PING", STEP, client.ping()).await??;
                said = Instant::now();
                continue;
            }
        };
        let frame = match step("receiving", STEP, client.poll_body(header)).await?? {
            // A frame is meant for now, so one that the broker kept is ignored.
            Event::Publish(message) if !message.retain => Vec::<u8, FRAME_MAX>::from_slice(&message.message).ok(),
            _ => None,
        };
        heard = Instant::now();
        health::link_lives();
        let Some(frame) = frame else { continue };
        let Some(length) = endpoint.handle_frame(&frame, relay, &mut out).await else { continue };
        let reply = out.get(..length).unwrap_or_default();
        step("PUBLISH", STEP, client.publish(from, Bytes::from(reply))).await??;
        said = Instant::now();
    }
}

/// Frees the memory of the packets received so far.
#[expect(unsafe_code, reason = "the client cannot know that nothing refers to it any more")]
fn forget(client: &mut Mqtt<'_, '_>) {
    // SAFETY: only events refer to the buffer; at both places where `serve` gets here, none is left.
    unsafe { client.buffer_mut().reset() }
}

async fn step<T>(name: &'static str, limit: Duration, what: impl Future<Output = T>) -> Result<T, Fault> {
    with_timeout(limit, what).await.map_err(|TimeoutError| Fault::Timeout(name))
}

/// Holds the longest topic: prefix, id and side.
type TopicText = String<64>;

fn topic(id: &str, side: Side) -> TopicText {
    let mut text = TopicText::new();
    // Cannot fail: an id has at most 32 bytes.
    let _ = write!(text, "{}", Topic { id, side });
    text
}

fn text(text: &str) -> Result<MqttString<'_>, Fault> {
    MqttString::from_str(text).map_err(|_| Fault::Mqtt)
}

fn name(topic: &str) -> Result<TopicName<'_>, Fault> {
    TopicName::new(text(topic)?).ok_or(Fault::Mqtt)
}

fn payload(text: &str) -> Result<MqttBinary<'_>, Fault> {
    MqttBinary::from_slice(text.as_bytes()).map_err(|_| Fault::Mqtt)
}
