//! Cars and wallboxes as found in the field.

use super::*;

/// A car at a wallbox that is polled every second, and a site that is sampled every `SAMPLED` seconds.
struct Street {
    bench: Bench,
    car: Kind,
    /// What the wallbox reports, and the current on each phase.
    said: (Vehicle, u32),
    offer: u32,
    /// When the offer changed by half an ampere or more.
    moved: Tick,
    closures: u32,
    offers: Vec<u32>,
}

/// How a car behaves.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Stays in state B2, whatever it is offered.
    Full,
    /// Full, but in state C2 for 12 s with 0.3 A at each change of the offer by half an ampere or more.
    Nervous,
    /// Closes the contactor for 12 s every minute, as long as it is offered something.
    Pulsing,
    /// Takes what it is offered from this many milliamperes upwards, eight seconds after the offer.
    From(u32),
    /// Draws this many milliamperes as soon as it is offered anything.
    Takes(u32),
    /// Always draws this many milliamperes.
    Always(u32),
    /// Draws this many thousandths of what it is offered.
    Permille(u32),
}

const SAMPLED: u64 = 10;

impl Street {
    fn new(car: Kind, config: Config) -> Self {
        let mut bench = Bench::new(config);
        bench.polled = false;
        let now = bench.now;
        let mut street =
            Self { bench, car, said: (Vehicle::Connected, 0), offer: 0, moved: now, closures: 0, offers: Vec::new() };
        street.poll();
        street
    }

    fn poll(&mut self) {
        let told = if self.bench.setpoint() == u32::MAX { 0 } else { self.bench.setpoint() };
        let now = self.bench.now;
        if told != self.offer {
            self.offers.push(told);
            if told.abs_diff(self.offer) >= 500 {
                self.moved = now;
            }
            self.offer = told;
        }
        let since = now.since(self.moved).0 / 1_000;
        let charges = |drawn: u32| (Vehicle::Charging, drawn);
        let rests = (Vehicle::Connected, 0);
        let said = match self.car {
            Kind::Nervous if told > 0 && since < 12 => charges(300),
            Kind::Pulsing if told > 0 && now.0 / 1_000 % 60 < 12 => charges(5_000),
            Kind::From(needs) if told >= needs && since >= 8 => charges(told),
            Kind::Takes(drawn) if told > 0 => charges(drawn),
            Kind::Permille(share) if told > 0 => charges(told * share / 1_000),
            Kind::Always(drawn) => (if told > 0 { Vehicle::Charging } else { Vehicle::Requesting }, drawn),
            Kind::Full | Kind::Nervous | Kind::Pulsing | Kind::From(_) | Kind::Takes(_) | Kind::Permille(_) => rests,
        };
        self.closures += u32::from(said.0 == Vehicle::Charging && self.said.0 != Vehicle::Charging);
        self.said = said;
        let power = i32::try_from(said.1 * 69 / 100).unwrap();
        let currents = Some([Milliamps(said.1); 3]);
        let heard = ChargerReport { currents, ..report(CAR, now, said.0, power, told) };
        self.bench.tell(Input::Report(heard));
    }

    /// Lets time pass with a surplus, in watts, given per second.
    fn pass(&mut self, seconds: u64, surplus: impl Fn(u64) -> i32) {
        for second in 0..seconds {
            self.bench.secs(1);
            self.poll();
            if second % SAMPLED == 0 {
                let cars = i32::try_from(self.said.1 * 69 / 100).unwrap();
                self.bench.surplus(surplus(second), cars);
            }
        }
    }

    fn view(&self) -> crate::view::ChargerView {
        self.bench.controller.snapshot().chargers[&CAR]
    }

    fn text(&self) -> std::string::String {
        format!("{}", self.view().reason)
    }
}

fn restless(second: u64) -> i32 {
    7_000 + if (second / 30).is_multiple_of(2) { 1_500 } else { -1_500 }
}

#[test]
fn a_full_nervous_car_closes_the_contactor_a_few_times_and_not_at_each_cloud() {
    let mut street = Street::new(Kind::Nervous, config());
    street.pass(540, restless);
    assert!(street.closures <= 4, "{} closures, offers {:?}", street.closures, street.offers);
    assert_eq!(u32::from(street.view().starts), street.closures, "counted as the contactor's");
    assert!(street.text().contains(" A, the car takes nothing: it is full"), "{}", street.text());
    street.pass(6 * 3_600, restless);
    assert!(street.closures <= 12, "{} closures, offers {:?}", street.closures, street.offers);
}

#[test]
fn a_car_that_pulses_brings_a_rest_for_the_contactor() {
    let mut street = Street::new(Kind::Pulsing, config());
    street.pass(600, |_| 5_000);
    assert!(street.closures <= 6, "{}", street.closures);
    assert_eq!(street.bench.reason(), "contactor-rest");
    assert!(street.text().starts_with("the contactor closed 6 times in 10 minutes: paused to spare it, "));
    street.pass(86_400 - 600, |_| 5_000);
    assert!(street.closures <= 20, "at most as many as a day may have: {}", street.closures);
    assert_eq!(street.bench.reason(), "starts-used");
}

