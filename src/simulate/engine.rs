//! Steps through the seconds: plant, meters, controller, orders.

use control::{
    Action, ChargerId, ChargerReport, Command, Config, Controller, Doubt, Input, Milliamps, Order, Reachability,
    Reading, Reason, Tick, Vehicle, Volts, Watts,
};

use super::meters::{Burst, METERED, Meters};
use super::setup::Setup;
use super::trace::{Trace, TraceRow};
use crate::sim::plant::{Flows, Ledger, Pilot, Plant};

/// Delay after a phase switch until the wallbox reports the new phases, in seconds.
const PHASES_READ_BACK_S: u32 = 2;
/// The greatest lag of the charger's meter in seconds, plus one.
const CHARGER_MEMORY: usize = 4;
/// Highest and lowest current of the simulated wallbox.
const BOX: (Milliamps, Milliamps) = (Milliamps(16_000), Milliamps(6_000));

/// The result of a simulation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Totals {
    /// Energies, and the number of starts of the car's current.
    pub ledger: Ledger,
    /// Seconds in which the car drew current.
    pub charging_s: u32,
    /// Number of changes of the ordered setpoint.
    pub setpoint_writes: u32,
    /// Number of changes of the connected phases.
    pub phase_switches: u32,
    /// Number of requests for fresh samples.
    pub refresh_requests: u32,
}

impl Totals {
    /// The value of the charged energy in kilowatt-hours: solar energy into the car, minus three times the energy from other sources, minus
    /// a tenth for each start.
    pub fn value_kwh(&self) -> f64 {
        let Ledger { solar_to_car_wh, grid_to_car_wh, battery_to_car_wh, starts, .. } = self.ledger;
        (solar_to_car_wh - 3.0 * (grid_to_car_wh + battery_to_car_wh)) / 1_000.0 - 0.1 * f64::from(starts)
    }
}

/// A simulated second.
#[derive(Debug)]
pub struct Second<'a> {
    /// Seconds since midnight of the first day.
    pub t_s: u32,
    /// Powers during this second.
    pub flows: Flows,
    /// Setpoint ordered at its end.
    pub setpoint: Milliamps,
    controller: &'a Controller,
    charger: ChargerId,
}

impl Second<'_> {
    /// The reason for the setpoint. Costs a snapshot of the controller.
    pub fn reason(&self) -> Reason {
        self.controller.snapshot().chargers.get(&self.charger).map_or(Reason::Starting, |view| view.reason)
    }

    /// The controller's doubt about the meters, if any.
    pub fn doubt(&self) -> Option<Doubt> {
        self.controller.doubt()
    }
}

