//! Over any 24 hours the home battery gives the car no more than its budget, as counted at a simulated plant, second by second, and not by
//! what the controller believes. Solar power and samples vary at random; the controller is restarted now and then.

#![expect(clippy::indexing_slicing, reason = "helpers of a test")]

extern crate alloc;

use control::*;
use proptest::prelude::*;
use site::CAR;

#[path = "../src/testing/site.rs"]
mod site;

const DAY_S: usize = 86_400;
/// Highest power the battery can give.
const BATTERY_MAX_W: i32 = 5_000;
/// Energy it may give beyond the budget: during the time from one sample to the next, and the minimum-on time after it.
const fn slack_wh(between_samples_s: u64) -> i64 {
    (BATTERY_MAX_W as i64) * (between_samples_s.cast_signed() + 60 + 30) / 3_600
}

fn config(budget: i64) -> Config {
    let mut config = site::config();
    config.sampling.meter_age = Millis(0);
    config.battery = BatteryPolicy {
        priority_soc: Percent(0),
        buffer_soc: Percent(80),
        floor_soc: Percent(10),
        max_charge: Watts(BATTERY_MAX_W),
        drain_budget: WattHours(budget),
    };
    config.solar =
        SolarPolicy { min_share: Permille(600), start_cost: WattHours(330), starts_per_day_max: 200, ..config.solar };
    config
}

/// A house with solar power, a battery that holds the grid at zero, and a car that follows at once.
struct Plant {
    config: Config,
    controller: Controller,
    /// Whether the topics of battery and grid are sent.
    battery_seen: bool,
    now_s: u64,
    offset_s: u64,
    setpoint: u32,
    surplus_w: i32,
    /// Energy the battery gave the car in each second, in watt-seconds.
    given: Vec<i32>,
    sample_every_s: u64,
}

impl Plant {
    fn new(budget: i64, battery_seen: bool, sample_every_s: u64) -> Self {
        let config = config(budget);
        Self {
            controller: Controller::new(config.clone(), Tick(0)),
            config,
            battery_seen,
            now_s: 0,
            offset_s: 0,
            setpoint: 0,
            surplus_w: 0,
            given: Vec::new(),
            sample_every_s,
        }
    }

    fn now(&self) -> Tick {
        Tick((self.now_s - self.offset_s) * 1_000)
    }

    fn drain(&mut self) {
        while let Some(action) = self.controller.poll_action() {
            if let Action::Order(Order { setpoint: Some(setpoint), .. }) = action {
                self.setpoint = setpoint.0;
            }
        }
    }

    fn tell(&mut self, input: Input) {
        self.controller.handle(input, self.now());
        self.drain();
    }

    fn read(&mut self, source: Source, value: i32) {
        self.tell(Input::Reading(Reading { source, value: Some(value), retained: false }));
    }

    fn car_w(&self) -> i32 {
        i32::try_from(self.setpoint * 690 / 1_000).unwrap_or(i32::MAX)
    }

    fn second(&mut self) {
        self.now_s += 1;
        let car = self.car_w();
        let vehicle = if car > 0 { Vehicle::Charging } else { Vehicle::Requesting };
        let report = ChargerReport {
            vehicle,
            power: Some(Watts(car)),
            setpoint: Some(Milliamps(self.setpoint)),
            box_max: Some(Milliamps(16_000)),
            box_min: Some(Milliamps(6_000)),
            ..ChargerReport::silent(CAR, self.now(), Reachability::Online)
        };
        self.tell(Input::Report(report));
        if self.now_s.is_multiple_of(self.sample_every_s) {
            self.sample();
        }
        while self.controller.poll_timeout().is_some_and(|(due, _)| due <= self.now()) {
            self.controller.handle_timeout(self.now());
            self.drain();
        }
        let car = self.car_w();
        let battery = (car - self.surplus_w).clamp(0, BATTERY_MAX_W);
        self.given.push(battery.min(car));
    }

