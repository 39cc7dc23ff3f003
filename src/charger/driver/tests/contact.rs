//! A contactor upstream of the wallbox, switched by a relay that follows the rules of `relay_link`: never under load, whichever part fails.

mod histories;

use relay_link::{ContactState, Contacts, ResetReason, Status};

use super::*;
use crate::charger::fake_box::FakeCar;
use crate::config::PhaseSwitch;
use crate::relay::{Failure as RelayFailure, RelayRequest, RelayResponse};

const CAR: FakeCar = FakeCar { stops_after: Millis(4_000) };
/// Time from request to answer.
const WAY: Millis = Millis(120);

/// A movement of the contactor, and what the wallbox offered then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moved {
    at: Tick,
    closed: bool,
    offered: u16,
    /// The relay lost power, so the movement could not be avoided.
    by_reset: bool,
}

/// A relay with a contactor at contact 1.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct FakeRelay {
    /// The relay is present.
    wired: bool,
    contacts: Contacts,
    /// The contactor.
    closed: bool,
    stuck: bool,
    away: bool,
    asked: Vec<(Tick, RelayRequest)>,
    under_way: Option<(Tick, RelayRequest)>,
    moved: Vec<Moved>,
}

impl FakeRelay {
    pub(super) const fn new() -> Self {
        Self {
            wired: false,
            contacts: Contacts::new(0),
            closed: false,
            stuck: false,
            away: false,
            asked: vec![],
            under_way: None,
            moved: vec![],
        }
    }

    /// When it needs attention next.
    pub(super) fn due(&self, now: Tick) -> Option<Tick> {
        let answer = self.under_way.as_ref().map(|(at, _)| *at);
        let left = u64::from(self.contacts.states(now.0)[0].left_ms);
        let end = Some(now + Millis(left)).filter(|_| left > 0);
        // Twenty times a second until the contactor has followed.
        let moving = (self.closed != (left > 0)).then_some(now + Millis(50));
        [answer, end, moving].into_iter().flatten().filter(|at| *at > now).min()
    }

    fn answer(&mut self, what: &RelayRequest, now: Tick) -> Result<RelayResponse, RelayFailure> {
        let leased = |answer: Result<ContactState, _>| answer.map(RelayResponse::Contact).map_err(RelayFailure::Lease);
        match *what {
            RelayRequest::Lease { contact, seconds } => leased(self.contacts.lease(contact, seconds, now.0)),
            RelayRequest::Renew { contact, seconds } => leased(self.contacts.renew(contact, seconds, now.0)),
            RelayRequest::Status => Ok(RelayResponse::Status(Status {
                uptime_s: 1,
                rssi_dbm: -50,
                temperature_centi_c: 2_000,
                reset: ResetReason::PowerOn,
                contacts: self.contacts.states(now.0),
                exchanges: 0,
                timeouts: 0,
                garbage: 0,
                version: [0, 1, 0],
            })),
            RelayRequest::Exchange { .. } | RelayRequest::Identify { .. } => Err(RelayFailure::Nonsense),
        }
    }
}

impl Rig {
    /// Lets time pass at the relay. Requests of the driver are answered after [`WAY`], or fail after their time limit.
    pub(super) fn serve_relay(&mut self) {
        if !self.relay.wired {
            return;
        }
        let output = self.relay.contacts.tick(self.now.0, [self.relay.closed, false])[0];
        self.follow(output, false);
        let ask = |event: &Event| matches!(event, Event::Contact(_));
        if let Some(at) = self.events.iter().position(ask)
            && let Event::Contact(what) = self.events.remove(at)
        {
            assert_eq!(self.relay.under_way, None, "one at a time");
            self.relay.asked.push((self.now, what.clone()));
            let way = if self.relay.away { ANSWER_WITHIN } else { WAY };
            self.relay.under_way = Some((self.now + way, what));
        }
        if let Some((_, what)) = self.relay.under_way.take_if(|(at, _)| *at <= self.now) {
            let answer = if self.relay.away { Err(RelayFailure::Away) } else { self.relay.answer(&what, self.now) };
            let output = self.relay.contacts.tick(self.now.0, [self.relay.closed, false])[0];
            self.follow(output, false);
            self.tell(Input::Contact(answer));
        }
    }

    fn follow(&mut self, output: bool, by_reset: bool) {
        let closed = output || self.relay.stuck;
        if std::mem::replace(&mut self.relay.closed, closed) != closed {
            let offered = self.fake.offers(self.now);
            self.relay.moved.push(Moved { at: self.now, closed, offered, by_reset });
        }
        self.fake.input.insert(5_001, if closed { 3 } else { 1 });
    }

