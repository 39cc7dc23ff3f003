//! The line with one or two chargers, in virtual time; the test carries out the operations.

use std::collections::BTreeMap;

use control::{Milliamps, Order, Reachability};

use super::*;
use crate::charger::codec::{Flaw, Operation};
use crate::charger::driver::Level;
use crate::charger::fake_box::FakeBox;
use crate::charger::log::Log;
use crate::charger::profile;
use crate::config::{ChargerSetup, LinkConfig};

struct Rig {
    line: Line,
    boxes: BTreeMap<u8, FakeBox>,
    now: Tick,
    /// Every operation with the times at which it began and ended.
    ops: Vec<(Tick, Tick, BusOp)>,
    events: Vec<LineEvent>,
    /// Failures that the next requests end with.
    spoil: VecDeque<Failure>,
    /// Error that opening ends with, if any.
    open: Option<OpenError>,
    /// Loses every second answer, at random.
    loss: Option<fastrand::Rng>,
}

impl Rig {
    fn new(units: &[u8]) -> Self {
        let profile = profile::load("heidelberg-energy-control").unwrap();
        let setup = |unit| ChargerSetup {
            name: format!("box-{unit}"),
            profile: profile.name.clone(),
            link: LinkConfig::Serial { path: "/dev/null".into() },
            unit,
            poll: Millis(1_000),
            watchdog: Millis(30_000),
            safe_current: Milliamps(0),
            standby: false,
            phase_switch: None,
            reply: None,
        };
        let driver =
            |unit: &u8| (ChargerId(*unit), Driver::new(ChargerId(*unit), &setup(*unit), profile.clone(), Tick(1)));
        let line = Line::new(units.iter().map(driver).collect(), profile.link, Tick(1));
        let boxes = units.iter().map(|unit| (*unit, FakeBox::new(0x107))).collect();
        Self { line, boxes, now: Tick(1), ops: vec![], events: vec![], spoil: VecDeque::new(), open: None, loss: None }
    }

    fn order(&mut self, unit: u8, amps: u32, span: Millis) {
        let order = Order {
            charger: ChargerId(unit),
            setpoint: Some(Milliamps(amps * 1_000)),
            phases: None,
            valid_until: self.now + span,
        };
        self.line.tell(ChargerId(unit), Input::Order(order), self.now);
    }

    fn step(&mut self, end: Tick) {
        let Some(op) = self.line.poll_op(self.now) else {
            let next = self.line.poll_timeout(self.now).map_or(end, |(at, _)| at);
            assert!(next > self.now, "asks to be called at once and then has nothing to do");
            self.now = next.min(end);
            return;
        };
        let began = self.now;
        let (done, took) = match op {
            BusOp::Open => (self.open.clone().map_or(BusResult::Opened, BusResult::OpenFailed), Millis(1)),
            BusOp::Drain { quiet } => (BusResult::Drained, quiet),
            BusOp::Send(request, reply) => {
                if let Some(failure) = self.spoil.pop_front() {
                    (BusResult::Ended(Outcome::Failed(failure)), reply)
                } else {
                    let mut outcome = self.boxes.get_mut(&request.unit).unwrap().answer(request, self.now);
                    if self.loss.as_mut().is_some_and(fastrand::Rng::bool) {
                        outcome = Outcome::Failed(Failure::Timeout);
                    }
                    let silent = matches!(outcome, Outcome::Failed(_));
                    (BusResult::Ended(outcome), if silent { reply } else { Millis(40) })
                }
            }
        };
        self.now = self.now + took;
        self.line.handle(done, self.now);
        self.ops.push((began, self.now, op));
        self.events.extend(std::iter::from_fn(|| self.line.poll_event()));
    }

    fn run(&mut self, span: Millis) {
        let end = self.now + span;
        while self.now < end {
            self.step(end);
        }
    }

    fn sends(&self) -> Vec<(Tick, Tick, Request)> {
        let send = |(began, ended, op): &(Tick, Tick, BusOp)| {
            if let BusOp::Send(request, _) = op { Some((*began, *ended, *request)) } else { None }
        };
        self.ops.iter().filter_map(send).collect()
    }

    fn line_notices(&self) -> Vec<LineNotice> {
        let notice = |event: &LineEvent| if let LineEvent::Line(notice) = event { Some(notice.clone()) } else { None };
        self.events.iter().filter_map(notice).collect()
    }
}

