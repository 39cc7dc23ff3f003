//! The volatility band: when to start, when to stop, and how much to draw, from samples of the surplus.
//!
//! Charging below the lowest current the pilot allows costs energy from elsewhere; not charging loses sun; each start costs.
//! With a break-even share of sun `σ`, one watt of sun more or less tips the balance at `σ · Pmin`. A crossing of that line
//! is worth acting on only if it is more than noise, so the line is a band, and the band widens with the recent volatility
//! of the surplus. There are no delay timers in it. The set-point is the surplus itself, at once in both directions:
//! for the next half minute, persistence is the best forecast there is.
//!
//! All arithmetic is on integers; divisions floor. `W` are watts, `mW` milliwatts.
//!
//! | constant | why | sensitivity |
//! |---|---|---|
//! | [`HALF_BAND_W`] | hysteresis for the start cost in calm weather | flat from 100 to 300 W |
//! | [`UP_PERMILLE`], [`DOWN_PERMILLE`] | how far volatility widens the band; the stop side scales with `1 − σ`, the slope of the loss | within 0.2 points around the optimum |
//! | [`CAP_W`], [`HOLD_FLOOR_DIVISOR`] | rails for very choppy days | at most 0.1 points |
//! | [`MEAN_WEIGHT_PERMILLE`], [`MEAN_TAU`] | a slight pull towards the two-minute mean | 0.5 points |
//! | [`VOLATILITY_TAU`] | memory of the volatility | flat from 10 to 20 min |

use crate::units::{Millis, Permille, Tick, WattHours, Watts};

/// Half the band in calm weather, three phases.
const HALF_BAND_W: i64 = 200;
/// Of that, what remains for one phase (and half-way for two).
const HALF_BAND_ONE_PHASE_W: i64 = 110;
/// Share of the volatility added to the start line.
const UP_PERMILLE: i64 = 800;
/// Share of `(1 − σ) · volatility` taken from the stop line.
const DOWN_PERMILLE: i64 = 2_330;
/// Neither half band grows beyond this at three phases and 230 V.
const CAP_W: i64 = 1_300;
/// Minimum power at three phases and 230 V, to which [`CAP_W`] refers.
const CAP_REFERENCE_W: i64 = 4_140;
/// Never hold below a sixth of the minimum power.
const HOLD_FLOOR_DIVISOR: i64 = 6;
/// Weight of the mean in the decision variable, times `1 − σ`.
const MEAN_WEIGHT_PERMILLE: i64 = 500;
/// Time constant of the mean.
const MEAN_TAU: Millis = Millis::from_secs(120);
/// Time constant of the volatility.
const VOLATILITY_TAU: Millis = Millis::from_secs(900);
/// Volatility is taken on a grid of about 30 s, whatever the rate of samples.
const VOLATILITY_TICK: Millis = Millis::from_secs(28);
/// A longer pause counts as this long.
const VOLATILITY_STEP_MAX: Millis = Millis::from_secs(60);
/// Time constant of the long mean, which decides between one phase and three.
const LONG_TAU: Millis = Millis::from_secs(300);
/// The start cost to which the constants above refer.
const REFERENCE_START_COST_WH: i64 = 100;

/// Memory of the surplus: its mean and its volatility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trend {
    sample: Watts,
    at: Tick,
    mean_mw: i64,
    volatility_mw: i64,
    volatility_sample: Watts,
    volatility_at: Tick,
    long_mean_mw: i64,
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
            long_mean_mw: 1_000 * surplus.0 as i64,
        }
    }

    /// Takes one new sample. Must be called once per sample, never twice for the same one.
    pub(crate) fn sample(&mut self, surplus: Watts, at: Tick) {
        let pause = at.since(self.at);
        let surplus_mw = 1_000 * i64::from(surplus.0);
        self.mean_mw += relax(surplus_mw - self.mean_mw, pause, MEAN_TAU);
        self.long_mean_mw += relax(surplus_mw - self.long_mean_mw, pause, LONG_TAU);
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
    pub(crate) fn long_mean(&self) -> Watts {
        watts(self.long_mean_mw.div_euclid(1_000))
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
    phases: i64,
    cost_permille: i64,
}

/// The lines and the variable that is held against them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lines {
    /// The surplus, pulled slightly towards its mean.
    pub(crate) decision: Watts,
    /// Starts at or above this.
    pub(crate) start_at: Watts,
    /// Stops below this.
    pub(crate) stop_below: Watts,
}

impl Band {
    /// For a share `sigma` (clamped to 500 … 1000), a start cost, and a charger whose lowest power is `min_power` on `phases` phases.
    pub(crate) fn new(sigma: Permille, start_cost: WattHours, min_power: Watts, phases: u8) -> Self {
        Self {
            sigma: i64::from(sigma.0).clamp(500, 1_000),
            min_power: i64::from(min_power.0).max(1),
            phases: i64::from(phases).clamp(1, 3),
            cost_permille: cost_permille(start_cost),
        }
    }

    /// The lines at this moment. `offset` is taken from the surplus first (what others have claimed).
    pub(crate) fn lines(&self, trend: &Trend, offset: Watts) -> Lines {
        let surplus = i64::from(trend.sample.0);
        let inverse = 1_000 - self.sigma;
        let pull = (trend.mean_mw.div_euclid(1_000) - surplus) * (MEAN_WEIGHT_PERMILLE * inverse).div_euclid(1_000);
        let decision = surplus + pull.div_euclid(1_000) - i64::from(offset.0);
        let middle = (self.sigma * self.min_power).div_euclid(1_000);
        let volatility = trend.volatility_mw.div_euclid(1_000);
        let cap = (CAP_W * self.min_power / CAP_REFERENCE_W * self.cost_permille.max(1_000)).div_euclid(1_000);
        let half = HALF_BAND_ONE_PHASE_W + (HALF_BAND_W - HALF_BAND_ONE_PHASE_W) * (self.phases - 1) / 2;
        let up = half + (UP_PERMILLE * volatility).div_euclid(1_000);
        let down = half + ((DOWN_PERMILLE * inverse).div_euclid(1_000) * volatility).div_euclid(1_000);
        let scaled = |half: i64| (half * self.cost_permille).div_euclid(1_000).min(cap);
        Lines {
            decision: watts(decision),
            start_at: watts(middle + scaled(up)),
            stop_below: watts((middle - scaled(down)).max(self.min_power / HOLD_FLOOR_DIVISOR)),
        }
    }
}

pub(crate) fn watts(value: i64) -> Watts {
    Watts(i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX }))
}

/// `1000 · √(cost / 100 Wh)`, rounded: the band that balances a start cost grows with its root.
fn cost_permille(cost: WattHours) -> i64 {
    let square = cost.0.clamp(0, 100_000) * 1_000_000 / REFERENCE_START_COST_WH;
    let root = square.isqrt();
    if square - root * root > root { root + 1 } else { root }
}

#[cfg(test)]
mod tests;
