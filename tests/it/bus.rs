//! The real bus on a pseudo-terminal: the test plays the wallbox, byte for byte.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use control::{ChargerId, ChargerReport, Milliamps, Millis, Order, Reachability};
use surplusd::charger::bus::{self, Bus, BusCommand, BusEnd, BusEvent};
use surplusd::charger::codec::Failure;
use surplusd::charger::driver::Notice;
use surplusd::charger::profile::{self, LinkDefaults, Profile};
use surplusd::clock::Clock;
use surplusd::config::{ChargerSetup, LinkConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_serial::{SerialPort, SerialStream};

const ID: ChargerId = ChargerId(0);
/// Upper limit: nothing here takes that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
const FOREVER: Millis = Millis::from_secs(3_600);
/// Faster than real time, to shorten the tests.
pub(crate) const SPEED: u32 = 4;
/// Timeout for a reply that comes: a busy machine may take long, here 10 s in real time.
pub(crate) const PATIENT: Millis = Millis(10_000 * SPEED as u64);
/// Timeout for a reply that does not come, or is incomplete.
pub(crate) const SHORT: Millis = Millis(500);
/// Timeout for a wrong reply: as long as the player may need, but no longer, because it is always waited for to the end.
pub(crate) const LATER: Millis = Millis(2_000);

/// CRC-16 of Modbus, appended low byte first.
pub(crate) fn framed(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut crc = 0xffff_u16;
    for byte in &bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 };
        }
    }
    bytes.extend(crc.to_le_bytes());
    bytes
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The other end of the line.
pub(crate) struct Player {
    pub(crate) master: SerialStream,
    /// Held open: reading the master fails while the slave is closed.
    pub(crate) slave: SerialStream,
    pub(crate) log: Vec<Vec<u8>>,
    input: BTreeMap<u16, u16>,
    holding: BTreeMap<u16, u16>,
    /// Sent instead of the correct replies, one per request.
    replies: Vec<Vec<u8>>,
    /// How many requests for an address go without a reply.
    pub(crate) lost: BTreeMap<u16, u32>,
}

impl Player {
    pub(crate) fn new() -> Self {
        let (master, slave) = SerialStream::pair().unwrap();
        let mut input: BTreeMap<u16, u16> = (5..19).map(|address| (address, 0)).collect();
        input.extend([(4, 0x107), (5, 7), (10, 230), (11, 230), (12, 230), (100, 16), (101, 6)]);
        input.extend((102..134).map(|address| (address, 0x4142)));
        let holding = [(257, 30_000), (261, 0), (262, 60)].into();
        Self { master, slave, log: vec![], input, holding, replies: vec![], lost: BTreeMap::new() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.slave.name().unwrap().into()
    }

    /// Receives the next request; all of ours have 8 bytes.
    pub(crate) async fn request(&mut self) -> Vec<u8> {
        let mut request = vec![0; 8];
        self.master.read_exact(&mut request).await.unwrap();
        assert_eq!(framed(request[..6].to_vec()), request, "CRC");
        self.log.push(request.clone());
        request
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).await.unwrap();
    }

    fn honest(&mut self, request: &[u8]) -> Vec<u8> {
        let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let (unit, function, addr, second) = (request[0], request[1], word(2), word(4));
        let table = if function == 4 { &self.input } else { &self.holding };
        if function == 6 {
            self.holding.insert(addr, second);
            return request.to_vec();
        }
        let words: Option<Vec<u16>> = (addr..addr + second).map(|address| table.get(&address).copied()).collect();
        framed(match words {
            Some(words) => {
                let mut bytes = vec![unit, function, u8::try_from(words.len() * 2).unwrap()];
                bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                bytes
            }
            None => vec![unit, function | 0x80, 2],
        })
    }

    pub(crate) async fn serve_one(&mut self) {
        let request = self.request().await;
        if let Some(left) = self.lost.get_mut(&u16::from_be_bytes([request[2], request[3]])).filter(|left| **left > 0) {
            *left -= 1;
            return;
        }
        let reply = if self.replies.is_empty() { self.honest(&request) } else { self.replies.remove(0) };
        self.send(&reply).await;
    }

    /// Replies until the bus reports the wanted event; returns what `wanted` made of it.
    async fn until<T>(&mut self, events: &mut mpsc::Receiver<BusEvent>, wanted: impl Fn(&BusEvent) -> Option<T>) -> T {
        timeout(LIMIT, async {
            loop {
                tokio::select! {
                    () = self.serve_one() => {}
                    event = events.recv() => {
                        if let Some(found) = wanted(&event.expect("an event before the end")) {
                            return found;
                        }
                    }
                }
            }
        })
        .await
        .expect("what is waited for never came")
    }
}

struct Rig {
    bus: Bus,
    events: mpsc::Receiver<BusEvent>,
    clock: Clock,
}

