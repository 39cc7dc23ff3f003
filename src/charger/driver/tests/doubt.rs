//! The reasons given when a wallbox is left alone.

use super::*;

type Spoil = fn(&mut FakeBox);

const CASES: [(Spoil, bool, &str); 8] = [
    (|fake| fake.declines_writes = vec![(261, 5)], true, "declines to write 0 to register 261 (Modbus exception 5)"),
    (|fake| fake.declines_writes = vec![(261, 3)], true, "declines to write 0 to register 261 (Modbus exception 3)"),
    (|fake| fake.unreadable = vec![261], true, "declines to read holding register 261 (Modbus exception 2)"),
    (|fake| fake.stubborn = vec![261], true, "does not take a lower setpoint: register 261 stays at 16.0 A"),
    (|fake| fake.missing.extend(5..=18), true, "declines to read input registers 5 to 18 (Modbus exception 2)"),
    (|fake| fake.input_declined = Some((4, 1)), true, "declines to read input register 4 (Modbus exception 4)"),
    (|fake| fake.exception = Some(6), true, "(Modbus exception 6)"),
    (|fake| fake.mute = true, false, "does not answer: "),
];

/// In every case the log names the request that was declined or the value that was not kept, with the exception.
#[test]
fn what_is_said_of_a_wallbox_that_is_left_alone_is_its_true_trouble() {
    for (spoil, _, expected) in CASES {
        let mut rig = Rig::charging_at(0x107, 16);
        spoil(&mut rig.fake);
        if expected.starts_with("declines to write") || expected.starts_with("does not take") {
            rig.amps(0);
        }
        rig.run(Millis(90_000));
        let left = |notice: &&&Notice| matches!(notice, Notice::Trouble(Trouble::LeftAlone { .. }));
        let said: Vec<String> = rig.notices().iter().filter(left).map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{expected}: {said:#?}");
        assert!(said[0].contains(expected), "{expected}: {said:#?}");
    }
}

/// The silence between two tries is no news about whether it answers.
#[test]
fn whether_it_answers_is_said_once_and_not_at_each_try() {
    for (spoil, answers, case) in CASES {
        let mut rig = Rig::charging_at(0x107, 16);
        spoil(&mut rig.fake);
        rig.amps(0);
        rig.run(Millis(60_000));
        rig.events.clear();
        rig.run(Millis::from_secs(1_800));
        let fault = answers.then_some(Fault::Unusable);
        let report = |event: &Event| if let Event::Report(report) = event { Some(report.fault) } else { None };
        let others: Vec<_> = rig.events.iter().filter_map(report).filter(|said| *said != fault).collect();
        assert_eq!(others, [], "{case}");
    }
}
