//! Follows what the car takes of the current it is offered.
//!
//! A car that is full, asleep, or needs more than it is offered takes nothing. Some such cars ask for current for some seconds at each
//! change of the offer and close the contactor each time. So a car that takes nothing gets a constant offer until it does. It may need a
//! higher current than the lowest: where the surplus allows, a higher one is tried, rarely and each only once.
//!
//! ```text
//!            offer                      draws                       
//!  nothing ────────▶ waiting (constant) ──────▶ taking (the offer follows the surplus)
//!   ▲ ▲                   │                        │
//!   │ └── offer withdrawn ┘ the next one waits     │ draws no more
//!   └──────────── offer withdrawn ─────────────────┴──▶ waiting
//! ```

use crate::facts::Vehicle;
use crate::pause::Pauses;
use crate::units::{Milliamps, Millis, Tick};

/// The needs of a car that takes nothing of the lowest current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The highest current of which it took nothing.
    pub nothing_at: Milliamps,
    /// The lowest current of which it took something, in whole amperes where that is possible.
    pub takes_from: Milliamps,
}

/// A draw below half of the lowest current that can be offered is balancing, preheating or the car's own supply: a higher offer would not
/// bring more.
const TAKES: Milliamps = Milliamps(3_000);
/// A car takes what it is offered within this, unless it sleeps: most need 5 to 30 s.
const PATIENCE: Millis = Millis::from_secs(60);
/// A draw that lasts this long is no accident.
const PROVEN: Millis = Millis::from_secs(15);
/// A higher current is tried when the surplus gives this much more than what the car did not take …
const TRY_FROM: Milliamps = Milliamps(1_000);
/// … and then at most this much more, so that a small cloud does not end it.
const TRY_MORE: Milliamps = Milliamps(2_000);
/// The offer must be constant for this long before a higher one is tried.
const TRY_AFTER: Millis = Millis::from_secs(300);
/// A try that lasts this long counts, however it ends.
const TRIED_AFTER: Millis = Millis::from_secs(20);
/// First pause from one try to the next.
const TRY_FIRST: Millis = Millis::from_secs(600);
/// Longest pause from one try to the next.
const TRY_LONGEST: Millis = Millis::from_secs(3_600);
/// First pause after an offer that was not taken.
const OFFER_FIRST: Millis = Millis::from_secs(120);
/// Longest pause after an offer that was not taken.
const OFFER_LONGEST: Millis = Millis::from_secs(1_800);
/// A car that did not ask for this long and then does has changed its mind.
const ASKS_ANEW: Millis = Millis::from_secs(30);

/// State of the car's uptake, kept until the car leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uptake {
    /// The current offered, and since when; 0 is no offer.
    offer: (Milliamps, Tick),
    drawn: Option<Milliamps>,
    /// Since when it has taken or not taken what it is offered.
    changed_at: Tick,
    taking: bool,
    /// Whether it took something of the present offer.
    took_some: bool,
    /// Whether the next offer should be a small one.
    wary: bool,
    /// The highest current of which it took nothing.
    refused: Option<Milliamps>,
    /// The lowest current of which it took something.
    took: Option<Milliamps>,
    /// The offer, higher than before, at which it began to take.
    began_at: Option<Milliamps>,
    needs: Option<Needs>,
    /// When a try with more than the current of which it took nothing began, while that offer lasts.
    try_began: Option<Tick>,
    tries: Pauses,
    withheld: Pauses,
    quiet_since: Option<Tick>,
}

impl Uptake {
    pub(crate) const fn new() -> Self {
        Self {
            offer: (Milliamps::ZERO, Tick(0)),
            drawn: None,
            changed_at: Tick(0),
            taking: false,
            took_some: false,
            wary: false,
            refused: None,
            took: None,
            began_at: None,
            needs: None,
            try_began: None,
            tries: Pauses::new(TRY_FIRST, TRY_LONGEST),
            withheld: Pauses::new(OFFER_FIRST, OFFER_LONGEST),
            quiet_since: None,
        }
    }

