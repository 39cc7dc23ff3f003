//! The original controller's message: `{"chargeP": n, "unit": "W"}` every 30 s, for automations that were written for it.

use control::{Millis, Tick};

use super::is_due;
use crate::config::PublishConfig;
use crate::model::status::{BrokerState, Status};
use crate::mqtt::link::Link;
use crate::mqtt::state;

/// How often the original controller publishes its charger's power.
const EVERY: Millis = Millis::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) struct Original {
    /// `None` if this message is switched off.
    topic: Option<String>,
    was_up: bool,
    at: Option<Tick>,
}

impl Original {
    pub(super) fn new(config: &PublishConfig) -> Self {
        Self { topic: config.charger_power_topic.clone(), was_up: false, at: None }
    }

    /// Publishes while connected to the broker, and at once when the connection comes up.
    pub(super) fn show(&mut self, status: &Status, link: &Link) {
        let Some(topic) = &self.topic else { return };
        let is_up = status.broker.state == BrokerState::Connected;
        let was_up = std::mem::replace(&mut self.was_up, is_up);
        let first = is_up && !was_up;
        let due = is_due(self.at, EVERY, status.at) || first;
        if let Some(power) = status.charger_power().filter(|_| is_up && due) {
            self.at = Some(status.at);
            let _ = link.publish(topic, state::charger_power(power));
        }
    }
}
