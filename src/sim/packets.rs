//! The MQTT 3.1.1 packets (OASIS standard, 2014) that a broker reads and writes, `QoS` 0 and 1 only.
//!
//! Written by hand rather than with the client's library: the broker must not be built from the code that it judges, and the library's
//! functions need a buffer type of a crate that is not a dependency. Left out: `QoS` 2, MQTT 5.

/// Largest packet accepted from a client; a larger one ends its connection.
const PACKET_MAX: usize = 1 << 20;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) retain: bool,
    /// `None`: `QoS` 0. `Some`: `QoS` 1 with this packet identifier.
    pub(super) id: Option<u16>,
}

/// A client's CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connect {
    /// Protocol level: 4 is MQTT 3.1.1; anything else is refused.
    pub(super) level: u8,
    pub(super) clean: bool,
    pub(super) keep_alive_s: u16,
    pub(super) client_id: String,
    /// The last will. Its `QoS` does not matter here: it is forwarded like any message.
    pub(super) will: Option<Publish>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Vec<u8>>,
}

/// The packets that clients send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    Connect(Connect),
    Publish(Publish),
    PubAck,
    Subscribe { id: u16, filters: Vec<(String, u8)> },
    Unsubscribe { id: u16, filters: Vec<String> },
    PingReq,
    Disconnect,
}

/// The bytes are not an MQTT 3.1.1 packet, or of a kind that this broker does not support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes the first complete packet from the buffer; `None` if more bytes are needed.
pub(super) fn take(buffer: &mut Vec<u8>) -> Result<Option<Packet>, Malformed> {
    let Some((&head, rest)) = buffer.split_first() else { return Ok(None) };
    let mut length = 0_usize;
    let mut header = 1_usize;
    loop {
        let Some(byte) = rest.get(header - 1) else {
            return if header <= 4 { Ok(None) } else { Err(Malformed) };
        };
        length |= usize::from(byte & 0x7F) << (7 * (header - 1));
        header += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if header > 4 {
            return Err(Malformed);
        }
    }
    if length > PACKET_MAX {
        return Err(Malformed);
    }
    let Some(body) = buffer.get(header..header + length) else { return Ok(None) };
    let packet = decode(head, Body(body)).ok_or(Malformed)?;
    buffer.drain(..header + length);
    Ok(Some(packet))
}

fn decode(head: u8, mut body: Body<'_>) -> Option<Packet> {
    match (head >> 4, head & 0x0F) {
        (1, 0) => connect(body).map(Packet::Connect),
        (3, flags) => {
            let topic = body.text()?;
            let id = match flags >> 1 & 3 {
                0 => None,
                1 => Some(body.word().filter(|id| *id != 0)?),
                _ => return None,
            };
            if topic.is_empty() || topic.contains(['+', '#']) {
                return None;
            }
            Some(Packet::Publish(Publish { topic, payload: body.0.to_vec(), retain: flags & 1 == 1, id }))
        }
        (4, 0) => body.word().map(|_| Packet::PubAck),
        (8, 2) => {
            let id = body.word()?;
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push((body.text()?, body.byte()?));
            }
            (!filters.is_empty()).then_some(Packet::Subscribe { id, filters })
        }
        (10, 2) => {
            let id = body.word()?;
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push(body.text()?);
            }
            (!filters.is_empty()).then_some(Packet::Unsubscribe { id, filters })
        }
        (12, 0) => Some(Packet::PingReq),
        (14, 0) => Some(Packet::Disconnect),
        _ => None,
    }
}

fn connect(mut body: Body<'_>) -> Option<Connect> {
    let name = body.text()?;
    if name != "MQTT" && name != "MQIsdp" {
        return None;
    }
    let level = body.byte()?;
    let flags = body.byte()?;
    let keep_alive_s = body.word()?;
    if level != 4 {
        // The rest has a different layout; the connection is refused anyway.
        return Some(Connect {
            level,
            clean: true,
            keep_alive_s,
            client_id: String::new(),
            will: None,
            username: None,
            password: None,
        });
    }
    let client_id = body.text()?;
    let will = if flags & 0x04 == 0 {
        None
    } else {
        let topic = body.text()?;
        let payload = body.block()?.to_vec();
        Some(Publish { topic, payload, retain: flags & 0x20 != 0, id: None })
    };
    let username = if flags & 0x80 == 0 { None } else { Some(body.text()?) };
    let password = if flags & 0x40 == 0 { None } else { Some(body.block()?.to_vec()) };
    Some(Connect { level, clean: flags & 0x02 != 0, keep_alive_s, client_id, will, username, password })
}

/// The unread rest of a packet.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn word(&mut self) -> Option<u16> {
        let (&bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(bytes))
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.word()?);
        let (block, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(block)
    }

    fn text(&mut self) -> Option<String> {
        self.block().and_then(|block| String::from_utf8(block.to_vec()).ok())
    }
}

