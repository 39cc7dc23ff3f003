//! Properties that hold for any input: random sequences of readings, reports, commands and silence, in virtual time.

#![expect(clippy::indexing_slicing, reason = "helpers of a test")]

extern crate alloc;

use std::collections::BTreeMap;

use control::*;
use proptest::prelude::*;

#[path = "../src/testing/site.rs"]
mod site;

const CHARGERS: u8 = 2;
const STEP_MAX_MS: u64 = 40_000;

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Read(usize, Option<i32>, bool),
    Report {
        charger: u8,
        link: Reachability,
        vehicle: Vehicle,
        fault: Option<Fault>,
        power: i32,
        setpoint: u32,
        box_max: u32,
    },
    Mode(Option<u8>, usize),
    Fixed(u32),
    Reconfigure(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let link = prop_oneof![
        8 => Just(Reachability::Online),
        1 => Just(Reachability::Offline),
        1 => Just(Reachability::Asleep),
        1 => Just(Reachability::ReadOnly),
        1 => Just(Reachability::Starting)
    ];
    let vehicle = prop_oneof![
        1 => Just(Vehicle::Unknown),
        1 => Just(Vehicle::Absent),
        3 => Just(Vehicle::Connected),
        1 => Just(Vehicle::Requesting),
        6 => Just(Vehicle::Charging)
    ];
    let fault = prop_oneof![12 => Just(None), 1 => Just(Some(Fault::Locked)), 1 => Just(Some(Fault::Error))];
    prop_oneof![
        8 => (1..STEP_MAX_MS).prop_map(Step::Wait),
        10 => (0..Source::ALL.len(), prop::option::weighted(0.95, -12_000..12_000), prop::bool::weighted(0.05))
            .prop_map(|(source, value, retained)| Step::Read(source, value, retained)),
        6 => (0..CHARGERS, link, vehicle, fault, 0..12_000, 0..20_000_u32, prop_oneof![Just(16_000_u32), 0..20_000_u32])
            .prop_map(|(charger, link, vehicle, fault, power, setpoint, box_max)| Step::Report {
                charger, link, vehicle, fault, power, setpoint, box_max
            }),
        1 => (prop::option::of(0..CHARGERS), 0..6_usize).prop_map(|(charger, mode)| Step::Mode(charger, mode)),
        1 => (0..40_000_u32).prop_map(Step::Fixed),
        1 => (500..=1_000_u16).prop_map(Step::Reconfigure),
    ]
}

fn config(share: u16) -> Config {
    let mut config = site::config();
    config.battery = BatteryPolicy {
        priority_soc: Percent(40),
        buffer_soc: Percent(90),
        drain_budget: WattHours(2_000),
        ..config.battery
    };
    config.solar.min_share = Permille(share);
    config.solar.start_cost = WattHours(300);
    config.chargers = (0..CHARGERS).map(|id| (ChargerId(id), config.chargers[&site::CAR])).collect();
    config
}

/// Judges every order by what is known, independently of how the controller came to it.
struct Judge {
    controller: Controller,
    now: Tick,
    setpoints: BTreeMap<ChargerId, u32>,
    stopped: BTreeMap<ChargerId, Tick>,
    box_max: BTreeMap<ChargerId, u32>,
    modes: BTreeMap<ChargerId, Mode>,
    live_at: Option<Tick>,
    off_grid: bool,
    actions: Vec<Action>,
}

impl Judge {
    fn new() -> Self {
        let modes = (0..CHARGERS).map(|id| (ChargerId(id), Mode::Solar)).collect();
        Self {
            controller: Controller::new(config(750), Tick(1)),
            now: Tick(1),
            setpoints: BTreeMap::new(),
            stopped: BTreeMap::new(),
            box_max: BTreeMap::new(),
            modes,
            live_at: None,
            off_grid: false,
            actions: Vec::new(),
        }
    }

    fn drain(&mut self) {
        let mut turn = BTreeMap::new();
        while let Some(action) = self.controller.poll_action() {
            self.actions.push(action);
            if let Action::Order(Order { charger, setpoint: Some(setpoint), valid_until, .. }) = action {
                assert!(valid_until > self.now);
                turn.insert(charger, setpoint.0);
                self.judge(charger, setpoint.0);
            }
        }
        let sum: u32 = self.setpoints.values().sum();
        assert!(sum <= 25_000, "the site's limit: {:?}", self.setpoints);
    }

