use super::*;

const NOTHING: Pilot = Pilot { offer_deciamps: 0, state_f: false, phases: 3 };

const fn offer(deciamps: u32) -> Pilot {
    Pilot { offer_deciamps: deciamps, state_f: false, phases: 3 }
}

fn run(plant: &mut Plant, seconds: u32, pilot: Pilot) -> Flows {
    for _ in 0..seconds {
        plant.step(0.0, 300.0, pilot);
    }
    plant.flows()
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} is not {b}");
}

#[test]
fn current_flows_eight_seconds_after_the_offer_and_ramps() {
    let mut plant = Plant::new(CarOptions::ALL_DAY, None);
    // Offered at the end of step t: nothing in the steps t+1 to t+7, the first current in step t+8.
    near(run(&mut plant, 7, offer(160)).car_w, 0.0);
    let amps: Vec<f64> = (0..7).map(|_| run(&mut plant, 1, offer(160)).car_w / 690.0).collect();
    for (got, want) in amps.iter().zip([5.9, 7.9, 9.9, 11.9, 13.9, 15.9, 16.0]) {
        near(*got, want);
    }
    near(run(&mut plant, 1, offer(60)).car_w / 690.0, 12.0);
    near(run(&mut plant, 1, offer(60)).car_w / 690.0, 8.0);
    near(run(&mut plant, 1, offer(60)).car_w / 690.0, 6.0);
    near(run(&mut plant, 1, offer(59)).car_w, 0.0);
    assert_eq!(plant.ledger().starts, 1);
}

#[test]
fn an_interrupted_offer_waits_again() {
    let mut plant = Plant::new(CarOptions::ALL_DAY, None);
    run(&mut plant, 6, offer(60));
    run(&mut plant, 1, NOTHING);
    near(run(&mut plant, 7, offer(60)).car_w, 0.0);
    assert!(run(&mut plant, 1, offer(60)).car_w > 0.0);
}

#[test]
fn a_car_ramps_down_when_it_is_told_to_stop() {
    let mut plant = Plant::new(CarOptions::ALL_DAY, None);
    run(&mut plant, 20, offer(160));
    near(run(&mut plant, 1, NOTHING).car_w / 690.0, 12.0);
    // Offered again while it still ramps: it goes on to zero and waits like any other time.
    near(run(&mut plant, 1, offer(160)).car_w / 690.0, 8.0);
    near(run(&mut plant, 6, offer(160)).car_w, 0.0);
    near(run(&mut plant, 1, offer(160)).car_w / 690.0, 5.9);
    assert_eq!(plant.ledger().starts, 2);
    near(run(&mut plant, 1, Pilot { state_f: true, ..offer(160) }).car_w, 0.0);
}

#[test]
fn every_step_balances_to_a_milliwatt_hour() {
    let mut plant = Plant::new(CarOptions::ALL_DAY, Some(BatteryOptions::POWERWALL));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let before = plant.ledger();
        let pilot = offer(if random.u8(..) < 200 { random.u32(50..=160) } else { 0 });
        let flows = plant.step(f64::from(random.u32(0..10_000)), f64::from(random.u32(100..5_000)), pilot);
        assert!((flows.house_w + flows.car_w - flows.solar_w - flows.battery_w - flows.grid_w).abs() < 1e-6);
        let after = plant.ledger();
        let supplied = (after.solar_wh - before.solar_wh)
            + (after.import_wh - before.import_wh)
            + (after.battery_out_wh - before.battery_out_wh);
        let used =
            (after.house_wh - before.house_wh) + (after.car_wh - before.car_wh) + (after.export_wh - before.export_wh);
        assert!((supplied - used).abs() < 1e-3);
        let parts = after.solar_to_car_wh + after.grid_to_car_wh + after.battery_to_car_wh;
        assert!((parts - after.car_wh).abs() < 1e-3);
        assert!(after.solar_to_car_wh >= before.solar_to_car_wh - 1e-9);
    }
}

