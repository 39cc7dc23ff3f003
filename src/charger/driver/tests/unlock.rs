//! A wallbox that answers everything except the requests that reopen its remote lock.

use super::*;

/// A rig in the middle of a wake-up, with the lock set.
fn locked() -> Rig {
    let mut rig = Rig::charging_at(0x108, 10);
    rig.fake.locks = true;
    rig.fake.state(4);
    rig.run(Millis(2_000));
    rig.tell(Input::Wake);
    rig.run(Millis(2_000));
    assert_eq!((rig.fake.holding[&259], rig.report().waking), (0, true));
    rig
}

fn in_vain(rig: &Rig) -> Vec<String> {
    let said =
        rig.notices().into_iter().filter(|notice| matches!(notice, Notice::Trouble(Trouble::NotUnlocked { .. })));
    said.map(ToString::to_string).collect()
}

fn lost(rig: &Rig) -> usize {
    rig.notices().iter().filter(|notice| matches!(notice, Notice::LinkLost { .. })).count()
}

fn unlocks(rig: &Rig) -> usize {
    let unlock = Operation::WriteSingle { addr: 259, value: 1 };
    rig.fake.requests.iter().filter(|(_, op)| *op == unlock).count()
}

#[test]
fn an_unlock_that_is_never_answered_is_said_and_holds_up_nothing() {
    for layout in [0x107, 0x108] {
        let mut rig = Rig::new(layout);
        rig.fake.deaf = vec![259];
        rig.tell(Input::Unlock);
        rig.amps(10);
        rig.run(Millis(15_000));
        assert_eq!(
            (rig.report().link, rig.report().setpoint),
            (Reachability::Online, Some(Milliamps(10_000))),
            "{layout:x}"
        );
        assert_eq!(rig.report().fault, None);
        rig.run(Millis(600_000));
        let said = in_vain(&rig);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("write 1 to register 259"), "{said:?}");
        assert_eq!((lost(&rig), rig.said(&Event::WakeUpDone)), (0, 0));
        // It keeps trying at a slow pace.
        let tried = unlocks(&rig);
        assert!((20..=25).contains(&tried), "{tried}");
        rig.fake.deaf.clear();
        rig.run(Millis(31_000));
        assert_eq!((rig.said(&Event::WakeUpDone), unlocks(&rig)), (1, tried + 1));
        rig.run(Millis(120_000));
        assert_eq!((unlocks(&rig), in_vain(&rig).len()), (tried + 1, 1));
    }
}

#[test]
fn a_wallbox_that_stays_locked_by_a_wake_up_is_reported_as_locked() {
    let spoil: [&dyn Fn(&mut FakeBox); 3] =
        [&|fake| fake.deaf = vec![259], &|fake| fake.declines = vec![(259, 2)], &|fake| fake.declines = vec![(259, 6)]];
    for spoil in spoil {
        let mut rig = locked();
        spoil(&mut rig.fake);
        rig.run(Millis(30_000));
        assert_eq!((rig.report().waking, rig.report().fault), (false, Some(Fault::Locked)));
        assert_eq!((rig.report().link, lost(&rig), in_vain(&rig).len()), (Reachability::Online, 0, 1));
        assert_eq!(rig.report().setpoint, Some(Milliamps(10_000)));
        rig.fake.deaf.clear();
        rig.fake.declines.clear();
        rig.run(Millis(35_000));
        assert_eq!((rig.fake.holding[&259], rig.said(&Event::WakeUpDone), rig.report().fault), (1, 1, None));
        let stays = |notice: &&&Notice| matches!(notice, Notice::Trouble(Trouble::StaysLocked { .. }));
        assert_eq!(rig.notices().iter().filter(stays).count(), 0, "it has just been opened");
    }
}

/// Silence is no sign that the lock does not open: for a wallbox that answers nothing, the unlock is the first request when it comes back.
#[test]
fn a_silent_wallbox_has_not_declined_its_unlock() {
    for silent_s in [5, 30, 31, 32, 600] {
        let mut rig = locked();
        rig.fake.silent = true;
        rig.run(Millis::from_secs(silent_s));
        rig.fake.silent = false;
        let before = rig.fake.requests.len();
        rig.run(Millis::from_secs(320));
        let first = |(_, op): &(Tick, Operation)| *op == Operation::WriteSingle { addr: 259, value: 1 };
        let asked = rig.fake.requests[before..].iter().position(first).expect("unlocked");
        assert!(asked <= 4, "{silent_s}: {:?}", &rig.fake.requests[before..]);
        assert_eq!(
            (rig.fake.holding[&259], rig.said(&Event::WakeUpDone), in_vain(&rig).len()),
            (1, 1, 0),
            "{silent_s}"
        );
    }
}

