//! Checks of single values, shared by all tables: each one returns the value in the domain's type, or reports what is wrong.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use control::{Milliamps, Millis, Percent};

use super::report::{Report, Reported};
use super::{Environment, Files, KnownProfile, names};

/// Lowest current a charger can offer, in amperes: a duty cycle of 10 % (IEC 61851-1).
pub(super) const CURRENT_MIN_A: f64 = 6.0;

/// What the checks need to know besides the file: where named files are, whether they are opened, and the known profiles.
pub(super) struct Surroundings<'a> {
    /// The directory of the configuration file.
    pub(super) directory: &'a Path,
    pub(super) environment: &'a Environment,
    pub(super) files: Files,
    pub(super) known_profiles: &'a [KnownProfile<'a>],
}

impl Surroundings<'_> {
    /// Returns the path of a file named in the configuration: systemd's credential with that file name, if there is one. Otherwise a
    /// relative name is resolved in the configuration file's directory.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        if let (Some(credentials), Files::Read) = (&self.environment.credentials_directory, self.files) {
            // systemd's credentials have names, not paths: certs/gateway.key is passed on as gateway.key.
            let handed_over = credentials.join(Path::new(name).file_name().unwrap_or_default());
            if handed_over.exists() {
                return handed_over;
            }
        }
        self.directory.join(name)
    }
}

