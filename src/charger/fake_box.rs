//! A simulated wallbox for the tests of this module: registers, layouts, the watchdog, loss of power. It follows only the vendor's table
//! and shares no code with the driver.

use std::collections::BTreeMap;

use control::{Millis, Tick};

use super::codec::{Failure, Flaw, Operation, Outcome, Request};

/// A car that draws what it is offered, and keeps drawing for a while after the offer has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FakeCar {
    pub(crate) stops_after: Millis,
}

/// How the phase switch behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FakeSwitch {
    Works,
    /// Keeps the command but does nothing.
    Ignores,
    /// Begins the change and never ends it.
    Hangs,
}

/// Register of the energy counter since power-on.
const POWER_ON_COUNTER: u16 = 16;

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct FakeBox {
    pub(crate) layout: u16,
    pub(crate) input: BTreeMap<u16, u16>,
    pub(crate) holding: BTreeMap<u16, u16>,
    /// Neither answers nor receives requests.
    pub(crate) silent: bool,
    /// Carries out requests, but its answers are lost.
    pub(crate) mute: bool,
    /// Echoes writes to these registers but keeps the old value.
    pub(crate) stubborn: Vec<u16>,
    /// Answers requests for these registers with exception 2.
    pub(crate) missing: Vec<u16>,
    /// Answers reads of these registers with exception 2, but accepts writes.
    pub(crate) unreadable: Vec<u16>,
    /// Answers writes to these registers with exception 2, but lets them be read.
    pub(crate) read_only: Vec<u16>,
    /// Answers writes to these registers with these exceptions.
    pub(crate) declines_writes: Vec<(u16, u8)>,
    /// Answers requests that touch these registers with these exceptions.
    pub(crate) declines: Vec<(u16, u8)>,
    /// Neither answers nor carries out requests that touch these registers.
    pub(crate) deaf: Vec<u16>,
    /// Reports state F while its remote lock is locked.
    pub(crate) locks: bool,
    /// Carries out nothing and answers everything with this exception.
    pub(crate) exception: Option<u8>,
    /// Carries out requests, but its answers are garbled.
    pub(crate) garbled: bool,
    /// Carries out requests, but loses every n-th answer (every second one for 2).
    pub(crate) every: Option<usize>,
    /// Time after each write at which the setpoint returns to the maximum.
    pub(crate) reverts: Option<Millis>,
    /// Answers reads of input registers with this exception, except for every n-th request (none for 1).
    pub(crate) input_declined: Option<(u8, usize)>,
    /// Accepts writes and reads them back, but keeps operating at this setpoint.
    pub(crate) ignores: Option<u16>,
    /// Delay after which the measurements show the current that a car draws.
    pub(crate) lag: Option<Millis>,
    /// The currents it allowed, each with the time from which it applied.
    allowed: Vec<(Tick, u16)>,
    /// When its setpoint was last written.
    set_at: Tick,
    /// Number of requests so far.
    turn: usize,
    /// Every write that reached it.
    pub(crate) writes: Vec<(Tick, u16, u16)>,
    /// Every request that reached it.
    pub(crate) requests: Vec<(Tick, Operation)>,
    fed: Tick,
    pub(crate) car: Option<FakeCar>,
    stopped: Option<Tick>,
    pub(crate) switch: FakeSwitch,
    pub(crate) switch_takes: Millis,
    switch_until: Option<Tick>,
}

impl FakeBox {
    pub(crate) fn new(layout: u16) -> Self {
        let mut input = BTreeMap::new();
        let end = if layout >= 0x107 {
            18
        } else if layout >= 0x104 {
            16
        } else {
            13
        };
        input.insert(4, layout);
        input.extend((5..=end).map(|address| (address, 0)));
        input.extend([(5, 2), (9, 210), (10, 230), (11, 231), (12, 232), (13, 1), (100, 16), (101, 6)]);
        if layout >= 0x104 {
            input.extend((102..134).map(|address| (address, 0x4142)));
        }
        if layout >= 0x201 {
            input.insert(5_001, 3);
            input.extend((1_000..1_018).map(|address| (address, 0x4344)));
        }
        let mut new = Self {
            layout,
            input,
            holding: BTreeMap::new(),
            silent: false,
            mute: false,
            stubborn: vec![],
            missing: vec![],
            unreadable: vec![],
            read_only: vec![],
            declines_writes: vec![],
            declines: vec![],
            deaf: vec![],
            locks: false,
            exception: None,
            garbled: false,
            every: None,
            reverts: None,
            input_declined: None,
            ignores: None,
            lag: None,
            allowed: vec![(Tick(0), 0)],
            set_at: Tick(0),
            turn: 0,
            writes: vec![],
            requests: vec![],
            fed: Tick(0),
            car: None,
            stopped: None,
            switch: FakeSwitch::Works,
            switch_takes: Millis(90_000),
            switch_until: None,
        };
        new.defaults();
        new
    }

