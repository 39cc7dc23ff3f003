//! Whether the meters follow the charger's own current.
//!
//! A change of the charger's current is a known, deliberate change of load: the meters must show it, in its direction and at about its
//! size. Meters that do not see the charger, or have another unit or the wrong sign, show something else. The first sample after a change
//! may have been read before it, so it only prevents a rise; the next one, with the car steady for half a minute, ends the charge. That end
//! is a change as well: if the meters show it, something in the house had changed by chance, and all is well again; if not, they are not
//! believed for an hour. Where only the net draw is known, clouds change it as well, so it is watched for longer; a small change of a known
//! load must be missed several times in a row.
//!
//! While the cars are at rest, a sample that only repeats the one before proves nothing either: a broker may repeat what it has stored.
//!
//! A change counts only if its time is known, so not around a time in which a charger was not measured. A charger is read every few
//! seconds, so a sample may show a change that its power does not show yet: a sample counts as taken before a change only once a later
//! reading of the charger agrees with what was known then.

use super::doubt::Doubt;
use super::evidence::{Evidence, Moved};
use crate::units::{Millis, Tick, Watts};

/// A change of the cars' power by this much can be told apart from changes of the house.
const TELLS: Watts = Watts(2_000);
/// A change of this much is conclusive by itself where the load is known: three phases at 6 A are 4.1 kW.
const TELLS_ALONE: i64 = 3_500;
/// The meters must show at least this share of a change.
const FOLLOWS_PERMILLE: i64 = 300;
/// If they show less than this share, they changed the other way.
const AGAINST_PERMILLE: i64 = -400;
/// Number of small changes of a known load that must be missed in a row.
const CHANGES: u8 = 3;
/// Where only the net draw is known a change must be missed for this long.
const NET_MISSED_FOR: Millis = Millis::from_secs(90);
/// A change that is missed for less than this is not reported.
const A_MOMENT: Millis = Millis::from_secs(5);
/// After a pause of this length between two samples, the house may have changed as much as a car.
const PAUSE_MAX: Millis = Millis::from_secs(300);
/// Below this the cars are at rest: nothing is at stake, and meters that repeat themselves may be a broker that repeats them.
const AT_REST: Watts = Watts(500);
/// How long meters that do not follow are not believed before they get another try.
const TRY_AGAIN: Millis = Millis::from_secs(3_600);

/// What a sample shows about the meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing contradicts them.
    Follows,
    /// They have not followed a change yet.
    Unclear(Doubt),
    /// They do not follow.
    Contradicts(Doubt),
}

/// A sample to compare with: what the meters showed, and the cars' part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    at: Tick,
    metered: Watts,
    cars: Watts,
    /// Whether `metered` is the load, not the net draw alone.
    of_load: bool,
}

/// State of the check: which of the cars' changes the meters have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    /// The last sample before a change that is not settled.
    before: Option<Seen>,
    /// A later one that takes its place if the cars' power at its time proves right.
    waiting: Option<Seen>,
    /// Samples in a row that did not show the change, and since when.
    missed: u8,
    missed_since: Option<Tick>,
    /// Small changes in a row that were missed.
    changes: u8,
    /// When the last sample was taken, and what the meters showed.
    last_at: Option<Tick>,
    last_metered: Option<Watts>,
    verdict: Option<(Tick, Doubt)>,
}

impl Response {
    pub(crate) const fn new() -> Self {
        Self {
            before: None,
            waiting: None,
            missed: 0,
            missed_since: None,
            changes: 0,
            last_at: None,
            last_metered: None,
            verdict: None,
        }
    }

    /// Returns the time of the sample that waits for a reading of the chargers.
    pub(crate) fn waits_since(&self) -> Option<Tick> {
        self.waiting.map(|seen| seen.at)
    }

    /// Takes one sample.
    pub(crate) fn sample(&mut self, evidence: &Evidence) -> Answer {
        let Evidence { at, solar, load, net, cars, .. } = *evidence;
        if self.verdict.is_some_and(|(since, _)| at.since(since) >= TRY_AGAIN) {
            *self = Self::new();
        }
        match evidence.held {
            Some(true) => self.before = self.waiting.take().or(self.before),
            Some(false) => self.waiting = None,
            None => {}
        }
        let metered = solar.map(|solar| solar + net).or(load);
        let seen = Seen { at, metered: metered.unwrap_or(net), cars, of_load: metered.is_some() };
        let answer = self.follows(seen, evidence.moved, evidence.clear_since);
        self.last_at = Some(at);
        self.last_metered = Some(seen.metered);
        self.verdict.map_or(answer, |(_, doubt)| Answer::Contradicts(doubt))
    }

    fn follows(&mut self, seen: Seen, moved: Moved, clear_since: Tick) -> Answer {
        if seen.at < clear_since {
            self.settle(None);
            return Answer::Follows;
        }
        if self.last_at.is_some_and(|last| seen.at.since(last) > PAUSE_MAX) {
            self.settle(None);
            self.settle(Some(seen));
            return Answer::Follows;
        }
        let repeated = seen.cars < AT_REST && self.last_metered == Some(seen.metered);
        if moved == Moved::Lately || repeated {
            return self.pending();
        }
        let comparable = |before: &Seen| before.of_load == seen.of_load && before.at >= clear_since;
        let Some(before) = self.before.filter(comparable) else {
            self.settle(Some(seen));
            return Answer::Follows;
        };
        let change = i64::from((seen.cars - before.cars).0);
        if change.abs() < i64::from(TELLS.0) {
            self.settle(Some(seen));
            return Answer::Follows;
        }
        let shown = i64::from((seen.metered - before.metered).0) * 1_000 / change;
        if shown >= FOLLOWS_PERMILLE {
            self.changes = 0;
            self.verdict = None;
            self.settle(Some(seen));
            return Answer::Follows;
        }
        self.missed = self.missed.saturating_add(1);
        let since = *self.missed_since.get_or_insert(self.last_at.unwrap_or(seen.at));
        let doubt = if shown <= AGAINST_PERMILLE { Doubt::WrongSign } else { Doubt::CarNotSeen };
        let alone = !seen.of_load || change.abs() >= TELLS_ALONE;
        let for_long = seen.of_load || seen.at.since(since) >= NET_MISSED_FOR;
        if moved == Moved::Long && self.missed >= 2 && for_long {
            self.changes = self.changes.saturating_add(1);
            self.settle(Some(seen));
            if alone || self.changes >= CHANGES {
                self.verdict = Some((seen.at, doubt));
            }
            return Answer::Follows;
        }
        // With samples every second, a meter may show the change a moment later.
        if alone && seen.at.since(since) >= A_MOMENT { Answer::Unclear(doubt) } else { Answer::Follows }
    }

    fn settle(&mut self, seen: Option<Seen>) {
        if let Some(seen) = seen {
            // The first that waits: the more samples come between two readings, the sooner one of them counts.
            self.waiting.get_or_insert(seen);
        } else {
            (self.before, self.waiting) = (None, None);
        }
        self.missed = 0;
        self.missed_since = None;
    }

    /// Returns the answer while the meters may not show a change yet: the last one stays.
    const fn pending(&self) -> Answer {
        if self.missed > 1 { Answer::Unclear(Doubt::CarNotSeen) } else { Answer::Follows }
    }
}
