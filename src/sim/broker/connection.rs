//! One client's connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::state::Delivery;
use super::{Message, Shared, lock};
use crate::sim::packets::{
    Connect, Packet, Publish, connack, pingresp, puback, publish, suback, take, unsuback, valid_filter,
};

/// A client that does not accept data for this long is considered gone.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long a new connection may take to send CONNECT.
const GREETING_MAX: Duration = Duration::from_secs(10);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By DISCONNECT: the will is discarded.
    Clean,
    /// In any other way: the will is sent.
    Unclean,
}

/// A connection from CONNECT to its end.
pub(super) struct Connection<S> {
    stream: S,
    shared: Shared,
    buffer: Vec<u8>,
    client_id: String,
    serial: u64,
    next_id: u16,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Serves a client until its connection ends. I/O errors end it too.
    pub(super) async fn serve(stream: S, shared: Shared) {
        let mut connection =
            Self { stream, shared, buffer: Vec::new(), client_id: String::new(), serial: 0, next_id: 0 };
        let Ok(Ok(Some(connect))) = tokio::time::timeout(GREETING_MAX, connection.greeting()).await else { return };
        let (serial, mut inbox) = lock(&connection.shared.state).join(&connection.client_id);
        connection.serial = serial;
        if connection.send(&connack(0)).await.is_err() {
            return;
        }
        // One and a half times the keep-alive time on both sides, in real time: the client knows no other.
        let silence_max =
            (connect.keep_alive_s > 0).then(|| Duration::from_millis(1_500) * connect.keep_alive_s.into());
        let end = connection.run(&mut inbox, silence_max).await.unwrap_or(End::Unclean);
        let mut state = lock(&connection.shared.state);
        state.leave(&connection.client_id, serial);
        if end == End::Unclean
            && let Some(Publish { topic, payload, retain, .. }) = connect.will
        {
            state.publish(&Message { topic, payload, retain });
        }
    }

    /// Reads the client's CONNECT; `None` if it is refused.
    async fn greeting(&mut self) -> io::Result<Option<Connect>> {
        let connect = loop {
            match take(&mut self.buffer) {
                Ok(Some(Packet::Connect(connect))) => break connect,
                Ok(None) => self.fill().await?,
                Ok(Some(_)) | Err(_) => return Ok(None),
            }
        };
        let login = connect.username.as_deref().zip(connect.password.as_deref());
        let code = if connect.level != 4 {
            1
        } else if connect.client_id.is_empty() && !connect.clean {
            2
        } else if self.shared.login.as_ref().is_some_and(|(user, pass)| login != Some((user, pass.as_bytes()))) {
            4
        } else {
            0
        };
        if code != 0 {
            self.send(&connack(code)).await?;
            return Ok(None);
        }
        self.client_id.clone_from(&connect.client_id);
        if self.client_id.is_empty() {
            self.client_id = format!("anonymous-{:08x}", fastrand::u32(..));
        }
        Ok(Some(connect))
    }

    async fn run(&mut self, inbox: &mut mpsc::Receiver<Delivery>, silence_max: Option<Duration>) -> io::Result<End> {
        let mut deaf = self.shared.deaf.clone();
        let mut silence = Box::pin(silence_of(silence_max));
        loop {
            // While deaf, react only to the end of the broker and to being cut off.
            while *deaf.borrow_and_update() {
                tokio::select! {
                    changed = deaf.changed() => changed.map_err(io::Error::other)?,
                    () = closed(inbox) => return Ok(End::Unclean),
                }
            }
            while let Some(packet) = take(&mut self.buffer).map_err(|_| io::Error::other("malformed packet"))? {
                if packet == Packet::Disconnect {
                    return Ok(End::Clean);
                }
                self.handle(packet).await?;
            }
            let mut chunk = [0_u8; 4_096];
            tokio::select! {
                changed = deaf.changed() => changed.map_err(io::Error::other)?,
                read = self.stream.read(&mut chunk) => match read? {
                    0 => return Ok(End::Unclean),
                    length => {
                        self.buffer.extend_from_slice(chunk.get(..length).unwrap_or(&[]));
                        silence = Box::pin(silence_of(silence_max));
                    }
                },
                delivery = inbox.recv() => match delivery {
                    Some(delivery) => self.deliver(delivery).await?,
                    None => return Ok(End::Unclean),
                },
                () = &mut silence => return Ok(End::Unclean),
            }
        }
    }

    async fn handle(&mut self, packet: Packet) -> io::Result<()> {
        match packet {
            Packet::Publish(Publish { topic, payload, retain, id }) => {
                lock(&self.shared.state).publish(&Message { topic, payload, retain });
                match id {
                    Some(id) => self.send(&puback(id)).await,
                    None => Ok(()),
                }
            }
            Packet::Subscribe { id, filters } => {
                let codes: Vec<u8> = filters
                    .iter()
                    .map(|(filter, qos)| if valid_filter(filter) { (*qos).min(1) } else { 0x80 })
                    .collect();
                self.send(&suback(id, &codes)).await?;
                let mut state = lock(&self.shared.state);
                for ((filter, _), qos) in filters.iter().zip(codes).filter(|(_, code)| *code != 0x80) {
                    state.subscribe(&self.client_id, self.serial, filter, qos);
                }
                Ok(())
            }
            Packet::Unsubscribe { id, filters } => {
                for filter in &filters {
                    lock(&self.shared.state).unsubscribe(&self.client_id, self.serial, filter);
                }
                self.send(&unsuback(id)).await
            }
            Packet::PingReq => self.send(&pingresp()).await,
            Packet::PubAck => Ok(()),
            Packet::Connect(_) | Packet::Disconnect => Err(io::Error::other("a second greeting")),
        }
    }

    async fn deliver(&mut self, delivery: Delivery) -> io::Result<()> {
        let Delivery { publish: mut message, qos } = delivery;
        if qos > 0 {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            message.id = Some(self.next_id);
        }
        self.send(&publish(&message)).await
    }

    async fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0_u8; 4_096];
        let mut deaf = self.shared.deaf.clone();
        deaf.wait_for(|deaf| !deaf).await.map_err(io::Error::other)?;
        match self.stream.read(&mut chunk).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.buffer.extend_from_slice(chunk.get(..length).unwrap_or(&[]));
                Ok(())
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(WRITE_MAX, write).await?
    }
}

/// Completes when the client has been silent for too long; data sent to it does not count.
async fn silence_of(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

/// Completes when the broker has cut this client off.
async fn closed(inbox: &mpsc::Receiver<Delivery>) {
    while !inbox.is_closed() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
