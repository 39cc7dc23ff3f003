//! Detects whether requests for fresh samples are answered, so that a user without an automation for them is told once. Pure.

use std::collections::VecDeque;

use control::{Millis, Tick};

/// How long an answer may take: the integration asks its device, and Home Assistant publishes what changed.
const ANSWER: Millis = Millis::from_secs(4);
/// Number of requests that are judged together.
const JUDGED: usize = 20;
/// Up to this many answers, the requests count as unanswered: of samples that come every 30 s, two or three fall into the time of an answer
/// by chance.
const BY_CHANCE: usize = 6;
/// From this many answers on, the requests count as answered.
const ANSWERED: usize = 12;

/// Outcomes of the latest requests.
#[derive(Debug, Default)]
pub struct Requests {
    pending: Option<Tick>,
    outcomes: VecDeque<bool>,
    unanswered: bool,
}

/// A change: requests are answered from now on, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Only this many of the last 20 requests were followed by new values.
    Unanswered(usize),
    /// The requests are answered now.
    Answered,
}

impl Requests {
    /// Notes that a request was published.
    pub fn asked(&mut self, now: Tick) -> Option<Verdict> {
        let before = self.pending.replace(now);
        before.and_then(|_| self.outcome(false))
    }

    /// Notes that a live value came.
    pub fn heard(&mut self, now: Tick) -> Option<Verdict> {
        let asked = self.pending.take_if(|asked| now.since(*asked) <= ANSWER);
        asked.and_then(|_| self.outcome(true))
    }

    /// Forgets the pending request: the connection was lost, so an answer cannot be expected.
    pub fn forget(&mut self) {
        self.pending = None;
    }

    /// Returns whether requests go unanswered.
    pub const fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    fn outcome(&mut self, answered: bool) -> Option<Verdict> {
        self.outcomes.push_back(answered);
        if self.outcomes.len() < JUDGED {
            return None;
        }
        let count = self.outcomes.iter().filter(|answered| **answered).count();
        self.outcomes.pop_front();
        if !self.unanswered && count <= BY_CHANCE {
            self.unanswered = true;
            return Some(Verdict::Unanswered(count));
        }
        if self.unanswered && count >= ANSWERED {
            self.unanswered = false;
            return Some(Verdict::Answered);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests every 10 s; a sample every `every` seconds, and one after each request if there is an automation.
    fn play(requests: &mut Requests, seconds: u64, every: u64, automation: bool, from: u64) -> Vec<Verdict> {
        let mut said = Vec::new();
        for second in from..from + seconds {
            let now = Tick(second * 1_000);
            if second % 10 == 0 {
                said.extend(requests.asked(now));
            }
            if second % every == 7 || automation && second % 10 == 2 {
                said.extend(requests.heard(now));
                said.extend(requests.heard(now));
            }
        }
        said
    }

    #[test]
    fn requests_that_nobody_answers_are_said_once_and_so_is_the_end() {
        let mut requests = Requests::default();
        assert_eq!(play(&mut requests, 199, 31, false, 1), []);
        let said = play(&mut requests, 40_000, 31, false, 200);
        assert!(matches!(said[..], [Verdict::Unanswered(0..=6)]), "{said:?}");
        assert!(requests.is_unanswered());
        assert_eq!(play(&mut requests, 40_000, 31, true, 50_000), [Verdict::Answered]);
    }

    #[test]
    fn answered_requests_are_not_worth_a_line() {
        assert_eq!(play(&mut Requests::default(), 40_000, 30, true, 1), []);
    }
}
