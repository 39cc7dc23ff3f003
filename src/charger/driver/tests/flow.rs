//! A setpoint of 0 that is read back while current keeps flowing.

use super::left_alone::Watch;
use super::*;

/// A rig charging at 16 A, with measurements that lag by `lag` milliseconds.
fn charging(lag: u64) -> Rig {
    let mut rig = Rig::charging_at(0x107, 16);
    rig.fake.lag = Some(Millis(lag));
    rig.run(Millis(15_000));
    assert_eq!(rig.report().currents, Some([Milliamps(16_000); 3]));
    rig.events.clear();
    rig
}

fn left_alone(rig: &Rig) -> Vec<String> {
    let left = |notice: &&&Notice| matches!(notice, Notice::Trouble(Trouble::LeftAlone { .. }));
    rig.notices().iter().filter(left).map(ToString::to_string).collect()
}

#[test]
fn a_wallbox_that_reads_back_0_and_goes_on_is_left_to_its_watchdog_and_said_once() {
    for lag in [0, 3_000, 9_000] {
        let mut rig = charging(lag);
        rig.fake.ignores = Some(160);
        rig.amps(0);
        let mut watch = Watch::new();
        watch.run(&mut rig, Millis::from_secs(3_600), 0);
        assert!(watch.longest <= Millis(60_000), "{lag}: {:?}", watch.longest);
        let said = left_alone(&rig);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].contains("0 A is read back (register 261), yet 16.0 A keeps flowing"), "{said:?}");
        assert!(said[0].contains("at its breaker"), "{said:?}");
        // Trusted again after it was seen at rest and stayed so for ten minutes.
        rig.fake.ignores = None;
        rig.run(Millis::from_secs(1_000));
        assert_eq!((rig.report().link, rig.report().setpoint), (Reachability::Online, Some(Milliamps(0))), "{lag}");
        rig.amps(10);
        rig.run(Millis::from_secs(20));
        assert_eq!(rig.report().setpoint, Some(Milliamps(10_000)));
        let back = |notice: &&&Notice| matches!(notice, Notice::Trouble(Trouble::TakenBack { .. }));
        assert_eq!(rig.notices().iter().filter(back).count(), 1, "{lag}");
    }
}

/// A wallbox that ignores its setpoint may ignore its watchdog too, so none of its share of the fuse is given away.
#[test]
fn one_that_goes_on_has_not_fallen_back_until_it_is_seen_at_rest() {
    let mut rig = charging(0);
    rig.fake.ignores = Some(160);
    rig.fake.stubborn = vec![257];
    rig.fake.holding.insert(257, 0);
    rig.amps(0);
    rig.run(Millis::from_secs(40));
    assert_eq!((rig.report().link, rig.report().fault), (Reachability::Offline, Some(Fault::Unusable)));
    rig.events.clear();
    rig.run(Millis::from_secs(1_800));
    assert!(!rig.events.iter().any(|event| matches!(event, Event::Report(report) if report.released)));
    assert!(rig.fake.requests.iter().any(|(at, op)| at.0 > 200_000 && input_read(*op) == Some(5)), "it is looked at");
}

#[test]
fn a_car_that_ramps_down_and_measurements_that_come_late_are_no_such_case() {
    for (lag, poll) in [(0, 1_000), (5_000, 1_000), (12_000, 1_000), (9_000, 10_000)] {
        let setup = ChargerSetup { poll: Millis(poll), ..setup() };
        let mut rig = Rig::with(0x107, &setup);
        rig.fake.lag = Some(Millis(lag));
        rig.fake.state(7);
        for amps in [16, 0, 10, 0] {
            rig.amps(amps);
            rig.run(Millis(60_000));
            assert_eq!(rig.report().setpoint, Some(Milliamps(amps * 1_000)), "{lag}");
        }
        assert_eq!(left_alone(&rig), [""; 0], "{lag}");
    }
    // Nor is current that flows while some is wanted, or a current within meter noise.
    for (amps, measured) in [(6, 160), (0, 19)] {
        let mut rig = Rig::charging_at(0x107, 16);
        rig.fake.input.extend([(6, measured), (7, 0), (8, 0)]);
        rig.amps(amps);
        rig.run(Millis(600_000));
        assert_eq!((rig.report().link, left_alone(&rig).len()), (Reachability::Online, 0), "{amps}, {measured}");
    }
}

/// An invalid current counts as unknown, so the wallbox is judged by its register alone.
#[test]
fn a_wallbox_whose_currents_are_not_known_is_not_judged_by_them() {
    let mut rig = Rig::charging_at(0x107, 16);
    rig.fake.input.extend([(6, 160), (7, 160), (8, 160)]);
    rig.fake.missing.extend(5..=18);
    rig.amps(0);
    rig.run(Millis(300_000));
    let said = left_alone(&rig);
    assert!(!said.iter().any(|text| text.contains("ignores its setpoint")), "{said:?}");
}

/// With a fail-safe current the watchdog never brings it to rest; the try gives it time to get there by its setpoint.
#[test]
fn one_that_falls_back_to_a_current_is_trusted_once_it_comes_to_rest_in_a_try() {
    let setup = ChargerSetup { safe_current: Milliamps(6_000), ..setup() };
    let mut rig = Rig::with(0x107, &setup);
    rig.fake.lag = Some(Millis(5_000));
    rig.fake.state(7);
    rig.amps(16);
    rig.run(Millis(20_000));
    rig.fake.ignores = Some(160);
    rig.amps(0);
    rig.run(Millis(120_000));
    assert_eq!(rig.report().link, Reachability::Offline);
    rig.fake.ignores = None;
    rig.run(Millis(400_000));
    assert_eq!((rig.report().link, rig.report().setpoint), (Reachability::Online, Some(Milliamps(0))));
}

/// Whatever is declined: a wallbox left alone gets requests in short tries with silence between them, never at the pace of its watchdog.
#[test]
fn declined_reads_of_inputs_do_not_break_the_silence_between_two_tries() {
    for (watchdog, known) in [(10_000, true), (10_000, false), (30_000, true)] {
        for every in [1, 9] {
            let setup = ChargerSetup { watchdog: Millis(watchdog), ..setup() };
            let mut rig = Rig::with(0x107, &setup);
            rig.fake.state(7);
            rig.amps(16);
            if known {
                rig.run(Millis(5_000));
            } else {
                rig.fake.unreadable = vec![257];
            }
            rig.fake.input_declined = Some((6, every));
            rig.run(Millis(60_000));
            let from = rig.now;
            rig.run(Millis::from_secs(1_800));
            let silence = if known { Millis(watchdog.max(15_000) + 5_000) } else { Millis(70_535) };
            let heard: Vec<Tick> = rig.fake.requests.iter().map(|(at, _)| *at).filter(|at| *at > from).collect();
            let gaps: Vec<Millis> = heard.windows(2).map(|pair| pair[1].since(pair[0])).collect();
            let broken = |gap: &&Millis| **gap >= Millis(5_000) && **gap < silence;
            assert_eq!(gaps.iter().find(broken), None, "{watchdog}, {known}, {every}: {gaps:?}");
        }
    }
}
