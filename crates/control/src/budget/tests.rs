//! What holds for the two limits, by themselves.

use super::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// The cars draw `cars` from second to second up to `to`, and each sample, `every` apart, leaves them `free`.
fn draw(budget: &mut DrainBudget, from: u64, to: u64, every: u64, (cars, free): (i32, i32)) {
    for at in (from..=to).step_by(1_000) {
        budget.pass(Tick(at), Watts(cars));
        if (at - from).is_multiple_of(every) {
            budget.sample(Tick(at), Watts(free));
        }
    }
}

#[test]
fn a_budget_is_closed_then_spent_and_comes_back_after_a_day() {
    let mut budget = DrainBudget::new(WattHours(1_000));
    let mut lines = [None; 2];
    for minute in 0..80 {
        draw(&mut budget, minute * MINUTE, (minute + 1) * MINUTE, 30_000, (4_000, 3_000));
        for (line, reached) in lines.iter_mut().zip([budget.closed(), budget.spent()]) {
            *line = line.or(reached.then_some(minute + 1));
        }
    }
    // 900 Wh and 1000 Wh at 1 kW.
    assert_eq!(lines, [Some(54), Some(60)]);
    budget.pass(Tick(80 * MINUTE), Watts(0));
    budget.pass(Tick(24 * HOUR), Watts(0));
    assert!(budget.spent(), "what was given in the first quarter of an hour counts until 24 h after its end");
    budget.pass(Tick(26 * HOUR), Watts(0));
    assert!(!budget.closed() && !budget.spent());
}

/// The loop hung for an hour: the car cannot have drawn all that time.
#[test]
fn a_time_without_decisions_counts_as_long_as_a_car_can_draw_in_it() {
    let mut budget = DrainBudget::new(WattHours(1_000));
    draw(&mut budget, 0, MINUTE, 30_000, (5_000, 0));
    budget.pass(Tick(MINUTE + HOUR), Watts(0));
    let counted: i64 = budget.counted(Tick(MINUTE + HOUR)).iter().map(|spent| spent.energy.0).sum();
    assert!((300..=310).contains(&counted), "{counted} Wh at 5 kW in a minute, and 160 s of the hour");
}

#[test]
fn a_late_sample_counts_for_all_the_time_before_it() {
    let mut budget = DrainBudget::new(WattHours(100_000));
    draw(&mut budget, 0, 10_000, 10_000, (4_000, 9_000));
    assert_eq!(budget.used(), 0);
    draw(&mut budget, 11_000, 310_000, 1_000_000, (4_000, 9_000));
    budget.sample(Tick(310_000), Watts(1_000));
    assert_eq!(budget.used(), 3_000 * 299_000, "299 s of 3 kW");
    draw(&mut budget, 311_000, 610_000, 1_000_000, (0, 0));
    budget.sample(Tick(610_000), Watts(0));
    assert_eq!(budget.used(), 3_000 * 299_000 + 4_000 * 1_000, "never more than the cars drew");
}

#[test]
fn what_was_counted_before_the_first_sample_is_corrected_by_it() {
    let mut budget = DrainBudget::new(WattHours(100_000));
    budget.pass(Tick(1_000), Watts(7_000));
    budget.pass(Tick(61_000), Watts(7_000));
    assert_eq!(budget.used(), 7_000 * 60_000);
    budget.sample(Tick(61_000), Watts(6_000));
    assert_eq!(budget.used(), 1_000 * 60_000);
}

#[test]
fn no_budget_is_closed_and_never_spent() {
    let mut budget = DrainBudget::new(WattHours(0));
    draw(&mut budget, 0, HOUR, 30_000, (4_000, 0));
    assert!(budget.closed() && !budget.spent());
}

#[test]
fn a_new_size_does_not_give_back_what_was_used() {
    let mut budget = DrainBudget::new(WattHours(100));
    draw(&mut budget, 0, 10 * MINUTE, 30_000, (2_000, 0));
    assert!(budget.spent());
    budget.resize(WattHours(101));
    assert!(budget.spent());
    budget.resize(WattHours(1_000));
    assert!(!budget.closed());
}

#[test]
fn it_is_bounded_and_forgets_nothing_early() {
    let mut budget = DrainBudget::new(WattHours(1_000_000));
    for restart in 0..1_000_u64 {
        let at = Tick(restart * MINUTE);
        budget.carry_over(&budget.counted(at).clone(), at);
        budget.pass(at, Watts(0));
        budget.sample(at, Watts(0));
        budget.pass(at + Millis(1_000), Watts(3_600));
        budget.pass(at + Millis(2_000), Watts(0));
        budget.slots.back_mut().unwrap().until = at + SLOT + DAY;
    }
    assert!(budget.slots.len() <= SLOTS_MAX);
    let sum: i64 = budget.counted(Tick(1_000 * MINUTE)).iter().map(|spent| spent.energy.0).sum();
    assert!(sum >= 2_000, "{sum} Wh of 1,000 times two");
}

#[test]
fn a_restart_keeps_what_counts_and_for_how_long() {
    let mut budget = DrainBudget::new(WattHours(1_000));
    draw(&mut budget, 0, HOUR + MINUTE, 30_000, (1_000, 0));
    assert!(budget.spent());
    let counted = budget.counted(Tick(5 * HOUR));
    assert!((1_016..1_025).contains(&counted.iter().map(|spent| spent.energy.0).sum::<i64>()), "{counted:?}");
    let mut next = DrainBudget::new(WattHours(1_000));
    // The next process begins an hour later, at tick 7.
    let aged = counted.iter().map(|spent| Spent { left: Millis(spent.left.0 - HOUR), ..*spent });
    next.carry_over(&aged.collect::<Vec<_>>(), Tick(7));
    assert!(next.spent());
    next.pass(Tick(18 * HOUR), Watts(0));
    assert!(next.spent());
    next.pass(Tick(20 * HOUR), Watts(0));
    assert!(!next.closed(), "{:?}", next.slots);
}

#[test]
fn nonsense_from_a_stored_state_does_no_harm() {
    let mut budget = DrainBudget::new(WattHours(1_000));
    let spent = |left, wh| Spent { left: Millis(left), energy: WattHours(wh) };
    budget.carry_over(&[spent(u64::MAX, i64::MAX), spent(0, i64::MIN), spent(5, i64::MAX)], Tick(u64::MAX));
    budget.pass(Tick(u64::MAX), Watts(i32::MAX));
    let many = alloc::vec![spent(1_000, i64::MAX); 10_000];
    budget.carry_over(&many, Tick(1));
    assert!(budget.spent() && budget.slots.len() <= SLOTS_MAX);
    budget.pass(Tick(2 * 86_400_000), Watts(0));
    assert!(!budget.spent());
}

#[test]
fn starts_are_forgotten_after_a_day_also_across_a_restart() {
    let mut starts = Starts::new();
    starts.note(Tick(0));
    starts.note(Tick(1_000));
    assert_eq!(starts.count(Tick(86_399_999)), 2);
    assert_eq!(starts.count(Tick(86_400_000)), 1);
    let mut next = Starts::new();
    next.carry_over(&starts.left(Tick(50_000)), Tick(1));
    assert_eq!(next.count(Tick(86_350_000)), 2);
    assert_eq!(next.count(Tick(86_350_001)), 1);
    next.carry_over(&[Millis(u64::MAX); 500], Tick(5));
    assert_eq!(next.count(Tick(6)), 200);
    assert_eq!(next.count(Tick(86_400_005)), 0);
}
