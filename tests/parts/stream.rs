//! Publishes many messages at a steady rate, written by hand: neither a client nor a queue limits it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::figures::house::connect;

/// Messages are written together at this interval, at most.
const TOGETHER: Duration = Duration::from_millis(10);

/// Publishes until it is dropped.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    /// Publishes with `QoS` 0 at the plain listener on `port`; `message` returns the topic and the payload of the n-th message.
    pub(crate) fn start<F>(port: u16, id: [u8; 2], per_second: u32, message: F) -> Self
    where
        F: FnMut(u64) -> (String, String) + Send + 'static,
    {
        let socket = connect(port, id).expect("the broker takes it");
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let mut drain = socket.try_clone().expect("a socket");
        thread::spawn(move || {
            let mut waste = [0; 256];
            while drain.read(&mut waste).is_ok_and(|count| count > 0) {}
        });
        let thread = thread::spawn(move || pump(socket, per_second, message, &stopped, &counted));
        Self { stop, sent, thread: Some(thread) }
    }

    /// How many messages were written.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that failed has said why.
            let _ = thread.join();
        }
    }
}

fn pump(
    mut socket: TcpStream,
    per_second: u32,
    mut message: impl FnMut(u64) -> (String, String),
    stop: &AtomicBool,
    sent: &AtomicU64,
) {
    let began = Instant::now();
    let mut count = 0;
    let mut bytes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        #[expect(clippy::cast_possible_truncation, reason = "hours of messages")]
        let due = (began.elapsed().as_millis() * u128::from(per_second) / 1_000) as u64;
        bytes.clear();
        while count < due {
            let (topic, payload) = message(count);
            packet(&mut bytes, &topic, &payload);
            count += 1;
        }
        if socket.write_all(&bytes).is_err() {
            return;
        }
        sent.store(count, Ordering::Relaxed);
        thread::sleep(TOGETHER);
    }
}

/// A PUBLISH of MQTT 3.1.1 with `QoS` 0, not retained.
fn packet(bytes: &mut Vec<u8>, topic: &str, payload: &str) {
    let rest = 2 + topic.len() + payload.len();
    bytes.push(0x30);
    let low = u8::try_from(rest & 0x7f).expect("seven bits");
    match rest >> 7 {
        0 => bytes.push(low),
        high => bytes.extend([low | 0x80, u8::try_from(high).expect("short messages")]),
    }
    bytes.extend(u16::try_from(topic.len()).expect("short topics").to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend(payload.as_bytes());
}
