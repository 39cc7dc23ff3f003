//! Car, home battery and grid in steps of one second: the plant that all measurements use. Pure arithmetic, no randomness.
//!
//! Floats are fine here: nothing is decided with them, and the energies must balance to a milliwatt-hour per step. Left out: reactive
//! power, and everything faster than a second. What cars and batteries do besides the ordinary is in [`Habits`] and [`BatteryHabit`].

mod habits;

/// Phase-to-neutral voltage for converting currents to power.
pub const VOLTS: f64 = 230.0;

/// Delay from offering 6 A until current flows: it flows in the eighth step that sees the offer.
const DEAD_TIME_S: u32 = 8;
/// The current at which a charge begins, in amperes.
const FIRST_AMPS: f64 = 5.9;
/// How fast it follows downwards, in amperes per second.
const DOWN: f64 = 4.0;
/// The lowest current of IEC 61851-1, in amperes.
const PILOT_MIN: f64 = 6.0;

/// Options of the car.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CarOptions {
    /// Number of phases it charges on, 1 … 3.
    pub phases: u8,
    /// Second of the simulation at which it is plugged in; `None`: plugged in from the start.
    pub arrives_s: Option<u32>,
    /// Second at which it leaves; `None`: it stays.
    pub leaves_s: Option<u32>,
    /// Energy until it is full, in watt-hours; `None`: never full.
    pub wants_wh: Option<f64>,
    /// Whether it asks for current only after the pilot has gone to state F and back.
    pub sleepy: bool,
    /// Maximum current, in amperes per phase.
    pub max_amps: f64,
}

impl CarOptions {
    /// Plugged in all day, three phases, 16 A, never full.
    pub const ALL_DAY: Self =
        Self { phases: 3, arrives_s: None, leaves_s: None, wants_wh: None, sleepy: false, max_amps: 16.0 };
}

/// Options of the home battery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatteryOptions {
    /// Capacity in watt-hours.
    pub capacity_wh: f64,
    /// Maximum power in watts, in both directions.
    pub max_w: f64,
    /// Efficiency of charging and of discharging, each 0 … 1.
    pub efficiency: f64,
    /// State of charge below which it does not discharge, 0 … 1.
    pub reserve: f64,
    /// State of charge at the start, 0 … 1.
    pub soc: f64,
}

impl BatteryOptions {
    /// A half-charged Powerwall.
    pub const POWERWALL: Self =
        Self { capacity_wh: 13_500.0, max_w: 5_000.0, efficiency: 0.95, reserve: 0.20, soc: 0.50 };
}

pub use habits::{BatteryHabit, Habits};

/// What the wallbox signals to the car.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pilot {
    /// Offered current per phase in tenths of an ampere; below 60 nothing is offered.
    pub offer_deciamps: u32,
    /// State F (−12 V): not available.
    pub state_f: bool,
    /// Number of phases that the wallbox connects, 1 … 3.
    pub phases: u8,
}

/// What the car signals to the wallbox.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CarSignal {
    /// Whether it is plugged in.
    pub plugged: bool,
    /// Whether it asks for current.
    pub asks: bool,
    /// Currents drawn on L1, L2, L3, in amperes.
    pub amps: [f64; 3],
}

/// Energies since the start, in watt-hours.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ledger {
    /// From the sun into the car.
    pub solar_to_car_wh: f64,
    /// From the grid into the car.
    pub grid_to_car_wh: f64,
    /// From the home battery into the car.
    pub battery_to_car_wh: f64,
    /// Into the car from all sources.
    pub car_wh: f64,
    /// Solar production.
    pub solar_wh: f64,
    /// Used by the house without the car.
    pub house_wh: f64,
    /// Imported from the grid.
    pub import_wh: f64,
    /// Exported to the grid.
    pub export_wh: f64,
    /// Net energy out of the battery at its terminals.
    pub battery_out_wh: f64,
    /// How often the car's current rose from zero.
    pub starts: u32,
}

