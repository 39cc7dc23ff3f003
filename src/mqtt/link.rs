//! The only user of sockets: carries packets between [`Session`] and one connection after another, and routes incoming messages by
//! subscription. Each subscriber has a channel of its own and does not need to know the topics of the others.
//!
//! Each connection has its own task, which ends with it: only the session carries anything over to the next connection, and a window
//! smaller than the channels bounds what is in flight.
//!
//! A subscriber that does not read its channel blocks the reader, and with it the sending and the pings, as the client uses one task for
//! both directions. After one and a half keep-alive intervals the broker closes the connection, and a new one is opened once the subscriber
//! reads again. A subscriber that has dropped its channel blocks nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::{Millis, Tick};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::input::MAX_PAYLOAD;
use super::session::{Action, Notice, PublishError, Session, Signal, Topics};
use super::trouble::{DownKind, Trouble};
use crate::clock::Clock;
use crate::config::MqttConfig;
use crate::rate::{Lines, left_out};

mod address;
mod classify;
mod connection;
mod diagnose;
mod subscribers;
#[cfg(test)]
mod tests;

use address::is_near_name;
use connection::{Arrival, Connection};
use subscribers::Subscribers;

/// Longest payload passed on: one byte more than any reader here accepts, so that readers see it is too long.
const PAYLOAD_CUT: usize = MAX_PAYLOAD + 1;
/// Limits log lines about connections that come and go: this many at once, then one per [`LINES_EVERY`].
const LINES_BURST: u32 = 30;
const LINES_EVERY: Millis = Millis::from_secs(120);

/// Which broker the link connects to, and under which status topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSetup {
    /// The broker.
    pub mqtt: MqttConfig,
    /// Topic for `online` and `offline`; `None` for a guest whose presence nobody needs to know.
    pub status_topic: Option<String>,
}

/// An event from the broker. All subscribers receive those about the connection; messages go to the subscribers of their topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Connected; subscriptions and states are being sent.
    Up,
    /// Not connected. Sent after each failed attempt.
    Down {
        /// Kind of trouble.
        kind: DownKind,
        /// Cause and remedy in plain words.
        why: String,
        /// Time until the next attempt, in real time.
        retry_in: Millis,
    },
    /// The broker refused these subscriptions (its access rules); the connection stays. Sent when the list changes.
    SubscriptionRefused {
        /// The refused topics of this subscriber; empty when all are granted again.
        topics: Vec<String>,
    },
    /// These topics are not subscribed because each holds a message of more than 16 MiB. Sent when the list changes.
    LeftOut {
        /// As configured; empty when all are subscribed again.
        topics: Vec<String>,
    },
    /// The broker acknowledges what we publish but does not send it back to us, or does so again.
    Unheard {
        /// Cause and remedy in plain words; `None` when the trouble is over.
        why: Option<String>,
    },
    /// A message on a subscribed topic.
    Message {
        /// Topic.
        topic: String,
        /// Payload, cut after 64 KiB and one byte, which every reader rejects as too long.
        payload: Vec<u8>,
        /// Whether the broker had stored it earlier.
        retained: bool,
    },
}

/// Publishes on the current connection or not at all. Cheap to clone; has no effect once its link has ended.
#[derive(Debug, Clone)]
pub struct Publisher(Arc<Shared>);

/// The handle of the link. Dropping it without [`Self::shutdown`] closes the connection without a DISCONNECT, so the broker sends the last
/// will.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    /// Aborts the task when dropped.
    task: JoinSet<bool>,
    alive: watch::Receiver<()>,
}

/// Shared by the handles and the task. The lock is held only during calls of pure code, never across an await.
#[derive(Debug)]
struct Shared {
    session: Mutex<Session>,
    wake: Notify,
    clock: Clock,
}

