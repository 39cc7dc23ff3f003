//! A wallbox that cannot be controlled. Measured at the wallbox itself: the current it allows at each moment, given its own watchdog.

use proptest::prelude::*;

use super::*;

/// How long a wallbox with a proven watchdog may allow more than is wanted: twice `charger-watchdog-s` plus 30 s.
const BOUND: Millis = Millis(2 * 30_000 + 30_000);
/// How often the wallbox is checked.
const STEP: Millis = Millis(500);

/// The ways in which a wallbox can be out of control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ill {
    /// Answers are lost or come too late, which is the same to this driver.
    Mute,
    Deaf,
    Garbled,
    Every(usize),
    Exception(u8),
    NotKept,
    Declined,
    Unreadable,
    Missing,
    SettingsNotKept,
    SettingsMissing,
    Unmeasured,
    /// Something else writes its setpoint, or it forgets it, this number of milliseconds after each write.
    Reverts(u64),
    /// The written setpoint is read back, but charging continues at 16 A.
    Unheeding,
}

const ILLS: [Ill; 21] = [
    Ill::Mute,
    Ill::Deaf,
    Ill::Garbled,
    Ill::Every(2),
    Ill::Every(3),
    Ill::Exception(1),
    Ill::Exception(2),
    Ill::Exception(6),
    Ill::NotKept,
    Ill::Declined,
    Ill::Unreadable,
    Ill::Missing,
    Ill::SettingsNotKept,
    Ill::SettingsMissing,
    Ill::Unmeasured,
    Ill::Reverts(60),
    Ill::Reverts(1_000),
    Ill::Reverts(5_000),
    Ill::Reverts(9_000),
    Ill::Reverts(100_000),
    Ill::Unheeding,
];

impl Ill {
    fn befall(self, fake: &mut FakeBox) {
        match self {
            Self::Mute => fake.mute = true,
            Self::Deaf => fake.silent = true,
            Self::Garbled => fake.garbled = true,
            Self::Every(every) => fake.every = Some(every),
            Self::Exception(code) => fake.exception = Some(code),
            Self::NotKept => fake.stubborn.push(261),
            Self::Declined => fake.read_only.push(261),
            Self::Unreadable => fake.unreadable.push(261),
            Self::Missing => fake.missing.push(261),
            Self::SettingsNotKept => fake.stubborn.extend([257, 262]),
            Self::SettingsMissing => fake.missing.extend([257, 262]),
            Self::Reverts(after) => fake.reverts = Some(Millis(after)),
            Self::Unheeding => fake.ignores = Some(160),
            Self::Unmeasured => fake.missing.extend(5..=18),
        }
    }
}

fn heal(fake: &mut FakeBox) {
    (fake.mute, fake.silent, fake.garbled, fake.every, fake.exception) = (false, false, false, None, None);
    (fake.reverts, fake.ignores) = (None, None);
    for registers in [&mut fake.stubborn, &mut fake.read_only, &mut fake.unreadable, &mut fake.missing] {
        registers.clear();
    }
}

/// Measures, while time passes, how long the wallbox allows more than is wanted: the longest stretch, and the total.
pub(super) struct Watch {
    since: Option<Tick>,
    pub(super) longest: Millis,
    all: Millis,
    /// The longest watchdog time that its register held during the present stretch.
    held: u64,
    /// By how much a stretch exceeded twice that watchdog time plus 30 s.
    beyond: Millis,
}

impl Watch {
    pub(super) const fn new() -> Self {
        Self { since: None, longest: Millis(0), all: Millis(0), held: 0, beyond: Millis(0) }
    }

    pub(super) fn run(&mut self, rig: &mut Rig, span: Millis, wanted: u16) {
        let end = rig.now + span;
        while rig.now < end {
            let before = rig.now;
            rig.run(STEP.min(end.since(rig.now)));
            if rig.fake.offers(rig.now) > wanted {
                let since = *self.since.get_or_insert(before);
                let lasted = rig.now.since(since);
                self.longest = self.longest.max(lasted);
                self.held = self.held.max(u64::from(rig.fake.holding[&257])).max(u64::from(rig.driver.watchdog_ms));
                self.beyond = self.beyond.max(Millis(lasted.0.saturating_sub(2 * self.held + 30_000)));
                self.all = Millis(self.all.0 + rig.now.since(before).0);
            } else {
                self.since = None;
                self.held = 0;
            }
        }
    }
}

