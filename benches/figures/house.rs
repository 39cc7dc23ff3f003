//! The surroundings of the program while it is measured: a Mosquitto with TLS and client certificates, a publisher that acts as Home
//! Assistant, and the program itself with what the kernel reports about it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use surplusd::sim::pki::Pki;

/// How long anything may take to start or to stop.
const SOON: Duration = Duration::from_secs(15);

/// A child process; killed when dropped.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker that admits clients with a certificate of its authority, and any client on its plain listener.
pub(crate) struct Broker {
    pub(crate) pki: Pki,
    pub(crate) tls_port: u16,
    pub(crate) door: u16,
    _process: Process,
}

impl Broker {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let pki = Pki::create(folder)?;
        let (tls_port, door) = (free_port()?, free_port()?);
        let config = format!(
            "per_listener_settings true\npersistence false\nuser root\nlog_dest stderr\n\
             listener {door} 127.0.0.1\nallow_anonymous true\n\
             listener {tls_port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\n\
             cafile {}\ncertfile {}\nkeyfile {}\n",
            pki.ca_file.display(),
            pki.server_cert_file.display(),
            pki.server_key_file.display(),
        );
        let file = folder.join("mosquitto.conf");
        fs::write(&file, config)?;
        let program =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("mosquitto"));
        command.arg("-c").arg(file).stdout(Stdio::null()).stderr(File::create(folder.join("mosquitto.log"))?);
        let process = Process(command.spawn().context("mosquitto cannot be started")?);
        until("mosquitto listens", || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, tls_port)).is_ok()))?;
        Ok(Self { pki, tls_port, door, _process: process })
    }
}

/// Writes the configuration: the defaults, except for names and ports.
pub(crate) fn configure(folder: &Path, broker: &Broker) -> anyhow::Result<PathBuf> {
    let text = format!(
        r#"version = 1
state-file = "{folder}/state.json"
[mqtt]
url = "mqtts://127.0.0.1:{port}"
ca-file = "{ca}"
client-cert-file = "{cert}"
client-key-file = "{key}"
[publish]
charger-power-topic = "home/charger/power"
[[charger]]
name = "carport"
profile = "heidelberg-energy-control"
link = "serial://{folder}/rs485"
wake-after-s = 0
"#,
        folder = folder.display(),
        port = broker.tls_port,
        ca = broker.pki.ca_file.display(),
        cert = broker.pki.client_cert_file.display(),
        key = broker.pki.client_key_file.display(),
    );
    let file = folder.join("surplusd.toml");
    fs::write(&file, text)?;
    Ok(file)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until the condition holds.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !so()? {
        ensure!(began.elapsed() < SOON, "waited too long: {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Connects to a plain listener with this client id, a clean session and no keep-alive.
pub(crate) fn connect(port: u16, [first, second]: [u8; 2]) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    // CONNECT of MQTT 3.1.1, then CONNACK.
    socket.write_all(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02")?;
    socket.write_all(&[first, second])?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer)?;
    ensure!(answer == [0x20, 2, 0, 0], "mosquitto declines: {answer:?}");
    Ok(socket)
}

/// Publishes as Home Assistant's `mqtt_statestream` does: `QoS` 1, retained, each entity separately. Written by hand, so that nothing lies
/// between the stopwatch and the socket.
pub(crate) struct HomeAssistant {
    socket: TcpStream,
    packet: u16,
}

impl HomeAssistant {
    pub(crate) fn connect(broker: &Broker) -> anyhow::Result<Self> {
        let socket = connect(broker.door, *b"ha")?;
        let mut acknowledgements = socket.try_clone()?;
        thread::spawn(move || {
            let mut waste = [0; 256];
            while acknowledgements.read(&mut waste).is_ok_and(|count| count > 0) {}
        });
        Ok(Self { socket, packet: 0 })
    }

    /// Publishes one burst of all meters with this surplus while the cars draw `drawn`, in watts; returns the moment just before the last of
    /// grid and battery was sent.
    pub(crate) fn sample(&mut self, surplus: i32, drawn: i32) -> anyhow::Result<Instant> {
        self.publish("solar", surplus + 400)?;
        self.publish("load", 400 + drawn)?;
        self.publish("battery", -100)?;
        let began = Instant::now();
        self.publish("site", 100 - surplus + drawn)?;
        Ok(began)
    }

    fn publish(&mut self, entity: &str, watts: i32) -> anyhow::Result<()> {
        let sign = if watts < 0 { "-" } else { "" };
        let payload = format!("{sign}{}.{:03}", watts.abs() / 1_000, watts.abs() % 1_000);
        let topic = format!("homeassistant/sensor/powerwall_{entity}_now/state");
        self.packet = self.packet % u16::MAX + 1;
        let rest = 4 + topic.len() + payload.len();
        let mut packet = vec![0x33, u8::try_from(rest)?];
        ensure!(rest < 128, "the length takes one byte");
        packet.extend(u16::try_from(topic.len())?.to_be_bytes());
        packet.extend(topic.as_bytes());
        packet.extend(self.packet.to_be_bytes());
        packet.extend(payload.as_bytes());
        Ok(self.socket.write_all(&packet)?)
    }
}

/// The program under measurement, with the default configuration except for file names and ports.
pub(crate) struct Daemon {
    process: Process,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(program: &Path, config: &Path, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("log");
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stderr(File::create(&log)?);
        Ok(Self { process: Process(command.spawn().context("surplusd cannot be started")?), log })
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The kernel's counters up to now.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.process.0.id()));
        let stat = fs::read_to_string(folder.join("stat"))?;
        // The name in parentheses may contain anything; utime and stime are fields 14 and 15 of proc(5).
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|field| field.parse::<u32>().ok()).context("no times in stat");
        let cpu = Duration::from_millis(10) * (ticks()? + ticks()?);
        let status = fs::read_to_string(folder.join("status"))?;
        let mut waits = 0;
        for task in fs::read_dir(folder.join("task"))? {
            // A thread may have ended meanwhile.
            let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            waits += number(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        let kib = |key| number(&status, key).context("no such line in status");
        Ok(Usage { at: Instant::now(), cpu, waits, rss_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
    }

    /// Stops it as systemd does.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").arg("-TERM").arg(self.process.0.id().to_string()).status()?;
        ensure!(told.success(), "surplusd is no longer running");
        let mut ended = None;
        until("surplusd ends", || {
            ended = self.process.0.try_wait()?;
            Ok(ended.is_some())
        })?;
        match ended {
            Some(status) if status.success() => Ok(()),
            status => bail!("surplusd has ended with {status:?}"),
        }
    }
}

fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)).and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

/// Counters of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) at: Instant,
    /// CPU time, in steps of 10 ms (`USER_HZ` is 100 on every Linux).
    pub(crate) cpu: Duration,
    /// How often any of its threads gave up the processor to wait for something: each wait is followed by a wake-up.
    pub(crate) waits: u64,
    pub(crate) rss_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Usage {
    /// Average CPU use since `since`, in percent of one core.
    pub(crate) fn cpu_percent(&self, since: &Self) -> f64 {
        (self.cpu.saturating_sub(since.cpu)).as_secs_f64() / self.at.duration_since(since.at).as_secs_f64() * 100.0
    }

    /// Wake-ups per second since `since`.
    pub(crate) fn wakes(&self, since: &Self) -> f64 {
        let count = u32::try_from(self.waits.saturating_sub(since.waits)).unwrap_or(u32::MAX);
        f64::from(count) / self.at.duration_since(since.at).as_secs_f64()
    }
}
