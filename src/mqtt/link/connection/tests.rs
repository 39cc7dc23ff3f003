use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// The broker's name has two addresses, and nothing is at the first.
#[tokio::test]
async fn the_second_address_is_used_where_the_first_takes_no_connection() {
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("a free port");
    let port = listener.local_addr().expect("address").port();
    let mqtt = MqttConfig {
        host: "broker.invalid".to_owned(),
        port,
        tls: None,
        username: None,
        password: None,
        client_id: "t".to_owned(),
        keep_alive_s: 5,
    };
    let setup = LinkSetup { mqtt, status_topic: None };
    let addresses = ["127.0.0.1", "127.0.0.2"].map(|ip| SocketAddr::new(ip.parse().expect("address"), port));
    let (_client, mut event_loop) = AsyncClient::new(options(&setup, "broker.invalid"), REQUESTS);
    let (sender, mut news) = mpsc::channel(PACKETS);
    let broker = async {
        // The first connection only checks whether something listens.
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut connect = [0; 64];
            if socket.read(&mut connect).await.is_ok_and(|count| count > 0) {
                socket.write_all(&[0x20, 2, 0, 0]).await.expect("CONNACK");
                return socket;
            }
        }
    };
    let accepted = async { while !matches!(news.recv().await, Some(Ok(News::Arrival(Arrival::Accepted)))) {} };
    tokio::select! {
        result = talk(&mut event_loop, &setup, &addresses, &sender) => panic!("it ends: {:?}", result.err()),
        _ = futures_util::future::join(broker, accepted) => {}
    }
}