#[test]
fn it_opens_waits_for_quiet_and_keeps_the_gap() {
    let mut rig = Rig::new(&[1]);
    rig.run(Millis(10_000));
    assert_eq!(rig.ops[0].2, BusOp::Open);
    assert_eq!(rig.ops[1].2, BusOp::Drain { quiet: Millis(300) });
    let sends = rig.sends();
    assert!(sends.len() > 10);
    for pair in sends.windows(2) {
        assert!(pair[1].0.since(pair[0].1) >= Millis(100), "{pair:?}");
    }
    assert_eq!(rig.line_notices(), [LineNotice::Up]);
}

#[test]
fn after_a_useless_answer_it_reopens_and_waits_for_quiet_before_anything_else() {
    for failure in [Failure::Timeout, Failure::Malformed(Flaw::Length)] {
        let mut rig = Rig::new(&[1]);
        rig.run(Millis(5_000));
        let before = rig.ops.len();
        rig.spoil = [failure].into();
        rig.run(Millis(5_000));
        let kinds: Vec<BusOp> = rig.ops[before..].iter().map(|(_, _, op)| *op).take(3).collect();
        assert!(matches!(kinds[0], BusOp::Send(..)));
        assert_eq!(kinds[1..], [BusOp::Open, BusOp::Drain { quiet: Millis(300) }]);
        assert_eq!(rig.line_notices(), [LineNotice::Up], "no news: the line is not lost");
    }
}

#[test]
fn an_exception_does_not_poison_the_line() {
    let mut rig = Rig::new(&[1]);
    rig.boxes.get_mut(&1).unwrap().missing = vec![102];
    rig.run(Millis(10_000));
    assert_eq!(rig.ops.iter().filter(|(_, _, op)| *op == BusOp::Open).count(), 1);
}

#[test]
fn chargers_take_turns_and_one_that_is_dead_does_not_hold_up_the_other() {
    let mut rig = Rig::new(&[1, 2]);
    rig.run(Millis(20_000));
    let turns = |rig: &Rig, unit| rig.sends().iter().filter(|(_, _, request)| request.unit == unit).count();
    let (first, second) = (turns(&rig, 1), turns(&rig, 2));
    assert!(first.abs_diff(second) <= 2, "{first} and {second}");
    rig.boxes.get_mut(&1).unwrap().silent = true;
    rig.ops.clear();
    rig.run(Millis(30_000));
    assert!(turns(&rig, 2) > 15, "{}", turns(&rig, 2));
    assert!((3..=12).contains(&turns(&rig, 1)), "{}", turns(&rig, 1));
}

#[test]
fn a_lower_current_goes_first_whoever_has_the_turn() {
    let mut rig = Rig::new(&[1, 2]);
    for unit in [1, 2] {
        rig.order(unit, 16, Millis(60_000));
    }
    rig.run(Millis(10_000));
    // Both have a request, and the one to be lowered comes next, no matter which had the last turn.
    for unit in [1_u8, 2] {
        rig.now = rig.now + Millis(5_000);
        rig.order(unit, 6, Millis(60_000));
        let Some(BusOp::Send(request, _)) = rig.line.poll_op(rig.now) else { panic!("nothing to send") };
        assert_eq!(request, Request { unit, op: Operation::WriteSingle { addr: 261, value: 60 } });
        rig.line.handle(BusResult::Ended(Outcome::Written), rig.now);
        rig.now = rig.now + Millis(100);
        rig.boxes.get_mut(&unit).unwrap().holding.insert(261, 60);
        rig.run(Millis(1_000));
    }
}

#[test]
fn a_lost_line_is_tried_with_growing_pauses_and_said_once() {
    let mut rig = Rig::new(&[1]);
    rig.order(1, 10, Millis(3_600_000));
    rig.run(Millis(5_000));
    rig.events.clear();
    rig.ops.clear();
    rig.spoil = [Failure::Gone].into();
    rig.open = Some(OpenError::Missing);
    rig.run(Millis(200_000));
    let opens: Vec<Tick> = rig.ops.iter().filter(|(_, _, op)| *op == BusOp::Open).map(|(began, ..)| *began).collect();
    let pauses: Vec<u64> = opens.windows(2).map(|pair| pair[1].since(pair[0]).0 / 1_000).collect();
    assert_eq!(pauses[..6], [2, 4, 8, 16, 30, 30]);
    assert_eq!(rig.line_notices(), [LineNotice::Down(OpenError::Lost), LineNotice::Down(OpenError::Missing)]);
    let offline = |event: &&LineEvent| matches!(event, LineEvent::Charger(_, Event::Report(report)) if report.link == Reachability::Offline && !report.released);
    assert_eq!(rig.events.iter().filter(offline).count(), 1);
    // Once plugged in again, it continues with the standing order.
    rig.open = None;
    rig.boxes.get_mut(&1).unwrap().power_cycle();
    rig.run(Millis(40_000));
    assert_eq!(rig.line_notices().last(), Some(&LineNotice::Up));
    assert_eq!(rig.boxes[&1].holding[&261], 100);
}

