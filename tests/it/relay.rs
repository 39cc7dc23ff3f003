//! A wallbox behind a relay: the built program, a real Mosquitto, and a simulated relay, which shares its decision code with the firmware,
//! between the broker and the pseudo-terminal of the simulated wallbox.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use relay_link::contacts::Contacts;
use relay_link::endpoint::RelayHandler;
use relay_link::message::ExchangeFailure;
use relay_link::{ContactState, Endpoint, FRAME_MAX, LeaseRefusal, RS485_MAX, ResetReason, Status};
use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, Packet, QoS};
use surplusd::clock::Clock;
use surplusd::sim::wallbox::WallboxOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use crate::house::{House, sample};

const ID: &str = "pico-carport";

/// The relay's contacts, which outlive a connection: contact 1 drives the house's contactor.
struct Contactor {
    clock: Clock,
    contacts: Mutex<Contacts>,
    closed: Arc<AtomicBool>,
    /// Each movement (closed or not), with the wallbox's offer at that time.
    moved: Mutex<Vec<(bool, u16)>>,
}

impl Contactor {
    fn start(house: &House) -> (Arc<Self>, JoinSet<()>) {
        house.contactor.store(false, Ordering::Relaxed);
        let this = Arc::new(Self {
            clock: Clock::start(1),
            contacts: Mutex::new(Contacts::new(0)),
            closed: Arc::clone(&house.contactor),
            moved: Mutex::default(),
        });
        let (contactor, wallbox) = (Arc::clone(&this), house.port.share());
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let closed = contactor.closed.load(Ordering::Relaxed);
                let output = contactor.lock().tick(contactor.now_ms(), [closed, false])[0];
                if output != closed {
                    let offered = wallbox.lock().unwrap().allowed_deciamps();
                    contactor.moved.lock().unwrap().push((output, offered));
                    contactor.closed.store(output, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        (this, task)
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().0
    }

    fn lock(&self) -> MutexGuard<'_, Contacts> {
        self.contacts.lock().unwrap()
    }

    fn moved(&self) -> Vec<(bool, u16)> {
        self.moved.lock().unwrap().clone()
    }
}

/// The relay's hardware: a serial line, if one is wired, and contacts.
struct Hands {
    line: Option<SerialStream>,
    exchanges: u32,
    contactor: Arc<Contactor>,
}

impl RelayHandler for Hands {
    async fn exchange(
        &mut self,
        request: &[u8],
        reply_timeout_ms: u16,
        expected: u16,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        self.exchanges += 1;
        let line = self.line.as_mut().ok_or(ExchangeFailure::NoBus)?;
        line.clear(ClearBuffer::Input).map_err(|_| ExchangeFailure::NoBus)?;
        line.write_all(request).await.map_err(|_| ExchangeFailure::NoBus)?;
        let mut length = 0;
        let mut limit = Duration::from_millis(reply_timeout_ms.into());
        while length < usize::from(expected) {
            match timeout(limit, line.read(&mut reply[length..])).await {
                Ok(Ok(count)) => length += count,
                Ok(Err(_)) => return Err(ExchangeFailure::NoBus),
                Err(_) if length == 0 => return Err(ExchangeFailure::Timeout),
                Err(_) => break,
            }
            limit = Duration::from_millis(200);
        }
        Ok(length)
    }

    fn lease(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        self.contactor.lock().lease(contact, seconds, self.contactor.now_ms())
    }

    fn renew(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        self.contactor.lock().renew(contact, seconds, self.contactor.now_ms())
    }

    fn status(&mut self) -> Status {
        Status {
            uptime_s: 1,
            rssi_dbm: -50,
            temperature_centi_c: 2_000,
            reset: ResetReason::PowerOn,
            contacts: self.contactor.lock().states(self.contactor.now_ms()),
            exchanges: self.exchanges,
            timeouts: 0,
            garbage: 0,
            version: [0, 1, 0],
        }
    }

    fn identify(&mut self, _: u8) {}

