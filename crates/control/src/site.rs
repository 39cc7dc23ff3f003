//! Turns single messages into samples of the site.
//!
//! Home Assistant publishes each entity on its own, only when it changes, and keeps the last value for later subscribers. So the silence of
//! one topic is not staleness: a live message from a group confirms the held values of the group. Three limits apply:
//! - A burst that only repeats known values is no sign of life while a car charges: a broker restarted behind a bridge replays its stored
//!   values that way. It does count if its publisher was seen to repeat unchanged values along with changed ones, and for half an hour
//!   while no car charges, though nothing starts on it after some minutes.
//! - A held value of the net draw does not outlive a change of the cars' power, which must change it too. Nor is its repetition a new
//!   measurement before the meters have certainly been read again.
//! - A stored value is not a measurement until live values of its group have closed the balance with it three times.
//!
//! Messages that arrive in one burst form one sample, which must not be counted twice.
//!
//! ```text
//!           live value                     all meters of the grid's group have spoken, or `settle` is over
//!  closed ─────────────▶ open (gathering) ──────────────────────────────────────────────────▶ open (sampled)
//!     ▲                                                                                            │
//!     └──────────── `settle` is over, or a source speaks a second time (then a new burst opens) ◀──┘
//! ```

use alloc::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, GroupId};
use crate::facts::{Reading, Source, Sources};
use crate::floor::Floor;
use crate::judge::balance::tolerance;
use crate::judge::doubt::Doubt;
use crate::judge::range::{Range, is_possible};
use crate::sample::Sample;
use crate::units::{Millis, Percent, Tick, Watts};

/// The sources that measure power.
const POWERS: [Source; 4] = [Source::Grid, Source::Solar, Source::Battery, Source::Load];
/// Number of samples in which live values of its group must close the balance with a stored value to confirm it.
const CONFIRMED_BY: u8 = 3;
/// While no car charges, repeated values are a sign of life for this long after the last change.
const REPEATS_COUNT_FOR: Millis = Millis::from_secs(1_800);
/// Values of `grid-status` above zero mean that the house is on the grid.
const ON_GRID: i32 = 1;

/// State of the cars, as far as it affects the meters' values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cars {
    /// Values of the net draw that arrived since then show what the cars draw now.
    pub(crate) unmoved_since: Tick,
    /// No car is charging or allowed to.
    pub(crate) at_rest: bool,
    /// The cars have been steady for so long that meters which repeat a value must have been read again.
    pub(crate) steady: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state in disguise")]
struct Burst {
    since: Tick,
    spoke: BTreeSet<Source>,
    /// The sources in `spoke` whose value is new, or could have been.
    told: BTreeSet<Source>,
    /// It shows that the publisher is alive.
    alive: bool,
    /// Whether it contains a power that repeats its last value, and one that changed.
    repeated: bool,
    changed: bool,
    sampled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    value: i32,
    /// When it was received or confirmed.
    at: Tick,
    quality: Quality,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quality {
    Live,
    /// Of unknown age; `agreed` counts the samples in which it agreed with live values.
    Stored {
        agreed: u8,
    },
}

/// The newest value of each source, and the burst under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    held: BTreeMap<Source, Held>,
    alive: BTreeMap<GroupId, Tick>,
    /// When a value of the group last changed.
    changed: BTreeMap<GroupId, Tick>,
    /// Groups whose publisher repeats unchanged powers along with changed ones, so that a repetition is normal.
    repeating: BTreeSet<GroupId>,
    burst: Option<Burst>,
    range: Range,
    floor: Floor,
    cars: Cars,
}

