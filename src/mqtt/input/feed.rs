//! One source: its topics, what was received on them, and its outages.

use std::collections::{BTreeMap, VecDeque};

use control::{Millis, Source, Tick};

use super::Rejection;
use super::news::{News, span};
use crate::config::InputConfig;
use crate::model::status::{InputState, InputStatus};
use crate::rate::{Lines, excerpt};

/// Limits the lines about outages: this many at once, then one per [`OUTAGES_EVERY`]. Some integrations drop out briefly at each poll.
const OUTAGES_BURST: u32 = 6;
const OUTAGES_EVERY: Millis = Millis::from_secs(600);
/// An outage that was not logged at its start, because there had been many, is logged once it has lasted this long.
const LONG_OUTAGE: Millis = Millis::from_secs(60);
const HOUR: Millis = Millis::from_secs(3_600);
/// Limit on the outages remembered for the count of the last hour.
const REMEMBERED: usize = 100;

/// A source. See the module.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) config: InputConfig,
    /// The topic of the latest live value.
    live_topic: Option<String>,
    topics: BTreeMap<String, Topic>,
    /// When the last usable live value came.
    live_at: Option<Tick>,
    outage: Option<Outage>,
    /// When recent outages began, for the count of the last hour.
    begun: VecDeque<Tick>,
    lines: Lines,
    /// Set once it has been reported that nothing was ever received.
    missing_said: bool,
}

/// What was received on a topic.
#[derive(Debug, Default)]
struct Topic {
    stored: Option<i32>,
    live: bool,
    refused: bool,
    /// The last payload, with the reason, if it was no data.
    bad: Option<String>,
}

#[derive(Debug)]
struct Outage {
    since: Tick,
    why: String,
    said: bool,
}

/// What is known of a source, from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    /// Nothing was ever received, and the broker refuses the subscription.
    Refused,
    /// Nothing was ever received.
    Never,
    /// What is received is no data.
    Unusable,
    /// Only a value that the broker had stored.
    Stored,
    /// A live value came.
    Live,
}

impl Feed {
    pub(super) fn new(config: InputConfig) -> Self {
        Self {
            topics: config.topics.iter().map(|topic| (topic.clone(), Topic::default())).collect(),
            config,
            live_topic: None,
            live_at: None,
            outage: None,
            begun: VecDeque::new(),
            lines: Lines::new(OUTAGES_BURST, OUTAGES_EVERY),
            missing_said: false,
        }
    }

    /// Returns whether the latest live value came on another topic.
    pub(super) fn is_elsewhere(&self, topic: &str) -> bool {
        self.live_topic.as_deref().is_some_and(|live| live != topic)
    }

    /// Returns whether no topic has had a live value and another one holds a different stored value.
    pub(super) fn is_ambiguous(&self, topic: &str, value: i32) -> bool {
        let others = self.topics.iter().filter(|(name, _)| *name != topic);
        self.live_topic.is_none() && others.filter_map(|(_, other)| other.stored).any(|stored| stored != value)
    }

    pub(super) fn speaks_on(&mut self, topic: &str) {
        if self.live_topic.as_deref() != Some(topic) {
            self.live_topic = Some(topic.to_owned());
        }
    }

    pub(super) fn refused(&mut self, topics: &[String]) {
        for (name, topic) in &mut self.topics {
            topic.refused = topics.contains(name);
        }
    }

    /// Remembers what was received.
    pub(super) fn heard(
        &mut self,
        topic: &str,
        payload: &[u8],
        value: Result<i32, Rejection>,
        retained: bool,
        now: Tick,
    ) {
        let Some(heard) = self.topics.get_mut(topic) else { return };
        heard.bad = value.err().map(|kind| format!("{} ({kind})", excerpt(payload)));
        match value {
            Ok(value) if retained => heard.stored = Some(value),
            Ok(_) => heard.live = true,
            Err(Rejection::Ambiguous) => {}
            Err(_) => heard.stored = None,
        }
        if value.is_ok() && !retained {
            self.live_at = Some(now);
        }
    }

    /// Returns news if the source stops or resumes giving data.
    pub(super) fn edge(
        &mut self,
        source: Source,
        topic: &str,
        payload: &[u8],
        bad: Option<Rejection>,
        now: Tick,
    ) -> Option<News> {
        let Some(kind) = bad else {
            let outage = self.outage.take()?;
            let outages = self.begun.iter().filter(|begun| now.since(**begun) < HOUR).count();
            return outage.said.then_some(News::Back { source, after: now.since(outage.since), outages });
        };
        if self.outage.is_some() {
            return None;
        }
        let why = format!("{topic} says {}, {kind}", excerpt(payload));
        if self.begun.len() >= REMEMBERED {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
        let more = self.lines.line(now);
        self.outage = Some(Outage { since: now, why: why.clone(), said: more.is_some() });
        more.map(|more| News::Lost { source, why, more })
    }

    /// Returns news that is due: an outage that has become long, or the number of outages not logged.
    pub(super) fn handle_timeout(&mut self, source: Source, now: Tick) -> Option<News> {
        let long = |outage: &&mut Outage| !outage.said && now.since(outage.since) >= LONG_OUTAGE;
        if let Some(outage) = self.outage.as_mut().filter(long) {
            outage.said = true;
            return Some(News::Lost { source, why: outage.why.clone(), more: 0 });
        }
        self.lines.rest(now).map(|count| News::More { source, count })
    }

    /// Returns news, once, if nothing was ever received from the source.
    pub(super) fn missing(&mut self, source: Source) -> Option<News> {
        let missing = self.known() <= Known::Never && !std::mem::replace(&mut self.missing_said, true);
        missing.then(|| News::Missing { source, topics: self.topic_list() })
    }

    pub(super) fn known(&self) -> Known {
        let of = |topic: &Topic| match topic {
            Topic { live: true, .. } => Known::Live,
            Topic { stored: Some(_), .. } => Known::Stored,
            Topic { bad: Some(_), .. } => Known::Unusable,
            Topic { refused: true, .. } => Known::Refused,
            Topic { .. } => Known::Never,
        };
        let known = self.topics.values().map(of).max().unwrap_or(Known::Never);
        if self.outage.is_some() { known.min(Known::Unusable) } else { known }
    }

    /// Returns whether the last value was no data.
    pub(super) const fn has_outage(&self) -> bool {
        self.outage.is_some()
    }

    /// Returns a topic whose last payload was no data, with that payload.
    pub(super) fn bad(&self) -> Option<String> {
        self.topics.iter().find_map(|(name, topic)| Some(format!("{name}: {}", topic.bad.as_ref()?)))
    }

    pub(super) fn topic_list(&self) -> String {
        self.config.topics.join(" or ")
    }

    pub(super) fn warning(&self, source: Source, now: Tick) -> Option<String> {
        let outage = self.outage.as_ref().filter(|outage| outage.said)?;
        Some(format!("no data for {} for {}: {}", source.name(), span(now.since(outage.since)), outage.why))
    }

    pub(super) fn status(&self, source: Source, now: Tick) -> InputStatus {
        let state = match self.known() {
            Known::Refused | Known::Never => InputState::Never,
            Known::Unusable => InputState::Unusable,
            Known::Stored => InputState::Stored,
            Known::Live => InputState::Live,
        };
        InputStatus { source, state, age: self.live_at.map(|at| now.since(at)) }
    }
}
