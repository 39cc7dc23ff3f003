//! The volatility band: when to start, when to stop, and how much to draw, from samples of the surplus.
//!
//! Charging on less surplus than the pilot's lowest current needs takes energy from elsewhere; not charging loses surplus; each start has a
//! cost. With a break-even solar share `σ`, one watt more or less tips the balance at `σ · Pmin`. A crossing of that line is worth acting
//! on only if it is more than noise, so the line is a band, and the band widens with the recent volatility of the surplus. It has no delay
//! timers. The setpoint is the surplus itself, immediately in both directions: for the next half minute, persistence is the best forecast
//! there is.
//!
//! All arithmetic is on integers; divisions floor. `W` are watts, `mW` milliwatts. With `k` = start cost / 100 Wh, three phases at 230 V:
//!
//! ```text
//! start   S + (mean − S) · min(0.8, 0.80 · (1 − σ) · k), at most S  ≥  σ·Pmin + 1.35 · V
//! stop    S + (mean − S) · min(0.8, 0.56 · (1 − σ) · k)             <  σ·Pmin − 25 W − (1 − σ) · (360 W · √k + 2.24 · V / max(k, 1))
//! ```
//! `V` is the mean change of the surplus in half a minute. A more expensive start demands more certainty before it, and bridges more of a
//! dip: a dip that lasts shows in the mean, a short one does not. Nothing starts on surplus that is already gone.
//!
//! Sensitivity is in points of the value of 64 measured days at the default start cost of 330 Wh, samples every 30 s
//! (`scripts/sensitivity`).
//!
//! | constant | why | sensitivity |
//! |---|---|---|
//! | [`UP_PERMILLE`] | how far volatility raises the start line | 0.8 less at 1.1, 0.1 less at 1.6 |
//! | [`DOWN_W`] | how long a charge holds in calm weather | flat at 260, 0.1 less at 460 |
//! | [`DOWN_PERMILLE`] | how far volatility lowers the stop line; scales with `1 − σ`, the slope of the loss | flat for a quarter less, 0.1 less for a quarter more |
//! | [`START_MEAN_PERMILLE`] | pull towards the mean before a start | 0.9 less at 0.6, 0.1 more at 1.0 |
//! | [`STOP_MEAN_PERMILLE`] | the same before a stop | 0.6 less at 0.4, 0.2 less at 0.72 |
//! | [`MEAN_TAU`] | memory of the mean | 0.2 less at 220 s, 0.6 less at 10 min |
//! | [`VOLATILITY_TAU`] | memory of the volatility | 0.1 less at 12 min, 0.4 less at 50 min |
//! | [`CAP_W`], [`HOLD_FLOOR_DIVISOR`], [`HALF_BAND_W`] | rails: very choppy days, and a break-even share of 1 | none on these days, the last 0.1 |

use crate::units::{Millis, Permille, Tick, WattHours, Watts};

/// Least distance of the stop line below break-even; otherwise noise alone would cross it.
const HALF_BAND_W: i64 = 25;
/// Share of the volatility added to the start line.
const UP_PERMILLE: i64 = 1_350;
/// Taken from the stop line in calm weather, times `1 − σ` and the root of the start cost, at three phases and 230 V.
const DOWN_W: i64 = 360;
/// Share of `(1 − σ) · volatility` taken from the stop line, divided by the start cost: where starts are expensive, the mean does that.
const DOWN_PERMILLE: i64 = 2_240;
/// Neither half band grows beyond this at three phases and 230 V, times the root of the start cost.
const CAP_W: i64 = 1_400;
/// Minimum power at three phases and 230 V, to which the constants in watts refer.
const REFERENCE_W: i64 = 4_140;
/// Never hold below a sixth of the minimum power.
const HOLD_FLOOR_DIVISOR: i64 = 6;
/// Weight of the mean before a start, times `1 − σ` and the start cost.
const START_MEAN_PERMILLE: i64 = 800;
/// Weight of the mean before a stop, times `1 − σ` and the start cost.
const STOP_MEAN_PERMILLE: i64 = 560;
/// Limit on the mean's weight: however expensive a start and low the share, the last sample keeps some weight.
const MEAN_WEIGHT_MAX_PERMILLE: i64 = 800;
/// Time constant of the mean.
const MEAN_TAU: Millis = Millis::from_secs(300);
/// Time constant of the volatility.
const VOLATILITY_TAU: Millis = Millis::from_secs(1_500);
/// Volatility is taken on a grid of about 30 s, whatever the rate of samples.
const VOLATILITY_TICK: Millis = Millis::from_secs(28);
/// A longer pause counts as this long.
const VOLATILITY_STEP_MAX: Millis = Millis::from_secs(60);
/// Step of the forecast of a stop.
const FORESEE_STEP: Millis = Millis::from_secs(30);
/// Number of steps of the forecast: a stop is foreseen no further than 15 minutes ahead.
const FORESEEN: u64 = 30;
/// The start cost to which the constants above refer.
const REFERENCE_START_COST_WH: i64 = 100;
/// Free starts would make the charger chatter; a lower cost counts as this.
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

    /// Adds what a car drew all along, although the samples so far did not count it.
    pub(crate) fn count(&mut self, drawn: Watts) {
        self.sample = self.sample + drawn;
        self.mean_mw += 1_000 * i64::from(drawn.0);
        self.volatility_sample = self.volatility_sample + drawn;
    }

    /// Mean over some minutes.
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

