//! The volatility band: when to start, when to stop, and how much to draw, from samples of the surplus.
//!
//! Charging below the lowest current the pilot allows costs energy from elsewhere; not charging loses sun; each start costs.
//! With a break-even share of sun `σ`, one watt of sun more or less tips the balance at `σ · Pmin`. A crossing of that line
//! is worth acting on only if it is more than noise, so the line is a band, and the band widens with the recent volatility
//! of the surplus. There are no delay timers in it. The set-point is the surplus itself, at once in both directions:
//! for the next half minute, persistence is the best forecast there is.
//!
//! All arithmetic is on integers; divisions floor. `W` are watts, `mW` milliwatts. With `k` = start cost / 100 Wh:
//!
//! ```text
//! Z     = S + (mean − S) · min(0.95, 0.65 · (1 − σ) · k)       held against the lines
//! start   Z ≥ σ·Pmin + 25 W + 1.3 · V · √k
//! stop    Z < σ·Pmin − 25 W − 3.0 · (1 − σ) · V / k
//! ```
//! `V` is the mean change of the surplus in half a minute. A dearer start asks for more certainty upwards, and leaves it to the mean,
//! not to a lower line, to bridge a dip: a dip that lasts shows in the mean, a short one does not.
//!
//! | constant | why | sensitivity (score on 64 measured days, samples every 30 s) |
//! |---|---|---|
//! | [`HALF_BAND_W`] | keeps calm weather from crossing back and forth | 0.2 points from 0 to 100 W |
//! | [`UP_PERMILLE`] | how far volatility raises the start line | 0.3 points from 0.8 to 1.6 |
//! | [`DOWN_PERMILLE`] | how far it lowers the stop line; scales with `1 − σ`, the slope of the loss | 0.2 points from 2.3 to 3.5 |
//! | [`CAP_W`], [`HOLD_FLOOR_DIVISOR`] | rails for very choppy days | at most 0.1 points |
//! | [`MEAN_WEIGHT_PERMILLE`], [`MEAN_TAU`] | a slight pull towards the five-minute mean | 0.3 points; flat from 2 to 6 min |
//! | [`VOLATILITY_TAU`] | memory of the volatility | flat from 15 to 30 min |

use crate::units::{Millis, Permille, Tick, WattHours, Watts};

/// Half the band in calm weather.
const HALF_BAND_W: i64 = 25;
/// Share of the volatility added to the start line.
const UP_PERMILLE: i64 = 1_300;
/// Share of `(1 − σ) · volatility` taken from the stop line.
const DOWN_PERMILLE: i64 = 3_000;
/// Neither half band grows beyond this at three phases and 230 V, times the root of the start cost.
const CAP_W: i64 = 1_400;
/// Minimum power at three phases and 230 V, to which [`CAP_W`] refers.
const CAP_REFERENCE_W: i64 = 4_140;
/// Never hold below a sixth of the minimum power.
const HOLD_FLOOR_DIVISOR: i64 = 6;
/// Weight of the mean in the decision variable, times `1 − σ`, at the reference start cost.
const MEAN_WEIGHT_PERMILLE: i64 = 650;
/// However dear a start, the last sample keeps some weight.
const MEAN_WEIGHT_MAX_PERMILLE: i64 = 950;
/// Time constant of the mean.
const MEAN_TAU: Millis = Millis::from_secs(300);
/// Time constant of the volatility.
const VOLATILITY_TAU: Millis = Millis::from_secs(1_500);
/// Volatility is taken on a grid of about 30 s, whatever the rate of samples.
const VOLATILITY_TICK: Millis = Millis::from_secs(28);
/// A longer pause counts as this long.
const VOLATILITY_STEP_MAX: Millis = Millis::from_secs(60);
/// The start cost to which the constants above refer.
const REFERENCE_START_COST_WH: i64 = 100;
/// Starts that cost nothing would chatter; a cheaper one counts as this.
const START_COST_MIN_WH: i64 = 10;
const START_COST_MAX_WH: i64 = 10_000;

/// Memory of the surplus: its mean and its volatility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trend {
    sample: Watts,
    at: Tick,
    mean_mw: i64,
    volatility_mw: i64,
    volatility_sample: Watts,
    volatility_at: Tick,
}

impl Trend {
    /// Begins with a first sample.
    pub(crate) const fn new(surplus: Watts, at: Tick) -> Self {
        Self {
            sample: surplus,
            at,
            mean_mw: 1_000 * surplus.0 as i64,
            volatility_mw: 0,
            volatility_sample: surplus,
            volatility_at: at,
        }
    }

