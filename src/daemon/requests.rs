//! Requests to the loop, from any source: checked against the configured chargers, carried out under a rate limit that no client can
//! exceed, answered and logged.
//!
//! ```text
//! MQTT set/…  ──┐
//! socket set  ──┼──▶ check ──▶ pace ──▶ granted ──▶ controller ──▶ answered
//! web, later  ──┘      └─ refused        └─ overtaken by a later one for the same
//! ```

use std::collections::VecDeque;

use control::{ChargerId, Command, Millis, Tick};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use crate::model::Names;
use crate::model::request::{Answer, Origin, Refusal, Setting};
use crate::mqtt::command::Commands;
use crate::mqtt::link::Event;
use crate::rate::{Bucket, Lines, Pace, excerpt, left_out};

/// Rate limit for requests of one kind for one charger: a burst, then one per span. Nobody is that fast by hand.
const REQUESTS: (u32, Millis) = (10, Millis::from_secs(5));
/// Rate limit for log lines about refused requests.
const REFUSED_LINES: (u32, Millis) = (10, Millis::from_secs(60));
/// Rate limit for log lines about requests carried out.
const DONE_LINES: (u32, Millis) = (20, Millis::from_secs(60));
/// Rate limit for published refusals: a burst, then one per span.
const ERRORS: (u32, Millis) = (10, Millis::from_secs(5));

/// The charger that a request is for (`None`: all) and whether it sets the mode.
type Kind = (Option<ChargerId>, bool);

/// A request whose turn has come.
#[derive(Debug)]
pub(super) struct Granted {
    /// The command for the controller.
    pub(super) command: Command,
    origin: Origin,
    reply: Option<oneshot::Sender<Answer>>,
}

/// A refusal of a request that came over MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The topic of the request.
    pub(crate) topic: String,
    /// Why the request was refused.
    pub(crate) refusal: Refusal,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Requests {
    names: Names,
    commands: Commands,
    ready: VecDeque<Granted>,
    pace: Pace<Kind, Granted>,
    /// Refusals to be published.
    refused: VecDeque<Refused>,
    errors: Bucket,
    refused_lines: Lines,
    last_refused: Option<String>,
    done_lines: Lines,
}

impl Requests {
    /// Creates the queue of requests for these chargers; `base_topic` is for requests over MQTT.
    pub(super) fn new(base_topic: &str, names: Names) -> Self {
        Self {
            names,
            commands: Commands::new(base_topic),
            ready: VecDeque::new(),
            pace: Pace::new(REQUESTS.0, REQUESTS.1),
            refused: VecDeque::new(),
            errors: Bucket::new(ERRORS.0, ERRORS.1),
            refused_lines: Lines::new(REFUSED_LINES.0, REFUSED_LINES.1),
            last_refused: None,
            done_lines: Lines::new(DONE_LINES.0, DONE_LINES.1),
        }
    }

    /// Takes a new configuration. Drops waiting requests: the chargers may have changed places, so a request could reach the wrong one.
    pub(super) fn reconfigure(&mut self, base_topic: &str, names: Names) {
        self.commands = Commands::new(base_topic);
        self.names = names;
        self.drop_all(&Refusal::Reloaded);
        self.pace = Pace::new(REQUESTS.0, REQUESTS.1);
    }

    /// Refuses everything that still waits: the daemon ends.
    pub(super) fn end(&mut self) {
        self.drop_all(&Refusal::Ending);
    }

    fn drop_all(&mut self, refusal: &Refusal) {
        let waiting = self.ready.drain(..).chain(self.pace.take_waiting());
        for reply in waiting.filter_map(|granted| granted.reply) {
            // The sender may have gone.
            let _ = reply.send(Err(refusal.clone()));
        }
    }

    /// Takes an event from the broker.
    pub(super) fn handle(&mut self, event: &Event, now: Tick) {
        match event {
            Event::Message { topic, payload, retained } => self.message(topic, payload, *retained, now),
            Event::Up
            | Event::Down { .. }
            | Event::SubscriptionRefused { .. }
            | Event::LeftOut { .. }
            | Event::Unheard { .. } => {}
        }
    }

    fn message(&mut self, topic: &str, payload: &[u8], retained: bool, now: Tick) {
        let origin = || Origin::Mqtt { topic: topic.to_owned() };
        match self.commands.message(topic, payload, retained) {
            None => {}
            Some(Ok(setting)) => self.set(&setting, origin(), None, now),
            Some(Err(refusal)) => self.refuse(refusal, origin(), None, now),
        }
    }

