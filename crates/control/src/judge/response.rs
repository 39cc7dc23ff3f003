//! Whether the meters follow the charger's own current.
//!
//! The charger's current is a known change of load, made on purpose: the meters must show it, in its direction and at about its size.
//! Meters that do not see the charger, have another unit or the wrong sign, show something else. The first sample after a change may
//! have been read before it, so it only stops a rise; the next one, with the car steady for longer than any meter is late, ends the
//! charge. That is a change as well: if the meters show it, something in the house had moved by chance, and all is well again; if not,
//! they are not believed for an hour. Small changes, and changes of which only the net draw is known (clouds move it as well), must be
//! missed several times in a row.

use super::doubt::Doubt;
use crate::units::{Millis, Tick, Watts};

/// A change of the cars by this much is told from changes of the house.
const TELLS: Watts = Watts(2_000);
/// One of this much tells by itself where the load is known: three phases at 6 A are 4.1 kW.
const TELLS_ALONE: i64 = 3_500;
/// Cars that move by no more than this do not spoil a comparison: it is a good part less than what tells.
const STILL: Watts = Watts(1_500);
/// The meters must show at least this share of it.
const FOLLOWS_PERMILLE: i64 = 300;
/// With less than this they moved the other way.
const AGAINST_PERMILLE: i64 = -400;
/// Changes in a row that must be missed where one does not tell by itself.
const CHANGES: u8 = 3;
/// A change that is missed for less than this is not said to be missed.
const A_MOMENT: Millis = Millis::from_secs(5);
/// After so long it is tried again.
const TRY_AGAIN: Millis = Millis::from_secs(3_600);

/// When the cars' power last changed, as far as the meters can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So lately that it may not be in the meters.
    Lately,
    /// It should be in the meters, as far as their delay is known.
    Seen,
    /// It must be in the meters, however late they are.
    Long,
}

impl Moved {
    /// By what the cars drew each second before a sample: whether they moved within `soon`, or at all.
    pub(crate) fn by(trail: &[Watts], soon: Millis) -> Self {
        if spread(trail, trail.len()) <= STILL {
            Self::Long
        } else if spread(trail, seconds(soon)) <= STILL {
            Self::Seen
        } else {
            Self::Lately
        }
    }
}

/// By how much the cars moved within the newest seconds of a trail.
pub(crate) fn spread(trail: &[Watts], seconds: usize) -> Watts {
    let window = trail.iter().take(seconds);
    let (low, high) = window.fold((i32::MAX, i32::MIN), |(low, high), x| (low.min(x.0), high.max(x.0)));
    Watts(high.saturating_sub(low).max(0))
}

/// Places of a trail that cover a span.
pub(crate) fn seconds(span: Millis) -> usize {
    usize::try_from(span.0 / 1_000 + 1).unwrap_or(usize::MAX)
}

/// What a sample says of the meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing speaks against them.
    Follows,
    /// They have not followed a change yet.
    Unclear(Doubt),
    /// They do not follow.
    Contradicts(Doubt),
}

/// What the meters showed of the cars' changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    /// The last sample before a change that is not settled: load, and what the cars drew of it.
    before: Option<(Watts, Watts)>,
    /// Whether `before` is of load, not of the net draw alone.
    of_load: bool,
    /// Samples in a row that did not show the change, and since when.
    missed: u8,
    missed_since: Option<Tick>,
    /// Changes in a row that the net draw did not show.
    changes: u8,
    /// When the last sample was taken.
    last_at: Option<Tick>,
    verdict: Option<(Tick, Doubt)>,
}

impl Response {
    pub(crate) const fn new() -> Self {
        Self { before: None, of_load: false, missed: 0, missed_since: None, changes: 0, last_at: None, verdict: None }
    }

    /// Takes one sample: the load where it is known, the net draw, and what the cars drew.
    pub(crate) fn sample(&mut self, load: Option<Watts>, net: Watts, cars: Watts, moved: Moved, now: Tick) -> Answer {
        if self.verdict.is_some_and(|(since, _)| now.since(since) >= TRY_AGAIN) {
            *self = Self::new();
        }
        let answer = self.follows(load, net, cars, moved, now);
        self.last_at = Some(now);
        self.verdict.map_or(answer, |(_, doubt)| Answer::Contradicts(doubt))
    }

    fn follows(&mut self, load: Option<Watts>, net: Watts, cars: Watts, moved: Moved, now: Tick) -> Answer {
        let metered = (load.unwrap_or(net), cars);
        if moved == Moved::Lately {
            return self.pending();
        }
        let Some((load_before, cars_before)) = self.before.filter(|_| self.of_load == load.is_some()) else {
            self.settle(metered, load.is_some());
            return Answer::Follows;
        };
        let change = i64::from((cars - cars_before).0);
        if change.abs() < i64::from(TELLS.0) {
            self.settle(metered, load.is_some());
            return Answer::Follows;
        }
        let shown = i64::from((metered.0 - load_before).0) * 1_000 / change;
        if shown >= FOLLOWS_PERMILLE {
            self.changes = 0;
            self.verdict = None;
            self.settle(metered, load.is_some());
            return Answer::Follows;
        }
        let alone = load.is_some() && change.abs() >= TELLS_ALONE;
        let doubt = if shown <= AGAINST_PERMILLE { Doubt::WrongSign } else { Doubt::CarNotSeen };
        self.missed = self.missed.saturating_add(1);
        let since = *self.missed_since.get_or_insert(self.last_at.unwrap_or(now));
        if moved == Moved::Long && self.missed >= 2 {
            self.changes = self.changes.saturating_add(1);
            self.settle(metered, load.is_some());
            if alone || self.changes >= CHANGES {
                self.verdict = Some((now, doubt));
            }
            return Answer::Follows;
        }
        // With samples every second, a meter may show the change a moment later.
        if alone && now.since(since) >= A_MOMENT { Answer::Unclear(doubt) } else { Answer::Follows }
    }

    fn settle(&mut self, metered: (Watts, Watts), of_load: bool) {
        self.before = Some(metered);
        self.of_load = of_load;
        self.missed = 0;
        self.missed_since = None;
    }

    /// While a change is not in the meters yet, what was said of it stays.
    const fn pending(&self) -> Answer {
        if self.missed > 1 && self.of_load { Answer::Unclear(Doubt::CarNotSeen) } else { Answer::Follows }
    }
}