#[test]
fn the_rest_holds_in_every_mode_that_charges() {
    for mode in [Mode::Slow, Mode::SlowSolar, Mode::Fast, Mode::Fixed] {
        let mut street = Street::new(Kind::Pulsing, config());
        street.bench.mode(mode);
        street.pass(3_600, |_| 5_000);
        assert!(street.closures <= 18, "{mode}: {}", street.closures);
    }
}

#[test]
fn offers_to_a_full_car_are_no_starts_and_do_not_flap() {
    let mut street = Street::new(Kind::Full, config());
    street.pass(3_600, |second| if (second / 45).is_multiple_of(2) { 9_000 } else { 0 });
    assert_eq!((street.view().starts, street.closures), (0, 0));
    let offers = street.offers.iter().filter(|offer| **offer > 0).count();
    assert!(offers <= 7, "{:?}", street.offers);
    assert!(street.offers.iter().skip(2).all(|offer| [0, 6_000].contains(offer)), "{:?}", street.offers);
}

#[test]
fn a_car_that_needs_eight_amperes_gets_them_from_the_sun_once_they_are_there() {
    let mut street = Street::new(Kind::From(8_000), config());
    street.pass(400, |_| 4_900);
    assert_eq!(street.bench.setpoint(), 7_100);
    assert!(street.text().starts_with("offered 7.1 A, the car takes nothing: it is full, asleep, or needs"));
    street.pass(120, |_| 6_000);
    assert_eq!((street.said.1, street.bench.reason()), (8_600, "following"));
    let needs = crate::uptake::Needs { nothing_at: Milliamps(7_100), takes_from: Milliamps(8_000) };
    assert_eq!(street.view().needs, Some(needs));
    street.pass(1_200, |_| 4_900);
    assert_eq!(street.bench.setpoint(), 8_000, "held at what it takes while that is worth it");
    street.bench.mode(Mode::Slow);
    street.pass(120, |_| 4_900);
    assert_eq!(street.bench.setpoint(), 6_000);
    assert_eq!(street.text(), "offered 6.0 A, the car takes nothing; it took 8.0 A: set min-current-a");
}

#[test]
fn the_configured_minimum_is_the_least_that_is_offered() {
    let mut config = config();
    if let Some(charger) = config.chargers.get_mut(&CAR) {
        charger.min = Milliamps(8_000);
    }
    let mut street = Street::new(Kind::From(8_000), config);
    street.bench.mode(Mode::Slow);
    street.pass(60, |_| 1_000);
    assert_eq!((street.said.1, street.bench.reason()), (8_000, "slow"));
    street.bench.mode(Mode::Solar);
    street.pass(120, |_| 3_200);
    assert_eq!(street.bench.setpoint(), 0, "too little for 8 A");
    street.pass(120, |_| 5_600);
    assert_eq!(street.bench.setpoint(), 8_100);
}

#[test]
fn a_car_that_draws_more_than_it_was_told_is_named_and_paused() {
    let mut street = Street::new(Kind::Takes(16_000), config());
    street.pass(14, |_| 5_000);
    let told = street.bench.setpoint();
    assert_eq!(told, 6_000, "what it draws beyond its setpoint is no surplus");
    assert_eq!(street.view().overdrawn.map(|seen| (seen.told.0, seen.drawn.0)), Some((7_200, 16_000)));
    street.pass(10, |_| 5_000);
    street.bench.check(0, "overdraw");
    assert_eq!(street.text(), "paused: the car drew 16.0 A although it was told 7.2 A, tried again in 2 min");
    street.pass(3_600, |_| 5_000);
    let tries = street.offers.windows(2).filter(|pair| pair[0] == 0 && pair[1] > 0).count();
    assert!((4..=5).contains(&tries), "2, 4, 8, 16, 32 minutes: {:?}", street.offers);
}

#[test]
fn current_that_flows_at_zero_is_named() {
    let mut street = Street::new(Kind::Always(3_200), config());
    street.bench.mode(Mode::Off);
    street.pass(20, |_| 0);
    street.bench.check(0, "overdraw");
    assert_eq!(street.text(), "the car draws 3.2 A although it was told 0.0 A");
    street.car = Kind::Full;
    street.pass(2, |_| 0);
    street.bench.check(0, "off");
}

