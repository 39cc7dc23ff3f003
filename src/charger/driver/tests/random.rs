//! Whatever is ordered and whatever breaks: no forbidden value is ever sent.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Move {
    Order(u32),
    Keep,
    NoOrders,
    Silent(bool),
    PowerCycle,
    State(u16),
    Stubborn(Option<u16>),
    Missing(Option<u16>),
    Wake,
    Unlock,
    Line(bool),
    BoxMax(u16),
}

fn moves() -> impl Strategy<Value = Vec<(Move, u64)>> {
    // The lock cannot be read back before layout 1.0.8, so its echo must suffice and is never falsified here.
    let kept = prop_oneof![Just(257_u16), Just(258), Just(261), Just(262)];
    let any_register = prop_oneof![Just(257_u16), Just(258), Just(259), Just(261), Just(262)];
    let one = prop_oneof![
        6 => (0..40_000_u32).prop_map(Move::Order),
        1 => Just(Move::Keep),
        1 => Just(Move::NoOrders),
        2 => any::<bool>().prop_map(Move::Silent),
        1 => Just(Move::PowerCycle),
        2 => (0..13_u16).prop_map(Move::State),
        1 => prop::option::of(kept).prop_map(Move::Stubborn),
        1 => prop::option::of(any_register).prop_map(Move::Missing),
        1 => Just(Move::Wake),
        1 => Just(Move::Unlock),
        1 => any::<bool>().prop_map(Move::Line),
        1 => (0..20_u16).prop_map(Move::BoxMax),
    ];
    prop::collection::vec((one, 0..20_000_u64), 1..25)
}

fn play(rig: &mut Rig, step: Move) {
    match step {
        Move::Order(milliamps) => rig.order(Some(Milliamps(milliamps))),
        Move::Keep => rig.order(None),
        Move::NoOrders => rig.order = None,
        Move::Silent(silent) => rig.fake.silent = silent,
        Move::PowerCycle => rig.fake.power_cycle(),
        Move::State(raw) => rig.fake.state(raw),
        Move::Stubborn(register) => rig.fake.stubborn = register.into_iter().collect(),
        Move::Missing(register) => rig.fake.missing = register.into_iter().collect(),
        Move::Wake => rig.tell(Input::Wake),
        Move::Unlock => rig.tell(Input::Unlock),
        Move::Line(up) => rig.tell(if up { Input::LineUp } else { Input::LineDown }),
        Move::BoxMax(amps) => {
            rig.fake.input.insert(100, amps);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_forbidden_value_ever_leaves(layout in prop_oneof![Just(0x103_u16), Just(0x107), Just(0x108), Just(0x204)], safe in 0..20_000_u32, story in moves()) {
        let mut random = setup();
        random.safe_current = Milliamps(safe);
        let mut rig = Rig::with(layout, &random);
        let mut highest = 0;
        for (step, span) in story {
            if let Move::Order(milliamps) = step {
                highest = highest.max(milliamps / 100);
            }
            play(&mut rig, step);
            rig.run(Millis(span));
        }
        for (_, address, value) in &rig.fake.writes {
            match address {
                261 => {
                    prop_assert!(*value == 0 || (60..=160).contains(value));
                    prop_assert!(u32::from(*value) <= highest.max(safe / 100), "{value} was never ordered");
                }
                262 => prop_assert!(*value == 0 || (60..=160).contains(value)),
                257 => prop_assert_eq!(*value, 30_000),
                258 => prop_assert_eq!(*value, 4),
                259 => prop_assert!(*value <= 1),
                other => prop_assert!(false, "register {other} was written"),
            }
        }
        // Whatever happened: in the end the car is off, the lock open and the driver silent, all within the time limit.
        rig.fake.silent = false;
        rig.fake.stubborn.clear();
        rig.fake.missing.clear();
        rig.tell(Input::LineUp);
        rig.run(Millis(25_000));
        rig.tell(Input::Shutdown);
        rig.run(Millis(5_000));
        prop_assert!(rig.driver.ended());
        if layout >= 0x107 {
            prop_assert_eq!(rig.said(&Event::ShutDown { proven: true }), 1);
            prop_assert_eq!(rig.fake.holding[&259], 1);
            prop_assert!(u32::from(rig.fake.holding[&261]) <= safe / 100);
        }
    }
}
