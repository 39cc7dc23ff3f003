//! Chooses between one phase and all of them, by the same account as starting and stopping.
//!
//! On one phase a charger gives 1.4 … 3.7 kW, on three 4.1 … 11 kW (230 V, 6 … 16 A). With a break-even solar share `σ`, one phase at its
//! maximum and all phases at their minimum are worth the same at `(1 − σ) · Pmax₁ + σ · Pmin₃`. A change costs a stop, a pause and a start,
//! so that line is a band as well: wide upwards (three phases in a passing gap of the clouds cost two changes), narrow downwards (three
//! phases without enough surplus cost immediately), and wider with volatility. The five-minute mean is compared with it.
//!
//! Sensitivity is in points of the value of 64 measured days at a start cost of 330 Wh, samples every 30 s (`scripts/sensitivity`). The
//! constants were chosen for starts at 100 Wh; more expensive ones would favour wider and slower bands.
//!
//! | constant | why | sensitivity |
//! |---|---|---|
//! | [`UP_W`], [`UP_PERMILLE`] | a change upwards must last | 0.7 to 1.0 less for a third less, 0.3 to 0.7 more for a third more |
//! | [`DOWN_W`], [`DOWN_PERMILLE`] | a change downwards may come early | 0.2 to 0.5 less for less, 0.1 to 0.4 more for more |
//! | [`MEAN_WEIGHT_PERMILLE`] | how far the mean decides | 1.9 less at 500, 2.4 more at 800 |
//! | [`FROM_REST_PERMILLE`] | from rest the choice is free of a change's cost | 0.2 less at 300 and at 600 |

use crate::band::{Trend, watts};
use crate::units::{Permille, Watts};

/// Half band upwards in calm weather, where three phases begin at 4140 W.
const UP_W: i64 = 750;
/// Share of `(1 − σ) · volatility` added to it.
const UP_PERMILLE: i64 = 4_000;
/// Half band downwards in calm weather.
const DOWN_W: i64 = 200;
/// Share of `(1 − σ) · volatility` added to it.
const DOWN_PERMILLE: i64 = 2_700;
/// Weight of the five-minute mean in the decision variable.
const MEAN_WEIGHT_PERMILLE: i64 = 600;
/// From rest, this share of the half band upwards is enough.
const FROM_REST_PERMILLE: i64 = 450;
/// The minimum power of three phases to which the constants in watts refer.
const REFERENCE_W: i64 = 4_140;

/// The decision variable and the thresholds it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhaseThresholds {
    /// The surplus, pulled towards its five-minute mean.
    pub(crate) decision: Watts,
    /// While charging on one phase: change to all phases at or above this.
    pub(crate) up_at: Watts,
    /// While not charging: choose all phases at or above this.
    pub(crate) up_from_rest_at: Watts,
    /// While charging on all phases: change to one phase below this.
    pub(crate) down_below: Watts,
}

impl PhaseThresholds {
    /// Creates the thresholds for a break-even share `sigma`, the highest power on one phase, the lowest on all phases, and the surplus
    /// that others claim.
    pub(crate) fn new(sigma: Permille, one_max: Watts, all_min: Watts, trend: &Trend, offset: Watts) -> Self {
        let sigma = i64::from(sigma.0).clamp(500, 1_000);
        let inverse = 1_000 - sigma;
        let (one_max, all_min) = (i64::from(one_max.0), i64::from(all_min.0));
        let surplus = i64::from(trend.surplus().0);
        let pull = (i64::from(trend.mean().0) - surplus) * MEAN_WEIGHT_PERMILLE;
        let decision = surplus + pull.div_euclid(1_000) - i64::from(offset.0);
        let middle = (inverse * one_max + sigma * all_min).div_euclid(1_000);
        let noise = inverse * i64::from(trend.volatility().0);
        let half = |calm: i64, share: i64| calm * all_min / REFERENCE_W + (share * noise).div_euclid(1_000_000);
        let up = half(UP_W, UP_PERMILLE);
        Self {
            decision: watts(decision),
            up_at: watts(middle + up),
            up_from_rest_at: watts(middle + (up * FROM_REST_PERMILLE).div_euclid(1_000)),
            down_below: watts(middle - half(DOWN_W, DOWN_PERMILLE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Tick;

    const ONE_MAX: Watts = Watts(3_680);
    const ALL_MIN: Watts = Watts(4_140);

    #[test]
    fn in_calm_weather_the_lines_lie_around_break_even() {
        let trend = Trend::new(Watts(4_000), Tick(1));
        let crossing = PhaseThresholds::new(Permille(750), ONE_MAX, ALL_MIN, &trend, Watts(500));
        let expected = PhaseThresholds {
            decision: Watts(3_500),
            up_at: Watts(4_025 + 750),
            up_from_rest_at: Watts(4_025 + 337),
            down_below: Watts(4_025 - 200),
        };
        assert_eq!(crossing, expected);
    }

    #[test]
    fn a_short_gap_in_the_clouds_does_not_bring_three_phases() {
        let mut trend = Trend::new(Watts(2_500), Tick(0));
        for step in 1..20 {
            trend.sample(Watts(2_500), Tick(step * 30_000));
        }
        trend.sample(Watts(6_000), Tick(600_000));
        let gap = PhaseThresholds::new(Permille(750), ONE_MAX, ALL_MIN, &trend, Watts(0));
        assert!(gap.decision < gap.up_at, "{gap:?}");
        for step in 21..40 {
            trend.sample(Watts(6_000), Tick(step * 30_000));
        }
        let lasting = PhaseThresholds::new(Permille(750), ONE_MAX, ALL_MIN, &trend, Watts(0));
        assert!(lasting.decision >= lasting.up_at, "{lasting:?}");
    }

    #[test]
    fn down_lies_below_up_for_every_setting() {
        for sigma in (500..=1_000).step_by(50) {
            for (one, all) in [(3_680, 4_140), (7_360, 4_140), (3_680, 2_760), (1_380, 4_140)] {
                for swing in [0, 1_000, 20_000] {
                    let mut trend = Trend::new(Watts(0), Tick(0));
                    for step in 1..100_u64 {
                        trend.sample(Watts(if step % 2 == 0 { 0 } else { swing }), Tick(step * 30_000));
                    }
                    let lines = PhaseThresholds::new(Permille(sigma), Watts(one), Watts(all), &trend, Watts(0));
                    assert!(lines.down_below < lines.up_from_rest_at && lines.up_from_rest_at <= lines.up_at);
                }
            }
        }
    }
}
