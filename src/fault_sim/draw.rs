//! Draws a scenario from a seed. Each kind of fault has the same chance; how long they last is spread evenly over the orders of magnitude.

use super::scenario::{Fault, House, Scenario, What};
use crate::sim::home_assistant::{Entity, EntityFault};
use crate::sim::plant::{BatteryHabit, Habits};
use crate::sim::registers::Layout;
use crate::sim::wallbox::{self, BoxError};
use crate::sim::weather::Weather;

/// Most faults in a scenario.
const FAULTS_MAX: usize = 8;
/// At the end of each scenario everything works for so long, so that it shows whether it charges again.
const CALM_S: u32 = 2_700;

/// Draws the scenario of a seed.
pub(super) fn scenario(seed: u64) -> Scenario {
    let mut random = fastrand::Rng::with_seed(seed);
    let house = house(&mut random);
    let lasts_s = random.u32(3 * 3_600..7 * 3_600);
    let count = random.usize(0..=FAULTS_MAX);
    let mut faults: Vec<Fault> = (0..count).map(|_| fault(&mut random, lasts_s)).collect();
    faults.sort_by_key(|fault| fault.from_s);
    Scenario { seed, house, lasts_s, faults }
}

fn house(random: &mut fastrand::Rng) -> House {
    let watchdog_s = random.choice([8, 15, 30, 30, 45, 60]).unwrap_or(30);
    House {
        weather: random.choice(Weather::ALL).unwrap_or(Weather::Clear),
        begins_s: random.u32(6 * 3_600..12 * 3_600),
        battery: random.u8(0..3).gt(&0).then(|| random.f64().mul_add(0.75, 0.2)),
        period_s: random.choice([5, 10, 30, 30, 30]).unwrap_or(30),
        heartbeat: random.bool(),
        layout: random.choice([Layout::V1_0_7, Layout::V1_0_8, Layout::V1_0_8]).unwrap_or(Layout::V1_0_8),
        wakes_with: random.choice([0, 0, 160]).unwrap_or(0),
        standby: random.u8(0..4) == 0,
        poll_s: random.choice([1, 3, 5, 10, 15, 20]).unwrap_or(5).min(watchdog_s / 3),
        watchdog_s,
        max_a: random.choice([16, 16, 13, 10]).unwrap_or(16),
        car_phases: random.choice([3, 3, 1]).unwrap_or(3),
        car_wants_wh: (random.u8(0..5) == 0).then(|| random.f64().mul_add(20_000.0, 500.0)),
        car_sleeps: random.u8(0..6) == 0,
        mode: random
            .choice(["solar", "solar", "solar", "solar", "solar", "fast", "slow+solar", "off"])
            .unwrap_or("solar"),
    }
}

fn fault(random: &mut fastrand::Rng, lasts_s: u32) -> Fault {
    let what = what(random);
    let latest_s = lasts_s.saturating_sub(CALM_S).max(2);
    let from_s = random.u32(1..latest_s);
    // From a second to one and a half hours.
    let exponent = random.f64() * 5_400_f64.log2();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most one and a half hours")]
    let span_s = if what.is_an_event() { 1 } else { exponent.exp2() as u32 };
    // Nobody unplugs a car and plugs it in again within two readings of the wallbox.
    let least_s = if what == What::CarLeaves { 60 } else { 1 };
    Fault { from_s, until_s: (from_s + span_s.max(least_s)).min(latest_s + least_s), what }
}

fn what(random: &mut fastrand::Rng) -> What {
    match random.u8(0..34) {
        0..=2 => What::Entity(random.choice(Entity::ALL).unwrap_or(Entity::Grid), entity(random)),
        3 => What::AllEntities(entity(random)),
        4 => What::PowerwallGone,
        5 => What::HomeAssistantDead,
        6 => What::HomeAssistantRestarts { takes_s: random.u32(5..180) },
        7 => What::Ghosts { every_s: random.u32(20..120) },
        8 => What::BrokerDown,
        9 => What::BrokerFrozen,
        10 => What::Messages { lost: share(random), doubled: share(random), delay_ms: random.u64(0..20_000) },
        11 => What::Unplugged,
        12 => What::Requests { lost: share(random), bad: share(random) },
        13 | 14 => What::Replies {
            lost: share(random),
            bad: share(random),
            double: share(random),
            delay_ms: random.choice([0, 0, 100, 900, 3_000]).unwrap_or(0),
            strays: share(random),
        },
        15 => What::Echo,
        16 => What::BoxReboots,
        17 => What::BoxOff,
        18 => What::Derated(random.u16(60..120)),
        19 => What::Error(if random.bool() { BoxError::E } else { BoxError::Err }),
        20 if random.bool() => What::KeySwitch,
        20 => What::StateStuck(random.choice([6, 6, 1, 12, 4]).unwrap_or(6)),
        21..=23 => What::BoxLine(box_line(random)),
        24 => What::CarLeaves,
        25 => What::Car(car(random)),
        26 => What::Battery(if random.bool() { BatteryHabit::FilledFromGrid } else { BatteryHabit::Idle }),
        27 => What::OffGrid,
        28 => What::Killed { torn: random.bool(), power_cut: random.u8(0..3) == 0 },
        29 => What::LoopHangs,
        30 => What::LineHangs,
        31 => match random.u8(0..3) {
            0 => What::DiskRefuses,
            1 => What::WallClock { jump_s: random.i64(-2_000_000_000..2_000_000_000) },
            _ => What::Nonsense,
        },
        32 => What::Reload { poll_s: random.choice([1, 2]).unwrap_or(1) },
        _ => What::Mode(random.choice(["off", "solar", "fast", "slow", "slow+solar", "fixed"]).unwrap_or("off")),
    }
}

fn entity(random: &mut fastrand::Rng) -> EntityFault {
    match random.u8(0..7) {
        0 => EntityFault::Unavailable,
        1 => EntityFault::Unknown,
        2 => EntityFault::Frozen,
        3 => EntityFault::Watts,
        4 => EntityFault::Flipped,
        5 => EntityFault::Stuck(random.i32(-12_000..12_000)),
        _ => EntityFault::Slow(random.u64(31_000..400_000)),
    }
}

fn box_line(random: &mut fastrand::Rng) -> wallbox::Fault {
    use wallbox::Fault;
    match random.u8(0..9) {
        0 => Fault::Deaf,
        1 => Fault::Silent,
        2 => Fault::Delay(random.u64(50..2_000)),
        3 => Fault::Late,
        4 => Fault::WrongCrc,
        5 => Fault::Truncated(random.usize(0..6)),
        6 => Fault::OtherUnit(random.u8(2..16)),
        7 => Fault::Exception(random.u8(1..7)),
        _ => Fault::Forgets,
    }
}

fn car(random: &mut fastrand::Rng) -> Habits {
    let ordinary = Habits::ORDINARY;
    match random.u8(0..5) {
        0 => Habits { up: 0.2, ..ordinary },
        3 => Habits { at_most: random.f64().mul_add(9.0, 1.0), ..ordinary },
        1 => Habits { takes_from: 8.0, ..ordinary },
        2 => Habits { stubborn: Some(random.f64().mul_add(12.0, 4.0)), ..ordinary },
        _ => Habits { nervous: true, ..ordinary },
    }
}

/// Mostly none, sometimes a little, sometimes nearly all.
fn share(random: &mut fastrand::Rng) -> f64 {
    if random.bool() { 0.0 } else { random.f64().powi(2) }
}
