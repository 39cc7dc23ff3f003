//! Determines a charger's power by checking the wallbox's own values against each other: power, currents and setpoint.
//!
//! The surplus is calculated from this power, so a register that is stuck must not become surplus. Currents times voltages should equal the
//! power register; where they differ for several reports, the currents count. Neither may exceed what the setpoint allows.

use crate::facts::ChargerReport;
use crate::units::{Milliamps, Volts, Watts};

/// Measured voltages outside this are not the mains (an un-wired phase reads about 8 V).
pub(crate) const MAINS: core::ops::RangeInclusive<u16> = 200..=260;
/// The power register and the currents may differ by this, and by a sixth: reactive power, and currents rounded to 0.1 A.
const AGREE_W: i64 = 300;
/// Number of reports in a row that must differ before the currents count alone.
const DIFFER: u8 = 3;
/// A car draws no more than this multiple of the setpoint (meters, ramps).
const OVER_PERMILLE: i64 = 1_150;

/// Memory of one charger's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PowerCheck {
    differ: u8,
}

impl PowerCheck {
    pub(crate) const fn new() -> Self {
        Self { differ: 0 }
    }

    /// Whether the power register disagrees with the currents.
    pub(crate) const fn doubted(self) -> bool {
        self.differ >= DIFFER
    }

    /// Returns the power to calculate with. `ceiling` is the highest current the wallbox may recently have offered on three phases, where
    /// known.
    pub(crate) fn believed(&mut self, report: &ChargerReport, ceiling: Option<Milliamps>, volts: i64) -> Option<Watts> {
        let bound = ceiling.map(|current| i64::from(current.0) * volts * 3 / 1_000 * OVER_PERMILLE / 1_000 + AGREE_W);
        let by_currents = report.currents.map(|currents| apparent(currents, report.voltages, volts));
        let power = report.power.map(|power| i64::from(power.0));
        let chosen = match (power, by_currents) {
            (Some(power), Some(by_currents)) => {
                let differ = (power - by_currents).abs() > AGREE_W + power.max(by_currents) / 6;
                self.differ = if differ { self.differ.saturating_add(1).min(DIFFER) } else { 0 };
                let within = |watts: i64| bound.is_none_or(|bound| watts <= bound);
                if !differ || (self.doubted() && !within(by_currents)) {
                    power
                } else if self.doubted() {
                    by_currents
                } else {
                    power.min(by_currents)
                }
            }
            (Some(power), None) => power,
            (None, Some(by_currents)) => by_currents,
            (None, None) => return None,
        };
        let watts = bound.map_or(chosen, |bound| chosen.min(bound)).max(0);
        Some(Watts(i32::try_from(watts).unwrap_or(i32::MAX)))
    }
}

/// Returns currents times voltages; the mean voltage stands in where a phase's own is not that of the mains.
fn apparent(currents: [Milliamps; 3], voltages: Option<[Volts; 3]>, volts: i64) -> i64 {
    let voltage = |phase: usize| {
        let own = voltages.and_then(|voltages| voltages.get(phase).copied());
        own.filter(|own| MAINS.contains(&own.0)).map_or(volts, |own| i64::from(own.0))
    };
    (0..3).zip(currents).map(|(phase, current)| i64::from(current.0) * voltage(phase) / 1_000).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Vehicle;
    use crate::testing::report;
    use crate::units::Tick;

    fn says(power: i32, amps: [u32; 3]) -> ChargerReport {
        let currents = Some(amps.map(|amps| Milliamps(amps * 1_000)));
        ChargerReport { currents, ..report(crate::testing::CAR, Tick(0), Vehicle::Charging, power, 10_000) }
    }

    fn after(reports: &[ChargerReport], ceiling: u32) -> i32 {
        let mut check = PowerCheck::new();
        reports.iter().map(|report| check.believed(report, Some(Milliamps(ceiling)), 230).unwrap().0).last().unwrap()
    }

    #[test]
    fn a_power_register_that_stands_still_gives_way_to_the_currents() {
        assert_eq!(after(&[says(6_900, [10; 3])], 10_000), 6_900, "they agree");
        assert_eq!(after(&[says(20_000, [10; 3])], 10_000), 6_900, "the lower one at first");
        assert_eq!(after(&[says(20_000, [10; 3]); 3], 10_000), 6_900, "too high");
        assert_eq!(after(&[says(0, [10; 3]); 3], 10_000), 6_900, "too low");
    }

    #[test]
    fn nothing_exceeds_what_the_setpoint_allows() {
        let bound = 6 * 230 * 3 * 1_150 / 1_000 + 300;
        assert_eq!(after(&[says(20_000, [29; 3]); 4], 6_000), bound, "both lie");
        assert_eq!(after(&[says(4_100, [16; 3]); 4], 6_000), 4_100, "the currents lie");
    }
}