    /// Takes power from the relay for a moment.
    fn reset_relay(&mut self) {
        self.relay.contacts = Contacts::new(self.now.0);
        self.follow(false, true);
    }

    fn connected(&self) -> Option<u8> {
        self.report().connected
    }

    fn kinds_asked(&self) -> Vec<&'static str> {
        let kind = |(_, what): &(Tick, RelayRequest)| match what {
            RelayRequest::Status => "look",
            RelayRequest::Lease { seconds: 0, .. } => "open",
            RelayRequest::Lease { .. } => "close",
            RelayRequest::Renew { .. } => "renew",
            RelayRequest::Exchange { .. } | RelayRequest::Identify { .. } => "?",
        };
        let mut kinds: Vec<_> = self.relay.asked.iter().map(kind).collect();
        kinds.dedup();
        kinds
    }

    fn contact_never_under_load(&self) {
        let under = self.relay.moved.iter().find(|moved| moved.offered > 0 && !moved.by_reset);
        assert_eq!(under, None, "{:?}", self.relay.moved);
    }
}

fn contactor() -> ChargerSetup {
    let switch = PhaseSwitch::Contact { relay: "pico-carport".to_owned(), contact: 1 };
    ChargerSetup { phase_switch: Some(switch), ..setup() }
}

/// A rig charging with 10 A on one phase, the contact open.
fn on_one() -> Rig {
    on_one_with(&contactor())
}

fn on_one_with(setup: &ChargerSetup) -> Rig {
    let mut rig = Rig::with(0x108, setup);
    rig.relay.wired = true;
    rig.fake.car = Some(CAR);
    rig.phases = Some(1);
    rig.amps(10);
    rig.run(Millis(20_000));
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(10_000))));
    assert_eq!(rig.kinds_asked(), ["look"]);
    rig
}

/// A rig charging with 10 A on three phases.
fn on_three() -> Rig {
    on_three_with(&contactor())
}

fn on_three_with(setup: &ChargerSetup) -> Rig {
    let mut rig = on_one_with(setup);
    rig.phases = Some(3);
    rig.amps(0);
    rig.run(Millis(30_000));
    rig.amps(10);
    rig.run(Millis(30_000));
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(3), Some(Milliamps(10_000))));
    rig.contact_never_under_load();
    rig
}

#[test]
fn it_stops_waits_for_the_car_closes_reads_back_and_resumes_at_the_lowest_current() {
    let mut rig = on_one();
    rig.phases = Some(3);
    rig.amps(0);
    rig.run(Millis(9_000));
    assert_eq!(rig.kinds_asked(), ["look"], "the car drew for 4 s, and must have been at rest for 6");
    rig.run(Millis(3_500));
    assert_eq!(rig.kinds_asked(), ["look", "close", "renew"]);
    assert_eq!(rig.connected(), None, "closed, and not settled");
    // An impatient controller gets no current.
    rig.amps(16);
    rig.run(Millis(2_000));
    assert_eq!(rig.fake.holding[&261], 0);
    rig.run(Millis(8_000));
    assert_eq!((rig.connected(), rig.fake.holding[&261]), (Some(3), 60), "first the lowest");
    rig.run(Millis(12_000));
    assert_eq!(rig.fake.holding[&261], 160);
    rig.run(Millis(120_000));
    assert_eq!(rig.relay.moved.len(), 1, "and it stays closed: {:?}", rig.relay.moved);
    // And back.
    rig.phases = Some(1);
    rig.amps(0);
    rig.run(Millis(30_000));
    assert_eq!(rig.connected(), Some(1));
    assert_eq!(rig.kinds_asked(), ["look", "close", "renew", "open", "look"]);
    rig.amps(16);
    rig.run(Millis(20_000));
    assert_eq!((rig.fake.holding[&261], rig.relay.moved.len()), (160, 2));
    rig.contact_never_under_load();
}

#[test]
fn a_contact_that_was_opened_is_not_closed_again_at_once() {
    let mut rig = on_three();
    rig.phases = Some(1);
    rig.amps(0);
    rig.run(Millis(16_500));
    rig.phases = Some(3);
    rig.run(Millis(60_000));
    let [.., opened, closed] = rig.relay.moved[..] else { panic!("{:?}", rig.relay.moved) };
    assert_eq!((opened.closed, closed.closed), (false, true));
    assert!(closed.at.since(opened.at) >= Millis(10_000), "{:?}", rig.relay.moved);
}

