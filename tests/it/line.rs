//! Realistic lines: adapters that echo, stray bytes, slow replies, gateways that close, one device with two names. The test plays the
//! wallbox and everything in between, byte for byte, on a real pseudo-terminal or a real socket.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control::{ChargerId, ChargerReport, Milliamps, Millis, Order, Reachability};
use surplusd::charger::bus::{self, Bus, BusCommand, BusEvent, OneShot, Remark};
use surplusd::charger::codec::{Failure, Flaw, Operation, Outcome, Request, Sample};
use surplusd::charger::driver::Notice;
use surplusd::charger::line::OpenError;
use surplusd::charger::profile::{self, Profile};
use surplusd::clock::Clock;
use surplusd::config::{ChargerSetup, LinkConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_serial::{SerialPort, SerialStream};

const ID: ChargerId = ChargerId(0);
/// Upper limit: nothing here takes that long.
const LIMIT: Duration = Duration::from_secs(60);
const LAYOUT: Operation = Operation::ReadInput { addr: 4, count: 1 };

pub(crate) fn framed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(surplusd::sim::frames::crc(&bytes));
    bytes
}

/// Behaviour of the line and the wallbox.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// The adapter returns each request.
    pub(crate) echoes: bool,
    /// Sent before each reply.
    pub(crate) stray: Vec<u8>,
    /// Sent after each reply.
    pub(crate) trailing: Vec<u8>,
    /// No replies.
    pub(crate) mute: bool,
    /// Sent instead of each reply.
    pub(crate) instead: Option<Vec<u8>>,
    /// Delay of the reply after the request.
    pub(crate) delay: Duration,
}

/// The other end of the line; it lives in a task of its own.
#[derive(Debug, Default)]
struct Wallbox {
    manners: Manners,
    input: BTreeMap<u16, u16>,
    holding: BTreeMap<u16, u16>,
    requests: Vec<Vec<u8>>,
}

impl Wallbox {
    fn new(manners: Manners) -> Self {
        let mut input: BTreeMap<u16, u16> = (5..19).map(|address| (address, 0)).collect();
        input.extend([(4, 0x107), (5, 7), (10, 230), (11, 230), (12, 230), (100, 16), (101, 6)]);
        input.extend((102..134).map(|address| (address, 0x4142)));
        Self { manners, input, holding: [(257, 30_000), (261, 0), (262, 60)].into(), requests: vec![] }
    }

    /// Unit, function and data of a reply, without a checksum.
    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let (unit, function, addr, second) = (request[0], request[1], word(2), word(4));
        if function == 6 {
            self.holding.insert(addr, second);
            return request[..6].to_vec();
        }
        let table = if function == 4 { &self.input } else { &self.holding };
        let words: Option<Vec<u16>> = (addr..addr + second).map(|address| table.get(&address).copied()).collect();
        match words {
            Some(words) => {
                let mut bytes = vec![unit, function, u8::try_from(words.len() * 2).unwrap()];
                bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                bytes
            }
            None => vec![unit, function | 0x80, 2],
        }
    }
}

/// A pseudo-terminal with a wallbox behind it.
pub(crate) struct Cable {
    wallbox: Arc<Mutex<Wallbox>>,
    pub(crate) path: PathBuf,
    /// Held open: otherwise the slave would be closed between two openings, and the task would end.
    _slave: SerialStream,
    _task: JoinSet<()>,
}

impl Cable {
    pub(crate) fn new(manners: Manners) -> Self {
        let (mut master, slave) = SerialStream::pair().unwrap();
        let path = slave.name().unwrap().into();
        let wallbox = Arc::new(Mutex::new(Wallbox::new(manners)));
        let shared = Arc::clone(&wallbox);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut request = vec![0; 8];
            while master.read_exact(&mut request).await.is_ok() {
                let manners = shared.lock().unwrap().manners.clone();
                if manners.echoes {
                    master.write_all(&request).await.unwrap();
                }
                shared.lock().unwrap().requests.push(request.clone());
                if manners.mute {
                    continue;
                }
                tokio::time::sleep(manners.delay).await;
                let answer = framed(shared.lock().unwrap().answer(&request));
                let answer = manners.instead.unwrap_or(answer);
                master.write_all(&[manners.stray, answer, manners.trailing].concat()).await.unwrap();
            }
        });
        Self { wallbox, path, _slave: slave, _task: task }
    }

    fn link(&self) -> LinkConfig {
        LinkConfig::Serial { path: self.path.clone() }
    }

    async fn one_shot(&self) -> OneShot {
        let defaults = profile::load("heidelberg-energy-control").unwrap().link;
        let opened = async {
            loop {
                // Another test is starting a program, or has just ended: for that moment it holds a pseudo-terminal of this number.
                match OneShot::open(self.link(), defaults, Clock::start(4)).await {
                    Err(OpenError::Busy | OpenError::Ours) => tokio::time::sleep(Duration::from_millis(20)).await,
                    other => return other.unwrap(),
                }
            }
        };
        timeout(LIMIT, opened).await.expect("the pseudo-terminal is free in the end")
    }

    fn manners(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.wallbox.lock().unwrap().manners);
    }

    fn holding(&self, address: u16) -> u16 {
        self.wallbox.lock().unwrap().holding[&address]
    }
}