#[test]
fn whatever_goes_wrong_the_wallbox_is_off_within_the_bound_and_stays_so() {
    for ill in ILLS {
        let mut rig = Rig::charging_at(0x108, 16);
        rig.fake.lag = Some(Millis(3_000));
        ill.befall(&mut rig.fake);
        rig.run(Millis(20_000));
        rig.amps(0);
        let mut watch = Watch::new();
        watch.run(&mut rig, Millis::from_secs(3_600), 0);
        assert!(watch.longest <= BOUND, "{ill:?}: {:?} at more than wanted", watch.longest);
        // A wallbox that does not keep its setpoint charges again after each try until its watchdog acts.
        assert!(watch.all <= Millis::from_secs(700), "{ill:?}: {:?} of an hour at more than wanted", watch.all);
        // Once the fault is gone, it is taken back.
        heal(&mut rig.fake);
        rig.amps(10);
        rig.run(Millis::from_secs(1_000));
        assert_eq!(rig.report().setpoint, Some(Milliamps(10_000)), "{ill:?}");
    }
}

#[test]
fn a_mute_wallbox_is_left_alone_also_while_nothing_lower_is_wanted() {
    let mut rig = Rig::charging_at(0x107, 16);
    rig.fake.mute = true;
    let mut watch = Watch::new();
    watch.run(&mut rig, Millis::from_secs(900), 0);
    assert!(watch.longest <= BOUND, "{:?}", watch.longest);
    let left =
        rig.notices().iter().filter(|notice| matches!(notice, Notice::Trouble(Trouble::LeftAlone { .. }))).count();
    assert_eq!(left, 1, "said once");
    rig.fake.mute = false;
    rig.run(Millis::from_secs(400));
    assert_eq!(rig.report().setpoint, Some(Milliamps(16_000)), "the order still stands");
    assert!(matches!(
        rig.notices().last(),
        Some(Notice::Trouble(Trouble::TakenBack { .. }) | Notice::SetpointProven { .. })
    ));
}

/// A setpoint that reads back as wanted but returns to the maximum seconds later would otherwise be trusted and rewritten each time.
#[test]
fn a_setpoint_that_rises_by_itself_again_and_again_is_left_to_the_watchdog_and_said_once() {
    for after in [1_000, 4_000, 9_000] {
        let mut rig = Rig::charging_at(0x107, 16);
        rig.fake.reverts = Some(Millis(after));
        rig.amps(0);
        let mut watch = Watch::new();
        watch.run(&mut rig, Millis::from_secs(3_600), 0);
        assert!(watch.all <= Millis::from_secs(600), "{after}: {:?} of an hour", watch.all);
        let said: Vec<String> =
            rig.notices().iter().filter(|one| one.level() != Level::Debug).map(ToString::to_string).collect();
        assert!(said.len() <= 4, "{after}: {said:#?}");
        assert_eq!(said.iter().filter(|text| text.contains("something else writes")).count(), 1, "{after}: {said:#?}");
        // Trusted again after it has kept its setpoint for ten minutes.
        rig.fake.reverts = None;
        rig.events.clear();
        rig.run(Millis::from_secs(1_000));
        let back = |notice: &&&Notice| matches!(notice, Notice::Trouble(Trouble::TakenBack { .. }));
        assert_eq!(rig.notices().iter().filter(back).count(), 1, "{after}: {:?}", rig.notices());
    }
    // A power cut also raises it, but only once.
    let mut rig = Rig::charging_at(0x107, 10);
    rig.fake.power_cycle();
    rig.run(Millis(20_000));
    assert_eq!((rig.report().link, rig.fake.holding[&261]), (Reachability::Online, 100));
    assert!(!rig.notices().iter().any(|notice| matches!(notice, Notice::Trouble(_))), "{:?}", rig.notices());
}