    fn firmware(&self) -> [u8; 3] {
        [0, 1, 0]
    }
}

/// A running relay; when dropped, its last will is sent.
struct Relay(#[expect(dead_code, reason = "held for its end")] JoinSet<()>);

impl Relay {
    fn start(house: &House) -> Self {
        let (contactor, task) = Contactor::start(house);
        Self::with(house, Some(house.port.path().to_owned()), contactor, task)
    }

    fn with(house: &House, line: Option<PathBuf>, contactor: Arc<Contactor>, mut task: JoinSet<()>) -> Self {
        task.spawn(work(house.broker.door, line, contactor));
        Self(task)
    }
}

async fn work(port: u16, line: Option<PathBuf>, contactor: Arc<Contactor>) {
    let topic = |side: &str| format!("surplusd-relay/{ID}/{side}");
    let open = |line: PathBuf| SerialStream::open(&tokio_serial::new(line.display().to_string(), 19_200)).unwrap();
    let mut hands = Hands { line: line.map(open), exchanges: 0, contactor };
    let mut endpoint = Endpoint::new(fastrand::u32(..));
    let mut options = MqttOptions::new(ID, "127.0.0.1", port);
    options.set_last_will(LastWill::new(topic("online"), "offline", QoS::AtLeastOnce, true));
    let (client, mut events) = AsyncClient::new(options, 100);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.try_subscribe(topic("to"), QoS::AtLeastOnce).unwrap();
                client.try_publish(topic("online"), QoS::AtLeastOnce, true, "online").unwrap();
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let mut out = [0; FRAME_MAX];
                if let Some(length) = endpoint.handle_frame(&message.payload, &mut hands, &mut out).await {
                    client.try_publish(topic("from"), QoS::AtLeastOnce, false, &out[..length]).unwrap();
                }
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn behind_a_relay() -> House {
    let mut house = House::build(WallboxOptions::default()).await;
    house.watchdog_s = 4;
    house.link = Some(format!("relay://{ID}"));
    house.extra = "mode = \"solar\"\n".to_owned();
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_behind_a_relay_is_driven_and_left_at_its_safe_current() {
    let mut house = behind_a_relay().await;
    let _relay = Relay::start(&house);
    house.start();
    house.logged("charger carport: connected").await;
    let peer = house.peer().await;
    sample(&peer, 6_900, 0);
    house.setpoint(100).await;
    house.signal("TERM");
    assert_eq!(house.ended().await.code(), Some(0));
    assert_eq!(house.port.wallbox().registers().setpoint, 0, "{}", house.log());
    house.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_lets_the_box_fail_safe_and_is_taken_back() {
    let mut house = behind_a_relay().await;
    let relay = Relay::start(&house);
    house.extra = "mode = \"fast\"\n".to_owned();
    house.start();
    house.setpoint(160).await;
    drop(relay);
    house.logged("the relay is not connected").await;
    house.until("the box falls to its fail-safe current", |wallbox| wallbox.allowed_deciamps() == 0).await;
    let _relay = Relay::start(&house);
    house.logged("answers again").await;
    house.until("charges again", |wallbox| wallbox.allowed_deciamps() == 160).await;
    house.assert_well_behaved();
}

/// The safe sequence with everything real except mains and Pico: from rest to three phases; and when the relay is lost, the charge ends
/// before the lease does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contact_switches_the_phases_and_never_under_load() {
    let mut house = House::build(WallboxOptions::default()).await;
    house.watchdog_s = 4;
    let (contactor, _ticking) = Contactor::start(&house);
    let relay = Relay::with(&house, None, Arc::clone(&contactor), JoinSet::new());
    house.extra =
        format!("mode = \"fast\"\nphase-switch = {{ relay = \"{ID}\", contact = 1 }}\nphase-switch-pause-s = 10\n");
    house.start();
    house.logged("changing to three phases").await;
    house.logged("three phases connected").await;
    assert_eq!(contactor.moved(), [(true, 0)]);
    house.setpoint(60).await;
    house.setpoint(160).await;
    drop(relay);
    house.setpoint(0).await;
    assert_eq!(contactor.moved(), [(true, 0)], "the charge ends first");
    house.logged("the contact that switches its phases: the relay is not connected").await;
    house.until("the lease ends", |_| contactor.moved() == [(true, 0), (false, 0)]).await;
    let _relay = Relay::with(&house, None, Arc::clone(&contactor), JoinSet::new());
    house.logged("the relay that switches its phases answers again").await;
    house.logged("one phase connected").await;
    house.signal("TERM");
    assert_eq!(house.ended().await.code(), Some(0));
    assert!(contactor.moved().iter().all(|(_, offered)| *offered == 0), "{:?}", contactor.moved());
    house.assert_well_behaved();
}

/// The gateway's part, played from a shell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shell_speaks_to_a_relay() {
    let house = behind_a_relay().await;
    house.configure(16);
    let file = house.config_file();
    let shell = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_surplusd"));
        command.arg("relay").args(arguments).arg("--config").arg(&file);
        async move {
            let output = command.output().await.unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        }
    };
    assert_eq!(
        shell(&["list"]).await,
        (Some(0), "no relay has ever connected to this broker\n".to_owned(), String::new())
    );
    let _relay = Relay::start(&house);
    let mut peer = house.peer().await;
    peer.expect(&format!("surplusd-relay/{ID}/online"), "online").await;

    let (code, out, _) = shell(&["list"]).await;
    assert_eq!((code, out.split_whitespace().collect::<Vec<_>>()), (Some(0), vec![ID, "online"]));
    let (code, out, _) = shell(&["status", ID]).await;
    assert_eq!(code, Some(0));
    for text in ["firmware 0.1.0, up for 1 s (last start: power on)", "-50 dBm, chip at 20.0 °C", "contact 2  open"] {
        assert!(out.contains(text), "{text}: {out}");
    }
    assert_eq!(shell(&["identify", ID, "--seconds", "3"]).await.1, format!("{ID} blinks for 3 s\n"));
    let (_, out, _) = shell(&["poke", ID, "2", "--seconds", "5"]).await;
    assert_eq!(out, format!("contact 2 of {ID}: closed for 5.0 s more, not yet followed by the contactor\n"));

    // A contact that the gateway switches cannot be switched by hand.
    let mut house = house;
    house.extra = format!("phase-switch = {{ relay = \"{ID}\", contact = 2 }}\n");
    house.configure(16);
    let (code, _, said) = shell(&["poke", ID, "2"]).await;
    assert!(code == Some(69) && said.contains("contact 2 of pico-carport switches the phases of carport"), "{said}");
    assert_eq!(shell(&["poke", ID, "2", "--force"]).await.0, Some(0));

    let (code, _, said) = shell(&["status", "nobody"]).await;
    assert_eq!(code, Some(69));
    assert!(said.contains("relay nobody: the relay did not answer in time"), "{said}");
    for wrong in [&["status", "No!"][..], &["poke", ID, "3"], &["poke", ID, "1", "--seconds", "61"]] {
        assert_eq!(shell(wrong).await.0, Some(2), "{wrong:?}");
    }
}