    fn defaults(&mut self) {
        if self.layout >= 0x107 {
            self.holding.extend([(257, 15_000), (258, 0), (259, 1), (261, 160), (262, 0)]);
        }
        if self.layout >= 0x201 {
            self.holding.extend([(501, 3), (503, 90), (504, 0)]);
        }
    }

    /// Loses power for a moment. From layout 1.0.8 on, only the setpoint is lost.
    pub(crate) fn power_cycle(&mut self) {
        let kept = self.holding.clone();
        self.defaults();
        if self.layout >= 0x108 {
            self.holding.extend(kept.into_iter().filter(|(address, _)| *address != 261));
        }
        self.input.insert(POWER_ON_COUNTER, 0);
        if let (Some(_), Some(commanded)) = (self.switch_until.take(), self.holding.get(&501)) {
            self.input.insert(5_001, *commanded);
        }
    }

    /// Plugs in a car: the wallbox wakes from standby as after a power cut, and its watchdog starts to count.
    pub(crate) fn wake(&mut self, now: Tick) {
        self.power_cycle();
        self.silent = false;
        self.fed = now;
        self.state(7);
    }

    /// Lets time act on the car and the phase switch.
    fn pass(&mut self, now: Tick) {
        if let Some(setpoint) = self.setpoint(now) {
            self.holding.insert(261, setpoint);
        }
        if let Some(car) = self.car {
            let offered = self.holding[&261];
            let stopped = if offered > 0 { None } else { Some(self.stopped.unwrap_or(now)) };
            self.stopped = stopped;
            let draws = stopped.is_none_or(|since| now.since(since) < car.stops_after);
            let phases = if self.input.get(&5_001) == Some(&1) { 1 } else { 3 };
            let amps = if draws { offered.max(60) } else { 0 };
            self.input.insert(5, if draws { 7 } else { 6 });
            self.input.extend((6..9).map(|address| (address, if address < 6 + phases { amps } else { 0 })));
        }
        if self.switch_until.is_some_and(|until| now >= until) {
            self.switch_until = None;
            self.input.insert(5_001, self.holding[&501]);
        }
    }

    fn begin_switch(&mut self, value: u16, now: Tick) {
        if self.input.get(&5_001) == Some(&value) && self.switch_until.is_none() {
            return;
        }
        match self.switch {
            FakeSwitch::Works => self.switch_until = Some(now + self.switch_takes),
            FakeSwitch::Ignores => return,
            FakeSwitch::Hangs => {}
        }
        self.input.insert(5_001, 0);
    }

    pub(crate) fn state(&mut self, raw: u16) {
        self.input.insert(5, raw);
    }

    /// Returns the current it would offer at this time, in 0.1 A: the setpoint, or the fail-safe once the watchdog has expired.
    pub(crate) fn offers(&self, now: Tick) -> u16 {
        let limit = u64::from(self.holding[&257]);
        let expired = limit > 0 && now.since(self.fed) > Millis(limit);
        if expired { self.holding[&262] } else { self.ignores.or(self.setpoint(now)).unwrap_or_default() }
    }

    fn declines_inputs(&self) -> Option<u8> {
        let (code, every) = self.input_declined?;
        (every == 1 || !self.turn.is_multiple_of(every)).then_some(code)
    }

    /// Records the current that it allows from this time on.
    fn note_allowed(&mut self, at: Tick, allowed: u16) {
        if self.allowed.last().is_none_or(|(_, before)| *before != allowed) {
            self.allowed.push((at, allowed));
        }
    }