async fn ask(line: &mut OneShot, op: Operation) -> Outcome {
    ask_within(line, op, Millis(2_000)).await
}

async fn ask_within(line: &mut OneShot, op: Operation, reply: Millis) -> Outcome {
    let asking = async {
        loop {
            // A line that must be reopened may be held for a moment, as above.
            match line.ask(Request { unit: 1, op }, reply).await {
                Err(OpenError::Busy | OpenError::Ours) => tokio::time::sleep(Duration::from_millis(20)).await,
                other => return other.unwrap(),
            }
        }
    };
    timeout(LIMIT, asking).await.expect("an end")
}

/// The wallbox on `link`; `unlock_first` tells whether the last run left it locked.
fn wallbox(link: LinkConfig, reply: Option<Millis>, unlock_first: bool) -> (ChargerSetup, Arc<Profile>, bus::Before) {
    let profile = profile::load("heidelberg-energy-control").unwrap();
    let setup = ChargerSetup {
        name: "carport".to_owned(),
        profile: profile.name.clone(),
        link,
        unit: 1,
        poll: Millis(1_000),
        watchdog: Millis(15_000),
        safe_current: Milliamps(0),
        standby: false,
        phase_switch: None,
        reply,
    };
    (setup, profile, bus::Before { unlock_first, memory: None })
}

struct Rig {
    bus: Bus,
    events: mpsc::Receiver<BusEvent>,
    clock: Clock,
}

impl Rig {
    fn start(link: LinkConfig, reply: Option<Millis>) -> Self {
        let clock = Clock::start(4);
        let (sender, events) = mpsc::channel(64);
        let wallbox = wallbox(link.clone(), reply, false);
        let bus = bus::spawn(link, [(ID, wallbox)].into(), clock, sender, None).unwrap();
        Self { bus, events, clock }
    }

    fn order(&self, amps: u32) {
        let valid_until = self.clock.now() + Millis::from_secs(3_600);
        let setpoint = Some(Milliamps(amps * 1_000));
        self.bus.send(BusCommand::Order(Order { charger: ID, setpoint, phases: None, valid_until }));
    }

    async fn until<T>(&mut self, wanted: impl Fn(&BusEvent) -> Option<T>) -> T {
        timeout(LIMIT, async {
            loop {
                if let Some(found) = wanted(&self.events.recv().await.expect("an event before the end")) {
                    return found;
                }
            }
        })
        .await
        .expect("what is waited for never came")
    }

    async fn proven(&mut self, amps: u32) {
        self.order(amps);
        let proven = |report: &ChargerReport| {
            report.link == Reachability::Online && report.setpoint == Some(Milliamps(amps * 1_000))
        };
        self.until(|event| matches!(event, BusEvent::Report(report) if proven(report)).then_some(())).await;
    }
}

#[tokio::test]
async fn an_adapter_that_echoes_is_used_and_said() {
    let cable = Cable::new(Manners { echoes: true, ..Manners::default() });
    let mut line = cable.one_shot().await;
    assert_eq!(ask(&mut line, LAYOUT).await, Outcome::Registers(vec![0x107]));
    assert_eq!(ask(&mut line, LAYOUT).await, Outcome::Registers(vec![0x107]));
    assert_eq!(line.remarks(), [Remark::Echo], "said once");
    cable.manners(|manners| manners.mute = true);
    assert_eq!(ask(&mut line, LAYOUT).await, Outcome::Failed(Failure::EchoOnly));
    drop(line);
    cable.manners(|manners| manners.mute = false);
    let mut rig = Rig::start(cable.link(), None);
    rig.proven(10).await;
    rig.proven(16).await;
    assert_eq!((cable.holding(261), cable.holding(257), cable.holding(262)), (160, 15_000, 0));
}

/// The copy that the adapter returns is, byte for byte, the acknowledgement of a write.
#[tokio::test]
async fn a_silent_wallbox_behind_an_echo_has_acknowledged_nothing() {
    let cable = Cable::new(Manners { echoes: true, ..Manners::default() });
    let mut rig = Rig::start(cable.link(), None);
    rig.proven(10).await;
    cable.manners(|manners| manners.mute = true);
    rig.order(16);
    let failure = |event: &BusEvent| match event {
        BusEvent::Notice { notice: Notice::LinkLost { failure }, .. } => Some(*failure),
        BusEvent::Report(report) => {
            assert_ne!(report.setpoint, Some(Milliamps(16_000)), "the echo was taken for an acknowledgement");
            None
        }
        BusEvent::Notice { .. }
        | BusEvent::LineDown { .. }
        | BusEvent::NextTry { .. }
        | BusEvent::WakeUpDone(_)
        | BusEvent::ShutDown { .. }
        | BusEvent::Ended => None,
    };
    assert_eq!(rig.until(failure).await, Failure::EchoOnly);
}