/// Is shown every second.
pub trait Observer {
    /// The error of the observer.
    type Error;
    /// Called after every second.
    fn second(&mut self, second: &Second<'_>) -> Result<(), Self::Error>;
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Observer for Nobody {
    type Error = std::convert::Infallible;
    fn second(&mut self, _: &Second<'_>) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Forwards each second to both observers.
impl<A: Observer, B: Observer<Error = A::Error>> Observer for (A, B) {
    type Error = A::Error;
    fn second(&mut self, second: &Second<'_>) -> Result<(), Self::Error> {
        self.0.second(second)?;
        self.1.second(second)
    }
}

/// Forwards each second to the observer, if any.
impl<A: Observer> Observer for Option<A> {
    type Error = A::Error;
    fn second(&mut self, second: &Second<'_>) -> Result<(), Self::Error> {
        self.as_mut().map_or(Ok(()), |observer| observer.second(second))
    }
}

/// The controller connected to the plant.
#[derive(Debug, Clone)]
pub struct Simulation {
    controller: Controller,
    charger: ChargerId,
    /// Whether the wallbox can report the number of connected phases.
    switches: bool,
    plant: Plant,
    meters: Meters,
    pilot: Pilot,
    setpoint: Milliamps,
    valid_until: Tick,
    phases_changed_s: Option<u32>,
    /// Power and currents of the car, by second modulo [`CHARGER_MEMORY`].
    drew: [(f64, [f64; 3]); CHARGER_MEMORY],
    began_s: u32,
    charging_s: u32,
    setpoint_writes: u32,
    phase_switches: u32,
    refresh_requests: u32,
}

impl Simulation {
    /// Starts at second `began_s` after midnight. Only the first of the configured chargers is simulated; the others are removed.
    pub fn new(config: &Config, setup: &Setup, began_s: u32) -> Self {
        let mut config = config.clone();
        let first = config.chargers.pop_first();
        let charger = first.map_or(ChargerId(0), |(id, _)| id);
        let phases = first.map_or(3, |(_, charger)| charger.switching.map_or(3, |_| charger.phases));
        config.chargers = first.into_iter().collect();
        Self {
            charger,
            switches: first.is_some_and(|(_, charger)| charger.switching.is_some()),
            controller: Controller::new(config, tick(began_s)),
            plant: Plant::new(setup.car_from(began_s), setup.battery),
            meters: Meters::new(setup.meters, setup.battery.is_some(), setup.seed, began_s),
            pilot: Pilot { offer_deciamps: 0, state_f: false, phases },
            setpoint: Milliamps::ZERO,
            valid_until: tick(began_s),
            phases_changed_s: None,
            drew: [(0.0, [0.0; 3]); CHARGER_MEMORY],
            began_s,
            charging_s: 0,
            setpoint_writes: 0,
            phase_switches: 0,
            refresh_requests: 0,
        }
    }

    /// Runs a whole trace. Fails only if the observer does.
    pub fn run<O: Observer>(
        config: &Config,
        setup: &Setup,
        trace: &Trace,
        observer: &mut O,
    ) -> Result<Totals, O::Error> {
        let mut simulation = Self::new(config, setup, trace.first_s());
        for row in trace.seconds() {
            observer.second(&simulation.step(row))?;
        }
        Ok(simulation.totals())
    }

    /// Simulates one second: the plant follows the orders so far, the meters publish, the controller decides.
    pub fn step(&mut self, row: TraceRow) -> Second<'_> {
        let t_s = row.from_s;
        let now = tick(t_s);
        if now >= self.valid_until {
            // Without a renewed order the driver would write the safe current. Never reached here, because orders come every second.
            self.pilot.offer_deciamps = 0;
        }
        let flows = self.plant.step(f64::from(row.solar_w), f64::from(row.house_w), self.pilot);
        self.charging_s += u32::from(flows.car_w > 0.0);
        self.meters.pass(t_s, &flows);
        let report = self.report(t_s, now, flows.car_w);
        self.tell(Input::Report(report), t_s, now);
        while let Some(burst) = self.meters.arrived(t_s) {
            self.publish(&burst, t_s, now);
        }
        if self.controller.poll_timeout().is_some_and(|(due, _)| due <= now) {
            self.controller.handle_timeout(now);
            self.act(t_s, now);
        }
        Second { t_s, flows, setpoint: self.setpoint, controller: &self.controller, charger: self.charger }
    }

    /// Plugs the car in, or drives it away.
    pub const fn plug(&mut self, plugged: bool) {
        self.plant.set_plugged(plugged);
    }

    /// Passes on a command of the user at second `t_s`, before that second is simulated.
    pub fn command(&mut self, command: Command, t_s: u32) {
        self.tell(Input::Command(command), t_s, tick(t_s));
    }

    /// The result up to now.
    pub const fn totals(&self) -> Totals {
        Totals {
            ledger: self.plant.ledger(),
            charging_s: self.charging_s,
            setpoint_writes: self.setpoint_writes,
            phase_switches: self.phase_switches,
            refresh_requests: self.refresh_requests,
        }
    }

    /// The controller, for inspection.
    pub const fn controller(&self) -> &Controller {
        &self.controller
    }

    fn publish(&mut self, burst: &Burst, t_s: u32, now: Tick) {
        for (source, value) in METERED.into_iter().zip(burst) {
            if value.is_some() {
                self.tell(Input::Reading(Reading { source, value: *value, retained: false }), t_s, now);
            }
        }
    }

    fn tell(&mut self, input: Input, t_s: u32, now: Tick) {
        self.controller.handle(input, now);
        self.act(t_s, now);
    }

    fn act(&mut self, t_s: u32, now: Tick) {
        while let Some(action) = self.controller.poll_action() {
            match action {
                Action::Order(order) => self.obey(&order, t_s, now),
                // Cars on this plant never need waking.
                Action::Wake(_) => {}
                Action::Refresh => {
                    self.refresh_requests += 1;
                    self.meters.refresh(t_s);
                }
            }
        }
    }

    fn obey(&mut self, order: &Order, t_s: u32, now: Tick) {
        assert!(order.charger == self.charger && order.valid_until > now, "an order for nobody, or of yesterday");
        self.valid_until = order.valid_until;
        if let Some(setpoint) = order.setpoint {
            assert!(
                setpoint == Milliamps::ZERO || (BOX.1..=BOX.0).contains(&setpoint),
                "a forbidden current: {setpoint}"
            );
            self.setpoint_writes += u32::from(setpoint != self.setpoint);
            self.setpoint = setpoint;
        }
        self.pilot.offer_deciamps = self.setpoint.deciamps_floor();
        if let Some(phases) = order.phases.filter(|phases| *phases != self.pilot.phases) {
            let drawn_w = self.plant.flows().car_w;
            assert!(drawn_w <= 0.0 && self.setpoint == Milliamps::ZERO, "phases changed at {drawn_w} W, second {t_s}");
            self.pilot.phases = phases;
            self.phases_changed_s = Some(t_s);
            self.phase_switches += 1;
        }
    }

    /// The wallbox's report. Its meter lags: it shows what was drawn when it was read.
    fn report(&mut self, t_s: u32, now: Tick, car_w: f64) -> ChargerReport {
        let signal = self.plant.signal(self.pilot);
        let place = t_s as usize % CHARGER_MEMORY;
        if let Some(drew) = self.drew.get_mut(place) {
            *drew = (car_w, signal.amps);
        }
        let age = self.meters.charger_age_s().min((t_s - self.began_s) as usize);
        let (power_w, amps) =
            self.drew.get((place + CHARGER_MEMORY - age) % CHARGER_MEMORY).copied().unwrap_or_default();
        let offers = self.pilot.offer_deciamps >= 60;
        let vehicle = match (signal.plugged, signal.asks) {
            (false, _) => Vehicle::Absent,
            (true, false) => Vehicle::Connected,
            (true, true) if offers => Vehicle::Charging,
            (true, true) => Vehicle::Requesting,
        };
        let changing = self.phases_changed_s.is_some_and(|at_s| t_s < at_s + PHASES_READ_BACK_S);
        ChargerReport {
            vehicle,
            power: Some(Watts(whole(power_w))),
            currents: Some(amps.map(|amps| Milliamps(whole(amps * 1_000.0).unsigned_abs()))),
            voltages: Some([Volts(230); 3]),
            setpoint: Some(self.setpoint),
            connected: (self.switches && !changing).then_some(self.pilot.phases),
            box_max: Some(BOX.0),
            box_min: Some(BOX.1),
            ..ChargerReport::silent(self.charger, now, Reachability::Online)
        }
    }
}

/// Converts a second to the controller's clock.
fn tick(t_s: u32) -> Tick {
    Tick(u64::from(t_s) * 1_000)
}

#[expect(clippy::cast_possible_truncation, reason = "a car draws some ten thousand watts")]
fn whole(value: f64) -> i32 {
    value.round() as i32
}

#[cfg(test)]
mod tests;
