//! Histories in which parts of the system come and go in any order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Happening {
    Order(u32, u8),
    NoOrders,
    Relay(bool),
    Box(bool),
    Mute(bool),
    Reset,
    LineDown,
    Restart,
}

fn step() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (prop::sample::select(vec![0, 0, 6, 10, 16]), prop::sample::select(vec![1, 3])).prop_map(|(a, p)| Happening::Order(a, p)),
        1 => Just(Happening::NoOrders),
        2 => any::<bool>().prop_map(Happening::Relay),
        1 => any::<bool>().prop_map(Happening::Box),
        1 => any::<bool>().prop_map(Happening::Mute),
        1 => Just(Happening::Reset),
        1 => Just(Happening::LineDown),
        1 => Just(Happening::Restart),
    ]
}

/// Plays a history, then ends all faults.
fn live(steps: Vec<(Happening, u64)>) {
    let mut rig = on_one();
    for (step, span) in steps {
        match step {
            Happening::Order(amps, phases) => {
                rig.phases = Some(phases);
                rig.amps(amps);
            }
            Happening::NoOrders => rig.order = None,
            Happening::Relay(away) => rig.relay.away = away,
            Happening::Box(silent) => rig.fake.silent = silent,
            Happening::Mute(mute) => rig.fake.mute = mute,
            Happening::Reset => rig.reset_relay(),
            Happening::LineDown => {
                rig.tell(Input::LineDown);
                rig.tell(Input::LineUp);
            }
            Happening::Restart => rig = restarted(rig),
        }
        rig.run(Millis(span));
        rig.contact_never_under_load();
    }
    // Once all faults are over, it charges.
    (rig.relay.away, rig.fake.silent, rig.fake.mute) = (false, false, false);
    rig.amps(8);
    rig.run(Millis(700_000));
    rig.contact_never_under_load();
    assert_eq!((rig.report().setpoint, rig.report().fault), (Some(Milliamps(8_000)), None));
    assert!(rig.connected().is_some());
}

/// Regression cases: combinations of faults that broke earlier versions of the driver.
#[test]
fn histories_that_once_went_wrong() {
    use self::Happening::{Box, LineDown, Mute, NoOrders, Order, Relay, Restart};
    live(vec![(Order(0, 3), 10_350), (Order(6, 1), 1_471), (Relay(true), 18_430), (Box(true), 26_570)]);
    let restart = (Restart, 5_748);
    live(vec![(Order(0, 3), 10_350), (Order(6, 1), 1_582), (NoOrders, 4_889), restart.clone(), (NoOrders, 46_303)]);
    live(vec![(Order(0, 3), 10_350), (Order(6, 1), 5_501), (Mute(true), 500), (Relay(true), 32_048), restart]);
    let lapse = [(NoOrders, 22_227), (Relay(true), 11_143), (Order(0, 1), 18_581)];
    live([vec![(Order(0, 3), 10_350), (Order(6, 1), 5_501), (Mute(true), 18_401)], lapse.to_vec()].concat());
    let deaf = [
        (Order(0, 3), 10_350),
        (Order(6, 1), 5_924),
        (Relay(false), 697),
        (Box(true), 11_470),
        (LineDown, 14_081),
        (Order(0, 1), 14_377),
        (Order(0, 1), 10_223),
        (Order(0, 1), 17_480),
    ];
    live([deaf.to_vec(), vec![(NoOrders, 36_829), (Restart, 17_941)]].concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever comes and goes: the contact moves only while the wallbox offers nothing, unless the relay itself lost power.
    #[test]
    fn the_contact_never_moves_under_load(steps in prop::collection::vec((step(), 500..40_000_u64), 1..40)) {
        live(steps);
    }
}
