//! The clairvoyant bound: what a charger could get that knows the whole day beforehand. Dynamic programming, backwards over the seconds.
//!
//! It may switch on (at the cost of a start and 8 s without current), off (at once) and, where it can, change its phases (60 s without
//! current, then a start); while on it draws the surplus within its limits. It knows no ramps and no samples, so no controller reaches it.

/// What a start costs, in kilowatt-hours.
const START_KWH: f64 = 0.1;
/// Seconds without current at a start.
const START_S: usize = 8;
/// Seconds without current at a change of phases.
const SWITCH_S: usize = 60;
/// What a kilowatt-hour from elsewhere costs, in kilowatt-hours of sun.
const OTHER: f64 = 3.0;
/// Watts of one phase at 6 A and at 16 A.
const PHASE_W: (f64, f64) = (1_380.0, 3_680.0);

/// The bound for a charger on three phases, in kilowatt-hours of value. `surplus_w` is solar − house, second by second.
pub(crate) fn three_phases(surplus_w: &[f64]) -> f64 {
    best(surplus_w, &[3.0])
}

/// The bound for a charger that can change between three phases and one.
pub(crate) fn one_or_three_phases(surplus_w: &[f64]) -> f64 {
    best(surplus_w, &[3.0, 1.0])
}

/// Values of the best way from a second to the end of the day, off and on.
struct Ways {
    phases: f64,
    off: Vec<f64>,
    on: Vec<f64>,
}

/// The best way from the morning on, with the first number of phases.
fn best(surplus_w: &[f64], layouts: &[f64]) -> f64 {
    let end = surplus_w.len();
    let ways = |phases: &f64| Ways { phases: *phases, off: vec![0.0; end + 1], on: vec![0.0; end + 1] };
    let mut layouts: Vec<Ways> = layouts.iter().map(ways).collect();
    for t in (0..end).rev() {
        for at in 0..layouts.len() {
            let switched = layouts.iter().enumerate().filter(|(other, _)| *other != at);
            let switched = switched.filter_map(|(_, other)| other.off.get(t + SWITCH_S).copied());
            let elsewhere = switched.fold(f64::NEG_INFINITY, f64::max);
            let way = &mut layouts[at];
            let started = if t + START_S < end { way.on[t + START_S] - START_KWH } else { f64::NEG_INFINITY };
            way.off[t] = way.off[t + 1].max(started).max(elsewhere);
            let charging = gain_kwh(surplus_w[t], way.phases) + way.on[t + 1].max(way.off[t + 1]);
            way.on[t] = charging.max(way.off[t]);
        }
    }
    layouts[0].off[0]
}

/// What a second of charging is worth.
fn gain_kwh(surplus_w: f64, phases: f64) -> f64 {
    let power_w = surplus_w.clamp(PHASE_W.0 * phases, PHASE_W.1 * phases);
    let sun_w = power_w.min(surplus_w.max(0.0));
    (sun_w - OTHER * (power_w - sun_w)) / 3.6e6
}