/// An open contact stays open without any help, so one phase is certain.
#[test]
fn one_phase_goes_on_without_the_relay_and_cannot_be_changed() {
    let mut rig = on_one();
    rig.relay.away = true;
    rig.run(Millis(300_000));
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(10_000))));
    let lost = Event::Notice(Notice::ContactLost { failure: RelayFailure::Away });
    assert_eq!(rig.said(&lost), 1, "said once");
    rig.phases = Some(3);
    rig.amps(0);
    rig.run(Millis(60_000));
    rig.amps(10);
    rig.run(Millis(30_000));
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(10_000))));
    rig.relay.away = false;
    rig.run(Millis(10_000));
    assert_eq!(rig.said(&Event::Notice(Notice::ContactBack)), 1);
    assert_eq!(rig.relay.moved, []);
}

#[test]
fn three_phases_end_before_the_lease_does_when_the_relay_is_lost() {
    let mut rig = on_three();
    rig.relay.away = true;
    rig.run(Millis(60_000));
    assert_eq!((rig.connected(), rig.fake.holding[&261]), (None, 0));
    let opened = rig.relay.moved.last().copied().unwrap();
    assert!(!opened.closed);
    let off = rig.fake.writes.iter().rev().find(|(_, address, _)| *address == 261).unwrap().0;
    assert!(opened.at.since(off) >= Millis(30_000), "the car has time to stop: off at {off:?}, {opened:?}");
    rig.run(Millis(120_000));
    assert_eq!(rig.report().fault, Some(Fault::Phases), "and says why");
    rig.relay.away = false;
    rig.run(Millis(30_000));
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(10_000))));
    rig.contact_never_under_load();
}

#[test]
fn a_short_silence_of_the_relay_costs_nothing() {
    let mut rig = on_three();
    let written = rig.fake.writes.len();
    for _ in 0..5 {
        rig.relay.away = true;
        rig.run(Millis(7_000));
        rig.relay.away = false;
        rig.run(Millis(20_000));
    }
    assert_eq!(rig.fake.writes.len(), written, "no change of the current");
}

/// A renewal must not close under load a contact that fell open under load.
#[test]
fn a_relay_that_restarts_in_mid_charge_leaves_one_phase_until_the_next_change() {
    let mut rig = on_three();
    let before = rig.relay.moved.len();
    rig.fake.writes.clear();
    rig.reset_relay();
    rig.run(Millis(26_000));
    assert_eq!(rig.fake.writes.iter().map(|(_, _, value)| *value).collect::<Vec<_>>(), [0, 100]);
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(10_000))));
    assert_eq!(rig.relay.moved.len(), before + 1, "{:?}", rig.relay.moved);
    rig.amps(0);
    rig.run(Millis(40_000));
    assert_eq!(rig.connected(), Some(3));
    rig.contact_never_under_load();
}

#[test]
fn a_welded_contactor_means_no_current_and_is_said() {
    let mut rig = on_three();
    rig.relay.stuck = true;
    rig.phases = Some(1);
    rig.amps(0);
    rig.run(Millis(30_000));
    rig.amps(10);
    rig.run(Millis(60_000));
    assert_eq!((rig.connected(), rig.fake.holding[&261]), (None, 0));
    assert_eq!(rig.report().fault, Some(Fault::Phases));
    assert_eq!(rig.said(&Event::Notice(Notice::PhasesNotConfirmed { to: 1, connected: None })), 1);
}

/// The same house with a new driver that knows nothing.
fn restarted(mut rig: Rig) -> Rig {
    (rig.relay.under_way, rig.relay.asked) = (None, vec![]);
    rig.fake.writes.clear();
    rig.events.clear();
    rig.driver = Driver::new(ID, &contactor(), profile::load(&setup().profile).unwrap(), rig.now);
    rig.tell(Input::LineUp);
    rig
}

