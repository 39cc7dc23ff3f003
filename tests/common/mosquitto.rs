//! A real Mosquitto on a free loopback port, certificates for it, and a plain client for observing it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Upper limit: nothing on the loopback interface takes that long, even on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A broker; killed when dropped.
pub(crate) struct Broker {
    pub(crate) port: u16,
    /// Port of a plain listener for the tests themselves, whatever the other listener requires.
    pub(crate) door: u16,
    folder: TempDir,
    pub(crate) child: Option<Child>,
}

impl Broker {
    /// A broker on both loopback addresses with these lines in the configuration of each listener.
    pub(crate) async fn start(listener: &str) -> Self {
        Self::configured(|port, door| configuration(port, door, listener)).await
    }

    /// A broker with a configuration file made for two free ports: [`Broker::port`] and [`Broker::door`].
    pub(crate) async fn configured(file: impl Fn(u16, u16) -> String) -> Self {
        for _ in 0..10 {
            let folder = tempfile::tempdir().expect("scratch folder");
            let mut broker = Self { port: free_port(), door: free_port(), folder, child: None };
            broker.write(&file(broker.port, broker.door));
            if broker.launch().await {
                return broker;
            }
        }
        panic!("mosquitto does not start: is /usr/sbin/mosquitto there?");
    }

    /// A broker without login.
    pub(crate) async fn plain() -> Self {
        Self::start("allow_anonymous true\n").await
    }

    /// Sets other lines for each listener, from the next start on.
    pub(crate) fn configure(&self, listener: &str) {
        self.write(&configuration(self.port, self.door, listener));
    }

    fn write(&self, configuration: &str) {
        std::fs::write(self.folder.path().join("mosquitto.conf"), configuration).expect("configuration");
    }

    /// Kills the broker, as a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    /// Starts it again on the same port, without its memory.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        assert!(self.launch().await, "mosquitto does not start again: {}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn launch(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("log file");
        let mut child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto is installed");
        let port = self.port;
        let listening = timeout(SOON, async {
            while child.try_wait().expect("our own child").is_none() {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            false
        });
        let listening = matches!(listening.await, Ok(true));
        self.child = Some(child);
        if !listening {
            self.kill();
        }
        listening
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Both loopback addresses on `port`, and a plain listener on `door`.
fn configuration(port: u16, door: u16, listener: &str) -> String {
    let v4 = format!("listener {port} 127.0.0.1\n{listener}");
    let v6 = if has_ipv6() { format!("listener {port} ::1\n{listener}") } else { String::new() };
    format!(
        "per_listener_settings true\npersistence false\nuser root\nlog_type all\nlog_dest stderr\n\
         listener {door} 127.0.0.1\nallow_anonymous true\n{v4}{v6}"
    )
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("bound").port()
}

pub(crate) fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// A certificate authority with a folder for the certificates it issues.
pub(crate) struct Pki {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The validity of a certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Validity {
    Now,
    Past,
    Future,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("scratch folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("key");
        let certificate = params.self_signed(&key).expect("certificate");
        std::fs::write(folder.path().join("ca.crt"), certificate.pem()).expect("file");
        Self { folder, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// Lines for a TLS listener with a certificate for these DNS names and addresses.
    pub(crate) fn listener(&self, names: &[&str], validity: Validity) -> String {
        let sans = names.iter().map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().expect("name")),
        });
        self.issue("server", sans.collect(), ExtendedKeyUsagePurpose::ServerAuth, validity);
        let show = |path: PathBuf| path.display().to_string();
        format!(
            "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\n",
            show(self.ca()),
            show(self.path("server.crt")),
            show(self.path("server.key"))
        )
    }

    /// Writes `client.crt` and `client.key`.
    pub(crate) fn issue_client(&self) {
        self.issue("client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, Validity::Now);
    }

    fn issue(&self, name: &str, sans: Vec<SanType>, usage: ExtendedKeyUsagePurpose, validity: Validity) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = sans;
        params.extended_key_usages = vec![usage];
        params.distinguished_name.push(DnType::CommonName, format!("test {name}"));
        match validity {
            Validity::Now => {}
            Validity::Past => params.not_after = rcgen::date_time_ymd(2020, 1, 1),
            Validity::Future => params.not_before = rcgen::date_time_ymd(2090, 1, 1),
        }
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        let write = |file: &Path, text: String| std::fs::write(file, text).expect("file");
        write(&self.path(&format!("{name}.crt")), certificate.pem());
        let key_file = self.path(&format!("{name}.key"));
        write(&key_file, key.serialize_pem());
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).expect("our own file");
    }
}

/// A separate client for observing and publishing what others do.
pub(crate) struct Peer {
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<Publish>,
    /// Received but not expected yet.
    seen: Vec<Publish>,
    _task: JoinSet<()>,
}

static PEERS: AtomicU32 = AtomicU32::new(0);

impl Peer {
    /// A client that is connected and subscribed to everything.
    pub(crate) async fn watch(port: u16) -> Self {
        Self::named(port, &format!("peer-{}", PEERS.fetch_add(1, Ordering::Relaxed))).await
    }

