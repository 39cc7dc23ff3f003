//! The few packets of MQTT 3.1.1 that a client with `QoS` 0 and 1 needs, to and from bytes. Pure.
//!
//! Memory has a bound whatever the broker sends: of a packet that is longer than [`KEPT_MAX`] only the beginning is kept and the rest is
//! thrown away as it arrives, so one huge message costs neither the connection nor more than that. Section numbers are those of the
//! OASIS standard "MQTT Version 3.1.1".

use thiserror::Error;

#[cfg(test)]
mod tests;

/// Bytes kept of a packet's body: the longest topic (65,535 bytes and its length), a packet id, and more payload than any reader of
/// ours looks into (64 KiB).
pub const KEPT_MAX: usize = 132 * 1024;

/// Highest packet id of a publication; the ids above are for subscriptions.
const PUBLISH_ID_MAX: u16 = 60_000;
/// Packet id of a subscription; one at a time.
pub const SUBSCRIBE_ID: u16 = PUBLISH_ID_MAX + 1;

/// PINGREQ (§3.12).
pub const PING: [u8; 2] = [0xC0, 0];
/// DISCONNECT (§3.14).
pub const DISCONNECT: [u8; 2] = [0xE0, 0];

/// What comes from a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// CONNACK (§3.2): the return code, 0 for accepted.
    ConnAck(u8),
    /// PUBLISH (§3.3).
    Publish(Message),
    /// PUBACK (§3.4): the packet id, and the reason code that MQTT 3.1.1 does not have but some brokers append; 0 where there is none.
    PubAck(u16, u8),
    /// SUBACK (§3.9): the packet id, and for each topic whether it was granted.
    SubAck(u16, Vec<bool>),
    /// PINGRESP (§3.13).
    Pong,
}

/// A message of a subscribed topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// As published.
    pub topic: String,
    /// The payload, or its beginning where the packet was longer than [`KEPT_MAX`].
    pub payload: Vec<u8>,
    /// Stored by the broker at some earlier time.
    pub retained: bool,
    /// To be acknowledged with [`puback`]; `None` with `QoS` 0.
    pub id: Option<u16>,
}

/// What is no MQTT 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// A length of more than four bytes (§2.2.3).
    #[error("a length that is none")]
    Length,
    /// A packet that a broker does not send, by its first byte.
    #[error("a packet that no broker sends (first byte {0:#04x})")]
    Kind(u8),
    /// A packet that ends too early, or has contents that its kind does not allow.
    #[error("a damaged packet (first byte {0:#04x})")]
    Damaged(u8),
}

/// Cuts a stream of bytes into packets.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The fixed header, as far as it has come: at most five bytes.
    header: Vec<u8>,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    /// Bytes that are still to come.
    left: usize,
    kept: Vec<u8>,
}

impl Splitter {
    /// Takes bytes from the front of `input` up to the end of the next packet, and returns it if it is complete. To be called until
    /// `input` is empty.
    ///
    /// # Errors
    /// If this is not MQTT; nothing more can be read then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, WireError> {
        while self.body.is_none() {
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            self.header.push(*byte);
            if self.header.len() > 1 && byte & 0x80 == 0 {
                self.body = Some(Body { left: self.length()?, kept: Vec::new() });
            } else if self.header.len() > 4 {
                return Err(WireError::Length);
            }
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        let (taken, rest) = input.split_at(body.left.min(input.len()));
        let room = KEPT_MAX.saturating_sub(body.kept.len());
        body.kept.extend(taken.iter().take(room));
        body.left -= taken.len();
        *input = rest;
        if body.left > 0 {
            return Ok(None);
        }
        let first = self.header.first().copied().unwrap_or_default();
        self.header.clear();
        let kept = self.body.take().map(|body| body.kept).unwrap_or_default();
        parse(first, &kept).map(Some)
    }

    /// The remaining length (§2.2.3): seven bits a byte, the lowest first.
    fn length(&self) -> Result<usize, WireError> {
        let digits = self.header.get(1..).filter(|digits| digits.len() <= 4).ok_or(WireError::Length)?;
        Ok(digits.iter().rev().fold(0, |sum, digit| sum << 7 | usize::from(digit & 0x7F)))
    }
}

