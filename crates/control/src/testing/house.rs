//! A house in virtual time whose meters publish on change, as Home Assistant does, and a car that follows its setpoint.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use super::{Bench, CAR, config};
use crate::Source::{Battery, Grid, Load, Solar};
use crate::*;

/// How a meter lies: from the source and its true value, at a second of the run.
pub(crate) type Lie = Box<dyn Fn(Source, i32, u64) -> Option<i32>>;

/// A wallbox without contact falls back after this many seconds, and its car stops.
const WATCHDOG: u64 = 33;

pub(crate) struct House {
    pub(crate) bench: Bench,
    sources: BTreeSet<Source>,
    /// The second since which the wallbox is silent.
    pub(crate) lost: Option<u64>,
    pub(crate) solar: i32,
    pub(crate) base: i32,
    /// The battery's power whatever else happens; the grid supplies or takes the rest.
    pub(crate) battery: i32,
    pub(crate) car: i32,
    pub(crate) second: u64,
    pub(crate) began: Option<u64>,
    pub(crate) every: u64,
    /// Seconds between two readings of the wallbox.
    pub(crate) polled: u64,
    pub(crate) said: BTreeMap<Source, i32>,
    pub(crate) lie: Lie,
    /// Energy imported while the car charged, in watt-seconds.
    pub(crate) imported: i64,
    pub(crate) starts: u32,
}

impl House {
    pub(crate) fn new(config: Config, solar: i32, house: i32) -> Self {
        Self {
            sources: config.sources.keys().copied().collect(),
            bench: Bench::plugged(config),
            lost: None,
            solar,
            base: house,
            battery: 0,
            car: 0,
            second: 0,
            began: None,
            every: 30,
            polled: 1,
            said: BTreeMap::new(),
            lie: Box::new(|_, value, _| Some(value)),
            imported: 0,
            starts: 0,
        }
    }

    pub(crate) fn grid(&self) -> i32 {
        self.base + self.car - self.solar - self.battery
    }

    pub(crate) fn secs(&mut self, secs: u64) {
        for _ in 0..secs {
            self.second += 1;
            self.bench.secs(1);
            self.drive();
            if self.car > 0 {
                self.imported += i64::from(self.grid().max(0));
            }
            if self.second.is_multiple_of(self.every) {
                self.publish();
            }
        }
    }

    /// The car takes nine seconds to begin, and then draws what it is offered.
    fn drive(&mut self) {
        if let Some(lost) = self.lost {
            if self.second == lost + 1 {
                self.bench.tell(Input::Report(ChargerReport::silent(CAR, self.bench.now, Reachability::Offline)));
            }
            if self.second >= lost + WATCHDOG {
                (self.car, self.began) = (0, None);
            }
            return;
        }
        let offer = if self.bench.setpoint() == u32::MAX { 0 } else { self.bench.setpoint() };
        let offered = i32::try_from(offer * 690 / 1_000).unwrap();
        self.began = if offered == 0 { None } else { self.began.or(Some(self.second)) };
        let before = self.car;
        self.car = if self.began.is_some_and(|began| self.second >= began + 9) { offered } else { 0 };
        self.starts += u32::from(before == 0 && self.car > 0);
        let vehicle = if self.car > 0 { Vehicle::Charging } else { Vehicle::Connected };
        if self.second.is_multiple_of(self.polled) {
            self.bench.says(vehicle, self.car, offer);
        }
    }

    pub(crate) fn publish(&mut self) {
        let truth = [(Solar, self.solar), (Battery, self.battery), (Grid, self.grid()), (Load, self.base + self.car)];
        for (source, value) in truth {
            let said = (self.lie)(source, value, self.second).filter(|_| self.sources.contains(&source));
            if let Some(said) = said.filter(|said| self.said.get(&source) != Some(said)) {
                self.said.insert(source, said);
                self.bench.read(source, said);
            }
        }
    }

    /// Publishes the last values again unchanged, as Home Assistant's heartbeat does, and a broker that is restarted.
    pub(crate) fn repeat(&mut self) {
        for (source, value) in self.said.clone() {
            self.bench.read(source, value);
        }
    }

    pub(crate) fn imported_wh(&self) -> i64 {
        self.imported / 3_600
    }

    pub(crate) fn doubt(&self) -> &'static str {
        self.bench.controller.doubt().map_or("none", Doubt::code)
    }
}

/// Returns the configuration without some sources.
pub(crate) fn without(sources: &[Source]) -> Config {
    let mut config = config();
    config.sources.retain(|source, _| !sources.contains(source));
    config
}
