//! Measurements: what a poll reads, what it means, and the report that follows from it.

use control::{ChargerReport, Fault, Milliamps, Reachability, Tick, Vehicle, Volts, WattHours, Watts};

use super::flow::LOOK_EVERY;
use super::{Driver, Event, Notice, Sign};
use crate::charger::codec::Operation;
use crate::charger::profile::Register;

/// The values from one poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    raw_state: u16,
    pub(super) vehicle: Vehicle,
    fault: Option<Fault>,
    derated: bool,
    power: Option<Watts>,
    pub(super) currents: Option<[Milliamps; 3]>,
    voltages: Option<[Volts; 3]>,
    energy: Option<WattHours>,
}

impl Driver {
    pub(super) fn measure_operation(&self) -> Operation {
        let (addr, count) = self.profile.poll_block(self.layout);
        Operation::ReadInput { addr, count }
    }

    /// Takes in a poll; returns false if it does not even contain a state.
    pub(super) fn take_measurements(&mut self, words: &[u16], now: Tick) -> bool {
        let Some(measured) = self.decode(words) else { return false };
        let counter = self.value(&self.profile.measure.energy_since_power_on, words);
        if let (Some(before), Some(counter)) = (self.counter, counter)
            && counter < before
        {
            self.power_cycle(Sign::CounterBack, now);
        }
        self.counter = counter;
        let before = self.measured.as_ref().map(|measured| measured.raw_state);
        if before != Some(measured.raw_state) {
            // A wallbox that changes its state may have changed its setpoint too.
            self.readback_at = now;
        }
        self.pulse.saw(measured.fault);
        let external = self.profile.lock.external.as_ref().and_then(|register| self.value(register, words));
        let open = i64::from(self.profile.lock.unlocked);
        self.found_locked.saw(measured.fault, external.map(|value| value != open), now);
        self.without_car = measured.vehicle == Vehicle::Absent;
        let currents = measured.currents;
        self.measured = Some(measured);
        self.note_rest(now);
        self.note_flow(currents, now);
        true
    }

    /// Takes in a poll of a running charger.
    pub(super) fn measure_answer(&mut self, words: &[u16], now: Tick) -> bool {
        self.poll_at = now + self.poll_every;
        let before = self.measured.as_ref().map(|measured| measured.raw_state);
        if !self.take_measurements(words, now) {
            return false;
        }
        if self.alone.flow.is_watched() {
            self.poll_at = now + self.poll_every.min(LOOK_EVERY);
        }
        let after = self.measured.as_ref().map(|measured| measured.raw_state);
        if let (Some(before), Some(after)) = (before, after)
            && before != after
        {
            self.notice(Notice::State { from: self.describe(before), to: self.describe(after) });
        }
        let report = self.report(now);
        self.say(Event::Report(report));
        true
    }

    fn describe(&self, raw: u16) -> String {
        let state = self.profile.states.get(&raw);
        state.map_or_else(|| format!("{raw} (unknown)"), |state| format!("{} ({})", state.code, state.title))
    }

    /// Returns the value of a register in a poll, if the layout has it.
    fn value(&self, register: &Register, words: &[u16]) -> Option<i64> {
        if register.since > self.layout {
            return None;
        }
        let (start, _) = self.profile.poll_block(self.layout);
        register.value(register.words(start, words)?)
    }

    pub(super) fn decode(&self, words: &[u16]) -> Option<Measured> {
        let measure = &self.profile.measure;
        let raw_state = u16::try_from(self.value(&measure.state, words)?).ok()?;
        let state = self.profile.states.get(&raw_state);
        let three = |registers: &[Register; 3]| {
            let [first, second, third] = registers.each_ref().map(|register| self.value(register, words));
            Some([first?, second?, third?])
        };
        // A negative current is not valid and proves nothing.
        let currents = three(&measure.currents).and_then(|values| {
            let [first, second, third] = values.map(|value| u32::try_from(value).map(Milliamps).ok());
            Some([first?, second?, third?])
        });
        // A phase that is not wired picks up a few volts from its neighbours.
        let voltages = three(&measure.voltages).map(|values| {
            let wired = |value: &i64| *value >= i64::from(measure.wired_from);
            values
                .map(|value| Volts(Some(value).filter(wired).and_then(|value| u16::try_from(value).ok()).unwrap_or(0)))
        });
        let power = self
            .value(&measure.power, words)
            .or_else(|| Some(power_of(currents?, voltages?)))
            .and_then(|value| i32::try_from(value).ok())
            .map(Watts);
        let energy = measure.energy.iter().find_map(|register| self.value(register, words)).map(WattHours);
        Some(Measured {
            raw_state,
            vehicle: state.map_or(Vehicle::Unknown, |state| state.vehicle),
            fault: state.and_then(|state| state.fault),
            derated: state.is_some_and(|state| state.derated),
            power,
            currents,
            voltages,
            energy,
        })
    }

    /// Returns the report for the controller.
    pub(super) fn report(&self, now: Tick) -> ChargerReport {
        let silent = self.silent_report(now);
        let (Reachability::Online | Reachability::ReadOnly, Some(measured)) = (self.link, &self.measured) else {
            return silent;
        };
        let waking = self.pulse.before();
        let own_fault = if waking.is_some() && measured.fault == Some(Fault::Locked) { None } else { measured.fault };
        let phases = self.phases.at_fault().then_some(Fault::Phases);
        let refused = self.refused_until.map(|_| Fault::Refused);
        ChargerReport {
            vehicle: waking.unwrap_or(measured.vehicle),
            fault: refused.or(phases).or(own_fault),
            derated: measured.derated,
            waking: waking.is_some(),
            power: measured.power,
            currents: measured.currents,
            voltages: measured.voltages,
            setpoint: self.setpoint.known().map(|raw| self.profile.decode_current(raw)),
            connected: self.phases.connected(),
            box_max: Some(self.box_max),
            box_min: Some(self.box_min),
            energy: measured.energy,
            released: false,
            ..silent
        }
    }
}

/// Computes the apparent power in VA from mA and V.
fn power_of(currents: [Milliamps; 3], voltages: [Volts; 3]) -> i64 {
    let milli: i64 = currents.iter().zip(&voltages).map(|(i, u)| i64::from(i.0) * i64::from(u.0)).sum();
    milli / 1_000
}