    fn sample(&mut self) {
        let car = self.car_w();
        let house = 400;
        let net = car - self.surplus_w;
        let battery = net.clamp(-BATTERY_MAX_W, BATTERY_MAX_W);
        self.read(Source::BatterySoc, 95);
        self.read(Source::Solar, self.surplus_w + house);
        if self.battery_seen {
            self.read(Source::Battery, battery);
            self.read(Source::Grid, net - battery);
        }
        self.read(Source::Load, car + house);
    }

    /// Restarts: the next process takes over what this one leaves, `down_s` seconds later; the charger has stopped meanwhile.
    fn restart(&mut self, down_s: u64) {
        let mut carried = self.controller.carry_over(self.now());
        for _ in 0..down_s {
            self.now_s += 1;
            self.given.push(0);
        }
        let passed = |left: Millis| Millis(left.0.saturating_sub(down_s * 1_000));
        for spent in carried.drained.iter_mut().flatten() {
            spent.left = passed(spent.left);
        }
        for charger in carried.chargers.values_mut() {
            charger.starts = charger.starts.iter().map(|left| passed(*left)).collect();
        }
        self.offset_s = self.now_s;
        self.setpoint = 0;
        self.controller = Controller::new(self.config.clone(), Tick(0));
        self.tell(Input::CarryOver(carried));
    }

    /// Returns the most that was given in any 24 hours, in watt-hours.
    fn most_wh(&self) -> i64 {
        let (mut sum, mut most) = (0_i64, 0_i64);
        for (at, given) in self.given.iter().enumerate() {
            sum += i64::from(*given);
            if at >= DAY_S {
                sum -= i64::from(self.given[at - DAY_S]);
            }
            most = most.max(sum);
        }
        most / 3_600
    }
}

/// Solar power for a while.
fn weather() -> impl Strategy<Value = Vec<(i32, u64)>> {
    let surplus = prop_oneof![2 => 2_400..4_100, 1 => -500..2_400, 2 => 4_100..11_000];
    let span = prop_oneof![4 => 20..600_u64, 2 => 600..8_000_u64, 1 => 8_000..30_000_u64];
    prop::collection::vec((surplus, span), 20..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_battery_never_gives_more_than_its_budget_in_any_24_hours(
        weather in weather(),
        every_s in prop_oneof![Just(10_u64), Just(30), Just(61), Just(120), Just(305)],
        seen in any::<bool>(),
        budget in prop_oneof![Just(1_000_i64), Just(4_000)],
        restart_every in 3..12_usize,
    ) {
        let mut plant = Plant::new(budget, seen, every_s);
        for (at, (surplus_w, span_s)) in weather.into_iter().enumerate() {
            // Solar power changes at most once between two samples.
            for _ in 0..span_s.max(every_s) {
                plant.surplus_w = surplus_w;
                plant.second();
            }
            if at % restart_every == restart_every - 1 {
                plant.restart(200);
            }
        }
        let most = plant.most_wh();
        prop_assert!(most <= budget + slack_wh(every_s), "{most} Wh of {budget}");
    }
}

/// Three days with solar power a little below the car's minimum: the limit is used up, and is what ends the charge.
#[test]
fn a_steady_drain_ends_at_the_budget_day_after_day() {
    for every_s in [30, 200] {
        for seen in [true, false] {
            let mut plant = Plant::new(4_000, seen, every_s);
            for at in 0..3 * DAY_S {
                // Some clear sky at first, as charging would not start otherwise.
                plant.surplus_w = if at % DAY_S < 1_200 { 6_000 } else { 3_400 };
                plant.second();
            }
            let most = plant.most_wh();
            assert!(most <= 4_000 + slack_wh(every_s), "{most} Wh, samples every {every_s} s, battery seen: {seen}");
            assert!(most >= 3_000, "{most} Wh, samples every {every_s} s, battery seen: {seen}");
        }
    }
}