/// CONNACK: 0 accepted, 1 wrong protocol version, 4 wrong user name or password. A session is never present.
pub(super) fn connack(code: u8) -> Vec<u8> {
    vec![0x20, 2, 0, code]
}

/// PUBACK.
pub(super) fn puback(id: u16) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    vec![0x40, 2, a, b]
}

/// SUBACK with one code for each filter: the granted `QoS`, or 0x80.
pub(super) fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend_from_slice(codes);
    packet(0x90, &body)
}

/// UNSUBACK.
pub(super) fn unsuback(id: u16) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    vec![0xB0, 2, a, b]
}

/// PINGRESP.
pub(super) fn pingresp() -> Vec<u8> {
    vec![0xD0, 0]
}

/// PUBLISH.
pub(super) fn publish(message: &Publish) -> Vec<u8> {
    let length = u16::try_from(message.topic.len()).unwrap_or(u16::MAX);
    let mut body = length.to_be_bytes().to_vec();
    body.extend(message.topic.bytes().take(usize::from(length)));
    let qos = message.id.map_or(0, |id| {
        body.extend(id.to_be_bytes());
        0x02
    });
    body.extend_from_slice(&message.payload);
    packet(0x30 | qos | u8::from(message.retain), &body)
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![head];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left & 0x7F).unwrap_or(0);
        left >>= 7;
        bytes.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Whether a filter is well-formed (section 4.7.1).
pub(super) fn valid_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    !filter.is_empty()
        && levels.iter().enumerate().all(|(at, level)| match *level {
            "+" => true,
            "#" => at == last,
            text => !text.contains(['+', '#']),
        })
}

/// Whether a topic matches a filter (section 4.7); wildcards at the start do not match topics that begin with `$`.
pub(super) fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(part)) if level == part => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (topic, filter, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/+", true),
            ("a/b", "+/+", true),
            ("a/b", "+", false),
            ("a", "a/#", true),
            ("a/b/c", "a/#", true),
            ("a/b", "#", true),
            ("/a", "+/+", true),
            ("/a", "+", false),
            ("$SYS/a", "#", false),
            ("$SYS/a", "$SYS/#", true),
            ("a/b/c", "a/b", false),
            ("a", "a/b", false),
            ("a/", "a/+", true),
            ("ä", "+", true),
        ] {
            assert_eq!(matches(topic, filter), expected, "{topic} {filter}");
        }
        assert!(valid_filter("a/+/#") && valid_filter("#") && valid_filter("/"));
        assert!(!valid_filter("") && !valid_filter("a/#/b") && !valid_filter("a#") && !valid_filter("a+/b"));
    }

    #[test]
    fn packets_come_whole_or_not_at_all() {
        let message = Publish { topic: "a/b".into(), payload: vec![7; 300], retain: true, id: Some(9) };
        let bytes = publish(&message);
        for cut in 0..bytes.len() {
            assert_eq!(take(&mut bytes[..cut].to_vec()), Ok(None), "cut at {cut}");
        }
        let mut buffer = [bytes, pingreq()].concat();
        assert_eq!(take(&mut buffer), Ok(Some(Packet::Publish(message))));
        assert_eq!(take(&mut buffer), Ok(Some(Packet::PingReq)));
        assert_eq!((take(&mut buffer), buffer.len()), (Ok(None), 0));
    }

    fn pingreq() -> Vec<u8> {
        vec![0xC0, 0]
    }

    #[test]
    fn nonsense_is_refused_without_harm() {
        for bytes in [
            vec![0x00, 0],
            vec![0x34, 4, 0, 1, b'a', 0],
            vec![0x32, 5, 0, 1, b'a', 0, 0],
            vec![0x30, 3, 0, 1, b'#'],
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            vec![0x82, 2, 0, 1],
            vec![0x10, 0],
        ] {
            assert_eq!(take(&mut bytes.clone()), Err(Malformed), "{bytes:?}");
        }
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            take(&mut bytes).ok();
        }
    }

    #[test]
    fn a_greeting_is_read_in_full() {
        let mut body = vec![0, 4];
        body.extend(b"MQTT\x04\xEE\x00\x3c\x00\x02me\x00\x01w\x00\x02by\x00\x01u\x00\x01p");
        let mut bytes = packet(0x10, &body);
        let Ok(Some(Packet::Connect(connect))) = take(&mut bytes) else { panic!() };
        assert_eq!((connect.level, connect.clean, connect.keep_alive_s), (4, true, 60));
        assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("u"), Some(&b"p"[..])));
        let will = connect.will.unwrap();
        assert_eq!((will.topic.as_str(), will.payload.as_slice(), will.retain), ("w", &b"by"[..], true));
    }
}