    /// Takes the new offer, `setpoint`.
    pub(crate) fn offered(&mut self, setpoint: Milliamps, now: Tick) {
        let before = core::mem::replace(&mut self.offer, (setpoint, now)).0;
        let tried = self.try_began.take().is_some_and(|at| now.since(at) >= TRIED_AFTER);
        if tried && !self.taking {
            // A cloud has ended the try; the next one will not be longer.
            self.refused = Some(self.refused.map_or(before, |refused| refused.max(before)));
        }
        if before == Milliamps::ZERO {
            self.changed_at = now;
            self.taking = false;
            self.took_some = false;
        } else if setpoint == Milliamps::ZERO {
            self.wary = !self.taking;
            if !self.took_some {
                self.withheld.begin(now);
            }
            self.taking = false;
        } else if setpoint > before && !self.taking {
            self.try_began = Some(now);
            self.tries.begin(now);
        }
    }

    /// Takes the reported state of the car and the current measured on the strongest phase.
    pub(crate) fn follow(&mut self, vehicle: Vehicle, drawn: Option<Milliamps>, now: Tick) {
        if vehicle == Vehicle::Absent {
            *self = Self { offer: self.offer, ..Self::new() };
            return;
        }
        self.drawn = drawn;
        self.listen(vehicle, now);
        if self.offer.0 == Milliamps::ZERO {
            return;
        }
        let takes = drawn.map_or(vehicle == Vehicle::Charging, |drawn| drawn >= TAKES);
        if takes != self.taking {
            self.taking = takes;
            self.changed_at = now;
            self.began_at = takes.then_some(self.offer.0);
        }
        if takes { self.takes(now) } else { self.refuses(now) }
    }

    /// Notes that the car is being woken: what it did not take in its sleep says nothing about what it needs.
    pub(crate) const fn woken(&mut self, now: Tick) {
        self.offer.1 = now;
        self.changed_at = now;
        self.refused = None;
        self.began_at = None;
        self.try_began = None;
        self.tries.forget();
    }

    /// Returns the highest current of which it took nothing for long.
    pub(crate) const fn refused(&self) -> Option<Milliamps> {
        self.refused
    }

    /// Whether it takes what it is offered.
    pub(crate) const fn taking(&self) -> bool {
        self.taking
    }

    /// Returns the current drawn if the car has not taken its offer for long enough to be worth reporting.
    pub(crate) fn leaves(&self, now: Tick) -> Option<Milliamps> {
        let long = self.left_for(now).is_some_and(|span| span >= PATIENCE);
        long.then(|| self.drawn.unwrap_or(Milliamps::ZERO))
    }

    /// Returns how long it has not taken what it is offered; `None` while it does, or is offered nothing.
    pub(crate) fn left_for(&self, now: Tick) -> Option<Millis> {
        (self.offer.0 > Milliamps::ZERO && !self.taking).then(|| now.since(self.changed_at))
    }

    /// Returns the current it was seen to need, if the lowest is not enough.
    pub(crate) const fn needs(&self) -> Option<Needs> {
        self.needs
    }

    /// Returns the lowest current worth offering, if that is known well enough.
    pub(crate) fn worthwhile(&self) -> Option<Milliamps> {
        let close = |needs: &Needs| needs.takes_from.0 - needs.nothing_at.0.min(needs.takes_from.0) <= TRY_MORE.0;
        self.needs.filter(close).map(|needs| needs.takes_from)
    }

    /// Returns the time left until the next offer, after offers that were not taken.
    pub(crate) fn withheld(&self, now: Tick) -> Option<Millis> {
        self.withheld.left(now)
    }

    /// Notes that the user wants something else: the next offer does not wait.
    pub(crate) const fn asked(&mut self) {
        self.withheld.forget();
    }