    /// Takes one new sample. Must be called once per sample, never twice for the same one.
    pub(crate) fn sample(&mut self, surplus: Watts, at: Tick) {
        let pause = at.since(self.at);
        let surplus_mw = 1_000 * i64::from(surplus.0);
        self.mean_mw += relax(surplus_mw - self.mean_mw, pause, MEAN_TAU);
        self.at = at;
        self.sample = surplus;
        let since = at.since(self.volatility_at);
        if since >= VOLATILITY_TICK {
            let change_mw = 1_000 * (i64::from(surplus.0) - i64::from(self.volatility_sample.0)).abs();
            let step = since.min(VOLATILITY_STEP_MAX);
            self.volatility_mw += relax(change_mw - self.volatility_mw, step, VOLATILITY_TAU);
            self.volatility_sample = surplus;
            self.volatility_at = at;
        }
    }

    /// The last sample.
    pub(crate) const fn surplus(&self) -> Watts {
        self.sample
    }

    /// When it was taken.
    pub(crate) const fn at(&self) -> Tick {
        self.at
    }

    /// Mean of some minutes.
    pub(crate) fn mean(&self) -> Watts {
        watts(self.mean_mw.div_euclid(1_000))
    }

    /// Mean change of the surplus in half a minute.
    pub(crate) fn volatility(&self) -> Watts {
        watts(self.volatility_mw.div_euclid(1_000))
    }

    #[cfg(test)]
    pub(crate) const fn memory(&self) -> (i64, i64) {
        (self.mean_mw, self.volatility_mw)
    }
}

/// First-order step of `difference` over `pause` with time constant `tau`, for any spacing of samples.
fn relax(difference: i64, pause: Millis, tau: Millis) -> i64 {
    let pause = i64::try_from(pause.0).unwrap_or(i64::MAX / 2).min(86_400_000);
    let tau = i64::try_from(tau.0).unwrap_or(i64::MAX / 2);
    difference.saturating_mul(pause).div_euclid(tau + pause)
}

/// What the user's dials and the charger make of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Band {
    sigma: i64,
    min_power: i64,
    cost_permille: i64,
    cost_root_permille: i64,
}

/// The lines and the variable that is held against them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lines {
    /// The surplus, pulled towards its mean.
    pub(crate) decision: Watts,
    /// Starts at or above this.
    pub(crate) start_at: Watts,
    /// Stops below this.
    pub(crate) stop_below: Watts,
}

impl Band {
    /// For a share `sigma` (clamped to 500 … 1000), a start cost, and a charger whose lowest power is `min_power`.
    pub(crate) fn new(sigma: Permille, start_cost: WattHours, min_power: Watts) -> Self {
        let cost = start_cost.0.clamp(START_COST_MIN_WH, START_COST_MAX_WH);
        Self {
            sigma: i64::from(sigma.0).clamp(500, 1_000),
            min_power: i64::from(min_power.0).max(1),
            cost_permille: cost * 1_000 / REFERENCE_START_COST_WH,
            cost_root_permille: (cost * 1_000_000 / REFERENCE_START_COST_WH).isqrt(),
        }
    }

    /// The lines at this moment. `offset` is taken from the surplus first (what others have claimed).
    pub(crate) fn lines(&self, trend: &Trend, offset: Watts) -> Lines {
        let surplus = i64::from(trend.sample.0);
        let inverse = 1_000 - self.sigma;
        let weight = (MEAN_WEIGHT_PERMILLE * inverse * self.cost_permille).div_euclid(1_000_000);
        let pull = (i64::from(trend.mean().0) - surplus) * weight.min(MEAN_WEIGHT_MAX_PERMILLE);
        let decision = surplus + pull.div_euclid(1_000) - i64::from(offset.0);
        let middle = (self.sigma * self.min_power).div_euclid(1_000);
        let volatility = i64::from(trend.volatility().0);
        let root = self.cost_root_permille;
        let cap = (CAP_W * self.min_power / CAP_REFERENCE_W * root.max(1_000)).div_euclid(1_000);
        let up = HALF_BAND_W + UP_PERMILLE * volatility * root / 1_000_000;
        let down = HALF_BAND_W + DOWN_PERMILLE * inverse * volatility / (1_000 * self.cost_permille);
        Lines {
            decision: watts(decision),
            start_at: watts(middle + up.min(cap)),
            stop_below: watts((middle - down.min(cap)).max(self.min_power / HOLD_FLOOR_DIVISOR)),
        }
    }
}

pub(crate) fn watts(value: i64) -> Watts {
    Watts(i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX }))
}

#[cfg(test)]
mod tests;
