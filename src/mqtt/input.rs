//! Turns payloads into readings. Pure: no client, no clock. A payload becomes a value or *no data*, never mistakenly a believable 0.
//! Freshness is judged by the controller, by group, and not here. What users are told about outages and silence is in [`news`].

use std::collections::BTreeMap;
use std::fmt;

use control::{Reading, Source, Tick};
use serde_json::Value;

use crate::config::{InputConfig, Unit};
use crate::decimal::Decimal;
use crate::model::status::InputStatus;

mod feed;
pub mod news;
mod silence;
#[cfg(test)]
mod tests;

use feed::Feed;
use news::News;
use silence::Silence;

/// Longest payload that is parsed: no meter needs more.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Largest power accepted as a reading, in watts. What is too much for this particular house is for the controller to judge, so it must get
/// the value.
const MAX_POWER_W: i32 = 1_000_000_000;

/// Lowest reading still taken for 0, in watts: meters of production and consumption read slightly below zero when nothing flows (inverter
/// standby).
const SLIGHTLY_NEGATIVE_W: i32 = -100;

/// Why a payload is no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Home Assistant's `unavailable`.
    Unavailable,
    /// Home Assistant's `unknown`, `none`, or JSON `null`.
    Unknown,
    /// An empty payload (a retained value was deleted).
    Empty,
    /// `nan` or `inf`.
    NotFinite,
    /// Text that is not a plain number: with a unit, with a decimal comma, a word.
    NotANumber,
    /// Not UTF-8.
    NotText,
    /// Longer than [`MAX_PAYLOAD`].
    TooLong,
    /// A pointer is configured and the payload is not JSON.
    NotJson,
    /// The JSON has nothing at the pointer.
    Missing,
    /// Neither `on` nor `off`.
    NotOnOff,
    /// The JSON has a bool, array or object at the pointer.
    WrongType,
    /// Another topic of the same source holds a different stored value, and no live value has come on any of them.
    Ambiguous,
    /// Not plausible: more than a gigawatt, a state of charge outside 0 … 100 %, or production or consumption clearly below zero.
    OutOfRange,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "unavailable in Home Assistant",
            Self::Unknown => "unknown in Home Assistant",
            Self::Empty => "empty",
            Self::NotFinite => "not a finite number",
            Self::NotANumber => "not a plain number (no units, a point as decimal mark)",
            Self::NotText => "not UTF-8 text",
            Self::TooLong => "too long",
            Self::NotJson => "not JSON, though a pointer is configured",
            Self::Missing => "JSON without a value at the pointer",
            Self::WrongType => "JSON with something else than a number at the pointer",
            Self::NotOnOff => "neither on nor off",
            Self::Ambiguous => {
                "another topic of this source holds another stored value (delete the one that is no longer written: \
                 mosquitto_pub -r -n -t TOPIC)"
            }
            Self::OutOfRange => "outside of what is plausible (wrong unit or sign?)",
        })
    }
}

/// All sources and what is known of their topics.
#[derive(Debug)]
pub struct Inputs {
    feeds: BTreeMap<String, Vec<Source>>,
    sources: BTreeMap<Source, Feed>,
    silence: Silence,
    news: Vec<News>,
}

impl Inputs {
    /// Creates the inputs as configured.
    pub fn new(configs: &BTreeMap<Source, InputConfig>) -> Self {
        let mut feeds: BTreeMap<String, Vec<Source>> = BTreeMap::new();
        for (source, config) in configs {
            for topic in &config.topics {
                let fed = feeds.entry(topic.clone()).or_default();
                if !fed.contains(source) {
                    fed.push(*source);
                }
            }
        }
        let sources = configs.iter().map(|(source, config)| (*source, Feed::new(config.clone()))).collect();
        Self { feeds, sources, silence: Silence::default(), news: Vec::new() }
    }

    /// Returns the topics to subscribe to, each once.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.feeds.keys().map(String::as_str)
    }

    /// Returns the readings in a message; none if the topic is not one of ours.
    ///
    /// If several topics serve one source (old and new entity names), the one with the latest live value counts: retained values on the
    /// others are left over from renamed entities, and an `unavailable` there says nothing about the source. Before any live value,
    /// different stored values on two of them are no data, because there is no telling which one is left over.
    pub fn message(&mut self, topic: &str, payload: &[u8], retained: bool, now: Tick) -> Vec<Reading> {
        let Some(sources) = self.feeds.get(topic) else { return Vec::new() };
        let text = Text::of(payload);
        let mut readings = Vec::with_capacity(sources.len());
        for source in sources {
            let Some(feed) = self.sources.get_mut(source) else { continue };
            let mut value = value(&feed.config, *source, &text);
            if retained && value.is_ok_and(|value| feed.is_ambiguous(topic, value)) {
                value = Err(Rejection::Ambiguous);
            }
            feed.heard(topic, payload, value, retained, now);
            if !retained && value.is_ok() {
                self.news.extend(self.silence.heard(now));
            }
            if feed.is_elsewhere(topic) && (retained || value.is_err()) {
                continue;
            }
            if !retained && value.is_ok() {
                feed.speaks_on(topic);
            }
            self.news.extend(feed.edge(*source, topic, payload, value.err(), now));
            readings.push(Reading { source: *source, value: value.ok(), retained });
        }
        readings
    }

    /// Notes that the connection to the broker is up or down: without one, silence has another reason.
    pub fn link(&mut self, up: bool, now: Tick) {
        self.silence.link(up, now);
    }

    /// Notes that the broker refuses the subscription of these topics.
    pub fn refused(&mut self, topics: &[String]) {
        for feed in self.sources.values_mut() {
            feed.refused(topics);
        }
    }

    /// Handles the passing of time: a silence may have become long.
    pub fn handle_timeout(&mut self, now: Tick) {
        for (source, feed) in &mut self.sources {
            self.news.extend(feed.handle_timeout(*source, now));
        }
        self.news.extend(self.silence.handle_timeout(&mut self.sources, now));
    }

    /// Returns what should be logged since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Returns what is wrong at the moment, in sentences.
    pub fn warnings(&self, now: Tick) -> Vec<String> {
        let silent = self.silence.is_long().then(|| silence::report(&self.sources, self.silence.lasts(now)));
        let outages = self.sources.iter().filter_map(|(source, feed)| feed.warning(*source, now));
        silent.into_iter().chain(outages).collect()
    }

    /// Returns whether the last value of any source was no data.
    pub fn has_outage(&self) -> bool {
        self.sources.values().any(Feed::has_outage)
    }

    /// Returns what is known of each source.
    pub fn statuses(&self, now: Tick) -> Vec<InputStatus> {
        self.sources.iter().map(|(source, feed)| feed.status(*source, now)).collect()
    }
}

