//! A wallbox that cannot be controlled, on a real pseudo-terminal: frames are counted and the current is measured at the wallbox.

use std::time::Duration;

use control::{ChargerId, Milliamps, Millis, Order};
use surplusd::charger::bus::{self, BusCommand, BusEvent};
use surplusd::charger::driver::{Notice, Trouble};
use surplusd::charger::profile;
use surplusd::clock::Clock;
use surplusd::config::{ChargerSetup, LinkConfig};
use surplusd::sim::plant::CarSignal;
use surplusd::sim::port::WallboxPort;
use surplusd::sim::wallbox::{Fault, LogKind, Wallbox, WallboxOptions};
use tokio::sync::mpsc;
use tokio::time::timeout;

const ID: ChargerId = ChargerId(0);
const WATCHDOG: Millis = Millis(15_000);
/// Upper limit: nothing here takes that long, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The current that the wallbox allows, and the number of requests it has received; the car keeps asking.
fn look(port: &WallboxPort, clock: Clock) -> (u16, usize) {
    let mut wallbox = port.wallbox();
    let amps = f64::from(wallbox.pilot().offer_deciamps) / 10.0;
    wallbox.tick(clock.now().0, CarSignal { plugged: true, asks: true, amps: [amps; 3] });
    let heard = wallbox.log().filter(|entry| entry.kind == LogKind::Request).count();
    (wallbox.allowed_deciamps(), heard)
}

async fn is_left_alone(fault: Fault) {
    // Faster than real time, to shorten the test; slow enough for a busy machine.
    let clock = Clock::start(4);
    let options = WallboxOptions { setpoint_default: 160, ..WallboxOptions::default() };
    let port = WallboxPort::open(Wallbox::new(options), clock, None).unwrap();
    let profile = profile::load("heidelberg-energy-control").unwrap();
    let link = LinkConfig::Serial { path: port.path().to_owned() };
    let setup = ChargerSetup {
        name: "carport".to_owned(),
        profile: profile.name.clone(),
        link: link.clone(),
        unit: 1,
        poll: Millis(1_000),
        reply: None,
        watchdog: WATCHDOG,
        safe_current: Milliamps(0),
        standby: false,
        phase_switch: None,
    };
    let (sender, mut events) = mpsc::channel(1_024);
    let bus = bus::spawn(link, [(ID, (setup, profile, bus::Before::default()))].into(), clock, sender, None).unwrap();
    let order = |amps: u32| {
        bus.send(BusCommand::Order(Order {
            charger: ID,
            setpoint: Some(Milliamps(amps * 1_000)),
            phases: None,
            valid_until: clock.now() + Millis::from_secs(3_600),
        }));
    };
    order(16);
    let whole = timeout(LIMIT, async {
        let charges = |event: &BusEvent| {
            matches!(event, BusEvent::Report(report) if report.setpoint == Some(Milliamps(16_000))
                && port.wallbox().registers().watchdog_ms == 15_000)
        };
        while !charges(&events.recv().await.expect("an event before the end")) {
            look(&port, clock);
        }
        // A machine that stands still for seconds lets its watchdog expire for a moment.
        while look(&port, clock).0 != 160 {
            clock.sleep(Millis(200)).await;
        }
        port.wallbox().fault(fault.clone(), None);
        order(0);
        let left = |event: &BusEvent| {
            matches!(event, BusEvent::Notice { notice: Notice::Trouble(Trouble::LeftAlone { .. }), .. })
        };
        while !left(&events.recv().await.expect("an event before the end")) {
            look(&port, clock);
        }
        // Switched off by a command, or by its own watchdog.
        while look(&port, clock).0 > 0 || !port.wallbox().bus_lost() {
            clock.sleep(Millis(200)).await;
        }
        // The next attempt comes, followed by silence again.
        let (_, before) = look(&port, clock);
        while look(&port, clock).1 == before {
            clock.sleep(Millis(200)).await;
        }
    });
    whole.await.unwrap_or_else(|_| panic!("{fault:?}: {:#?}", port.wallbox().log().last()));
    let wallbox = port.wallbox();
    let requests: Vec<_> = wallbox.log().filter(|entry| entry.kind == LogKind::Request).collect();
    let blind = [1, 6, 1, 5, 0, 0, 0x98, 0x37];
    assert!(requests.iter().any(|entry| entry.frame == blind), "0 A was never written");
    let longest = requests.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).max().unwrap();
    assert!(longest > WATCHDOG.0, "{longest} ms of silence at the most");
}

#[tokio::test]
async fn a_wallbox_whose_answers_are_lost_is_left_to_its_watchdog() {
    is_left_alone(Fault::Silent).await;
}

#[tokio::test]
async fn a_wallbox_that_keeps_nothing_is_left_to_its_watchdog() {
    is_left_alone(Fault::Forgets).await;
}

#[tokio::test]
async fn a_wallbox_that_declines_everything_is_left_to_its_watchdog() {
    is_left_alone(Fault::Exception(6)).await;
}
