//! The real bus on a pseudo-terminal: the test plays the box, byte for byte.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use control::{ChargerId, ChargerReport, Link, Milliamps, Millis, Order};
use surplusd::charger::bus::{self, Bus, BusCommand, BusEnd, BusEvent, OneShot};
use surplusd::charger::codec::{Failure, Flaw, Operation, Outcome, Request, Sample};
use surplusd::charger::driver::Notice;
use surplusd::charger::line::OpenError;
use surplusd::charger::profile::{self, LinkDefaults, Profile};
use surplusd::clock::Clock;
use surplusd::config::{ChargerSetup, LinkConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_serial::{SerialPort, SerialStream};

const ID: ChargerId = ChargerId(0);
/// Nothing here takes that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
const FOREVER: Millis = Millis::from_secs(3_600);
/// Faster than life, so that nobody waits.
pub(crate) const SPEED: u32 = 4;
/// For an answer that comes: a busy machine may take its time, here 10 s of it.
pub(crate) const PATIENT: Millis = Millis(10_000 * SPEED as u64);
/// For one that does not come, or not whole.
const SHORT: Millis = Millis(500);
/// For an answer that is wrong: as long as the player may need, and no longer, as it is waited for to the end.
const LATER: Millis = Millis(2_000);

/// CRC-16 of Modbus, appended low byte first.
fn framed(mut bytes: Vec<u8>) -> Vec<u8> {
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

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The other end of the line.
pub(crate) struct Player {
    master: SerialStream,
    /// Held open: reading the master fails while nobody has the slave.
    slave: SerialStream,
    pub(crate) log: Vec<Vec<u8>>,
    input: BTreeMap<u16, u16>,
    holding: BTreeMap<u16, u16>,
    /// Sent instead of the honest answer, one per request.
    replies: Vec<Vec<u8>>,
    /// Requests for these addresses go without an answer so many times.
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

    /// The next request; all of ours have 8 bytes.
    async fn request(&mut self) -> Vec<u8> {
        let mut request = vec![0; 8];
        self.master.read_exact(&mut request).await.unwrap();
        assert_eq!(framed(request[..6].to_vec()), request, "CRC");
        self.log.push(request.clone());
        request
    }

    async fn send(&mut self, bytes: &[u8]) {
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

    /// Answers until the bus says what is waited for; returns that.
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

fn report(link: Link, amps: Option<u32>) -> impl Fn(&BusEvent) -> Option<ChargerReport> {
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
    // At the speed of life, as an end is given four seconds.
    let mut rig = Rig::at(1, &player.path(), Millis(1_000), 64, true);
    rig.order(6);
    player.until(&mut rig.events, report(Link::Online, Some(6))).await;
    rig.order(16);
    player.until(&mut rig.events, report(Link::Online, Some(16))).await;
    rig.bus.send(BusCommand::Wake(ID));
    player.until(&mut rig.events, is(BusEvent::Notice { charger: ID, notice: Notice::WakeStarted })).await;
    player.until(&mut rig.events, is(BusEvent::Woken(ID))).await;
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
    // Layout 1.0.7 answers reads of 258 and 259 with an exception: they are not asked.
    assert!(!player.log.iter().any(|frame| frame[1] == 3 && matches!(frame[3], 2 | 3)));
}

async fn one_shot(player: &Player) -> OneShot {
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    loop {
        match OneShot::open(LinkConfig::Serial { path: player.path() }, defaults, Clock::start(SPEED)).await {
            // Another test starts a program: until that has begun, it holds whatever this process has open.
            Err(OpenError::Busy | OpenError::Ours) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
}

async fn ask(line: &mut OneShot, player: &mut Player, op: Operation, frame: &str, reply: &[&str]) -> Outcome {
    ask_within(PATIENT, line, player, op, frame, reply).await
}

async fn ask_within(
    limit: Millis,
    line: &mut OneShot,
    player: &mut Player,
    op: Operation,
    frame: &str,
    reply: &[&str],
) -> Outcome {
    let asked = async {
        loop {
            let mut arrived = false;
            let play = async {
                assert_eq!(player.request().await, hex(frame));
                arrived = true;
                for piece in reply {
                    player.send(&hex(piece)).await;
                    tokio::task::yield_now().await;
                }
                std::future::pending::<()>().await;
            };
            let outcome = tokio::select! {
                outcome = line.ask(Request { unit: hex(frame)[0], op }, limit) => outcome,
                () = play => unreachable!("it plays on"),
            };
            // A machine that is held up may take longer than a short limit to carry the request.
            if arrived
                || !matches!(outcome, Ok(Outcome::Failed(Failure::Timeout)) | Err(OpenError::Busy | OpenError::Ours))
            {
                return outcome.unwrap();
            }
        }
    };
    timeout(LIMIT, asked).await.expect("request and answer in time")
}

pub(crate) const fn input(addr: u16, count: u16) -> Operation {
    Operation::ReadInput { addr, count }
}

const fn holding(addr: u16) -> Operation {
    Operation::ReadHolding { addr, count: 1 }
}

#[tokio::test]
async fn captured_answers_are_understood_also_in_pieces() {
    let mut player = Player::new();
    let mut line = one_shot(&player).await;
    // Captured from real boxes; see the register table for the meaning.
    let cases: [(Operation, &str, &[&str], &[u16]); 9] = [
        (holding(257), "01 03 01 01 00 01 d4 36", &["01 03 02 3a 98 ab 4e"], &[15_000]),
        (input(5, 1), "02 04 00 05 00 01 21 f8", &["02 04 02 00 02 7c f1"], &[2]),
        (input(6, 3), "02 04 00 06 00 03 50 39", &["02 04 06 00", "00 00 00 00 00", "74 63"], &[0, 0, 0]),
        (input(10, 3), "02 04 00 0a 00 03 90 3a", &["02 04 06 00 ed 00 ee 00 ee 38 0d"], &[237, 238, 238]),
        (input(10, 3), "02 04 00 0a 00 03 90 3a", &["02", "04 06 00 ef 00 f1 00 f0 f0 03"], &[239, 241, 240]),
        (input(14, 1), "02 04 00 0e 00 01 50 3a", &["02 04 02 00 00 fd 30"], &[0]),
        (input(17, 2), "02 04 00 11 00 02 21 fd", &["02 04 04 00 31 dd e9 01 95"], &[0x31, 0xdde9]),
        (input(17, 2), "02 04 00 11 00 02 21 fd", &["02 04 04 00 00 c9 4a 1f 23"], &[0, 51_530]),
        (holding(261), "02 03 01 05 00 01 95 c4", &["02 03 02 00 00 fc 44"], &[0]),
    ];
    for (op, frame, reply, words) in cases {
        assert_eq!(ask(&mut line, &mut player, op, frame, reply).await, Outcome::Registers(words.to_vec()), "{frame}");
    }
}

#[tokio::test]
async fn nothing_but_the_answer_is_taken_for_it_and_the_next_request_is_answered_right() {
    let mut player = Player::new();
    let mut line = one_shot(&player).await;
    let read_257 = "01 03 01 01 00 01 d4 36";
    let garbage = vec!["55"; 60].join(" ");
    let noise = |bytes: &str| Some(Outcome::Failed(Failure::Noise(Sample::of(&hex(bytes)))));
    let cases: [(&str, Millis, Option<Outcome>); 6] = [
        // Truncated, as captured from a slow adapter.
        ("01 03 02 3a", LATER, noise("01 03 02 3a")),
        // Wrong CRC.
        ("01 03 02 3a 98 ab 4f", LATER, noise("01 03 02 3a 98 ab 4f")),
        (&garbage, LATER, noise(&garbage)),
        // Another block: 239 V, 241 V, 240 V instead of one holding register.
        ("02 04 06 00 ef 00 f1 00 f0 f0 03", LATER, Some(Outcome::Failed(Failure::Malformed(Flaw::Unit(2))))),
        ("01 83 02 c0 f1", PATIENT, Some(Outcome::Exception(2))),
        ("", SHORT, Some(Outcome::Failed(Failure::Timeout))),
    ];
    for (reply, limit, outcome) in cases {
        let found = ask_within(limit, &mut line, &mut player, holding(257), read_257, &[reply]).await;
        match outcome {
            Some(outcome) => assert_eq!(found, outcome, "{reply}"),
            None => assert!(matches!(found, Outcome::Failed(_)), "{reply}: {found:?}"),
        }
        let good = ask(&mut line, &mut player, holding(257), read_257, &["01 03 02 3a 98 ab 4e"]).await;
        assert_eq!(good, Outcome::Registers(vec![15_000]), "after {reply}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_late_is_never_taken_for_the_next() {
    let mut player = Player::new();
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    // An answer is waited for 2 s, and then nothing may come for 4 s.
    let times = LinkDefaults { reply: Millis(2_000), quiet: Millis(4_000), ..defaults };
    let mut rig = Rig::with(Clock::start(SPEED), times, &player.path(), Millis(1_000), 64, false);
    rig.order(10);
    player.until(&mut rig.events, report(Link::Online, Some(10))).await;
    // The next request gets no answer in time. What comes instead, while the line is being watched, is a well-formed answer
    // of the right unit, function and length for a setpoint, with another value in it.
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
    player.until(&mut rig.events, report(Link::Online, Some(16))).await;
    let idle = rig.clock.now();
    rig.order(6);
    let request = timeout(LIMIT, player.request()).await.expect("at once");
    // A third of the watchdog's 15 s is when it would have asked again anyway.
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
    player.until(&mut rig.events, report(Link::Online, Some(10))).await;
    std::fs::remove_file(&name).unwrap();
    drop(player);
    let offline = async {
        loop {
            let event = rig.events.recv().await.expect("an event");
            if report(Link::Offline, None)(&event).is_some() {
                return;
            }
        }
    };
    timeout(LIMIT, offline).await.expect("the loss is not seen");
    let mut player = Player::new();
    symlink(player.path(), &name).unwrap();
    player.until(&mut rig.events, report(Link::Online, Some(10))).await;
    assert_eq!(player.holding[&257], 15_000, "a new box is programmed too");
}

#[tokio::test]
async fn without_a_port_it_says_so_and_still_ends_in_order() {
    let mut rig = Rig::start(Path::new("/dev/surplusd-no-such-port"), Millis(1_000), 64, false);
    let first = timeout(LIMIT, rig.events.recv()).await.unwrap().unwrap();
    assert!(matches!(first, BusEvent::Notice { notice: Notice::LinkLost { failure: Failure::Gone }, .. }));
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
    player.until(&mut rig.events, report(Link::Online, Some(16))).await;
    let Rig { bus, mut events, .. } = rig;
    drop(bus);
    player.until(&mut events, is(BusEvent::ShutDown { charger: ID, proven: true })).await;
    assert_eq!(player.holding[&261], 0);
}

#[tokio::test]
async fn two_masters_cannot_have_one_port() {
    let player = Player::new();
    let _first = one_shot(&player).await;
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    let open = |path: PathBuf| OneShot::open(LinkConfig::Serial { path }, defaults, Clock::start(SPEED));
    // The player has it open as well; of another program it would be `Busy`.
    assert_eq!(open(player.path()).await.err(), Some(OpenError::Ours));
    assert_eq!(open("/dev/surplusd-no-such-port".into()).await.err(), Some(OpenError::Missing));
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(open(file.path().to_owned()).await.err(), Some(OpenError::NotATty));
}

#[tokio::test]
async fn what_nobody_asked_for_is_thrown_away() {
    let mut player = Player::new();
    let mut line = one_shot(&player).await;
    let frame = "01 03 01 01 00 01 d4 36";
    let good = ["01 03 02 3a 98 ab 4e"];
    assert_eq!(ask(&mut line, &mut player, holding(257), frame, &good).await, Outcome::Registers(vec![15_000]));
    player.send(&framed(vec![1, 3, 2, 0, 60])).await;
    assert_eq!(ask(&mut line, &mut player, holding(257), frame, &good).await, Outcome::Registers(vec![15_000]));
}

#[tokio::test]
async fn a_line_that_is_never_quiet_belongs_to_somebody_else() {
    let mut player = Player::new();
    // As fast as the line takes it: it is full whenever anybody listens.
    let babble = async {
        loop {
            player.master.write_all(&[0x55; 64]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let path = player.slave.name().unwrap();
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    let link = LinkConfig::Serial { path: path.into() };
    let refused = async {
        loop {
            match OneShot::open(link.clone(), defaults, Clock::start(SPEED)).await.err() {
                // As in `one_shot`.
                Some(OpenError::Busy | OpenError::Ours) => tokio::time::sleep(Duration::from_millis(10)).await,
                refused => return refused,
            }
        }
    };
    tokio::select! {
        biased;
        () = babble => {}
        refused = timeout(LIMIT, refused) => assert_eq!(refused.unwrap(), Some(OpenError::Noisy)),
    }
}
