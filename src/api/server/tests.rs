use std::os::unix::fs::PermissionsExt;

use control::{Controller, Tick};
use tokio::io::{AsyncBufReadExt, Lines};

use super::*;
use crate::api::protocol::{Call, Reply};
use crate::config::{Environment, Files};
use crate::model::request::Value;

const LIMIT: Duration = Duration::from_secs(60);

fn some_status() -> Status {
    let text = include_str!("../../../config/surplusd.toml");
    let known = crate::charger::profile::known();
    let loaded = crate::config::parse(text, "surplusd.toml".as_ref(), &Environment::default(), &known, Files::Ignore);
    Status::of(Controller::new(loaded.config.unwrap().control, Tick(1)).snapshot())
}

struct Rig {
    folder: tempfile::TempDir,
    _server: Server,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Option<Arc<Status>>>,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sender, requests) = mpsc::channel(4);
        let (status, shown) = watch::channel(None);
        let server = Server::open(folder.path(), sender, shown, Clock::start(1)).await.unwrap();
        Self { folder, _server: server, requests, status }
    }

    async fn peer(&self, socket: &str) -> Peer {
        let (reader, writer) = UnixStream::connect(self.folder.path().join(socket)).await.unwrap().into_split();
        Peer { lines: BufReader::new(reader).lines(), writer }
    }
}

struct Peer {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Peer {
    async fn say(&mut self, text: &[u8]) {
        self.writer.write_all(text).await.unwrap();
    }

    async fn hear(&mut self) -> Option<Reply> {
        let line = timeout(LIMIT, self.lines.next_line()).await.expect("in time").unwrap()?;
        Some(Reply::parse(&line).unwrap_or_else(|| panic!("{line}")))
    }

    async fn ask(&mut self, call: &Call) -> Reply {
        self.say(call.line().as_bytes()).await;
        self.hear().await.expect("an answer")
    }

