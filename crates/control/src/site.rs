//! From single messages to samples of the site.
//!
//! Home Assistant publishes each entity on its own, only when it changes, and keeps the last value for whoever subscribes later.
//! So: silence of one topic is not staleness (any live message of a group proves the group alive); a stored value is not a
//! measurement; and messages that come in one burst are one sample, which must not be counted twice. A burst without news of the
//! net draw (the battery's charge, an inverter that is polled by itself) is none: it would hold old meters against the car of now.
//!
//! ```text
//!           live value                     all meters of the grid's group have spoken, or `settle` is over
//!  closed ─────────────▶ open (gathering) ──────────────────────────────────────────────────▶ open (sampled)
//!     ▲                                                                                            │
//!     └──────────── `settle` is over, or a source speaks a second time (then a new burst opens) ◀──┘
//! ```

use alloc::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, GroupId};
use crate::types::{Reading, Source};
use crate::units::{Millis, Percent, Tick, Watts};

/// Meters that disagree by no more than this (plus a twentieth of the largest) agree.
const BALANCE_TOLERANCE: Watts = Watts(300);
/// More than this is not the meters' noise.
const GIVES: Watts = Watts(100);
/// A battery that came down to its floor counts as there until it is so many points above: else a charge that it helps to hold would
/// empty it again within minutes, and start and stop with it.
const FLOOR_LEFT_AT: u8 = 5;
/// A disagreement is believed after this many samples in a row: one may be skew between meters.
const IMBALANCE_SAMPLES: u8 = 3;

/// The net draw of house and cars on everything that is not sun, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When its first message came.
    pub(crate) at: Tick,
    /// `grid + battery`: what is drawn beyond the sun; negative is surplus going elsewhere.
    pub(crate) net: Watts,
    /// Battery power, 0 where there is no battery.
    pub(crate) battery: Watts,
    /// The most that the battery may be giving: what it says, or what the balance leaves for it where that is more or it says nothing.
    pub(crate) battery_most: Watts,
    /// Grid power, where known.
    pub(crate) grid: Option<Watts>,
    /// Production, where known.
    pub(crate) solar: Option<Watts>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Burst {
    since: Tick,
    spoke: BTreeSet<Source>,
    sampled: bool,
}

/// The newest value of each source, and the burst under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    values: BTreeMap<Source, i32>,
    alive: BTreeMap<GroupId, Tick>,
    burst: Option<Burst>,
    imbalance: Option<Watts>,
    imbalanced: u8,
    /// The battery was at its floor, and has not left it by [`FLOOR_LEFT_AT`] since.
    near_floor: bool,
    /// State of charge as the broker had stored it.
    stored_soc: Option<i32>,
    /// The battery was seen to give nothing at its floor, while the grid gave: it keeps that charge by itself.
    keeps_floor: bool,
}

impl Site {
    pub(crate) const fn new() -> Self {
        Self {
            values: BTreeMap::new(),
            alive: BTreeMap::new(),
            burst: None,
            imbalance: None,
            imbalanced: 0,
            near_floor: false,
            stored_soc: None,
            keeps_floor: false,
        }
    }

    /// Takes a message; returns a sample if this one completes it.
    pub(crate) fn reading(&mut self, reading: Reading, now: Tick, config: &Config) -> Option<Sample> {
        let group = *config.sources.get(&reading.source)?;
        let Some(value) = reading.value else {
            self.values.remove(&reading.source);
            return None;
        };
        if reading.retained {
            if reading.source == Source::BatterySoc {
                self.stored_soc = Some(value);
            }
            // It confirms what is held, or shows that something was missed: then nothing is known until the source speaks.
            if self.values.get(&reading.source).is_some_and(|held| *held != value) {
                self.values.remove(&reading.source);
            }
            return None;
        }
        self.forget_after_silence(group, now, config);
        self.values.insert(reading.source, value);
        if reading.source == Source::BatterySoc {
            let left_at = if self.near_floor { FLOOR_LEFT_AT } else { 1 };
            self.near_floor = value < i32::from(config.battery.floor_soc.0) + i32::from(left_at);
        }
        self.alive.insert(group, now);
        let earlier = self.join_burst(reading.source, now, config);
        earlier.or_else(|| self.sample_if_complete(now, config))
    }

    /// After a long silence of a whole group, what its sources said before it says nothing of now.
    fn forget_after_silence(&mut self, group: GroupId, now: Tick, config: &Config) {
        let long = |at: &Tick| now.since(*at) > config.fail_safe.stop_after;
        if self.alive.get(&group).is_some_and(long) {
            self.values.retain(|source, _| config.sources.get(source) != Some(&group));
        }
    }

    /// Time has passed; returns a sample if a burst has had its time.
    pub(crate) fn timeout(&mut self, now: Tick, config: &Config) -> Option<Sample> {
        if self.burst_deadline(config).is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.close_burst(now, config)
    }

    /// When the burst under way has had its time.
    pub(crate) fn burst_deadline(&self, config: &Config) -> Option<Tick> {
        self.burst.as_ref().map(|burst| burst.since + config.sampling.settle)
    }

    /// The newest value of a power source.
    pub(crate) fn power(&self, source: Source) -> Option<Watts> {
        self.values.get(&source).copied().map(Watts)
    }

    /// The newest state of charge, while its group is alive.
    pub(crate) fn soc(&self, now: Tick, config: &Config) -> Option<Percent> {
        let value = self.fresh(Source::BatterySoc, now, config.fail_safe.stop_after, config)?;
        u8::try_from(value.clamp(0, 100)).ok().map(Percent)
    }

