//! What is asked of the loop, from wherever: checked against the chargers that there are, carried out at a pace that nobody outside can exceed,
//! answered, and said in the log.
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
use crate::mqtt::trouble;
use crate::rate::{Bucket, Lines, Pace, excerpt, left_out};

/// Requests of one kind for one charger: so many at once, then one for each span. A hand is never that fast.
const REQUESTS: (u32, Millis) = (10, Millis::from_secs(5));
/// Lines about requests that are refused.
const REFUSED_LINES: (u32, Millis) = (10, Millis::from_secs(60));
/// Lines about requests that are carried out.
const DONE_LINES: (u32, Millis) = (20, Millis::from_secs(60));
/// Refusals that are published: so many at once, then one for each span.
const ERRORS: (u32, Millis) = (10, Millis::from_secs(5));

/// A kind of request, and for whom.
type Kind = (Option<ChargerId>, bool);

/// A request whose turn has come.
#[derive(Debug)]
pub(super) struct Granted {
    /// What is to be told to the controller.
    pub(super) command: Command,
    origin: Origin,
    reply: Option<oneshot::Sender<Answer>>,
}

/// A refusal of a request that came over MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The topic of the request.
    pub(super) topic: String,
    /// Why.
    pub(super) refusal: Refusal,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Requests {
    names: Names,
    commands: Commands,
    ready: VecDeque<Granted>,
    pace: Pace<Kind, Granted>,
    /// To be published.
    refused: VecDeque<Refused>,
    errors: Bucket,
    refused_lines: Lines,
    last_refused: Option<String>,
    done_lines: Lines,
    /// Topics that are not read, and why.
    left_out: Option<String>,
}

impl Requests {
    /// Requests for these chargers; those over MQTT under a base topic.
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
            left_out: None,
        }
    }

    /// Takes a new configuration. Chargers may have changed places: what still waits for one of them may be for another.
    pub(super) fn reconfigure(&mut self, base_topic: &str, names: Names) {
        self.commands = Commands::new(base_topic);
        self.names = names;
        self.pace = Pace::new(REQUESTS.0, REQUESTS.1);
    }

    /// The broker is another one.
    pub(super) fn move_on(&mut self) {
        self.left_out = None;
    }

    /// What is wrong with what is heard, in a sentence.
    pub(super) fn warning(&self) -> Option<String> {
        self.left_out.clone()
    }

    /// Takes what comes from the broker.
    pub(super) fn handle(&mut self, event: &Event, now: Tick) {
        match event {
            Event::Message { topic, payload, retained } => self.message(topic, payload, *retained, now),
            Event::LeftOut { topics } => self.left_out = (!topics.is_empty()).then(|| trouble::left_out(topics)),
            Event::Up | Event::Down { .. } | Event::SubscriptionRefused { .. } | Event::Unheard { .. } => {}
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

    /// Takes a request to change what the user has chosen; [`Self::poll`] gives it when its turn has come.
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
            // Older requests for single chargers are overruled.
            self.pace.forget(|(_, kind)| *kind == is_mode);
        }
        // Whoever's request is dropped for a later one learns it by the end of its channel.
        self.ready.extend(self.pace.offer((charger, is_mode), Granted { command, origin, reply }, now));
    }

    /// The next request to carry out. To be called until it returns `None`.
    pub(super) fn poll(&mut self, now: Tick) -> Option<Granted> {
        self.ready.pop_front().or_else(|| self.pace.poll(now))
    }

    /// When [`Self::poll`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Tick> {
        self.pace.poll_timeout()
    }

    /// The next refusal to be published.
    pub(super) fn poll_refused(&mut self) -> Option<Refused> {
        self.refused.pop_front()
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Tick) {
        if let Some(count) = self.refused_lines.rest(now) {
            warn!("{count} more requests were refused that were not logged one by one");
        }
        if let Some(count) = self.done_lines.rest(now) {
            info!("{count} more requests were carried out that were not logged one by one");
        }
    }

    /// A request was carried out. One that changes nothing is not worth a line, as automations may repeat it for ever. `in_force` is what is in
    /// force now, in a sentence.
    pub(super) fn done(&mut self, granted: Granted, changed: bool, in_force: &str, now: Tick) {
        let Granted { command, origin, reply } = granted;
        if changed {
            self.log_done(command, &origin, now);
        } else {
            debug!(?command, "a request that changes nothing");
        }
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(Ok(in_force.to_owned()));
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

    /// Answers with a refusal; the same again and again is said only once.
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
