//! A wallbox in standby, which does not answer until a car is plugged in.

use super::left_alone::Watch;
use super::*;

/// A rig ordered to 0 A, without a car.
fn awake(layout: u16) -> Rig {
    let mut sleepy = setup();
    sleepy.standby = true;
    let mut rig = Rig::with(layout, &sleepy);
    rig.amps(0);
    rig.run(Millis(5_000));
    assert_eq!(rig.fake.holding[&258], 0, "may sleep");
    rig
}

/// The same, with the wallbox in standby for `span`.
fn asleep(layout: u16, span: Millis) -> Rig {
    let mut rig = awake(layout);
    rig.fake.silent = true;
    rig.run(span);
    assert_eq!(rig.report().link, Reachability::Asleep);
    rig
}

fn glitch(rig: &mut Rig, span: Millis) {
    rig.tell(Input::Timeout);
    rig.events.clear();
    rig.tell(Input::LineDown);
    rig.run(span);
    assert_eq!(rig.report().link, Reachability::Offline, "nothing is known while there is no line");
    rig.tell(Input::LineUp);
}

fn links(rig: &Rig) -> Vec<Reachability> {
    let links =
        rig.events.iter().filter_map(|event| if let Event::Report(report) = event { Some(report.link) } else { None });
    let mut links: Vec<Reachability> = links.collect();
    links.dedup();
    links
}

#[test]
fn a_line_that_comes_back_finds_the_sleeper_asleep_and_the_car_as_soon() {
    for slept_s in [20, 600, 3_600] {
        for offset in (0..40_000).step_by(700) {
            for span in [Millis(200), Millis(2_000), Millis(120_000)] {
                let mut rig = asleep(0x107, Millis::from_secs(slept_s));
                rig.run(Millis(offset));
                glitch(&mut rig, span);
                rig.run(Millis(40_000));
                let case = format!("{slept_s} s, {offset} ms, {span:?}");
                assert_eq!(links(&rig), [Reachability::Offline, Reachability::Asleep], "{case}");
                assert_eq!(rig.said(&Event::Notice(Notice::Asleep)), 1, "{case}");
                rig.fake.wake(rig.now);
                rig.run(Millis(40_000));
                assert_eq!((rig.report().link, rig.fake.holding[&261]), (Reachability::Online, 0), "{case}");
            }
        }
    }
}

#[test]
fn a_line_lost_in_the_middle_of_a_try_is_no_other() {
    let mut rig = asleep(0x107, Millis::from_secs(3_600));
    while rig.driver.poll_request(rig.now).is_none() {
        rig.now = rig.now + Millis(100);
        let order = rig.order.unwrap();
        rig.order(order.setpoint);
    }
    glitch(&mut rig, Millis(2_000));
    rig.run(Millis(40_000));
    assert_eq!(links(&rig), [Reachability::Offline, Reachability::Asleep]);
}

/// The limit for any wallbox is twice the watchdog time plus 30 s; one that wakes up is found long before.
#[test]
fn a_car_that_is_plugged_in_is_found_and_until_then_the_watchdog_bounds_what_it_is_offered() {
    for (layout, watchdog_s) in [(0x107, 15), (0x108, 30)] {
        let (mut found, mut offered) = (Millis(0), Millis(0));
        for offset in (0..40_000).step_by(500) {
            let mut rig = asleep(layout, Millis::from_secs(600));
            rig.run(Millis(offset));
            rig.fake.wake(rig.now);
            let (woke, mut watch) = (rig.now, Watch::new());
            while rig.report().link != Reachability::Online {
                watch.run(&mut rig, Millis(500), 0);
                found = found.max(rig.now.since(woke));
            }
            offered = offered.max(watch.longest);
            rig.run(Millis(5_000));
            assert_eq!((rig.fake.offers(rig.now), rig.fake.holding[&261]), (0, 0));
        }
        assert!(found <= Millis::from_secs(36), "{layout:x}: found after {found:?}");
        assert!(offered <= Millis::from_secs(watchdog_s), "{layout:x}: offered for {offered:?}");
    }
}

#[test]
fn one_that_wakes_for_a_car_and_falls_mute_is_not_asleep() {
    let mut rig = asleep(0x107, Millis::from_secs(600));
    rig.fake.wake(rig.now);
    rig.fake.requests.clear();
    while !rig.fake.requests.iter().any(|(_, op)| input_read(*op) == Some(5)) {
        rig.run(Millis(50));
    }
    rig.fake.mute = true;
    rig.run(Millis(30_000));
    assert_eq!(rig.report().link, Reachability::Offline);
    rig.run(Millis::from_secs(3_600));
    assert_eq!(rig.report().link, Reachability::Offline);
}

#[test]
fn one_that_gives_a_sign_of_life_is_not_asleep() {
    let signs: [&dyn Fn(&mut FakeBox); 2] = [&|fake| fake.exception = Some(2), &|fake| fake.garbled = true];
    for (nth, sign) in signs.iter().enumerate() {
        let mut rig = awake(0x107);
        sign(&mut rig.fake);
        rig.run(Millis::from_secs(600));
        assert_eq!(rig.report().link, Reachability::Offline, "{nth}: awake");
        let mut rig = asleep(0x107, Millis::from_secs(600));
        rig.fake.wake(rig.now);
        sign(&mut rig.fake);
        rig.run(Millis::from_secs(600));
        assert_eq!(rig.report().link, Reachability::Offline, "{nth}: asleep");
        let said = rig.notices().iter().filter(|notice| notice.level() == Level::Warn).count();
        assert_eq!(said, 1, "{nth}: {:?}", rig.notices());
    }
}

/// Until its setpoint was read once it may have its maximum. A controller that took it for asleep would give its share of the fuse away.
#[test]
fn one_of_which_the_setpoint_was_never_read_is_not_asleep() {
    let mut sleepy = setup();
    sleepy.standby = true;
    let mut rig = Rig::with(0x107, &sleepy);
    rig.amps(0);
    while !rig.fake.requests.iter().any(|(_, op)| input_read(*op) == Some(5)) {
        rig.run(Millis(50));
    }
    rig.fake.silent = true;
    rig.run(Millis(60_000));
    assert_eq!(rig.report().link, Reachability::Offline);
}

#[test]
fn a_profile_without_standby_knows_no_sleep() {
    let mut sleepy = setup();
    sleepy.standby = true;
    sleepy.profile = "amperfied-connect".to_owned();
    let mut rig = Rig::with(0x204, &sleepy);
    rig.amps(0);
    rig.run(Millis(5_000));
    assert_eq!((rig.report().link, rig.report().vehicle), (Reachability::Online, Vehicle::Absent));
    rig.fake.silent = true;
    rig.run(Millis(60_000));
    assert_eq!(rig.report().link, Reachability::Offline);
}

/// With Modbus exception 11 a gateway reports that a wallbox is silent.
#[test]
fn what_a_gateway_says_of_a_silent_wallbox_is_silence() {
    let mut rig = awake(0x107);
    rig.fake.exception = Some(11);
    rig.run(Millis(60_000));
    assert_eq!(rig.report().link, Reachability::Asleep);
    let mut rig = Rig::charging_at(0x107, 10);
    rig.fake.exception = Some(11);
    rig.run(Millis(20_000));
    assert_eq!((rig.report().link, rig.report().fault), (Reachability::Offline, None));
    let lost = |notice: &&&Notice| matches!(notice, Notice::LinkLost { failure: Failure::Timeout });
    assert_eq!(rig.notices().iter().filter(lost).count(), 1, "{:?}", rig.notices());
}