/// Starts the link with one subscriber per list of topics, all subscribed with `QoS` 1 on each connection. A topic may be on several lists.
/// Network time-outs run in real time, whatever the speed of the clock.
pub fn spawn<const N: usize>(
    setup: LinkSetup,
    subscribers: [Vec<String>; N],
    clock: Clock,
) -> (Link, [mpsc::Receiver<Event>; N]) {
    let all: BTreeSet<&String> = subscribers.iter().flatten().collect();
    let subscriptions = all.into_iter().cloned().collect();
    let topics = Topics { status: setup.status_topic.clone(), subscriptions };
    let mut session = Session::new(topics, fastrand::Rng::new(), real_now(clock));
    session.handle(Signal::Near(is_near_name(&setup.mqtt.host)), real_now(clock));
    let shared = Arc::new(Shared { session: Mutex::new(session), wake: Notify::new(), clock });
    let (subscribers, receivers) = Subscribers::new(subscribers);
    let (alive_sender, alive) = watch::channel(());
    let runner = Runner {
        shared: Arc::clone(&shared),
        setup,
        connection: None,
        subscribers,
        lines: Lines::new(LINES_BURST, LINES_EVERY),
    };
    let mut task = JoinSet::new();
    task.spawn(async move {
        let _alive = alive_sender;
        runner.run().await
    });
    (Link { shared, task, alive }, receivers)
}

impl Link {
    /// Sets the payload of a retained topic. Never blocks: it is published at once or on the next connection, and again on each later one.
    /// Of several payloads not yet published only the last is sent, and the same payload is sent once per connection.
    pub fn set_state(&self, topic: &str, payload: impl Into<Vec<u8>>) -> Result<(), PublishError> {
        let result = self.shared.with(|session, _| session.set_state(topic, payload.into()));
        self.shared.wake.notify_one();
        result
    }

    /// Deletes one of our retained topics at the broker, at once or on the next connection.
    pub fn clear_state(&self, topic: &str) -> Result<(), PublishError> {
        let result = self.shared.with(|session, _| session.clear_state(topic));
        self.shared.wake.notify_one();
        result
    }

    /// Returns the topics deleted at the broker since the last call.
    pub fn take_cleared(&self) -> Vec<String> {
        self.shared.with(|session, _| session.take_cleared())
    }

    /// Publishes an event (not retained). Never blocks; without a connection up to 256 events are kept, then the oldest is dropped.
    /// Delivered at least once: after a broken connection it may arrive twice. An event that is worthless when late should only be
    /// published while the link is up.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> Result<(), PublishError> {
        self.shared.queue(|session| session.publish(topic, payload.into()))
    }

    /// Returns a publisher for a task whose messages are worthless or harmful when late.
    pub fn publisher(&self) -> Publisher {
        Publisher(Arc::clone(&self.shared))
    }

    /// Returns when the task has ended, which should not happen before [`Self::shutdown`]. Cancel-safe.
    pub async fn ended(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// Publishes what is still pending, then `offline`, waits up to `limit` for its acknowledgement, and disconnects. Returns whether the
    /// broker acknowledged it. Messages that still come in are discarded.
    pub async fn shutdown(self, limit: Duration) -> bool {
        let limit = Millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self.shared.with(|session, now| session.end(limit, now));
        self.shared.wake.notify_one();
        let Self { mut task, .. } = self;
        matches!(task.join_next().await, Some(Ok(true)))
    }
}

impl Publisher {
    /// Publishes only while connected and never retries: a late delivery could do harm.
    pub fn publish_now(&self, topic: &str, payload: impl Into<Vec<u8>>) -> Result<(), PublishError> {
        self.0.queue(|session| session.publish_now(topic, payload.into()))
    }
}

impl Shared {
    fn queue(&self, publish: impl FnOnce(&mut Session) -> Result<(), PublishError>) -> Result<(), PublishError> {
        let (result, dropped) = self.with(|session, _| {
            let before = session.dropped();
            let result = publish(session);
            (result, (session.dropped() != before).then_some(session.dropped()))
        });
        if let Some(dropped) = dropped.filter(|count| count.is_power_of_two()) {
            tracing::warn!(dropped, "the queue for the broker is full: {dropped} old messages dropped so far");
        }
        self.wake.notify_one();
        result
    }

