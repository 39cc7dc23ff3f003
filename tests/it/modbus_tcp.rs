//! A line over Modbus TCP: the test plays the gateway.

use surplusd::charger::bus::OneShot;
use surplusd::charger::codec::{Operation, Outcome, Request};
use surplusd::charger::line::OpenError;
use surplusd::charger::profile;
use surplusd::clock::Clock;
use surplusd::config::LinkConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bus::PATIENT;

#[tokio::test]
async fn modbus_tcp_reads_and_notices_a_closed_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = LinkConfig::Tcp { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    let serve = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 12];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(request[2..], [0, 0, 0, 6, 1, 4, 0, 4, 0, 1]);
        let mut reply = request[..2].to_vec();
        reply.extend([0, 0, 0, 5, 1, 4, 2, 1, 7]);
        stream.write_all(&reply).await.unwrap();
        stream.read_exact(&mut request).await.unwrap();
        // The connection is closed, and no new one is possible.
        drop(listener);
    };
    let client = async {
        let mut master = OneShot::open(link.clone(), defaults, Clock::start(1)).await.unwrap();
        let request = Request { unit: 1, op: Operation::ReadInput { addr: 4, count: 1 } };
        assert_eq!(master.ask(request, PATIENT).await, Ok(Outcome::Registers(vec![0x107])));
        assert_eq!(master.ask(request, PATIENT).await, Err(OpenError::Lost));
    };
    tokio::join!(serve, client);
    let refused = OneShot::open(link, defaults, Clock::start(1)).await.err();
    assert!(matches!(refused, Some(OpenError::Other(_))), "{refused:?}");
}
