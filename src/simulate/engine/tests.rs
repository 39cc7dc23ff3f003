use proptest::prelude::*;

use super::*;
use crate::sim::weather::{Day, Weather};
use crate::simulate::{RowWriter, Scenario};

fn steady(solar_w: f32, house_w: f32, seconds: u32) -> Trace {
    Trace::from_rows(vec![TraceRow { from_s: 0, solar_w, house_w }], seconds).unwrap()
}

fn run(scenario: Scenario, setup: &Setup, trace: &Trace) -> (Totals, String) {
    let mut rows = RowWriter::new(Vec::new()).unwrap();
    let totals = Simulation::run(&scenario.config().unwrap(), setup, trace, &mut rows).unwrap();
    (totals, String::from_utf8(rows.into_inner()).unwrap())
}

/// The rows as (second, car in watts, setpoint in milliamperes, reason).
fn rows(text: &str) -> Vec<(u32, f64, u32, String)> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[0].parse().unwrap(), fields[3].parse().unwrap(), fields[4].parse().unwrap(), fields[9].to_owned())
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn the_first_sample_starts_a_charge_and_current_flows_eight_seconds_later() {
    let (totals, text) = run(Scenario::Powerwall30s, &Setup::default(), &steady(8_000.0, 500.0, 600));
    let rows = rows(&text);
    assert_eq!(rows.len(), 600);
    let ordered = rows.iter().find(|row| row.2 > 0).unwrap();
    assert_eq!((ordered.0, ordered.2, ordered.3.as_str()), (23, 10_800, "following"));
    let flows = rows.iter().find(|row| row.1 > 0.0).unwrap();
    assert_eq!(flows.0, 31);
    assert!((flows.1 - 5.9 * 690.0).abs() < 0.1);
    assert_eq!((totals.ledger.starts, totals.setpoint_writes, totals.charging_s), (1, 1, 569));
}

#[test]
fn a_car_that_comes_leaves_and_gets_full_is_seen_by_the_controller() {
    let mut setup = Setup::default();
    setup.car.arrives_s = Some(100);
    setup.car.leaves_s = Some(4_000);
    setup.car.wants_wh = Some(1_000.0);
    let (totals, text) = run(Scenario::Powerwall30s, &setup, &steady(8_000.0, 500.0, 4_200));
    let rows = rows(&text);
    assert!(rows[60].3 == "no-vehicle" && rows[4_100].3 == "no-vehicle" && rows[4_100].2 == 0);
    assert!(rows[200].1 > 7_000.0 && rows[1_500].1 <= 0.0);
    assert!((totals.ledger.car_wh - 1_000.0).abs() < 5.0);
}

#[test]
fn a_car_on_one_phase_is_known_by_its_currents() {
    let mut setup = Setup::default();
    setup.car.phases = 1;
    let (_, text) = run(Scenario::Powerwall30s, &setup, &steady(4_000.0, 300.0, 1_200));
    let last = rows(&text).pop().unwrap();
    // 3 700 W on one phase is 16 A.
    assert_eq!(last.2, 16_000, "{last:?}");
}

#[test]
fn a_car_that_draws_less_than_allowed_does_not_confuse() {
    let mut setup = Setup { battery: None, ..Setup::default() };
    setup.car.max_amps = 10.0;
    let (totals, text) = run(Scenario::NoBattery30s, &setup, &steady(9_000.0, 300.0, 3_600));
    let rows = rows(&text);
    assert!((rows[3_599].1 - 6_900.0).abs() < 0.1 && totals.ledger.grid_to_car_wh < 0.1);
    assert_eq!(totals.ledger.starts, 1);
}

#[test]
fn requests_for_samples_are_counted_and_answered() {
    let day = Trace::from_day(&Day::generate(1, Weather::Broken));
    let asked = Simulation::run(
        &Scenario::PowerwallRefresh.config().unwrap(),
        &Scenario::PowerwallRefresh.setup(),
        &day,
        &mut Nobody,
    );
    let Ok(totals) = asked;
    assert!(totals.refresh_requests > 10, "{}", totals.refresh_requests);
}

#[test]
fn two_runs_give_the_same_bytes() {
    let trace = Trace::from_rows(
        (0..2_000_u16)
            .map(|t| TraceRow { from_s: u32::from(t) * 3, solar_w: f32::from(t % 45 * 200), house_w: 400.0 })
            .collect(),
        6_000,
    );
    let trace = trace.unwrap();
    for scenario in [Scenario::Realistic, Scenario::PowerwallRefresh] {
        assert_eq!(run(scenario, &scenario.setup(), &trace), run(scenario, &scenario.setup(), &trace));
    }
    let other = Setup { seed: 2, ..Scenario::Realistic.setup() };
    assert_ne!(
        run(Scenario::Realistic, &other, &trace).1,
        run(Scenario::Realistic, &Scenario::Realistic.setup(), &trace).1
    );
}

/// Checks that every second balances.
struct Balance(Ledger);

fn supplied(ledger: &Ledger) -> f64 {
    ledger.solar_wh + ledger.import_wh + ledger.battery_out_wh
}

fn used(ledger: &Ledger) -> f64 {
    ledger.house_wh + ledger.car_wh + ledger.export_wh
}

impl Balance {
    fn check(&mut self, flows: &Flows, ledger: Ledger) {
        // 1 mWh in a second is 3.6 W.
        let off_w = flows.solar_w + flows.grid_w + flows.battery_w - flows.house_w - flows.car_w;
        assert!(off_w.abs() / 3.6 < 1.0, "{off_w} W in {flows:?}");
        let before = self.0;
        let off_wh = supplied(&ledger) - supplied(&before) - used(&ledger) + used(&before);
        assert!(off_wh.abs() < 1e-3, "{off_wh} Wh booked in {flows:?}");
        let parts = |ledger: &Ledger| ledger.solar_to_car_wh + ledger.grid_to_car_wh + ledger.battery_to_car_wh;
        assert!((parts(&ledger) - parts(&before) - ledger.car_wh + before.car_wh).abs() < 1e-3, "{flows:?}");
        assert!(ledger.solar_to_car_wh >= before.solar_to_car_wh - 1e-9, "sun taken back in {flows:?}");
        self.0 = ledger;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_second_conserves_energy(
        rows in prop::collection::vec((1_u32..400, 0.0_f32..10_000.0, 0.0_f32..6_000.0), 2..12),
        place in 0..Scenario::ALL.len(),
        soc in 0.0_f64..=1.0,
        seed in any::<u64>(),
        phases in prop::sample::select(vec![1_u8, 3]),
    ) {
        let scenario = Scenario::ALL[place];
        let mut setup = Setup { seed, ..scenario.setup() };
        setup.car.phases = phases;
        if let Some(battery) = &mut setup.battery {
            battery.soc = soc;
        }
        let mut from_s = 0;
        let rows = rows.into_iter().map(|(pause, solar_w, house_w)| {
            from_s += pause;
            TraceRow { from_s, solar_w, house_w }
        });
        let trace = Trace::from_rows(rows.collect(), from_s + 300).unwrap();
        let mut simulation = Simulation::new(&scenario.config().unwrap(), &setup, trace.first_s());
        let mut balance = Balance(Ledger::default());
        for row in trace.seconds() {
            let flows = simulation.step(row).flows;
            balance.check(&flows, simulation.totals().ledger);
        }
    }
}