    fn with<T>(&self, work: impl FnOnce(&mut Session, Tick) -> T) -> T {
        let now = real_now(self.clock);
        work(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Sleeps until `tick`, counted in real time; forever if there is none.
    async fn sleep_until(&self, tick: Option<Tick>) {
        match tick {
            Some(tick) => {
                let speed = u64::from(self.clock.speed());
                self.clock.sleep_until(Tick(tick.0.saturating_mul(speed))).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// The current time in milliseconds of real time: playing a day faster does not make the broker faster.
fn real_now(clock: Clock) -> Tick {
    Tick(clock.now().0 / u64::from(clock.speed()))
}

/// State of the link's task.
struct Runner {
    shared: Arc<Shared>,
    setup: LinkSetup,
    connection: Option<Connection>,
    subscribers: Subscribers,
    /// Limits lines about connections that come and go.
    lines: Lines,
}

/// What woke the task.
enum Woken {
    Packet(Result<Arrival, Trouble>),
    Delivered,
    Outbox,
    Time,
}

impl Runner {
    async fn run(mut self) -> bool {
        loop {
            if !self.subscribers.is_waiting() {
                self.shared.with(Session::handle_timeout);
            }
            self.act();
            if let Some(acknowledged) = self.shared.with(|session, _| session.ended()) {
                if let Some(connection) = self.connection.take() {
                    connection.finish().await;
                }
                return acknowledged;
            }
            match self.wait().await {
                Woken::Packet(Ok(packet)) => self.arrived(packet),
                Woken::Packet(Err(trouble)) => {
                    self.connection = None;
                    self.signal(Signal::Lost(trouble));
                }
                Woken::Delivered => self.delivered(),
                Woken::Outbox | Woken::Time => {}
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let deadline = self.shared.with(|session, _| session.poll_timeout()).map(|(at, _)| at);
        let shared = Arc::clone(&self.shared);
        if self.subscribers.is_waiting() {
            // While the broker's answers are not read, time does not count against the broker.
            tokio::select! {
                () = self.subscribers.hand_on() => Woken::Delivered,
                () = shared.wake.notified() => Woken::Outbox,
            }
        } else {
            tokio::select! {
                biased;
                packet = next_packet(self.connection.as_mut()) => Woken::Packet(packet),
                () = shared.wake.notified() => Woken::Outbox,
                () = shared.sleep_until(deadline) => Woken::Time,
            }
        }
    }

    /// Carries out all pending actions of the session.
    fn act(&mut self) {
        while let Some(action) = self.shared.with(Session::poll_action) {
            let failed = match action {
                Action::Connect => {
                    self.connection = Some(Connection::open(&self.setup));
                    Ok(())
                }
                Action::Subscribe(topics) => self.connection.as_ref().map_or(Ok(()), |line| line.subscribe(&topics)),
                Action::Publish { topic, payload, retain } => self.publish(&topic, &payload, retain),
                Action::Disconnect => self.connection.as_ref().map_or(Ok(()), Connection::disconnect),
                Action::Close => {
                    self.connection = None;
                    Ok(())
                }
                Action::Tell(notice) => {
                    self.tell(notice);
                    Ok(())
                }
            };
            if let Err(trouble) = failed {
                self.connection = None;
                self.signal(Signal::Lost(trouble));
            }
        }
        if self.shared.with(|session, _| session.is_ending()) {
            self.subscribers.forget();
        }
    }

    fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), Trouble> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let packet = connection.publish(topic, payload, retain)?;
        self.signal(Signal::Sent(packet));
        Ok(())
    }

    fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Near(near) => self.signal(Signal::Near(near)),
            Arrival::Accepted => self.signal(Signal::Connected),
            Arrival::Subscribed(granted) => self.signal(Signal::Subscribed(granted)),
            Arrival::Acked(packet) => self.signal(Signal::Acked(packet)),
            Arrival::Message(message) if self.setup.status_topic.as_ref() == Some(&message.topic) => {
                let is_ours = message.payload.as_ref() == b"online";
                if !message.retain {
                    self.signal(if is_ours { Signal::Heard } else { Signal::Overwritten });
                }
            }
            Arrival::Message(message) => {
                self.signal(Signal::Message);
                let payload = message.payload.get(..PAYLOAD_CUT).unwrap_or(&message.payload);
                let now = real_now(self.shared.clock);
                self.subscribers.message(&message.topic, payload, message.retain, now);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        self.shared.with(|session, now| session.handle(signal, now));
    }

    fn delivered(&mut self) {
        if let Some(stall) = self.subscribers.take_stall(real_now(self.shared.clock)) {
            self.signal(Signal::Stalled(stall));
        }
    }

    fn tell(&mut self, notice: Notice) {
        let broker = format!("{}:{}", self.setup.mqtt.host, self.setup.mqtt.port);
        let now = real_now(self.shared.clock);
        match notice {
            Notice::Up { outage, attempts, edge } => {
                if edge {
                    self.log_up(&broker, outage, attempts);
                }
                self.subscribers.everyone(&Event::Up, now);
            }
            Notice::Steady { outage, attempts } => self.log_up(&broker, outage, attempts),
            Notice::Down { trouble, retry_in, edge } => {
                let why = trouble.sentence();
                if let Some(more) = edge.then(|| self.lines.line(now)).flatten().map(left_out) {
                    tracing::warn!(%broker, kind = ?trouble.kind, "no connection to the broker {broker}: {why}; trying again{more}");
                } else {
                    tracing::debug!(%broker, kind = ?trouble.kind, %retry_in, "still no connection to the broker");
                }
                self.subscribers.everyone(&Event::Down { kind: trouble.kind, why, retry_in }, now);
            }
            Notice::Refused(topics) => {
                let list = topics.join(", ");
                if let Some(more) = self.lines.line(now).map(left_out) {
                    tracing::warn!(%broker, "the broker {broker} refuses the subscription of {list}: check its access rules{more}");
                }
                self.subscribers.each(&topics, |topics| Event::SubscriptionRefused { topics }, now);
            }
            Notice::Granted => {
                tracing::info!(%broker, "the broker {broker} grants all subscriptions now");
                self.subscribers.everyone(&Event::SubscriptionRefused { topics: Vec::new() }, now);
            }
            Notice::LeftOut(topics) => {
                if topics.is_empty() {
                    tracing::info!(%broker, "all topics are subscribed again");
                } else if let Some(more) = self.lines.line(now).map(left_out) {
                    tracing::warn!(%broker, "{}{more}", super::trouble::left_out(&topics));
                }
                self.subscribers.everyone(&Event::LeftOut { topics }, now);
            }
            Notice::Unheard(topic) => {
                let base = topic.strip_suffix("/status").unwrap_or(&topic);
                let why = format!(
                    "the broker {broker} accepts what is published but does not pass it on: {topic} does not come back. Its access \
                     list probably does not let this client's user write or read there (Mosquitto: \"topic readwrite {base}/#\")"
                );
                tracing::warn!(%broker, topic, "{why}");
                self.subscribers.everyone(&Event::Unheard { why: Some(why) }, now);
            }
            Notice::HeardAgain => {
                tracing::info!(%broker, "the broker {broker} passes on what is published");
                self.subscribers.everyone(&Event::Unheard { why: None }, now);
            }
        }
    }

    /// Logs a new connection. Never left out, or the log would end with the loss. These lines are rare anyway: either the connection before
    /// or this one has lasted half a minute.
    fn log_up(&mut self, broker: &str, outage: Millis, attempts: u32) {
        let more = self.lines.line(real_now(self.shared.clock)).map(left_out).unwrap_or_default();
        let seconds = outage.0 / 1_000;
        if attempts > 1 || seconds > 0 {
            tracing::info!(
                broker,
                attempts,
                "connected to the broker {broker} after {seconds} s and {attempts} attempts{more}"
            );
        } else {
            tracing::info!(broker, "connected to the broker {broker}{more}");
        }
    }
}

/// Returns the next packet of the connection; without a connection it never returns.
async fn next_packet(connection: Option<&mut Connection>) -> Result<Arrival, Trouble> {
    match connection {
        Some(connection) => connection.next().await,
        None => std::future::pending().await,
    }
}
