//! An RS-485 line in virtual time: one master, the wallboxes on it, and the faults of adapter and cable. Pure; the faults follow a seed.
//!
//! Left out: collisions of two senders, and anything that happens within a byte.

use std::collections::VecDeque;

use super::plant::CarSignal;
use super::wallbox::{Wallbox, WallboxOptions};

/// How many chunks of bytes may be on their way to the master; beyond this the oldest are lost.
const UNDER_WAY_MAX: usize = 64;

/// The state of adapter and cable. Shares are probabilities for each frame, 0 … 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CableFaults {
    /// The adapter is unplugged: it cannot be opened, and an open one is lost.
    pub unplugged: bool,
    /// Share of requests that do not arrive.
    pub lost_requests: f64,
    /// Share of replies that do not arrive.
    pub lost_replies: f64,
    /// Share of requests in which a bit is flipped.
    pub bad_requests: f64,
    /// Share of replies in which a bit is flipped.
    pub bad_replies: f64,
    /// Share of replies that come twice.
    pub double_replies: f64,
    /// How much later than usual replies may come, in milliseconds.
    pub delay_ms: u64,
    /// Share of replies with stray bytes before them.
    pub strays: f64,
    /// The adapter returns what it sends.
    pub echo: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Cable {
    boxes: Vec<Wallbox>,
    faults: CableFaults,
    random: fastrand::Rng,
    /// Bytes on their way to the master, each chunk with the time of its arrival.
    under_way: VecDeque<(u64, Vec<u8>)>,
    /// When the last request was sent that could reach a wallbox.
    heard_ms: u64,
}

impl Cable {
    /// A sound cable with these wallboxes.
    pub fn new(boxes: impl IntoIterator<Item = WallboxOptions>, random: fastrand::Rng) -> Self {
        Self {
            boxes: boxes.into_iter().map(Wallbox::new).collect(),
            faults: CableFaults::default(),
            random,
            under_way: VecDeque::new(),
            heard_ms: 0,
        }
    }

    /// The wallboxes, in the order given.
    pub fn boxes(&self) -> &[Wallbox] {
        &self.boxes
    }

    /// A wallbox, for its faults.
    pub fn wallbox(&mut self, index: usize) -> Option<&mut Wallbox> {
        self.boxes.get_mut(index)
    }

    /// The faults at present.
    pub const fn faults(&self) -> CableFaults {
        self.faults
    }

    /// Replaces the faults.
    pub fn set_faults(&mut self, faults: CableFaults) {
        self.faults = faults;
        if faults.unplugged {
            self.under_way.clear();
        }
    }

    /// Advances the time of a wallbox and sets its car's signal.
    pub fn tick(&mut self, index: usize, now_ms: u64, car: CarSignal) {
        if let Some(wallbox) = self.boxes.get_mut(index) {
            wallbox.tick(now_ms, car);
        }
    }

    /// Opens the adapter: bytes that were under way are lost. Returns whether that is possible.
    pub fn open(&mut self) -> bool {
        self.under_way.clear();
        !self.faults.unplugged
    }

    /// Sends a request of the master.
    pub fn send(&mut self, now_ms: u64, bytes: &[u8]) {
        if self.faults.unplugged {
            return;
        }
        if self.faults.echo {
            self.arrive(now_ms + 1, bytes.to_vec());
        }
        if self.happens(self.faults.lost_requests) {
            return;
        }
        self.heard_ms = now_ms;
        let mut bytes = bytes.to_vec();
        if self.happens(self.faults.bad_requests) {
            self.flip(&mut bytes);
        }
        for wallbox in &mut self.boxes {
            wallbox.late_bytes(now_ms, &bytes);
        }
    }

    /// When the last request was sent that was not lost on its way.
    pub const fn heard_ms(&self) -> u64 {
        self.heard_ms
    }

    /// When the next bytes arrive at the master, if any are known to be on their way.
    pub fn next_ms(&self) -> Option<u64> {
        let replies = self.boxes.iter().filter_map(Wallbox::next_reply_ms);
        replies.chain(self.under_way.front().map(|(at_ms, _)| *at_ms)).min()
    }