/// Powers in the last step, in watts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flows {
    /// Solar power, ≥ 0.
    pub solar_w: f64,
    /// House load without the car, ≥ 0.
    pub house_w: f64,
    /// Power of the car, ≥ 0.
    pub car_w: f64,
    /// Battery power, + discharging.
    pub battery_w: f64,
    /// Grid power, + import.
    pub grid_w: f64,
    /// State of charge of the battery, 0 … 100; `None` without one.
    pub soc_pct: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Battery {
    options: BatteryOptions,
    habit: BatteryHabit,
    stored_wh: f64,
    watts: f64,
}

/// The plant.
#[derive(Debug, Clone)]
pub struct Plant {
    car: CarOptions,
    battery: Option<Battery>,
    elapsed_s: u32,
    waited_s: u32,
    amps: f64,
    /// Whether the pilot was seen in state F: a sleepy car asks once the pilot is back.
    startled: bool,
    awake: bool,
    habits: Habits,
    nerves: habits::Nerves,
    off_grid: bool,
    flows: Flows,
    ledger: Ledger,
}

impl Plant {
    /// A plant at second 0.
    pub fn new(car: CarOptions, battery: Option<BatteryOptions>) -> Self {
        let battery = battery.map(|options| Battery {
            stored_wh: options.capacity_wh * options.soc,
            watts: 0.0,
            habit: BatteryHabit::Balances,
            options,
        });
        Self {
            awake: !car.sleepy,
            car,
            battery,
            elapsed_s: 0,
            waited_s: 0,
            amps: 0.0,
            startled: false,
            habits: Habits::ORDINARY,
            nerves: habits::Nerves::default(),
            off_grid: false,
            flows: Flows { soc_pct: battery.map(|battery| battery.soc_pct()), ..Flows::default() },
            ledger: Ledger::default(),
        }
    }

    /// Advances by one second with this much sun and house load, and this pilot.
    pub fn step(&mut self, solar_w: f64, house_w: f64, pilot: Pilot) -> Flows {
        let was_charging = self.amps > 0.0;
        self.step_car(pilot);
        let car_w = self.amps * VOLTS * f64::from(self.phases(pilot));
        let residual = house_w + car_w - solar_w;
        let off_grid = self.off_grid;
        let battery_w = self.battery.as_mut().map_or(0.0, |battery| battery.step(residual, off_grid));
        let grid_w = if off_grid { 0.0 } else { residual - battery_w };
        self.flows =
            Flows { solar_w, house_w, car_w, battery_w, grid_w, soc_pct: self.battery.as_ref().map(Battery::soc_pct) };
        self.book(!was_charging && self.amps > 0.0);
        self.elapsed_s = self.elapsed_s.saturating_add(1);
        self.flows
    }

    /// The car's signal as seen by the wallbox.
    pub fn signal(&self, pilot: Pilot) -> CarSignal {
        let mut amps = [0.0; 3];
        for phase in amps.iter_mut().take(usize::from(self.phases(pilot))) {
            *phase = self.amps;
        }
        CarSignal { plugged: self.plugged(), asks: self.asks(), amps }
    }

    /// Powers of the last step.
    pub const fn flows(&self) -> Flows {
        self.flows
    }

    /// Energies since the start.
    pub const fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Plugs the car in or drives it away, whatever its timetable says.
    pub const fn set_plugged(&mut self, plugged: bool) {
        self.car.arrives_s = if plugged { None } else { Some(u32::MAX) };
        self.car.leaves_s = None;
    }

    /// Changes the car's habits.
    pub const fn set_habits(&mut self, habits: Habits) {
        self.habits = habits;
    }

    /// Changes what the home battery does.
    pub const fn set_battery_habit(&mut self, habit: BatteryHabit) {
        if let Some(battery) = &mut self.battery {
            battery.habit = habit;
        }
    }

    /// Cuts the house from the grid, or connects it again. While it is cut, the battery alone balances the house, whatever its limits.
    pub const fn set_off_grid(&mut self, off_grid: bool) {
        self.off_grid = off_grid;
    }