/// The relay is lost during a change, or does not carry it out: that ends with the contact open, and charging continues.
#[test]
fn a_change_that_fails_ends_on_one_phase() {
    for (to, lost_for) in [(3, 15_000), (3, 80_000), (1, 12_000), (1, 60_000)] {
        let mut rig = if to == 3 { on_one() } else { on_three() };
        rig.phases = Some(to);
        rig.amps(0);
        while !rig.kinds_asked().ends_with(if to == 3 { &["close"] } else { &["open"] }) {
            rig.run(Millis(20));
        }
        rig.relay.away = true;
        rig.run(Millis(lost_for));
        rig.relay.away = false;
        rig.amps(10);
        rig.run(Millis(60_000));
        assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(10_000))), "{to} {lost_for}");
        rig.contact_never_under_load();
    }
    // Refused: the other contact is closed.
    let mut rig = on_one();
    rig.relay.contacts.lease(2, 60, rig.now.0).unwrap();
    rig.phases = Some(3);
    rig.amps(0);
    rig.run(Millis(30_000));
    rig.amps(10);
    rig.run(Millis(30_000));
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(10_000))));
    assert_eq!(rig.relay.moved, []);
}

/// The wallbox may receive requests although its answers are lost: each request would then feed its watchdog while the lease runs out.
#[test]
fn a_box_that_is_not_heard_is_left_alone_when_the_relay_is_lost_too() {
    let mut rig = on_three();
    rig.relay.away = true;
    rig.run(Millis(2_000));
    (rig.fake.mute, rig.fake.stubborn) = (true, vec![261]);
    rig.run(Millis(120_000));
    assert!(!rig.relay.closed);
    rig.contact_never_under_load();
}

/// While a change settles, the observed state counts.
#[test]
fn a_contactor_that_drops_out_again_gets_no_current() {
    let mut rig = on_one();
    rig.phases = Some(3);
    rig.amps(0);
    rig.run(Millis(13_500));
    assert!(rig.relay.closed);
    rig.reset_relay();
    rig.amps(16);
    rig.run(Millis(4_000));
    assert_eq!(rig.fake.holding[&261], 0);
    rig.run(Millis(60_000));
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(16_000))));
}

/// With the broker connection up at once, and after some seconds.
#[test]
fn a_restart_finds_the_contact_closed_keeps_it_and_leaves_the_charge_alone() {
    for away in [0, 4_000] {
        let mut rig = restarted(on_three());
        let moved = rig.relay.moved.len();
        rig.relay.away = away > 0;
        rig.amps(10);
        rig.run(Millis(away));
        rig.relay.away = false;
        rig.run(Millis(120_000));
        assert_eq!((rig.connected(), rig.relay.moved.len()), (Some(3), moved));
        assert_eq!(rig.fake.writes, []);
        assert_eq!(rig.kinds_asked(), ["look", "renew"]);
    }
}

#[test]
fn a_charge_found_running_ends_before_a_lease_that_nobody_knows_of() {
    let mut rig = restarted(on_three());
    let asked = rig.fake.requests.len();
    rig.relay.away = true;
    rig.amps(16);
    rig.run(Millis(9_000));
    assert_eq!(rig.fake.writes, []);
    assert_eq!(rig.fake.requests.len(), asked, "the contact is waited for, and the box not fed");
    rig.run(Millis(60_000));
    assert_eq!(rig.fake.holding[&261], 0);
    assert!(!rig.relay.closed);
    rig.contact_never_under_load();
}

#[test]
fn without_decisions_the_lease_is_not_renewed_and_ends_after_the_charge() {
    let mut rig = on_three();
    rig.order = None;
    rig.run(Millis(12_000));
    let asked = rig.relay.asked.len();
    rig.run(Millis(120_000));
    assert_eq!(rig.relay.asked.len(), asked, "silent");
    assert!(rig.relay.moved.last().is_some_and(|moved| !moved.closed));
    rig.contact_never_under_load();
    // Decisions have resumed: the state of the contact is read first.
    rig.amps(10);
    rig.run(Millis(20_000));
    assert_eq!((rig.connected(), rig.report().setpoint), (Some(1), Some(Milliamps(10_000))));
}

/// The daemon is killed: no more writes, no more renewals.
#[test]
fn kill_9_ends_the_charge_by_the_box_and_then_opens_the_contact() {
    for (watchdog, lived) in [(4_000, 100), (15_000, 1_000), (15_000, 4_900), (35_000, 2_500)] {
        let mut rig = on_three_with(&ChargerSetup { watchdog: Millis(watchdog), ..contactor() });
        rig.run(Millis(lived));
        let died = rig.now;
        while rig.relay.closed {
            rig.now = rig.now + Millis(50);
            let output = rig.relay.contacts.tick(rig.now.0, [rig.relay.closed, false])[0];
            rig.follow(output, false);
        }
        // A car stops within five seconds.
        let spare = rig.now.since(died).0.saturating_sub(watchdog);
        assert!(spare >= 8_000, "{watchdog}: {spare}");
        rig.contact_never_under_load();
    }
}
