//! From three phases to one and back over the real bus and a pseudo-terminal, with a charging car: what is sent on the line, and in which
//! order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::{ChargerId, ChargerReport, Fault, Milliamps, Millis, Order};
use surplusd::charger::bus::{self, Bus, BusCommand, BusEvent};
use surplusd::charger::driver::Notice;
use surplusd::charger::profile::{self, LinkDefaults, Profile};
use surplusd::clock::Clock;
use surplusd::config::{ChargerSetup, LinkConfig, PhaseSwitch};
use surplusd::sim::plant::CarSignal;
use surplusd::sim::port::WallboxPort;
use surplusd::sim::registers::Layout;
use surplusd::sim::wallbox::{LogKind, SwitchFault, Wallbox, WallboxOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const ID: ChargerId = ChargerId(0);
/// Upper limit: a change takes three minutes at most, at five times real time.
const LIMIT: Duration = Duration::from_secs(180);
const SPEED: u32 = 5;
/// How long the car keeps drawing after a stop command, in milliseconds.
const STOPS_AFTER_MS: u64 = 3_000;

// Requests of unit 1.
const TEN_AMPS: &str = "01 06 01 05 00 64 99 dc";
const SIX_AMPS: &str = "01 06 01 05 00 3c 98 26";
const OFF: &str = "01 06 01 05 00 00 98 37";
const ONE_PHASE: &str = "01 06 01 f5 00 01 59 c4";
const THREE_PHASES: &str = "01 06 01 f5 00 03 d8 05";
const READ_COMMAND: &str = "01 03 01 f5 00 01 95 c4";
const READ_STATE: &str = "01 04 13 89 00 01 e4 a4";

struct Rig {
    bus: Bus,
    events: mpsc::Receiver<BusEvent>,
    clock: Clock,
    port: WallboxPort,
    /// The times at which the car stopped drawing.
    stopped: Arc<Mutex<Vec<u64>>>,
    _car: JoinSet<()>,
}

impl Rig {
    fn start() -> Self {
        let clock = Clock::start(SPEED);
        // A generous gap: time runs fast, but the machine may not.
        let options = WallboxOptions {
            layout: Layout::Connect2_0_4,
            voltages: [230; 3],
            switch_s: 20,
            reply_delay_ms: 0,
            line_time: false,
            gap_ms: 2_000,
            ..WallboxOptions::default()
        };
        let port = WallboxPort::open(Wallbox::new(options), clock, None).unwrap();
        let shared = port.share();
        let stopped = Arc::new(Mutex::new(Vec::new()));
        let stops = Arc::clone(&stopped);
        let mut car = JoinSet::new();
        car.spawn(async move {
            let (mut drawing_until, mut drew) = (0, false);
            loop {
                {
                    let now_ms = clock.now().0;
                    let mut wallbox = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let pilot = wallbox.pilot();
                    if pilot.offer_deciamps > 0 {
                        drawing_until = now_ms + STOPS_AFTER_MS;
                    }
                    let drawn =
                        if now_ms < drawing_until { f64::from(pilot.offer_deciamps.max(60)) / 10.0 } else { 0.0 };
                    if std::mem::replace(&mut drew, drawn > 0.0) && !drew {
                        stops.lock().unwrap().push(now_ms);
                    }
                    let mut amps = [0.0; 3];
                    amps.iter_mut().take(usize::from(pilot.phases)).for_each(|phase| *phase = drawn);
                    wallbox.tick(now_ms, CarSignal { plugged: true, asks: true, amps });
                }
                clock.sleep(Millis(200)).await;
            }
        });
        let link = LinkConfig::Serial { path: port.path().to_owned() };
        let setup = ChargerSetup {
            name: "carport".to_owned(),
            profile: "amperfied-connect".to_owned(),
            link: link.clone(),
            unit: 1,
            poll: Millis(1_000),
            watchdog: Millis(60_000),
            safe_current: Milliamps(0),
            standby: false,
            phase_switch: Some(PhaseSwitch::Charger),
            reply: None,
        };
        let (sender, events) = mpsc::channel(256);
        // Every reply comes, however busy the machine: no request is repeated.
        let profile = profile::load(&setup.profile).unwrap();
        let times = LinkDefaults { reply: Millis(10_000 * u64::from(SPEED)), ..profile.link };
        let profile = Arc::new(Profile { link: times, ..Profile::clone(&profile) });
        let bus =
            bus::spawn(link, [(ID, (setup, profile, bus::Before::default()))].into(), clock, sender, None).unwrap();
        Self { bus, events, clock, port, stopped, _car: car }
    }

    fn order(&self, amps: u32, phases: u8) {
        self.bus.send(BusCommand::Order(Order {
            charger: ID,
            setpoint: Some(Milliamps(amps * 1_000)),
            phases: Some(phases),
            valid_until: self.clock.now() + Millis::from_secs(3_600),
        }));
    }

    /// Receives events until the wanted one; returns what `wanted` made of it.
    async fn until<T>(&mut self, what: &str, wanted: impl Fn(&BusEvent) -> Option<T>) -> T {
        let seen = async {
            loop {
                if let Some(found) = wanted(&self.events.recv().await.expect("an event before the end")) {
                    return found;
                }
            }
        };
        let seen = timeout(LIMIT, seen).await;
        seen.unwrap_or_else(|_| panic!("{what} never came; requests: {:#?}", self.requests()))
    }

    async fn report(&mut self, what: &str, wanted: impl Fn(&ChargerReport) -> bool) -> ChargerReport {
        self.until(
            what,
            |event| if let BusEvent::Report(report) = event { wanted(report).then_some(*report) } else { None },
        )
        .await
    }

    fn requests(&self) -> Vec<String> {
        let wallbox = self.port.wallbox();
        let requests = wallbox.log().filter(|entry| entry.kind == LogKind::Request);
        requests.map(|entry| hex(&entry.frame)).collect()
    }

    /// The writes to the registers of current and phases.
    fn writes(&self) -> Vec<String> {
        let of_interest = |frame: &String| frame.starts_with("01 06 01 05") || frame.starts_with("01 06 01 f5");
        self.requests().into_iter().filter(of_interest).collect()
    }
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn draws(report: &ChargerReport, amps: u32, phases: usize) -> bool {
    report
        .currents
        .is_some_and(|currents| currents.iter().filter(|current| current.0 == amps * 1_000).count() == phases)
}

#[tokio::test]
async fn three_phases_to_one_and_back_in_a_safe_order_of_frames() {
    let mut rig = Rig::start();
    rig.order(10, 3);
    rig.report("a charge on three phases", |report| report.connected == Some(3) && draws(report, 10, 3)).await;
    rig.order(0, 1);
    rig.report("the stop", |report| report.setpoint == Some(Milliamps(0)) && draws(report, 0, 3)).await;
    rig.report("the change", |report| report.connected.is_none()).await;
    // Too early: no current may flow before the new number has been read back and has settled.
    rig.order(6, 1);
    rig.report("one phase", |report| report.connected == Some(1)).await;
    rig.report("a charge on one phase", |report| draws(report, 6, 1)).await;
    rig.order(0, 3);
    rig.report("three phases", |report| report.connected == Some(3) && report.setpoint == Some(Milliamps(0))).await;
    rig.order(10, 3);
    rig.report("a charge on three phases", |report| draws(report, 10, 3)).await;
    // The first current after a change is the lowest one.
    assert_eq!(rig.writes(), [TEN_AMPS, OFF, ONE_PHASE, SIX_AMPS, OFF, THREE_PHASES, SIX_AMPS, TEN_AMPS]);
    // Between the command and the current, the command is read back, then the state, until it shows the new number.
    let requests = rig.requests();
    let at = |frame: &str| requests.iter().position(|request| request == frame).expect("was asked");
    let between = &requests[at(ONE_PHASE)..at(SIX_AMPS)];
    let first = |frame: &str| between.iter().position(|request| request == frame).expect("was asked in between");
    assert!(first(READ_COMMAND) < first(READ_STATE), "{between:#?}");
    let wallbox = rig.port.wallbox();
    // The wallbox rejects and records a change under load.
    assert_eq!(wallbox.last_forbidden(), None);
    let entries: Vec<_> = wallbox.log().collect();
    let place = |frame: &str| entries.iter().position(|entry| hex(&entry.frame) == frame).expect("was sent");
    let commanded = place(ONE_PHASE);
    let resumed = place(SIX_AMPS);
    let states: Vec<u8> = entries[commanded..resumed]
        .windows(2)
        .filter(|pair| hex(&pair[0].frame) == READ_STATE && pair[1].kind == LogKind::Reply)
        .map(|pair| pair[1].frame[4])
        .collect();
    assert_eq!(states.first(), Some(&0), "changing");
    assert_eq!(states.last(), Some(&1), "one phase is read back before any current");
    // The car had been stopped, and had stopped drawing, well before.
    assert!(place(OFF) < commanded);
    assert!(entries[commanded].at_ms >= rig.stopped.lock().unwrap()[0] + 6_000);
}

#[tokio::test]
async fn a_box_that_does_not_change_its_phases_goes_on_as_it_was() {
    let mut rig = Rig::start();
    rig.port.wallbox().set_switch_fault(Some(SwitchFault::Ignores));
    rig.order(10, 3);
    rig.report("a charge on three phases", |report| draws(report, 10, 3)).await;
    rig.order(0, 1);
    rig.report("the change", |report| report.connected.is_none()).await;
    rig.order(6, 1);
    let failed = BusEvent::Notice { charger: ID, notice: Notice::PhasesNotConfirmed { to: 1, connected: Some(3) } };
    rig.until("the failure", |event| (*event == failed).then_some(())).await;
    assert_eq!(rig.port.wallbox().registers().setpoint, 0);
    let report = rig.report("three phases", |report| report.connected.is_some()).await;
    assert_eq!((report.connected, report.fault), (Some(3), None));
    rig.report("a charge on three phases", |report| draws(report, 6, 3)).await;
    assert_eq!(rig.writes(), [TEN_AMPS, OFF, ONE_PHASE, THREE_PHASES, SIX_AMPS]);
    assert_eq!(rig.port.wallbox().last_forbidden(), None);
}

#[tokio::test]
async fn a_box_that_hangs_in_a_change_of_phases_gets_no_current() {
    let mut rig = Rig::start();
    rig.port.wallbox().set_switch_fault(Some(SwitchFault::Hangs));
    rig.order(10, 3);
    rig.report("a charge on three phases", |report| draws(report, 10, 3)).await;
    rig.order(0, 1);
    rig.report("the change", |report| report.connected.is_none()).await;
    rig.order(6, 1);
    let report = rig.report("the fault", |report| report.fault.is_some()).await;
    assert_eq!((report.connected, report.fault), (None, Some(Fault::Phases)));
    assert_eq!(rig.writes(), [TEN_AMPS, OFF, ONE_PHASE]);
}