fn parse(first: u8, body: &[u8]) -> Result<Incoming, WireError> {
    let damaged = WireError::Damaged(first);
    let id = |body: &[u8]| match body {
        [high, low, ..] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(damaged),
    };
    match (first >> 4, body) {
        (2, [_, code]) => Ok(Incoming::ConnAck(*code)),
        (3, _) => publish(first, body).map(Incoming::Publish),
        (4, _) => Ok(Incoming::PubAck(id(body)?, body.get(2).copied().unwrap_or(0))),
        // 0 … 2 is the granted `QoS`, 0x80 is "refused"; whatever else a broker says is no grant.
        (9, [_, _, codes @ ..]) => Ok(Incoming::SubAck(id(body)?, codes.iter().map(|code| *code <= 2).collect())),
        (13, []) => Ok(Incoming::Pong),
        (2 | 9 | 13, _) => Err(damaged),
        _ => Err(WireError::Kind(first)),
    }
}

fn publish(first: u8, body: &[u8]) -> Result<Message, WireError> {
    let damaged = WireError::Damaged(first);
    let (length, rest) = body.split_at_checked(2).ok_or(damaged)?;
    let length = usize::from(u16::from_be_bytes(length.try_into().map_err(|_| damaged)?));
    let (topic, rest) = rest.split_at_checked(length).ok_or(damaged)?;
    let topic = std::str::from_utf8(topic).map_err(|_| damaged)?.to_owned();
    let (id, payload) = match first >> 1 & 3 {
        0 => (None, rest),
        1 => {
            let (id, payload) = rest.split_at_checked(2).ok_or(damaged)?;
            (Some(u16::from_be_bytes(id.try_into().map_err(|_| damaged)?)), payload)
        }
        // We never subscribe with more than `QoS` 1, and get no more than that (§3.8.4).
        _ => return Err(damaged),
    };
    Ok(Message { topic, payload: payload.to_vec(), retained: first & 1 == 1, id })
}

/// How a client introduces itself.
#[derive(Debug, Clone, Copy)]
pub struct Greeting<'a> {
    /// Unique at the broker.
    pub client_id: &'a str,
    /// In seconds; 0: never asked for a sign of life.
    pub keep_alive_s: u16,
    /// Topic and payload that the broker publishes, retained, when the connection breaks.
    pub will: Option<(&'a str, &'a str)>,
    /// User name and password.
    pub login: Option<(&'a str, &'a str)>,
}

/// CONNECT (§3.1), with a clean session. `None` if a part is longer than 65,535 bytes.
pub fn connect(greeting: &Greeting<'_>) -> Option<Vec<u8>> {
    const CLEAN_SESSION: u8 = 0x02;
    const RETAINED_WILL_QOS1: u8 = 0x2C;
    const LOGIN: u8 = 0xC0;
    let mut flags = CLEAN_SESSION;
    let mut parts = vec![greeting.client_id];
    if let Some((topic, payload)) = greeting.will {
        flags |= RETAINED_WILL_QOS1;
        parts.extend([topic, payload]);
    }
    if let Some((user, password)) = greeting.login {
        flags |= LOGIN;
        parts.extend([user, password]);
    }
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags];
    body.extend(greeting.keep_alive_s.to_be_bytes());
    for part in parts {
        body.extend(u16::try_from(part.len()).ok()?.to_be_bytes());
        body.extend(part.as_bytes());
    }
    Some(packet(0x10, &body))
}

/// SUBSCRIBE (§3.8) with `QoS` 1, under [`SUBSCRIBE_ID`]. `None` if a topic is longer than 65,535 bytes.
pub fn subscribe(topics: &[String]) -> Option<Vec<u8>> {
    let mut body = SUBSCRIBE_ID.to_be_bytes().to_vec();
    for topic in topics {
        body.extend(u16::try_from(topic.len()).ok()?.to_be_bytes());
        body.extend(topic.as_bytes());
        body.push(1);
    }
    Some(packet(0x82, &body))
}

/// PUBLISH (§3.3) with `QoS` 1. `None` if the topic is longer than 65,535 bytes.
pub fn publication(id: u16, topic: &str, payload: &[u8], retain: bool) -> Option<Vec<u8>> {
    let mut body = u16::try_from(topic.len()).ok()?.to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.to_be_bytes());
    body.extend(payload);
    Some(packet(0x32 | u8::from(retain), &body))
}

/// PUBACK (§3.4).
pub fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

/// The packet id after this one, 1 … 60,000.
pub const fn next_id(id: u16) -> u16 {
    if id >= PUBLISH_ID_MAX { 1 } else { id + 1 }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let digit = u8::try_from(length & 0x7F).unwrap_or_default();
        length >>= 7;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    out.extend(body);
    out
}