    pub(crate) async fn named(port: u16, id: &str) -> Self {
        Self::named_with(port, id, 4 << 20).await
    }

    /// A client that receives and sends packets of up to this many bytes.
    pub(crate) async fn named_with(port: u16, id: &str, largest: usize) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(largest, largest);
        options.set_inflight(1000);
        let (client, mut event_loop) = AsyncClient::new(options, 2000);
        let (sender, messages) = mpsc::unbounded_channel();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let subscriber = client.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ready = Some(ready);
            loop {
                match event_loop.poll().await {
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        if sender.send(message).is_err() {
                            return;
                        }
                    }
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        subscriber.try_subscribe("#", QoS::AtLeastOnce).expect("room");
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        let _ = ready.take().map(|ready| ready.send(()));
                    }
                    Ok(_) => {}
                    // The client allows itself a few seconds to connect, which a busy machine may need for other things.
                    Err(_) if ready.is_some() => tokio::time::sleep(Duration::from_millis(100)).await,
                    Err(_) => return,
                }
            }
        });
        timeout(SOON, is_ready).await.expect("in time").expect("subscribed");
        Self { client, messages, seen: Vec::new(), _task: task }
    }

    pub(crate) fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).expect("room");
    }

    /// All messages retained by the broker, for a client that has expected nothing yet.
    pub(crate) async fn stored(mut self) -> Vec<(String, String)> {
        self.passed().await;
        let text = |message: &Publish| String::from_utf8_lossy(&message.payload).into_owned();
        self.seen
            .iter()
            .filter(|message| message.retain)
            .map(|message| (message.topic.clone(), text(message)))
            .collect()
    }

    /// Waits until everything published has passed the broker, and forgets what was received.
    pub(crate) async fn drained(&mut self) {
        self.passed().await;
        self.seen.clear();
    }

    async fn passed(&mut self) {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let mark = MARKS.fetch_add(1, Ordering::Relaxed).to_string();
        self.publish("test/mark", mark.clone(), false);
        self.expect("test/mark", &mark).await;
    }

    /// Waits for this payload on this topic, or takes it from the messages already received; returns whether it was retained.
    pub(crate) async fn expect(&mut self, topic: &str, payload: &str) -> bool {
        let wanted = |message: &Publish| message.topic == topic && message.payload == payload.as_bytes();
        if let Some(at) = self.seen.iter().position(wanted) {
            return self.seen.remove(at).retain;
        }
        let found = async {
            while let Some(message) = self.messages.recv().await {
                if wanted(&message) {
                    return message.retain;
                }
                self.seen.push(message);
            }
            panic!("the connection of the watcher ended");
        };
        timeout(SOON, found).await.unwrap_or_else(|_| panic!("{topic} {payload} is not seen"))
    }
}

/// A line that can go silent: bytes vanish in both directions, connections stay open.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    silent: tokio::sync::watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(target: u16) -> Self {
        let socket = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        let (silent, is_silent) = tokio::sync::watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((near, _)) = socket.accept().await {
                let silent = is_silent.clone();
                lines.spawn(async move {
                    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    tokio::select! {
                        _ = carry(near_in, far_out, silent.clone()) => {}
                        _ = carry(far_in, near_out, silent) => {}
                    }
                });
            }
        });
        Self { port, silent, _task: task }
    }

    pub(crate) fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    silent: tokio::sync::watch::Receiver<bool>,
) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if !*silent.borrow() {
            to.write_all(&buffer[..count]).await?;
        }
    }
}