/// The policy for the user's settings and a charger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Band {
    sigma: i64,
    min_power: i64,
    /// Start cost over its reference, and the root of that, in thousandths.
    cost: i64,
    root: i64,
}

/// The thresholds, and the values compared with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thresholds {
    /// The surplus as seen before a start: pulled down towards its mean.
    pub(crate) before_start: Watts,
    /// Starts at or above this.
    pub(crate) start_at: Watts,
    /// The surplus as seen before a stop: pulled towards its mean.
    pub(crate) before_stop: Watts,
    /// Stops below this.
    pub(crate) stop_below: Watts,
    /// Share of the mean in `before_stop`, in thousandths, and what is subtracted from the surplus first.
    pub(crate) pull: (i64, Watts),
}

impl Thresholds {
    /// Whether it is time to start.
    pub(crate) fn starts(&self) -> bool {
        self.before_start >= self.start_at
    }

    /// Whether it is time to stop.
    pub(crate) fn stops(&self) -> bool {
        self.before_stop < self.stop_below
    }

    /// Returns the time until a stop if the surplus stays as it is; `None` if none is foreseen.
    pub(crate) fn stops_after(&self, trend: &Trend) -> Option<Millis> {
        let (weight, offset) = self.pull;
        let surplus_mw = 1_000 * i64::from(trend.sample.0);
        let mut mean_mw = trend.mean_mw;
        for step in 0..FORESEEN {
            let pulled = surplus_mw + ((mean_mw - surplus_mw) * weight).div_euclid(1_000);
            if watts(pulled.div_euclid(1_000)) - offset < self.stop_below {
                return Some(Millis(step * FORESEE_STEP.0));
            }
            mean_mw += relax(surplus_mw - mean_mw, FORESEE_STEP, MEAN_TAU);
        }
        None
    }
}

impl Band {
    /// Creates the policy for a share `sigma` (clamped to 500 … 1000), a start cost, and a charger whose lowest power is `min_power`.
    pub(crate) fn new(sigma: Permille, start_cost: WattHours, min_power: Watts) -> Self {
        let cost = start_cost.0.clamp(START_COST_MIN_WH, START_COST_MAX_WH);
        Self {
            sigma: i64::from(sigma.0).clamp(500, 1_000),
            min_power: i64::from(min_power.0).max(1),
            cost: cost * 1_000 / REFERENCE_START_COST_WH,
            root: (cost * 1_000_000 / REFERENCE_START_COST_WH).isqrt(),
        }
    }

    /// Returns the thresholds at this moment. `offset` is subtracted from the surplus first (the power claimed by others).
    pub(crate) fn lines(&self, trend: &Trend, offset: Watts) -> Thresholds {
        let (surplus, mean) = (i64::from(trend.sample.0), i64::from(trend.mean().0));
        let inverse = 1_000 - self.sigma;
        let share = |weight: i64| (weight * inverse * self.cost).div_euclid(1_000_000).min(MEAN_WEIGHT_MAX_PERMILLE);
        let pulled = |weight: i64| {
            let weight = share(weight);
            watts(surplus + ((mean - surplus) * weight).div_euclid(1_000) - i64::from(offset.0))
        };
        let middle = (self.sigma * self.min_power).div_euclid(1_000);
        let volatility = i64::from(trend.volatility().0);
        let cap = CAP_W * self.min_power / REFERENCE_W * self.root.max(1_000) / 1_000;
        let up = UP_PERMILLE * volatility / 1_000;
        let calm = DOWN_W * self.min_power / REFERENCE_W * self.root / 1_000;
        let down = HALF_BAND_W + inverse * (calm + DOWN_PERMILLE * volatility / self.cost.max(1_000)) / 1_000;
        Thresholds {
            before_start: pulled(START_MEAN_PERMILLE).min(trend.sample - offset),
            start_at: watts(middle + up.min(cap)),
            before_stop: pulled(STOP_MEAN_PERMILLE),
            stop_below: watts((middle - down.min(cap)).max(self.min_power / HOLD_FLOOR_DIVISOR)),
            pull: (share(STOP_MEAN_PERMILLE), offset),
        }
    }
}

pub(crate) fn watts(value: i64) -> Watts {
    Watts(i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX }))
}

#[cfg(test)]
mod tests;