impl Rig {
    fn start(path: &Path, poll: Millis, capacity: usize, unlock_first: bool) -> Self {
        Self::at(SPEED, path, poll, capacity, unlock_first)
    }

    fn at(speed: u32, path: &Path, poll: Millis, capacity: usize, unlock_first: bool) -> Self {
        let profile = profile::load("heidelberg-energy-control").unwrap();
        let times = LinkDefaults { reply: PATIENT, ..profile.link };
        Self::with(Clock::start(speed), times, path, poll, capacity, unlock_first)
    }

    fn with(clock: Clock, times: LinkDefaults, path: &Path, poll: Millis, capacity: usize, unlock_first: bool) -> Self {
        let profile = profile::load("heidelberg-energy-control").unwrap();
        let profile = Arc::new(Profile { link: times, ..Profile::clone(&profile) });
        let link = LinkConfig::Serial { path: path.to_owned() };
        let setup = ChargerSetup {
            name: "carport".to_owned(),
            profile: profile.name.clone(),
            link: link.clone(),
            unit: 1,
            poll,
            watchdog: Millis(15_000),
            safe_current: Milliamps(0),
            standby: false,
            phase_switch: None,
            reply: None,
        };
        let (sender, events) = mpsc::channel(capacity);
        let bus = bus::spawn(
            link,
            [(ID, (setup, profile, bus::Before { unlock_first, memory: None }))].into(),
            clock,
            sender,
            None,
        )
        .unwrap();
        Self { bus, events, clock }
    }

    fn order(&self, amps: u32) {
        let order = Order {
            charger: ID,
            setpoint: Some(Milliamps(amps * 1_000)),
            phases: None,
            valid_until: self.clock.now() + FOREVER,
        };
        self.bus.send(BusCommand::Order(order));
    }
}

fn report(link: Reachability, amps: Option<u32>) -> impl Fn(&BusEvent) -> Option<ChargerReport> {
    move |event| {
        let BusEvent::Report(report) = event else { return None };
        let setpoint = amps.map(|amps| Milliamps(amps * 1_000));
        (report.link == link && (amps.is_none() || report.setpoint == setpoint)).then_some(*report)
    }
}

fn is(wanted: BusEvent) -> impl Fn(&BusEvent) -> Option<()> {
    move |event| (*event == wanted).then_some(())
}

#[tokio::test]
async fn the_whole_life_of_a_charger_in_golden_frames() {
    let mut player = Player::new();
    // In real time, because a shutdown has four seconds.
    let mut rig = Rig::at(1, &player.path(), Millis(1_000), 64, true);
    rig.order(6);
    player.until(&mut rig.events, report(Reachability::Online, Some(6))).await;
    rig.order(16);
    player.until(&mut rig.events, report(Reachability::Online, Some(16))).await;
    rig.bus.send(BusCommand::Wake(ID));
    player.until(&mut rig.events, is(BusEvent::Notice { charger: ID, notice: Notice::WakeStarted })).await;
    player.until(&mut rig.events, is(BusEvent::WakeUpDone(ID))).await;
    rig.bus.send(BusCommand::Shutdown);
    player.until(&mut rig.events, is(BusEvent::ShutDown { charger: ID, proven: true })).await;
    player.until(&mut rig.events, is(BusEvent::Ended)).await;
    assert_eq!(rig.bus.ended().await, BusEnd::Orderly);
    // Register table, unit 1.
    let golden = [
        "01 06 01 03 00 01 b9 f6", // unlock, first thing
        "01 04 00 04 00 01 70 0b", // layout
        "01 04 00 05 00 0e 61 cf", // measurements
        "01 03 01 01 00 01 d4 36", // watchdog
        "01 06 01 01 3a 98 ca fc", // 15 s
        "01 06 01 06 00 00 68 37", // fail-safe 0
        "01 06 01 02 00 04 28 35", // no standby
        "01 06 01 05 00 3c 98 26", // 6 A
        "01 06 01 05 00 a0 98 4f", // 16 A
        "01 06 01 03 00 00 78 36", // lock
        "01 06 01 03 00 01 b9 f6", // unlock
        "01 06 01 05 00 00 98 37", // off
    ];
    let mut log = player.log.iter();
    for frame in golden {
        assert!(log.any(|seen| *seen == hex(frame)), "{frame} is missing, or came too early");
    }
    // Layout 1.0.7 answers reads of 258 and 259 with an exception, so they must not be read.
    assert!(!player.log.iter().any(|frame| frame[1] == 3 && matches!(frame[3], 2 | 3)));
}

