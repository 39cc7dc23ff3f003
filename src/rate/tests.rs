use control::{Millis, Tick};

use super::{Bucket, Lines, Pace, excerpt};

const SECOND: Millis = Millis(1_000);

#[test]
fn a_burst_and_then_the_pace() {
    let mut bucket = Bucket::new(3, SECOND);
    let allowed: Vec<u64> = (1_000..8_000).filter(|ms| bucket.take(Tick(*ms))).collect();
    assert_eq!(allowed, [1_000, 1_001, 1_002, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000]);
    assert_eq!((bucket.next(), bucket.take(Tick(60_000)), bucket.take(Tick(60_000))), (Tick(8_000), true, true));
}

#[test]
fn lines_that_were_left_out_are_counted() {
    let mut lines = Lines::new(2, Millis(10_000));
    let said: Vec<_> = (0..200_000).filter_map(|n| lines.line(Tick(1_000 + n / 10))).collect();
    assert_eq!(said, [0, 0, 99_998], "20 s of 10,000 a second");
    assert_eq!(lines.rest(Tick(21_000)), Some(99_999), "the end of the flood is said too");
    assert_eq!(lines.rest(Tick(90_000)), None);
}

/// 10,000 values a second for 20 s: the newest always arrives, and never later than the pace allows.
#[test]
fn the_newest_wins_and_comes_in_time() {
    let mut pace = Pace::new(5, SECOND);
    let mut got = Vec::new();
    for n in 0..200_000_u64 {
        let now = Tick(1_000 + n / 10);
        got.extend(pace.offer("grid", n, now));
        got.extend(pace.poll(now));
    }
    assert!((24..=26).contains(&got.len()), "{}", got.len());
    assert!(got.is_sorted());
    let due = pace.poll_timeout().unwrap();
    assert!(due <= Tick(22_000));
    assert_eq!((pace.poll(due), pace.poll(due), pace.poll_timeout()), (Some(199_999), None, None));
}

#[test]
fn a_usual_pace_is_not_touched() {
    let mut pace = Pace::new(5, SECOND);
    for n in 0..1_000 {
        let now = Tick(1_000 + n * 1_000);
        for key in ["grid", "solar"] {
            assert_eq!((pace.offer(key, n, now), pace.poll_timeout()), (Some(n), None));
        }
    }
}

#[test]
fn what_became_obsolete_is_dropped() {
    let mut pace = Pace::new(1, SECOND);
    for n in 0..2 {
        pace.offer("a", n, Tick(1_000));
        pace.offer("b", n, Tick(1_000));
    }
    pace.forget(|key| *key == "a");
    assert_eq!((pace.poll(Tick(9_000)), pace.poll(Tick(9_000))), (Some(1), None));
}

#[test]
fn foreign_text_is_short_and_harmless() {
    assert_eq!(excerpt(b"on"), "\"on\"");
    assert_eq!(excerpt(b"\x1b[2J\n\xff"), "\"\\u{1b}[2J\\n\u{fffd}\"");
    assert_eq!(excerpt("\u{202e}\u{3164}".as_bytes()), "\"\\u{202e}\\u{3164}\"", "also a letter without ink");
    assert!(excerpt(&vec![0x1b; 100_000]).len() < 500);
}
