use tokio::net::{TcpListener, TcpSocket};

use control::Tick;

use super::*;
use crate::clock::Clock;

/// A port that answers no connection attempt, like a host that was turned off: its queue of connections is full.
struct Swallowing {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<JoinSet<()>>,
}

impl Swallowing {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.bind("127.0.0.1:0".parse().expect("address")).expect("a free port");
        let listener = socket.listen(1).expect("listens");
        let address = listener.local_addr().expect("address");
        let mut queued = Vec::new();
        loop {
            let (sender, connected) = tokio::sync::oneshot::channel();
            let mut attempt = JoinSet::new();
            attempt.spawn(async move {
                if let Ok(_held) = TcpStream::connect(address).await {
                    let _ = sender.send(()); // the receiver is gone once the port is taken for full
                    std::future::pending::<()>().await;
                }
            });
            queued.push(attempt);
            if timeout(Duration::from_millis(500), connected).await.is_err() {
                return Self { address, _listener: listener, _queued: queued };
            }
        }
    }
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

#[tokio::test]
async fn an_address_that_swallows_is_passed_over_for_one_that_takes() {
    let dead = Swallowing::start().await;
    let (_listener, alive) = listening().await;
    let (refusing, refused) = listening().await;
    drop(refusing);
    let zone = "[fe80::1%1]:1".parse().expect("address");

    assert_eq!(taker(&[dead.address, alive]).await, Some(alive));
    assert_eq!(taker(&[refused, dead.address, zone, alive]).await, Some(alive));
    assert_eq!(taker(&[alive, dead.address]).await, None, "the name will do");
    assert_eq!(taker(&[alive]).await, None);
    assert_eq!(taker(&[dead.address]).await, None, "there is no other");

    let clock = Clock::start(1);
    assert_eq!(taker(&[dead.address, dead.address, refused]).await, None, "none takes any");
    assert!(clock.now() >= Tick(2_000), "each had its time");
}