/// A lock left over from a crash is cleared first, by a write: from that alone, an echo could not be told from an acknowledgement.
#[tokio::test]
async fn nothing_is_written_before_something_was_read() {
    for echoes in [false, true] {
        let cable = Cable::new(Manners { echoes, ..Manners::default() });
        let clock = Clock::start(4);
        let (sender, mut events) = mpsc::channel(64);
        let bus =
            bus::spawn(cable.link(), [(ID, wallbox(cable.link(), None, true))].into(), clock, sender, None).unwrap();
        let woken = async { while events.recv().await.expect("an event") != BusEvent::WakeUpDone(ID) {} };
        timeout(LIMIT, woken).await.expect("unlocked");
        drop(bus);
        let requests = cable.wallbox.lock().unwrap().requests.clone();
        assert_eq!(requests[0], framed(vec![1, 4, 0, 4, 0, 1]), "the layout is read");
        assert_eq!(requests[1], framed(vec![1, 6, 1, 3, 0, 1]), "and then it is unlocked");
        assert_eq!(cable.holding(259), 1);
    }
}

#[tokio::test]
async fn stray_bytes_around_answers_are_skipped_and_said() {
    for (stray, trailing) in [
        (vec![0x00], vec![]),
        (vec![0xff], vec![0xff]),
        (vec![0x01], vec![0x00]),
        (vec![0x01, 0x04], vec![]),
        (vec![0x55; 60], vec![0x55; 3]),
    ] {
        let cable = Cable::new(Manners { stray: stray.clone(), trailing, ..Manners::default() });
        let mut line = cable.one_shot().await;
        for _ in 0..3 {
            assert_eq!(ask(&mut line, LAYOUT).await, Outcome::Registers(vec![0x107]), "{stray:x?}");
        }
        assert!(line.remarks().contains(&Remark::Strays(Sample::of(&stray))), "{stray:x?}");
    }
    let cable = Cable::new(Manners { stray: vec![0], trailing: vec![0xff], ..Manners::default() });
    let mut rig = Rig::start(cable.link(), None);
    rig.proven(10).await;
    rig.proven(16).await;
    assert_eq!(cable.holding(261), 160);
}

#[tokio::test]
async fn what_came_instead_of_an_answer_is_said() {
    let cable = Cable::new(Manners::default());
    let mut line = cable.one_shot().await;
    line.listen_for(Millis(1));
    let late = [framed(vec![1, 4, 2, 0, 9]), framed(vec![1, 4, 2, 1, 7])].concat();
    for (instead, failure) in [
        (vec![0xfe, 0x00, 0x7e], Failure::Noise(Sample::of(&[0xfe, 0x00, 0x7e]))),
        (framed(vec![2, 4, 2, 1, 7]), Failure::Malformed(Flaw::Unit(2))),
        (framed(vec![1, 4, 4, 1, 7, 1, 7]), Failure::Malformed(Flaw::Length)),
        (framed(vec![1, 3, 2, 1, 7]), Failure::Malformed(Flaw::Function)),
        // One of the two belongs to an earlier request; which one is unknown.
        (late, Failure::Malformed(Flaw::Twice)),
    ] {
        cable.manners(|manners| manners.instead = Some(instead.clone()));
        assert_eq!(ask(&mut line, LAYOUT).await, Outcome::Failed(failure), "{instead:x?}");
        cable.manners(|manners| manners.instead = None);
        assert_eq!(ask(&mut line, LAYOUT).await, Outcome::Registers(vec![0x107]), "after {instead:x?}");
    }
}