    async fn refused(&mut self, line: &[u8]) -> String {
        self.say(line).await;
        match self.hear().await {
            Some(Reply::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }
}

fn set(value: &str) -> Call {
    Call::Set { key: "mode".to_owned(), value: value.to_owned(), charger: None }
}

#[tokio::test]
async fn the_status_is_shown_on_both_sockets_as_soon_as_there_is_one() {
    let rig = Rig::new().await;
    for (socket, mode) in [(CONTROL, 0o660), (STATUS, 0o666)] {
        let file = rig.folder.path().join(socket);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, mode, "{socket}");
        let mut peer = rig.peer(socket).await;
        rig.status.send_replace(None);
        assert_eq!(peer.refused(Call::Status.line().as_bytes()).await, "starting");
        rig.status.send_replace(Some(Arc::new(some_status())));
        let Reply::Status { document, .. } = peer.ask(&Call::Status).await else { panic!() };
        assert_eq!(document["chargers"]["carport"]["mode"], "solar");
    }
}

#[tokio::test]
async fn who_watches_is_shown_each_change_until_one_of_both_goes() {
    let rig = Rig::new().await;
    rig.status.send_replace(Some(Arc::new(some_status())));
    let mut peer = rig.peer(STATUS).await;
    assert!(matches!(peer.ask(&Call::Watch).await, Reply::Status { .. }));
    let mut changed = some_status();
    changed.warnings = vec!["a change".to_owned()];
    rig.status.send_replace(Some(Arc::new(changed)));
    let Some(Reply::Status { document, .. }) = peer.hear().await else { panic!() };
    assert_eq!(document["warnings"][0], "a change");
    drop(rig.status);
    assert_eq!(peer.hear().await, None);
}

#[tokio::test]
async fn a_request_goes_to_the_loop_and_its_answer_back() {
    let mut rig = Rig::new().await;
    let mut peer = rig.peer(CONTROL).await;
    peer.say(set("fast").line().as_bytes()).await;
    let request = rig.requests.recv().await.unwrap();
    let Wish::Set(Setting { charger: None, value: Value::Mode(control::Mode::Fast) }) = request.wish else {
        panic!("{:?}", request.wish)
    };
    assert_eq!(request.origin, Origin::Socket);
    request.reply.unwrap().send(Ok("carport: 16.0 A (fast)".to_owned())).unwrap();
    assert_eq!(peer.hear().await, Some(Reply::Done("carport: 16.0 A (fast)".to_owned())));
    // A request that a later one replaced.
    peer.say(set("solar").line().as_bytes()).await;
    drop(rig.requests.recv().await);
    assert!(matches!(peer.hear().await, Some(Reply::Refused { code, .. }) if code == "overtaken"));
    assert_eq!(peer.refused(set("sideways").line().as_bytes()).await, "unknown-mode");
    drop(rig.requests);
    assert_eq!(peer.refused(set("fast").line().as_bytes()).await, "ending");
}

#[tokio::test]
async fn nothing_is_set_through_the_socket_for_everybody() {
    let mut rig = Rig::new().await;
    let mut peer = rig.peer(STATUS).await;
    assert_eq!(peer.refused(set("fast").line().as_bytes()).await, "read-only");
    assert!(rig.requests.try_recv().is_err());
}

/// Whatever a client sends, it is answered or disconnected, and others are still served.
#[tokio::test]
async fn garbage_is_answered_and_harms_nobody() {
    let rig = Rig::new().await;
    rig.status.send_replace(Some(Arc::new(some_status())));
    let mut peer = rig.peer(CONTROL).await;
    for (garbage, code) in [(&b"\n"[..], "malformed"), (b"hello\n", "malformed"), (b"\xff\xfe\n", "malformed")] {
        assert_eq!(peer.refused(garbage).await, code);
    }
    assert!(matches!(peer.ask(&Call::Status).await, Reply::Status { .. }), "the connection stays");
    let mut long = rig.peer(CONTROL).await;
    let line = [vec![b'x'; REQUEST_MAX + 1], Call::Status.line().into_bytes()].concat();
    assert_eq!(long.refused(&line).await, "too-long");
    assert_eq!(long.hear().await, None, "the rest of it is no request");
    // More connections than one user may have at a time, which say nothing.
    let mut mute = Vec::new();
    for _ in 0..CONNECTIONS_PER_USER - 1 {
        mute.push(served(&rig).await);
    }
    let mut crowded = rig.peer(CONTROL).await;
    assert!(matches!(crowded.hear().await, Some(Reply::Refused { code, .. }) if code == "crowded"));
    drop(mute);
    served(&rig).await;
}

#[test]
fn nobody_takes_the_places_of_others() {
    const { assert!(CONNECTIONS_PER_USER * 4 <= CONNECTIONS, "three others find a place") };
    let mut places = Places::new();
    let mut taken: Vec<_> = (0..CONNECTIONS_PER_USER).filter_map(|_| places.take(1_000)).collect();
    assert!(taken.len() == CONNECTIONS_PER_USER && places.take(1_000).is_none(), "one user");
    taken.pop();
    taken.push(places.take(1_000).expect("a place is free again"));
    for uid in 1_001..2_000 {
        taken.extend((0..2 * CONNECTIONS_PER_USER).filter_map(|_| places.take(uid)));
    }
    assert_eq!(taken.len(), CONNECTIONS, "all together");
    assert!(places.users.len() <= CONNECTIONS + 1, "users without a connection are forgotten");
    taken.clear();
    assert!(places.take(2_000).is_some());
    assert_eq!(places.users.len(), 1);
}

/// Connections that are refused, or ask for nothing, come no faster than answers: all are served on the thread of the loop.
#[tokio::test(start_paused = true)]
async fn a_flood_of_connections_is_paced() {
    let rig = Rig::new().await;
    rig.status.send_replace(Some(Arc::new(some_status())));
    let clock = Clock::start(1);
    for _ in 0..100 {
        drop(rig.peer(CONTROL).await);
    }
    let mute = served(&rig).await;
    let empty_ms = clock.now().0;
    assert!(empty_ms >= 100 / 5 * 20 - 20, "four places, and one refusal, every 20 ms: {empty_ms} ms");
    let mut mute = vec![mute];
    for _ in 1..CONNECTIONS_PER_USER {
        mute.push(served(&rig).await);
    }
    let before_ms = clock.now().0;
    for _ in 0..10 {
        let mut crowded = rig.peer(CONTROL).await;
        assert!(matches!(crowded.hear().await, Some(Reply::Refused { code, .. }) if code == "crowded"));
    }
    let refused_ms = clock.now().0 - before_ms;
    assert!(refused_ms >= 9 * 20, "{refused_ms} ms");
}

/// Clients that keep a place without using it are disconnected.
#[tokio::test(start_paused = true)]
async fn slow_clients_lose_their_place() {
    let rig = Rig::new().await;
    rig.status.send_replace(Some(Arc::new(some_status())));
    // One byte every 10 s is no request within 30 s.
    let mut slow = rig.peer(STATUS).await;
    let clock = Clock::start(1);
    let dripping = async {
        while slow.writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    };
    timeout(LIMIT, dripping).await.expect("it is disconnected");
    let took_ms = clock.now().0;
    assert!((30_000..=40_100).contains(&took_ms), "{took_ms} ms");
    // One that asks for every change and reads none of them.
    let mut deaf = rig.peer(STATUS).await;
    deaf.say(Call::Watch.line().as_bytes()).await;
    let ignoring = async {
        // Until the kernel's buffer is full, and 30 s more.
        while deaf.writer.write_all(b"\n").await.is_ok() {
            rig.status.send_replace(Some(Arc::new(some_status())));
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    };
    timeout(LIMIT * 60, ignoring).await.expect("it is disconnected");
}

/// A connection that is served, as soon as there is room.
async fn served(rig: &Rig) -> Peer {
    let connecting = async {
        loop {
            let mut peer = rig.peer(CONTROL).await;
            // One that is refused may be closed before it has asked.
            let _ = peer.writer.write_all(Call::Status.line().as_bytes()).await;
            let answer = peer.lines.next_line().await.ok().flatten();
            if matches!(answer.as_deref().and_then(Reply::parse), Some(Reply::Status { .. })) {
                return peer;
            }
        }
    };
    timeout(LIMIT, connecting).await.expect("there is room in the end")
}

#[tokio::test]
async fn a_socket_that_was_left_is_replaced_and_one_in_use_is_not() {
    let rig = Rig::new().await;
    let open = || {
        let (sender, _) = mpsc::channel(1);
        Server::open(rig.folder.path(), sender, watch::channel(None).1, Clock::start(1))
    };
    let error = open().await.err().expect("it is in use");
    assert!(error.to_string().contains("another surplusd"), "{error}");
    let left = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(left.path().join(CONTROL)).unwrap());
    let (sender, _) = mpsc::channel(1);
    let server = Server::open(left.path(), sender, watch::channel(None).1, Clock::start(1)).await.unwrap();
    drop(server);
    assert_eq!(std::fs::read_dir(left.path()).unwrap().count(), 0, "its own are removed");
    // A file that is not a socket is not removed.
    std::fs::write(left.path().join(CONTROL), "precious").unwrap();
    let (sender, _) = mpsc::channel(1);
    assert!(Server::open(left.path(), sender, watch::channel(None).1, Clock::start(1)).await.is_err());
    assert_eq!(std::fs::read_to_string(left.path().join(CONTROL)).unwrap(), "precious");
}
