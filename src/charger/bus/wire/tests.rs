//! What a line learns and forgets.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_serial::{SerialPort, SerialStream};

use super::*;
use crate::config::LinkConfig;

const REPLY: Millis = Millis(500);
const QUIET: Millis = Millis(50);

#[test]
fn the_longest_delay_of_the_last_ten_minutes_is_listened_for() {
    let mut learnt = Learnt::default();
    let late = |learnt: &Learnt, at_s: u64| learnt.late(REPLY, QUIET, Tick(at_s * 1_000));
    assert_eq!(late(&learnt, 0), QUIET);
    learnt.came_late(Millis(1_500), Tick(0));
    learnt.came_late(Millis(900), Tick(60_000));
    assert_eq!(late(&learnt, 599), Millis(1_050), "the longer one counts");
    assert_eq!(late(&learnt, 600), Millis(450), "and then what came after it");
    assert_eq!(late(&learnt, 660), QUIET);
    // However long the delay was, no wait is longer than this.
    learnt.came_late(Millis(9_000), Tick(700_000));
    assert_eq!(late(&learnt, 700), LATE_MAX);
}

#[test]
fn late_answers_without_end_take_no_room() {
    let mut learnt = Learnt::default();
    for at in 0..1_000 {
        learnt.came_late(Millis(600 + at), Tick(at));
    }
    assert_eq!(learnt.delays.len(), LATE_KEPT);
    assert_eq!(learnt.late(REPLY, QUIET, Tick(1_000)), Millis(600 + 999 + 50 - 500));
}

/// A line on a pseudo-terminal, with a player at the other end.
struct Rig {
    wire: Option<Wire>,
    target: Arc<Target>,
    clock: Clock,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Keeps the pseudo-terminal open between two openings of the line.
    _slave: SerialStream,
    _player: JoinSet<()>,
}

const LAYOUT: Operation = Operation::ReadInput { addr: 4, count: 1 };
const LOWER: Operation = Operation::WriteSingle { addr: 261, value: 0 };
const UNLOCK: Operation = Operation::WriteSingle { addr: 259, value: 1 };

fn framed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crate::sim::frames::crc(bytes)].concat()
}

fn frame(op: Operation) -> Vec<u8> {
    let (function, addr, last) = match op {
        Operation::ReadInput { addr, count } => (4, addr, count),
        Operation::ReadHolding { addr, count } => (3, addr, count),
        Operation::WriteSingle { addr, value } => (6, addr, value),
    };
    framed(&[&[1, function], addr.to_be_bytes().as_slice(), &last.to_be_bytes()].concat())
}

impl Rig {
    fn new(echoes: bool, mute: bool) -> Self {
        let (mut master, slave) = SerialStream::pair().unwrap();
        let link = LinkConfig::Serial { path: slave.name().unwrap().into() };
        let defaults = crate::charger::profile::load("heidelberg-energy-control").unwrap().link;
        let setpoints = [(1, 261)].into();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let mut player = JoinSet::new();
        player.spawn(async move {
            let mut request = vec![0; 8];
            while master.read_exact(&mut request).await.is_ok() {
                log.lock().unwrap().push(request.clone());
                if echoes {
                    master.write_all(&request).await.unwrap();
                }
                if !mute {
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    let read = request[1] != 6;
                    let answer = if read { framed(&[1, request[1], 2, 1, 7]) } else { request.clone() };
                    master.write_all(&answer).await.unwrap();
                }
            }
        });
        Self {
            wire: Some(Wire::closed()),
            target: Arc::new(Target { link, defaults, first_read: LAYOUT, setpoints, relays: None }),
            clock: Clock::start(1),
            heard,
            _slave: slave,
            _player: player,
        }
    }

    async fn perform(&mut self, op: BusOp) -> BusResult {
        let (wire, done) = self.wire.take().unwrap().perform(op, Arc::clone(&self.target), self.clock).await;
        self.wire = Some(wire);
        done
    }

    async fn ask(&mut self, op: Operation) -> Outcome {
        if self.wire.as_ref().unwrap().is_closed() {
            assert_eq!(self.perform(BusOp::Open).await, BusResult::Opened);
            assert_eq!(self.perform(BusOp::Drain { quiet: QUIET }).await, BusResult::Drained);
        }
        let done = self.perform(BusOp::Send(Request { unit: 1, op }, REPLY)).await;
        let BusResult::Ended(outcome) = done else { panic!("{done:?}") };
        outcome
    }

    fn heard(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

#[tokio::test]
async fn a_low_current_does_not_wait_for_a_read_and_its_copy_is_no_acknowledgement() {
    for (echoes, mute, outcome, sent) in [
        (false, true, Outcome::Failed(Failure::Timeout), vec![LOWER]),
        (true, true, Outcome::Failed(Failure::EchoOnly), vec![LOWER, LAYOUT]),
        (false, false, Outcome::Written, vec![LOWER, LAYOUT]),
        (true, false, Outcome::Written, vec![LOWER, LAYOUT, LOWER]),
    ] {
        let mut rig = Rig::new(echoes, mute);
        assert_eq!(rig.ask(LOWER).await, outcome, "{echoes}, {mute}");
        assert_eq!(rig.heard(), sent.into_iter().map(frame).collect::<Vec<_>>(), "{echoes}, {mute}");
        // By now it is known whether the adapter echoes.
        rig.ask(UNLOCK).await;
        assert_eq!(rig.heard(), [frame(UNLOCK)], "{echoes}, {mute}");
    }
}

#[tokio::test]
async fn any_other_write_waits_until_something_was_read() {
    for mute in [false, true] {
        let mut rig = Rig::new(false, mute);
        let outcome = if mute { Outcome::Failed(Failure::Timeout) } else { Outcome::Written };
        assert_eq!(rig.ask(UNLOCK).await, outcome);
        let sent = if mute { vec![frame(LAYOUT)] } else { vec![frame(LAYOUT), frame(UNLOCK)] };
        assert_eq!(rig.heard(), sent);
    }
}