#[tokio::test]
async fn slow_answers_are_measured_and_waited_for_where_that_is_configured() {
    // Four times real time: 600 ms are 2.4 s, and no wait for a reply is shorter than 250 ms.
    let cable = Cable::new(Manners { delay: Duration::from_millis(600), ..Manners::default() });
    let mut line = cable.one_shot().await;
    let asking = async {
        loop {
            let outcome = ask_within(&mut line, LAYOUT, Millis(500)).await;
            // A machine that stood still sees the reply before it sees that the time is over.
            if !matches!(outcome, Outcome::Registers(_)) {
                return outcome;
            }
        }
    };
    let outcome = timeout(LIMIT, asking).await.unwrap();
    let Outcome::Failed(Failure::Late { after, limit: Millis(500) }) = outcome else { panic!("{outcome:?}") };
    assert!(after >= Millis(2_400), "{after:?}");
    assert!(line.remarks().iter().any(|remark| matches!(remark, Remark::Late { .. })));
    assert_eq!(ask_within(&mut line, LAYOUT, Millis(60_000)).await, Outcome::Registers(vec![0x107]));
    drop(line);
    let mut rig = Rig::start(cable.link(), Some(Millis(5_000)));
    rig.proven(10).await;
    drop(rig);
    let mut rig = Rig::start(cable.link(), None);
    let lost =
        |event: &BusEvent| matches!(event, BusEvent::Notice { notice: Notice::LinkLost { .. }, .. }).then_some(());
    rig.until(lost).await;
}

#[tokio::test]
async fn a_device_that_this_program_has_open_by_another_name_is_told_from_one_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("rs485");
    let cable = Cable::new(Manners::default());
    symlink(&cable.path, &name).unwrap();
    let _first = cable.one_shot().await;
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    let second = OneShot::open(LinkConfig::Serial { path: name }, defaults, Clock::start(4)).await;
    assert_eq!(second.err(), Some(OpenError::Ours));
}

/// A Modbus TCP gateway.
struct Gateway {
    wallbox: Arc<Mutex<Wallbox>>,
    connections: Arc<Mutex<u32>>,
    link: LinkConfig,
    _task: JoinSet<()>,
}

impl Gateway {
    /// It closes each connection after this many replies.
    async fn closing_after(answers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = LinkConfig::Tcp { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let wallbox = Arc::new(Mutex::new(Wallbox::new(Manners::default())));
        let connections = Arc::new(Mutex::new(0));
        let (shared, counted) = (Arc::clone(&wallbox), Arc::clone(&connections));
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                *counted.lock().unwrap() += 1;
                let mut request = [0; 12];
                for left in (0..=answers).rev() {
                    if stream.read_exact(&mut request).await.is_err() || left == 0 {
                        break;
                    }
                    let answer = {
                        let mut wallbox = shared.lock().unwrap();
                        wallbox.requests.push(request[6..].to_vec());
                        wallbox.answer(&request[6..])
                    };
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&request[..4], &length, &answer].concat()).await.unwrap();
                    if left == 1 && answers > 0 {
                        break;
                    }
                }
            }
        });
        Self { wallbox, connections, link, _task: task }
    }
}

#[tokio::test]
async fn a_gateway_that_closes_after_each_answer_is_used_as_it_is() {
    for answers in [1, 3] {
        let gateway = Gateway::closing_after(answers).await;
        let mut rig = Rig::start(gateway.link.clone(), None);
        rig.proven(10).await;
        rig.proven(16).await;
        // Nothing was lost meanwhile.
        let mut polls = 0;
        while polls < 20 {
            polls += rig
                .until(|event| match event {
                    BusEvent::Report(report) => {
                        assert_eq!(report.link, Reachability::Online);
                        Some(1)
                    }
                    BusEvent::Notice { notice, .. } => {
                        assert!(!matches!(notice, Notice::LinkLost { .. } | Notice::Recovered { .. }), "{notice}");
                        None
                    }
                    BusEvent::LineDown { .. }
                    | BusEvent::NextTry { .. }
                    | BusEvent::WakeUpDone(_)
                    | BusEvent::ShutDown { .. }
                    | BusEvent::Ended => None,
                })
                .await;
        }
        assert_eq!(gateway.wallbox.lock().unwrap().holding[&261], 160);
        assert!(*gateway.connections.lock().unwrap() > 10, "closed after {answers}");
    }
    let gateway = Gateway::closing_after(1).await;
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    let mut line = OneShot::open(gateway.link.clone(), defaults, Clock::start(4)).await.unwrap();
    for _ in 0..8 {
        assert_eq!(ask(&mut line, LAYOUT).await, Outcome::Registers(vec![0x107]));
    }
    assert_eq!(line.remarks(), [Remark::ClosedAfterAnswer], "said once");
}

#[tokio::test]
async fn a_gateway_that_closes_without_an_answer_is_tried_with_growing_pauses() {
    let gateway = Gateway::closing_after(0).await;
    let mut rig = Rig::start(gateway.link.clone(), None);
    rig.order(10);
    // Four times real time: 30 s. Pauses of 1, 2, 4, 8 and 16 s.
    tokio::time::sleep(Duration::from_millis(7_500)).await;
    let connections = *gateway.connections.lock().unwrap();
    assert!((2..=8).contains(&connections), "{connections}");
    let lost =
        |event: &BusEvent| matches!(event, BusEvent::Notice { notice: Notice::LinkLost { .. }, .. }).then_some(());
    rig.until(lost).await;
}
