use proptest::prelude::*;

use super::*;

fn all(mut input: &[u8], chunk: usize) -> Result<Vec<Incoming>, WireError> {
    let mut splitter = Splitter::default();
    let mut out = Vec::new();
    while !input.is_empty() {
        let (mut now, rest) = input.split_at(chunk.min(input.len()));
        input = rest;
        while !now.is_empty() {
            out.extend(splitter.next(&mut now)?);
        }
    }
    Ok(out)
}

#[test]
fn packets_of_a_broker() {
    let mut bytes = vec![0x20, 2, 0, 5];
    bytes.extend([0x90, 5, 0xEA, 0x61, 0, 0x80, 1]);
    bytes.extend([0x31, 4, 0, 1, b't', b'1']);
    bytes.extend([0x3A, 5, 0, 1, b't', 0, 7]);
    bytes.extend([0x40, 2, 0, 9, 0x40, 4, 0, 9, 135, 0, 0xD0, 0]);
    let message = |payload: &[u8], retained, id| {
        Incoming::Publish(Message { topic: "t".to_owned(), payload: payload.to_vec(), retained, id })
    };
    let want = vec![
        Incoming::ConnAck(5),
        Incoming::SubAck(SUBSCRIBE_ID, vec![true, false, true]),
        message(b"1", true, None),
        message(b"", false, Some(7)),
        Incoming::PubAck(9, 0),
        Incoming::PubAck(9, 135),
        Incoming::Pong,
    ];
    for chunk in [1, 2, 3, 100] {
        assert_eq!(all(&bytes, chunk), Ok(want.clone()), "in pieces of {chunk}");
    }
}

#[test]
fn what_is_no_mqtt_is_refused() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        &[0x30, 1, 0],
        &[0x30, 3, 0, 2, b't'],
        &[0x30, 3, 0, 1, 0xFF],
        &[0x34, 5, 0, 1, b't', 0, 1],
        &[0x10, 0],
        &[0x20, 1, 0],
        &[0x90, 1, 0],
    ] {
        let mut padded = bytes.to_vec();
        padded.resize(200, 0);
        assert!(all(&padded, 7).is_err(), "{bytes:?}");
    }
}

/// The largest packet there can be (256 MiB) costs no more memory than what is kept, and what follows is read as ever.
#[test]
fn of_a_huge_packet_only_the_beginning_is_kept() {
    let mut splitter = Splitter::default();
    let mut head = &[0x33, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b't', 0, 3][..];
    assert_eq!(splitter.next(&mut head), Ok(None));
    let mut left = 268_435_455 - 5;
    let chunk = vec![b'x'; 1 << 20];
    let mut got = None;
    while left > 0 {
        let mut now = chunk.get(..left.min(chunk.len())).unwrap();
        left -= now.len();
        got = splitter.next(&mut now).unwrap();
        assert!(now.is_empty());
        assert!(splitter.body.as_ref().is_none_or(|body| body.kept.len() <= KEPT_MAX));
    }
    let Some(Incoming::Publish(message)) = got else { panic!("{got:?}") };
    assert_eq!((message.topic.as_str(), message.id, message.retained), ("t", Some(3), true));
    assert_eq!(message.payload.len(), KEPT_MAX - 5);
    assert_eq!(splitter.next(&mut &[0xD0, 0][..]), Ok(Some(Incoming::Pong)));
}

#[test]
fn packets_of_ours() {
    let greeting =
        Greeting { client_id: "me", keep_alive_s: 20, will: Some(("s", "offline")), login: Some(("user", "secret")) };
    let mut want = vec![0x10, 40, 0, 4];
    want.extend(b"MQTT\x04\xEE\x00\x14\x00\x02me\x00\x01s\x00\x07offline\x00\x04user\x00\x06secret");
    assert_eq!(connect(&greeting), Some(want));
    let plain = Greeting { client_id: "me", keep_alive_s: 0, will: None, login: None };
    assert_eq!(connect(&plain), Some(b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x00\x00\x02me".to_vec()));
    let topics = ["a".to_owned(), "b".to_owned()];
    assert_eq!(subscribe(&topics), Some(b"\x82\x0A\xEA\x61\x00\x01a\x01\x00\x01b\x01".to_vec()));
    assert_eq!(publication(5, "t", b"on", true), Some(b"\x33\x07\x00\x01t\x00\x05on".to_vec()));
    assert_eq!(puback(258), [0x40, 2, 1, 2]);
    let long = publication(1, "t", &[0; 200], false).unwrap();
    assert_eq!(long.get(..3), Some(&[0x32, 0xCD, 0x01][..]));
    assert_eq!(publication(1, &"t".repeat(65_536), b"", false), None);
    assert_eq!([next_id(0), next_id(1), next_id(60_000)], [1, 2, 1]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), chunk in 1_usize..50) {
        let _ = all(&bytes, chunk);
    }

    #[test]
    fn what_is_published_is_read_back(topic in "[a-z/]{1,300}", payload in proptest::collection::vec(any::<u8>(), 0..400), id in 1_u16..60_000) {
        let bytes = publication(id, &topic, &payload, true).unwrap();
        let message = Message { topic, payload, retained: true, id: Some(id) };
        prop_assert_eq!(all(&bytes, 11), Ok(vec![Incoming::Publish(message)]));
    }
}