impl Site {
    pub(crate) const fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            alive: BTreeMap::new(),
            changed: BTreeMap::new(),
            repeating: BTreeSet::new(),
            burst: None,
            range: Range::new(),
            floor: Floor::new(),
            cars: Cars { unmoved_since: Tick(0), at_rest: true, steady: true },
        }
    }

    /// Returns a site that knows nothing but whether the grid is gone, which its source may send only when it changes.
    pub(crate) fn anew(&self, config: &Config) -> Self {
        let kept = |source: &Source| *source == Source::GridStatus && config.sources.contains_key(source);
        let held = self.held.iter().filter(|(source, _)| kept(source)).map(|(source, held)| (*source, *held));
        Self { held: held.collect(), ..Self::new() }
    }

    /// Takes the state of the cars. Must be called before each message and timeout.
    pub(crate) const fn cars(&mut self, cars: Cars) {
        self.cars = cars;
    }

    /// Takes a message; returns a sample if this one completes it.
    pub(crate) fn reading(&mut self, reading: Reading, now: Tick, config: &Config) -> Option<Sample> {
        let source = reading.source;
        let group = *config.sources.get(&source)?;
        let Some(value) = reading.value else {
            // An unknown grid status does not mean that the grid is back.
            if source != Source::GridStatus {
                self.held.remove(&source);
            }
            return None;
        };
        if reading.retained || source == Source::GridStatus {
            self.store(source, value, now);
            return None;
        }
        self.doubt_after_silence(group, now, config);
        let admitted = self.range.admits(source, value, now, config);
        let closed = self.range.closes(group, now, config);
        if closed {
            self.distrust(group, config);
        }
        if closed || !admitted {
            // A possible value may not be sent again while it does not change, so it is kept for the balance to confirm.
            self.held.remove(&source);
            if is_possible(source, value, config) {
                self.store(source, value, now);
            }
            return None;
        }
        let earlier = self.leave_burst(source, now, config);
        self.take(source, value, group, now);
        if source == Source::BatterySoc {
            self.floor.charge(value, config);
        }
        earlier.or_else(|| self.sample_if_complete(now, config))
    }

    /// Takes a stored value. It confirms what is held, or shows that something was missed: then it is all that is known.
    fn store(&mut self, source: Source, value: i32, now: Tick) {
        if self.held.get(&source).is_none_or(|held| held.value != value) {
            self.held.insert(source, Held { value, at: now, quality: Quality::Stored { agreed: 0 } });
        }
    }

    /// Takes a live value. In a burst that shows the publisher to be alive, every value is live.
    fn take(&mut self, source: Source, value: i32, group: GroupId, now: Tick) {
        let held = self.held.get(&source).copied();
        let same = held.is_some_and(|held| held.value == value);
        if !same || !self.changed.contains_key(&group) {
            self.changed.insert(group, now);
        }
        let repeats = self.repeating.contains(&group);
        let at_rest = self.cars.at_rest;
        let changed = self.changed.get(&group).map(|at| now.since(*at));
        let lately = |age: Millis| age == Millis(0) || repeats || (at_rest && age <= REPEATS_COUNT_FOR);
        let of_cars = matches!(source, Source::Grid | Source::Battery | Source::Load);
        let burst = self.burst.get_or_insert_with(|| Burst {
            since: now,
            spoke: BTreeSet::new(),
            told: BTreeSet::new(),
            alive: false,
            repeated: false,
            changed: false,
            sampled: false,
        });
        burst.spoke.insert(source);
        if !same || !of_cars || self.cars.steady {
            burst.told.insert(source);
        }
        let power = POWERS.contains(&source);
        burst.repeated |= power && same && held.is_some_and(|held| held.quality == Quality::Live);
        burst.changed |= power && !same;
        burst.alive |= changed.is_some_and(lately);
        let stored = Held { value, at: now, quality: Quality::Stored { agreed: 0 } };
        self.held.entry(source).or_insert(stored).value = value;
        if burst.alive {
            self.alive.insert(group, now);
            for (source, held) in self.held.iter_mut().filter(|(held, _)| burst.spoke.contains(held)) {
                if burst.told.contains(source) {
                    held.at = now;
                }
                held.quality = Quality::Live;
            }
        }
    }

    /// Treats a group's earlier values as stored ones after a long silence of the whole group.
    fn doubt_after_silence(&mut self, group: GroupId, now: Tick, config: &Config) {
        let long = |at: &Tick| now.since(*at) > config.fail_safe.stop_after;
        if self.alive.get(&group).is_some_and(long) {
            self.distrust(group, config);
        }
    }

    /// Treats a group's earlier values as stored ones.
    fn distrust(&mut self, group: GroupId, config: &Config) {
        for (source, held) in &mut self.held {
            if config.sources.get(source) == Some(&group) && held.quality == Quality::Live {
                held.quality = Quality::Stored { agreed: 0 };
            }
        }
    }

    /// Handles the passing of time; returns a sample if the time of a burst is over.
    pub(crate) fn handle_timeout(&mut self, now: Tick, config: &Config) -> Option<Sample> {
        if self.burst_deadline(config).is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.close_burst(now, config)
    }

    /// Returns when the time of the present burst is over.
    pub(crate) fn burst_deadline(&self, config: &Config) -> Option<Tick> {
        self.burst.as_ref().map(|burst| burst.since + config.sampling.settle)
    }

    /// Returns the newest measured value of a power source.
    pub(crate) fn power(&self, source: Source) -> Option<Watts> {
        self.held.get(&source).filter(|held| held.quality == Quality::Live).map(|held| Watts(held.value))
    }

    /// Returns the newest state of charge.
    pub(crate) fn soc(&self) -> Option<Percent> {
        let held = self.held.get(&Source::BatterySoc)?;
        u8::try_from(held.value.clamp(0, 100)).ok().map(Percent)
    }

    /// Returns how long ago a live state of charge last arrived; `None` if only a stored value is known.
    pub(crate) fn soc_age(&self, now: Tick, config: &Config) -> Option<Millis> {
        self.live(Source::BatterySoc, now, config.fail_safe.stop_after, config).map(|held| now.since(held.at))
    }

    /// Whether the battery is near its floor and would still give power.
    pub(crate) fn battery_closed_by_floor(&self, config: &Config) -> bool {
        self.floor.closes(self.soc(), config)
    }

    /// Whether the grid is gone as far as last known; a source that becomes unavailable does not change that.
    pub(crate) fn off_grid(&self) -> bool {
        self.held.get(&Source::GridStatus).is_some_and(|held| held.value < ON_GRID)
    }

    /// Returns the configured power sources without a live value.
    pub(crate) fn missing(&self, now: Tick, config: &Config) -> Sources {
        let wanted = POWERS.into_iter().filter(|source| config.sources.contains_key(source));
        wanted.filter(|source| self.live(*source, now, config.fail_safe.stop_after, config).is_none()).collect()
    }

    /// Whether the held values are not enough for a sample because sources became unavailable.
    pub(crate) fn blind(&self, now: Tick, config: &Config) -> bool {
        let missing = self.missing(now, config);
        let any = |pair: [Source; 2]| pair.into_iter().any(|source| missing.contains(source));
        let known = |source| config.sources.contains_key(&source);
        let indirect = known(Source::Load) && known(Source::Solar) && !any([Source::Load, Source::Solar]);
        any([Source::Grid, Source::Battery]) && !indirect
    }

    /// Returns how long no group that measures power has sent anything new, if that is longer than data is valid. From a publisher that
    /// repeats unchanged values, each message counts as new.
    pub(crate) fn unchanged_for(&self, now: Tick, config: &Config) -> Option<Millis> {
        let groups = || POWERS.iter().filter_map(|source| config.sources.get(source));
        if groups().any(|group| self.repeating.contains(group)) {
            return None;
        }
        let newest = groups().filter_map(|group| self.changed.get(group)).max()?;
        Some(now.since(*newest)).filter(|age| *age > config.fail_safe.stop_after)
    }

    /// Returns an impossible value that still has an effect.
    pub(crate) fn doubt(&self, now: Tick) -> Option<Doubt> {
        self.range.doubt(now)
    }

    /// Closes the burst if a message belongs to the next one: its source is already part of this burst, or the time is over.
    fn leave_burst(&mut self, source: Source, now: Tick, config: &Config) -> Option<Sample> {
        let belongs = self
            .burst
            .as_ref()
            .is_some_and(|burst| now < burst.since + config.sampling.settle && !burst.spoke.contains(&source));
        if belongs { None } else { self.close_burst(now, config) }
    }

    fn close_burst(&mut self, now: Tick, config: &Config) -> Option<Sample> {
        let burst = self.burst.take()?;
        self.learn_habit(&burst, config);
        if burst.sampled { None } else { self.sample(&burst, now, config) }
    }

    /// Learns whether the publisher repeats unchanged values. One that leaves out known values of the group sends only changes.
    fn learn_habit(&mut self, burst: &Burst, config: &Config) {
        let group = |source: &Source| config.sources.get(source).filter(|_| POWERS.contains(source)).copied();
        let groups: BTreeSet<GroupId> = burst.spoke.iter().filter_map(group).collect();
        for id in groups {
            let of_group = |source: &Source| group(source) == Some(id);
            let all = self.held.keys().filter(|source| of_group(source)).all(|source| burst.spoke.contains(source));
            if !all {
                self.repeating.remove(&id);
            } else if burst.repeated && burst.changed {
                self.repeating.insert(id);
            }
        }
    }

    /// Returns a sample once all power meters of the grid's group have sent a value; before that, some values are from the previous poll.
    fn sample_if_complete(&mut self, now: Tick, config: &Config) -> Option<Sample> {
        let burst = self.burst.as_ref()?;
        let grid_group = config.sources.get(&Source::Grid)?;
        let mut meters = POWERS.into_iter().filter(|source| config.sources.get(source) == Some(grid_group));
        if burst.sampled || !meters.all(|source| burst.spoke.contains(&source)) {
            return None;
        }
        let burst = Burst { sampled: true, ..burst.clone() };
        let sample = self.sample(&burst, now, config);
        self.burst = Some(burst);
        sample
    }

    /// Returns the live value of a source whose group is alive.
    fn live(&self, source: Source, now: Tick, limit: Millis, config: &Config) -> Option<Held> {
        let group = config.sources.get(&source)?;
        let alive = self.alive.get(group).is_some_and(|at| now.since(*at) <= limit);
        self.held.get(&source).copied().filter(|held| alive && held.quality == Quality::Live)
    }

    /// Forms a sample. Two ways lead to the net draw: grid + battery, and load − solar. Either can stand in for the other; where both are
    /// known, [`crate::judge`] checks one against the other.
    fn sample(&mut self, burst: &Burst, now: Tick, config: &Config) -> Option<Sample> {
        let has_battery = config.sources.contains_key(&Source::Battery);
        let confirmed = self.confirm_stored(burst, has_battery, now);
        let live = |source| self.live(source, now, config.fail_safe.stale_after, config);
        let idle = Held { value: 0, at: now, quality: Quality::Live };
        // A value that depends on what the cars draw holds until they move.
        let holds = |held: &Held| held.at >= self.cars.unmoved_since;
        let told = |source| burst.told.contains(&source);
        let (grid, load, solar) = (live(Source::Grid), live(Source::Load), live(Source::Solar));
        let battery = if has_battery { live(Source::Battery) } else { Some(idle) };
        // Grid and battery that are read together confirm each other: a new value of one proves the other.
        let together = config.sources.get(&Source::Grid) == config.sources.get(&Source::Battery);
        let either = told(Source::Grid) || told(Source::Battery);
        // What a live group leaves out has not changed, once the meters have been read again.
        let group = |source: Source| config.sources.get(&source);
        let left_out = |source| self.cars.steady && burst.told.iter().any(|told| group(*told) == group(source));
        let current =
            |source: Source, held: &Held| told(source) || holds(held) || (together && either) || left_out(source);
        let direct = grid.zip(battery).filter(|(grid, battery)| {
            current(Source::Grid, grid) && (!has_battery || current(Source::Battery, battery))
        });
        let indirect = load.zip(solar).filter(|(load, _)| told(Source::Load) || holds(load));
        let watts = |held: Option<Held>| held.map(|held| Watts(held.value));
        let by_stored = direct.is_none() && indirect.is_none();
        let unconfirmed = if by_stored { confirmed? } else { Sources::NONE };
        let stored = |source| self.held.get(&source).filter(|_| by_stored).map(|held| Watts(held.value));
        let grid = watts(direct.map(|(grid, _)| grid)).or_else(|| stored(Source::Grid));
        let metered = watts(direct.map(|(_, battery)| battery))
            .or_else(|| if has_battery { stored(Source::Battery) } else { by_stored.then_some(Watts::ZERO) });
        let load = watts(indirect.map(|(load, _)| load)).or_else(|| stored(Source::Load));
        let solar = watts(solar).or_else(|| stored(Source::Solar));
        let net = match (grid.zip(metered), load.zip(solar)) {
            (Some((grid, battery)), _) => grid + battery,
            (None, Some((load, solar))) => load - solar,
            (None, None) => return None,
        };
        let live_grid = watts(live(Source::Grid)).filter(|_| grid.is_none());
        let battery = metered.or_else(|| live_grid.map(|grid| net - grid)).unwrap_or(Watts::ZERO);
        let left = match (has_battery, grid.or(live_grid), metered) {
            (false, _, _) => Watts::ZERO,
            (true, Some(grid), _) => load.zip(solar).map_or(net, |(load, solar)| net.max(load - solar)) - grid,
            (true, None, Some(battery)) => battery,
            (true, None, None) => net,
        };
        let sample = Sample {
            at: burst.since,
            net,
            battery,
            battery_most: metered.map_or(left, |battery| battery.max(left)),
            grid: grid.or(live_grid),
            solar,
            load,
            direct: grid.is_some() && metered.is_some(),
            unconfirmed,
            alive: burst.alive,
        };
        if has_battery {
            self.floor.sample(self.soc(), sample.battery, sample.grid, config);
        }
        Some(sample)
    }

    /// Checks stored values against live ones: they are confirmed if the balance of all four closes often enough. Returns those that took
    /// part but are not confirmed yet; `None` if there is nothing to confirm, or the balance does not close.
    fn confirm_stored(&mut self, burst: &Burst, has_battery: bool, now: Tick) -> Option<Sources> {
        let stored = |held: &Held| held.quality != Quality::Live;
        let usable = |source: Source| {
            let held = self.held.get(&source)?;
            let holds = source == Source::Solar || burst.told.contains(&source) || held.at >= self.cars.unmoved_since;
            (holds || stored(held)).then_some((Watts(held.value), stored(held)))
        };
        let battery = if has_battery { usable(Source::Battery)? } else { (Watts::ZERO, false) };
        let (grid, solar, load) = (usable(Source::Grid)?, usable(Source::Solar)?, usable(Source::Load)?);
        let to_confirm = [grid, solar, load, battery].iter().filter(|(_, stored)| *stored).count();
        if to_confirm == 0 || to_confirm > 2 {
            return None;
        }
        let (direct, indirect) = (grid.0 + battery.0, load.0 - solar.0);
        let closes = (indirect - direct).0.saturating_abs() <= tolerance(direct, indirect, load.0).0;
        let mut unconfirmed = Sources::NONE;
        for source in POWERS {
            let Some(held) = self.held.get_mut(&source) else { continue };
            match held.quality {
                Quality::Live => {}
                Quality::Stored { .. } if !closes => held.quality = Quality::Stored { agreed: 0 },
                Quality::Stored { agreed } if agreed + 1 >= CONFIRMED_BY => {
                    *held = Held { at: now, quality: Quality::Live, ..*held };
                }
                Quality::Stored { agreed } => {
                    held.quality = Quality::Stored { agreed: agreed + 1 };
                    unconfirmed.add(source);
                }
            }
        }
        closes.then_some(unconfirmed)
    }
}