    fn plugged(&self) -> bool {
        self.car.arrives_s.is_none_or(|at| self.elapsed_s >= at)
            && self.car.leaves_s.is_none_or(|at| self.elapsed_s < at)
    }

    fn asks(&self) -> bool {
        let full = self.car.wants_wh.is_some_and(|wanted| self.ledger.car_wh >= wanted);
        self.plugged() && self.awake && if self.habits.nervous { self.nerves.twitches() } else { !full }
    }

    fn phases(&self, pilot: Pilot) -> u8 {
        self.car.phases.min(pilot.phases).min(3)
    }

    fn step_car(&mut self, pilot: Pilot) {
        self.nerves.feel(pilot.offer_deciamps);
        if !self.plugged() {
            self.amps = 0.0;
            self.waited_s = 0;
            self.awake = !self.car.sleepy;
            self.startled = false;
            return;
        }
        if pilot.state_f {
            self.startled = true;
        } else if self.startled {
            self.awake = true;
        }
        if pilot.state_f || !self.asks() {
            self.amps = 0.0;
            self.waited_s = 0;
            return;
        }
        let offered = f64::from(pilot.offer_deciamps) / 10.0;
        self.waited_s = if offered >= PILOT_MIN { self.waited_s.saturating_add(1) } else { 0 };
        let wants =
            if self.habits.nervous { habits::TWITCH_AMPS } else { self.habits.target(offered).min(self.car.max_amps) };
        let target = if self.waited_s >= DEAD_TIME_S { wants } else { 0.0 };
        self.amps = if self.amps < target {
            if self.amps > 0.0 { (self.amps + self.habits.up).min(target) } else { FIRST_AMPS.min(target) }
        } else {
            // On a stop command the current ramps down as usual, and is cut below the lowest current.
            let lower = self.amps - DOWN;
            if target > 0.0 || lower >= PILOT_MIN { lower.max(target) } else { 0.0 }
        };
    }

    fn book(&mut self, started: bool) {
        const HOURS: f64 = 1.0 / 3_600.0;
        let Flows { solar_w, house_w, car_w, battery_w, grid_w, .. } = self.flows;
        let from_grid = grid_w.max(0.0).min(car_w);
        let from_battery = battery_w.max(0.0).min(car_w - from_grid);
        let ledger = &mut self.ledger;
        ledger.grid_to_car_wh += from_grid * HOURS;
        ledger.battery_to_car_wh += from_battery * HOURS;
        ledger.solar_to_car_wh += (car_w - from_grid - from_battery) * HOURS;
        ledger.car_wh += car_w * HOURS;
        ledger.solar_wh += solar_w * HOURS;
        ledger.house_wh += house_w * HOURS;
        ledger.import_wh += grid_w.max(0.0) * HOURS;
        ledger.export_wh += (-grid_w).max(0.0) * HOURS;
        ledger.battery_out_wh += battery_w * HOURS;
        ledger.starts += u32::from(started);
    }
}

impl Battery {
    fn soc_pct(&self) -> f64 {
        self.stored_wh / self.options.capacity_wh * 100.0
    }

    /// Tries to keep the grid power at zero, with a time constant of two seconds; without a grid, exactly and at once.
    fn step(&mut self, residual_w: f64, off_grid: bool) -> f64 {
        let BatteryOptions { capacity_wh, max_w, efficiency, reserve, .. } = self.options;
        let empty = self.stored_wh <= capacity_wh * reserve;
        let full = self.stored_wh >= capacity_wh;
        let mut want = match self.habit {
            BatteryHabit::Balances => residual_w.clamp(-max_w, max_w),
            BatteryHabit::FilledFromGrid => -max_w,
            BatteryHabit::Idle => 0.0,
        };
        if (want > 0.0 && empty) || (want < 0.0 && full) {
            want = 0.0;
        }
        self.watts = if off_grid { residual_w } else { self.watts + (want - self.watts) / 2.0 };
        let drawn = if self.watts > 0.0 { self.watts / efficiency } else { self.watts * efficiency };
        self.stored_wh -= drawn / 3_600.0;
        self.watts
    }
}

#[cfg(test)]
mod tests;
