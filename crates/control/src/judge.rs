//! The one place that decides what may be believed of the site's meters.
//!
//! A value is not believed just because it parses. It must be possible for the house's connection, agree with the other meters, describe a
//! house that consumes, and move when the charger's own current moves. There are three outcomes, [`Trust`]: a sample is *believed*; it *may
//! lower* the current but neither raise it nor start a charge; or it is *no data*. Each doubt is a [`Doubt`] with a sentence that says what
//! to check.
//!
//! | rule | where | outcome |
//! |---|---|---|
//! | power beyond what the connection can carry | [`range`] | no data from that source for a while; from its whole group if two do it |
//! | `load ≠ solar + grid + battery` | [`balance`] | may lower, at the lower surplus; believed at the lower surplus once it lasts |
//! | the house would produce power | [`Judge::sample`] | may lower; believed once it lasts, and never more surplus than solar production |
//! | a battery that charges while the grid imports | [`battery`] | its charging is no surplus until it gives way |
//! | the meters do not follow the charger's own current | [`response`] | may lower; if it lasts, no data |
//! | a jump that no second meter confirms | [`Judge::sample`] | may lower, for one sample |
//! | stored values that live ones do not yet confirm | [`crate::site`] | may lower |
//! | bursts that only repeat known values | [`crate::site`] | no sign of life |
//! | samples too rare for the age limits | [`cadence`] | no start |

pub(crate) mod balance;
pub(crate) mod battery;
pub(crate) mod cadence;
pub(crate) mod doubt;
pub(crate) mod evidence;
pub(crate) mod range;
pub(crate) mod response;

pub use doubt::Doubt;

use balance::{Balance, LASTING, tolerance};
use battery::BatteryYield;
use evidence::Evidence;
use response::Response;

use crate::units::{Tick, Watts};

/// What a sample may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Start, raise, lower, stop.
    Believed,
    /// Lower and stop only.
    LowerOnly,
    /// Nothing: it is as if the meters were silent.
    NoData,
}

/// The judgement of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) trust: Trust,
    /// Upper bound on the surplus that may be used.
    pub(crate) surplus: Watts,
    /// The doubt, if there is one.
    pub(crate) doubt: Option<Doubt>,
}

/// A rise of more than this that no second meter confirms waits for another sample.
const JUMP: Watts = Watts(8_000);

/// Memory of everything that is watched from sample to sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judge {
    balance: Balance,
    battery: BatteryYield,
    response: Response,
    /// Samples in a row in which more power left the house than solar produced.
    producing: u8,
    /// Whether the last sample was a jump that waited for the next one.
    jumped: bool,
}

impl Judge {
    pub(crate) const fn new() -> Self {
        Self {
            balance: Balance::new(),
            battery: BatteryYield::new(),
            response: Response::new(),
            producing: 0,
            jumped: false,
        }
    }

    /// Returns by how much the meters disagree, once that has lasted.
    pub(crate) const fn imbalance(&self) -> Option<Watts> {
        self.balance.lasting()
    }

    /// Returns the time of the sample that waits until it is known whether the cars' power was right then.
    pub(crate) fn waits_since(&self) -> Option<Tick> {
        self.response.waits_since()
    }

    /// Judges a sample. Must be called once per sample.
    pub(crate) fn sample(&mut self, evidence: &Evidence) -> Verdict {
        let Evidence { grid, solar, battery, load, cars, .. } = *evidence;
        let mut net = evidence.net;
        let mut verdict = Trust::Believed;
        let mut doubt = None;
        let mut object = |trust: Trust, why: Doubt| {
            verdict = verdict.weaker(trust);
            doubt.get_or_insert(why);
        };
        let ways = grid.zip(battery).zip(load.zip(solar));
        let differ = ways.map(|((grid, battery), (load, solar))| {
            let (direct, indirect) = (grid + battery, load - solar);
            (indirect - direct, tolerance(direct, indirect, load) + evidence.spread)
        });
        let off = self.balance.sample(differ, evidence.at);
        if let Some(off) = off {
            // Takes the way that leaves less surplus; where only one is known, the other is assumed to be off as before.
            let direct = grid.is_some() && battery.is_some();
            net = net.max(if direct { net + off } else { net - off });
        }
        let lasting = self.balance.lasting().is_some();
        if let Some(power) = off {
            object(if lasting { Trust::Believed } else { Trust::LowerOnly }, Doubt::Imbalance { off: power });
        }
        if let (Some(grid), Some(battery)) = (grid, battery)
            && (off.is_none() || lasting)
        {
            self.battery.sample(evidence.at, (grid, battery), cars, evidence.moved);
        }
        if let Some((grid, charging)) = self.battery.keeps(evidence.at) {
            net = net + charging;
            object(Trust::Believed, Doubt::BatteryFromGrid { grid, battery: -charging });
        }
        match self.response.sample(evidence) {
            response::Answer::Follows => {}
            response::Answer::Unclear(why) => object(Trust::LowerOnly, why),
            response::Answer::Contradicts(why) => object(Trust::NoData, why),
        }
        let mut surplus = cars - net;
        if let Some(solar) = solar {
            let house = solar + net - evidence.cars_least;
            // A car that is not measured may have stopped by now.
            let measured = evidence.at >= evidence.clear_since;
            let produces = measured && house < -tolerance(solar, cars, Watts::ZERO);
            self.producing = if produces { self.producing.saturating_add(1) } else { 0 };
            if produces {
                // A second inverter missing from the configuration does this all day; surplus up to solar production may still be used.
                let lasts = self.producing >= LASTING;
                object(if lasts { Trust::Believed } else { Trust::LowerOnly }, Doubt::HouseProduces { house });
            }
            surplus = surplus.min(solar);
        }
        let witnessed = solar.is_some() || ways.is_some();
        let jump = !witnessed && evidence.before.is_some_and(|before| surplus > before + JUMP);
        if jump && !self.jumped {
            object(Trust::LowerOnly, Doubt::Jump { surplus });
        }
        self.jumped = jump && !self.jumped;
        if !evidence.unconfirmed.is_empty() {
            object(Trust::LowerOnly, Doubt::Unconfirmed { sources: evidence.unconfirmed });
        }
        Verdict { trust: verdict, surplus, doubt }
    }
}

impl Trust {
    fn weaker(self, other: Self) -> Self {
        match (self, other) {
            (Self::NoData, _) | (_, Self::NoData) => Self::NoData,
            (Self::LowerOnly, _) | (_, Self::LowerOnly) => Self::LowerOnly,
            (Self::Believed, Self::Believed) => Self::Believed,
        }
    }
}