impl Report<'_> {
    /// Checks a number within a range that must be a whole number of steps; `steps` is the number of steps per unit.
    fn number(&mut self, path: &str, value: f64, range: RangeInclusive<f64>, steps: f64) -> Option<u64> {
        if self.broken(path) {
            return None;
        }
        let (min, max) = (range.start(), range.end());
        // Written this way so that NaN fails.
        if !range.contains(&value) {
            self.error(path, format!("{value} is out of range"), format!("use a number from {min} to {max}"));
            return None;
        }
        let scaled = value * steps;
        if (scaled - scaled.round()).abs() > 1e-6 {
            let (below, above) = (scaled.floor() / steps, scaled.ceil() / steps);
            let step = 1.0 / steps;
            let fine = if steps > 1.0 { format!("is finer than {step}") } else { "is not a whole number".to_owned() };
            self.error(path, format!("{value} {fine}"), format!("use {below} or {above}"));
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "all ranges are positive and far below 2^53"
        )]
        Some(scaled.round() as u64)
    }

    /// Checks a whole number within a range; the integer type must be able to hold the range.
    pub(super) fn whole<T: TryFrom<u64>>(&mut self, path: &str, value: f64, range: RangeInclusive<f64>) -> Option<T> {
        T::try_from(self.number(path, value, range, 1.0)?).ok()
    }

    /// Checks a share; returns it in thousandths.
    pub(super) fn share(&mut self, path: &str, value: f64, range: RangeInclusive<f64>) -> Option<u16> {
        u16::try_from(self.number(path, value, range, 1_000.0)?).ok()
    }

    /// Checks a state of charge, 0 … 100 in whole percent.
    pub(super) fn percent(&mut self, path: &str, value: f64) -> Option<Percent> {
        self.whole(path, value, 0.0..=100.0).map(Percent)
    }

    /// Checks a duration given in seconds, to the millisecond.
    pub(super) fn seconds(&mut self, path: &str, value: f64, range: RangeInclusive<f64>) -> Option<Millis> {
        self.number(path, value, range, 1_000.0).map(Millis)
    }

    /// Checks a duration given in seconds, where 0 means never.
    pub(super) fn seconds_or_never(
        &mut self,
        path: &str,
        value: f64,
        range: RangeInclusive<f64>,
    ) -> Result<Option<Millis>, Reported> {
        // Also takes -0.0, which TOML has.
        if value == 0.0 && !self.broken(path) {
            return Ok(None);
        }
        if !range.contains(&value) {
            let (min, max) = (range.start(), range.end());
            let remedy = format!("use 0 for never, or {min} to {max}");
            self.error(path, format!("{value} is out of range"), remedy);
            return Err(Reported);
        }
        self.seconds(path, value, range).map(Some).ok_or(Reported)
    }

    /// Checks a duration given in milliseconds.
    pub(super) fn millis(&mut self, path: &str, value: f64, range: RangeInclusive<f64>) -> Option<Millis> {
        self.whole(path, value, range).map(Millis)
    }

    /// Checks a current that a car can be offered, 6 A … `max` in tenths of an ampere.
    pub(super) fn current(&mut self, path: &str, value: f64, max: f64) -> Option<Milliamps> {
        if value > 0.0 && value < CURRENT_MIN_A {
            let message = format!("{value} A is too little: a car cannot be offered less than 6 A (IEC 61851-1)");
            self.error(path, message, format!("use 6 to {max}"));
            return None;
        }
        self.number(path, value, CURRENT_MIN_A..=max, 10.0).map(deciamps)
    }

    /// Checks a current that is 0 or can be offered to a car.
    pub(super) fn current_or_zero(&mut self, path: &str, value: f64, max: f64) -> Option<Milliamps> {
        if value > 0.0 && value < CURRENT_MIN_A {
            let message =
                format!("{value} A is neither off nor enough: a car cannot be offered less than 6 A (IEC 61851-1)");
            self.error(path, message, format!("use 0 for no charging, or 6 to {max}"));
            return None;
        }
        // Also takes -0.0, which TOML has.
        if value == 0.0 && !self.broken(path) {
            return Some(Milliamps::ZERO);
        }
        if !(CURRENT_MIN_A..=max).contains(&value) {
            let remedy = format!("use 0 for no charging, or 6 to {max}");
            self.error(path, format!("{value} is out of range"), remedy);
            return None;
        }
        self.current(path, value, max)
    }

    /// Checks a fuse's rated current, in tenths of an ampere.
    pub(super) fn fuse(&mut self, path: &str, value: f64, range: RangeInclusive<f64>) -> Option<Milliamps> {
        self.number(path, value, range, 10.0).map(deciamps)
    }

    /// Checks a word that must be one of a few choices.
    pub(super) fn choice<T: Copy>(&mut self, path: &str, word: &str, choices: &[(&str, T)]) -> Option<T> {
        if self.broken(path) {
            return None;
        }
        let found = choices.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let known = choices.iter().map(|(name, _)| *name);
            let remedy = match names::nearest(word, known.clone()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => {
                    format!("use one of {}", known.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "))
                }
            };
            self.error(path, format!("\"{}\" is not known here", shortened(word)), remedy);
        }
        found.map(|(_, choice)| *choice)
    }

    /// Checks a topic without wildcards.
    pub(super) fn topic(&mut self, path: &str, topic: &str) -> Option<String> {
        if self.broken(path) {
            return None;
        }
        if let Some(fault) = names::topic_fault(topic) {
            self.error(path, fault, "write the exact topic, as `mosquitto_sub -v -t '#'` shows it");
            return None;
        }
        Some(topic.to_owned())
    }

    /// Checks a topic prefix of at most `max` bytes.
    pub(super) fn topic_prefix(&mut self, path: &str, prefix: &str, max: usize) -> Option<String> {
        if self.broken(path) {
            return None;
        }
        if let Some(fault) = names::prefix_fault(prefix) {
            self.error(path, fault, "write the levels with single slashes between them, such as \"home/car\"");
            return None;
        }
        if prefix.len() > max {
            // Small clients accept packets of 128 bytes, topic and payload together.
            let message = format!("it is {} bytes long: small clients could not take the messages", prefix.len());
            self.error(path, message, format!("use at most {max} bytes"));
            return None;
        }
        Some(prefix.to_owned())
    }
}

/// Converts tenths of an ampere.
fn deciamps(tenths: u64) -> Milliamps {
    Milliamps(u32::try_from(tenths.saturating_mul(100)).unwrap_or(0))
}

/// Shortens a long text from the user for a message.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 40;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