#[test]
fn the_battery_holds_the_grid_at_zero_within_its_limits() {
    let mut plant = Plant::new(CarOptions::ALL_DAY, Some(BatteryOptions::POWERWALL));
    let flows = (0..30).map(|_| plant.step(0.0, 2_000.0, NOTHING)).last().unwrap();
    assert!(flows.grid_w.abs() < 1.0 && flows.battery_w > 1_999.0);
    let flows = (0..30).map(|_| plant.step(9_000.0, 1_000.0, NOTHING)).last().unwrap();
    assert!((flows.battery_w + 5_000.0).abs() < 1.0 && (flows.grid_w + 3_000.0).abs() < 1.0);
}

#[test]
fn the_battery_keeps_its_reserve_and_does_not_overfill() {
    let options = BatteryOptions { soc: 0.201, ..BatteryOptions::POWERWALL };
    let mut plant = Plant::new(CarOptions::ALL_DAY, Some(options));
    let flows = (0..3_600).map(|_| plant.step(0.0, 2_000.0, NOTHING)).last().unwrap();
    assert!(flows.soc_pct.unwrap() > 19.9 && flows.grid_w > 1_999.0);
    let options = BatteryOptions { soc: 0.999, ..BatteryOptions::POWERWALL };
    let mut plant = Plant::new(CarOptions::ALL_DAY, Some(options));
    let flows = (0..3_600).map(|_| plant.step(5_000.0, 0.0, NOTHING)).last().unwrap();
    assert!(flows.soc_pct.unwrap() < 100.1 && flows.grid_w < -4_999.0);
}

#[test]
fn losses_are_five_percent_each_way() {
    let mut plant = Plant::new(CarOptions::ALL_DAY, Some(BatteryOptions::POWERWALL));
    let before = plant.flows().soc_pct.unwrap();
    for _ in 0..3_600 {
        plant.step(1_000.0, 0.0, NOTHING);
    }
    let stored = (plant.flows().soc_pct.unwrap() - before) / 100.0 * 13_500.0;
    assert!((stored + plant.ledger().battery_out_wh * 0.95).abs() < 0.01, "{stored}");
}

#[test]
fn a_car_comes_goes_and_gets_full() {
    let car = CarOptions { arrives_s: Some(10), leaves_s: Some(4_000), wants_wh: Some(1_000.0), ..CarOptions::ALL_DAY };
    let mut plant = Plant::new(car, None);
    run(&mut plant, 9, offer(160));
    assert!(!plant.signal(NOTHING).plugged);
    run(&mut plant, 1, offer(160));
    assert!(plant.signal(NOTHING).plugged && plant.signal(NOTHING).asks);
    run(&mut plant, 600, offer(160));
    assert!((plant.ledger().car_wh - 1_000.0).abs() < 5.0);
    assert!(!plant.signal(NOTHING).asks);
    run(&mut plant, 3_400, offer(160));
    assert!(!plant.signal(NOTHING).plugged);
}

#[test]
fn a_sleepy_car_asks_after_state_f() {
    let mut plant = Plant::new(CarOptions { sleepy: true, ..CarOptions::ALL_DAY }, None);
    run(&mut plant, 60, offer(160));
    assert!(plant.signal(NOTHING).plugged && !plant.signal(NOTHING).asks);
    run(&mut plant, 10, Pilot { state_f: true, ..NOTHING });
    assert!(!plant.signal(NOTHING).asks);
    run(&mut plant, 9, offer(160));
    assert!(plant.signal(NOTHING).asks && plant.flows().car_w > 0.0);
}

#[test]
fn one_phase_draws_a_third() {
    let mut plant = Plant::new(CarOptions { phases: 1, ..CarOptions::ALL_DAY }, None);
    near(run(&mut plant, 60, offer(100)).car_w, 2_300.0);
    let amps = plant.signal(offer(100)).amps;
    near(amps[0], 10.0);
    near(amps[1], 0.0);
}
