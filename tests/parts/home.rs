//! Home Assistant at the broker's plain door: publishes the house's meters again and again, and connects again by itself.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use surplusd::sim::wallbox::Wallbox;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::house::{House, meters};
use crate::mosquitto::SOON;

/// How often the meters are published.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
/// The surplus of the house, in watts: 10 A on three phases.
pub(crate) const SURPLUS: i32 = 6_900;
/// How soon a lost connection is opened again.
const AGAIN: Duration = Duration::from_millis(200);

/// Publishes until it is dropped.
pub(crate) struct HomeAssistant {
    _tasks: JoinSet<()>,
}

impl HomeAssistant {
    /// Publishes [`SURPLUS`] every [`PERIOD`].
    pub(crate) fn start(house: &House) -> Self {
        let mut options = MqttOptions::new("home-assistant", "127.0.0.1", house.broker.door);
        options.set_keep_alive(Duration::from_secs(5));
        let (client, event_loop) = AsyncClient::new(options, 64);
        let (sender, connected) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(connect(event_loop, sender));
        tasks.spawn(publish(client, connected, house.port.share()));
        Self { _tasks: tasks }
    }
}

async fn connect(mut event_loop: EventLoop, connected: watch::Sender<bool>) {
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => _ = connected.send_replace(true),
            Ok(_) => {}
            Err(_) => {
                connected.send_replace(false);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Without a connection nothing is published: values of an unknown age must not come later.
async fn publish(client: AsyncClient, connected: watch::Receiver<bool>, wallbox: Arc<Mutex<Wallbox>>) {
    loop {
        let car = drawn(&wallbox);
        if *connected.borrow() {
            // Real meters never stand still; so much changes no setpoint.
            for (topic, payload) in meters(SURPLUS + fastrand::i32(-9..=9), car) {
                let _ = client.try_publish(topic, QoS::AtMostOnce, true, payload);
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Returns what `surplusd status` says.
pub(crate) async fn status(house: &House) -> String {
    let output = house.ask("status.sock", &["status"]).await;
    (String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)).into_owned()
}

/// Runs `surplusd replay`; returns whether it accepts the journal, and what it says.
pub(crate) async fn replay(journal: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surplusd"));
    let output =
        timeout(SOON, command.arg("replay").arg(journal).output()).await.expect("in time").expect("the built program");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

/// What a car on three phases draws that takes all it is offered, in watts.
pub(crate) fn drawn(wallbox: &Mutex<Wallbox>) -> i32 {
    let wallbox = wallbox.lock().unwrap_or_else(PoisonError::into_inner);
    if wallbox.state() == 7 { i32::from(wallbox.allowed_deciamps()) * 69 } else { 0 }
}