    fn judge(&mut self, charger: ChargerId, setpoint: u32) {
        assert!(setpoint == 0 || (6_000..=16_000).contains(&setpoint), "{setpoint} mA");
        assert_eq!(setpoint % 100, 0);
        let limit = self.box_max.get(&charger).copied().unwrap_or(16_000);
        assert!(setpoint <= limit, "{setpoint} mA above the box's {limit} mA");
        if self.modes[&charger] == Mode::Off {
            assert_eq!(setpoint, 0, "off means 0");
        }
        if self.off_grid {
            assert_eq!(setpoint, 0, "off the grid");
        }
        let before = self.setpoints.insert(charger, setpoint).unwrap_or(0);
        if before > 0 && setpoint == 0 {
            self.stopped.insert(charger, self.now);
        }
        if before == 0
            && setpoint > 0
            && let Some(stopped) = self.stopped.get(&charger)
        {
            assert!(self.now.since(*stopped) >= Millis::from_secs(60), "started before the minimum-off time");
        }
        let silence = self.live_at.map(|at| self.now.since(at));
        if self.modes[&charger] == Mode::Solar && silence.is_some_and(|silence| silence > Millis::from_secs(301)) {
            assert_eq!(setpoint, 0, "blind: off");
        } else if self.modes[&charger] == Mode::Solar && silence.is_some_and(|silence| silence > Millis::from_secs(91))
        {
            assert!(setpoint <= 6_000, "stale: not above the minimum");
        }
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now + Millis(ms);
        while let Some((due, _)) = self.controller.poll_timeout().filter(|(due, _)| *due <= end) {
            assert!(due >= self.now || due.0 + 1 >= self.now.0);
            self.now = due.max(self.now);
            self.controller.handle_timeout(self.now);
            self.drain();
            let next = self.controller.poll_timeout().map(|(due, _)| due);
            assert!(next > Some(self.now), "a deadline that is not cleared would spin");
        }
        self.now = end;
    }

    fn take(&mut self, step: &Step) {
        let input = match *step {
            Step::Wait(ms) => return self.wait(ms),
            Step::Read(source, value, retained) => {
                let source = Source::ALL[source];
                let value = value.map(|value| match source {
                    Source::BatterySoc => value.abs() % 101,
                    // The grid is gone in one value of eight.
                    Source::GridStatus => i32::from(value % 8 != 0),
                    Source::Grid | Source::Solar | Source::Battery | Source::Load | Source::Heartbeat => value,
                });
                if source == Source::GridStatus {
                    self.off_grid = value.map_or(self.off_grid, |value| value == 0);
                }
                if value.is_some() && !retained && source != Source::GridStatus {
                    self.live_at = Some(self.now);
                }
                Input::Reading(Reading { source, value, retained })
            }
            Step::Report { charger, link, vehicle, fault, power, setpoint, box_max } => {
                let charger = ChargerId(charger);
                if matches!(link, Reachability::Online | Reachability::ReadOnly | Reachability::Starting) {
                    self.box_max.insert(charger, box_max);
                }
                let heard = ChargerReport {
                    vehicle,
                    fault,
                    power: Some(Watts(power)),
                    setpoint: Some(Milliamps(setpoint)),
                    box_max: Some(Milliamps(box_max)),
                    ..ChargerReport::silent(charger, self.now, link)
                };
                Input::Report(heard)
            }
            Step::Mode(charger, mode) => {
                let charger = charger.map(ChargerId);
                for (id, known) in &mut self.modes {
                    if charger.is_none_or(|charger| charger == *id) {
                        *known = Mode::ALL[mode];
                    }
                }
                Input::Command(Command::Mode { charger, mode: Mode::ALL[mode] })
            }
            Step::Fixed(current) => {
                Input::Command(Command::FixedCurrent { charger: None, current: Milliamps(current) })
            }
            Step::Reconfigure(share) => Input::Reconfigure(config(share)),
        };
        self.controller.handle(input, self.now);
        self.drain();
    }