    fn measure(&mut self, now: Tick) {
        let Some(lag) = self.lag else { return };
        let felt = Tick(now.0.saturating_sub(lag.0));
        let amps = self.allowed.iter().rev().find(|(at, _)| *at <= felt).map_or(0, |(_, allowed)| *allowed);
        self.input.extend((6..9).map(|address| (address, amps)));
    }

    fn setpoint(&self, now: Tick) -> Option<u16> {
        let reverted = self.reverts.is_some_and(|after| now.since(self.set_at) >= after);
        self.holding.get(&261).map(|held| if reverted { 160 } else { *held })
    }

    pub(crate) fn count_writes(&self, address: u16) -> usize {
        self.writes.iter().filter(|(_, written, _)| *written == address).count()
    }

    pub(crate) fn answer(&mut self, request: Request, now: Tick) -> Outcome {
        if self.silent {
            return Outcome::Failed(Failure::Timeout);
        }
        self.turn += 1;
        if let Some(code) = self.exception {
            self.hear(request, now);
            return Outcome::Exception(code);
        }
        let outcome = self.carry_out(request, now);
        if self.garbled {
            return Outcome::Failed(Failure::Malformed(Flaw::Length));
        }
        let lost = self.mute || self.every.is_some_and(|every| self.turn.is_multiple_of(every));
        if lost { Outcome::Failed(Failure::Timeout) } else { outcome }
    }

    /// Takes a request. Every request feeds the watchdog, whatever becomes of it.
    fn hear(&mut self, request: Request, now: Tick) {
        let fallen = self.fed + Millis(u64::from(self.holding.get(&257).copied().unwrap_or_default()) + 1);
        if self.holding.contains_key(&261) {
            self.note_allowed(fallen.min(now), self.offers(now));
        }
        self.fed = now;
        if self.holding.contains_key(&261) {
            self.note_allowed(now, self.offers(now));
            self.measure(now);
        }
        self.requests.push((now, request.op));
        self.pass(now);
    }

    fn carry_out(&mut self, request: Request, now: Tick) -> Outcome {
        self.hear(request, now);
        let (addr, count) = match request.op {
            Operation::ReadInput { addr, count } | Operation::ReadHolding { addr, count } => (addr, count),
            Operation::WriteSingle { addr, .. } => (addr, 1),
        };
        if self.deaf.iter().any(|register| (addr..addr + count).contains(register)) {
            return Outcome::Failed(Failure::Timeout);
        }
        if let Some((_, code)) = self.declines.iter().find(|(register, _)| (addr..addr + count).contains(register)) {
            return Outcome::Exception(*code);
        }
        match request.op {
            Operation::ReadInput { .. } if self.declines_inputs().is_some() => {
                Outcome::Exception(self.declines_inputs().unwrap_or_default())
            }
            Operation::ReadInput { addr, count } => {
                let mut input = self.input.clone();
                if self.locks && self.holding.get(&259) == Some(&0) {
                    input.insert(5, 10);
                }
                read(&input, &self.missing, addr, count)
            }
            Operation::ReadHolding { addr, count } => {
                if self.layout < 0x108 && (addr..addr + count).any(|address| matches!(address, 258 | 259)) {
                    return Outcome::Exception(2);
                }
                let declined = [self.missing.as_slice(), &self.unreadable].concat();
                read(&self.holding, &declined, addr, count)
            }
            Operation::WriteSingle { addr, value } => {
                self.writes.push((now, addr, value));
                if let Some((_, code)) = self.declines_writes.iter().find(|(register, _)| *register == addr) {
                    return Outcome::Exception(*code);
                }
                let declined = self.missing.contains(&addr) || self.read_only.contains(&addr);
                if declined || !self.holding.contains_key(&addr) {
                    return Outcome::Exception(2);
                }
                if !self.stubborn.contains(&addr) {
                    self.holding.insert(addr, value);
                    if addr == 261 {
                        self.set_at = now;
                    }
                    if addr == 501 {
                        self.begin_switch(value, now);
                    }
                }
                Outcome::Written
            }
        }
    }
}

fn read(table: &BTreeMap<u16, u16>, missing: &[u16], addr: u16, count: u16) -> Outcome {
    let words: Option<Vec<u16>> = (addr..addr + count)
        .map(|address| table.get(&address).copied().filter(|_| !missing.contains(&address)))
        .collect();
    words.map_or(Outcome::Exception(2), Outcome::Registers)
}
