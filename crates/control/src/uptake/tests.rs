extern crate std;

use std::vec::Vec;

use super::*;

const MIN: Milliamps = Milliamps(6_000);
const MAX: Milliamps = Milliamps(16_000);

/// A car that takes its offer from `needs` upwards, eight seconds after the offer, and the loop around it.
struct World {
    uptake: Uptake,
    now: Tick,
    needs: u32,
    offer: Milliamps,
    since: Tick,
    /// The offers, each once.
    offers: Vec<u32>,
}

impl World {
    fn new(needs: u32) -> Self {
        let now = Tick(1_000_000);
        Self { uptake: Uptake::new(), now, needs, offer: Milliamps::ZERO, since: now, offers: Vec::new() }
    }

    /// Lets some seconds pass in which the surplus is worth `wish` milliamperes.
    fn pass(&mut self, wish: u32, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now + Millis(1_000);
            let steady = self.uptake.steady(Milliamps(wish), MIN, MAX, true, self.now);
            self.set(if wish == 0 { Milliamps::ZERO } else { steady });
            let takes = self.offer.0 >= self.needs && self.now.since(self.since) >= Millis(8_000);
            let (vehicle, drawn) =
                if takes { (Vehicle::Charging, self.offer) } else { (Vehicle::Connected, Milliamps::ZERO) };
            self.uptake.follow(vehicle, Some(drawn), self.now);
        }
    }

    fn set(&mut self, offer: Milliamps) {
        if offer != self.offer {
            if self.offer.0 < self.needs {
                self.since = self.now;
            }
            self.offer = offer;
            self.offers.push(offer.0);
            self.uptake.offered(offer, self.now);
        }
    }
}

const NEVER: u32 = u32::MAX;

#[test]
fn a_car_that_takes_gets_what_there_is() {
    let mut world = World::new(6_000);
    world.pass(10_000, 5);
    world.pass(12_000, 1);
    assert_eq!(world.offers, [10_000], "constant until it takes");
    world.pass(12_000, 10);
    world.pass(7_000, 10);
    world.pass(9_000, 10);
    assert_eq!(world.offers, [10_000, 12_000, 7_000, 9_000]);
    assert_eq!((world.uptake.leaves(world.now), world.uptake.needs()), (None, None));
}

#[test]
fn a_full_car_gets_a_constant_offer() {
    let mut world = World::new(NEVER);
    for round in 0..100_u32 {
        world.pass(if round.is_multiple_of(2) { 11_500 } else { 8_500 }, 5);
    }
    assert_eq!(world.offers[..2], [11_500, 6_000]);
    assert!(world.offers.len() <= 3, "{:?}", world.offers);
    assert_eq!(world.uptake.leaves(world.now), Some(Milliamps::ZERO));
}

#[test]
fn higher_currents_are_tried_seldom_and_each_once() {
    let mut world = World::new(NEVER);
    world.pass(6_500, 400);
    world.pass(16_000, 4 * 3_600);
    assert_eq!(world.offers, [6_500, 8_500, 10_500, 12_500, 14_500, 16_000]);
}

#[test]
fn a_car_that_charged_and_is_full_is_not_tried_with_more() {
    let mut world = World::new(6_000);
    world.pass(10_000, 60);
    world.pass(6_000, 60);
    world.pass(10_000, 60);
    world.needs = NEVER;
    world.pass(10_000, 1);
    world.pass(16_000, 3_600);
    assert_eq!(world.offers, [10_000, 6_000, 10_000], "it took 6 A before: it is full");
    assert_eq!(world.uptake.needs(), None);
}

#[test]
fn a_car_that_needs_eight_amperes_is_noticed() {
    let mut world = World::new(8_000);
    world.pass(7_100, 400);
    world.pass(8_000, 3_600);
    assert_eq!(world.offers, [7_100], "a try has to bring something");
    world.pass(8_300, 30);
    assert_eq!(world.offers, [7_100, 8_300]);
    let needs = Needs { nothing_at: Milliamps(7_100), takes_from: Milliamps(8_000) };
    assert_eq!((world.uptake.needs(), world.uptake.worthwhile()), (Some(needs), Some(Milliamps(8_000))));
    world.needs = 6_000;
    world.pass(6_500, 30);
    assert_eq!(world.uptake.needs(), None, "it took less after all");
}

/// It has charged at 13 A, then a cloud came and went.
#[test]
fn a_car_is_offered_soon_what_it_was_seen_to_take() {
    let mut world = World::new(10_000);
    world.pass(13_000, 60);
    world.pass(7_300, 120);
    world.pass(13_000, 120);
    assert_eq!(world.offers, [13_000, 7_300, 13_000]);
    assert!(world.uptake.taking());
    world.pass(7_300, 120);
    world.pass(13_000, 120);
    assert!(world.uptake.taking(), "and after the next cloud: {:?}", world.offers);
}

#[test]
fn what_a_car_did_not_take_in_its_sleep_says_nothing_of_what_it_needs() {
    let mut world = World::new(NEVER);
    world.pass(6_200, 200);
    world.pass(11_000, 101);
    assert_eq!(world.offers, [6_200, 8_200], "a try, as a wake-up begins");
    for _ in 0..10 {
        world.uptake.woken(world.now);
        world.now = world.now + Millis(1_000);
    }
    world.needs = 6_000;
    world.pass(11_000, 60);
    assert!(world.uptake.taking());
    assert_eq!((world.uptake.needs(), world.uptake.refused()), (None, None));
}

#[test]
fn a_large_step_tells_little_until_the_current_falls() {
    let mut world = World::new(8_000);
    world.pass(6_000, 100);
    world.pass(6_000, 1);
    world.set(MAX);
    world.pass(16_000, 40);
    let needs = Needs { nothing_at: Milliamps(6_000), takes_from: Milliamps(16_000) };
    assert_eq!((world.uptake.needs(), world.uptake.worthwhile()), (Some(needs), None));
    world.pass(8_000, 40);
    assert_eq!(world.uptake.worthwhile(), Some(Milliamps(8_000)));
}

#[test]
fn offers_that_are_not_taken_come_less_often() {
    let mut world = World::new(NEVER);
    for minutes in [2, 4, 8, 16, 30, 30] {
        world.pass(9_000, 60);
        world.pass(0, 1);
        assert_eq!(world.uptake.withheld(world.now), Some(Millis(minutes * 60_000)));
        world.pass(0, minutes * 60);
        assert_eq!(world.uptake.withheld(world.now), None);
    }
    assert_eq!(world.offers[..4], [9_000, 0, 6_000, 0], "from the second on the lowest");
}

#[test]
fn a_car_that_asks_anew_or_has_left_gets_an_offer_at_once() {
    let mut world = World::new(NEVER);
    world.pass(9_000, 60);
    world.pass(0, 40);
    let mut asks = world.uptake.clone();
    asks.follow(Vehicle::Requesting, Some(Milliamps::ZERO), world.now);
    assert_eq!(asks.withheld(world.now), None);
    let mut left = world.uptake.clone();
    left.follow(Vehicle::Absent, Some(Milliamps::ZERO), world.now);
    assert_eq!((left.withheld(world.now), left.wary), (None, false));
    // One that asks all the time and takes next to nothing has not changed its mind.
    let mut trickles = Uptake::new();
    for second in 0..60 {
        trickles.offered(if second < 30 { MIN } else { Milliamps::ZERO }, Tick(second * 1_000));
        trickles.follow(Vehicle::Requesting, Some(Milliamps(300)), Tick(second * 1_000));
    }
    assert!(trickles.withheld(Tick(60_000)).is_some());
}