    fn play(steps: &[Step]) -> Vec<Action> {
        let mut judge = Self::new();
        for step in steps {
            judge.take(step);
        }
        judge.actions
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_orders_are_safe_and_repeatable(steps in prop::collection::vec(step(), 1..250)) {
        let once = Judge::play(&steps);
        let again = Judge::play(&steps);
        prop_assert_eq!(once, again);
    }

    #[test]
    fn the_contactor_closes_within_its_budget_whatever_the_car_does(
        surplus in prop::collection::vec(-2_000..12_000_i32, 50..700),
        (step, pulse_s, period_s, drawn) in (0..3_000_u32, 2..40_u64, 0..120_u64, 0..6_000_u32),
    ) {
        let mut garage = Garage::new();
        let (mut before, mut moved) = (0_u32, 0_u64);
        let mut closures = Vec::new();
        for (second, surplus) in (0_u64..).zip(surplus.iter().flat_map(|surplus| [*surplus; 10])) {
            let told = garage.told;
            if told.abs_diff(before) > step {
                (before, moved) = (told, second);
            }
            let pulses = second - moved < pulse_s || (period_s > 0 && second % (period_s + pulse_s) < pulse_s);
            let state = if told > 0 && pulses { Vehicle::Charging } else { Vehicle::Connected };
            if state == Vehicle::Charging && garage.said != Vehicle::Charging {
                closures.push(second);
            }
            let drawn = if state == Vehicle::Charging { drawn } else { 0 };
            garage.second(second, Reachability::Online, state, drawn, surplus);
        }
        for from in &closures {
            let within = closures.iter().filter(|at| (*from..from + 600).contains(at)).count();
            prop_assert!(within <= 6, "{within} closures within ten minutes from second {from}");
        }
        prop_assert!(closures.len() <= 20, "{} closures of 20 a day", closures.len());
        prop_assert_eq!(usize::from(garage.starts()), closures.len());
    }

    /// Unknown states and a silent wallbox hold no current above what the surplus of the last minutes allows.
    #[test]
    fn nothing_is_held_beyond_its_bound(steps in prop::collection::vec((-3_000..12_000_i32, 0..4_u8), 10..200)) {
        let mut garage = Garage::new();
        for (place, (surplus, kind)) in steps.iter().enumerate() {
            for second in 0..10 {
                let (link, vehicle, drawn) = match kind {
                    0 => (Reachability::Online, Vehicle::Charging, garage.told),
                    1 => (Reachability::Online, Vehicle::Unknown, garage.told),
                    2 => (Reachability::Online, Vehicle::Unknown, 0),
                    _ => (Reachability::Offline, Vehicle::Unknown, garage.told),
                };
                garage.second(place as u64 * 10 + second, link, vehicle, drawn, *surplus);
            }
            let told = i32::try_from(garage.told).unwrap();
            let recent = &steps[place.saturating_sub(15)..=place];
            let most = recent.iter().map(|(surplus, _)| *surplus).max().unwrap();
            // What a silent wallbox draws is only known when it answers again.
            let heard = recent.iter().rev().take(3).all(|(_, kind)| *kind < 3);
            let within = told <= 6_000 || told * 69 / 100 <= most + 100;
            prop_assert!(within || !heard, "{told} mA at {most} W in step {place}");
            prop_assert!(told == 0 || most > 0 || recent.len() < 16, "{told} mA without sun in step {place}");
        }
    }
}

/// One charger whose wallbox reports every second, and whose site is sampled every ten.
struct Garage {
    controller: Controller,
    told: u32,
    said: Vehicle,
}

impl Garage {
    fn new() -> Self {
        let mut config = config(750);
        config.chargers.retain(|id, _| *id == ChargerId(0));
        config.battery = BatteryPolicy { priority_soc: Percent(0), buffer_soc: Percent(100), ..config.battery };
        let mut garage = Self { controller: Controller::new(config, Tick(1)), told: 0, said: Vehicle::Connected };
        garage.second(0, Reachability::Online, Vehicle::Connected, 0, 0);
        garage
    }

    fn starts(&self) -> u16 {
        self.controller.snapshot().chargers[&ChargerId(0)].starts
    }

    /// Lets a second pass in which the wallbox reports this, and the car draws this many milliamperes on each phase.
    fn second(&mut self, second: u64, link: Reachability, vehicle: Vehicle, drawn: u32, surplus: i32) {
        let now = Tick((second + 1) * 1_000);
        let power = i32::try_from(drawn * 69 / 100).unwrap_or(i32::MAX);
        self.said = vehicle;
        let silent = ChargerReport::silent(ChargerId(0), now, link);
        let heard = ChargerReport {
            vehicle,
            power: Some(Watts(power)),
            currents: Some([Milliamps(drawn); 3]),
            setpoint: Some(Milliamps(self.told)),
            ..silent
        };
        self.tell(Input::Report(if link == Reachability::Online { heard } else { silent }), now);
        if second.is_multiple_of(10) {
            let readings = [(Source::Solar, surplus.max(0)), (Source::Battery, 0), (Source::Grid, power - surplus)];
            for (source, value) in readings.into_iter().chain([(Source::Load, power + surplus.max(0) - surplus)]) {
                self.tell(Input::Reading(Reading { source, value: Some(value), retained: false }), now);
            }
        }
        self.controller.handle_timeout(now);
        self.drain();
    }

    fn tell(&mut self, input: Input, now: Tick) {
        self.controller.handle(input, now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.controller.poll_action() {
            if let Action::Order(Order { setpoint: Some(setpoint), .. }) = action {
                self.told = setpoint.0;
            }
        }
    }
}