/// The second pull within a minute is left out of the log for a while, but the status shows it.
#[test]
fn the_present_trouble_is_known_although_it_is_not_logged() {
    let mut rig = Rig::new(&[1]);
    rig.order(1, 10, Millis(3_600_000));
    for away in [12_000, 20_000] {
        rig.open = None;
        rig.run(Millis(12_000));
        assert_eq!(rig.line.trouble(), None);
        rig.spoil = [Failure::Gone].into();
        rig.open = Some(OpenError::Missing);
        rig.run(Millis(away));
        assert_eq!(rig.line.trouble(), Some(&OpenError::Missing));
    }
    assert_ne!(rig.line_notices().last(), Some(&LineNotice::Down(OpenError::Missing)), "too many changes in a minute");
}

#[test]
fn a_shutdown_ends_with_and_without_a_line() {
    for lost in [false, true] {
        let mut rig = Rig::new(&[1, 2]);
        for unit in [1, 2] {
            rig.order(unit, 16, Millis(60_000));
        }
        rig.run(Millis(10_000));
        if lost {
            rig.open = Some(OpenError::Missing);
            rig.spoil = [Failure::Gone].into();
            rig.run(Millis(5_000));
        }
        rig.line.shut_down(rig.now);
        for _ in 0..60 {
            if !rig.line.ended() {
                let end = rig.now + Millis(100);
                rig.step(end);
            }
        }
        assert!(rig.line.ended());
        rig.events.extend(std::iter::from_fn(|| rig.line.poll_event()));
        let proven =
            |event: &&LineEvent| matches!(event, LineEvent::Charger(_, Event::ShutDown { proven }) if *proven != lost);
        assert_eq!(rig.events.iter().filter(proven).count(), 2);
        assert_eq!((rig.line.poll_op(rig.now), rig.line.poll_timeout(rig.now)), (None, None));
    }
}

/// Silence towards one charger does not starve the other, whose requests do not break the silence because they carry its unit.
#[test]
fn a_wallbox_that_is_left_alone_does_not_hold_up_the_other() {
    let mut rig = Rig::new(&[1, 2]);
    for unit in [1, 2] {
        rig.order(unit, 16, Millis(3_600_000));
    }
    rig.run(Millis(10_000));
    rig.boxes.get_mut(&1).unwrap().stubborn = vec![261];
    rig.order(1, 0, Millis(3_600_000));
    rig.run(Millis(20_000));
    rig.ops.clear();
    rig.run(Millis(600_000));
    let gaps = |unit| {
        let sends = rig.sends();
        let times: Vec<Tick> =
            sends.iter().filter(|(_, _, request)| request.unit == unit).map(|(at, ..)| *at).collect();
        times.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap()
    };
    assert!(gaps(1) > Millis(35_000), "{:?}", gaps(1));
    assert!(gaps(2) < Millis(5_000), "{:?}", gaps(2));
    assert_eq!(rig.boxes[&2].offers(rig.now), 160);
    assert_eq!(rig.boxes[&1].offers(rig.now), 0);
}

/// Returns the largest number of notices about the line within any minute.
fn most_said_in_a_minute(said: &[Tick]) -> usize {
    said.iter()
        .map(|from| said.iter().filter(|at| *at >= from && at.since(*from) < Millis(60_000)).count())
        .max()
        .unwrap_or(0)
}

#[test]
fn a_line_that_opens_and_dies_at_each_request_gets_growing_pauses_and_few_words() {
    let mut rig = Rig::new(&[1]);
    rig.order(1, 10, Millis(3_600_000));
    let (mut said, mut last) = (vec![], None);
    let end = rig.now + Millis(600_000);
    while rig.now < end {
        rig.spoil = [Failure::Gone].into();
        rig.events.clear();
        rig.step(end);
        said.extend(rig.line_notices().iter().map(|_| rig.now));
        last = rig.line_notices().pop().or(last);
    }
    assert!(rig.sends().len() < 40, "{} requests in ten minutes", rig.sends().len());
    assert!(most_said_in_a_minute(&said) <= 8 && said.len() < 60, "{said:?}");
    // The line works again: that is reported, and the pauses start over.
    rig.spoil.clear();
    rig.events.clear();
    rig.run(Millis(400_000));
    assert_eq!(rig.line_notices().pop().or(last), Some(LineNotice::Up));
    rig.ops.clear();
    rig.spoil = [Failure::Gone].into();
    rig.run(Millis(3_000));
    assert_eq!(rig.ops.iter().filter(|(_, _, op)| *op == BusOp::Open).count(), 1, "opened after a second again");
}