    /// Takes a request to change a user's setting; [`Self::poll`] returns it when its turn has come.
    pub(super) fn set(&mut self, setting: &Setting, origin: Origin, reply: Option<oneshot::Sender<Answer>>, now: Tick) {
        let command = match setting.command(&self.names) {
            Ok(command) => command,
            Err(refusal) => return self.refuse(refusal, origin, reply, now),
        };
        let (charger, is_mode) = match command {
            Command::Mode { charger, .. } => (charger, true),
            Command::FixedCurrent { charger, .. } => (charger, false),
        };
        if charger.is_none() {
            // A request for all chargers overrules older ones for single chargers.
            self.pace.forget(|(_, kind)| *kind == is_mode);
        }
        // If a later request replaces a waiting one, its client learns this from its closed channel.
        self.ready.extend(self.pace.offer((charger, is_mode), Granted { command, origin, reply }, now));
    }

    /// Returns the next request to carry out. Call until it returns `None`.
    pub(super) fn poll(&mut self, now: Tick) -> Option<Granted> {
        loop {
            let granted = self.ready.pop_front().or_else(|| self.pace.poll(now))?;
            // A sender that has been told that there was no time for it may have asked for something else meanwhile.
            if !granted.reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
                return Some(granted);
            }
        }
    }

    /// When [`Self::poll`] has the next request.
    pub(super) fn poll_timeout(&self) -> Option<Tick> {
        self.pace.poll_timeout()
    }

    /// Returns the next refusal to publish.
    pub(super) fn poll_refused(&mut self) -> Option<Refused> {
        self.refused.pop_front()
    }

    /// Logs how many lines the rate limit has left out, once that is due.
    pub(super) fn handle_timeout(&mut self, now: Tick) {
        if let Some(count) = self.refused_lines.rest(now) {
            warn!("{count} more requests were refused that were not logged one by one");
        }
        if let Some(count) = self.done_lines.rest(now) {
            info!("{count} more requests were carried out that were not logged one by one");
        }
    }

    /// Answers and logs a request that was carried out. Logs only if something changed, because automations may repeat the same request
    /// indefinitely. `decided` is what was decided then, in a sentence.
    pub(super) fn done(&mut self, granted: Granted, changed: bool, decided: &str, now: Tick) {
        let Granted { command, origin, reply } = granted;
        if changed {
            self.log_done(command, &origin, now);
        } else {
            debug!(?command, "a request that changes nothing");
        }
        if let Some(reply) = reply {
            // The client may have disconnected.
            let _ = reply.send(Ok(decided.to_owned()));
        }
    }

    fn log_done(&mut self, command: Command, origin: &Origin, now: Tick) {
        let Some(more) = self.done_lines.line(now).map(left_out) else { return };
        let of = |charger: Option<ChargerId>| charger.map_or("all chargers", |id| self.names.get(id));
        match command {
            Command::Mode { charger, mode } => {
                info!(mode = %mode, origin = origin.name(), "mode {mode} for {}{more}", of(charger));
            }
            Command::FixedCurrent { charger, current } => {
                info!(current = %current, origin = origin.name(), "fixed current {current} for {}{more}", of(charger));
            }
        }
    }

    /// Answers with a refusal; the same refusal in succession is logged only once.
    fn refuse(&mut self, refusal: Refusal, origin: Origin, reply: Option<oneshot::Sender<Answer>>, now: Tick) {
        let text = refusal.to_string();
        if self.last_refused.as_ref() != Some(&text) {
            if let Some(more) = self.refused_lines.line(now).map(left_out) {
                match &origin {
                    Origin::Mqtt { topic } => {
                        let topic = excerpt(topic.as_bytes());
                        warn!(error = text, topic, "ignoring a request on {topic}: {text}{more}");
                    }
                    Origin::Socket | Origin::Process => {
                        warn!(error = text, "ignoring a request by {}: {text}{more}", origin.name());
                    }
                }
            }
            self.last_refused = Some(text);
        }
        if let Origin::Mqtt { topic } = origin
            && self.errors.take(now)
        {
            self.refused.push_back(Refused { topic, refusal: refusal.clone() });
        }
        if let Some(reply) = reply {
            let _ = reply.send(Err(refusal));
        }
    }
}