    /// Whether the battery is near its floor and would give all the same. Before its charge was heard live, a stored value may say so,
    /// but may not say otherwise.
    pub(crate) fn battery_closed_by_floor(&self, now: Tick, config: &Config) -> bool {
        if self.battery_at_floor(now, config) { !self.keeps_floor } else { self.near_floor }
    }

    fn battery_at_floor(&self, now: Tick, config: &Config) -> bool {
        let floor = config.battery.floor_soc.0;
        let stored = self.stored_soc.is_some_and(|soc| soc <= i32::from(floor));
        self.soc(now, config).map_or(stored, |soc| soc.0 <= floor)
    }

    /// Whether a battery at its floor gives when something is wanted shows in the samples themselves.
    fn watch_floor(&mut self, sample: &Sample, now: Tick, config: &Config) {
        if !self.battery_at_floor(now, config) || sample.battery > GIVES {
            self.keeps_floor = false;
        } else if sample.grid.is_some_and(|grid| grid > GIVES) {
            self.keeps_floor = true;
        }
    }

    /// What the meters disagree by, once it is believed.
    pub(crate) const fn imbalance(&self) -> Option<Watts> {
        self.imbalance
    }

    fn join_burst(&mut self, source: Source, now: Tick, config: &Config) -> Option<Sample> {
        let belongs = self
            .burst
            .as_ref()
            .is_some_and(|burst| now < burst.since + config.sampling.settle && !burst.spoke.contains(&source));
        let finished = if belongs { None } else { self.close_burst(now, config) };
        let burst = self.burst.get_or_insert_with(|| Burst { since: now, spoke: BTreeSet::new(), sampled: false });
        burst.spoke.insert(source);
        finished
    }

    fn close_burst(&mut self, now: Tick, config: &Config) -> Option<Sample> {
        let burst = self.burst.take()?;
        if burst.sampled { None } else { self.sample(&burst, now, config) }
    }

    /// A burst is complete when all power meters of the grid's group have spoken; before that, some values are those of the last poll.
    fn sample_if_complete(&mut self, now: Tick, config: &Config) -> Option<Sample> {
        let burst = self.burst.as_ref()?;
        let grid_group = config.sources.get(&Source::Grid)?;
        let mut meters =
            config.sources.iter().filter(|(source, group)| **source != Source::BatterySoc && *group == grid_group);
        if burst.sampled || !meters.all(|(source, _)| burst.spoke.contains(source)) {
            return None;
        }
        let burst = Burst { sampled: true, ..burst.clone() };
        let sample = self.sample(&burst, now, config);
        self.burst = Some(burst);
        sample
    }

    fn fresh(&self, source: Source, now: Tick, limit: Millis, config: &Config) -> Option<i32> {
        let group = config.sources.get(&source)?;
        let alive = self.alive.get(group).is_some_and(|at| now.since(*at) <= limit);
        if alive { self.values.get(&source).copied() } else { None }
    }

    /// Two ways lead to the net draw: grid + battery, and load − solar. One stands in for the other; where both are there,
    /// they are each other's witness, and if they keep disagreeing the one that leaves less surplus is believed.
    fn sample(&mut self, burst: &Burst, now: Tick, config: &Config) -> Option<Sample> {
        let fresh = |source| self.fresh(source, now, config.fail_safe.stale_after, config).map(Watts);
        let has_battery = config.sources.contains_key(&Source::Battery);
        let grid = fresh(Source::Grid);
        let battery = if has_battery { fresh(Source::Battery) } else { Some(Watts::ZERO) };
        let direct = grid.zip(battery).map(|(grid, battery)| grid + battery);
        let solar = fresh(Source::Solar);
        let load = fresh(Source::Load);
        let indirect = load.zip(solar).map(|(load, solar)| load - solar);
        let pair = if direct.is_some() { [Source::Grid, Source::Battery] } else { [Source::Load, Source::Solar] };
        if !pair.iter().any(|source| burst.spoke.contains(source)) {
            return None;
        }
        self.judge_balance(direct, indirect, load);
        let net = match (direct, indirect) {
            (Some(direct), Some(indirect)) if self.imbalance.is_some() => direct.max(indirect),
            (Some(direct), _) => direct,
            (None, Some(indirect)) => indirect,
            (None, None) => return None,
        };
        let left = match (has_battery, grid, battery) {
            (false, _, _) => Watts::ZERO,
            (true, Some(grid), _) => net - grid,
            (true, None, Some(battery)) => battery,
            (true, None, None) => net,
        };
        let battery_most = battery.map_or(left, |battery| battery.max(left));
        let battery = battery.or_else(|| grid.map(|grid| net - grid)).unwrap_or(Watts::ZERO);
        let sample = Sample { at: burst.since, net, battery, battery_most, grid, solar };
        if has_battery {
            self.watch_floor(&sample, now, config);
        }
        Some(sample)
    }

    fn judge_balance(&mut self, direct: Option<Watts>, indirect: Option<Watts>, load: Option<Watts>) {
        let Some((direct, indirect)) = direct.zip(indirect) else {
            self.imbalance = None;
            self.imbalanced = 0;
            return;
        };
        let off = indirect - direct;
        let largest =
            [direct, indirect, load.unwrap_or(Watts::ZERO)].iter().map(|power| power.0.abs()).max().unwrap_or(0);
        if off.0.abs() <= BALANCE_TOLERANCE.0 + largest / 20 {
            self.imbalanced = 0;
            self.imbalance = None;
        } else {
            self.imbalanced = self.imbalanced.saturating_add(1);
            if self.imbalanced >= IMBALANCE_SAMPLES {
                self.imbalance = Some(off);
            }
        }
    }
}