    /// Returns the next bytes that have arrived at the master.
    pub fn poll(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        for index in 0..self.boxes.len() {
            while let Some(reply) = self.boxes.get_mut(index).and_then(|wallbox| wallbox.poll_reply(now_ms)) {
                self.reply(now_ms, reply);
            }
        }
        self.under_way.front().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        self.under_way.pop_front().map(|(_, bytes)| bytes)
    }

    fn reply(&mut self, now_ms: u64, mut reply: Vec<u8>) {
        let faults = self.faults;
        if faults.unplugged || self.happens(faults.lost_replies) {
            return;
        }
        if self.happens(faults.bad_replies) {
            self.flip(&mut reply);
        }
        let mut at_ms = now_ms;
        if faults.delay_ms > 0 {
            at_ms += self.random.u64(0..=faults.delay_ms);
        }
        if self.happens(faults.strays) {
            let strays = (0..self.random.usize(1..=6)).map(|_| self.random.u8(..)).collect();
            self.arrive(at_ms, strays);
        }
        if self.happens(faults.double_replies) {
            self.arrive(at_ms, reply.clone());
        }
        self.arrive(at_ms, reply);
    }

    /// Bytes never overtake others on a line.
    fn arrive(&mut self, at_ms: u64, bytes: Vec<u8>) {
        let at_ms = self.under_way.back().map_or(at_ms, |(last_ms, _)| at_ms.max(*last_ms));
        if self.under_way.len() == UNDER_WAY_MAX {
            self.under_way.pop_front();
        }
        self.under_way.push_back((at_ms, bytes));
    }

    fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.f64() < share
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        if !bytes.is_empty() {
            let at = self.random.usize(..bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << self.random.u8(..8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::seal;
    use super::*;

    fn cable(faults: CableFaults) -> Cable {
        let mut cable = Cable::new([WallboxOptions::default()], fastrand::Rng::with_seed(1));
        cable.tick(0, 0, CarSignal::default());
        cable.set_faults(faults);
        cable
    }

    /// What arrives within a second of a request for register 4.
    fn answers(faults: CableFaults) -> Vec<Vec<u8>> {
        let mut cable = cable(faults);
        cable.send(10, &seal(vec![1, 4, 0, 4, 0, 1]));
        let mut all = Vec::new();
        while let Some(at_ms) = cable.next_ms().filter(|at_ms| *at_ms < 1_000) {
            all.extend(cable.poll(at_ms));
        }
        all
    }

    #[test]
    fn each_fault_does_what_it_says() {
        let right = vec![seal(vec![1, 4, 2, 1, 8])];
        let sound = CableFaults::default();
        assert_eq!(answers(sound), right);
        assert_eq!(answers(CableFaults { lost_requests: 1.0, ..sound }), Vec::<Vec<u8>>::new());
        assert_eq!(answers(CableFaults { lost_replies: 1.0, ..sound }), Vec::<Vec<u8>>::new());
        assert_eq!(answers(CableFaults { bad_requests: 1.0, ..sound }), Vec::<Vec<u8>>::new());
        let bad = answers(CableFaults { bad_replies: 1.0, ..sound });
        let differing = bad[0].iter().zip(&right[0]).map(|(one, other)| (one ^ other).count_ones()).sum::<u32>();
        assert_eq!((bad.len(), differing), (1, 1), "one bit");
        assert_eq!(answers(CableFaults { double_replies: 1.0, ..sound }), [right[0].clone(), right[0].clone()]);
        assert_eq!(answers(CableFaults { echo: true, ..sound }), [seal(vec![1, 4, 0, 4, 0, 1]), right[0].clone()]);
        assert_eq!(answers(CableFaults { strays: 1.0, ..sound })[1], right[0]);
        assert_eq!(answers(CableFaults { unplugged: true, ..sound }), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn one_that_is_unplugged_cannot_be_opened_and_loses_what_was_under_way() {
        let mut cable = cable(CableFaults { delay_ms: 500, ..CableFaults::default() });
        cable.send(10, &seal(vec![1, 4, 0, 4, 0, 1]));
        assert!(cable.poll(60).is_none() && cable.next_ms().is_some());
        cable.set_faults(CableFaults { unplugged: true, ..CableFaults::default() });
        assert!(cable.next_ms().is_none() && !cable.open());
        cable.set_faults(CableFaults::default());
        assert!(cable.open());
    }
}
