//! Frames among stray bytes, copies and frames of others, received whole and in pieces.

use proptest::prelude::*;

use super::*;

fn framed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc(bytes)].concat()
}

fn read(unit: u8, function: u8, addr: u16, count: u8) -> Vec<u8> {
    let [high, low] = addr.to_be_bytes();
    framed(&[unit, function, high, low, 0, count])
}

fn write(value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    framed(&[1, 6, 1, 5, high, low])
}

fn registers(unit: u8, function: u8, words: &[u16]) -> Vec<u8> {
    let mut bytes = vec![unit, function, u8::try_from(words.len() * 2).unwrap()];
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    framed(&bytes)
}

fn ear(request: &[u8], echo: Echo) -> Ear {
    let mut ear = Ear::new(Dialect::Rtu, echo);
    ear.begin();
    ear.sent(request);
    ear
}

/// Returns what is passed on when these bytes arrive, `step` at a time.
fn hear(ear: &mut Ear, bytes: &[u8], step: usize) -> Option<Vec<u8>> {
    let found: Vec<_> = bytes.chunks(step.max(1)).filter_map(|chunk| ear.hear(chunk)).collect();
    assert!(found.len() <= 1, "one answer is given on once");
    found.into_iter().next()
}

const STEPS: [usize; 3] = [1, 3, 300];

#[test]
fn an_answer_is_found_behind_stray_bytes_a_copy_and_frames_of_others() {
    let request = read(1, 4, 5, 2);
    let answer = registers(1, 4, &[7, 8]);
    let noise = [0x55; 60];
    let (other, truncated) = (registers(2, 4, &[1, 2, 3]), &answer[..5]);
    let cases: [&[&[u8]]; 9] = [
        &[&answer],
        &[&[0], &answer],
        &[&[0xff, 0x00, 0xff], &answer],
        &[&noise, &answer],
        &[&request, &answer],
        &[&[0], &request, &[0], &answer],
        &[&request, &request, &answer],
        &[&other, &answer],
        &[truncated, &answer],
    ];
    for case in cases {
        for step in STEPS {
            let mut ear = ear(&request, Echo::Unknown);
            assert_eq!(hear(&mut ear, &case.concat(), step), Some(answer.clone()), "{case:x?} by {step}");
            ear.end();
            let copied = case.contains(&request.as_slice());
            assert_eq!(ear.echo(), if copied { Echo::Yes } else { Echo::No }, "{case:x?}");
        }
    }
}

#[test]
fn an_exception_is_an_answer_too() {
    let exception = framed(&[1, 0x84, 2]);
    for step in STEPS {
        let mut ear = ear(&read(1, 4, 5, 14), Echo::No);
        assert_eq!(hear(&mut ear, &[&[0][..], &exception].concat(), step), Some(exception.clone()));
    }
    let mut ear = ear(&write(60), Echo::Yes);
    let exception = framed(&[1, 0x86, 3]);
    assert_eq!(hear(&mut ear, &[write(60), exception.clone()].concat(), 300), Some(exception));
}

#[test]
fn the_copy_of_a_write_is_no_acknowledgement_where_the_adapter_echoes() {
    let request = write(160);
    for step in STEPS {
        let mut ear = ear(&request, Echo::Yes);
        assert_eq!(hear(&mut ear, &request, step), None);
        assert_eq!(ear.failure(), Failure::EchoOnly);
        assert_eq!(hear(&mut ear, &request, step), Some(request.clone()), "the second one is");
    }
    let mut ear = ear(&request, Echo::No);
    assert_eq!(hear(&mut ear, &request, 300), Some(request));
}

#[test]
fn echo_is_learnt_from_reads_and_not_forgotten_at_once() {
    let request = read(1, 3, 261, 1);
    let answer = registers(1, 3, &[60]);
    let mut ear = ear(&request, Echo::Unknown);
    assert!(ear.must_learn());
    for (heard, echo) in [
        ([request.clone(), answer.clone()].concat(), Echo::Yes),
        // A silent charger reveals just as much about the adapter.
        (request.clone(), Echo::Yes),
        (answer.clone(), Echo::Unknown),
        (answer.clone(), Echo::No),
        (vec![], Echo::No),
        (request.clone(), Echo::Yes),
    ] {
        ear.begin();
        ear.sent(&request);
        ear.hear(&heard);
        ear.end();
        assert_eq!(ear.echo(), echo, "{heard:x?}");
    }
    ear.begin();
    ear.sent(&write(60));
    ear.end();
    assert_eq!(ear.echo(), Echo::Yes, "a write says nothing");
}

