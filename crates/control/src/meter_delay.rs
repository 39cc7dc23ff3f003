//! Learns how old the meters' values are on arrival from the cars' own changes of power.
//!
//! The surplus is what the cars drew *when the meters were read* less what the site drew beyond solar production. A sample compared with
//! the cars' power at another moment turns the controller's own actions into surplus that is not there, and the controller chases itself.
//! Delays differ (a meter on the bus: none; a cloud service: twenty seconds), so they are learned: whenever the cars' power changes, each
//! possible age predicts by how much the load must have changed from one sample to the next; the age with the smallest error is the right
//! one.
//!
//! Left out: ages above [`AGES`], and meters that are read at different moments; those show as a persistent error, and then the cars' power
//! is only known to lie within what they drew [`BLUR`] seconds around that time.

use crate::history::{AGES, PowerHistory};
use crate::units::{Millis, Tick, Watts};

/// Power the cars drew at each possible age before a sample.
pub(crate) type Trail = [Watts; AGES];

/// Ages that predict changes within this of each other teach nothing.
const TEACHES: i64 = 300;
/// Limit on a single error: one wrong sample (a kettle) must not outweigh many.
const ERROR_MAX: i64 = 2_000;
/// Memory of the errors, in samples that teach.
const MEMORY: i64 = 12;
/// Number of samples that must have taught before the learned age is believed.
const BELIEVED_AFTER: u8 = 6;
/// With a mean error below this the cars' power at that age is exact.
const EXACT_BELOW: i64 = 120;
/// With a mean error below this, a third of the smallest step on three phases (0.1 A, 69 W), not even such a step is seen a second too
/// late.
const PROVEN_BELOW: i64 = 23;
/// If it is not exact, the cars' power lies within what they drew this many seconds around that age.
const BLUR: usize = 5;

/// Errors of each age, and the last sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeterDelay {
    /// Mean error of each age, in milliwatts.
    errors: [i64; AGES],
    taught: u8,
    age: usize,
    last: Option<(Watts, Trail)>,
}

impl MeterDelay {
    /// Starts with the configured age.
    pub(crate) fn new(age: Millis) -> Self {
        let age = usize::try_from(age.0.div_ceil(1_000)).unwrap_or(0).min(AGES - 1);
        Self { errors: [0; AGES], taught: 0, age, last: None }
    }