#[test]
fn a_hiccup_costs_no_stop() {
    for ill in [Ill::Mute, Ill::Deaf, Ill::Garbled, Ill::Exception(6)] {
        let mut rig = Rig::charging_at(0x107, 16);
        ill.befall(&mut rig.fake);
        rig.run(Millis(20_000));
        heal(&mut rig.fake);
        rig.run(Millis(15_000));
        assert_eq!(rig.report().setpoint, Some(Milliamps(16_000)), "{ill:?}");
        assert_eq!(rig.fake.writes.iter().filter(|(_, address, value)| *address == 261 && *value == 0).count(), 0);
    }
    // And the line may be away for as long as the watchdog allows.
    let mut rig = Rig::charging_at(0x107, 16);
    rig.tell(Input::LineDown);
    rig.run(Millis(25_000));
    rig.tell(Input::LineUp);
    rig.run(Millis(5_000));
    assert_eq!((rig.report().setpoint, rig.fake.count_writes(261)), (Some(Milliamps(16_000)), 0));
}

#[test]
fn a_wallbox_that_is_found_charging_and_mute_is_told_and_left_alone() {
    for ill in [Ill::Mute, Ill::Unreadable, Ill::Exception(6), Ill::NotKept, Ill::Declined] {
        let mut rig = Rig::new(0x107);
        rig.fake.state(7);
        ill.befall(&mut rig.fake);
        rig.order(None);
        rig.run(Millis(5_000));
        // The controller leaves the setpoint as it is until it has been read, and then wants no charging.
        let mut watch = Watch::new();
        watch.run(&mut rig, Millis(60_000), 0);
        rig.amps(0);
        watch.run(&mut rig, Millis::from_secs(600), 0);
        let bound = Millis(BOUND.0 + 60_000);
        assert!(watch.longest <= bound, "{ill:?}: {:?}", watch.longest);
        let blind = rig.fake.writes.iter().any(|(_, address, value)| (*address, *value) == (261, 0));
        assert!(blind || ill == Ill::Exception(6), "{ill:?}: {:?}", rig.fake.writes);
    }
}

/// Each try is short, and the silence after it is longer than the watchdog; if that was never read, the longest possible one is assumed.
#[test]
fn between_two_tries_there_is_silence_for_longer_than_the_watchdog() {
    for (known, silence) in [(true, 35_000), (false, 70_535)] {
        let mut rig = if known { Rig::charging_at(0x107, 16) } else { Rig::new(0x107) };
        rig.fake.mute = true;
        rig.amps(0);
        rig.run(Millis(60_000));
        let left = rig.now;
        rig.run(Millis::from_secs(1_800));
        let heard: Vec<Tick> = rig.fake.requests.iter().map(|(at, _)| *at).filter(|at| *at > left).collect();
        let mut tries = 1;
        let mut began = heard[0];
        for pair in heard.windows(2) {
            if pair[1].since(pair[0]) >= Millis(5_000) {
                assert!(pair[1].since(pair[0]) >= Millis(silence), "{pair:?}");
                tries += 1;
                began = pair[1];
            }
            assert!(pair[1].since(began) <= Millis(5_000), "a try of {:?}", pair[1].since(began));
        }
        assert!((5..=20).contains(&tries), "{tries} tries in half an hour");
    }
}

#[test]
fn what_is_said_of_a_wallbox_that_refuses_is_true() {
    for ill in [Ill::NotKept, Ill::Declined, Ill::Unreadable] {
        let mut rig = Rig::charging_at(0x107, 16);
        ill.befall(&mut rig.fake);
        rig.amps(0);
        rig.run(Millis(60_000));
        let said: Vec<String> = rig.notices().iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|text| text.contains("in silence for at least 35 s")), "{said:?}");
        assert!(!said.iter().any(|text| text.contains("no charging")), "{said:?}");
        assert_eq!((rig.report().link, rig.report().fault), (Reachability::Offline, Some(Fault::Unusable)), "{ill:?}");
        assert_eq!(rig.report().setpoint, None);
    }
}

/// Its share of the fuse is released only by silence that was kept towards a wallbox whose watchdog was read back.
#[test]
fn it_counts_as_fallen_back_only_after_silence_and_not_while_it_is_spoken_to() {
    let mut rig = Rig::charging_at(0x107, 16);
    rig.fake.stubborn = vec![261];
    rig.amps(0);
    rig.run(Millis(5_000));
    let mut released = 0;
    for _ in 0..3_600 {
        rig.run(Millis(500));
        if rig.report().released {
            released += 1;
            assert_eq!(rig.fake.offers(rig.now), 0);
        }
    }
    assert!(released > 600, "{released}");
    // Never if the watchdog was not read back.
    let mut rig = Rig::new(0x107);
    rig.fake.missing = vec![257];
    rig.fake.mute = true;
    rig.amps(0);
    rig.run(Millis::from_secs(1_800));
    assert!(!rig.events.iter().any(|event| matches!(event, Event::Report(report) if report.released)));
    // A line that is down means silence too.
    let mut rig = Rig::charging_at(0x107, 16);
    rig.tell(Input::LineDown);
    rig.run(Millis(32_000));
    assert!(!rig.report().released);
    rig.run(Millis(3_000));
    assert!(rig.report().released);
}