#[test]
fn a_line_that_comes_and_goes_between_answers_is_said_to_do_so() {
    let mut rig = Rig::new(&[1]);
    rig.order(1, 10, Millis(3_600_000));
    let (mut said, mut notices) = (vec![], vec![]);
    let end = rig.now + Millis(600_000);
    let mut lost_at = rig.now + Millis(3_000);
    while rig.now < end {
        if rig.now >= lost_at {
            rig.spoil = [Failure::Gone].into();
            lost_at = rig.now + Millis(3_000);
        }
        rig.events.clear();
        rig.step(end);
        said.extend(rig.line_notices().iter().map(|_| rig.now));
        notices.extend(rig.line_notices());
    }
    assert!(most_said_in_a_minute(&said) <= 8, "{notices:?}");
    assert!(
        notices.iter().any(|notice| matches!(notice, LineNotice::Unsteady { .. })) || said.len() < 60,
        "{notices:?}"
    );
    // A final notice that exceeded the limit follows later.
    rig.open = Some(OpenError::Missing);
    rig.spoil = [Failure::Gone].into();
    rig.events.clear();
    rig.run(Millis(150_000));
    assert_eq!(rig.line_notices().last(), Some(&LineNotice::Down(OpenError::Missing)));
}

/// At shutdown, and when both must be lowered, a charger that answers does not wait for one that does not.
#[test]
fn a_mute_charger_does_not_use_up_the_time_of_another() {
    for ending in [true, false] {
        let mut rig = Rig::new(&[1, 2]);
        for unit in [1, 2] {
            rig.order(unit, 16, Millis(100_000_000));
        }
        rig.run(Millis(20_000));
        assert_eq!(rig.boxes[&2].holding[&261], 160);
        rig.boxes.get_mut(&1).unwrap().silent = true;
        rig.run(Millis(6_000));
        if ending {
            rig.line.shut_down(rig.now);
        } else {
            for unit in [1, 2] {
                rig.order(unit, 0, Millis(100_000_000));
            }
        }
        let asked = rig.now;
        while rig.boxes[&2].holding[&261] > 0 {
            rig.step(asked + Millis(10_000));
            assert!(rig.now.since(asked) < Millis(600), "ending: {ending}, {:?}", rig.now.since(asked));
        }
    }
}

/// Returns the number of log lines after six hours of this.
fn written(mut rig: Rig, mut each: impl FnMut(&mut Rig)) -> usize {
    let mut log = Log::default();
    let mut count = 0;
    rig.order(1, 10, Millis(100_000_000));
    let end = rig.now + Millis::from_secs(6 * 3_600);
    let mut news = vec![];
    while rig.now < end {
        each(&mut rig);
        rig.step(end);
        for event in rig.events.drain(..) {
            if let LineEvent::Charger(charger, Event::Notice(notice)) = event {
                news.extend(log.take(charger, notice, rig.now));
            }
        }
        news.extend(log.poll(rig.now));
        count += news.drain(..).filter(|entry| entry.notice.level() != Level::Debug).count();
    }
    count
}

#[test]
fn whatever_comes_and_goes_a_charger_writes_some_lines_an_hour() {
    let noisy = |count: usize| assert!(count < 250, "{count} lines in six hours");
    // Every second answer is lost.
    let rig = Rig { loss: Some(fastrand::Rng::with_seed(7)), ..Rig::new(&[1]) };
    noisy(written(rig, |_| ()));
    // The state toggles.
    noisy(written(Rig::new(&[1]), |rig| {
        rig.boxes.get_mut(&1).unwrap().state(4 + u16::try_from(rig.now.0 / 1_000 % 2).unwrap());
    }));
    // The line flaps.
    let mut next = Tick(5_000);
    let flap = |rig: &mut Rig| {
        if rig.now >= next {
            rig.spoil = [Failure::Gone].into();
            next = rig.now + Millis(25_000);
        }
    };
    noisy(written(Rig::new(&[1]), flap));
}