    /// Takes the load according to a sample and what the cars drew before it.
    pub(crate) fn sample(&mut self, load: Watts, trail: Trail) {
        if let Some((last_load, last_trail)) = self.last {
            let change = i64::from((load - last_load).0);
            let mut foretold = [0; AGES];
            for ((foretold, now), before) in foretold.iter_mut().zip(trail).zip(last_trail) {
                *foretold = i64::from((now - before).0);
            }
            let (low, high) = foretold.iter().fold((i64::MAX, i64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
            if high - low >= TEACHES {
                self.learn(change, &foretold);
            }
        }
        self.last = Some((load, trail));
    }

    /// Learns nothing from the change between the last sample and the next.
    pub(crate) const fn pause(&mut self) {
        self.last = None;
    }

    fn learn(&mut self, change: i64, foretold: &[i64; AGES]) {
        let memory = MEMORY.min(i64::from(self.taught) + 1);
        for (error, foretold) in self.errors.iter_mut().zip(foretold) {
            let missed = 1_000 * (change - foretold).abs().min(ERROR_MAX);
            *error += (missed - *error) / memory;
        }
        self.taught = self.taught.saturating_add(1);
        let best = self.errors.iter().enumerate().min_by_key(|(age, error)| (**error, age.abs_diff(self.age)));
        if let Some((age, error)) = best
            && self.taught >= BELIEVED_AFTER
            // A slightly smaller error is no reason to change.
            && *error + 20_000 < self.error(self.age) * 8 / 10
        {
            self.age = age;
        }
    }

    fn error(&self, age: usize) -> i64 {
        self.errors.get(age).copied().unwrap_or(0)
    }

    /// Whether the age is certain to the second: a step of the setpoint shows in the samples as that step.
    pub(crate) fn proven(&self) -> bool {
        self.exact() && self.error(self.age) < PROVEN_BELOW * 1_000
    }

    fn exact(&self) -> bool {
        self.taught >= BELIEVED_AFTER && self.error(self.age) < EXACT_BELOW * 1_000
    }

    /// Returns the least and the most the cars may have drawn when the meters were read, and the most likely power.
    pub(crate) fn drew(&self, trail: &Trail) -> (Watts, Watts, Watts) {
        let likely = trail.get(self.age).copied().unwrap_or(Watts::ZERO);
        if self.exact() {
            return (likely, likely, likely);
        }
        let window = trail.iter().skip(self.age.saturating_sub(BLUR)).take(self.age.min(BLUR) + BLUR + 1);
        let (low, high) = window.fold((likely, likely), |(low, high), power| (low.min(*power), high.max(*power)));
        (low, high, likely)
    }

    /// Returns an upper bound on the likely age.
    pub(crate) fn age_at_most(&self) -> Millis {
        Millis::from_secs((self.age + BLUR) as u64)
    }

    /// Returns the age that is believed.
    pub(crate) fn age(&self) -> Millis {
        Millis::from_secs(self.age as u64)
    }
}

/// Adds what one charger drew at each age before `at`; an unknown draw counts as 0, which leaves less surplus.
pub(crate) fn add_trail(trail: &mut Trail, history: &PowerHistory, at: Tick) {
    if !history.heard_by(at) {
        return;
    }
    let mut entries = history.newest_first().peekable();
    let mut current = Watts::ZERO;
    for (age, sum) in (0_u64..).zip(trail) {
        let moment = at.before(Millis::from_secs(age));
        while let Some((taken, power)) = entries.peek() {
            current = *power;
            if *taken <= moment {
                break;
            }
            entries.next();
        }
        *sum = *sum + current;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    /// A car that changes its draw every 7 s, meters read every `every` seconds and `late` seconds late, a house that is nearly steady.
    fn learned(late: u64, every: u64, noise: i32) -> MeterDelay {
        let mut meter_delay = MeterDelay::new(Millis(2_000));
        let mut random = 7_u32;
        let mut history = PowerHistory::new();
        let car = |at: u64| Watts(4_140 + i32::try_from((at / 7) * 7_919 % 6_000).unwrap());
        for at in 100..1_000_u64 {
            history.push(Tick(at * 1_000), car(at));
            if at % every == 0 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let blur = if noise > 0 { i32::try_from(random >> 16).unwrap() % noise } else { 0 };
                let mut trail = [Watts::ZERO; AGES];
                add_trail(&mut trail, &history, Tick(at * 1_000));
                meter_delay.sample(Watts(500 + blur) + car(at - late), trail);
            }
        }
        meter_delay
    }

    #[test]
    fn learns_how_late_the_meters_are() {
        for late in [0, 1, 2, 5, 12, 20] {
            for every in [1, 2, 3] {
                let meter_delay = learned(late, every, 60);
                assert_eq!((meter_delay.age(), meter_delay.exact()), (Millis::from_secs(late), true), "{late} {every}");
            }
        }
    }

    #[test]
    fn meters_that_fit_no_age_leave_a_range() {
        let meter_delay = learned(3, 1, 3_000);
        assert!(!meter_delay.exact());
        let trail = core::array::from_fn(|age| Watts(i32::try_from(age).unwrap() * 100));
        let (low, high, likely) = meter_delay.drew(&trail);
        assert!(low <= likely && likely <= high && high - low >= Watts(i32::try_from(BLUR).unwrap() * 100));
    }

    #[test]
    fn a_steady_car_teaches_nothing() {
        let mut meter_delay = MeterDelay::new(Millis(2_000));
        for step in 0..100 {
            meter_delay.sample(Watts(step * 300 % 5_000), [Watts(4_140); AGES]);
        }
        assert_eq!((meter_delay.taught, meter_delay.age()), (0, Millis(2_000)));
    }
}