#[test]
fn the_fuse_is_reckoned_with_what_is_drawn() {
    let mut config = config();
    let other = ChargerId(1);
    config.chargers.insert(other, config.chargers[&CAR]);
    let mut bench = Bench::plugged(config);
    bench.polled = false;
    let draws = |bench: &mut Bench, drawn: u32| {
        let currents = Some([Milliamps(drawn); 3]);
        let heard = ChargerReport { currents, ..report(CAR, bench.now, Vehicle::Charging, 11_040, 6_000) };
        bench.tell(Input::Report(heard));
        bench.tell(Input::Report(report(other, bench.now, Vehicle::Connected, 0, 0)));
        bench.secs(1);
    };
    bench.tell(Input::Command(Command::Mode { charger: Some(CAR), mode: Mode::Slow }));
    bench.tell(Input::Command(Command::Mode { charger: Some(other), mode: Mode::Fast }));
    draws(&mut bench, 6_500);
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(16_000)));
    draws(&mut bench, 14_000);
    assert_eq!(bench.orders[&other].setpoint, Some(Milliamps(11_000)), "25 A less the 14 A that the first one draws");
}

/// A wallbox whose state is unknown (starting up, or an undocumented code) while current flows.
#[test]
fn an_unknown_state_is_judged_by_the_current() {
    let mut bench = Bench::plugged(config());
    bench.polled = false;
    let says = |bench: &mut Bench, drawn: u32| {
        let told = bench.setpoint();
        let power = i32::try_from(drawn * 69 / 100).unwrap();
        let currents = Some([Milliamps(drawn); 3]);
        let heard = ChargerReport { currents, ..report(CAR, bench.now, Vehicle::Unknown, power, told) };
        bench.tell(Input::Report(heard));
        bench.secs(1);
    };
    bench.surplus(10_900, 0);
    assert_eq!(bench.setpoint(), 15_700);
    for _ in 0..15 {
        says(&mut bench, 15_700);
    }
    bench.surplus(6_900, 10_833);
    bench.check(10_000, "following");
    for _ in 0..60 {
        let told = bench.setpoint();
        says(&mut bench, told);
    }
    bench.surplus(0, 6_900);
    bench.check(0, "sun-gone");
}

#[test]
fn an_unknown_state_without_current_holds_nothing_up_for_long() {
    let mut bench = Bench::plugged(config());
    bench.polled = false;
    bench.surplus(6_900, 0);
    bench.check(10_000, "following");
    let pass = |bench: &mut Bench, seconds: u64, surplus: i32| {
        for second in 0..seconds {
            let told = bench.setpoint();
            bench.tell(Input::Report(report(CAR, bench.now, Vehicle::Unknown, 0, told)));
            if second % 5 == 0 {
                bench.surplus(surplus, 0);
            }
            bench.secs(1);
        }
    };
    pass(&mut bench, 3, 11_000);
    bench.check(10_000, "unknown-state");
    pass(&mut bench, 10, 11_000);
    assert_ne!(bench.reason(), "unknown-state", "after ten seconds it is a car that does not charge");
    pass(&mut bench, 60, 0);
    assert_eq!(bench.setpoint(), 0, "and ends with the sun");
}

/// A charger that cannot be judged is lowered with the data, and never raised.
#[test]
fn a_silent_charger_goes_down_with_the_sun() {
    let mut bench = Bench::eager(config());
    bench.polled = false;
    bench.surplus(9_000, 0);
    bench.secs(61);
    bench.tell(Input::Report(ChargerReport::silent(CAR, bench.now, Reachability::Offline)));
    bench.check(13_000, "offline");
    bench.surplus(11_000, 0);
    bench.check(13_000, "offline");
    bench.secs(10);
    bench.surplus(6_900, 0);
    bench.check(10_000, "offline");
    bench.secs(30);
    bench.surplus(0, 0);
    bench.check(0, "offline");
    bench.surplus(9_000, 0);
    bench.secs(80);
    bench.check(0, "offline");
}

/// A car that draws a tenth more than its setpoint, which is tolerated: the surplus is not exceeded for long.
#[test]
fn a_car_that_draws_a_little_more_is_told_a_little_less() {
    let mut street = Street::new(Kind::Permille(1_110), config());
    street.pass(600, |_| 6_000);
    let drawn = street.said.1 * 69 / 100;
    assert!((5_500..=6_050).contains(&drawn), "{drawn} W of 6000 W, told {}", street.bench.setpoint());
    assert_eq!(street.bench.controller.snapshot().chargers[&CAR].overdrawn, None);
}

/// A machine that crashes as the contactor closes has used a start; a car that takes nothing has not.
#[test]
fn a_start_counts_over_a_crash_before_it_is_reported() {
    let starts = |street: &Street| street.bench.controller.carry_over(street.bench.now).chargers[&CAR].starts.len();
    let mut street = Street::new(Kind::From(6_000), config());
    street.pass(3, |_| 6_000);
    assert!(street.bench.setpoint() > 0 && street.said.1 == 0, "offered, and not taken yet");
    assert_eq!((starts(&street), street.view().starts), (1, 0));
    street.pass(20, |_| 6_000);
    assert_eq!((starts(&street), street.view().starts), (1, 1), "the same one");
    let mut full = Street::new(Kind::Full, config());
    full.pass(70, |_| 6_000);
    assert_eq!((starts(&full), full.view().starts), (0, 0));
}
