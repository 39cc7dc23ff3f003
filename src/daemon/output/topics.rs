//! Our own topics at the broker: the retained state, refusals, and requests for fresh samples.

use std::collections::BTreeSet;

use control::Tick;
use serde_json::json;
use tracing::warn;

use super::published::Published;
use super::{Change, is_due};
use crate::config::{Config, PublishConfig};
use crate::daemon::requests::Refused;
use crate::model::document::json_text;
use crate::model::status::Status;
use crate::mqtt::link::Link;
use crate::mqtt::state;

/// See the module.
#[derive(Debug)]
pub(super) struct Topics {
    config: PublishConfig,
    published: Published,
    /// Whether it was logged that a topic cannot be published.
    unpublished: bool,
    stated_at: Option<Tick>,
}

impl Topics {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.publish.clone(),
            published: Published::load(&config.state_file),
            unpublished: false,
            stated_at: None,
        }
    }

    pub(super) fn reconfigure(&mut self, config: &PublishConfig) {
        self.config = config.clone();
        self.stated_at = None;
    }

    /// Switches to a new connection to the broker.
    pub(super) fn moved(&self, link: &Link) {
        self.published.repeat(link);
    }

    /// Publishes everything on a notable change and every `state_every`.
    pub(super) fn show(&mut self, status: &Status, change: &Change, link: &Link) {
        if change.notable || is_due(self.stated_at, self.config.state_every, status.at) {
            self.stated_at = Some(status.at);
            self.publish(status, link);
        }
        self.published.turn(link);
    }

    fn publish(&mut self, status: &Status, link: &Link) {
        let base = &self.config.base_topic;
        let mut topics = BTreeSet::from([format!("{base}/status")]);
        for (topic, payload) in state::messages(base, status) {
            if let Err(error) = link.set_state(&topic, payload)
                && !std::mem::replace(&mut self.unpublished, true)
            {
                warn!(%error, topic, "cannot be published on {topic}: {error}");
            }
            topics.insert(topic);
        }
        self.published.set(topics, link);
    }

    /// Publishes on `error` why a request was refused. Not retained: it is only of interest to the client that has just made the request.
    pub(super) fn refused(&self, refused: &Refused, link: &Link) {
        let Refused { topic, refusal } = refused;
        let payload = json!({ "topic": topic, "code": refusal.code(), "error": refusal.to_string() });
        let _ = link.publish(&format!("{}/error", self.config.base_topic), json_text(&payload));
    }

    /// Requests fresh samples; returns whether the request could be published.
    pub(super) fn refresh(&self, link: &Link) -> bool {
        link.publish(&format!("{}/refresh", self.config.base_topic), "1").is_ok()
    }

    /// Waits for writes in progress.
    pub(super) async fn close(self) {
        self.published.close().await;
    }
}