#[test]
fn a_shutdown_writes_the_safe_current_whether_or_not_it_can_be_read() {
    for ill in [Ill::Mute, Ill::Unreadable, Ill::Garbled] {
        for left_alone in [false, true] {
            let mut rig = Rig::charging_at(0x107, 16);
            rig.fake.stubborn = vec![261];
            ill.befall(&mut rig.fake);
            rig.run(Millis(if left_alone { 50_000 } else { 1_000 }));
            rig.fake.stubborn.clear();
            rig.fake.writes.clear();
            rig.tell(Input::Shutdown);
            rig.run(Millis(5_000));
            assert_eq!(rig.fake.holding[&261], 0, "{ill:?}, left alone: {left_alone}");
            assert_eq!(rig.said(&Event::ShutDown { proven: false }), 1);
        }
    }
}

#[test]
fn declined_measurements_are_said_and_asked_for_less_often() {
    let mut rig = Rig::charging_at(0x107, 16);
    Ill::Unmeasured.befall(&mut rig.fake);
    rig.run(Millis(30_000));
    assert_eq!((rig.report().link, rig.report().fault), (Reachability::Offline, Some(Fault::Unusable)));
    let before = rig.fake.requests.len();
    rig.run(Millis(600_000));
    let asked = rig.fake.requests.len() - before;
    assert!(asked < 400, "{asked} requests in ten minutes");
    let useless = |notice: &&&Notice| matches!(notice, Notice::Trouble(Trouble::Useless { exception: Some(2), .. }));
    assert_eq!(rig.notices().iter().filter(useless).count(), 1);
    assert!(rig.notices().iter().any(|notice| notice.to_string().contains("read input registers 5 to 18")));
    assert_eq!(rig.fake.offers(rig.now), 0, "a car that is not seen does not charge");
}

#[test]
fn every_second_answer_lost_is_said_with_the_count_and_charging_goes_on() {
    for every in [2, 3] {
        let mut rig = Rig::charging_at(0x107, 10);
        rig.fake.every = Some(every);
        rig.amps(12);
        rig.run(Millis(120_000));
        let report = rig.report();
        assert_eq!(report.link, Reachability::Online);
        assert!(rig.now.since(report.at) < Millis(10_000), "measured all the while");
        assert_eq!(report.setpoint, Some(Milliamps(12_000)), "as read back");
        let said: Vec<String> = rig.notices().iter().map(ToString::to_string).collect();
        let unreliable = said.iter().filter(|text| text.contains("does not answer reliably: 8 of the last")).count();
        assert_eq!(unreliable, 1, "{said:?}");
        rig.fake.every = None;
        rig.run(Millis(60_000));
        assert_eq!(rig.said(&Event::Notice(Notice::Trouble(Trouble::Reliable))), 1);
    }
}

/// A write that was in progress when the shutdown began does not count as the safe current.
#[test]
fn a_shutdown_in_the_middle_of_a_rise_writes_the_safe_current_all_the_same() {
    let mut rig = Rig::charging_at(0x107, 6);
    rig.fake.mute = true;
    rig.amps(16);
    let request = rig.driver.poll_request(rig.now).unwrap();
    assert_eq!(request.op, Operation::WriteSingle { addr: 261, value: 160 });
    let outcome = rig.fake.answer(request, rig.now);
    rig.tell(Input::Shutdown);
    rig.tell(Input::Outcome(outcome));
    rig.run(Millis(5_000));
    assert_eq!(rig.fake.holding[&261], 0);
}