#[test]
fn nothing_is_learnt_of_the_echo_from_what_may_be_either() {
    let (request, out_of_step) = (read(1, 3, 261, 1), write(60));
    let copy = [out_of_step.clone(), request.clone()].concat();
    for (sent, heard, echo) in [
        (&out_of_step, vec![], Echo::No),
        (&out_of_step, out_of_step.clone(), Echo::Unknown),
        (&out_of_step, vec![0xff], Echo::Unknown),
        (&request, copy, Echo::Unknown),
    ] {
        let mut ear = ear(sent, Echo::Unknown);
        ear.hear(&heard);
        ear.end();
        assert_eq!(ear.echo(), echo, "{sent:x?}: {heard:x?}");
    }
}

#[test]
fn what_is_out_of_step_fails_and_is_not_skipped() {
    let request = read(1, 3, 261, 1);
    let answer = registers(1, 3, &[60]);
    for (before, flaw) in [
        (registers(1, 3, &[1, 2]), Flaw::Length),
        (registers(1, 4, &[1]), Flaw::Function),
        (framed(&[1, 0x84, 2]), Flaw::Function),
        (read(1, 3, 257, 1), Flaw::Master),
    ] {
        for step in STEPS {
            let mut ear = ear(&request, Echo::No);
            assert_eq!(hear(&mut ear, &[before.clone(), answer.clone()].concat(), step), None, "{before:x?}");
            assert_eq!(ear.failure(), Failure::Malformed(flaw));
        }
    }
    let mut ear = ear(&write(60), Echo::No);
    assert_eq!(hear(&mut ear, &write(160), 300), None);
    assert_eq!(ear.flaw(), Some(Flaw::Echo));
}

#[test]
fn a_second_answer_that_differs_makes_both_useless() {
    let request = read(1, 3, 261, 1);
    let (late, right) = (registers(1, 3, &[30_000]), registers(1, 3, &[60]));
    let mut both = ear(&request, Echo::No);
    assert_eq!(hear(&mut both, &[late.clone(), right.clone()].concat(), 300), None);
    assert_eq!(both.flaw(), Some(Flaw::Twice));
    let mut one_by_one = ear(&request, Echo::No);
    assert!(one_by_one.hear(&late).is_some());
    assert_eq!((one_by_one.hear(&right), one_by_one.flaw()), (None, Some(Flaw::Twice)));
    let mut same = ear(&request, Echo::No);
    assert_eq!(hear(&mut same, &[right.clone(), right.clone()].concat(), 300), Some(right));
    assert_eq!(same.flaw(), None);
}

#[test]
fn a_failure_says_what_came_instead() {
    let request = read(1, 4, 4, 1);
    let wrong = {
        let mut frame = registers(1, 4, &[7]);
        frame[6] ^= 1;
        frame
    };
    for (heard, failure) in [
        (vec![], Failure::Timeout),
        (request.clone(), Failure::EchoOnly),
        (vec![0, 0xff], Failure::Noise(Sample::of(&[0, 0xff]))),
        ([request.as_slice(), &[0xfe]].concat(), Failure::Noise(Sample::of(&[0xfe]))),
        (registers(3, 4, &[7]), Failure::Malformed(Flaw::Unit(3))),
        (read(2, 4, 4, 1), Failure::Malformed(Flaw::Master)),
        (wrong.clone(), Failure::Noise(Sample::of(&wrong))),
        (vec![1, 4, 2], Failure::Noise(Sample::of(&[1, 4, 2]))),
    ] {
        let mut ear = ear(&request, Echo::Unknown);
        assert_eq!(hear(&mut ear, &heard, 1), None);
        assert_eq!(ear.failure(), failure, "{heard:x?}");
    }
}