#[tokio::test]
async fn an_answer_that_comes_late_is_never_taken_for_the_next() {
    let mut player = Player::new();
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    // A reply may take 2 s, and after that the line must be quiet for 4 s.
    let times = LinkDefaults { reply: Millis(2_000), quiet: Millis(4_000), ..defaults };
    let mut rig = Rig::with(Clock::start(SPEED), times, &player.path(), Millis(1_000), 64, false);
    rig.order(10);
    player.until(&mut rig.events, report(Reachability::Online, Some(10))).await;
    // The next request gets no reply in time. Instead, while the line is being watched, a well-formed reply with the right unit, function
    // and length for a setpoint comes, but with another value.
    timeout(LIMIT, player.request()).await.unwrap();
    let late = async {
        rig.clock.sleep(Millis(3_000)).await;
        player.send(&framed(vec![1, 3, 2, 0, 60])).await;
        player.send(&framed(vec![1, 4, 2, 0, 9])).await;
    };
    timeout(LIMIT, late).await.unwrap();
    rig.order(12);
    let seen = player
        .until(&mut rig.events, |event| {
            let power_cycle = matches!(event, BusEvent::Notice { notice: Notice::PowerCycle { .. }, .. });
            assert!(!power_cycle, "the late answer was believed");
            let BusEvent::Report(report) = event else { return None };
            report.setpoint.is_some_and(|setpoint| setpoint != Milliamps(10_000)).then_some(*report)
        })
        .await;
    assert_eq!(seen.setpoint, Some(Milliamps(12_000)));
}

#[tokio::test]
async fn an_order_is_on_the_wire_at_once_however_long_the_poll_is() {
    let mut player = Player::new();
    let mut rig = Rig::at(1, &player.path(), Millis(600_000), 64, false);
    rig.order(16);
    player.until(&mut rig.events, report(Reachability::Online, Some(16))).await;
    let idle = rig.clock.now();
    rig.order(6);
    let request = timeout(LIMIT, player.request()).await.expect("at once");
    // After a third of the watchdog's 15 s it would have asked again anyway.
    let waited = rig.clock.now().since(idle);
    assert!(waited < Millis(4_000), "{waited}");
    assert_eq!(request, hex("01 06 01 05 00 3c 98 26"));
}

#[tokio::test]
async fn a_full_queue_of_events_stops_all_traffic() {
    let mut player = Player::new();
    let rig = Rig::start(&player.path(), Millis(1_000), 1, false);
    rig.order(10);
    let silent = async { while timeout(Duration::from_millis(800), player.serve_one()).await.is_ok() {} };
    timeout(LIMIT, silent).await.expect("the bus goes on although nobody listens");
}

#[tokio::test]
async fn an_adapter_that_is_pulled_out_and_put_back_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("rs485");
    let mut player = Player::new();
    symlink(player.path(), &name).unwrap();
    let mut rig = Rig::start(&name, Millis(1_000), 64, false);
    rig.order(10);
    player.until(&mut rig.events, report(Reachability::Online, Some(10))).await;
    std::fs::remove_file(&name).unwrap();
    drop(player);
    let offline = async {
        loop {
            let event = rig.events.recv().await.expect("an event");
            if report(Reachability::Offline, None)(&event).is_some() {
                return;
            }
        }
    };
    timeout(LIMIT, offline).await.expect("the loss is not seen");
    let mut player = Player::new();
    symlink(player.path(), &name).unwrap();
    player.until(&mut rig.events, report(Reachability::Online, Some(10))).await;
    assert_eq!(player.holding[&257], 15_000, "a new box is programmed too");
}

#[tokio::test]
async fn without_a_port_it_says_so_and_still_ends_in_order() {
    let mut rig = Rig::start(Path::new("/dev/surplusd-no-such-port"), Millis(1_000), 64, false);
    let first = timeout(LIMIT, rig.events.recv()).await.unwrap().unwrap();
    assert!(matches!(&first, BusEvent::LineDown { why, .. } if why.contains("there is no such device")), "{first:?}");
    let second = timeout(LIMIT, rig.events.recv()).await.unwrap().unwrap();
    assert!(matches!(second, BusEvent::Notice { notice: Notice::LinkLost { failure: Failure::Gone }, .. }));
    rig.bus.send(BusCommand::Shutdown);
    let rest = async {
        let mut events = vec![];
        while let Some(event) = rig.events.recv().await {
            events.push(event);
        }
        events
    };
    let events = timeout(LIMIT, rest).await.unwrap();
    assert!(events.contains(&BusEvent::ShutDown { charger: ID, proven: false }));
    assert_eq!(events.last(), Some(&BusEvent::Ended));
    assert_eq!(rig.bus.ended().await, BusEnd::Orderly);
}

#[tokio::test]
async fn a_dropped_handle_shuts_the_line_down() {
    let mut player = Player::new();
    let mut rig = Rig::at(1, &player.path(), Millis(1_000), 64, false);
    rig.order(16);
    player.until(&mut rig.events, report(Reachability::Online, Some(16))).await;
    let Rig { bus, mut events, .. } = rig;
    drop(bus);
    player.until(&mut events, is(BusEvent::ShutDown { charger: ID, proven: true })).await;
    assert_eq!(player.holding[&261], 0);
}