/// A request that is always declined is not repeated at full pace forever, and does not flood the log.
#[test]
fn whatever_is_declined_for_ever_is_neither_asked_nor_said_without_end() {
    for register in [4, 5, 100, 102, 257, 258, 259, 261, 262] {
        for code in [1, 2, 4, 6] {
            let mut rig = Rig::new(0x107);
            rig.fake.declines = vec![(register, code)];
            rig.amps(10);
            rig.run(Millis::from_secs(1_800));
            let said = rig.notices().iter().filter(|notice| notice.level() != Level::Debug).count();
            assert!(said < 20, "{register}, exception {code}: {:?}", rig.notices());
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Order(u32),
    NoOrders,
    Fall(usize),
    Heal,
    PowerCycle,
    Line(bool),
    Wake,
}

fn story() -> impl Strategy<Value = Vec<(Move, u64)>> {
    let one = prop_oneof![
        5 => prop::sample::select(vec![0_u32, 0, 6, 10, 16]).prop_map(Move::Order),
        1 => Just(Move::NoOrders),
        6 => (0..ILLS.len()).prop_map(Move::Fall),
        2 => Just(Move::Heal),
        1 => Just(Move::PowerCycle),
        1 => any::<bool>().prop_map(Move::Line),
        1 => Just(Move::Wake),
    ];
    prop::collection::vec((one, 0..90_000_u64), 1..25)
}

/// Returns whether the excess is one for the controller: at an order above 0, it notices more current than ordered and then orders 0.
fn tolerated(rig: &Rig) -> bool {
    let ordered = rig.order.and_then(|order| order.setpoint);
    rig.fake.ignores.is_some() && ordered.is_some_and(|setpoint| setpoint > Milliamps::ZERO)
}

/// Plays a history; returns by how much the longest stretch above the wanted current, from the first order on, exceeded the stated limit.
fn play(layout: u16, found_at: u16, watchdog: u64, safe: u32, lag: u64, story: &[(Move, u64)]) -> Millis {
    let setup = ChargerSetup { watchdog: Millis(watchdog), safe_current: Milliamps(safe), ..setup() };
    let mut rig = Rig::with(layout, &setup);
    let safe = u16::try_from(safe / 100).unwrap();
    rig.fake.state(7);
    rig.fake.holding.insert(261, found_at);
    rig.fake.lag = Some(Millis(lag));
    let mut watch = Watch::new();
    let mut wanted = safe;
    for (step, span) in story {
        match *step {
            Move::Order(amps) => {
                rig.amps(amps);
                wanted = u16::try_from(amps * 10).unwrap().max(safe);
            }
            // The last order holds for 10 s more, then the safe current applies.
            Move::NoOrders => {
                rig.order = None;
                wanted = safe;
            }
            Move::Fall(which) => ILLS[which].befall(&mut rig.fake),
            Move::Heal => heal(&mut rig.fake),
            Move::PowerCycle => rig.fake.power_cycle(),
            Move::Line(up) => rig.tell(if up { Input::LineUp } else { Input::LineDown }),
            Move::Wake => rig.tell(Input::Wake),
        }
        let wanted = if tolerated(&rig) { 160 } else { wanted };
        if rig.driver.order.is_some() {
            watch.run(&mut rig, Millis(*span), wanted);
        } else {
            rig.run(Millis(*span));
        }
    }
    let wanted = if tolerated(&rig) { 160 } else { wanted };
    if rig.driver.order.is_some() {
        watch.run(&mut rig, Millis(200_000), wanted);
    }
    watch.beyond
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever goes wrong, in whatever order: at the latest twice the watchdog time plus 30 s after an order, the current is no higher.
    #[test]
    fn no_history_keeps_a_wallbox_above_what_is_wanted(
        layout in prop_oneof![Just(0x107_u16), Just(0x108), Just(0x204)],
        found_at in prop_oneof![Just(0_u16), Just(160)],
        watchdog in prop_oneof![3 => Just(30_000_u64), 1 => Just(4_000), 1 => Just(60_000)],
        safe in prop_oneof![3 => Just(0_u32), 1 => Just(6_000)],
        lag in prop_oneof![Just(0_u64), Just(3_000), Just(9_000)],
        story in story(),
    ) {
        let beyond = play(layout, found_at, watchdog, safe, lag, &story);
        prop_assert!(
            beyond == Millis(0),
            "{beyond:?}: play({layout:#x}, {found_at}, {watchdog}, {safe}, {lag}, &{story:?})"
        );
    }
}