#[test]
fn a_wallbox_that_cannot_be_locked_needs_no_unlock() {
    for code in [1, 2, 3, 4] {
        let mut rig = Rig::new(0x108);
        rig.fake.declines = vec![(259, code)];
        rig.tell(Input::Unlock);
        rig.amps(10);
        rig.run(Millis(10_000));
        assert_eq!((rig.report().setpoint, rig.said(&Event::WakeUpDone)), (Some(Milliamps(10_000)), 1), "{code}");
        assert_eq!((unlocks(&rig), in_vain(&rig).len()), (1, 0), "{code}");
    }
}

#[test]
fn the_end_is_proven_whether_the_lock_opens_or_not() {
    for given_up in [false, true] {
        let mut rig = locked();
        rig.fake.deaf = vec![259];
        if given_up {
            rig.run(Millis(30_000));
            assert_eq!(in_vain(&rig).len(), 1);
        }
        let tried = unlocks(&rig);
        rig.tell(Input::Shutdown);
        rig.run(Millis(6_000));
        assert_eq!((rig.said(&Event::ShutDown { proven: true }), rig.fake.holding[&261]), (1, 0), "{given_up}");
        let last = unlocks(&rig) - tried;
        assert!((1..=3).contains(&last), "{given_up}: {last}");
    }
}

#[test]
fn after_a_lapse_the_lock_is_tried_a_few_times_and_then_all_is_silent() {
    for given_up in [false, true] {
        let mut rig = locked();
        rig.fake.deaf = vec![259];
        if given_up {
            rig.run(Millis(30_000));
        }
        rig.order = None;
        rig.run(Millis(25_000));
        let asked = rig.fake.requests.len();
        rig.run(Millis(600_000));
        assert_eq!((rig.fake.requests.len(), rig.fake.offers(rig.now)), (asked, 0), "{given_up}");
        // The next order resumes it.
        rig.fake.deaf.clear();
        rig.amps(10);
        rig.run(Millis(40_000));
        assert_eq!((rig.fake.holding[&259], rig.said(&Event::WakeUpDone)), (1, 1), "{given_up}");
    }
}

#[test]
fn a_lock_that_cannot_be_opened_does_not_bar_a_change_of_phases() {
    let mut switching = setup();
    switching.profile = "amperfied-connect".to_owned();
    switching.phase_switch = Some(PhaseSwitch::Charger);
    let mut rig = Rig::with(0x204, &switching);
    rig.fake.deaf = vec![259];
    rig.tell(Input::Unlock);
    rig.amps(0);
    rig.run(Millis(20_000));
    assert_eq!(in_vain(&rig).len(), 1);
    rig.phases = Some(1);
    rig.amps(0);
    rig.run(Millis(200_000));
    assert_eq!(rig.report().connected, Some(1));
}

#[test]
fn a_lock_found_that_is_never_answered_for_costs_no_charger() {
    for layout in [0x107, 0x108] {
        let mut rig = Rig::new(layout);
        rig.fake.state(10);
        rig.fake.deaf = vec![259];
        rig.amps(10);
        rig.run(Millis(60_000));
        rig.fake.requests.clear();
        rig.events.clear();
        rig.run(Millis(120_000));
        assert_eq!(
            (rig.report().link, rig.report().setpoint),
            (Reachability::Online, Some(Milliamps(10_000))),
            "{layout:x}"
        );
        assert_eq!(lost(&rig), 0);
    }
}

#[test]
fn a_standby_register_that_is_never_answered_for_costs_no_charger() {
    let mut rig = Rig::new(0x108);
    rig.fake.deaf = vec![258];
    rig.amps(10);
    rig.run(Millis(60_000));
    rig.events.clear();
    rig.run(Millis(120_000));
    assert_eq!((rig.report().link, rig.report().setpoint), (Reachability::Online, Some(Milliamps(10_000))));
    assert_eq!(lost(&rig), 0);
}
