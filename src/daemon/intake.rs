//! What comes from the broker for the controller: commands and readings, each at a pace that nobody outside can exceed. Of what comes too
//! fast the newest is kept, and handed on when its time has come. So the journal, the log and the stored state grow at a known pace.

use std::collections::{BTreeMap, VecDeque};

use control::{ChargerId, Command, Millis, Reading, Source, Tick};
use tracing::{info, warn};

use crate::config::Config;
use crate::mqtt::command::Commands;
use crate::mqtt::input::Inputs;
use crate::mqtt::refresh::{Requests, Verdict};
use crate::mqtt::trouble;
use crate::rate::{Lines, Pace, excerpt, left_out};

/// Readings of one source handed on at once, and then one for each span: no meter needs more to follow the sun.
const READINGS: (u32, Millis) = (10, Millis::from_secs(1));
/// Commands of one kind for one charger: a hand is never that fast.
const COMMANDS: (u32, Millis) = (10, Millis::from_secs(5));
/// Lines about commands that are none.
const IGNORED: (u32, Millis) = (10, Millis::from_secs(60));

/// What the controller is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// A measurement, or that there is none.
    Reading(Reading),
    /// A wish.
    Command(Command),
}

/// A kind of command, and for whom.
type Wish = (Option<ChargerId>, bool);

/// See the module.
#[derive(Debug)]
pub(super) struct Intake {
    base: String,
    inputs: Inputs,
    commands: Commands,
    ready: VecDeque<Told>,
    readings: Pace<(Source, bool), Reading>,
    wishes: Pace<Wish, Command>,
    requests: Requests,
    /// Said of commands that are none.
    ignored: Lines,
    last_ignored: Option<String>,
    /// What is published goes nowhere.
    unheard: Option<String>,
    /// Topics that are not read, and why.
    left_out: Option<String>,
}

impl Intake {
    pub(super) fn new(config: &Config, names: &BTreeMap<ChargerId, String>) -> Self {
        Self {
            base: config.publish.base_topic.clone(),
            inputs: Inputs::new(&config.inputs),
            commands: Commands::new(&config.publish.base_topic, names),
            ready: VecDeque::new(),
            readings: Pace::new(READINGS.0, READINGS.1),
            wishes: Pace::new(COMMANDS.0, COMMANDS.1),
            requests: Requests::default(),
            ignored: Lines::new(IGNORED.0, IGNORED.1),
            last_ignored: None,
            unheard: None,
            left_out: None,
        }
    }

    /// Takes a new configuration. Chargers may have changed places: what still waits for one of them may be for another. And requests may
    /// be for another topic, or none at all.
    pub(super) fn reconfigure(&mut self, config: &Config, names: &BTreeMap<ChargerId, String>) {
        self.base.clone_from(&config.publish.base_topic);
        self.commands = Commands::new(&self.base, names);
        self.wishes = Pace::new(COMMANDS.0, COMMANDS.1);
        self.requests = Requests::default();
    }

    /// Inputs or broker are others: what was found out about the old ones says nothing of them.
    pub(super) fn move_on(&mut self, config: &Config) {
        self.inputs = Inputs::new(&config.inputs);
        self.readings = Pace::new(READINGS.0, READINGS.1);
        self.unheard = None;
        self.left_out = None;
    }

    /// Takes a message; [`Self::poll`] gives what comes of it.
    pub(super) fn message(&mut self, topic: &str, payload: &[u8], retained: bool, now: Tick) {
        match self.commands.message(topic, payload, retained) {
            Some(Ok(command)) => return self.command(command, now),
            Some(Err(error)) => return self.refuse(topic, error.to_string(), now),
            None => {}
        }
        for reading in self.inputs.message(topic, payload, retained, now) {
            if !retained && reading.value.is_some() {
                let verdict = self.requests.heard(now);
                self.judge(verdict);
            }
            let key = (reading.source, retained);
            self.ready.extend(self.readings.offer(key, reading, now).map(Told::Reading));
        }
        self.log();
    }

    /// The next thing to tell the controller. To be called until it returns `None`.
    pub(super) fn poll(&mut self, now: Tick) -> Option<Told> {
        let ready = self.ready.pop_front();
        ready
            .or_else(|| self.wishes.poll(now).map(Told::Command))
            .or_else(|| self.readings.poll(now).map(Told::Reading))
    }

    /// When [`Self::poll`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Tick> {
        [self.wishes.poll_timeout(), self.readings.poll_timeout()].into_iter().flatten().min()
    }

    /// Time has passed.
    pub(super) fn time(&mut self, now: Tick) {
        self.inputs.time(now);
        self.log();
        if let Some(count) = self.ignored.rest(now) {
            warn!("{count} more messages that are no command were ignored");
        }
    }

    /// The connection to the broker came or went.
    pub(super) fn link(&mut self, up: bool, now: Tick) {
        self.inputs.link(up, now);
        self.requests.forget();
    }

    /// The broker refuses these subscriptions.
    pub(super) fn refused(&mut self, topics: &[String]) {
        self.inputs.refused(topics);
    }

    /// Whether what is published goes nowhere, and why.
    pub(super) fn unheard(&mut self, why: Option<String>) {
        self.unheard = why;
    }

    /// These topics are not subscribed, for a message that is too large.
    pub(super) fn left_out(&mut self, topics: &[String]) {
        self.left_out = (!topics.is_empty()).then(|| trouble::left_out(topics));
    }

    /// Fresh samples were asked for.
    pub(super) fn asked(&mut self, now: Tick) {
        // Sources that are no data say nothing of who answers.
        if self.inputs.has_outage() {
            return self.requests.forget();
        }
        let verdict = self.requests.asked(now);
        self.judge(verdict);
    }

    /// What is wrong with what comes from the broker, in sentences.
    pub(super) fn warnings(&self, now: Tick) -> Vec<String> {
        let refresh = self.requests.is_unanswered().then(|| self.unanswered());
        let broker = self.unheard.iter().chain(&self.left_out).cloned();
        self.inputs.warnings(now).into_iter().chain(refresh).chain(broker).collect()
    }

    /// What is known of each source.
    pub(super) fn summary(&self, now: Tick) -> serde_json::Value {
        self.inputs.summary(now)
    }

    fn command(&mut self, command: Command, now: Tick) {
        let (charger, is_mode) = match command {
            Command::Mode { charger, .. } => (charger, true),
            Command::FixedCurrent { charger, .. } => (charger, false),
        };
        if charger.is_none() {
            // Older wishes for single chargers are overruled.
            self.wishes.forget(|(_, kind)| *kind == is_mode);
        }
        self.ready.extend(self.wishes.offer((charger, is_mode), command, now).map(Told::Command));
    }

    /// Says what is wrong with a command; the same again and again only once.
    fn refuse(&mut self, topic: &str, error: String, now: Tick) {
        if self.last_ignored.as_ref() == Some(&error) {
            return;
        }
        if let Some(more) = self.ignored.line(now).map(left_out) {
            let topic = excerpt(topic.as_bytes());
            warn!(%error, topic, "ignoring a command: {error}{more}");
        }
        self.last_ignored = Some(error);
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
