//! A wallbox that is found locked, or stays locked.

use super::*;

fn found(layout: u16) -> Rig {
    let mut rig = Rig::new(layout);
    rig.fake.holding.insert(259, 0);
    rig.fake.locks = true;
    rig.fake.state(5);
    rig
}

#[test]
fn a_wallbox_that_is_found_locked_is_unlocked_once() {
    for layout in [0x107, 0x108] {
        let mut rig = found(layout);
        rig.amps(10);
        rig.run(Millis(10_000));
        assert_eq!((rig.fake.holding[&259], rig.fake.count_writes(259)), (1, 1), "{layout:x}");
        assert_eq!(rig.report().fault, None);
        let said = rig
            .notices()
            .iter()
            .filter(|notice| matches!(notice, Notice::Trouble(Trouble::FoundLocked { .. })))
            .count();
        assert_eq!(said, 1);
        // A later lock is intentional: it is only reported, with the remedy.
        rig.fake.holding.insert(259, 0);
        rig.run(Millis(60_000));
        assert_eq!((rig.fake.count_writes(259), rig.report().fault), (1, Some(Fault::Locked)));
        let stays: Vec<String> =
            rig.notices().iter().map(ToString::to_string).filter(|text| text.contains("stays locked")).collect();
        assert_eq!(stays.len(), 1, "{stays:?}");
        assert!(stays[0].contains("write 1 to register 259"), "{stays:?}");
    }
}

#[test]
fn nothing_is_unlocked_before_an_order_or_where_the_remote_lock_is_open() {
    let mut rig = found(0x108);
    rig.run(Millis(30_000));
    assert_eq!(rig.fake.writes, []);
    // State F for another reason, such as an expired watchdog.
    let mut rig = Rig::new(0x108);
    rig.fake.state(10);
    rig.amps(0);
    rig.run(Millis(15_000));
    assert_eq!(rig.fake.count_writes(259), 0);
}

#[test]
fn a_key_switch_is_named() {
    let mut rig = Rig::new(0x108);
    rig.fake.state(10);
    rig.fake.input.insert(13, 0);
    rig.amps(10);
    rig.run(Millis(60_000));
    let said: Vec<String> = rig.notices().iter().map(ToString::to_string).collect();
    let named = said.iter().filter(|text| text.contains("key switch (register 13 = 0)")).count();
    assert_eq!(named, 1, "{said:?}");
}

#[test]
fn a_wake_up_is_not_taken_for_a_lock_of_somebody_else() {
    let mut rig = Rig::charging_at(0x108, 10);
    rig.fake.locks = true;
    rig.fake.state(4);
    rig.run(Millis(2_000));
    rig.tell(Input::Wake);
    rig.run(Millis(60_000));
    assert_eq!((rig.fake.holding[&259], rig.fake.count_writes(259)), (1, 2));
    let taken = |notice: &&&Notice| {
        matches!(notice, Notice::Trouble(Trouble::FoundLocked { .. } | Trouble::StaysLocked { .. }))
    };
    assert_eq!(rig.notices().iter().filter(taken).count(), 0);
}