    /// Returns what to offer instead of `wish`: the same until the car takes it. `min` and `max` bound the offer; `calm` allows a try.
    pub(crate) fn steady(&self, wish: Milliamps, min: Milliamps, max: Milliamps, calm: bool, now: Tick) -> Milliamps {
        let (offer, _) = self.offer;
        if self.taking || wish <= min {
            return wish;
        }
        if offer == Milliamps::ZERO {
            return if self.wary { min } else { wish };
        }
        let more = self.worth_trying(wish, max, now).filter(|_| calm);
        more.unwrap_or(if wish >= offer { offer.max(min) } else { min })
    }

    /// Returns a higher current to try than the one the car did not take, unless the car was seen to take that one before: then it is full.
    /// A current that it was seen to take is tried directly; otherwise the offer rises in small steps.
    fn worth_trying(&self, wish: Milliamps, max: Milliamps, now: Tick) -> Option<Milliamps> {
        let refused = self.refused.filter(|refused| self.took.is_none_or(|took| took > *refused))?;
        let enough = wish.0 >= refused.0.saturating_add(TRY_FROM.0) || (wish >= max && wish > refused);
        let known = self.took.filter(|took| *took <= wish);
        let patience = if known.is_some() { PATIENCE } else { TRY_AFTER };
        let due = now.since(self.offer.1) >= patience && self.tries.left(now).is_none();
        let more = known.unwrap_or((refused + TRY_MORE).min(wish));
        (enough && due && more > self.offer.0).then_some(more)
    }

    fn takes(&mut self, now: Tick) {
        self.took_some = true;
        self.wary = false;
        self.withheld.forget();
        let (offer, since) = self.offer;
        if now.since(self.changed_at) < PROVEN {
            return;
        }
        if let Some((began, refused)) = self.began_at.take().zip(self.refused)
            && began > refused
            && self.took.is_none_or(|took| took > refused)
        {
            self.learn(refused, began);
            self.tries.forget();
        }
        if now.since(since) >= PROVEN {
            let took = self.took.map_or(offer, |took| took.min(offer));
            self.took = Some(took);
            match self.needs {
                Some(needs) if took <= needs.nothing_at => self.needs = None,
                Some(needs) => self.learn(needs.nothing_at, took),
                None => {}
            }
        }
    }

    /// Learns that it took nothing of `refused` and something of `took`; what was learned before may be closer.
    fn learn(&mut self, refused: Milliamps, took: Milliamps) {
        let known = self.needs.map(|needs| needs.takes_from).filter(|from| *from > refused);
        let new = whole_above(took, refused);
        self.needs = Some(Needs { nothing_at: refused, takes_from: known.map_or(new, |known| known.min(new)) });
    }

    fn refuses(&mut self, now: Tick) {
        let (offer, since) = self.offer;
        if now.since(since) >= PATIENCE && now.since(self.changed_at) >= PATIENCE {
            self.refused = Some(self.refused.map_or(offer, |refused| refused.max(offer)));
            self.wary = true;
        }
    }

    /// Lets a car that begins to ask while it is offered nothing have the next offer without waiting.
    fn listen(&mut self, vehicle: Vehicle, now: Tick) {
        match vehicle {
            Vehicle::Requesting => {
                if self.offer.0 == Milliamps::ZERO
                    && self.quiet_since.is_some_and(|since| now.since(since) >= ASKS_ANEW)
                {
                    self.withheld.forget();
                }
                self.quiet_since = None;
            }
            Vehicle::Connected => self.quiet_since = self.quiet_since.or(Some(now)),
            Vehicle::Charging => self.quiet_since = None,
            Vehicle::Absent | Vehicle::Unknown => {}
        }
    }
}

/// Returns `current` in whole amperes, rounded down as far as it stays above `refused`.
fn whole_above(current: Milliamps, refused: Milliamps) -> Milliamps {
    let whole = current.floor_to(Milliamps(1_000));
    if whole > refused { whole } else { current }
}

#[cfg(test)]
mod tests;
