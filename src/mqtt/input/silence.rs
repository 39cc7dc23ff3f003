//! Detects that nothing usable comes from any source; tells for how long, and what the usual cause is.

use std::collections::BTreeMap;

use control::{Millis, Source, Tick};

use super::feed::{Feed, Known};
use super::news::{News, span};

/// How long a silence must last to be logged. Home Assistant's Powerwall integration publishes every 30 s.
const LONG: Millis = Millis::from_secs(120);
/// Interval at which a continuing silence is logged again.
const AGAIN: Millis = Millis::from_secs(3_600);

/// Measures how long nothing usable has come while there was a connection.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When the connection was made, or the last usable message came on it; `None` without a connection.
    since: Option<Tick>,
    /// When the connection was made.
    connected: Option<Tick>,
    said: Option<Tick>,
}

impl Silence {
    pub(super) fn link(&mut self, up: bool, now: Tick) {
        self.connected = up.then_some(now);
        // A long silence continues across a short interruption.
        self.since = if self.said.is_some() { self.since.or(self.connected) } else { self.connected };
    }

    /// Notes that a usable message came; returns news if that ends a silence.
    pub(super) fn heard(&mut self, now: Tick) -> Option<News> {
        let after = now.since(self.since.replace(now).unwrap_or(now));
        self.said.take().map(|_| News::SilenceOver { after })
    }

    pub(super) fn handle_timeout(&mut self, sources: &mut BTreeMap<Source, Feed>, now: Tick) -> Vec<News> {
        let (Some(since), Some(connected)) = (self.since, self.connected) else { return Vec::new() };
        if sources.is_empty() || now.since(connected) < LONG {
            return Vec::new();
        }
        if now.since(since) < LONG {
            return sources.iter_mut().filter_map(|(source, feed)| feed.missing(*source)).collect();
        }
        if self.said.is_some_and(|at| now.since(at) < AGAIN) {
            return Vec::new();
        }
        self.said = Some(now);
        vec![News::Silent(report(sources, now.since(since)))]
    }

    /// Returns whether a silence has been logged and continues.
    pub(super) const fn is_long(&self) -> bool {
        self.said.is_some()
    }

    pub(super) fn lasts(&self, now: Tick) -> Millis {
        self.since.map_or(Millis(0), |since| now.since(since))
    }
}

/// Describes what is known of each source, and the usual cause.
pub(super) fn report(sources: &BTreeMap<Source, Feed>, lasts: Millis) -> String {
    let of = |known: Known| sources.iter().filter(move |(_, feed)| feed.known() == known);
    let names = |known: Known| of(known).map(|(source, _)| source.name()).collect::<Vec<_>>().join(", ");
    let topics = |known: Known| {
        let topic = |(source, feed): (&Source, &Feed)| format!("{} ({})", feed.topic_list(), source.name());
        of(known).map(topic).collect::<Vec<_>>().join("; ")
    };
    let best = sources.values().map(Feed::known).max().unwrap_or(Known::Never);
    let mut text = format!("no site data for {}", span(lasts));
    let mut add = |part: String| {
        text.push_str(": ");
        text.push_str(&part);
    };
    let cause = match best {
        Known::Refused => {
            "the broker's access list does not let this user read the topics (Mosquitto: \"topic read homeassistant/#\")"
        }
        Known::Never => {
            "usually the broker's access list does not let this user read the topics (Mosquitto: \"topic read homeassistant/#\"), or \
             base-topic or site-name in [inputs] is not that of Home Assistant, or mqtt_statestream is not set up"
        }
        Known::Unusable => {
            "usually the integration in Home Assistant has lost its device, or [inputs] is set for another kind of payload than published"
        }
        Known::Stored => {
            "usually Home Assistant is stopped, or its integration or mqtt_statestream no longer publishes; stored values are of an \
             unknown age and are not used for control"
        }
        Known::Live => {
            "usually Home Assistant or its integration has stopped, or no value changes: mqtt_statestream publishes changes only"
        }
    };
    let mut parts = Vec::new();
    if best == Known::Live {
        parts.push(format!("{} sent live values before", names(Known::Live)));
    }
    if of(Known::Stored).next().is_some() {
        parts.push(format!("{}: only a stored value", names(Known::Stored)));
    }
    let bad: Vec<String> = of(Known::Unusable).filter_map(|(_, feed)| feed.bad()).collect();
    if !bad.is_empty() {
        parts.push(format!("what is received is no data: {}", bad.join("; ")));
    }
    if of(Known::Never).next().is_some() {
        parts.push(format!("nothing ever came on {}, not even a stored value", topics(Known::Never)));
    }
    if of(Known::Refused).next().is_some() {
        parts.push(format!("the broker refuses the subscription of {}", topics(Known::Refused)));
    }
    add(parts.join(", "));
    text + ". " + &capital(cause)
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().collect::<String>() + characters.as_str()).unwrap_or_default()
}
