//! The clairvoyant bound: what a charger could achieve that knows the whole day in advance. Dynamic programming, backwards over the
//! seconds.
//!
//! It may start (which costs 0.1 kWh and 8 s without current) and stop (at once); one that can switch phases may start on either number of
//! phases, or switch, which takes 60 s without current and costs another start. While charging it draws the surplus within its limits. It
//! has no ramps, samples or pauses, so no controller can reach it.

/// The cost of a start, in kilowatt-hours.
const START_KWH: f64 = 0.1;
/// Seconds without current at a start.
const START_S: usize = 8;
/// Seconds without current at a phase switch.
const SWITCH_S: usize = 60;
/// The cost of a kilowatt-hour from other sources, in kilowatt-hours of sun.
const OTHER: f64 = 3.0;
/// Power of one phase at 6 A and at 16 A, in watts.
const PHASE_W: (f64, f64) = (1_380.0, 3_680.0);

/// The bound for a three-phase charger, in kilowatt-hours of value. `surplus_w` is solar − house, second by second.
pub(crate) fn three_phases(surplus_w: &[f64]) -> f64 {
    best(surplus_w, &[3.0])
}

/// The bound for a charger that can switch between three phases and one.
pub(crate) fn one_or_three_phases(surplus_w: &[f64]) -> f64 {
    best(surplus_w, &[3.0, 1.0])
}

/// The value of the best schedule. All values are those of the best continuation from a second to the end of the day.
fn best(surplus_w: &[f64], layouts: &[f64]) -> f64 {
    let end = surplus_w.len();
    let mut off = vec![0.0; end + 1];
    let mut on: Vec<Vec<f64>> = layouts.iter().map(|_| vec![0.0; end + 1]).collect();
    for t in (0..end).rev() {
        let later =
            |way: &Vec<f64>, seconds: usize| if t + seconds < end { way[t + seconds] } else { f64::NEG_INFINITY };
        let started = on.iter().map(|way| later(way, START_S) - START_KWH).fold(f64::NEG_INFINITY, f64::max);
        let changed = on.iter().map(|way| later(way, SWITCH_S) - START_KWH).fold(f64::NEG_INFINITY, f64::max);
        off[t] = started.max(off[t + 1]);
        for (phases, way) in layouts.iter().zip(&mut on) {
            let charging = gain_kwh(surplus_w[t], *phases) + way[t + 1].max(off[t + 1]);
            way[t] = charging.max(off[t]).max(changed);
        }
    }
    off.first().copied().unwrap_or(0.0)
}

/// The value of a second of charging, in kilowatt-hours.
fn gain_kwh(surplus_w: f64, phases: f64) -> f64 {
    let power_w = surplus_w.clamp(PHASE_W.0 * phases, PHASE_W.1 * phases);
    let sun_w = power_w.min(surplus_w.max(0.0));
    (sun_w - OTHER * (power_w - sun_w)) / 3.6e6
}
