//! Passes readings of the site to the controller, with a rate limit per source that no publisher can exceed. When readings come too fast,
//! the newest is kept and passed on when its turn comes. This bounds the growth of the journal and the log.

use std::collections::VecDeque;

use control::{Millis, Reading, Source, Tick};
use tracing::{info, warn};

use crate::config::Config;
use crate::model::status::InputStatus;
use crate::mqtt::input::Inputs;
use crate::mqtt::link::Event;
use crate::mqtt::refresh::{Requests as Refresh, Verdict};
use crate::mqtt::trouble;
use crate::rate::Pace;

/// Rate limit for the readings of one source: a burst, then one per span. No meter needs more to follow the sun.
const READINGS: (u32, Millis) = (10, Millis::from_secs(1));

/// See the module.
#[derive(Debug)]
pub(super) struct Intake {
    base: String,
    inputs: Inputs,
    ready: VecDeque<Reading>,
    readings: Pace<(Source, bool), Reading>,
    refresh: Refresh,
    /// Cause and remedy if the broker accepts what we publish but does not pass it on.
    unheard: Option<String>,
    /// Which topics are not subscribed to and why, if there are any.
    left_out: Option<String>,
}

impl Intake {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            base: config.publish.base_topic.clone(),
            inputs: Inputs::new(&config.inputs),
            ready: VecDeque::new(),
            readings: Pace::new(READINGS.0, READINGS.1),
            refresh: Refresh::default(),
            unheard: None,
            left_out: None,
        }
    }

    /// Takes a new configuration: requests for fresh samples may now use another topic, or none at all.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.base.clone_from(&config.publish.base_topic);
        self.refresh = Refresh::default();
    }

    /// Starts over because the inputs or the broker changed: what is known of the old ones does not apply to the new ones.
    pub(super) fn move_on(&mut self, config: &Config) {
        self.inputs = Inputs::new(&config.inputs);
        self.readings = Pace::new(READINGS.0, READINGS.1);
        self.unheard = None;
        self.left_out = None;
    }

    /// Takes an event from the broker; [`Self::poll`] returns the resulting readings.
    pub(super) fn handle(&mut self, event: &Event, now: Tick) {
        match event {
            Event::Up | Event::Down { .. } => {}
            Event::SubscriptionRefused { topics } => self.inputs.refused(topics),
            Event::LeftOut { topics } => self.left_out = (!topics.is_empty()).then(|| trouble::left_out(topics)),
            Event::Unheard { why } => self.unheard.clone_from(why),
            Event::Message { topic, payload, retained } => self.message(topic, payload, *retained, now),
        }
    }

    fn message(&mut self, topic: &str, payload: &[u8], retained: bool, now: Tick) {
        for reading in self.inputs.message(topic, payload, retained, now) {
            if !retained && reading.value.is_some() {
                let verdict = self.refresh.heard(now);
                self.judge(verdict);
            }
            let key = (reading.source, retained);
            self.ready.extend(self.readings.offer(key, reading, now));
        }
        self.log();
    }

    /// Returns the next reading for the controller. Call until it returns `None`.
    pub(super) fn poll(&mut self, now: Tick) -> Option<Reading> {
        self.ready.pop_front().or_else(|| self.readings.poll(now))
    }

    /// When [`Self::poll`] has the next reading.
    pub(super) fn poll_timeout(&self) -> Option<Tick> {
        self.readings.poll_timeout()
    }

    /// Handles what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Tick) {
        self.inputs.handle_timeout(now);
        self.log();
    }

    /// Notes that the connection to the broker came up or was lost.
    pub(super) fn link(&mut self, up: bool, now: Tick) {
        self.inputs.link(up, now);
        self.refresh.forget();
    }

    /// Notes that fresh samples were requested.
    pub(super) fn asked(&mut self, now: Tick) {
        // While a source sends no usable data, missing values do not mean that the request went unanswered.
        if self.inputs.has_outage() {
            return self.refresh.forget();
        }
        let verdict = self.refresh.asked(now);
        self.judge(verdict);
    }

    /// Describes what is wrong with the data from the broker, in sentences.
    pub(super) fn warnings(&self, now: Tick) -> Vec<String> {
        let refresh = self.refresh.is_unanswered().then(|| self.unanswered());
        let broker = self.unheard.iter().chain(&self.left_out).cloned();
        self.inputs.warnings(now).into_iter().chain(refresh).chain(broker).collect()
    }

    /// Returns the state of each source.
    pub(super) fn statuses(&self, now: Tick) -> Vec<InputStatus> {
        self.inputs.statuses(now)
    }

    fn judge(&self, verdict: Option<Verdict>) {
        match verdict {
            Some(Verdict::Unanswered(answers)) => {
                warn!(answers, "{} (of the last 20, {answers} were followed by new values)", self.unanswered());
            }
            Some(Verdict::Answered) => info!("requests for fresh samples are answered now"),
            None => {}
        }
    }

    fn unanswered(&self) -> String {
        format!(
            "requests for fresh samples on {}/refresh are not answered: add the automation of the README to Home Assistant, with an \
             entity that exists there, or set refresh-every-s = 0",
            self.base
        )
    }

    fn log(&mut self) {
        for news in self.inputs.take_news() {
            if news.is_bad() {
                warn!("{news}");
            } else {
                info!("{news}");
            }
        }
    }
}