#[test]
fn only_the_transaction_that_was_asked_for_is_answered() {
    let mut ear = Ear::new(Dialect::Tcp, Echo::Unknown);
    ear.begin();
    ear.sent(&[0, 9, 0, 0, 0, 6, 1, 4, 0, 4, 0, 1]);
    assert!(!ear.must_learn());
    let frame = |transaction, unit| vec![0, transaction, 0, 0, 0, 5, unit, 4, 2, 1, 7];
    for step in STEPS {
        ear.begin();
        ear.sent(&[0, 9, 0, 0, 0, 6, 1, 4, 0, 4, 0, 1]);
        let all = [frame(8, 1), frame(9, 1)].concat();
        assert_eq!(hear(&mut ear, &all, step), Some(frame(9, 1)));
    }
    for (heard, failure) in [
        (frame(8, 1), Failure::Malformed(Flaw::Transaction)),
        (frame(9, 2), Failure::Malformed(Flaw::Unit(2))),
        (b"HTTP/1.1 400".to_vec(), Failure::Noise(Sample::of(b"HTTP/1.1"))),
    ] {
        ear.begin();
        ear.sent(&[0, 9, 0, 0, 0, 6, 1, 4, 0, 4, 0, 1]);
        assert_eq!(hear(&mut ear, &heard, 5), None);
        assert_eq!(ear.failure(), failure);
    }
}

/// One exchange, with everything that may go wrong on the way.
#[derive(Debug, Clone)]
struct Exchange {
    request: Vec<u8>,
    answer: Option<Vec<u8>>,
    echoes: bool,
    before: Vec<u8>,
    between: Vec<u8>,
    after: Vec<u8>,
    step: usize,
}

/// Generates no bytes, bytes typical of a floating line, or arbitrary ones.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    let floating = proptest::collection::vec(prop_oneof![Just(0x00), Just(0xff), Just(0x01), Just(0x04)], 0..6);
    prop_oneof![Just(Vec::new()), floating, proptest::collection::vec(any::<u8>(), 0..40)]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let reads = (prop_oneof![Just(3_u8), Just(4)], any::<u16>(), proptest::collection::vec(any::<u16>(), 1..33))
        .prop_map(|(function, addr, words)| {
            (read(1, function, addr, u8::try_from(words.len()).unwrap()), registers(1, function, &words))
        });
    let writes = any::<u16>().prop_map(|value| (write(value), write(value)));
    let declines = any::<u8>().prop_map(|code| (read(1, 4, 5, 14), framed(&[1, 0x84, code])));
    let pairs = prop_oneof![4 => reads, 2 => writes, 1 => declines];
    (pairs, any::<bool>(), any::<bool>(), junk(), junk(), junk(), 1..60_usize).prop_map(
        |((request, answer), answers, echoes, before, between, after, step)| Exchange {
            request,
            answer: answers.then_some(answer),
            echoes,
            before,
            between,
            after,
            step,
        },
    )
}

/// Returns whether a frame with a correct checksum begins within the first `junk` bytes and ends after them.
fn swallows(stream: &[u8], junk: usize) -> bool {
    (0..junk).any(|from| {
        (junk + 1..=stream.len()).filter(|to| to - from >= 4).any(|to| {
            let (body, sum) = stream[from..to].split_at(to - from - 2);
            crc(body) == sum
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever surrounds the answer, it alone is passed on, and the adapter's copy of a write is never mistaken for it.
    #[test]
    fn nothing_but_the_answer_is_ever_taken_for_it(exchange in exchange()) {
        let Exchange { request, answer, echoes, before, between, after, step } = exchange;
        let mut ear = ear(&request, if echoes { Echo::Yes } else { Echo::No });
        let copy = if echoes { request.clone() } else { Vec::new() };
        let honest = answer.clone().unwrap_or_default();
        let junk = before.len() + copy.len() + between.len();
        let stream = [before, copy, between, honest].concat();
        let swallowed = swallows(&stream, junk);
        let found = hear(&mut ear, &[stream, after].concat(), step);
        // By chance, about once in ten thousand, junk and the first bytes of the answer form a frame of another unit.
        prop_assert!(found == answer || (found.is_none() && swallowed), "{:?} instead of {:?}", found, answer);
        ear.end();
        prop_assert_eq!(ear.echo() == Echo::Yes, echoes);
    }
}

proptest! {
    // Each step searches all bytes kept so far, which is slow when they come one by one.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However much arrives, the number of bytes kept is bounded.
    #[test]
    fn a_flood_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), step in 1..300_usize) {
        let mut ear = ear(&read(1, 4, 5, 14), Echo::No);
        for chunk in bytes.chunks(step) {
            ear.hear(chunk);
        }
        prop_assert!(ear.heard.len() <= HEARD_MAX && ear.request.len() == 8);
    }
}
