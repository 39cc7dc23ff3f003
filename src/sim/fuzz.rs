//! Fuzz targets: what the simulated broker and wallbox are sent; the demo listens for others as well.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use super::frames::Parser;
use super::packets::{Packet, publish, take};

/// What a client sends to the broker.
pub fn packet(bytes: &[u8]) {
    let mut buffer = bytes.to_vec();
    while let Ok(Some(packet)) = take(&mut buffer) {
        if let Packet::Publish(message) = &packet {
            assert_eq!(take(&mut publish(message)).as_ref(), Ok(&Some(packet)));
        }
    }
    assert!(buffer.len() <= bytes.len());
}

/// What a master sends to the wallbox. The first byte tells in what portions it arrives, which makes no difference.
pub fn line(bytes: &[u8]) {
    let Some((portion, bytes)) = bytes.split_first() else { return };
    let (mut whole, mut parts) = (Parser::new(20), Parser::new(20));
    let requests = whole.push(100, bytes);
    assert!(requests.iter().map(|request| request.frame.len()).sum::<usize>() <= bytes.len());
    let known = |byte: &u8| matches!(byte, 0x03 | 0x04 | 0x06 | 0x10);
    let portions = bytes.chunks(usize::from(*portion).max(1)).flat_map(|part| parts.push(100, part));
    let portions: Vec<_> = portions.collect();
    // Only frames of unknown length, which a checksum ends, may end earlier where less has arrived.
    if bytes.len() <= 256 && requests.iter().chain(&portions).all(|request| request.frame.get(1).is_some_and(known)) {
        assert_eq!(portions, requests);
    }
}