fn value(config: &InputConfig, source: Source, text: &Text<'_>) -> Result<i32, Rejection> {
    match config.unit {
        Unit::OnOff => return text.on_off(),
        Unit::Any => return text.mark(),
        Unit::Watt | Unit::Kilowatt | Unit::Percent => {}
    }
    let decimal = match &config.pointer {
        None => text.number()?,
        Some(pointer) => text.number_at(pointer)?,
    };
    let scale = match config.unit {
        Unit::Watt | Unit::Percent | Unit::OnOff | Unit::Any => 0,
        Unit::Kilowatt => 3,
    };
    let value = decimal.rounded(scale).ok_or(Rejection::OutOfRange)?;
    plausible(source, if config.negate { value.saturating_neg() } else { value })
}

/// Returns the value if it is plausible, in watts or percent, after the sign has been corrected.
fn plausible(source: Source, value: i32) -> Result<i32, Rejection> {
    let (range, value) = match source {
        Source::Grid | Source::Battery => (-MAX_POWER_W..=MAX_POWER_W, value),
        Source::Solar | Source::Load if (SLIGHTLY_NEGATIVE_W..0).contains(&value) => (0..=0, 0),
        Source::Solar | Source::Load => (0..=MAX_POWER_W, value),
        Source::BatterySoc => (0..=100, value),
        Source::GridStatus | Source::Heartbeat => (i32::MIN..=i32::MAX, value),
    };
    if range.contains(&value) { Ok(value) } else { Err(Rejection::OutOfRange) }
}

/// A payload, decoded once for all the sources it feeds.
struct Text<'a> {
    text: Result<&'a str, Rejection>,
    json: std::cell::OnceCell<Option<Value>>,
}

impl<'a> Text<'a> {
    fn of(payload: &'a [u8]) -> Self {
        let text = if payload.len() > MAX_PAYLOAD {
            Err(Rejection::TooLong)
        } else {
            std::str::from_utf8(payload).map(str::trim).map_err(|_| Rejection::NotText)
        };
        Self { text, json: std::cell::OnceCell::new() }
    }

    /// Returns the payload itself as a number, with or without JSON quotes.
    fn number(&self) -> Result<Decimal, Rejection> {
        number(unquoted(self.text?))
    }

    /// Returns 1 for `on`, 0 for `off`.
    fn on_off(&self) -> Result<i32, Rejection> {
        let text = unquoted(self.text?);
        let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        if is(["on", "true", "1"]) {
            Ok(1)
        } else if is(["off", "false", "0"]) {
            Ok(0)
        } else {
            Err(no_data_word(text).unwrap_or(Rejection::NotOnOff))
        }
    }

    /// Returns a number that tells one text from another (FNV-1a, folded).
    fn mark(&self) -> Result<i32, Rejection> {
        let text = unquoted(self.text?);
        if let Some(kind) = no_data_word(text) {
            return Err(kind);
        }
        let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Ok(hash.cast_signed())
    }

    /// Returns the number at a JSON pointer.
    fn number_at(&self, pointer: &str) -> Result<Decimal, Rejection> {
        let text = self.text?;
        // Home Assistant also publishes these words in place of the document.
        if let Some(kind) = no_data_word(unquoted(text)) {
            return Err(kind);
        }
        let json = self.json.get_or_init(|| serde_json::from_str(text).ok());
        let json = json.as_ref().ok_or(Rejection::NotJson)?;
        match json.pointer(pointer) {
            None => Err(Rejection::Missing),
            Some(Value::Null) => Err(Rejection::Unknown),
            // The shortest text of a double is the decimal that was written, up to 15 digits.
            Some(Value::Number(value)) => number(&value.to_string()),
            Some(Value::String(text)) => number(text.trim()),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(Rejection::WrongType),
        }
    }
}

fn number(text: &str) -> Result<Decimal, Rejection> {
    match no_data_word(text) {
        Some(kind) => Err(kind),
        None => Decimal::parse(text).ok_or(Rejection::NotANumber),
    }
}

fn no_data_word(text: &str) -> Option<Rejection> {
    if text.is_empty() {
        return Some(Rejection::Empty);
    }
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["unavailable"]) {
        Some(Rejection::Unavailable)
    } else if is(&["unknown", "none", "null"]) {
        Some(Rejection::Unknown)
    } else if is(&["nan", "-nan", "+nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"]) {
        Some(Rejection::NotFinite)
    } else {
        None
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map_or(text, str::trim)
}
